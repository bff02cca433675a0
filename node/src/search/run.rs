//! One search from request to answer.

use std::time::{Duration, Instant};

use milli_core::heed::RoTxn;
use milli_core::score_details::{ScoreDetails, ScoringStrategy};
use milli_core::{AscDesc, DocumentId, Filter, Index, Object, Search, SortError, TimeBudget};
use serde_json::{json, Value};

use super::query::{SearchQuery, DEFAULT_LIMIT};
use super::stored::Reader;
use super::{facets, filter, hits};
use crate::error::{Code, ResponseError};

/// Hits that can be reached by paging, unless the index says otherwise: Meilisearch's default.
const MAX_TOTAL_HITS_DEFAULT: usize = 1000;

/// Answers the search of the index called `uid`. Computes for long; not to be called from the server's own threads.
pub fn search(index: &Index, uid: &str, query: &SearchQuery) -> Result<Object, ResponseError> {
    let started = Instant::now();
    refuse_unavailable(query)?;
    let rtxn = index.read_txn()?;
    let reader = Reader::new(index, &rtxn)?;
    let limits = Limits::of(index, &rtxn, query)?;
    let filter = match &query.filter {
        Some(filter) => filter::parse(filter, Code::InvalidSearchFilter)?,
        None => None,
    };
    let sort = sort_criteria(query.sort.as_deref().unwrap_or_default(), Code::InvalidSearchSort)?;
    let search = prepare(index, &rtxn, query, filter, &sort, &limits)?;
    let found = search.execute().map_err(|error| ResponseError::in_index(uid, error))?;

    let scored: Vec<(DocumentId, &[ScoreDetails])> =
        found.documents_ids.iter().copied().zip(found.document_scores.iter().map(Vec::as_slice)).collect();
    let hits = hits::render(&reader, query, &sort, found.matching_words, &scored)?;
    let total = found.candidates.len();
    let facets = match &query.facets {
        Some(patterns) if patterns.is_empty() => None,
        Some(patterns) => Some(facets::count(&reader, patterns, found.candidates)?),
        None => None,
    };

    let mut answer = Object::new();
    answer.insert("hits".to_owned(), Value::Array(hits.into_iter().map(Value::Object).collect()));
    answer.insert("query".to_owned(), json!(query.q.as_deref().unwrap_or_default()));
    answer.insert("processingTimeMs".to_owned(), json!(started.elapsed().as_millis() as u64));
    insert_totals(&mut answer, query, total);
    if let Some(facets) = facets {
        answer.insert("facetDistribution".to_owned(), facets.distribution);
        answer.insert("facetStats".to_owned(), facets.stats);
    }
    Ok(answer)
}

/// The part of all hits that is asked for.
pub struct Limits {
    offset: usize,
    limit: usize,
}

impl Limits {
    /// Hits beyond the index's `maxTotalHits` cannot be reached, though totals count them.
    pub fn of(index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> Result<Self, ResponseError> {
        let max_total_hits = match index.pagination_max_total_hits(rtxn)? {
            Some(max) => usize::try_from(max).unwrap_or(usize::MAX),
            None => MAX_TOTAL_HITS_DEFAULT,
        };
        let (offset, limit) = query.window();
        let offset = offset.min(max_total_hits);
        Ok(Self { offset, limit: limit.min(max_total_hits - offset) })
    }
}

/// The engine's search for a query. Hits, facets and facet search all start from it.
pub fn prepare<'a>(
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    query: &'a SearchQuery,
    filter: Option<Filter<'a>>,
    sort: &[AscDesc],
    limits: &Limits,
) -> Result<Search<'a>, ResponseError> {
    let mut search = index.search(rtxn);
    search.time_budget(match index.search_cutoff(rtxn)? {
        Some(cutoff_ms) => TimeBudget::new(Duration::from_millis(cutoff_ms)),
        None => TimeBudget::default(),
    });
    if let Some(q) = &query.q {
        search.query(q);
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
pub fn refuse_unavailable(query: &SearchQuery) -> Result<(), ResponseError> {
    if query.personalize.is_some() {
        return Err(feature_not_enabled("reranking search results", "personalization", 866));
    }
    if query.use_network.is_some() {
        return Err(feature_not_enabled("passing `useNetwork` in a search query", "network", 805));
    }
    let hybrid = query.hybrid.as_ref();
    if query.media.is_some() && query.vector.is_some() {
        return Err(ResponseError::new(
            Code::InvalidSearchMediaAndVector,
            "Invalid request: both `media` and `vector` parameters are present.",
        ));
    }
    if hybrid.is_none() && (query.media.is_some() || query.vector.is_some()) {
        return Err(ResponseError::new(
            Code::MissingSearchHybrid,
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        ));
    }
    let has_meaning = query.has_words() || query.vector.is_some() || query.media.is_some();
    match hybrid {
        Some(hybrid) if has_meaning && hybrid.semantic_ratio.0 > 0.0 => Err(ResponseError::new(
            Code::InvalidSearchEmbedder,
            format!("Cannot find embedder with name `{}`.", hybrid.embedder),
        )),
        _ if query.media.is_some() => Err(feature_not_enabled("passing `media` in a search query", "multimodal", 846)),
        _ => Ok(()),
    }
}

/// A parameter that needs an experimental feature, which this node does not have.
pub fn feature_not_enabled(action: &str, feature: &str, discussion: u32) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{action} requires enabling the `{feature}` experimental feature. \
             See https://github.com/orgs/meilisearch/discussions/{discussion}"
        ),
    )
}
