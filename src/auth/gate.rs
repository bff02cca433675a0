//! The secrets and keys that requests are judged by, as one immutable value: a request loads it once and sees no half of a change.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use super::api_key::{default_keys, random_uid, to_hex, value_from_hex, value_of};
use super::rights::{Denial, GrantedKey};
use super::search_ui_token::{self, SearchUiUse};
use super::{tenant_token, Action, ApiKey, IndexPattern, KeyUid, Rights};
use crate::conf::{Config, SearchUiConfig, Secret};
use crate::error::{ApiError, Code};
use crate::store::{Change, Store, StoreError};

/// Most API keys: each is a few hundred bytes of memory here. Meilisearch stops at a gigabyte of them.
const KEYS_MAX: usize = 100_000;

/// What the configuration gives away to whom.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// `None`: everyone may do everything.
    pub master_key: Option<Secret>,
    pub master_key_previous: Option<Secret>,
    pub admin_key: Option<Secret>,
    /// Whether there is an admin API at all.
    pub has_admin_api: bool,
    /// Whose tokens open what of the search UI.
    pub search_ui: Arc<SearchUiConfig>,
}

impl Secrets {
    pub fn of(config: &Config) -> Self {
        Self {
            master_key: config.master_key.clone(),
            master_key_previous: config.master_key_previous.clone(),
            admin_key: config.admin.api_key.clone(),
            has_admin_api: config.admin.enabled,
            search_ui: Arc::new(config.search_ui.clone()),
        }
    }

    /// Every master key that counts, the one that new values are made of first.
    fn master_keys(&self) -> impl Iterator<Item = &Secret> {
        self.master_key.iter().chain(&self.master_key_previous)
    }
}

/// One moment's secrets and keys.
pub struct GateState {
    pub secrets: Secrets,
    keys: HashMap<KeyUid, Arc<GrantedKey>>,
    /// By the SHA-256 of a key's value: how long a look-up takes tells nothing of the values that there are.
    by_value: HashMap<[u8; 32], KeyUid>,
}

impl GateState {
    fn new(secrets: Secrets, records: impl IntoIterator<Item = ApiKey>) -> Self {
        let mut state = Self { secrets, keys: HashMap::new(), by_value: HashMap::new() };
        records.into_iter().for_each(|record| state.insert(record));
        state
    }

    fn insert(&mut self, record: ApiKey) {
        let uid = record.uid;
        for master_key in self.secrets.master_keys() {
            self.by_value.insert(Sha256::digest(value_of(uid, master_key)).into(), uid);
        }
        self.keys.insert(uid, Arc::new(GrantedKey::new(record)));
    }

    fn remove(&mut self, uid: KeyUid) {
        self.keys.remove(&uid);
        self.by_value.retain(|_, owner| *owner != uid);
    }

    /// Whether `presented` is the master key, in a time that does not depend on how near it comes.
    pub fn is_master_key(&self, presented: &[u8]) -> bool {
        self.secrets.master_keys().fold(false, |found, key| found | key.matches(presented))
    }

    pub fn is_admin_key(&self, presented: &[u8]) -> bool {
        self.secrets.admin_key.as_ref().is_some_and(|key| key.matches(presented))
    }

    /// The rights of whoever presents the value of an API key.
    pub fn rights_of_key(&self, presented: &[u8]) -> Result<Rights, Denial> {
        let uid = self.uid_of_value(presented).ok_or(Denial::KeyInvalid)?;
        self.keys.get(&uid).cloned().map(Rights::of_key).ok_or(Denial::KeyInvalid)
    }

    /// The rights of whoever presents a tenant token.
    pub fn rights_of_token(&self, token: &str) -> Result<Rights, Denial> {
        let (uid, rules) = tenant_token::verify(token, |uid| self.values(uid).collect())?;
        let key = self.keys.get(&uid).cloned().ok_or(Denial::KeyInvalid)?;
        Ok(Rights::of_token(key, rules))
    }

    /// The rights of whoever presents a token that says it is one of the search UI. `None`: no such token opens the route.
    pub fn rights_of_search_ui(&self, bearer: &[u8], asked: Option<SearchUiUse<'_>>) -> Result<Rights, Denial> {
        let ui = &self.secrets.search_ui;
        let token = search_ui_token::verify(bearer, ui.jwt_secrets().filter(|_| ui.enabled))?;
        match asked {
            Some(asked) => token.check(asked)?,
            None => return Err(token.beyond()),
        }
        Ok(Rights::of_search_ui(token))
    }

    fn uid_of_value(&self, presented: &[u8]) -> Option<KeyUid> {
        let digest: [u8; 32] = Sha256::digest(value_from_hex(presented)?).into();
        self.by_value.get(&digest).copied()
    }

