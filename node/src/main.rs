//! The embedded node: Meilisearch's engine behind the part of its HTTP API that Miroir needs.
//!
//! `server` has the routes; those that write put a task into the `queue`, whose worker changes the `indexes`; those that
//! read open an index and answer at once.

mod auth;
mod documents;
mod embedders;
mod error;
mod error_codes;
mod features;
mod fields;
mod index_routes;
mod indexes;
mod kept;
mod keys;
mod queue;
mod search;
mod server;
mod settings;
mod state;
mod stats;
mod task_filter;
mod tasks;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};

use crate::kept::Kept;
use crate::queue::Queue;
use crate::state::AppState;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A node for Miroir with Meilisearch's engine inside. Takes the options of `meilisearch` that matter to it.
#[derive(Debug, Parser)]
#[command(name = "miroir-node", version)]
struct Options {
    /// Where everything is kept.
    #[arg(long, env = "MEILI_DB_PATH", default_value = "./data.ms")]
    db_path: PathBuf,
    /// The address to listen on.
    #[arg(long, env = "MEILI_HTTP_ADDR", default_value = "127.0.0.1:7700")]
    http_addr: String,
    /// The key that every request but `/health` has to carry. Without one, all requests are answered.
    #[arg(long, env = "MEILI_MASTER_KEY")]
    master_key: Option<String>,
    /// The largest request body: a number of bytes, or one with a unit such as `100 MiB`.
    #[arg(long, env = "MEILI_HTTP_PAYLOAD_SIZE_LIMIT", default_value = "100 MiB", value_parser = parse_bytes)]
    http_payload_size_limit: u64,
    /// Threads that index at the same time. By default as many as there are cores.
    #[arg(long, env = "MEILI_MAX_INDEXING_THREADS")]
    max_indexing_threads: Option<usize>,
    /// What is logged: OFF, ERROR, WARN, INFO, DEBUG or TRACE.
    #[arg(long, env = "MEILI_LOG_LEVEL", default_value = "INFO")]
    log_level: log::LevelFilter,
    /// Accepted because `meilisearch` has it. This node never sends analytics.
    #[arg(long, env = "MEILI_NO_ANALYTICS")]
    no_analytics: bool,
    /// `production` requires a master key.
    #[arg(long, env = "MEILI_ENV", default_value = "development", value_parser = ["development", "production"])]
    env: String,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    env_logger::Builder::new().filter_level(options.log_level).init();
    log::debug!("{options:?}");
    let master_key = options.master_key.clone().filter(|key| !key.is_empty());
    anyhow::ensure!(
        master_key.is_some() || options.env != "production",
        "in production a master key is required: pass --master-key or set MEILI_MASTER_KEY"
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let indexing_threads = options.max_indexing_threads.unwrap_or(cores).clamp(1, cores);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let (queue, indexes, worker) = Queue::start(&options.db_path, indexing_threads)
        .with_context(|| format!("cannot open the database in {}", options.db_path.display()))?;
    let features = Kept::open(&options.db_path.join("features.json")).context("cannot read the features")?;
    let keys = Kept::open(&options.db_path.join("keys.json")).context("cannot read the API keys")?;
    keys::create_default(&keys).context("cannot make the first API keys")?;
    let state = AppState::new(indexes, queue, features, keys, master_key, options.http_payload_size_limit, cores);
    runtime.block_on(serve(&options, state))?;
    worker.stop();
    // Searches that still run are of no use to anybody.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(options: &Options, state: AppState) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&options.http_addr)
        .await
        .with_context(|| format!("cannot listen on {}", options.http_addr))?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    log::info!("listening on {}", listener.local_addr()?);
    server::serve(listener, state, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// A size such as `104857600`, `100MB` or `100 MiB`, in bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        unit => return Err(format!("`{unit}` is not a unit of size; use B, KB, MB, GB, KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a size"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        assert_eq!(parse_bytes("100 MiB"), Ok(104_857_600));
        assert_eq!(parse_bytes("100MB"), Ok(100_000_000));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert!(parse_bytes("17 parsecs").is_err());
        assert!(parse_bytes("-1").is_err());
    }
}
