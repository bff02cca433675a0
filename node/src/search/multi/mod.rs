//! `POST /multi-search`: several queries in one request.
//!
//! Without `federation` each query has an answer of its own; with it, `federated` runs the queries index by index, `merged`
//! puts their hits in one order, `compatible` says whether they have one, and `facets` adds up what was counted.

mod compatible;
mod facets;
mod federated;
mod merged;
mod request;
#[cfg(test)]
mod tests;

use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use milli_core::Object;
use serde_json::{json, Value};
use uuid::Uuid;

use self::federated::{Federated, MakesHits};
pub use self::request::FederationOptions;
use self::request::{Federation, MultiSearch};
use super::parse::read_body;
use super::query::{SearchQuery, SearchQueryWithIndex};
use super::run::{self, Answered};
use super::{metadata, performance_details, wants_metadata};
use crate::error::{Code, ResponseError};
use crate::state::AppState;

/// Set to `true` by another node that merges this one's hits with its own.
const PROXY_HEADER: &str = "Meili-Proxy-Search";

pub fn routes() -> Router<AppState> {
    Router::new().route("/multi-search", post(multi_search))
}

/// An error and the query that it is about.
struct Refusal {
    error: ResponseError,
    query: Option<usize>,
}

impl Refusal {
    fn of_query(query: usize) -> impl Fn(ResponseError) -> Self {
        move |error| Self { error, query: Some(query) }
    }
}

impl<E: Into<ResponseError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { error: error.into(), query: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = self.error;
        if let Some(query) = self.query {
            error.message = format!("Inside `.queries[{query}]`: {}", error.message);
        }
        let is_index_missing = error.code == Code::IndexNotFound;
        let mut response = error.into_response();
        if is_index_missing {
            // What the URL names is there.
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response
    }
}

async fn multi_search(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Refusal> {
    let MultiSearch { queries, federation } = read_body(&headers, &body)?;
    let with_metadata = wants_metadata(&headers);
    let is_proxied = headers.get(PROXY_HEADER).is_some_and(|value| value == "true");
    let arrived = Instant::now();
    let searching = state.clone();
    // What went wrong with a query travels inside, because the queue has errors of its own.
    let answer = state.run_search(move || {
        Ok(match federation {
            Some(federation) => federate(&searching, queries, federation, with_metadata, is_proxied, arrived),
            None => one_by_one(&searching, queries, with_metadata, arrived),
        })
    });
    answer.await?.map(Json)
}

fn one_by_one(
    state: &AppState,
    queries: Vec<SearchQueryWithIndex>,
    with_metadata: bool,
    arrived: Instant,
) -> Result<Value, Refusal> {
    let request_uid = Uuid::now_v7().to_string();
    let mut results = Vec::with_capacity(queries.len());
    for (position, query) in queries.into_iter().enumerate() {
        let answer = one(state, query, &request_uid, with_metadata, arrived);
        results.push(answer.map_err(Refusal::of_query(position))?);
    }
    Ok(json!({ "results": results }))
}

fn one(
    state: &AppState,
    query: SearchQueryWithIndex,
    request_uid: &str,
    with_metadata: bool,
    arrived: Instant,
) -> Result<Object, ResponseError> {
    if query.federation_options.is_some() {
        return Err(ResponseError::new(
            Code::InvalidMultiSearchFederationOptions,
            "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: remove `federationOptions` \
             from the query or add `federation` to the request.",
        ));
    }
    let started = Instant::now();
    let uid = query.index_uid.0.clone();
    let index = state.index(&uid)?;
    let query = SearchQuery::from(query);
    let Answered { answer, semantic_hit_count } = run::search(&index, &uid, &query, state.features())?;
    let mut result = Object::new();
    result.insert("indexUid".to_owned(), json!(uid));
    result.extend(answer);
    result.insert("requestUid".to_owned(), json!(request_uid));
    if with_metadata {
        let rtxn = index.read_txn()?;
        let metadata = metadata(query.q.as_deref(), &uid, index.primary_key(&rtxn)?);
        result.insert("metadata".to_owned(), metadata);
    }
    if query.show_performance_details {
        result.insert("performanceDetails".to_owned(), performance_details(arrived, started));
    }
    if let Some(count) = semantic_hit_count {
        result.insert("semanticHitCount".to_owned(), json!(count));
    }
    Ok(result)
}

fn federate(
    state: &AppState,
    queries: Vec<SearchQueryWithIndex>,
    federation: Federation,
    with_metadata: bool,
    is_proxied: bool,
    arrived: Instant,
) -> Result<Value, Refusal> {
    let started = Instant::now();
    let features = state.features();
    if is_proxied {
        features.check_network("Performing a remote federated search")?;
    }
    let shows_performance = federation.show_performance_details;
    let wanted: Vec<_> = queries.iter().map(|query| (query.q.clone(), query.index_uid.0.clone())).collect();
    let makes_hits = if is_proxied { MakesHits::ForMerging } else { MakesHits::ForClients };
    let open = |uid: &str| state.index(uid);
    let Federated { mut answer, semantic_hit_count } =
        federated::search(open, queries, federation, features, makes_hits)?;
    answer.insert("requestUid".to_owned(), json!(Uuid::now_v7().to_string()));
    if with_metadata {
        let mut all = Vec::with_capacity(wanted.len());
        for (q, uid) in wanted {
            let index = state.index(&uid)?;
            let rtxn = index.read_txn()?;
            all.push(metadata(q.as_deref(), &uid, index.primary_key(&rtxn)?));
        }
        answer.insert("metadata".to_owned(), json!(all));
    }
    if let Some(count) = semantic_hit_count {
        answer.insert("semanticHitCount".to_owned(), json!(count));
    }
    if shows_performance {
        answer.insert("performanceDetails".to_owned(), performance_details(arrived, started));
    }
    Ok(Value::Object(answer))
}
