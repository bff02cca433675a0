//! `/indexes/{uid}/facet-search`.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::client_filter::ClientFilter;
use super::index_read::IndexRead;
use super::read_kinds::FACET_SEARCH;
use super::search::{foreign_filter, merged, refused_by_a_node, worded_by_a_node};
use super::whole_index::index_path;
use super::{facts, reserved_attributes, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{IndexUid, Shard};
use crate::error::ApiError;
use crate::merge::facet_search::merge_facet_searches;
use crate::scatter::NodeRequest;

pub async fn facet_search(
    app: &App,
    uid: &IndexUid,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let body = whole_body(body).await?;
    let path = index_path(&index, "/facet-search");
    let parsed: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let facet = parsed.as_ref().and_then(|members| members.get("facetName")).and_then(Value::as_str).map(str::to_owned);
    let (Some(mut members), Some(facet)) = (parsed, facet) else {
        return worded_by_a_node(app, &snapshot, &NodeRequest::json(Method::POST, path, body)).await;
    };
    reserved_attributes::replace_in(&mut members);
    let mut filter = ClientFilter::new(members.get("filter").cloned().unwrap_or_default());
    if filter.is_foreign() {
        return refused_by_a_node(app, &snapshot, &NodeRequest::json(Method::POST, path, body), foreign_filter).await;
    }
    if let Some(rule) = request.rights.search_filter(uid.as_str()) {
        filter = filter.under_rule(rule);
        members.insert("filter".to_owned(), filter.json().clone());
    }
    let body = Bytes::from(Value::Object(members.clone()).to_string());
    let read = IndexRead::of_all_shards(app, &snapshot, &index, xxh3_64(&body)).narrowed(&filter.narrowing(&index));
    let request_for = |shards: Option<&[Shard]>| {
        let body = match shards {
            None => body.clone(),
            Some(shards) => {
                let mut members = members.clone();
                members.insert("filter".to_owned(), filter.restricted(shards));
                Bytes::from(Value::Object(members).to_string())
            }
        };
        NodeRequest::json(Method::POST, path.clone(), body)
    };
    let (legs, missing) = read.legs(FACET_SEARCH, request_for).await?;
    merged(merge_facet_searches(&legs, &facet, &facts::of(&index)), &missing)
}
