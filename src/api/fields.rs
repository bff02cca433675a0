//! `/indexes/{uid}/fields`: the fields of an index and what each can be used for.

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::index_read::IndexRead;
use super::read_kinds::FIELDS;
use super::search::{merged, worded_by_a_node};
use super::whole_index::index_path;
use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::IndexUid;
use crate::error::ApiError;
use crate::merge::fields::merge_fields;
use crate::scatter::NodeRequest;

/// Meilisearch's default of `limit`.
const LIMIT_DEFAULT: usize = 20;
/// Fields that an index can have: the engine numbers them with 16 bits.
const FIELDS_MAX: usize = 1 << 16;

pub async fn fields(app: &App, uid: &IndexUid, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let body = whole_body(body).await?;
    let path = index_path(&index, "/fields");
    let Some((members, offset, limit)) = paged(&body) else {
        return worded_by_a_node(app, &snapshot, &NodeRequest::json(Method::POST, path, body)).await;
    };
    let body = Bytes::from(Value::Object(members).to_string());
    let seed = xxh3_64(index.node_uid.as_str().as_bytes());
    // Nodes know fields of all documents that they hold, whatever their shards.
    let request_for = |_: Option<&[_]>| NodeRequest::json(Method::POST, path.clone(), body.clone());
    let (legs, missing) = IndexRead::of_all_shards(app, &snapshot, &index, seed).legs(FIELDS, request_for).await?;
    merged(merge_fields(&legs, offset, limit), &missing)
}

/// What each node is asked, which is everything, with the page that the client wants. `None` where Meilisearch would refuse it.
fn paged(body: &[u8]) -> Option<(Map<String, Value>, usize, usize)> {
    let mut members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let number = |value: Option<Value>, default: usize| match value {
        None => Some(default),
        Some(value) => value.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    let offset = number(members.insert("offset".to_owned(), json!(0)), 0)?;
    let limit = number(members.insert("limit".to_owned(), json!(FIELDS_MAX)), LIMIT_DEFAULT)?;
    Some((members, offset, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_asked_for_everything_and_the_page_is_cut_here() {
        let (members, offset, limit) = paged(br#"{"filter":{"displayed":true},"limit":3}"#).unwrap();
        assert_eq!((offset, limit), (0, 3));
        assert_eq!(Value::Object(members), json!({"filter": {"displayed": true}, "limit": FIELDS_MAX, "offset": 0}));
        for refused in ["", "[]", r#"{"limit":-1}"#, r#"{"offset":"1"}"#, r#"{"limit":null}"#] {
            assert!(paged(refused.as_bytes()).is_none(), "{refused}");
        }
    }
}
