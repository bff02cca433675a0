//! Several searches answered with one list: a federated `/multi-search`, and whatever else is searched in several indexes.
//!
//! Nodes are asked by their own federated `/multi-search`: they know which document two queries of one index both found, so
//! that none is shown or counted twice. All legs of a request come from one covering set where one can serve all indexes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{json, Value};

use super::frequency;
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::members::Members;
use super::multi_search::{groups_of, index_of, Query, PATH};
use super::read_kinds::FEDERATED_SEARCH;
use super::search::{foreign_filter, merge_failed, merged};
use super::search_request::{SearchRequest, LIMIT_DEFAULT};
use super::{facts, reserved_attributes, supplement, Answer};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::error::{ApiError, Code};
use crate::merge::federated::{
    keys_of_hidden, merge_federated, FacetConflict, FederatedIndex, FederatedLeg, FederatedMerge, FederatedQuery,
    MergeFacets, Merged,
};
use crate::merge::hidden::{key_text, HiddenValues};
use crate::merge::search::Paging;
use crate::merge::{IndexFacts, MergeError};
use crate::reserved::SHARD_FIELD;
use crate::scatter::NodeRequest;

/// How the answers to several queries become one list.
pub struct Federation {
    paging: Paging,
    /// The facets that are counted in each index; `null` for none.
    facets_by_index: BTreeMap<String, Option<Vec<String>>>,
    merge_facets: Option<MergeFacets>,
    distinct: Option<String>,
    /// As the client wrote it.
    members: Members,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MergeFacetsOptions {
    max_values_per_facet: Option<usize>,
}

impl Federation {
    /// `None` when Miroir cannot read some value that it needs, so that Meilisearch will not accept it either.
    pub fn from_json(text: &str) -> Option<Self> {
        let members: Members = serde_json::from_str(&without_reserved_attributes(text)?).ok()?;
        let page = members.read::<Option<usize>>("page")?;
        let hits_per_page = members.read::<Option<usize>>("hitsPerPage")?;
        let paging = match (page, hits_per_page) {
            (None, None) => Paging::Window {
                offset: members.read_or("offset", 0)?,
                limit: members.read_or("limit", LIMIT_DEFAULT)?,
            },
            (page, hits) => Paging::Page { page: page.unwrap_or(1), hits_per_page: hits.unwrap_or(LIMIT_DEFAULT) },
        };
        let merge_facets = members.read::<Option<MergeFacetsOptions>>("mergeFacets")?;
        let merge_facets =
            merge_facets.map(|options| MergeFacets { max_values_per_facet: options.max_values_per_facet });
        Some(Self {
            paging,
            facets_by_index: members.read_or("facetsByIndex", BTreeMap::new())?,
            merge_facets,
            distinct: members.read("distinct")?,
            members,
        })
    }

    /// The names of the indexes whose facets are asked for.
    pub fn indexes_of_facets(&self) -> impl Iterator<Item = &str> {
        self.facets_by_index.keys().map(String::as_str)
    }

