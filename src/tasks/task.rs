//! One client write and the node tasks under it, as a plain state machine without clock, network or disk.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::cancelation::Cancelation;
use super::conclusion::Conclusion;
use super::creation::InCreation;
use super::kind::{TaskKind, TaskStatus};
use super::leg::{Acknowledgement, Doubt, NodeTask};
use super::new_task::{NewTask, Outcome, Replay};
use super::report::{Counts, NodeTaskReport};
use crate::cluster::{IndexUid, NodeId, ShardSet, TaskUid};
use crate::error::{Code, ErrorBody};
use crate::store::IndexChange;

/// One client write, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub uid: TaskUid,
    #[serde(default)]
    pub index_uid: Option<IndexUid>,
    /// What nodes call the index, if clients called it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_node_uid: Option<IndexUid>,
    pub kind: TaskKind,
    pub status: TaskStatus,
    #[serde(default)]
    pub details: Option<Map<String, Value>>,
    #[serde(default)]
    pub error: Option<ErrorBody>,
    #[serde(default)]
    pub canceled_by: Option<TaskUid>,
    /// Of a task that cancels others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelation: Option<Cancelation>,
    #[serde(default)]
    pub custom_metadata: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    pub copies: u32,
    #[serde(default)]
    pub legs: Vec<NodeTask>,
    /// Present while some leg is undelivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What the write makes of the index's record, until that has been applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<IndexChange>,
    /// What Miroir has yet to do before the task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// What it has to do with the creation of its index, as long as that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<InCreation>,
    /// It has ended, and webhooks have not been told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_untold: bool,
}

impl Task {
    /// The task that `new` becomes under its number.
    pub fn numbered(uid: TaskUid, new: NewTask) -> Self {
        let mut task = Self {
            uid,
            index_uid: new.index_uid,
            other_node_uid: new.other_node_uid,
            kind: new.kind,
            status: TaskStatus::Enqueued,
            details: new.details,
            error: None,
            canceled_by: None,
            cancelation: None,
            custom_metadata: new.custom_metadata,
            enqueued_at: new.enqueued_at,
            started_at: None,
            finished_at: None,
            copies: new.copies.max(1),
            legs: new.legs,
            replay: new.replay,
            change: new.change,
            conclusion: new.conclusion,
            creation: new.creation,
            is_untold: false,
        };
        match new.outcome {
            Some(outcome) => task.settle(outcome),
            None => {
                task.summarize_legs();
            }
        }
        task.is_untold = new.has_webhooks && task.status.is_final();
        task
    }

    pub(super) fn settle(&mut self, outcome: Outcome) {
        (self.status, self.error) = match outcome {
            Outcome::Succeeded => (TaskStatus::Succeeded, None),
            Outcome::Failed(error) => (TaskStatus::Failed, Some(error)),
        };
        self.started_at = Some(self.enqueued_at);
        self.finished_at = Some(self.enqueued_at);
        self.fill_counts();
    }

    /// Takes in what `node` says of one of its tasks. True if that changed anything. Whatever the order in which
    /// reports arrive, and however often, the same reports lead to the same end.
    pub fn observe(&mut self, node: &NodeId, report: &NodeTaskReport) -> bool {
        self.change_leg(node, report.uid, |leg| leg.observe(report))
    }

    /// Takes in that `node` answered and does not know the task it once acknowledged: waiting for it would be forever.
    pub fn observe_lost(&mut self, node: &NodeId, node_task: u32) -> bool {
        self.change_leg(node, node_task, NodeTask::lose)
    }

    fn change_leg(&mut self, node: &NodeId, node_task: u32, change: impl Fn(&mut NodeTask) -> bool) -> bool {
        let mut changed = false;
        for leg in self.legs.iter_mut().filter(|leg| leg.uid == Some(node_task) && leg.node == *node) {
            changed |= change(leg);
        }
        if changed {
            self.strike_off_undelivered(OffsetDateTime::now_utc());
            self.summarize_legs();
        }
        changed
    }

    /// `node` has taken the request of `step` into its queue.
    pub fn acknowledge(&mut self, node: &NodeId, step: u8, acknowledgement: Acknowledgement) {
        if let Some(leg) = self.undelivered_leg(node, step) {
            leg.acknowledge(acknowledgement);
        }
        self.forget_replay();
    }

