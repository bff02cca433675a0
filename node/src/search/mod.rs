//! Search: `GET` and `POST /indexes/{uid}/search`, and `POST /indexes/{uid}/facet-search`.
//!
//! A request is read by `parse` into what `query` says it may be, run by `run` or `facets` on the engine, and its hits
//! are rendered by `hits` from documents that `stored` reads. Nothing here writes to an index, and nothing but this file
//! knows of HTTP.

mod facets;
pub mod filter;
mod hits;
pub mod locales;
pub mod parse;
pub mod query;
pub mod run;
mod select;
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
use crate::error::ResponseError;
use crate::indexes::check_uid;
use crate::state::AppState;

/// A client that sets this header to `true` is told which index and primary key an answer comes from.
const METADATA_HEADER: &str = "Meili-Include-Metadata";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/indexes/{uid}/search", get(search_by_parameters).post(search_by_body))
        .route("/indexes/{uid}/facet-search", post(search_facet))
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
    let with_metadata = headers.get(METADATA_HEADER).is_some_and(|value| value == "true");
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    let arrived = Instant::now();
    let answer = state.run_search(move || {
        let started = Instant::now();
        let mut answer = run::search(&index, &uid, &query)?;
        answer.insert("requestUid".to_owned(), json!(Uuid::now_v7().to_string()));
        if with_metadata {
            let rtxn = index.read_txn()?;
            let metadata = json!({
                "queryUid": Uuid::now_v7().to_string(),
                "indexUid": uid,
                "primaryKey": index.primary_key(&rtxn)?,
            });
            answer.insert("metadata".to_owned(), metadata);
        }
        if query.show_performance_details {
            let details = json!({
                "wait in queue": format!("{:.2?}", started - arrived),
                "search": format!("{:.2?}", started.elapsed()),
            });
            answer.insert("performanceDetails".to_owned(), details);
        }
        Ok(answer)
    });
    answer.await.map(Json)
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
    state.run_search(move || facets::search(&index, query)).await.map(Json)
}
