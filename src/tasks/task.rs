//! One client write and the node tasks under it, as a plain state machine without clock, network or disk.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::cancelation::Cancelation;
use super::conclusion::Conclusion;
use super::creation::InCreation;
use super::kind::{TaskKind, TaskStatus};
use super::leg::{Acknowledgement, Doubt, NodeTask};
use super::report::{Counts, NodeTaskReport};
use crate::cluster::{IndexUid, NodeId, ShardSet, TaskUid};
use crate::error::{Code, ErrorBody};
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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    fn shards(shards: &[u32]) -> ShardSet {
        shards.iter().copied().map(crate::cluster::Shard).collect()
    }

    fn leg(node: &str, uid: u32) -> NodeTask {
        NodeTask::enqueued(NodeId::new(node), uid, Some(T0))
    }

    fn addition(copies: u32, legs: Vec<NodeTask>) -> Task {
        let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, None, copies, legs)
            .with_details(json!({"receivedDocuments": 10, "indexedDocuments": null}));
        new.enqueued_at = T0;
        Task::numbered(TaskUid(5), new)
    }

    fn report(uid: u32, status: TaskStatus) -> NodeTaskReport {
        let started = status != TaskStatus::Enqueued;
        NodeTaskReport {
            uid,
            status,
            error: (status == TaskStatus::Failed).then(|| ErrorBody::new(Code::Internal, format!("node task {uid}"))),
            counts: Counts { indexed_documents: (status == TaskStatus::Succeeded).then_some(10), ..Counts::default() },
            enqueued_at: T0,
            started_at: started.then(|| T0 + Duration::seconds(i64::from(uid))),
            finished_at: status.is_final().then(|| T0 + Duration::seconds(60 + i64::from(uid))),
        }
    }

    #[test]
    fn a_task_starts_with_its_first_node_and_ends_with_its_last() {
        let (a, b) = (NodeId::new("a"), NodeId::new("b"));
        let mut task = addition(2, vec![leg("a", 1), leg("b", 2)]);
        assert_eq!((task.status, task.batch_uid()), (TaskStatus::Enqueued, None));

        assert!(task.observe(&b, &report(2, TaskStatus::Processing)));
        assert_eq!((task.status, task.started_at), (TaskStatus::Processing, Some(T0 + Duration::seconds(2))));
        assert!(task.observe(&b, &report(2, TaskStatus::Succeeded)));
        assert_eq!((task.status, task.finished_at), (TaskStatus::Processing, None));
        assert!(!task.observe(&b, &report(2, TaskStatus::Processing)), "an overtaken answer changes nothing");

        assert!(task.observe(&a, &report(1, TaskStatus::Succeeded)));
        assert_eq!(task.status, TaskStatus::Succeeded);
        assert_eq!(task.duration(), Some(Duration::seconds(61)));
        assert_eq!(task.details.unwrap()["indexedDocuments"], 10, "two replicas, each document counted once");
    }

    #[test]
    fn a_failed_node_fails_the_task_once_all_have_ended() {
        let mut task = addition(1, vec![leg("a", 1), leg("b", 2)]);
        task.observe(&NodeId::new("a"), &report(1, TaskStatus::Failed));
        assert_eq!(task.status, TaskStatus::Processing);
        task.observe(&NodeId::new("b"), &report(2, TaskStatus::Succeeded));
        assert_eq!(task.status, TaskStatus::Failed);
        assert_eq!(task.error.unwrap().message, "node task 1");
    }

    #[test]
    fn a_node_that_lost_its_tasks_fails_the_leg() {
        let mut lost = addition(1, vec![leg("a", 1)]);
        assert!(lost.observe_lost(&NodeId::new("a"), 1));
        assert_eq!(lost.status, TaskStatus::Failed);
        assert!(lost.error.unwrap().message.contains("no longer knows its task 1"));

        let mut renumbered = addition(1, vec![leg("a", 1)]);
        let mut of_another = report(1, TaskStatus::Succeeded);
        of_another.enqueued_at = T0 + Duration::DAY;
        assert!(renumbered.observe(&NodeId::new("a"), &of_another));
        assert_eq!(renumbered.status, TaskStatus::Failed, "a task of the same number is not ours");
    }

    #[test]
    fn a_task_whose_outcome_is_known_is_finished_from_the_start() {
        let error = ErrorBody::new(Code::InvalidDocumentId, "no");
        let new = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, None, Outcome::Failed(error.clone()))
            .with_details(json!({"receivedDocuments": 3, "indexedDocuments": null}));
        let task = Task::numbered(TaskUid(0), new);
        assert_eq!((task.status, task.error.as_ref()), (TaskStatus::Failed, Some(&error)));
        assert_eq!(task.details.as_ref().unwrap()["indexedDocuments"], 0);
        assert_eq!(task.duration(), Some(Duration::ZERO));
    }

    /// Shard 0 on `a` and `b`, shard 1 on `b` and `c`, all in their nodes' logs.
    fn replicated() -> Task {
        let planned = |(node, of): (&str, &[u32])| NodeTask::planned(NodeId::new(node), 0, shards(of));
        addition(2, [("a", &[0][..]), ("b", &[0, 1]), ("c", &[1])].map(planned).into())
    }

    fn acknowledge(task: &mut Task, node: &str, uid: u32) {
        task.acknowledge(&NodeId::new(node), 0, Acknowledgement { uid, enqueued_at: Some(T0), shared_by: 1 });
    }

    #[test]
    fn a_task_does_not_wait_for_a_node_that_is_away_while_others_have_its_shards() {
        let mut task = replicated();
        acknowledge(&mut task, "a", 1);
        acknowledge(&mut task, "c", 3);
        assert!(task.let_lag(|node| node.as_str() == "b"));
        task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
        assert_eq!(task.status, TaskStatus::Processing);
        task.observe(&NodeId::new("c"), &report(3, TaskStatus::Succeeded));
        assert_eq!(task.status, TaskStatus::Succeeded);
        assert_eq!(task.details.as_ref().unwrap()["indexedDocuments"], 10);
        assert!(task.is_followed(), "b still has to get it");

        acknowledge(&mut task, "b", 2);
        assert!(task.observe(&NodeId::new("b"), &report(2, TaskStatus::Failed)));
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Succeeded, false));
    }

    #[test]
    fn a_task_waits_for_the_last_replica_of_a_shard_though_its_node_is_away() {
        let mut task = replicated();
        acknowledge(&mut task, "a", 1);
        assert!(!task.let_lag(|node| node.as_str() != "a"), "shard 1 is nowhere but on nodes that are away");
        acknowledge(&mut task, "c", 3);
        assert!(!task.let_lag(|node| node.as_str() != "c"), "shard 0 would be nowhere");
        task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
        task.observe(&NodeId::new("c"), &report(3, TaskStatus::Succeeded));
        assert_eq!(task.status, TaskStatus::Processing);
        assert!(task.let_lag(|node| node.as_str() == "b"));
        assert_eq!(task.status, TaskStatus::Succeeded);
    }

    #[test]
    fn the_requests_are_kept_until_the_last_leg_is_delivered() {
        let mut task = replicated();
        task.replay = Some(Replay { payload: PayloadId(1), bytes: 10, heads: Vec::new(), marker: "m".to_owned() });
        acknowledge(&mut task, "a", 1);
        acknowledge(&mut task, "b", 2);
        assert!(task.replay.is_some());
        task.refuse(&NodeId::new("c"), 0, ErrorBody::new(Code::Internal, "no"));
        assert!(task.replay.is_none());
    }

    #[test]
    fn a_write_that_was_refused_is_over_for_its_client_and_followed_to_its_end() {
        let mut task = replicated();
        acknowledge(&mut task, "a", 1);
        task.fail(ErrorBody::new(Code::MiroirNoQuorum, "no"), T0 + Duration::SECOND);
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Failed, true));
        task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
        assert_eq!(task.status, TaskStatus::Failed);
    }

    #[test]
    fn a_stored_task_reads_back() {
        let mut task = addition(2, vec![leg("a", 1), leg("b", 2)]);
        task.index_uid = Some(IndexUid::parse("movies").unwrap());
        task.observe(&NodeId::new("a"), &report(1, TaskStatus::Failed));
        let text = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
    }

    /// Each leg's reports in order, then shuffled over legs and time, some twice.
    fn reports_in_any_order() -> impl Strategy<Value = Vec<(usize, NodeTaskReport)>> {
        let ends = proptest::collection::vec(2_usize..5, 1..6);
        ends.prop_flat_map(|ends| {
            let mut all = Vec::new();
            for (index, end) in ends.into_iter().enumerate() {
                for status in [TaskStatus::Enqueued, TaskStatus::Processing, TaskStatus::ALL[end]] {
                    let report = report(index as u32, status);
                    all.extend([(index, report.clone()), (index, report)]);
                }
            }
            Just(all).prop_shuffle()
        })
    }

    proptest! {
        #[test]
        fn any_interleaving_of_reports_leads_to_the_same_end(shuffled in reports_in_any_order()) {
            let nodes = shuffled.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
            let fresh = || addition(1, (0..nodes).map(|n| leg(&format!("n{n}"), n as u32)).collect());
            let mut in_order = shuffled.clone();
            in_order.sort_by_key(|(index, report)| (*index, report.status.stage()));

            let mut expected = fresh();
            for (index, report) in &in_order {
                expected.observe(&NodeId::new(&format!("n{index}")), report);
            }
            let mut task = fresh();
            let mut stage = 0;
            for (index, report) in &shuffled {
                task.observe(&NodeId::new(&format!("n{index}")), report);
                prop_assert!(task.status.stage() >= stage, "a task never goes back");
                stage = task.status.stage();
            }
            prop_assert!(task.status.is_final());
            prop_assert_eq!(task, expected);
        }
    }
}