    /// The request of `step` went out to `node`, and whether it was executed is not known.
    pub fn doubt(&mut self, node: &NodeId, step: u8, doubt: Doubt) {
        if let Some(leg) = self.undelivered_leg(node, step) {
            leg.doubt = Some(doubt);
        }
    }

    /// The request of `step` did not go out to `node`.
    pub fn clear_doubt(&mut self, node: &NodeId, step: u8) {
        if let Some(leg) = self.undelivered_leg(node, step) {
            leg.doubt = None;
        }
    }

    /// `node` will never take the request of `step`.
    pub fn refuse(&mut self, node: &NodeId, step: u8, error: ErrorBody) {
        if self.undelivered_leg(node, step).is_some_and(|leg| leg.fail(error)) {
            self.forget_replay();
            self.summarize_legs();
        }
    }

    fn undelivered_leg(&mut self, node: &NodeId, step: u8) -> Option<&mut NodeTask> {
        self.legs.iter_mut().find(|leg| leg.node == *node && leg.step == step && leg.is_undelivered())
    }

    pub(super) fn forget_replay(&mut self) {
        if !self.legs.iter().any(NodeTask::is_undelivered) {
            self.replay = None;
        }
    }

    /// Ends the task for its client, whatever becomes of its legs, which are followed to their end all the same.
    pub fn fail(&mut self, error: ErrorBody, now: OffsetDateTime) {
        if !self.status.is_final() {
            self.settle(Outcome::Failed(error));
            self.finished_at = Some(now.max(self.enqueued_at));
        }
    }

    /// Stops waiting for the open legs of nodes that `is_away`, wherever an acknowledged replica of each of the leg's shards
    /// remains. True if that changed anything; the caller keeps those nodes from serving reads before anybody sees the task.
    pub fn let_lag(&mut self, is_away: impl Fn(&NodeId) -> bool) -> bool {
        if self.status.is_final() {
            return false;
        }
        let candidates = |leg: &NodeTask| !leg.lags && !leg.status.is_final() && is_away(&leg.node);
        let steps: Vec<u8> = self.legs.iter().filter(|leg| candidates(leg)).map(|leg| leg.step).collect();
        let mut changed = false;
        for step in steps {
            let mut present = ShardSet::default();
            let is_present =
                |leg: &&NodeTask| leg.step == step && !leg.lags && leg.uid.is_some() && !is_away(&leg.node);
            self.legs.iter().filter(is_present).for_each(|leg| present.extend(&leg.shards));
            for leg in self.legs.iter_mut().filter(|leg| leg.step == step) {
                if candidates(leg) && leg.shards.is_subset_of(&present) {
                    leg.lags = true;
                    changed = true;
                }
            }
        }
        if changed {
            self.summarize_legs();
        }
        changed
    }

    /// Legs that have not ended. A task is followed as long as there are any, even when it is over for its client.
    pub fn open_legs(&self) -> impl Iterator<Item = &NodeTask> {
        self.legs.iter().filter(|leg| !leg.status.is_final())
    }

    pub fn is_followed(&self) -> bool {
        self.is_untold || self.has_work_left()
    }

    /// Whether something has yet to be done of it, by nodes or by Miroir.
    pub fn has_work_left(&self) -> bool {
        self.open_legs().next().is_some() || self.awaits_others() || self.is_held()
    }

    /// Whether something of Miroir's own has to be done before it can end.
    fn is_held(&self) -> bool {
        self.conclusion.is_some() || self.awaits_creation()
    }

    /// Whether it has named tasks to be canceled that have not ended.
    fn awaits_others(&self) -> bool {
        self.cancelation.is_some_and(|cancelation| cancelation.awaited > 0)
    }

