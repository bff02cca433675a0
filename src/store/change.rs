//! Records besides tasks, and the changes that a store makes to them, several at once or none.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::auth::{AdminSession, ApiKey, KeyUid};
use crate::cluster::{Alias, Expiry, IndexUid, NodeId, Renaming, Shard, ShardSet, TaskUid, TtlPolicy};
use crate::tasks::Task;
use crate::webhooks::{Webhook, WebhookUid};

/// What Miroir knows of an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// What clients call it. Records are kept by it.
    pub uid: IndexUid,
    /// What nodes call it, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_node_uid: Option<IndexUid>,
    pub primary_key: Option<String>,
    /// S: fixed when the index is created.
    pub shard_count: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// The client's settings as far as reading depends on them, a JSON object.
    pub settings: serde_json::Value,
    /// Counts committed changes of settings.
    #[serde(default)]
    pub settings_version: u64,
    /// All settings as nodes tell them, when they were last found to be the same everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// No writes are taken: the nodes' settings differ and cannot be mended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_frozen: bool,
    #[serde(default, skip_serializing_if = "Expiry::is_default")]
    pub expiry: Expiry,
}

impl IndexRecord {
    pub fn node_uid(&self) -> &IndexUid {
        self.other_node_uid.as_ref().unwrap_or(&self.uid)
    }

    /// The same index under another name.
    fn renamed(self, uid: &IndexUid) -> Self {
        let node_uid = self.node_uid().clone();
        Self { uid: uid.clone(), other_node_uid: Some(node_uid).filter(|node_uid| node_uid != uid), ..self }
    }
}

/// What a write makes of the records of indexes. Existing ones are named as nodes name them, and only what the write changes is
/// said: others may change the rest meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IndexChange {
    /// A new index.
    Put(IndexRecord),
    Delete(IndexUid),
    PrimaryKey {
        node_uid: IndexUid,
        primary_key: String,
    },
    /// What has been verified on the nodes, with what reading depends on of the client's settings.
    Settings {
        node_uid: IndexUid,
        settings: serde_json::Value,
        version: u64,
        verified: Option<serde_json::Map<String, serde_json::Value>>,
        is_frozen: bool,
    },
    /// Whether nodes can look for its expired documents.
    ExpiryFilterable {
        node_uid: IndexUid,
        is_filterable: bool,
    },
    /// How its documents are deleted once they have expired.
    TtlPolicy {
        node_uid: IndexUid,
        policy: TtlPolicy,
    },
    /// Several at once.
    Rename(Vec<Renaming>),
}

impl IndexChange {
    /// The records as they become. `record` finds one by its index's name on the nodes; what is gone stays so.
    pub fn of_records(&self, record: impl Fn(&IndexUid) -> Option<IndexRecord>) -> Vec<Change> {
        let put = |record: Option<IndexRecord>| record.map(Change::PutIndex).into_iter().collect();
        match self {
            IndexChange::Put(record) => vec![Change::PutIndex(record.clone())],
            IndexChange::Delete(node_uid) => {
                record(node_uid).map(|record| Change::DeleteIndex(record.uid)).into_iter().collect()
            }
            IndexChange::PrimaryKey { node_uid, primary_key } => {
                put(record(node_uid).map(|record| IndexRecord { primary_key: Some(primary_key.clone()), ..record }))
            }
            IndexChange::Settings { node_uid, settings, version, verified, is_frozen } => {
                put(record(node_uid).map(|record| IndexRecord {
                    settings: settings.clone(),
                    settings_version: *version,
                    verified_settings: verified.clone(),
                    is_frozen: *is_frozen,
                    ..record
                }))
            }
            IndexChange::ExpiryFilterable { node_uid, is_filterable } => put(record(node_uid).map(|record| {
                let expiry = Expiry { is_filterable: *is_filterable, ..record.expiry };
                IndexRecord { expiry, ..record }
            })),
            IndexChange::TtlPolicy { node_uid, policy } => put(record(node_uid).map(|record| {
                let expiry = Expiry { policy: *policy, ..record.expiry };
                IndexRecord { expiry, ..record }
            })),
            IndexChange::Rename(renamings) => {
                let there = renamings.iter().filter_map(|renaming| Some((record(&renaming.node_uid)?, &renaming.uid)));
                let there: Vec<(IndexRecord, &IndexUid)> = there.collect();
                let is_reused = |uid: &IndexUid| there.iter().any(|(_, new)| *new == uid);
                let freed = there.iter().map(|(record, _)| &record.uid).filter(|uid| !is_reused(uid)).cloned();
                let mut changes: Vec<Change> = freed.map(Change::DeleteIndex).collect();
                changes.extend(there.iter().map(|(record, uid)| Change::PutIndex(record.clone().renamed(uid))));
                changes
            }
        }
    }
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
    /// Creates or replaces an alias.
    PutAlias(Alias),
    /// Keeps a value for all nodes under a name of ours.
    PutConfiguration {
        name: String,
        value: serde_json::Value,
    },
    DeleteAlias(IndexUid),
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
    PutAdminSession(AdminSession),
    /// Replaces a session that exists; one that was ended meanwhile stays ended.
    UpdateAdminSession(AdminSession),
    /// Ends the session of this digest.
    DeleteAdminSession(String),
    /// Creates or replaces a webhook.
    PutWebhook(Webhook),
    DeleteWebhook(WebhookUid),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn record(name: &str) -> IndexRecord {
        IndexRecord {
            uid: uid(name),
            other_node_uid: None,
            primary_key: None,
            shard_count: 8,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            settings: serde_json::json!({}),
            settings_version: 0,
            verified_settings: None,
            is_frozen: false,
            expiry: Expiry::default(),
        }
    }

    #[test]
    fn records_that_swap_their_names_are_replaced_and_one_that_is_renamed_leaves_its_place() {
        let records = ["a", "b", "c"].map(record);
        let find = |node_uid: &IndexUid| records.iter().find(|record| record.uid == *node_uid).cloned();
        let renaming = |node_uid: &str, to: &str| Renaming { node_uid: uid(node_uid), uid: uid(to) };
        let swap = vec![renaming("a", "b"), renaming("b", "a"), renaming("c", "d"), renaming("gone", "e")];
        let put = |name: &str, node_uid: &str| {
            format!("{:?}", Change::PutIndex(IndexRecord { other_node_uid: Some(uid(node_uid)), ..record(name) }))
        };
        let changes = IndexChange::Rename(swap).of_records(find);
        let changes: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
        let freed = format!("{:?}", Change::DeleteIndex(uid("c")));
        assert_eq!(changes, [freed, put("b", "a"), put("a", "b"), put("d", "c")]);
    }

    #[test]
    fn a_record_of_an_earlier_version_has_one_name() {
        let text = r#"{"uid":"a","primary_key":null,"shard_count":8,"created_at":"1970-01-01T00:00:00Z","updated_at":"1970-01-01T00:00:00Z","settings":{}}"#;
        let read: IndexRecord = serde_json::from_str(text).unwrap();
        assert_eq!((&read, read.node_uid()), (&record("a"), &uid("a")));
    }
}
