//! The operator's command line: a thin client of the admin API.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Context};
use clap::{Parser, Subcommand};
use miroir::conf::Config;
use serde_json::{json, Value};

/// Longest wait for an answer of the admin API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks and tells a running Miroir
#[derive(Parser)]
#[command(name = "miroir-ctl", version)]
struct Cli {
    /// Address of the Miroir
    #[arg(long, env = "MIROIR_URL", default_value = "http://127.0.0.1:7700")]
    url: String,
    /// The admin key. Better given by the environment: arguments are visible to every user of the machine
    #[arg(long, env = "MIROIR_ADMIN_API_KEY", hide_env_values = true)]
    admin_key: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Nodes, their states and shards. Exits with 2 when some shard has no replica that serves reads
    Status {
        /// Print the topology as JSON
        #[arg(long)]
        json: bool,
    },
    /// Names that stand for indexes
    #[command(subcommand)]
    Alias(AliasCommand),
    /// How the expired documents of an index are deleted
    #[command(subcommand)]
    Ttl(TtlCommand),
    /// Work on configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum AliasCommand {
    /// All aliases and what they stand for
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// One alias with its last flips, as JSON
    Get { name: String },
    /// Make an alias stand for an index. Those for several are made by rollover policies
    Set { name: String, index: String },
    /// Remove an alias; the index stays
    Delete { name: String },
}

#[derive(Subcommand)]
enum TtlCommand {
    /// What holds for an index, and what of it is its own policy, as JSON
    Get { index: String },
    /// Replace an index's own policy: what is not given is as the configuration has it
    Set {
        index: String,
        /// Whether expired documents of the index are deleted
        #[arg(long)]
        enabled: Option<bool>,
        /// Seconds from one sweep to the next
        #[arg(long)]
        sweep_interval_s: Option<u64>,
        /// Documents that one sweep deletes at most
        #[arg(long)]
        max_deletes_per_sweep: Option<u64>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check a file, naming every mistake
    Check { file: PathBuf },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Status { json } => status(&cli, *json),
        Command::Alias(command) => alias(&cli, command),
        Command::Ttl(command) => ttl(&cli, command),
        Command::Config(ConfigCommand::Check { file }) => check(file),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn check(file: &std::path::Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(file)?;
    for warning in config.warnings() {
        eprintln!("warning: {}: {warning}", file.display());
    }
    println!("{}: the configuration is valid", file.display());
    Ok(ExitCode::SUCCESS)
}

fn status(cli: &Cli, json: bool) -> anyhow::Result<ExitCode> {
    let topology = get(cli, "/_miroir/topology")?;
    if json {
        println!("{topology:#}");
    } else {
        print_table(&topology);
    }
    let covered = topology["fully_covered"].as_bool().unwrap_or(false);
    Ok(if covered { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn alias(cli: &Cli, command: &AliasCommand) -> anyhow::Result<ExitCode> {
    match command {
        AliasCommand::List { json } => {
            let aliases = get(cli, "/_miroir/aliases")?;
            if *json {
                println!("{aliases:#}");
            } else {
                println!("{:<24} {:<7} {:>8}  TARGETS", "ALIAS", "KIND", "VERSION");
                for alias in aliases["aliases"].as_array().into_iter().flatten() {
                    let text = |name: &str| alias[name].as_str().unwrap_or("-").to_owned();
                    let targets: Vec<&str> =
                        alias["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                    println!(
                        "{:<24} {:<7} {:>8}  {}",
                        text("name"),
                        text("kind"),
                        alias["version"],
                        targets.join(", ")
                    );
                }
            }
        }
        AliasCommand::Get { name } => println!("{:#}", get(cli, &format!("/_miroir/aliases/{name}"))?),
        AliasCommand::Set { name, index } => {
            let meaning = json!({ "target": index });
            let alias = send(cli, "PUT", &format!("/_miroir/aliases/{name}"), Some(&meaning))?;
            println!("{name}: version {}", alias["version"]);
        }
        AliasCommand::Delete { name } => {
            send(cli, "DELETE", &format!("/_miroir/aliases/{name}"), None)?;
            println!("{name}: removed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ttl(cli: &Cli, command: &TtlCommand) -> anyhow::Result<ExitCode> {
    let path = |index: &str| format!("/_miroir/indexes/{index}/ttl-policy");
    let policy = match command {
        TtlCommand::Get { index } => get(cli, &path(index))?,
        TtlCommand::Set { index, enabled, sweep_interval_s, max_deletes_per_sweep } => {
            let policy = json!({
                "enabled": enabled,
                "sweep_interval_s": sweep_interval_s,
                "max_deletes_per_sweep": max_deletes_per_sweep,
            });
            send(cli, "POST", &path(index), Some(&policy))?
        }
    };
    println!("{policy:#}");
    Ok(ExitCode::SUCCESS)
}

fn get(cli: &Cli, path: &str) -> anyhow::Result<Value> {
    send(cli, "GET", path, None)
}

fn send(cli: &Cli, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let url = format!("{}{path}", cli.url.trim_end_matches('/'));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false).build().into();
    let mut request = http::Request::builder().method(method).uri(&url);
    if let Some(key) = &cli.admin_key {
        request = request.header("X-Admin-Key", key);
    }
    let answer = match body {
        Some(body) => agent.run(request.header("Content-Type", "application/json").body(body.to_string())?),
        None => agent.run(request.body(())?),
    };
    let mut answer = answer.with_context(|| format!("cannot reach {url}"))?;
    let body = answer.body_mut().read_to_string().with_context(|| format!("cannot read the answer of {url}"))?;
    let body: Value = serde_json::from_str(&body).with_context(|| format!("{url} does not answer as a Miroir does"))?;
    if !answer.status().is_success() {
        bail!("{}", body["message"].as_str().unwrap_or("the request was refused"));
    }
    Ok(body)
}

fn print_table(topology: &Value) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    println!("{:<16} {:<24} {:>5}  {:<10} {:>6}  {:<8}", "NODE", "ADDRESS", "GROUP", "STATUS", "SHARDS", "VERSION");
    for node in topology["nodes"].as_array().into_iter().flatten() {
        println!(
            "{:<16} {:<24} {:>5}  {:<10} {:>6}  {:<8} {}",
            text(&node["id"]),
            text(&node["address"]),
            text(&node["group"]),
            text(&node["status"]),
            text(&node["shard_count"]),
            text(&node["version"]),
            node["error"].as_str().unwrap_or(""),
        );
    }
    println!(
        "\n{} shards, {} replicas in each of {} groups; {} nodes degraded; {}",
        topology["shards"],
        topology["replication_factor"],
        topology["groups"].as_array().map_or(0, Vec::len),
        topology["degraded_node_count"],
        if topology["fully_covered"] == true { "every shard is served" } else { "SOME SHARDS ARE NOT SERVED" },
    );
}
