//! Reading documents: `GET /indexes/{uid}/documents`, `POST /indexes/{uid}/documents/fetch` and
//! `GET /indexes/{uid}/documents/{id}`.
//!
//! All fields are shown, also those that searches hide: Meilisearch's `displayedAttributes` concerns searches only.

use std::collections::BTreeSet;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use deserr::Deserr;
use milli_core::{FieldId, Index, Object};
use roaring::RoaringBitmap;
use serde_json::{json, Value};

use super::sorted::first_sorted;
use crate::error::{Code, ResponseError};
use crate::features::Features;
use crate::indexes::check_uid;
use crate::search::filter;
use crate::search::parse::codes::*;
use crate::search::parse::{read_body, read_query, BodyError, List, Param, QueryError};
use crate::search::query::{filter_parameter, sort_parameter};
use crate::search::run::{refuse_network, sort_criteria};
use crate::search::stored::Reader;
use crate::state::AppState;

const DEFAULT_LIMIT: usize = 20;
/// The largest document id that the engine stores.
const ID_BYTES_MAX: usize = 511;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/indexes/{uid}/documents", get(list_by_parameters))
        .route("/indexes/{uid}/documents/fetch", post(list_by_body))
        .route("/indexes/{uid}/documents/{id}", get(document))
}

/// The body of `POST /indexes/{uid}/documents/fetch`.
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
struct ListQuery {
    #[deserr(default, error = BodyError<InvalidDocumentOffset>)]
    offset: usize,
    #[deserr(default = DEFAULT_LIMIT, error = BodyError<InvalidDocumentLimit>)]
    limit: usize,
    #[deserr(default, error = BodyError<InvalidDocumentFields>)]
    fields: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: bool,
    #[deserr(default, error = BodyError<InvalidDocumentIds>)]
    ids: Option<Vec<Value>>,
    #[deserr(default, error = BodyError<InvalidDocumentFilter>)]
    filter: Option<Value>,
    #[deserr(default, error = BodyError<InvalidDocumentSort>)]
    sort: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidDocumentUseNetwork>)]
    use_network: Option<bool>,
}

/// The query parameters of `GET /indexes/{uid}/documents`.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct ListParameters {
    #[deserr(default, error = QueryError<InvalidDocumentOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidDocumentLimit>)]
    limit: Param<usize>,
    #[deserr(default, error = QueryError<InvalidDocumentFields>)]
    fields: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = QueryError<InvalidDocumentIds>)]
    ids: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidDocumentFilter>)]
    filter: Option<String>,
    #[deserr(default, error = QueryError<InvalidDocumentSort>)]
    sort: Option<String>,
    #[deserr(default, error = QueryError<InvalidDocumentUseNetwork>)]
    use_network: Option<bool>,
}

impl From<ListParameters> for ListQuery {
    fn from(parameters: ListParameters) -> Self {
        Self {
            offset: parameters.offset.0,
            limit: parameters.limit.0,
            fields: named_fields(parameters.fields),
            retrieve_vectors: parameters.retrieve_vectors.0,
            ids: parameters.ids.map(|ids| ids.0.into_iter().map(Value::String).collect()),
            filter: parameters.filter.map(filter_parameter),
            sort: parameters.sort.as_deref().map(sort_parameter),
            use_network: parameters.use_network,
        }
    }
}

/// The query parameters of `GET /indexes/{uid}/documents/{id}`.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct DocumentParameters {
    #[deserr(default, error = QueryError<InvalidDocumentFields>)]
    fields: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = QueryError<InvalidDocumentUseNetwork>)]
    use_network: Option<bool>,
}

/// The fields of a query parameter; `None` for all, which `*` stands for.
fn named_fields(fields: Option<List<String>>) -> Option<Vec<String>> {
    fields.map(|fields| fields.0).filter(|names| !names.iter().any(|name| name == "*"))
}

