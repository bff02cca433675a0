//! A stub node: stands before a real node, passes everything through, and makes its reads slow or faulty as it is told.
//!
//! Right answers are the node's own, so that what a cluster makes of slow and broken nodes can be compared with what it
//! answers otherwise. Only reads are touched, and what the fault names: a node whose health checks fail is another matter.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where a stub tells what it has seen.
pub const COUNTS_PATH: &str = "/__stub";

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a silent stub holds a connection: longer than any proxy waits.
const SILENCE: Duration = Duration::from_secs(120);

/// What is wrong with the reads of a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// `percent` of reads are passed on this much later.
    Late {
        percent: u8,
        by: Duration,
    },
    /// Reads are passed on when this is over.
    Held,
    /// 503, with `Retry-After`.
    TooBusy {
        retry_after_s: u32,
    },
    /// Status 200 and a page in HTML.
    Garbage,
    /// Status 404 and a page in HTML.
    NotFoundPage,
    /// The first half of the right answer, announced as the whole.
    HalfAnnouncedAsWhole,
    /// The first half of the right answer; the connection then ends.
    HalfBody,
    /// Nothing; the connection stays open.
    Silence,
    /// Nothing; the connection ends.
    HangUp,
    /// Writes of documents are passed on when this is over, even those whose client does not wait any more; reads are right.
    WritesHeld,
    /// Who asks how tasks stand, by their numbers, is answered when this is over; everything else is right.
    TasksHeld,
    /// Who asks for an index is told that there is none; everything else is right.
    IndexesHidden,
    /// Indexes are not created: 422, as of a node whose disk is full. Everything else is right.
    CreationsRefused,
}

/// What a stub has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Counts {
    pub reads: u64,
    /// Reads that were made late or were answered wrongly.
    pub disturbed: u64,
}

/// A running stub; ends when it is dropped.
pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    node: String,
    http: reqwest::Client,
    fault: watch::Sender<Fault>,
    reads: AtomicU64,
    disturbed: AtomicU64,
    /// Decides which reads are late.
    dice: Mutex<fastrand::Rng>,
}

impl Stub {
    /// Listens on `address`, before the node at the URL `node`.
    pub async fn start(address: SocketAddr, node: &str, fault: Fault, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let http = reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other)?;
        let shared = Arc::new(Shared {
            node: node.trim_end_matches('/').to_owned(),
            http,
            fault: watch::Sender::new(fault),
            reads: AtomicU64::new(0),
            disturbed: AtomicU64::new(0),
            dice: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, this is wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Owns the connections: they end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn is_read(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or("");
        let ends = ["/search", "/facet-search", "/multi-search", "/similar", "/documents/fetch"];
        ends.iter().any(|end| path.ends_with(end)) || (self.method == "GET" && path.contains("/documents"))
    }

    /// `GET /indexes/{uid}`.
    fn asks_for_index(&self) -> bool {
        let uid = self.path.strip_prefix("/indexes/");
        self.method == "GET" && uid.is_some_and(|uid| !uid.is_empty() && !uid.contains(['/', '?']))
    }

    fn asks_for_tasks(&self) -> bool {
        self.method == "GET" && self.path.starts_with("/tasks?") && self.path.contains("&uids=")
    }

    fn creates_index(&self) -> bool {
        self.method == "POST" && self.path == "/indexes"
    }

    fn writes_documents(&self) -> bool {
        !self.is_read() && self.path.contains("/documents")
    }
}

/// Answers the requests of one connection, until it ends or a fault ends it.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // A failure to set it makes answers later, not wrong.
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut unread).await {
        let Some(answer) = shared.answer(request).await else { return };
        if stream.write_all(&answer.bytes).await.is_err() || answer.ends {
            return;
        }
    }
}

struct Answer {
    bytes: Vec<u8>,
    /// Whether the connection ends with it.
    ends: bool,
}

impl Answer {
    fn new(status: u16, header: &str, body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n{header}\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, ends: false }
    }
}

/// An error as nodes answer it.
fn refusal(status: u16, code: &str, kind: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "message": message, "code": code, "type": kind, "link": "" }).to_string();
    Answer::new(status, "content-type: application/json\r\n", body.as_bytes())
}