    fn values(&self, uid: KeyUid) -> impl Iterator<Item = String> + '_ {
        self.secrets.master_keys().map(move |master_key| to_hex(&value_of(uid, master_key)))
    }

    /// The value to show of a key; empty without a master key, as Meilisearch has it.
    pub fn value(&self, uid: KeyUid) -> String {
        self.values(uid).next().unwrap_or_default()
    }

    /// The key that a path names by its uid or by its value.
    pub fn find(&self, uid_or_value: &str) -> Result<&ApiKey, KeyError> {
        let not_found = |name: String| KeyError::NotFound(name);
        let uid = match KeyUid::parse_str(uid_or_value) {
            Ok(uid) => uid,
            Err(_) => self.uid_of_value(uid_or_value.as_bytes()).ok_or_else(|| not_found(uid_or_value.to_owned()))?,
        };
        self.keys.get(&uid).map(|key| &key.record).ok_or_else(|| not_found(uid.to_string()))
    }

    /// All keys, newest first.
    pub fn list(&self) -> Vec<&ApiKey> {
        let mut keys: Vec<&ApiKey> = self.keys.values().map(|key| &key.record).collect();
        keys.sort_unstable_by_key(|key| (std::cmp::Reverse(key.created_at), key.uid));
        keys
    }
}

/// What a change of keys fails with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("API key `{0}` not found.")]
    NotFound(String),
    #[error("`uid` field value `{0}` is already an existing API key.")]
    AlreadyExists(KeyUid),
    #[error(
        "cannot create index-scoped API key with global action `\"{0}\"`\n  - Hint: remove action `\"{0}\"` from the action \
         list, or remove `indexes` to make the key global"
    )]
    GlobalAction(Action),
    #[error("There are {KEYS_MAX} API keys already; delete some first.")]
    TooMany,
    #[error("No random uid can be made: {0}.")]
    Random(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("The change of the API key was given up.")]
    GivenUp,
}

impl From<getrandom::Error> for KeyError {
    fn from(error: getrandom::Error) -> Self {
        KeyError::Random(error)
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let code = match error {
            KeyError::Store(error) => return error.into(),
            KeyError::NotFound(_) => Code::ApiKeyNotFound,
            KeyError::AlreadyExists(_) => Code::ApiKeyAlreadyExists,
            KeyError::GlobalAction(_) => Code::IndexScopedApiKeyWithGlobalAction,
            KeyError::TooMany => Code::DatabaseSizeLimitReached,
            KeyError::Random(_) | KeyError::GivenUp => Code::Internal,
        };
        ApiError::new(code, error.to_string())
    }
}

/// What a client says of a key that it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    pub uid: Option<KeyUid>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub actions: Vec<Action>,
    pub indexes: Vec<IndexPattern>,
    pub expires_at: Option<OffsetDateTime>,
}

/// Name and description: all that can be changed of a key. The outer `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    pub name: Option<Option<String>>,
    pub description: Option<Option<String>>,
}

/// Who requests are judged by, and the only way to change it.
pub struct Gate {
    state: ArcSwap<GateState>,
    store: Arc<dyn Store>,
    /// One change at a time, from the look at what there is until requests see the change.
    turn: Semaphore,
}

impl Gate {
    /// With the keys in the store, or Meilisearch's default keys if there are none.
    pub async fn open(secrets: Secrets, store: Arc<dyn Store>) -> Result<Self, KeyError> {
        let mut records = store.api_keys().await?;
        if records.is_empty() {
            store.apply(vec![Change::PutDefaultKeys(default_keys(OffsetDateTime::now_utc())?)]).await?;
            records = store.api_keys().await?;
        }
        let state = ArcSwap::from_pointee(GateState::new(secrets, records));
        Ok(Self { state, store, turn: Semaphore::new(1) })
    }

    /// What a request is to keep until it has its answer.
    pub fn state(&self) -> Arc<GateState> {
        self.state.load_full()
    }

    /// Judges requests by other secrets from now on. The values of all keys become those of the new master key; those of the
    /// previous one count too.
    pub fn replace_secrets(&self, secrets: Secrets) {
        self.state.rcu(|state| {
            let records = state.keys.values().map(|key| key.record.clone());
            GateState::new(secrets.clone(), records)
        });
    }

