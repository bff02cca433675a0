//! When a late leg is asked for a second time, elsewhere, and how much that may cost.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::leg_times::LegTimes;
use crate::cluster::NodeIndex;

/// When a leg is late of whose kind no node has answered enough yet.
const COLD_TRIGGER: Duration = Duration::from_millis(250);

/// Unused budget that is kept, in requests: a burst after a quiet hour is not to double the load.
const BUDGET_MAX: i64 = 20;
/// A request in the budget's units.
const REQUEST: i64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgingLimits {
    pub enabled: bool,
    /// A leg is late from this percentage of its usual time on, ...
    pub trigger_percent: u32,
    /// ... but never sooner than this.
    pub trigger_min: Duration,
    /// Late legs of one read that are asked for again.
    pub per_query_max: u32,
    /// Requests for hedges, in percent of all others.
    pub budget_percent: u32,
}

/// Hedges of all reads: they share one budget.
pub(super) struct Hedging {
    pub limits: HedgingLimits,
    /// A token bucket: every leg brings a share of a request in, every leg of a hedge takes one out.
    budget: AtomicI64,
}

impl Hedging {
    pub fn new(limits: HedgingLimits) -> Self {
        Self { limits, budget: AtomicI64::new(0) }
    }

    /// A read has sent this many legs that are no hedges.
    pub fn earn(&self, legs: usize) {
        let earned = legs as i64 * REQUEST * i64::from(self.limits.budget_percent) / 100;
        let before = self.budget.fetch_add(earned, Ordering::Relaxed);
        let surplus = before + earned - BUDGET_MAX * REQUEST;
        if surplus > 0 {
            self.budget.fetch_sub(surplus.min(earned), Ordering::Relaxed);
        }
    }

    /// Takes the requests of a hedge out of the budget, if they are in it. They are spent whatever comes of the hedge: a node
    /// cannot notice that nobody waits for it any more.
    pub fn spend(&self, legs: usize) -> bool {
        let price = legs as i64 * REQUEST;
        let spent = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |budget| (budget >= price).then(|| budget - price));
        spent.is_ok()
    }

    /// How long a node may take for a leg before it is late. `None`: it is never hedged.
    pub fn trigger(&self, times: &LegTimes, node: NodeIndex) -> Option<Duration> {
        let limits = &self.limits;
        if !limits.enabled {
            return None;
        }
        let late = times.usual(node).map_or(COLD_TRIGGER, |usual| usual * limits.trigger_percent / 100);
        Some(late.max(limits.trigger_min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedging(budget_percent: u32) -> Hedging {
        Hedging::new(HedgingLimits {
            enabled: true,
            trigger_percent: 120,
            trigger_min: Duration::from_millis(15),
            per_query_max: 2,
            budget_percent,
        })
    }

    #[test]
    fn hedges_never_take_more_than_their_share_of_requests() {
        let hedging = hedging(5);
        let (mut sent, mut hedged) = (0_u32, 0_u32);
        for n in 0..10_000_u32 {
            hedging.earn(3);
            sent += 3;
            let legs = 1 + n as usize % 2;
            hedged += if hedging.spend(legs) { legs as u32 } else { 0 };
            assert!(f64::from(hedged) <= 0.05 * f64::from(sent), "{hedged} of {sent}");
        }
        assert!(f64::from(hedged) > 0.049 * f64::from(sent), "{hedged} of {sent}: nearly all of it is used");
    }

    #[test]
    fn what_was_not_used_is_kept_up_to_a_bound() {
        let hedging = hedging(5);
        (0..100_000).for_each(|_| hedging.earn(2));
        let spent = (0..1_000).filter(|_| hedging.spend(1)).count();
        assert_eq!(spent as i64, BUDGET_MAX);
    }

    #[test]
    fn a_leg_is_late_after_its_usual_time_and_some_and_never_sooner_than_the_least() {
        let (hedging, times) = (hedging(5), super::super::leg_times::LegTimesBoard::new(1));
        let times = times.of(&crate::cluster::IndexUid::parse("i").unwrap(), "search");
        assert_eq!(hedging.trigger(&times, NodeIndex(0)), Some(COLD_TRIGGER));
        (0..100).for_each(|_| times.answered(NodeIndex(0), Duration::from_millis(2)));
        assert_eq!(hedging.trigger(&times, NodeIndex(0)), Some(Duration::from_millis(15)));
        (0..2_000).for_each(|_| times.answered(NodeIndex(0), Duration::from_millis(100)));
        let late = hedging.trigger(&times, NodeIndex(0)).unwrap();
        assert!((Duration::from_millis(120)..Duration::from_millis(132)).contains(&late), "{late:?}");
    }
}
