//! Records besides tasks, and the changes that a store makes to them, several at once or none.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use crate::auth::{ApiKey, KeyUid};
use crate::cluster::{IndexUid, NodeId, Shard, ShardSet, TaskUid};
use crate::tasks::Task;

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

fn index_uid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexUid, D::Error> {
    IndexUid::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What a write makes of an index's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IndexChange {
    Put(IndexRecord),
    Delete(#[serde(deserialize_with = "index_uid")] IndexUid),
}

/// The bodies of one write's requests. Chosen at random by the writer, since large ones are stored before the task has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadId(pub u64);

/// A piece of the bodies. Pieces of one step and shard are one text cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadPart {
    /// Which of the write's requests it belongs to.
    pub step: u8,
    /// `Some`: elements of a JSON array, separated by commas, that belong to this shard. `None`: a whole body.
    pub shard: Option<Shard>,
    pub bytes: Bytes,
}

/// Shards of an index that a node has missed writes of, beyond what its log could keep: it serves no reads of them until they
/// have been copied from a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleReplica {
    pub node: NodeId,
    pub index_uid: IndexUid,
    pub shards: ShardSet,
}

/// The write that a client's `Idempotency-Key` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentWrite {
    /// SHA-256 of what came with the key.
    pub digest: [u8; 32],
    pub task: TaskUid,
}

/// One change of the store.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces the record of an index.
    PutIndex(IndexRecord),
    DeleteIndex(IndexUid),
    /// Replaces a task that exists; one that was deleted meanwhile stays deleted.
    UpdateTask(Box<Task>),
    /// Deletes a task, with the idempotency key that led to it.
    DeleteTask(TaskUid),
    /// Frees the idempotency key that led to a task, which stays: the write was refused and may be sent again.
    ForgetKey(TaskUid),
    DeletePayload(PayloadId),
    /// Adds to what the node is stale in.
    AddStale(StaleReplica),
    /// The node has been copied these, or the index is gone.
    RemoveStale(StaleReplica),
    PutApiKey(ApiKey),
    /// Replaces a key that exists; one that was deleted meanwhile stays deleted.
    UpdateApiKey(ApiKey),
    DeleteApiKey(KeyUid),
    /// Makes these keys if there is none at all.
    PutDefaultKeys(Vec<ApiKey>),
}

impl From<IndexChange> for Change {
    fn from(change: IndexChange) -> Self {
        match change {
            IndexChange::Put(record) => Change::PutIndex(record),
            IndexChange::Delete(uid) => Change::DeleteIndex(uid),
        }
    }
}