    /// Derives the task's own state from its legs' alone, so that the order of events cannot matter.
    pub(super) fn summarize_legs(&mut self) {
        if self.status.is_final() || self.legs.iter().all(|leg| leg.status == TaskStatus::Enqueued) {
            return;
        }
        // The nodes' clocks are not ours: a task must not start before it was enqueued, nor end before it started.
        let started_at = self.legs.iter().filter_map(|leg| leg.started_at).min();
        self.started_at = started_at.map(|at| at.max(self.enqueued_at));
        let awaited = || self.legs.iter().filter(|leg| !leg.lags);
        if awaited().any(|leg| !leg.status.is_final()) || self.awaits_others() || self.is_held() {
            self.status = TaskStatus::Processing;
            return;
        }
        let failed = awaited().find(|leg| leg.status == TaskStatus::Failed);
        let canceled = awaited().any(|leg| leg.status == TaskStatus::Canceled && !self.is_made_good(leg));
        (self.status, self.error) = match failed {
            Some(leg) => (TaskStatus::Failed, Some(self.in_clients_words(leg.error.clone()))),
            None if canceled => (TaskStatus::Canceled, None),
            None => (TaskStatus::Succeeded, None),
        };
        let finished_at = self.legs.iter().filter_map(|leg| leg.finished_at).max();
        let earliest_end = self.started_at.unwrap_or(self.enqueued_at);
        self.finished_at = Some(finished_at.map_or(earliest_end, |at| at.max(earliest_end)));
        self.fill_counts();
    }

    /// The error of a node, with the index called as the client called it.
    pub(super) fn in_clients_words(&self, error: Option<ErrorBody>) -> ErrorBody {
        let error = error.unwrap_or_else(unexplained_failure);
        match (&self.other_node_uid, &self.index_uid) {
            (Some(node_uid), Some(uid)) => error.naming(node_uid, uid),
            _ => error,
        }
    }

    /// Counts in the details are a single server's: each document once, however many replicas took it.
    fn fill_counts(&mut self) {
        let copies_of =
            |legs: &mut dyn Iterator<Item = &NodeTask>| legs.map(|leg| leg.shards.len().max(1)).sum::<usize>();
        let all = copies_of(&mut self.legs.iter());
        let total = |count: fn(&Counts) -> Option<u64>| {
            let sum: u64 = self.legs.iter().filter_map(|leg| count(&leg.counts)).sum();
            // Replicas that lag have not counted: those that have stand for them, by their shards.
            let is_silent = |leg: &&NodeTask| match leg.status {
                TaskStatus::Canceled => self.status == TaskStatus::Succeeded,
                status => leg.lags && !status.is_final(),
            };
            let silent = copies_of(&mut self.legs.iter().filter(is_silent));
            let sum =
                if silent == 0 || silent >= all { sum } else { (sum * all as u64).div_ceil((all - silent) as u64) };
            // Rounded up: a document that only some of its replicas held was there all the same.
            sum.div_ceil(u64::from(self.copies))
        };
        let counted = [
            ("indexedDocuments", total(|counts| counts.indexed_documents)),
            ("deletedDocuments", total(|counts| counts.deleted_documents)),
            ("editedDocuments", total(|counts| counts.edited_documents)),
        ];
        let succeeded = self.status == TaskStatus::Succeeded;
        let lags = self.legs.iter().any(|leg| leg.lags || leg.status == TaskStatus::Canceled);
        let canceled_tasks = self.cancelation.map(|cancelation| cancelation.canceled);
        let Some(details) = &mut self.details else { return };
        if let Some(count) = canceled_tasks {
            details.insert("canceledTasks".to_owned(), Value::from(count));
        }
        let received = details.get("receivedDocuments").cloned();
        for (name, count) in counted {
            if let Some(value @ Value::Null) = details.get_mut(name) {
                *value = match (name, &received) {
                    // What an addition has received it has indexed once it has succeeded, so nothing need be estimated.
                    ("indexedDocuments", Some(received)) if succeeded && lags => received.clone(),
                    _ => Value::from(count),
                };
            }
        }
    }

    /// Time from the first node's start to the last node's end.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.finished_at? - self.started_at?)
    }

    /// Meilisearch runs tasks in numbered batches. Every task is a batch of its own here, with the same number.
    pub fn batch_uid(&self) -> Option<u32> {
        (self.status != TaskStatus::Enqueued).then_some(self.uid.0)
    }
}

fn unexplained_failure() -> ErrorBody {
    ErrorBody::new(Code::Internal, "A node reported that its task failed, without an error.")
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
