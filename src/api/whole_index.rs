//! Writes that concern a whole index, and so go to every node: creation, deletion, settings, delete all, delete by filter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde_json::{json, Map, Value};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::json_body;
use super::query_string::{self, percent_encode};
use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{free_node_uid, AliasError, Expiry, Index, IndexUid, Shard, ShardSet, Snapshot, TaskUid};
use crate::error::{ApiError, Code, ErrorBody};
use crate::merge::MAX_VALUES_PER_FACET_DEFAULT;
use crate::scatter::NodeRequest;
use crate::settings::with_own;
use crate::store::{IndexChange, IndexRecord};
use crate::tasks::{Idempotency, NewTask, Outcome, Task, TaskKind, CREATION_STEPS};
use crate::writes::{carry_out, settled, Reach, Scope, Spread, Step, StepBody, Turn, Write};

/// How often a write that waits for a swap looks whether it has been carried out.
const SWAP_POLL: Duration = Duration::from_millis(10);

/// Waits for the earlier writes that a write of `scope` conflicts with.
///
/// Whoever has an index for itself may create it, which must wait while the name still stands for another one to readers.
pub async fn turn(app: &App, uid: &IndexUid, scope: Scope<'_>) -> Result<Turn, ApiError> {
    let deadline = Instant::now() + app.request_timeout();
    let turn = app.order.turn(uid, scope, deadline).await?;
    while !matches!(scope, Scope::Keys(_)) && app.cluster.snapshot().is_being_vacated(uid) {
        if Instant::now() >= deadline {
            let message = format!("The index `{uid}` is still being swapped or renamed; come back later.");
            return Err(ApiError::new(Code::MiroirTooBusy, message));
        }
        tokio::time::sleep(SWAP_POLL).await;
    }
    Ok(turn)
}

/// Carries a write out for `request`, and answers with the summary of its task.
pub async fn submit(app: &App, request: &Request<'_>, mut write: Write, turn: Turn) -> Result<Answer, ApiError> {
    write.idempotency = request.idempotency()?;
    Ok(Answer::accepted(&carry_out(app, write, turn).await?))
}

/// Registers a task that no node has a part in, and answers with its summary.
pub async fn accepted(app: &App, request: &Request<'_>, mut task: NewTask) -> Result<Answer, ApiError> {
    task.idempotency = request.idempotency()?;
    Ok(Answer::accepted(&settled(app, task).await?))
}

/// A write to an index that does not exist: Meilisearch takes it and fails its task.
pub async fn index_missing(
    app: &App,
    request: &Request<'_>,
    uid: &IndexUid,
    kind: TaskKind,
    details: Value,
) -> Result<Answer, ApiError> {
    let error = ApiError::index_not_found(uid.as_str()).body;
    let task = NewTask::settled(kind, Some(uid.clone()), Outcome::Failed(error));
    accepted(app, request, task.with_details(details)).await
}

/// `details` of a task that deletes documents; `deleted` is null until the nodes have counted.
pub fn deletion_details(provided_ids: usize, filter: Option<&str>, deleted: Option<u64>) -> Value {
    json!({ "providedIds": provided_ids, "originalFilter": filter, "deletedDocuments": deleted })
}

/// `/indexes/{uid}` with an optional rest, as nodes know the index.
pub fn index_path(index: &Index, rest: &str) -> String {
    node_path(&index.node_uid, rest)
}

/// The same for an index that may not exist yet.
pub fn node_path(node_uid: &IndexUid, rest: &str) -> String {
    format!("/indexes/{}{rest}", percent_encode(node_uid.as_str()))
}

/// All shards of an index.
pub fn all_shards(shard_count: u32) -> ShardSet {
    (0..shard_count).map(Shard).collect()
}

/// The same request to every node, as a write of its own or the only step of one.
pub fn to_all(kind: TaskKind, method: Method, path_and_query: String, body: StepBody, shard_count: u32) -> Step {
    let shards = all_shards(shard_count);
    Step { method, path_and_query, kind, takes_metadata: false, shards, body, is_shareable: false }
}

