//! The immutable picture of the cluster that a request is routed by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use super::{IndexUid, Lag, NodeIndex, NodeState, Placement, Shard, ShardSet, Topology};

/// What routing must know of one index.
#[derive(Debug)]
pub struct Index {
    pub uid: IndexUid,
    pub primary_key: Option<String>,
    pub shard_count: u32,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    /// The client's settings as far as the client set them; absent members have Meilisearch's defaults.
    pub settings: serde_json::Value,
}

/// Everything that routing needs, as it was at one moment. A request loads it once and keeps it for its whole life.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts publications.
    pub epoch: u64,
    pub topology: Arc<Topology>,
    states: Vec<NodeState>,
    indexes: HashMap<IndexUid, Arc<Index>>,
    /// One table for each number of shards that some index has.
    placements: HashMap<u32, Arc<Placement>>,
    /// Replicas that lack something acknowledged. Few while all is well: absent means not lagging.
    lags: Arc<HashMap<IndexUid, Vec<(NodeIndex, ShardSet)>>>,
}

impl Snapshot {
    pub fn new(topology: Topology) -> Self {
        Self {
            epoch: 0,
            states: vec![NodeState::Active; topology.nodes.len()],
            topology: Arc::new(topology),
            indexes: HashMap::new(),
            placements: HashMap::new(),
            lags: Arc::default(),
        }
    }

    pub fn state(&self, node: NodeIndex) -> NodeState {
        self.states[node.0 as usize]
    }

    /// Whether a node's replica of a shard may be read.
    pub fn serves(&self, node: NodeIndex, index: &IndexUid, shard: Shard) -> bool {
        self.state(node).serves_reads() && !self.lag(node, index).is_some_and(|shards| shards.contains(shard))
    }

    /// Shards of an index that the node lacks something of.
    pub fn lag(&self, node: NodeIndex, index: &IndexUid) -> Option<&ShardSet> {
        let of_index = self.lags.get(index)?;
        of_index.iter().find(|(lagging, _)| *lagging == node).map(|(_, shards)| shards)
    }

    /// The nodes to ask about an index as a whole: those that lack nothing come first.
    pub fn nodes_for(&self, index: &IndexUid) -> Vec<NodeIndex> {
        let mut nodes = self.serving_nodes();
        nodes.sort_by_key(|&node| self.lag(node, index).is_some());
        nodes
    }

    /// The nodes that may be asked, in their order.
    pub fn serving_nodes(&self) -> Vec<NodeIndex> {
        self.topology.node_indexes().filter(|&node| self.state(node).serves_reads()).collect()
    }

    pub fn index(&self, uid: &IndexUid) -> Option<&Arc<Index>> {
        self.indexes.get(uid)
    }

    pub fn indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values()
    }

    /// Placement for an index's number of shards. Every index's table is computed before the index is published.
    pub fn placement(&self, shard_count: u32) -> &Placement {
        self.placements.get(&shard_count).expect("with_index computes the table of every published index")
    }

    #[must_use]
    pub fn with_state(mut self, node: NodeIndex, state: NodeState) -> Self {
        self.states[node.0 as usize] = state;
        self
    }

    #[must_use]
    pub fn with_lags(mut self, changed: &[Lag]) -> Self {
        let mut lags = (*self.lags).clone();
        for lag in changed {
            let of_index = lags.entry(lag.index_uid.clone()).or_default();
            of_index.retain(|(node, _)| *node != lag.node);
            if !lag.shards.is_empty() {
                of_index.push((lag.node, lag.shards.clone()));
            }
            if of_index.is_empty() {
                lags.remove(&lag.index_uid);
            }
        }
        self.lags = Arc::new(lags);
        self
    }

    #[must_use]
    pub fn with_index(mut self, index: Arc<Index>) -> Self {
        let shard_count = index.shard_count;
        self.indexes.insert(index.uid.clone(), index);
        self.with_placement(shard_count)
    }

    #[must_use]
    pub fn without_index(mut self, uid: &IndexUid) -> Self {
        self.indexes.remove(uid);
        self
    }

    #[must_use]
    pub fn with_placement(mut self, shard_count: u32) -> Self {
        let topology = &self.topology;
        self.placements.entry(shard_count).or_insert_with(|| Arc::new(Placement::compute(topology, shard_count)));
        self
    }
}

/// The current snapshot, and the one place where it is replaced.
#[derive(Debug)]
pub struct Cluster {
    current: ArcSwap<Snapshot>,
    /// Serializes publishers, so that no change is lost between reading a snapshot and replacing it.
    publishing: Mutex<()>,
}

impl Cluster {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot), publishing: Mutex::new(()) }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes `change(current)` as the next epoch.
    pub fn publish(&self, change: impl FnOnce(Snapshot) -> Snapshot) {
        // A panic in an earlier `change` published nothing, so the current snapshot is sound.
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let mut next = change((*current).clone());
        next.epoch = current.epoch + 1;
        self.current.store(Arc::new(next));
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::*;

    #[test]
    fn a_request_keeps_the_snapshot_it_took() {
        let cluster = Cluster::new(Snapshot::new(topology(&[3], 1)));
        let taken = cluster.snapshot();
        cluster.publish(|snapshot| snapshot.with_state(NodeIndex(1), NodeState::Failed));
        assert_eq!(taken.state(NodeIndex(1)), NodeState::Active);
        assert_eq!(cluster.snapshot().state(NodeIndex(1)), NodeState::Failed);
        assert_eq!(cluster.snapshot().epoch, taken.epoch + 1);
    }
}
