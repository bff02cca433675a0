//! The command line of `miroir`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::dev::{DevArgs, TetherArgs};

/// One address for a fleet of Meilisearch servers
#[derive(Debug, Parser)]
#[command(name = "miroir", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// `None` only beside a subcommand.
    #[command(flatten)]
    pub serve: Option<ServeOptions>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a small cluster on this machine, with the proxy in front
    Dev(DevArgs),
    #[command(hide = true)]
    Tether(TetherArgs),
}

/// How the proxy is to be run.
#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub conf: PathBuf,
    /// Check the configuration file and exit
    #[arg(short, long)]
    pub test: bool,
    /// Run in the background
    #[arg(short, long)]
    pub daemon: bool,
    /// Take over the listening sockets of the running server
    #[arg(short, long)]
    pub upgrade: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_takes_pingoras_options_and_needs_a_file() {
        let serve = |args: &str| Cli::try_parse_from(args.split(' ')).map(|cli| cli.serve);
        let options = serve("miroir -c m.yaml -d --upgrade").unwrap().expect("it serves");
        assert_eq!(options.conf, PathBuf::from("m.yaml"));
        assert!(options.daemon && options.upgrade && !options.test);
        assert!(serve("miroir --conf m.yaml --test").unwrap().expect("it serves").test);
        assert!(serve("miroir --daemon").is_err());
        assert!(serve("miroir").is_err());
    }

    #[test]
    fn dev_has_defaults_for_everything() {
        let cli = Cli::try_parse_from(["miroir", "dev"]).unwrap();
        assert!(cli.serve.is_none());
        let Some(Command::Dev(args)) = cli.command else { panic!("dev") };
        assert_eq!(
            (args.nodes, args.groups, args.replication_factor, args.port, args.metrics_port),
            (3, 1, 1, 7700, 9090)
        );
        assert!(Cli::try_parse_from(["miroir", "--conf", "m.yaml", "dev"]).is_err());
    }
}
