//! The immutable picture of the cluster that a request is routed by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::aliases::{Alias, AliasTable};
use super::expiry::Expiry;
use super::names::{rename, Names};
use super::search_rules::RulesState;
use super::settings_state::SettingsState;
use super::{
    IndexUid, Lag, NodeId, NodeIndex, NodeState, Placement, Renaming, SearchRules, Shard, ShardSet, TaskUid, Topology,
};

/// What routing must know of one index.
#[derive(Debug)]
pub struct Index {
    /// What clients call it.
    pub uid: IndexUid,
    /// What nodes call it, and by which replicas that lag are known. Differs from `uid` after swaps and renamings.
    pub node_uid: IndexUid,
    pub primary_key: Option<String>,
    pub shard_count: u32,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    /// The client's settings as far as the client set them; absent members have Meilisearch's defaults.
    pub settings: serde_json::Value,
    /// Counts committed changes of settings.
    pub settings_version: u64,
    /// All settings as nodes tell them, when they were last found to be the same everywhere.
    pub verified: Option<Arc<serde_json::Map<String, serde_json::Value>>>,
    /// No writes are taken: the nodes' settings differ and cannot be mended.
    pub is_frozen: bool,
    pub expiry: Expiry,
}

/// Everything that routing needs, as it was at one moment. A request loads it once and keeps it for its whole life.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts publications.
    pub epoch: u64,
    pub topology: Arc<Topology>,
    states: Vec<NodeState>,
    pub(super) indexes: HashMap<IndexUid, Arc<Index>>,
    aliases: Arc<AliasTable>,
    /// Features of nodes that were chosen through Miroir.
    features: Option<Arc<serde_json::Map<String, serde_json::Value>>>,
    features_version: u64,
    /// Dynamic search rules, and which nodes are not known to have them.
    pub(super) search_rules: Arc<SearchRules>,
    pub(super) rules_state: Arc<RulesState>,
    /// Swaps and renamings that have been taken and not carried out, oldest first.
    renamings: Arc<Vec<(TaskUid, Vec<Renaming>)>>,
    /// Names that mean another index (by its name on the nodes), or none, to writes than to reads, because of `renamings`.
    write_names: HashMap<IndexUid, Option<IndexUid>>,
    /// One table for each number of shards that some index has.
    placements: HashMap<u32, Arc<Placement>>,
    /// Indexes whose settings are not known to be the same everywhere, by their names on the nodes.
    pub(super) settings: Arc<HashMap<IndexUid, SettingsState>>,
    /// Set where a request wants nodes of this settings version or a later one only.
    pub(super) settings_floor: Option<u64>,
    /// Replicas that lack something acknowledged, by the index's name on the nodes. Few while all is well: absent means not
    /// lagging.
    pub(super) lags: Arc<HashMap<IndexUid, Vec<(NodeIndex, ShardSet)>>>,
}

impl Snapshot {
    pub fn new(topology: Topology) -> Self {
        Self {
            epoch: 0,
            states: vec![NodeState::Active; topology.nodes.len()],
            topology: Arc::new(topology),
            indexes: HashMap::new(),
            aliases: Arc::default(),
            features: None,
            features_version: 0,
            search_rules: Arc::default(),
            rules_state: Arc::default(),
            renamings: Arc::default(),
            write_names: HashMap::new(),
            placements: HashMap::new(),
            settings: Arc::default(),
            settings_floor: None,
            lags: Arc::default(),
        }
    }

    pub fn state(&self, node: NodeIndex) -> NodeState {
        self.states[node.0 as usize]
    }

    /// Whether the node takes no writes, as one that is not part of the cluster does not either.
    pub fn is_away(&self, node: &NodeId) -> bool {
        self.topology.find(node).is_none_or(|node| !self.state(node).takes_writes())
    }

    /// Whether a node's replica of a shard may be read.
    pub fn serves(&self, node: NodeIndex, index: &Index, shard: Shard) -> bool {
        self.state(node).serves_reads() && !self.lag(node, index).is_some_and(|shards| shards.contains(shard))
    }

    /// Whether any replica lags behind in some shard of an index.
    pub fn has_lag(&self, index: &Index) -> bool {
        self.lags.contains_key(&index.node_uid)
    }

    /// Shards of an index that the node lacks something of.
    pub fn lag(&self, node: NodeIndex, index: &Index) -> Option<&ShardSet> {
        let of_index = self.lags.get(&index.node_uid)?;
        of_index.iter().find(|(lagging, _)| *lagging == node).map(|(_, shards)| shards)
    }

