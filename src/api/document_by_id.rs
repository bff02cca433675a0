//! One document by its id.

use xxhash_rust::xxh3::xxh3_64;

use super::index_read::{settings_stale, shards_unavailable};
use super::query_string::percent_encode;
use super::whole_index::index_path;
use super::{Forward, Plan, Request};
use crate::app::App;
use crate::cluster::{CoveringSet, IndexUid};
use crate::documents::shard_of_document_id;
use crate::error::ApiError;

/// One replica of the document's shard answers, streamed through.
pub fn one(app: &App, uid: &IndexUid, id: &str, request: &Request<'_>) -> Result<Plan, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let shard = shard_of_document_id(id, index.shard_count);
    let seed = xxh3_64(id.as_bytes());
    let mut candidates = Vec::new();
    // Each choice excludes those before it: the order in which the replicas are tried.
    while let [leg] = CoveringSet::choose(&snapshot, &index, &[shard], seed, &candidates).legs.as_slice() {
        candidates.push(leg.node);
    }
    if let (Some(floor), true) = (snapshot.settings_floor(), candidates.is_empty()) {
        return Err(settings_stale(floor));
    }
    if candidates.is_empty() {
        return Err(shards_unavailable(&[shard]));
    }
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path_and_query = index_path(&index, &format!("/documents/{}{query}", percent_encode(id)));
    Ok(Plan::Forward(Forward { candidates, path_and_query, settings: None, is_document: true }))
}
