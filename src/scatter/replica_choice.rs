//! Which replicas a read asks, and that the pages of one query ask the same ones: `docs/decisions/012-replica-choice.md`.
//!
//! Nodes break ties in their own insertion order, so a query's choice is remembered under the query's hash and stands for as
//! long as somebody pages. Load decides about queries that are not remembered.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use smallvec::SmallVec;

use super::load_board::Scores;
use crate::cluster::{replica_order, CoveringSet, Index, NodeIndex, Preference, Shard, Snapshot, Topology};

/// Queries whose choice is remembered, over all parts. A choice takes about 100 bytes: 6 MB in all. The one that has not been
/// used for longest makes room for a new one, which costs that query the sameness of its pages at most.
const REMEMBERED_MAX: usize = 65_536;
/// Parts of the memory, each with its own lock, so that requests rarely meet at one.
const PARTS: usize = 16;
/// How long after its last page a query's choice is kept: longer than people look at a page of results.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// How replicas are chosen for queries that are not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By latency, legs in flight and errors.
    Adaptive,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
}

/// How a read's replicas came to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// As for the query's last page.
    Memory,
    Load,
    Turn,
    /// At random, by strategy or to see whether a slow node has recovered.
    Chance,
}

impl ChosenBy {
    pub fn name(self) -> &'static str {
        match self {
            ChosenBy::Memory => "memory",
            ChosenBy::Load => "load",
            ChosenBy::Turn => "turn",
            ChosenBy::Chance => "chance",
        }
    }
}

/// What a read's replicas are chosen by.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub snapshot: &'a Snapshot,
    pub index: &'a Index,
    pub shards: &'a [Shard],
    /// Hash of the query without its paging.
    pub fingerprint: u64,
}

/// The nodes of a choice, first chosen first.
type Chosen = SmallVec<[NodeIndex; 8]>;

struct Remembered {
    nodes: Chosen,
    used: Instant,
}

/// One part of the memory. What it remembers holds for one topology.
struct Part {
    topology: Option<Arc<Topology>>,
    choices: LruCache<u64, Remembered>,
}

pub struct ReplicaChoice {
    strategy: Strategy,
    /// Of 100 choices by load, so many are made at random.
    exploration_percent: u32,
    parts: Vec<Mutex<Part>>,
    turn: AtomicUsize,
}

impl ReplicaChoice {
    pub fn new(strategy: Strategy, exploration_percent: u32) -> Self {
        let size = NonZeroUsize::new(REMEMBERED_MAX / PARTS).expect("there are more choices than parts");
        let part = |_| Mutex::new(Part { topology: None, choices: LruCache::new(size) });
        Self { strategy, exploration_percent, parts: (0..PARTS).map(part).collect(), turn: AtomicUsize::new(0) }
    }

    /// The covering set of a read's first legs.
    pub fn choose(&self, query: &Query<'_>, scores: &Scores<'_>, now: Instant) -> (CoveringSet, ChosenBy) {
        let key = key_of(query);
        let topology = &query.snapshot.topology;
        let remembered = self.remembered(key, topology, now);
        if let Some(set) = remembered.as_ref().and_then(|nodes| as_before(query, nodes, scores)) {
            return (set, ChosenBy::Memory);
        }
        let by_load = || replica_order::by_load(topology, query.fingerprint, |node| scores.of(node));
        let (order, chosen_by) = match &remembered {
            Some(nodes) => (nodes.iter().copied().chain(by_load()).collect(), ChosenBy::Memory),
            None => self.fresh_order(topology, by_load),
        };
        // A random choice is to show whether a node has recovered that would else be spared.
        let is_blind = matches!(chosen_by, ChosenBy::Chance | ChosenBy::Turn);
        let avoided = |node| !is_blind && scores.is_avoided(node);
        let settled = remembered.as_ref().map_or(0, SmallVec::len);
        let preference = Preference { order: &order, avoided: &avoided, unusable: &[], settled };
        let set = CoveringSet::cover(query.snapshot, query.index, query.shards, &preference);
        self.remember(key, topology, remembered.unwrap_or_default(), &order, &set, now);
        (set, chosen_by)
    }

    /// Who else may be asked for shards whose leg failed or is late: not `unusable` ones.
    pub fn choose_again(&self, query: &Query<'_>, scores: &Scores<'_>, unusable: &[NodeIndex]) -> CoveringSet {
        let order = replica_order::by_load(&query.snapshot.topology, query.fingerprint, |node| scores.of(node));
        let avoided = |node| scores.is_avoided(node);
        let preference = Preference { order: &order, avoided: &avoided, unusable, settled: 0 };
        CoveringSet::cover(query.snapshot, query.index, query.shards, &preference)
    }

    fn fresh_order(&self, topology: &Topology, by_load: impl FnOnce() -> Vec<NodeIndex>) -> (Vec<NodeIndex>, ChosenBy) {
        let at_random = || (replica_order::by_hash(topology, fastrand::u64(..)), ChosenBy::Chance);
        match self.strategy {
            Strategy::Adaptive if fastrand::u32(0..100) < self.exploration_percent => at_random(),
            Strategy::Adaptive => (by_load(), ChosenBy::Load),
            Strategy::RoundRobin => {
                (replica_order::by_turn(topology, self.turn.fetch_add(1, Ordering::Relaxed)), ChosenBy::Turn)
            }
            Strategy::Random => at_random(),
        }
    }

