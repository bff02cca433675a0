//! Which indexes have settings that are not known to be the same on all nodes: the part of the snapshot that says so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Index, IndexUid, Lag, NodeIndex, Shard, Snapshot, TaskUid};

/// Where the settings of an index stand while not all is well with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsState {
    /// Changes that have been taken and not committed.
    pub changing: Vec<TaskUid>,
    /// Nodes that are not known to have the committed version, with the version that they were last known to have. `None`: they are
    /// known to differ.
    pub unverified: Vec<(NodeIndex, Option<u64>)>,
}

impl Snapshot {
    /// `None` while all nodes are known to have the committed settings.
    pub fn settings_state(&self, index: &Index) -> Option<&SettingsState> {
        self.settings.get(&index.node_uid)
    }

    /// Whether nodes that serve reads may rank by different settings, or pin by different rules.
    pub fn has_inconsistent_settings(&self, index: &Index) -> bool {
        let differ = |state: &SettingsState| {
            !state.changing.is_empty() || state.unverified.iter().any(|(node, _)| self.state(*node).serves_reads())
        };
        self.settings_state(index).is_some_and(differ) || self.has_inconsistent_search_rules()
    }

    /// How many indexes some node is known to differ in.
    pub fn diverged_indexes(&self) -> usize {
        let differs = |state: &&SettingsState| state.unverified.iter().any(|(_, version)| version.is_none());
        self.settings.values().filter(differs).count()
    }

    /// Indexes with nodes that are yet to be verified, by their names on the nodes.
    pub fn unverified_indexes(&self) -> Vec<IndexUid> {
        let waiting = self.settings.iter().filter(|(_, state)| !state.unverified.is_empty());
        waiting.map(|(node_uid, _)| node_uid.clone()).collect()
    }

    #[must_use]
    pub fn with_settings_change(self, node_uid: &IndexUid, task: TaskUid) -> Self {
        self.with_settings_state(node_uid, |state| state.changing.push(task))
    }

    /// These tasks have been concluded, or withdrawn.
    #[must_use]
    pub fn without_settings_changes(mut self, tasks: &[TaskUid]) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        settings.values_mut().for_each(|state| state.changing.retain(|task| !tasks.contains(task)));
        settings.retain(|_, state| *state != SettingsState::default());
        self
    }

    #[must_use]
    pub fn with_unverified(self, node_uid: &IndexUid, unverified: Vec<(NodeIndex, Option<u64>)>) -> Self {
        self.with_settings_state(node_uid, |state| state.unverified = unverified)
    }

    fn with_settings_state(mut self, node_uid: &IndexUid, change: impl FnOnce(&mut SettingsState)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        let state = settings.entry(node_uid.clone()).or_default();
        change(state);
        if *state == SettingsState::default() {
            settings.remove(node_uid);
        }
        self
    }

    /// The index is gone.
    #[must_use]
    pub fn forget_settings(mut self, node_uid: &IndexUid) -> Self {
        if self.settings.contains_key(node_uid) {
            Arc::make_mut(&mut self.settings).remove(node_uid);
        }
        self
    }

    /// The lowest version that this snapshot's reads accept, if they ask for one.
    pub fn settings_floor(&self) -> Option<u64> {
        self.settings_floor
    }

    /// The same for a request that accepts only nodes whose settings of `index` were verified at `floor` or later. `None` if that
    /// version has not been committed.
    pub fn with_settings_floor(&self, index: &Index, floor: u64) -> Option<Self> {
        if index.settings_version < floor {
            return None;
        }
        let unverified = self.settings_state(index).map(|state| state.unverified.as_slice()).unwrap_or_default();
        let too_old = unverified.iter().filter(|(_, version)| version.is_none_or(|version| version < floor));
        let lags = too_old.map(|(node, _)| Lag {
            index_uid: index.node_uid.clone(),
            node: *node,
            shards: (0..index.shard_count).map(Shard).collect(),
        });
        let lags: Vec<Lag> = lags.collect();
        let mut snapshot = self.clone().with_lags(&lags);
        snapshot.settings_floor = Some(floor);
        Some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::topology;
    use super::super::CoveringSet;
    use super::*;

    fn index(settings_version: u64) -> Index {
        let uid = IndexUid::parse("i").unwrap();
        Index {
            uid: uid.clone(),
            node_uid: uid,
            primary_key: None,
            shard_count: 8,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            updated_at: time::OffsetDateTime::UNIX_EPOCH,
            settings: serde_json::Value::Null,
            settings_version,
            verified: None,
            is_frozen: false,
            expiry: Default::default(),
        }
    }

    #[test]
    fn a_floor_keeps_out_nodes_that_were_verified_before_it() {
        let index = index(5);
        let snapshot = Snapshot::new(topology(&[2], 2)).with_index(Arc::new(index));
        let index = Arc::clone(snapshot.index(&IndexUid::parse("i").unwrap()).unwrap());
        let snapshot = snapshot.with_unverified(&index.node_uid, vec![(NodeIndex(0), Some(3))]);
        let nodes = |floor: u64| {
            let view = snapshot.with_settings_floor(&index, floor).unwrap();
            let shards: Vec<Shard> = (0..8).map(Shard).collect();
            let seen = (0..20).flat_map(|seed| CoveringSet::choose(&view, &index, &shards, seed, &[]).legs);
            seen.map(|leg| leg.node).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!((nodes(3), nodes(4), nodes(5)), (2, 1, 1));
        assert!(snapshot.with_settings_floor(&index, 6).is_none(), "not committed");
        assert!(snapshot.has_inconsistent_settings(&index));
        assert!(!snapshot.with_unverified(&index.node_uid, vec![]).has_inconsistent_settings(&index));
    }

    #[test]
    fn changes_are_told_until_the_last_is_concluded() {
        let index = index(1);
        let snapshot = Snapshot::new(topology(&[2], 1));
        let changing = snapshot
            .with_settings_change(&index.node_uid, TaskUid(1))
            .with_settings_change(&index.node_uid, TaskUid(2));
        let one = changing.without_settings_changes(&[TaskUid(1)]);
        assert!(one.has_inconsistent_settings(&index));
        assert_eq!(one.without_settings_changes(&[TaskUid(2)]).settings_state(&index), None);
    }
}
