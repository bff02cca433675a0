//! Documents that come in, and documents that are deleted by their ids.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::query_string::{self, percent_encode};
use super::whole_index::{accepted, deletion_details, ensure_index, index_missing, index_path, node_tasks};
use super::{whole_body, Answer, Body, Request, Verb};
use crate::app::{record_of, App};
use crate::cluster::{Index, IndexUid, NodeIndex, Shard, Snapshot};
use crate::documents::{
    ids_from_delete_batch, shard_of_document_id, MissingKey, PayloadError, PayloadFormat, PrimaryKeyRule, SplitBatch,
    SplitRules, Splitter,
};
use crate::error::{ApiError, Code, ErrorBody};
use crate::scatter::{naming_shards, NodeRequest};
use crate::tasks::{NewTask, NodeTask, Outcome, TaskKind};

/// Query parameters of the route that adds documents.
#[derive(Default)]
struct AddParameters {
    primary_key: Option<String>,
    csv_delimiter: Option<String>,
    custom_metadata: Option<String>,
    skip_creation: bool,
}

impl AddParameters {
    const KNOWN: [&'static str; 4] = ["primaryKey", "csvDelimiter", "customMetadata", "skipCreation"];

    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in query_string::parameters(query) {
            match name.as_ref() {
                "primaryKey" => parsed.primary_key = Some(value.into_owned()),
                "csvDelimiter" => parsed.csv_delimiter = Some(value.into_owned()),
                "customMetadata" => parsed.custom_metadata = Some(value.into_owned()),
                "skipCreation" => parsed.skip_creation = value == "true",
                other => return Err(query_string::unknown_parameter(other, &Self::KNOWN)),
            }
        }
        Ok(parsed)
    }

    /// What the nodes are told: always the primary key, so that no node infers one from its own first document.
    fn for_nodes(&self, primary_key: &str) -> String {
        let mut query = format!("?primaryKey={}", percent_encode(primary_key));
        if let Some(metadata) = &self.custom_metadata {
            query.push_str(&format!("&customMetadata={}", percent_encode(metadata)));
        }
        if self.skip_creation {
            query.push_str("&skipCreation=true");
        }
        query
    }
}

/// `POST` (replace) and `PUT` (update) of documents. Nothing is sent to any node before the whole payload is known to be good.
pub async fn add(
    app: &App,
    uid: &IndexUid,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let parameters = AddParameters::parse(request.query)?;
    let format = PayloadFormat::from_content_type(request.content_type, parameters.csv_delimiter.as_deref())?;
    let known = app.index(uid).ok().map(|(_, index)| index);
    let own_key = known.as_ref().and_then(|index| index.primary_key.clone());
    let conflict = match (&own_key, &parameters.primary_key) {
        (Some(own), Some(asked)) if own != asked => Some(primary_key_conflict(own)),
        _ => None,
    };
    let rules = SplitRules {
        primary_key: match own_key.or_else(|| parameters.primary_key.clone()) {
            Some(key) => PrimaryKeyRule::Known(key),
            None => PrimaryKeyRule::InferFromFirst,
        },
        // In a conflict the documents are only counted, as Meilisearch counts them before it sees the conflict.
        missing_key: if conflict.is_some() { MissingKey::FailTask } else { app.config.writes.missing_primary_key },
        shard_count: known.map_or(app.config.shards, |index| index.shard_count),
    };
    let batch = match split(format, rules, body).await {
        Ok(batch) => batch,
        Err(PayloadError::Refused(error)) => return Err(error),
        Err(PayloadError::FailedTask { mut error, document_count }) => {
            if error.code == Code::Internal.name() {
                // The splitter does not know for which index it works.
                error.message.insert_str(0, &format!("Index `{uid}`: "));
            }
            return failed_task(app, uid, &parameters, conflict.unwrap_or(error), document_count).await;
        }
    };
    if let Some(error) = conflict {
        return failed_task(app, uid, &parameters, error, batch.document_count()).await;
    }
    let (index, creation) = ensure_index(app, uid).await?;
    send_batch(app, &index, creation, verb, &parameters, &batch).await
}

async fn split(format: PayloadFormat, rules: SplitRules, body: &mut dyn Body) -> Result<SplitBatch, PayloadError> {
    let mut splitter = Splitter::new(format, rules).within(body.reserve().await?);
    while let Some(chunk) = body.next_chunk().await? {
        splitter.push(&chunk)?;
    }
    splitter.finish()
}

fn primary_key_conflict(own: &str) -> ErrorBody {
    let message = format!("Index already has a primary key: `{own}`.");
    ErrorBody::new(Code::IndexPrimaryKeyAlreadyExists, message)
}

/// What Meilisearch accepts and then fails: a task that no node takes part in.
async fn failed_task(
    app: &App,
    uid: &IndexUid,
    parameters: &AddParameters,
    error: ErrorBody,
    document_count: u64,
) -> Result<Answer, ApiError> {
    let mut task = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, Some(uid.clone()), Outcome::Failed(error));
    task.custom_metadata = parameters.custom_metadata.clone();
    accepted(app, task.with_details(json!({ "receivedDocuments": document_count, "indexedDocuments": 0 }))).await
}