    fn part(&self, key: u64, topology: &Arc<Topology>) -> std::sync::MutexGuard<'_, Part> {
        let part = &self.parts[(key >> 32) as usize % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.topology.as_ref().is_none_or(|of| !Arc::ptr_eq(of, topology)) {
            part.choices.clear();
            part.topology = Some(Arc::clone(topology));
        }
        part
    }

    fn remembered(&self, key: u64, topology: &Arc<Topology>, now: Instant) -> Option<Chosen> {
        let mut part = self.part(key, topology);
        let choice = part.choices.get_mut(&key)?;
        if now.saturating_duration_since(choice.used) > IDLE_MAX {
            return None;
        }
        choice.used = now;
        Some(choice.nodes.clone())
    }

    /// Keeps the nodes of a set behind those that were chosen before. These stay even if they were not used now: a node that
    /// is spared or away for a while gets its pages again.
    fn remember(
        &self,
        key: u64,
        topology: &Arc<Topology>,
        before: Chosen,
        order: &[NodeIndex],
        set: &CoveringSet,
        now: Instant,
    ) {
        let is_new = |node: &NodeIndex| !before.contains(node) && set.legs.iter().any(|leg| leg.node == *node);
        let new: Chosen = order.iter().copied().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let mut nodes = before;
        nodes.extend(new);
        self.part(key, topology).choices.put(key, Remembered { nodes, used: now });
    }
}

/// The set that these nodes make by themselves, if nothing is missing from it and none is to be spared.
fn as_before(query: &Query<'_>, nodes: &[NodeIndex], scores: &Scores<'_>) -> Option<CoveringSet> {
    let preference = Preference { order: nodes, avoided: &|_| false, unusable: &[], settled: nodes.len() };
    let set = CoveringSet::cover(query.snapshot, query.index, query.shards, &preference);
    let is_whole = set.missing.is_empty() && set.legs.iter().all(|leg| !scores.is_avoided(leg.node));
    is_whole.then_some(set)
}

/// Two indexes may be asked the same.
fn key_of(query: &Query<'_>) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(query.index.node_uid.as_str().as_bytes(), query.fingerprint)
}

#[cfg(test)]
mod tests {
    use super::super::load_board::LoadBoard;
    use super::*;
    use crate::cluster::{tests_support::*, NodeState};

    const SHARDS: u32 = 64;

    struct Fixture {
        board: LoadBoard,
        choice: ReplicaChoice,
        index: Index,
        shards: Vec<Shard>,
        now: Instant,
    }

    impl Fixture {
        fn new(strategy: Strategy) -> Self {
            Self {
                board: LoadBoard::new(6, Duration::from_secs(5), 8),
                choice: ReplicaChoice::new(strategy, 0),
                index: index(SHARDS),
                shards: (0..SHARDS).map(Shard).collect(),
                now: Instant::now(),
            }
        }

        fn answer(&self, node: u16, latency_ms: u64) {
            let mut leg = self.board.begin(NodeIndex(node), None);
            leg.sent(self.now);
            leg.answered(self.now + Duration::from_millis(latency_ms));
        }

        fn choose(&self, snapshot: &Snapshot, fingerprint: u64, after: Duration) -> CoveringSet {
            let query = Query { snapshot, index: &self.index, shards: &self.shards, fingerprint };
            let now = self.now + Duration::from_secs(1) + after;
            self.choice.choose(&query, &self.board.scores(now), now).0
        }
    }

    fn share_of(fixture: &Fixture, snapshot: &Snapshot, node: u16, fingerprints: std::ops::Range<u64>) -> usize {
        let sets =
            fingerprints.map(|n| fixture.choose(snapshot, n.wrapping_mul(0x9E37_79B9_7F4A_7C15), Duration::ZERO));
        sets.filter(|set| set.legs.iter().any(|leg| leg.node == NodeIndex(node))).count()
    }

    #[test]
    fn pages_of_a_query_keep_their_replicas_while_load_changes_and_new_queries_follow_it() {
        let (fixture, snapshot) = (Fixture::new(Strategy::Adaptive), snapshot(&[3], 2, SHARDS));
        let before: Vec<_> = (0..100).map(|query| fixture.choose(&snapshot, query, Duration::ZERO)).collect();
        fixture.answer(0, 30);
        (1..3).for_each(|node| (0..5).for_each(|_| fixture.answer(node, 10)));
        for (query, set) in before.iter().enumerate() {
            assert_eq!(fixture.choose(&snapshot, query as u64, Duration::from_secs(1)), *set);
        }
        assert_eq!(share_of(&fixture, &snapshot, 0, 1_000..1_300), 0, "three times slower: the others suffice");
    }

