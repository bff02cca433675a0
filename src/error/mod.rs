//! Every error that a client can see: one table of codes (`codes`), one type, one shape.
//!
//! The shape is Meilisearch's: `{"message","code","type","link"}`. Where Meilisearch has the error, its code, type and
//! status are used; Miroir's own codes start with `miroir_`. Errors of nodes pass through as the nodes worded them.

mod codes;
#[cfg(test)]
mod documentation;
pub mod wording;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::IndexUid;
use crate::reserved;

pub use codes::Code;

/// Meilisearch's `type` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    InvalidRequest,
    Internal,
    Auth,
    System,
}

impl ErrorType {
    pub const fn name(self) -> &'static str {
        match self {
            ErrorType::InvalidRequest => "invalid_request",
            ErrorType::Internal => "internal",
            ErrorType::Auth => "auth",
            ErrorType::System => "system",
        }
    }
}

/// An error on its way to a client: HTTP status and the body to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub body: ErrorBody,
}

/// Meilisearch's error object, as it stands in answers and in the `error` field of a failed task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub message: String,
    pub code: Cow<'static, str>,
    #[serde(rename = "type")]
    pub error_type: Cow<'static, str>,
    pub link: String,
}

impl ErrorBody {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: Cow::Borrowed(code.name()),
            error_type: Cow::Borrowed(code.error_type().name()),
            link: code.link(),
        }
    }
}

impl ErrorBody {
    /// An error as a node worded it, without Miroir's own names, which nodes list among an index's attributes.
    #[must_use]
    pub fn of_node(mut self) -> Self {
        if let Cow::Owned(message) = reserved::without_reserved_names(&self.message) {
            self.message = message;
        }
        self
    }
}

impl ErrorBody {
    /// The same, with an index called `uid` that nodes call `node_uid`.
    #[must_use]
    pub fn naming(mut self, node_uid: &IndexUid, uid: &IndexUid) -> Self {
        if node_uid != uid {
            self.message = self.message.replace(&format!("`{node_uid}`"), &format!("`{uid}`"));
        }
        self
    }
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), body: ErrorBody::new(code, message) }
    }

    /// The error that a node answered with, unchanged; an unreadable body becomes an internal error that quotes the status.
    pub fn from_node(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => Self { status, body: body.of_node() },
            Err(_) => Self::new(Code::Internal, format!("A node answered with status {status} and no readable error.")),
        }
    }

    /// A body that is no JSON, in Meilisearch's words.
    pub fn malformed_json(error: &serde_json::Error) -> Self {
        Self::new(Code::MalformedPayload, format!("The json payload provided is malformed. `{error}`."))
    }

    pub fn index_not_found(uid: &str) -> Self {
        Self::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }

    /// Of several Miroirs none carries this out at the moment.
    pub fn no_leader(why: &str) -> Self {
        Self::new(Code::MiroirNoLeader, why)
    }

    /// The same about an alias, without the names of what it stands for.
    #[must_use]
    pub fn not_naming<'a>(self, targets: impl Iterator<Item = &'a IndexUid>, alias: &IndexUid) -> Self {
        Self { body: targets.fold(self.body, |body, target| body.naming(target, alias)), ..self }
    }

    pub fn is(&self, code: Code) -> bool {
        self.body.code == code.name()
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body).expect("an object of four strings always serializes")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.body.message, self.body.code)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_meilisearchs_shape() {
        let error = ApiError::index_not_found("movies");
        let body: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(error.status, 404);
        assert_eq!(
            body,
            serde_json::json!({
                "message": "Index `movies` not found.",
                "code": "index_not_found",
                "type": "invalid_request",
                "link": "https://docs.meilisearch.com/errors#index_not_found"
            })
        );
    }

    #[test]
    fn a_nodes_error_passes_unchanged_and_garbage_does_not() {
        let original = ApiError::new(Code::InvalidSearchFilter, "no such attribute");
        assert_eq!(ApiError::from_node(400, &original.to_json()), original);
        assert!(ApiError::from_node(502, b"<html>").is(Code::Internal));
    }
}
