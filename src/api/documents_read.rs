//! Lists of documents, and one document by its id.

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::index_read::{shards_unavailable, IndexRead};
use super::query_string;
use super::search::{merged, worded_by_a_node};
use super::whole_index::index_path;
use super::{restriction, whole_body, Answer, Body, Forward, Plan, Request};
use crate::app::App;
use crate::cluster::{CoveringSet, Index, IndexUid, Shard, Snapshot};
use crate::documents::shard_of_document_id;
use crate::error::{ApiError, Code};
use crate::merge::documents::{merge_document_lists, total_of_list};
use crate::merge::{Leg, MergeError};
use crate::scatter::NodeRequest;

/// Meilisearch's default of `limit` in lists of documents.
const LIMIT_DEFAULT: usize = 20;

/// `GET documents`: its parameters are those of a fetch.
pub async fn list(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    const KNOWN: [&str; 7] = ["offset", "limit", "fields", "filter", "retrieveVectors", "ids", "sort"];
    let (snapshot, index) = app.index(uid)?;
    let mut members = Map::new();
    for (name, value) in query_string::parameters(request.query) {
        let parsed = match name.as_ref() {
            "offset" => query_string::number("offset", &value, Code::InvalidDocumentOffset)?.into(),
            "limit" => query_string::number("limit", &value, Code::InvalidDocumentLimit)?.into(),
            "fields" | "ids" | "sort" if value != "*" => {
                value.split(',').map(|part| Value::from(part.trim())).collect()
            }
            "fields" | "ids" | "sort" => continue,
            "retrieveVectors" => (value == "true").into(),
            "filter" => value.into_owned().into(),
            other => return Err(query_string::unknown_parameter(other, &KNOWN)),
        };
        members.insert(name.into_owned(), parsed);
    }
    page(app, &snapshot, &index, members).await
}

pub async fn fetch(app: &App, uid: &IndexUid, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let (snapshot, index) = app.index(uid)?;
    let body = whole_body(body).await?;
    let readable = |members: &Map<String, Value>| {
        ["offset", "limit"].iter().all(|name| members.get(*name).is_none_or(|value| value.is_null() || value.is_u64()))
    };
    match serde_json::from_slice::<Map<String, Value>>(if body.is_empty() { b"{}" } else { &body }) {
        Ok(members) if readable(&members) => page(app, &snapshot, &index, members).await,
        _ => {
            let request = NodeRequest::json(Method::POST, index_path(uid, "/documents/fetch"), body);
            worded_by_a_node(app, &snapshot, &request).await
        }
    }
}

