//! How a node has been doing lately, and how that compares with its fellows: plain state, the time is passed in.

use std::time::{Duration, Instant};

/// Weights of the three parts of a score. A node that answers as fast as the fleet's median, has nothing to do and does not
/// fail has a score of 1; one with as much in flight as it may have, 3; one that fails always, 11.
const LATENCY_WEIGHT: f64 = 1.0;
const IN_FLIGHT_WEIGHT: f64 = 2.0;
const ERRORS_WEIGHT: f64 = 10.0;

/// A node whose score is this many times the fleet's median is only asked for what nobody else has.
pub const STRAINED_FACTOR: f64 = 5.0;

/// Weight of what is remembered below which a node counts as one that is not known: half a minute after its last answer, at a
/// half-life of 5 s. It is then taken for an average one, and so gets a chance to show that it has recovered.
const KNOWN_WEIGHT_MIN: f64 = 0.015;

/// Answers of which one that did not fail stands in for what is not known of a node: one failure alone is no rate.
const ERRORS_PRIOR: f64 = 1.0;

/// Exponentially weighted latency and error rate of one node. Each answer's weight halves in every half-life, so that a burst
/// counts no more than its time.
#[derive(Clone, Debug)]
pub struct NodeLoad {
    half_life: Duration,
    /// When the sums were last decayed.
    at: Instant,
    /// Weight of the answers whose latency is known, and their weighted latencies in seconds.
    answers: f64,
    latency_sum_s: f64,
    failures: f64,
}

impl NodeLoad {
    pub fn new(half_life: Duration, now: Instant) -> Self {
        Self { half_life, at: now, answers: 0.0, latency_sum_s: 0.0, failures: 0.0 }
    }

    /// The node answered.
    pub fn answered(&mut self, latency: Duration, now: Instant) {
        self.decay(now);
        self.answers += 1.0;
        self.latency_sum_s += latency.as_secs_f64();
    }

    /// Nobody waited for the node's answer any longer. All that is known is that it takes longer than this, which says
    /// something only about a node that was taken for faster.
    pub fn outwaited(&mut self, waited: Duration, now: Instant) {
        if self.latency_s(now).is_some_and(|mean| waited.as_secs_f64() > mean) {
            self.answered(waited, now);
        }
    }

    /// The node gave no answer, or one that is none. How soon it did so says nothing about its speed.
    pub fn failed(&mut self, now: Instant) {
        self.decay(now);
        self.failures += 1.0;
    }

    /// Mean latency in seconds; `None` if nothing is known, or not any more.
    pub fn latency_s(&self, now: Instant) -> Option<f64> {
        let known = self.answers * self.factor(now) >= KNOWN_WEIGHT_MIN;
        known.then(|| self.latency_sum_s / self.answers)
    }

    /// Share of requests that failed, from 0 to 1.
    pub fn error_rate(&self, now: Instant) -> f64 {
        let factor = self.factor(now);
        let (failures, answers) = (self.failures * factor, self.answers * factor);
        failures / (failures + answers + ERRORS_PRIOR)
    }

    fn factor(&self, now: Instant) -> f64 {
        let half_lives = now.saturating_duration_since(self.at).as_secs_f64() / self.half_life.as_secs_f64();
        (-half_lives).exp2()
    }

    fn decay(&mut self, now: Instant) {
        let factor = self.factor(now);
        self.answers *= factor;
        self.latency_sum_s *= factor;
        self.failures *= factor;
        self.at = self.at.max(now);
    }
}

/// The parts of a score that change slowly: latency, as multiple of the fleet's median, and errors. A node that is not known
/// is as fast as the median.
pub fn base_score(latency_s: Option<f64>, fleet_median_s: f64, error_rate: f64) -> f64 {
    let relative = latency_s.map_or(1.0, |latency| latency / fleet_median_s.max(f64::MIN_POSITIVE));
    LATENCY_WEIGHT * relative + ERRORS_WEIGHT * error_rate
}

