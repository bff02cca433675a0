//! `/keys`: the API keys, which no node knows of.

use serde::Serialize;
use serde_json::{json, Map, Value};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use super::json_body::{self, Place};
use super::{query_string, Answer, Body, Request};
use crate::app::App;
use crate::auth::{Action, ApiKey, GateState, IndexPattern, KeyPatch, KeyUid, NewKey};
use crate::error::{ApiError, Code};

/// Meilisearch's default of `limit`.
const LIMIT_DEFAULT: usize = 20;

/// Fields of a key that is made, in the order of Meilisearch's messages.
const FIELDS: [&str; 6] = ["description", "name", "uid", "actions", "indexes", "expiresAt"];
/// Fields of a key that can be changed.
const CHANGEABLE: [&str; 2] = ["description", "name"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView<'a> {
    name: Option<&'a str>,
    description: Option<&'a str>,
    key: String,
    uid: KeyUid,
    actions: &'a [Action],
    indexes: &'a [IndexPattern],
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl<'a> KeyView<'a> {
    fn of(key: &'a ApiKey, gate: &GateState) -> Self {
        Self {
            name: key.name.as_deref(),
            description: key.description.as_deref(),
            key: gate.value(key.uid),
            uid: key.uid,
            actions: &key.actions,
            indexes: &key.indexes,
            expires_at: key.expires_at,
            created_at: key.created_at,
            updated_at: key.updated_at,
        }
    }
}

pub fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let (mut offset, mut limit) = (0, LIMIT_DEFAULT);
    for (name, value) in query_string::parameters(request.query) {
        match name.as_ref() {
            "offset" => offset = query_string::number("offset", &value, Code::InvalidApiKeyOffset)?,
            "limit" => limit = query_string::number("limit", &value, Code::InvalidApiKeyLimit)?,
            other => return Err(query_string::unknown_parameter(other, &["offset", "limit"])),
        }
    }
    let gate = app.gate.state();
    let keys = gate.list();
    let page: Vec<_> = keys.iter().skip(offset).take(limit).map(|key| KeyView::of(key, &gate)).collect();
    Ok(Answer::json(200, &json!({ "results": page, "offset": offset, "limit": limit, "total": keys.len() })))
}

pub fn get(app: &App, uid_or_value: &str) -> Result<Answer, ApiError> {
    let gate = app.gate.state();
    let key = gate.find(uid_or_value)?;
    Ok(Answer::json(200, &KeyView::of(key, &gate)))
}

pub async fn create(app: &App, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let new = new_key(&json_body::object(json_body::read(body).await?)?)?;
    let key = app.gate.create(new).await?;
    Ok(Answer::json(201, &KeyView::of(&key, &app.gate.state())))
}

pub async fn update(app: &App, uid_or_value: &str, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let patch = key_patch(&json_body::object(json_body::read(body).await?)?)?;
    let key = app.gate.update(uid_or_value, patch).await?;
    Ok(Answer::json(200, &KeyView::of(&key, &app.gate.state())))
}

pub async fn delete(app: &App, uid_or_value: &str) -> Result<Answer, ApiError> {
    app.gate.delete(uid_or_value).await?;
    Ok(Answer::empty(204))
}

fn new_key(members: &Map<String, Value>) -> Result<NewKey, ApiError> {
    let (mut name, mut description, mut uid) = (None, None, None);
    let (mut actions, mut indexes, mut expires_at) = (None, None, None);
    for (field, value) in members {
        let place = |code| Place::member(field, value, code);
        match field.as_str() {
            "name" => name = place(Code::InvalidApiKeyName).text_or_null()?.map(str::to_owned),
            "description" => description = place(Code::InvalidApiKeyDescription).text_or_null()?.map(str::to_owned),
            "uid" => {
                let place = place(Code::InvalidApiKeyUid);
                uid = Some(KeyUid::parse_str(place.text()?).map_err(|error| place.invalid(error))?);
            }
            "actions" => actions = Some(each(&place(Code::InvalidApiKeyActions), action)?),
            "indexes" => indexes = Some(each(&place(Code::InvalidApiKeyIndexes), index)?),
            "expiresAt" => expires_at = Some(expiry(&place(Code::InvalidApiKeyExpiresAt))?),
            unknown => return Err(json_body::unknown_field(unknown, &FIELDS)),
        }
    }
    let missing = json_body::missing_field;
    Ok(NewKey {
        uid,
        name,
        description,
        actions: actions.ok_or_else(|| missing("actions", Code::MissingApiKeyActions))?,
        indexes: indexes.ok_or_else(|| missing("indexes", Code::MissingApiKeyIndexes))?,
        expires_at: expires_at.ok_or_else(|| missing("expiresAt", Code::MissingApiKeyExpiresAt))?,
    })
}

fn key_patch(members: &Map<String, Value>) -> Result<KeyPatch, ApiError> {
    let mut patch = KeyPatch::default();
    for (field, value) in members {
        let text = |code| Place::member(field, value, code).text_or_null().map(|text| Some(text.map(str::to_owned)));
        match field.as_str() {
            "name" => patch.name = text(Code::InvalidApiKeyName)?,
            "description" => patch.description = text(Code::InvalidApiKeyDescription)?,
            other => {
                return Err(match immutable(other) {
                    Some(code) => json_body::immutable_field(other, &CHANGEABLE, code),
                    None => json_body::unknown_field(other, &CHANGEABLE),
                })
            }
        }
    }
    Ok(patch)
}

