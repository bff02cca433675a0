//! What can be wrong with a payload, in Meilisearch's words, and where in it.

use std::collections::BTreeSet;

use memchr::{memchr_iter, memrchr};
use serde_json::error::Category;
use serde_json::Value;

use crate::error::{ApiError, Code, ErrorBody};

use super::key::KeyProblem;
use super::PayloadFormat;
use crate::reserved::{EXPIRY_FIELD, SHARD_FIELD};

/// Most bytes of a document that an error quotes. Enough to recognise it by; an answer or a task must not carry a
/// document of megabytes.
const QUOTE_LENGTH_MAX: usize = 1_000;
/// Longest document that is parsed to be quoted without its spaces; a tree of one of megabytes would cost many times that.
const COMPACTED_LENGTH_MAX: usize = 64 * 1024;

/// Why nothing of a payload is sent to any node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// The request is answered with this error; there is no task.
    Refused(ApiError),
    /// Meilisearch takes such a payload and its task fails: so does Miroir's task, with this error.
    FailedTask {
        error: ErrorBody,
        /// Documents in the payload, for the task's details.
        document_count: u64,
    },
}

impl From<ApiError> for PayloadError {
    fn from(error: ApiError) -> Self {
        PayloadError::Refused(error)
    }
}

/// How far a payload has been read, in the terms of the JSON parser's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Counts from 1.
    line: usize,
    /// Bytes of that line that have been read.
    column: usize,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 0 };

    pub fn after(self, bytes: &[u8]) -> Self {
        match memrchr(b'\n', bytes) {
            None => Self { column: self.column + bytes.len(), ..self },
            Some(last) => Self { line: self.line + memchr_iter(b'\n', bytes).count(), column: bytes.len() - last - 1 },
        }
    }

    /// Where an error lies that a parser placed relative to this position.
    fn plus(self, line: usize, column: usize) -> Self {
        match line {
            0 | 1 => Self { line: self.line, column: self.column + column },
            _ => Self { line: self.line + line - 1, column },
        }
    }
}

/// The parser's own words for `error`, with its place in the whole payload when `start` is where its input began.
pub(super) fn describe(error: &serde_json::Error, start: Position) -> String {
    let own_place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    match message.strip_suffix(&own_place) {
        Some(what) => at(what, start.plus(error.line(), error.column())),
        None => message,
    }
}

pub(super) fn at(what: &str, position: Position) -> String {
    format!("{what} at line {} column {}", position.line, position.column)
}

/// A payload that is not in its format.
pub(super) fn malformed_json(format: PayloadFormat, what: &str) -> PayloadError {
    let message =
        format!("The `{}` payload provided is malformed. `Couldn't serialize document value: {what}`.", format.name());
    ApiError::new(Code::MalformedPayload, message).into()
}

/// What Meilisearch says of a value at the top of a JSON payload that is neither an array nor an object.
pub(super) fn describe_whole(error: &serde_json::Error, start: Position) -> String {
    match error.classify() {
        Category::Data => "data are neither an object nor a list of objects".to_owned(),
        _ => describe(error, start),
    }
}

/// What Meilisearch says of a JSON value that stands where a document should.
pub(super) fn not_an_object(error: &serde_json::Error) -> PayloadError {
    ApiError::new(Code::Internal, error.to_string()).into()
}

pub(super) fn missing_payload(format: PayloadFormat) -> PayloadError {
    ApiError::new(Code::MissingPayload, format!("A {} payload is missing.", format.name())).into()
}

pub(super) fn reserved_field(document: &str) -> PayloadError {
    let message = format!(
        "The field `{SHARD_FIELD}` is reserved for Miroir and cannot be set by a client. Remove it from this document: \
         `{}`.",
        quote(document)
    );
    ApiError::new(Code::MiroirReservedField, message).into()
}

/// `value` is what the document has for the time at which it expires, as JSON.
pub(super) fn bad_expiry(value: &str, document: &str) -> PayloadError {
    let message = format!(
        "The field `{EXPIRY_FIELD}` says when a document expires: it has to be an integer, in milliseconds since 1970 (in CSV, \
         a column `{EXPIRY_FIELD}:number`), or null, but is `{}` in this document: `{}`. No document of this request has \
         been added.",
        quote(value),
        quote(document)
    );
    ApiError::new(Code::MiroirInvalidExpiry, message).into()
}

pub(super) fn primary_key_required(primary_key: &str, document: &str) -> PayloadError {
    let message = format!(
        "Document doesn't have a `{primary_key}` attribute, which is the primary key of the index: `{}`. No document of \
         this request has been added.",
        quote(document)
    );
    ApiError::new(Code::MiroirPrimaryKeyRequired, message).into()
}

/// Meilisearch's errors for a document whose key cannot be used, `None` when the document has no key.
pub(super) fn unusable_key(problem: KeyProblem, primary_key: &str, document: &str) -> ErrorBody {
    match problem {
        KeyProblem::Missing => {
            let message = format!("Document doesn't have a `{primary_key}` attribute: `{}`.", quote(document));
            ErrorBody::new(Code::MissingDocumentId, message)
        }
        KeyProblem::TooMany => {
            let message = format!("Document have too many matching `{primary_key}` attribute: `{}`.", quote(document));
            ErrorBody::new(Code::InvalidDocumentId, message)
        }
        KeyProblem::Invalid(id) => ErrorBody::new(
            Code::InvalidDocumentId,
            format!(
                "Document identifier `{}` is invalid. A document identifier can be of type integer or string, only \
                 composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be \
                 more than 511 bytes.",
                quote(&id)
            ),
        ),
    }
}

/// Meilisearch's error for JSON that it stores but cannot index: text that is no text, numbers beyond all bounds, too many
/// levels. (It puts the index's name in front, which is not known here.)
pub(super) fn not_indexable(error: &serde_json::Error) -> ErrorBody {
    ErrorBody::new(Code::Internal, format!("internal: {error}."))
}

/// Meilisearch's errors when the first document does not say which of its fields is the key.
pub(super) fn no_single_candidate(candidates: &BTreeSet<String>) -> ErrorBody {
    const ADVICE: &str = "Please specify the primary key manually using the `primaryKey` query parameter.";
    let mut names = candidates.iter();
    match (names.next(), names.next()) {
        (Some(first), Some(second)) => ErrorBody::new(
            Code::IndexPrimaryKeyMultipleCandidatesFound,
            format!(
                "The primary key inference failed as the engine found {} fields ending with `id` in their names: \
                 '{first}' and '{second}'. {ADVICE}",
                candidates.len()
            ),
        ),
        _ => ErrorBody::new(
            Code::IndexPrimaryKeyNoCandidateFound,
            format!(
                "The primary key inference failed as the engine did not find any field ending with `id` in its name. \
                 {ADVICE}"
            ),
        ),
    }
}

/// JSON as Meilisearch prints it in a message (no spaces), cut to a bearable length.
pub(super) fn quote(json: &str) -> String {
    let compact = match json.len() {
        0..=COMPACTED_LENGTH_MAX => {
            serde_json::from_str::<Value>(json).map_or_else(|_| json.to_owned(), |v| v.to_string())
        }
        _ => json[..boundary_before(json, COMPACTED_LENGTH_MAX)].to_owned(),
    };
    match compact.len() {
        0..=QUOTE_LENGTH_MAX => compact,
        _ => format!("{}...", &compact[..boundary_before(&compact, QUOTE_LENGTH_MAX)]),
    }
}

/// The last place at or before `at` where `text` may be cut.
fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
