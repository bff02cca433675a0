//! Several searches answered with one list: a federated `/multi-search`, and whatever else is searched in several indexes.
//!
//! Nodes are asked by their own federated `/multi-search`: they know which document two queries of one index both found, so
//! that none is shown or counted twice. All legs of a request come from one covering set where one can serve all indexes.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{try_join, try_join_all};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Value;

use super::federation::Federation;
use super::frequency::{self, StagedSearch};
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::members::Members;
use super::multi_search::{groups_of, index_of, Query, PATH};
use super::read_kinds::FEDERATED_SEARCH;
use super::search::{foreign_filter, merge_failed, merged};
use super::search_request::SearchRequest;
use super::{exactness, facts, query_lists, supplement, Answer};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::error::{ApiError, Code};
use crate::merge::exactness::may_show_match;
use crate::merge::federated::{
    keys_of_hidden, merge_federated, shows_match_without, FacetConflict, FederatedIndex, FederatedLeg, FederatedMerge,
    FederatedQuery, Merged,
};
use crate::merge::hidden::{key_text, HiddenValues};
use crate::merge::{IndexFacts, MergeError};
use crate::scatter::NodeRequest;

/// What a query is to the list, besides a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QueryOptions {
    pub weight: f64,
}

impl QueryOptions {
    fn read(options: Option<&RawValue>) -> Result<Self, ApiError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Options {
            weight: Option<f64>,
            remote: Option<Value>,
            query_position: Option<Value>,
        }
        let read: Options = match options {
            Some(options) => serde_json::from_str(options.get()).map_err(|_| unacceptable("`federationOptions`"))?,
            None => Options::default(),
        };
        if read.remote.is_some() || read.query_position.is_some() {
            return Err(unacceptable(
                "`federationOptions` for several servers: Miroir itself knows where documents are",
            ));
        }
        Ok(Self { weight: read.weight.unwrap_or(1.0) })
    }
}

/// An error for which Meilisearch has words; these are shown only if a node does not say them.
fn unacceptable(what: &str) -> ApiError {
    ApiError::new(Code::BadRequest, format!("A federated query cannot have {what}."))
}

/// One query, and how it is put to the nodes.
pub(super) struct Planned<'a> {
    /// The index by the name that the client has for it.
    shown: IndexUid,
    pub index: &'a Index,
    pub facts: IndexFacts,
    pub search: SearchRequest,
    /// Set when it takes several searches to find the query's hits in their order.
    pub staged: Option<StagedSearch>,
    /// The shards in which anything can be found.
    pub shards: Vec<Shard>,
    pub options: QueryOptions,
    /// `federationOptions` as the client wrote them.
    raw_options: Option<Box<RawValue>>,
}

/// Answers several queries with one list. Without `shows_origin` hits do not say of which query and index they are: then the
/// list is one of several indexes that are one to the client.
pub async fn one_list(
    app: &App,
    snapshot: &Snapshot,
    queries: Vec<Query>,
    federation: &Federation,
    shows_origin: bool,
) -> Result<Answer, ApiError> {
    let seed = queries.iter().fold(1, |seed: u64, query| seed.rotate_left(7) ^ query.search.fingerprint());
    let planned = queries.into_iter().enumerate();
    let planned = planned.map(|(n, query)| plan(app, snapshot, n, query, federation, seed));
    let planned: Vec<Planned> = try_join_all(planned).await?;
    let can_be_lists = query_lists::can_be_had(&planned);
    let read = Read { app, snapshot, planned: &planned, federation, seed };
    if !(can_be_lists && planned.iter().any(|query| query.staged.is_some())) {
        let searches: Vec<Vec<SearchRequest>> = planned.iter().map(|query| vec![query.search.clone()]).collect();
        let (legs, missing) = read.legs(&searches).await?;
        let list = List::new(&planned, federation, shows_origin, &[]);
        if !(can_be_lists && read.are_matches_in_doubt(&list, &legs).await?) {
            return read.merged(&list, &legs, missing).await;
        }
    }
    let planned: Vec<Planned> = planned.into_iter().map(query_lists::with_key).collect();
    let counting: Vec<Vec<SearchRequest>> = planned.iter().map(query_lists::counting).collect();
    let for_counts = federation.for_counts();
    let counted = Read { app, snapshot, planned: &planned, federation: &for_counts, seed };
    let end = federation.paging.positions(usize::MAX).end;
    let lists = query_lists::of(app, snapshot, &planned, end, seed);
    let ((legs, degraded), (counts, missing)) = try_join(lists, counted.legs(&counting)).await?;
    let list = List::new(&planned, federation, shows_origin, &counts);
    let answer = counted.merged(&list, &legs, missing).await?;
    Ok(Answer { degraded: answer.degraded.or(degraded), ..answer })
}

