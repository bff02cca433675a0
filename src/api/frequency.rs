//! Searches with the matching strategy `frequency`: which words are dropped is decided over all shards.
//!
//! A node decides by its own documents, and others would drop other words. So each word is counted over all shards first, and
//! the order decided once. Then, cheapest first:
//! - all nodes would decide the same, or `last` would drop the words in that order: one search, which the nodes do;
//! - else one search for each way of dropping words, merged into the list that one server would have made of them.
//!
//! Left to the nodes is what cannot be done so: queries that Miroir cannot split, hybrid ones, thresholds (a node would apply
//! them to scores that it does not know), indexes whose hits do not show their primary key, and those in which search rules pin
//! documents.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{try_join3, try_join_all};
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::index_read::IndexRead;
use super::multi_search::PATH;
use super::query_words::{splits_as_usual, stop_words, CountQuery, QueryWords, Split, Stage};
use super::read_kinds::{COUNT, SEARCH};
use super::search::merged;
use super::search_request::{SearchRequest, Supplement};
use super::whole_index::index_path;
use super::{facts, supplement, Answer};
use crate::cluster::{Index, Shard};
use crate::error::{ApiError, Code};
use crate::merge::stages::StageWords;
use crate::merge::{IndexFacts, Leg};
use crate::scatter::NodeRequest;

/// How a search is put to the nodes.
pub enum Plan {
    OneSearch(Box<SearchRequest>),
    Stages(StagedSearch),
}

/// A search in several stages. The last one finds whatever is found.
pub struct StagedSearch {
    pub search: Box<SearchRequest>,
    pub stages: Vec<(StageWords, SearchRequest)>,
    /// Finds whatever is found, unless only `found` does: totals and facets are its then. Asked for its members in any case if the
    /// client wants facets.
    pub counts: Option<Box<SearchRequest>>,
    /// What finds whatever is found together, where it takes several searches: see [`QueryWords::found_queries`].
    found: Vec<String>,
    language: Option<&'static str>,
}

/// Decides how a search is put to the nodes; for other matching strategies, as it is.
pub async fn plan(read: &IndexRead<'_>, search: SearchRequest) -> Result<Plan, ApiError> {
    let index = read.index;
    let as_asked = |search| Ok(Plan::OneSearch(Box::new(search)));
    let Some(order) = order_of_words(&index.settings, search.sort_count()) else { return as_asked(search) };
    let facts = facts::of(read.snapshot, index);
    if facts.pins.is_some() {
        // Fewer words might be those of another rule's conditions.
        return as_asked(search);
    }
    let Some(key) = facts.shown_primary_key() else { return as_asked(search) };
    let Some(words) = splittable(&search, index) else { return as_asked(search) };
    if read.is_whole_on_every_node() {
        return as_asked(search);
    }
    let language = words.language();
    let told = search.clone().in_language(language);
    let Some(counts) = WordCounts::read(&read.over_all_shards(), &told, &words).await? else {
        return as_asked(search);
    };
    let sums = counts.over_all_shards();
    let groups = words.removal_groups(&sums);
    let drops_alike = |counts: &Vec<u64>| words.removal_groups(counts) == groups;
    if counts.by_node.is_some_and(|counts| counts.iter().all(drops_alike)) {
        return as_asked(search);
    }
    if words.are_dropped_from_the_end(&groups, &sums) {
        return as_asked(search.with_strategy("last"));
    }
    let mut stages = words.stages(&groups, &sums);
    let mut found = words.found_queries(&groups);
    if search.paging().positions(facts.max_total_hits).end == 0 {
        // Only totals are asked for.
        stages.drain(..stages.len() - 1);
    }
    // Texts are marked as the client's words are read, and not as a language says.
    let language_of_hits = language.filter(|_| !search.marks_words());
    let search = search.with_key(key);
    let counts = told.clone().for_words(found[0].clone()).for_counts();
    if found.len() == 1 || search.distinct_attribute(&facts).is_some() {
        // Of federated searches totals do not say how many hits have different values.
        found.clear();
    }
    let counts = (found.is_empty() || search.has_facets()).then(|| Box::new(counts));
    let without_facets = search.clone().in_language(language_of_hits).without_facets();
    let as_search = |Stage { query, dropped, matching, max, .. }| {
        let stage = without_facets.clone();
        let stage = if dropped == 0 { stage.for_words(query) } else { stage.for_words_but(query) };
        (StageWords { matching, max, order, dropped: dropped as u64 }, stage)
    };
    let stages = stages.into_iter().map(as_search).collect();
    Ok(Plan::Stages(StagedSearch { search: Box::new(search), stages, counts, found, language }))
}

