//! Documents that come in, and documents that are deleted by their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{json, Value};

use super::query_string::{self, percent_encode};
use super::whole_index::{
    accepted, custom_metadata, deletion_details, index_missing, index_path, node_path, submit, turn, write_of, Creation,
};
use super::{whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, ShardSet};
use crate::documents::{
    ids_from_delete_batch, MissingKey, PayloadError, PayloadFormat, PlaceRule, PrimaryKeyRule, SplitBatch, SplitRules,
    Splitter,
};
use crate::error::{ApiError, Code, ErrorBody};
use crate::settings::{proposed, uses_places};
use crate::store::IndexChange;
use crate::tasks::{NewTask, Outcome, TaskKind};
use crate::writes::{Reach, Scope, Spread, Step, StepBody, Turn, Write, DOCUMENT_BYTES_MAX};

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
                "skipCreation" => parsed.skip_creation = skip_creation(&value)?,
                other => return Err(query_string::unknown_parameter(other, &Self::KNOWN)),
            }
        }
        Ok(parsed)
    }

    /// What the nodes are told: always the primary key, so that no node infers one from its own first document.
    fn for_nodes(&self, primary_key: &str) -> String {
        let mut query = format!("?primaryKey={}", percent_encode(primary_key));
        if self.skip_creation {
            query.push_str("&skipCreation=true");
        }
        query
    }
}

/// Whether documents that are not there yet are left out. Errors are Meilisearch's.
fn skip_creation(value: &str) -> Result<bool, ApiError> {
    if value.eq_ignore_ascii_case("true") {
        return Ok(true);
    }
    if value.eq_ignore_ascii_case("false") {
        return Ok(false);
    }
    let message = format!("skipCreation must be either `true` or `false`. Found: `{value}`");
    Err(ApiError::new(Code::InvalidSkipCreation, message))
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
    let known = app.index_for_writes(uid);
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
        places: known.as_ref().map_or_else(PlaceRule::default, |index| place_rule(app, index, verb, &parameters)),
        shard_count: known.map_or(app.config.shards, |index| index.shard_count),
        expires: app.config.ttl.enabled,
    };
    let shard_count = rules.shard_count;
    let batch = match split(format, rules, body).await {
        Ok(batch) => batch,
        Err(PayloadError::Refused(error)) => return Err(error),
        Err(PayloadError::FailedTask { mut error, document_count }) => {
            if [Code::Internal, Code::InvalidDocumentGeoField].iter().any(|code| error.code == code.name()) {
                // The splitter does not know for which index it works.
                error.message.insert_str(0, &format!("Index `{uid}`: "));
            }
            return failed_task(app, request, uid, &parameters, conflict.unwrap_or(error), document_count).await;
        }
    };
    if let Some(error) = conflict {
        return failed_task(app, request, uid, &parameters, error, batch.document_count()).await;
    }
    send_batch(app, request, uid, shard_count, verb, &parameters, &batch).await
}

/// By the settings that the index will have when the documents come to the nodes.
fn place_rule(app: &App, index: &Index, verb: Verb, parameters: &AddParameters) -> PlaceRule {
    // Only the nodes know which documents they will leave out.
    if parameters.skip_creation {
        return PlaceRule::Unchecked;
    }
    let is_changing = app.cluster.snapshot().settings_state(index).is_some_and(|state| !state.changing.is_empty());
    let used = if is_changing { uses_places(&proposed(app, index)) } else { uses_places(&index.settings) };
    match verb {
        _ if !used => PlaceRule::Unchecked,
        Verb::Put => PlaceRule::InUpdates,
        _ => PlaceRule::InReplacements,
    }
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
    request: &Request<'_>,
    uid: &IndexUid,
    parameters: &AddParameters,
    error: ErrorBody,
    document_count: u64,
) -> Result<Answer, ApiError> {
    let mut task = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, Some(uid.clone()), Outcome::Failed(error));
    task.custom_metadata = parameters.custom_metadata.clone();
    accepted(app, request, task.with_details(json!({ "receivedDocuments": document_count, "indexedDocuments": 0 })))
        .await
}