    /// Takes up what other Miroirs have changed in the store. Says whether there was anything.
    pub async fn refresh(self: &Arc<Self>) -> Result<bool, KeyError> {
        self.seen_through(|gate| async move {
            let records = gate.store.api_keys().await?;
            let state = gate.state();
            let is_known = |record: &ApiKey| state.keys.get(&record.uid).is_some_and(|key| key.record == *record);
            if records.len() == state.keys.len() && records.iter().all(is_known) {
                return Ok(false);
            }
            gate.state.rcu(|state| GateState::new(state.secrets.clone(), records.clone()));
            Ok(true)
        })
        .await
    }

    pub async fn create(self: &Arc<Self>, new: NewKey) -> Result<ApiKey, KeyError> {
        let is_for_all = new.indexes.is_empty() || new.indexes.iter().any(IndexPattern::matches_all);
        if let Some(global) = new.actions.iter().find(|action| !is_for_all && action.is_global()) {
            return Err(KeyError::GlobalAction(*global));
        }
        let now = OffsetDateTime::now_utc();
        let record = ApiKey {
            uid: new.uid.map_or_else(random_uid, Ok)?,
            name: new.name,
            description: new.description,
            actions: new.actions,
            indexes: new.indexes,
            expires_at: new.expires_at,
            created_at: now,
            updated_at: now,
        };
        self.seen_through(move |gate| async move {
            let state = gate.state();
            if state.keys.contains_key(&record.uid) {
                return Err(KeyError::AlreadyExists(record.uid));
            }
            if state.keys.len() >= KEYS_MAX {
                return Err(KeyError::TooMany);
            }
            gate.store.apply(vec![Change::PutApiKey(record.clone())]).await?;
            gate.publish(|state| state.insert(record.clone()));
            Ok(record)
        })
        .await
    }

    pub async fn update(self: &Arc<Self>, uid_or_value: &str, patch: KeyPatch) -> Result<ApiKey, KeyError> {
        let named = uid_or_value.to_owned();
        self.seen_through(move |gate| async move {
            let mut record = gate.state().find(&named)?.clone();
            record.name = patch.name.unwrap_or(record.name);
            record.description = patch.description.unwrap_or(record.description);
            record.updated_at = OffsetDateTime::now_utc();
            gate.store.apply(vec![Change::UpdateApiKey(record.clone())]).await?;
            gate.publish(|state| state.insert(record.clone()));
            Ok(record)
        })
        .await
    }

    /// From its answer on, no request passes with the key.
    pub async fn delete(self: &Arc<Self>, uid_or_value: &str) -> Result<(), KeyError> {
        let named = uid_or_value.to_owned();
        self.seen_through(move |gate| async move {
            let uid = gate.state().find(&named)?.uid;
            gate.store.apply(vec![Change::DeleteApiKey(uid)]).await?;
            gate.publish(|state| state.remove(uid));
            Ok(())
        })
        .await
    }

    /// Makes a change alone and to its end, whatever becomes of the client who asked for it: what is in the store must be what
    /// requests are judged by.
    async fn seen_through<T, F>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T, KeyError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KeyError>> + Send,
    {
        let gate = Arc::clone(self);
        let changing = tokio::spawn(async move {
            let _turn = gate.turn.acquire().await.map_err(|_| KeyError::GivenUp)?;
            change(Arc::clone(&gate)).await
        });
        changing.await.map_err(|_| KeyError::GivenUp)?
    }

