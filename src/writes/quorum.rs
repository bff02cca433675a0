//! When a write has been taken: counting, and nothing else.

use crate::cluster::{GroupId, NodeIndex, Placement, Shard, ShardSet, Topology};

/// What counts as holding a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// A replica that has it in its log holds it too, as long as one replica of the group has acknowledged it.
    AcknowledgedOrLogged,
    /// `writes.strict_quorum`: acknowledgements alone.
    Acknowledged,
}

/// How a write stands with its shards and groups.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// Shards that no group has.
    pub missing: Vec<Shard>,
    /// Groups that do not have every shard.
    pub degraded: Vec<GroupId>,
}

impl Quorum {
    /// Counts. `acknowledged` says whether a node has acknowledged the write of a shard; all other replicas have it in their logs.
    ///
    /// A group has a shard when `floor(RF / 2) + 1` of its replicas hold it.
    pub fn standing(
        self,
        topology: &Topology,
        placement: &Placement,
        shards: &ShardSet,
        acknowledged: impl Fn(NodeIndex, Shard) -> bool,
    ) -> Standing {
        let needed = match self {
            Quorum::AcknowledgedOrLogged => 1,
            Quorum::Acknowledged => topology.replication_factor / 2 + 1,
        };
        let mut standing = Standing { missing: Vec::new(), degraded: Vec::new() };
        for shard in shards.iter() {
            let mut is_held = false;
            for (group, described) in topology.groups.iter().enumerate() {
                let replicas = placement.replicas(group, shard);
                let acknowledgements = replicas.iter().filter(|&&node| acknowledged(node, shard)).count();
                if acknowledgements >= needed {
                    is_held = true;
                } else if !standing.degraded.contains(&described.id) {
                    standing.degraded.push(described.id);
                }
            }
            if !is_held {
                standing.missing.push(shard);
            }
        }
        standing.degraded.sort_unstable();
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Node, NodeId};

    const SHARDS: u32 = 16;

    fn topology(nodes_per_group: &[usize], replication_factor: usize) -> Topology {
        let mut nodes = Vec::new();
        for (group, count) in nodes_per_group.iter().enumerate() {
            for _ in 0..*count {
                let id = NodeId::new(&format!("n{}", nodes.len()));
                nodes.push(Node {
                    id,
                    address: format!("127.0.0.1:{}", 1 + nodes.len()),
                    group: GroupId(group as u32),
                });
            }
        }
        Topology::new(nodes, replication_factor)
    }

    /// The standing of a write of all shards when the nodes `away` have not acknowledged it.
    fn standing(quorum: Quorum, nodes_per_group: &[usize], replication_factor: usize, away: &[u16]) -> Standing {
        let topology = topology(nodes_per_group, replication_factor);
        let placement = Placement::compute(&topology, SHARDS);
        let shards = (0..SHARDS).map(Shard).collect();
        quorum.standing(&topology, &placement, &shards, |node, _| !away.contains(&node.0))
    }

    #[test]
    fn with_two_replicas_one_acknowledgement_and_the_log_make_a_quorum() {
        let one_away = standing(Quorum::AcknowledgedOrLogged, &[3], 2, &[1]);
        assert_eq!((one_away.missing.len(), one_away.degraded.len()), (0, 0));
        let strict = standing(Quorum::Acknowledged, &[3], 2, &[1]);
        assert!(!strict.missing.is_empty());
        assert_eq!(strict.degraded, [GroupId(0)]);
    }

    #[test]
    fn with_three_replicas_a_strict_quorum_stands_two() {
        assert_eq!(standing(Quorum::Acknowledged, &[3], 3, &[1]).missing, []);
        assert_eq!(standing(Quorum::Acknowledged, &[3], 3, &[1, 2]).missing.len(), SHARDS as usize);
        assert_eq!(standing(Quorum::AcknowledgedOrLogged, &[3], 3, &[1, 2]).missing, []);
        assert_eq!(standing(Quorum::AcknowledgedOrLogged, &[3], 3, &[0, 1, 2]).missing.len(), SHARDS as usize);
    }

    #[test]
    fn one_group_is_enough_and_the_other_is_named() {
        for quorum in [Quorum::AcknowledgedOrLogged, Quorum::Acknowledged] {
            let degraded = standing(quorum, &[1, 1], 1, &[1]);
            assert_eq!(degraded, Standing { missing: vec![], degraded: vec![GroupId(1)] });
            let lost = standing(quorum, &[1, 1], 1, &[0, 1]);
            assert_eq!((lost.missing.len(), lost.degraded), (SHARDS as usize, vec![GroupId(0), GroupId(1)]));
        }
    }

    #[test]
    fn groups_that_each_miss_something_may_hold_everything_together() {
        let both = standing(Quorum::AcknowledgedOrLogged, &[2, 2], 1, &[0]);
        assert_eq!((both.missing, both.degraded), (vec![], vec![GroupId(0)]));
    }
}
