//! The record of a webhook, and what may stand in it. Limits and messages are Meilisearch's.

use std::collections::BTreeMap;
use std::fmt;

use http::header::{HeaderName, HeaderValue, InvalidHeaderName, InvalidHeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{ApiError, Code};
use crate::store::StoreError;

pub type WebhookUid = uuid::Uuid;

/// Headers of one webhook.
const HEADERS_MAX: usize = 200;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub uid: WebhookUid,
    pub url: String,
    /// Sent with each call; values may be secret.
    pub headers: BTreeMap<String, String>,
}

/// Neither the address nor a header's value is for logs: both may hold secrets.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// What a client says of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    Set(String),
    Remove,
}

/// What a client says of a webhook; `None` is what it does not speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookPatch {
    /// The inner `None` would take the address away.
    pub url: Option<Option<String>>,
    /// The inner `None` removes all headers.
    pub headers: Option<Option<BTreeMap<String, HeaderChange>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("The URL for the webhook `{0}` is missing.")]
    MissingUrl(WebhookUid),
    #[error(
        "Defining too many webhooks would crush the server. Please limit the number of webhooks to 20. You may use a \
         third-party proxy server to dispatch events to more than 20 endpoints."
    )]
    TooMany,
    #[error(
        "Too many headers for the webhook `{0}`. Please limit the number of headers to 200. Hint: To remove an already defined \
         header set its value to `null`"
    )]
    TooManyHeaders(WebhookUid),
    #[error("Webhook `{0}` is immutable. The webhook defined from the command line cannot be modified using the API.")]
    Immutable(WebhookUid),
    #[error("Webhook `{0}` not found.")]
    NotFound(WebhookUid),
    #[error("Invalid header name `{0}`: {1}")]
    InvalidHeaderName(String, InvalidHeaderName),
    #[error("Invalid header value `{0}`: {1}")]
    InvalidHeaderValue(String, InvalidHeaderValue),
    #[error("Invalid URL `{0}`: {1}")]
    InvalidUrl(String, url::ParseError),
    #[error("Invalid UUID: {0}")]
    InvalidUid(uuid::Error),
    #[error("No random uid can be made: {0}.")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("The change of the webhook was given up.")]
    GivenUp,
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        let code = match error {
            WebhookError::Store(error) => return error.into(),
            WebhookError::MissingUrl(_) | WebhookError::InvalidUrl(..) => Code::InvalidWebhookUrl,
            WebhookError::TooMany => Code::InvalidWebhooks,
            WebhookError::TooManyHeaders(_)
            | WebhookError::InvalidHeaderName(..)
            | WebhookError::InvalidHeaderValue(..) => Code::InvalidWebhookHeaders,
            WebhookError::Immutable(_) => Code::ImmutableWebhook,
            WebhookError::NotFound(_) => Code::WebhookNotFound,
            WebhookError::InvalidUid(_) => Code::InvalidWebhookUuid,
            WebhookError::Random(_) | WebhookError::GivenUp => Code::Internal,
        };
        ApiError::new(code, error.to_string())
    }
}

impl Webhook {
    /// A new one. A header whose value is taken away is an empty one, as Meilisearch has it.
    pub fn new(uid: WebhookUid, patch: WebhookPatch) -> Result<Self, WebhookError> {
        let headers = patch.headers.flatten().unwrap_or_default();
        let value = |change| match change {
            HeaderChange::Set(value) => value,
            HeaderChange::Remove => String::new(),
        };
        let webhook = Self {
            uid,
            url: patch.url.flatten().ok_or(WebhookError::MissingUrl(uid))?,
            headers: headers.into_iter().map(|(name, change)| (name, value(change))).collect(),
        };
        webhook.checked()
    }

    pub fn patched(self, patch: WebhookPatch) -> Result<Self, WebhookError> {
        let Self { uid, url, mut headers } = self;
        let url = match patch.url {
            Some(Some(url)) => url,
            Some(None) => return Err(WebhookError::MissingUrl(uid)),
            None => url,
        };
        match patch.headers {
            Some(Some(changes)) => {
                for (name, change) in changes {
                    match change {
                        HeaderChange::Set(value) => drop(headers.insert(name, value)),
                        HeaderChange::Remove => drop(headers.remove(&name)),
                    }
                }
            }
            Some(None) => headers.clear(),
            None => {}
        }
        Self { uid, url, headers }.checked()
    }