/// Puts all stages to the nodes at once, and merges what comes back.
pub async fn answer(read: &IndexRead<'_>, staged: StagedSearch) -> Result<Answer, ApiError> {
    let facts = &facts::of(read.snapshot, read.index);
    let path = &index_path(read.index, "/search");
    let ask = &|search: &SearchRequest, shards: Option<&[Shard]>| {
        NodeRequest::json(Method::POST, path.clone(), search.leg_body(shards, facts))
    };
    let StagedSearch { search, stages, counts, .. } = &staged;
    let reads = stages.iter().map(|(words, stage)| async move {
        let (legs, missing) = read.legs(SEARCH, |shards: Option<&[Shard]>| ask(stage, shards)).await?;
        Ok::<_, ApiError>(((*words, legs), missing))
    });
    let counted = async {
        let Some(counts) = counts else { return Ok(None) };
        read.legs(SEARCH, |shards: Option<&[Shard]>| ask(counts, shards)).await.map(Some)
    };
    let (stages, counted, found) = try_join3(try_join_all(reads), counted, staged.found(read)).await?;
    let (stages, mut missing): (Vec<_>, Vec<_>) = stages.into_iter().unzip();
    let (counted, uncounted) = counted.unzip();
    let (found, unfound) = found.unzip();
    missing.extend(uncounted.into_iter().chain(unfound));
    let missing: HashSet<Shard> = missing.into_iter().flatten().collect();
    let mut missing: Vec<Shard> = missing.into_iter().collect();
    missing.sort_unstable();
    let supplement = supplement::of_stages(read, search, &stages, facts).await?;
    let supplement = Supplement { counted, found, ..supplement };
    merged(search.merge_stages(&stages, facts, &supplement), &missing)
}

impl StagedSearch {
    /// The same stages for the first `end` hits, which show what a list of several queries' hits is put together by, and without
    /// the client's totals.
    pub fn for_list(&self, end: usize, facts: &IndexFacts) -> Self {
        let for_list = |search: &SearchRequest| search.clone().for_list(end, facts);
        Self {
            search: Box::new(for_list(&self.search)),
            stages: self.stages.iter().map(|(words, stage)| (*words, for_list(stage))).collect(),
            counts: None,
            found: Vec::new(),
            language: self.language,
        }
    }

    /// The searches that together find whatever is found.
    pub fn counting(&self) -> Vec<SearchRequest> {
        let search = self.search.as_ref().clone().in_language(self.language);
        let found = self.found.iter().map(|query| search.clone().for_words(query.clone()));
        match &self.counts {
            Some(counts) if self.found.is_empty() => vec![counts.as_ref().clone()],
            _ => found.collect(),
        }
    }

    /// The answers to what finds whatever is found, with the shards that they lack; `None` where one search of the others does.
    pub async fn found(&self, read: &IndexRead<'_>) -> Result<Option<(Vec<Leg>, Vec<Shard>)>, ApiError> {
        if self.found.is_empty() {
            return Ok(None);
        }
        let search = self.search.as_ref().clone().in_language(self.language);
        let body = |shards: Option<&[Shard]>| search.found_body(&self.found, read.index, shards);
        let request_for = |shards: Option<&[Shard]>| NodeRequest::json(Method::POST, PATH, body(shards));
        read.legs(COUNT, request_for).await.map(Some)
    }
}

/// In how many documents the words are.
struct WordCounts {
    /// For each leg the count of each word.
    by_leg: Vec<Vec<u64>>,
    /// The same of all that the legs' nodes hold, by which the nodes themselves drop words; `None` where it is not certain.
    by_node: Option<Vec<Vec<u64>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    hits: Vec<CountedHit>,
    estimated_total_hits: u64,
}

#[derive(Deserialize)]
struct CountedHit {
    #[serde(rename = "_rankingScoreDetails")]
    details: CountedDetails,
}

#[derive(Deserialize)]
struct CountedDetails {
    words: CountedWords,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountedWords {
    max_matching_words: u64,
}

impl WordCounts {
    /// Counts the words; `None` if one of them is several to the nodes.
    async fn read(
        read: &IndexRead<'_>,
        search: &SearchRequest,
        words: &QueryWords<'_>,
    ) -> Result<Option<Self>, ApiError> {
        let queries = words.count_queries();
        let restricted = &AtomicBool::new(false);
        let by_leg = counts(read, search, &queries, |shards| {
            restricted.fetch_or(shards.is_some(), Ordering::Relaxed);
            shards
        });
        let Some(by_leg) = by_leg.await? else { return Ok(None) };
        if !restricted.load(Ordering::Relaxed) {
            return Ok(Some(Self {
                by_node: by_leg.are_of_same_legs.then(|| by_leg.counts.clone()),
                by_leg: by_leg.counts,
            }));
        }
        let by_node = counts(read, search, &queries, |_| None).await?;
        let by_node = by_node.filter(|by_node| by_leg.are_of_same_legs && by_node.are_of_same_legs);
        let by_node = by_node.filter(|by_node| by_node.shards == by_leg.shards).map(|by_node| by_node.counts);
        Ok(Some(Self { by_leg: by_leg.counts, by_node }))
    }

