//! What canceling means for the tasks on both sides of it: the one that cancels, and those that are canceled.
//!
//! Nodes cancel their own tasks, and a node may have finished its part before the word reaches it. So a task is canceled when its
//! nodes say so, leg by leg, and the one that cancels has ended when all that it named have ended, one way or the other.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::kind::TaskStatus;
use super::leg::NodeTask;
use super::task::Task;
use crate::cluster::{ShardSet, TaskUid};
use crate::store::StaleReplica;

/// What a task that cancels others still waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelation {
    /// Tasks named by it that have not ended.
    pub awaited: u32,
    /// Tasks named by it that ended as canceled.
    pub canceled: u32,
}

impl Task {
    /// `by` has asked the nodes to cancel this task. False if it is too late for that, or somebody else has asked already.
    pub fn cancel_by(&mut self, by: TaskUid) -> bool {
        let is_first = !self.status.is_final() && self.canceled_by.is_none();
        if is_first {
            self.canceled_by = Some(by);
        }
        is_first
    }

    /// This task waits for the end of so many more that it has named.
    pub fn await_canceled(&mut self, count: u32) {
        self.cancelation.get_or_insert_default().awaited += count;
    }

    /// One of those that this task has named has ended.
    pub(super) fn one_named_ended(&mut self, is_canceled: bool) -> bool {
        let Some(cancelation) = &mut self.cancelation else { return false };
        cancelation.awaited = cancelation.awaited.saturating_sub(1);
        cancelation.canceled += u32::from(is_canceled);
        self.summarize_legs();
        true
    }

    /// Takes back, once this task has ended, that somebody canceled it if that came too late. Returns who it was, and whether
    /// it was canceled.
    pub(super) fn canceled_in_time(&mut self) -> Option<(TaskUid, bool)> {
        let by = self.canceled_by.filter(|_| self.status.is_final())?;
        let is_canceled = self.status == TaskStatus::Canceled;
        if !is_canceled {
            self.canceled_by = None;
        }
        Some((by, is_canceled))
    }

    /// A request that was canceled by every node that got it goes to no further node. One in doubt may have been executed: it
    /// is looked for, and given to the node if it is not there.
    pub(super) fn strike_off_undelivered(&mut self, now: OffsetDateTime) {
        let is_pending = |leg: &NodeTask| leg.is_undelivered() && leg.doubt.is_none();
        let steps: Vec<u8> = self.legs.iter().filter(|leg| is_pending(leg)).map(|leg| leg.step).collect();
        for step in steps {
            let mut others = self.legs.iter().filter(|leg| leg.step == step && !is_pending(leg)).peekable();
            if others.peek().is_none() || !others.all(|leg| leg.status == TaskStatus::Canceled) {
                continue;
            }
            for leg in self.legs.iter_mut().filter(|leg| leg.step == step && is_pending(leg)) {
                leg.status = TaskStatus::Canceled;
                leg.finished_at = Some(now);
            }
        }
        self.forget_replay();
    }

    /// Whether what `leg` would have done has been done by other replicas of all its shards.
    pub(super) fn is_made_good(&self, leg: &NodeTask) -> bool {
        !leg.shards.is_empty() && leg.shards.is_subset_of(&self.done_elsewhere(leg))
    }

    /// Replicas that canceled what another replica of the same shard had carried out: they must not be read any more.
    pub fn unequal_replicas(&self) -> Vec<StaleReplica> {
        let Some(index_uid) = self.node_uid() else { return Vec::new() };
        let canceled = self.legs.iter().filter(|leg| leg.status == TaskStatus::Canceled);
        let unequal = canceled.filter_map(|leg| {
            let done = self.done_elsewhere(leg);
            let shards: ShardSet = leg.shards.iter().filter(|&shard| done.contains(shard)).collect();
            let stale = StaleReplica { node: leg.node.clone(), index_uid: index_uid.clone(), shards };
            (!stale.shards.is_empty()).then_some(stale)
        });
        unequal.collect()
    }

    /// Shards in which other nodes have carried out the same request.
    fn done_elsewhere(&self, leg: &NodeTask) -> ShardSet {
        let mut done = ShardSet::default();
        let others = self.legs.iter().filter(|other| other.step == leg.step && other.node != leg.node);
        others.filter(|other| other.status == TaskStatus::Succeeded).for_each(|other| done.extend(&other.shards));
        done
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::cluster::{IndexUid, NodeId, Shard};
    use crate::tasks::{Acknowledgement, Counts, NewTask, NodeTaskReport, TaskKind};

    const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    /// Shard 0 on `a` and `b`, shard 1 on `b` and `c`, of which `acknowledged` have their parts, numbered as they stand.
    fn replicated(acknowledged: &[&str]) -> Task {
        let leg = |(node, shards): (&str, &[u32])| {
            NodeTask::planned(NodeId::new(node), 0, shards.iter().copied().map(Shard).collect())
        };
        let legs = [("a", &[0][..]), ("b", &[0, 1]), ("c", &[1])].map(leg).into();
        let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, IndexUid::parse("i").ok(), 2, legs)
            .with_details(json!({ "receivedDocuments": 10, "indexedDocuments": null }));
        new.enqueued_at = T0;
        let mut task = Task::numbered(TaskUid(5), new);
        for (uid, node) in acknowledged.iter().enumerate() {
            let acknowledgement = Acknowledgement { uid: uid as u32, enqueued_at: Some(T0), shared_by: 1 };
            task.acknowledge(&NodeId::new(node), 0, acknowledgement);
        }
        task
    }

