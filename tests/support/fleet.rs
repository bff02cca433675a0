use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use loadtest::stub::{Fault, Stub};
use serde_json::{json, Value};
use tempfile::TempDir;

use super::{miroir, programs, wait_until, Client, Output, START_PATIENCE};

const MASTER_KEY: &str = "fleet-master-key-of-tests";
const ADMIN_KEY: &str = "fleet-admin-key-of-tests";
const NODE_KEY: &str = "fleet-node-key-of-tests";

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Nodes of each group.
    pub groups: Vec<u32>,
    pub replication_factor: u32,
    /// Further keys below `miroir:`, as YAML with an indent of two.
    pub settings: String,
    /// Further keys of `server:`, each after a comma.
    pub server: &'static str,
    /// Whether a stub stands before each node, through which the proxy reaches it.
    pub stubs: bool,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self { groups: vec![3], replication_factor: 2, settings: String::new(), server: "", stubs: false }
    }
}

/// Nodes and a proxy as processes of their own, each of which can be killed and started again on its data and its port.
pub struct Fleet {
    pub url: String,
    client: Client,
    pub metrics_url: String,
    nodes: Vec<FleetNode>,
    /// What nodes are started with.
    node_key: String,
    proxy: Option<Child>,
    proxy_output: Vec<Output>,
    stubs: Vec<Stub>,
    /// Runs the stubs.
    runtime: Option<tokio::runtime::Runtime>,
    folder: TempDir,
}

struct FleetNode {
    id: String,
    port: u16,
    process: Option<Child>,
}

impl Fleet {
    /// Starts everything and waits until all nodes are active.
    pub fn start(options: &FleetOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let count: u32 = options.groups.iter().sum();
        let ports = free_ports(count as usize + 2);
        let nodes = (0..count as usize).map(|n| FleetNode { id: format!("node-{n}"), port: ports[n], process: None });
        let (port, metrics_port) = (ports[count as usize], ports[count as usize + 1]);
        let url = format!("http://127.0.0.1:{port}");
        let mut fleet = Self {
            client: Client::new(&url, Some(MASTER_KEY)),
            url,
            metrics_url: format!("http://127.0.0.1:{metrics_port}"),
            nodes: nodes.collect(),
            node_key: NODE_KEY.to_owned(),
            proxy: None,
            proxy_output: Vec::new(),
            stubs: Vec::new(),
            runtime: None,
            folder,
        };
        if options.stubs {
            fleet.start_stubs();
        }
        fleet.write_configuration(options, port, metrics_port);
        (0..fleet.nodes.len()).for_each(|n| fleet.spawn_node(n));
        (0..fleet.nodes.len()).for_each(|n| fleet.await_node(n));
        fleet.start_proxy();
        fleet.await_recovery();
        fleet
    }

    fn start_stubs(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        for n in 0..self.nodes.len() {
            let any = ([127, 0, 0, 1], 0).into();
            let stub = runtime.block_on(Stub::start(any, &self.node_url(n), Fault::None, n as u64));
            self.stubs.push(stub.expect("a stub starts"));
        }
        self.runtime = Some(runtime);
    }

    /// What stands before node `n`.
    pub fn stub(&self, n: usize) -> &Stub {
        &self.stubs[n]
    }

    /// Reads that all nodes were asked, counted by the stubs before them.
    pub fn reads(&self) -> u64 {
        self.stubs.iter().map(|stub| stub.counts().reads).sum()
    }

