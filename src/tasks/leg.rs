//! One node's part in a write: from its place in the node's log to the end of the node's own task.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::kind::TaskStatus;
use super::report::{Counts, NodeTaskReport};
use crate::cluster::{NodeId, ShardSet};
use crate::error::{Code, ErrorBody};

/// One request to one node under a Miroir task. A node may get several in a row (creation, documents).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTask {
    pub node: NodeId,
    /// Which of the write's requests it is, from 0; a node gets them in this order.
    #[serde(default)]
    pub step: u8,
    /// Shards whose documents the request may change on this node.
    #[serde(default)]
    pub shards: ShardSet,
    /// The node's own number for it, once it has acknowledged it. Until then the leg stands in the node's log.
    pub uid: Option<u32>,
    /// Writes that share the node's task: then each has added or updated a single document.
    #[serde(default = "alone", skip_serializing_if = "is_alone")]
    pub shared_by: u32,
    /// Set when the request went out and no answer came back, and before it goes out, since a crash is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// The task does not wait for this leg; in return the node serves no reads of these shards until it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lags: bool,
    pub status: TaskStatus,
    /// As the node printed it when it acknowledged the task. A node that lost its disk counts from 0 again; this tells
    /// its new task from ours. `None` if the acknowledgement was never seen.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub enqueued_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub counts: Counts,
    #[serde(default)]
    pub error: Option<ErrorBody>,
}

/// What is known of a request that may have been executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Highest number that the node was known to have given before: the request's own would be above it.
    pub after: Option<u32>,
}

/// A node's acknowledgement of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The node's own number for its task.
    pub uid: u32,
    /// As the node printed it.
    pub enqueued_at: Option<OffsetDateTime>,
    /// Writes that share the node's task, each with a single document; 1 if it is the write's own.
    pub shared_by: u32,
}

const fn alone() -> u32 {
    1
}

fn is_alone(shared_by: &u32) -> bool {
    *shared_by == alone()
}

impl NodeTask {
    /// A leg that its node has not been given yet.
    pub fn planned(node: NodeId, step: u8, shards: ShardSet) -> Self {
        Self {
            node,
            step,
            shards,
            uid: None,
            shared_by: alone(),
            doubt: None,
            lags: false,
            status: TaskStatus::Enqueued,
            enqueued_at: None,
            started_at: None,
            finished_at: None,
            counts: Counts::default(),
            error: None,
        }
    }

    /// A leg that its node has acknowledged.
    pub fn enqueued(node: NodeId, uid: u32, enqueued_at: Option<OffsetDateTime>) -> Self {
        Self { uid: Some(uid), enqueued_at, ..Self::planned(node, 0, ShardSet::default()) }
    }

    /// True while the leg stands in its node's log.
    pub fn is_undelivered(&self) -> bool {
        self.uid.is_none() && !self.status.is_final()
    }

    /// True while the node has acknowledged it and not ended it.
    pub fn is_running(&self) -> bool {
        self.uid.is_some() && !self.status.is_final()
    }

    /// True if the node's task does what other writes ask for as well.
    pub fn is_shared(&self) -> bool {
        !is_alone(&self.shared_by)
    }

    pub fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        debug_assert!(self.is_undelivered());
        self.uid = Some(acknowledgement.uid);
        self.shared_by = acknowledgement.shared_by;
        self.enqueued_at = acknowledgement.enqueued_at;
        self.doubt = None;
    }

    pub(super) fn observe(&mut self, report: &NodeTaskReport) -> bool {
        if self.enqueued_at.is_some_and(|acknowledged| acknowledged != report.enqueued_at) {
            return self.lose();
        }
        // Answers of a node may overtake one another; an older one must not turn the leg back.
        if report.status.stage() <= self.status.stage() {
            return false;
        }
        self.status = report.status;
        self.started_at = report.started_at;
        self.finished_at = report.finished_at;
        self.counts = if self.is_shared() { Counts::of_one_document(report) } else { report.counts };
        self.error = report.error.clone();
        true
    }

    pub(super) fn lose(&mut self) -> bool {
        let number = self.uid.map_or_else(String::new, |uid| format!(" {uid}"));
        self.fail(ErrorBody::new(
            Code::Internal,
            format!(
                "Node `{}` no longer knows its task{number}: its data was lost or its task queue cleared. Whether the write \
                 was applied there is unknown; send it again.",
                self.node
            ),
        ))
    }

    pub(super) fn fail(&mut self, error: ErrorBody) -> bool {
        if self.status.is_final() {
            return false;
        }
        self.status = TaskStatus::Failed;
        self.error = Some(error);
        true
    }
}