    fn observe(task: &mut Task, node: &str, uid: u32, status: TaskStatus) {
        let indexed_documents = (status == TaskStatus::Succeeded).then_some(5);
        let report = NodeTaskReport {
            uid,
            status,
            error: None,
            counts: Counts { indexed_documents, ..Counts::default() },
            enqueued_at: T0,
            started_at: None,
            finished_at: Some(T0),
        };
        assert!(task.observe(&NodeId::new(node), &report));
    }

    #[test]
    fn what_all_nodes_that_had_it_canceled_goes_to_no_further_node() {
        let mut task = replicated(&["a", "c"]);
        assert!(task.cancel_by(TaskUid(9)) && !task.cancel_by(TaskUid(10)));
        observe(&mut task, "a", 0, TaskStatus::Canceled);
        assert_eq!(task.legs[1].status, TaskStatus::Enqueued, "c may still carry it out");
        observe(&mut task, "c", 1, TaskStatus::Canceled);
        assert_eq!(
            (task.legs[1].status, task.status, task.is_followed()),
            (TaskStatus::Canceled, TaskStatus::Canceled, false)
        );
        assert_eq!(task.canceled_in_time(), Some((TaskUid(9), true)));
        assert_eq!(task.unequal_replicas(), []);
        assert_eq!(task.details.unwrap()["indexedDocuments"], 0);
    }

    #[test]
    fn a_request_in_doubt_is_not_struck_off() {
        let mut task = replicated(&["a", "c"]);
        task.doubt(&NodeId::new("b"), 0, crate::tasks::Doubt::default());
        observe(&mut task, "a", 0, TaskStatus::Canceled);
        observe(&mut task, "c", 1, TaskStatus::Canceled);
        assert!(task.legs[1].is_undelivered() && task.is_followed());
    }

    #[test]
    fn a_replica_that_canceled_what_another_did_is_unequal() {
        let mut task = replicated(&["a", "b", "c"]);
        task.cancel_by(TaskUid(9));
        observe(&mut task, "a", 0, TaskStatus::Succeeded);
        observe(&mut task, "b", 1, TaskStatus::Canceled);
        let stale = |shards: &[u32]| StaleReplica {
            node: NodeId::new("b"),
            index_uid: IndexUid::parse("i").unwrap(),
            shards: shards.iter().copied().map(Shard).collect(),
        };
        assert_eq!(task.unequal_replicas(), [stale(&[0])]);
        observe(&mut task, "c", 2, TaskStatus::Succeeded);
        assert_eq!(task.unequal_replicas(), [stale(&[0, 1])]);
        // Every shard has a replica with the documents, and no other is read.
        assert_eq!((task.status, task.canceled_in_time()), (TaskStatus::Succeeded, Some((TaskUid(9), false))));
        assert_eq!(task.canceled_by, None);
        assert_eq!(task.details.unwrap()["indexedDocuments"], 10);
    }

    #[test]
    fn a_task_whose_shards_are_partly_done_is_canceled() {
        let mut task = replicated(&["a", "b", "c"]);
        observe(&mut task, "a", 0, TaskStatus::Succeeded);
        observe(&mut task, "b", 1, TaskStatus::Canceled);
        observe(&mut task, "c", 2, TaskStatus::Canceled);
        assert_eq!(task.status, TaskStatus::Canceled);
    }

    #[test]
    fn a_cancelation_ends_with_the_last_that_it_named() {
        let leg = NodeTask::enqueued(NodeId::new("a"), 7, Some(T0));
        let mut new = NewTask::followed(TaskKind::TaskCancelation, None, 1, vec![leg])
            .with_details(json!({ "matchedTasks": 3, "canceledTasks": null, "originalFilter": "?uids=1" }));
        new.enqueued_at = T0;
        let mut task = Task::numbered(TaskUid(9), new);
        task.await_canceled(2);
        observe(&mut task, "a", 7, TaskStatus::Succeeded);
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Processing, true));
        assert!(task.one_named_ended(true) && task.one_named_ended(false));
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Succeeded, false));
        assert_eq!(task.details.unwrap()["canceledTasks"], 1);
    }
}
