//! `/indexes/{uid}/search`: scatter over a covering set, merge by rank.

use http::Method;

use super::coalescing::SearchIdentity;
use super::frequency::{self, Plan};
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::read_kinds::SEARCH;
use super::search_request::{Meaning, ParsedSearch, SearchRequest};
use super::whole_index::index_path;
use super::{facts, hybrid, supplement, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::error::{ApiError, Code};
use crate::merge::MergeError;
use crate::scatter::NodeRequest;

pub async fn search(
    app: &App,
    uid: &IndexUid,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let (parsed, unchanged) = if verb == Verb::Get {
        let query = request.query.unwrap_or("");
        (SearchRequest::from_query(query), NodeRequest::get(index_path(&index, "/search?") + query))
    } else {
        let body = whole_body(body).await?;
        (SearchRequest::from_json(&body), NodeRequest::json(Method::POST, index_path(&index, "/search"), body))
    };
    match parsed {
        ParsedSearch::Search(search) if search.filter().is_foreign() => {
            refused_by_a_node(app, &snapshot, &unchanged, foreign_filter).await
        }
        ParsedSearch::Search(search) => {
            let search = match request.rights.search_filter(uid.as_str()) {
                Some(rule) => search.under_rule(rule),
                None => *search,
            };
            let over_fetch = over_fetch_of(app, request, &search)?;
            let identity = identity(app, uid, &snapshot, request, &search, over_fetch);
            let execute = || answered(app, &snapshot, &index, search, over_fetch);
            app.searches.share(identity, execute).await
        }
        ParsedSearch::PassThrough => worded_by_a_node(app, &snapshot, &unchanged).await,
    }
}

/// What a search must have in common with another one to share its answer. `None` where nothing is shared.
pub fn identity(
    app: &App,
    uid: &IndexUid,
    snapshot: &Snapshot,
    request: &Request<'_>,
    search: &SearchRequest,
    over_fetch: usize,
) -> Option<SearchIdentity> {
    app.searches.is_enabled().then(|| SearchIdentity {
        index: uid.clone(),
        snapshot_epoch: snapshot.epoch,
        settings_floor: snapshot.settings_floor(),
        tasks_ended: app.tasks.ended(),
        rights: request.rights.identity(),
        over_fetch,
        canonical_search: search.canonical(),
    })
}

/// The factor by which nodes are asked for more hits than this search's page needs: 1 if it finds none by meaning.
pub fn over_fetch_of(app: &App, request: &Request<'_>, search: &SearchRequest) -> Result<usize, ApiError> {
    match search.meaning() {
        Some(_) => over_fetch(app, request),
        None => Ok(1),
    }
}

/// Answers a search as a request of its own.
pub async fn answered(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    search: SearchRequest,
    over_fetch: usize,
) -> Result<Answer, ApiError> {
    let search = search.hiding_expired(hidden_until(app, index));
    let read = IndexRead::of_all_shards(app, snapshot, index, search.fingerprint());
    let read = read.narrowed(&search.filter().narrowing(index));
    match search.meaning() {
        Some(meaning) => by_meaning(&read, search, meaning, over_fetch).await,
        None => by_words(&read, search).await,
    }
}

async fn by_words(read: &IndexRead<'_>, search: SearchRequest) -> Result<Answer, ApiError> {
    match frequency::plan(read, search).await? {
        Plan::OneSearch(search) => scattered(read, &search).await,
        Plan::Stages(stages) => frequency::answer(read, stages).await,
    }
}

/// Header with which a client asks for more or fewer hits from each node than configured.
pub const OVER_FETCH: &str = "x-miroir-over-fetch";

/// Limits of the factor by which nodes are asked for more hits than a page needs.
pub const OVER_FETCH_RANGE: std::ops::RangeInclusive<u64> = 1..=20;

/// The factor by which nodes are asked for more hits by meaning than a page needs.
pub fn over_fetch(app: &App, request: &Request<'_>) -> Result<usize, ApiError> {
    let Some(asked) = request.over_fetch else { return Ok(app.config.vector_search.over_fetch_factor) };
    let factor = asked.parse::<u64>().ok().filter(|factor| OVER_FETCH_RANGE.contains(factor));
    factor.map(|factor| factor as usize).ok_or_else(|| {
        let (least, most) = (OVER_FETCH_RANGE.start(), OVER_FETCH_RANGE.end());
        let message = format!("The header `{OVER_FETCH}` has to be a number from {least} to {most}, but is `{asked}`.");
        ApiError::new(Code::BadRequest, message)
    })
}

async fn by_meaning(
    read: &IndexRead<'_>,
    search: SearchRequest,
    meaning: Meaning,
    over_fetch: usize,
) -> Result<Answer, ApiError> {
    let facts = facts::of(read.snapshot, read.index);
    match (meaning, facts.shown_primary_key()) {
        (Meaning::BesideWords(ratio), Some(key)) => hybrid::answer(read, search.with_key(key), ratio, over_fetch).await,
        // Documents that two lists show cannot be told to be the same, so each node weighs its own hits.
        _ => scattered(read, &hybrid::for_one_vector(read, search).await?.with_over_fetch(over_fetch)).await,
    }
}

/// Answers a search that is one to the nodes.
pub async fn scattered(read: &IndexRead<'_>, search: &SearchRequest) -> Result<Answer, ApiError> {
    let facts = facts::of(read.snapshot, read.index);
    let path = index_path(read.index, "/search");
    let request_for = |leg: &[Shard], restriction: Option<&[Shard]>| {
        let body = match read.is_whole(leg) {
            true => search.whole_body(restriction),
            false => search.leg_body(restriction, &facts),
        };
        NodeRequest::json(Method::POST, path.clone(), body)
    };
    let (mut legs, missing) = match read.legs_of(SEARCH, &read.shards, request_for).await {
        // Meilisearch repeats the whole filter in such a message, which must be the client's own.
        Err(error) if error.is(Code::InvalidSearchFilter) => {
            let unrestricted = NodeRequest::json(
                Method::POST,
                path.clone(),
                search.clone().hiding_expired(None).leg_body(None, &facts),
            );
            read.app.scatter.first_answer(&read.snapshot.serving_nodes(), &unrestricted).await?;
            return Err(error);
        }
        read => read?,
    };
    match legs.as_mut_slice() {
        [leg] if read.is_whole(&leg.shards) => {
            read.app.metrics.query_plan_one_node.inc();
            merged(search.only_answer(leg, &facts), &missing)
        }
        legs => {
            let supplement = supplement::of(read, search, legs, &facts).await?;
            merged(search.merge(legs, &facts, &supplement), &missing)
        }
    }
}

/// The answer of a merge, with what it lacks in its header.
pub fn merged(result: Result<bytes::Bytes, MergeError>, missing: &[Shard]) -> Result<Answer, ApiError> {
    Ok(Answer::json_bytes(200, result.map_err(merge_failed)?).without_shards(missing))
}

/// The error that a client gets when nodes answered what they should not.
pub fn merge_failed(error: MergeError) -> ApiError {
    log::error!("merge: {error}");
    ApiError::new(Code::Internal, format!("The nodes' answers cannot be merged: {error}."))
}

/// Gets Meilisearch's own error for a request that it will not accept. Should it accept it after all, Miroir has misread the
/// request, and one node's answer would be a part that looks like the whole.
pub async fn worded_by_a_node(app: &App, snapshot: &Snapshot, request: &NodeRequest) -> Result<Answer, ApiError> {
    let misread = || ApiError::new(Code::BadRequest, "The request has a value that Miroir cannot read.");
    refused_by_a_node(app, snapshot, request, misread).await
}

/// Gets Meilisearch's own error for a request, or `otherwise` if Meilisearch would accept what Miroir cannot do.
pub async fn refused_by_a_node(
    app: &App,
    snapshot: &Snapshot,
    request: &NodeRequest,
    otherwise: fn() -> ApiError,
) -> Result<Answer, ApiError> {
    app.scatter.first_answer(&snapshot.serving_nodes(), request).await?;
    Err(otherwise())
}

/// Each node would look for documents of the other index among those that it holds of it.
pub fn foreign_filter() -> ApiError {
    ApiError::new(Code::MiroirNotSupported, "Miroir does not filter by documents of another index (`_foreign`).")
}
