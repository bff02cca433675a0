//! Nodes whose answers suggest that they have lost their data. Whoever is asked for it looks closer.

use tokio::sync::Notify;

use crate::cluster::NodeIndex;

pub struct Suspicions {
    /// By node.
    nodes: Vec<Notify>,
}

impl Suspicions {
    pub fn new(nodes: usize) -> Self {
        Self { nodes: (0..nodes).map(|_| Notify::new()).collect() }
    }

    pub fn raise(&self, node: NodeIndex) {
        self.nodes[node.0 as usize].notify_one();
    }

    /// Returns when a suspicion has been raised since the last return, or is raised.
    pub async fn raised(&self, node: NodeIndex) {
        self.nodes[node.0 as usize].notified().await;
    }
}
