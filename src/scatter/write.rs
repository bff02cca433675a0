//! A write handed to every node that must hold it.

use futures_util::future::join_all;
use serde::Deserialize;
use time::OffsetDateTime;

use super::{NodeRequest, Scatter};
use crate::cluster::{NodeIndex, Shard, Snapshot};
use crate::error::{ApiError, Code};

/// A node that has taken a write: the node's own number of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLeg {
    pub node: NodeIndex,
    pub task_uid: u32,
    /// As the node printed it: tells this task from one with the same number after the node lost its disk.
    pub enqueued_at: OffsetDateTime,
}

/// Why a write was not taken everywhere.
#[derive(Debug)]
pub struct Refusal {
    pub error: ApiError,
    /// Nodes that have taken it all the same.
    pub taken: Vec<WriteLeg>,
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
    /// Refuses a write early, before anything is sent, when some node that must take it is known to be away.
    ///
    /// Every replica must take every write: one that missed a write would later answer reads without it.
    pub fn all_take_writes(&self, snapshot: &Snapshot, nodes: &[NodeIndex]) -> Result<(), ApiError> {
        let away: Vec<NodeIndex> = nodes.iter().copied().filter(|&node| !snapshot.state(node).takes_writes()).collect();
        if away.is_empty() {
            return Ok(());
        }
        Err(no_quorum(snapshot, &away))
    }

    /// Sends each node its request, all at once. Nothing is sent twice.
    pub async fn write(
        &self,
        snapshot: &Snapshot,
        requests: Vec<(NodeIndex, NodeRequest)>,
    ) -> Result<Vec<WriteLeg>, Refusal> {
        let sent = requests.iter().map(|(node, request)| self.leg(*node, request, self.limits.write_timeout, false));
        let answers = join_all(sent).await;
        let (mut taken, mut away, mut refused) = (Vec::new(), Vec::new(), None);
        for ((node, _), answer) in requests.iter().zip(answers) {
            match answer {
                Ok(answer) if answer.is_success() => match serde_json::from_slice::<TaskSummary>(&answer.body) {
                    Ok(TaskSummary { task_uid, enqueued_at }) => {
                        taken.push(WriteLeg { node: *node, task_uid, enqueued_at });
                    }
                    Err(_) => away.push(*node),
                },
                Ok(answer) if answer.status < 500 => refused = Some(ApiError::from_node(answer.status, &answer.body)),
                Ok(_) | Err(_) => away.push(*node),
            }
        }
        match (refused, away.is_empty()) {
            (None, true) => Ok(taken),
            (Some(error), _) => Err(Refusal { error, taken }),
            (None, false) => Err(Refusal { error: no_quorum(snapshot, &away), taken }),
        }
    }
}

fn no_quorum(snapshot: &Snapshot, away: &[NodeIndex]) -> ApiError {
    let names: Vec<&str> = away.iter().map(|&node| snapshot.topology.node(node).id.as_str()).collect();
    let message = format!("The write cannot be taken by every replica: {} did not accept it.", names.join(", "));
    ApiError::new(Code::MiroirNoQuorum, message)
}

/// Adds the shards of a batch that a refusal concerns, as the error's reader needs them.
pub fn naming_shards(mut error: ApiError, shards: &[Shard]) -> ApiError {
    if error.is(Code::MiroirNoQuorum) && !shards.is_empty() {
        let list: Vec<String> = shards.iter().map(Shard::to_string).collect();
        error.body.message.push_str(&format!(" Shards: {}.", list.join(", ")));
    }
    error
}
