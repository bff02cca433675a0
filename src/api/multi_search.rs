//! `/multi-search`: several searches in one request, each answered as by itself.
//!
//! Every query is planned by itself. What the plans ask of one node travels in one request to its own `/multi-search`, as
//! long as the indexes have the same number of shards and no replica lags behind in them: then one covering set serves all.
//! Queries by meaning are asked as by themselves: what each asks next depends on what it was answered.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join, try_join3, try_join_all};
use http::Method;
use serde_json::value::RawValue;
use serde_json::Value;

use super::alias_search;
use super::federated_search::one_list;
use super::federation::Federation;
use super::frequency;
use super::hidden_expired::hidden_until;
use super::index_read::{shards_unavailable, IndexRead};
use super::members::Members;
use super::read_kinds::MULTI_SEARCH;
use super::search::{self, foreign_filter, merge_failed, merged, worded_by_a_node};
use super::search_request::{SearchRequest, Supplement};
use super::{facts, supplement, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::auth::{Denial, Rights};
use crate::cluster::{Alias, AliasKind, Index, IndexUid, Shard, Snapshot};
use crate::error::{ApiError, Code, ErrorBody};
use crate::merge::json;
use crate::merge::multi_search::{results_of, write_results};
use crate::merge::stages::StageWords;
use crate::merge::{IndexFacts, Leg, MergeError};
use crate::scatter::NodeRequest;

pub const PATH: &str = "/multi-search";

/// Several searches as a client asked for them.
struct MultiSearch {
    queries: Vec<Query>,
    /// Set when all of them are answered with one list.
    federation: Option<Federation>,
}

/// One of the searches.
pub struct Query {
    pub index_uid: IndexUid,
    pub search: SearchRequest,
    /// `federationOptions` as the client wrote them.
    pub options: Option<Box<RawValue>>,
    /// The query as the client wrote it, if a client did.
    pub source: Option<Box<RawValue>>,
}

pub async fn multi_search(app: &App, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let snapshot = app.cluster.snapshot();
    let unchanged = NodeRequest::json(Method::POST, PATH, body.clone());
    let Some(MultiSearch { queries, federation }) = MultiSearch::from_json(&body) else {
        return worded_by_a_node(app, &snapshot, &unchanged).await;
    };
    check_query_count(app, queries.len())?;
    let queries = under_rights(&snapshot, queries, request.rights)?;
    for name in federation.iter().flat_map(Federation::indexes_of_facets) {
        let within = |denial: Denial| inside(&format!(".federation.facetsByIndex.{name}"), denial.into());
        request.rights.check_facets_of(name).map_err(within)?;
    }
    // No node knows what such a name stands for, so none could say what is wrong.
    let names_several = queries.iter().any(|query| snapshot.stands_for(&query.index_uid).len() > 1);
    let over_fetch = match queries.iter().any(|query| query.search.meaning().is_some()) {
        true => search::over_fetch(app, request)?,
        false => 1,
    };
    // What does not exist is found out when it is looked for.
    let named = queries.iter().flat_map(|query| snapshot.stands_for(&query.index_uid));
    let named: Vec<&Index> = named.filter_map(|uid| snapshot.index(uid)).map(AsRef::as_ref).collect();
    let snapshot = request.accepting(Arc::clone(&snapshot), &named)?;
    let answered = match federation {
        None => plain(app, &snapshot, queries, request.rights, over_fetch).await,
        // Any node knows what there is to say about nothing.
        Some(_) if queries.is_empty() => {
            let answer = app.scatter.first_answer(&snapshot.serving_nodes(), &unchanged).await;
            answer.map(|answer| Answer::json_bytes(answer.status, answer.body))
        }
        Some(federation) => one_list(app, &snapshot, queries, &federation, true).await,
    };
    match answered {
        Err(error) if !names_several && (is_refusal(&error) || error.is(Code::MiroirNotSupported)) => {
            Err(as_one_server_words_it(app, &snapshot, &body, error).await)
        }
        answered => answered,
    }
}

impl MultiSearch {
    /// `None` when Miroir cannot read some value that it needs, so that Meilisearch will not accept it either.
    fn from_json(body: &[u8]) -> Option<Self> {
        let mut members: Members = serde_json::from_slice(body).ok()?;
        let queries: Vec<Box<RawValue>> = serde_json::from_str(members.take("queries")?.get()).ok()?;
        let queries = queries.into_iter().map(Query::from_json).collect::<Option<_>>()?;
        let federation = match members.take("federation").filter(|federation| federation.get() != "null") {
            Some(federation) => Some(Federation::from_json(federation.get())?),
            None => None,
        };
        members.0.is_empty().then_some(Self { queries, federation })
    }
}

impl Query {
    fn from_json(source: Box<RawValue>) -> Option<Self> {
        let (index_uid, options, members) = Self::parts(&source)?;
        Some(Self { index_uid, search: SearchRequest::from_members(members)?, options, source: Some(source) })
    }

    /// Its index, its `federationOptions`, and the search.
    fn parts(source: &RawValue) -> Option<(IndexUid, Option<Box<RawValue>>, Members)> {
        let mut members: Members = serde_json::from_str(source.get()).ok()?;
        let index_uid: String = serde_json::from_str(members.take("indexUid")?.get()).ok()?;
        let index_uid = IndexUid::parse(&index_uid).ok()?;
        let options = members.take("federationOptions").filter(|options| options.get() != "null");
        for paging in ["offset", "limit"] {
            // Here, other than in a search by itself, they may be `null`.
            if members.get(paging) == Some("null") {
                members.take(paging);
            }
        }
        Some((index_uid, options, members))
    }

    /// The index that this query is of, if it is one that can be answered by itself; `n` is its place among the queries.
    fn index_in<'a>(&self, snapshot: &'a Snapshot, n: usize) -> Result<&'a Index, ApiError> {
        if self.options.is_some() {
            return Err(options_without_federation());
        }
        let index = index_of(snapshot, &self.index_uid, n)?;
        if self.search.filter().is_foreign() {
            return Err(foreign_filter());
        }
        Ok(index)
    }
}

