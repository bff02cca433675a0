//! Which node answers for which shard in one read.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Index, NodeIndex, Shard, Snapshot};

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

impl CoveringSet {
    /// Chooses replicas for `shards`. `seed` decides between equals: derived from the query without its paging, it sends
    /// all pages of one query to the same replicas, which break ranking ties alike, and different queries to different ones.
    /// `unusable` are nodes that this request has already seen fail.
    /// Replicas that lag behind in a shard are not chosen for it.
    pub fn choose(snapshot: &Snapshot, index: &Index, shards: &[Shard], seed: u64, unusable: &[NodeIndex]) -> Self {
        let placement = snapshot.placement(index.shard_count);
        let group_count = snapshot.topology.groups.len();
        let mut uncovered = shards.to_vec();
        let mut legs: Vec<CoveringLeg> = Vec::new();
        // The first group answers alone unless it cannot; only then do others fill in, shard by shard.
        for turn in 0..group_count {
            if uncovered.is_empty() {
                break;
            }
            let group = (seed as usize).wrapping_add(turn) % group_count;
            let mut nodes = snapshot.topology.groups[group].nodes.clone();
            nodes.retain(|&node| snapshot.state(node).serves_reads() && !unusable.contains(&node));
            nodes.sort_by_cached_key(|node| xxh3_64_with_seed(&node.0.to_le_bytes(), seed));
            // Taking nodes in turn, each with all it can still cover, keeps the legs few, and since the turn differs
            // from query to query, the load even.
            for node in nodes {
                let lag = snapshot.lag(node, index);
                let has = |shard| {
                    placement.replicas(group, shard).contains(&node) && !lag.is_some_and(|lag| lag.contains(shard))
                };
                let (covered, rest): (Vec<Shard>, Vec<Shard>) = uncovered.iter().partition(|&&shard| has(shard));
                if !covered.is_empty() {
                    legs.push(CoveringLeg { node, shards: covered });
                    uncovered = rest;
                }
            }
        }
        legs.sort_unstable_by_key(|leg| leg.shards[0]);
        Self { legs, missing: uncovered }
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::super::{IndexUid, Lag, NodeState, ShardSet, Snapshot};
    use super::*;

    const SHARDS: u32 = 64;

    fn snapshot(nodes_per_group: &[usize], replication_factor: usize, failed: &[u16]) -> Snapshot {
        let mut snapshot = Snapshot::new(topology(nodes_per_group, replication_factor));
        for &node in failed {
            snapshot = snapshot.with_state(NodeIndex(node), NodeState::Failed);
        }
        snapshot.with_placement(SHARDS)
    }

    fn index() -> Index {
        Index {
            uid: IndexUid::parse("i").unwrap(),
            node_uid: IndexUid::parse("i").unwrap(),
            primary_key: None,
            shard_count: SHARDS,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            updated_at: time::OffsetDateTime::UNIX_EPOCH,
            settings: serde_json::Value::Null,
            settings_version: 0,
            verified: None,
            is_frozen: false,
        }
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
}
