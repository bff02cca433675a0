//! `/indexes/{uid}/facet-search`.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::index_read::IndexRead;
use super::search::{merged, worded_by_a_node};
use super::whole_index::index_path;
use super::{facts, restriction, whole_body, Answer, Body, Request};
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
    let (snapshot, index) = app.index(uid)?;
    let body = whole_body(body).await?;
    let path = index_path(uid, "/facet-search");
    let parsed: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let facet = parsed.as_ref().and_then(|members| members.get("facetName")).and_then(Value::as_str).map(str::to_owned);
    let (Some(mut members), Some(facet)) = (parsed, facet) else {
        return worded_by_a_node(app, &snapshot, &NodeRequest::json(Method::POST, path, body)).await;
    };
    let body = match request.rights.search_filter(uid.as_str()) {
        None => body,
        Some(rule) => {
            let filter = members.remove("filter").unwrap_or(Value::Null);
            members.insert("filter".to_owned(), restriction::with_rule(filter, rule));
            Bytes::from(Value::Object(members.clone()).to_string())
        }
    };
    let read = IndexRead::of_all_shards(app, &snapshot, &index, xxh3_64(&body));
    let request_for = |shards: Option<&[Shard]>| {
        let body = match shards {
            None => body.clone(),
            Some(shards) => {
                let mut members = members.clone();
                let filter = members.remove("filter").unwrap_or(Value::Null);
                members.insert("filter".to_owned(), restriction::restrict(filter, shards));
                Bytes::from(Value::Object(members).to_string())
            }
        };
        NodeRequest::json(Method::POST, path.clone(), body)
    };
    let (legs, missing) = read.legs(request_for).await?;
    merged(merge_facet_searches(&legs, &facet, &facts::of(&index)), &missing)
}
