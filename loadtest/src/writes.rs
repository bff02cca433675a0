//! What does the way through the cluster cost a write, compared with a single server?
//!
//! Two measurements, each of the single server first, then of the cluster's nodes by themselves if they are named, then of the cluster, in
//! one run: the same documents in the same batches until the last task has succeeded, and as many single-document writes as are
//! acknowledged in a given time. Only their ratios mean something. The nodes by themselves are each sent an equal part of every batch, all
//! at once: what any proxy before them could reach at best. Every index is made for the measurement and deleted afterwards.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use reqwest::Method;
use serde::Serialize;
use serde_json::{json, Value};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, ClientError, Object, Server};

/// Words that documents are made of: about as many as a catalogue of this size has.
const VOCABULARY: u64 = 20_000;
const WORDS_PER_DOCUMENT: usize = 25;
/// How long the tasks of one measurement may take.
const TASK_PATIENCE: Duration = Duration::from_secs(1_800);
/// How often a task is asked for.
const TASK_POLL: Duration = Duration::from_millis(20);
/// The longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

#[derive(Debug, Clone)]
pub struct Options {
    pub single: Server,
    /// The cluster's nodes; may be none.
    pub nodes: Vec<Server>,
    pub cluster: Server,
    pub documents: usize,
    pub batch: usize,
    /// How long single-document writes are sent.
    pub seconds: u64,
    pub clients: usize,
    pub seed: u64,
    /// An index of the cluster whose documents are sent, again and again under new ids; otherwise they are made of random words,
    /// whose pairs hardly repeat and cost an engine most.
    pub from_index: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WritesError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a client ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error("{url} refused a write with status {status}: {message}")]
    Refused { url: String, status: u16, message: String },
    #[error("a task of {url} did not succeed: {task}")]
    Task { url: String, task: String },
    #[error("latencies could not be counted: {0}")]
    Histogram(String),
    #[error("the index {0} has no documents to send")]
    NoDocuments(String),
}

/// One target's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Written {
    pub target: String,
    /// From the first batch sent until the last task has succeeded.
    pub bulk_seconds: f64,
    /// Of that, until the last batch was acknowledged.
    pub acknowledged_seconds: f64,
    /// Single-document writes acknowledged in a second.
    pub single_writes_per_second: f64,
    pub single_write_p50_us: u64,
    pub single_write_p99_us: u64,
}

#[derive(Debug, Serialize)]
pub struct WritesReport {
    pub documents: usize,
    pub batch: usize,
    pub clients: usize,
    pub single: Written,
    /// The nodes without a proxy, if they were measured.
    pub nodes: Option<Written>,
    pub cluster: Written,
    /// The cluster's time divided by the single server's.
    pub bulk_ratio: f64,
}

pub async fn run(options: Options) -> Result<WritesReport, WritesError> {
    let templates = match &options.from_index {
        Some(index) => {
            let documents = Client::new(options.cluster.clone())?.documents(index, options.documents).await?;
            Some(documents).filter(|documents| !documents.is_empty()).ok_or(WritesError::NoDocuments(index.clone()))?
        }
        None => Vec::new(),
    };
    let single = measure(std::slice::from_ref(&options.single), &options, &templates).await?;
    let nodes = match options.nodes.as_slice() {
        [] => None,
        nodes => Some(measure(nodes, &options, &templates).await?),
    };
    let cluster = measure(std::slice::from_ref(&options.cluster), &options, &templates).await?;
    Ok(WritesReport {
        documents: options.documents,
        batch: options.batch,
        clients: options.clients,
        bulk_ratio: cluster.bulk_seconds / single.bulk_seconds,
        single,
        nodes,
        cluster,
    })
}