fn check_query_count(app: &App, count: usize) -> Result<(), ApiError> {
    let max = app.config.multi_search.max_queries;
    if count <= max {
        return Ok(());
    }
    let message = format!("A request may have up to {max} queries (`multi_search.max_queries`); this one has {count}.");
    Err(ApiError::new(Code::MiroirTooManyQueries, message))
}

/// What the client may see of each query's index, whether or not there is one list of all. Of an alias' targets it must have the
/// right to each.
fn under_rights(snapshot: &Snapshot, queries: Vec<Query>, rights: &Rights) -> Result<Vec<Query>, ApiError> {
    let under_rights = |(n, mut query): (usize, Query)| {
        let targets = snapshot.stands_for(&query.index_uid);
        rights.check_query(&query.index_uid, targets).map_err(|denial| inside_query(n, denial.into()))?;
        // Several are searched under a rule each.
        if let [target] = targets {
            if let Some(rule) = rights.search_filter(target.as_str()) {
                query.search = query.search.under_rule(rule);
            }
        }
        Ok(query)
    };
    queries.into_iter().enumerate().map(under_rights).collect()
}

/// Whether an error says that the request is at fault.
pub fn is_refusal(error: &ApiError) -> bool {
    (400..500).contains(&error.status)
}

/// Of several faults Meilisearch names the one it comes to first, and says in which query. A node that is given the client's
/// own request names the same one in the same words.
async fn as_one_server_words_it(app: &App, snapshot: &Snapshot, body: &Bytes, error: ApiError) -> ApiError {
    let in_nodes_names = in_nodes_names(snapshot, body);
    let is_renamed = in_nodes_names.is_some();
    let request = NodeRequest::json(Method::POST, PATH, in_nodes_names.unwrap_or_else(|| body.clone()));
    match app.scatter.first_answer(&snapshot.serving_nodes(), &request).await {
        Err(mut worded) if is_refusal(&worded) => {
            for index in snapshot.indexes().filter(|_| is_renamed) {
                worded.body = worded.body.naming(&index.node_uid, &index.uid);
            }
            worded
        }
        // The node does not see the fault: it may have an index whose deletion it has yet to hear of.
        _ => error,
    }
}

/// The index that the `n`th query is of.
pub fn index_of<'a>(snapshot: &'a Snapshot, uid: &IndexUid, n: usize) -> Result<&'a Index, ApiError> {
    let name = match snapshot.alias(uid) {
        None => uid,
        Some(Alias { kind: AliasKind::Single, targets, .. }) => targets.first().unwrap_or(uid),
        Some(_) => {
            let message = format!(
                "Inside `.queries[{n}]`: alias `{uid}` stands for several indexes; a federated search has a query for each."
            );
            return Err(ApiError::new(Code::MiroirNotSupported, message));
        }
    };
    match snapshot.index(name) {
        Some(index) => Ok(index),
        None => {
            let error = inside_query(n, ApiError::index_not_found(uid.as_str()));
            // Meilisearch's status: what is missing is not what the path names.
            Err(ApiError { status: 400, ..error })
        }
    }
}

