use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// One call that came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method and path.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The tasks of its body, taken out of gzip, one JSON object a line.
    pub tasks: Vec<Value>,
    /// What it was answered.
    pub status: u16,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// An HTTP server for webhooks to call. It ends with the process.
pub struct Receiver {
    pub url: String,
    calls: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    /// Answers 200 until told otherwise.
    pub fn start() -> Self {
        Self::listening("http", Some)
    }

    /// The same over https, with a certificate of an authority of its own, which nobody else trusts.
    pub fn start_with_tls() -> Self {
        let chain = CertificateDer::from_pem_slice(include_bytes!("tls/receiver.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/receiver.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![chain], key);
        let config = Arc::new(config.expect("a pair"));
        Self::listening("https", move |stream| {
            let server = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(rustls::StreamOwned::new(server, stream))
        })
    }

    /// Where the certificate of that authority is.
    pub fn authority() -> &'static str {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/authority.pem")
    }

    fn listening<S: Read + Write>(scheme: &str, accepted: impl Fn(TcpStream) -> Option<S> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}/told", listener.local_addr().expect("it is bound"));
        let receiver = Self { url, calls: Arc::default(), status: Arc::new(AtomicU16::new(200)) };
        let (calls, status) = (Arc::clone(&receiver.calls), Arc::clone(&receiver.status));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A caller that is killed leaves half a call behind.
                let call = accepted(stream).and_then(|stream| take(stream, status.load(Ordering::SeqCst)));
                if let Some(call) = call {
                    calls.lock().expect("nobody panics with it").push(call);
                }
            }
        });
        receiver
    }

    /// From now on calls are answered with this status.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Received> {
        self.calls.lock().expect("nobody panics with it").clone()
    }

    /// Uids of the tasks of all calls that were answered with 200, in the order in which they came.
    pub fn told(&self) -> Vec<u64> {
        let calls = self.calls();
        let taken = calls.iter().filter(|call| call.status == 200);
        taken.flat_map(|call| &call.tasks).map(|task| task["uid"].as_u64().expect("a uid")).collect()
    }
}

fn take(stream: impl Read + Write, status: u16) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).ok()?;
    let tasks = text.lines().map(|task| serde_json::from_str(task).expect("a task a line")).collect();
    let answer = format!("HTTP/1.1 {status} Told\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    reader.get_mut().flush().ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Received { line, headers, tasks, status })
}
