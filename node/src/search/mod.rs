//! Search: `GET` and `POST /indexes/{uid}/search`, `POST /multi-search`, `POST /indexes/{uid}/facet-search`, and `GET` and
//! `POST /indexes/{uid}/similar`.
//!
//! A request is read by `parse` into what `query` says it may be, run by `run` (words or meaning? `kind` says), `multi`,
//! `facets` or `similar` on the engine, and its hits are rendered by `hits` from documents that `stored` reads. Nothing here
//! writes to an index.

mod facets;
pub mod filter;
mod hits;
mod kind;
pub mod locales;
mod multi;
pub mod parse;
pub mod query;
pub mod run;
mod select;
mod similar;
pub mod stored;
#[cfg(test)]
mod tests;

use std::time::Instant;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use milli_core::Object;
use serde_json::{json, Value};
use uuid::Uuid;

use self::facets::FacetSearchQuery;
use self::parse::{read_body, read_query};
use self::query::{SearchParameters, SearchQuery};
use self::run::Answered;
use crate::error::ResponseError;
use crate::indexes::check_uid;
use crate::state::AppState;

/// A client that sets this header to `true` is told which index and primary key an answer comes from.
const METADATA_HEADER: &str = "Meili-Include-Metadata";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/indexes/{uid}/search", get(search_by_parameters).post(search_by_body))
        .route("/indexes/{uid}/facet-search", post(search_facet))
        .merge(multi::routes())
        .merge(similar::routes())
}

async fn search_by_parameters(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Object>, ResponseError> {
    let query = SearchQuery::try_from(read_query::<SearchParameters>(parameters)?)?;
    answer(state, uid, &headers, query).await
}

async fn search_by_body(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Object>, ResponseError> {
    let query = read_body::<SearchQuery>(&headers, &body)?;
    answer(state, uid, &headers, query).await
}

async fn answer(
    state: AppState,
    uid: String,
    headers: &HeaderMap,
    query: SearchQuery,
) -> Result<Json<Object>, ResponseError> {
    let with_metadata = wants_metadata(headers);
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    let features = state.features();
    let arrived = Instant::now();
    let answer = state.run_search(move || {
        let started = Instant::now();
        let Answered { mut answer, semantic_hit_count } = run::search(&index, &uid, &query, features)?;
        answer.insert("requestUid".to_owned(), json!(Uuid::now_v7().to_string()));
        if with_metadata {
            let rtxn = index.read_txn()?;
            let metadata = metadata(query.q.as_deref(), &uid, index.primary_key(&rtxn)?);
            answer.insert("metadata".to_owned(), metadata);
        }
        if query.show_performance_details {
            answer.insert("performanceDetails".to_owned(), performance_details(arrived, started));
        }
        if let Some(count) = semantic_hit_count {
            answer.insert("semanticHitCount".to_owned(), json!(count));
        }
        Ok(answer)
    });
    answer.await.map(Json)
}

fn wants_metadata(headers: &HeaderMap) -> bool {
    headers.get(METADATA_HEADER).is_some_and(|value| value == "true")
}

/// Which index and primary key the hits of a query come from. What is not known is left out.
fn metadata(q: Option<&str>, uid: &str, primary_key: Option<&str>) -> Value {
    let mut metadata = Object::new();
    metadata.extend(q.map(|q| ("query".to_owned(), json!(q))));
    metadata.insert("queryUid".to_owned(), json!(Uuid::now_v7().to_string()));
    metadata.insert("indexUid".to_owned(), json!(uid));
    metadata.extend(primary_key.map(|name| ("primaryKey".to_owned(), json!(name))));
    Value::Object(metadata)
}

fn performance_details(arrived: Instant, started: Instant) -> Value {
    json!({
        "wait in queue": format!("{:.2?}", started - arrived),
        "search": format!("{:.2?}", started.elapsed()),
    })
}

async fn search_facet(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ResponseError> {
    let query = read_body::<FacetSearchQuery>(&headers, &body)?;
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    let features = state.features();
    state.run_search(move || facets::search(&index, query, features)).await.map(Json)
}