    /// What nodes are told: all hits up to the page's end, since any of them may come from one node alone, and as many more as may be
    /// pinned; and each index's
    /// facets by themselves. Facets are asked of those indexes for which `on_nodes` knows the nodes' name.
    fn for_legs(&self, pins_max: usize, on_nodes: impl Fn(&str) -> Option<String>) -> Bytes {
        let mut members = self.members.clone();
        members.take("mergeFacets");
        let end = self.paging.positions(usize::MAX).end;
        let end = if end > 0 { end.saturating_add(pins_max) } else { 0 };
        match self.paging {
            Paging::Window { .. } => {
                members.set("offset", &0.into());
                members.set("limit", &end.into());
            }
            Paging::Page { .. } => {
                members.set("page", &1.into());
                members.set("hitsPerPage", &end.into());
            }
        }
        if !self.facets_by_index.is_empty() {
            let asked = self.facets_by_index.iter().filter_map(|(uid, facets)| Some((on_nodes(uid)?, facets)));
            let with_shard = |facets: &Option<Vec<String>>| match facets {
                Some(facets) if !facets.is_empty() && !facets.iter().any(|facet| facet == "*") => {
                    // Its counts add up to the number of matching documents, on which Meilisearch's order depends.
                    facets.iter().map(String::as_str).chain([SHARD_FIELD]).collect()
                }
                facets => json!(facets),
            };
            let asked: serde_json::Map<String, Value> = asked.map(|(uid, facets)| (uid, with_shard(facets))).collect();
            members.set("facetsByIndex", &asked.into());
        }
        members.over(&Members::default())
    }
}

/// The federation with stand-ins in place of Miroir's own fields; `None` when it cannot be read.
fn without_reserved_attributes(text: &str) -> Option<Cow<'_, str>> {
    if !reserved_attributes::may_be_named_in(text) {
        return Some(Cow::Borrowed(text));
    }
    let mut federation: Value = serde_json::from_str(text).ok()?;
    if let Some(distinct) = federation.get_mut("distinct") {
        reserved_attributes::replace("distinct", distinct);
    }
    for facets in federation.get_mut("facetsByIndex").and_then(Value::as_object_mut).into_iter().flatten() {
        reserved_attributes::replace("facets", facets.1);
    }
    Some(Cow::Owned(federation.to_string()))
}

/// What a query is to the list, besides a search.
#[derive(Clone, Copy, Debug, PartialEq)]
struct QueryOptions {
    weight: f64,
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
struct Planned<'a> {
    /// The index by the name that the client has for it.
    shown: IndexUid,
    index: &'a Index,
    facts: IndexFacts,
    search: SearchRequest,
    /// The shards in which anything can be found.
    shards: Vec<Shard>,
    options: QueryOptions,
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
    let indexes: Vec<&Index> = planned.iter().map(|query| query.index).collect();
    let groups = groups_of(snapshot, &indexes);
    let reads = groups.iter().enumerate();
    let reads = reads.map(|(n, group)| read_group(app, snapshot, &planned, group, n == 0, federation, seed));
    let mut legs = Vec::new();
    let mut missing = Vec::new();
    for (legs_of_group, missing_of_group) in try_join_all(reads).await? {
        legs.extend(legs_of_group);
        missing.extend(missing_of_group);
    }
    missing.sort_unstable();
    missing.dedup();
    let list = List::new(&planned, federation, shows_origin);
    let hidden = (0..planned.len()).map(|n| hidden_values(app, snapshot, &list, &legs, n, seed));
    let hidden = try_join_all(hidden).await?;
    match list.merge(&legs, &hidden) {
        Ok(Merged::Answer(body)) => merged(Ok(body), &missing),
        Ok(Merged::FacetConflict(conflict)) => Err(orders_differ(&conflict)),
        Err(error) => merged(Err(error), &missing),
    }
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
    let search = match frequency::plan(&read, search.clone()).await? {
        frequency::Plan::OneSearch(search) => *search,
        // Stages of one query would be several queries to a node, which compares them by scores that do not know of the
        // words that were dropped. So each node drops words as it sees fit.
        frequency::Plan::Stages(_) => search,
    };
    Ok(Planned {
        shown: index_uid,
        index,
        facts: facts::of(snapshot, index),
        search,
        shards: read.shards,
        options,
        raw_options,
    })
}

