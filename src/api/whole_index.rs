//! Writes that concern a whole index, and so go to every node: creation, deletion, settings, delete all, delete by filter.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};
use time::OffsetDateTime;

use super::query_string::percent_encode;
use super::{whole_body, Answer, Body};
use crate::app::App;
use crate::cluster::{Index, IndexUid, NodeIndex, Snapshot};
use crate::error::{ApiError, Code};
use crate::merge::MAX_VALUES_PER_FACET_DEFAULT;
use crate::reserved::SHARD_FIELD;
use crate::scatter::{NodeRequest, Refusal, WriteLeg};
use crate::store::IndexRecord;
use crate::tasks::{NewTask, NodeTask, Outcome, TaskKind};

/// The nodes' tasks as the registry follows them.
pub fn node_tasks(snapshot: &Snapshot, legs: Vec<WriteLeg>) -> Vec<NodeTask> {
    let task = |leg: WriteLeg| {
        NodeTask::enqueued(snapshot.topology.node(leg.node).id.clone(), leg.task_uid, Some(leg.enqueued_at))
    };
    legs.into_iter().map(task).collect()
}

/// Registers a task and answers with its summary.
pub async fn accepted(app: &App, task: NewTask) -> Result<Answer, ApiError> {
    app.metrics.tasks.with_label_values(&[task.kind.name()]).inc();
    let task = app.tasks.register(task).await?;
    Ok(Answer::json(202, &task.summary()))
}

/// A write to an index that does not exist: Meilisearch takes it and fails its task.
pub async fn index_missing(app: &App, uid: &IndexUid, kind: TaskKind, details: Value) -> Result<Answer, ApiError> {
    let error = ApiError::index_not_found(uid.as_str()).body;
    let task = NewTask::settled(kind, Some(uid.clone()), Outcome::Failed(error));
    accepted(app, task.with_details(details)).await
}

/// `details` of a task that deletes documents; `deleted` is null until the nodes have counted.
pub fn deletion_details(provided_ids: usize, filter: Option<&str>, deleted: Option<u64>) -> Value {
    json!({ "providedIds": provided_ids, "originalFilter": filter, "deletedDocuments": deleted })
}

/// Sends every node the same request.
pub async fn broadcast(app: &App, snapshot: &Snapshot, request: &NodeRequest) -> Result<Vec<WriteLeg>, Refusal> {
    let nodes: Vec<NodeIndex> = snapshot.topology.node_indexes().collect();
    if let Err(error) = app.scatter.all_take_writes(snapshot, &nodes) {
        return Err(Refusal { error, taken: Vec::new() });
    }
    app.scatter.write(snapshot, nodes.into_iter().map(|node| (node, request.clone())).collect()).await
}

/// A broadcast whose outcome is followed as one task.
async fn broadcast_task(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    request: &NodeRequest,
    kind: TaskKind,
    details: Value,
) -> Result<Answer, ApiError> {
    let legs = broadcast(app, snapshot, request).await.map_err(|refusal| refusal.error)?;
    let legs = node_tasks(snapshot, legs);
    let task = NewTask::followed(kind, Some(index.uid.clone()), snapshot.topology.copies(), legs);
    accepted(app, task.with_details(details)).await
}

/// `/indexes/{uid}` with an optional rest, as nodes know it.
pub fn index_path(uid: &IndexUid, rest: &str) -> String {
    format!("/indexes/{}{rest}", percent_encode(uid.as_str()))
}

/// Settings that Miroir adds to every index on the nodes.
fn own_settings() -> Bytes {
    let settings = json!({
        "filterableAttributes": [SHARD_FIELD],
        "faceting": { "maxValuesPerFacet": MAX_VALUES_PER_FACET_DEFAULT }
    });
    Bytes::from(settings.to_string())
}

/// Creates an index on every node and then for requests. The caller holds `index_changes` and has seen that it is missing.
///
/// With `primary_key`, the index is created explicitly; without, by its settings, which nodes take as creation too.
/// Returns the nodes' tasks. All nodes or none: what was created before a refusal is deleted again.
pub async fn create_index(
    app: &App,
    uid: &IndexUid,
    primary_key: Option<&str>,
    explicitly: Explicitly,
) -> Result<(Arc<Index>, Vec<NodeTask>), ApiError> {
    let snapshot = app.cluster.snapshot();
    let mut legs = Vec::new();
    if explicitly == Explicitly::Yes {
        let body = json!({ "uid": uid.as_str(), "primaryKey": primary_key });
        let request = NodeRequest::json(Method::POST, "/indexes", Bytes::from(body.to_string()));
        legs.extend(create_or_undo(app, &snapshot, uid, &request).await?);
    }
    let request = NodeRequest::json(Method::PATCH, index_path(uid, "/settings"), own_settings());
    legs.extend(create_or_undo(app, &snapshot, uid, &request).await?);

    let now = OffsetDateTime::now_utc();
    let record = IndexRecord {
        uid: uid.clone(),
        primary_key: primary_key.map(str::to_owned),
        shard_count: app.config.shards,
        created_at: now,
        updated_at: now,
        settings: Value::Object(Map::new()),
    };
    let index = app.put_index(record).await?;
    Ok((index, node_tasks(&snapshot, legs)))
}

