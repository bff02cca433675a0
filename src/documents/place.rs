//! `_geo` of documents: whether it is a place, by the rules and in the words of Meilisearch.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Code, ErrorBody};

use super::error::quote;
use super::splitter::PlaceRule;

/// Bad places that are remembered one by one. A payload with more fails, even if later versions of those documents mend them all: who
/// sends so many has no two documents mixed up.
const BAD_PLACES_MAX: usize = 100;

/// Documents whose `_geo` is no place, as far as the payload has been read. A later version of one may still mend it: what counts
/// is what the payload comes to.
pub(super) struct BadPlaces {
    rule: PlaceRule,
    /// With the hash of the document's key, in the order of the payload.
    errors: Vec<(u64, ErrorBody)>,
}

impl BadPlaces {
    pub fn new(rule: PlaceRule) -> Self {
        Self { rule, errors: Vec::new() }
    }

    /// Takes note of one version of a document. `place` is what it has for `_geo`.
    pub fn note(&mut self, key_hash: u64, id: &str, place: Option<&RawValue>) {
        let error = match self.rule {
            _ if self.errors.len() == BAD_PLACES_MAX => return,
            PlaceRule::Unchecked => return,
            PlaceRule::InUpdates if place.is_none() => return,
            PlaceRule::InReplacements | PlaceRule::InUpdates => place.and_then(|place| check(id, place).err()),
        };
        self.errors.retain(|(hash, _)| *hash != key_hash);
        self.errors.extend(error.map(|error| (key_hash, error)));
    }

    /// What the whole payload fails for, if it does.
    pub fn failure(&self) -> Option<&ErrorBody> {
        self.errors.first().map(|(_, error)| error)
    }
}

/// Whether `place` is what Meilisearch takes for `_geo`: nothing, or an object of `lat` and `lng` and no more, each a finite
/// number or a text that says one.
fn check(id: &str, place: &RawValue) -> Result<(), ErrorBody> {
    // A document was checked as a whole before: this is JSON.
    let mut fields = match serde_json::from_str(place.get()) {
        Ok(Value::Null) | Err(_) => return Ok(()),
        Ok(Value::Object(fields)) => fields,
        Ok(value) => return Err(not_an_object(id, &value)),
    };
    let id = Value::from(id);
    match (fields.remove("lat"), fields.remove("lng")) {
        (Some(lat), Some(lng)) if fields.is_empty() => check_numbers(&id, lat, lng),
        (Some(_), Some(_)) => Err(unexpected_fields(&id, fields)),
        (Some(_), None) => {
            Err(error(format!("Could not find longitude in the document with the id: `{id}`. Was expecting a `_geo.lng` field.")))
        }
        (None, Some(_)) => {
            Err(error(format!("Could not find latitude in the document with the id: `{id}`. Was expecting a `_geo.lat` field.")))
        }
        (None, None) => Err(error(format!(
            "Could not find latitude nor longitude in the document with the id: `{id}`. Was expecting `_geo.lat` and `_geo.lng` \
             fields."
        ))),
    }
}

fn check_numbers(id: &Value, lat: Value, lng: Value) -> Result<(), ErrorBody> {
    Err(error(match (is_finite_number(&lat), is_finite_number(&lng)) {
        (true, true) => return Ok(()),
        (true, false) => format!(
            "Could not parse longitude in the document with the id: `{id}`. Was expecting a finite number but instead got `{}`.",
            quoted(&lng)
        ),
        (false, true) => format!(
            "Could not parse latitude in the document with the id: `{id}`. Was expecting a finite number but instead got `{}`.",
            quoted(&lat)
        ),
        (false, false) => format!(
            "Could not parse latitude nor longitude in the document with the id: `{id}`. Was expecting finite numbers but instead \
             got `{}` and `{}`.",
            quoted(&lat),
            quoted(&lng)
        ),
    }))
}

fn is_finite_number(value: &Value) -> bool {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.is_some_and(f64::is_finite)
}

fn not_an_object(id: &str, value: &Value) -> ErrorBody {
    error(format!(
        "The `_geo` field in the document with the id: `{}` is not an object. Was expecting an object with the `_geo.lat` and \
         `_geo.lng` fields but instead got `{}`.",
        Value::from(id),
        quoted(value)
    ))
}

