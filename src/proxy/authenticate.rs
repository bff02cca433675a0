//! Who may pass, and with which rights. The order in which a request's credentials are looked at stands in [`authenticate`].

use http::HeaderMap;

use crate::api::Access;
use crate::auth::{
    claims_to_be_search_ui_token, has_token_shape, Action, GateState, Rights, SearchUiUse, SessionStanding,
};
use crate::error::{ApiError, Code};

/// What a request asks for, as far as it matters who may.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    pub access: Access<'r>,
    /// What a token of the search UI has to open. `None`: none opens this.
    pub search_ui: Option<SearchUiUse<'r>>,
    /// What the cookie of the admin UI is good for.
    pub session: SessionStanding,
}

/// The order of checks:
/// 1. some routes ask nobody, or do their own authentication;
/// 2. a bearer that has the shape of a token is judged as a token, and never tried as a key: one that says it is of the search UI
///    wherever it is presented, any other as a tenant token;
/// 3. under `/_miroir` the admin key counts, or the cookie of who has logged in with it, and no other; on a few routes of indexes it counts, too;
/// 4. elsewhere the master key and API keys do.
pub fn authenticate(gate: &GateState, asked: Asked<'_>, headers: &HeaderMap) -> Result<Rights, ApiError> {
    if matches!(asked.access, Access::Anyone | Access::Own) {
        return Ok(Rights::nothing());
    }
    match bearer(headers) {
        Ok(Some(token)) if has_token_shape(token) && claims_to_be_search_ui_token(token) => {
            Ok(gate.rights_of_search_ui(token, asked.search_ui)?)
        }
        presented => by_key_or_tenant_token(gate, asked, presented, headers),
    }
}

fn by_key_or_tenant_token(
    gate: &GateState,
    asked: Asked<'_>,
    presented: Result<Option<&[u8]>, ApiError>,
    headers: &HeaderMap,
) -> Result<Rights, ApiError> {
    let (action, index) = match asked.access {
        Access::Anyone | Access::Own => return Ok(Rights::nothing()),
        Access::AdminKey => return authenticate_admin(gate, asked.session, headers),
        Access::AdminKeyOrAction(action, index) => match authenticate_admin(gate, SessionStanding::Unknown, headers) {
            Ok(_) => return Ok(Rights::of_operator()),
            Err(_) => (Some(action), Some(index)),
        },
        Access::AnyKey => (None, None),
        Access::Action(action, index) => (Some(action), index),
    };
    let presented = presented?;
    if gate.secrets.master_key.is_none() {
        return without_master_key(action);
    }
    let presented = presented.ok_or_else(authorization_missing)?;
    if gate.is_master_key(presented) {
        return Ok(Rights::everything());
    }
    let rights = if has_token_shape(presented) {
        rights_of_token(gate, action, presented)?
    } else {
        gate.rights_of_key(presented)?
    };
    if let Some(action) = action {
        rights.check(action, index.map(|uid| uid.as_str()))?;
    }
    Ok(rights)
}

/// Tokens open searches and nothing else: for all other routes they are keys that nobody has.
fn rights_of_token(gate: &GateState, action: Option<Action>, token: &[u8]) -> Result<Rights, ApiError> {
    match (action, std::str::from_utf8(token)) {
        (Some(Action::Search | Action::ChatCompletions), Ok(token)) => Ok(gate.rights_of_token(token)?),
        _ => Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid.")),
    }
}

/// Open, as Meilisearch is in development, but for keys: without a master key they have no values.
fn without_master_key(action: Option<Action>) -> Result<Rights, ApiError> {
    match action {
        Some(Action::KeysCreate | Action::KeysGet | Action::KeysUpdate | Action::KeysDelete) => Err(ApiError::new(
            Code::MissingMasterKey,
            "Meilisearch is running without a master key. To access this API endpoint, you must have set a master key at \
             launch.",
        )),
        _ => Ok(Rights::everything()),
    }
}

