//! A node as a process of its own, and a plain client for it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const MASTER_KEY: &str = "a master key for tests";

/// Far more than anything here takes, so that a machine under load fails no test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running node. Dropping it kills it; its data stays until the directory is dropped.
pub struct Node {
    process: Child,
    url: String,
    agent: ureq::Agent,
}

/// An answer: status and body, `null` if the body is not JSON.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Node {
    /// Starts a node on a free port with its data in `directory`.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    pub fn start_with(directory: &Path, options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_miroir-node"))
            .args(["--http-addr", "127.0.0.1:0", "--master-key", MASTER_KEY, "--log-level", "INFO"])
            .args(["--no-analytics", "--env", "development"])
            .args(options)
            .arg("--db-path")
            .arg(directory)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let url = format!("http://{}", listening_address(&mut process));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        Self { process, url, agent }
    }

    pub fn get(&self, path: &str) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.url)).header("Authorization", bearer());
        read(request.call().expect("the node answers"))
    }

    pub fn delete(&self, path: &str) -> Answer {
        let request = self.agent.delete(format!("{}{path}", self.url)).header("Authorization", bearer());
        read(request.call().expect("the node answers"))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, "application/json", &body.to_string())
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .agent
            .put(format!("{}{path}", self.url))
            .header("Authorization", bearer())
            .header("Content-Type", "application/json");
        read(request.send(body.to_string()).expect("the node answers"))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .agent
            .patch(format!("{}{path}", self.url))
            .header("Authorization", bearer())
            .header("Content-Type", "application/json");
        read(request.send(body.to_string()).expect("the node answers"))
    }

    pub fn post_text(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("Authorization", bearer())
            .header("Content-Type", content_type);
        read(request.send(body).expect("the node answers"))
    }

    /// A request with exactly these headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.call().expect("the node answers"))
    }

    /// The task, once it has ended.
    pub fn wait_for(&self, accepted: &Answer) -> Value {
        let uid = accepted.body["taskUid"].as_u64().unwrap_or_else(|| panic!("no task: {accepted:?}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.get(&format!("/tasks/{uid}")).body;
            match task["status"].as_str() {
                Some("succeeded" | "failed" | "canceled") => return task,
                _ => assert!(Instant::now() < deadline, "still not done: {task}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill().expect("the node can be killed");
        self.process.wait().expect("the node ends");
    }

    /// SIGTERM, and whether the node then ended well.
    pub fn terminate(mut self) -> bool {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait().expect("the node can be waited for") {
                Some(status) => return status.success(),
                None => assert!(Instant::now() < deadline, "the node does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails when the node has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory for the data of one test.
pub fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("data");
    (directory, path)
}

fn bearer() -> String {
    format!("Bearer {MASTER_KEY}")
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text).expect("the whole answer comes");
    Answer { status, body: serde_json::from_str(&text).unwrap_or_default() }
}

/// The address that the node logs once it listens. What it logs afterwards is passed on.
fn listening_address(process: &mut Child) -> String {
    let log = BufReader::new(process.stderr.take().expect("the log is piped"));
    let (found, address) = mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on ") {
                // Nobody waits any more once the first address is known.
                let _ = found.send(address.trim().to_owned());
            }
            eprintln!("{line}");
        }
    });
    address.recv_timeout(PATIENCE).expect("the node listens")
}
