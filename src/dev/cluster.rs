//! All processes of a development cluster, in order: nodes, then the proxy; at the end the proxy, then the nodes.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use futures_util::future::{join_all, try_join_all};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::sleep;

use super::child::{Child, Program};
use super::client::Client;
use super::data_dir::DataDir;
use super::plan::{Plan, Shape};
use super::ports;

/// How long a node may take to answer. An engine opens a large data folder in seconds; more means that it hangs.
const NODE_START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the proxy may take to answer and to reach every node.
const PROXY_START_PATIENCE: Duration = Duration::from_secs(30);
/// How often a starting process is asked whether it answers.
const START_POLL: Duration = Duration::from_millis(30);
/// How often a process is started again because its port was taken between our choice and its start.
const PORT_ATTEMPTS: usize = 3;
/// Nodes that index take all cores there are, and the proxy is a step of every request: it must not wait until they have had their
/// turn. Measured on two cores: batches are acknowledged in half the time, and all of them are indexed sooner.
const NODE_NICENESS: i32 = 5;

/// Indexing threads of one of `nodes` nodes. They share this machine: more threads than cores would only take turns, and make
/// every acknowledgement wait for its own.
fn indexing_threads(nodes: u32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / nodes.max(1) as usize).max(1)
}

pub(super) struct Cluster {
    nodes: Vec<Node>,
    proxy: Option<Proxy>,
    plan: Plan,
    node_key: String,
    /// Last, so that a temporary folder is removed after its users are gone.
    folder: DataDir,
}

pub(super) struct Node {
    pub id: String,
    pub group: u32,
    pub port: u16,
    child: Option<Child>,
}

struct Proxy {
    child: Child,
    port: u16,
    metrics_port: u16,
}

impl Node {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }
}

impl Cluster {
    /// Opens the data folder. Starts nothing yet.
    pub fn prepare(plan: Plan) -> anyhow::Result<Self> {
        let folder = DataDir::open(plan.data_dir.as_deref(), plan.shape)?;
        let node_key = folder.node_key()?;
        Ok(Self { nodes: Vec::new(), proxy: None, plan, node_key, folder })
    }

    /// Starts everything and waits until it answers. On an error, or when cancelled, what was started still runs and
    /// [`Cluster::stop`] ends it.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let Shape { nodes, .. } = self.plan.shape;
        eprintln!("Starting {nodes} x {} ...", self.plan.node_program.display());
        let ports = ports::pick_free(nodes as usize)?;
        self.nodes = (0..)
            .zip(ports)
            .map(|(n, port)| Node { id: format!("node-{n}"), group: self.plan.shape.group_of(n), port, child: None })
            .collect();
        let (plan, folder, node_key) = (&self.plan, &self.folder, &self.node_key);
        try_join_all(self.nodes.iter_mut().map(|node| start_node(node, plan, folder, node_key))).await?;
        eprintln!("Starting the proxy ...");
        self.start_proxy().await
    }

    async fn start_proxy(&mut self) -> anyhow::Result<()> {
        let is_taken = |port, metrics_port| !(ports::is_free(port) && ports::is_free(metrics_port));
        let picks_ports = self.plan.port == 0 || self.plan.metrics_port == 0;
        for attempt in 1.. {
            let free = ports::pick_free(2)?;
            let port = if self.plan.port == 0 { free[0] } else { self.plan.port };
            let metrics_port = if self.plan.metrics_port == 0 { free[1] } else { self.plan.metrics_port };
            let nodes: Vec<_> = self.nodes.iter().map(|node| (node.id.clone(), node.port)).collect();
            self.folder.write_configuration(&self.plan, &self.node_key, &nodes, port, metrics_port)?;

            let child = Child::start(&self.proxy_program()?)?;
            let proxy = self.proxy.insert(Proxy { child, port, metrics_port });
            let url = format!("http://127.0.0.1:{port}");
            let admin = Client::with_admin_key(&url, &self.plan.admin_key);
            match await_proxy(&mut proxy.child, &admin, self.nodes.len()).await? {
                Started::Answers => return Ok(()),
                Started::Ended if picks_ports && attempt < PORT_ATTEMPTS && is_taken(port, metrics_port) => {}
                Started::Ended => bail!("the proxy ended at its start{}", proxy.child.last_words()),
            }
        }
        unreachable!("the last attempt returns")
    }

    fn proxy_program(&self) -> anyhow::Result<Program> {
        Ok(Program {
            name: "the proxy".to_owned(),
            path: std::env::current_exe().context("cannot tell where this program is")?,
            arguments: vec![OsString::from("--conf"), self.folder.configuration().into_os_string()],
            environment: Vec::new(),
            // The generated file says everything; keys from outside are in it already.
            hidden_environment: &["MIROIR_"],
            log: (!self.plan.proxy_logs_to_stderr).then(|| self.folder.log_of("proxy")),
            niceness: 0,
        })
    }

    /// Says which processes died since the last call. The others go on.
    pub fn report_deaths(&mut self) {
        for child in self.children() {
            if let Some(status) = child.newly_ended() {
                let (name, pid, last_words) = (child.name(), child.pid(), child.last_words());
                eprintln!("{name} (pid {pid}) died: {status}. The rest of the cluster goes on.{last_words}");
            }
        }
    }

    fn children(&mut self) -> impl Iterator<Item = &mut Child> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.child.as_mut());
        self.proxy.iter_mut().map(|proxy| &mut proxy.child).chain(nodes)
    }

    /// Ends everything: the proxy first, so that no request meets a missing node.
    pub async fn stop(&mut self) {
        if let Some(Proxy { child, .. }) = &mut self.proxy {
            // On SIGTERM it would give its clients time; on SIGINT it ends at once.
            child.signal(Signal::INT);
            child.end().await;
        }
        let nodes = self.nodes.iter_mut().filter_map(|node| node.child.as_mut());
        join_all(nodes.map(|child| async {
            child.signal(Signal::TERM);
            child.end().await;
        }))
        .await;
    }

    /// Ends everything at once.
    pub async fn kill(&mut self) {
        join_all(self.children().map(Child::kill)).await;
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn folder(&self) -> &DataDir {
        &self.folder
    }

    /// The key that the nodes take, from the proxy and from nobody else.
    pub fn node_key(&self) -> &str {
        &self.node_key
    }

    pub fn proxy_pid(&self) -> Option<u32> {
        self.proxy.as_ref().map(|proxy| proxy.child.pid())
    }

    /// Where clients go; port 0 before the proxy was started.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.as_ref().map_or(0, |proxy| proxy.port))
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.proxy.as_ref().map_or(0, |proxy| proxy.metrics_port))
    }

    /// A client of the proxy with the master key.
    pub fn client(&self) -> Client {
        Client::with_bearer(&self.url(), &self.plan.master_key)
    }
}

