//! Federated answers of several nodes into the answer of one: one list of the hits of several queries over several indexes.
//!
//! Every node has shown a document once, under the query by which it ranks best. First the hits of each query are put in
//! order over all nodes, rule by rule; then the queries of each index, and then the indexes, are merged by weighted score, as
//! one server merges its own. A node's order between two queries is not relied on: its scores are ratios of its own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet, VecDeque};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::distinct::{self, DistinctValue, SeenValues};
use super::exactness;
use super::facets::Facets;
use super::hidden::HiddenValues;
use super::json::{self, Cursor, Member};
use super::pins::{in_order_taken, placed, taken, Pinned, Pins};
use super::rank::{Chooser, RankKeys, HIDDEN_RULE};
use super::search::Paging;
use super::splice::{self, Hit, Visibility};
use super::weighted::WeightedScore;
use super::{FacetOrder, IndexFacts, Leg, MergeError};
use crate::cluster::PINS_MAX;

/// One query of the request.
#[derive(Clone, Debug)]
pub struct FederatedQuery<'r> {
    /// Place of its index among the request's.
    pub index: usize,
    pub weight: f64,
    /// The query's own distinct attribute or its index's.
    pub distinct: Option<&'r str>,
    /// The primary key, if hits depend on fields that they do not show, and what those fields say where it was found out.
    pub hidden_key: Option<&'r str>,
    pub hidden: Option<&'r HiddenValues>,
    /// In which order hits are pinned, where any can be.
    pub pins: Option<Pins<'r>>,
    pub visible: Visibility,
}

/// One index of the request; they are in the order of their names.
#[derive(Clone, Debug)]
pub struct FederatedIndex<'r> {
    /// The client's name of it, and the nodes'.
    pub uid: &'r str,
    pub node_uid: &'r str,
    pub facts: &'r IndexFacts,
}

/// What the merge must know of the client's request.
#[derive(Clone, Debug)]
pub struct FederatedMerge<'r> {
    pub queries: &'r [FederatedQuery<'r>],
    pub indexes: &'r [FederatedIndex<'r>],
    pub paging: Paging,
    /// The attribute of which all hits must have different values.
    pub distinct: Option<&'r str>,
    /// Set when facets are added up over the indexes.
    pub merge_facets: Option<MergeFacets>,
    /// Whether hits say by `_federation` where they are from.
    pub shows_origin: bool,
    /// Set when the legs are one list for each query ([`super::query_list`]): what nodes counted of all queries together. A
    /// document is in the list of each query that found it, then.
    pub counted: &'r [FederatedLeg],
}

impl FederatedMerge<'_> {
    /// By which key documents are told apart that several queries' lists show.
    fn key_of_lists<'i>(&self, index: &FederatedIndex<'i>) -> Option<&'i str> {
        index.facts.shown_primary_key().filter(|_| !self.counted.is_empty())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeFacets {
    pub max_values_per_facet: Option<usize>,
}

/// A node's answer, and which queries of the request it was asked, in its order.
#[derive(Clone, Debug)]
pub struct FederatedLeg {
    pub leg: Leg,
    pub queries: Vec<usize>,
}

/// A facet that two indexes order differently, which makes no sense once their counts are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetConflict {
    pub facet: String,
    /// Places of the indexes.
    pub indexes: [usize; 2],
}

/// What the answers come to.
#[derive(Debug)]
pub enum Merged {
    Answer(Bytes),
    FacetConflict(FacetConflict),
}

pub fn merge_federated(legs: &[FederatedLeg], request: &FederatedMerge) -> Result<Merged, MergeError> {
    let answers = read_all(legs, request)?;
    let counted = read_all(request.counted, request)?;
    let counted = if request.counted.is_empty() { &answers } else { &counted };
    if counted.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let facets = IndexFacets::read(counted, request)?;
    if request.merge_facets.is_some() {
        if let Some(conflict) = conflict_between(&facets, request) {
            return Ok(Merged::FacetConflict(conflict));
        }
    }
    let (page, rejected) = choose_page(&answers, request)?;
    write_answer(&answers, counted, &page, rejected, facets, request).map(Merged::Answer)
}

