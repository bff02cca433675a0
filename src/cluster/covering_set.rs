//! Which node answers for which shard in one read.

use smallvec::SmallVec;

use super::{replica_order, Index, NodeIndex, Placement, Shard, Snapshot};

/// Nodes of a fleet for which a choice needs no allocation.
const USUAL_NODES: usize = 16;

/// Rank of a node that may not be asked at all.
const NEVER: u32 = u32::MAX;

/// One node of a covering set, with the shards it answers for, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveringLeg {
    pub node: NodeIndex,
    pub shards: Vec<Shard>,
}

/// One leg per node; together they have every requested shard once, but for those in `missing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoveringSet {
    pub legs: Vec<CoveringLeg>,
    /// Shards that no eligible replica of any group holds.
    pub missing: Vec<Shard>,
}

/// Which nodes a read would rather ask.
pub struct Preference<'a> {
    /// Best first. A node that is not in it is not asked; of one that is in it twice, the first place counts.
    pub order: &'a [NodeIndex],
    /// Nodes that are asked only for what no other node of the order has.
    pub avoided: &'a dyn Fn(NodeIndex) -> bool,
    /// Nodes that this request has already seen fail.
    pub unusable: &'a [NodeIndex],
    /// The first so many of the order keep their shards even if others could do without them: pages that they answered before.
    pub settled: usize,
}

impl CoveringSet {
    /// Covers `shards` in the order that the hash `seed` decides.
    pub fn choose(snapshot: &Snapshot, index: &Index, shards: &[Shard], seed: u64, unusable: &[NodeIndex]) -> Self {
        let order = replica_order::by_hash(&snapshot.topology, seed);
        Self::cover(snapshot, index, shards, &Preference { order: &order, avoided: &|_| false, unusable, settled: 0 })
    }

    /// Gives each shard to the first node in the order that may be read for it: the same as taking nodes in turn, each with
    /// all it can still cover, which keeps the legs few. A leg that the others can do without is then left out.
    ///
    /// The same order gives the same set, and so does the order of only those nodes that became legs.
    pub fn cover(snapshot: &Snapshot, index: &Index, shards: &[Shard], preference: &Preference<'_>) -> Self {
        let ranks = Ranks::of(snapshot, index, preference);
        let mut legs: Vec<CoveringLeg> = Vec::new();
        let mut leg_of: SmallVec<[Option<u16>; USUAL_NODES]> = smallvec::smallvec![None; snapshot.topology.nodes.len()];
        let mut missing = Vec::new();
        for &shard in shards {
            let Some(node) = ranks.best(shard, |_| true) else {
                missing.push(shard);
                continue;
            };
            let leg = *leg_of[node.0 as usize].get_or_insert_with(|| {
                legs.push(CoveringLeg { node, shards: Vec::new() });
                (legs.len() - 1) as u16
            });
            legs[leg as usize].shards.push(shard);
        }
        leave_out_superfluous(&mut legs, &ranks, preference.settled as u32);
        legs.sort_unstable_by_key(|leg| leg.shards[0]);
        Self { legs, missing }
    }
}

/// The nodes' places in an order of preference; lower is better.
struct Ranks<'a> {
    ranks: SmallVec<[u32; USUAL_NODES]>,
    snapshot: &'a Snapshot,
    placement: &'a Placement,
    index: &'a Index,
    /// Ranks from here on are those of avoided nodes.
    avoided_from: u32,
    /// Lags are looked up for each replica only where there is something to find.
    has_lags: bool,
}

impl<'a> Ranks<'a> {
    fn of(snapshot: &'a Snapshot, index: &'a Index, preference: &Preference<'_>) -> Self {
        let count = snapshot.topology.nodes.len();
        let mut ranks: SmallVec<[u32; USUAL_NODES]> = smallvec::smallvec![NEVER; count];
        for (place, &node) in preference.order.iter().enumerate().rev() {
            if snapshot.state(node).serves_reads() && !preference.unusable.contains(&node) {
                let behind_all = if (preference.avoided)(node) { preference.order.len() } else { 0 };
                ranks[node.0 as usize] = (place + behind_all) as u32;
            }
        }
        let placement = snapshot.placement(index.shard_count);
        let avoided_from = preference.order.len() as u32;
        Self { ranks, snapshot, placement, index, avoided_from, has_lags: snapshot.has_lag(index) }
    }

    /// The best of a shard's replicas that may be read.
    fn best(&self, shard: Shard, may: impl Fn(NodeIndex) -> bool) -> Option<NodeIndex> {
        let groups = 0..self.snapshot.topology.groups.len();
        let replicas = groups.flat_map(|group| self.placement.replicas(group, shard)).copied();
        let readable = replicas.filter(|&node| self.rank(node) != NEVER && may(node) && !self.lags(node, shard));
        readable.min_by_key(|&node| self.rank(node))
    }

    fn rank(&self, node: NodeIndex) -> u32 {
        self.ranks[node.0 as usize]
    }

    fn lags(&self, node: NodeIndex, shard: Shard) -> bool {
        self.has_lags && self.snapshot.lag(node, self.index).is_some_and(|lag| lag.contains(shard))
    }
}

