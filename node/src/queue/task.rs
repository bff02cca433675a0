//! What a task is: one accepted write, from its enqueue to its end.

use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

use super::task_set::TaskSet;
use crate::settings;

/// Tasks are numbered from 0, without gaps, in the order in which they were accepted.
pub type TaskUid = u32;

/// Batches, which are the tasks that one indexing run took together, are numbered from 0.
pub type BatchUid = u32;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Enqueued,
    Processing,
    Succeeded,
    Failed,
    Canceled,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Enqueued, Self::Processing, Self::Succeeded, Self::Failed, Self::Canceled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }
}

/// What documents that are already there become when one with the same id arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// The new document takes the old one's place.
    Replace,
    /// The new document's fields are merged into the old one.
    Update,
}

/// Where the documents of an addition are kept until it has been run, as NDJSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Payload {
    /// In the task's own record.
    Inline,
    /// In a file of that name in the payload directory.
    File(String),
}

/// Two indexes that change places; or, with `rename`, one that takes a new name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub indexes: [String; 2],
    pub rename: bool,
}

/// What a task has to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    DocumentAddition {
        method: Method,
        primary_key: Option<String>,
        payload: Payload,
        payload_bytes: u64,
        documents: u64,
        /// Documents that are not there yet are left out instead of being created. The index is created all the same.
        #[serde(default)]
        skip_creation: bool,
    },
    DocumentDeletion {
        ids: Vec<String>,
    },
    DocumentDeletionByFilter {
        filter: Value,
    },
    DocumentClear,
    IndexCreation {
        primary_key: Option<String>,
    },
    IndexUpdate {
        primary_key: Option<String>,
        new_uid: Option<String>,
    },
    IndexDeletion,
    SettingsUpdate {
        /// Only what changes; `null` means back to the default.
        settings: Map<String, Value>,
        /// Resetting the settings of an index that does not exist does not create it.
        creates_index: bool,
    },
    IndexSwap {
        swaps: Vec<Swap>,
    },
    TaskCancelation {
        /// The query string that chose the tasks, with its `?`.
        query: String,
        tasks: TaskSet,
    },
    TaskDeletion {
        /// The query string that chose the tasks, with its `?`.
        query: String,
        tasks: TaskSet,
    },
}

/// Every `type` that Meilisearch's task list can be filtered by. Those that this node never enqueues match no task.
pub const KINDS: [&str; 18] = [
    "documentAdditionOrUpdate",
    "documentEdition",
    "documentDeletion",
    "settingsUpdate",
    "indexCreation",
    "indexDeletion",
    "indexUpdate",
    "indexSwap",
    "taskCancelation",
    "taskDeletion",
    "dumpCreation",
    "snapshotCreation",
    "export",
    "upgradeDatabase",
    "indexCompaction",
    "networkTopologyChange",
    "dsrUpdate",
    "dsrClear",
];

impl Operation {
    /// The `type` of the task.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DocumentAddition { .. } => "documentAdditionOrUpdate",
            Self::DocumentDeletion { .. } | Self::DocumentDeletionByFilter { .. } | Self::DocumentClear => {
                "documentDeletion"
            }
            Self::IndexCreation { .. } => "indexCreation",
            Self::IndexUpdate { .. } => "indexUpdate",
            Self::IndexDeletion => "indexDeletion",
            Self::SettingsUpdate { .. } => "settingsUpdate",
            Self::IndexSwap { .. } => "indexSwap",
            Self::TaskCancelation { .. } => "taskCancelation",
            Self::TaskDeletion { .. } => "taskDeletion",
        }
    }

    /// The task's `details`. `changed` is the number of documents that the task indexed or deleted, or of tasks that it
    /// canceled or deleted, known once it has ended.
    pub fn details(&self, index_uid: Option<&str>, changed: Option<u64>) -> Value {
        match self {
            Self::DocumentAddition { documents: received, .. } => {
                json!({ "receivedDocuments": received, "indexedDocuments": changed })
            }
            Self::DocumentDeletion { ids } => json!({
                "providedIds": ids.len(), "deletedDocuments": changed, "originalFilter": null,
            }),
            Self::DocumentDeletionByFilter { filter } => json!({
                "providedIds": 0, "deletedDocuments": changed, "originalFilter": filter.to_string(),
            }),
            Self::DocumentClear | Self::IndexDeletion => json!({ "deletedDocuments": changed }),
            Self::IndexCreation { primary_key } => json!({ "primaryKey": primary_key }),
            Self::IndexUpdate { primary_key, new_uid: None } => json!({ "primaryKey": primary_key }),
            Self::IndexUpdate { primary_key, new_uid: Some(new_uid) } => json!({
                "primaryKey": primary_key, "oldIndexUid": index_uid, "newIndexUid": new_uid,
            }),
            Self::SettingsUpdate { settings, .. } => Value::Object(settings::without_secrets(settings.clone())),
            Self::IndexSwap { swaps } => json!({ "swaps": swaps }),
            Self::TaskCancelation { query, tasks } => json!({
                "matchedTasks": tasks.len(), "canceledTasks": changed, "originalFilter": query,
            }),
            Self::TaskDeletion { query, tasks } => json!({
                "matchedTasks": tasks.len(), "deletedTasks": changed, "originalFilter": query,
            }),
        }
    }
}

