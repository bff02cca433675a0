//! The nodes and groups of a cluster.

use serde::{Deserialize, Serialize};

use super::{GroupId, NodeId};

/// Position of a node in its snapshot's topology. Only meaningful with the snapshot that it was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u16);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
    pub group: GroupId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub nodes: Vec<NodeIndex>,
}

/// The fleet as configured; groups are in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub nodes: Vec<Node>,
    pub groups: Vec<Group>,
    pub replication_factor: usize,
}

impl Topology {
    /// `nodes` were validated: ids are unique and every group has at least `replication_factor` nodes.
    pub fn new(nodes: Vec<Node>, replication_factor: usize) -> Self {
        let mut ids: Vec<GroupId> = nodes.iter().map(|node| node.group).collect();
        ids.sort_unstable();
        ids.dedup();
        let members = |id: GroupId| {
            let of_group = nodes.iter().enumerate().filter(move |(_, node)| node.group == id);
            of_group.map(|(i, _)| NodeIndex(i as u16)).collect()
        };
        let groups = ids.into_iter().map(|id| Group { id, nodes: members(id) }).collect();
        Self { nodes, groups, replication_factor }
    }

    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.0 as usize]
    }

    pub fn node_indexes(&self) -> impl Iterator<Item = NodeIndex> {
        (0..self.nodes.len() as u16).map(NodeIndex)
    }

    pub fn find(&self, id: &NodeId) -> Option<NodeIndex> {
        self.node_indexes().find(|&index| self.node(index).id == *id)
    }

    /// Copies that each document has in the whole cluster: groups × replication factor.
    pub fn copies(&self) -> u32 {
        (self.groups.len() * self.replication_factor) as u32
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cluster with the given number of nodes in each group, named `node-0`, `node-1`, ... throughout.
    pub(crate) fn topology(nodes_per_group: &[usize], replication_factor: usize) -> Topology {
        let groups = nodes_per_group.iter().enumerate();
        let of_nodes = groups.flat_map(|(group, &count)| std::iter::repeat_n(GroupId(group as u32), count));
        let nodes = of_nodes.enumerate().map(|(i, group)| Node {
            id: NodeId::new(&format!("node-{i}")),
            address: format!("127.0.0.1:{}", 7701 + i),
            group,
        });
        Topology::new(nodes.collect(), replication_factor)
    }

    #[test]
    fn groups_are_made_of_the_nodes_that_name_them() {
        let topology = topology(&[2, 3], 2);
        assert_eq!(topology.groups.len(), 2);
        assert_eq!(topology.groups[1].nodes, [NodeIndex(2), NodeIndex(3), NodeIndex(4)]);
        assert_eq!(topology.copies(), 4);
        assert_eq!(topology.find(&NodeId::new("node-3")), Some(NodeIndex(3)));
        assert_eq!(topology.find(&NodeId::new("node-9")), None);
    }
}