fn unexpected_fields(id: &Value, fields: Map<String, Value>) -> ErrorBody {
    error(format!(
        "The `_geo` field in the document with the id: `{id}` contains the following unexpected fields: `{}`.",
        quoted(&Value::from(fields))
    ))
}

fn quoted(value: &Value) -> String {
    quote(&value.to_string())
}

fn error(message: String) -> ErrorBody {
    ErrorBody::new(Code::InvalidDocumentGeoField, message)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rules, split, CSV, JSON, NDJSON};
    use super::super::{PayloadError, PayloadFormat, SplitRules};
    use super::*;

    /// What the payload fails for.
    fn failure(places: PlaceRule, format: PayloadFormat, payload: &str) -> Option<String> {
        match split(format, SplitRules { places, ..rules("id") }, payload) {
            Ok(_) => None,
            Err(PayloadError::FailedTask { error, .. }) => {
                assert_eq!(error.code, "invalid_document_geo_field");
                Some(error.message)
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn failure_of_place(place: &str) -> Option<String> {
        failure(PlaceRule::InReplacements, JSON, &format!(r#"{{"id":7,"_geo":{place}}}"#))
    }

    #[test]
    fn a_place_is_nothing_or_two_finite_numbers_or_texts_that_say_them() {
        for place in [
            "null",
            r#"{"lat":1,"lng":-2.5e1}"#,
            r#"{"lng":"12.5","lat":"-7"}"#,
            r#"{"lat":900,"lng":1e300}"#,
            r#"{"lat":"x","lat":1,"lng":2}"#,
        ] {
            assert_eq!(failure_of_place(place), None, "{place}");
        }
        for (place, what) in [
            ("[1,2]", "is not an object"),
            (r#""1,2""#, "but instead got `\"1,2\"`"),
            ("{}", "Could not find latitude nor longitude in the document with the id: `\"7\"`"),
            (r#"{"lat":1}"#, "Was expecting a `_geo.lng` field"),
            (r#"{"lng":1}"#, "Was expecting a `_geo.lat` field"),
            (r#"{"lat":1,"lng":2,"b":3,"a":[]}"#, r#"unexpected fields: `{"a":[],"b":3}`"#),
            (r#"{"lat":"north","lng":2}"#, "parse latitude in"),
            (r#"{"lat":1,"lng":null}"#, "but instead got `null`"),
            (r#"{"lat":"inf","lng":"NaN"}"#, "but instead got `\"inf\"` and `\"NaN\"`"),
        ] {
            let message = failure_of_place(place).expect(place);
            assert!(message.contains(what), "{place}: {message}");
        }
    }

    #[test]
    fn only_where_places_are_used_they_are_checked() {
        assert_eq!(failure(PlaceRule::Unchecked, JSON, r#"{"id":7,"_geo":"here"}"#), None);
        assert_eq!(failure(PlaceRule::InReplacements, JSON, r#"{"id":7,"geo":{"_geo":"here"},"_geojson":1}"#), None);
        for (format, payload) in [(NDJSON, "{\"id\":7,\"\\u005fgeo\":[]}\n"), (CSV, "id,_geo\n7,here\n")] {
            assert!(failure(PlaceRule::InReplacements, format, payload).is_some(), "{payload}");
        }
    }

    #[test]
    fn what_counts_is_what_a_payload_comes_to() {
        let bad_then = |next: &str| format!(r#"[{{"id":7,"_geo":1}},{{"id":8}},{{"id":"7"{next}}}]"#);
        for (rule, next, fails) in [
            (PlaceRule::InReplacements, "", false),
            (PlaceRule::InUpdates, "", true),
            (PlaceRule::InUpdates, r#","_geo":null"#, false),
            (PlaceRule::InReplacements, r#","_geo":2"#, true),
        ] {
            assert_eq!(failure(rule, JSON, &bad_then(next)).is_some(), fails, "{rule:?} {next}");
        }
    }

    #[test]
    fn no_more_than_some_bad_places_are_remembered() {
        let payload: String = (0..3 * BAD_PLACES_MAX).map(|id| format!("{{\"id\":{id},\"_geo\":0}}\n")).collect();
        let mended: String = (0..3 * BAD_PLACES_MAX).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        assert!(failure(PlaceRule::InReplacements, NDJSON, &(payload + &mended)).is_some());
        let long = format!(r#""{}""#, "x".repeat(100_000));
        assert!(failure_of_place(&long).is_some_and(|message| message.len() < 2_000));
    }
}
