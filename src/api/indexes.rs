//! `/indexes` and `/indexes/{uid}`.

use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

use super::whole_index::{self, accepted, create_index};
use super::{query_string, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{Index, IndexUid};
use crate::error::{ApiError, Code, ErrorBody};
use crate::tasks::{NewTask, Outcome, TaskKind};
use crate::writes::Scope;

/// Meilisearch's default of `limit` in lists of indexes.
const LIMIT_DEFAULT: usize = 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexView<'a> {
    uid: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
    primary_key: Option<&'a str>,
}

impl<'a> IndexView<'a> {
    fn of(index: &'a Index) -> Self {
        Self {
            uid: index.uid.as_str(),
            created_at: index.created_at,
            updated_at: index.updated_at,
            primary_key: index.primary_key.as_deref(),
        }
    }
}

pub fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let (mut offset, mut limit) = (0, LIMIT_DEFAULT);
    for (name, value) in query_string::parameters(request.query) {
        match name.as_ref() {
            "offset" => offset = query_string::number("offset", &value, Code::InvalidIndexOffset)?,
            "limit" => limit = query_string::number("limit", &value, Code::InvalidIndexLimit)?,
            other => return Err(query_string::unknown_parameter(other, &["offset", "limit"])),
        }
    }
    let snapshot = app.cluster.snapshot();
    let mut indexes: Vec<_> = snapshot.indexes().filter(|index| request.rights.sees(index.uid.as_str())).collect();
    indexes.sort_by(|a, b| a.uid.cmp(&b.uid));
    let results: Vec<_> = indexes.iter().skip(offset).take(limit).map(|index| IndexView::of(index)).collect();
    Ok(Answer::json(200, &json!({ "results": results, "offset": offset, "limit": limit, "total": indexes.len() })))
}

pub fn get(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    let (_, index) = app.index(uid)?;
    Ok(Answer::json(200, &IndexView::of(&index)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody {
    uid: Option<String>,
    primary_key: Option<String>,
}

/// The primary key is told to every node, so that none infers its own.
pub async fn create(app: &App, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let body: CreateBody = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(Code::BadRequest, format!("Invalid value in the request's body: {error}")))?;
    let uid = body.uid.ok_or_else(|| ApiError::new(Code::MissingIndexUid, "Missing field `uid`"))?;
    let uid = IndexUid::parse(&uid)?;
    if !request.rights.may_create(uid.as_str()) {
        return Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid."));
    }
    let turn = whole_index::turn(app, &uid, Scope::Whole).await?;
    if app.index(&uid).is_ok() {
        let error = ErrorBody::new(Code::IndexAlreadyExists, format!("Index `{uid}` already exists."));
        let task = NewTask::settled(TaskKind::IndexCreation, Some(uid), Outcome::Failed(error));
        return accepted(app, request, task.with_details(json!({ "primaryKey": body.primary_key }))).await;
    }
    create_index(app, &uid, body.primary_key.as_deref(), request, turn).await
}

pub async fn delete(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    whole_index::delete_index(app, uid, request).await
}
