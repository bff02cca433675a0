//! One document by its id.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::document_list;
use super::hidden_expired::hidden_until;
use super::index_read::{settings_stale, shards_unavailable};
use super::query_string::percent_encode;
use super::whole_index::index_path;
use super::{Forward, Plan, Request};
use crate::app::App;
use crate::cluster::{CoveringSet, Index, IndexUid, NodeIndex, Shard, Snapshot};
use crate::documents::{is_document_id, shard_of_document_id};
use crate::error::ApiError;
use crate::scatter::NodeRequest;

/// What a document's replicas are chosen by.
#[derive(Clone, Debug)]
pub struct DocumentRead {
    snapshot: Arc<Snapshot>,
    index: Arc<Index>,
    shard: Shard,
    seed: u64,
}

impl DocumentRead {
    /// All replicas of the document's shard that may be asked, but for those `tried`, in the order in which they are to be.
    fn replicas(&self, tried: &[NodeIndex]) -> Vec<NodeIndex> {
        let mut unusable = tried.to_vec();
        let choose = |unusable: &[NodeIndex]| {
            CoveringSet::choose(&self.snapshot, &self.index, &[self.shard], self.seed, unusable)
        };
        // Each choice excludes those before it.
        while let [leg] = choose(&unusable).legs.as_slice() {
            unusable.push(leg.node);
        }
        unusable.split_off(tried.len())
    }

    /// Replicas that have come back since the request began.
    pub fn recovered(&self, app: &App, tried: &[NodeIndex]) -> Vec<NodeIndex> {
        match app.scatter.newest_view(&self.snapshot, &self.index) {
            Some((snapshot, index)) => Self { snapshot, index, ..*self }.replicas(tried),
            None => Vec::new(),
        }
    }
}

/// One replica of the document's shard answers, streamed through; where an expired document must not be shown, the answer is a list
/// that it is left out of.
pub async fn one(app: &App, uid: &IndexUid, id: &str, request: &Request<'_>) -> Result<Plan, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let path_and_query = index_path(&index, &format!("/documents/{}{query}", percent_encode(id)));
    // What cannot be an id is no document's.
    if is_document_id(id) && hidden_until(app, &index).is_some() {
        let unchanged = NodeRequest::get(path_and_query);
        return Ok(document_list::only(app, &snapshot, &index, id, request.query, &unchanged).await?.into());
    }
    let shard = shard_of_document_id(id, index.shard_count);
    let document = DocumentRead { snapshot, index, shard, seed: xxh3_64(id.as_bytes()) };
    let candidates = document.replicas(&[]);
    if candidates.is_empty() {
        return Err(match document.snapshot.settings_floor() {
            Some(floor) => settings_stale(floor),
            None => shards_unavailable(&[shard]),
        });
    }
    Ok(Plan::Forward(Forward { candidates, path_and_query, settings: None, document: Some(document) }))
}