async fn read_group(
    app: &App,
    snapshot: &Snapshot,
    planned: &[Planned<'_>],
    group: &[usize],
    is_first: bool,
    federation: &Federation,
    seed: u64,
) -> Result<(Vec<FederatedLeg>, Vec<Shard>), ApiError> {
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
    let request_for = |_: &[Shard], shards: Option<&[Shard]>| {
        let mut body = b"{\"queries\":[".to_vec();
        for (n, &query) in group.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            planned[query].push_to(shards, has_distinct, &mut body);
        }
        body.extend_from_slice(b"],\"federation\":");
        body.extend_from_slice(&federation);
        body.push(b'}');
        NodeRequest::json(Method::POST, PATH, body.into())
    };
    let (legs, missing) = read.legs_of(FEDERATED_SEARCH, &read.shards, request_for).await?;
    let legs = legs.into_iter().map(|leg| FederatedLeg { leg, queries: group.to_vec() });
    Ok((legs.collect(), missing))
}

impl Planned<'_> {
    /// Appends what a leg is asked: the search by itself, without what only the whole list has.
    fn push_to(&self, shards: Option<&[Shard]>, has_distinct: bool, body: &mut Vec<u8>) {
        let search = self.search.leg_body(shards, &self.facts);
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
    /// One index is one, by whatever names it is called; Meilisearch takes them in the order of their names, which are the client's.
    indexes: BTreeMap<&'p str, (&'p IndexUid, &'p IndexFacts)>,
}

impl<'p> List<'p> {
    fn new(planned: &'p [Planned<'p>], federation: &'p Federation, shows_origin: bool) -> Self {
        let mut indexes: BTreeMap<&str, (&IndexUid, &IndexFacts)> = BTreeMap::new();
        for query in planned {
            if indexes.values().all(|(node_uid, _)| **node_uid != query.index.node_uid) {
                indexes.insert(query.shown.as_str(), (&query.index.node_uid, &query.facts));
            }
        }
        Self { planned, federation, shows_origin, indexes }
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

    fn federation(json: Value) -> Option<Federation> {
        Federation::from_json(&json.to_string())
    }

    #[test]
    fn legs_are_asked_for_all_up_to_the_pages_end() {
        let legs = |json: Value, uid: &'static str| -> Value {
            let on_nodes = |of: &str| (of == uid).then(|| of.to_owned());
            serde_json::from_slice(&federation(json).unwrap().for_legs(0, on_nodes)).unwrap()
        };
        assert_eq!(legs(json!({}), "a"), json!({"offset": 0, "limit": 20}));
        assert_eq!(
            legs(json!({"limit": 5, "offset": 3, "distinct": "x", "mergeFacets": {"maxValuesPerFacet": 3}}), "a"),
            json!({"distinct": "x", "offset": 0, "limit": 8})
        );
        assert_eq!(
            legs(json!({"page": 3, "facetsByIndex": {"a": ["g"], "b": ["h"]}}), "a"),
            json!({"page": 1, "hitsPerPage": 60, "facetsByIndex": {"a": ["g", "_miroir_shard"]}})
        );
        assert_eq!(legs(json!({"facetsByIndex": {"a": null}}), "a")["facetsByIndex"], json!({"a": null}));
        assert_eq!(legs(json!({"facetsByIndex": {"a": ["*"]}}), "a")["facetsByIndex"], json!({"a": ["*"]}));
    }

    #[test]
    fn what_meilisearch_refuses_is_no_federation() {
        for refused in [
            json!([]),
            json!({"limit": -1}),
            json!({"limit": null}),
            json!({"facetsByIndex": []}),
            json!({"mergeFacets": {"other": 1}}),
            json!({"distinct": 1}),
        ] {
            assert!(federation(refused.clone()).is_none(), "{refused}");
        }
    }

    #[test]
    fn options_for_several_servers_are_refused() {
        let options = |text: &str| QueryOptions::read(Some(&RawValue::from_string(text.to_owned()).unwrap()));
        assert_eq!(options(r#"{"weight": 2.5}"#), Ok(QueryOptions { weight: 2.5 }));
        assert_eq!(QueryOptions::read(None), Ok(QueryOptions { weight: 1.0 }));
        assert!(options(r#"{"remote": "x"}"#).is_err() && options(r#"{"queryPosition": 1}"#).is_err());
    }
}
