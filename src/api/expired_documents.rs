//! Documents that have expired are deleted: found by a filter, and deleted by their ids as by any client.
//!
//! A client may say at any moment that a document expires later, and what it has said must count, whatever of it the nodes have
//! indexed when they are asked. So the index is watched while it is swept: what was written before the watch has been indexed
//! when the nodes are asked, and what is written during it is spared. `docs/decisions/` says more of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{json, Value};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::documents_write::deletion_of;
use super::hidden_expired::expired_at;
use super::index_read::IndexRead;
use super::read_kinds::DOCUMENTS;
use super::restriction::restrict;
use super::whole_index::{deletion_details, index_path, write_of};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard};
use crate::documents::document_id;
use crate::error::{ApiError, Code};
use crate::merge::documents::total_of_list;
use crate::merge::Leg;
use crate::reserved::EXPIRY_FIELD;
use crate::scatter::NodeRequest;
use crate::tasks::{Task, TaskKind};
use crate::writes::{carry_out, Reach, Watch, Write};

/// `customMetadata` of the tasks that Miroir makes for documents that expire: tells them from those of clients.
pub const TASK_METADATA: &str = "miroir:ttl";

/// Documents that one task deletes: few enough that a node has soon indexed it, and many enough that a list of tasks is not full
/// of them.
const DELETED_AT_ONCE: usize = 2_000;
/// Documents that a node is asked for at once: half a megabyte of ids.
const LISTED_AT_ONCE: usize = 10_000;
/// How long a sweep waits until the nodes have indexed what was written before it. They may have much to index; nobody waits for
/// the sweep.
const EARLIER_WRITES_WAIT: Duration = Duration::from_secs(600);
/// How often a sweep begins anew when all of an index was written to in between.
const ATTEMPTS_MAX: usize = 3;

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub deleted: u64,
    /// Documents that were found to have expired, and written to since.
    pub spared: u64,
    /// Whether there are more than may be deleted at once.
    pub is_bounded: bool,
}

/// An expired document.
#[derive(Debug)]
struct Expired {
    id: String,
    hash: u64,
}

/// Deletes the documents of an index that had expired at `now_ms`, at most `deletes_max`, and says in `swept` how far it came. The
/// nodes can look for them. What had expired at the sweep before, at `before_ms`, and is there all the same, is hidden from now on.
pub async fn sweep(
    app: &App,
    node_uid: &IndexUid,
    before_ms: i64,
    now_ms: i64,
    deletes_max: usize,
    swept: &mut Swept,
) -> Result<(), ApiError> {
    let Some(index) = sweepable(app, node_uid) else { return Ok(()) };
    // Nearly always there is nothing to do.
    let is_nothing_left = !has_expired(app, &index, now_ms).await?;
    let is_overdue = !is_nothing_left && has_expired(app, &index, before_ms).await?;
    app.overdue.set(node_uid, is_overdue.then_some(before_ms));
    if is_nothing_left {
        return Ok(());
    }
    for _ in 0..ATTEMPTS_MAX {
        let Some(index) = sweepable(app, node_uid) else { return Ok(()) };
        let room = deletes_max.saturating_sub(swept.deleted as usize);
        if try_sweep(app, &index, now_ms, room, swept).await? {
            return Ok(());
        }
    }
    Err(ApiError::new(Code::MiroirTooBusy, "The index is written to as a whole all the time."))
}

/// The index, if what its name means to reads it means to writes too.
fn sweepable(app: &App, node_uid: &IndexUid) -> Option<Arc<Index>> {
    let snapshot = app.cluster.snapshot();
    let index = snapshot.index_on_nodes(node_uid).filter(|index| index.primary_key.is_some() && !index.is_frozen)?;
    let to_writes = snapshot.index_for_writes(&index.uid)?;
    (to_writes.node_uid == *node_uid).then(|| index.clone())
}

