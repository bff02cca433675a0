//! The command line of the measurements; what they are is in the library.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use loadtest::client::{Client, Server};
use loadtest::generate::Kind;
use loadtest::setup::Content;
use loadtest::{fidelity, hedging, latency, packages, stub, throughput, writes};
use serde::Serialize;

/// The exit code when nothing could be measured, as opposed to 1 for a result below `--at-least` and clap's 2.
const UNMEASURED: u8 = 3;

/// Measures a Miroir cluster from the outside.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare a cluster's answers with those of one server that holds all the documents.
    Fidelity(Fidelity),
    /// Compare a cluster's latency with that of its nodes, asked directly in the same run.
    Latency(Latency),
    /// Compare how many searches a second a cluster answers with Meilisearch's remote federated search over its nodes.
    Throughput(Throughput),
    /// Compare a proxy that hedges with one that does not, before nodes of which one is late at times.
    Hedging(Hedging),
    /// Stand before a node and make its reads slow or faulty, until interrupted.
    Stub(StubNode),
    /// Compare how fast a cluster and one server take the same documents.
    Writes(Writes),
    /// Turn what `apt-cache dumpavail` prints (standard input) into documents (NDJSON, standard output).
    Packages(Packages),
}

#[derive(Args)]
struct Hedging {
    /// A proxy with `hedging: { enabled: false }`.
    #[arg(long)]
    plain: String,
    /// A proxy with hedging, before the same nodes.
    #[arg(long)]
    hedged: String,
    /// The stubs through which both reach their nodes.
    #[arg(long, value_delimiter = ',')]
    stubs: Vec<String>,
    #[arg(long, default_value = "cities")]
    index: String,
    #[arg(long, default_value_t = 2_000)]
    queries: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Both proxies' key.
    #[arg(long, env = "MIROIR_MASTER_KEY")]
    master_key: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct StubNode {
    /// Where the stub listens.
    #[arg(long)]
    listen: std::net::SocketAddr,
    /// The node that it stands before.
    #[arg(long)]
    node: String,
    /// What is wrong with its reads.
    #[arg(long, value_enum, default_value_t = FaultName::None)]
    fault: FaultName,
    /// Of late reads: how many, ...
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: u8,
    /// ... and how late.
    #[arg(long, default_value_t = 300)]
    delay_ms: u64,
    /// `Retry-After` of a node that is too busy.
    #[arg(long, default_value_t = 10)]
    retry_after_s: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FaultName {
    None,
    Late,
    TooBusy,
    Garbage,
    NotFoundPage,
    HalfAnnouncedAsWhole,
    HalfBody,
    Silence,
    HangUp,
}

#[derive(Args)]
struct Fidelity {
    /// The server that holds all documents.
    #[arg(long)]
    single: String,
    /// The cluster.
    #[arg(long)]
    cluster: String,
    #[arg(long, default_value = "cities")]
    index: String,
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of the queries that the seed gives, ask those of these kinds alone.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// The cluster's key.
    #[arg(long, env = "MIROIR_MASTER_KEY")]
    master_key: Option<String>,
    /// The single server's key.
    #[arg(long)]
    single_key: Option<String>,
    /// Print the report as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the table by kind of query as Markdown.
    #[arg(long)]
    markdown: bool,
    /// First create the index with the documents of this file, one a line, on each side that lacks it.
    #[arg(long, value_name = "NDJSON")]
    load: Option<PathBuf>,
    /// The settings of the index that is created (JSON).
    #[arg(long, value_name = "FILE", requires = "load")]
    settings: Option<PathBuf>,
    /// The primary key of the index that is created.
    #[arg(long, requires = "load", default_value = "id")]
    primary_key: String,
    /// How many differences to explain.
    #[arg(long, default_value_t = 10)]
    differences: usize,
    /// Queries under way at a time.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Fail unless this percentage of queries is answered alike in every respect.
    #[arg(long, value_name = "PERCENT")]
    at_least: Option<f64>,
}

#[derive(Args)]
struct Packages {
    /// Print so many packages, evenly spread over all.
    #[arg(long, default_value_t = usize::MAX)]
    documents: usize,
    /// Print the settings that go with the documents instead.
    #[arg(long)]
    settings: bool,
}

#[derive(Args)]
struct Latency {
    /// The cluster.
    #[arg(long)]
    cluster: String,
    /// The cluster's nodes, to be asked directly.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
    #[arg(long, default_value = "cities")]
    index: String,
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ask queries of two words alone, in place of all kinds of searches.
    #[arg(long)]
    two_words: bool,
    /// The cluster's key.
    #[arg(long, env = "MIROIR_MASTER_KEY")]
    master_key: Option<String>,
    /// The nodes' key.
    #[arg(long, env = "MIROIR_NODE_MASTER_KEY")]
    node_key: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Throughput {
    /// The cluster.
    #[arg(long)]
    cluster: String,
    /// A Meilisearch server beside the cluster's nodes, whose `/network` is made to name them.
    #[arg(long)]
    coordinator: String,
    /// The cluster's nodes, as the coordinator reaches them.
    #[arg(long, value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    #[arg(long, default_value = "cities")]
    index: String,
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Length of one side's turn in a round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The cluster's key.
    #[arg(long, env = "MIROIR_MASTER_KEY")]
    master_key: Option<String>,
    /// The key of the nodes and of the coordinator.
    #[arg(long, env = "MIROIR_NODE_MASTER_KEY")]
    node_key: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Writes {
    /// One server.
    #[arg(long)]
    single: String,
    /// The cluster.
    #[arg(long)]
    cluster: String,
    /// The cluster's nodes, to be sent the same by themselves.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
    /// The nodes' key.
    #[arg(long, env = "MIROIR_NODE_MASTER_KEY")]
    node_key: Option<String>,
    /// Send the documents of this index of the cluster, repeated under new ids, instead of random words.
    #[arg(long)]
    from_index: Option<String>,
    /// Documents sent in batches.
    #[arg(long, default_value_t = 100_000)]
    documents: usize,
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// How long single documents are sent afterwards.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Clients that send single documents.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The cluster's key.
    #[arg(long, env = "MIROIR_MASTER_KEY")]
    master_key: Option<String>,
    /// The single server's key.
    #[arg(long)]
    single_key: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Fidelity(arguments) => run_fidelity(arguments).await,
        Command::Latency(arguments) => run_latency(arguments).await,
        Command::Throughput(arguments) => run_throughput(arguments).await,
        Command::Hedging(arguments) => run_hedging(arguments).await,
        Command::Stub(arguments) => run_stub(arguments).await,
        Command::Writes(arguments) => run_writes(arguments).await,
        Command::Packages(arguments) => run_packages(&arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(UNMEASURED)
    })
}

async fn run_fidelity(arguments: Fidelity) -> Result<ExitCode> {
    let single = Server::new(arguments.single, arguments.single_key);
    let cluster = Server::new(arguments.cluster, arguments.master_key);
    if let Some(documents) = &arguments.load {
        let content = Content::read(documents, arguments.settings.as_deref(), arguments.primary_key)?;
        for server in [&single, &cluster] {
            if !content.put_into(&Client::new(server.clone())?, &arguments.index).await? {
                eprintln!("{} has an index {} already, which stays as it is", server.url, arguments.index);
            }
        }
    }
    let options = fidelity::Options {
        single,
        cluster,
        index: arguments.index,
        queries: arguments.queries,
        seed: arguments.seed,
        kinds: arguments.kinds,
        differences_max: arguments.differences,
        concurrency: arguments.concurrency,
    };
    let report = fidelity::run(options).await.context("the comparison could not be made")?;
    if arguments.markdown {
        print!("{}", report.markdown());
    } else {
        show(&report, arguments.json)?;
    }
    let wanted = arguments.at_least.unwrap_or(0.0);
    if report.percent() < wanted {
        eprintln!("{:.3} % of the queries were answered alike, {wanted} % are wanted", report.percent());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_latency(arguments: Latency) -> Result<ExitCode> {
    let node = |url: String| Server::new(url, arguments.node_key.clone());
    let options = latency::Options {
        cluster: Server::new(arguments.cluster, arguments.master_key),
        nodes: arguments.nodes.into_iter().map(node).collect(),
        index: arguments.index,
        queries: arguments.queries,
        clients: arguments.clients,
        seed: arguments.seed,
        two_words: arguments.two_words,
    };
    let report = latency::run(options).await.context("the latencies could not be measured")?;
    show(&report, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_throughput(arguments: Throughput) -> Result<ExitCode> {
    let node = |url: String| Server::new(url, arguments.node_key.clone());
    let options = throughput::Options {
        cluster: Server::new(arguments.cluster, arguments.master_key),
        coordinator: node(arguments.coordinator),
        nodes: arguments.nodes.into_iter().map(node).collect(),
        index: arguments.index,
        clients: arguments.clients,
        seconds: arguments.seconds,
        rounds: arguments.rounds,
        seed: arguments.seed,
    };
    let report = throughput::run(options).await.context("the throughput could not be measured")?;
    show(&report, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_hedging(arguments: Hedging) -> Result<ExitCode> {
    let options = hedging::Options {
        plain: Server::new(arguments.plain, arguments.master_key.clone()),
        hedged: Server::new(arguments.hedged, arguments.master_key),
        stubs: arguments.stubs.into_iter().map(|url| Server::new(url, None)).collect(),
        index: arguments.index,
        queries: arguments.queries,
        seed: arguments.seed,
    };
    let report = hedging::run(options).await.context("hedging could not be measured")?;
    show(&report, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_stub(arguments: StubNode) -> Result<ExitCode> {
    use stub::Fault;
    let fault = match arguments.fault {
        FaultName::None => Fault::None,
        FaultName::Late => {
            Fault::Late { percent: arguments.percent, by: std::time::Duration::from_millis(arguments.delay_ms) }
        }
        FaultName::TooBusy => Fault::TooBusy { retry_after_s: arguments.retry_after_s },
        FaultName::Garbage => Fault::Garbage,
        FaultName::NotFoundPage => Fault::NotFoundPage,
        FaultName::HalfAnnouncedAsWhole => Fault::HalfAnnouncedAsWhole,
        FaultName::HalfBody => Fault::HalfBody,
        FaultName::Silence => Fault::Silence,
        FaultName::HangUp => Fault::HangUp,
    };
    let stub = stub::Stub::start(arguments.listen, &arguments.node, fault, arguments.seed).await;
    let stub = stub.context("the stub cannot listen")?;
    println!("http://{}", stub.address());
    tokio::signal::ctrl_c().await.context("no signal can be waited for")?;
    Ok(ExitCode::SUCCESS)
}

async fn run_writes(arguments: Writes) -> Result<ExitCode> {
    let node = |url: String| Server::new(url, arguments.node_key.clone());
    let options = writes::Options {
        single: Server::new(arguments.single, arguments.single_key),
        nodes: arguments.nodes.into_iter().map(node).collect(),
        cluster: Server::new(arguments.cluster, arguments.master_key),
        documents: arguments.documents,
        batch: arguments.batch,
        seconds: arguments.seconds,
        clients: arguments.clients,
        seed: arguments.seed,
        from_index: arguments.from_index,
    };
    let report = writes::run(options).await.context("the writes could not be measured")?;
    show(&report, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

fn run_packages(arguments: &Packages) -> Result<ExitCode> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    if arguments.settings {
        output.write_all(packages::SETTINGS.as_bytes())?;
    } else {
        let count = packages::convert(std::io::stdin().lock(), &mut output, arguments.documents)?;
        eprintln!("{count} packages");
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a report, for people or for programs.
fn show(report: &(impl fmt::Display + Serialize), as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
