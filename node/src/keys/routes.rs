//! `/keys` and `/keys/{uid or value}`.

use std::convert::Infallible;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use deserr::{take_cf_content, DeserializeError, Deserr, ErrorKind, IntoValue, ValuePointerRef};
use milli_core::update::Setting;
use serde_json::{json, Value};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::{create, position, Key, ACTIONS};
use crate::error::{field_codes, Code, ResponseError};
use crate::indexes::check_uid;
use crate::search::parse::codes::BadRequest;
use crate::search::parse::{missing_field, read_body, read_query, BodyError, NotAllowed, Param, QueryError};
use crate::state::AppState;

const DEFAULT_LIMIT: usize = 20;

pub fn routes() -> Router<AppState> {
    Router::new().route("/keys", get(list).post(add)).route("/keys/{key}", get(show).patch(change).delete(delete))
}

field_codes! {
    InvalidApiKeyActions
    InvalidApiKeyDescription
    InvalidApiKeyExpiresAt
    InvalidApiKeyIndexes
    InvalidApiKeyLimit
    InvalidApiKeyName
    InvalidApiKeyOffset
    InvalidApiKeyUid
    MissingApiKeyActions
    MissingApiKeyExpiresAt
    MissingApiKeyIndexes
}

use self::codes::*;

#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct ListParameters {
    #[deserr(default, error = QueryError<InvalidApiKeyOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidApiKeyLimit>)]
    limit: Param<usize>,
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
struct Creation {
    #[deserr(default, error = BodyError<InvalidApiKeyDescription>)]
    description: Option<String>,
    #[deserr(default, error = BodyError<InvalidApiKeyName>)]
    name: Option<String>,
    #[deserr(default, error = BodyError<InvalidApiKeyUid>)]
    uid: Option<KeyUid>,
    #[deserr(error = BodyError<InvalidApiKeyActions>, missing_field_error = missing_field::<InvalidApiKeyActions, MissingApiKeyActions>)]
    actions: Vec<Action>,
    #[deserr(error = BodyError<InvalidApiKeyIndexes>, missing_field_error = missing_field::<InvalidApiKeyIndexes, MissingApiKeyIndexes>)]
    indexes: Vec<Pattern>,
    #[deserr(error = BodyError<InvalidApiKeyExpiresAt>, missing_field_error = missing_field::<InvalidApiKeyExpiresAt, MissingApiKeyExpiresAt>)]
    expires_at: Option<End>,
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields = unknown_or_immutable)]
struct Change {
    #[deserr(default, error = BodyError<InvalidApiKeyDescription>)]
    description: Setting<String>,
    #[deserr(default, error = BodyError<InvalidApiKeyName>)]
    name: Setting<String>,
}

/// What of a key nobody can change is refused in words of its own.
fn unknown_or_immutable(field: &str, accepted: &[&str], location: ValuePointerRef) -> BodyError {
    let code = match field {
        "uid" => Code::ImmutableApiKeyUid,
        "actions" => Code::ImmutableApiKeyActions,
        "indexes" => Code::ImmutableApiKeyIndexes,
        "expiresAt" => Code::ImmutableApiKeyExpiresAt,
        "createdAt" => Code::ImmutableApiKeyCreatedAt,
        "updatedAt" => Code::ImmutableApiKeyUpdatedAt,
        key => {
            let unknown = ErrorKind::UnknownKey { key, accepted };
            return take_cf_content(BodyError::<BadRequest>::error::<Infallible>(None, unknown, location));
        }
    };
    let accepted: Vec<_> = accepted.iter().map(|name| format!("`{name}`")).collect();
    BodyError::new(code, format!("Immutable field `{field}`: expected one of {}", accepted.join(", ")))
}

#[derive(Debug, Deserr)]
#[deserr(try_from(String) = KeyUid::new -> NotAllowed)]
struct KeyUid(Uuid);

impl KeyUid {
    fn new(text: String) -> Result<Self, NotAllowed> {
        text.parse().map(Self).map_err(|error: uuid::Error| NotAllowed(error.to_string()))
    }
}

#[derive(Debug)]
struct Action(String);

impl<E: DeserializeError> Deserr<E> for Action {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        let action = <String as Deserr<E>>::deserialize_from_value(value, location)?;
        match ACTIONS.contains(&action.as_str()) {
            true => Ok(Self(action)),
            false => {
                let unknown = ErrorKind::UnknownValue { value: &action, accepted: &ACTIONS };
                Err(take_cf_content(E::error::<Infallible>(None, unknown, location)))
            }
        }
    }
}

