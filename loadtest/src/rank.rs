//! The rank key: why a server put a hit where it is.
//!
//! Two hits of one query on one server may stand in either order exactly when every ranking rule said the same about
//! both. `_rankingScoreDetails` prints what each rule said: counts (`matchingWords`, `typoCount`), scores, the values
//! of sorts, the distance of a geo sort. Everything in it is compared; the scores are ratios that mean the same only
//! within one query on one server, which is the only place where keys are compared here.

use serde_json::Value;

/// How the name of a rule begins that is about a field that is not displayed.
const HIDDEN_RULE: &str = "<hidden-rule-";

/// What each ranking rule said about a hit, in the order in which the rules were applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RankKey(Vec<String>);

impl RankKey {
    /// The key in a hit's `_rankingScoreDetails`; a hit without them (no ranking rule applied) has the empty key. A rule about
    /// a field that is not displayed says nothing; what it would say is in `hidden`, in the order of such rules.
    pub fn of_hit(hit: &Value, hidden: &[String]) -> Self {
        let Some(details) = hit.get("_rankingScoreDetails").and_then(Value::as_object) else {
            return Self(Vec::new());
        };
        let mut rules: Vec<(u64, &str, &Value)> = details
            .iter()
            .map(|(name, said)| (said.get("order").and_then(Value::as_u64).unwrap_or(u64::MAX), name.as_str(), said))
            .collect();
        rules.sort_by_key(|(order, name, _)| (*order, *name));
        let mut hidden = hidden.iter();
        let text = |(_, name, said): (u64, &str, &Value)| match name.starts_with(HIDDEN_RULE) {
            true => format!("{name}({})", hidden.next().map_or("", String::as_str)),
            false => rule_text(name, said),
        };
        Self(rules.into_iter().map(text).collect())
    }

    /// A key given by its texts, for tests and for documents whose details come from elsewhere.
    pub fn from_rules(rules: impl IntoIterator<Item = String>) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl std::fmt::Display for RankKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join(", "))
    }
}

/// One rule as text: its name and what it said, fields in alphabetical order, strings as sorting sees them (a sort
/// compares them without regard to case).
fn rule_text(name: &str, said: &Value) -> String {
    let Some(fields) = said.as_object() else { return format!("{name}={said}") };
    let mut parts: Vec<String> = fields
        .iter()
        .filter(|(field, _)| field.as_str() != "order")
        .map(|(field, value)| match value {
            Value::String(text) => format!("{field}:{}", text.to_lowercase()),
            other => format!("{field}:{other}"),
        })
        .collect();
    parts.sort();
    format!("{name}({})", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(details: Value) -> RankKey {
        RankKey::of_hit(&json!({ "id": 1, "_rankingScoreDetails": details }), &[])
    }

    #[test]
    fn rules_are_read_by_their_order_not_by_their_place() {
        let one = key(json!({ "words": { "order": 0, "matchingWords": 2 }, "typo": { "order": 1, "typoCount": 0 } }));
        let two = key(json!({ "typo": { "typoCount": 0, "order": 1 }, "words": { "matchingWords": 2, "order": 0 } }));
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "words(matchingWords:2), typo(typoCount:0)");
    }

    #[test]
    fn any_difference_in_what_a_rule_said_makes_another_key() {
        let base = key(json!({ "population:desc": { "order": 0, "value": 10 } }));
        assert_ne!(base, key(json!({ "population:desc": { "order": 0, "value": 11 } })));
        assert_ne!(base, key(json!({ "population:asc": { "order": 0, "value": 10 } })));
        assert_ne!(base, key(json!({})));
    }

    #[test]
    fn sorted_strings_are_compared_without_case() {
        let upper = key(json!({ "name:asc": { "order": 0, "value": "Paris" } }));
        assert_eq!(upper, key(json!({ "name:asc": { "order": 0, "value": "paris" } })));
    }

    #[test]
    fn what_a_hidden_rule_would_say_is_part_of_the_key() {
        let hit = json!({ "_rankingScoreDetails": {
            "typo": { "order": 0, "typoCount": 0 },
            "<hidden-rule-1>": { "order": 1, "value": "<hidden>" },
        } });
        let with = |value: &str| RankKey::of_hit(&hit, &[value.to_owned()]);
        assert_ne!(with("1"), with("2"));
        assert_eq!(with("1").to_string(), "typo(typoCount:0), <hidden-rule-1>(1)");
    }
}