/// What the hidden fields of the `n`th query's hits say; `None` where the list does not depend on any, or hits do not show by
/// which key their documents could be read. One hit alone has nothing to be compared with.
async fn hidden_values(
    app: &App,
    snapshot: &Snapshot,
    list: &List<'_>,
    legs: &[FederatedLeg],
    n: usize,
    seed: u64,
) -> Result<Option<HiddenValues>, ApiError> {
    let query = &list.planned[n];
    let facts = list.facts_of(n);
    let fields = query.search.hidden_fields(facts);
    let Some(key) = facts.shown_primary_key().filter(|_| !fields.is_empty()) else { return Ok(None) };
    let keys = list.keys_of_hidden(legs, n, fields.distinct.is_some()).map_err(merge_failed)?;
    if keys.len() < 2 {
        return Ok(None);
    }
    let read = IndexRead::of_all_shards(app, snapshot, query.index, seed);
    supplement::read_hidden(&read, fields, key, keys).await.map(Some)
}

/// The place of each query by itself: what index it means, and how it is put to the nodes.
async fn plan<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    n: usize,
    query: Query,
    federation: &Federation,
    seed: u64,
) -> Result<Planned<'a>, ApiError> {
    let Query { index_uid, search, options: raw_options, source: _ } = query;
    let options = QueryOptions::read(raw_options.as_deref())?;
    for member in ["offset", "limit", "page", "hitsPerPage"] {
        if search.has(member) {
            return Err(unacceptable("paging of its own"));
        }
    }
    if search.has_facets() {
        return Err(unacceptable("facets of its own"));
    }
    if search.has("distinct") && federation.distinct.is_some() {
        return Err(unacceptable("a distinct attribute of its own beside the federation's"));
    }
    if search.filter().is_foreign() {
        return Err(foreign_filter());
    }
    let index = index_of(snapshot, &index_uid, n)?;
    let search = search.hiding_expired(hidden_until(app, index));
    let search = match &federation.distinct {
        Some(attribute) => search.with_distinct(attribute),
        None => search,
    };
    let read = IndexRead::of_all_shards(app, snapshot, index, seed).narrowed(&search.filter().narrowing(index));
    let (search, staged) = match frequency::plan(&read, search.clone()).await? {
        frequency::Plan::OneSearch(search) => (*search, None),
        frequency::Plan::Stages(staged) => (search, Some(staged)),
    };
    Ok(Planned {
        shown: index_uid,
        index,
        facts: facts::of(snapshot, index),
        search,
        staged,
        shards: read.shards,
        options,
        raw_options,
    })
}

/// What nodes are asked of all queries.
#[derive(Clone, Copy)]
struct Read<'r> {
    app: &'r App,
    snapshot: &'r Snapshot,
    planned: &'r [Planned<'r>],
    federation: &'r Federation,
    seed: u64,
}

