//! One process of the cluster: started, watched, ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{kill_process, setpriority_process, Pid, Signal};
use tokio::time::timeout;

use super::tether;

/// How long a process may take to end by itself: enough to finish a transaction, short enough for a person who waits.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a process that was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How much of the end of a log file is read for an error message, in bytes.
const LOG_TAIL_BYTES: u64 = 8 * 1024;
/// How many lines of it are shown.
const LOG_TAIL_LINES: usize = 15;

/// How to start a process.
pub(super) struct Program {
    /// What it is called in messages.
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
    /// Starts of environment variables' names that the process must not inherit.
    pub hidden_environment: &'static [&'static str],
    /// File for what it prints; `None`: our standard error.
    pub log: Option<PathBuf>,
    /// How far it lets others go first, from 0 to 19, as `nice` has it.
    pub niceness: i32,
}

/// A process that was started. It is killed when dropped.
pub(super) struct Child {
    name: String,
    pid: u32,
    process: tokio::process::Child,
    log: Option<PathBuf>,
    /// Set once its end was noticed.
    ended: Option<ExitStatus>,
}

/// Applies to all threads that the process is yet to start. Where the system does not allow it, all is the same but slower.
fn give_way(name: &str, pid: u32, niceness: i32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if niceness > 0 && pid.is_some_and(|pid| setpriority_process(Some(pid), niceness).is_err()) {
        log::debug!("{name} runs with the priority of all others");
    }
}

impl Child {
    /// Starts `program`, tethered to this process, in a process group of its own: the terminal's Ctrl-C is for us, who
    /// end everything in order.
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let mut command = tether::command(&program.path)?;
        command.args(&program.arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let hidden = |name: &str| program.hidden_environment.iter().any(|start| name.starts_with(start));
            if name.to_str().is_some_and(hidden) {
                command.env_remove(name);
            }
        }
        command.envs(program.environment.iter().map(|(name, value)| (name, value)));
        match &program.log {
            Some(path) => {
                let log = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                command.stdout(log.try_clone().context("cannot share a log file")?).stderr(log);
            }
            None => {
                command.stdout(std::io::stderr()).stderr(Stdio::inherit());
            }
        }
        let process = command.spawn().with_context(|| format!("cannot start {}", program.name))?;
        let pid = process.id().with_context(|| format!("{} ended at once", program.name))?;
        give_way(&program.name, pid, program.niceness);
        Ok(Self { name: program.name.clone(), pid, process, log: program.log.clone(), ended: None })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, the first time that this is noticed.
    pub fn newly_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return None;
        }
        self.ended = self.process.try_wait().ok().flatten();
        self.ended
    }

    /// The last lines that it printed, for an error message; empty if there are none or they are on the screen already.
    pub fn last_words(&self) -> String {
        let lines = self.log.as_deref().and_then(|path| read_end(path).ok()).unwrap_or_default();
        let lines: Vec<_> = lines.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        shown.iter().map(|line| format!("\n  | {line}")).collect()
    }

    /// Sends `signal`, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended.is_some() || self.newly_ended().is_some() {
            return;
        }
        // Not waited for yet, so the pid cannot be anyone else's.
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            if let Err(error) = kill_process(pid, signal) {
                log::debug!("cannot signal {}: {error}", self.name);
            }
        }
    }

    /// Waits until it has ended; kills it when that takes too long.
    pub async fn end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        match timeout(END_PATIENCE, self.process.wait()).await {
            Ok(status) => self.ended = status.ok(),
            Err(_) => {
                eprintln!("{} (pid {}) did not end within {END_PATIENCE:?} and is killed.", self.name, self.pid);
                self.kill().await;
            }
        }
    }

    pub async fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        match timeout(KILL_PATIENCE, self.process.kill()).await {
            Ok(Ok(())) => self.ended = self.process.try_wait().ok().flatten(),
            _ => eprintln!("{} (pid {}) could not be killed.", self.name, self.pid),
        }
    }
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut end = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}
