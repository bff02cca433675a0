//! `GET` and `POST /indexes/{uid}/similar`: documents whose vectors are near that of one document.

use std::time::Instant;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use deserr::Deserr;
use milli_core::documents::validate_document_id_value;
use milli_core::{Index, MatchingWords, Object, Similar};
use serde_json::{json, Value};

use super::hits::{HitRenderer, WordCuts};
use super::kind::Meaning;
use super::parse::codes::*;
use super::parse::{read_body, read_query, BodyError, List, Param, QueryError};
use super::query::{filter_parameter, RankingScoreThreshold, SearchQuery, DEFAULT_LIMIT};
use super::stored::Reader;
use super::{filter, performance_details, run};
use crate::error::{Code, ResponseError};
use crate::features::Features;
use crate::indexes::check_uid;
use crate::state::AppState;

pub fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/similar", get(by_parameters).post(by_body))
}

/// The body of `POST /indexes/{uid}/similar`.
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
pub struct SimilarQuery {
    #[deserr(error = BodyError<InvalidSimilarId>)]
    id: Value,
    #[deserr(default, error = BodyError<InvalidSimilarOffset>)]
    offset: usize,
    #[deserr(default = DEFAULT_LIMIT, error = BodyError<InvalidSimilarLimit>)]
    limit: usize,
    #[deserr(default, error = BodyError<InvalidSimilarFilter>)]
    filter: Option<Value>,
    #[deserr(error = BodyError<InvalidSimilarEmbedder>)]
    embedder: String,
    #[deserr(default, error = BodyError<InvalidSimilarAttributesToRetrieve>)]
    attributes_to_retrieve: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSimilarRetrieveVectors>)]
    retrieve_vectors: bool,
    #[deserr(default, error = BodyError<InvalidSimilarShowRankingScore>)]
    show_ranking_score: bool,
    #[deserr(default, error = BodyError<InvalidSimilarShowRankingScoreDetails>)]
    show_ranking_score_details: bool,
    #[deserr(default, error = BodyError<InvalidSimilarShowPerformanceDetails>)]
    show_performance_details: bool,
    #[deserr(default, error = BodyError<InvalidSimilarRankingScoreThreshold>)]
    ranking_score_threshold: Option<RankingScoreThreshold>,
}

/// The query parameters of `GET /indexes/{uid}/similar`.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct SimilarParameters {
    #[deserr(error = QueryError<InvalidSimilarId>)]
    id: String,
    #[deserr(error = QueryError<InvalidSimilarEmbedder>)]
    embedder: String,
    #[deserr(default, error = QueryError<InvalidSimilarOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidSimilarLimit>)]
    limit: Param<usize>,
    #[deserr(default, error = QueryError<InvalidSimilarAttributesToRetrieve>)]
    attributes_to_retrieve: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidSimilarRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSimilarFilter>)]
    filter: Option<String>,
    #[deserr(default, error = QueryError<InvalidSimilarShowRankingScore>)]
    show_ranking_score: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSimilarShowRankingScoreDetails>)]
    show_ranking_score_details: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSimilarShowPerformanceDetails>)]
    show_performance_details: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSimilarRankingScoreThreshold>)]
    ranking_score_threshold: Option<Param<RankingScoreThreshold>>,
}

impl From<SimilarParameters> for SimilarQuery {
    fn from(parameters: SimilarParameters) -> Self {
        Self {
            id: Value::String(parameters.id),
            offset: parameters.offset.0,
            limit: parameters.limit.0,
            filter: parameters.filter.map(filter_parameter),
            embedder: parameters.embedder,
            attributes_to_retrieve: parameters.attributes_to_retrieve.map(|list| list.0),
            retrieve_vectors: parameters.retrieve_vectors.0,
            show_ranking_score: parameters.show_ranking_score.0,
            show_ranking_score_details: parameters.show_ranking_score_details.0,
            show_performance_details: parameters.show_performance_details.0,
            ranking_score_threshold: parameters.ranking_score_threshold.map(|score| score.0),
        }
    }
}

