//! What one request may do.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::action::ActionSet;
use super::search_ui_token::{SearchUiToken, SearchUiUse};
use super::{Action, ApiKey, IndexPattern, KeyUid, Scope, SearchRules};
use crate::cluster::IndexUid;
use crate::error::{ApiError, Code};

/// Why a request is refused, in Meilisearch's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("The provided API key is invalid.")]
    KeyInvalid,
    #[error("The API key cannot acces the index `{index}`, authorized indexes are {allowed:?}.")]
    KeyIndex { index: String, allowed: Vec<String> },
    #[error("The provided tenant token is invalid.")]
    TokenInvalid,
    #[error("Could not decode tenant token, {0}.")]
    TokenUndecodable(String),
    #[error("Tenant token expired. Was valid up to `{exp}` and we're now `{now}`.")]
    TokenExpired { exp: i64, now: i64 },
    #[error("The provided tenant token cannot acces the index `{index}`, allowed indexes are {allowed:?}.")]
    TokenIndex { index: String, allowed: Vec<String> },
    #[error("The API key used to generate this tenant token cannot acces the index `{index}`.")]
    TokenKeyIndex { index: String },
    #[error("The token of the search UI {0}.")]
    SearchUiToken(&'static str),
    #[error("The token of the search UI opens searches of index `{index}` and nothing else.")]
    SearchUiScope { index: String },
}

impl Denial {
    pub fn code(&self) -> Code {
        match self {
            Denial::SearchUiToken(_) => Code::MiroirJwtInvalid,
            Denial::SearchUiScope { .. } => Code::MiroirJwtScopeDenied,
            _ => Code::InvalidApiKey,
        }
    }
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        ApiError::new(denial.code(), denial.to_string())
    }
}

/// A key with its actions expanded.
#[derive(Debug)]
pub struct GrantedKey {
    pub record: ApiKey,
    actions: ActionSet,
}

impl GrantedKey {
    pub fn new(record: ApiKey) -> Self {
        let actions = ActionSet::expand(&record.actions);
        Self { record, actions }
    }

    fn sees(&self, index: &str) -> bool {
        self.record.indexes.iter().any(|pattern| pattern.matches(index))
    }

    fn sees_all_indexes(&self) -> bool {
        self.record.indexes.iter().any(IndexPattern::matches_all)
    }

    /// Whether the key allows the action: on `index`, or on a route that names none.
    fn allows(&self, action: Action, index: Option<&str>) -> bool {
        let is_its_place = match index {
            Some(index) => self.sees(index),
            None => {
                let is_for_some = !self.record.indexes.is_empty() && action.is_filtered_by_handlers();
                self.sees_all_indexes() || is_for_some
            }
        };
        let is_alive = || self.record.expires_at.is_none_or(|end| OffsetDateTime::now_utc() < end);
        self.actions.contains(action) && is_its_place && is_alive()
    }
}

/// What a request may do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rights(Grant);

#[derive(Clone, Debug)]
enum Grant {
    /// The master key's, and everybody's where there is none.
    Everything,
    /// The admin key's.
    Operator,
    /// Those of a request that was not asked who it is.
    Nothing,
    Key(Arc<GrantedKey>),
    Token(Arc<GrantedKey>, Arc<SearchRules>),
    /// Those of a page of the search UI: what its path names has been checked.
    SearchUi(Arc<SearchUiToken>),
}

/// What tells rights apart: requests of the same identity may share an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RightsIdentity {
    Everything,
    Nothing,
    Key(KeyUid),
    /// With the SHA-256 of the rules.
    Token(KeyUid, [u8; 32]),
    /// With the SHA-256 of the filter: visitors who may see the same share answers.
    SearchUi([u8; 32]),
}

impl Rights {
    pub fn everything() -> Self {
        Self(Grant::Everything)
    }

    /// The admin key's, on routes that other keys open, too.
    pub fn of_operator() -> Self {
        Self(Grant::Operator)
    }

    /// Whether it was the admin key that opened the route.
    pub fn is_operator(&self) -> bool {
        matches!(self.0, Grant::Operator)
    }

    pub fn nothing() -> Self {
        Self(Grant::Nothing)
    }

    pub(super) fn of_key(key: Arc<GrantedKey>) -> Self {
        Self(Grant::Key(key))
    }

    pub(super) fn of_token(key: Arc<GrantedKey>, rules: SearchRules) -> Self {
        Self(Grant::Token(key, Arc::new(rules)))
    }

    pub(super) fn of_search_ui(token: SearchUiToken) -> Self {
        Self(Grant::SearchUi(Arc::new(token)))
    }

