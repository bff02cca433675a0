//! Bodies of JSON, whose mistakes are told in Meilisearch's words and with its codes.

use serde_json::{Map, Value};

use super::{whole_body, Body};
use crate::error::wording::{described, expected_one_of};
use crate::error::{ApiError, Code};

/// The value that the body is, once its presence and its syntax have been checked.
pub async fn read(body: &mut dyn Body) -> Result<Value, ApiError> {
    parse(&whole_body(body).await?)
}

/// The value that a whole body is.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::new(Code::MissingPayload, "A json payload is missing."));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::malformed_json(&error))
}

/// Refuses what is not called JSON. Every route that takes nothing else is asked this before its handler.
pub fn check_content_type(content_type: Option<&str>) -> Result<(), ApiError> {
    let accepted = "Accepted values for the Content-Type header are: `application/json`";
    let Some(content_type) = content_type else {
        return Err(ApiError::new(Code::MissingContentType, format!("A Content-Type header is missing. {accepted}")));
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(Code::InvalidContentType, format!("The Content-Type `{content_type}` is invalid. {accepted}")))
}

/// The members of an object, in their order.
pub fn object(value: Value) -> Result<Map<String, Value>, ApiError> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(ApiError::new(
            Code::BadRequest,
            format!("Invalid value type: expected an object, but found {}", described(&other)),
        )),
    }
}

pub fn unknown_field(name: &str, accepted: &[&str]) -> ApiError {
    ApiError::new(Code::BadRequest, format!("Unknown field `{name}`: {}", expected_one_of(name, accepted)))
}

pub fn missing_field(name: &str, code: Code) -> ApiError {
    ApiError::new(code, format!("Missing field `{name}`"))
}

/// A field that clients may not change.
pub fn immutable_field(name: &str, accepted: &[&str], code: Code) -> ApiError {
    let accepted: Vec<String> = accepted.iter().map(|name| format!("`{name}`")).collect();
    ApiError::new(code, format!("Immutable field `{name}`: expected one of {}", accepted.join(", ")))
}

/// A value, where it stands, and the code of what may be wrong with it.
#[derive(Clone, Debug)]
pub struct Place<'v> {
    value: &'v Value,
    /// Such as `.actions[0]`.
    path: String,
    code: Code,
}

impl<'v> Place<'v> {
    /// The member `name` of the body.
    pub fn member(name: &str, value: &'v Value, code: Code) -> Self {
        Self { value, path: format!(".{name}"), code }
    }

    pub fn text(&self) -> Result<&'v str, ApiError> {
        self.value.as_str().ok_or_else(|| self.of_wrong_type("a string"))
    }

    pub fn text_or_null(&self) -> Result<Option<&'v str>, ApiError> {
        if self.value.is_null() {
            Ok(None)
        } else {
            self.text().map(Some)
        }
    }

    /// Each element of an array.
    pub fn elements(&self) -> Result<impl Iterator<Item = Place<'v>> + '_, ApiError> {
        let elements = self.value.as_array().ok_or_else(|| self.of_wrong_type("an array"))?;
        let place = |(n, value)| Place { value, path: format!("{}[{n}]", self.path), code: self.code };
        Ok(elements.iter().enumerate().map(place))
    }

    /// Each member of an object, with its name; `None` for null.
    pub fn members_or_null(&self) -> Result<Option<impl Iterator<Item = (&'v str, Place<'v>)> + use<'v>>, ApiError> {
        if self.value.is_null() {
            return Ok(None);
        }
        let members = self.value.as_object().ok_or_else(|| self.of_wrong_type("an object"))?;
        let (path, code) = (self.path.clone(), self.code);
        let place = move |(name, value): (&'v String, &'v Value)| {
            (name.as_str(), Place { value, path: format!("{path}.{name}"), code })
        };
        Ok(Some(members.iter().map(place)))
    }

    /// A whole number from 0.
    pub fn count(&self) -> Result<u64, ApiError> {
        self.value.as_u64().ok_or_else(|| self.of_wrong_type("a positive integer"))
    }

    pub fn number(&self) -> Result<f64, ApiError> {
        self.value.as_f64().ok_or_else(|| self.of_wrong_type("a number"))
    }

    /// The members of an object as they are.
    pub fn object(&self) -> Result<&'v Map<String, Value>, ApiError> {
        self.value.as_object().ok_or_else(|| self.of_wrong_type("an object"))
    }

    /// The error for a member of this object that there is not.
    pub fn unknown_member(&self, name: &str, accepted: &[&str]) -> ApiError {
        let expected = expected_one_of(name, accepted);
        ApiError::new(self.code, format!("Unknown field `{name}` inside `{}`: {expected}", self.path))
    }

    fn of_wrong_type(&self, expected: &str) -> ApiError {
        let (path, found) = (&self.path, described(self.value));
        ApiError::new(self.code, format!("Invalid value type at `{path}`: expected {expected}, but found {found}"))
    }

    /// The error for a value of the right type that is not accepted.
    pub fn invalid(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::new(self.code, format!("Invalid value at `{}`: {why}", self.path))
    }

    /// The error for a text that is none of those accepted.
    pub fn unknown(&self, text: &str, accepted: &[&str]) -> ApiError {
        let expected = expected_one_of(text, accepted);
        ApiError::new(self.code, format!("Unknown value `{text}` at `{}`: {expected}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn content_types_other_than_json_are_refused() {
        for accepted in ["application/json", "application/json; charset=utf-8"] {
            assert_eq!(check_content_type(Some(accepted)), Ok(()));
        }
        assert!(check_content_type(None).unwrap_err().is(Code::MissingContentType));
        let refused = check_content_type(Some("text/plain")).unwrap_err();
        assert!(refused.is(Code::InvalidContentType) && refused.body.message.contains("`text/plain`"));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let value = json!(["search", 13]);
        let actions = Place::member("actions", &value, Code::InvalidApiKeyActions);
        let refused = actions.elements().unwrap().nth(1).unwrap().text().unwrap_err();
        assert_eq!(
            refused.body.message,
            "Invalid value type at `.actions[1]`: expected a string, but found a positive integer: `13`"
        );
        let refused = actions.text().unwrap_err();
        assert!(refused.is(Code::InvalidApiKeyActions), "{refused}");
        assert_eq!(
            object(json!([1])).unwrap_err().body.message,
            "Invalid value type: expected an object, but found an array: `[1]`"
        );
    }
}
