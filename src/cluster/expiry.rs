//! Documents that expire: what an index's record says of it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::IndexUid;

/// Bounds of the time from one sweep to the next, in seconds. Longer than a year is no sweep.
pub const SWEEP_INTERVAL_RANGE_S: RangeInclusive<u64> = 1..=31_536_000;
/// Bounds of the number of documents that one sweep deletes: their ids are held in memory.
pub const MAX_DELETES_RANGE: RangeInclusive<u64> = 1..=1_000_000;

/// How the documents of one index expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expiry {
    /// Whether all nodes that take writes can filter by `_miroir_expires_at`, or will once they have caught up.
    pub is_filterable: bool,
    #[serde(skip_serializing_if = "TtlPolicy::is_default")]
    pub policy: TtlPolicy,
}

impl Expiry {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an operator has settled for one index. What is absent is as the configuration has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TtlPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_interval_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deletes_per_sweep: Option<u64>,
}

/// What holds for an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectivePolicy {
    pub enabled: bool,
    pub sweep_interval: Duration,
    pub max_deletes_per_sweep: usize,
}

impl TtlPolicy {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The policy over that of the configuration. Where TTL is off, no policy switches it on.
    pub fn over(&self, default: EffectivePolicy) -> EffectivePolicy {
        EffectivePolicy {
            enabled: default.enabled && self.enabled.unwrap_or(true),
            sweep_interval: self.sweep_interval_s.map_or(default.sweep_interval, Duration::from_secs),
            max_deletes_per_sweep: self.max_deletes_per_sweep.map_or(default.max_deletes_per_sweep, |max| max as usize),
        }
    }
}

/// Indexes of which a sweep has not deleted what it should have, by their names on the nodes, with the time up to which: what expired
/// before is not shown to anybody, though it is still there.
#[derive(Debug, Default)]
pub struct Overdue {
    until_ms: ArcSwap<HashMap<IndexUid, i64>>,
}

impl Overdue {
    pub fn of(&self, node_uid: &IndexUid) -> Option<i64> {
        self.until_ms.load().get(node_uid).copied()
    }

    /// `None`: it is not overdue any more, or gone.
    pub fn set(&self, node_uid: &IndexUid, until_ms: Option<i64>) {
        if self.of(node_uid) != until_ms {
            self.until_ms.rcu(|all| {
                let mut all = HashMap::clone(all);
                match until_ms {
                    Some(until_ms) => all.insert(node_uid.clone(), until_ms),
                    None => all.remove(node_uid),
                };
                all
            });
        }
    }

    /// All of them, as another Miroir has them.
    pub fn replace(&self, all: Vec<(IndexUid, i64)>) {
        if all.len() != self.until_ms.load().len()
            || all.iter().any(|(node_uid, until_ms)| self.of(node_uid) != Some(*until_ms))
        {
            self.until_ms.store(Arc::new(all.into_iter().collect()));
        }
    }

    pub fn all(&self) -> Vec<(IndexUid, i64)> {
        self.until_ms.load().iter().map(|(node_uid, until_ms)| (node_uid.clone(), *until_ms)).collect()
    }

    /// How many they are, of those that are there.
    pub fn retain(&self, is_there: impl Fn(&IndexUid) -> bool) -> usize {
        let all = self.until_ms.load();
        all.keys().filter(|node_uid| !is_there(node_uid)).for_each(|node_uid| self.set(node_uid, None));
        self.until_ms.load().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_overdue_until_that_is_taken_back_or_it_is_gone() {
        let uid = |name: &str| IndexUid::parse(name).unwrap();
        let overdue = Overdue::default();
        overdue.set(&uid("a"), Some(5));
        overdue.set(&uid("b"), Some(6));
        overdue.set(&uid("a"), Some(7));
        assert_eq!((overdue.of(&uid("a")), overdue.of(&uid("c"))), (Some(7), None));
        assert_eq!(overdue.retain(|node_uid| *node_uid == uid("a")), 1);
        assert_eq!(overdue.of(&uid("b")), None);
        overdue.set(&uid("a"), None);
        assert_eq!(overdue.retain(|_| true), 0);
    }

    #[test]
    fn a_policy_changes_what_it_names_and_switches_nothing_on_that_is_off() {
        let default =
            EffectivePolicy { enabled: true, sweep_interval: Duration::from_secs(300), max_deletes_per_sweep: 10_000 };
        assert_eq!(TtlPolicy::default().over(default), default);
        let policy = TtlPolicy { sweep_interval_s: Some(7), ..TtlPolicy::default() };
        assert_eq!(policy.over(default), EffectivePolicy { sweep_interval: Duration::from_secs(7), ..default });
        let policy = TtlPolicy { enabled: Some(false), ..TtlPolicy::default() };
        assert_eq!(policy.over(default), EffectivePolicy { enabled: false, ..default });
        let policy = TtlPolicy { enabled: Some(true), max_deletes_per_sweep: Some(5), ..TtlPolicy::default() };
        let off = EffectivePolicy { enabled: false, ..default };
        assert_eq!(policy.over(off), EffectivePolicy { max_deletes_per_sweep: 5, ..off });
    }
}