    fn over_all_shards(&self) -> Vec<u64> {
        let words = self.by_leg.first().map_or(0, Vec::len);
        (0..words).map(|word| self.by_leg.iter().map(|counts| counts[word]).sum()).collect()
    }
}

/// What the legs counted.
struct LegCounts {
    /// For each leg the count of each word.
    counts: Vec<Vec<u64>>,
    /// The shards of each leg.
    shards: Vec<Vec<Shard>>,
    /// A node that failed between two counts is another leg's from then on.
    are_of_same_legs: bool,
}

/// Asks the legs for the counts of words, within what `restricted` makes of the shards that they should be restricted to. `None` if
/// one of the words is several to a node.
async fn counts(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    queries: &[CountQuery],
    restricted: impl for<'s> Fn(Option<&'s [Shard]>) -> Option<&'s [Shard]> + Copy + Send + Sync,
) -> Result<Option<LegCounts>, ApiError> {
    let path = &index_path(read.index, "/search");
    let index = read.index.node_uid.as_str();
    let reads = queries.iter().map(|query| async move {
        let request_for = |shards: Option<&[Shard]>| {
            let shards = restricted(shards);
            let (path, body) = match query {
                CountQuery::One { query, split } => (path.as_str(), search.count_body(query, *split, shards)),
                CountQuery::Several(queries) => (PATH, search.count_any_body(queries, index, shards)),
            };
            NodeRequest::json(Method::POST, path, body)
        };
        read.legs(COUNT, request_for).await
    });
    let words: Vec<Vec<Leg>> = try_join_all(reads).await?.into_iter().map(|(legs, _missing)| legs).collect();
    let shards: Vec<Vec<Shard>> = words.first().into_iter().flatten().map(|leg| leg.shards.clone()).collect();
    let legs = words.iter().map(Vec::len).max().unwrap_or(0);
    let mut counts = vec![vec![0; words.len()]; legs];
    let mut are_of_same_legs = true;
    for (word, counted) in words.iter().enumerate() {
        for (n, leg) in counted.iter().enumerate() {
            let counted = Counted::read(leg)?;
            let is_uncertain = matches!(queries[word], CountQuery::One { split: Split::Uncertain, .. });
            if is_uncertain && !counted.shows_one_word() {
                return Ok(None);
            }
            counts[n][word] = counted.estimated_total_hits;
            are_of_same_legs &= shards.get(n) == Some(&leg.shards);
        }
        are_of_same_legs &= counted.len() == legs;
    }
    Ok(Some(LegCounts { counts, shards, are_of_same_legs }))
}

impl Counted {
    fn read(leg: &Leg) -> Result<Self, ApiError> {
        serde_json::from_slice(&leg.body)
            .map_err(|error| ApiError::new(Code::Internal, format!("A node's count cannot be read: {error}.")))
    }

    /// Whether nothing shows that the query has more words than one. Of a query that finds nothing it is not known.
    fn shows_one_word(&self) -> bool {
        self.hits.iter().all(|hit| hit.details.words.max_matching_words == 1)
    }
}

/// The words of a query of which Miroir can decide which are dropped; `None` when the nodes must, or when none is.
fn splittable<'q>(search: &'q SearchRequest, index: &Index) -> Option<QueryWords<'q>> {
    let is_left_to_nodes = ["hybrid", "vector", "media", "rankingScoreThreshold", "locales"];
    if !search.strategy_is("frequency") || is_left_to_nodes.iter().any(|member| search.has(member)) {
        return None;
    }
    if !splits_as_usual(&index.settings) {
        return None;
    }
    QueryWords::split(search.query(), &stop_words(&index.settings)).filter(|words| words.word_count() > 1)
}

/// Place of the words rule among the ranking rules, counted as score details do: rules that do not apply are none, and `sort`
/// is as many as the client sorts by. Meilisearch puts it before the first rule that looks at words, if not placed earlier;
/// `None` when there is no such rule either.
fn order_of_words(settings: &Value, sort_count: usize) -> Option<usize> {
    let Some(rules) = settings.get("rankingRules").and_then(Value::as_array) else { return Some(0) };
    let mut order = 0;
    for rule in rules.iter().filter_map(Value::as_str) {
        order += match rule {
            "sort" => sort_count,
            _ if rule.contains(':') => 1,
            _ => return Some(order),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_rule_stands_before_the_first_that_looks_at_words() {
        let order = |rules: Value| order_of_words(&json!({ "rankingRules": rules }), 2);
        assert_eq!(order_of_words(&json!({}), 2), Some(0));
        assert_eq!(order(json!(["words", "sort", "typo"])), Some(0));
        assert_eq!(order(json!(["sort", "typo", "words"])), Some(2));
        assert_eq!(order(json!(["a:desc", "sort", "exactness"])), Some(3));
        assert_eq!(order(json!(["a:desc", "sort"])), None);
    }
}