impl Read<'_> {
    /// The one list, from the legs' answers.
    async fn merged(
        &self,
        list: &List<'_>,
        legs: &[FederatedLeg],
        missing: BTreeSet<Shard>,
    ) -> Result<Answer, ApiError> {
        let hidden = (0..list.planned.len()).map(|n| hidden_values(self.app, self.snapshot, list, legs, n, self.seed));
        let hidden = try_join_all(hidden).await?;
        let missing: Vec<Shard> = missing.into_iter().collect();
        match list.merge(legs, &hidden) {
            Ok(Merged::Answer(body)) => merged(Ok(body), &missing),
            Ok(Merged::FacetConflict(conflict)) => Err(orders_differ(&conflict)),
            Err(error) => merged(Err(error), &missing),
        }
    }

    /// Whether some hits match an attribute only because their nodes do not know all words of a query.
    async fn are_matches_in_doubt(&self, list: &List<'_>, legs: &[FederatedLeg]) -> Result<bool, ApiError> {
        if !legs.iter().any(|leg| may_show_match(&leg.leg.body)) {
            return Ok(false);
        }
        for (n, query) in self.planned.iter().enumerate() {
            let Some(open) = exactness::open_last_word(&query.search, &query.index.settings) else { continue };
            let lacks_word = list.with_request(&[], |request| shows_match_without(legs, n, &open.word, request));
            if lacks_word.map_err(merge_failed)? {
                let read = IndexRead::of_all_shards(self.app, self.snapshot, query.index, self.seed);
                if !exactness::shards_with_word(&read, &open).await?.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The legs' answers, and the shards that they lack. `searches` are those that stand for each query.
    async fn legs(&self, searches: &[Vec<SearchRequest>]) -> Result<(Vec<FederatedLeg>, BTreeSet<Shard>), ApiError> {
        let indexes: Vec<&Index> = self.planned.iter().map(|query| query.index).collect();
        let groups = groups_of(self.snapshot, &indexes);
        let reads = groups.iter().enumerate().map(|(n, group)| self.group(group, n == 0, searches));
        let mut legs = Vec::new();
        let mut missing = BTreeSet::new();
        for (legs_of_group, missing_of_group) in try_join_all(reads).await? {
            legs.extend(legs_of_group);
            missing.extend(missing_of_group);
        }
        Ok((legs, missing))
    }

    /// Those of the queries that one covering set can answer.
    async fn group(
        &self,
        group: &[usize],
        is_first: bool,
        searches: &[Vec<SearchRequest>],
    ) -> Result<(Vec<FederatedLeg>, Vec<Shard>), ApiError> {
        let Self { app, snapshot, planned, federation, seed } = *self;
        let mut read = IndexRead::of_all_shards(app, snapshot, planned[group[0]].index, seed);
        read.shards.retain(|shard| group.iter().any(|&n| planned[n].shards.contains(shard)));
        // By the nodes' names, whatever the client's.
        let on_nodes = |uid: &str| {
            let queried = planned.iter().find(|query| query.shown.as_str() == uid);
            let index = queried.map(|query| query.index);
            index.or_else(|| index_of(snapshot, &IndexUid::parse(uid).ok()?, 0).ok()).map(|index| &index.node_uid)
        };
        let is_queried = |uid: &IndexUid| planned.iter().any(|query| query.index.node_uid == *uid);
        let is_of_group = |uid: &IndexUid| group.iter().any(|&n| planned[n].index.node_uid == *uid);
        // Facets of an index that no query asks about are an error if they are no facets, and nothing otherwise.
        let has_distinct = federation.distinct.is_some();
        let pins_max = group.iter().map(|&n| planned[n].facts.pins_max()).sum();
        let federation = federation.for_legs(pins_max, |uid| match on_nodes(uid) {
            Some(uid) => (is_of_group(uid) || (is_first && !is_queried(uid))).then(|| uid.to_string()),
            // No index: a node will say so.
            None => is_first.then(|| uid.to_owned()),
        });
        let asked = group.iter().flat_map(|&query| searches[query].iter().map(move |search| (query, search)));
        let asked: Vec<(usize, &SearchRequest)> = asked.collect();
        let request_for = |_: &[Shard], shards: Option<&[Shard]>| {
            let mut body = b"{\"queries\":[".to_vec();
            for (n, (query, search)) in asked.iter().enumerate() {
                if n > 0 {
                    body.push(b',');
                }
                planned[*query].push_to(search, shards, has_distinct, &mut body);
            }
            body.extend_from_slice(b"],\"federation\":");
            body.extend_from_slice(&federation);
            body.push(b'}');
            NodeRequest::json(Method::POST, PATH, body.into())
        };
        let (legs, missing) = read.legs_of(FEDERATED_SEARCH, &read.shards, request_for).await?;
        let queries: Vec<usize> = asked.iter().map(|(query, _)| *query).collect();
        let legs = legs.into_iter().map(|leg| FederatedLeg { leg, queries: queries.clone() });
        Ok((legs.collect(), missing))
    }
}

impl Planned<'_> {
    /// Appends what a leg is asked: a search by itself, without what only the whole list has.
    fn push_to(&self, search: &SearchRequest, shards: Option<&[Shard]>, has_distinct: bool, body: &mut Vec<u8>) {
        let search = search.leg_body(shards, &self.facts);
        let mut members: Members = serde_json::from_slice(&search).unwrap_or_default();
        let of_lists = ["offset", "limit", "page", "hitsPerPage", "facets"];
        for member in of_lists.into_iter().chain(has_distinct.then_some("distinct")) {
            members.take(member);
        }
        members.set("indexUid", &self.index.node_uid.as_str().into());
        if let Some(options) = &self.raw_options {
            members.set_raw("federationOptions", options.clone());
        }
        body.extend_from_slice(&members.over(&Members::default()));
    }
}

/// One list of what the queries find, and what its merge must know.
struct List<'p> {
    planned: &'p [Planned<'p>],
    federation: &'p Federation,
    shows_origin: bool,
    counted: &'p [FederatedLeg],
    /// One index is one, by whatever names it is called; Meilisearch takes them in the order of their names, which are the client's.
    indexes: BTreeMap<&'p str, (&'p IndexUid, &'p IndexFacts)>,
}