    fn checked(self) -> Result<Self, WebhookError> {
        if self.url.is_empty() {
            return Err(WebhookError::MissingUrl(self.uid));
        }
        if self.headers.len() > HEADERS_MAX {
            return Err(WebhookError::TooManyHeaders(self.uid));
        }
        for (name, value) in &self.headers {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| WebhookError::InvalidHeaderName(name.clone(), error))?;
            // The name is shown, not the value, which may be secret.
            HeaderValue::from_str(value).map_err(|error| WebhookError::InvalidHeaderValue(name.clone(), error))?;
        }
        match Url::parse(&self.url) {
            Ok(_) => Ok(self),
            Err(error) => Err(WebhookError::InvalidUrl(self.url, error)),
        }
    }

    /// The headers as they are shown: what `Authorization` presents is masked.
    pub fn shown_headers(&self) -> BTreeMap<&str, String> {
        let shown = |(name, value): (&'_ String, &String)| match name.eq_ignore_ascii_case("authorization") {
            true => masked(value),
            false => value.clone(),
        };
        self.headers.iter().map(|header| (header.0.as_str(), shown(header))).collect()
    }
}

/// A secret with its first letters, fewer of a short one: it is recognised by whoever knows it.
fn masked(value: &str) -> String {
    let scheme = if value.starts_with("Bearer ") { "Bearer ".len() } else { 0 };
    let (shown, mask) = match value.len() - scheme {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    let end = (scheme + shown..=value.len()).find(|&at| value.is_char_boundary(at)).unwrap_or(value.len());
    format!("{}{mask}", &value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(url: &str, headers: &[(&str, Option<&str>)]) -> WebhookPatch {
        let change =
            |value: Option<&str>| value.map_or(HeaderChange::Remove, |value| HeaderChange::Set(value.to_owned()));
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), change(*value))).collect();
        WebhookPatch { url: Some(Some(url.to_owned())), headers: Some(Some(headers)) }
    }

    fn uid() -> WebhookUid {
        WebhookUid::from_u128(1)
    }

    #[test]
    fn secrets_are_masked_by_their_length_and_other_headers_are_shown() {
        for (value, shown) in [
            ("Bearer short", "Bearer XXX..."),
            ("Bearer 0123456789", "Bearer 01XXXX..."),
            ("Basic abcdefghijklmnop", "BasXXXXX..."),
            ("a-secret-of-more-than-thirty-letters", "a-secXXXXXX..."),
            ("", "XXX..."),
            ("ééééé", "éXXXX..."),
        ] {
            let webhook =
                Webhook::new(uid(), patch("http://h/", &[("AUTHORIZATION", Some(value)), ("x", Some("y"))])).unwrap();
            let headers = webhook.shown_headers();
            assert_eq!((headers["AUTHORIZATION"].as_str(), headers["x"].as_str()), (shown, "y"), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        let refused = |patch: WebhookPatch| ApiError::from(Webhook::new(uid(), patch).unwrap_err());
        let missing = refused(WebhookPatch::default());
        assert!(missing.is(Code::InvalidWebhookUrl) && missing.body.message.ends_with("is missing."), "{missing}");
        assert_eq!(refused(patch("nowhere", &[])).body.message, "Invalid URL `nowhere`: relative URL without a base");
        assert!(refused(patch("http://h/", &[("a b", Some("c"))])).is(Code::InvalidWebhookHeaders));
        let secret = refused(patch("http://h/", &[("authorization", Some("no\nvalue"))]));
        assert!(secret.is(Code::InvalidWebhookHeaders) && !secret.body.message.contains("no\nvalue"));
        let names: Vec<String> = (0..=HEADERS_MAX).map(|n| format!("h{n}")).collect();
        let many: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), Some("v"))).collect();
        assert!(refused(patch("http://h/", &many)).is(Code::InvalidWebhookHeaders));
        assert!(Webhook::new(uid(), patch("http://h/", &many[1..])).is_ok());
    }

    #[test]
    fn a_patch_changes_what_it_speaks_of() {
        let webhook = Webhook::new(uid(), patch("http://h/", &[("a", Some("1")), ("b", Some("2"))])).unwrap();
        let changed = webhook.clone().patched(patch("http://i/", &[("a", None), ("c", Some("3"))])).unwrap();
        let names: Vec<&str> = changed.headers.keys().map(String::as_str).collect();
        assert_eq!((changed.url.as_str(), names), ("http://i/", vec!["b", "c"]));
        assert_eq!(webhook.clone().patched(WebhookPatch::default()).unwrap(), webhook);
        let bare = webhook.clone().patched(WebhookPatch { headers: Some(None), url: None }).unwrap();
        assert!(bare.headers.is_empty());
        assert!(webhook.patched(WebhookPatch { url: Some(None), headers: None }).is_err());
    }

    #[test]
    fn neither_address_nor_headers_are_printed() {
        let webhook = Webhook::new(uid(), patch("http://user:pass@h/", &[("x-token", Some("secret"))])).unwrap();
        let printed = format!("{webhook:?}");
        assert!(!printed.contains("pass") && !printed.contains("secret"), "{printed}");
    }
}