/// `false` if any document may have been written to meanwhile, so that it must begin anew.
async fn try_sweep(app: &App, index: &Index, now_ms: i64, room: usize, swept: &mut Swept) -> Result<bool, ApiError> {
    let deadline = Instant::now() + EARLIER_WRITES_WAIT;
    let Some(watch) = app.order.watch(&index.uid, deadline).await? else { return Ok(false) };
    await_carried_out(app, &index.node_uid, deadline).await?;
    let (found, is_bounded) = find(app, index, now_ms, room).await?;
    swept.is_bounded = is_bounded;
    for some in found.chunks(DELETED_AT_ONCE) {
        let Some(deleted) = delete(app, index, &watch, some).await? else { return Ok(false) };
        swept.deleted += deleted as u64;
        swept.spared += (some.len() - deleted) as u64;
    }
    Ok(true)
}

/// Returns once the nodes have carried out what has been written of the index so far. Those that lag are not read.
async fn await_carried_out(app: &App, node_uid: &IndexUid, deadline: Instant) -> Result<(), ApiError> {
    let mut news = app.tasks.news();
    let is_open = |task: &Task| !task.has_been_carried_out();
    let mut open = app.tasks.followed_where(|task| task.concerns(node_uid) && is_open(task));
    loop {
        open.retain(|task| app.tasks.followed(task.uid).is_some_and(|task| is_open(&task)));
        if open.is_empty() {
            return Ok(());
        }
        if tokio::time::timeout_at(deadline, news.changed()).await.is_err() {
            let message = format!("The nodes have not carried out earlier writes of index `{node_uid}` in time.");
            return Err(ApiError::new(Code::MiroirTooBusy, message));
        }
    }
}

/// Whether any document that had expired at a time is there.
async fn has_expired(app: &App, index: &Index, time_ms: i64) -> Result<bool, ApiError> {
    let legs = listed(app, index, time_ms, 0, 0).await?;
    Ok(legs.iter().any(|leg| total_of_list(&leg.body) != Some(0)))
}

/// Up to `room` expired documents, from all shards alike, and whether there are more.
async fn find(app: &App, index: &Index, now_ms: i64, room: usize) -> Result<(Vec<Expired>, bool), ApiError> {
    let primary_key = index.primary_key.as_deref().unwrap_or_default();
    let limit = room.min(LISTED_AT_ONCE);
    let mut of_legs: Vec<Vec<Expired>> = Vec::new();
    let (mut offset, mut is_bounded) = (0, false);
    loop {
        let legs = listed(app, index, now_ms, offset, limit).await?;
        offset += limit;
        for leg in &legs {
            of_legs.push(expired_in(leg, primary_key, now_ms));
        }
        let has_more = legs.iter().any(|leg| total_of_list(&leg.body).is_some_and(|total| total > offset as u64));
        let found: usize = of_legs.iter().map(Vec::len).sum();
        if !has_more || found >= room || limit == 0 {
            is_bounded |= has_more || found > room;
            break;
        }
    }
    Ok((in_turn(of_legs, room), is_bounded))
}