impl<'p> List<'p> {
    fn new(
        planned: &'p [Planned<'p>],
        federation: &'p Federation,
        shows_origin: bool,
        counted: &'p [FederatedLeg],
    ) -> Self {
        let mut indexes: BTreeMap<&str, (&IndexUid, &IndexFacts)> = BTreeMap::new();
        for query in planned {
            if indexes.values().all(|(node_uid, _)| **node_uid != query.index.node_uid) {
                indexes.insert(query.shown.as_str(), (&query.index.node_uid, &query.facts));
            }
        }
        Self { planned, federation, shows_origin, counted, indexes }
    }

    /// The place of a query's index.
    fn index_of(&self, query: usize) -> usize {
        let node_uid = &self.planned[query].index.node_uid;
        let place = self.indexes.values().position(|(of_index, _)| *of_index == node_uid);
        place.expect("the list has the index of each of its queries")
    }

    fn facts_of(&self, query: usize) -> &IndexFacts {
        let facts = self.indexes.values().nth(self.index_of(query)).map(|(_, facts)| facts);
        facts.expect("the list has the index of each of its queries")
    }

    fn keys_of_hidden(
        &self,
        legs: &[FederatedLeg],
        query: usize,
        is_distinct_hidden: bool,
    ) -> Result<Vec<String>, MergeError> {
        let keys = |request: &FederatedMerge| {
            let keys = keys_of_hidden(legs, query, is_distinct_hidden, request)?;
            Ok(keys.into_iter().map(key_text).collect())
        };
        self.with_request(&[], keys)
    }

    fn merge(&self, legs: &[FederatedLeg], hidden: &[Option<HiddenValues>]) -> Result<Merged, MergeError> {
        self.with_request(hidden, |request| merge_federated(legs, request))
    }

    fn with_request<T>(&self, hidden: &[Option<HiddenValues>], then: impl FnOnce(&FederatedMerge) -> T) -> T {
        let indexes = self.indexes.iter();
        let indexes =
            indexes.map(|(uid, (node_uid, facts))| FederatedIndex { uid, node_uid: node_uid.as_str(), facts });
        let indexes: Vec<FederatedIndex> = indexes.collect();
        let query_of = |(n, query): (usize, &'p Planned<'p>)| {
            let index = self.index_of(n);
            let facts = self.facts_of(n);
            FederatedQuery {
                index,
                weight: query.options.weight,
                distinct: query.search.distinct_attribute(facts),
                hidden_key: facts.shown_primary_key().filter(|_| !query.search.hidden_fields(facts).is_empty()),
                hidden: hidden.get(n).and_then(Option::as_ref),
                pins: facts.pins(),
                visible: query.search.visibility(facts),
            }
        };
        let queries: Vec<FederatedQuery> = self.planned.iter().enumerate().map(query_of).collect();
        then(&FederatedMerge {
            queries: &queries,
            indexes: &indexes,
            paging: self.federation.paging,
            distinct: self.federation.distinct.as_deref(),
            merge_facets: self.federation.merge_facets,
            shows_origin: self.shows_origin,
            counted: self.counted,
        })
    }
}

fn orders_differ(conflict: &FacetConflict) -> ApiError {
    let message = format!(
        "Inconsistent order for values in facet `{}`: the indexes order them differently by `faceting.sortFacetValuesBy`.",
        conflict.facet
    );
    ApiError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_several_servers_are_refused() {
        let options = |text: &str| QueryOptions::read(Some(&RawValue::from_string(text.to_owned()).unwrap()));
        assert_eq!(options(r#"{"weight": 2.5}"#), Ok(QueryOptions { weight: 2.5 }));
        assert_eq!(QueryOptions::read(None), Ok(QueryOptions { weight: 1.0 }));
        assert!(options(r#"{"remote": "x"}"#).is_err() && options(r#"{"queryPosition": 1}"#).is_err());
    }
}
