//! `/stats` and `/indexes/{uid}/stats`.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use deserr::Deserr;
use milli_core::Index;
use serde_json::{json, Map, Value};
use time::OffsetDateTime;

use crate::error::ResponseError;
use crate::indexes::check_uid;
use crate::queue::rfc_3339;
use crate::search::parse::{read_query, QueryError};
use crate::state::AppState;

pub fn routes() -> Router<AppState> {
    Router::new().route("/stats", get(of_all)).route("/indexes/{uid}/stats", get(of_one))
}

/// Statistics take no parameters here: sizes are always in bytes.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, deny_unknown_fields)]
struct NoParameters {}

async fn of_all(
    State(state): State<AppState>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ResponseError> {
    let NoParameters {} = read_query(parameters)?;
    let shown = state.clone();
    state.run_search(move || all(&shown).map(Json)).await
}

fn all(state: &AppState) -> Result<Value, ResponseError> {
    let indexing = state.queue().indexing()?;
    let mut database_bytes = state.queue().bytes()?;
    let mut used_bytes = database_bytes;
    let mut last_update: Option<OffsetDateTime> = None;
    let mut indexes = Map::new();
    for uid in state.indexes().names() {
        // An index that was deleted since the names were listed has no statistics any more.
        let Ok(index) = state.index(&uid) else { continue };
        database_bytes += index.on_disk_size()?;
        used_bytes += index.used_size()?;
        let rtxn = index.read_txn()?;
        last_update = last_update.max(Some(index.updated_at(&rtxn)?));
        let stats = stats(&index, indexing.contains(&uid))?;
        indexes.insert(uid, stats);
    }
    Ok(json!({
        "databaseSize": database_bytes,
        "usedDatabaseSize": used_bytes,
        "lastUpdate": last_update.map(rfc_3339),
        "indexes": indexes,
    }))
}

async fn of_one(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ResponseError> {
    let NoParameters {} = read_query(parameters)?;
    check_uid(&uid)?;
    let shown = state.clone();
    state
        .run_search(move || {
            let index = shown.index(&uid)?;
            let is_indexing = shown.queue().indexing()?.contains(&uid);
            stats(&index, is_indexing).map(Json)
        })
        .await
}

fn stats(index: &Index, is_indexing: bool) -> Result<Value, ResponseError> {
    let rtxn = index.read_txn()?;
    let documents = index.documents_stats(&rtxn)?.unwrap_or_default();
    let embeddings = index.arroy_stats(&rtxn)?;
    Ok(json!({
        "numberOfDocuments": index.number_of_documents(&rtxn)?,
        "rawDocumentDbSize": documents.total_size(),
        "avgDocumentSize": documents.average_value_size(),
        "isIndexing": is_indexing,
        "numberOfEmbeddings": embeddings.number_of_embeddings,
        "numberOfEmbeddedDocuments": embeddings.documents.len(),
        "fieldDistribution": index.field_distribution(&rtxn)?,
    }))
}
