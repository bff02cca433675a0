//! The health of every node, fed by checks and by every leg, published as snapshots.

use std::sync::{Mutex, PoisonError};

use crate::cluster::{Cluster, HealthThresholds, NodeHealth, NodeId, NodeIndex, Topology};

pub struct HealthBoard {
    thresholds: HealthThresholds,
    nodes: Vec<(NodeId, Mutex<NodeHealth>)>,
}

impl HealthBoard {
    pub fn new(topology: &Topology, thresholds: HealthThresholds) -> Self {
        let nodes = topology.nodes.iter().map(|node| (node.id.clone(), Mutex::new(NodeHealth::new())));
        Self { thresholds, nodes: nodes.collect() }
    }

    pub fn id(&self, node: NodeIndex) -> &str {
        self.nodes[node.0 as usize].0.as_str()
    }

    /// A leg was answered. Ends a run of failures; brings no failed node back, which checks alone do.
    pub fn succeeded(&self, node: NodeIndex) {
        let mut health = self.health(node);
        if health.state().serves_reads() {
            health.observe(true, self.thresholds);
        }
    }

    /// A leg or a check got no answer.
    pub fn failed(&self, node: NodeIndex, cluster: &Cluster) {
        self.observe(node, false, cluster);
    }

    /// A check was answered.
    pub fn checked(&self, node: NodeIndex, cluster: &Cluster) {
        self.observe(node, true, cluster);
    }

    fn observe(&self, node: NodeIndex, healthy: bool, cluster: &Cluster) {
        // The lock is kept while publishing, so that two changes of one node are published in their order.
        let mut health = self.health(node);
        if let Some(state) = health.observe(healthy, self.thresholds) {
            log::warn!("node {} is now {}", self.id(node), state.name());
            cluster.publish(|snapshot| snapshot.with_state(node, state));
        }
    }

    fn health(&self, node: NodeIndex) -> std::sync::MutexGuard<'_, NodeHealth> {
        self.nodes[node.0 as usize].1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
