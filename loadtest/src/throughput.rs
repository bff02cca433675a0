//! How many searches a second does the cluster answer, compared with Meilisearch's own way of asking several servers?
//!
//! The other way is remote federated search: a coordinator, itself a Meilisearch, asks the same nodes and merges their
//! answers. Both are asked the same queries of two words by the same number of clients in a closed loop, in rounds that
//! alternate, so that both meet the same state of the machine; only their ratio means something. A third side asks all nodes at
//! once for what a merge needs and does nothing with their answers: no proxy can answer more.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use reqwest::Method;
use serde::Serialize;
use serde_json::{json, Value};
use tokio::task::JoinSet;

use crate::client::{json_bytes, Answer, Client, ClientError, Object, Server};
use crate::corpus::{Corpus, CorpusError};
use crate::generate;

/// Different queries, asked again and again: few enough to be made quickly, too many for an engine to remember them all.
const QUERIES: usize = 1_000;
/// Hits of a page.
const LIMIT: usize = 20;
/// Queries to each side that are not measured: they fill caches and open connections.
const WARM_UP_QUERIES: usize = 50;

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    pub cluster: Server,
    /// A Meilisearch server beside the nodes. Its `/network` is made to name them.
    pub coordinator: Server,
    pub nodes: Vec<Server>,
    pub index: String,
    pub clients: usize,
    /// Length of one side's turn in a round.
    pub seconds: u64,
    pub rounds: usize,
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ThroughputError {
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a client ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error("{url} does not answer as it should with status {status}: {message}")]
    Unexpected { url: String, status: u16, message: String },
    #[error("no query of two words can be made of the documents of {0}")]
    NoQueries(String),
}

/// Searches a second of all sides, in each round.
#[derive(Debug, Serialize)]
pub struct ThroughputReport {
    pub clients: usize,
    pub seconds: u64,
    pub cluster_per_second: Vec<f64>,
    pub federated_per_second: Vec<f64>,
    pub nodes_at_once_per_second: Vec<f64>,
    /// All rounds of the cluster over all rounds of the coordinator.
    pub ratio: f64,
    /// All rounds of the cluster over all rounds of the nodes asked at once.
    pub ratio_to_nodes_at_once: f64,
}

/// Measures. The queries are made out of the documents that the cluster serves.
pub async fn run(options: Options) -> Result<ThroughputReport, ThroughputError> {
    let cluster = Client::new(options.cluster.clone())?;
    let coordinator = Client::new(options.coordinator.clone())?;
    let corpus = Corpus::read(&cluster, &options.index).await?;
    let queries = generate::two_words(&corpus, QUERIES, options.seed);
    if queries.is_empty() {
        return Err(ThroughputError::NoQueries(options.index));
    }
    for node in &options.nodes {
        join_network(&Client::new(node.clone())?).await?;
    }
    join_network(&coordinator).await?;
    name_remotes(&coordinator, &options.nodes).await?;
    let bodies = |body: &dyn Fn(&str) -> Object| queries.iter().map(|query| json_bytes(&body(query))).collect();
    let nodes = options.nodes.iter().map(|node| Client::new(node.clone())).collect::<Result<_, _>>()?;
    let path = format!("/indexes/{}/search", options.index);
    let side = |servers, path: &str, bodies| Arc::new(Side { servers, path: path.to_owned(), bodies });
    let sides = [
        side(vec![cluster], &path, bodies(&search)),
        side(vec![coordinator], "/multi-search", bodies(&|query| federated(query, &options))),
        side(nodes, &path, bodies(&leg)),
    ];
    for side in &sides {
        for n in 0..WARM_UP_QUERIES {
            side.ask(n).await?;
        }
    }
    let mut per_second = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..options.rounds.max(1) {
        // Which side begins changes, so that none always follows the same other.
        for turn in 0..sides.len() {
            let turn = (round + turn) % sides.len();
            per_second[turn].push(throughput(&sides[turn], &options).await?);
        }
    }
    let [cluster_per_second, federated_per_second, nodes_at_once_per_second] = per_second;
    let sum = |rounds: &[f64]| rounds.iter().sum::<f64>();
    let cluster_over = |rounds: &[f64]| sum(&cluster_per_second) / sum(rounds).max(f64::MIN_POSITIVE);
    Ok(ThroughputReport {
        clients: options.clients,
        seconds: options.seconds,
        ratio: cluster_over(&federated_per_second),
        ratio_to_nodes_at_once: cluster_over(&nodes_at_once_per_second),
        cluster_per_second,
        federated_per_second,
        nodes_at_once_per_second,
    })
}

fn search(query: &str) -> Object {
    object(json!({ "q": query, "limit": LIMIT }))
}

/// What a node is asked for, so that its answer can be merged.
fn leg(query: &str) -> Object {
    object(json!({ "q": query, "limit": LIMIT, "showRankingScoreDetails": true }))
}

