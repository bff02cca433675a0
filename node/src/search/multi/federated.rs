//! Several queries answered with one list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use milli_core::{DocumentId, Index, Object};
use roaring::RoaringBitmap;
use serde_json::{json, Value};

use super::super::facets::{self, attributes, Facets};
use super::super::hits::{HitRenderer, WordCuts};
use super::super::kind::SearchKind;
use super::super::query::{SearchQuery, SearchQueryWithIndex};
use super::super::run::{self, Limits};
use super::super::stored::Reader;
use super::super::{filter, run::sort_criteria};
use super::compatible::RankedBy;
use super::facets::{facet_values, uncount, FacetOrders};
use super::merged::{Merged, Rank};
use super::request::Federation;
use super::Refusal;
use crate::error::{Code, ResponseError};
use crate::features::Features;

/// For whom hits are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakesHits {
    ForClients,
    /// For another node, which needs what they rank by.
    ForMerging,
}

/// An answer but for what does not depend on the indexes.
pub struct Federated {
    pub answer: Object,
    /// `None` if no query asked for meaning.
    pub semantic_hit_count: Option<u32>,
}

/// A query and what it is to the merged list.
struct Weighted {
    query: SearchQuery,
    weight: f64,
    /// Its position among all queries.
    position: usize,
}

/// A hit that may still turn out to be a duplicate of another.
struct Hit {
    shown: Object,
    /// The index that it is from.
    uid: String,
    /// What of it is compared and counted, shown or not.
    counted: Object,
}

/// Answers the queries. `open` opens an index. Computes for long; not to be called from the server's own threads.
pub fn search(
    open: impl Fn(&str) -> Result<Index, ResponseError>,
    queries: Vec<SearchQueryWithIndex>,
    mut federation: Federation,
    features: Features,
    makes_hits: MakesHits,
) -> Result<Federated, Refusal> {
    let started = Instant::now();
    if federation.personalize.is_some() {
        return Err(crate::error::feature_not_enabled("reranking search results", "personalization", 866).into());
    }
    let retrieves_vectors = queries.iter().any(|query| query.retrieve_vectors);
    let (skip, take) = federation.window();
    let mut search = FederatedSearch {
        hits_max: skip.saturating_add(take),
        features,
        makes_hits,
        orders: FacetOrders::default(),
        ranked_by: None,
        semantic_hit_count: None,
        query_vectors: BTreeMap::new(),
        lists: Vec::new(),
        total: 0,
        counted: BTreeMap::new(),
    };
    for (uid, queries) in by_index(queries, &federation, features)? {
        let patterns = federation.facets_by_index.remove(&uid).flatten();
        let uid = uid.0;
        let index = open(&uid).map_err(Refusal::of_query(queries[0].position))?;
        search.add_index(&uid, &index, queries, patterns, &federation)?;
    }
    for (uid, patterns) in std::mem::take(&mut federation.facets_by_index) {
        search.check_unused(&open, &uid.0, patterns.unwrap_or_default(), federation.merge_facets.is_some())?;
    }
    let vectors = retrieves_vectors.then(|| std::mem::take(&mut search.query_vectors));
    Ok(search.answer(&federation, vectors, started))
}

/// The queries of each index, in the order of the indexes' names.
fn by_index(
    queries: Vec<SearchQueryWithIndex>,
    federation: &Federation,
    features: Features,
) -> Result<BTreeMap<crate::search::parse::IndexUid, Vec<Weighted>>, Refusal> {
    let mut sorted: BTreeMap<_, Vec<Weighted>> = BTreeMap::new();
    for (position, mut query) in queries.into_iter().enumerate() {
        let refuse = Refusal::of_query(position);
        refuse_in_federation(&query, federation).map_err(&refuse)?;
        let options = query.federation_options.take().unwrap_or_default();
        if options.remote.is_some() {
            features.check_network("Performing a remote federated search").map_err(&refuse)?;
        }
        if let Some(remote) = &options.remote {
            let message = format!("Invalid `.federation_options.remote`: remote `{remote}` is not registered");
            return Err(refuse(ResponseError::new(Code::InvalidMultiSearchRemote, message)));
        }
        if options.query_position.is_some() {
            features.check_network("Using `federationOptions.queryPosition`").map_err(&refuse)?;
        }
        let position = options.query_position.unwrap_or(position);
        let uid = query.index_uid.clone();
        let weighted = Weighted { query: query.into(), weight: options.weight.0, position };
        sorted.entry(uid).or_default().push(weighted);
    }
    Ok(sorted)
}