/// The first of each list, then the second of each, and so on: no node's documents wait until those of the others are gone.
fn in_turn(lists: Vec<Vec<Expired>>, max: usize) -> Vec<Expired> {
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    while all.len() < max {
        let before = all.len();
        all.extend(lists.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    all.truncate(max);
    all
}

/// Lists of documents that the filter says have expired, one of each leg.
async fn listed(app: &App, index: &Index, now_ms: i64, offset: usize, limit: usize) -> Result<Vec<Leg>, ApiError> {
    let snapshot = app.cluster.snapshot();
    let expired = Value::String(expired_at(now_ms));
    let request_for = |shards: Option<&[Shard]>| {
        let filter = match shards {
            Some(shards) => restrict(expired.clone(), shards),
            None => expired.clone(),
        };
        let fields = [index.primary_key.as_deref().unwrap_or_default(), EXPIRY_FIELD];
        let body = json!({ "filter": filter, "fields": fields, "offset": offset, "limit": limit });
        let path = index_path(index, "/documents/fetch");
        NodeRequest::json(Method::POST, path, Bytes::from(body.to_string()))
    };
    let seed = xxh3_64(index.node_uid.as_str().as_bytes());
    // What is missing is swept when it is there again.
    let (legs, _) = IndexRead::of_all_shards(app, &snapshot, index, seed).legs(DOCUMENTS, request_for).await?;
    Ok(legs)
}

#[derive(Deserialize)]
struct DocumentList<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ExpiryOfDocument {
    #[serde(rename = "_miroir_expires_at")]
    expires_at: serde_json::Number,
}

/// The documents of a list that have expired. The filter also finds one that has, from before TTL was on, several numbers there.
fn expired_in(leg: &Leg, primary_key: &str, now_ms: i64) -> Vec<Expired> {
    let Ok(list) = serde_json::from_slice::<DocumentList>(&leg.body) else { return Vec::new() };
    let expired = |document: &&RawValue| {
        let ExpiryOfDocument { expires_at } = serde_json::from_str(document.get()).ok()?;
        let has_expired = match expires_at.as_i64() {
            Some(at) => at <= now_ms,
            // Beyond 64 bits with a sign, or with decimals: from before TTL was on.
            None => expires_at.as_f64().is_some_and(|at| at <= now_ms as f64),
        };
        let id = document_id(document.get(), primary_key).filter(|_| has_expired)?;
        Some(Expired { hash: Shard::hash_of_key(&id), id })
    };
    list.results.iter().filter_map(expired).collect()
}

/// Deletes those of the documents that nobody has written to since the watch began, and says how many; `None` if that may be any.
async fn delete(app: &App, index: &Index, watch: &Watch, expired: &[Expired]) -> Result<Option<usize>, ApiError> {
    let hashes: Vec<u64> = expired.iter().map(|document| document.hash).collect();
    let deadline = Instant::now() + app.request_timeout();
    let Some((turn, places)) = watch.turn_of_untouched(&hashes, deadline).await? else { return Ok(None) };
    if places.is_empty() {
        return Ok(Some(0));
    }
    let step = deletion_of(index, places.iter().map(|&at| (expired[at].id.as_str(), expired[at].hash)));
    let details = deletion_details(places.len(), None, None);
    let write = write_of(&index.uid, index, TaskKind::DocumentDeletion, details, step, None);
    let write = Write { reach: Reach::Documents, custom_metadata: Some(TASK_METADATA.to_owned()), ..write };
    carry_out(app, write, turn).await?;
    Ok(Some(places.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(results: Value) -> Leg {
        Leg { shards: vec![Shard(0)], body: json!({ "results": results, "total": 9 }).to_string().into() }
    }

    fn ids(expired: &[Expired]) -> Vec<&str> {
        expired.iter().map(|document| document.id.as_str()).collect()
    }

    #[test]
    fn only_a_number_that_has_passed_ends_a_document() {
        let leg = list(json!([
            { "id": 1, "_miroir_expires_at": 1_000 },
            { "id": "b-2", "_miroir_expires_at": -7 },
            { "id": 3, "_miroir_expires_at": 1_001 },
            { "id": 4, "_miroir_expires_at": "100" },
            { "id": 5, "_miroir_expires_at": [1] },
            { "id": 6 },
            { "id": 7, "_miroir_expires_at": null },
            { "id": 8, "_miroir_expires_at": 999.5 },
            { "id": 9, "_miroir_expires_at": u64::MAX },
            { "_miroir_expires_at": 1 },
        ]));
        assert_eq!(ids(&expired_in(&leg, "id", 1_000)), ["1", "b-2", "8"]);
        let nested = list(json!([{ "a": { "id": 1 }, "_miroir_expires_at": 5 }]));
        assert_eq!(ids(&expired_in(&nested, "a.id", 5)), ["1"]);
    }

    #[test]
    fn the_documents_of_all_legs_come_in_turn() {
        let leg = |ids: &[u32]| {
            let documents = ids.iter().map(|id| json!({ "id": id, "_miroir_expires_at": 0 })).collect();
            expired_in(&list(documents), "id", 0)
        };
        let legs = || vec![leg(&[1, 2, 3]), leg(&[]), leg(&[4])];
        assert_eq!(ids(&in_turn(legs(), 3)), ["1", "4", "2"]);
        assert_eq!(ids(&in_turn(legs(), 1)), ["1"]);
        assert_eq!(ids(&in_turn(legs(), 9)), ["1", "4", "2", "3"]);
    }
}