/// A task as it is kept.
#[derive(Debug, Clone)]
pub struct Task {
    pub uid: TaskUid,
    pub batch_uid: Option<BatchUid>,
    pub index_uid: Option<String>,
    pub status: Status,
    pub operation: Operation,
    pub details: Value,
    pub error: Option<Value>,
    /// The task that canceled this one.
    pub canceled_by: Option<TaskUid>,
    pub custom_metadata: Option<String>,
    pub enqueued_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
}

impl Task {
    /// The task as `GET /tasks/{uid}` shows it.
    pub fn view(&self) -> Value {
        let mut view = json!({
            "uid": self.uid,
            "batchUid": self.batch_uid,
            "indexUid": self.index_uid,
            "status": self.status.name(),
            "type": self.operation.kind(),
            "canceledBy": self.canceled_by,
            "details": self.details,
            "error": self.error,
            "duration": duration(self.started_at, self.finished_at),
            "enqueuedAt": rfc_3339(self.enqueued_at),
            "startedAt": self.started_at.map(rfc_3339),
            "finishedAt": self.finished_at.map(rfc_3339),
        });
        if let Some(metadata) = &self.custom_metadata {
            view["customMetadata"] = json!(metadata);
        }
        view
    }

    /// The task as the answer to its enqueue shows it.
    pub fn summary(&self) -> Value {
        let mut summary = json!({
            "taskUid": self.uid,
            "indexUid": self.index_uid,
            "status": self.status.name(),
            "type": self.operation.kind(),
            "enqueuedAt": rfc_3339(self.enqueued_at),
        });
        if let Some(metadata) = &self.custom_metadata {
            summary["customMetadata"] = json!(metadata);
        }
        summary
    }
}

/// A date as Meilisearch prints it. Years beyond 9999, which no clock shows, would be `null`.
pub fn rfc_3339(date: OffsetDateTime) -> Option<String> {
    date.format(&Rfc3339).ok()
}

/// The time between the start and the end of something that has ended, as Meilisearch prints it.
pub fn duration(started_at: Option<OffsetDateTime>, finished_at: Option<OffsetDateTime>) -> Option<String> {
    iso_8601(finished_at? - started_at?)
}

/// A duration as Meilisearch prints it: `PT0.012345S`, with three, six or nine decimals, and `null` for one that the
/// clock made negative.
fn iso_8601(duration: time::Duration) -> Option<String> {
    if duration.is_negative() {
        return None;
    }
    let days = duration.whole_days();
    let seconds = duration.whole_seconds() - days * time::Duration::DAY.whole_seconds();
    let nanos = duration.subsec_nanoseconds();
    let mut text = String::from("P");
    if days != 0 {
        text.push_str(&format!("{days}D"));
    }
    if seconds != 0 || nanos != 0 || days == 0 {
        let fraction = match nanos {
            0 => String::new(),
            nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
            nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
            nanos => format!(".{nanos:09}"),
        };
        text.push_str(&format!("T{seconds}{fraction}S"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_as_many_decimals_as_they_need() {
        assert_eq!(iso_8601(time::Duration::ZERO).as_deref(), Some("PT0S"));
        assert_eq!(iso_8601(time::Duration::milliseconds(12)).as_deref(), Some("PT0.012S"));
        assert_eq!(iso_8601(time::Duration::microseconds(12_345)).as_deref(), Some("PT0.012345S"));
        assert_eq!(iso_8601(time::Duration::nanoseconds(1_000_000_001)).as_deref(), Some("PT1.000000001S"));
        assert_eq!(iso_8601(time::Duration::days(2)).as_deref(), Some("P2D"));
        assert_eq!(iso_8601(time::Duration::seconds(-1)), None);
    }
}
