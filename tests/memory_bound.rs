//! Many large bodies at once: memory stays bounded, and who is turned away is told when to come back.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::Value;
use support::{kill, miroir, terminate, wait_until, Client, Cluster, ClusterOptions, START_PATIENCE, STOP_PATIENCE};

const MIB: u64 = 1 << 20;
const CLIENTS: usize = 64;
/// Each document's length in a body.
const DOCUMENT_LEN: usize = 1_000;
/// What each body may hold without being counted.
const FREE_BYTES: u64 = 256 << 10;
/// Longest wait of a client for one read or write: beyond it the proxy hangs.
const CLIENT_PATIENCE: Duration = Duration::from_secs(120);

/// What is sent. The whole size runs when `MIROIR_TEST_FULL_SIZE` is set.
struct Load {
    body_bytes: u64,
    buffer_bytes_max: u64,
    max_body_bytes: u64,
}

impl Load {
    fn from_environment() -> Self {
        match std::env::var_os("MIROIR_TEST_FULL_SIZE") {
            None => Self { body_bytes: 4_000_000, buffer_bytes_max: 32 * MIB, max_body_bytes: 8 * MIB },
            Some(_) => Self { body_bytes: 50_000_000, buffer_bytes_max: 256 * MIB, max_body_bytes: 64 * MIB },
        }
    }

    /// Most memory that the proxy may ever have had, given what it had at rest: the budget, a quarter of it for what the
    /// allocator cannot use again at once, and a megabyte per connection for what is not counted.
    fn peak_bytes_max(&self, at_rest: u64) -> u64 {
        at_rest + self.buffer_bytes_max + self.buffer_bytes_max / 4 + CLIENTS as u64 * MIB
    }
}

