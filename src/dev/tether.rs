//! Ties a child's life to ours: `kill -9` of the supervisor must not leave a cluster behind.
//!
//! The kernel can send a process a signal when its parent dies, but the process has to ask for it itself, before it
//! becomes the program that it is to be. So children are started through this program: it asks, then executes the
//! real one in its place, with the same pid.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The hidden subcommand that children are started through.
pub(super) const SUBCOMMAND: &str = "tether";

#[derive(Clone, Debug, clap::Args)]
pub struct TetherArgs {
    /// Process that the program is not to outlive
    #[arg(long)]
    parent: u32,
    /// Program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A command that runs `program` tethered to this process; arguments for the program are to be added to it.
///
/// It must be started from a thread that lives as long as this process: the tether breaks with that thread.
pub(super) fn command(program: &Path) -> anyhow::Result<tokio::process::Command> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = tokio::process::Command::new(this);
    command.args([SUBCOMMAND, "--parent", &std::process::id().to_string(), "--"]).arg(program);
    Ok(command)
}

/// Becomes the program that `args` name. Returns only if that fails.
pub fn become_tethered(args: TetherArgs) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getppid, set_parent_process_death_signal, Signal};
        set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask for a signal at the parent's death")?;
        // The parent may have died before the line above.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        anyhow::ensure!(parent == Some(args.parent), "process {} is gone", args.parent);
    }
    let (program, arguments) = args.command.split_first().context("no program is named")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}
