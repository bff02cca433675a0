//! One request of a write to one node, and what is known of it afterwards.
//!
//! A node that lets a request wait may execute it at any later time, and its task list says nothing of what it has not begun.
//! The only one who tells is the connection: as long as it stands, the answer is awaited on it, however late it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pingora::time::timeout;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::{Expected, LegError, NodeAnswer, NodeRequest, Scatter};
use crate::cluster::{NodeId, NodeIndex};
use crate::error::ApiError;
use crate::tasks::Acknowledgement;

/// How long an answer is awaited after the request's own time is up. A node that hangs for longer is restarted by somebody, which
/// ends the connection.
const LATE_ANSWER_WAIT: Duration = Duration::from_secs(600);

/// What became of a request that was to make a task on a node.
#[derive(Debug)]
pub enum Delivery {
    /// The node has it durably in its queue.
    Acknowledged(Acknowledgement),
    /// The node will not take it, however often it is asked.
    Refused(ApiError),
    /// The node has not seen it.
    NotSent,
    /// The connection has ended without an answer: the node may have executed it.
    InDoubt,
    /// The node has not answered in time, and may execute it yet.
    Late(LateAnswer),
}

impl Delivery {
    fn of(result: Result<NodeAnswer, LegError>, node: &str) -> Self {
        match result {
            Ok(answer) if answer.is_success() => match serde_json::from_slice::<TaskSummary>(&answer.body) {
                Ok(TaskSummary { task_uid, enqueued_at }) => Delivery::Acknowledged(Acknowledgement {
                    uid: task_uid,
                    enqueued_at: Some(enqueued_at),
                    shared_by: 1,
                }),
                Err(error) => {
                    log::warn!("node {node} acknowledged a write in a way that cannot be read: {error}");
                    Delivery::InDoubt
                }
            },
            Ok(answer) if answer.status < 500 => Delivery::Refused(ApiError::from_node(answer.status, &answer.body)),
            Err(LegError::Connect { .. } | LegError::KeyRefused { .. }) => Delivery::NotSent,
            Ok(_) | Err(_) => Delivery::InDoubt,
        }
    }

    /// The same for each of `count` writes that shared the request.
    pub fn for_each_of(self, count: usize) -> Vec<Self> {
        let shared_by = u32::try_from(count).unwrap_or(u32::MAX);
        match self {
            Delivery::Late(late) => late.for_each_of(count).into_iter().map(Delivery::Late).collect(),
            known => (0..count).map(|_| known.of_one(shared_by)).collect(),
        }
    }

    /// What is known of a request, to one of those who share it.
    fn of_one(&self, shared_by: u32) -> Self {
        match self {
            Delivery::Acknowledged(acknowledgement) => {
                Delivery::Acknowledged(Acknowledgement { shared_by, ..*acknowledgement })
            }
            Delivery::Refused(error) => Delivery::Refused(error.clone()),
            Delivery::NotSent => Delivery::NotSent,
            Delivery::InDoubt | Delivery::Late(_) => Delivery::InDoubt,
        }
    }

    #[cfg(test)]
    pub fn late_for_tests(answer: impl std::future::Future<Output = Self> + Send + 'static) -> Self {
        Delivery::Late(LateAnswer(tokio::spawn(answer)))
    }

    /// Whether the node has it, or may have it, or may come to have it.
    pub fn may_be_executed(&self) -> bool {
        matches!(self, Delivery::Acknowledged(_) | Delivery::InDoubt | Delivery::Late(_))
    }
}

/// An answer that is still awaited. Who drops it hangs up.
#[derive(Debug)]
pub struct LateAnswer(JoinHandle<Delivery>);

impl LateAnswer {
    /// What has become of the request, which is never `Late`, or itself if that is not known within `time`.
    pub async fn within(mut self, time: Duration) -> Result<Delivery, Self> {
        match tokio::time::timeout(time, &mut self.0).await {
            Ok(Ok(delivery)) => Ok(delivery),
            // It was ended with its runtime.
            Ok(Err(_)) => Ok(Delivery::InDoubt),
            Err(_) => Err(self),
        }
    }

    /// Returns when it is known what has become of the request, or when no answer is awaited any more.
    pub async fn ended(mut self) {
        // Whether it was answered or ended with its runtime makes no difference.
        let _ = (&mut self.0).await;
    }

    /// The same answer for each of `count` writes that shared the request. Hangs up when all of them are dropped.
    fn for_each_of(mut self, count: usize) -> Vec<Self> {
        let answer = async move {
            let known = (&mut self.0).await;
            // It was ended with its runtime.
            Arc::new(known.unwrap_or(Delivery::InDoubt))
        };
        let (answer, shared_by) = (answer.boxed().shared(), u32::try_from(count).unwrap_or(u32::MAX));
        let of_one = |_| {
            let answer = answer.clone();
            Self(tokio::spawn(async move { answer.await.of_one(shared_by) }))
        };
        (0..count).map(of_one).collect()
    }

    pub fn is_known(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for LateAnswer {
    fn drop(&mut self) {
        self.0.abort();
    }
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
        // Whoever leads next must not find that more has come from here.
        if !self.lead.is_held() {
            return Delivery::NotSent;
        }
        let (started, after) = (Instant::now(), self.limits.write_timeout);
        let id = self.health.id(node).to_owned();
        let mut exchange = Box::pin({
            let (nodes, request) = (Arc::clone(&self.nodes), request.clone());
            async move { nodes.exchange(node, &request, false).await }
        });
        match timeout(after, exchange.as_mut()).await {
            Ok(result) => Delivery::of(self.judged(node, request, started, result, Expected::Anything), &id),
            Err(_) => {
                let late = LegError::Timeout { node: NodeId::new(&id), after };
                drop(self.judged(node, request, started, Err(late), Expected::Anything));
                Delivery::Late(LateAnswer(tokio::spawn(async move {
                    match tokio::time::timeout(LATE_ANSWER_WAIT, exchange).await {
                        Ok(result) => Delivery::of(result, &id),
                        Err(_) => Delivery::InDoubt,
                    }
                })))
            }
        }
    }
}