/// The documents, as bodies to be sent: of each batch one body for each of `servers` servers.
fn batches(options: &Options, templates: &[Object], servers: usize) -> Vec<Vec<Vec<u8>>> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let ids: Vec<usize> = (0..options.documents).collect();
    let mut part = |ids: &[usize]| {
        let documents: Vec<Value> =
            ids.iter().map(|id| like(templates, *id).unwrap_or_else(|| document(*id, &mut random))).collect();
        Value::from(documents).to_string().into_bytes()
    };
    let parts = |batch: &[usize]| batch.chunks(batch.len().div_ceil(servers)).map(&mut part).collect();
    ids.chunks(options.batch.max(1)).map(parts).collect()
}

/// A document of an index under another id.
fn like(templates: &[Object], id: usize) -> Option<Value> {
    let mut document = templates.get(id % templates.len().max(1))?.clone();
    document.insert("id".to_owned(), Value::from(id));
    Some(Value::Object(document))
}

fn document(id: usize, random: &mut fastrand::Rng) -> Value {
    // Squared, so that some words are far more frequent than others, as in any language.
    let mut word = || {
        let uniform = random.f64();
        format!("word{}", (uniform * uniform * VOCABULARY as f64) as u64)
    };
    let text: Vec<String> = (0..WORDS_PER_DOCUMENT).map(|_| word()).collect();
    let title = word();
    json!({ "id": id, "title": title, "text": text.join(" "), "price": random.u32(1..10_000), "stock": random.bool() })
}

/// Of one server, or of several that share every batch.
async fn measure(servers: &[Server], options: &Options, templates: &[Object]) -> Result<Written, WritesError> {
    let batches = batches(options, templates, servers.len());
    let clients: Vec<Client> = servers.iter().cloned().map(Client::new).collect::<Result<_, _>>()?;
    let index = format!("loadtest_{:08x}", fastrand::u32(..));
    let path = format!("/indexes/{index}/documents?primaryKey=id");
    let created = json!({ "uid": index, "primaryKey": "id" }).to_string();
    on_each(&clients, Method::POST, "/indexes", &created).await?;

    let started = Instant::now();
    let mut last = Vec::new();
    for batch in batches {
        let sent = clients.iter().zip(batch).map(|(client, part)| send(client, Method::POST, &path, part));
        last = try_join_all(sent).await?;
    }
    let acknowledged = started.elapsed();
    try_join_all(clients.iter().zip(last).map(|(client, task)| await_task(client, task))).await?;
    let bulk = started.elapsed();

    let (count, latencies, elapsed) = single_writes(&clients, options, &path).await?;
    on_each(&clients, Method::DELETE, &format!("/indexes/{index}"), "").await?;
    Ok(Written {
        target: clients.iter().map(Client::url).collect::<Vec<_>>().join(","),
        bulk_seconds: bulk.as_secs_f64(),
        acknowledged_seconds: acknowledged.as_secs_f64(),
        single_writes_per_second: count as f64 / elapsed.as_secs_f64(),
        single_write_p50_us: latencies.value_at_quantile(0.50),
        single_write_p99_us: latencies.value_at_quantile(0.99),
    })
}

/// Has each server do the same, to its end.
async fn on_each(clients: &[Client], method: Method, path: &str, body: &str) -> Result<(), WritesError> {
    let done = clients.iter().map(|client| {
        let method = method.clone();
        async move { await_task(client, send(client, method, path, body).await?).await }
    });
    try_join_all(done).await.map(drop)
}

/// A closed loop of clients, each of which sends its next write when the last one has been acknowledged; the servers take turns.
async fn single_writes(
    servers: &[Client],
    options: &Options,
    path: &str,
) -> Result<(u64, Histogram<u64>, Duration), WritesError> {
    let histogram = || {
        Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3)
            .map_err(|error| WritesError::Histogram(error.to_string()))
    };
    let next_id = Arc::new(AtomicU64::new(options.documents as u64));
    let started = Instant::now();
    let end = started + Duration::from_secs(options.seconds);
    let mut running = JoinSet::new();
    for n in 0..options.clients.max(1) {
        let (servers, path, next_id) = (servers.to_vec(), path.to_owned(), Arc::clone(&next_id));
        let (mut latencies, seed) = (histogram()?, options.seed + n as u64);
        running.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            while Instant::now() < end {
                let id = next_id.fetch_add(1, Ordering::Relaxed);
                let body = json!([document(id as usize, &mut random)]).to_string();
                let sent = Instant::now();
                send(&servers[id as usize % servers.len()], Method::POST, &path, body).await?;
                latencies.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX));
            }
            Ok::<_, WritesError>(latencies)
        });
    }
    let mut all = histogram()?;
    while let Some(ended) = running.join_next().await {
        all.add(ended??).map_err(|error| WritesError::Histogram(error.to_string()))?;
    }
    Ok((all.len(), all, started.elapsed()))
}

