//! What does the way through the cluster cost, compared with asking a node directly?
//!
//! A closed loop: each client sends its next query when it has the answer to the last. Every query goes to the cluster,
//! to each node in turn, and to all nodes at once, so that all of them meet the same state of the machine; only their ratio
//! means something. All nodes at once, with nothing done about their answers, are what no proxy can be faster than: on a machine
//! with fewer cores than nodes they take longer than one node by itself. They are asked the same, and once more with score
//! details, without which answers cannot be merged and for which an engine may have to rank further.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::{json_bytes, Client, ClientError, Object, Server};
use crate::corpus::{Corpus, CorpusError};
use crate::generate;

/// Queries to each target that are not measured: they fill caches and open connections.
const WARM_UP_QUERIES: usize = 50;
/// The longest latency told apart, in microseconds; the client gives up on a request before that.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant figures kept of each latency.
const FIGURES: u8 = 3;

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    pub cluster: Server,
    pub nodes: Vec<Server>,
    pub index: String,
    pub queries: usize,
    pub clients: usize,
    pub seed: u64,
    /// Queries of two words alone, in place of all kinds of searches.
    pub two_words: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LatencyError {
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a client ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error("latencies could not be counted: {0}")]
    Histogram(String),
}

/// Latencies of one target, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latencies {
    pub target: String,
    pub requests: u64,
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// All targets of one run, the cluster first.
#[derive(Debug, Serialize)]
pub struct LatencyReport {
    pub clients: usize,
    pub targets: Vec<Latencies>,
    /// All nodes asked directly at once, until the last has answered: for the same, and for score details too. Empty with less
    /// than two nodes.
    pub nodes_at_once: Vec<Latencies>,
    /// Each node's own part of being asked at once with score details: what a leg takes beside the other legs.
    pub legs: Vec<Latencies>,
    /// The cluster's median divided by the slowest node's; absent without nodes.
    pub p50_ratio_to_slowest_node: Option<f64>,
    /// The cluster's median divided by that of the slowest leg.
    pub p50_ratio_to_slowest_leg: Option<f64>,
    /// The cluster's median divided by that of all nodes at once, score details included.
    pub p50_ratio_to_nodes_at_once: Option<f64>,
}

/// Measures. The queries are made out of the documents that the cluster serves.
pub async fn run(options: Options) -> Result<LatencyReport, LatencyError> {
    let cluster = Client::new(options.cluster.clone())?;
    let corpus = Corpus::read(&cluster, &options.index).await?;
    let mut targets = vec![cluster];
    for node in &options.nodes {
        targets.push(Client::new(node.clone())?);
    }
    let queries = queries(&corpus, &options);
    let work = Arc::new(Work { targets, queries, index: options.index });

    let warm_up = WARM_UP_QUERIES.min(work.queries.len());
    work.ask_all(0..warm_up).await?;
    let clients = options.clients.max(1);
    let mut running = JoinSet::new();
    for client in 0..clients {
        let work = Arc::clone(&work);
        let mine = (warm_up + client..work.queries.len()).step_by(clients);
        running.spawn(async move { work.ask_all(mine).await });
    }
    let mut totals = new_histograms(work.measured())?;
    while let Some(ended) = running.join_next().await {
        for (total, histogram) in totals.iter_mut().zip(ended??) {
            total.add(histogram).map_err(|error| LatencyError::Histogram(error.to_string()))?;
        }
    }
    Ok(report(&work, &totals, clients))
}

fn queries(corpus: &Corpus, options: &Options) -> Vec<Query> {
    let count = options.queries + WARM_UP_QUERIES;
    if options.two_words {
        let queries = generate::two_words(corpus, count, options.seed).into_iter();
        return queries.map(|q| Query::new([("q".to_owned(), q.into())].into_iter().collect())).collect();
    }
    generate::searches(corpus, count, options.seed).into_iter().map(Query::new).collect()
}

fn report(work: &Work, totals: &[Histogram<u64>], clients: usize) -> LatencyReport {
    let targets: Vec<Latencies> =
        work.targets.iter().zip(totals).map(|(target, histogram)| latencies(target.url(), histogram)).collect();
    let ways = ["the same", "with score details"];
    let nodes_at_once: Vec<Latencies> =
        ways.iter().zip(totals.iter().skip(work.targets.len())).map(|(way, total)| latencies(way, total)).collect();
    let nodes = work.targets.iter().skip(1);
    let legs: Vec<Latencies> =
        nodes.zip(totals.iter().skip(work.turns())).map(|(node, total)| latencies(node.url(), total)).collect();
    let ratio = |p50: Option<u64>| p50.filter(|p50| *p50 > 0).map(|p50| targets[0].p50_us as f64 / p50 as f64);
    LatencyReport {
        clients,
        p50_ratio_to_slowest_node: ratio(targets.iter().skip(1).map(|node| node.p50_us).max()),
        p50_ratio_to_slowest_leg: ratio(legs.iter().map(|leg| leg.p50_us).max()),
        p50_ratio_to_nodes_at_once: ratio(nodes_at_once.last().map(|nodes| nodes.p50_us)),
        nodes_at_once,
        legs,
        targets,
    }
}

