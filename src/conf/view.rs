//! What a configuration says, for showing and for comparing it, without its secrets.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::secret::MASK;
use super::Secret;

/// Every key by its path (`miroir.nodes[0].id`), in the order in which the schema asks for them.
#[derive(Clone, Debug, Default)]
pub struct ConfigView {
    /// Null where the file says nothing and the default is no number, truth value or path.
    values: Vec<(String, Value)>,
    /// SHA-256 of each secret that is set: tells whether one has changed.
    secrets: BTreeMap<String, SecretDigest>,
}

#[derive(Clone, PartialEq, Eq)]
struct SecretDigest([u8; 32]);

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl ConfigView {
    pub(super) fn show(&mut self, path: String, value: Value) {
        self.values.push((path, value));
    }

    pub(super) fn show_secret(&mut self, path: String, secret: Option<&Secret>) {
        if let Some(secret) = secret {
            self.secrets.insert(path.clone(), SecretDigest(Sha256::digest(secret.reveal()).into()));
        }
        self.show(path, secret.map_or(Value::Null, |_| MASK.into()));
    }

    /// As it would stand in the file, with every key, and asterisks for secrets.
    pub fn to_json(&self) -> Value {
        let mut root = Value::Object(Map::new());
        for (path, value) in &self.values {
            let mut place = &mut root;
            for segment in path.split('.') {
                let (name, position) = match segment.split_once('[') {
                    Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                    None => (segment, None),
                };
                place = member(place, name);
                if let Some(position) = position {
                    place = element(place, position);
                }
            }
            *place = value.clone();
        }
        root
    }

    /// Paths of the keys that are different in `other`, secrets included.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) = (self.by_path(), other.by_path());
        let mut paths: Vec<String> = own.keys().chain(others.keys()).map(|path| (*path).to_owned()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| {
            let is_same_value = own.get(path.as_str()) == others.get(path.as_str());
            !is_same_value || self.secrets.get(path) != other.secrets.get(path)
        });
        paths
    }

    fn by_path(&self) -> BTreeMap<&str, &Value> {
        self.values.iter().map(|(path, value)| (path.as_str(), value)).collect()
    }
}

fn member<'v>(place: &'v mut Value, name: &str) -> &'v mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    match place {
        Value::Object(members) => members.entry(name.to_owned()).or_insert(Value::Null),
        _ => unreachable!("it was just made an object"),
    }
}

fn element(place: &mut Value, position: usize) -> &mut Value {
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    match place {
        Value::Array(elements) => {
            elements.resize(elements.len().max(position + 1), Value::Null);
            &mut elements[position]
        }
        _ => unreachable!("it was just made an array"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(secret: &str, port: u64) -> ConfigView {
        let mut view = ConfigView::default();
        view.show_secret("miroir.master_key".to_owned(), Some(&Secret::new(secret)));
        view.show_secret("miroir.node_master_key".to_owned(), None);
        view.show("miroir.nodes[0].id".to_owned(), json!("a"));
        view.show("miroir.nodes[1].id".to_owned(), json!("b"));
        view.show("miroir.server.port".to_owned(), port.into());
        view
    }

    #[test]
    fn it_looks_like_the_file_without_secrets() {
        let shown = view("hidden", 7700);
        let expected = json!({ "miroir": {
            "master_key": "********", "node_master_key": null, "nodes": [{ "id": "a" }, { "id": "b" }], "server": { "port": 7700 }
        } });
        assert_eq!(shown.to_json(), expected);
        assert!(!format!("{shown:?}").contains("hidden"));
    }

    #[test]
    fn a_changed_secret_is_a_difference_too() {
        assert_eq!(view("a", 1).differences(&view("a", 1)), Vec::<String>::new());
        assert_eq!(view("a", 1).differences(&view("b", 2)), ["miroir.master_key", "miroir.server.port"]);
    }
}