/// Refuses what makes sense for a list of its own only.
fn refuse_in_federation(query: &SearchQueryWithIndex, federation: &Federation) -> Result<(), ResponseError> {
    let paging = [
        ("offset", query.offset.is_some()),
        ("limit", query.limit.is_some()),
        ("page", query.page.is_some()),
        ("hitsPerPage", query.hits_per_page.is_some()),
    ];
    if let Some((name, _)) = paging.iter().find(|(_, is_given)| *is_given) {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchQueryPagination,
            format!(
                "Using pagination options is not allowed in federated queries.\n - Hint: remove `{name}` from the query \
                 or remove `federation` from the request\n - Hint: pass `federation.limit` and `federation.offset` for \
                 pagination in federated search"
            ),
        ));
    }
    if let Some(facets) = query.facets.as_ref().filter(|facets| !facets.is_empty()) {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchQueryFacets,
            format!(
                "Using facet options is not allowed in federated queries.\n - Hint: remove `facets` from the query or \
                 remove `federation` from the request\n - Hint: pass `federation.facetsByIndex.{}: {facets:?}` for \
                 facets in federated search",
                query.index_uid.0
            ),
        ));
    }
    if query.personalize.is_some() {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchQueryPersonalization,
            "Using `.personalize` is not allowed in federated queries.\n - Hint: remove `personalize` from the query or \
             remove `federation` from the request\n - Hint: pass `federation.personalize` for personalization in \
             federated search",
        ));
    }
    if query.show_performance_details.is_some() {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchQueryShowPerformanceDetails,
            "Using `.showPerformanceDetails` is not allowed in federated queries.\n - Hint: remove \
             `showPerformanceDetails` from the query or remove `federation` from the request",
        ));
    }
    if query.distinct.is_some() && federation.distinct.is_some() {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchDistinct,
            "Using `distinct` options is not allowed in federated queries when it also appears in \
             `.federation.distinct`.\n - Hint: remove `distinct` from the query or remove `federation` from the \
             request\n  - Note: `distinct` at the query level is discouraged in federated search.",
        ));
    }
    Ok(())
}

struct FederatedSearch {
    /// Hits that each list has at most: what the client can come to see.
    hits_max: usize,
    features: Features,
    makes_hits: MakesHits,
    orders: FacetOrders,
    /// The query with the most rules so far, which the others have to be compatible with.
    ranked_by: Option<RankedBy>,
    semantic_hit_count: Option<u32>,
    query_vectors: BTreeMap<usize, Vec<f32>>,
    /// One list of hits per index.
    lists: Vec<Vec<(Rank, Hit)>>,
    total: u64,
    counted: BTreeMap<String, Facets>,
}

