//! The part of an index's settings that Miroir itself must know, as the client set it.

use serde_json::{json, Value};

use super::Settings;

/// The settings that reading depends on, and which are therefore kept in the index's record: what the merge must know, and what
/// decides how a query is split into words.
const RECORDED: [&str; 11] = [
    "dictionary",
    "displayedAttributes",
    "distinctAttribute",
    // For the keys that nodes do not tell.
    "embedders",
    "faceting",
    "localizedAttributes",
    "nonSeparatorTokens",
    "pagination",
    "rankingRules",
    "separatorTokens",
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
}