/// The same search, of all nodes, as the coordinator takes it.
fn federated(query: &str, options: &Options) -> Object {
    let query_of =
        |n: usize| json!({ "indexUid": options.index, "q": query, "federationOptions": { "remote": remote(n) } });
    let queries: Vec<Value> = (0..options.nodes.len()).map(query_of).collect();
    object(json!({ "federation": { "limit": LIMIT, "offset": 0 }, "queries": queries }))
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

/// The coordinator's name for a node.
fn remote(n: usize) -> String {
    format!("node-{n}")
}

/// Lets a server ask others, or be asked by them.
async fn join_network(server: &Client) -> Result<(), ThroughputError> {
    let features = json!({ "network": true }).to_string();
    expect_success(server, server.send_json(Method::PATCH, "/experimental-features", features).await?)
}

/// Tells the coordinator which servers it may ask.
async fn name_remotes(coordinator: &Client, nodes: &[Server]) -> Result<(), ThroughputError> {
    let of_node = |(n, node): (usize, &Server)| (remote(n), json!({ "url": node.url, "searchApiKey": node.key }));
    let remotes: Object = nodes.iter().enumerate().map(of_node).collect();
    let network = json!({ "self": "coordinator", "remotes": remotes }).to_string();
    expect_success(coordinator, coordinator.send_json(Method::PATCH, "/network", network).await?)
}

fn expect_success(client: &Client, answer: Answer) -> Result<(), ThroughputError> {
    // A coordinator that cannot reach a node answers without it, and quickly.
    if answer.is_success() && answer.body.get("remoteErrors").and_then(Value::as_object).is_none_or(Object::is_empty) {
        return Ok(());
    }
    let message = Value::Object(answer.body).to_string();
    Err(ThroughputError::Unexpected { url: client.url().to_owned(), status: answer.status, message })
}

/// Whoever answers searches, with what it is asked.
struct Side {
    /// Each is asked everything; an answer is complete when all have answered.
    servers: Vec<Client>,
    path: String,
    bodies: Vec<Vec<u8>>,
}

impl Side {
    /// Asks the query of this number, and looks at the answer.
    async fn ask(&self, n: usize) -> Result<(), ThroughputError> {
        let body = &self.bodies[n % self.bodies.len()];
        let answers = self.servers.iter().map(|server| async move {
            expect_success(server, server.send_json(Method::POST, &self.path, body.clone()).await?)
        });
        try_join_all(answers).await.map(drop)
    }
}

/// Searches a second that a side answers: a closed loop of clients, each of which sends its next query when it has the
/// answer to the last.
async fn throughput(side: &Arc<Side>, options: &Options) -> Result<f64, ThroughputError> {
    let started = Instant::now();
    let end = started + Duration::from_secs(options.seconds);
    let clients = options.clients.max(1);
    let mut running = JoinSet::new();
    for client in 0..clients {
        let side = Arc::clone(side);
        running.spawn(async move {
            let mut answered = 0u64;
            let mut query = client;
            while Instant::now() < end {
                side.ask(query).await?;
                query += clients;
                answered += 1;
            }
            Ok::<_, ThroughputError>(answered)
        });
    }
    let mut answered = 0;
    while let Some(ended) = running.join_next().await {
        answered += ended??;
    }
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}

impl fmt::Display for ThroughputReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} client(s), {} s a turn, searches per second", self.clients, self.seconds)?;
        writeln!(out, "{:>6} {:>10} {:>10} {:>10}", "round", "cluster", "federated", "at once")?;
        let others = self.federated_per_second.iter().zip(&self.nodes_at_once_per_second);
        for (n, (cluster, (federated, at_once))) in self.cluster_per_second.iter().zip(others).enumerate() {
            writeln!(out, "{:>6} {cluster:>10.0} {federated:>10.0} {at_once:>10.0}", n + 1)?;
        }
        writeln!(out, "the cluster answers {:.2} times as many as remote federated search", self.ratio)?;
        writeln!(out, "and {:.2} times as many as all nodes asked at once, unmerged", self.ratio_to_nodes_at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_asked_by_its_name() {
        let nodes = ["http://a/", "http://b"].map(|url| Server::new(url, None));
        let options = Options {
            cluster: nodes[0].clone(),
            coordinator: nodes[0].clone(),
            nodes: nodes.to_vec(),
            index: "cities".to_owned(),
            clients: 1,
            seconds: 1,
            rounds: 1,
            seed: 1,
        };
        let body = federated("san jose", &options);
        assert_eq!(body["queries"][1]["federationOptions"]["remote"], "node-1");
        assert_eq!(body["queries"].as_array().map(Vec::len), Some(2));
        assert_eq!(body["federation"]["limit"], search("san jose")["limit"]);
    }

    #[test]
    fn an_answer_that_lacks_a_node_is_no_answer() {
        let client = Client::new(Server::new("http://a", None)).unwrap();
        let answer = |body| Answer { status: 200, body: object(body) };
        assert!(expect_success(&client, answer(json!({ "hits": [] }))).is_ok());
        assert!(expect_success(&client, answer(json!({ "hits": [], "remoteErrors": {} }))).is_ok());
        assert!(expect_success(&client, answer(json!({ "hits": [], "remoteErrors": { "node-0": {} } }))).is_err());
    }
}