/// The legs' answers, in the order in which ties fall.
fn read_all<'a>(legs: &'a [FederatedLeg], request: &FederatedMerge) -> Result<Vec<LegAnswer<'a>>, MergeError> {
    let mut ordered: Vec<(usize, &FederatedLeg)> = legs.iter().enumerate().collect();
    ordered.sort_by_key(|(_, leg)| leg.leg.shards.iter().min().copied());
    ordered.into_iter().map(|(n, leg)| LegAnswer::read(n, leg, request)).collect()
}

/// The primary keys of a query's hits, as the nodes wrote them, if their order depends on fields that are not displayed (or, with
/// `is_distinct_hidden`, in any case).
pub fn keys_of_hidden<'a>(
    legs: &'a [FederatedLeg],
    query: usize,
    is_distinct_hidden: bool,
    request: &FederatedMerge,
) -> Result<Vec<&'a [u8]>, MergeError> {
    let mut keys = Vec::new();
    let Some(key) = request.queries[query].hidden_key else { return Ok(keys) };
    let is_asked = |(_, leg): &(usize, &FederatedLeg)| leg.queries.contains(&query);
    for (n, leg) in legs.iter().enumerate().filter(is_asked) {
        if !is_distinct_hidden && memchr::memmem::find(&leg.leg.body, HIDDEN_RULE).is_none() {
            continue;
        }
        let answer = LegAnswer::read(n, leg, request)?;
        let hits = (0..answer.hits.len()).filter(|&hit| answer.hits[hit].query == query);
        keys.extend(hits.filter_map(|hit| answer.key_of(hit, key)));
    }
    Ok(keys)
}