/// Sends a write and returns its task's uid.
async fn send(client: &Client, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Result<u64, WritesError> {
    let answer = client.send_json(method, path, body).await?;
    match answer.body.get("taskUid").and_then(Value::as_u64) {
        Some(uid) if answer.is_success() => Ok(uid),
        _ => Err(refused(client, &answer)),
    }
}

fn refused(client: &Client, answer: &Answer) -> WritesError {
    let message = Value::Object(answer.body.clone()).to_string();
    WritesError::Refused { url: client.url().to_owned(), status: answer.status, message }
}

async fn await_task(client: &Client, uid: u64) -> Result<(), WritesError> {
    let deadline = Instant::now() + TASK_PATIENCE;
    loop {
        let answer = client.send_json(Method::GET, &format!("/tasks/{uid}"), Vec::new()).await?;
        let failed =
            || WritesError::Task { url: client.url().to_owned(), task: Value::Object(answer.body.clone()).to_string() };
        match answer.body.get("status").and_then(Value::as_str) {
            Some("succeeded") => return Ok(()),
            Some("enqueued" | "processing") if Instant::now() < deadline => tokio::time::sleep(TASK_POLL).await,
            _ => return Err(failed()),
        }
    }
}

impl fmt::Display for WritesReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} documents in batches of {}, then single documents by {} clients",
            self.documents, self.batch, self.clients
        )?;
        writeln!(
            out,
            "{:<10} {:>10} {:>12} {:>12} {:>9} {:>9}",
            "target", "bulk s", "of that ack.", "single/s", "p50 ms", "p99 ms"
        )?;
        let nodes = self.nodes.iter().map(|nodes| ("nodes", nodes));
        for (role, written) in
            std::iter::once(("single", &self.single)).chain(nodes).chain(std::iter::once(("cluster", &self.cluster)))
        {
            let ms = |us: u64| us as f64 / 1_000.0;
            writeln!(
                out,
                "{:<10} {:>10.2} {:>12.2} {:>12.0} {:>9.2} {:>9.2}",
                role,
                written.bulk_seconds,
                written.acknowledged_seconds,
                written.single_writes_per_second,
                ms(written.single_write_p50_us),
                ms(written.single_write_p99_us),
            )?;
        }
        writeln!(out, "the cluster took {:.2} times as long as the single server", self.bulk_ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_batches_of_all_documents() {
        let server = || Server::new("http://127.0.0.1:1", None);
        let options = |seed| Options {
            single: server(),
            nodes: Vec::new(),
            cluster: server(),
            documents: 25,
            batch: 10,
            seconds: 1,
            clients: 1,
            seed,
            from_index: None,
        };
        let made = batches(&options(7), &[], 1);
        assert_eq!(made, batches(&options(7), &[], 1));
        assert_ne!(made, batches(&options(8), &[], 1));
        let counts = |batch: &Vec<Vec<u8>>| -> Vec<usize> {
            batch
                .iter()
                .map(|part| serde_json::from_slice::<Vec<Value>>(part).map_or(0, |documents| documents.len()))
                .collect()
        };
        assert_eq!(made.iter().map(counts).collect::<Vec<_>>(), [[10], [10], [5]]);
        let shared = batches(&options(7), &[], 3);
        assert_eq!(shared.iter().map(counts).collect::<Vec<_>>(), [[4, 4, 2], [4, 4, 2], [2, 2, 1]]);
    }
}
