//! `/indexes`, `/indexes/{uid}` and `/swap-indexes`.

use std::convert::Infallible;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use deserr::{take_cf_content, DeserializeError, Deserr, ErrorKind, ValuePointerRef};
use serde_json::{json, Value};

use crate::error::{field_codes, Code, ResponseError};
use crate::indexes::check_uid;
use crate::queue::{rfc_3339, NewTask, Operation, Swap};
use crate::search::parse::codes::{BadRequest, InvalidIndexUid, MissingIndexUid};
use crate::search::parse::{missing_field, read_body, read_query, BodyError, FieldCode, IndexUid, Param, QueryError};
use crate::state::AppState;
use crate::tasks::{accept, Accepted};

const DEFAULT_LIMIT: usize = 20;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/indexes", get(list).post(create))
        .route("/indexes/{uid}", get(show).patch(update).delete(delete))
        .route("/swap-indexes", post(swap))
}

field_codes! {
    ImmutableIndexCreatedAt
    ImmutableIndexUpdatedAt
    InvalidIndexLimit
    InvalidIndexOffset
    InvalidIndexPrimaryKey
    InvalidSwapIndexes
    InvalidSwapRename
    MissingSwapIndexes
}

use self::codes::*;

#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct ListParameters {
    #[deserr(default, error = QueryError<InvalidIndexOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidIndexLimit>)]
    limit: Param<usize>,
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
struct Creation {
    #[deserr(error = BodyError<InvalidIndexUid>, missing_field_error = missing_field::<InvalidIndexUid, MissingIndexUid>)]
    uid: IndexUid,
    #[deserr(default, error = BodyError<InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields = unknown_or_immutable)]
struct Update {
    #[deserr(default, error = BodyError<InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
    #[deserr(default, error = BodyError<InvalidIndexUid>)]
    uid: Option<String>,
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
struct SwapOf {
    #[deserr(error = BodyError<InvalidSwapIndexes>, missing_field_error = missing_field::<InvalidSwapIndexes, MissingSwapIndexes>)]
    indexes: Vec<IndexUid>,
    #[deserr(default, error = BodyError<InvalidSwapRename>)]
    rename: bool,
}

/// Fields of an index that nobody can change are refused in words of their own.
fn unknown_or_immutable(field: &str, accepted: &[&str], location: ValuePointerRef) -> BodyError {
    match field {
        "createdAt" => immutable::<ImmutableIndexCreatedAt>(field, accepted),
        "updatedAt" => immutable::<ImmutableIndexUpdatedAt>(field, accepted),
        key => take_cf_content(BodyError::<BadRequest>::error::<Infallible>(
            None,
            ErrorKind::UnknownKey { key, accepted },
            location,
        )),
    }
}

fn immutable<C: FieldCode>(field: &str, accepted: &[&str]) -> BodyError {
    let accepted: Vec<_> = accepted.iter().map(|name| format!("`{name}`")).collect();
    BodyError::new(C::CODE, format!("Immutable field `{field}`: expected one of {}", accepted.join(", ")))
}

async fn list(
    State(state): State<AppState>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ResponseError> {
    let ListParameters { offset: Param(offset), limit: Param(limit) } = read_query(parameters)?;
    let page = state.clone();
    state
        .run_search(move || {
            let names = page.indexes().names();
            let shown = names.iter().skip(offset).take(limit).map(|uid| view(&page, uid));
            let shown: Vec<Value> = shown.collect::<Result<_, _>>()?;
            let total = names.len();
            Ok(Json(json!({ "results": shown, "offset": offset, "limit": limit, "total": total })))
        })
        .await
}

async fn show(State(state): State<AppState>, Path(uid): Path<String>) -> Result<Json<Value>, ResponseError> {
    check_uid(&uid)?;
    let shown = state.clone();
    state.run_search(move || view(&shown, &uid).map(Json)).await
}

fn view(state: &AppState, uid: &str) -> Result<Value, ResponseError> {
    let index = state.index(uid)?;
    let rtxn = index.read_txn()?;
    Ok(json!({
        "uid": uid,
        "createdAt": rfc_3339(index.created_at(&rtxn)?),
        "updatedAt": rfc_3339(index.updated_at(&rtxn)?),
        "primaryKey": index.primary_key(&rtxn)?,
    }))
}

async fn create(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Result<Accepted, ResponseError> {
    let Creation { uid: IndexUid(uid), primary_key } = read_body(&headers, &body)?;
    accept(state, NewTask::new(Some(uid), Operation::IndexCreation { primary_key })).await
}

async fn update(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    let Update { primary_key, uid: new_uid } = read_body(&headers, &body)?;
    if let Some(new_uid) = &new_uid {
        check_uid(new_uid)?;
    }
    accept(state, NewTask::new(Some(uid), Operation::IndexUpdate { primary_key, new_uid })).await
}

async fn delete(State(state): State<AppState>, Path(uid): Path<String>) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    accept(state, NewTask::new(Some(uid), Operation::IndexDeletion)).await
}

async fn swap(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Result<Accepted, ResponseError> {
    let mut swaps = Vec::new();
    for SwapOf { indexes, rename } in read_body::<Vec<SwapOf>>(&headers, &body)? {
        let indexes: Vec<String> = indexes.into_iter().map(|uid| uid.0).collect();
        let indexes: [String; 2] = indexes.try_into().map_err(|indexes: Vec<String>| {
            ResponseError::new(
                Code::InvalidSwapIndexes,
                format!(
                    "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
                    indexes.iter().map(|uid| format!("\"{uid}\"")).collect::<Vec<_>>().join(", "),
                    indexes.len()
                ),
            )
        })?;
        swaps.push(Swap { indexes, rename });
    }
    refuse_repeated(&swaps)?;
    accept(state, NewTask::new(None, Operation::IndexSwap { swaps })).await
}

/// Each index may take part in one swap only.
fn refuse_repeated(swaps: &[Swap]) -> Result<(), ResponseError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut repeated = std::collections::BTreeSet::new();
    for uid in swaps.iter().flat_map(|swap| &swap.indexes) {
        if !seen.insert(uid) {
            repeated.insert(format!("`{uid}`"));
        }
    }
    let names: Vec<String> = repeated.into_iter().collect();
    let were = match names.len() {
        0 => return Ok(()),
        1 => "was",
        _ => "were",
    };
    Err(ResponseError::new(
        Code::InvalidSwapDuplicateIndexFound,
        format!(
            "Indexes must be declared only once during a swap. {} {were} specified several times.",
            names.join(", ")
        ),
    ))
}
