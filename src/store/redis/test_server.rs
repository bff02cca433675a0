//! A Redis of one's own for tests, with its log flushed at each commit. The integration tests use it too.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen, with 100,000 tasks in its log.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Ports tried, since somebody else may take a free one before the server does.
const PORTS_TRIED: usize = 5;

/// A running `redis-server`. It ends when this is dropped; until then its folder outlives restarts.
pub struct RedisServer {
    port: u16,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    process: Child,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// With these settings, as the command line takes them.
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        for _ in 0..PORTS_TRIED {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = free.expect("a free port").port();
            let mut process = spawn(port, folder.path(), &settings);
            if listens(port, &mut process) {
                return Self { port, folder, settings, process };
            }
        }
        panic!("redis-server found no port");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a killed process ends");
    }

    /// Starts it again, where it was and with what it has on its disk.
    pub fn start_again(&mut self) {
        self.process = spawn(self.port, self.folder.path(), &self.settings);
        assert!(listens(self.port, &mut self.process), "redis-server does not start again");
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, folder: &std::path::Path, settings: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
    command.args(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed: see scripts/setup")
}

/// Waits until it listens. False if it ended instead.
fn listens(port: u16, process: &mut Child) -> bool {
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // Not somebody else who took the port: then ours has ended.
            std::thread::sleep(Duration::from_millis(50));
            return matches!(process.try_wait(), Ok(None));
        }
        if !matches!(process.try_wait(), Ok(None)) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
