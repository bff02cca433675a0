//! Tokens of the search UI: JSON web tokens that Miroir signs, with which a page searches one index for a while and does
//! nothing else.
//!
//! They differ from tenant tokens by their audience, which those do not have. A token that says it is one of these is judged as
//! such, and never as anything else, whatever its algorithm and signature.

use std::sync::LazyLock;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{decode, encode, Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::rights::Denial;
use crate::cluster::IndexUid;
use crate::conf::{SearchUiConfig, Secret};

const AUDIENCE: &str = "miroir-search-ui";
const ISSUER: &str = "miroir";

/// What a token opens, on its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Search,
    MultiSearch,
    /// One that a later Miroir gives: it opens nothing here.
    #[serde(other)]
    Unknown,
}

/// What is given to visitors.
const SCOPES: [Scope; 2] = [Scope::Search, Scope::MultiSearch];

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    /// The index, or alias, by the name with which it is searched.
    index: IndexUid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    scopes: Vec<Scope>,
}

/// A token whose signature and times hold.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchUiToken {
    /// The name that it is for, an alias or an index: what that stands for when it is used is what is searched.
    pub index: IndexUid,
    /// What must hold of everything that is found, in addition to the page's own filter.
    pub filter: Option<Value>,
    scopes: Vec<Scope>,
}

/// What a request asks of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchUiUse<'r> {
    pub scope: Scope,
    /// The name in the path. `None` where the body has it: then it is checked once that has been read.
    pub index: Option<&'r IndexUid>,
}

impl SearchUiToken {
    /// One that counts.
    #[cfg(test)]
    pub fn for_tests(index: &str, filter: Option<&str>) -> Self {
        let index = IndexUid::parse(index).expect("the name of an index");
        Self { index, filter: filter.map(Value::from), scopes: SCOPES.to_vec() }
    }

    /// Whether the token opens this.
    pub fn check(&self, asked: SearchUiUse<'_>) -> Result<(), Denial> {
        let is_its_own = asked.index.is_none_or(|index| *index == self.index);
        if is_its_own && self.scopes.contains(&asked.scope) {
            Ok(())
        } else {
            Err(self.beyond())
        }
    }

    /// The denial of whatever it does not open.
    pub fn beyond(&self) -> Denial {
        Denial::SearchUiScope { index: self.index.to_string() }
    }

    /// SHA-256 of what the token shows less than others of its index do.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.filter.as_ref().and_then(Value::as_str).unwrap_or_default()).into()
    }
}

/// A new token for the index of this name, and when it expires. `None` if there is nothing to sign it with.
pub fn issue(
    ui: &SearchUiConfig,
    index: &IndexUid,
    filter: Option<String>,
    now: OffsetDateTime,
) -> Option<(String, OffsetDateTime)> {
    let secret = ui.jwt_secret.as_ref()?;
    // Tokens count whole seconds.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let expires_at = now + ui.token_lifetime;
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        iat: now.unix_timestamp(),
        exp: expires_at.unix_timestamp(),
        index: index.clone(),
        filter,
        scopes: SCOPES.to_vec(),
    };
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    Some((encode(&Header::new(Algorithm::HS256), &claims, &key).ok()?, expires_at))
}

/// Whether a bearer says that it is one of these tokens. Nothing of it has been verified.
pub fn claims_to_be_one(bearer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Audience {
        aud: Option<Value>,
    }
    let Some(payload) = bearer.split(|&byte| byte == b'.').nth(1) else { return false };
    let read = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|json| serde_json::from_slice::<Audience>(&json).ok());
    match read.and_then(|payload| payload.aud) {
        Some(Value::String(audience)) => audience == AUDIENCE,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == AUDIENCE),
        _ => false,
    }
}

/// Tokens of now, signed with one algorithm: which one a token says is no matter of choice.
static VERIFIED: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "aud", "iss"]);
    validation.validate_nbf = true;
    validation.leeway = 0;
    validation
});

/// The token, if one of `secrets` has signed it and it is neither too old nor too young.
pub fn verify<'s>(bearer: &[u8], secrets: impl Iterator<Item = &'s Secret>) -> Result<SearchUiToken, Denial> {
    let invalid = Denial::SearchUiToken;
    let token = std::str::from_utf8(bearer).map_err(|_| invalid("cannot be read"))?;
    let mut result = Err(invalid("is not accepted: there is no search UI"));
    for secret in secrets {
        let key = DecodingKey::from_secret(secret.reveal().as_bytes());
        let verified = decode::<Claims>(token, &key, &VERIFIED);
        let is_of_another_secret = matches!(&verified, Err(error) if *error.kind() == ErrorKind::InvalidSignature);
        result = verified.map(|verified| verified.claims).map_err(|error| invalid(fault(&error)));
        if !is_of_another_secret {
            break;
        }
    }
    let Claims { index, filter, scopes, .. } = result?;
    Ok(SearchUiToken { index, filter: filter.map(Value::from), scopes })
}

