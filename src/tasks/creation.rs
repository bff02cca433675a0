//! The creation of an index, on all nodes or on none: what tasks have to do with it until all nodes have said whether they make it.
//!
//! A write that creates its index is answered before the nodes have created it, and later writes to it come at once. When a node
//! refuses, the index is deleted where it was made, and none of these writes has done anything. So none of them ends before it is known.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::kind::{TaskKind, TaskStatus};
use super::leg::NodeTask;
use super::new_task::{Replay, RequestHead};
use super::report::Counts;
use super::task::Task;
use crate::cluster::{NodeId, ShardSet};
use crate::error::{Code, ErrorBody};
use crate::store::PayloadId;

/// The first requests of a write that creates an index: the creation itself, and Miroir's own settings. What comes after them may
/// fail as it may in an index that exists.
pub const CREATION_STEPS: u8 = 2;

/// What a task has to do with the creation of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InCreation {
    /// It creates the index, and not all nodes have said whether they do.
    Creates,
    /// Some node has refused, and the others are deleting what they have made.
    Undoes,
    /// A write to the index while it is being created; it ends when that has.
    Follows,
    /// The index has been undone: nodes are given no more of this.
    Undone,
}

impl Task {
    /// Whether it cannot end before its index's creation has.
    pub fn awaits_creation(&self) -> bool {
        matches!(self.creation, Some(InCreation::Creates | InCreation::Undoes | InCreation::Follows))
    }

    /// Whether the creation of its index has not ended.
    pub fn is_creating(&self) -> bool {
        matches!(self.creation, Some(InCreation::Creates | InCreation::Undoes))
    }

    /// Whether a node that the task waits for has not made the index.
    pub fn is_creation_refused(&self) -> bool {
        let is_no = |leg: &&NodeTask| matches!(leg.status, TaskStatus::Failed | TaskStatus::Canceled);
        self.legs.iter().filter(|leg| leg.step < CREATION_STEPS && !leg.lags).any(|leg| is_no(&leg))
    }

    /// The index is there on all nodes, or what was made of it has been deleted: the task ends as its legs have.
    pub fn end_creation(&mut self) -> bool {
        let awaited = self.awaits_creation();
        if awaited {
            self.creation = None;
            self.summarize_legs();
        }
        awaited
    }

    /// Plans the deletion of the index wherever it may have been made by this task: not on a node that said that it had one of that name,
    /// and not on one that has been sent nothing. The requests stand in the nodes' logs after those that are in them.
    pub fn undo_creation(&mut self, payload: PayloadId, deletion: RequestHead) {
        debug_assert!(deletion.kind == TaskKind::IndexDeletion && self.creation == Some(InCreation::Creates));
        self.creation = Some(InCreation::Undoes);
        self.conclusion = None;
        let error = self.creation_error();
        self.strike_off_unsent(&error);
        let step = self.legs.iter().map(|leg| leg.step + 1).max().unwrap_or_default();
        let mut nodes: Vec<NodeId> = Vec::new();
        for leg in &self.legs {
            if leg.step == 0 && !had_it_before(leg) && (leg.uid.is_some() || leg.doubt.is_some()) {
                nodes.push(leg.node.clone());
            }
        }
        // No reads depend on these legs, and so any of them may lag.
        self.legs.extend(nodes.into_iter().map(|node| NodeTask::planned(node, step, ShardSet::default())));
        // Nothing of what was indexed remains.
        self.legs.iter_mut().for_each(|leg| leg.counts = Counts::default());
        // In no path: the request is found again by its kind.
        let marker = format!("miroir-undone-{:016x}", payload.0);
        let replay = self.replay.get_or_insert(Replay { payload, bytes: 0, heads: Vec::new(), marker });
        // Earlier requests that are not in it any more have been delivered everywhere.
        replay.heads.resize(usize::from(step) + 1, deletion);
        self.forget_replay();
        self.summarize_legs();
    }

    /// The index that this task wrote to has been undone for the reason `error`.
    pub fn undo(&mut self, error: ErrorBody, now: OffsetDateTime) {
        self.creation = Some(InCreation::Undone);
        self.conclusion = None;
        self.strike_off_unsent(&error);
        self.legs.iter_mut().for_each(|leg| leg.counts = Counts::default());
        self.fail(error, now);
    }

    /// Why the index has not been created.
    pub fn creation_error(&self) -> ErrorBody {
        let refused = |leg: &&NodeTask| leg.step < CREATION_STEPS && !leg.lags && leg.status == TaskStatus::Failed;
        match self.legs.iter().find(refused) {
            Some(leg) => self.in_clients_words(leg.error.clone()),
            None => ErrorBody::new(Code::IndexNotFound, "The creation of the index has been canceled."),
        }
    }

    /// What no node has been sent is not sent any more. A leg in doubt may have been executed, and stays.
    fn strike_off_unsent(&mut self, error: &ErrorBody) {
        for leg in self.legs.iter_mut().filter(|leg| leg.is_undelivered() && leg.doubt.is_none()) {
            leg.fail(error.clone());
        }
        self.forget_replay();
    }
}

