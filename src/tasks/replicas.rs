//! Keeps replicas that lag from serving reads, as the legs of tasks say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::leg::NodeTask;
use super::task::Task;
use crate::cluster::{Cluster, IndexUid, Lag, LagCounts, NodeId, ShardSet};
use crate::store::StaleReplica;

/// Publishes in the cluster's snapshot what tasks say of their replicas.
pub struct Replicas {
    cluster: Arc<Cluster>,
    counts: Mutex<LagCounts>,
    /// Replicas whose logs were dropped. Each of their shards is counted once.
    stale: Mutex<HashMap<(IndexUid, NodeId), ShardSet>>,
}

fn lags(leg: &NodeTask) -> bool {
    leg.lags && !leg.status.is_final()
}

impl Replicas {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, counts: Mutex::default(), stale: Mutex::default() }
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A task has changed, or is followed from now on.
    pub fn changed(&self, before: Option<&Task>, now: &Task) {
        let Some(index_uid) = now.node_uid() else { return };
        // Legs are only ever added at the end, so the others stand at the same place before and after.
        let lagged = |at: usize| before.and_then(|before| before.legs.get(at)).is_some_and(lags);
        let mut changed = Vec::new();
        for (at, leg) in now.legs.iter().enumerate() {
            changed.extend(match (lagged(at), lags(leg)) {
                (false, true) => self.count(&leg.node, index_uid, &leg.shards, LagCounts::raise),
                (true, false) => self.count(&leg.node, index_uid, &leg.shards, LagCounts::lower),
                _ => None,
            });
        }
        self.publish(changed);
    }

    /// A replica's log has been dropped.
    pub fn go_stale(&self, stale: &StaleReplica) {
        let mut known = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = known.entry((stale.index_uid.clone(), stale.node.clone())).or_default();
        let new: ShardSet = stale.shards.iter().filter(|&shard| !shards.contains(shard)).collect();
        shards.extend(&new);
        drop(known);
        let changed = self.count(&stale.node, &stale.index_uid, &new, LagCounts::raise);
        self.publish(changed.into_iter().collect());
    }

    /// Whether all of it is known already.
    pub fn is_stale(&self, stale: &StaleReplica) -> bool {
        let known = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = known.get(&(stale.index_uid.clone(), stale.node.clone()));
        stale.shards.iter().all(|shard| shards.is_some_and(|known| known.contains(shard)))
    }

    /// The index's replicas whose logs were dropped.
    pub fn stale(&self, index_uid: &IndexUid) -> Vec<StaleReplica> {
        let known = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let of_index = known.iter().filter(|((index, _), _)| index == index_uid);
        let stale = of_index.map(|((index, node), shards)| StaleReplica {
            node: node.clone(),
            index_uid: index.clone(),
            shards: shards.clone(),
        });
        stale.collect()
    }

    /// Nothing is left of what the replica was stale in.
    pub fn forget_stale(&self, stale: &StaleReplica) {
        let mut known = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = known.remove(&(stale.index_uid.clone(), stale.node.clone()));
        drop(known);
        let lowered = shards.and_then(|shards| self.count(&stale.node, &stale.index_uid, &shards, LagCounts::lower));
        self.publish(lowered.into_iter().collect());
    }

    fn count(
        &self,
        node: &NodeId,
        index_uid: &IndexUid,
        shards: &ShardSet,
        change: fn(&mut LagCounts, &IndexUid, crate::cluster::NodeIndex, &ShardSet) -> Option<Lag>,
    ) -> Option<Lag> {
        // A node that is no longer part of the cluster is not read anyway.
        let node = self.cluster.snapshot().topology.find(node)?;
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner), index_uid, node, shards)
    }

    fn publish(&self, changed: Vec<Lag>) {
        if !changed.is_empty() {
            self.cluster.publish(|snapshot| snapshot.with_lags(&changed));
        }
    }
}