/// One search as it is sent.
struct Query {
    body: Vec<u8>,
    /// The same with score details.
    detailed: Vec<u8>,
}

impl Query {
    fn new(mut body: Object) -> Self {
        let plain = json_bytes(&body);
        body.insert("showRankingScoreDetails".to_owned(), true.into());
        Self { body: plain, detailed: json_bytes(&body) }
    }
}

struct Work {
    targets: Vec<Client>,
    queries: Vec<Query>,
    index: String,
}

impl Work {
    /// How many ways each query goes: to every target, and twice to all nodes at once if there are several.
    fn turns(&self) -> usize {
        self.targets.len() + if self.targets.len() > 2 { 2 } else { 0 }
    }

    /// How many latencies each query gives: one for every way, and, asked at once with score details, each node's own.
    fn measured(&self) -> usize {
        self.turns() + if self.targets.len() > 2 { self.targets.len() - 1 } else { 0 }
    }

    /// Sends these queries every way. Which comes first changes from query to query, so that none always finds the machine's
    /// caches warmed by the others.
    async fn ask_all(&self, queries: impl Iterator<Item = usize>) -> Result<Vec<Histogram<u64>>, LatencyError> {
        let mut histograms = new_histograms(self.measured())?;
        for query in queries {
            for turn in 0..self.turns() {
                let turn = (query + turn) % self.turns();
                let Query { body, detailed } = &self.queries[query];
                let latency = match self.targets.get(turn) {
                    Some(target) => target.time_search(&self.index, body).await?,
                    None if turn == self.targets.len() => self.time_nodes_at_once(body).await?.0,
                    None => {
                        let (latency, legs) = self.time_nodes_at_once(detailed).await?;
                        let of_legs = &mut histograms[self.turns()..];
                        of_legs.iter_mut().zip(legs).for_each(|(of_leg, leg)| of_leg.saturating_record(micros(leg)));
                        latency
                    }
                };
                histograms[turn].saturating_record(micros(latency));
            }
        }
        Ok(histograms)
    }

    /// Time until the last node has answered, and each node's own.
    async fn time_nodes_at_once(&self, body: &[u8]) -> Result<(Duration, Vec<Duration>), LatencyError> {
        let started = Instant::now();
        let searches = self.targets[1..].iter().map(|node| node.time_search(&self.index, body));
        let legs = try_join_all(searches).await?;
        Ok((started.elapsed(), legs))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(LATENCY_US_MAX).clamp(1, LATENCY_US_MAX)
}

fn new_histograms(count: usize) -> Result<Vec<Histogram<u64>>, LatencyError> {
    let new = || Histogram::new_with_bounds(1, LATENCY_US_MAX, FIGURES);
    (0..count).map(|_| new().map_err(|error| LatencyError::Histogram(error.to_string()))).collect()
}

fn latencies(target: &str, histogram: &Histogram<u64>) -> Latencies {
    Latencies {
        target: target.to_owned(),
        requests: histogram.len(),
        p50_us: histogram.value_at_quantile(0.50),
        p95_us: histogram.value_at_quantile(0.95),
        p99_us: histogram.value_at_quantile(0.99),
        max_us: histogram.max(),
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} client(s), latencies in milliseconds", self.clients)?;
        writeln!(out, "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}", "target", "requests", "p50", "p95", "p99", "max")?;
        let at_once = self.nodes_at_once.iter().map(|target| ("at once", target));
        let legs = self.legs.iter().map(|target| ("leg", target));
        let roles = std::iter::once("cluster").chain(std::iter::repeat("node"));
        for (role, target) in roles.zip(&self.targets).chain(at_once).chain(legs) {
            let ms = |us: u64| us as f64 / 1_000.0;
            writeln!(
                out,
                "{:<34} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                format!("{role} {}", target.target),
                target.requests,
                ms(target.p50_us),
                ms(target.p95_us),
                ms(target.p99_us),
                ms(target.max_us),
            )?;
        }
        if let Some(ratio) = self.p50_ratio_to_slowest_node {
            writeln!(out, "the cluster's p50 is {ratio:.2} times the slowest node's")?;
        }
        if let Some(ratio) = self.p50_ratio_to_slowest_leg {
            writeln!(
                out,
                "the cluster's p50 is {ratio:.2} times that of the slowest leg, asked at once with the others"
            )?;
        }
        if let Some(ratio) = self.p50_ratio_to_nodes_at_once {
            writeln!(out, "the cluster's p50 is {ratio:.2} times that of all nodes asked at once with score details")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_quantiles_of_what_was_recorded() {
        let Ok(mut histograms) = new_histograms(1) else { panic!("the bounds are valid") };
        (1..=100).for_each(|ms| histograms[0].saturating_record(micros(Duration::from_millis(ms))));
        let told = latencies("x", &histograms[0]);
        assert_eq!(told.requests, 100);
        assert!((49_900..=50_100).contains(&told.p50_us), "{told:?}");
        assert!((98_900..=99_200).contains(&told.p99_us), "{told:?}");
    }

    #[test]
    fn a_latency_out_of_bounds_is_counted_at_the_bound() {
        assert_eq!(micros(Duration::ZERO), 1);
        assert_eq!(micros(Duration::from_secs(600)), LATENCY_US_MAX);
    }
}
