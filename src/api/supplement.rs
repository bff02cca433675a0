//! What a merge needs and the legs' answers do not say: whether nodes know the query's last word, values of fields that searches
//! do not show, how many values of the distinct attribute there are, and how many hits under a threshold. Most searches need none of it, and cost nothing here.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::index_read::IndexRead;
use super::read_kinds::{COUNT, DOCUMENTS, SEARCH};
use super::search::merge_failed;
use super::search_request::{SearchRequest, Supplement};
use super::whole_index::index_path;
use super::{exactness, facts};
use crate::cluster::Shard;
use crate::documents::shard_of_document_id;
use crate::error::ApiError;
use crate::merge::distinct_total::distinct_total;
use crate::merge::hidden::{key_text, HiddenFields, HiddenValues};
use crate::merge::search::ThresholdTotal;
use crate::merge::stages::StageWords;
use crate::merge::{IndexFacts, Leg, MergeError};
use crate::scatter::NodeRequest;

/// Finds out what the merge of `legs` needs. Legs that must show more hits are replaced.
pub async fn of(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    legs: &mut [Leg],
    facts: &IndexFacts,
) -> Result<Supplement, ApiError> {
    let known = Supplement { denied: exactness::denied(read, search, legs, facts).await?, ..Supplement::NONE };
    let legs = &*legs;
    let undecided = |key: &str, fields: &HiddenFields| search.keys_to_read(legs, facts, key, fields, &known);
    let hidden = hidden_values(read, search, facts, undecided).await?;
    let distinct_total = match search.distinct_to_count(legs, facts).map_err(merge_failed)? {
        Some(attribute) => count_distinct(read, search, attribute, facts).await?,
        None => None,
    };
    let counted = match search.threshold_total(legs, facts).map_err(merge_failed)? {
        ThresholdTotal::Sum => None,
        ThresholdTotal::Unlimited => Some(counted(read, &search.for_counts(), facts).await?),
    };
    Ok(Supplement { hidden, distinct_total, counted, ..known })
}

/// Finds out what the merge of several searches that stand for one needs.
pub async fn of_stages(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    stages: &[(StageWords, Vec<Leg>)],
    facts: &IndexFacts,
) -> Result<Supplement, ApiError> {
    let undecided = |key: &str, fields: &HiddenFields| search.keys_to_read_of_stages(stages, facts, key, fields);
    let hidden = hidden_values(read, search, facts, undecided).await?;
    Ok(Supplement { hidden, ..Supplement::NONE })
}

/// Reads the hidden fields of hits from lists of documents, which show every field. `None` when the order does not depend on
/// any, or when hits do not show by which key their documents could be read: then hits of different nodes that only a hidden
/// field tells apart come in the order of their shards.
async fn hidden_values<'a>(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    facts: &IndexFacts,
    undecided: impl FnOnce(&str, &HiddenFields) -> Result<Vec<&'a [u8]>, MergeError>,
) -> Result<Option<HiddenValues>, ApiError> {
    let fields = search.hidden_fields(facts);
    let Some(key) = facts.shown_primary_key().filter(|_| !fields.is_empty()) else { return Ok(None) };
    let keys = undecided(key, &fields).map_err(merge_failed)?;
    if keys.is_empty() {
        return Ok(None);
    }
    Ok(Some(read_hidden(read, fields, key, keys.into_iter().map(key_text).collect()).await?))
}

/// Reads hidden fields of the documents with these primary keys.
pub async fn read_hidden(
    read: &IndexRead<'_>,
    fields: HiddenFields,
    key: &str,
    keys: Vec<String>,
) -> Result<HiddenValues, ApiError> {
    let shard_of = |key: String| (shard_of_document_id(&key, read.index.shard_count), key);
    let mut by_shard: Vec<(Shard, String)> = keys.into_iter().map(shard_of).collect();
    by_shard.sort();
    by_shard.dedup();
    let mut shards: Vec<Shard> = by_shard.iter().map(|(shard, _)| *shard).collect();
    shards.dedup();
    let mut to_read = fields.to_read();
    to_read.push(key);
    let request_for = |shards: &[Shard], _: Option<&[Shard]>| {
        let ids = by_shard.iter().filter(|(shard, _)| shards.contains(shard)).map(|(_, key)| key.as_str());
        let ids: Vec<&str> = ids.collect();
        let body = json!({ "limit": ids.len(), "ids": ids, "fields": to_read });
        NodeRequest::json(Method::POST, index_path(read.index, "/documents/fetch"), Bytes::from(body.to_string()))
    };
    // What cannot be had is missing from the values, and ranks as it would without them.
    let (lists, _missing) = read.legs_of(DOCUMENTS, &shards, request_for).await?;
    let mut values = HiddenValues::new(key.to_owned(), fields);
    for (n, list) in lists.iter().enumerate() {
        values.add(n, &list.body).map_err(merge_failed)?;
    }
    Ok(values)
}

async fn counted(read: &IndexRead<'_>, search: &SearchRequest, facts: &IndexFacts) -> Result<Vec<Leg>, ApiError> {
    let path = index_path(read.index, "/search");
    let request_for =
        |shards: Option<&[Shard]>| NodeRequest::json(Method::POST, path.clone(), search.leg_body(shards, facts));
    Ok(read.legs(SEARCH, request_for).await?.0)
}

async fn count_distinct(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    attribute: &str,
    facts: &IndexFacts,
) -> Result<Option<u64>, ApiError> {
    let path = index_path(read.index, "/search");
    let request_for = |shards: Option<&[Shard]>| {
        NodeRequest::json(Method::POST, path.clone(), search.distinct_body(attribute, shards, facts))
    };
    let (legs, _missing) = read.legs(COUNT, request_for).await?;
    let listed_max = facts::node_max_values_per_facet(&read.index.settings) as usize;
    distinct_total(&legs, attribute, listed_max).map_err(merge_failed)
}