/// Gives the shards of a leg to the other legs where these hold all of them: the smallest legs first, which are the easiest to
/// do without.
fn leave_out_superfluous(legs: &mut Vec<CoveringLeg>, ranks: &Ranks<'_>, settled: u32) {
    if legs.len() < 2 {
        return;
    }
    let mut by_size: SmallVec<[NodeIndex; USUAL_NODES]> = SmallVec::new();
    legs.sort_unstable_by_key(|leg| (leg.shards.len(), leg.node));
    by_size.extend(legs.iter().map(|leg| leg.node).filter(|&node| ranks.rank(node) >= settled));
    for node in by_size {
        let Some(at) = legs.iter().position(|leg| leg.node == node) else { continue };
        let elsewhere = |&shard: &Shard| {
            let is_other_leg = |other| {
                other != node && ranks.rank(other) < ranks.avoided_from && legs.iter().any(|leg| leg.node == other)
            };
            ranks.best(shard, is_other_leg).map(|other| (shard, other))
        };
        // Stops at the first shard that nobody else has, which is nearly always the first of all.
        let Some(moved) = legs[at].shards.iter().map(elsewhere).collect::<Option<Vec<_>>>() else { continue };
        legs.remove(at);
        for (shard, other) in moved {
            let leg = legs.iter_mut().find(|leg| leg.node == other).expect("it was found among the legs");
            leg.shards.push(shard);
        }
    }
    legs.iter_mut().for_each(|leg| leg.shards.sort_unstable());
}

#[cfg(test)]
mod tests {
    use super::super::{tests_support, Lag, NodeState, ShardSet};
    use super::*;

    const SHARDS: u32 = 64;

    fn snapshot(nodes_per_group: &[usize], replication_factor: usize, failed: &[u16]) -> Snapshot {
        let whole = tests_support::snapshot(nodes_per_group, replication_factor, SHARDS);
        failed.iter().fold(whole, |snapshot, &node| snapshot.with_state(NodeIndex(node), NodeState::Failed))
    }

    fn index() -> Index {
        tests_support::index(SHARDS)
    }

    fn all_shards() -> Vec<Shard> {
        (0..SHARDS).map(Shard).collect()
    }

    fn choose(snapshot: &Snapshot, seed: u64) -> CoveringSet {
        CoveringSet::choose(snapshot, &index(), &all_shards(), seed, &[])
    }

    fn covered(set: &CoveringSet) -> Vec<Shard> {
        let mut shards: Vec<Shard> = set.legs.iter().flat_map(|leg| leg.shards.clone()).collect();
        shards.sort_unstable();
        shards
    }

    #[test]
    fn every_shard_is_asked_for_once_of_a_node_that_holds_it() {
        for (groups, replication_factor) in [(vec![3], 1), (vec![3], 2), (vec![5], 3), (vec![2, 2], 1)] {
            let snapshot = snapshot(&groups, replication_factor, &[]);
            for seed in 0..50 {
                let set = choose(&snapshot, seed);
                assert_eq!(covered(&set), all_shards());
                let held = |leg: &CoveringLeg| {
                    let of_node = snapshot.placement(SHARDS).shards_of(leg.node);
                    leg.shards.iter().all(|shard| of_node.contains(shard))
                };
                assert!(set.legs.iter().all(held));
            }
        }
    }

