//! What a node says about one of its tasks.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::kind::TaskStatus;
use crate::error::{ApiError, Code, ErrorBody};

/// Numbers in a task's `details` that add up over nodes. `None`: the node has not said (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexed_documents: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_documents: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_documents: Option<u64>,
}

impl Counts {
    /// What a write has to itself of `report`'s task, which it shares with others: all of them add or update one document.
    pub(super) fn of_one_document(report: &NodeTaskReport) -> Self {
        let own = report.counts.indexed_documents.map(|_| u64::from(report.status == TaskStatus::Succeeded));
        Self { indexed_documents: own, ..Self::default() }
    }
}

/// One entry of a node's task list, reduced to what Miroir follows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTaskReport {
    pub uid: u32,
    pub status: TaskStatus,
    #[serde(default)]
    pub error: Option<ErrorBody>,
    #[serde(default, rename = "details", deserialize_with = "counts_or_none")]
    pub counts: Counts,
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// `details` is `null` for some kinds of task.
fn counts_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Counts, D::Error> {
    Ok(Option::<Counts>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct NodeTaskList {
    results: Vec<NodeTaskReport>,
    #[serde(default)]
    next: Option<u32>,
}

impl NodeTaskReport {
    /// Reads a node's answer to `GET /tasks?uids=...&limit=...`.
    ///
    /// A list with a further page is an error: whoever asked must be able to conclude from a missing uid that the node
    /// does not know it, so `limit` has to cover all uids.
    pub fn from_json(body: &[u8]) -> Result<Vec<Self>, ApiError> {
        let list: NodeTaskList = serde_json::from_slice(body)
            .map_err(|error| ApiError::new(Code::Internal, format!("A node's task list is not readable: {error}.")))?;
        if list.next.is_some() {
            return Err(ApiError::new(Code::Internal, "A node's task list is cut short; ask with a larger `limit`."));
        }
        let shown = |report: Self| Self { error: report.error.map(ErrorBody::of_node), ..report };
        Ok(list.results.into_iter().map(shown).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_task_list_is_read() {
        let body = br#"{"results":[
            {"uid":7,"batchUid":3,"indexUid":"movies","status":"failed","type":"documentAdditionOrUpdate",
             "canceledBy":null,"details":{"receivedDocuments":4,"indexedDocuments":0},
             "error":{"message":"no","code":"missing_document_id","type":"invalid_request","link":"l"},
             "duration":"PT0.1S","enqueuedAt":"2025-01-01T00:00:00.123456789Z",
             "startedAt":"2025-01-01T00:00:01Z","finishedAt":"2025-01-01T00:00:02Z"},
            {"uid":6,"batchUid":null,"indexUid":"movies","status":"enqueued","type":"snapshotCreation","canceledBy":null,
             "details":null,"error":null,"duration":null,"enqueuedAt":"2025-01-01T00:00:00Z","startedAt":null,
             "finishedAt":null}],"total":2,"limit":20,"from":7,"next":null}"#;
        let reports = NodeTaskReport::from_json(body).unwrap();
        assert_eq!(reports.len(), 2);
        assert_eq!((reports[0].uid, reports[0].status), (7, TaskStatus::Failed));
        assert_eq!(reports[0].counts.indexed_documents, Some(0));
        assert_eq!(reports[0].error.as_ref().unwrap().code, "missing_document_id");
        assert_eq!((reports[1].counts, reports[1].started_at), (Counts::default(), None));
    }

    #[test]
    fn a_list_that_is_cut_short_or_garbled_is_refused() {
        assert!(NodeTaskReport::from_json(br#"{"results":[],"next":4}"#).is_err());
        assert!(NodeTaskReport::from_json(b"<html>").is_err());
    }
}