impl Shared {
    fn counts(&self) -> Counts {
        let (reads, disturbed) = (self.reads.load(Ordering::Relaxed), self.disturbed.load(Ordering::Relaxed));
        Counts { reads, disturbed }
    }

    /// What is wrong with the next read.
    fn next_fault(&self) -> Fault {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let fault = match *self.fault.borrow() {
            Fault::Late { percent, .. }
                if self.dice.lock().unwrap_or_else(PoisonError::into_inner).u8(0..100) >= percent =>
            {
                Fault::None
            }
            Fault::WritesHeld | Fault::TasksHeld | Fault::IndexesHidden | Fault::CreationsRefused => Fault::None,
            fault => fault,
        };
        self.disturbed.fetch_add(u64::from(fault != Fault::None), Ordering::Relaxed);
        fault
    }

    /// `None`: the connection ends without a word.
    async fn answer(&self, request: Request) -> Option<Answer> {
        if request.path == COUNTS_PATH {
            return Some(Answer::new(200, "", &serde_json::to_vec(&self.counts()).ok()?));
        }
        let fault = if request.is_read() { self.next_fault() } else { Fault::None };
        if request.writes_documents() {
            // Ends with the stub at the latest.
            drop(self.fault.subscribe().wait_for(|fault| *fault != Fault::WritesHeld).await);
        }
        if request.asks_for_tasks() {
            drop(self.fault.subscribe().wait_for(|fault| *fault != Fault::TasksHeld).await);
        }
        let of_indexes = *self.fault.borrow();
        if of_indexes == Fault::IndexesHidden && request.asks_for_index() {
            return Some(refusal(404, "index_not_found", "invalid_request", "Index not found."));
        }
        if of_indexes == Fault::CreationsRefused && request.creates_index() {
            return Some(refusal(422, "no_space_left_on_device", "system", "No space left on device"));
        }
        match fault {
            Fault::Late { by, .. } => tokio::time::sleep(by).await,
            // Ends with the stub at the latest.
            Fault::Held => drop(self.fault.subscribe().wait_for(|fault| *fault != Fault::Held).await),
            Fault::TooBusy { retry_after_s } => {
                let body = br#"{"message":"Too many search requests.","code":"too_many_search_requests","type":"system","link":""}"#;
                let header = format!("retry-after: {retry_after_s}\r\ncontent-type: application/json\r\n");
                return Some(Answer::new(503, &header, body));
            }
            Fault::Garbage => return Some(Answer::new(200, "content-type: text/html\r\n", b"<html>It works!</html>")),
            Fault::NotFoundPage => {
                return Some(Answer::new(404, "content-type: text/html\r\n", b"<html>Not found</html>"))
            }
            Fault::Silence => {
                tokio::time::sleep(SILENCE).await;
                return None;
            }
            Fault::HangUp => return None,
            Fault::None
            | Fault::HalfBody
            | Fault::HalfAnnouncedAsWhole
            | Fault::WritesHeld
            | Fault::TasksHeld
            | Fault::IndexesHidden
            | Fault::CreationsRefused => {}
        }
        let (status, content_type, body) = self.ask_node(request).await?;
        let header = format!("content-type: {content_type}\r\n");
        Some(match fault {
            Fault::HalfAnnouncedAsWhole => Answer::new(status, &header, &body[..body.len() / 2]),
            Fault::HalfBody => {
                let mut answer = Answer::new(status, &header, &body);
                answer.bytes.truncate(answer.bytes.len() - body.len() / 2);
                Answer { ends: true, ..answer }
            }
            _ => Answer::new(status, &header, &body),
        })
    }

    async fn ask_node(&self, request: Request) -> Option<(u16, String, Vec<u8>)> {
        let method = request.method.parse().ok()?;
        let mut forwarded = self.http.request(method, format!("{}{}", self.node, request.path));
        for (name, value) in &request.headers {
            if !["host", "connection", "content-length"].contains(&name.as_str()) {
                forwarded = forwarded.header(name, value.as_slice());
            }
        }
        let answered = forwarded.body(request.body).send().await.ok()?;
        let content_type = answered.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("application/json").to_owned();
        Some((answered.status().as_u16(), content_type, answered.bytes().await.ok()?.to_vec()))
    }
}