    fn publish(&self, change: impl Fn(&mut GateState)) {
        self.state.rcu(|state| {
            let mut next = GateState {
                secrets: state.secrets.clone(),
                keys: state.keys.clone(),
                by_value: state.by_value.clone(),
            };
            change(&mut next);
            next
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn secrets(master_key: Option<&str>) -> Secrets {
        Secrets {
            master_key: master_key.map(Secret::new),
            master_key_previous: None,
            admin_key: None,
            has_admin_api: true,
            search_ui: Arc::new(SearchUiConfig::off()),
        }
    }

    async fn gate(store: &Arc<MemoryStore>, master_key: Option<&str>) -> Arc<Gate> {
        let store: Arc<dyn Store> = Arc::clone(store) as _;
        Arc::new(Gate::open(secrets(master_key), store).await.unwrap())
    }

    fn new_key(actions: &[Action], indexes: &[&str]) -> NewKey {
        let indexes = indexes.iter().map(|text| IndexPattern::parse(text).unwrap()).collect();
        NewKey { uid: None, name: None, description: None, actions: actions.to_vec(), indexes, expires_at: None }
    }

    #[tokio::test]
    async fn the_first_start_makes_the_default_keys_and_the_next_one_finds_them() {
        let store = Arc::new(MemoryStore::default());
        let first = gate(&store, Some("master")).await;
        let names: Vec<_> = first.state().list().iter().map(|key| key.name.clone().unwrap()).collect();
        let expected = [
            "Default Search API Key",
            "Default Admin API Key",
            "Default Read-Only Admin API Key",
            "Default Chat API Key",
        ];
        assert_eq!(names, expected);
        let again = gate(&store, Some("master")).await;
        assert_eq!(again.state().list(), first.state().list());
    }

    #[tokio::test]
    async fn a_key_counts_from_its_answer_until_its_deletion() {
        let store = Arc::new(MemoryStore::default());
        let gate = gate(&store, Some("master")).await;
        let key = gate.create(new_key(&[Action::Search], &["movies"])).await.unwrap();
        let value = gate.state().value(key.uid);
        assert!(gate.state().rights_of_key(value.as_bytes()).unwrap().may(Action::Search, "movies"));
        assert_eq!(gate.state().find(&value).unwrap().uid, key.uid);

        let patch = KeyPatch { name: Some(Some("shop".to_owned())), description: None };
        let renamed = gate.update(&key.uid.to_string(), patch).await.unwrap();
        assert_eq!((renamed.name.as_deref(), renamed.created_at), (Some("shop"), key.created_at));
        assert!(store.api_keys().await.unwrap().contains(&renamed));

        gate.delete(&value).await.unwrap();
        assert!(gate.state().rights_of_key(value.as_bytes()).is_err());
        assert!(matches!(gate.delete(&value).await, Err(KeyError::NotFound(named)) if named == value));
    }

    #[tokio::test]
    async fn what_another_miroir_changes_counts_here_after_a_refresh() {
        let store = Arc::new(MemoryStore::default());
        let (here, there) = (gate(&store, Some("master")).await, gate(&store, Some("master")).await);
        assert!(!here.refresh().await.unwrap());
        let key = there.create(new_key(&[Action::Search], &["*"])).await.unwrap();
        let value = there.state().value(key.uid);
        assert!(here.refresh().await.unwrap());
        assert!(here.state().rights_of_key(value.as_bytes()).is_ok());
        let patch = KeyPatch { name: Some(Some("shop".to_owned())), description: None };
        there.update(&value, patch).await.unwrap();
        here.refresh().await.unwrap();
        assert_eq!(here.state().find(&value).unwrap().name.as_deref(), Some("shop"));
        there.delete(&value).await.unwrap();
        here.refresh().await.unwrap();
        assert!(here.state().rights_of_key(value.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_change_that_the_store_refuses_is_none() {
        let store = Arc::new(MemoryStore::default());
        let gate = gate(&store, Some("master")).await;
        store.set_failing(true);
        assert!(matches!(gate.create(new_key(&[Action::Search], &["*"])).await, Err(KeyError::Store(_))));
        assert_eq!(gate.state().list().len(), 4);
    }

    #[tokio::test]
    async fn a_uid_is_given_once_and_global_actions_need_all_indexes() {
        let store = Arc::new(MemoryStore::default());
        let gate = gate(&store, Some("master")).await;
        let key = NewKey { uid: Some(KeyUid::nil()), ..new_key(&[Action::Version], &["*"]) };
        gate.create(key.clone()).await.unwrap();
        assert!(matches!(gate.create(key).await, Err(KeyError::AlreadyExists(_))));
        let refused = gate.create(new_key(&[Action::Search, Action::Version], &["movies"])).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot create index-scoped API key with global action `\"version\"`\n  - Hint: remove action `\"version\"` \
             from the action list, or remove `indexes` to make the key global"
        );
    }

    #[tokio::test]
    async fn values_of_the_previous_master_key_count_until_it_is_taken_out() {
        let store = Arc::new(MemoryStore::default());
        let gate = gate(&store, Some("old")).await;
        let uid = gate.state().list()[0].uid;
        let old = gate.state().value(uid);
        let both = Secrets { master_key_previous: Some(Secret::new("old")), ..secrets(Some("new")) };
        gate.replace_secrets(both);
        let new = gate.state().value(uid);
        assert_ne!(new, old);
        let counts = |value: &str| gate.state().rights_of_key(value.as_bytes()).is_ok();
        assert!(counts(&new) && counts(&old));
        assert!(gate.state().is_master_key(b"new") && gate.state().is_master_key(b"old"));
        gate.replace_secrets(secrets(Some("new")));
        assert!(counts(&new) && !counts(&old) && !gate.state().is_master_key(b"old"));
    }

    #[tokio::test]
    async fn without_a_master_key_no_value_counts() {
        let store = Arc::new(MemoryStore::default());
        let gate = gate(&store, None).await;
        let state = gate.state();
        let uid = state.list()[0].uid;
        assert_eq!(state.value(uid), "");
        assert!(state.rights_of_key(&[b'0'; 64]).is_err());
    }
}