fn immutable(field: &str) -> Option<Code> {
    Some(match field {
        "uid" => Code::ImmutableApiKeyUid,
        "actions" => Code::ImmutableApiKeyActions,
        "indexes" => Code::ImmutableApiKeyIndexes,
        "expiresAt" => Code::ImmutableApiKeyExpiresAt,
        "createdAt" => Code::ImmutableApiKeyCreatedAt,
        "updatedAt" => Code::ImmutableApiKeyUpdatedAt,
        _ => return None,
    })
}

fn each<T>(place: &Place<'_>, read: impl Fn(&Place<'_>) -> Result<T, ApiError>) -> Result<Vec<T>, ApiError> {
    place.elements()?.map(|element| read(&element)).collect()
}

fn action(place: &Place<'_>) -> Result<Action, ApiError> {
    let name = place.text()?;
    Action::parse(name).ok_or_else(|| place.unknown(name, Action::NAMES))
}

fn index(place: &Place<'_>) -> Result<IndexPattern, ApiError> {
    IndexPattern::parse(place.text()?).map_err(|why| place.invalid(why))
}

/// A time to come, or null. A date is its midnight; a time without an offset is in UTC.
fn expiry(place: &Place<'_>) -> Result<Option<OffsetDateTime>, ApiError> {
    let Some(text) = place.text_or_null()? else { return Ok(None) };
    match date_time(text).filter(|time| *time > OffsetDateTime::now_utc()) {
        Some(time) => Ok(Some(time)),
        // The line break is Meilisearch's.
        None => Err(place.invalid(format!(
            "`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future \
             or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
        ))),
    }
}

fn date_time(text: &str) -> Option<OffsetDateTime> {
    let with_t =
        format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]T[hour]:[minute]:[second]");
    let with_space =
        format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day] [hour]:[minute]:[second]");
    let date = format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]");
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, with_t).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| PrimitiveDateTime::parse(text, with_space).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| Date::parse(text, date).map(|date| date.with_time(Time::MIDNIGHT).assume_utc()))
        .ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn made(body: Value) -> Result<NewKey, (String, String)> {
        new_key(&json_body::object(body).unwrap()).map_err(|error| (error.body.code.into_owned(), error.body.message))
    }

    #[test]
    fn a_key_is_read_as_meilisearch_reads_it() {
        let key = made(json!({
            "name": "shop", "description": null, "uid": "74c9c733-3368-4738-bbe5-1d18a5fecb37",
            "actions": ["search", "documents.*"], "indexes": ["movies", "books_*"], "expiresAt": "2999-01-02 03:04:05"
        }))
        .unwrap();
        assert_eq!((key.name.as_deref(), key.description), (Some("shop"), None));
        assert_eq!(key.actions, [Action::Search, Action::DocumentsAll]);
        assert_eq!(key.expires_at, Some(datetime!(2999-01-02 03:04:05 UTC)));
        for (text, expected) in [
            ("2999-01-02", datetime!(2999-01-02 00:00 UTC)),
            ("2999-01-02T03:04:05", datetime!(2999-01-02 03:04:05 UTC)),
            ("2999-01-02T03:04:05+01:00", datetime!(2999-01-02 02:04:05 UTC)),
        ] {
            assert_eq!(date_time(text), Some(expected));
        }
    }

    #[test]
    fn mistakes_in_a_key_are_told_in_meilisearchs_words() {
        let code = |body: Value| made(body).unwrap_err().0;
        assert_eq!(code(json!({ "description": ["doggo"] })), "invalid_api_key_description");
        assert_eq!(code(json!({ "indexes": ["doggo"], "expiresAt": null })), "missing_api_key_actions");
        assert_eq!(code(json!({ "actions": [], "expiresAt": null })), "missing_api_key_indexes");
        assert_eq!(code(json!({ "actions": [], "indexes": [] })), "missing_api_key_expires_at");
        let message = |body: Value| made(body).unwrap_err().1;
        assert_eq!(message(json!({ "uid": "doggo" })), "Invalid value at `.uid`: invalid character: found `o` at 1");
        let unknown = message(json!({ "actions": ["doggo"] }));
        assert!(
            unknown
                .starts_with("Unknown value `doggo` at `.actions[0]`: expected one of `*`, `search`, `documents.*`, "),
            "{unknown}"
        );
        assert_eq!(
            message(json!({ "expires_at": "doggo" })),
            "Unknown field `expires_at`: did you mean `expiresAt`? expected one of `description`, `name`, `uid`, `actions`, \
             `indexes`, `expiresAt`"
        );
        let past = message(json!({ "expiresAt": "2010-11-13T00:00:00Z" }));
        assert!(
            past.starts_with("Invalid value at `.expiresAt`: `2010-11-13T00:00:00Z` is not a valid date. "),
            "{past}"
        );
    }

    #[test]
    fn only_name_and_description_can_be_changed() {
        let refused = |body: Value| key_patch(&json_body::object(body).unwrap()).unwrap_err();
        let uid = refused(json!({ "uid": "doggo" }));
        assert!(uid.is(Code::ImmutableApiKeyUid));
        assert_eq!(uid.body.message, "Immutable field `uid`: expected one of `description`, `name`");
        assert!(refused(json!({ "expiresAt": null })).is(Code::ImmutableApiKeyExpiresAt));
        assert!(refused(json!({ "doggo": 1 })).is(Code::BadRequest));
        let patch = key_patch(&json_body::object(json!({ "name": null })).unwrap()).unwrap();
        assert_eq!(patch, KeyPatch { name: Some(None), description: None });
    }
}