/// How waiting for a process went.
enum Started {
    Answers,
    Ended,
}

/// Starts a node and waits until it answers, on another port if its own was taken in the meantime.
async fn start_node(node: &mut Node, plan: &Plan, folder: &DataDir, key: &str) -> anyhow::Result<()> {
    for attempt in 1.. {
        let program = node_program(node, plan, folder, key);
        let child = node.child.insert(Child::start(&program)?);
        let client = Client::with_bearer(&format!("http://127.0.0.1:{}", node.port), key);
        match await_node(child, &client).await? {
            Started::Answers => return Ok(()),
            Started::Ended if attempt < PORT_ATTEMPTS && !ports::is_free(node.port) => {
                node.port = ports::pick_free(1)?[0];
            }
            Started::Ended => bail!("{} ended at its start{}", node.id, child.last_words()),
        }
    }
    unreachable!("the last attempt returns")
}

fn node_program(node: &Node, plan: &Plan, folder: &DataDir, key: &str) -> Program {
    let mut arguments: Vec<OsString> = ["--no-analytics", "--env", "development", "--http-addr"].map(Into::into).into();
    arguments.push(format!("127.0.0.1:{}", node.port).into());
    arguments.extend(["--max-indexing-threads".into(), indexing_threads(plan.shape.nodes).to_string().into()]);
    arguments.extend(["--db-path".into(), folder.database_of(&node.id).into_os_string()]);
    Program {
        name: node.id.clone(),
        path: plan.node_program.clone(),
        arguments,
        // The key by environment: arguments can be read by every user of the machine. The folders too, since the
        // embedded node has none and does not know the options for them.
        environment: vec![
            ("MEILI_MASTER_KEY", key.into()),
            ("MEILI_LOG_LEVEL", "WARN".into()),
            ("MEILI_DUMP_DIR", folder.path().join("dumps").into_os_string()),
            ("MEILI_SNAPSHOT_DIR", folder.path().join("snapshots").into_os_string()),
        ],
        hidden_environment: &["MEILI_"],
        log: Some(folder.log_of(&node.id)),
        niceness: NODE_NICENESS,
    }
}

async fn await_node(child: &mut Child, client: &Client) -> anyhow::Result<Started> {
    let deadline = Instant::now() + NODE_START_PATIENCE;
    while Instant::now() < deadline {
        if child.newly_ended().is_some() {
            return Ok(Started::Ended);
        }
        // The second call takes the node's key: what answers is ours, not someone else's on the same port.
        if is_ok(client, "/health").await && is_ok(client, "/version").await {
            return Ok(Started::Answers);
        }
        sleep(START_POLL).await;
    }
    bail!("{} did not answer within {NODE_START_PATIENCE:?}{}", child.name(), child.last_words())
}

/// Waits until the proxy answers and says that it reaches all of its `nodes`.
async fn await_proxy(child: &mut Child, admin: &Client, nodes: usize) -> anyhow::Result<Started> {
    let deadline = Instant::now() + PROXY_START_PATIENCE;
    let mut answers = false;
    while Instant::now() < deadline {
        if child.newly_ended().is_some() {
            return Ok(Started::Ended);
        }
        answers = answers || is_ok(admin, "/health").await;
        if answers && nodes_reached(admin).await == Some(nodes) {
            return Ok(Started::Answers);
        }
        sleep(START_POLL).await;
    }
    let fault = if answers { "does not reach every node" } else { "does not answer" };
    bail!("the proxy {fault} after {PROXY_START_PATIENCE:?}{}", child.last_words())
}

async fn is_ok(client: &Client, path: &str) -> bool {
    client.get(path).await.is_ok_and(|answer| answer.status == 200)
}

/// How many nodes the proxy says are active and just answered it.
async fn nodes_reached(admin: &Client) -> Option<usize> {
    let topology = admin.get("/_miroir/topology").await.ok().filter(|answer| answer.status == 200)?.body;
    let is_active = |node: &&Value| node["status"] == "active" && node.get("error").is_none();
    Some(topology["nodes"].as_array()?.iter().filter(is_active).count())
}
