//! How busy, slow and faulty every node is, fed by every leg of a read.
//!
//! What changes with each request, the legs in flight, is counted without a lock. Latencies and errors are taken up under one
//! lock per node, and made into scores every [`REFRESH`] for everybody: a score costs a request two loads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::leg_times::LegTimes;
use crate::cluster::node_load::{base_score, median, score, NodeLoad, STRAINED_FACTOR};
use crate::cluster::NodeIndex;

/// How old the slow parts of scores may get. Far below the half-life of what goes into them, and far above what computing them
/// for a hundred nodes takes.
const REFRESH: Duration = Duration::from_millis(50);

/// Longest time for which a node's `Retry-After` is believed: one that means hours is broken, not busy.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

pub struct LoadBoard {
    started: Instant,
    nodes: Vec<NodeCell>,
    /// When scores were last refreshed, in microseconds from `started`.
    refreshed_us: AtomicU64,
    /// The fleet's median score, as bits.
    median_score: AtomicU64,
}

struct NodeCell {
    load: Mutex<NodeLoad>,
    /// Legs under way, those that wait for their turn included.
    in_flight: AtomicU32,
    /// How many of them the node is meant to have.
    limit: AtomicU32,
    /// Score without the legs in flight, as bits.
    base_score: AtomicU64,
    /// Until when the node asked not to be asked, in microseconds from `started`.
    busy_until_us: AtomicU64,
}

impl LoadBoard {
    /// `limit` is how many legs a node is meant to have at once, at first.
    pub fn new(nodes: usize, half_life: Duration, limit: usize) -> Self {
        let started = Instant::now();
        let cell = |_| NodeCell {
            load: Mutex::new(NodeLoad::new(half_life, started)),
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(limit as u32),
            base_score: AtomicU64::new(base_score(None, 1.0, 0.0).to_bits()),
            busy_until_us: AtomicU64::new(0),
        };
        Self {
            started,
            nodes: (0..nodes).map(cell).collect(),
            refreshed_us: AtomicU64::new(0),
            median_score: AtomicU64::new(1.0_f64.to_bits()),
        }
    }

    fn cell(&self, node: NodeIndex) -> &NodeCell {
        &self.nodes[node.0 as usize]
    }

    /// Counts a leg until what is returned is dropped. `times` are those of its kind.
    pub(super) fn begin<'a>(&'a self, node: NodeIndex, times: Option<&'a LegTimes>) -> LegUnderWay<'a> {
        self.cell(node).in_flight.fetch_add(1, Ordering::Relaxed);
        LegUnderWay { board: self, times, node, sent: None, is_over: false }
    }

    #[cfg(test)]
    fn in_flight(&self, node: NodeIndex) -> usize {
        self.cell(node).in_flight.load(Ordering::Relaxed) as usize
    }

    /// How many legs the node is meant to have at once: what its load is measured by.
    pub fn set_limit(&self, node: NodeIndex, limit: usize) {
        self.cell(node).limit.store(limit as u32, Ordering::Relaxed);
    }

    /// The node asked not to be asked for a while.
    pub fn back_off(&self, node: NodeIndex, retry_after: Duration, now: Instant) {
        let until = self.micros(now + retry_after.min(RETRY_AFTER_MAX));
        self.cell(node).busy_until_us.fetch_max(until, Ordering::Relaxed);
    }

    /// Scores as they are now, the lower the better.
    pub fn scores(&self, now: Instant) -> Scores<'_> {
        self.refresh(now);
        let median = f64::from_bits(self.median_score.load(Ordering::Relaxed));
        Scores { board: self, now_us: self.micros(now), strained_from: STRAINED_FACTOR * median }
    }

    fn refresh(&self, now: Instant) {
        let now_us = self.micros(now);
        let last = self.refreshed_us.load(Ordering::Relaxed);
        if last != 0 && now_us.saturating_sub(last) < REFRESH.as_micros() as u64 {
            return;
        }
        // Whoever comes second finds it done.
        if self.refreshed_us.compare_exchange(last, now_us.max(1), Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let known: Vec<(Option<f64>, f64)> = self
            .nodes
            .iter()
            .map(|cell| {
                let load = cell.load.lock().unwrap_or_else(PoisonError::into_inner);
                (load.latency_s(now), load.error_rate(now))
            })
            .collect();
        let fleet = median(&mut known.iter().filter_map(|(latency, _)| *latency).collect::<Vec<f64>>());
        for (cell, (latency, errors)) in self.nodes.iter().zip(known) {
            cell.base_score.store(base_score(latency, fleet, errors).to_bits(), Ordering::Relaxed);
        }
        let mut scores: Vec<f64> = self.nodes.iter().map(NodeCell::score).collect();
        self.median_score.store(median(&mut scores).to_bits(), Ordering::Relaxed);
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn take_in(&self, node: NodeIndex, event: impl FnOnce(&mut NodeLoad)) {
        event(&mut self.cell(node).load.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl NodeCell {
    fn score(&self) -> f64 {
        let base = f64::from_bits(self.base_score.load(Ordering::Relaxed));
        let (in_flight, limit) = (self.in_flight.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed));
        score(base, in_flight as usize, limit as usize)
    }
}

/// All nodes' scores at one moment.
#[derive(Clone, Copy)]
pub struct Scores<'a> {
    board: &'a LoadBoard,
    now_us: u64,
    strained_from: f64,
}

impl Scores<'_> {
    pub fn of(&self, node: NodeIndex) -> f64 {
        self.board.cell(node).score()
    }

    /// Whether the node is to be spared: far worse than its fellows, or it asked for it.
    pub fn is_avoided(&self, node: NodeIndex) -> bool {
        self.board.cell(node).busy_until_us.load(Ordering::Relaxed) > self.now_us || self.of(node) > self.strained_from
    }
}

/// A leg of a read that is under way. Dropped without an outcome, nobody waits for it any more.
pub(super) struct LegUnderWay<'a> {
    board: &'a LoadBoard,
    times: Option<&'a LegTimes>,
    node: NodeIndex,
    /// When the node was given it; until then it waits for its turn, which is no fault of the node's.
    sent: Option<Instant>,
    is_over: bool,
}

