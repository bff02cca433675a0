//! `tests/payloads.ndjson`: payloads, well and ill, with what Meilisearch 1.50 said of each when it was asked. The same
//! table is posted to real servers by `tests/payload_parity.rs`.
//!
//! A body stands there with one character per byte (U+0000 to U+00FF), so that it may be any bytes; the name of the index
//! is written `INDEX` in messages.

use std::collections::HashSet;

use serde::Deserialize;

use super::tests::split;
use super::*;
use crate::error::{ApiError, ErrorBody};

const PAYLOADS: &str = include_str!("../../tests/payloads.ndjson");

#[derive(Debug, Deserialize)]
pub(super) struct Case {
    #[allow(dead_code, reason = "shown when the case fails")]
    about: String,
    format: String,
    query: String,
    body: String,
    taken: Option<Counts>,
    failed: Option<Failure>,
    refused: Option<Refusal>,
}

/// A batch that is indexed.
#[derive(Debug, Deserialize)]
struct Counts {
    received: u64,
    /// Documents of different ids.
    indexed: usize,
}

/// A task that fails.
#[derive(Debug, Deserialize)]
struct Failure {
    received: u64,
    code: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Case {
    pub fn body(&self) -> Vec<u8> {
        self.body.chars().map(|c| u8::try_from(u32::from(c)).expect("one character per byte")).collect()
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let parameters = form_urlencoded::parse(self.query.as_bytes());
        parameters.filter(|(known, _)| known == name).last().map(|(_, value)| value.into_owned())
    }

    pub fn payload_format(&self) -> Result<PayloadFormat, ApiError> {
        let content_type = match self.format.as_str() {
            "json" => "application/json",
            "ndjson" => "application/x-ndjson",
            _ => "text/csv",
        };
        PayloadFormat::from_content_type(Some(content_type), self.parameter("csvDelimiter").as_deref())
    }

    fn rules(&self) -> SplitRules {
        SplitRules {
            primary_key: self.parameter("primaryKey").map_or(PrimaryKeyRule::InferFromFirst, PrimaryKeyRule::Known),
            missing_key: MissingKey::FailTask,
            places: PlaceRule::Unchecked,
            shard_count: 8,
            expires: false,
        }
    }
}

pub(super) fn cases() -> impl Iterator<Item = Case> {
    PAYLOADS.lines().map(|line| serde_json::from_str(line).expect("a case"))
}

/// The error of a task in which Meilisearch's engine panicked, over an id that no tree of values can hold (`1e400`, half
/// a surrogate pair). Miroir says that it is no id.
const PANIC: &str = "An unexpected crash occurred when processing the task";

/// Where text is not UTF-8: Meilisearch's version of the parser names the end of the document, ours the text.
fn without_place_in_bad_text(message: &str) -> &str {
    message.find("invalid unicode code point").map_or(message, |at| &message[..at])
}

#[test]
fn every_payload_gets_meilisearchs_verdict() {
    let mut differences = Vec::new();
    for case in cases() {
        let verdict = case.payload_format().map_err(PayloadError::from);
        let verdict = verdict.and_then(|format| split(format, case.rules(), case.body()));
        let is_same = match (&verdict, &case) {
            (Ok(batch), Case { taken: Some(taken), .. }) => {
                let keys: HashSet<u64> = batch.key_hashes().iter().copied().collect();
                batch.document_count() == taken.received && keys.len() == taken.indexed
            }
            (Err(PayloadError::FailedTask { error, document_count }), Case { failed: Some(failed), .. }) => {
                let message = failed.message.trim_start_matches("Index `INDEX`: ");
                let ErrorBody { code, message: ours, .. } = error;
                let is_same = *code == failed.code && ours == message;
                let is_better = message.starts_with(PANIC) && *code == "invalid_document_id";
                *document_count == failed.received && (is_same || is_better)
            }
            (Err(PayloadError::Refused(error)), Case { refused: Some(refused), .. }) => {
                error.status == refused.status
                    && error.body.code == refused.code
                    && without_place_in_bad_text(&error.body.message) == without_place_in_bad_text(&refused.message)
            }
            _ => false,
        };
        if !is_same {
            differences.push(format!("{case:?}\n  got {verdict:?}\n"));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.concat());
}