    /// The nodes to ask about an index as a whole: those that lack nothing and have the settings that it is to have come first.
    pub fn nodes_for(&self, index: &Index) -> Vec<NodeIndex> {
        let mut nodes = self.serving_nodes();
        let unverified = self.settings_state(index).map(|state| state.unverified.as_slice()).unwrap_or_default();
        let is_unverified = |node| unverified.iter().any(|(of, _)| *of == node);
        nodes.sort_by_key(|&node| self.lag(node, index).is_some() || is_unverified(node));
        nodes
    }

    /// The nodes that may be asked, in their order.
    pub fn serving_nodes(&self) -> Vec<NodeIndex> {
        self.topology.node_indexes().filter(|&node| self.state(node).serves_reads()).collect()
    }

    pub fn index(&self, uid: &IndexUid) -> Option<&Arc<Index>> {
        self.indexes.get(uid)
    }

    /// Counts choices of features since the start: whoever gave a node those of an earlier one has to look again.
    pub fn features_version(&self) -> u64 {
        self.features_version
    }

    /// The features that all nodes are to have, if any were chosen.
    pub fn features(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.features.as_deref()
    }

    #[must_use]
    pub fn with_features(mut self, features: serde_json::Map<String, serde_json::Value>) -> Self {
        self.features = Some(Arc::new(features));
        self.features_version += 1;
        self
    }

    pub fn aliases(&self) -> &AliasTable {
        &self.aliases
    }

    pub fn alias(&self, name: &IndexUid) -> Option<&Alias> {
        self.aliases.get(name)
    }

    /// The indexes that a client's name stands for: an alias' targets, or the name itself.
    pub fn stands_for<'a>(&'a self, name: &'a IndexUid) -> &'a [IndexUid] {
        self.alias(name).map_or(std::slice::from_ref(name), |alias| &alias.targets)
    }

    /// The alias that stands for an index, if there is one.
    pub fn alias_of(&self, index: &IndexUid) -> Option<&Alias> {
        self.aliases.values().find(|alias| alias.targets.contains(index))
    }

    #[must_use]
    pub fn with_aliases(mut self, aliases: AliasTable) -> Self {
        self.aliases = Arc::new(aliases);
        self
    }

    /// The index that a write to `uid` is for.
    pub fn index_for_writes(&self, uid: &IndexUid) -> Option<&Arc<Index>> {
        match self.write_names.get(uid) {
            None => self.indexes.get(uid),
            Some(node_uid) => self.index_on_nodes(node_uid.as_ref()?),
        }
    }

    /// Whether `uid` is free for writes, but not yet for reads: a swap or renaming has yet to be carried out.
    pub fn is_being_vacated(&self, uid: &IndexUid) -> bool {
        matches!(self.write_names.get(uid), Some(None))
    }

    /// The index that nodes call `node_uid`.
    pub fn index_on_nodes(&self, node_uid: &IndexUid) -> Option<&Arc<Index>> {
        let same = self.indexes.get(node_uid).filter(|index| index.node_uid == *node_uid);
        same.or_else(|| self.indexes.values().find(|index| index.node_uid == *node_uid))
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
        match state.takes_writes() {
            true => self,
            false => self.missing_search_rules(node),
        }
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
        self.renew_write_names();
        self.with_placement(shard_count)
    }

    #[must_use]
    pub fn without_index(mut self, uid: &IndexUid) -> Self {
        self.indexes.remove(uid);
        self.renew_write_names();
        self
    }

    /// A task has been taken that will rename indexes; later writes go by the new names already.
    #[must_use]
    pub fn with_renamings(mut self, task: TaskUid, renamings: &[Renaming]) -> Self {
        let all = Arc::make_mut(&mut self.renamings);
        all.push((task, renamings.to_vec()));
        all.sort_by_key(|(task, _)| *task);
        self.renew_write_names();
        self
    }

    /// Whether writes go by the names that `task` will give.
    pub fn has_renamings(&self, task: TaskUid) -> bool {
        self.renamings.iter().any(|(of, _)| *of == task)
    }

    /// The task has renamed its indexes, or never will.
    #[must_use]
    pub fn without_renamings(mut self, task: TaskUid) -> Self {
        Arc::make_mut(&mut self.renamings).retain(|(of, _)| *of != task);
        self.renew_write_names();
        self
    }

