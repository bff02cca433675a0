//! Which attributes an index's settings let a filter name.

use serde_json::Value;

use crate::filter::Filter;

/// The attributes of a filter that the setting `filterableAttributes` does not cover, each once.
pub fn not_filterable(filter: &Filter, filterable: &Value) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    let rules = filterable.as_array().map_or(&[][..], Vec::as_slice);
    filter.attributes(&mut |attribute| {
        if !rules.iter().any(|rule| covers(rule, &attribute.name)) && !missing.contains(&attribute.name) {
            missing.push(attribute.name.clone());
        }
    });
    missing
}

/// A rule is a name, which covers what lies inside of it, or has patterns and features.
pub fn covers(rule: &Value, attribute: &str) -> bool {
    match rule {
        Value::String(name) => {
            attribute.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        rule => {
            let patterns = rule.get("attributePatterns").and_then(Value::as_array).into_iter().flatten();
            patterns.filter_map(Value::as_str).any(|pattern| matches(pattern, attribute))
        }
    }
}

/// `*` stands for anything, at either end of a pattern.
fn matches(pattern: &str, attribute: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => attribute.contains(rest.trim_end_matches('*')),
        (Some(end), None) => attribute.ends_with(end),
        (None, Some(start)) => attribute.starts_with(start),
        (None, None) => covers(&Value::String(pattern.to_owned()), attribute),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filter::parse;

    #[test]
    fn names_cover_what_lies_inside_and_patterns_what_they_match() {
        let missing = |filter: &str, rules: Value| not_filterable(&parse(filter).unwrap().unwrap(), &rules);
        assert!(missing("a = 1 AND b.c = 2", json!(["a", "b"])).is_empty());
        assert_eq!(missing("bc = 1 OR a = 2 OR bc = 3", json!(["b", "a"])), ["bc"]);
        let patterns = json!([{ "attributePatterns": ["x*", "*y", "*mid*", "whole"] }]);
        assert!(missing("xa = 1 AND by = 2 AND amidst = 3 AND whole.part = 4", patterns.clone()).is_empty());
        assert_eq!(missing("ax = 1 AND yb = 2", patterns), ["ax", "yb"]);
        assert_eq!(missing("a = 1", Value::Null), ["a"]);
    }
}
