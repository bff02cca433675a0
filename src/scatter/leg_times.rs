//! How long legs take, for each index, kind of read and node: what tells a late leg from a usual one.
//!
//! Each distribution is a histogram of counters that any thread may raise, with buckets that grow by 9 %; it forgets by halving.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::cluster::node_load::median;
use crate::cluster::{IndexUid, NodeIndex};

/// Buckets of a histogram, and how many of them it takes to double: from 0.1 ms to 6.5 s. Longer legs count as that long.
const BUCKETS: usize = 128;
const BUCKETS_PER_DOUBLING: f64 = 8.0;
const FIRST_BUCKET_US: f64 = 100.0;

/// Legs after which all counts are halved: the last thousand legs weigh as much as all before.
const HALVED_AT: u32 = 1_024;
/// Legs without which a node's quantile is that of its fellows.
const LEGS_MIN: u32 = 20;
/// A node's 95th percentile is looked up again after so many legs.
const LOOKED_UP_EVERY: u32 = 16;

/// How many times its fellows' median a node's own 95th percentile may be before it is taken for the node's trouble instead of
/// its nature. A node that is slow with one request in twenty has that slowness in its 95th percentile, and waiting for that is
/// what hedging is there to spare.
const FELLOWS_FACTOR: f64 = 2.0;

/// Pairs of index and kind of read that are told apart. At 600 bytes a node and pair, a fleet of 100 nodes keeps 15 MB. One
/// more begins anew with all: those of indexes that are gone must go some time, and twenty legs tell what is usual.
const PAIRS_MAX: usize = 256;

/// Distributions of one index's legs of one kind, for all nodes.
pub(super) struct LegTimes {
    nodes: Vec<Histogram>,
}

struct Histogram {
    counts: [AtomicU32; BUCKETS],
    legs: AtomicU32,
    /// 95th percentile in microseconds; 0 while there are too few legs.
    p95_us: AtomicU64,
}

impl LegTimes {
    fn new(nodes: usize) -> Self {
        let histogram = |_| Histogram {
            counts: [const { AtomicU32::new(0) }; BUCKETS],
            legs: AtomicU32::new(0),
            p95_us: AtomicU64::new(0),
        };
        Self { nodes: (0..nodes).map(histogram).collect() }
    }

    pub fn answered(&self, node: NodeIndex, took: Duration) {
        self.nodes[node.0 as usize].record(took);
    }

    /// Nobody waited for the node any longer. That it was late is all that is known, and if it was not, nothing.
    pub fn outwaited(&self, node: NodeIndex, waited: Duration) {
        let histogram = &self.nodes[node.0 as usize];
        if histogram.p95_us().is_some_and(|p95| waited.as_micros() as f64 > p95) {
            histogram.record(waited);
        }
    }

    /// The time that 95 % of a node's legs take at most, as far as it is in keeping with its fellows'. `None` if neither is
    /// known.
    pub fn usual(&self, node: NodeIndex) -> Option<Duration> {
        let own = self.nodes[node.0 as usize].p95_us();
        let mut known: Vec<f64> = self.nodes.iter().filter_map(Histogram::p95_us).collect();
        if known.is_empty() {
            return None;
        }
        let of_fellows = median(&mut known) * FELLOWS_FACTOR;
        let usual = own.map_or(of_fellows, |own| own.min(of_fellows));
        Some(Duration::from_micros(usual as u64))
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let bucket = (took.as_micros() as f64 / FIRST_BUCKET_US).max(1.0).log2() * BUCKETS_PER_DOUBLING;
        self.counts[(bucket as usize).min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        let legs = self.legs.fetch_add(1, Ordering::Relaxed) + 1;
        // Threads that meet here count a leg more or less: of a thousand.
        if legs >= HALVED_AT {
            self.counts.iter().for_each(|count| count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed));
            self.legs.store(legs / 2, Ordering::Relaxed);
        }
        if legs == LEGS_MIN || (legs > LEGS_MIN && legs.is_multiple_of(LOOKED_UP_EVERY)) {
            self.p95_us.store(self.quantile_us(0.95) as u64, Ordering::Relaxed);
        }
    }

    fn p95_us(&self) -> Option<f64> {
        Some(self.p95_us.load(Ordering::Relaxed)).filter(|p95| *p95 > 0).map(|p95| p95 as f64)
    }