    /// The sum of a metric of the proxy over all its labels that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = Client::new(&self.metrics_url, None).get("/metrics").text;
        let is_it = |line: &&str| line.starts_with(name) && line.contains(labels) && !line.starts_with('#');
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(is_it).filter_map(value).sum()
    }

    fn write_configuration(&self, options: &FleetOptions, port: u16, metrics_port: u16) {
        let groups = options.groups.iter().enumerate().flat_map(|(group, &nodes)| (0..nodes).map(move |_| group));
        let nodes: String = self
            .nodes
            .iter()
            .zip(groups)
            .enumerate()
            .map(|(n, (node, group))| {
                let (id, port) = (&node.id, self.stubs.get(n).map_or(node.port, |stub| stub.address().port()));
                format!("    - {{ id: {id}, address: \"http://127.0.0.1:{port}\", replica_group: {group} }}\n")
            })
            .collect();
        let text = format!(
            "miroir:\n  master_key: {MASTER_KEY}\n  node_master_key: {NODE_KEY}\n  admin: {{ api_key: {ADMIN_KEY} }}\n  \
             replication_factor: {rf}\n  nodes:\n{nodes}  server: {{ port: {port}{server} }}\n  metrics: {{ port: {metrics_port} }}\n  \
             task_store: {{ backend: sqlite, path: miroir.db }}\n  \
             health: {{ interval_ms: 500, timeout_ms: 500, unhealthy_threshold: 2, recovery_threshold: 1 }}\n{settings}",
            rf = options.replication_factor,
            settings = options.settings,
            server = options.server,
        );
        std::fs::write(self.folder.path().join("miroir.yaml"), text).expect("the configuration is written");
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The proxy as the measurements ask it.
    pub fn server(&self) -> loadtest::client::Server {
        loadtest::client::Server::new(&self.url, Some(MASTER_KEY.to_owned()))
    }

    /// Node `n`, as `loadtest` asks it.
    pub fn node_server(&self, n: usize) -> loadtest::client::Server {
        loadtest::client::Server::new(self.node_url(n), Some(self.node_key.clone()))
    }

    pub fn admin(&self) -> Client {
        Client::with_header(&self.url, "x-admin-key", ADMIN_KEY)
    }

    /// A client of node `n` itself, past the proxy.
    pub fn node_client(&self, n: usize) -> Client {
        Client::new(&self.node_url(n), Some(&self.node_key))
    }

    fn node_url(&self, n: usize) -> String {
        format!("http://127.0.0.1:{}", self.nodes[n].port)
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Every secret of the configuration.
    pub fn secrets() -> [&'static str; 3] {
        [MASTER_KEY, ADMIN_KEY, NODE_KEY]
    }

    /// Where the proxy keeps its files, beside those of the nodes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Nodes that are started from now on have this master key.
    pub fn set_node_key(&mut self, key: &str) {
        key.clone_into(&mut self.node_key);
    }

    /// Changes the configuration file, which the proxy does not see until it is told to.
    pub fn edit_configuration(&self, edit: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("miroir.yaml");
        let text = std::fs::read_to_string(&path).expect("the configuration is there");
        std::fs::write(path, edit(text)).expect("the configuration is written");
    }

    pub fn proxy_pid(&self) -> u32 {
        self.proxy.as_ref().expect("it runs").id()
    }

    /// Ends node `n` as a crash would.
    pub fn kill_node(&mut self, n: usize) {
        end(&mut self.nodes[n].process);
    }

    /// Removes all that node `n`, which does not run, has stored.
    pub fn lose_disk(&self, n: usize) {
        assert!(self.nodes[n].process.is_none(), "it runs");
        std::fs::remove_dir_all(self.folder.path().join(&self.nodes[n].id)).expect("its data is removed");
    }

    /// Pid of a node that runs.
    pub fn node_pid(&self, n: usize) -> u32 {
        self.nodes[n].process.as_ref().expect("it runs").id()
    }

    /// Starts node `n` on its data, and waits until it answers.
    pub fn start_node(&mut self, n: usize) {
        self.spawn_node(n);
        self.await_node(n);
    }

    fn spawn_node(&mut self, n: usize) {
        let program =
            std::env::var_os("MIROIR_NODE_BIN").map(PathBuf::from).filter(|path| path.as_os_str() != "embedded");
        let mut command = Command::new(program.unwrap_or_else(|| programs().join("miroir-node")));
        let address = format!("127.0.0.1:{}", self.nodes[n].port);
        command.args(["--http-addr", &address, "--master-key", &self.node_key, "--no-analytics"]);
        command.arg("--db-path").arg(self.folder.path().join(&self.nodes[n].id));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.nodes[n].process = Some(command.spawn().expect("a node starts"));
    }

    fn await_node(&self, n: usize) {
        let client = self.node_client(n);
        let is_up = || client.try_send("GET", "/health", &[], None).is_ok_and(|answer| answer.status == 200);
        wait_until("the node answers", START_PATIENCE, is_up);
    }

    /// Ends the proxy as a crash would; the nodes go on.
    pub fn kill_proxy(&mut self) {
        end(&mut self.proxy);
    }

    /// Starts the proxy on what it remembers, and waits until it answers.
    pub fn start_proxy(&mut self) {
        let mut command = miroir();
        command.arg("--conf").arg(self.folder.path().join("miroir.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut proxy = command.spawn().expect("the proxy starts");
        self.proxy_output.push(Output::collect(proxy.stdout.take().expect("it is piped")));
        self.proxy_output.push(Output::collect(proxy.stderr.take().expect("it is piped")));
        self.proxy = Some(proxy);
        // Each listens for itself.
        let listeners = [(self.client.clone(), "/health"), (Client::new(&self.metrics_url, None), "/metrics")];
        wait_until("the proxy answers", START_PATIENCE, || {
            let ended = self.proxy.as_mut().and_then(|proxy| proxy.try_wait().ok().flatten());
            assert!(ended.is_none(), "the proxy ended at once: {ended:?}");
            let answers = |(client, path): &(Client, &str)| {
                client.try_send("GET", path, &[], None).is_ok_and(|answer| answer.status == 200)
            };
            listeners.iter().all(answers)
        });
    }

    /// What the proxy says of each node.
    pub fn topology(&self) -> Value {
        self.admin().get("/_miroir/topology").expect_status(200)["nodes"].clone()
    }

    /// Waits until the proxy has taken node `n` for failed.
    pub fn await_failure(&self, n: usize) {
        wait_until("the proxy sees that the node is gone", START_PATIENCE, || self.topology()[n]["status"] == "failed");
    }

    /// Waits until every node is active, has been given all that it missed, and serves reads of all its shards.
    pub fn await_recovery(&self) {
        let has_recovered = |node: &Value| {
            node["status"] == "active" && node["replica_log"]["entries"] == 0 && node["lagging_shards"] == 0
        };
        wait_until("all nodes have caught up", START_PATIENCE, || {
            self.topology().as_array().expect("nodes").iter().all(has_recovered)
        });
    }

    /// All documents of `index` that node `n` holds, by id, without Miroir's own fields.
    pub fn documents_of(&self, n: usize, index: &str) -> std::collections::BTreeMap<String, Value> {
        let page = self.node_client(n).get(&format!("/indexes/{index}/documents?limit=100000")).expect_status(200);
        let documents = page["results"].as_array().expect("documents").iter().map(|document| {
            let mut document = document.clone();
            document.as_object_mut().expect("an object").remove("_miroir_shard");
            let id = match &document["id"] {
                Value::String(id) => id.clone(),
                other => other.to_string(),
            };
            (id, document)
        });
        documents.collect()
    }

    /// The names that the proxy gave to the writes of each of node `n`'s tasks in `index`.
    pub fn markers_of(&self, n: usize, index: &str) -> Vec<Vec<String>> {
        let mut markers = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/tasks?indexUids={index}&limit=1000{from}");
            let page = self.node_client(n).get(&path).expect_status(200);
            let tasks = page["results"].as_array().expect("tasks");
            let of_task = |task: &Value| -> Vec<String> {
                let metadata = task["customMetadata"].as_str().unwrap_or("");
                metadata.split(',').filter(|marker| !marker.is_empty()).map(str::to_owned).collect()
            };
            markers.extend(tasks.iter().map(of_task));
            match page["next"].as_u64() {
                Some(next) => from = format!("&from={next}"),
                None => return markers,
            }
        }
    }

    /// Waits until no task is unfinished any more.
    pub fn await_tasks(&self) {
        let unfinished =
            || self.client.get("/tasks?statuses=enqueued,processing&limit=1").expect_status(200)["total"].clone();
        wait_until("all tasks have ended", super::TASK_PATIENCE, || unfinished() == json!(0));
    }

    /// What the proxy printed, over all its lives.
    pub fn proxy_log(&self) -> String {
        self.proxy_output.iter().map(Output::text).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        end(&mut self.proxy);
        self.nodes.iter_mut().for_each(|node| end(&mut node.process));
        if std::thread::panicking() {
            eprintln!("--- what the proxy printed ---\n{}--- end ---", self.proxy_log());
        }
    }
}

fn end(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        // It may have ended by itself.
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// Ports that nobody listens on now. All are held at once, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}