/// Whether a hit of a query is said to match an attribute and does not show the query's last `word`: see [`exactness`].
pub fn shows_match_without(
    legs: &[FederatedLeg],
    query: usize,
    word: &str,
    request: &FederatedMerge,
) -> Result<bool, MergeError> {
    for (n, leg) in legs.iter().enumerate().filter(|(_, leg)| exactness::may_show_match(&leg.leg.body)) {
        let answer = LegAnswer::read(n, leg, request)?;
        for hit in (0..answer.hits.len()).filter(|&hit| answer.hits[hit].query == query) {
            let is_match = answer.keys(hit, request)?.attribute_match().is_some();
            let layout = &answer.hits[hit].layout;
            if is_match && !exactness::shows_word(&answer.body[layout.start..layout.end], word) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// One leg's answer, looked through once.
struct LegAnswer<'a> {
    leg: usize,
    body: &'a [u8],
    hits: Vec<FederatedHit<'a>>,
    marked: Vec<Member>,
    envelope: Vec<Member>,
    total: u64,
    processing_time_ms: u64,
}

struct FederatedHit<'a> {
    layout: Hit,
    query: usize,
    /// `weightedRankingScore` as the node wrote it.
    raw_score: &'a [u8],
    score: f64,
}

impl<'a> LegAnswer<'a> {
    fn read(n: usize, asked: &'a FederatedLeg, request: &FederatedMerge) -> Result<Self, MergeError> {
        let body: &[u8] = &asked.leg.body;
        let (hits, marked, envelope) = (Vec::new(), Vec::new(), Vec::new());
        let mut read = Self { leg: n, body, hits, marked, envelope, total: 0, processing_time_ms: 0 };
        read.scan(asked, request).map_err(|error| MergeError::of_leg(n, error))?;
        let total = read.member(b"estimatedTotalHits").or(read.member(b"totalHits")).and_then(json::count);
        read.total = total.ok_or(MergeError::missing(n, "no total"))?;
        read.processing_time_ms = read.member(b"processingTimeMs").and_then(json::count).unwrap_or(0);
        Ok(read)
    }

    fn scan(&mut self, asked: &FederatedLeg, request: &FederatedMerge) -> json::Result<()> {
        let of_queries = request.queries.iter().filter_map(|query| query.distinct);
        let added =
            request.queries.iter().flat_map(|query| query.visible.added.iter().map(|added| added.name.as_str()));
        let keys = request.queries.iter().filter_map(|query| query.hidden_key);
        let keys = keys.chain(request.queries.iter().filter_map(|query| Some(query.pins?.key)));
        let keys = keys.chain(request.indexes.iter().filter_map(|index| request.key_of_lists(index)));
        let mut needed: Vec<&str> = of_queries.chain(request.distinct).chain(added).chain(keys).collect();
        needed.sort_unstable();
        needed.dedup();
        let mut cursor = Cursor::new(self.body);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            let value_start = cursor.position();
            if &self.body[start + 1..key_end] == b"hits" {
                cursor.enter_array()?;
                while cursor.next_element()? {
                    let layout = Hit::scan(self.body, &mut cursor, &needed, &mut self.marked)?;
                    let hit = self.origin_of(layout, asked, cursor.position())?;
                    self.hits.push(hit);
                }
            } else {
                cursor.skip_value()?;
            }
            self.envelope.push(Member { start, key_end, value_start, value_end: cursor.position() });
        }
        Ok(())
    }

    /// Reads `_federation` of a hit.
    fn origin_of(&self, layout: Hit, asked: &FederatedLeg, at: usize) -> json::Result<FederatedHit<'a>> {
        let marked = &self.marked[layout.marked.clone()];
        let origin = marked.iter().rev().find(|member| member.raw_key(self.body) == splice::FEDERATION);
        let origin = origin.ok_or(json::JsonError { what: "a hit without `_federation`", at })?.value(self.body);
        let (mut query, mut raw_score) = (None, None);
        for member in json::members(origin)? {
            match member.raw_key(origin) {
                b"queriesPosition" => {
                    let asked_as = json::count(member.value(origin));
                    query = asked_as.and_then(|position| asked.queries.get(usize::try_from(position).ok()?));
                }
                b"weightedRankingScore" => raw_score = Some(member.value(origin)),
                _ => {}
            }
        }
        match (query, raw_score, raw_score.and_then(json::number)) {
            (Some(&query), Some(raw_score), Some(score)) => Ok(FederatedHit { layout, query, raw_score, score }),
            _ => Err(json::JsonError { what: "a hit of no query", at }),
        }
    }

    fn member(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.envelope.iter().find(|member| member.raw_key(self.body) == name).map(|member| member.value(self.body))
    }

    fn marked_of(&self, hit: usize) -> &[Member] {
        &self.marked[self.hits[hit].layout.marked.clone()]
    }

    fn details_of(&self, hit: usize) -> &'a [u8] {
        splice::ranking_score_details(self.body, self.marked_of(hit)).unwrap_or(b"{}")
    }

    /// The value of a hit's primary key, as the node wrote it.
    fn key_of(&self, hit: usize, key: &str) -> Option<&'a [u8]> {
        let member = self.marked_of(hit).iter().find(|member| json::key_is(member.raw_key(self.body), key))?;
        Some(member.value(self.body))
    }

    /// What is known of the fields that a hit does not show, with its key.
    fn hidden_of<'r>(&self, hit: usize, request: &FederatedMerge<'r>) -> Option<(&'r HiddenValues, &'a [u8])> {
        let hidden = request.queries[self.hits[hit].query].hidden?;
        Some((hidden, self.key_of(hit, &hidden.primary_key)?))
    }

    fn keys(&self, hit: usize, request: &FederatedMerge) -> Result<RankKeys<'a>, MergeError> {
        let mut keys = RankKeys::parse(self.details_of(hit)).map_err(|error| self.error(error))?;
        if let Some((hidden, key)) = self.hidden_of(hit, request) {
            keys.reveal(|n| hidden.sort_value(key, n).map(|(direction, value)| (direction, value.clone())));
        }
        Ok(keys)
    }

    /// The values of an attribute that a hit has.
    fn distinct_values(&self, hit: usize, attribute: &str, request: &FederatedMerge) -> Vec<DistinctValue> {
        let hidden = self.hidden_of(hit, request).and_then(|(hidden, key)| hidden.distinct_values(key));
        hidden.unwrap_or_else(|| distinct::values_of(self.body, self.marked_of(hit), attribute))
    }

    fn error(&self, error: json::JsonError) -> MergeError {
        MergeError::of_leg(self.leg, error)
    }
}

