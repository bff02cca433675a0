//! `/indexes/{uid}/search`: scatter over a covering set, merge by rank.

use http::Method;

use super::frequency::{self, Plan};
use super::search_request::{ParsedSearch, SearchRequest};
use super::whole_index::index_path;
use super::{facts, restriction, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{CoveringLeg, Index, IndexUid, Shard, Snapshot};
use crate::conf::UnavailableShardPolicy;
use crate::error::{ApiError, Code};
use crate::merge::{Leg, MergeError};
use crate::scatter::{NodeRequest, ReadOutcome};

pub async fn search(
    app: &App,
    uid: &IndexUid,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let (snapshot, index) = app.index(uid)?;
    let (parsed, unchanged) = if verb == Verb::Get {
        (SearchRequest::from_query(request.query.unwrap_or("")), NodeRequest::get(request.path_and_query))
    } else {
        let body = whole_body(body).await?;
        (SearchRequest::from_json(&body), NodeRequest::json(Method::POST, index_path(uid, "/search"), body))
    };
    match parsed {
        ParsedSearch::Search(search) => planned(app, &snapshot, &index, *search).await,
        ParsedSearch::PassThrough => worded_by_a_node(app, &snapshot, &unchanged).await,
    }
}

async fn planned(app: &App, snapshot: &Snapshot, index: &Index, search: SearchRequest) -> Result<Answer, ApiError> {
    match frequency::plan(app, snapshot, index, search).await? {
        Plan::OneSearch(search) => scattered(app, snapshot, index, &search).await,
        Plan::Stages(stages) => frequency::answer(app, snapshot, index, stages).await,
    }
}

async fn scattered(app: &App, snapshot: &Snapshot, index: &Index, search: &SearchRequest) -> Result<Answer, ApiError> {
    let facts = facts::of(index);
    let path = index_path(&index.uid, "/search");
    let request_for = |leg: &CoveringLeg| {
        let shards = restriction::needed(snapshot, index.shard_count, leg);
        NodeRequest::json(Method::POST, path.clone(), search.leg_body(shards, &facts))
    };
    let (legs, missing) = read_all_shards(app, snapshot, index, search.fingerprint(), request_for).await?;
    merged(search.merge(&legs, &facts), &missing)
}

/// Reads every shard of an index once, and counts what could not be had.
pub async fn read_all_shards(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    seed: u64,
    request_for: impl Fn(&CoveringLeg) -> NodeRequest,
) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
    let shards: Vec<Shard> = snapshot.placement(index.shard_count).shards().collect();
    let outcome = app.scatter.read(snapshot, index, &shards, seed, request_for).await?;
    let outcome = complete_enough(app, outcome)?;
    let legs = outcome.legs.into_iter().map(|leg| Leg { shards: leg.shards, body: leg.answer.body });
    Ok((legs.collect(), outcome.missing))
}

/// Applies `unavailable_shard_policy` to a read that lacks shards. A read that lacks all of them is refused in any case.
pub fn complete_enough(app: &App, outcome: ReadOutcome) -> Result<ReadOutcome, ApiError> {
    if outcome.missing.is_empty() {
        return Ok(outcome);
    }
    app.metrics.scatter_partial_responses.inc();
    app.metrics.degraded_shards.inc_by(outcome.missing.len() as u64);
    let refuse = app.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
    if refuse || outcome.legs.is_empty() {
        return Err(shards_unavailable(&outcome.missing));
    }
    Ok(outcome)
}

pub fn shards_unavailable(missing: &[Shard]) -> ApiError {
    let list: Vec<String> = missing.iter().map(Shard::to_string).collect();
    let message = format!("No replica can be reached for the shards {}.", list.join(", "));
    ApiError::new(Code::MiroirShardUnavailable, message)
}

/// The answer of a merge, with what it lacks in its header.
pub fn merged(result: Result<bytes::Bytes, MergeError>, missing: &[Shard]) -> Result<Answer, ApiError> {
    match result {
        Ok(body) => Ok(Answer::json_bytes(200, body).without_shards(missing)),
        Err(error) => {
            log::error!("merge: {error}");
            Err(ApiError::new(Code::Internal, format!("The nodes' answers cannot be merged: {error}.")))
        }
    }
}

/// Gets Meilisearch's own error for a request that it will not accept. Should it accept it after all, Miroir has misread the
/// request, and one node's answer would be a part that looks like the whole.
pub async fn worded_by_a_node(app: &App, snapshot: &Snapshot, request: &NodeRequest) -> Result<Answer, ApiError> {
    app.scatter.first_answer(&snapshot.serving_nodes(), request).await?;
    Err(ApiError::new(Code::BadRequest, "The request has a value that Miroir cannot read."))
}
