//! `/webhooks`: Miroir's own, which no node knows of.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{json, Map, Value};

use super::json_body::{self, Place};
use super::{Answer, Body};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::webhooks::{HeaderChange, Webhook, WebhookPatch, WebhookUid, Webhooks};

const FIELDS: [&str; 2] = ["url", "headers"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookView<'a> {
    uuid: WebhookUid,
    is_editable: bool,
    url: &'a str,
    headers: BTreeMap<&'a str, String>,
}

impl<'a> WebhookView<'a> {
    fn of(webhook: &'a Webhook) -> Self {
        Self { uuid: webhook.uid, is_editable: true, url: &webhook.url, headers: webhook.shown_headers() }
    }
}

pub fn list(app: &App) -> Answer {
    let table = app.webhooks.all();
    let results: Vec<_> = table.values().map(WebhookView::of).collect();
    Answer::json(200, &json!({ "results": results }))
}

pub fn get(app: &App, uid: &str) -> Result<Answer, ApiError> {
    Ok(Answer::json(200, &WebhookView::of(&app.webhooks.find(Webhooks::parse_uid(uid)?)?)))
}

pub async fn create(app: &App, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let webhook = app.webhooks.create(patch(&json_body::object(json_body::read(body).await?)?)?).await?;
    Ok(Answer::json(201, &WebhookView::of(&webhook)))
}

pub async fn update(app: &App, uid: &str, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let patch = patch(&json_body::object(json_body::read(body).await?)?)?;
    let webhook = app.webhooks.update(Webhooks::parse_uid(uid)?, patch).await?;
    Ok(Answer::json(200, &WebhookView::of(&webhook)))
}

pub async fn delete(app: &App, uid: &str) -> Result<Answer, ApiError> {
    app.webhooks.delete(Webhooks::parse_uid(uid)?).await?;
    Ok(Answer::empty(204))
}

fn patch(members: &Map<String, Value>) -> Result<WebhookPatch, ApiError> {
    let mut patch = WebhookPatch::default();
    for (field, value) in members {
        match field.as_str() {
            "url" => {
                let url = Place::member(field, value, Code::InvalidWebhookUrl).text_or_null()?;
                patch.url = Some(url.map(str::to_owned));
            }
            "headers" => {
                let place = Place::member(field, value, Code::InvalidWebhookHeaders);
                patch.headers = Some(place.members_or_null()?.map(headers).transpose()?);
            }
            "uuid" => return Err(json_body::immutable_field(field, &FIELDS, Code::ImmutableWebhookUuid)),
            "isEditable" => return Err(json_body::immutable_field(field, &FIELDS, Code::ImmutableWebhookIsEditable)),
            unknown => return Err(json_body::unknown_field(unknown, &FIELDS)),
        }
    }
    Ok(patch)
}

fn headers<'v>(
    members: impl Iterator<Item = (&'v str, Place<'v>)>,
) -> Result<BTreeMap<String, HeaderChange>, ApiError> {
    let change = |(name, place): (&str, Place<'v>)| {
        let value = place.text_or_null()?;
        let change = value.map_or(HeaderChange::Remove, |value| HeaderChange::Set(value.to_owned()));
        Ok((name.to_owned(), change))
    };
    members.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: Value) -> ApiError {
        patch(&json_body::object(body).unwrap()).unwrap_err()
    }

    #[test]
    fn mistakes_are_told_in_meilisearchs_words() {
        let url = refused(json!({ "url": 1 }));
        assert!(url.is(Code::InvalidWebhookUrl));
        assert_eq!(
            url.body.message,
            "Invalid value type at `.url`: expected a string, but found a positive integer: `1`"
        );
        let header = refused(json!({ "headers": { "X-Key": true } }));
        assert!(header.is(Code::InvalidWebhookHeaders));
        assert_eq!(
            header.body.message,
            "Invalid value type at `.headers.X-Key`: expected a string, but found a boolean: `true`"
        );
        assert!(refused(json!({ "headers": [] })).body.message.contains("expected an object, but found an array"));
        let uuid = refused(json!({ "uuid": "x" }));
        assert_eq!(uuid.body.message, "Immutable field `uuid`: expected one of `url`, `headers`");
        assert!(refused(json!({ "isEditable": false })).is(Code::ImmutableWebhookIsEditable));
        assert!(refused(json!({ "uri": "x" })).is(Code::BadRequest));
    }
}
