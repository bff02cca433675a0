//! `/indexes` and `/indexes/{uid}`.

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde_json::{json, Value};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::json_body::{self, Place};
use super::renaming::{names_of, rename_one};
use super::whole_index::{
    self, accepted, create_index, index_missing, index_path, refuse_if_alias, refuse_if_targeted, submit, to_all,
    write_of,
};
use super::{query_string, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{Index, IndexUid};
use crate::error::{ApiError, Code, ErrorBody};
use crate::store::IndexChange;
use crate::tasks::{Conclusion, NewTask, Outcome, TaskKind};
use crate::writes::{Scope, StepBody};

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

/// What `POST` names of an index.
struct NewIndex {
    uid: IndexUid,
    primary_key: Option<String>,
}

impl NewIndex {
    /// Errors are Meilisearch's.
    fn parse(body: Value) -> Result<Self, ApiError> {
        const FIELDS: [&str; 2] = ["uid", "primaryKey"];
        let (mut uid, mut primary_key) = (None, None);
        for (name, value) in &json_body::object(body)? {
            match name.as_str() {
                "uid" => {
                    let place = Place::member(name, value, Code::InvalidIndexUid);
                    let parsed = IndexUid::parse(place.text()?).map_err(|error| place.invalid(error.body.message))?;
                    uid = Some(parsed);
                }
                "primaryKey" => {
                    let place = Place::member(name, value, Code::InvalidIndexPrimaryKey);
                    primary_key = place.text_or_null()?.map(str::to_owned);
                }
                unknown => return Err(json_body::unknown_field(unknown, &FIELDS)),
            }
        }
        let uid = uid.ok_or_else(|| json_body::missing_field("uid", Code::MissingIndexUid))?;
        Ok(Self { uid, primary_key })
    }
}

/// The primary key is told to every node, so that none infers its own.
pub async fn create(app: &App, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let NewIndex { uid, primary_key } = NewIndex::parse(json_body::read(body).await?)?;
    if !request.rights.may_create(uid.as_str()) {
        return Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid."));
    }
    refuse_if_alias(app, &uid)?;
    let turn = whole_index::turn(app, &uid, Scope::Whole).await?;
    if app.index_for_writes(&uid).is_some() {
        let task = NewTask::settled(TaskKind::IndexCreation, Some(uid.clone()), Outcome::Failed(already_exists(&uid)));
        return accepted(app, request, task.with_details(json!({ "primaryKey": primary_key }))).await;
    }
    create_index(app, &uid, primary_key.as_deref(), request, turn).await
}

pub fn already_exists(uid: &IndexUid) -> ErrorBody {
    ErrorBody::new(Code::IndexAlreadyExists, format!("Index `{uid}` already exists."))
}

/// What `PATCH` changes of an index.
struct Update {
    primary_key: Option<String>,
    new_uid: Option<IndexUid>,
}

impl Update {
    fn parse(body: Value) -> Result<Self, ApiError> {
        let refused = |code, message: String| Err(ApiError::new(code, message));
        let members = json_body::object(body)?;
        let mut update = Self { primary_key: None, new_uid: None };
        for (name, value) in members {
            let code = match name.as_str() {
                "primaryKey" => Code::InvalidIndexPrimaryKey,
                "uid" => Code::InvalidIndexUid,
                "createdAt" | "updatedAt" => {
                    let code =
                        if name == "createdAt" { Code::ImmutableIndexCreatedAt } else { Code::ImmutableIndexUpdatedAt };
                    return refused(code, format!("Immutable field `{name}`: expected one of `primaryKey`, `uid`"));
                }
                _ => {
                    return refused(
                        Code::BadRequest,
                        format!("Unknown field `{name}`: expected one of `primaryKey`, `uid`"),
                    )
                }
            };
            match value {
                Value::Null => {}
                Value::String(text) if name == "uid" => update.new_uid = Some(IndexUid::parse(&text)?),
                Value::String(text) => update.primary_key = Some(text),
                other => {
                    let found = kind_of(&other);
                    return refused(
                        code,
                        format!("Invalid value type at `.{name}`: expected a string, but found {found}: `{other}`"),
                    );
                }
            }
        }
        Ok(update)
    }

    fn details(&self, uid: &IndexUid) -> Value {
        let mut details = json!({ "primaryKey": self.primary_key });
        if let Some(new_uid) = &self.new_uid {
            details["oldIndexUid"] = json!(uid.as_str());
            details["newIndexUid"] = json!(new_uid.as_str());
        }
        details
    }
}

/// A JSON value's type as Meilisearch names it in messages.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// `PATCH`: another primary key, while there are no documents, or another name.
pub async fn update(app: &App, uid: &IndexUid, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let update = Update::parse(json_body::read(body).await?)?;
    let kind = TaskKind::IndexUpdate;
    let new_uid = update.new_uid.as_ref().filter(|new_uid| *new_uid != uid);
    if let Some(new_uid) = new_uid {
        refuse_if_alias(app, new_uid)?;
        refuse_if_targeted(app, uid)?;
    }
    let mut turns = names_of(app, std::iter::once(uid).chain(new_uid)).await?;
    let Some(index) = app.index_for_writes(uid) else {
        return index_missing(app, request, uid, kind, update.details(uid)).await;
    };
    let failed = |error| {
        let task = NewTask::settled(kind, Some(uid.clone()), Outcome::Failed(error));
        accepted(app, request, task.with_details(update.details(uid)))
    };
    if let Some(taken) = new_uid.filter(|new_uid| app.index_for_writes(new_uid).is_some()) {
        return failed(already_exists(taken)).await;
    }
    let renamings = new_uid.map(|new_uid| rename_one(&index, new_uid));
    let Some(primary_key) = &update.primary_key else {
        // Nothing for any node to do.
        let conclusion = Conclusion::Rename(renamings.into_iter().collect());
        let mut task = NewTask::concluded(kind, Some(uid.clone()), conclusion).with_details(update.details(uid));
        task.other_node_uid = Some(index.node_uid.clone()).filter(|node_uid| node_uid != uid);
        return super::renaming::accept(app, request, task).await;
    };
    // Whether there are documents is each node's own affair, and a node that happens to have none would differ from the others.
    if let Some(own) = &index.primary_key {
        app.tasks.wait_carried_out(&index.node_uid, Instant::now() + app.request_timeout()).await?;
        if super::stats::number_of_documents(app, &index).await? > 0 {
            let message = format!("Index `{uid}`: Index already has a primary key: `{own}`.");
            return failed(ErrorBody::new(Code::IndexPrimaryKeyAlreadyExists, message)).await;
        }
    }
    let body = StepBody::Whole(Bytes::from(json!({ "primaryKey": primary_key }).to_string()));
    let step = to_all(kind, Method::PATCH, index_path(&index, ""), body, index.shard_count);
    let change = IndexChange::PrimaryKey { node_uid: index.node_uid.clone(), primary_key: primary_key.clone() };
    let mut write = write_of(uid, &index, kind, update.details(uid), step, Some(change));
    write.conclusion = renamings.map(|renaming| Conclusion::Rename(vec![renaming]));
    let turn = turns.swap_remove(turns.iter().position(|turn| turn.is_of(uid)).unwrap_or_default());
    submit(app, request, write, turn).await
}

pub async fn delete(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    whole_index::delete_index(app, uid, request).await
}