    fn renew_write_names(&mut self) {
        self.write_names.clear();
        if self.renamings.is_empty() {
            return;
        }
        let read: Names = self.indexes.values().map(|index| (index.uid.clone(), index.node_uid.clone())).collect();
        let mut written = read.clone();
        self.renamings.iter().for_each(|(_, renamings)| rename(&mut written, renamings));
        for (uid, node_uid) in &written {
            if read.get(uid) != Some(node_uid) {
                self.write_names.insert(uid.clone(), Some(node_uid.clone()));
            }
        }
        for uid in read.into_keys().filter(|uid| !written.contains_key(uid)) {
            self.write_names.insert(uid, None);
        }
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
    /// The current epoch, for those who wait for the next.
    epoch: watch::Sender<u64>,
    /// Serializes publishers, so that no change is lost between reading a snapshot and replacing it.
    publishing: Mutex<()>,
    /// Earlier snapshots that some request may still hold, with their epochs.
    earlier: Mutex<Vec<(u64, Weak<Snapshot>)>>,
}

impl Cluster {
    pub fn new(snapshot: Snapshot) -> Self {
        let epoch = watch::Sender::new(snapshot.epoch);
        Self { current: ArcSwap::from_pointee(snapshot), epoch, publishing: Mutex::new(()), earlier: Mutex::default() }
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
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        earlier.push((current.epoch, Arc::downgrade(&current)));
        drop(earlier);
        let epoch = next.epoch;
        self.current.store(Arc::new(next));
        self.epoch.send_replace(epoch);
    }

    /// The epoch as it changes.
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Whether nobody goes by a snapshot from before `epoch` any more.
    pub fn is_left(&self, epoch: u64) -> bool {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.retain(|(_, snapshot)| snapshot.strong_count() > 0);
        earlier.iter().all(|(of, _)| *of >= epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::*;

    fn index(uid: &str, node_uid: &str) -> Arc<Index> {
        Arc::new(Index {
            uid: IndexUid::parse(uid).unwrap(),
            node_uid: IndexUid::parse(node_uid).unwrap(),
            primary_key: None,
            shard_count: 4,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            settings: serde_json::Value::Null,
            settings_version: 0,
            verified: None,
            is_frozen: false,
            expiry: Default::default(),
        })
    }

    #[test]
    fn a_swap_that_is_under_way_is_seen_by_writes_and_not_by_reads() {
        let uid = |name: &str| IndexUid::parse(name).unwrap();
        let snapshot = Snapshot::new(topology(&[3], 1)).with_index(index("a", "A")).with_index(index("b", "B"));
        let renaming = |node_uid: &str, to: &str| Renaming { node_uid: uid(node_uid), uid: uid(to) };
        let swapping = snapshot.with_renamings(TaskUid(4), &[renaming("A", "b"), renaming("B", "a")]);
        let read = |snapshot: &Snapshot, name: &str| snapshot.index(&uid(name)).map(|i| i.node_uid.to_string());
        let written =
            |snapshot: &Snapshot, name: &str| snapshot.index_for_writes(&uid(name)).map(|i| i.node_uid.to_string());
        assert_eq!((read(&swapping, "a"), written(&swapping, "a")), (Some("A".into()), Some("B".into())));
        // The index of the old name is deleted by its new one, before the swap has been carried out.
        let deleted = swapping.clone().without_index(&uid("a"));
        assert_eq!(
            (read(&deleted, "a"), written(&deleted, "b"), written(&deleted, "a")),
            (None, None, Some("B".into()))
        );
        let renamed = swapping.with_renamings(TaskUid(7), &[renaming("B", "c")]);
        assert_eq!((written(&renamed, "a"), written(&renamed, "c")), (None, Some("B".into())));
        assert!(renamed.is_being_vacated(&uid("a")) && !renamed.is_being_vacated(&uid("x")));
        let over = renamed.without_renamings(TaskUid(4)).without_renamings(TaskUid(7));
        assert_eq!((written(&over, "a"), written(&over, "c")), (Some("A".into()), None));
    }

    #[test]
    fn a_request_keeps_the_snapshot_it_took() {
        let cluster = Cluster::new(Snapshot::new(topology(&[3], 1)));
        let taken = cluster.snapshot();
        cluster.publish(|snapshot| snapshot.with_state(NodeIndex(1), NodeState::Failed));
        assert_eq!(taken.state(NodeIndex(1)), NodeState::Active);
        assert_eq!(cluster.snapshot().state(NodeIndex(1)), NodeState::Failed);
        assert_eq!(cluster.snapshot().epoch, taken.epoch + 1);
        assert!(!cluster.is_left(taken.epoch + 1), "a request still goes by it");
        drop(taken);
        assert!(cluster.is_left(1));
    }
}
