//! Searches by meaning: by vector alone, or by words and vector.
//!
//! A node weighs hits by words against hits by meaning, and leaves meaning out, by its own hits. So both parts are asked for by
//! themselves, and weighed once. All legs are asked for the same vector: the client's, or the one that a single node makes of
//! the words, so that an embedding service is asked once for a search and not once per node.

use bytes::Bytes;
use futures_util::future::try_join;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::facts;
use super::index_read::IndexRead;
use super::read_kinds::SEARCH;
use super::search::merged;
use super::search_request::SearchRequest;
use super::whole_index::index_path;
use super::Answer;
use crate::cluster::Shard;
use crate::error::{ApiError, Code};
use crate::merge::hybrid::Weights;
use crate::merge::{IndexFacts, Leg};
use crate::scatter::NodeRequest;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithVector {
    query_vector: Option<Box<RawValue>>,
}

/// The same search for one vector. A node that does not tell the vector (before 1.50) leaves each to make its own: the same
/// one, at more cost.
pub async fn for_one_vector(read: &IndexRead<'_>, search: SearchRequest) -> Result<SearchRequest, ApiError> {
    let Some(body) = search.vector_body() else { return Ok(search) };
    let request = NodeRequest::json(Method::POST, index_path(read.index, "/search"), body);
    let answer = read.app.scatter.first_answer(&read.snapshot.serving_nodes(), &request).await?;
    let answer: WithVector = serde_json::from_slice(&answer.body)
        .map_err(|error| ApiError::new(Code::Internal, format!("A node's answer cannot be read: {error}.")))?;
    Ok(match answer.query_vector {
        Some(vector) => search.with_vector(vector),
        None => search,
    })
}

/// Answers a search by words and by meaning, the hits of which show their primary key.
pub async fn answer(
    read: &IndexRead<'_>,
    search: SearchRequest,
    semantic_ratio: f64,
    over_fetch: usize,
) -> Result<Answer, ApiError> {
    let facts = &facts::of(read.snapshot, read.index);
    let weights = Weights::of_ratio(semantic_ratio);
    let how = (weights, read.app.config.vector_search.hybrid_fusion);
    let words = search.clone().by_words();
    let is_page_empty = search.paging().positions(facts.max_total_hits).end == 0;
    if (weights.may_leave_meaning_out() || is_page_empty) && search.fits_embedders(&read.index.settings) {
        // One after the other, as one server does it: most of the time words decide whether there is anything else to do.
        let (words, missing) = legs(read, &words, facts).await?;
        if let Some(answer) = search.words_suffice(&words, weights, facts).transpose() {
            return merged(answer, &missing);
        }
        return match meaning(read, &search, over_fetch, facts).await? {
            Some((meaning, also_missing)) => {
                merged(search.merge_hybrid(&words, &meaning, how, facts), &either(missing, also_missing))
            }
            None => merged(search.words_alone(&words, facts), &missing),
        };
    }
    let words = legs(read, &words, facts);
    match try_join(words, meaning(read, &search, over_fetch, facts)).await? {
        ((words, missing), Some((meaning, also_missing))) => {
            merged(search.merge_hybrid(&words, &meaning, how, facts), &either(missing, also_missing))
        }
        ((words, missing), None) => merged(search.words_alone(&words, facts), &missing),
    }
}

type Legs = (Vec<Leg>, Vec<Shard>);

/// The legs of the part by meaning; `None` if the words cannot be made a vector, in which case Meilisearch answers by words
/// alone.
async fn meaning(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    over_fetch: usize,
    facts: &IndexFacts,
) -> Result<Option<Legs>, ApiError> {
    let asked = async {
        let search = for_one_vector(read, search.clone()).await?;
        legs(read, &search.by_meaning().with_over_fetch(over_fetch), facts).await
    };
    match asked.await {
        Ok(legs) => Ok(Some(legs)),
        Err(error) if error.body.code == "vector_embedding_error" => {
            log::warn!("a query could not be embedded: {}", error.body.message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn legs(read: &IndexRead<'_>, search: &SearchRequest, facts: &IndexFacts) -> Result<Legs, ApiError> {
    let path = index_path(read.index, "/search");
    let body = |shards: Option<&[Shard]>| -> Bytes { search.leg_body(shards, facts) };
    read.legs(SEARCH, |shards| NodeRequest::json(Method::POST, path.clone(), body(shards))).await
}

/// The shards that either part lacks.
fn either(mut missing: Vec<Shard>, also: Vec<Shard>) -> Vec<Shard> {
    missing.extend(also);
    missing.sort_unstable();
    missing.dedup();
    missing
}