fn fault(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::ExpiredSignature => "has expired",
        ErrorKind::ImmatureSignature => "is not valid yet",
        ErrorKind::InvalidSignature => "has a wrong signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "is not signed with HS256",
        _ => "cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::conf::SearchUiAccess;

    const SECRET: &str = "a-secret-for-tests-of-some-length";
    const OLD: &str = "the-secret-before-of-some-length-";

    fn ui(secret: &str) -> SearchUiConfig {
        SearchUiConfig {
            enabled: true,
            jwt_secret: Some(Secret::new(secret)),
            jwt_secret_previous: None,
            token_lifetime: Duration::from_secs(900),
            indexes: Vec::new(),
            access: SearchUiAccess::Public { sessions_per_minute: 1 },
        }
    }

    fn films() -> IndexUid {
        IndexUid::parse("films").unwrap()
    }

    fn judged(token: &str, secrets: &[&str]) -> Result<SearchUiToken, String> {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        verify(token.as_bytes(), secrets.iter()).map_err(|denial| denial.to_string())
    }

    /// Claims of a token that counts, with changes.
    fn claims(changes: Value) -> Value {
        let exp = OffsetDateTime::now_utc().unix_timestamp() + 60;
        let mut claims =
            json!({ "iss": ISSUER, "aud": AUDIENCE, "iat": 0, "exp": exp, "index": "films", "scopes": ["search"] });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    #[test]
    fn what_was_issued_counts_until_it_expires() {
        let now = OffsetDateTime::now_utc();
        let (token, expires_at) = issue(&ui(SECRET), &films(), Some("a = 1".to_owned()), now).unwrap();
        assert!(claims_to_be_one(token.as_bytes()));
        assert_eq!((expires_at - now).whole_seconds(), 899);
        let judged_now = judged(&token, &[SECRET]).unwrap();
        assert_eq!((judged_now.index.clone(), judged_now.filter.clone()), (films(), Some(json!("a = 1"))));
        let asked = |scope, index: Option<&IndexUid>| judged_now.check(SearchUiUse { scope, index }).is_ok();
        let (films, songs) = (films(), IndexUid::parse("songs").unwrap());
        assert!(asked(Scope::Search, Some(&films)) && asked(Scope::MultiSearch, None));
        assert!(!asked(Scope::Search, Some(&songs)) && !asked(Scope::Unknown, None));
        let (old, _) = issue(&ui(SECRET), &films, None, now - Duration::from_secs(901)).unwrap();
        assert_eq!(judged(&old, &[SECRET]).unwrap_err(), "The token of the search UI has expired.");
    }

    #[test]
    fn both_secrets_count_and_no_others() {
        let (token, _) = issue(&ui(OLD), &films(), None, OffsetDateTime::now_utc()).unwrap();
        assert!(judged(&token, &[SECRET, OLD]).is_ok() && judged(&token, &[OLD]).is_ok());
        assert_eq!(judged(&token, &[SECRET]).unwrap_err(), "The token of the search UI has a wrong signature.");
        assert!(judged(&token, &[]).unwrap_err().contains("there is no search UI"));
        let (expired, _) =
            issue(&ui(OLD), &films(), None, OffsetDateTime::now_utc() - Duration::from_secs(1000)).unwrap();
        assert!(judged(&expired, &[SECRET, OLD]).unwrap_err().contains("has expired"));
    }

    #[test]
    fn what_says_that_it_is_one_and_is_not_is_invalid() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        for (change, why) in [
            (json!({ "nbf": now + 600 }), "is not valid yet"),
            (json!({ "exp": now - 1 }), "has expired"),
            (json!({ "exp": null }), "cannot be read"),
            (json!({ "exp": "later" }), "cannot be read"),
            (json!({ "iss": "somebody" }), "cannot be read"),
            (json!({ "aud": ["miroir-search-ui", "b"] }), "cannot be read"),
            (json!({ "index": "a b" }), "cannot be read"),
            (json!({ "index": null }), "cannot be read"),
            (json!({ "filter": ["a = 1"] }), "cannot be read"),
            (json!({ "scopes": "search" }), "cannot be read"),
        ] {
            let token = signed(Algorithm::HS256, SECRET, &claims(change.clone()));
            assert!(claims_to_be_one(token.as_bytes()), "{change}");
            let refused = judged(&token, &[SECRET]).unwrap_err();
            assert_eq!(refused, format!("The token of the search UI {why}."), "{change}");
        }
        assert!(judged(&signed(Algorithm::HS256, SECRET, &claims(json!({}))), &[SECRET]).is_ok());
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, SECRET, &claims(json!({})));
            assert!(judged(&token, &[SECRET]).unwrap_err().contains("is not signed with HS256"));
        }
        let payload = URL_SAFE_NO_PAD.encode(claims(json!({})).to_string());
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"RS256"}"#, r#"{"alg":"HS999"}"#, "{}", "no header"] {
            let token = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header));
            assert!(claims_to_be_one(token.as_bytes()), "{header}");
            assert!(judged(&token, &[SECRET]).is_err(), "{header}");
        }
    }

    #[test]
    fn other_tokens_do_not_say_that_they_are() {
        let tenants = json!({ "searchRules": ["*"], "apiKeyUid": "74c9c733-3368-4738-bbe5-1d18a5fecb37" });
        for token in [
            signed(Algorithm::HS256, SECRET, &tenants).as_str(),
            &signed(Algorithm::HS256, SECRET, &json!({ "aud": "somebody" })),
            &signed(Algorithm::HS256, SECRET, &json!({ "aud": 7 })),
            "a.b.c",
            "..",
            "",
            "no-dots",
        ] {
            assert!(!claims_to_be_one(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn scopes_of_later_versions_open_nothing() {
        let token = signed(Algorithm::HS256, SECRET, &claims(json!({ "scopes": ["everything", "search"] })));
        let token = judged(&token, &[SECRET]).unwrap();
        assert_eq!(token.scopes, [Scope::Unknown, Scope::Search]);
        assert!(token.check(SearchUiUse { scope: Scope::MultiSearch, index: None }).is_err());
    }
}
