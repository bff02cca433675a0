//! `miroir dev`: a small cluster on this machine, started with one command and gone with Ctrl-C.
//!
//! This is a supervisor of child processes: the nodes (real Meilisearch or `miroir-node`) and the proxy in front of them,
//! which is this very program run with a generated configuration file. It uses no part of the proxy but the
//! configuration's file format, and talks to what it started as any client would.
//!
//! `plan` checks what is asked for; `data_dir` is the folder that everything lives in; `child` starts and ends one
//! process (`tether` ties it to our life); `cluster` starts all of them in order; `demo` loads the sample data;
//! `announce` prints what the user needs to know.

mod announce;
mod child;
mod client;
mod cluster;
mod data_dir;
mod demo;
mod node_program;
mod plan;
mod ports;
mod tether;

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{signal, Signal, SignalKind};

use cluster::Cluster;
use plan::Plan;

pub use tether::{become_tethered, TetherArgs};

/// Keys of a development cluster, the same everywhere so that examples can be pasted. It listens on loopback only.
pub const MASTER_KEY: &str = "miroir-dev-master-key";
pub const ADMIN_KEY: &str = "miroir-dev-admin-key";

/// How often children are looked at for a death to report.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// What `miroir dev` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// Number of nodes in all, dealt out to the groups evenly
    #[arg(long, default_value_t = 3)]
    pub nodes: u32,
    /// Number of replica groups; each holds every document
    #[arg(long, default_value_t = 1)]
    pub groups: u32,
    /// Number of nodes of each group that hold a copy of each document
    #[arg(long, default_value_t = 1)]
    pub replication_factor: u32,
    /// Port that clients talk to; 0 picks a free one
    #[arg(long, default_value_t = 7700)]
    pub port: u16,
    /// Port of the Prometheus metrics; 0 picks a free one
    #[arg(long, default_value_t = 9090)]
    pub metrics_port: u16,
    /// Folder that keeps the data from one start to the next [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Program of the nodes: a path to `meilisearch` or `miroir-node`, or `embedded` for the `miroir-node` beside this
    /// program [default: `meilisearch` if it is on PATH, else embedded]
    #[arg(long, env = "MIROIR_NODE_BIN", value_name = "PATH")]
    pub node_bin: Option<PathBuf>,
    /// Key for everything under / but /_miroir
    #[arg(long, env = "MIROIR_MASTER_KEY", default_value = MASTER_KEY, hide_env_values = true, value_name = "KEY")]
    pub master_key: String,
    /// Key for /_miroir
    #[arg(long, env = "MIROIR_ADMIN_API_KEY", default_value = ADMIN_KEY, hide_env_values = true, value_name = "KEY")]
    pub admin_key: String,
    /// Load 24,000 cities into the index `cities`, and search them
    #[arg(long)]
    pub demo: bool,
    /// Print one line of JSON on standard output once everything answers, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Runs a development cluster until a signal ends it. Whatever happens, nothing that was started is left.
pub fn run(args: DevArgs) -> anyhow::Result<()> {
    // One thread: a tethered child dies with the thread that started it, so that thread must be the main one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(supervise(args));
    // A blocking HTTP call may still wait for something that is gone by now.
    runtime.shutdown_background();
    result
}

async fn supervise(args: DevArgs) -> anyhow::Result<()> {
    // Before anything is started, so that no signal can end us without ending the children.
    let mut interruption = Interruption::listen()?;
    let plan = Plan::of(&args)?;
    let mut cluster = Cluster::prepare(plan)?;
    let result = tokio::select! {
        result = serve(&mut cluster, &args) => result,
        () = interruption.wait() => Ok(()),
    };
    if !args.json {
        eprintln!("\nStopping.");
    }
    tokio::select! {
        () = cluster.stop() => {}
        () = interruption.wait() => cluster.kill().await,
    }
    result
}

/// Starts everything, says so, and reports deaths until it is cancelled.
async fn serve(cluster: &mut Cluster, args: &DevArgs) -> anyhow::Result<()> {
    cluster.start().await?;
    if !args.json {
        announce::print_for_people(cluster);
    }
    if args.demo {
        demo::load(cluster.client()).await.context("the demo data could not be loaded")?;
    }
    if args.json {
        announce::print_line(cluster)?;
    }
    let mut watch = tokio::time::interval(WATCH_INTERVAL);
    loop {
        watch.tick().await;
        cluster.report_deaths();
    }
}

/// The signals that ask for the end.
struct Interruption([Signal; 4]);

impl Interruption {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::quit())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        let received = tokio::select! {
            received = interrupt.recv() => received,
            received = terminate.recv() => received,
            received = hangup.recv() => received,
            received = quit.recv() => received,
        };
        if received.is_none() {
            pending::<()>().await;
        }
    }
}