/// A hit of the merged list.
struct Chosen<'a> {
    leg: usize,
    hit: usize,
    query: usize,
    is_semantic: bool,
    score: WeightedScore<'a>,
}

/// The hits of the page in order, and how many hits were left out for the sake of `distinct`.
fn choose_page<'a>(answers: &[LegAnswer<'a>], request: &FederatedMerge) -> Result<(Vec<Chosen<'a>>, u64), MergeError> {
    let mut pinned = Vec::new();
    let mut rejected = 0;
    let positions = request.paging.positions(usize::MAX);
    let end = positions.end;
    let mut by_index = Vec::with_capacity(request.indexes.len());
    for (n, index) in request.indexes.iter().enumerate() {
        let mut lists = Vec::new();
        let mut pinned_of_index = Vec::new();
        for (query, _) in request.queries.iter().enumerate().filter(|(_, query)| query.index == n) {
            let (list, pinned_of_query) = list_of(answers, query, request, end)?;
            lists.push(list);
            pinned_of_index.extend(pinned_of_query);
        }
        let mut list = by_weighted_score(lists);
        if let Some(key) = request.key_of_lists(index) {
            let mut seen = HashSet::new();
            list.retain(|hit| answers[hit.leg].key_of(hit.hit, key).is_none_or(|key| seen.insert(key)));
        }
        rejected += reject_seen(&mut list, answers, request);
        list.truncate(end.min(index.facts.max_total_hits));
        if !pinned_of_index.is_empty() {
            pinned_of_index.sort_by_key(|pin: &Pinned<Chosen>| pin.position);
            let mut others: Vec<Chosen> = list.into();
            pinned.extend(taken(pinned_of_index, &mut others, end));
            list = others.into();
        }
        by_index.push(list);
    }
    let mut list = by_weighted_score(by_index);
    rejected += reject_seen(&mut list, answers, request);
    if pinned.is_empty() {
        return Ok((list.into_iter().skip(positions.start).take(positions.len()).collect(), rejected));
    }
    pinned.sort_by_key(|pin| pin.position);
    list.truncate(end);
    Ok((placed(pinned, list.into(), positions), rejected))
}

/// The hits of one query over all legs, rule by rule, of each value of the query's distinct attribute the first; and those of
/// its pinned hits that come before `end`, by position.
fn list_of<'a>(
    answers: &[LegAnswer<'a>],
    query: usize,
    request: &FederatedMerge,
    end: usize,
) -> Result<(VecDeque<Chosen<'a>>, Vec<Pinned<Chosen<'a>>>), MergeError> {
    let mut pinned = Vec::new();
    let mut rest: Vec<VecDeque<(usize, RankKeys)>> = Vec::with_capacity(answers.len());
    for (leg, answer) in answers.iter().enumerate() {
        let mut of_leg = VecDeque::new();
        for hit in (0..answer.hits.len()).filter(|&hit| answer.hits[hit].query == query) {
            let keys = answer.keys(hit, request)?;
            match keys.pinned_at {
                Some(position) => {
                    pinned.push(Pinned { position, hit: chosen(answers, leg, hit, &keys, request)? });
                }
                None => of_leg.push_back((hit, keys)),
            }
        }
        rest.push(of_leg);
    }
    let mut next = |leg: usize| rest[leg].pop_front();
    let mut hits: Vec<usize> = vec![0; answers.len()];
    let mut heads: Vec<Option<RankKeys>> = Vec::with_capacity(answers.len());
    for (leg, hit_of_leg) in hits.iter_mut().enumerate() {
        heads.push(next(leg).map(|(hit, keys)| {
            *hit_of_leg = hit;
            keys
        }));
    }
    let mut chooser = Chooser::default();
    let mut seen = SeenValues::default();
    let mut list = VecDeque::new();
    while let Some(leg) = chooser.choose(&heads) {
        let keys = heads[leg].take().unwrap_or_default();
        let hit = hits[leg];
        if let Some((hit, keys)) = next(leg) {
            hits[leg] = hit;
            heads[leg] = Some(keys);
        }
        let values = |attribute| answers[leg].distinct_values(hit, attribute, request);
        if request.queries[query].distinct.is_none_or(|attribute| seen.take(values(attribute))) {
            list.push_back(chosen(answers, leg, hit, &keys, request)?);
        }
    }
    if pinned.is_empty() {
        return Ok((list, pinned));
    }
    let key_of = |chosen: &Chosen, key: &str| answers[chosen.leg].key_of(chosen.hit, key);
    let mut pinned = in_order_taken(pinned, request.queries[query].pins, key_of);
    pinned.truncate(PINS_MAX);
    let mut others: Vec<Chosen> = list.into();
    let pinned = taken(pinned, &mut others, end);
    Ok((others.into(), pinned))
}

