//! The indexes that there are: how their records change, in the store and in the snapshot together.
//!
//! A record is read, changed and stored by one at a time, so that a renaming and a new primary key that come at the same moment
//! do not undo each other. Requests only ever read the snapshot.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};

use crate::cluster::{change_aliases, AliasAction, AliasError, AliasTable, Cluster, Index, IndexUid, Snapshot};
use crate::error::{ApiError, Code};
use crate::peers::Followers;
use crate::store::{Change, IndexChange, IndexRecord, Store, StoreError};

pub struct Catalog {
    cluster: Arc<Cluster>,
    /// Who has to go by what is published before a change is done.
    followers: Arc<Followers>,
    /// Held by the one who changes records, from reading them until they are published.
    amending: Mutex<()>,
}

/// A change of records that is to be stored and then published; nobody else changes any before it is dropped.
pub struct Amendment<'a> {
    cluster: &'a Arc<Cluster>,
    changes: Vec<Change>,
    _amending: MutexGuard<'a, ()>,
}

impl Catalog {
    pub fn new(cluster: Arc<Cluster>, followers: Arc<Followers>) -> Self {
        Self { cluster, followers, amending: Mutex::default() }
    }

    /// Changes aliases, all at once or not at all, with `also` in the same commit, and returns the epoch from which requests go by
    /// them, at every Miroir by the time that it returns. No index comes or goes meanwhile. `check` sees the aliases before and after, and may refuse.
    pub async fn change_aliases(
        &self,
        store: &dyn Store,
        actions: &[AliasAction],
        history_max: usize,
        check: impl FnOnce(&AliasTable, &AliasTable) -> Result<(), AliasError>,
        also: Vec<Change>,
    ) -> Result<u64, ApiError> {
        let _amending = self.amending.lock().await;
        let snapshot = self.cluster.snapshot();
        let is_index = |uid: &IndexUid| snapshot.index(uid).is_some() || snapshot.index_for_writes(uid).is_some();
        let before = snapshot.aliases();
        let after = change_aliases(before, actions, is_index, history_max, OffsetDateTime::now_utc())?;
        check(before, &after)?;
        let gone = before.keys().filter(|name| !after.contains_key(*name)).cloned().map(Change::DeleteAlias);
        let new = after.values().filter(|alias| before.get(&alias.name) != Some(alias)).cloned().map(Change::PutAlias);
        let changes: Vec<Change> = gone.chain(new).collect();
        let are_changed = !changes.is_empty();
        let changes: Vec<Change> = changes.into_iter().chain(also).collect();
        if !changes.is_empty() {
            store.apply(changes).await?;
        }
        if are_changed {
            self.cluster.publish(|snapshot| snapshot.with_aliases(after));
        }
        let epoch = self.cluster.snapshot().epoch;
        self.followers.adopt(epoch).await;
        Ok(epoch)
    }

    pub async fn amend(&self, change: &IndexChange) -> Amendment<'_> {
        let amending = self.amending.lock().await;
        let snapshot = self.cluster.snapshot();
        let record = |node_uid: &IndexUid| snapshot.index_on_nodes(node_uid).map(|index| record_of(index));
        Amendment { cluster: &self.cluster, changes: change.of_records(record), _amending: amending }
    }
}

impl Amendment<'_> {
    /// What is to be stored.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.clone()
    }

    /// Makes visible to requests what has been stored, with `more` in the same moment. To be called while the amendment is held.
    pub fn publication(&self, more: impl FnOnce(Snapshot) -> Snapshot + Send + 'static) -> Box<dyn FnOnce() + Send> {
        let (cluster, changes) = (Arc::clone(self.cluster), self.changes.clone());
        Box::new(move || {
            cluster.publish(|snapshot| {
                let node_uid = |uid: &IndexUid| snapshot.index(uid).map(|index| index.node_uid.clone());
                let left: Vec<IndexUid> = changes
                    .iter()
                    .filter_map(|change| match change {
                        Change::DeleteIndex(uid) => node_uid(uid),
                        _ => None,
                    })
                    .collect();
                let changed = changes.into_iter().fold(snapshot, |snapshot, change| match change {
                    Change::PutIndex(record) => snapshot.with_index(Arc::new(index_of(record))),
                    Change::DeleteIndex(uid) => snapshot.without_index(&uid),
                    _ => snapshot,
                });
                // One that was renamed is still there.
                let gone = left.iter().filter(|node_uid| changed.index_on_nodes(node_uid).is_none()).cloned();
                let gone: Vec<IndexUid> = gone.collect();
                more(gone.iter().fold(changed, Snapshot::forget_settings))
            });
        })
    }
}

impl From<AliasError> for ApiError {
    fn from(error: AliasError) -> Self {
        let code = match &error {
            AliasError::NotFound(_) => Code::MiroirAliasNotFound,
            AliasError::NoSuchIndex(_) => Code::IndexNotFound,
            AliasError::NotATarget { .. } | AliasError::TooManyTargets(_) | AliasError::SeveralTargets { .. } => {
                Code::MiroirInvalidAlias
            }
            AliasError::ShadowsIndex(_) | AliasError::StillTargeted { .. } => Code::MiroirAliasConflict,
            AliasError::OfSeveral(_) | AliasError::Managed { .. } => Code::MiroirAliasManaged,
        };
        ApiError::new(code, error.to_string())
    }
}

/// A crash may have come between a write's two commits: what it changes of its index is applied now, as its legs will be.
pub async fn apply_pending_changes(store: &dyn Store) -> Result<(), StoreError> {
    for mut task in store.followed_tasks().await? {
        if let Some(change) = task.change.take() {
            let records = store.indexes().await?;
            let record = |node_uid: &IndexUid| records.iter().find(|record| record.node_uid() == node_uid).cloned();
            let mut changes = change.of_records(record);
            changes.push(Change::UpdateTask(Box::new(task)));
            store.apply(changes).await?;
        }
    }
    Ok(())
}

pub fn index_of(record: IndexRecord) -> Index {
    Index {
        node_uid: record.node_uid().clone(),
        uid: record.uid,
        primary_key: record.primary_key,
        shard_count: record.shard_count,
        created_at: record.created_at,
        updated_at: record.updated_at,
        settings: record.settings,
        settings_version: record.settings_version,
        verified: record.verified_settings.map(Arc::new),
        is_frozen: record.is_frozen,
        expiry: record.expiry,
    }
}

/// The record that keeps an index as it is.
pub fn record_of(index: &Index) -> IndexRecord {
    IndexRecord {
        uid: index.uid.clone(),
        other_node_uid: Some(&index.node_uid).filter(|node_uid| **node_uid != index.uid).cloned(),
        primary_key: index.primary_key.clone(),
        shard_count: index.shard_count,
        created_at: index.created_at,
        updated_at: index.updated_at,
        settings: index.settings.clone(),
        settings_version: index.settings_version,
        verified_settings: index.verified.as_deref().cloned(),
        is_frozen: index.is_frozen,
        expiry: index.expiry,
    }
}
