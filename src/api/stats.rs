//! `/stats` and `/indexes/{uid}/stats`.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use http::Method;
use serde::Deserialize;
use serde_json::{json, Map, Value};
use time::OffsetDateTime;

use super::index_read::{shards_unavailable, IndexRead};
use super::read_kinds::DOCUMENTS;
use super::whole_index::index_path;
use super::{restriction, Answer, Request};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::{Index, IndexUid, NodeIndex, Shard, Snapshot};
use crate::error::{ApiError, Code};
use crate::merge::documents::total_of_list;
use crate::reserved::SHARD_FIELD;
use crate::rollover::IndexSize;
use crate::scatter::NodeRequest;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStats {
    #[serde(default)]
    raw_document_db_size: u64,
    is_indexing: bool,
    field_distribution: BTreeMap<String, u64>,
}

pub async fn one(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let (stats, missing) = of_index(app, &snapshot, &index).await?;
    Ok(Answer::json(200, &stats).without_shards(&missing))
}

/// Of several indexes as if they were one.
pub async fn of_several(app: &App, uids: &[IndexUid], request: &Request<'_>) -> Result<Answer, ApiError> {
    let indexes: Vec<_> = uids.iter().map(|uid| request.index(app, uid)).collect::<Result<_, _>>()?;
    let read = indexes.iter().map(|(snapshot, index)| of_index(app, snapshot, index));
    let (each, missing): (Vec<Value>, Vec<Vec<Shard>>) = try_join_all(read).await?.into_iter().unzip();
    let mut missing = missing.concat();
    missing.sort_unstable();
    missing.dedup();
    Ok(Answer::json(200, &sum_of(&each)).without_shards(&missing))
}

/// Numbers and counts of fields added up, truths joined; the mean size is that of all documents.
fn sum_of(each: &[Value]) -> Value {
    let mut sum = Map::new();
    for (name, value) in each.iter().filter_map(Value::as_object).flatten() {
        let before = sum.remove(name).unwrap_or(Value::Null);
        sum.insert(name.clone(), added(before, value));
    }
    let number = |name: &str| sum.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mean = number("rawDocumentDbSize").checked_div(number("numberOfDocuments")).unwrap_or(0);
    sum.insert("avgDocumentSize".to_owned(), mean.into());
    Value::Object(sum)
}

fn added(before: Value, value: &Value) -> Value {
    match (before, value) {
        (Value::Null, value) => value.clone(),
        (Value::Bool(before), Value::Bool(value)) => (before | value).into(),
        (Value::Object(mut before), Value::Object(value)) => {
            for (name, count) in value {
                let so_far = before.remove(name).unwrap_or(Value::Null);
                before.insert(name.clone(), added(so_far, count));
            }
            Value::Object(before)
        }
        (before, value) => (before.as_u64().unwrap_or(0) + value.as_u64().unwrap_or(0)).into(),
    }
}

/// Sizes are those of all indexes, also of those that the client does not see.
pub async fn all(app: &App, rights: &Rights) -> Result<Answer, ApiError> {
    let snapshot = app.cluster.snapshot();
    let indexes: Vec<_> = snapshot.indexes().filter(|index| rights.sees(index.uid.as_str())).cloned().collect();
    let of_all = try_join_all(indexes.iter().map(|index| of_index(app, &snapshot, index))).await?;
    let mut missing: Vec<Shard> = of_all.iter().flat_map(|(_, missing)| missing.iter().copied()).collect();
    missing.sort_unstable();
    missing.dedup();
    let by_uid: Map<String, Value> =
        indexes.iter().zip(of_all).map(|(index, (stats, _))| (index.uid.as_str().to_owned(), stats)).collect();
    let last_update = indexes.iter().map(|index| index.updated_at).max();
    let last_update =
        last_update.map(|time: OffsetDateTime| time.format(&time::format_description::well_known::Rfc3339));
    let (database_size, used_database_size) = database_sizes(app, &snapshot).await;
    let stats = json!({
        "databaseSize": database_size,
        "usedDatabaseSize": used_database_size,
        "lastUpdate": last_update.and_then(Result::ok),
        "indexes": by_uid,
    });
    Ok(Answer::json(200, &stats).without_shards(&missing))
}

