//! One search from request to answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milli_core::heed::RoTxn;
use milli_core::score_details::ScoringStrategy;
use milli_core::{AscDesc, Filter, Index, Object, Search, SearchResult, SortError, TimeBudget};
use serde_json::{json, Value};

use super::hits::{HitRenderer, WordCuts};
use super::kind::{Meaning, SearchKind};
use super::query::{SearchQuery, DEFAULT_LIMIT};
use super::stored::Reader;
use super::{facets, filter};
use crate::error::{feature_not_enabled, Code, ResponseError};
use crate::features::Features;

/// Hits that can be reached by paging, unless the index says otherwise: Meilisearch's default.
const MAX_TOTAL_HITS_DEFAULT: usize = 1000;

/// Hits that are ranked to count those above a threshold. Meilisearch ranks all; this engine keeps the scores of each, some
/// hundred bytes, and counts the hits behind so many without looking at them.
const JUDGED_HITS_MAX: usize = 50_000;

/// A search's answer but for what does not depend on the index.
pub struct Answered {
    pub answer: Object,
    /// Comes last in the answer. `None` if the search was by words alone.
    pub semantic_hit_count: Option<u32>,
}

/// Answers the search of the index called `uid`. Computes for long; not to be called from the server's own threads.
pub fn search(index: &Index, uid: &str, query: &SearchQuery, features: Features) -> Result<Answered, ResponseError> {
    let started = Instant::now();
    refuse_unavailable(query, features)?;
    let rtxn = index.read_txn()?;
    let reader = Reader::new(index, &rtxn)?;
    let kind = SearchKind::of(query, index, &rtxn)?;
    refuse_media(query)?;
    let limits = Limits::of(index, &rtxn, query)?;
    let filter = match &query.filter {
        Some(filter) => filter::parse(filter, Code::InvalidSearchFilter, features)?,
        None => None,
    };
    let sort = sort_criteria(query.sort.as_deref().unwrap_or_default(), Code::InvalidSearchSort)?;
    let judged = limits.judged(query, query.is_paged(), &kind);
    let search = prepare(index, &rtxn, query, &kind, filter, &sort, &judged)?;
    let (mut found, semantic_hit_count) =
        execute(&search, &kind).map_err(|error| ResponseError::in_index(uid, error))?;
    limits.cut(&judged, &mut found);

    let cuts = WordCuts::of(&reader)?;
    let cuts = cuts.borrowed();
    let renderer = HitRenderer::new(&reader, query, &sort, found.matching_words, &cuts)?;
    let hits = found.documents_ids.iter().zip(&found.document_scores);
    let hits = hits.map(|(id, scores)| renderer.hit(*id, scores, None).map(Value::Object));
    let hits = hits.collect::<milli_core::Result<Vec<_>>>()?;
    let total = found.candidates.len();
    let facets = match &query.facets {
        Some(patterns) if patterns.is_empty() => None,
        Some(patterns) => Some(facets::count(&reader, patterns, found.candidates)?),
        None => None,
    };

    let mut answer = Object::new();
    answer.insert("hits".to_owned(), Value::Array(hits));
    answer.insert("query".to_owned(), json!(query.q.as_deref().unwrap_or_default()));
    if let Some(vector) = kind.vector().filter(|_| query.retrieve_vectors) {
        answer.insert("queryVector".to_owned(), json!(vector));
    }
    answer.insert("processingTimeMs".to_owned(), json!(started.elapsed().as_millis() as u64));
    insert_totals(&mut answer, query, total);
    if let Some(facets) = facets {
        answer.insert("facetDistribution".to_owned(), json!(facets.distribution));
        answer.insert("facetStats".to_owned(), json!(facets.stats));
    }
    Ok(Answered { answer, semantic_hit_count })
}

/// What the engine finds, and how many of its hits were found by their meaning.
pub fn execute(search: &Search<'_>, kind: &SearchKind) -> milli_core::Result<(SearchResult, Option<u32>)> {
    match kind {
        SearchKind::Words => Ok((search.execute()?, None)),
        SearchKind::Meaning(_) => {
            let found = search.execute()?;
            let hits = u32::try_from(found.documents_ids.len()).unwrap_or(u32::MAX);
            Ok((found, Some(hits)))
        }
        SearchKind::Both(_, ratio) => search.execute_hybrid(*ratio),
    }
}

/// The part of all hits that is asked for.
pub struct Limits {
    pub offset: usize,
    pub limit: usize,
}