fn chosen<'a>(
    answers: &[LegAnswer<'a>],
    leg: usize,
    hit: usize,
    keys: &RankKeys,
    request: &FederatedMerge,
) -> Result<Chosen<'a>, MergeError> {
    let answer = &answers[leg];
    let FederatedHit { query, score, .. } = answer.hits[hit];
    let weight = request.queries[query].weight;
    let mut score = WeightedScore::read(answer.details_of(hit), weight, score).map_err(|error| answer.error(error))?;
    if let Some((hidden, key)) = answer.hidden_of(hit, request) {
        score.reveal(|n| hidden.sort_value(key, n).map(|(direction, value)| (direction, value.clone())));
    }
    Ok(Chosen { leg, hit, query, is_semantic: keys.is_semantic, score })
}

/// Merges lists by their first hits; of equal ones that of the earlier query comes first.
fn by_weighted_score(mut lists: Vec<VecDeque<Chosen<'_>>>) -> VecDeque<Chosen<'_>> {
    if lists.len() == 1 {
        return lists.pop().unwrap_or_default();
    }
    let mut merged = VecDeque::with_capacity(lists.iter().map(VecDeque::len).sum());
    loop {
        let mut best: Option<(usize, &Chosen)> = None;
        for (n, head) in lists.iter().enumerate().filter_map(|(n, list)| Some((n, list.front()?))) {
            let is_first = best.is_none_or(|(_, first)| match head.score.compare(&first.score) {
                Ordering::Greater => true,
                Ordering::Equal => head.query < first.query,
                Ordering::Less => false,
            });
            best = if is_first { Some((n, head)) } else { best };
        }
        let Some(n) = best.map(|(n, _)| n) else { return merged };
        merged.extend(lists[n].pop_front());
    }
}

/// Leaves of each value of the attribute the first hit, and says how many went.
fn reject_seen(list: &mut VecDeque<Chosen>, answers: &[LegAnswer], request: &FederatedMerge) -> u64 {
    let Some(attribute) = request.distinct else { return 0 };
    let mut seen = SeenValues::default();
    let before = list.len();
    list.retain(|chosen| seen.take(answers[chosen.leg].distinct_values(chosen.hit, attribute, request)));
    (before - list.len()) as u64
}

/// What was counted in each index that the client asked facets of, by its place; `None` where nobody asked.
struct IndexFacets<'a>(Vec<Option<Facets<'a>>>);

