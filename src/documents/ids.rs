//! Documents named by their ids, as the routes that delete and get them do.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::Value;

use super::key::{read_header, HeaderRules, RepeatedField};
use crate::cluster::Shard;
use crate::error::{ApiError, Code};

/// Shard of the document that a path or a body names.
pub fn shard_of_document_id(id: &str, shard_count: u32) -> Shard {
    Shard::of_key(id, shard_count)
}

/// The id of a document that a node has shown, in canonical form; `None` if it does not show a usable one.
pub fn document_id(document: &str, primary_key: &str) -> Option<String> {
    let rules = HeaderRules { primary_key, repeated: RepeatedField::LastWins, expires: false };
    Some(read_header(document, rules).ok()?.key.ok()?.into_owned())
}

/// The ids in the body of `POST documents/delete-batch`, in canonical form and in order.
///
/// Meilisearch takes any JSON values: strings as they are, everything else as it prints, so `7` and `"7"` name the same
/// document and `null` names one that cannot exist. A node may therefore be sent all of them as strings.
///
/// Errors are Meilisearch's: `missing_payload`, `malformed_payload`, `bad_request` for JSON that is no array.
pub fn ids_from_delete_batch(body: &[u8]) -> Result<Vec<String>, ApiError> {
    serde_json::from_slice::<Ids>(body).map(|ids| ids.0).map_err(|error| match error.classify() {
        Category::Eof if body.is_empty() => ApiError::new(Code::MissingPayload, "A json payload is missing."),
        Category::Data => ApiError::new(Code::BadRequest, format!("Json deserialize error: {error}")),
        _ => ApiError::malformed_json(&error),
    })
}

struct Ids(Vec<String>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a sequence")
    }

    /// One value at a time, so that a long list is never a list of trees.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut ids = Vec::new();
        while let Some(value) = seq.next_element::<Value>()? {
            ids.push(match value {
                Value::String(id) => id,
                other => other.to_string(),
            });
        }
        Ok(Ids(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_type_become_the_strings_that_meilisearch_makes_of_them() {
        let ids = ids_from_delete_batch(br#" [7, "7", "a-b", -3, null, 1.50, {"a": [1]}, "\u0041"] "#).unwrap();
        assert_eq!(ids, ["7", "7", "a-b", "-3", "null", "1.5", r#"{"a":[1]}"#, "A"]);
        assert_eq!(shard_of_document_id("7", 64), Shard::of_key("7", 64));
    }

    #[test]
    fn a_body_that_is_no_list_is_refused_in_meilisearchs_words() {
        let refusals = [
            ("", Code::MissingPayload, "A json payload is missing."),
            (
                "[1",
                Code::MalformedPayload,
                "The json payload provided is malformed. `EOF while parsing a list at line 1 column 2`.",
            ),
            (
                "[1] x",
                Code::MalformedPayload,
                "The json payload provided is malformed. `trailing characters at line 1 column 5`.",
            ),
            (
                "7",
                Code::BadRequest,
                "Json deserialize error: invalid type: integer `7`, expected a sequence at line 1 column 1",
            ),
        ];
        for (body, code, message) in refusals {
            assert_eq!(ids_from_delete_batch(body.as_bytes()).unwrap_err(), ApiError::new(code, message), "{body}");
        }
    }
}