    #[test]
    fn pages_keep_their_replicas_with_every_strategy() {
        for strategy in [Strategy::Adaptive, Strategy::RoundRobin, Strategy::Random] {
            let (fixture, snapshot) = (Fixture::new(strategy), snapshot(&[3, 3], 2, SHARDS));
            let first: Vec<_> = (0..50).map(|query| fixture.choose(&snapshot, query, Duration::ZERO)).collect();
            for (query, set) in first.iter().enumerate() {
                assert_eq!(fixture.choose(&snapshot, query as u64, Duration::ZERO), *set, "{strategy:?}");
            }
        }
    }

    #[test]
    fn a_query_that_nobody_pages_any_more_is_chosen_for_anew() {
        let (fixture, snapshot) = (Fixture::new(Strategy::RoundRobin), snapshot(&[2, 2], 1, SHARDS));
        let group = |after| snapshot.topology.node(fixture.choose(&snapshot, 7, after).legs[0].node).group;
        let first = group(Duration::ZERO);
        assert_eq!(group(IDLE_MAX), first);
        assert_ne!(group(3 * IDLE_MAX), first, "the turn has passed on");
    }

    #[test]
    fn a_node_that_failed_loses_its_pages_to_others_and_gets_them_back() {
        let (fixture, whole) = (Fixture::new(Strategy::Adaptive), snapshot(&[3], 2, SHARDS));
        let before = fixture.choose(&whole, 1, Duration::ZERO);
        let gone = before.legs[0].node;
        let without = whole.clone().with_state(gone, NodeState::Failed);
        let meanwhile = fixture.choose(&without, 1, Duration::ZERO);
        assert!(meanwhile.missing.is_empty() && meanwhile.legs.iter().all(|leg| leg.node != gone));
        assert_eq!(fixture.choose(&whole, 1, Duration::ZERO), before);
    }

    #[test]
    fn a_query_leaves_a_node_that_is_far_slower_than_its_fellows_and_returns_to_it() {
        let (fixture, snapshot) = (Fixture::new(Strategy::Adaptive), snapshot(&[3], 2, SHARDS));
        let before = fixture.choose(&snapshot, 1, Duration::ZERO);
        let slow = before.legs[0].node;
        (0..3).for_each(|node| fixture.answer(node, if node == slow.0 { 1_000 } else { 10 }));
        let meanwhile = fixture.choose(&snapshot, 1, Duration::from_secs(1));
        assert!(meanwhile.missing.is_empty() && meanwhile.legs.iter().all(|leg| leg.node != slow));
        assert_eq!(fixture.choose(&snapshot, 1, Duration::from_secs(60)), before);
    }

    #[test]
    fn slow_replicas_of_one_group_are_replaced_by_those_of_another_shard_by_shard() {
        let (fixture, snapshot) = (Fixture::new(Strategy::RoundRobin), snapshot(&[2, 2], 1, SHARDS));
        // Remembered with the first group, then its first node becomes slow.
        let query = (0..).find(|&n| fixture.choose(&snapshot, n, Duration::ZERO).legs[0].node.0 < 2).unwrap();
        (0..4).for_each(|node| fixture.answer(node, if node == 0 { 200 } else { 10 }));
        let set = fixture.choose(&snapshot, query, Duration::from_secs(1));
        assert!(set.missing.is_empty() && set.legs.iter().all(|leg| leg.node != NodeIndex(0)));
        let kept = set.legs.iter().find(|leg| leg.node == NodeIndex(1)).expect("the rest of its group stays");
        assert_eq!(kept.shards, snapshot.placement(SHARDS).shards_of(NodeIndex(1)));
    }

    #[test]
    fn a_node_without_samples_is_not_flooded() {
        let (fixture, snapshot) = (Fixture::new(Strategy::Adaptive), snapshot(&[3], 2, SHARDS));
        (0..2).for_each(|node| (0..5).for_each(|_| fixture.answer(node, 10 + u64::from(node))));
        let share = share_of(&fixture, &snapshot, 2, 0..600);
        assert!((340..460).contains(&share), "{share} of 600 searches, 400 would be fair");
    }

    #[test]
    fn chance_lets_a_slow_node_show_that_it_has_recovered() {
        let mut fixture = Fixture::new(Strategy::Adaptive);
        fixture.choice = ReplicaChoice::new(Strategy::Adaptive, 5);
        let snapshot = snapshot(&[3], 2, SHARDS);
        (0..3).for_each(|node| fixture.answer(node, if node == 0 { 1_000 } else { 10 }));
        let share = share_of(&fixture, &snapshot, 0, 0..3_000);
        assert!((40..200).contains(&share), "{share} of 3,000: about 5 % of two thirds were expected");
    }

    #[test]
    fn a_change_of_the_topology_forgets_all_choices() {
        let (fixture, three) = (Fixture::new(Strategy::Adaptive), snapshot(&[3], 2, SHARDS));
        fixture.choose(&three, 1, Duration::ZERO);
        let six = snapshot(&[6], 2, SHARDS);
        assert!(fixture.choose(&six, 1, Duration::ZERO).missing.is_empty());
        let two = snapshot(&[2], 2, SHARDS);
        let set = fixture.choose(&two, 1, Duration::ZERO);
        assert!(set.missing.is_empty() && set.legs.iter().all(|leg| leg.node.0 < 2));
    }
}