impl LegUnderWay<'_> {
    /// From now on the node has it.
    pub fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// Returns how long the node took.
    pub fn answered(mut self, now: Instant) -> Duration {
        self.is_over = true;
        let latency = self.sent.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
        self.board.take_in(self.node, |load| load.answered(latency, now));
        if let Some(times) = self.times {
            times.answered(self.node, latency);
        }
        latency
    }

    /// The node had all the time that it may have.
    pub fn timed_out(self, now: Instant) {
        self.board.take_in(self.node, |load| load.failed(now));
    }

    pub fn failed(mut self, now: Instant) {
        self.is_over = true;
        self.board.take_in(self.node, |load| load.failed(now));
    }

    /// It ended in a way that says nothing of the node's speed or soundness.
    pub fn ended(mut self) {
        self.is_over = true;
    }
}

impl Drop for LegUnderWay<'_> {
    fn drop(&mut self) {
        self.board.cell(self.node).in_flight.fetch_sub(1, Ordering::Relaxed);
        if let (Some(sent), false) = (self.sent, self.is_over) {
            let now = Instant::now();
            let waited = now.saturating_duration_since(sent);
            self.board.take_in(self.node, |load| load.outwaited(waited, now));
            if let Some(times) = self.times {
                times.outwaited(self.node, waited);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(5);

    fn board() -> LoadBoard {
        LoadBoard::new(3, HALF_LIFE, 8)
    }

    fn answer(board: &LoadBoard, node: u16, latency_ms: u64, now: Instant) {
        let mut leg = board.begin(NodeIndex(node), None);
        leg.sent(now);
        leg.answered(now + Duration::from_millis(latency_ms));
    }

    fn avoided(board: &LoadBoard, now: Instant) -> Vec<u16> {
        let scores = board.scores(now);
        (0..3).filter(|&node| scores.is_avoided(NodeIndex(node))).collect()
    }

    #[test]
    fn a_node_much_slower_than_its_fellows_is_avoided_until_it_is_not_known_any_more() {
        let (board, now) = (board(), Instant::now());
        (0..2).for_each(|node| answer(&board, node, 10, now));
        answer(&board, 2, 100, now);
        let soon = now + Duration::from_millis(200);
        assert_eq!(avoided(&board, soon), [2]);
        let later = now + Duration::from_secs(60);
        assert_eq!(avoided(&board, later), [0; 0]);
    }

    #[test]
    fn a_node_that_fails_often_is_avoided() {
        let (board, now) = (board(), Instant::now());
        (0..3).for_each(|node| answer(&board, node, 10, now));
        (0..20).for_each(|_| board.begin(NodeIndex(1), None).failed(now));
        assert_eq!(avoided(&board, now + Duration::from_millis(200)), [1]);
    }

    #[test]
    fn a_node_that_asked_for_it_is_spared_for_that_long() {
        let (board, now) = (board(), Instant::now());
        board.back_off(NodeIndex(0), Duration::from_secs(10), now);
        board.back_off(NodeIndex(1), Duration::from_secs(100_000), now);
        assert_eq!(avoided(&board, now + Duration::from_secs(9)), [0, 1]);
        assert_eq!(avoided(&board, now + Duration::from_secs(59)), [1]);
        assert_eq!(avoided(&board, now + Duration::from_secs(61)), [0; 0]);
    }

    #[test]
    fn legs_are_in_flight_until_they_are_dropped_however_they_end() {
        let (board, now) = (board(), Instant::now());
        let node = NodeIndex(0);
        let idle = board.scores(now).of(node);
        let (left, failed, answered) = (board.begin(node, None), board.begin(node, None), board.begin(node, None));
        assert_eq!(board.in_flight(node), 3);
        assert!(board.scores(now).of(node) > idle);
        drop(left);
        failed.failed(now);
        answered.answered(now);
        assert_eq!(board.in_flight(node), 0);
    }
}
