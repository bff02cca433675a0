//! Miroir's own durable state, behind one trait.
//!
//! What is here outlives the process: tasks and the record of each index. `sqlite/` is the backend of a single Miroir.
//! The trait speaks of records and queries only, never of a backend's language; `conformance.rs` is what every backend
//! must pass. Of `tasks/` this folder knows the record types, not the registry that uses them.
//!
//! A write has returned `Ok` only when it is on the disk. Backends batch the writes that wait at the same time into one
//! commit.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::cluster::{IndexUid, TaskUid};
use crate::error::{ApiError, Code};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub mod memory;
mod sqlite;

pub use sqlite::{SqliteOptions, SqliteStore};

/// What Miroir knows of an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    #[serde(deserialize_with = "index_uid")]
    pub uid: IndexUid,
    pub primary_key: Option<String>,
    /// S: fixed when the index is created.
    pub shard_count: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// The client's settings as last written, a JSON object.
    pub settings: serde_json::Value,
}

fn index_uid<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<IndexUid, D::Error> {
    IndexUid::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Durable state. All methods may be called from anywhere at any time.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All indexes, by uid.
    async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError>;

    /// Creates or replaces the record of an index.
    async fn put_index(&self, record: &IndexRecord) -> Result<(), StoreError>;

    /// True if there was such an index.
    async fn delete_index(&self, uid: &IndexUid) -> Result<bool, StoreError>;

    /// Numbers the task and keeps it. Numbers start at 0, rise in the order of commits and are never given twice, even
    /// after the task that had one was deleted.
    async fn insert_task(&self, task: NewTask) -> Result<Task, StoreError>;

    /// Replaces tasks that exist, all or none. One that was deleted meanwhile stays deleted.
    async fn update_tasks(&self, tasks: Vec<Task>) -> Result<(), StoreError>;

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError>;

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError>;

    /// Tasks that have not ended, oldest first.
    async fn unfinished_tasks(&self) -> Result<Vec<Task>, StoreError>;

    /// Deletes at most `limit` tasks that finished before `time`, and says how many.
    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError>;

    fn metrics(&self) -> StoreMetrics;
}

/// Counters since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMetrics {
    pub writes: u64,
    /// Writes per commit say how well waiting writes are batched.
    pub commits: u64,
    pub failed_commits: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the store {path} is in use by another process; stop the other Miroir first, or give this one a store of its own"
    )]
    InUse { path: String },
    #[error(
        "the store {path} was written by a newer Miroir (schema {found}, this one knows up to {known}); start that \
         version, or use another file"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error("the store {path} cannot be opened: {source}")]
    Open { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store failed: {0}")]
    Backend(String),
    #[error("the store holds a record that cannot be read: {0}")]
    Corrupt(String),
    #[error("the store is too busy; try again")]
    Busy,
    #[error("the store has been closed")]
    Closed,
    #[error("all task numbers are used up")]
    OutOfTaskUids,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::new(Code::MiroirStoreUnavailable, format!("Miroir cannot reach its own records: {error}."))
    }
}