/// One page of an index's documents, shard by shard. The legs' totals come first, so that a page deep inside asks each leg
/// only for what it contributes.
async fn page(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    mut members: Map<String, Value>,
) -> Result<Answer, ApiError> {
    if members.get("sort").is_some_and(|sort| !sort.is_null()) {
        return Err(ApiError::new(Code::MiroirNotSupported, "Miroir does not sort lists of documents; use a search."));
    }
    let number = |value: Option<Value>, default: usize| value.and_then(|v| v.as_u64()).map_or(default, |n| n as usize);
    let offset = number(members.remove("offset"), 0);
    let limit = number(members.remove("limit"), LIMIT_DEFAULT);
    // Every page of every list comes from the same replicas while they live.
    let seed = xxh3_64(index.uid.as_str().as_bytes());
    let read = IndexRead::of_all_shards(app, snapshot, index, seed);
    let request = |shards: Option<&[Shard]>, from: usize, count: usize| {
        let mut members = members.clone();
        if let Some(shards) = shards {
            let filter = members.remove("filter").unwrap_or(Value::Null);
            members.insert("filter".to_owned(), restriction::restrict(filter, shards));
        }
        members.insert("offset".to_owned(), json!(from));
        members.insert("limit".to_owned(), json!(count));
        let body = Bytes::from(Value::Object(members).to_string());
        NodeRequest::json(Method::POST, index_path(&index.uid, "/documents/fetch"), body)
    };
    let (counted, mut missing) = read.legs(|shards| request(shards, 0, 0)).await?;
    let parts = contributions(&counted, offset, limit)?;
    let mut legs = counted;
    let asked =
        legs.iter().zip(&parts).filter(|(_, part)| part.count > 0).map(|(leg, part)| (leg.shards.clone(), *part));
    let asked: Vec<(Vec<Shard>, Part)> = asked.collect();
    if !asked.is_empty() {
        let part_of = |shards: &[Shard]| asked.iter().find(|(of, _)| of == shards).map(|(_, part)| *part);
        let shards: Vec<Shard> = asked.iter().flat_map(|(shards, _)| shards.iter().copied()).collect();
        let request_for = |of_leg: &[Shard], shards: Option<&[Shard]>| {
            let part = part_of(of_leg).unwrap_or_default();
            request(shards, part.from, part.count)
        };
        let (answered, missing_now) = read.legs_of(&shards, request_for).await?;
        missing.extend(missing_now);
        missing.sort_unstable();
        for answered in answered {
            match legs.iter_mut().find(|leg| leg.shards == answered.shards) {
                Some(leg) => leg.body = answered.body,
                // A node went away between the two readings: its shards came from elsewhere, in another order.
                None => {
                    return Err(ApiError::new(
                        Code::MiroirShardUnavailable,
                        "A node went away; ask for the page again.",
                    ))
                }
            }
        }
    }
    merged(merge_document_lists(&legs, offset, limit), &missing)
}

/// What one leg adds to a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    from: usize,
    count: usize,
}

fn contributions(counted: &[Leg], offset: usize, limit: usize) -> Result<Vec<Part>, ApiError> {
    let (mut skip, mut want) = (offset, limit);
    let mut parts = Vec::with_capacity(counted.len());
    for (n, leg) in counted.iter().enumerate() {
        let Some(total) = total_of_list(&leg.body) else {
            let error = MergeError::Malformed { leg: n, what: "no total", at: 0 };
            return Err(ApiError::new(Code::Internal, format!("The nodes' answers cannot be merged: {error}.")));
        };
        let from = skip.min(total as usize);
        let count = want.min(total as usize - from);
        skip -= from;
        want -= count;
        parts.push(Part { from, count });
    }
    Ok(parts)
}

/// One replica of the document's shard answers, streamed through.
pub fn one(app: &App, uid: &IndexUid, id: &str) -> Result<Plan, ApiError> {
    let (snapshot, index) = app.index(uid)?;
    let shard = shard_of_document_id(id, index.shard_count);
    let seed = xxh3_64(id.as_bytes());
    let mut candidates = Vec::new();
    // Each choice excludes those before it: the order in which the replicas are tried.
    while let [leg] = CoveringSet::choose(&snapshot, &index, &[shard], seed, &candidates).legs.as_slice() {
        candidates.push(leg.node);
    }
    if candidates.is_empty() {
        return Err(shards_unavailable(&[shard]));
    }
    Ok(Plan::Forward(Forward { candidates, is_document: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(total: usize) -> Leg {
        Leg {
            shards: Vec::new(),
            body: Bytes::from(format!(r#"{{"results":[],"offset":0,"limit":0,"total":{total}}}"#)),
        }
    }

    #[test]
    fn each_leg_is_asked_only_for_its_part_of_the_page() {
        let legs = [leg(10), leg(0), leg(5), leg(7)];
        let parts = |offset, limit| -> Vec<(usize, usize)> {
            contributions(&legs, offset, limit).unwrap().iter().map(|part| (part.from, part.count)).collect()
        };
        assert_eq!(parts(0, 3), [(0, 3), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(parts(8, 9), [(8, 2), (0, 0), (0, 5), (0, 2)]);
        assert_eq!(parts(100, 9), [(10, 0), (0, 0), (5, 0), (7, 0)]);
    }
}
