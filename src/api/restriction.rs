//! The restriction of a leg to its shards: a node holds documents for which another node answers, and must not count them.

use serde_json::Value;

use crate::cluster::{CoveringLeg, Shard, Snapshot};
use crate::reserved::SHARD_FIELD;

/// The shards that a leg's filter must name; `None` when the node holds exactly those, so that no filter is needed.
pub fn needed<'a>(snapshot: &Snapshot, shard_count: u32, leg: &'a CoveringLeg) -> Option<&'a [Shard]> {
    let held = snapshot.placement(shard_count).shards_of(leg.node);
    (held != leg.shards).then_some(leg.shards.as_slice())
}

/// `["_miroir_shard IN [..]", <the client's filter>]`. Elements of the outer array are ANDed, so the client's own array is
/// continued, not nested: an inner array would mean OR.
pub fn restrict(filter: Value, shards: &[Shard]) -> Value {
    let names: Vec<String> = shards.iter().map(|shard| format!("\"{}\"", shard.as_char())).collect();
    let mut all = vec![Value::String(format!("{SHARD_FIELD} IN [{}]", names.join(", ")))];
    match filter {
        Value::Array(filters) => all.extend(filters),
        Value::String(filter) if filter.trim().is_empty() => {}
        Value::Null => {}
        other => all.push(other),
    }
    Value::Array(all)
}

/// The client's filter ANDed with the rule of a tenant token, as Meilisearch puts them together.
pub fn with_rule(filter: Value, rule: &Value) -> Value {
    let elements = |filter: Value| match filter {
        Value::Array(filters) => filters,
        Value::String(filter) if filter.trim().is_empty() => Vec::new(),
        Value::Null => Vec::new(),
        other => vec![other],
    };
    let mut all = elements(filter);
    all.extend(elements(rule.clone()));
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_clients_filter_is_anded_whatever_its_form() {
        let own = json!("_miroir_shard IN [\"\u{e003}\", \"\u{e004}\"]");
        let restricted = |filter| restrict(filter, &[Shard(3), Shard(4)]);
        assert_eq!(restricted(json!(null)), json!([own]));
        assert_eq!(restricted(json!("a = 1 OR b = 2")), json!([own, "a = 1 OR b = 2"]));
        assert_eq!(restricted(json!([["a = 1", "b = 2"], "c = 3"])), json!([own, ["a = 1", "b = 2"], "c = 3"]));
    }

    #[test]
    fn a_tokens_rule_is_anded_whatever_the_clients_filter() {
        let rule = json!("tenant = 1 OR tenant = 2");
        let ruled = |filter| with_rule(filter, &rule);
        assert_eq!(ruled(json!(null)), json!([rule]));
        assert_eq!(ruled(json!("a = 1 OR b = 2")), json!(["a = 1 OR b = 2", rule]));
        assert_eq!(ruled(json!([["a = 1", "b = 2"]])), json!([["a = 1", "b = 2"], rule]));
        let rule = json!([["tenant = 1", "tenant = 2"], "open = true"]);
        assert_eq!(with_rule(json!("a = 1"), &rule), json!(["a = 1", ["tenant = 1", "tenant = 2"], "open = true"]));
    }
}