    /// Whether `action` is allowed: on `index`, or on a route that names no index. Of such a route the handler shows what
    /// [`Rights::sees`].
    pub fn check(&self, action: Action, index: Option<&str>) -> Result<(), Denial> {
        let (key, rules) = match &self.0 {
            Grant::Everything | Grant::Operator => return Ok(()),
            Grant::Nothing => return Err(Denial::KeyInvalid),
            Grant::Key(key) => (key, None),
            Grant::Token(key, rules) => (key, Some(rules)),
            Grant::SearchUi(_) if action == Action::Search => return Ok(()),
            Grant::SearchUi(token) => return Err(token.beyond()),
        };
        if let Some(index) = index {
            let name = || index.to_owned();
            match rules {
                Some(rules) if !rules.sees(index) => {
                    return Err(Denial::TokenIndex { index: name(), allowed: sorted(rules.patterns()) })
                }
                // Whoever has the token need not know which indexes its key has.
                Some(_) if !key.sees(index) => return Err(Denial::TokenKeyIndex { index: name() }),
                None if !key.sees(index) => {
                    return Err(Denial::KeyIndex { index: name(), allowed: sorted(key.record.indexes.iter()) })
                }
                _ => {}
            }
        }
        if key.allows(action, index) {
            Ok(())
        } else {
            Err(Denial::KeyInvalid)
        }
    }

    pub fn may(&self, action: Action, index: &str) -> bool {
        self.check(action, Some(index)).is_ok()
    }

    /// Whether lists show this index, and queries may name it, on a route whose action has been checked.
    pub fn sees(&self, index: &str) -> bool {
        match &self.0 {
            Grant::Everything | Grant::Operator => true,
            // Its page is shown no lists.
            Grant::Nothing | Grant::SearchUi(_) => false,
            Grant::Key(key) => key.sees(index),
            Grant::Token(key, rules) => key.sees(index) && rules.sees(index),
        }
    }

    /// Whether a query of a `/multi-search` may name `name`, which stands for `targets`.
    pub fn check_query(&self, name: &IndexUid, targets: &[IndexUid]) -> Result<(), Denial> {
        match &self.0 {
            Grant::SearchUi(token) => token.check(SearchUiUse { scope: Scope::MultiSearch, index: Some(name) }),
            _ if targets.iter().all(|target| self.sees(target.as_str())) => Ok(()),
            _ => Err(Denial::KeyInvalid),
        }
    }

    /// Whether a federated search may name `name` for facets. They are only counted in what its queries find; but an index that no
    /// query names is looked at all the same, and an error tells whether it is there and which facets it has. Meilisearch's keys
    /// and tenant tokens may ask so much; a page of the search UI may not.
    pub fn check_facets_of(&self, name: &str) -> Result<(), Denial> {
        match &self.0 {
            Grant::SearchUi(token) if token.index.as_str() != name => Err(token.beyond()),
            _ => Ok(()),
        }
    }

    /// Whether nothing is left out of lists, things that belong to no index included.
    pub fn sees_all_indexes(&self) -> bool {
        match &self.0 {
            Grant::Everything | Grant::Operator => true,
            Grant::Nothing | Grant::SearchUi(_) => false,
            Grant::Key(key) => key.sees_all_indexes(),
            Grant::Token(key, rules) => key.sees_all_indexes() && rules.sees_all_indexes(),
        }
    }

    /// Whether a write to an index that does not exist may create it.
    pub fn may_create(&self, index: &str) -> bool {
        self.check(Action::IndexesCreate, None).is_ok() && self.sees(index)
    }

    /// What must hold of every document that a search of `index` finds or counts, beside the search's own filter.
    pub fn search_filter(&self, index: &str) -> Option<&Value> {
        match &self.0 {
            Grant::Token(_, rules) => rules.filter(index),
            // Whatever its index stands for.
            Grant::SearchUi(token) => token.filter.as_ref(),
            _ => None,
        }
    }

    pub fn identity(&self) -> RightsIdentity {
        match &self.0 {
            Grant::Everything | Grant::Operator => RightsIdentity::Everything,
            Grant::Nothing => RightsIdentity::Nothing,
            Grant::Key(key) => RightsIdentity::Key(key.record.uid),
            Grant::Token(key, rules) => {
                let text = serde_json::to_vec(rules.as_ref()).expect("rules are sets and maps with text as keys");
                RightsIdentity::Token(key.record.uid, Sha256::digest(text).into())
            }
            Grant::SearchUi(token) => RightsIdentity::SearchUi(token.digest()),
        }
    }
}