/// Sizes on all nodes that answer: what the cluster takes on disk, every copy counted.
async fn database_sizes(app: &App, snapshot: &Snapshot) -> (u64, u64) {
    let request = NodeRequest::get("/stats");
    let nodes = snapshot.serving_nodes();
    let answers = join_all(nodes.iter().map(|&node| app.scatter.ask(node, &request))).await;
    let stats = answers.into_iter().flatten().filter_map(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
    stats.fold((0, 0), |(size, used), stats| {
        let of = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
        (size + of("databaseSize"), used + of("usedDatabaseSize"))
    })
}

/// How many documents an index has, or an error if some shard does not say.
pub async fn number_of_documents(app: &App, index: &Index) -> Result<u64, ApiError> {
    let (documents, missing) = count_documents(app, &app.cluster.snapshot(), index).await?;
    if missing.is_empty() {
        Ok(documents)
    } else {
        Err(shards_unavailable(&missing))
    }
}

/// What an index holds, as far as its shards and nodes can say.
pub async fn size_of(app: &App, index: &Index) -> Result<IndexSize, ApiError> {
    let (stats, _) = of_index(app, &app.cluster.snapshot(), index).await?;
    let number = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
    Ok(IndexSize { documents: number("numberOfDocuments"), bytes: number("rawDocumentDbSize") })
}

async fn count_documents(app: &App, snapshot: &Snapshot, index: &Index) -> Result<(u64, Vec<Shard>), ApiError> {
    let count = |shards: Option<&[Shard]>| {
        let filter = shards.map_or(Value::Null, |shards| restriction::restrict(Value::Null, shards));
        let body = json!({ "limit": 0, "filter": filter });
        NodeRequest::json(Method::POST, index_path(index, "/documents/fetch"), Bytes::from(body.to_string()))
    };
    let (legs, missing) = IndexRead::of_all_shards(app, snapshot, index, 0).legs(DOCUMENTS, count).await?;
    Ok((legs.iter().filter_map(|leg| total_of_list(&leg.body)).sum(), missing))
}

/// The number of documents is counted by shards, so that it is exact whatever else a node holds. Distribution of fields and
/// sizes, which nodes only know of themselves, are summed over one copy: the nodes of one group, by its number of replicas.
async fn of_index(app: &App, snapshot: &Snapshot, index: &Index) -> Result<(Value, Vec<Shard>), ApiError> {
    let (documents, missing) = count_documents(app, snapshot, index).await?;
    let request = NodeRequest::get(index_path(index, "/stats"));
    let serving = |nodes: &[NodeIndex]| -> Vec<NodeIndex> {
        nodes.iter().copied().filter(|&node| snapshot.state(node).serves_reads()).collect()
    };
    let groups = snapshot.topology.groups.iter().map(|group| serving(&group.nodes));
    let nodes = groups.max_by_key(Vec::len).unwrap_or_default();
    let answers = join_all(nodes.iter().map(|&node| app.scatter.ask(node, &request))).await;
    let mut field_distribution: BTreeMap<String, u64> = BTreeMap::new();
    let (mut is_indexing, mut size) = (false, 0);
    for answer in answers.into_iter().flatten().filter(|answer| answer.is_success()) {
        let stats: NodeStats = serde_json::from_slice(&answer.body)
            .map_err(|error| ApiError::new(Code::Internal, format!("A node's stats cannot be read: {error}.")))?;
        is_indexing |= stats.is_indexing;
        size += stats.raw_document_db_size;
        for (field, count) in stats.field_distribution {
            *field_distribution.entry(field).or_default() += count;
        }
    }
    field_distribution.remove(SHARD_FIELD);
    let replicas = snapshot.topology.replication_factor as u64;
    field_distribution.values_mut().for_each(|count| *count /= replicas);
    let size = size / replicas;
    let stats = json!({
        "numberOfDocuments": documents,
        "rawDocumentDbSize": size,
        "avgDocumentSize": size.checked_div(documents).unwrap_or(0),
        "isIndexing": is_indexing,
        "numberOfEmbeddings": 0,
        "numberOfEmbeddedDocuments": 0,
        "fieldDistribution": field_distribution,
    });
    Ok((stats, missing))
}