/// The client's request in the nodes' names of its indexes. `None` when these are the client's own.
fn in_nodes_names(snapshot: &Snapshot, body: &[u8]) -> Option<Bytes> {
    let renamed = |name: &str| {
        let uid = IndexUid::parse(name).ok()?;
        let index = index_of(snapshot, &uid, 0).ok()?;
        (index.node_uid != uid).then(|| index.node_uid.to_string())
    };
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let mut is_renamed = false;
    for query in request.get_mut("queries").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(name) = query.get("indexUid").and_then(Value::as_str).and_then(renamed) {
            query["indexUid"] = name.into();
            is_renamed = true;
        }
    }
    if let Some(facets) = request.pointer_mut("/federation/facetsByIndex").and_then(Value::as_object_mut) {
        let by_nodes = std::mem::take(facets).into_iter();
        *facets = by_nodes.map(|(name, facets)| (renamed(&name).unwrap_or(name), facets)).collect();
    }
    is_renamed.then(|| request.to_string().into())
}

/// One query, and how it is put to the nodes.
struct Planned<'a> {
    /// The index by the name that the client has for it.
    shown: IndexUid,
    index: &'a Index,
    facts: IndexFacts,
    /// The shards in which anything can be found.
    shards: Vec<Shard>,
    plan: frequency::Plan,
}

impl Planned<'_> {
    /// The searches that nodes are asked.
    fn searches(&self) -> Vec<&SearchRequest> {
        match &self.plan {
            frequency::Plan::OneSearch(search) => vec![search],
            frequency::Plan::Stages(staged) => {
                staged.stages.iter().map(|(_, search)| search).chain(staged.counts.as_deref()).collect()
            }
        }
    }

    /// The answer to the client, from those to [`Planned::searches`].
    async fn merge(&self, read: &IndexRead<'_>, mut answers: Vec<Vec<Leg>>) -> Result<Bytes, ApiError> {
        match &self.plan {
            frequency::Plan::OneSearch(search) => {
                let mut legs = answers.pop().unwrap_or_default();
                let supplement = supplement::of(read, search, &mut legs, &self.facts).await?;
                search.merge(&legs, &self.facts, &supplement)
            }
            frequency::Plan::Stages(staged) => {
                let counted = staged.counts.as_ref().and_then(|_| answers.pop());
                let words = staged.stages.iter().map(|(words, _)| *words);
                let stages: Vec<(StageWords, Vec<Leg>)> = words.zip(answers).collect();
                let supplement = supplement::of_stages(read, &staged.search, &stages, &self.facts);
                let (supplement, found) = try_join(supplement, staged.found(read)).await?;
                // What it lacks the other answers lack too, or the node has failed since.
                let supplement = Supplement { counted, found: found.map(|(legs, _missing)| legs), ..supplement };
                staged.search.merge_stages(&stages, &self.facts, &supplement)
            }
        }
        .map_err(merge_failed)
    }
}

/// The result of a query: its place, what the client called the index, and what was found.
type QueryResult = (usize, IndexUid, Bytes);

async fn plain(
    app: &App,
    snapshot: &Snapshot,
    queries: Vec<Query>,
    rights: &Rights,
    over_fetch: usize,
) -> Result<Answer, ApiError> {
    let seed = queries.iter().fold(0, |seed: u64, query| seed.rotate_left(7) ^ query.search.fingerprint());
    let (of_several, of_one): (Vec<_>, Vec<_>) =
        queries.into_iter().enumerate().partition(|(_, query)| snapshot.stands_for(&query.index_uid).len() > 1);
    let (by_meaning, by_words): (Vec<_>, Vec<_>) =
        of_one.into_iter().partition(|(_, query)| query.search.meaning().is_some());
    let by_meaning = by_meaning.into_iter().map(|(n, query)| result_by_meaning(app, snapshot, n, query, over_fetch));
    let of_several = of_several.iter().map(|(n, query)| result_of_several(app, snapshot, *n, query, rights));
    let ((mut results, missing), by_meaning, of_several) =
        try_join3(results_of_one(app, snapshot, by_words, seed), try_join_all(by_meaning), try_join_all(of_several))
            .await?;
    let mut degraded = None;
    for (result, degraded_now) in by_meaning.into_iter().chain(of_several) {
        results.push(result);
        degraded = degraded.or(degraded_now);
    }
    results.sort_unstable_by_key(|(n, ..)| *n);
    let named: Vec<(&str, Bytes)> = results.iter().map(|(_, uid, body)| (uid.as_str(), body.clone())).collect();
    let answer = merged(write_results(&named), &missing)?;
    Ok(Answer { degraded: answer.degraded.or(degraded), ..answer })
}