/// A write of an index as a whole, made of one request to every node. `uid` is what the client calls it.
pub fn write_of(
    uid: &IndexUid,
    index: &Index,
    kind: TaskKind,
    details: Value,
    step: Step,
    change: Option<IndexChange>,
) -> Write {
    Write {
        kind,
        reach: Reach::WholeIndex,
        index_uid: uid.clone(),
        node_uid: index.node_uid.clone(),
        shard_count: index.shard_count,
        details,
        custom_metadata: None,
        steps: vec![step],
        change,
        spread: Spread::SideBySide,
        conclusion: None,
        idempotency: None,
    }
}

/// Settings that Miroir adds to every index on the nodes.
fn own_settings(app: &App) -> Bytes {
    let settings = json!({
        "filterableAttributes": with_own(Vec::new(), app.config.ttl.enabled),
        "faceting": { "maxValuesPerFacet": MAX_VALUES_PER_FACET_DEFAULT }
    });
    Bytes::from(settings.to_string())
}

/// The requests that create an index on a node, and its record. The caller's turn is for the whole index, which is missing.
pub struct Creation {
    pub steps: Vec<Step>,
    pub record: IndexRecord,
}

impl Creation {
    /// The error is that of the client's task: a node has an index of that name that is not Miroir's, and keeps it as it is, or an
    /// alias has come to have the name.
    ///
    /// Documents or settings would create an index on a node by themselves, but also change one that was there before, and nobody
    /// would know which it was: so the first request is always the creation, which a node that has the index refuses.
    pub async fn of(app: &App, uid: &IndexUid, primary_key: Option<&str>) -> Result<Self, ErrorBody> {
        refuse_if_alias(app, uid).map_err(|error| error.body)?;
        let shard_count = app.config.shards;
        let snapshot = app.cluster.snapshot();
        let creating = app.tasks.creating();
        let is_being_made = |node_uid: &IndexUid| creating.iter().any(|task| task.node_uid() == Some(node_uid));
        let is_taken = |node_uid: &IndexUid| snapshot.index_on_nodes(node_uid).is_some() || is_being_made(node_uid);
        let node_uid = free_node_uid(uid, is_taken);
        refuse_if_foreign(app, &snapshot, uid, &node_uid).await?;
        let body = json!({ "uid": node_uid.as_str(), "primaryKey": primary_key });
        let body = StepBody::Whole(Bytes::from(body.to_string()));
        let mut steps = vec![to_all(TaskKind::IndexCreation, Method::POST, "/indexes".to_owned(), body, shard_count)];
        let path = node_path(&node_uid, "/settings");
        let body = StepBody::Whole(own_settings(app));
        steps.push(to_all(TaskKind::SettingsUpdate, Method::PATCH, path, body, shard_count));
        debug_assert_eq!(steps.len(), usize::from(CREATION_STEPS));
        let now = OffsetDateTime::now_utc();
        let record = IndexRecord {
            uid: uid.clone(),
            other_node_uid: Some(node_uid).filter(|node_uid| node_uid != uid),
            primary_key: primary_key.map(str::to_owned),
            shard_count,
            created_at: now,
            updated_at: now,
            settings: Value::Object(Map::new()),
            settings_version: 0,
            verified_settings: None,
            is_frozen: false,
            expiry: Expiry { is_filterable: app.config.ttl.enabled, ..Expiry::default() },
        };
        Ok(Self { steps, record })
    }

    /// The write that creates the index and does nothing else.
    fn into_write(self, uid: &IndexUid, primary_key: Option<&str>) -> Write {
        let Self { steps, record } = self;
        Write {
            kind: TaskKind::IndexCreation,
            reach: Reach::WholeIndex,
            index_uid: uid.clone(),
            node_uid: record.node_uid().clone(),
            shard_count: record.shard_count,
            details: json!({ "primaryKey": primary_key }),
            custom_metadata: None,
            steps,
            change: Some(IndexChange::Put(record)),
            spread: Spread::SideBySide,
            conclusion: None,
            idempotency: None,
        }
    }
}