async fn send_batch(
    app: &App,
    request: &Request<'_>,
    uid: &IndexUid,
    shard_count: u32,
    verb: Verb,
    parameters: &AddParameters,
    batch: &SplitBatch,
) -> Result<Answer, ApiError> {
    let (turn, index) = turn_of_batch(app, uid, batch).await?;
    if index.as_ref().map_or(app.config.shards, |index| index.shard_count) != shard_count {
        return Err(ApiError::new(
            Code::MiroirTooBusy,
            "The index was created again meanwhile; send the documents again.",
        ));
    }
    let own_key = index.as_ref().and_then(|index| index.primary_key.as_deref());
    if let (Some(key), Some(own)) = (batch.primary_key(), own_key) {
        if key != own {
            let error = primary_key_conflict(own);
            return failed_task(app, request, uid, parameters, error, batch.document_count()).await;
        }
    }
    let new_key = batch.primary_key().filter(|_| own_key.is_none()).map(str::to_owned);
    let (mut steps, node_uid, change) = match &index {
        Some(index) => {
            let node_uid = index.node_uid.clone();
            let change = new_key.map(|primary_key| IndexChange::PrimaryKey { node_uid: node_uid.clone(), primary_key });
            (Vec::new(), node_uid, change)
        }
        None if !request.rights.may_create(uid.as_str()) => {
            let error = ApiError::index_not_found(uid.as_str()).body;
            return failed_task(app, request, uid, parameters, error, batch.document_count()).await;
        }
        None => {
            let Creation { steps, mut record } = match Creation::of(app, uid, None).await {
                Ok(creation) => creation,
                Err(error) => return failed_task(app, request, uid, parameters, error, batch.document_count()).await,
            };
            record.primary_key = new_key;
            (steps, record.node_uid().clone(), Some(IndexChange::Put(record)))
        }
    };
    let shards: ShardSet = batch.shards().collect();
    let is_shareable = change.is_none() && index.as_ref().is_some_and(|index| is_shareable(index, parameters, batch));
    let details = |indexed: Value| json!({ "receivedDocuments": batch.document_count(), "indexedDocuments": indexed });
    if !shards.is_empty() {
        let query = parameters.for_nodes(batch.primary_key().unwrap_or_default());
        steps.push(Step {
            method: if verb == Verb::Put { Method::PUT } else { Method::POST },
            path_and_query: node_path(&node_uid, "/documents") + &query,
            kind: TaskKind::DocumentAdditionOrUpdate,
            takes_metadata: true,
            shards: shards.clone(),
            body: StepBody::Elements(batch.elements()),
            is_shareable,
        });
    }
    if steps.is_empty() {
        // No documents in an index that exists: nothing for any node to do.
        let task = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, Some(uid.clone()), Outcome::Succeeded);
        let task = NewTask { custom_metadata: parameters.custom_metadata.clone(), ..task };
        return accepted(app, request, task.with_details(details(json!(0)))).await;
    }
    let write = Write {
        kind: TaskKind::DocumentAdditionOrUpdate,
        reach: if change.is_some() { Reach::WholeIndex } else { Reach::Documents },
        index_uid: uid.clone(),
        node_uid,
        shard_count,
        details: details(if shards.is_empty() { json!(0) } else { Value::Null }),
        custom_metadata: parameters.custom_metadata.clone(),
        steps,
        change,
        spread: Spread::SideBySide,
        conclusion: None,
        idempotency: None,
    };
    submit(app, request, write, turn).await
}

/// Whether the batch may share its request with other writes: a node fails a request as a whole, so nothing may be in it for which
/// it could fail one document alone. Embedders may fail on any document, and with `skipCreation` the node alone knows what it
/// has indexed.
fn is_shareable(index: &Index, parameters: &AddParameters, batch: &SplitBatch) -> bool {
    let embedders = index.settings.get("embedders").and_then(Value::as_object);
    batch.document_count() == 1
        && batch.byte_len() <= DOCUMENT_BYTES_MAX
        && !batch.has_fields_for_nodes()
        && !parameters.skip_creation
        && embedders.is_none_or(serde_json::Map::is_empty)
}

