//! The formats that a payload may have, as its request's header and parameter name them.

use crate::error::{ApiError, Code};

const ACCEPTED: &str = "`application/json`, `application/x-ndjson`, `text/csv`";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFormat {
    Json,
    Ndjson,
    Csv { delimiter: u8 },
}

impl PayloadFormat {
    /// From `Content-Type` and the query parameter `csvDelimiter`, with Meilisearch's errors.
    pub fn from_content_type(content_type: Option<&str>, csv_delimiter: Option<&str>) -> Result<Self, ApiError> {
        let delimiter = csv_delimiter.map(parse_delimiter).transpose()?;
        let Some(content_type) = content_type else {
            let message = format!(
                "A Content-Type header is missing. Accepted values for the Content-Type header are: {ACCEPTED}"
            );
            return Err(ApiError::new(Code::MissingContentType, message));
        };
        let media_type = content_type.split([';', '+']).next().unwrap_or_default().trim().to_ascii_lowercase();
        match (media_type.as_str(), delimiter) {
            ("application/json", None) => Ok(PayloadFormat::Json),
            ("application/x-ndjson", None) => Ok(PayloadFormat::Ndjson),
            ("text/csv", delimiter) => Ok(PayloadFormat::Csv { delimiter: delimiter.unwrap_or(b',') }),
            ("application/json" | "application/x-ndjson", Some(_)) => Err(ApiError::new(
                Code::InvalidContentType,
                format!(
                    "The Content-Type `{media_type}` does not support the use of a csv delimiter. The csv delimiter can \
                     only be used with the Content-Type `text/csv`."
                ),
            )),
            _ => Err(ApiError::new(
                Code::InvalidContentType,
                format!(
                    "The Content-Type `{media_type}` is invalid. Accepted values for the Content-Type header are: \
                     {ACCEPTED}"
                ),
            )),
        }
    }

    /// Meilisearch's name of the format in its messages.
    pub fn name(self) -> &'static str {
        match self {
            PayloadFormat::Json => "json",
            PayloadFormat::Ndjson => "ndjson",
            PayloadFormat::Csv { .. } => "csv",
        }
    }
}

fn parse_delimiter(parameter: &str) -> Result<u8, ApiError> {
    let mut chars = parameter.chars();
    let message = match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii() => return Ok(c as u8),
        (Some(c), None) => format!("csv delimiter must be an ascii character. Found: `{c}`"),
        (None, _) => "Invalid value in parameter `csvDelimiter`: expected a string of one character, but found an empty string".to_owned(),
        (Some(_), Some(_)) => format!(
            "Invalid value in parameter `csvDelimiter`: expected a string of one character, but found the following string \
             of {} characters: `{parameter}`",
            parameter.chars().count()
        ),
    };
    Err(ApiError::new(Code::InvalidDocumentCsvDelimiter, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_as_meilisearch_reads_them() {
        let json = Ok(PayloadFormat::Json);
        for accepted in ["application/json", "application/json; charset=utf-8", "Application/JSON", " application/json"]
        {
            assert_eq!(PayloadFormat::from_content_type(Some(accepted), None), json, "{accepted}");
        }
        assert_eq!(PayloadFormat::from_content_type(Some("application/x-ndjson"), None), Ok(PayloadFormat::Ndjson));
        let csv = |delimiter| PayloadFormat::from_content_type(Some("text/csv"), delimiter);
        assert_eq!(csv(None), Ok(PayloadFormat::Csv { delimiter: b',' }));
        assert_eq!(csv(Some(";")), Ok(PayloadFormat::Csv { delimiter: b';' }));
        assert_eq!(csv(Some("é")).unwrap_err().body.message, "csv delimiter must be an ascii character. Found: `é`");
        assert_eq!(
            csv(Some("ab")).unwrap_err().body.message,
            "Invalid value in parameter `csvDelimiter`: expected a string of one character, but found the following \
             string of 2 characters: `ab`"
        );
    }

    #[test]
    fn other_content_types_are_refused() {
        let refused = |content_type, delimiter| PayloadFormat::from_content_type(content_type, delimiter).unwrap_err();
        assert!(refused(None, None).is(Code::MissingContentType));
        assert!(refused(Some("application/json"), Some(";")).is(Code::InvalidContentType));
        assert_eq!(
            refused(Some("application/vnd.api+json"), None),
            ApiError::new(
                Code::InvalidContentType,
                "The Content-Type `application/vnd.api` is invalid. Accepted values for the Content-Type header are: \
                 `application/json`, `application/x-ndjson`, `text/csv`"
            )
        );
    }
}