/// Whether the node had an index of that name, which it keeps.
fn had_it_before(leg: &NodeTask) -> bool {
    leg.error.as_ref().is_some_and(|error| error.code == Code::IndexAlreadyExists.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::cluster::{IndexUid, Shard, TaskUid};
    use crate::tasks::{Acknowledgement, Doubt, NewTask, NodeTaskReport};

    const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    fn leg(node: &str, step: u8) -> NodeTask {
        NodeTask::planned(NodeId::new(node), step, (0..4).map(Shard).collect())
    }

    /// `a`, `b` and `c` create an index and take documents in it; `a` and `b` have been sent all of it, `c` nothing.
    fn creation() -> Task {
        let legs = ["a", "b", "c"].iter().flat_map(|node| (0..3).map(move |step| leg(node, step))).collect();
        let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, IndexUid::parse("i").ok(), 3, legs)
            .with_details(json!({ "receivedDocuments": 5, "indexedDocuments": null }));
        new.creation = Some(InCreation::Creates);
        new.enqueued_at = T0;
        let mut task = Task::numbered(TaskUid(5), new);
        for node in ["a", "b"] {
            (0..3).for_each(|step| acknowledge(&mut task, node, step));
        }
        task
    }

    fn acknowledge(task: &mut Task, node: &str, step: u8) {
        let acknowledgement = Acknowledgement { uid: 10 + u32::from(step), enqueued_at: Some(T0), shared_by: 1 };
        task.acknowledge(&NodeId::new(node), step, acknowledgement);
    }

    fn end(task: &mut Task, node: &str, step: u8, error: Option<Code>) {
        let status = if error.is_some() { TaskStatus::Failed } else { TaskStatus::Succeeded };
        let report = NodeTaskReport {
            uid: 10 + u32::from(step),
            status,
            error: error.map(|code| ErrorBody::new(code, "no")),
            counts: Counts { indexed_documents: (step == 2).then_some(5), ..Counts::default() },
            enqueued_at: T0,
            started_at: Some(T0),
            finished_at: Some(T0),
        };
        assert!(task.observe(&NodeId::new(node), &report));
    }

    fn deletion() -> RequestHead {
        RequestHead {
            method: "DELETE".to_owned(),
            path_and_query: "/indexes/i".to_owned(),
            kind: TaskKind::IndexDeletion,
        }
    }

    fn undoing(task: &Task) -> Vec<&str> {
        task.legs.iter().filter(|leg| leg.step == 3).map(|leg| leg.node.as_str()).collect()
    }

    #[test]
    fn a_creation_that_no_node_refuses_ends_once_that_is_known() {
        let mut task = creation();
        ["a", "b"].iter().for_each(|node| (0..3).for_each(|step| end(&mut task, node, step, None)));
        assert!(task.let_lag(|node| node.as_str() == "c") && task.has_been_carried_out());
        assert!(!task.is_creation_refused(), "a node that is away gets it by its log");
        assert_eq!(task.status, TaskStatus::Processing);
        assert!(task.end_creation());
        assert_eq!((task.status, task.details.unwrap()["indexedDocuments"].clone()), (TaskStatus::Succeeded, json!(5)));
    }

    #[test]
    fn what_one_node_refuses_is_deleted_where_it_was_made_and_nowhere_else() {
        let mut task = creation();
        (0..3).for_each(|step| end(&mut task, "a", step, None));
        end(&mut task, "b", 0, Some(Code::IndexAlreadyExists));
        (1..3).for_each(|step| end(&mut task, "b", step, None));
        assert!(task.let_lag(|node| node.as_str() == "c") && task.is_creation_refused());
        task.undo_creation(PayloadId(1), deletion());
        assert_eq!(undoing(&task), ["a"], "`b` keeps its own, and `c` has been sent nothing");
        assert_eq!((task.status, task.has_been_carried_out()), (TaskStatus::Processing, false));
        assert_eq!(task.replay.as_ref().map(|replay| &replay.heads[3]), Some(&deletion()));

        acknowledge(&mut task, "a", 3);
        end(&mut task, "a", 3, None);
        assert!(task.has_been_carried_out() && task.end_creation());
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Failed, false));
        assert_eq!(task.error.unwrap().code, Code::IndexAlreadyExists.name());
        assert_eq!(task.details.unwrap()["indexedDocuments"], 0);
    }

    #[test]
    fn a_node_that_may_have_made_it_deletes_it_when_it_is_back() {
        let mut task = creation();
        let unknown = Doubt { after: Some(1) };
        task.doubt(&NodeId::new("c"), 0, unknown);
        (0..3).for_each(|step| end(&mut task, "a", step, None));
        end(&mut task, "b", 0, Some(Code::Internal));
        (1..3).for_each(|step| end(&mut task, "b", step, None));
        assert!(task.let_lag(|node| node.as_str() == "c"));
        task.undo_creation(PayloadId(1), deletion());
        assert_eq!(undoing(&task), ["a", "b", "c"]);
        let of_c = |task: &Task| -> Vec<u8> {
            let left = task.legs.iter().filter(|leg| leg.node.as_str() == "c" && leg.is_undelivered());
            left.map(|leg| leg.step).collect()
        };
        assert_eq!(of_c(&task), [0, 3], "it is asked whether it has made it, and then to delete it");
    }

    #[test]
    fn a_later_write_to_an_index_that_is_undone_fails_and_goes_to_no_further_node() {
        let legs = vec![leg("a", 0), leg("b", 0)];
        let mut new = NewTask::followed(TaskKind::DocumentDeletion, IndexUid::parse("i").ok(), 1, legs);
        new.creation = Some(InCreation::Follows);
        new.enqueued_at = T0;
        let mut task = Task::numbered(TaskUid(6), new);
        acknowledge(&mut task, "a", 0);
        end(&mut task, "a", 0, None);
        assert!(task.is_followed());
        task.undo(ErrorBody::new(Code::IndexAlreadyExists, "no"), T0);
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Failed, false));
    }
}