/// A proxy of our own configuration in front of the nodes of a cluster.
struct Proxy {
    process: Child,
    address: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn start(cluster: &Cluster, load: &Load) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free_port = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("an address").port()
        };
        let (port, metrics_port) = (free_port(), free_port());
        let nodes: String = cluster
            .nodes
            .iter()
            .map(|node| format!("    - {{ id: {}, address: \"{}\" }}\n", node.id, node.url))
            .collect();
        let text = format!(
            "miroir:\n  node_master_key: \"{}\"\n  nodes:\n{nodes}  task_store: {{ path: miroir.db }}\n  server: {{ port: {port}, \
             max_body_bytes: {} }}\n  metrics: {{ port: {metrics_port} }}\n  scatter: {{ node_timeout_ms: 30000 }}\n  \
             writes: {{ buffer_bytes_max: {} }}\n",
            cluster.node_master_key, load.max_body_bytes, load.buffer_bytes_max
        );
        let file = folder.path().join("miroir.yaml");
        fs::write(&file, text).expect("a configuration");
        let mut command: Command = miroir();
        command.arg("--conf").arg(&file).stdin(Stdio::null());
        let process = command.spawn().expect("miroir starts");
        let address = format!("127.0.0.1:{port}");
        let client = Client::new(&format!("http://{address}"), None);
        let proxy = Self { process, client, address, _folder: folder };
        wait_until("the proxy answers", START_PATIENCE, || {
            proxy.client.try_send("GET", "/health", &[], None).is_ok_and(|answer| answer.status == 200)
        });
        proxy
    }

    /// Bytes of memory that the process has had at most.
    fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the proxy runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        terminate(self.process.id());
        let deadline = std::time::Instant::now() + STOP_PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if std::time::Instant::now() > deadline {
                kill(self.process.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A client that sends a body without ever having all of it.
struct Upload {
    stream: TcpStream,
    client: usize,
    documents: usize,
    sent: usize,
}

/// What a client was told.
#[derive(Debug)]
struct Told {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

impl Upload {
    /// A body that the proxy has made room for.
    fn begin_welcome(proxy: &str, client: usize, body_bytes: u64) -> Self {
        let mut upload = Self::begin_with(proxy, client, body_bytes, "Expect: 100-continue\r\n");
        let mut welcome = *b"HTTP/1.1 100 Continue\r\n\r\n";
        let expected = welcome;
        upload.stream.read_exact(&mut welcome).expect("a welcome");
        assert_eq!(welcome, expected);
        upload
    }

    fn begin(proxy: &str, client: usize, body_bytes: u64) -> Self {
        Self::begin_with(proxy, client, body_bytes, "")
    }

    fn begin_with(proxy: &str, client: usize, body_bytes: u64, header: &str) -> Self {
        let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
        stream.set_read_timeout(Some(CLIENT_PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(CLIENT_PATIENCE)).expect("a timeout");
        let documents = body_bytes as usize / (DOCUMENT_LEN + 1);
        let length = documents * (DOCUMENT_LEN + 1) + 1;
        let head = format!(
            "POST /indexes/load/documents?primaryKey=id HTTP/1.1\r\nHost: {proxy}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{header}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the proxy reads");
        Self { stream, client, documents, sent: 0 }
    }

    /// Sends documents until `upto` have been sent, or the proxy reads no more.
    fn send(&mut self, upto: usize) {
        let mut chunk = Vec::new();
        while self.sent < upto {
            chunk.clear();
            for n in self.sent..upto.min(self.sent + 64) {
                let start = chunk.len();
                chunk.push(if n == 0 { b'[' } else { b',' });
                write!(chunk, "{{\"id\":\"{}-{n}\",\"text\":\"", self.client).expect("into memory");
                chunk.resize(start + DOCUMENT_LEN - 1, b'x');
                chunk.extend_from_slice(b"\"}");
            }
            // It may have answered already; then it is the answer that counts.
            if self.stream.write_all(&chunk).is_err() {
                return;
            }
            self.sent = upto.min(self.sent + 64);
        }
    }

    fn finish(mut self) -> Told {
        self.send(self.documents);
        let _ = self.stream.write_all(b"]");
        let mut reader = BufReader::new(self.stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let (mut retry_after, mut length) = (None, 0);
        loop {
            line.clear();
            reader.read_line(&mut line).expect("a header");
            match line.trim_end().split_once(": ") {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("retry-after") => retry_after = Some(value.to_owned()),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a length")
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        Told { status, retry_after, body: serde_json::from_slice(&body).expect("JSON") }
    }
}

fn assert_turned_away(told: &Told) {
    assert_eq!((told.status, &told.body["code"]), (503, &"miroir_too_busy".into()), "{told:?}");
    assert!(told.retry_after.as_deref().is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{told:?}");
}

#[test]
fn given_more_bodies_than_fit_then_memory_is_bounded_and_the_rest_is_told_to_come_back() {
    let load = Load::from_environment();
    let cluster = Cluster::start(ClusterOptions { nodes: 2, ..ClusterOptions::default() });
    let proxy = Proxy::start(&cluster, &load);
    let first = proxy.client.post("/indexes/load/documents?primaryKey=id", serde_json::json!([{ "id": 0 }]));
    proxy.client.succeed(first);
    let at_rest = proxy.peak_bytes();

    // Bodies that stop in their middle hold what they have announced.
    let holders = load.buffer_bytes_max / (load.body_bytes + load.body_bytes / 4 - FREE_BYTES);
    let mut held: Vec<Upload> =
        (0..holders as usize).map(|n| Upload::begin_welcome(&proxy.address, n, load.body_bytes)).collect();
    for upload in &mut held {
        upload.send(upload.documents / 2);
    }
    let turned_away: Vec<_> = (0..4)
        .map(|n| {
            let upload = Upload::begin(&proxy.address, 100 + n, load.body_bytes);
            std::thread::spawn(move || upload.finish())
        })
        .collect();
    // Whoever sends little is not concerned.
    let small = proxy.client.post("/indexes/load/documents?primaryKey=id", serde_json::json!([{ "id": 1 }]));
    assert_eq!(small.status, 202, "{}", small.text);
    proxy.client.search("load", serde_json::json!({ "q": "" }));
    for told in turned_away {
        assert_turned_away(&told.join().expect("a client ends"));
    }
    for upload in held {
        let told = upload.finish();
        assert_eq!(told.status, 202, "a body that has begun is taken: {told:?}");
    }

    let start = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (start, address, body_bytes) = (Arc::clone(&start), proxy.address.clone(), load.body_bytes);
            std::thread::spawn(move || {
                start.wait();
                let upload = Upload::begin(&address, 1_000 + n, body_bytes);
                let documents = upload.documents;
                (upload.finish(), documents)
            })
        })
        .collect();
    let (mut taken, mut refused) = (0, 0);
    for client in clients {
        let (told, documents) = client.join().expect("a client ends");
        if told.status == 202 {
            taken += 1;
            let uid = told.body["taskUid"].as_u64().expect("a task");
            let task = proxy.client.get(&format!("/tasks/{uid}")).expect_status(200);
            assert_eq!(task["details"]["receivedDocuments"], documents);
        } else {
            refused += 1;
            assert_turned_away(&told);
        }
    }
    let peak = proxy.peak_bytes();
    println!(
        "{CLIENTS} bodies of {} MB, {} MiB for all: {taken} taken, {refused} turned away; memory at rest {} MiB, at most {} MiB",
        load.body_bytes / 1_000_000,
        load.buffer_bytes_max / MIB,
        at_rest / MIB,
        peak / MIB
    );
    assert!(taken > 0);
    assert!(peak <= load.peak_bytes_max(at_rest), "{} MiB at rest, {} MiB at most", at_rest / MIB, peak / MIB);
    assert_eq!(proxy.client.get("/health").status, 200);
}