fn authenticate_admin(gate: &GateState, session: SessionStanding, headers: &HeaderMap) -> Result<Rights, ApiError> {
    if !gate.secrets.has_admin_api {
        return Err(ApiError::new(Code::NotFound, "The admin API is off."));
    }
    if gate.secrets.admin_key.is_none() {
        return Ok(Rights::everything());
    }
    let in_header = headers.get("x-admin-key").map(|value| value.as_bytes());
    let as_bearer = bearer(headers).ok().flatten();
    if in_header.into_iter().chain(as_bearer).any(|presented| gate.is_admin_key(presented)) {
        return Ok(Rights::everything());
    }
    match session {
        SessionStanding::Holds => Ok(Rights::everything()),
        SessionStanding::LacksToken => Err(ApiError::new(
            Code::MiroirCsrfTokenInvalid,
            "The session's token is missing or wrong. Present what the login gave in X-CSRF-Token.",
        )),
        SessionStanding::Unknown => Err(ApiError::new(
            Code::MiroirInvalidAuth,
            "The admin key is missing or wrong. Present it as bearer or in X-Admin-Key.",
        )),
    }
}

/// What the request presents as bearer; `None` if it presents nothing at all.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let Some(value) = headers.get(http::header::AUTHORIZATION) else { return Ok(None) };
    let value = value.as_bytes();
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") => match rest {
            [b' ', key @ ..] => Ok(Some(key)),
            [] => Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid.")),
            _ => Err(authorization_missing()),
        },
        _ => Err(authorization_missing()),
    }
}