async fn list_by_parameters(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ResponseError> {
    list(state, &uid, read_query::<ListParameters>(parameters)?.into()).await
}

async fn list_by_body(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ResponseError> {
    list(state, &uid, read_body(&headers, &body)?).await
}

async fn list(state: AppState, uid: &str, query: ListQuery) -> Result<Json<Value>, ResponseError> {
    let features = state.features();
    refuse_network(query.use_network, features)?;
    check_uid(uid)?;
    let index = state.index(uid)?;
    state.run_search(move || read_list(&index, &query, features)).await.map(Json)
}

async fn document(
    State(state): State<AppState>,
    Path((uid, id)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Object>, ResponseError> {
    let parameters = read_query::<DocumentParameters>(parameters)?;
    refuse_network(parameters.use_network, state.features())?;
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    let read = move || {
        let rtxn = index.read_txn()?;
        let reader = Reader::new(&index, &rtxn)?;
        let not_found = || ResponseError::new(Code::DocumentNotFound, format!("Document `{id}` not found."));
        // Longer keys than ids may have are not keys at all to the store, which would report an internal error.
        let known = id.len() <= ID_BYTES_MAX && !id.is_empty();
        let internal_id = match known {
            true => index.external_documents_ids().get(&rtxn, &id)?.ok_or_else(not_found)?,
            false => return Err(not_found()),
        };
        let fields = shown_fields(&reader, named_fields(parameters.fields).as_deref());
        Ok(reader.document_for_client(internal_id, &fields, parameters.retrieve_vectors.0)?)
    };
    state.run_search(read).await.map(Json)
}

fn read_list(index: &Index, query: &ListQuery, features: Features) -> Result<Value, ResponseError> {
    let sort = query.sort.as_deref().unwrap_or_default();
    let sort = sort_criteria(sort, Code::InvalidDocumentSort)?;
    let rtxn = index.read_txn()?;
    let reader = Reader::new(index, &rtxn)?;
    let mut candidates = match &query.ids {
        Some(ids) => with_ids(&reader, ids)?,
        None => index.documents_ids(&rtxn)?,
    };
    if let Some(filter) = &query.filter {
        if let Some(filter) = filter::parse(filter, Code::InvalidDocumentFilter, features)? {
            candidates &= filter.evaluate(&rtxn, index).map_err(document_filter_refused)?;
        }
    }

    let total = candidates.len();
    let end = query.offset.saturating_add(query.limit);
    let ids = first_sorted(&reader, candidates, &sort, end)?;
    let fields = shown_fields(&reader, query.fields.as_deref());
    let results = ids
        .into_iter()
        .skip(query.offset)
        .map(|id| reader.document_for_client(id, &fields, query.retrieve_vectors))
        .collect::<milli_core::Result<Vec<Object>>>()?;
    Ok(json!({
        "results": results,
        "offset": query.offset,
        "limit": query.limit,
        "total": total,
    }))
}

/// The documents that have one of the ids. Ids that no document has are skipped.
fn with_ids(reader: &Reader<'_>, ids: &[Value]) -> Result<RoaringBitmap, ResponseError> {
    let known = reader.index.external_documents_ids();
    let mut found = RoaringBitmap::new();
    for (position, id) in ids.iter().enumerate() {
        let id = milli_core::documents::validate_document_id_value(id.clone())
            .map_err(|error| ResponseError::new(Code::InvalidDocumentIds, format!("In `.ids[{position}]`: {error}")))?;
        found.extend(known.get(reader.rtxn, &id)?);
    }
    Ok(found)
}

fn document_filter_refused(error: milli_core::Error) -> ResponseError {
    let is_filter_error = matches!(&error, milli_core::Error::UserError(milli_core::UserError::InvalidFilter(_)));
    let error = ResponseError::from(error);
    match is_filter_error {
        true => ResponseError::new(Code::InvalidDocumentFilter, error.message),
        false => error,
    }
}

/// The named fields that exist; all for `None`.
fn shown_fields(reader: &Reader<'_>, names: Option<&[String]>) -> BTreeSet<FieldId> {
    match names {
        Some(names) => names.iter().filter_map(|name| reader.fields.id(name)).collect(),
        None => reader.fields.ids().collect(),
    }
}
