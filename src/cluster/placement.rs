//! Which nodes hold which shards: rendezvous hashing within each group, computed once into a table.

use xxhash_rust::xxh3::Xxh3;

use super::{NodeId, NodeIndex, Shard, Topology};

/// For every group and shard, its replicas, best rendezvous score first.
///
/// The table is flat: `replicas[(group * shard_count + shard) * replication_factor ..][..replication_factor]`.
#[derive(Debug)]
pub struct Placement {
    shard_count: u32,
    replication_factor: usize,
    replicas: Vec<NodeIndex>,
    /// By node: its shards in ascending order.
    shards_of: Vec<Vec<Shard>>,
}

impl Placement {
    /// Any Miroir computes the same table from the same nodes. Adding a node to a group of N takes about 1/(N+1) of
    /// each other node's shards and moves nothing else; groups do not influence each other.
    pub fn compute(topology: &Topology, shard_count: u32) -> Self {
        let replication_factor = topology.replication_factor;
        let mut replicas = Vec::with_capacity(topology.groups.len() * shard_count as usize * replication_factor);
        let mut shards_of = vec![Vec::new(); topology.nodes.len()];
        for group in &topology.groups {
            debug_assert!(group.nodes.len() >= replication_factor, "checked when the configuration is read");
            for shard in (0..shard_count).map(Shard) {
                let mut ranked: Vec<(u64, NodeIndex)> =
                    group.nodes.iter().map(|&node| (score(shard, &topology.node(node).id), node)).collect();
                // Equal scores are next to impossible; the index settles them the same way everywhere.
                ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
                for &(_, node) in &ranked[..replication_factor] {
                    replicas.push(node);
                    shards_of[node.0 as usize].push(shard);
                }
            }
        }
        Self { shard_count, replication_factor, replicas, shards_of }
    }

    pub fn shard_count(&self) -> u32 {
        self.shard_count
    }

    pub fn shards(&self) -> impl Iterator<Item = Shard> {
        (0..self.shard_count).map(Shard)
    }

    /// The replicas of a shard within one group (by the group's position in the topology).
    pub fn replicas(&self, group: usize, shard: Shard) -> &[NodeIndex] {
        let start = (group * self.shard_count as usize + shard.0 as usize) * self.replication_factor;
        &self.replicas[start..start + self.replication_factor]
    }

    /// All shards that a node holds, ascending.
    pub fn shards_of(&self, node: NodeIndex) -> &[Shard] {
        &self.shards_of[node.0 as usize]
    }
}

/// Rendezvous score, `xxh3_64(shard as u32 little endian, node id)`; the highest own the shard.
fn score(shard: Shard, node: &NodeId) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&shard.0.to_le_bytes());
    hasher.update(node.as_str().as_bytes());
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::*;

    const SHARDS: u32 = 64;

    fn owners(placement: &Placement, shard: u32) -> Vec<NodeIndex> {
        let mut owners = placement.replicas(0, Shard(shard)).to_vec();
        owners.sort_unstable();
        owners
    }

    #[test]
    fn the_same_nodes_give_the_same_table() {
        let a = Placement::compute(&topology(&[3], 2), SHARDS);
        let b = Placement::compute(&topology(&[3], 2), SHARDS);
        assert_eq!(a.replicas, b.replicas);
    }

    #[test]
    fn sixty_four_shards_on_three_nodes_are_spread_evenly() {
        let placement = Placement::compute(&topology(&[3], 1), SHARDS);
        for node in 0..3 {
            let held = placement.shards_of(NodeIndex(node)).len();
            assert!((18..=26).contains(&held), "node {node} holds {held} of 64 shards");
        }
    }

    #[test]
    fn many_shards_are_spread_within_four_standard_deviations() {
        let shards = 4_096;
        let placement = Placement::compute(&topology(&[5], 1), shards);
        let (mean, deviation) = (f64::from(shards) / 5.0, (f64::from(shards) * 0.2 * 0.8).sqrt());
        for node in 0..5 {
            let held = placement.shards_of(NodeIndex(node)).len() as f64;
            assert!((held - mean).abs() < 4.0 * deviation, "node {node} holds {held} of {shards} shards");
        }
    }

    #[test]
    fn a_fourth_node_takes_about_a_quarter_and_nothing_else_moves() {
        let before = Placement::compute(&topology(&[3], 1), SHARDS);
        let after = Placement::compute(&topology(&[4], 1), SHARDS);
        let moved: Vec<u32> = (0..SHARDS).filter(|&s| owners(&before, s) != owners(&after, s)).collect();
        assert!(moved.len() <= SHARDS as usize / 2, "{} of 64 shards moved", moved.len());
        assert!(!moved.is_empty());
        for shard in moved {
            assert_eq!(owners(&after, shard), [NodeIndex(3)], "shard {shard} moved between old nodes");
        }
    }

    #[test]
    fn with_two_replicas_a_new_node_replaces_at_most_one_of_them() {
        let before = Placement::compute(&topology(&[4], 2), SHARDS);
        let after = Placement::compute(&topology(&[5], 2), SHARDS);
        for shard in 0..SHARDS {
            let (old, new) = (owners(&before, shard), owners(&after, shard));
            let kept = old.iter().filter(|node| new.contains(node)).count();
            assert!(kept >= 1 && new.iter().all(|node| old.contains(node) || *node == NodeIndex(4)), "shard {shard}");
            assert_ne!(new[0], new[1], "two replicas on one node");
        }
    }

    #[test]
    fn each_group_holds_every_shard_and_does_not_depend_on_the_others() {
        let both = Placement::compute(&topology(&[3, 2], 2), SHARDS);
        let alone = Placement::compute(&topology(&[3], 2), SHARDS);
        for shard in both.shards() {
            assert_eq!(both.replicas(0, shard), alone.replicas(0, shard));
            assert_eq!(both.replicas(1, shard).len(), 2);
            assert!(both.replicas(1, shard).iter().all(|node| node.0 >= 3));
        }
    }
}
