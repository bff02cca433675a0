//! In which order nodes are preferred for a read: groups first, so that one group answers alone where it can.
//!
//! Plain functions of what is passed in; who remembers the order of a query is `scatter`'s replica choice.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{NodeIndex, Topology};

/// How many times the other's score one must have to lose its turn. What differs less is noise, and to follow it would send
/// the pages of one query through two Miroirs to different replicas for nothing.
const MARGIN: f64 = 1.5;

/// The nodes in an order that a query's hash decides, which is even over many queries, and the load where it matters: power of
/// two choices. Of the two that are next, the one with the lower score goes first, the other competes with the one after it.
/// Groups likewise, by their worst node.
pub fn by_load(topology: &Topology, hash: u64, score: impl Fn(NodeIndex) -> f64) -> Vec<NodeIndex> {
    let group_count = topology.groups.len();
    let turned = (0..group_count).map(|turn| (hash as usize).wrapping_add(turn) % group_count);
    let worst = |&group: &usize| topology.groups[group].nodes.iter().map(|&node| score(node)).fold(0.0, f64::max);
    let mut order = Vec::with_capacity(topology.nodes.len());
    for group in better_of_two(turned.collect(), worst) {
        let mut nodes = topology.groups[group].nodes.clone();
        nodes.sort_by_cached_key(|node| xxh3_64_with_seed(&node.0.to_le_bytes(), hash));
        order.extend(better_of_two(nodes, |&node| score(node)));
    }
    order
}

/// The nodes in an order that a hash decides alone.
pub fn by_hash(topology: &Topology, hash: u64) -> Vec<NodeIndex> {
    by_load(topology, hash, |_| 0.0)
}

/// The nodes in turn: of `turn` and the next, other groups come first, and when all have, other nodes of each.
pub fn by_turn(topology: &Topology, turn: usize) -> Vec<NodeIndex> {
    let group_count = topology.groups.len();
    let mut order = Vec::with_capacity(topology.nodes.len());
    for place in 0..group_count {
        let nodes = &topology.groups[turn.wrapping_add(place) % group_count].nodes;
        let first = (turn / group_count) % nodes.len();
        order.extend(nodes[first..].iter().chain(&nodes[..first]));
    }
    order
}

fn better_of_two<T>(items: Vec<T>, score: impl Fn(&T) -> f64) -> Vec<T> {
    let mut ordered = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    let Some(mut contender) = items.next() else { return ordered };
    let mut contender_score = score(&contender);
    for next in items {
        let next_score = score(&next);
        if contender_score > MARGIN * next_score {
            ordered.push(next);
        } else {
            ordered.push(std::mem::replace(&mut contender, next));
            contender_score = next_score;
        }
    }
    ordered.push(contender);
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::topology::tests::topology;
    use super::*;

    fn place(order: &[NodeIndex], node: u16) -> usize {
        order.iter().position(|&of| of == NodeIndex(node)).expect("every node is in the order")
    }

    fn scored(scores: &[f64]) -> impl Fn(NodeIndex) -> f64 + '_ {
        |node| scores[node.0 as usize]
    }

    proptest! {
        #[test]
        fn a_node_that_scores_worse_never_moves_to_the_front(
            scores in proptest::collection::vec(0.5_f64..12.0, 5),
            node in 0_u16..5,
            worse in 0.0_f64..10.0,
            hash in any::<u64>(),
        ) {
            let topology = topology(&[5], 2);
            let before = by_load(&topology, hash, scored(&scores));
            let mut after_scores = scores.clone();
            after_scores[node as usize] += worse;
            let after = by_load(&topology, hash, scored(&after_scores));
            prop_assert!(place(&after, node) >= place(&before, node), "{before:?} {after:?}");
            let ahead = |order: &[NodeIndex]| -> Vec<NodeIndex> { order[..place(order, node)].to_vec() };
            // Whoever was preferred to it still is, so that it gets no shard that it did not have.
            prop_assert!(ahead(&before).iter().all(|other| ahead(&after).contains(other)), "{before:?} {after:?}");
        }

        #[test]
        fn a_group_with_a_worse_node_never_moves_to_the_front(
            scores in proptest::collection::vec(0.5_f64..12.0, 6),
            node in 0_u16..6,
            worse in 0.0_f64..10.0,
            hash in any::<u64>(),
        ) {
            let topology = topology(&[2, 2, 2], 1);
            let before = by_load(&topology, hash, scored(&scores));
            let mut after_scores = scores.clone();
            after_scores[node as usize] += worse;
            let after = by_load(&topology, hash, scored(&after_scores));
            prop_assert!(place(&after, node) / 2 >= place(&before, node) / 2, "{before:?} {after:?}");
        }

        #[test]
        fn every_node_is_in_the_order_once_and_groups_stay_together(hash in any::<u64>(), turn in any::<usize>()) {
            let topology = topology(&[3, 2], 2);
            for order in [by_hash(&topology, hash), by_turn(&topology, turn)] {
                let groups: Vec<u32> = order.iter().map(|&node| topology.node(node).group.0).collect();
                prop_assert!(groups == [0, 0, 0, 1, 1] || groups == [1, 1, 0, 0, 0], "{:?}", groups);
                let mut nodes = order.clone();
                nodes.sort_unstable();
                nodes.dedup();
                prop_assert_eq!(nodes.len(), 5);
            }
        }
    }

    #[test]
    fn equal_nodes_are_first_equally_often_and_one_without_samples_no_more_often() {
        let topology = topology(&[4], 2);
        // The third is not known: it has the median's latency and nothing in flight, like the others.
        let scores = [1.1, 0.9, 1.0, 1.2];
        let mut first = [0; 4];
        for query in 0..4_000_u64 {
            let hash = xxh3_64_with_seed(&query.to_le_bytes(), 7);
            first[by_load(&topology, hash, scored(&scores))[0].0 as usize] += 1;
        }
        assert!(first.iter().all(|&count| (850..1_150).contains(&count)), "{first:?}");
    }

    #[test]
    fn a_slow_node_is_last_whatever_the_hash() {
        let topology = topology(&[3], 2);
        for hash in 0..100 {
            assert_eq!(by_load(&topology, hash, scored(&[3.0, 1.0, 1.0])).last(), Some(&NodeIndex(0)));
        }
    }

    #[test]
    fn turns_go_around_groups_and_then_nodes() {
        let topology = topology(&[2, 2], 1);
        let first: Vec<u16> = (0..4).map(|turn| by_turn(&topology, turn)[0].0).collect();
        assert_eq!(first, [0, 2, 1, 3]);
    }
}