/// Of a query by meaning, answered as a search of its own; with what the result lacks.
async fn result_by_meaning(
    app: &App,
    snapshot: &Snapshot,
    n: usize,
    query: Query,
    over_fetch: usize,
) -> Result<(QueryResult, Option<String>), ApiError> {
    let index = query.index_in(snapshot, n)?;
    let answer = search::answered(app, snapshot, index, query.search, over_fetch).await?;
    Ok(((n, query.index_uid, answer.body), answer.degraded))
}

/// Of a query by an alias that stands for several indexes; with what the result lacks.
async fn result_of_several(
    app: &App,
    snapshot: &Snapshot,
    n: usize,
    query: &Query,
    rights: &Rights,
) -> Result<(QueryResult, Option<String>), ApiError> {
    if query.options.is_some() {
        return Err(options_without_federation());
    }
    let (_, _, members) =
        query.source.as_deref().and_then(Query::parts).ok_or_else(|| cannot_be_read(n, "no query", 0))?;
    let answer = alias_search::result_of_query(app, snapshot, &query.index_uid, members, rights).await;
    let answer = answer.map_err(|error| inside_query(n, error))?;
    Ok(((n, query.index_uid.clone(), answer.body), answer.degraded))
}

async fn results_of_one(
    app: &App,
    snapshot: &Snapshot,
    queries: Vec<(usize, Query)>,
    seed: u64,
) -> Result<(Vec<QueryResult>, Vec<Shard>), ApiError> {
    let places: Vec<usize> = queries.iter().map(|(n, _)| *n).collect();
    let planned = queries.into_iter().map(|(n, query)| plan(app, snapshot, n, query, seed));
    let planned = try_join_all(planned).await?;
    let indexes: Vec<&Index> = planned.iter().map(|query| query.index).collect();
    let groups = groups_of(snapshot, &indexes);
    let read = groups.iter().map(|group| read_group(app, snapshot, &planned, group, seed));
    let mut bodies = vec![Bytes::new(); planned.len()];
    let mut missing = Vec::new();
    for (group, (answers, missing_now)) in groups.iter().zip(try_join_all(read).await?) {
        missing.extend(missing_now);
        for (&n, answers) in group.iter().zip(answers) {
            if answers.iter().any(Vec::is_empty) {
                return Err(shards_unavailable(&missing));
            }
            let mut read = IndexRead::of_all_shards(app, snapshot, planned[n].index, seed);
            read.shards.clone_from(&planned[n].shards);
            bodies[n] = planned[n].merge(&read, answers).await?;
        }
    }
    missing.sort_unstable();
    missing.dedup();
    let shown = planned.into_iter().map(|query| query.shown);
    let results = places.into_iter().zip(shown).zip(bodies).map(|((n, uid), body)| (n, uid, body));
    Ok((results.collect(), missing))
}

fn options_without_federation() -> ApiError {
    ApiError::new(Code::BadRequest, "`federationOptions` are for requests with `federation`.")
}

fn inside_query(n: usize, error: ApiError) -> ApiError {
    inside(&format!(".queries[{n}]"), error)
}

fn inside(place: &str, error: ApiError) -> ApiError {
    let message = format!("Inside `{place}`: {}", error.body.message);
    ApiError { body: ErrorBody { message, ..error.body }, ..error }
}

/// The place of each query by itself: what index it means, and how it is put to the nodes.
async fn plan<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    n: usize,
    query: Query,
    seed: u64,
) -> Result<Planned<'a>, ApiError> {
    let index = query.index_in(snapshot, n)?;
    let read = IndexRead::of_all_shards(app, snapshot, index, seed).narrowed(&query.search.filter().narrowing(index));
    let search = query.search.hiding_expired(hidden_until(app, index));
    let plan = frequency::plan(&read, search).await?;
    Ok(Planned { shown: query.index_uid, index, facts: facts::of(snapshot, index), shards: read.shards, plan })
}