/// The batch's turn, and the index as it is then. A batch that changes the index's record has the index for itself.
async fn turn_of_batch(app: &App, uid: &IndexUid, batch: &SplitBatch) -> Result<(Turn, Option<Arc<Index>>), ApiError> {
    let index = || app.index_for_writes(uid);
    let has_key = |index: &Option<Arc<Index>>| index.as_ref().is_some_and(|index| index.primary_key.is_some());
    if has_key(&index()) {
        let turn = turn(app, uid, Scope::Keys(batch.key_hashes())).await?;
        // An earlier write may have deleted the index.
        let index = index();
        if has_key(&index) {
            return Ok((turn, index));
        }
    }
    let turn = turn(app, uid, Scope::Whole).await?;
    Ok((turn, index()))
}

pub async fn delete_one(app: &App, uid: &IndexUid, id: &str, request: &Request<'_>) -> Result<Answer, ApiError> {
    let custom_metadata = custom_metadata(request)?;
    let hash = Shard::hash_of_key(id);
    let turn = turn(app, uid, Scope::Keys(&[hash])).await?;
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(app, request, uid, TaskKind::DocumentDeletion, deletion_details(1, None, Some(0))).await;
    };
    let step = Step {
        method: Method::DELETE,
        path_and_query: index_path(&index, &format!("/documents/{}", percent_encode(id))),
        kind: TaskKind::DocumentDeletion,
        takes_metadata: true,
        shards: [Shard::of_hash(hash, index.shard_count)].into_iter().collect(),
        body: StepBody::Empty,
        is_shareable: false,
    };
    delete_by_ids(app, request, uid, &index, step, 1, custom_metadata, turn).await
}

pub async fn delete_batch(
    app: &App,
    uid: &IndexUid,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let custom_metadata = custom_metadata(request)?;
    let ids = ids_from_delete_batch(&whole_body(body).await?)?;
    let hashes: Vec<u64> = ids.iter().map(|id| Shard::hash_of_key(id)).collect();
    let turn = turn(app, uid, Scope::Keys(&hashes)).await?;
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(
            app,
            request,
            uid,
            TaskKind::DocumentDeletion,
            deletion_details(ids.len(), None, Some(0)),
        )
        .await;
    };
    if ids.is_empty() {
        let task = NewTask::settled(TaskKind::DocumentDeletion, Some(uid.clone()), Outcome::Succeeded);
        let task = NewTask { custom_metadata, ..task };
        return accepted(app, request, task.with_details(deletion_details(0, None, Some(0)))).await;
    }
    let step = deletion_of(&index, ids.iter().map(String::as_str).zip(hashes));
    delete_by_ids(app, request, uid, &index, step, ids.len(), custom_metadata, turn).await
}

/// The request that deletes documents, each of which has its id and the hash of that. There is at least one.
pub fn deletion_of<'a>(index: &Index, documents: impl Iterator<Item = (&'a str, u64)>) -> Step {
    let mut elements: BTreeMap<Shard, Vec<u8>> = BTreeMap::new();
    for (id, hash) in documents {
        let of_shard = elements.entry(Shard::of_hash(hash, index.shard_count)).or_default();
        if !of_shard.is_empty() {
            of_shard.push(b',');
        }
        serde_json::to_writer(of_shard, id).expect("a string always serializes into memory");
    }
    Step {
        method: Method::POST,
        path_and_query: index_path(index, "/documents/delete-batch"),
        kind: TaskKind::DocumentDeletion,
        takes_metadata: true,
        shards: elements.keys().copied().collect(),
        body: StepBody::Elements(elements.into_iter().map(|(shard, ids)| (shard, vec![Bytes::from(ids)])).collect()),
        is_shareable: false,
    }
}

#[allow(clippy::too_many_arguments)]
async fn delete_by_ids(
    app: &App,
    request: &Request<'_>,
    uid: &IndexUid,
    index: &Index,
    step: Step,
    provided_ids: usize,
    custom_metadata: Option<String>,
    turn: Turn,
) -> Result<Answer, ApiError> {
    let details = deletion_details(provided_ids, None, None);
    let write = write_of(uid, index, TaskKind::DocumentDeletion, details, step, None);
    let write = Write { reach: Reach::Documents, custom_metadata, ..write };
    submit(app, request, write, turn).await
}