/// The next request of a connection; `None` when it has ended or cannot be read.
async fn next_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Request> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head_bytes) = head.parse(unread).ok()? {
            let (method, path) = (head.method?.to_owned(), head.path?.to_owned());
            let owned = |header: &httparse::Header<'_>| (header.name.to_ascii_lowercase(), header.value.to_vec());
            let headers: Vec<(String, Vec<u8>)> = head.headers.iter().map(owned).collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = match length {
                Some((_, length)) => std::str::from_utf8(length).ok()?.trim().parse().ok()?,
                None => 0,
            };
            unread.drain(..head_bytes);
            while unread.len() < length {
                read_more(stream, unread).await?;
            }
            let rest = unread.split_off(length);
            let body = std::mem::replace(unread, rest);
            return Some(Request { method, path, headers, body });
        }
        if unread.len() > HEAD_BYTES_MAX {
            return None;
        }
        read_more(stream, unread).await?;
    }
}

async fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(unread).await.ok()?;
    (read > 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that answers everything with this body.
    async fn node(body: &'static str) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let answers = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut unread = Vec::new();
                while next_request(&mut stream, &mut unread).await.is_some() {
                    let answer = Answer::new(200, "content-type: application/json\r\n", body.as_bytes());
                    if stream.write_all(&answer.bytes).await.is_err() {
                        break;
                    }
                }
            }
        };
        (address, tokio::spawn(answers))
    }

    async fn stubbed(fault: Fault) -> (Stub, JoinHandle<()>) {
        let (address, node) = node(r#"{"hits":[]}"#).await;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (Stub::start(any, &format!("http://{address}"), fault, 1).await.expect("it starts"), node)
    }

    async fn ask(stub: &Stub, path: &str) -> Result<(u16, String), reqwest::Error> {
        ask_with(&reqwest::Client::builder().no_proxy().build()?, stub, path).await
    }

    async fn ask_with(client: &reqwest::Client, stub: &Stub, path: &str) -> Result<(u16, String), reqwest::Error> {
        let answer = client.post(format!("http://{}{path}", stub.address())).body("{}").send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    #[tokio::test]
    async fn reads_are_disturbed_and_all_else_passes() {
        for (fault, status, body) in [
            (Fault::None, 200, r#"{"hits":[]}"#),
            (Fault::Garbage, 200, "<html>It works!</html>"),
            (Fault::NotFoundPage, 404, "<html>Not found</html>"),
            (Fault::HalfAnnouncedAsWhole, 200, r#"{"hit"#),
        ] {
            let (stub, node) = stubbed(fault).await;
            assert_eq!(
                ask(&stub, "/indexes/i/search").await.expect("an answer"),
                (status, body.to_owned()),
                "{fault:?}"
            );
            assert_eq!(ask(&stub, "/tasks").await.expect("an answer").1, r#"{"hits":[]}"#);
            assert_eq!(stub.counts(), Counts { reads: 1, disturbed: u64::from(fault != Fault::None) });
            node.abort();
        }
    }

    #[tokio::test]
    async fn half_a_body_and_a_connection_that_ends_are_no_answers() {
        for fault in [Fault::HalfBody, Fault::HangUp] {
            let (stub, node) = stubbed(fault).await;
            assert!(ask(&stub, "/indexes/i/search").await.is_err(), "{fault:?}");
            node.abort();
        }
    }

    #[tokio::test]
    async fn as_many_reads_are_late_as_asked_for() {
        let (stub, node) = stubbed(Fault::Late { percent: 20, by: Duration::from_millis(1) }).await;
        let client = reqwest::Client::new();
        for _ in 0..200 {
            ask_with(&client, &stub, "/indexes/i/search").await.expect("an answer");
        }
        let counts = stub.counts();
        assert_eq!(counts.reads, 200);
        assert!((20..60).contains(&counts.disturbed), "{counts:?}");
        node.abort();
    }
}