impl FederatedSearch {
    /// Runs the queries of one index, all of which see the same documents.
    fn add_index(
        &mut self,
        uid: &str,
        index: &Index,
        queries: Vec<Weighted>,
        patterns: Option<Vec<String>>,
        federation: &Federation,
    ) -> Result<(), Refusal> {
        let first = Refusal::of_query(queries[0].position);
        let in_facets = |error: ResponseError| {
            let message = format!("Inside `.federation.facetsByIndex.{uid}`: {}", error.message);
            first(ResponseError { message, ..error })
        };
        let rtxn = index.read_txn()?;
        let reader = Reader::new(index, &rtxn)?;
        let cuts = WordCuts::of(&reader)?;
        let cuts = cuts.borrowed();
        let hits_max = self.hits_max.min(run::max_total_hits(index, &rtxn)?);
        if let Some(patterns) = patterns.as_ref().filter(|_| federation.merge_facets.is_some()) {
            self.orders.add(uid, &reader, patterns).map_err(in_facets)?;
        }
        // What has to be compared and counted again if a hit of another index has its distinct value.
        let mut counted: BTreeSet<String> = federation.distinct.iter().cloned().collect();
        if let (Some(_), Some(patterns)) = (&federation.distinct, &patterns) {
            counted.extend(attributes(&reader, patterns)?);
        }

        let mut candidates = RoaringBitmap::new();
        let mut found: Vec<Vec<(Rank, Found)>> = Vec::with_capacity(queries.len());
        let mut renderers = Vec::with_capacity(queries.len());
        for (in_index, weighted) in queries.iter().enumerate() {
            let Weighted { query, weight, position } = weighted;
            let of_query = Refusal::of_query(*position);
            let (result, sort) = self.run_query(uid, &reader, weighted, hits_max, federation).map_err(&of_query)?;
            candidates |= result.candidates;
            let ranked = result.documents_ids.into_iter().zip(result.document_scores).map(|(id, scores)| {
                let rank = Rank::new(&scores, *weight, *position);
                (rank, Found { id, scores, in_index })
            });
            found.push(ranked.collect());
            renderers.push(HitRenderer::new(&reader, query, &sort, result.matching_words, &cuts)?);
        }

        let counted_names: Vec<&str> = counted.iter().map(String::as_str).collect();
        let mut seen = RoaringBitmap::new();
        let mut seen_values = BTreeSet::new();
        let mut hits = Vec::new();
        for (rank, Found { id, scores, in_index }) in Merged::new(found) {
            if hits.len() == hits_max {
                break;
            }
            if !seen.insert(id) {
                continue;
            }
            let document = reader.document(id, &counted_names)?;
            if let Some(distinct) = &federation.distinct {
                let values = facet_values(&document, distinct);
                if !values.is_disjoint(&seen_values) {
                    candidates.remove(id);
                    continue;
                }
                seen_values.extend(values);
            }
            let place = self.place(uid, &rank, &document);
            let shown = renderers[in_index].hit(id, &scores, Some(place))?;
            hits.push((rank, Hit { shown, uid: uid.to_owned(), counted: document }));
        }
        self.lists.push(hits);
        self.total += candidates.len();
        if let Some(patterns) = patterns {
            let counts = facets::count(&reader, &patterns, candidates).map_err(in_facets)?;
            self.counted.insert(uid.to_owned(), counts);
        }
        Ok(())
    }

    fn run_query(
        &mut self,
        uid: &str,
        reader: &Reader<'_>,
        weighted: &Weighted,
        hits_max: usize,
        federation: &Federation,
    ) -> Result<(milli_core::SearchResult, Vec<milli_core::AscDesc>), ResponseError> {
        let Weighted { query, position, .. } = weighted;
        run::refuse_unavailable(query, self.features)?;
        let kind = SearchKind::of(query, reader.index, reader.rtxn)?;
        run::refuse_media(query)?;
        let sort = sort_criteria(query.sort.as_deref().unwrap_or_default(), Code::InvalidSearchSort)?;
        let criteria = reader.index.criteria(reader.rtxn)?;
        self.check_compatible(RankedBy::new(*position, uid, &criteria, query, &sort, &kind))?;
        if !matches!(kind, SearchKind::Words) {
            self.semantic_hit_count = Some(0);
        }
        let filter = match &query.filter {
            Some(filter) => filter::parse(filter, Code::InvalidSearchFilter, self.features)?,
            None => None,
        };
        let limits = Limits { offset: 0, limit: hits_max };
        let judged = limits.judged(query, federation.is_paged(), &kind);
        let mut search = run::prepare(reader.index, reader.rtxn, query, &kind, filter, &sort, &judged)?;
        search
            .scoring_strategy(milli_core::score_details::ScoringStrategy::Detailed)
            .exhaustive_number_hits(federation.is_paged());
        if let Some(distinct) = &federation.distinct {
            search.distinct(distinct.clone());
        }
        let (mut result, _) = run::execute(&search, &kind).map_err(|error| ResponseError::in_index(uid, error))?;
        limits.cut(&judged, &mut result);
        if let Some(vector) = kind.vector().filter(|_| query.retrieve_vectors) {
            self.query_vectors.insert(*position, vector.to_vec());
        }
        Ok((result, sort))
    }

    fn check_compatible(&mut self, ranked_by: RankedBy) -> Result<(), ResponseError> {
        let Some(previous) = &self.ranked_by else {
            self.ranked_by = Some(ranked_by);
            return Ok(());
        };
        ranked_by.check_against(previous)?;
        if ranked_by.len() >= previous.len() {
            self.ranked_by = Some(ranked_by);
        }
        Ok(())
    }