impl<'a> IndexFacets<'a> {
    fn read(answers: &[LegAnswer<'a>], request: &FederatedMerge) -> Result<Self, MergeError> {
        let mut by_index: Vec<Option<Facets>> = request.indexes.iter().map(|_| None).collect();
        for answer in answers {
            let Some(of_leg) = answer.member(b"facetsByIndex") else { continue };
            for index in json::members(of_leg).map_err(|error| answer.error(error))? {
                let is_of = |(_, of): &(usize, &FederatedIndex)| json::key_is(index.raw_key(of_leg), of.node_uid);
                let Some((n, _)) = request.indexes.iter().enumerate().find(is_of) else { continue };
                let facets = by_index[n].get_or_insert_with(|| Facets::of(request.indexes[n].facts));
                let counted = index.value(of_leg);
                // The statistics first: they tell numbers from strings.
                let members = json::members(counted).map_err(|error| answer.error(error))?;
                for member in members {
                    let value = member.value(counted);
                    match member.raw_key(counted) {
                        b"distribution" => facets.add_distribution(value),
                        b"stats" => facets.add_stats(value),
                        _ => Ok(()),
                    }
                    .map_err(|error| answer.error(error))?;
                }
            }
        }
        Ok(Self(by_index))
    }

    /// Appends `facetsByIndex`.
    fn push(mut self, request: &FederatedMerge, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut is_first = true;
        for (n, facets) in self.0.iter_mut().enumerate() {
            let Some(facets) = facets else { continue };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            json::push_string(request.indexes[n].uid, out);
            out.extend_from_slice(b":{\"distribution\":");
            facets.push_distribution(request.indexes[n].facts, out);
            out.extend_from_slice(b",\"stats\":");
            facets.push_stats(out);
            out.push(b'}');
        }
        out.push(b'}');
    }
}

fn order_of(request: &FederatedMerge, index: usize, facet: &str) -> FacetOrder {
    request.indexes[index].facts.facet_order.of(facet)
}

fn conflict_between(facets: &IndexFacets, request: &FederatedMerge) -> Option<FacetConflict> {
    let mut first: BTreeMap<Cow<str>, usize> = BTreeMap::new();
    for (n, facets) in facets.0.iter().enumerate() {
        for name in facets.iter().flat_map(Facets::names) {
            let before = *first.entry(Cow::Borrowed(name)).or_insert(n);
            if order_of(request, before, name) != order_of(request, n, name) {
                return Some(FacetConflict { facet: name.to_owned(), indexes: [before, n] });
            }
        }
    }
    None
}

/// Facets added up over all indexes: `facetDistribution` and `facetStats`.
struct SummedFacets {
    distribution: BTreeMap<String, Map<String, Value>>,
    stats: BTreeMap<String, [f64; 2]>,
}

impl SummedFacets {
    /// Adds up what each index shows by itself, as Meilisearch does: what an index left out counts nowhere.
    fn of(facets: IndexFacets, how: MergeFacets, request: &FederatedMerge) -> Self {
        let mut by_index = Vec::new();
        facets.push(request, &mut by_index);
        let by_index: Map<String, Value> = serde_json::from_slice(&by_index).unwrap_or_default();
        let mut sum = Self { distribution: BTreeMap::new(), stats: BTreeMap::new() };
        let mut orders: BTreeMap<String, FacetOrder> = BTreeMap::new();
        for (n, index) in request.indexes.iter().enumerate() {
            let Some(of_index) = by_index.get(index.uid) else { continue };
            for (facet, values) in of_index["distribution"].as_object().into_iter().flatten() {
                orders.entry(facet.clone()).or_insert_with(|| order_of(request, n, facet));
                let summed = sum.distribution.entry(facet.clone()).or_default();
                for (value, count) in values.as_object().into_iter().flatten() {
                    let before = summed.get(value).and_then(Value::as_u64).unwrap_or(0);
                    summed.insert(value.clone(), (before + count.as_u64().unwrap_or(0)).into());
                }
            }
            for (facet, bounds) in of_index["stats"].as_object().into_iter().flatten() {
                let (Some(min), Some(max)) = (bounds["min"].as_f64(), bounds["max"].as_f64()) else { continue };
                let merged = sum.stats.entry(facet.clone()).or_insert([min, max]);
                *merged = [merged[0].min(min), merged[1].max(max)];
            }
        }
        for (facet, values) in &mut sum.distribution {
            let mut ordered: Vec<(String, Value)> = std::mem::take(values).into_iter().collect();
            match orders.get(facet).copied().unwrap_or_default() {
                FacetOrder::Alpha => ordered.sort_by(|(left, _), (right, _)| left.cmp(right)),
                FacetOrder::Count => ordered.sort_by_key(|(_, count)| std::cmp::Reverse(count.as_u64())),
            }
            ordered.truncate(how.max_values_per_facet.unwrap_or(usize::MAX));
            *values = ordered.into_iter().collect();
        }
        sum
    }

