//! The languages that a query may be declared to be in: two- and three-letter codes of ISO 639.

use deserr::{take_cf_content, DeserializeError, Deserr, ErrorKind, IntoValue, ValueKind, ValuePointerRef};
use milli_core::tokenizer::Language;

use super::parse::FromParameter;

/// Every language that the engine knows: its two-letter code and its three-letter code. The order is that in which
/// Meilisearch lists them when it refuses a locale.
const LANGUAGES: [(&str, &str); 69] = [
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bn", "ben"),
    ("bg", "bul"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("et", "est"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("jv", "jav"),
    ("ja", "jpn"),
    ("kn", "kan"),
    ("ka", "kat"),
    ("km", "khm"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lv", "lav"),
    ("lt", "lit"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("mk", "mkd"),
    ("my", "mya"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("nb", "nob"),
    ("or", "ori"),
    ("pa", "pan"),
    ("fa", "pes"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("es", "spa"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("tl", "tgl"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "zho"),
    ("zu", "zul"),
];

/// Mandarin has a three-letter code only.
const MANDARIN: &str = "cmn";

/// A language that a query is declared to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locale(pub Language);

impl Locale {
    fn from_code(code: &str) -> Option<Self> {
        let known = |(two, three): &&(&str, &'static str)| *two == code || *three == code;
        let three = match code {
            MANDARIN => MANDARIN,
            _ => LANGUAGES.iter().find(known)?.1,
        };
        Language::from_code(three).map(Self)
    }

    fn accepted() -> Vec<&'static str> {
        let two = LANGUAGES.iter().map(|language| language.0);
        let three = LANGUAGES.iter().map(|language| language.1);
        two.chain(three).chain([MANDARIN]).collect()
    }
}

impl<E: DeserializeError> Deserr<E> for Locale {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        let code = match value {
            deserr::Value::String(code) => code,
            actual => {
                let accepted = &[ValueKind::String];
                return Err(take_cf_content(E::error(
                    None,
                    ErrorKind::IncorrectValueKind { actual, accepted },
                    location,
                )));
            }
        };
        Self::from_code(&code).ok_or_else(|| {
            let accepted = Self::accepted();
            let unknown = ErrorKind::UnknownValue { value: &code, accepted: &accepted };
            take_cf_content(E::error::<V>(None, unknown, location))
        })
    }
}

impl FromParameter for Locale {
    fn from_parameter(text: &str) -> Result<Self, String> {
        Self::from_code(text).ok_or_else(|| {
            let mut accepted = Self::accepted();
            accepted.sort_by_key(|code| (code.len(), *code));
            format!("Unsupported locale `{text}`, expected one of {}", accepted.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_is_a_language_of_the_engine() {
        for code in Locale::accepted() {
            assert!(Locale::from_code(code).is_some(), "{code}");
        }
    }

    #[test]
    fn both_codes_of_a_language_mean_the_same() {
        assert_eq!(Locale::from_code("ja"), Locale::from_code("jpn"));
        assert_eq!(Locale::from_code("xx"), None);
    }
}