/// A node that is up may have an index of that name which was made behind Miroir's back: nothing is sent that would change it.
///
/// One whose deletion by Miroir is still under way is none of those. A node that is away is not asked: should it come back with such
/// an index, it refuses the creation in its log.
async fn refuse_if_foreign(
    app: &App,
    snapshot: &Snapshot,
    uid: &IndexUid,
    node_uid: &IndexUid,
) -> Result<(), ErrorBody> {
    let is_left = |task: &Task| task.concerns(node_uid) && task.open_legs().next().is_some();
    if !app.tasks.followed_where(is_left).is_empty() {
        return Ok(());
    }
    let request = NodeRequest::get(node_path(node_uid, ""));
    let up = snapshot.topology.node_indexes().filter(|&node| snapshot.state(node).takes_writes());
    let asked = up.map(|node| {
        let request = &request;
        async move { (node, app.scatter.ask(node, request).await.is_ok_and(|answer| answer.is_success())) }
    });
    match join_all(asked).await.into_iter().find(|(_, has_it)| *has_it) {
        Some((node, _)) => {
            let message = format!(
                "Index `{uid}` already exists on node `{}`, where it was not created through Miroir. Rename or delete it there.",
                app.scatter.health.id(node)
            );
            Err(ErrorBody::new(Code::IndexAlreadyExists, message))
        }
        None => Ok(()),
    }
}

/// Creates an index as a client asked for it.
pub async fn create_index(
    app: &App,
    uid: &IndexUid,
    primary_key: Option<&str>,
    request: &Request<'_>,
    turn: Turn,
) -> Result<Answer, ApiError> {
    match Creation::of(app, uid, primary_key).await {
        Ok(creation) => submit(app, request, creation.into_write(uid, primary_key), turn).await,
        Err(error) => {
            let task = NewTask::settled(TaskKind::IndexCreation, Some(uid.clone()), Outcome::Failed(error));
            accepted(app, request, task.with_details(json!({ "primaryKey": primary_key }))).await
        }
    }
}

/// Creates an index for Miroir itself, under a key by which the store leads to the task, and says which that is. Nothing is done if
/// there is an index, or an alias, of that name.
pub async fn create_index_for_us(
    app: &App,
    uid: &IndexUid,
    primary_key: Option<&str>,
    key: &str,
) -> Result<TaskUid, ApiError> {
    refuse_if_alias(app, uid)?;
    let turn = turn(app, uid, Scope::Whole).await?;
    if app.index_for_writes(uid).is_some() {
        return Err(ApiError::new(Code::IndexAlreadyExists, format!("Index `{uid}` already exists.")));
    }
    let creation = Creation::of(app, uid, primary_key).await;
    let creation = creation.map_err(|error| ApiError { status: Code::IndexAlreadyExists.status(), body: error })?;
    let mut write = creation.into_write(uid, primary_key);
    // Nobody sends it twice, so there is nothing to compare.
    write.idempotency = Some(Idempotency { key: key.to_owned(), digest: [0; 32] });
    Ok(carry_out(app, write, turn).await?.task.uid)
}

pub async fn delete_all(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    let custom_metadata = custom_metadata(request)?;
    let turn = turn(app, uid, Scope::Deletion).await?;
    // Meilisearch names neither ids nor a filter here.
    let details = |deleted: Option<u64>| json!({ "deletedDocuments": deleted });
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(app, request, uid, TaskKind::DocumentDeletion, details(Some(0))).await;
    };
    let path = index_path(&index, "/documents");
    let step = to_all(TaskKind::DocumentDeletion, Method::DELETE, path, StepBody::Empty, index.shard_count);
    delete_documents(app, request, uid, &index, step, details(None), custom_metadata, turn).await
}

