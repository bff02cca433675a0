//! How many searches a node is given at a time: a limit that follows what the node shows of itself. Plain state, the time is
//! passed in.
//!
//! Beyond as many searches as it has cores, a node answers no more of them in a second, only each of them later. So the limit
//! grows while it is reached and latency stays near what it is on a node at leisure, and shrinks when latency is twice that:
//! about two searches per core are then under way. A refusal or a time-out shrinks it at once.

use std::time::{Duration, Instant};

/// Answers and time that a judgement is made from: fewer answers are noise, and more time is late.
const WINDOW_ANSWERS_MIN: u32 = 10;
const WINDOW_MIN: Duration = Duration::from_millis(100);
/// How many times the latency at leisure is too much.
const LATENCY_FACTOR: f64 = 2.0;
/// What becomes of the limit when it is reached and latency is low, but one more at least; when latency is too high; and when
/// the node refuses or does not answer.
const GROW: f64 = 1.1;
const SHRINK: f64 = 0.9;
const SHRINK_AT_REFUSAL: f64 = 0.7;
/// By how much the latency at leisure is forgotten in a window in which the node may well have been at leisure, so that queries
/// which have become dearer are not taken for a node in trouble for ever: it doubles in about a minute. Not while the limit is
/// reached: what is forgotten under load lets the limit grow, which makes the load greater, without end.
const FORGET: f64 = 1.001;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitBounds {
    pub initial: usize,
    pub min: usize,
    pub max: usize,
}

#[derive(Debug)]
pub struct ConcurrencyLimit {
    bounds: LimitBounds,
    limit: f64,
    /// Mean latency in seconds of a window at leisure.
    at_leisure_s: Option<f64>,
    began: Instant,
    answers: u32,
    latency_sum_s: f64,
    /// Whether as many searches as the limit allows were under way at some time.
    was_reached: bool,
    has_shrunk: bool,
}

impl ConcurrencyLimit {
    pub fn new(bounds: LimitBounds, now: Instant) -> Self {
        Self {
            bounds,
            limit: bounds.initial as f64,
            at_leisure_s: None,
            began: now,
            answers: 0,
            latency_sum_s: 0.0,
            was_reached: false,
            has_shrunk: false,
        }
    }

    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A search was answered, one of `under_way`. Returns the limit if it has changed.
    pub fn answered(&mut self, latency: Duration, under_way: usize, now: Instant) -> Option<usize> {
        self.answers += 1;
        self.latency_sum_s += latency.as_secs_f64();
        self.was_reached |= under_way >= self.limit();
        let is_over = self.answers >= WINDOW_ANSWERS_MIN && now.saturating_duration_since(self.began) >= WINDOW_MIN;
        if !is_over {
            return None;
        }
        let before = self.limit();
        self.judge();
        self.begin(now);
        (self.limit() != before).then(|| self.limit())
    }

    /// A search was refused because of load, or not answered in time. Returns the limit if it has changed.
    pub fn overloaded(&mut self) -> Option<usize> {
        // What is refused together is one sign, not many.
        if std::mem::replace(&mut self.has_shrunk, true) {
            return None;
        }
        let before = self.limit();
        self.shrink(SHRINK_AT_REFUSAL);
        (self.limit() != before).then(|| self.limit())
    }

    fn judge(&mut self) {
        let mean_s = self.latency_sum_s / f64::from(self.answers);
        let may_be_at_leisure = !self.was_reached || self.limit() <= self.bounds.min;
        let forget = if may_be_at_leisure { FORGET } else { 1.0 };
        let at_leisure_s = self.at_leisure_s.map_or(mean_s, |known| (known * forget).min(mean_s));
        self.at_leisure_s = Some(at_leisure_s);
        if mean_s > LATENCY_FACTOR * at_leisure_s {
            // Only of a node with many searches under way is their number the reason.
            if self.was_reached && !self.has_shrunk {
                self.shrink(SHRINK);
            }
        } else if self.was_reached && !self.has_shrunk {
            self.limit = (self.limit * GROW).max(self.limit + 1.0).min(self.bounds.max as f64);
        }
    }

    fn shrink(&mut self, factor: f64) {
        self.limit = (self.limit * factor).max(self.bounds.min as f64);
    }

    fn begin(&mut self, now: Instant) {
        (self.began, self.answers, self.latency_sum_s) = (now, 0, 0.0);
        (self.was_reached, self.has_shrunk) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: LimitBounds = LimitBounds { initial: 8, min: 4, max: 256 };

    /// A node that works on `cores` searches of 2 ms at a time while `clients` want something of it: the limit that comes of it.
    fn settled(cores: usize, clients: usize, limit: &mut ConcurrencyLimit, now: &mut Instant) -> usize {
        for _ in 0..100_000 {
            let under_way = clients.min(limit.limit());
            let latency = Duration::from_millis(2).mul_f64((under_way as f64 / cores as f64).max(1.0));
            *now += latency / under_way as u32;
            limit.answered(latency, under_way, *now);
        }
        limit.limit()
    }

    #[test]
    fn it_settles_at_about_two_searches_per_core() {
        for cores in [4, 16, 64] {
            let mut now = Instant::now();
            let mut limit = ConcurrencyLimit::new(BOUNDS, now);
            // At leisure first, as every node is at some time.
            settled(cores, 2, &mut limit, &mut now);
            let settled = settled(cores, 1_000, &mut limit, &mut now);
            assert!((cores + cores / 2..=3 * cores).contains(&settled), "{settled} for {cores} cores");
        }
    }

    #[test]
    fn it_stays_there_for_as_long_as_the_load_lasts() {
        let mut now = Instant::now();
        let mut limit = ConcurrencyLimit::new(BOUNDS, now);
        settled(4, 2, &mut limit, &mut now);
        let settled: Vec<_> = (0..20).map(|_| settled(4, 1_000, &mut limit, &mut now)).collect();
        assert!(settled.iter().all(|limit| (6..=12).contains(limit)), "{settled:?}");
    }

    #[test]
    fn it_stays_where_nobody_reaches_it() {
        let mut now = Instant::now();
        let mut limit = ConcurrencyLimit::new(BOUNDS, now);
        assert_eq!(settled(4, 3, &mut limit, &mut now), BOUNDS.initial);
    }

    #[test]
    fn refusals_shrink_it_once_a_window_and_never_below_its_least() {
        let mut now = Instant::now();
        let mut limit = ConcurrencyLimit::new(BOUNDS, now);
        assert_eq!(limit.overloaded(), Some(5));
        assert_eq!(limit.overloaded(), None);
        for _ in 0..100 {
            now += WINDOW_MIN;
            for _ in 0..WINDOW_ANSWERS_MIN {
                limit.answered(Duration::from_millis(2), 1, now);
            }
            limit.overloaded();
        }
        assert_eq!(limit.limit(), BOUNDS.min);
    }
}