    /// Upper bound of the bucket in which the quantile is.
    fn quantile_us(&self, quantile: f64) -> f64 {
        let counts: Vec<u32> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u32 = counts.iter().sum();
        let wanted = (f64::from(total) * quantile).ceil() as u32;
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += count;
            seen >= wanted
        };
        let bucket = counts.iter().position(reached).unwrap_or(BUCKETS - 1);
        FIRST_BUCKET_US * ((bucket + 1) as f64 / BUCKETS_PER_DOUBLING).exp2()
    }
}

type Pairs = HashMap<(IndexUid, &'static str), Arc<LegTimes>>;

/// The distributions of all indexes and kinds of reads.
pub(super) struct LegTimesBoard {
    nodes: usize,
    pairs: ArcSwap<Pairs>,
}

impl LegTimesBoard {
    pub fn new(nodes: usize) -> Self {
        Self { nodes, pairs: ArcSwap::default() }
    }

    pub fn of(&self, index: &IndexUid, kind: &'static str) -> Arc<LegTimes> {
        // An `IndexUid` is cheap to clone: it shares its text.
        let key = (index.clone(), kind);
        if let Some(times) = self.pairs.load().get(&key) {
            return Arc::clone(times);
        }
        let fresh = Arc::new(LegTimes::new(self.nodes));
        self.pairs.rcu(|pairs| {
            let mut pairs = if pairs.len() < PAIRS_MAX { Pairs::clone(pairs) } else { Pairs::new() };
            pairs.entry(key.clone()).or_insert_with(|| Arc::clone(&fresh));
            pairs
        });
        // Somebody else may have been first, or may have begun anew since.
        self.pairs.load().get(&key).map_or(fresh, Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn is_about(actual: Option<Duration>, expected: Duration) {
        let ratio = actual.expect("enough legs").as_secs_f64() / expected.as_secs_f64();
        assert!((0.99..1.10).contains(&ratio), "{actual:?}, not {expected:?}");
    }

    #[test]
    fn the_usual_time_is_the_nodes_95th_percentile() {
        let times = LegTimes::new(2);
        for node in 0..2 {
            (0..500).for_each(|n| times.answered(NodeIndex(node), ms(1 + n % 100)));
        }
        is_about(times.usual(NodeIndex(0)), ms(95));
    }

    #[test]
    fn without_legs_it_is_that_of_the_fellows_and_without_any_it_is_not_known() {
        let times = LegTimes::new(3);
        assert_eq!(times.usual(NodeIndex(0)), None);
        (0..20).for_each(|_| times.answered(NodeIndex(1), ms(10)));
        is_about(times.usual(NodeIndex(0)), ms(20));
        is_about(times.usual(NodeIndex(1)), ms(10));
    }

    #[test]
    fn a_node_that_is_slow_with_every_tenth_request_is_late_by_its_fellows_measure() {
        let times = LegTimes::new(3);
        for n in 0..1_000 {
            times.answered(NodeIndex(0), if n % 10 == 0 { ms(300) } else { ms(5) });
            (1..3).for_each(|node| times.answered(NodeIndex(node), ms(5)));
        }
        is_about(times.usual(NodeIndex(0)), ms(10));
    }

    #[test]
    fn what_was_usual_is_forgotten() {
        let times = LegTimes::new(1);
        (0..1_000).for_each(|_| times.answered(NodeIndex(0), ms(100)));
        (0..6_000).for_each(|_| times.answered(NodeIndex(0), ms(5)));
        is_about(times.usual(NodeIndex(0)), ms(5));
    }

    #[test]
    fn legs_that_nobody_waited_for_count_only_where_they_were_late() {
        let times = LegTimes::new(1);
        (0..100).for_each(|_| times.answered(NodeIndex(0), ms(10)));
        (0..100).for_each(|_| times.outwaited(NodeIndex(0), ms(1)));
        is_about(times.usual(NodeIndex(0)), ms(10));
        (0..100).for_each(|_| times.outwaited(NodeIndex(0), ms(40)));
        is_about(times.usual(NodeIndex(0)), ms(40));
    }

    #[test]
    fn pairs_are_bounded() {
        let board = LegTimesBoard::new(1);
        let uid = |n: usize| IndexUid::parse(&format!("i{n}")).unwrap();
        let first = board.of(&uid(0), "search");
        (1..PAIRS_MAX).for_each(|n| drop(board.of(&uid(n), "search")));
        assert!(Arc::ptr_eq(&board.of(&uid(0), "search"), &first));
        assert!(!Arc::ptr_eq(&board.of(&uid(0), "documents"), &first));
        assert_eq!(board.pairs.load().len(), 1);
        assert!(!Arc::ptr_eq(&board.of(&uid(0), "search"), &first));
    }
}