impl Limits {
    /// Hits beyond the index's `maxTotalHits` cannot be reached, though totals count them.
    pub fn of(index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> Result<Self, ResponseError> {
        let max_total_hits = max_total_hits(index, rtxn)?;
        let (offset, limit) = query.window();
        let offset = offset.min(max_total_hits);
        Ok(Self { offset, limit: limit.min(max_total_hits - offset) })
    }

    /// The hits that must be ranked. Under a `rankingScoreThreshold` the engine counts as a hit whatever it has not ranked, and
    /// Meilisearch 1.50 ranks all hits up to the page's end, and for an exhaustive total all there are; this engine by itself
    /// skips what comes before the page and stops behind it.
    pub fn judged(&self, query: &SearchQuery, is_exhaustive: bool, kind: &SearchKind) -> Self {
        let Self { offset, limit } = *self;
        match (query.ranking_score_threshold, kind) {
            (Some(_), SearchKind::Words) if is_exhaustive => Self { offset: 0, limit: JUDGED_HITS_MAX },
            (Some(_), SearchKind::Words) => Self { offset: 0, limit: offset + limit },
            _ => Self { offset, limit },
        }
    }

    /// Leaves of the hits that were ranked those that are asked for.
    pub fn cut(&self, judged: &Self, found: &mut SearchResult) {
        let start = (self.offset - judged.offset).min(found.documents_ids.len());
        found.documents_ids.drain(..start);
        found.document_scores.drain(..start);
        found.documents_ids.truncate(self.limit);
        found.document_scores.truncate(self.limit);
    }
}

/// How many hits a search of the index can reach.
pub fn max_total_hits(index: &Index, rtxn: &RoTxn<'_>) -> milli_core::Result<usize> {
    Ok(match index.pagination_max_total_hits(rtxn)? {
        Some(max) => usize::try_from(max).unwrap_or(usize::MAX),
        None => MAX_TOTAL_HITS_DEFAULT,
    })
}

/// The engine's search for a query. Hits, facets and facet search all start from it.
pub fn prepare<'a>(
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    query: &'a SearchQuery,
    kind: &SearchKind,
    filter: Option<Filter<'a>>,
    sort: &[AscDesc],
    limits: &Limits,
) -> Result<Search<'a>, ResponseError> {
    let mut search = index.search(rtxn);
    search.time_budget(match index.search_cutoff(rtxn)? {
        Some(cutoff_ms) => TimeBudget::new(Duration::from_millis(cutoff_ms)),
        None => TimeBudget::default(),
    });
    if let Some(q) = query.q.as_ref().filter(|_| !matches!(kind, SearchKind::Meaning(_))) {
        search.query(q);
    }
    if let SearchKind::Meaning(meaning) | SearchKind::Both(meaning, _) = kind {
        let Meaning { embedder_name, embedder, is_quantized, vector } = meaning;
        search.semantic(embedder_name.clone(), Arc::clone(embedder), *is_quantized, vector.clone());
    }
    if let Some(filter) = filter {
        search.filter(filter);
    }
    if query.sort.is_some() {
        search.sort_criteria(sort.to_vec());
    }
    if let Some(distinct) = &query.distinct {
        search.distinct(distinct.clone());
    }
    if let Some(attributes) = &query.attributes_to_search_on {
        search.searchable_attributes(attributes);
    }
    if let Some(threshold) = query.ranking_score_threshold {
        search.ranking_score_threshold(threshold.0);
    }
    if let Some(locales) = &query.locales {
        search.locales(locales.iter().map(|locale| locale.0).collect());
    }
    let needs_scores =
        query.show_ranking_score || query.show_ranking_score_details || query.ranking_score_threshold.is_some();
    search.scoring_strategy(match needs_scores {
        true => ScoringStrategy::Detailed,
        false => ScoringStrategy::Skip,
    });
    search
        .terms_matching_strategy(query.matching_strategy.into())
        .exhaustive_number_hits(query.is_paged())
        .offset(limits.offset)
        .limit(limits.limit);
    Ok(search)
}

/// Reads `attribute:asc` and `_geoPoint(lat, lng):desc`. `code` is what a malformed criterion is refused with.
pub fn sort_criteria(sort: &[String], code: Code) -> Result<Vec<AscDesc>, ResponseError> {
    let criteria = sort.iter().map(|criterion| criterion.parse());
    criteria.collect::<Result<_, _>>().map_err(|error| {
        let error = milli_core::Error::from(SortError::from(error));
        ResponseError::new(code, error.to_string())
    })
}

fn insert_totals(answer: &mut Object, query: &SearchQuery, total: u64) {
    if query.is_paged() {
        let hits_per_page = query.hits_per_page.unwrap_or(DEFAULT_LIMIT) as u64;
        // Pages of no hits cannot be counted, so there are none.
        let pages = if hits_per_page == 0 { 0 } else { total.div_ceil(hits_per_page) };
        answer.insert("hitsPerPage".to_owned(), json!(hits_per_page));
        answer.insert("page".to_owned(), json!(query.page.unwrap_or(1)));
        answer.insert("totalPages".to_owned(), json!(pages));
        answer.insert("totalHits".to_owned(), json!(total));
    } else {
        answer.insert("limit".to_owned(), json!(query.limit));
        answer.insert("offset".to_owned(), json!(query.offset));
        answer.insert("estimatedTotalHits".to_owned(), json!(total));
    }
}

/// Refuses what this node does not have, in the words of a Meilisearch that was started without it.
pub fn refuse_unavailable(query: &SearchQuery, features: Features) -> Result<(), ResponseError> {
    if query.personalize.is_some() {
        return Err(feature_not_enabled("reranking search results", "personalization", 866));
    }
    refuse_network(query.use_network, features)
}

/// `useNetwork` needs other nodes, which this one never has: with the feature on, the network is this node alone.
pub fn refuse_network(use_network: Option<bool>, features: Features) -> Result<(), ResponseError> {
    match use_network {
        Some(_) => features.check_network("passing `useNetwork` in a search query"),
        None => Ok(()),
    }
}

/// Refuses pictures and the like, which this node embeds none of.
pub fn refuse_media(query: &SearchQuery) -> Result<(), ResponseError> {
    match query.media {
        Some(_) => Err(feature_not_enabled("passing `media` in a search query", "multimodal", 846)),
        None => Ok(()),
    }
}