    fn push(&self, out: &mut Vec<u8>) {
        let stats: BTreeMap<&String, Value> = self
            .stats
            .iter()
            .map(|(facet, [min, max])| (facet, serde_json::json!({ "min": min, "max": max })))
            .collect();
        out.extend_from_slice(b"\"facetDistribution\":");
        serde_json::to_writer(&mut *out, &self.distribution).expect("writing to memory cannot fail");
        out.extend_from_slice(b",\"facetStats\":");
        serde_json::to_writer(&mut *out, &stats).expect("writing to memory cannot fail");
    }
}

/// Writes the answer with the members that the first of those that counted has, in its order.
fn write_answer(
    answers: &[LegAnswer],
    counted: &[LegAnswer],
    page: &[Chosen],
    rejected: u64,
    facets: IndexFacets,
    request: &FederatedMerge,
) -> Result<Bytes, MergeError> {
    let total = counted.iter().fold(0u64, |sum, answer| sum.saturating_add(answer.total)).saturating_sub(rejected);
    let first = &counted[0];
    let slowest = answers.iter().chain(counted).max_by_key(|answer| answer.processing_time_ms).unwrap_or(first);
    // A leg says how many hits it found by meaning only if a query asked for that.
    let semantic = counted.iter().any(|answer| answer.member(b"semanticHitCount").is_some());
    let mut facets = Some(facets);
    let mut out = b"{\"hits\":[".to_vec();
    push_hits(answers, page, request, &mut out);
    out.push(b']');
    for member in first.envelope.iter().filter(|member| member.raw_key(first.body) != b"hits") {
        let name = member.raw_key(first.body);
        if let (b"facetsByIndex", Some(how)) = (name, request.merge_facets) {
            out.push(b',');
            facets.take().into_iter().for_each(|facets| SummedFacets::of(facets, how, request).push(&mut out));
            continue;
        }
        out.push(b',');
        out.extend_from_slice(&first.body[member.start..=member.key_end]);
        out.push(b':');
        let mut count = |count: u64| json::push_count(count, &mut out);
        match (name, request.paging) {
            (b"processingTimeMs", _) => count(slowest.processing_time_ms),
            (b"limit", Paging::Window { limit, .. }) => count(limit as u64),
            (b"offset", Paging::Window { offset, .. }) => count(offset as u64),
            (b"estimatedTotalHits" | b"totalHits", _) => count(total),
            (b"page", Paging::Page { page, .. }) => count(page as u64),
            (b"hitsPerPage", Paging::Page { hits_per_page, .. }) => count(hits_per_page as u64),
            (b"totalPages", Paging::Page { hits_per_page: 0, .. }) => count(0),
            (b"totalPages", Paging::Page { hits_per_page, .. }) => count(total.div_ceil(hits_per_page as u64)),
            (b"semanticHitCount", _) if semantic => count(page.iter().filter(|hit| hit.is_semantic).count() as u64),
            (b"facetsByIndex", _) => facets.take().into_iter().for_each(|facets| facets.push(request, &mut out)),
            (b"performanceDetails", _) => {
                out.extend_from_slice(slowest.member(b"performanceDetails").unwrap_or(b"null"));
            }
            _ => out.extend_from_slice(member.value(first.body)),
        }
    }
    out.push(b'}');
    Ok(out.into())
}

fn push_hits(answers: &[LegAnswer], page: &[Chosen], request: &FederatedMerge, out: &mut Vec<u8>) {
    for (n, chosen) in page.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let answer = &answers[chosen.leg];
        let hit = &answer.hits[chosen.hit];
        let query = &request.queries[chosen.query];
        let origin = request.shows_origin.then(|| {
            let mut origin = b"{\"indexUid\":".to_vec();
            json::push_string(request.indexes[query.index].uid, &mut origin);
            origin.extend_from_slice(b",\"queriesPosition\":");
            json::push_count(chosen.query as u64, &mut origin);
            origin.extend_from_slice(b",\"weightedRankingScore\":");
            origin.extend_from_slice(hit.raw_score);
            origin.push(b'}');
            origin
        });
        splice::push_federated_hit(answer.body, &hit.layout, answer.marked_of(chosen.hit), &query.visible, origin, out);
    }
}

#[cfg(test)]
#[path = "federated_tests.rs"]
mod tests;
