//! Miroirs of our own, on one Redis, before the nodes of a development cluster.

// The store's own tests use the rest of it.
#[path = "../../src/store/redis/test_server.rs"]
mod test_server;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::{miroir, wait_until, Client, Cluster, Output, START_PATIENCE};
pub use test_server::RedisServer;

pub const ADMIN_KEY: &str = "the-admin-key-of-these-miroirs";

/// A Miroir of our own before the cluster's nodes. It ends with this.
pub struct Proxy {
    pub client: Client,
    pub metrics: Client,
    output: [Output; 2],
    process: Child,
    file: PathBuf,
}

impl Proxy {
    pub fn start(cluster: &Cluster, redis: &RedisServer, folder: &Path) -> Self {
        Self::start_with(cluster, redis, folder, "")
    }

    /// `settings` are further keys below `miroir:`, as YAML with an indent of two.
    pub fn start_with(cluster: &Cluster, redis: &RedisServer, folder: &Path, settings: &str) -> Self {
        let [port, metrics_port] = free_ports();
        let mut text = format!(
            "miroir:\n  master_key: {}\n  node_master_key: {}\n  replication_factor: 2\n  admin: {{ api_key: {ADMIN_KEY} }}\n  \
             search_ui: {{ enabled: true, indexes: [i], jwt_secret: the-search-ui-secret-of-both-miroirs }}\n  \
             task_store: {{ backend: redis, url: \"{}\", key_prefix: m }}\n  server: {{ port: {port} }}\n  metrics: {{ port: \
             {metrics_port} }}\n  health: {{ interval_ms: 500, timeout_ms: 400 }}\n  nodes:\n",
            cluster.master_key,
            cluster.node_master_key,
            redis.url()
        );
        for node in &cluster.nodes {
            text += &format!("    - {{ id: {}, address: \"{}\", replica_group: {} }}\n", node.id, node.url, node.group);
        }
        text += settings;
        let file = folder.join("miroir.yaml");
        std::fs::write(&file, text).expect("a file");
        let client = Client::new(&format!("http://127.0.0.1:{port}"), Some(&cluster.master_key));
        let metrics = Client::new(&format!("http://127.0.0.1:{metrics_port}"), None);
        let (process, output) = spawn(&file);
        let proxy = Self { client, metrics, output, process, file };
        proxy.await_start();
        proxy
    }

    fn await_start(&self) {
        let answers = |client: &Client, path: &str| {
            client.try_send("GET", path, &[], None).is_ok_and(|answer| answer.status == 200)
        };
        wait_until("Miroir is ready", START_PATIENCE, || answers(&self.client, "/_miroir/ready"));
        wait_until("its metrics are there", START_PATIENCE, || answers(&self.metrics, "/metrics"));
    }

    pub fn admin(&self) -> Client {
        Client::with_header(&self.client.url, "x-admin-key", ADMIN_KEY)
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.get("/metrics").text;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub fn leads(&self) -> bool {
        self.metric("miroir_leader") == 1.0
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed since it was started last.
    pub fn log(&self) -> String {
        self.output.iter().map(Output::text).collect()
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a killed process ends");
    }

    /// Starts it where it was.
    pub fn start_again(&mut self) {
        (self.process, self.output) = spawn(&self.file);
        self.await_start();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have been ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- what Miroir printed ---\n{}--- end ---", self.log());
        }
    }
}

fn spawn(file: &Path) -> (Child, [Output; 2]) {
    let mut command = miroir();
    command.arg("--conf").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("miroir starts");
    let stdout = Output::collect(process.stdout.take().expect("it is piped"));
    let stderr = Output::collect(process.stderr.take().expect("it is piped"));
    (process, [stdout, stderr])
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
