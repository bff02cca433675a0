//! What Miroir itself has to do before a task has ended, once the nodes have done their parts in it and in the tasks before it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::new_task::Outcome;
use super::task::Task;
use crate::cluster::{IndexUid, Renaming, RuleChange};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Conclusion {
    /// Indexes get other names, all at once.
    Rename(Vec<Renaming>),
    /// The settings are compared on all nodes before they are committed. `patch` is what of them is recorded.
    Settings { patch: Map<String, Value> },
    /// The dynamic search rules change, on all nodes.
    Rules(RuleChange),
}

impl Task {
    /// What nodes call its index.
    pub fn node_uid(&self) -> Option<&IndexUid> {
        self.other_node_uid.as_ref().or(self.index_uid.as_ref())
    }

    /// The renamings that it has yet to carry out.
    pub fn renamings(&self) -> Option<&[Renaming]> {
        match &self.conclusion {
            Some(Conclusion::Rename(renamings)) => Some(renamings),
            _ => None,
        }
    }

    /// Whether it has anything to do with the index that nodes call `node_uid`.
    pub fn concerns(&self, node_uid: &IndexUid) -> bool {
        let renames = |renamings: &[Renaming]| renamings.iter().any(|renaming| renaming.node_uid == *node_uid);
        self.node_uid() == Some(node_uid) || self.renamings().is_some_and(renames)
    }

    /// Whether the nodes have done their parts, those that lag excepted.
    pub fn has_been_carried_out(&self) -> bool {
        self.legs.iter().all(|leg| leg.lags || leg.status.is_final())
    }

    /// Ends the task, now that Miroir has done its own part; a task some leg of which failed fails all the same.
    pub fn conclude(&mut self, outcome: Outcome, now: OffsetDateTime) {
        if self.conclusion.take().is_none() || self.status.is_final() {
            return;
        }
        if outcome == Outcome::Succeeded && !self.legs.is_empty() {
            self.summarize_legs();
        } else {
            self.settle(outcome);
        }
        let now = now.max(self.enqueued_at);
        self.started_at = Some(self.legs.iter().filter_map(|leg| leg.started_at).min().unwrap_or(now).min(now));
        self.finished_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::cluster::{NodeId, TaskUid};
    use crate::error::ErrorBody;
    use crate::tasks::{Counts, NewTask, NodeTask, NodeTaskReport, TaskKind, TaskStatus};

    const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    fn renaming() -> Conclusion {
        let uid = |name| IndexUid::parse(name).unwrap();
        Conclusion::Rename(vec![Renaming { node_uid: uid("a"), uid: uid("b") }])
    }

    fn task(legs: Vec<NodeTask>) -> Task {
        let mut new = NewTask::concluded(TaskKind::IndexUpdate, IndexUid::parse("a").ok(), renaming());
        (new.legs, new.enqueued_at) = (legs, T0);
        Task::numbered(TaskUid(5), new.with_details(json!({})))
    }

    #[test]
    fn a_task_without_nodes_ends_when_it_is_concluded() {
        let mut task = task(Vec::new());
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Enqueued, true));
        assert!(task.has_been_carried_out());
        task.conclude(Outcome::Succeeded, T0 + time::Duration::MINUTE);
        assert_eq!((task.status, task.is_followed()), (TaskStatus::Succeeded, false));
        assert_eq!(task.finished_at, Some(T0 + time::Duration::MINUTE));
    }

    #[test]
    fn a_task_whose_nodes_are_done_waits_for_its_conclusion_and_fails_as_they_did() {
        for (node_status, end) in
            [(TaskStatus::Succeeded, TaskStatus::Succeeded), (TaskStatus::Failed, TaskStatus::Failed)]
        {
            let node = NodeId::new("n");
            let mut task = task(vec![NodeTask::enqueued(node.clone(), 1, Some(T0))]);
            assert!(!task.has_been_carried_out());
            let report = NodeTaskReport {
                uid: 1,
                status: node_status,
                error: (node_status == TaskStatus::Failed)
                    .then(|| ErrorBody::new(crate::error::Code::Internal, "Index `a`: no")),
                counts: Counts::default(),
                enqueued_at: T0,
                started_at: Some(T0),
                finished_at: Some(T0),
            };
            task.observe(&node, &report);
            assert_eq!((task.status, task.has_been_carried_out()), (TaskStatus::Processing, true));
            task.conclude(Outcome::Succeeded, T0);
            assert_eq!((task.status, task.is_followed()), (end, false));
        }
    }
}