/// Whether a client asked for an index by itself, or it comes into being with its first documents or settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explicitly {
    Yes,
    No,
}

async fn create_or_undo(
    app: &App,
    snapshot: &Snapshot,
    uid: &IndexUid,
    request: &NodeRequest,
) -> Result<Vec<WriteLeg>, ApiError> {
    match broadcast(app, snapshot, request).await {
        Ok(legs) => Ok(legs),
        Err(refusal) => {
            let undo = |leg: &WriteLeg| (leg.node, NodeRequest::delete(index_path(uid, "")));
            if let Err(failed) = app.scatter.write(snapshot, refusal.taken.iter().map(undo).collect()).await {
                log::error!(
                    "index {uid} was refused by some nodes and could not be taken back from the others: {}",
                    failed.error
                );
            }
            Err(refusal.error)
        }
    }
}

/// The index that a write is for, created if it is missing, with the nodes' tasks of its creation.
pub async fn ensure_index(app: &App, uid: &IndexUid) -> Result<(Arc<Index>, Vec<NodeTask>), ApiError> {
    if let Ok((_, index)) = app.index(uid) {
        return Ok((index, Vec::new()));
    }
    let _changing = app.index_changes.lock().await;
    match app.index(uid) {
        Ok((_, index)) => Ok((index, Vec::new())),
        Err(_) => create_index(app, uid, None, Explicitly::No).await,
    }
}

pub async fn delete_all(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    // Meilisearch names neither ids nor a filter here.
    let details = |deleted: Option<u64>| json!({ "deletedDocuments": deleted });
    let Ok((snapshot, index)) = app.index(uid) else {
        return index_missing(app, uid, TaskKind::DocumentDeletion, details(Some(0))).await;
    };
    let _order = index.write_order.lock().await;
    let request = NodeRequest::delete(index_path(uid, "/documents"));
    let details = details(None);
    broadcast_task(app, &snapshot, &index, &request, TaskKind::DocumentDeletion, details).await
}

pub async fn delete_by_filter(app: &App, uid: &IndexUid, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let parsed: Value = serde_json::from_slice(&body).map_err(|error| ApiError::malformed_json(&error))?;
    let filter = match parsed.get("filter") {
        Some(filter) if !filter.is_null() => filter,
        _ => return Err(ApiError::new(Code::MissingDocumentFilter, "Missing field `filter`")),
    };
    // Meilisearch shows the filter as JSON, so a text stands in quotes within the text.
    let original = filter.to_string();
    let Ok((snapshot, index)) = app.index(uid) else {
        let details = deletion_details(0, Some(&original), Some(0));
        return index_missing(app, uid, TaskKind::DocumentDeletion, details).await;
    };
    let _order = index.write_order.lock().await;
    let request = NodeRequest::json(Method::POST, index_path(uid, "/documents/delete"), body);
    let details = deletion_details(0, Some(&original), None);
    broadcast_task(app, &snapshot, &index, &request, TaskKind::DocumentDeletion, details).await
}

/// Deletes an index on every node. Requests no longer see it from the moment at which the nodes have taken the task.
pub async fn delete_index(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    let _changing = app.index_changes.lock().await;
    let Ok((snapshot, index)) = app.index(uid) else {
        return index_missing(app, uid, TaskKind::IndexDeletion, json!({ "deletedDocuments": 0 })).await;
    };
    let _order = index.write_order.lock().await;
    let request = NodeRequest::delete(index_path(uid, ""));
    let legs = broadcast(app, &snapshot, &request).await.map_err(|refusal| refusal.error)?;
    app.delete_index(uid).await?;
    let legs = node_tasks(&snapshot, legs);
    let task = NewTask::followed(TaskKind::IndexDeletion, Some(uid.clone()), snapshot.topology.copies(), legs);
    accepted(app, task.with_details(json!({ "deletedDocuments": null }))).await
}
