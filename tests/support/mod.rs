//! Real clusters for integration tests: `miroir dev` as a user runs it, and a small client.
//!
//! The nodes are what `MIROIR_NODE_BIN` names, else what `miroir dev` finds: the whole suite runs unchanged against real
//! Meilisearch. What the cluster prints to standard error is kept and shown when a test panics.

// Each test file is a crate of its own and uses its own part of this.
#![allow(dead_code, unused_imports)]

mod both;
mod client;
mod fleet;
pub mod on_redis;
mod operation;
mod process;
mod receiver;
pub mod rollover;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use both::Both;
pub use client::{Answer, Client};
pub use fleet::{Fleet, FleetOptions};
pub use operation::Operation;
pub use process::{descendants, hang_up, is_running, kill, terminate, wait_until, Output};
pub use receiver::{Received, Receiver};
pub use rollover::{make_alias_of_several, progress};

/// How long a cluster may take to be ready, in a debug build on a busy machine.
pub const START_PATIENCE: Duration = Duration::from_secs(90);
/// How long a cluster may take to end: the supervisor's own waits, and some.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a task may take.
pub const TASK_PATIENCE: Duration = Duration::from_secs(120);

/// What to start. The default is three nodes in one group, each document on one of them.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub nodes: u32,
    pub groups: u32,
    pub replication_factor: u32,
    /// Keeps data when set.
    pub data_dir: Option<PathBuf>,
    /// Further arguments of `miroir dev`.
    pub arguments: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, groups: 1, replication_factor: 1, data_dir: None, arguments: Vec::new() }
    }
}

/// A node of a running cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub url: String,
    pub group: u32,
    pub pid: u32,
}

/// A running cluster. Everything is stopped when it is dropped.
pub struct Cluster {
    pub url: String,
    pub metrics_url: String,
    pub master_key: String,
    pub admin_key: String,
    /// What the nodes take; clients of the proxy never see it.
    pub node_master_key: String,
    pub nodes: Vec<Node>,
    pub proxy_pid: u32,
    client: Client,
    supervisor: Child,
    errors: Output,
}

/// The program under test.
pub fn miroir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miroir"));
    // Keys and settings of the person who runs the tests are none of theirs.
    for name in ["MIROIR_MASTER_KEY", "MIROIR_NODE_MASTER_KEY", "MIROIR_ADMIN_API_KEY"] {
        command.env_remove(name);
    }
    command
}

/// Folder of the programs that Cargo built; `miroir-node` is there if it was built.
pub fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_miroir")).parent().expect("a program is in a folder")
}

impl Cluster {
    /// Starts a cluster and waits until it is ready; panics with what it printed if it is not.
    pub fn start(options: ClusterOptions) -> Self {
        Self::start_with(options, |_| {})
    }

    /// Like [`Cluster::start`], after `change` has changed the command (its environment, say).
    pub fn start_with(options: ClusterOptions, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = miroir();
        command.args(["dev", "--json", "--port", "0", "--metrics-port", "0"]);
        command.args(["--nodes", &options.nodes.to_string(), "--groups", &options.groups.to_string()]);
        command.args(["--replication-factor", &options.replication_factor.to_string()]);
        if let Some(folder) = &options.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        command.args(&options.arguments);
        change(&mut command);
        Self::start_command(command)
    }