    #[test]
    fn one_group_answers_alone_and_both_groups_take_turns() {
        let snapshot = snapshot(&[2, 2], 1, &[]);
        let mut first_nodes = Vec::new();
        for seed in 0..20 {
            let set = choose(&snapshot, seed);
            let groups: Vec<_> = set.legs.iter().map(|leg| snapshot.topology.node(leg.node).group).collect();
            assert!(groups.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {groups:?}");
            first_nodes.push(groups[0]);
        }
        first_nodes.sort_unstable();
        first_nodes.dedup();
        assert_eq!(first_nodes.len(), 2);
    }

    #[test]
    fn with_two_replicas_of_three_nodes_two_legs_suffice_and_all_nodes_are_used() {
        let snapshot = snapshot(&[3], 2, &[]);
        let mut asked = [0; 3];
        for seed in 0..300 {
            let set = choose(&snapshot, seed);
            assert_eq!(set.legs.len(), 2);
            set.legs.iter().for_each(|leg| asked[leg.node.0 as usize] += 1);
        }
        assert!(asked.iter().all(|&count| count > 150), "{asked:?}");
    }

    #[test]
    fn the_same_query_gets_the_same_replicas() {
        let snapshot = snapshot(&[4], 2, &[]);
        assert_eq!(choose(&snapshot, 77), choose(&snapshot, 77));
    }

    #[test]
    fn a_failed_node_is_not_asked_while_a_replica_or_another_group_has_its_shards() {
        for (groups, replication_factor) in [(vec![3], 2), (vec![2, 2], 1)] {
            let snapshot = snapshot(&groups, replication_factor, &[1]);
            for seed in 0..50 {
                let set = choose(&snapshot, seed);
                assert_eq!(covered(&set), all_shards());
                assert!(set.missing.is_empty() && set.legs.iter().all(|leg| leg.node != NodeIndex(1)));
            }
        }
    }

    #[test]
    fn without_any_replica_the_shards_are_named_as_missing() {
        let snapshot = snapshot(&[3], 1, &[2]);
        let set = choose(&snapshot, 1);
        assert_eq!(set.missing, snapshot.placement(SHARDS).shards_of(NodeIndex(2)));
        assert_eq!(set.legs.len(), 2);
    }

    #[test]
    fn a_replica_is_not_asked_for_the_shards_that_it_lags_behind_in() {
        let shards: ShardSet = (0..8).map(Shard).collect();
        let lag = Lag { index_uid: index().uid, node: NodeIndex(1), shards: shards.clone() };
        let lagging = snapshot(&[3], 2, &[]).with_lags(std::slice::from_ref(&lag));
        for seed in 0..50 {
            let set = choose(&lagging, seed);
            assert_eq!(covered(&set), all_shards());
            let of_node = set.legs.iter().filter(|leg| leg.node == NodeIndex(1)).flat_map(|leg| &leg.shards);
            assert!(of_node.into_iter().all(|shard| !shards.contains(*shard)), "seed {seed}");
        }
        let caught_up = lagging.with_lags(&[Lag { shards: ShardSet::default(), ..lag }]);
        let asked = |seed| choose(&caught_up, seed).legs.iter().any(|leg| leg.node == NodeIndex(1));
        assert!((0..50).any(asked));
    }

    #[test]
    fn a_node_that_failed_this_request_is_avoided_though_it_counts_as_healthy() {
        let snapshot = snapshot(&[3], 2, &[]);
        let set = CoveringSet::choose(&snapshot, &index(), &all_shards(), 5, &[NodeIndex(0)]);
        assert!(set.missing.is_empty() && set.legs.iter().all(|leg| leg.node != NodeIndex(0)));
    }

    fn cover(snapshot: &Snapshot, order: &[u16], avoided: &[u16]) -> CoveringSet {
        let order: Vec<NodeIndex> = order.iter().copied().map(NodeIndex).collect();
        let avoided = |node: NodeIndex| avoided.contains(&node.0);
        let preference = Preference { order: &order, avoided: &avoided, unusable: &[], settled: order.len() };
        CoveringSet::cover(snapshot, &index(), &all_shards(), &preference)
    }

    #[test]
    fn avoided_nodes_are_asked_only_for_what_no_other_node_of_any_group_has() {
        let two_groups = snapshot(&[2, 2], 1, &[]);
        let set = cover(&two_groups, &[0, 1, 2, 3], &[0]);
        assert_eq!(covered(&set), all_shards());
        assert!(set.legs.iter().all(|leg| leg.node != NodeIndex(0)));
        let of_first_group = set.legs.iter().find(|leg| leg.node == NodeIndex(1)).unwrap();
        assert_eq!(of_first_group.shards, two_groups.placement(SHARDS).shards_of(NodeIndex(1)), "the rest stays");

        let set = cover(&two_groups, &[0, 1, 2, 3], &[0, 2]);
        let of_both: Vec<Shard> = all_shards()
            .into_iter()
            .filter(|shard| {
                two_groups.placement(SHARDS).shards_of(NodeIndex(0)).contains(shard)
                    && two_groups.placement(SHARDS).shards_of(NodeIndex(2)).contains(shard)
            })
            .collect();
        let asked = set.legs.iter().find(|leg| leg.node == NodeIndex(0)).unwrap();
        assert_eq!(asked.shards, of_both);
        assert!(set.legs.iter().all(|leg| leg.node != NodeIndex(2)), "the order decides between two that are avoided");
    }

    #[test]
    fn the_nodes_of_a_set_give_the_same_set_again() {
        for (groups, replication_factor) in [(vec![3], 2), (vec![12], 2), (vec![7], 3), (vec![4, 4], 2)] {
            let snapshot = snapshot(&groups, replication_factor, &[]);
            for seed in 0..100 {
                let order = replica_order::by_hash(&snapshot.topology, seed);
                let preference = Preference { order: &order, avoided: &|_| false, unusable: &[], settled: 0 };
                let set = CoveringSet::cover(&snapshot, &index(), &all_shards(), &preference);
                let is_leg = |node: &NodeIndex| set.legs.iter().any(|leg| leg.node == *node);
                let used: Vec<NodeIndex> = order.iter().copied().filter(is_leg).collect();
                let again = Preference { order: &used, ..preference };
                assert_eq!(CoveringSet::cover(&snapshot, &index(), &all_shards(), &again), set);
            }
        }
    }

    #[test]
    fn no_leg_could_be_left_out() {
        let snapshot = snapshot(&[12], 2, &[]);
        for seed in 0..100 {
            let set = choose(&snapshot, seed);
            for leg in &set.legs {
                let others: Vec<u16> =
                    set.legs.iter().map(|leg| leg.node.0).filter(|node| *node != leg.node.0).collect();
                assert!(!cover(&snapshot, &others, &[]).missing.is_empty(), "seed {seed}: {:?}", leg.node);
            }
        }
    }
}