/// The whole score: lower is better. `in_flight` of `limit` requests are under way.
pub fn score(base: f64, in_flight: usize, limit: usize) -> f64 {
    base + IN_FLIGHT_WEIGHT * in_flight as f64 / limit.max(1) as f64
}

/// The lower median, so that one slow node of two does not pass for the norm. 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = (values.len() - 1) / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(5);

    fn score_of(load: &NodeLoad, now: Instant, in_flight: usize) -> f64 {
        score(base_score(load.latency_s(now), 0.010, load.error_rate(now)), in_flight, 8)
    }

    #[test]
    fn what_happened_counts_half_as_much_after_a_half_life() {
        let start = Instant::now();
        let mut load = NodeLoad::new(HALF_LIFE, start);
        load.answered(Duration::from_millis(10), start);
        load.answered(Duration::from_millis(40), start + HALF_LIFE);
        let mean = load.latency_s(start + HALF_LIFE).unwrap();
        assert!((mean - (0.5 * 0.010 + 0.040) / 1.5).abs() < 1e-9, "{mean}");
        let mut load = NodeLoad::new(HALF_LIFE, start);
        load.failed(start);
        assert_eq!(load.error_rate(start), 0.5);
        assert!((load.error_rate(start + HALF_LIFE) - 0.5 / 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_node_that_has_not_answered_for_half_a_minute_is_not_known_any_more() {
        let start = Instant::now();
        let mut load = NodeLoad::new(HALF_LIFE, start);
        assert_eq!(load.latency_s(start), None);
        load.answered(Duration::from_secs(1), start);
        assert_eq!(load.latency_s(start + Duration::from_secs(29)), Some(1.0));
        assert_eq!(load.latency_s(start + Duration::from_secs(31)), None);
    }

    #[test]
    fn the_median_of_two_is_the_lower() {
        assert_eq!(median(&mut [3.0, 1.0]), 1.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Answered(u64),
        Outwaited(u64),
        Failed,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1_u64..500).prop_map(Event::Answered),
            (1_u64..500).prop_map(Event::Outwaited),
            Just(Event::Failed),
        ]
    }

    fn load_after(events: &[(u64, Event)], slower_ms: &[u64]) -> (NodeLoad, Instant) {
        let mut now = Instant::now();
        let mut load = NodeLoad::new(HALF_LIFE, now);
        for (n, (pause_ms, event)) in events.iter().enumerate() {
            now += Duration::from_millis(*pause_ms);
            let slower = slower_ms.get(n).copied().unwrap_or(0);
            match event {
                Event::Answered(ms) => load.answered(Duration::from_millis(ms + slower), now),
                Event::Outwaited(ms) => load.outwaited(Duration::from_millis(*ms), now),
                Event::Failed => load.failed(now),
            }
        }
        (load, now)
    }

    proptest! {
        #[test]
        fn a_slower_node_never_scores_better(
            // What is outwaited depends on what was measured before, so it is left out here.
            events in proptest::collection::vec((0_u64..2_000, prop_oneof![
                (1_u64..500).prop_map(Event::Answered), Just(Event::Failed)]), 1..30),
            slower in proptest::collection::vec(0_u64..1_000, 30),
        ) {
            let (as_it_is, now) = load_after(&events, &[]);
            let (slower, then) = load_after(&events, &slower);
            prop_assert!(score_of(&slower, then, 0) >= score_of(&as_it_is, now, 0) - 1e-9);
        }

        #[test]
        fn a_busier_or_more_failing_node_never_scores_better(
            events in proptest::collection::vec((0_u64..2_000, event()), 1..30),
            in_flight in 0_usize..50,
        ) {
            let (load, now) = load_after(&events, &[]);
            prop_assert!(score_of(&load, now, in_flight + 1) > score_of(&load, now, in_flight));
            let mut failing = load.clone();
            failing.failed(now);
            prop_assert!(score_of(&failing, now, in_flight) > score_of(&load, now, in_flight));
            let mut outwaited = load.clone();
            outwaited.outwaited(Duration::from_millis(250), now);
            prop_assert!(outwaited.latency_s(now) >= load.latency_s(now));
        }
    }
}