    /// The hit's `_federation`.
    fn place(&self, uid: &str, rank: &Rank, counted: &Object) -> Value {
        let mut place = json!({
            "indexUid": uid,
            "queriesPosition": rank.query,
            "weightedRankingScore": rank.score,
        });
        if self.makes_hits == MakesHits::ForMerging {
            place["weightedScoreValues"] = json!(rank.values);
            place["extra_document"] = json!(counted);
        }
        place
    }

    /// What is wrong with facets of an index that no query is for is an error all the same.
    fn check_unused(
        &mut self,
        open: &impl Fn(&str) -> Result<Index, ResponseError>,
        uid: &str,
        patterns: Vec<String>,
        merges_facets: bool,
    ) -> Result<(), ResponseError> {
        let checked = open(uid).and_then(|index| {
            let rtxn = index.read_txn()?;
            let reader = Reader::new(&index, &rtxn)?;
            if merges_facets {
                self.orders.add(uid, &reader, &patterns)?;
            }
            facets::count(&reader, &patterns, RoaringBitmap::new())?;
            Ok(())
        });
        checked.map_err(|error| {
            let message = format!(
                "Inside `.federation.facetsByIndex.{uid}`: {}\n - Note: index `{uid}` is not used in queries",
                error.message
            );
            ResponseError { message, ..error }
        })
    }

    fn answer(
        mut self,
        federation: &Federation,
        query_vectors: Option<BTreeMap<usize, Vec<f32>>>,
        started: Instant,
    ) -> Federated {
        let (skip, take) = federation.window();
        let mut seen_values = BTreeSet::new();
        let mut rejected: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        let mut kept: Vec<Object> = Vec::new();
        let mut position = 0;
        for (rank, hit) in Merged::new(std::mem::take(&mut self.lists)) {
            if let Some(distinct) = &federation.distinct {
                let values = facet_values(&hit.counted, distinct);
                if !values.is_disjoint(&seen_values) {
                    self.total = self.total.saturating_sub(1);
                    rejected.entry(hit.uid).or_default().push(hit.counted);
                    continue;
                }
                seen_values.extend(values);
            }
            if position >= skip && kept.len() < take {
                if let Some(count) = self.semantic_hit_count.as_mut().filter(|_| rank.is_semantic()) {
                    *count += 1;
                }
                kept.push(hit.shown);
            }
            position += 1;
        }
        for (uid, facets) in &mut self.counted {
            uncount(facets, rejected.get(uid).map(Vec::as_slice).unwrap_or_default());
        }

        let mut answer = Object::new();
        answer.insert("hits".to_owned(), json!(kept));
        if let Some(vectors) = query_vectors {
            answer.insert("queryVectors".to_owned(), json!(vectors));
        }
        answer.insert("processingTimeMs".to_owned(), json!(started.elapsed().as_millis() as u64));
        insert_totals(&mut answer, federation, self.total);
        match federation.merge_facets {
            Some(_) if self.counted.is_empty() => {}
            Some(how) => {
                let merged = self.orders.merge(std::mem::take(&mut self.counted), how);
                answer.insert("facetDistribution".to_owned(), json!(merged.distribution));
                answer.insert("facetStats".to_owned(), json!(merged.stats));
            }
            None if self.counted.is_empty() => {}
            None => _ = answer.insert("facetsByIndex".to_owned(), json!(self.counted)),
        }
        Federated { answer, semantic_hit_count: self.semantic_hit_count }
    }
}

/// A document that a query found.
struct Found {
    id: DocumentId,
    scores: Vec<milli_core::score_details::ScoreDetails>,
    /// The query's position among those of its index.
    in_index: usize,
}

fn insert_totals(answer: &mut Object, federation: &Federation, total: u64) {
    if !federation.is_paged() {
        answer.insert("limit".to_owned(), json!(federation.limit));
        answer.insert("offset".to_owned(), json!(federation.offset));
        answer.insert("estimatedTotalHits".to_owned(), json!(total));
        return;
    }
    let hits_per_page = federation.hits_per_page.unwrap_or(super::super::query::DEFAULT_LIMIT) as u64;
    // Pages of no hits cannot be counted, so there are none.
    let pages = if hits_per_page == 0 { 0 } else { total.div_ceil(hits_per_page) };
    answer.insert("hitsPerPage".to_owned(), json!(hits_per_page));
    answer.insert("page".to_owned(), json!(federation.page.unwrap_or(1)));
    answer.insert("totalPages".to_owned(), json!(pages));
    answer.insert("totalHits".to_owned(), json!(total));
}
