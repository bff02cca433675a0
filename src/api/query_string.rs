//! Query strings and path segments.

use std::borrow::Cow;

use percent_encoding::{percent_decode_str, utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};

use crate::error::wording::expected_one_of;
use crate::error::{ApiError, Code};

/// What stands unescaped in a path segment or a query value (RFC 3986, unreserved characters).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub fn percent_decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The parameters of a query string, decoded, in their order.
pub fn parameters(query: Option<&str>) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.unwrap_or("").as_bytes()).collect()
}

/// A parameter that is a whole number; `code` is Meilisearch's for a bad value.
pub fn number(name: &str, text: &str, code: Code) -> Result<usize, ApiError> {
    text.parse().map_err(|_| {
        ApiError::new(
            code,
            format!("Invalid value in parameter `{name}`: could not parse `{text}` as a positive integer"),
        )
    })
}

/// The error for a parameter that a route does not have.
pub fn unknown_parameter(name: &str, known: &[&str]) -> ApiError {
    ApiError::new(Code::BadRequest, format!("Unknown parameter `{name}`: {}", expected_one_of(name, known)))
}
