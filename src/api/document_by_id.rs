//! One document by its id.

use xxhash_rust::xxh3::xxh3_64;

use super::index_read::shards_unavailable;
use super::{Forward, Plan};
use crate::app::App;
use crate::cluster::{CoveringSet, IndexUid};
use crate::documents::shard_of_document_id;
use crate::error::ApiError;

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
