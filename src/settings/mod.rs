//! How an index's settings come to be the same on all its nodes, and stay so. `docs/decisions/` says why it is done this way.
//!
//! A change is proposed as any other write: it stands in the store, goes to all nodes, and to those that are away by their logs
//! (`writes`). `conclude` comes after that: it reads the settings back, mends what differs, and commits the new version. `drift`
//! looks for what was changed behind Miroir's back. `features` are the settings of nodes as a whole, `rules` the
//! dynamic search rules, `chats` the chat workspaces. Both use `on_nodes`, which reads and mends the settings of single nodes.
//! `own` is what Miroir adds to those of an index. `canonical` compares settings, `recorded` is the part of them that reading depends on, `sequential` the other way
//! to propose.

mod canonical;
pub mod chats;
mod conclude;
mod drift;
pub mod features;
mod on_nodes;
mod own;
mod recorded;
pub mod rules;
pub mod sequential;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::app::App;
use crate::cluster::{Index, IndexUid};
use crate::tasks::{Conclusion, Task};

pub use conclude::conclude;
pub use drift::{check, differs};
pub use own::{with_own, without_own};
pub use recorded::{record_patch, recorded_part, uses_places};

/// Settings of an index as a node tells them.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// Why something was not done, and is to be tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Later(String);

/// One at a time compares and mends the settings of an index.
#[derive(Default)]
pub struct SettingsLocks {
    locks: Mutex<HashMap<IndexUid, Arc<tokio::sync::Mutex<()>>>>,
}

impl SettingsLocks {
    /// `node_uid` is the index's name on the nodes.
    async fn hold(&self, node_uid: &IndexUid) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are only known here.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(node_uid.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

/// Indexes, by their names on the nodes, whose settings other Miroirs have found to differ, until they are looked at.
#[derive(Default)]
pub struct DriftReports {
    indexes: Mutex<BTreeSet<IndexUid>>,
    news: Notify,
}

impl DriftReports {
    pub fn add(&self, indexes: Vec<IndexUid>) {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner).extend(indexes);
        self.news.notify_one();
    }

    /// Waits until there are some.
    pub async fn take(&self) -> Vec<IndexUid> {
        loop {
            let taken = std::mem::take(&mut *self.indexes.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken.into_iter().collect();
            }
            self.news.notified().await;
        }
    }
}

/// The changes of an index's settings that have been taken and not committed, oldest first.
pub fn pending(app: &App, node_uid: &IndexUid) -> Vec<Arc<Task>> {
    let mut tasks = app.tasks.concluding();
    tasks.retain(|task| changes_settings(task) && task.node_uid() == Some(node_uid));
    tasks
}

/// The recorded settings as they will be once all changes that have been taken are committed.
pub fn proposed(app: &App, index: &Index) -> serde_json::Value {
    pending(app, &index.node_uid).iter().fold(index.settings.clone(), |settings, task| match &task.conclusion {
        Some(Conclusion::Settings { patch }) => record_patch(&settings, patch),
        _ => settings,
    })
}

/// Whether a task is a change of settings that has not been committed.
pub fn changes_settings(task: &Task) -> bool {
    matches!(task.conclusion, Some(Conclusion::Settings { .. }))
}

/// Whether a change can be concluded: the nodes have applied it, in an index that all of them have made.
pub fn is_due(task: &Task) -> bool {
    task.has_been_carried_out() && !task.awaits_creation()
}
