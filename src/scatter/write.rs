//! One request of a write to one node, and what is known of it afterwards.

use serde::Deserialize;
use time::OffsetDateTime;

use super::{Expected, LegError, NodeRequest, Scatter};
use crate::cluster::NodeIndex;
use crate::error::ApiError;
use crate::tasks::Acknowledgement;

/// What became of a request that was to make a task on a node.
#[derive(Debug)]
pub enum Delivery {
    /// The node has it durably in its queue.
    Acknowledged(Acknowledgement),
    /// The node will not take it, however often it is asked.
    Refused(ApiError),
    /// The node has not seen it.
    NotSent,
    /// The node may have executed it.
    InDoubt,
}

/// The part of a node's task summary that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskSummary {
    task_uid: u32,
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
}

impl Scatter {
    /// Sends a request that makes a task, once.
    pub async fn deliver(&self, node: NodeIndex, request: &NodeRequest) -> Delivery {
        match self.leg(node, request, self.limits.write_timeout, false, Expected::Anything).await {
            Ok(answer) if answer.is_success() => match serde_json::from_slice::<TaskSummary>(&answer.body) {
                Ok(TaskSummary { task_uid, enqueued_at }) => {
                    Delivery::Acknowledged(Acknowledgement { uid: task_uid, enqueued_at: Some(enqueued_at) })
                }
                Err(error) => {
                    log::warn!(
                        "node {} acknowledged a write in a way that cannot be read: {error}",
                        self.health.id(node)
                    );
                    Delivery::InDoubt
                }
            },
            Ok(answer) if answer.status < 500 => Delivery::Refused(ApiError::from_node(answer.status, &answer.body)),
            Err(LegError::Connect { .. } | LegError::KeyRefused { .. }) => Delivery::NotSent,
            Ok(_) | Err(_) => Delivery::InDoubt,
        }
    }
}
