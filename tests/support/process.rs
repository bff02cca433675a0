use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

/// Bytes of a process's output that are kept: the beginning, where things go wrong first.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What a process prints, collected while it runs so that it never waits for a reader.
#[derive(Clone, Default)]
pub struct Output {
    kept: Arc<Mutex<String>>,
    /// Whether the process has closed it.
    is_whole: Arc<AtomicBool>,
}

impl Output {
    pub fn collect(from: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let kept = output.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                let mut kept = kept.kept.lock().expect("no one panics while printing");
                if kept.len() < OUTPUT_BYTES_MAX {
                    kept.push_str(&String::from_utf8_lossy(&line));
                }
                line.clear();
            }
            kept.is_whole.store(true, Ordering::Release);
        });
        output
    }

    /// Everything, once the process has ended: its last words may still be on their way to the reader then.
    pub fn whole_text(&self, patience: Duration) -> String {
        wait_until("all output is read", patience, || self.is_whole.load(Ordering::Acquire));
        self.text()
    }

    /// What has come so far.
    pub fn text(&self) -> String {
        self.kept.lock().expect("no one panics while printing").clone()
    }
}

pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

pub fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

pub fn hang_up(pid: u32) {
    signal(pid, Signal::HUP);
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

/// Whether a process still does something: zombies do not.
pub fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// All running processes below `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// State and parent of a process, from /proc/PID/stat: `pid (name) state parent ...`, where a name may hold anything.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Waits until `condition` holds; panics with `what` if it does not within `patience`.
#[track_caller]
pub fn wait_until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