fn sorted<'a>(patterns: impl Iterator<Item = &'a IndexPattern>) -> Vec<String> {
    let mut names: Vec<String> = patterns.map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::Duration;

    use super::*;

    fn key(actions: &[Action], indexes: &[&str]) -> ApiKey {
        let now = OffsetDateTime::now_utc();
        ApiKey {
            uid: KeyUid::nil(),
            name: None,
            description: None,
            actions: actions.to_vec(),
            indexes: indexes.iter().map(|text| IndexPattern::parse(text).unwrap()).collect(),
            expires_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    fn rights(actions: &[Action], indexes: &[&str]) -> Rights {
        Rights::of_key(Arc::new(GrantedKey::new(key(actions, indexes))))
    }

    fn token(indexes: &[&str], rules: Value) -> Rights {
        let key = Arc::new(GrantedKey::new(key(&[Action::Search], indexes)));
        Rights::of_token(key, serde_json::from_value(rules).unwrap())
    }

    #[test]
    fn a_key_has_its_actions_on_its_indexes() {
        let rights = rights(&[Action::Search, Action::DocumentsAll], &["movies", "books_*"]);
        assert!(rights.may(Action::Search, "movies") && rights.may(Action::DocumentsAdd, "books_fr"));
        assert_eq!(rights.check(Action::SettingsGet, Some("movies")), Err(Denial::KeyInvalid));
        let refused = rights.check(Action::Search, Some("songs")).unwrap_err().to_string();
        assert_eq!(
            refused,
            r#"The API key cannot acces the index `songs`, authorized indexes are ["books_*", "movies"]."#
        );
    }

    #[test]
    fn a_route_without_an_index_is_open_to_keys_of_some_indexes_where_its_handler_filters() {
        let some = rights(&[Action::Everything], &["movies"]);
        for allowed in [Action::IndexesGet, Action::TasksGet, Action::StatsGet, Action::Search, Action::IndexesSwap] {
            assert_eq!(some.check(allowed, None), Ok(()), "{allowed}");
        }
        for refused in [Action::Version, Action::KeysGet, Action::DumpsCreate, Action::NetworkGet] {
            assert_eq!(some.check(refused, None), Err(Denial::KeyInvalid), "{refused}");
        }
        assert_eq!(rights(&[Action::Everything], &["*"]).check(Action::Version, None), Ok(()));
        assert!(rights(&[Action::Everything], &[]).check(Action::TasksGet, None).is_err());
        assert!(some.sees("movies") && !some.sees("books") && !some.sees_all_indexes());
    }

    #[test]
    fn an_expired_key_allows_nothing() {
        let mut record = key(&[Action::Everything], &["*"]);
        record.expires_at = Some(OffsetDateTime::now_utc() - Duration::SECOND);
        let rights = Rights::of_key(Arc::new(GrantedKey::new(record)));
        assert_eq!(rights.check(Action::Search, Some("movies")), Err(Denial::KeyInvalid));
    }

    #[test]
    fn a_write_creates_its_index_only_with_the_right_to() {
        assert!(!rights(&[Action::DocumentsAdd], &["*"]).may_create("movies"));
        let some = rights(&[Action::DocumentsAdd, Action::IndexesCreate], &["movies"]);
        assert!(some.may_create("movies") && !some.may_create("books"));
        assert!(Rights::everything().may_create("movies"));
    }

    #[test]
    fn a_token_is_held_to_its_rules_and_to_its_key() {
        let rights = token(&["movies", "books"], json!({ "movies": { "filter": "a = 1" }, "songs": null }));
        assert!(rights.may(Action::Search, "movies"));
        assert_eq!(rights.search_filter("movies"), Some(&json!("a = 1")));
        assert_eq!(
            rights.check(Action::Search, Some("books")).unwrap_err().to_string(),
            r#"The provided tenant token cannot acces the index `books`, allowed indexes are ["movies", "songs"]."#
        );
        assert_eq!(
            rights.check(Action::Search, Some("songs")).unwrap_err().to_string(),
            "The API key used to generate this tenant token cannot acces the index `songs`."
        );
    }

    #[test]
    fn a_page_of_the_search_ui_searches_the_name_in_its_token_and_sees_no_lists() {
        let rights = Rights::of_search_ui(SearchUiToken::for_tests("shop", Some("a = 1")));
        let uid = |name| IndexUid::parse(name).unwrap();
        assert_eq!(rights.check_query(&uid("shop"), &[uid("shop_v2")]), Ok(()));
        assert_eq!(
            rights.check_query(&uid("shop_v2"), &[uid("shop_v2")]).unwrap_err().to_string(),
            "The token of the search UI opens searches of index `shop` and nothing else."
        );
        assert!(rights.check_facets_of("shop").is_ok() && rights.check_facets_of("shop_v2").is_err());
        assert_eq!(rights.search_filter("shop_v2"), Some(&json!("a = 1")), "whatever the name stands for");
        assert!(!rights.sees("shop") && !rights.sees_all_indexes() && !rights.may_create("shop"));
        assert!(!rights.is_operator() && rights.check(Action::DocumentsGet, Some("shop")).is_err());
    }

    #[test]
    fn rights_that_may_see_different_things_have_different_identities() {
        let first = token(&["*"], json!({ "movies": { "filter": "a = 1" } }));
        let second = token(&["*"], json!({ "movies": { "filter": "a = 2" } }));
        let as_first = token(&["*"], json!({ "movies": { "filter": "a = 1" } }));
        assert_eq!(first.identity(), as_first.identity());
        let page = |filter: Option<&str>| Rights::of_search_ui(SearchUiToken::for_tests("movies", filter));
        assert_eq!(page(None).identity(), page(None).identity(), "visitors who see the same share answers");
        let pages = [page(None), page(Some("a = 1")), page(Some("a = 2"))];
        let all = [first, second, rights(&[Action::Search], &["*"]), Rights::everything(), Rights::nothing()];
        let all: Vec<Rights> = all.into_iter().chain(pages).collect();
        let identities: std::collections::HashSet<_> = all.iter().map(Rights::identity).collect();
        assert_eq!(identities.len(), all.len());
    }
}
