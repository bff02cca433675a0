//! How a read would begin, told without asking anybody.

use std::time::{Duration, Instant};

use super::read::ReadKind;
use super::replica_choice::{ChosenBy, Query};
use super::Scatter;
use crate::cluster::{CoveringSet, NodeIndex};

/// Whom a read would ask first, and why.
#[derive(Debug)]
pub struct Outlook {
    pub set: CoveringSet,
    pub chosen_by: ChosenBy,
    /// Every node of the topology, in its order.
    pub nodes: Vec<NodeOutlook>,
}

/// What a node is to a read at this moment.
#[derive(Debug)]
pub struct NodeOutlook {
    /// By latency, errors and legs under way; of two replicas the one with the lower score is asked.
    pub score: f64,
    /// Whether it is asked for nothing that others have too: far worse than its fellows, or it asked to be left alone.
    pub is_avoided: bool,
    /// How long it may take for a leg before another replica is asked as well. `None` without hedging.
    pub late_after: Option<Duration>,
}

impl Scatter {
    /// How a read of this query and kind would begin. The choice of replicas is remembered as if it had.
    pub fn outlook(&self, query: &Query<'_>, kind: ReadKind) -> Outlook {
        let (set, chosen_by) = self.choose(query);
        let scores = self.load.scores(Instant::now());
        let times = self.leg_times.of(&query.index.node_uid, kind.name);
        let of_node = |node: NodeIndex| NodeOutlook {
            score: scores.of(node),
            is_avoided: scores.is_avoided(node),
            late_after: self.hedging.trigger(&times, node),
        };
        Outlook { set, chosen_by, nodes: query.snapshot.topology.node_indexes().map(of_node).collect() }
    }
}
