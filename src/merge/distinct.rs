//! The values of the distinct attribute that a hit has: one hit per value over all legs.
//!
//! The legs' own lists are long enough: each leg answers with its best `offset + limit` hits of different values. A hit of
//! the merged page is the best of its value everywhere, so also in its leg, and whatever stands before it in its leg
//! stands for a value that comes before it in the merged list too. (Documents with several values each are the
//! exception: a hit that a leg left out for the sake of one that another leg outranks cannot be had back.)

use std::collections::HashSet;

use serde_json::Value;

use super::facets::normalize_facet;
use super::json::{self, Member};

/// A value as the facet database tells values apart: numbers as floats, everything else as normalized text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DistinctValue {
    Number(u64),
    Text(String),
}

/// The values of all hits taken so far.
#[derive(Debug, Default)]
pub struct SeenValues(HashSet<DistinctValue>);

impl SeenValues {
    /// Whether a hit with these values may be taken; if so, they are seen from now on. A hit without any value is unique.
    pub fn take(&mut self, values: Vec<DistinctValue>) -> bool {
        if values.iter().any(|value| self.0.contains(value)) {
            return false;
        }
        self.0.extend(values);
        true
    }
}

/// Whether the values of `attribute` may be inside the top-level member of this name: `seller.id` is inside `seller`, and
/// also a member that is named `seller.id`.
pub fn may_hold(raw_key: &[u8], attribute: &str) -> bool {
    if json::key_is(raw_key, attribute) {
        return true;
    }
    attribute.contains('.') && !raw_key.is_empty() && {
        let key = json::string(&[b"\"", raw_key, b"\""].concat()).map(|key| key.into_owned());
        key.is_some_and(|key| attribute.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// All values of `attribute` in those members of a hit or document that may hold it, as the facet database has them.
pub fn values_of(bytes: &[u8], members: &[Member], attribute: &str) -> Vec<DistinctValue> {
    let mut values = Vec::new();
    for member in members.iter().filter(|member| may_hold(member.raw_key(bytes), attribute)) {
        let Ok(value) = serde_json::from_slice::<Value>(member.value(bytes)) else { continue };
        let key = json::string(&bytes[member.start..=member.key_end]).unwrap_or_default();
        match attribute.strip_prefix(&*key).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => collect_at(&value, rest, &mut values),
            None => collect_leaf(&value, &mut values),
        }
    }
    values
}

/// Follows a dotted path through objects and arrays of objects; keys may contain dots themselves.
fn collect_at(value: &Value, path: &str, values: &mut Vec<DistinctValue>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect_at(element, path, values)),
        Value::Object(members) => {
            for (key, inner) in members {
                if key == path {
                    collect_leaf(inner, values);
                } else if let Some(rest) = path.strip_prefix(key.as_str()).and_then(|rest| rest.strip_prefix('.')) {
                    collect_at(inner, rest, values);
                }
            }
        }
        _ => {}
    }
}

fn collect_leaf(value: &Value, values: &mut Vec<DistinctValue>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect_leaf(element, values)),
        Value::Bool(boolean) => values.push(DistinctValue::Text(boolean.to_string())),
        Value::String(text) => values.push(DistinctValue::Text(normalize_facet(text))),
        // `+ 0.0` makes one of both zeros.
        Value::Number(number) => {
            values.extend(number.as_f64().map(|number| DistinctValue::Number((number + 0.0).to_bits())));
        }
        Value::Null | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(document: &str, attribute: &str) -> Vec<DistinctValue> {
        let bytes = document.as_bytes();
        values_of(bytes, &json::members(bytes).unwrap(), attribute)
    }

    fn text(value: &str) -> DistinctValue {
        DistinctValue::Text(value.to_owned())
    }

    #[test]
    fn values_are_found_where_meilisearch_flattens_them() {
        assert_eq!(values(r#"{"brand":" Acme "}"#, "brand"), [text("acme")]);
        assert_eq!(values(r#"{"brand":["A","b",null]}"#, "brand"), [text("a"), text("b")]);
        assert_eq!(values(r#"{"seller":{"id":"X"}}"#, "seller.id"), [text("x")]);
        assert_eq!(values(r#"{"seller":[{"id":"X"},{"id":true}]}"#, "seller.id"), [text("x"), text("true")]);
        assert_eq!(values(r#"{"seller.id":"X"}"#, "seller.id"), [text("x")]);
        assert_eq!(values(r#"{"sellers":{"id":"X"},"brand":null}"#, "seller.id"), []);
        assert_eq!(values(r#"{"n":7}"#, "n"), values(r#"{"n":7.0}"#, "n"));
    }

    #[test]
    fn a_value_is_taken_once_and_hits_without_value_always() {
        let mut seen = SeenValues::default();
        assert!(seen.take(vec![text("a"), text("b")]));
        assert!(!seen.take(vec![text("b"), text("c")]));
        assert!(seen.take(vec![text("c")]), "a hit that was not taken hides nothing");
        assert!(seen.take(vec![]) && seen.take(vec![]));
    }
}
