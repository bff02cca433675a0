//! A task before it has its number.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::conclusion::Conclusion;
use super::creation::InCreation;
use super::kind::TaskKind;
use super::leg::NodeTask;
use crate::cluster::IndexUid;
use crate::error::ErrorBody;
use crate::store::{IndexChange, PayloadId};

/// A task as its maker describes it; the store gives it its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    pub index_uid: Option<IndexUid>,
    pub kind: TaskKind,
    pub details: Option<Map<String, Value>>,
    /// Replicas that each document went to (RG × RF); counts of nodes are divided by it.
    pub copies: u32,
    pub legs: Vec<NodeTask>,
    pub custom_metadata: Option<String>,
    pub enqueued_at: OffsetDateTime,
    /// Set when the outcome is known without any node.
    pub outcome: Option<Outcome>,
    /// What undelivered legs are to be sent; without it they can only be looked for on their nodes.
    pub replay: Option<Replay>,
    pub change: Option<IndexChange>,
    /// What nodes call the index, if clients call it otherwise.
    pub other_node_uid: Option<IndexUid>,
    /// What Miroir has to do before the task has ended.
    pub conclusion: Option<Conclusion>,
    /// What it has to do with the creation of its index.
    pub creation: Option<InCreation>,
    /// Under which this write may be repeated without being carried out twice.
    pub idempotency: Option<Idempotency>,
    /// Whether there are webhooks, which would have to be told if it has ended already.
    pub has_webhooks: bool,
}

/// The requests of a write, kept until every node has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Where the bodies are.
    pub payload: PayloadId,
    /// Bytes of all bodies, each document counted once.
    pub bytes: u64,
    /// By step.
    pub heads: Vec<RequestHead>,
    /// Names the write in the nodes' own task lists, where the route takes `customMetadata`.
    pub marker: String,
}

/// A request to a node without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    pub method: String,
    pub path_and_query: String,
    /// Type that the node's own task for it will have.
    pub kind: TaskKind,
}

/// A client's `Idempotency-Key` and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of method, path and body.
    pub digest: [u8; 32],
}

/// How a task ended that no node had a part in.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Succeeded,
    Failed(ErrorBody),
}

impl NewTask {
    /// A task that follows `legs` to their end.
    pub fn followed(kind: TaskKind, index_uid: Option<IndexUid>, copies: u32, legs: Vec<NodeTask>) -> Self {
        debug_assert!(copies > 0 && !legs.is_empty(), "a task without legs never ends");
        Self { copies, legs, ..Self::new(kind, index_uid) }
    }

    /// A task that no node takes part in, and that Miroir itself ends.
    pub fn concluded(kind: TaskKind, index_uid: Option<IndexUid>, conclusion: Conclusion) -> Self {
        Self { conclusion: Some(conclusion), ..Self::new(kind, index_uid) }
    }

    /// A task that no node takes part in, because its outcome is known already.
    pub fn settled(kind: TaskKind, index_uid: Option<IndexUid>, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..Self::new(kind, index_uid) }
    }

    fn new(kind: TaskKind, index_uid: Option<IndexUid>) -> Self {
        Self {
            index_uid,
            kind,
            details: None,
            copies: 1,
            legs: Vec::new(),
            custom_metadata: None,
            enqueued_at: OffsetDateTime::now_utc(),
            outcome: None,
            replay: None,
            change: None,
            other_node_uid: None,
            conclusion: None,
            creation: None,
            idempotency: None,
            has_webhooks: false,
        }
    }

    /// With Meilisearch's `details`; counted members whose value is null are filled in when the task ends.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = match details {
            Value::Object(members) => Some(members),
            _ => None,
        };
        self
    }
}
