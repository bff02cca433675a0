//! Tasks as clients see them: Meilisearch's shapes, member for member.

use serde::{Serialize, Serializer};
use serde_json::{json, Map, Value};
use time::{Duration, OffsetDateTime};

use super::kind::{TaskKind, TaskStatus};
use super::task::Task;
use crate::error::ErrorBody;

/// A task in `GET /tasks` and `GET /tasks/{uid}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView<'a> {
    uid: u32,
    batch_uid: Option<u32>,
    index_uid: Option<&'a str>,
    status: TaskStatus,
    #[serde(rename = "type")]
    kind: TaskKind,
    canceled_by: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Map<String, Value>>,
    error: Option<&'a ErrorBody>,
    #[serde(serialize_with = "iso_8601")]
    duration: Option<Duration>,
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metadata: Option<&'a str>,
}

/// The answer to a write: the task that it became.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary<'a> {
    task_uid: u32,
    index_uid: Option<&'a str>,
    status: TaskStatus,
    #[serde(rename = "type")]
    kind: TaskKind,
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_metadata: Option<&'a str>,
}

impl Task {
    /// The index by the name that clients are told.
    pub(super) fn shown_index(&self) -> Option<&str> {
        self.index_uid.as_ref().map(|uid| uid.as_str()).or(self.kind.hidden_index())
    }

    pub fn view(&self) -> TaskView<'_> {
        TaskView {
            uid: self.uid.0,
            batch_uid: self.batch_uid(),
            index_uid: self.shown_index(),
            status: self.status,
            kind: self.kind,
            // Until then it may still turn out that it came too late.
            canceled_by: self.canceled_by.filter(|_| self.status == TaskStatus::Canceled).map(|uid| uid.0),
            details: self.details.as_ref(),
            error: self.error.as_ref(),
            duration: self.duration(),
            enqueued_at: self.enqueued_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            custom_metadata: self.custom_metadata.as_deref(),
        }
    }

    /// What the client gets with its 202. A task is enqueued at that moment, even one whose outcome is known already.
    pub fn summary(&self) -> TaskSummary<'_> {
        TaskSummary {
            task_uid: self.uid.0,
            index_uid: self.shown_index(),
            status: TaskStatus::Enqueued,
            kind: self.kind,
            enqueued_at: self.enqueued_at,
            custom_metadata: self.custom_metadata.as_deref(),
        }
    }

    /// For operators: what became of the task on each node.
    pub fn breakdown(&self) -> Value {
        json!({ "uid": self.uid, "status": self.status, "copies": self.copies, "nodes": self.legs })
    }
}

/// A page of tasks, as the store finds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    pub tasks: Vec<Task>,
    /// Tasks that match the filters, on any page.
    pub total: u64,
    /// First task of the next page.
    pub next: Option<u32>,
}

#[derive(Serialize)]
struct TaskPageView<'a> {
    results: Vec<TaskView<'a>>,
    total: u64,
    limit: u32,
    from: Option<u32>,
    next: Option<u32>,
}

impl TaskPage {
    /// The body of `GET /tasks` that was asked with `limit`.
    pub fn to_json(&self, limit: u32) -> Vec<u8> {
        let results: Vec<_> = self.tasks.iter().map(Task::view).collect();
        let from = self.tasks.first().map(|task| task.uid.0);
        let page = TaskPageView { results, total: self.total, limit, from, next: self.next };
        serde_json::to_vec(&page).expect("times of this era, strings and numbers always serialize")
    }
}

/// Meilisearch's form of a duration: days and seconds, with three, six or nine decimals as needed.
pub(super) fn iso_8601<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) if !duration.is_negative() => serializer.serialize_str(&iso_8601_text(*duration)),
        _ => serializer.serialize_none(),
    }
}

fn iso_8601_text(duration: Duration) -> String {
    let (days, seconds) = (duration.whole_days(), duration.whole_seconds() % Duration::DAY.whole_seconds());
    let nanos = duration.subsec_nanoseconds();
    let mut text = String::from("P");
    if days > 0 {
        text.push_str(&format!("{days}D"));
    }
    if days > 0 && seconds == 0 && nanos == 0 {
        return text;
    }
    let decimals = match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    text.push_str(&format!("T{seconds}{decimals}S"));
    text
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::cluster::{IndexUid, NodeId, TaskUid};
    use crate::tasks::{NewTask, NodeTask, NodeTaskReport};

    #[test]
    fn a_task_prints_as_meilisearch_prints_it() {
        let leg = NodeTask::enqueued(NodeId::new("n1"), 4, None);
        let mut new =
            NewTask::followed(TaskKind::DocumentAdditionOrUpdate, IndexUid::parse("movies").ok(), 1, vec![leg])
                .with_details(json!({"receivedDocuments": 2, "indexedDocuments": null}));
        new.enqueued_at = datetime!(2025-01-01 00:00:00.123456789 UTC);
        let mut task = Task::numbered(TaskUid(3), new);
        assert_eq!(
            serde_json::to_string(&task.summary()).unwrap(),
            r#"{"taskUid":3,"indexUid":"movies","status":"enqueued","type":"documentAdditionOrUpdate","enqueuedAt":"2025-01-01T00:00:00.123456789Z"}"#
        );
        let done = NodeTaskReport::from_json(
            br#"{"results":[{"uid":4,"status":"succeeded","details":{"indexedDocuments":2},
                "enqueuedAt":"2025-01-01T00:00:00Z","startedAt":"2025-01-01T00:00:01Z",
                "finishedAt":"2025-01-01T00:00:01.5Z"}]}"#,
        )
        .unwrap();
        task.observe(&NodeId::new("n1"), &done[0]);
        assert_eq!(
            serde_json::to_string(&task.view()).unwrap(),
            concat!(
                r#"{"uid":3,"batchUid":3,"indexUid":"movies","status":"succeeded","type":"documentAdditionOrUpdate","#,
                r#""canceledBy":null,"details":{"receivedDocuments":2,"indexedDocuments":2},"error":null,"#,
                r#""duration":"PT0.500S","enqueuedAt":"2025-01-01T00:00:00.123456789Z","#,
                r#""startedAt":"2025-01-01T00:00:01Z","finishedAt":"2025-01-01T00:00:01.5Z"}"#
            )
        );
        assert_eq!(task.breakdown()["nodes"][0]["node"], "n1");

        let page = TaskPage { tasks: vec![task], total: 9, next: Some(2) };
        let body: Value = serde_json::from_slice(&page.to_json(1)).unwrap();
        assert_eq!(
            (&body["total"], &body["limit"], &body["from"], &body["next"]),
            (&json!(9), &json!(1), &json!(3), &json!(2))
        );
    }

    #[test]
    fn durations_are_iso_8601() {
        for (duration, text) in [
            (Duration::ZERO, "PT0S"),
            (Duration::milliseconds(123), "PT0.123S"),
            (Duration::microseconds(9_330), "PT0.009330S"),
            (Duration::nanoseconds(1), "PT0.000000001S"),
            (Duration::DAY, "P1D"),
            (Duration::DAY + Duration::SECOND, "P1DT1S"),
        ] {
            assert_eq!(iso_8601_text(duration), text);
        }
    }
}
