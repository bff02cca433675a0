use std::process::ExitCode;

use clap::Parser;
use miroir::cli::{Cli, Command, ServeOptions};
use miroir::conf::Config;
use miroir::server::{self, RunOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.serve) {
        (Some(Command::Dev(args)), _) => miroir::dev::run(args),
        (Some(Command::Tether(args)), _) => miroir::dev::become_tethered(args),
        (None, Some(options)) => serve(&options),
        (None, None) => Err(anyhow::anyhow!("nothing to do; see --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it, or only checks the configuration.
fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    if options.test {
        let config = Config::load(&options.conf)?;
        for warning in config.warnings() {
            eprintln!("warning: {}: {warning}", options.conf.display());
        }
        eprintln!("{}: the configuration is valid", options.conf.display());
        return Ok(());
    }
    miroir::logs::init();
    let config = Config::load(&options.conf)?;
    server::run(config, RunOptions { daemon: options.daemon, upgrade: options.upgrade })
}
