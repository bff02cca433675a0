//! Meilisearch's words for what is in the wrong place.

use std::fmt::Write;

use serde_json::Value;

/// `expected one of` and what is accepted, after a guess at what was meant.
pub fn expected_one_of(received: &str, accepted: &[&str]) -> String {
    // Meilisearch's allowance of typos by length.
    let typos_max = match received.len() {
        0..=3 => 0,
        4..=7 => 1,
        8..=12 => 2,
        13..=17 => 3,
        18..=24 => 4,
        _ => 5,
    };
    let nearest = accepted
        .iter()
        .map(|known| (strsim::damerau_levenshtein(received, known), known))
        .filter(|(distance, _)| typos_max > 0 && *distance <= typos_max)
        .min_by_key(|(distance, _)| *distance);
    let mut text = nearest.map(|(_, known)| format!("did you mean `{known}`? ")).unwrap_or_default();
    text.push_str("expected one of ");
    for (n, name) in accepted.iter().enumerate() {
        let separator = if n == 0 { "" } else { ", " };
        write!(text, "{separator}`{name}`").expect("writing to memory");
    }
    text
}

/// What a value is, with its JSON: ``a string: `"doggo"` ``.
pub fn described(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{kind}: `{value}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_near_miss_is_guessed_and_a_far_one_is_not() {
        let accepted = ["description", "expiresAt"];
        assert_eq!(
            expected_one_of("expires_at", &accepted),
            "did you mean `expiresAt`? expected one of `description`, `expiresAt`"
        );
        assert_eq!(expected_one_of("doggo", &accepted), "expected one of `description`, `expiresAt`");
    }

    #[test]
    fn values_are_described_with_their_kind() {
        assert_eq!(described(&json!(["doggo"])), r#"an array: `["doggo"]`"#);
        assert_eq!(described(&json!(13)), "a positive integer: `13`");
        assert_eq!(described(&json!(-1)), "a negative integer: `-1`");
        assert_eq!(described(&json!(null)), "null");
    }
}
