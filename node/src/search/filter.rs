//! Filters as clients write them: an expression, or an array of expressions and of alternatives.

use milli_core::Filter;
use serde_json::Value;

use crate::error::{Code, ResponseError};
use crate::features::Features;

/// The operator that Meilisearch hides behind an experimental feature. `STARTS WITH` is not hidden, though the engine
/// reports both alike.
const HIDDEN_OPERATOR: &str = "CONTAINS";

/// Parses a filter. `code` is what a malformed one is refused with. `None` for a filter that selects everything.
pub fn parse(filter: &Value, code: Code, features: Features) -> Result<Option<Filter<'_>>, ResponseError> {
    check_shape(filter, code)?;
    let parsed = Filter::from_json(filter).map_err(|error| ResponseError::new(code, error.to_string()))?;
    let hidden = parsed.as_ref().filter(|_| !features.contains_filter).and_then(Filter::use_contains_operator);
    if let Some(keyword) = hidden.filter(|keyword| keyword.value().starts_with(HIDDEN_OPERATOR)) {
        let refusal = ResponseError::new(
            code,
            "Using `CONTAINS` in a filter requires enabling the `contains filter` experimental feature. \
             See https://github.com/orgs/meilisearch/discussions/763",
        );
        let message = keyword.as_external_error(refusal).to_string();
        return Err(ResponseError::new(Code::FeatureNotEnabled, message));
    }
    Ok(parsed)
}

/// The engine refuses other shapes as well, but in other words than Meilisearch.
fn check_shape(filter: &Value, code: Code) -> Result<(), ResponseError> {
    let wrong = |expected: &str, found: &Value| {
        let message = format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`.");
        Err(ResponseError::new(code, message))
    };
    let conditions = match filter {
        Value::String(_) => return Ok(()),
        Value::Array(conditions) => conditions,
        other => return wrong("String, Array", other),
    };
    for condition in conditions {
        match condition {
            Value::String(_) => {}
            Value::Array(alternatives) => {
                if let Some(other) = alternatives.iter().find(|value| !value.is_string()) {
                    return wrong("String", other);
                }
            }
            other => return wrong("String, [String]", other),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(filter: Value) -> (Code, String) {
        let error = parse(&filter, Code::InvalidSearchFilter, Features::default()).expect_err("refused");
        (error.code, error.message)
    }

    #[test]
    fn shapes_that_are_no_filter_are_refused_in_meilisearchs_words() {
        let (code, message) = refusal(json!(42));
        assert_eq!(code, Code::InvalidSearchFilter);
        assert_eq!(message, "Invalid syntax for the filter parameter: `expected String, Array, found: 42`.");
        assert!(refusal(json!(["a = 1", [7]])).1.contains("`expected String, found: 7`"));
        assert!(refusal(json!(["a = 1", {}])).1.contains("`expected String, [String], found: {}`"));
    }

    #[test]
    fn empty_filters_select_everything() {
        for filter in [json!(""), json!([]), json!([[]])] {
            assert!(parse(&filter, Code::InvalidSearchFilter, Features::default()).expect("accepted").is_none());
        }
    }

    #[test]
    fn only_the_hidden_operator_is_hidden() {
        assert_eq!(refusal(json!("name CONTAINS x")).0, Code::FeatureNotEnabled);
        let on = Features { contains_filter: true, ..Features::default() };
        assert!(parse(&json!("name CONTAINS x"), Code::InvalidSearchFilter, on).is_ok());
        let filter = json!("name STARTS WITH x");
        assert!(parse(&filter, Code::InvalidSearchFilter, Features::default()).expect("accepted").is_some());
    }
}