async fn by_parameters(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Object>, ResponseError> {
    answer(state, uid, read_query::<SimilarParameters>(parameters)?.into()).await
}

async fn by_body(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Object>, ResponseError> {
    answer(state, uid, read_body(&headers, &body)?).await
}

async fn answer(state: AppState, uid: String, query: SimilarQuery) -> Result<Json<Object>, ResponseError> {
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    let features = state.features();
    let arrived = Instant::now();
    let answer = state.run_search(move || {
        let started = Instant::now();
        let mut answer = similar(&index, &query, features)?;
        if query.show_performance_details {
            answer.insert("performanceDetails".to_owned(), performance_details(arrived, started));
        }
        Ok(answer)
    });
    answer.await.map(Json)
}

/// Computes for long; not to be called from the server's own threads.
pub fn similar(index: &Index, query: &SimilarQuery, features: Features) -> Result<Object, ResponseError> {
    let started = Instant::now();
    let rtxn = index.read_txn()?;
    let reader = Reader::new(index, &rtxn)?;
    let meaning = Meaning::new(index, &rtxn, &query.embedder, Code::InvalidSimilarEmbedder)?;
    let filter = match &query.filter {
        Some(filter) => filter::parse(filter, Code::InvalidSimilarFilter, features)?,
        None => None,
    };
    let id = validate_document_id_value(query.id.clone())
        .map_err(|error| ResponseError::new(Code::InvalidSimilarId, format!("Invalid value at `.id`: {error}")))?;
    let internal_id = index
        .external_documents_ids()
        .get(&rtxn, &id)?
        .ok_or_else(|| ResponseError::new(Code::NotFoundSimilarId, format!("Document `{id}` not found.")))?;

    let Meaning { embedder_name, embedder, is_quantized, .. } = meaning;
    let mut search =
        Similar::new(internal_id, query.offset, query.limit, index, &rtxn, embedder_name, embedder, is_quantized);
    if let Some(filter) = filter {
        search.filter(filter);
    }
    if let Some(threshold) = query.ranking_score_threshold {
        search.ranking_score_threshold(threshold.0);
    }
    let found = search.execute().map_err(|error| match ResponseError::from(error) {
        error if error.code == Code::InvalidSearchFilter => ResponseError { code: Code::InvalidSimilarFilter, ..error },
        error => error,
    })?;

    let shown = SearchQuery {
        attributes_to_retrieve: query.attributes_to_retrieve.clone(),
        retrieve_vectors: query.retrieve_vectors,
        show_ranking_score: query.show_ranking_score,
        show_ranking_score_details: query.show_ranking_score_details,
        ..SearchQuery::default()
    };
    let cuts = WordCuts::of(&reader)?;
    let cuts = cuts.borrowed();
    let renderer = HitRenderer::new(&reader, &shown, &[], MatchingWords::default(), &cuts)?;
    let hits = found.documents_ids.iter().zip(&found.document_scores);
    let hits = hits.map(|(id, scores)| renderer.hit(*id, scores, None).map(Value::Object));
    let hits = hits.collect::<milli_core::Result<Vec<_>>>()?;

    let total = usize::try_from(found.candidates.len()).unwrap_or(usize::MAX);
    let mut answer = Object::new();
    answer.insert("hits".to_owned(), Value::Array(hits));
    answer.insert("id".to_owned(), json!(id));
    answer.insert("processingTimeMs".to_owned(), json!(started.elapsed().as_millis() as u64));
    answer.insert("limit".to_owned(), json!(query.limit));
    answer.insert("offset".to_owned(), json!(query.offset));
    answer.insert("estimatedTotalHits".to_owned(), json!(total.min(run::max_total_hits(index, &rtxn)?)));
    Ok(answer)
}