    fn start_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut supervisor = command.spawn().expect("miroir starts");
        let errors = Output::collect(supervisor.stderr.take().expect("it is piped"));
        let mut output = BufReader::new(supervisor.stdout.take().expect("it is piped"));
        let (send, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // Whoever waited may have given up.
            let _ = send.send(output.read_line(&mut line).map(|_| line));
        });
        let line =
            line.recv_timeout(START_PATIENCE).map_err(|e| e.to_string()).and_then(|l| l.map_err(|e| e.to_string()));
        let ready = line.and_then(|line| serde_json::from_str::<Value>(&line).map_err(|e| format!("{e}: {line:?}")));
        match ready {
            Ok(ready) => Self::of_line(&ready, supervisor, errors),
            Err(error) => {
                terminate(supervisor.id());
                wait_until("miroir dev ends", STOP_PATIENCE, || matches!(supervisor.try_wait(), Ok(Some(_))));
                panic!("the cluster did not start: {error}\n{}", errors.text());
            }
        }
    }

    fn of_line(ready: &Value, supervisor: Child, errors: Output) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("text expected in {ready}")).to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number expected in {ready}")) as u32;
        let node = |node: &Value| Node {
            id: text(&node["id"]),
            url: text(&node["url"]),
            group: number(&node["group"]),
            pid: number(&node["pid"]),
        };
        let (url, master_key) = (text(&ready["url"]), text(&ready["master_key"]));
        assert_eq!(number(&ready["pid"]), supervisor.id());
        Self {
            client: Client::new(&url, Some(&master_key)),
            url,
            metrics_url: text(&ready["metrics_url"]),
            master_key,
            admin_key: text(&ready["admin_key"]),
            node_master_key: text(&ready["node_master_key"]),
            nodes: ready["nodes"].as_array().expect("nodes").iter().map(node).collect(),
            proxy_pid: number(&ready["proxy_pid"]),
            supervisor,
            errors,
        }
    }

    /// A client of the proxy that presents the master key.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client of the proxy that presents `key`.
    pub fn client_with(&self, key: Option<&str>) -> Client {
        Client::new(&self.url, key)
    }

    /// A client of the proxy that presents the admin key.
    pub fn admin(&self) -> Client {
        Client::with_header(&self.url, "x-admin-key", &self.admin_key)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client.get(path)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.client.post(path, body)
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.client.put(path, body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        self.client.patch(path, body)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.client.delete(path)
    }

    /// The ended task that `accepted` (an answer of 202) names; it must have succeeded.
    #[track_caller]
    pub fn succeed(&self, accepted: Answer) -> Value {
        self.client.succeed(accepted)
    }

    /// A client of node `n` itself, past the proxy.
    pub fn node_client(&self, n: usize) -> Client {
        Client::new(&self.nodes[n].url, Some(&self.node_master_key))
    }

    /// How many documents of `index` each node holds, by its own account; 0 where it has no such index.
    #[track_caller]
    pub fn documents_held(&self, index: &str) -> Vec<u64> {
        let held = |n| {
            let stats = self.node_client(n).get(&format!("/indexes/{index}/stats"));
            if stats.status == 404 {
                return 0;
            }
            let stats = stats.expect_status(200);
            stats["numberOfDocuments"].as_u64().unwrap_or_else(|| panic!("no number of documents in {stats}"))
        };
        (0..self.nodes.len()).map(held).collect()
    }

    /// Ends node `n` as a crash would.
    pub fn kill_node(&self, n: usize) {
        let pid = self.nodes[n].pid;
        kill(pid);
        wait_until("the node is gone", STOP_PATIENCE, || !is_running(pid));
    }

    /// Ends the proxy as a crash would; the nodes go on.
    pub fn kill_proxy(&self) {
        kill(self.proxy_pid);
        wait_until("the proxy is gone", STOP_PATIENCE, || !is_running(self.proxy_pid));
    }

    /// Process of `miroir dev` itself.
    pub fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// What the cluster printed to standard error so far.
    pub fn errors(&self) -> String {
        self.errors.text()
    }

    /// Ends everything as SIGTERM does, and says how `miroir dev` ended.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate()
    }

    fn terminate(&mut self) -> ExitStatus {
        if let Ok(Some(status)) = self.supervisor.try_wait() {
            return status;
        }
        terminate(self.supervisor.id());
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            if let Ok(Some(status)) = self.supervisor.try_wait() {
                return status;
            }
            if Instant::now() > deadline {
                // Its children die with it.
                let _ = self.supervisor.kill();
                return self.supervisor.wait().expect("a killed process ends");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.terminate();
        if std::thread::panicking() {
            eprintln!("--- what the cluster printed ---\n{}--- end ---", self.errors.text());
        }
    }
}

/// One server that holds everything: the node of a cluster of one, asked past the proxy. Where Meilisearch's own answer
/// is the expected one, it is this server's.
pub struct SingleServer {
    client: Client,
    /// Ends with us.
    cluster: Cluster,
}

impl SingleServer {
    pub fn start() -> Self {
        let cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() });
        Self { client: cluster.node_client(0), cluster }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn url(&self) -> &str {
        &self.cluster.nodes[0].url
    }

    pub fn key(&self) -> &str {
        &self.cluster.node_master_key
    }

    /// Whether the nodes that the tests run with are Miroir's own. Their engine and HTTP library are not those of the
    /// Meilisearch that Miroir is measured by: where they differ, Miroir goes with Meilisearch.
    pub fn is_embedded(&self) -> bool {
        self.client.get("/version").expect_status(200)["commitSha"] == "unknown"
    }
}