pub async fn delete_by_filter(
    app: &App,
    uid: &IndexUid,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let custom_metadata = custom_metadata(request)?;
    let body = whole_body(body).await?;
    let members = json_body::object(json_body::parse(&body)?)?;
    let Some(filter) = members.get("filter") else {
        return Err(json_body::missing_field("filter", Code::MissingDocumentFilter));
    };
    if filter.is_null() {
        let message = "Invalid syntax for the filter parameter: `expected String, Array, found: null`.";
        return Err(ApiError::new(Code::InvalidDocumentFilter, message));
    }
    // Meilisearch shows the filter as JSON, so a text stands in quotes within the text.
    let original = filter.to_string();
    let turn = turn(app, uid, Scope::Deletion).await?;
    let Some(index) = app.index_for_writes(uid) else {
        let details = deletion_details(0, Some(&original), Some(0));
        return index_missing(app, request, uid, TaskKind::DocumentDeletion, details).await;
    };
    let path = index_path(&index, "/documents/delete");
    let step = to_all(TaskKind::DocumentDeletion, Method::POST, path, StepBody::Whole(body), index.shard_count);
    let details = deletion_details(0, Some(&original), None);
    delete_documents(app, request, uid, &index, step, details, custom_metadata, turn).await
}

#[allow(clippy::too_many_arguments)]
async fn delete_documents(
    app: &App,
    request: &Request<'_>,
    uid: &IndexUid,
    index: &Arc<Index>,
    step: Step,
    details: Value,
    custom_metadata: Option<String>,
    turn: Turn,
) -> Result<Answer, ApiError> {
    let step = Step { takes_metadata: true, ..step };
    let write = Write { custom_metadata, ..write_of(uid, index, TaskKind::DocumentDeletion, details, step, None) };
    submit(app, request, write, turn).await
}

/// The only query parameter of the routes that delete documents.
pub fn custom_metadata(request: &Request<'_>) -> Result<Option<String>, ApiError> {
    let mut metadata = None;
    for (name, value) in query_string::parameters(request.query) {
        match name.as_ref() {
            "customMetadata" => metadata = Some(value.into_owned()),
            other => return Err(query_string::unknown_parameter(other, &["customMetadata"])),
        }
    }
    Ok(metadata)
}

/// An alias must not be left without its index.
pub fn refuse_if_targeted(app: &App, uid: &IndexUid) -> Result<(), ApiError> {
    match app.cluster.snapshot().alias_of(uid) {
        Some(alias) => Err(AliasError::StillTargeted { name: alias.name.clone(), index: uid.clone() }.into()),
        None => Ok(()),
    }
}

/// An index must not have the name of an alias, by which nobody would reach it, nor one that a policy is about to make an alias of.
pub fn refuse_if_alias(app: &App, uid: &IndexUid) -> Result<(), ApiError> {
    match app.cluster.snapshot().alias(uid) {
        Some(_) => Err(ApiError::new(Code::MiroirAliasConflict, format!("`{uid}` is the name of an alias."))),
        None => match app.rollovers.owner(uid) {
            Some(policy) => {
                let message = format!("`{uid}` is to be the name of an alias, of rollover policy `{policy}`.");
                Err(ApiError::new(Code::MiroirAliasConflict, message))
            }
            None => Ok(()),
        },
    }
}

/// Deletes an index on every node. Requests no longer see it from the moment at which the write has been taken.
pub async fn delete_index(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    refuse_if_targeted(app, uid)?;
    let turn = turn(app, uid, Scope::Whole).await?;
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(app, request, uid, TaskKind::IndexDeletion, json!({ "deletedDocuments": 0 })).await;
    };
    let kind = TaskKind::IndexDeletion;
    let step = to_all(kind, Method::DELETE, index_path(&index, ""), StepBody::Empty, index.shard_count);
    let details = json!({ "deletedDocuments": null });
    let write = write_of(uid, &index, kind, details, step, Some(IndexChange::Delete(index.node_uid.clone())));
    submit(app, request, write, turn).await
}