fn authorization_missing() -> ApiError {
    ApiError::new(
        Code::MissingAuthorizationHeader,
        "The Authorization header is missing. It must use the bearer authorization method.",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jsonwebtoken::{encode, EncodingKey, Header};
    use serde_json::{json, Value};

    use super::{Asked, *};
    use crate::auth::{search_ui_token, Gate, IndexPattern, NewKey, Scope, Secrets};
    use crate::cluster::IndexUid;
    use crate::conf::{SearchUiConfig, Secret};
    use crate::store::memory::MemoryStore;

    const MASTER: &str = "the master's key";
    const ADMIN: &str = "the admin's key";

    async fn gate(master_key: Option<&str>) -> Arc<Gate> {
        let secrets = Secrets {
            master_key: master_key.map(Secret::new),
            master_key_previous: None,
            admin_key: Some(Secret::new(ADMIN)),
            has_admin_api: true,
            search_ui: Arc::new(search_ui()),
        };
        Arc::new(Gate::open(secrets, Arc::new(MemoryStore::default())).await.unwrap())
    }

    /// Uid and value of a key.
    async fn key(gate: &Arc<Gate>, actions: &[Action], indexes: &[&str]) -> (String, String) {
        let indexes = indexes.iter().map(|text| IndexPattern::parse(text).unwrap()).collect();
        let new =
            NewKey { uid: None, name: None, description: None, actions: actions.to_vec(), indexes, expires_at: None };
        let key = gate.create(new).await.unwrap();
        (key.uid.to_string(), gate.state().value(key.uid))
    }

    fn token(key: &(String, String), rules: Value) -> String {
        let claims = json!({ "searchRules": rules, "apiKeyUid": key.0 });
        encode(&Header::default(), &claims, &EncodingKey::from_secret(key.1.as_bytes())).unwrap()
    }

    fn header(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    fn with_bearer(value: &str) -> HeaderMap {
        header("authorization", &format!("Bearer {value}"))
    }

    fn search_ui() -> SearchUiConfig {
        let jwt_secret = Some(Secret::new("a-secret-of-the-search-ui-for-tests"));
        SearchUiConfig { enabled: true, jwt_secret, token_lifetime: Duration::from_secs(60), ..SearchUiConfig::off() }
    }

    /// What a search of the index, or of those that a body names, asks of a token of the search UI.
    fn authenticate(gate: &GateState, access: Access<'_>, headers: &HeaderMap) -> Result<Rights, ApiError> {
        let search_ui = match access {
            Access::Action(Action::Search, Some(index)) => {
                Some(SearchUiUse { scope: Scope::Search, index: Some(index) })
            }
            Access::Action(Action::Search, None) => Some(SearchUiUse { scope: Scope::MultiSearch, index: None }),
            _ => None,
        };
        super::authenticate(gate, Asked { access, search_ui, session: SessionStanding::Unknown }, headers)
    }

    fn judged(gate: &Gate, access: Access<'_>, headers: &HeaderMap) -> Result<(), String> {
        authenticate(&gate.state(), access, headers).map(drop).map_err(|error| error.body.code.into_owned())
    }

    fn movies() -> IndexUid {
        IndexUid::parse("movies").unwrap()
    }

    #[tokio::test]
    async fn first_some_routes_ask_nobody() {
        let gate = gate(Some(MASTER)).await;
        for headers in [HeaderMap::new(), with_bearer("a guess"), with_bearer("a.b.c")] {
            assert_eq!(judged(&gate, Access::Anyone, &headers), Ok(()));
        }
        let rights = authenticate(&gate.state(), Access::Anyone, &with_bearer(MASTER)).unwrap();
        assert!(!rights.sees("movies"), "nobody was asked, so nobody has a right");
    }

    #[tokio::test]
    async fn second_a_token_is_judged_as_a_token_and_never_as_a_key() {
        let gate = gate(Some(MASTER)).await;
        let (uid, key) = (movies(), key(&gate, &[Action::Everything], &["*"]).await);
        let search = Access::Action(Action::Search, Some(&uid));
        let good = token(&key, json!({ "movies": { "filter": "a = 1" } }));
        let rights = authenticate(&gate.state(), search, &with_bearer(&good)).unwrap();
        assert_eq!(rights.search_filter("movies"), Some(&json!("a = 1")));

        let message =
            |access, bearer: &str| authenticate(&gate.state(), access, &with_bearer(bearer)).unwrap_err().body.message;
        assert_eq!(
            message(search, &token(&key, json!(["books"]))),
            r#"The provided tenant token cannot acces the index `movies`, allowed indexes are ["books"]."#
        );
        let forged = token(&(key.0.clone(), "forged".to_owned()), json!(["*"]));
        assert_eq!(message(search, &forged), "Could not decode tenant token, InvalidSignature.");
        assert!(message(search, "a.b.c").starts_with("Could not decode tenant token, "));
        // The key may do everything, but its token may only search.
        for action in [Action::DocumentsGet, Action::DocumentsAdd, Action::SettingsGet] {
            assert_eq!(message(Access::Action(action, Some(&uid)), &good), "The provided API key is invalid.");
        }
        assert_eq!(message(Access::AnyKey, &good), "The provided API key is invalid.");
        assert_eq!(judged(&gate, Access::AdminKey, &with_bearer(&good)), Err("miroir_invalid_auth".to_owned()));
    }

    #[tokio::test]
    async fn second_a_token_of_the_search_ui_searches_its_index_and_falls_through_nowhere() {
        let gate = gate(Some(MASTER)).await;
        let (uid, books) = (movies(), IndexUid::parse("books").unwrap());
        let now = time::OffsetDateTime::now_utc();
        let issued =
            |ui: &SearchUiConfig, now| search_ui_token::issue(ui, &uid, Some("a = 1".to_owned()), now).unwrap().0;
        let good = with_bearer(&issued(&search_ui(), now));
        let rights = authenticate(&gate.state(), Access::Action(Action::Search, Some(&uid)), &good).unwrap();
        assert_eq!(rights.search_filter("movies"), Some(&json!("a = 1")));
        assert!(!rights.sees("movies") && !rights.sees_all_indexes());
        assert!(rights.check_query(&uid, &[]).is_ok() && rights.check_query(&books, &[]).is_err());
        let own = Access::Action(Action::Search, None);
        assert_eq!(judged(&gate, own, &good), Ok(()));

        let mut with_admin_key = good.clone();
        with_admin_key.extend(header("x-admin-key", ADMIN));
        let expired = with_bearer(&issued(&search_ui(), now - Duration::from_secs(61)));
        let others = SearchUiConfig { jwt_secret: Some(Secret::new("another")), ..search_ui() };
        let forged = with_bearer(&issued(&others, now));
        let elsewhere = [
            Access::Action(Action::Search, Some(&books)),
            Access::Action(Action::DocumentsGet, Some(&uid)),
            Access::Action(Action::StatsGet, None),
            Access::AdminKeyOrAction(Action::Everything, &uid),
            Access::AdminKey,
            Access::AnyKey,
        ];
        for access in elsewhere {
            for headers in [&good, &with_admin_key] {
                assert_eq!(judged(&gate, access, headers), Err("miroir_jwt_scope_denied".to_owned()), "{access:?}");
            }
            for headers in [&expired, &forged] {
                assert_eq!(judged(&gate, access, headers), Err("miroir_jwt_invalid".to_owned()), "{access:?}");
            }
        }
        for headers in [&good, &expired, &forged] {
            assert_eq!(judged(&gate, Access::Anyone, headers), Ok(()));
        }
    }

    #[tokio::test]
    async fn a_token_of_the_search_ui_is_judged_where_all_is_open_too() {
        let gate = gate(None).await;
        let uid = movies();
        let token = search_ui_token::issue(&search_ui(), &uid, None, time::OffsetDateTime::now_utc()).unwrap().0;
        let stats = Access::Action(Action::StatsGet, None);
        assert_eq!(judged(&gate, Access::Action(Action::Search, Some(&uid)), &with_bearer(&token)), Ok(()));
        assert_eq!(judged(&gate, stats, &with_bearer(&token)), Err("miroir_jwt_scope_denied".to_owned()));
    }

    #[tokio::test]
    async fn a_token_dies_with_its_key() {
        let gate = gate(Some(MASTER)).await;
        let (uid, key) = (movies(), key(&gate, &[Action::Search], &["*"]).await);
        let token = token(&key, json!(["*"]));
        let search = Access::Action(Action::Search, Some(&uid));
        assert_eq!(judged(&gate, search, &with_bearer(&token)), Ok(()));
        gate.delete(&key.0).await.unwrap();
        assert_eq!(judged(&gate, search, &with_bearer(&token)), Err("invalid_api_key".to_owned()));
    }

    #[tokio::test]
    async fn third_the_admin_key_opens_the_admin_api_and_nothing_else() {
        let gate = gate(Some(MASTER)).await;
        let (_, everything) = key(&gate, &[Action::Everything], &["*"]).await;
        for accepted in [with_bearer(ADMIN), header("x-admin-key", ADMIN)] {
            assert_eq!(judged(&gate, Access::AdminKey, &accepted), Ok(()));
        }
        let foreign = [with_bearer(MASTER), with_bearer(&everything), header("x-admin-key", MASTER), HeaderMap::new()];
        for refused in foreign {
            assert_eq!(judged(&gate, Access::AdminKey, &refused), Err("miroir_invalid_auth".to_owned()));
        }
        let stats = Access::Action(Action::StatsGet, None);
        assert_eq!(judged(&gate, stats, &with_bearer(ADMIN)), Err("invalid_api_key".to_owned()));
        let mut both = with_bearer(MASTER);
        both.extend(header("x-admin-key", ADMIN));
        assert_eq!((judged(&gate, stats, &both), judged(&gate, Access::AdminKey, &both)), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn third_a_session_counts_as_the_admin_key_on_the_admin_api_and_nowhere_else() {
        let gate = gate(Some(MASTER)).await;
        let judged = |access, session, headers: &HeaderMap| {
            let asked = Asked { access, search_ui: None, session };
            super::authenticate(&gate.state(), asked, headers).map(drop).map_err(|error| error.body.code.into_owned())
        };
        let (uid, nobody) = (movies(), HeaderMap::new());
        assert_eq!(judged(Access::AdminKey, SessionStanding::Holds, &nobody), Ok(()));
        let without_token = judged(Access::AdminKey, SessionStanding::LacksToken, &nobody);
        assert_eq!(without_token, Err("miroir_csrf_token_invalid".to_owned()));
        assert_eq!(judged(Access::AdminKey, SessionStanding::LacksToken, &header("x-admin-key", ADMIN)), Ok(()));
        for access in
            [Access::AnyKey, Access::Action(Action::StatsGet, None), Access::AdminKeyOrAction(Action::Everything, &uid)]
        {
            let refused = judged(access, SessionStanding::Holds, &nobody);
            assert_eq!(refused, Err("missing_authorization_header".to_owned()), "{access:?}");
        }
    }

    #[tokio::test]
    async fn the_admin_key_opens_the_few_routes_that_both_open_and_is_told_more() {
        let gate = gate(Some(MASTER)).await;
        let uid = movies();
        let (_, everything) = key(&gate, &[Action::Everything], &["movies"]).await;
        let (_, searching) = key(&gate, &[Action::Search], &["movies"]).await;
        let access = Access::AdminKeyOrAction(Action::Everything, &uid);
        let is_operator =
            |headers: HeaderMap| authenticate(&gate.state(), access, &headers).map(|rights| rights.is_operator());
        assert!(is_operator(with_bearer(ADMIN)).unwrap());
        assert!(is_operator(header("x-admin-key", ADMIN)).unwrap());
        assert!(!is_operator(with_bearer(MASTER)).unwrap());
        assert!(!is_operator(with_bearer(&everything)).unwrap());
        assert!(is_operator(with_bearer(&searching)).is_err());
        assert!(is_operator(HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn fourth_the_master_key_and_api_keys_open_meilisearchs_routes() {
        let gate = gate(Some(MASTER)).await;
        let (uid, books) = (movies(), IndexUid::parse("books").unwrap());
        let (_, searching) = key(&gate, &[Action::Search], &["movies"]).await;
        let search = Access::Action(Action::Search, Some(&uid));
        let adding = Access::Action(Action::DocumentsAdd, Some(&uid));
        assert_eq!(judged(&gate, search, &with_bearer(&searching)), Ok(()));
        assert_eq!(judged(&gate, search, &with_bearer(&searching.to_uppercase())), Ok(()));
        let invalid = || Err("invalid_api_key".to_owned());
        assert_eq!(judged(&gate, adding, &with_bearer(&searching)), invalid());
        assert_eq!(judged(&gate, Access::Action(Action::Search, Some(&books)), &with_bearer(&searching)), invalid());
        assert_eq!(judged(&gate, adding, &with_bearer(MASTER)), Ok(()));
        assert_eq!(judged(&gate, Access::AnyKey, &with_bearer(&searching)), Ok(()));
        assert_eq!(judged(&gate, Access::AnyKey, &with_bearer("a guess")), invalid());
    }

    #[tokio::test]
    async fn what_is_no_bearer_is_a_missing_header() {
        let gate = gate(Some(MASTER)).await;
        let stats = Access::Action(Action::StatsGet, None);
        let missing = || Err("missing_authorization_header".to_owned());
        assert_eq!(judged(&gate, stats, &HeaderMap::new()), missing());
        for value in [MASTER, "", "Basic dXNlcjpwYXNz", "Bearerx"] {
            assert_eq!(judged(&gate, stats, &header("authorization", value)), missing(), "{value}");
        }
        assert_eq!(judged(&gate, stats, &header("authorization", "Bearer")), Err("invalid_api_key".to_owned()));
        assert_eq!(judged(&gate, stats, &header("authorization", &format!("bearer {MASTER}"))), Ok(()));
    }

    #[tokio::test]
    async fn without_a_master_key_all_is_open_but_keys() {
        let gate = gate(None).await;
        for access in [Access::Action(Action::StatsGet, None), Access::AnyKey] {
            assert_eq!(judged(&gate, access, &HeaderMap::new()), Ok(()));
            assert_eq!(judged(&gate, access, &with_bearer("anything")), Ok(()));
        }
        let keys = Access::Action(Action::KeysGet, None);
        assert_eq!(judged(&gate, keys, &HeaderMap::new()), Err("missing_master_key".to_owned()));
        assert_eq!(judged(&gate, Access::AdminKey, &HeaderMap::new()), Err("miroir_invalid_auth".to_owned()));
    }
}