async fn send_batch(
    app: &App,
    index: &Index,
    creation: Vec<NodeTask>,
    verb: Verb,
    parameters: &AddParameters,
    batch: &SplitBatch,
) -> Result<Answer, ApiError> {
    let _order = index.write_order.lock().await;
    // The snapshot of this moment: the index may have got its primary key while the payload came in.
    let (snapshot, current) = app.index(&index.uid)?;
    if current.shard_count != index.shard_count {
        return Err(ApiError::new(
            Code::MiroirTooBusy,
            "The index was created again meanwhile; send the documents again.",
        ));
    }
    if let Some(key) = batch.primary_key() {
        match current.primary_key.as_deref() {
            None => {
                let mut record = record_of(&current);
                record.primary_key = Some(key.to_owned());
                app.put_index(record).await?;
            }
            Some(own) if own == key => {}
            Some(own) => {
                let error = primary_key_conflict(own);
                return failed_task(app, &index.uid, parameters, error, batch.document_count()).await;
            }
        }
    }
    let method = if verb == Verb::Put { Method::PUT } else { Method::POST };
    let path = index_path(&index.uid, "/documents") + &parameters.for_nodes(batch.primary_key().unwrap_or_default());
    let request = |shards: &[Shard]| NodeRequest {
        method: method.clone(),
        path_and_query: path.clone(),
        content_type: Some("application/json"),
        body: batch.body_for(shards).pieces,
    };
    let shards: Vec<Shard> = batch.shards().collect();
    let legs = send_to_owners(app, &snapshot, index, &shards, request).await?;

    let legs: Vec<NodeTask> = creation.into_iter().chain(legs).collect();
    let mut task = if legs.is_empty() {
        // No documents in an index that exists: nothing for any node to do.
        NewTask::settled(TaskKind::DocumentAdditionOrUpdate, Some(index.uid.clone()), Outcome::Succeeded)
    } else {
        let copies = snapshot.topology.copies();
        NewTask::followed(TaskKind::DocumentAdditionOrUpdate, Some(index.uid.clone()), copies, legs)
    };
    task.custom_metadata = parameters.custom_metadata.clone();
    let indexed = if shards.is_empty() { json!(0) } else { json!(null) };
    accepted(
        app,
        task.with_details(json!({ "receivedDocuments": batch.document_count(), "indexedDocuments": indexed })),
    )
    .await
}

/// Sends each owner of some of `shards` the request for those it owns: every replica in every group.
async fn send_to_owners(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    shards: &[Shard],
    request: impl Fn(&[Shard]) -> NodeRequest,
) -> Result<Vec<NodeTask>, ApiError> {
    let placement = snapshot.placement(index.shard_count);
    let owned = |node: NodeIndex| -> Vec<Shard> {
        let of_node = placement.shards_of(node);
        shards.iter().copied().filter(|shard| of_node.binary_search(shard).is_ok()).collect()
    };
    let owners = snapshot.topology.node_indexes().map(|node| (node, owned(node)));
    let owners: Vec<(NodeIndex, Vec<Shard>)> = owners.filter(|(_, shards)| !shards.is_empty()).collect();
    let nodes: Vec<NodeIndex> = owners.iter().map(|(node, _)| *node).collect();
    let in_doubt = |error| naming_shards(error, shards);
    app.scatter.all_take_writes(snapshot, &nodes).map_err(in_doubt)?;
    let requests = owners.into_iter().map(|(node, shards)| (node, request(&shards))).collect();
    let legs = app.scatter.write(snapshot, requests).await.map_err(|refusal| in_doubt(refusal.error))?;
    Ok(node_tasks(snapshot, legs))
}

pub async fn delete_one(app: &App, uid: &IndexUid, id: &str) -> Result<Answer, ApiError> {
    let Ok((snapshot, index)) = app.index(uid) else {
        return index_missing(app, uid, TaskKind::DocumentDeletion, deletion_details(1, None, Some(0))).await;
    };
    let _order = index.write_order.lock().await;
    let shard = shard_of_document_id(id, index.shard_count);
    let path = index_path(uid, &format!("/documents/{}", percent_encode(id)));
    let legs = send_to_owners(app, &snapshot, &index, &[shard], |_| NodeRequest::delete(path.clone())).await?;
    deletion_task(app, &snapshot, uid, 1, legs).await
}

pub async fn delete_batch(app: &App, uid: &IndexUid, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let ids = ids_from_delete_batch(&whole_body(body).await?)?;
    let Ok((snapshot, index)) = app.index(uid) else {
        return index_missing(app, uid, TaskKind::DocumentDeletion, deletion_details(ids.len(), None, Some(0))).await;
    };
    let _order = index.write_order.lock().await;
    let placed: Vec<(Shard, &String)> =
        ids.iter().map(|id| (shard_of_document_id(id, index.shard_count), id)).collect();
    let mut shards: Vec<Shard> = placed.iter().map(|(shard, _)| *shard).collect();
    shards.sort_unstable();
    shards.dedup();
    if shards.is_empty() {
        let task = NewTask::settled(TaskKind::DocumentDeletion, Some(uid.clone()), Outcome::Succeeded);
        return accepted(app, task.with_details(deletion_details(0, None, Some(0)))).await;
    }
    let path = index_path(uid, "/documents/delete-batch");
    let request = |shards: &[Shard]| {
        let of_node: Vec<&String> =
            placed.iter().filter(|(shard, _)| shards.contains(shard)).map(|(_, id)| *id).collect();
        let body = serde_json::to_vec(&of_node).expect("a list of strings always serializes");
        NodeRequest::json(Method::POST, path.clone(), Bytes::from(body))
    };
    let legs = send_to_owners(app, &snapshot, &index, &shards, request).await?;
    deletion_task(app, &snapshot, uid, ids.len(), legs).await
}

async fn deletion_task(
    app: &App,
    snapshot: &Arc<Snapshot>,
    uid: &IndexUid,
    provided_ids: usize,
    legs: Vec<NodeTask>,
) -> Result<Answer, ApiError> {
    let task = NewTask::followed(TaskKind::DocumentDeletion, Some(uid.clone()), snapshot.topology.copies(), legs);
    accepted(app, task.with_details(deletion_details(provided_ids, None, None))).await
}
