//! What does hedging do for the slowest searches, and what does it cost the nodes?
//!
//! Two proxies stand before the same nodes, one that hedges and one that does not, and reach them through the same stubs, of
//! which one makes some reads late ([`crate::stub`]). Both get the same searches in turn, block by block, and the stubs count what
//! each block cost.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{json_bytes, Client, ClientError, Server};
use crate::corpus::{Corpus, CorpusError};
use crate::generate;
use crate::stub::{Counts, COUNTS_PATH};

/// Searches that one proxy gets before it is the other's turn.
const BLOCK: usize = 50;
/// Searches to each proxy that are not measured: what is usual must be known before anything is late.
const WARM_UP_QUERIES: usize = 300;
/// The longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant figures kept of each latency.
const FIGURES: u8 = 3;

#[derive(Debug, Clone)]
pub struct Options {
    /// A proxy that does not hedge.
    pub plain: Server,
    /// One that does.
    pub hedged: Server,
    /// The stubs between both and their nodes.
    pub stubs: Vec<Server>,
    pub index: String,
    pub queries: usize,
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum HedgingError {
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("latencies could not be counted: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    #[error("{url} does not answer as a stub does")]
    NoStub { url: String },
}

/// What one proxy did.
#[derive(Debug, Clone, Serialize)]
pub struct Way {
    pub searches: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    /// Reads that the nodes were asked, and how many of them were made late.
    pub node_reads: u64,
    pub disturbed: u64,
}

#[derive(Debug, Serialize)]
pub struct HedgingReport {
    pub plain: Way,
    pub hedged: Way,
    /// The 99th percentile with hedging as a part of that without.
    pub p99_ratio: f64,
    /// Node reads that hedging added, in percent.
    pub added_reads_percent: f64,
}

/// One proxy and what has been seen of it.
struct Measured {
    client: Client,
    latencies: Histogram<u64>,
    reads: Counts,
}

impl Measured {
    fn new(server: &Server) -> Result<Self, HedgingError> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, FIGURES)?;
        Ok(Self { client: Client::new(server.clone())?, latencies, reads: Counts { reads: 0, disturbed: 0 } })
    }

    fn way(&self) -> Way {
        Way {
            searches: self.latencies.len(),
            p50_us: self.latencies.value_at_quantile(0.50),
            p99_us: self.latencies.value_at_quantile(0.99),
            max_us: self.latencies.max(),
            node_reads: self.reads.reads,
            disturbed: self.reads.disturbed,
        }
    }
}

pub async fn run(options: Options) -> Result<HedgingReport, HedgingError> {
    let (mut plain, mut hedged) = (Measured::new(&options.plain)?, Measured::new(&options.hedged)?);
    let stubs = options.stubs.iter().map(|stub| Client::new(stub.clone())).collect::<Result<Vec<_>, _>>()?;
    let corpus = Corpus::read(&plain.client, &options.index).await?;
    let searches = generate::searches(&corpus, options.queries + WARM_UP_QUERIES, options.seed);
    let queries: Vec<Vec<u8>> = searches.iter().map(json_bytes).collect();
    let (warm_up, measured) = queries.split_at(WARM_UP_QUERIES.min(queries.len()));
    for query in warm_up {
        for client in [&plain.client, &hedged.client] {
            client.time_search(&options.index, query).await?;
        }
    }
    for block in measured.chunks(BLOCK) {
        for way in [&mut plain, &mut hedged] {
            let before = counts(&stubs).await?;
            for query in block {
                let took = way.client.time_search(&options.index, query).await?;
                way.latencies.saturating_record(micros(took));
            }
            let after = counts(&stubs).await?;
            way.reads.reads += after.reads - before.reads;
            way.reads.disturbed += after.disturbed - before.disturbed;
        }
    }
    let (plain, hedged) = (plain.way(), hedged.way());
    Ok(HedgingReport {
        p99_ratio: hedged.p99_us as f64 / plain.p99_us.max(1) as f64,
        added_reads_percent: (hedged.node_reads as f64 / plain.node_reads.max(1) as f64 - 1.0) * 100.0,
        plain,
        hedged,
    })
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX).clamp(1, LATENCY_US_MAX)
}

/// What all stubs have seen so far.
async fn counts(stubs: &[Client]) -> Result<Counts, HedgingError> {
    let mut sum = Counts { reads: 0, disturbed: 0 };
    for stub in stubs {
        let answer = stub.send_json(reqwest::Method::GET, COUNTS_PATH, Vec::new()).await?;
        let seen: Counts = serde_json::from_value(answer.body.into())
            .map_err(|_| HedgingError::NoStub { url: stub.url().to_owned() })?;
        sum.reads += seen.reads;
        sum.disturbed += seen.disturbed;
    }
    Ok(sum)
}

impl fmt::Display for HedgingReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<10} {:>9} {:>9} {:>9} {:>9} {:>11} {:>9}",
            "hedging", "searches", "p50", "p99", "max", "node reads", "late"
        )?;
        for (name, way) in [("off", &self.plain), ("on", &self.hedged)] {
            let ms = |us: u64| us as f64 / 1_000.0;
            writeln!(
                out,
                "{name:<10} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>11} {:>9}",
                way.searches,
                ms(way.p50_us),
                ms(way.p99_us),
                ms(way.max_us),
                way.node_reads,
                way.disturbed,
            )?;
        }
        writeln!(
            out,
            "with hedging, p99 is {:.2} of that without, at {:+.1} % node reads",
            self.p99_ratio, self.added_reads_percent
        )
    }
}
