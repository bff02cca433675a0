//! Miroir's own durable state, behind one trait.
//!
//! What is here outlives the process: tasks, the payloads that replicas still lack, idempotency keys, API keys, sessions of the admin
//! UI, webhooks and the record of each index. `sqlite/` is the backend of a single Miroir, `redis/` the one that several may share.
//! The trait speaks of records and queries only, never of a backend's language; `conformance.rs` is what every backend
//! must pass. Of `tasks/` this folder knows the record types, not the registry that uses them.
//!
//! A write has returned `Ok` only when it is on the disk. Backends batch the writes that wait at the same time into one
//! commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::auth::{AdminSession, ApiKey};
use crate::cluster::{Alias, ShardSet, TaskUid};
use crate::conf::{Secret, TaskStoreConfig};
use crate::error::{ApiError, Code};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};
use crate::webhooks::Webhook;

mod change;
#[cfg(test)]
mod conformance;
#[cfg(test)]
pub mod memory;
mod peers;
mod redis;
mod sqlite;

pub use self::redis::{check_url as check_redis_url, RedisStore};
pub use change::{Change, IdempotentWrite, IndexChange, IndexRecord, PayloadId, PayloadPart, StaleReplica};
pub use peers::{Candidacy, Peer, RollCall};
pub use sqlite::{SqliteOptions, SqliteStore};

/// The store that the configuration names. `lock_wait` is how long a process that is being replaced may take to let go of a
/// store that only one may have.
pub async fn open(config: &TaskStoreConfig, lock_wait: Duration) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        TaskStoreConfig::Sqlite { path } => Arc::new(SqliteStore::open(path, &SqliteOptions { lock_wait })?),
        TaskStoreConfig::Redis { url, key_prefix } => Arc::new(RedisStore::open(url.reveal(), key_prefix).await?),
    })
}

/// Durable state. All methods may be called from anywhere at any time.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All indexes, by uid.
    async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError>;

    /// All aliases, by name.
    async fn aliases(&self) -> Result<Vec<Alias>, StoreError>;

    /// What was last put under this name.
    async fn configuration(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError>;

    /// Numbers the task and keeps it, with `payload` under the payload id of its replay. Numbers start at 0, rise in the order of
    /// commits and are never given twice, even after the task that had one was deleted.
    ///
    /// `IdempotencyKeyTaken` if the task's key leads to another one already; nothing is kept then.
    async fn insert_task(&self, task: NewTask, payload: Vec<PayloadPart>) -> Result<Task, StoreError>;

    /// Keeps more of a payload, ahead of the task that it belongs to.
    async fn add_payload(&self, id: PayloadId, parts: Vec<PayloadPart>) -> Result<(), StoreError>;

    /// Makes all of these changes or none, in their order.
    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError>;

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError>;

    /// Tasks some leg of which has not ended, oldest first.
    async fn followed_tasks(&self) -> Result<Vec<Task>, StoreError>;

    /// The parts of one step in the order in which they were added; of `shards` alone where parts have a shard.
    async fn payload(&self, id: PayloadId, step: u8, shards: &ShardSet) -> Result<Vec<PayloadPart>, StoreError>;

    /// Deletes payloads but these: what a crash left behind of writes that never got their number. Says how many.
    async fn retain_payloads(&self, ids: &[PayloadId]) -> Result<u32, StoreError>;

    async fn idempotent_write(&self, key: &str) -> Result<Option<IdempotentWrite>, StoreError>;

    /// Forgets keys used before `time`, and beyond `keys_max` the oldest ones; at most `limit` at once. Says how many.
    async fn forget_idempotency_keys(&self, time: OffsetDateTime, keys_max: u64, limit: u32)
        -> Result<u32, StoreError>;

    /// By node and index.
    async fn stale_replicas(&self) -> Result<Vec<StaleReplica>, StoreError>;

    /// Deletes at most `limit` tasks that finished before `time` and are no longer followed, and says how many.
    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError>;

    /// All API keys, in no order.
    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// All sessions of the admin UI, in no order.
    async fn admin_sessions(&self) -> Result<Vec<AdminSession>, StoreError>;

    async fn admin_session(&self, digest: &str) -> Result<Option<AdminSession>, StoreError>;

    /// All webhooks, in no order.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Says that `me` is there, which counts for `lease`, and who else is. If nobody leads and `me` would, it leads from then on, as long
    /// as it goes on saying so.
    ///
    /// A store that only one process can have makes it the leader for good.
    async fn call_roll(&self, me: &Peer, candidacy: Candidacy, lease: Duration) -> Result<RollCall, StoreError> {
        let _ = (candidacy, lease);
        Ok(RollCall { leader: Some(me.clone()), term: 0, peers: vec![me.clone()], secret: Secret::new("") })
    }

    /// `me` is not there any more, and does not lead.
    async fn leave(&self, me: &Peer) -> Result<(), StoreError> {
        let _ = me;
        Ok(())
    }

    /// From now on writes are those of this term: once a later one has begun, they are refused as `Deposed`.
    fn write_in_term(&self, term: u64) {
        let _ = term;
    }

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
         version, or give this one a store of its own"
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
    #[error("another Miroir leads by now")]
    Deposed,
    #[error("the idempotency key has been used by another write")]
    IdempotencyKeyTaken,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::IdempotencyKeyTaken) {
            return ApiError::new(
                Code::MiroirIdempotencyKeyReused,
                "The `Idempotency-Key` has been used by another write at the same time.",
            );
        }
        if matches!(error, StoreError::Deposed) {
            return ApiError::no_leader("Another Miroir leads by now, and this one has not given its place up yet.");
        }
        ApiError::new(Code::MiroirStoreUnavailable, format!("Miroir cannot reach its own records: {error}."))
    }
}