/// The name of an index, or the beginning of one and `*`.
#[derive(Debug, Deserr)]
#[deserr(try_from(String) = Pattern::new -> NotAllowed)]
struct Pattern(String);

impl Pattern {
    fn new(pattern: String) -> Result<Self, NotAllowed> {
        let name = pattern.strip_suffix('*').unwrap_or(&pattern);
        match pattern == "*" || check_uid(name).is_ok() {
            true => Ok(Self(pattern)),
            false => Err(NotAllowed(format!(
                "`{pattern}` is not a valid index uid pattern. Index uid patterns can be an integer or a string \
                 containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star \
                 (*)."
            ))),
        }
    }
}

/// A moment to come.
#[derive(Debug, Deserr)]
#[deserr(try_from(String) = End::new -> NotAllowed)]
struct End(OffsetDateTime);

impl End {
    fn new(text: String) -> Result<Self, NotAllowed> {
        let formats = [
            format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]T[hour]:[minute]:[second]"),
            format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day] [hour]:[minute]:[second]"),
        ];
        let day = format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]");
        let moment = OffsetDateTime::parse(&text, &Rfc3339)
            .ok()
            .or_else(|| {
                let parsed = formats.iter().find_map(|format| PrimitiveDateTime::parse(&text, format).ok());
                parsed.map(PrimitiveDateTime::assume_utc)
            })
            .or_else(|| Date::parse(&text, day).ok().map(|day| day.midnight().assume_utc()));
        match moment.filter(|moment| *moment > OffsetDateTime::now_utc()) {
            Some(moment) => Ok(Self(moment)),
            None => Err(NotAllowed(format!(
                "`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in \
                 the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
            ))),
        }
    }
}

/// Keys have no values without a master key, so nobody gets here without one.
fn master_key(state: &AppState) -> &str {
    state.master_key().unwrap_or_default()
}

async fn list(
    State(state): State<AppState>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ResponseError> {
    let ListParameters { offset: Param(offset), limit: Param(limit) } = read_query(parameters)?;
    let keys = state.keys().get();
    let shown: Vec<Value> = keys.iter().skip(offset).take(limit).map(|key| key.view(master_key(&state))).collect();
    Ok(Json(json!({ "results": shown, "offset": offset, "limit": limit, "total": keys.len() })))
}

async fn show(State(state): State<AppState>, Path(named): Path<String>) -> Result<Json<Value>, ResponseError> {
    let keys = state.keys().get();
    let position = position(&keys, &named, master_key(&state))?;
    Ok(Json(keys[position].view(master_key(&state))))
}

async fn add(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ResponseError> {
    let asked: Creation = read_body(&headers, &body)?;
    let now = OffsetDateTime::now_utc();
    let key = Key {
        name: asked.name,
        description: asked.description,
        uid: asked.uid.map_or_else(Uuid::new_v4, |uid| uid.0).to_string(),
        actions: asked.actions.into_iter().map(|action| action.0).collect(),
        indexes: asked.indexes.into_iter().map(|pattern| pattern.0).collect(),
        expires_at: asked.expires_at.map(|end| end.0),
        created_at: now,
        updated_at: now,
    };
    let view = blocking(move || create(state.keys(), key).map(|key| key.view(master_key(&state)))).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

async fn change(
    State(state): State<AppState>,
    Path(named): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ResponseError> {
    let Change { description, name } = read_body(&headers, &body)?;
    let change = move || {
        let master_key = master_key(&state);
        state.keys().change(|keys| {
            let position = position(keys, &named, master_key)?;
            let key = &mut keys[position];
            apply(description, &mut key.description);
            apply(name, &mut key.name);
            key.updated_at = OffsetDateTime::now_utc();
            Ok(key.view(master_key))
        })
    };
    blocking(change).await.map(Json)
}

fn apply(change: Setting<String>, field: &mut Option<String>) {
    match change {
        Setting::Set(text) => *field = Some(text),
        Setting::Reset => *field = None,
        Setting::NotSet => {}
    }
}

async fn delete(State(state): State<AppState>, Path(named): Path<String>) -> Result<StatusCode, ResponseError> {
    let delete = move || {
        state.keys().change(|keys| {
            let position = position(keys, &named, master_key(&state))?;
            keys.remove(position);
            Ok(())
        })
    };
    blocking(delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs what waits for the disk beside the server's own threads.
async fn blocking<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, ResponseError> + Send + 'static,
) -> Result<T, ResponseError> {
    tokio::task::spawn_blocking(change).await.map_err(ResponseError::internal)?
}
