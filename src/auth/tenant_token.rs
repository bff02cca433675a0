//! Tenant tokens: JSON web tokens that a client signs with an API key, to give somebody a part of what the key may search.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{decode, Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::rights::Denial;
use super::{IndexPattern, KeyUid};

/// Which indexes a token may search, and what must hold of every hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchRules {
    Set(BTreeSet<IndexPattern>),
    Map(BTreeMap<IndexPattern, Option<IndexRule>>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexRule {
    /// A filter in any of the forms that a search takes.
    filter: Option<Value>,
}

impl SearchRules {
    pub fn sees(&self, index: &str) -> bool {
        self.patterns().any(|pattern| pattern.matches(index))
    }

    pub fn sees_all_indexes(&self) -> bool {
        self.patterns().any(IndexPattern::matches_all)
    }

    /// The filter for `index`: that of the narrowest pattern which matches, and of no other.
    pub fn filter(&self, index: &str) -> Option<&Value> {
        let SearchRules::Map(rules) = self else { return None };
        let matching = rules.iter().filter(|(pattern, _)| pattern.matches(index));
        let (_, rule) = matching.max_by_key(|(pattern, _)| (pattern.is_exact(), pattern.as_str().len()))?;
        rule.as_ref()?.filter.as_ref()
    }

    pub fn patterns(&self) -> Box<dyn Iterator<Item = &IndexPattern> + '_> {
        match self {
            SearchRules::Set(patterns) => Box::new(patterns.iter()),
            SearchRules::Map(rules) => Box::new(rules.keys()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    search_rules: SearchRules,
    exp: Option<i64>,
    api_key_uid: KeyUid,
}

/// Whether a bearer is to be judged as a token: no key has dots in it.
pub fn has_token_shape(bearer: &[u8]) -> bool {
    bearer.iter().filter(|&&byte| byte == b'.').count() >= 2
}

/// How a token is read before it is known which key must have signed it. What it says is used for nothing else.
static UNVERIFIED: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.insecure_disable_signature_validation();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
});

/// `exp` is compared here, since it may be null.
static VERIFIED: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    validation
});

/// The key that a token says it was signed with, and its rules, once signature and expiry hold.
///
/// `values_of` gives the values that a key of this uid has, whether or not there is one.
pub fn verify(token: &str, values_of: impl FnOnce(KeyUid) -> Vec<String>) -> Result<(KeyUid, SearchRules), Denial> {
    let unsigned = DecodingKey::from_secret(&[]);
    let uid = decode::<Claims>(token, &unsigned, &UNVERIFIED).map_err(undecodable)?.claims.api_key_uid;
    let mut result = Err(Denial::TokenInvalid);
    for value in values_of(uid) {
        result = decode::<Claims>(token, &DecodingKey::from_secret(value.as_bytes()), &VERIFIED).map_err(undecodable);
        if result.is_ok() {
            break;
        }
    }
    let claims = result?.claims;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    match claims.exp {
        Some(exp) if now > exp => Err(Denial::TokenExpired { exp, now }),
        _ => Ok((uid, claims.search_rules)),
    }
}

fn undecodable(error: Error) -> Denial {
    match error.kind() {
        ErrorKind::InvalidToken => Denial::TokenInvalid,
        _ => Denial::TokenUndecodable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{encode, EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const UID: &str = "74c9c733-3368-4738-bbe5-1d18a5fecb37";

    fn signed(algorithm: Algorithm, secret: &str, claims: Value) -> String {
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn judged(token: &str, values: &[&str]) -> Result<SearchRules, String> {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        verify(token, |_| values).map(|(_, rules)| rules).map_err(|denial| denial.to_string())
    }

    #[test]
    fn a_token_counts_with_its_keys_signature_in_each_algorithm() {
        let claims = json!({ "searchRules": ["*"], "apiKeyUid": UID, "exp": null });
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, "value", claims.clone());
            assert!(has_token_shape(token.as_bytes()));
            assert!(judged(&token, &["value"]).unwrap().sees("any"));
            assert!(judged(&token, &["new value", "value"]).is_ok(), "the value before a rotation counts too");
            let refused = judged(&token, &["another"]).unwrap_err();
            assert_eq!(refused, "Could not decode tenant token, InvalidSignature.");
        }
    }

    #[test]
    fn unsigned_and_foreign_algorithms_are_refused() {
        let encoded = |text: &str| {
            let token = signed(Algorithm::HS256, "value", json!({ "searchRules": ["*"], "apiKeyUid": UID }));
            let payload = token.split('.').nth(1).unwrap().to_owned();
            format!("{text}.{payload}.")
        };
        // {"alg":"none"} and {"alg":"RS256"}
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJSUzI1NiJ9"] {
            let refused = judged(&encoded(header), &["value"]).unwrap_err();
            assert!(refused.starts_with("Could not decode tenant token, "), "{refused}");
        }
        assert!(judged("a.b.c", &["value"]).unwrap_err().starts_with("Could not decode tenant token, "));
    }

    #[test]
    fn what_a_token_lacks_is_told_as_meilisearch_tells_it() {
        let refused = |claims| judged(&signed(Algorithm::HS256, "value", claims), &["value"]).unwrap_err();
        assert_eq!(
            refused(json!({ "apiKeyUid": UID })),
            "Could not decode tenant token, JSON error: missing field `searchRules` at line 1 column 52."
        );
        assert!(refused(json!({ "searchRules": "*", "apiKeyUid": UID }))
            .contains("data did not match any variant of untagged enum SearchRules"));
        let expired = refused(json!({ "searchRules": ["*"], "apiKeyUid": UID, "exp": 1_000 }));
        assert!(expired.starts_with("Tenant token expired. Was valid up to `1000` and we're now `"), "{expired}");
    }

    #[test]
    fn the_narrowest_pattern_gives_the_filter() {
        let rules: SearchRules = serde_json::from_value(json!({
            "*": { "filter": "a = 1" },
            "movies_*": { "filter": ["b = 2"] },
            "movies_fr": null,
        }))
        .unwrap();
        assert_eq!(rules.filter("books"), Some(&json!("a = 1")));
        assert_eq!(rules.filter("movies_de"), Some(&json!(["b = 2"])));
        assert_eq!(rules.filter("movies_fr"), None);
        let rules: SearchRules = serde_json::from_value(json!({ "movies": {} })).unwrap();
        assert!(rules.sees("movies") && !rules.sees("books") && rules.filter("movies").is_none());
    }
}
