//! Batches as clients see them. Nodes batch as they like; to clients each task is a batch of its own, with the same number.

use serde::Serialize;
use serde_json::{json, Map, Value};
use time::{Duration, OffsetDateTime};

use super::kind::TaskStatus;
use super::query::{TaskFilter, TaskQuery};
use super::task::Task;
use super::view::{iso_8601, TaskPage};

/// A batch in `GET /batches` and `GET /batches/{uid}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    uid: u32,
    /// Never known: the nodes' own progress is of other batches.
    progress: Option<Value>,
    details: Map<String, Value>,
    stats: Value,
    #[serde(serialize_with = "iso_8601")]
    duration: Option<Duration>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    batch_strategy: String,
}

impl Task {
    /// The task's batch; `None` while it is enqueued, when there is none yet.
    pub fn batch_view(&self) -> Option<BatchView> {
        let uid = self.batch_uid()?;
        let known = self.details.iter().flatten().filter(|(_, value)| !value.is_null());
        let index_uids: Map<String, Value> =
            self.shown_index().into_iter().map(|uid| (uid.to_owned(), json!(1))).collect();
        // A task that was canceled in the queue has no start; its batch began with its end.
        let started_at = self.started_at.or(self.finished_at).unwrap_or(self.enqueued_at);
        Some(BatchView {
            uid,
            progress: None,
            details: known.map(|(name, value)| (name.clone(), value.clone())).collect(),
            stats: json!({
                "totalNbTasks": 1,
                "status": { self.status.name(): 1 },
                "types": { self.kind.name(): 1 },
                "indexUids": index_uids,
            }),
            duration: self.finished_at.map(|finished_at| finished_at - started_at),
            started_at,
            finished_at: self.finished_at,
            batch_strategy: format!(
                "created batch containing only task with id {uid} of type `{}` that cannot be batched with any other task.",
                self.kind
            ),
        })
    }
}

impl TaskQuery {
    /// The tasks that have batches among those that `GET /batches` asks for.
    #[must_use]
    pub fn of_batches(self) -> Self {
        let filter = TaskFilter::with_statuses(self.filter, |status| status != TaskStatus::Enqueued);
        Self { filter, ..self }
    }
}

impl TaskPage {
    /// The body of `GET /batches` that was asked with `limit`.
    pub fn batches(&self, limit: u32) -> Value {
        let results: Vec<BatchView> = self.tasks.iter().filter_map(Task::batch_view).collect();
        let from = results.first().map(|batch| batch.uid);
        json!({ "results": results, "total": self.total, "limit": limit, "from": from, "next": self.next })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::cluster::{IndexUid, TaskUid};
    use crate::tasks::{NewTask, Outcome, TaskKind};

    #[test]
    fn a_batch_prints_as_meilisearch_prints_it() {
        let uid = IndexUid::parse("movies").ok();
        let mut new = NewTask::settled(TaskKind::DocumentDeletion, uid, Outcome::Succeeded)
            .with_details(json!({ "providedIds": 2, "originalFilter": null, "deletedDocuments": 1 }));
        new.enqueued_at = datetime!(2025-01-01 00:00 UTC);
        let batch = Task::numbered(TaskUid(4), new).batch_view();
        assert_eq!(
            serde_json::to_value(&batch).unwrap(),
            json!({
                "uid": 4,
                "progress": null,
                "details": { "providedIds": 2, "deletedDocuments": 1 },
                "stats": {
                    "totalNbTasks": 1,
                    "status": { "succeeded": 1 },
                    "types": { "documentDeletion": 1 },
                    "indexUids": { "movies": 1 }
                },
                "duration": "PT0S",
                "startedAt": "2025-01-01T00:00:00Z",
                "finishedAt": "2025-01-01T00:00:00Z",
                "batchStrategy": "created batch containing only task with id 4 of type `documentDeletion` that cannot be batched \
                                  with any other task."
            })
        );
    }

    #[test]
    fn an_enqueued_task_has_no_batch() {
        let statuses = |query: &str| TaskQuery::parse(query).unwrap().of_batches().filter.statuses.unwrap();
        assert!(!statuses("").contains(&TaskStatus::Enqueued));
        assert_eq!(statuses("statuses=enqueued,failed"), [TaskStatus::Failed]);
    }
}
