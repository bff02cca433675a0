//! When settings are the same.

use serde_json::{json, Map, Value};
use sha2::{Digest, Sha256};

use super::Settings;

/// SHA-256 of canonical JSON: members in the order of their names, no spaces.
pub fn digest(settings: &Settings) -> [u8; 32] {
    let mut text = Vec::new();
    write_object(settings, &mut text);
    Sha256::digest(&text).into()
}

fn write(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(members) => write_object(members, text),
        Value::Array(elements) => {
            text.push(b'[');
            for (n, element) in elements.iter().enumerate() {
                if n > 0 {
                    text.push(b',');
                }
                write(element, text);
            }
            text.push(b']');
        }
        scalar => text.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

fn write_object(members: &Map<String, Value>, text: &mut Vec<u8>) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (n, (name, value)) in sorted.into_iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        text.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
        text.push(b':');
        write(value, text);
    }
    text.push(b'}');
}

/// Whether a node's settings are what they should be. A node of another version may have members that `target` lacks, or lack
/// some: what only one of them knows cannot differ.
pub fn are_same(settings: &Settings, target: &Settings) -> bool {
    digest(settings) == digest(target) || differing(settings, target).next().is_none()
}

fn differing<'a>(settings: &'a Settings, target: &'a Settings) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let one = |value: &Value| digest(&Map::from_iter([(String::new(), value.clone())]));
    target.iter().filter(move |(name, value)| {
        settings.get(*name).is_some_and(|found| found != *value && one(found) != one(value))
    })
}

/// What to send a node with `settings` so that it has those of `target`. `recorded` are the settings as the client set them, from
/// which come the keys of embedders that nodes do not tell.
pub fn difference(settings: &Settings, target: &Settings, recorded: &Value) -> Settings {
    let patch = differing(settings, target).map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("embedders", Value::Object(embedders)) => embedders_patch(settings.get(name), embedders, recorded),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    patch.collect()
}

/// Embedders are merged by name, so that those to be gone must be named.
fn embedders_patch(found: Option<&Value>, target: &Map<String, Value>, recorded: &Value) -> Value {
    let mut patch = Map::new();
    if let Some(Value::Object(found)) = found {
        let gone = found.keys().filter(|name| !target.contains_key(*name));
        patch.extend(gone.map(|name| (name.clone(), Value::Null)));
    }
    for (name, embedder) in target {
        let mut embedder = embedder.clone();
        let key = embedder.get("apiKey").and_then(Value::as_str);
        if key.is_some_and(|key| key.contains("XXX")) {
            // Nodes mask it.
            let own = recorded.pointer(&format!("/embedders/{}/apiKey", name.replace('~', "~0").replace('/', "~1")));
            embedder["apiKey"] = own.cloned().unwrap_or_else(|| json!(null));
        }
        patch.insert(name.clone(), embedder);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Value) -> Settings {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_order_of_members_does_not_matter_and_that_of_elements_does() {
        let text = |text: &str| digest(&serde_json::from_str(text).unwrap());
        assert_eq!(text(r#"{"a":{"x":1,"y":[1,"é"]},"b":null}"#), text(r#"{ "b": null, "a": {"y":[1,"é"],"x":1} }"#));
        assert_ne!(text(r#"{"rankingRules":["a","b"]}"#), text(r#"{"rankingRules":["b","a"]}"#));
        assert_ne!(text(r#"{"a":"1"}"#), text(r#"{"a":1}"#));
    }

    #[test]
    fn only_what_differs_is_sent_again() {
        let found = settings(json!({ "stopWords": ["a"], "synonyms": {}, "newer": 1, "distinctAttribute": "x" }));
        let target = settings(json!({ "stopWords": [], "synonyms": {}, "older": 2, "distinctAttribute": null }));
        let patch = difference(&found, &target, &Value::Null);
        assert_eq!(Value::Object(patch), json!({ "stopWords": [], "distinctAttribute": null }));
        assert!(!are_same(&found, &target));
        assert!(are_same(&settings(json!({ "a": 1, "newer": 2 })), &settings(json!({ "a": 1, "older": 3 }))));
    }

    #[test]
    fn embedders_get_their_own_keys_back_and_others_go() {
        let found = settings(json!({ "embedders": { "x": { "source": "userProvided", "dimensions": 3 } } }));
        let target = settings(json!({ "embedders": { "o": { "source": "openAi", "apiKey": "skXXXXXX" } } }));
        let recorded = json!({ "embedders": { "o": { "source": "openAi", "apiKey": "sk-secret" } } });
        let patch = difference(&found, &target, &recorded);
        assert_eq!(
            Value::Object(patch),
            json!({ "embedders": { "x": null, "o": { "source": "openAi", "apiKey": "sk-secret" } } })
        );
    }
}
