//! The part of an index's settings that Miroir itself must know, as the client set it.

use serde_json::{json, Value};

use super::Settings;

/// The settings that Miroir's own work depends on, and which are therefore kept in the index's record: what the merge must know, what
/// decides how a query is split into words, and by what documents are judged.
const RECORDED: [&str; 13] = [
    "dictionary",
    "displayedAttributes",
    "distinctAttribute",
    // For the keys that nodes do not tell.
    "embedders",
    "faceting",
    // With those to sort by: whether `_geo` must be a place.
    "filterableAttributes",
    "localizedAttributes",
    "nonSeparatorTokens",
    "pagination",
    "rankingRules",
    "separatorTokens",
    "sortableAttributes",
    "stopWords",
];

/// The recorded settings after a patch: objects are merged, null restores the default.
pub fn record_patch(recorded: &Value, patch: &Settings) -> Value {
    let mut recorded = recorded.clone();
    merge_patch(&mut recorded, &Value::Object(recorded_part(patch)));
    recorded
}

/// What of a patch is recorded.
pub fn recorded_part(patch: &Settings) -> Settings {
    let relevant = patch.iter().filter(|(name, _)| RECORDED.contains(&name.as_str()));
    relevant.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether the index filters or sorts by places, so that its nodes take no document whose `_geo` is none. A pattern of attributes does
/// not say so, even if `_geo` matches it (Meilisearch 1.50).
pub fn uses_places(recorded: &Value) -> bool {
    ["filterableAttributes", "sortableAttributes"].iter().any(|setting| {
        let attributes = recorded.get(setting).and_then(Value::as_array);
        attributes.is_some_and(|attributes| attributes.iter().any(|attribute| attribute == "_geo"))
    })
}

/// JSON merge patch, RFC 7396.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { unreachable!("it was just made an object") };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Settings {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_null_restores_the_default_in_the_record() {
        let recorded = json!({ "distinctAttribute": "sku", "pagination": { "maxTotalHits": 10 } });
        let patch = object(json!({ "distinctAttribute": null, "pagination": { "maxTotalHits": 20 }, "synonyms": {} }));
        assert_eq!(record_patch(&recorded, &patch), json!({ "pagination": { "maxTotalHits": 20 } }));
    }

    #[test]
    fn places_are_used_by_name_alone() {
        for (settings, used) in [
            (json!({ "filterableAttributes": ["a", "_geo"] }), true),
            (json!({ "sortableAttributes": ["_geo"], "filterableAttributes": [] }), true),
            (json!({ "filterableAttributes": [{ "attributePatterns": ["_geo"] }, "*"] }), false),
            (json!({ "searchableAttributes": ["_geo"] }), false),
            (json!({}), false),
        ] {
            assert_eq!(uses_places(&settings), used, "{settings}");
        }
    }
}