/// Queries by their places, in groups that one covering set can answer; `indexes` are those of the queries.
pub fn groups_of(snapshot: &Snapshot, indexes: &[&Index]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let is_alike = |left: &Index, right: &Index| {
        left.node_uid == right.node_uid
            || (left.shard_count == right.shard_count && !snapshot.has_lag(left) && !snapshot.has_lag(right))
    };
    for (n, index) in indexes.iter().enumerate() {
        match groups.iter_mut().find(|group| is_alike(indexes[group[0]], index)) {
            Some(group) => group.push(n),
            None => groups.push(vec![n]),
        }
    }
    groups
}

/// Answers to each search of each query of a group, and the shards that could not be had.
type GroupAnswers = (Vec<Vec<Vec<Leg>>>, Vec<Shard>);

async fn read_group(
    app: &App,
    snapshot: &Snapshot,
    planned: &[Planned<'_>],
    group: &[usize],
    seed: u64,
) -> Result<GroupAnswers, ApiError> {
    let mut read = IndexRead::of_all_shards(app, snapshot, planned[group[0]].index, seed);
    read.shards.retain(|shard| group.iter().any(|&n| planned[n].shards.contains(shard)));
    let request_for = |leg: &[Shard], restriction: Option<&[Shard]>| {
        let mut body = b"{\"queries\":[".to_vec();
        for (n, asked) in asked_of(planned, group, leg).enumerate() {
            if n > 0 {
                body.push(b',');
            }
            let restriction = if asked.shards == leg { restriction } else { Some(asked.shards.as_slice()) };
            let search = asked.search.leg_body(restriction, &asked.query.facts);
            push_query(&asked.query.index.node_uid, &search, &mut body);
        }
        body.extend_from_slice(b"]}");
        NodeRequest::json(Method::POST, PATH, body.into())
    };
    let (legs, missing) = read.legs_of(MULTI_SEARCH, &read.shards, request_for).await?;
    let mut answers: Vec<Vec<Vec<Leg>>> =
        group.iter().map(|&n| vec![Vec::with_capacity(legs.len()); planned[n].searches().len()]).collect();
    for (n, leg) in legs.iter().enumerate() {
        let results = results_of(&leg.body).map_err(|error| cannot_be_read(n, error.what, error.at))?;
        let asked: Vec<Asked> = asked_of(planned, group, &leg.shards).collect();
        if results.len() != asked.len() {
            return Err(cannot_be_read(n, "another number of results than queries", 0));
        }
        for (Asked { place, stage, shards, .. }, result) in asked.into_iter().zip(results) {
            answers[place][stage].push(Leg { shards, body: leg.body.slice(result) });
        }
    }
    Ok((answers, missing))
}

/// One search that a leg is asked.
struct Asked<'p> {
    query: &'p Planned<'p>,
    search: &'p SearchRequest,
    /// Place of its query in the group, and its own among the query's searches.
    place: usize,
    stage: usize,
    /// The leg's shards in which it can find anything.
    shards: Vec<Shard>,
}

/// The searches that the leg of these shards is asked, in order: those that can find anything there.
fn asked_of<'p>(planned: &'p [Planned<'p>], group: &'p [usize], leg: &'p [Shard]) -> impl Iterator<Item = Asked<'p>> {
    group.iter().enumerate().flat_map(move |(place, &n)| {
        let query = &planned[n];
        let shards: Vec<Shard> = leg.iter().copied().filter(|shard| query.shards.contains(shard)).collect();
        let searches = if shards.is_empty() { Vec::new() } else { query.searches() };
        let searches = searches.into_iter().enumerate();
        searches.map(move |(stage, search)| Asked { query, search, place, stage, shards: shards.clone() })
    })
}

/// Appends what one search of a node's request is: the body of a search by itself, and its index.
fn push_query(index_uid: &IndexUid, search: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"indexUid\":");
    json::push_string(index_uid.as_str(), body);
    if search != b"{}" {
        body.push(b',');
    }
    body.extend_from_slice(&search[1..]);
}

fn cannot_be_read(leg: usize, what: &'static str, at: usize) -> ApiError {
    let error = MergeError::Malformed { leg, what, at };
    log::error!("merge: {error}");
    ApiError::new(Code::Internal, format!("The nodes' answers cannot be merged: {error}."))
}
