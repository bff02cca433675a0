//! `/indexes/{uid}/facet-search`.

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::client_filter::ClientFilter;
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::read_kinds::FACET_SEARCH;
use super::search::{foreign_filter, merged, refused_by_a_node, worded_by_a_node};
use super::whole_index::index_path;
use super::{facts, reserved_attributes, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::error::ApiError;
use crate::merge::facet_search::merge_facet_searches;
use crate::merge::Leg;
use crate::scatter::NodeRequest;

const PATH: &str = "/facet-search";

/// Of one index, or of several as one: then the order of values is the first one's.
pub async fn facet_search(
    app: &App,
    uids: &[IndexUid],
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let indexes: Vec<_> = uids.iter().map(|uid| request.index(app, uid)).collect::<Result<_, _>>()?;
    let Some((snapshot, first)) = indexes.first() else { return Err(ApiError::index_not_found("")) };
    let body = whole_body(body).await?;
    let unchanged = NodeRequest::json(Method::POST, index_path(first, PATH), body.clone());
    let parsed: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let facet = parsed.as_ref().and_then(|members| members.get("facetName")).and_then(Value::as_str).map(str::to_owned);
    let (Some(mut members), Some(facet)) = (parsed, facet) else {
        return worded_by_a_node(app, snapshot, &unchanged).await;
    };
    reserved_attributes::replace_in(&mut members);
    if ClientFilter::new(members.get("filter").cloned().unwrap_or_default()).is_foreign() {
        return refused_by_a_node(app, snapshot, &unchanged, foreign_filter).await;
    }
    let read = indexes.iter().map(|(snapshot, index)| legs_of(app, snapshot, index, &members, request));
    let mut legs = Vec::new();
    let mut missing = Vec::new();
    for (legs_of_one, missing_of_one) in try_join_all(read).await? {
        legs.extend(legs_of_one);
        missing.extend(missing_of_one);
    }
    missing.sort_unstable();
    missing.dedup();
    merged(merge_facet_searches(&legs, &facet, &facts::of(snapshot, first)), &missing)
}

async fn legs_of(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    members: &Map<String, Value>,
    request: &Request<'_>,
) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
    let mut members = members.clone();
    let mut filter = ClientFilter::new(members.get("filter").cloned().unwrap_or_default());
    if let Some(rule) = request.rights.search_filter(index.uid.as_str()) {
        filter = filter.under_rule(rule);
        members.insert("filter".to_owned(), filter.json().clone());
    }
    let filter = filter.hiding_expired(hidden_until(app, index));
    let body = Bytes::from(Value::Object(members.clone()).to_string());
    let read = IndexRead::of_all_shards(app, snapshot, index, xxh3_64(&body)).narrowed(&filter.narrowing(index));
    let request_for = |shards: Option<&[Shard]>| {
        let body = match filter.restricted(shards) {
            None => body.clone(),
            Some(filter) => {
                let mut members = members.clone();
                members.insert("filter".to_owned(), filter);
                Bytes::from(Value::Object(members).to_string())
            }
        };
        NodeRequest::json(Method::POST, index_path(index, PATH), body)
    };
    read.legs(FACET_SEARCH, request_for).await
}
