//! Sessions of the admin UI: who has logged in with the admin key, and has a cookie in its place.
//!
//! A session is a record in the store, found by the hash of the cookie: it holds on every Miroir and over restarts, ends everywhere
//! at once, and whoever reads the store has no cookie.

use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::api_key::{to_hex, value_from_hex, VALUE_BYTES};
use crate::conf::Secret;
use crate::store::{Change, Store, StoreError};

/// Most sessions: each is a few hundred bytes in the store. Beyond it the one that was idle longest ends.
const SESSIONS_MAX: usize = 1_000;
/// How much later than it was a use may be recorded, so that not every request is a write; at most this part of the idle time.
const RECORDED_EVERY: Duration = Duration::from_secs(60);
const RECORDED_EVERY_SHARE: u32 = 4;

/// What a cookie holds: 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; VALUE_BYTES]);

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("********")
    }
}

impl SessionId {
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; VALUE_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The value of a cookie; `None` if it cannot be one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        value_from_hex(text).map(Self)
    }

    /// As the cookie has it.
    pub fn reveal(&self) -> String {
        to_hex(&self.0)
    }

    /// What the store knows the session by.
    pub fn digest(&self) -> String {
        to_hex(&Sha256::digest(self.0))
    }

    /// What a page of the admin UI sends in `X-CSRF-Token`, which no other page can know.
    pub fn csrf_token(&self) -> String {
        self.sign(b"csrf token", "")
    }

    pub fn is_csrf_token(&self, presented: &[u8]) -> bool {
        self.csrf_token().as_bytes().ct_eq(presented).into()
    }

    /// Says nothing of the key to whoever has no cookie.
    fn proof_of(&self, admin_key: &Secret) -> String {
        self.sign(b"admin key", admin_key.reveal())
    }

    fn sign(&self, purpose: &[u8], text: &str) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(purpose);
        context.update(&[0]);
        context.update(text.as_bytes());
        to_hex(context.sign().as_ref())
    }
}

/// A session as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSession {
    /// SHA-256 of the cookie's value, in hexadecimal.
    pub digest: String,
    /// Of the key that opened it: it ends with that key.
    key_proof: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub used_at: OffsetDateTime,
}

/// What a request may do by its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStanding {
    /// Nothing: there is no cookie, or no session that it is of.
    Unknown,
    /// Nothing: it would change something, and lacks the token that goes with the cookie.
    LacksToken,
    /// Whatever the admin key may.
    Holds,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLifetimes {
    /// Without a request.
    pub idle_max: Duration,
    /// With any number of them.
    pub age_max: Duration,
}

impl AdminSession {
    fn is_over(&self, lifetimes: SessionLifetimes, now: OffsetDateTime) -> bool {
        now >= self.created_at + lifetimes.age_max || now >= self.used_at + lifetimes.idle_max
    }

    fn is_of(&self, id: &SessionId, admin_key: &Secret) -> bool {
        id.proof_of(admin_key).as_bytes().ct_eq(self.key_proof.as_bytes()).into()
    }
}

/// Why there is no new session.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error("No random number can be made: {0}.")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All sessions.
pub struct AdminSessions {
    store: Arc<dyn Store>,
    pub lifetimes: SessionLifetimes,
}

impl AdminSessions {
    pub fn new(store: Arc<dyn Store>, lifetimes: SessionLifetimes) -> Self {
        Self { store, lifetimes }
    }

    /// Opens a session for whoever has presented `admin_key`. Those that are over make room.
    pub async fn begin(&self, admin_key: &Secret, now: OffsetDateTime) -> Result<SessionId, BeginError> {
        let id = SessionId::random()?;
        let mut kept = self.store.admin_sessions().await?;
        kept.sort_unstable_by_key(|session| (!session.is_over(self.lifetimes, now), session.used_at));
        let over = kept.iter().filter(|session| session.is_over(self.lifetimes, now)).count();
        let beyond = (kept.len() + 1).saturating_sub(SESSIONS_MAX);
        let ended = kept.into_iter().take(over.max(beyond));
        let mut changes: Vec<Change> = ended.map(|session| Change::DeleteAdminSession(session.digest)).collect();
        changes.push(Change::PutAdminSession(AdminSession {
            digest: id.digest(),
            key_proof: id.proof_of(admin_key),
            created_at: now,
            used_at: now,
        }));
        self.store.apply(changes).await?;
        Ok(id)
    }

    /// Whether a cookie is that of a session which goes on; this is a use of it.
    pub async fn holds(&self, id: &SessionId, admin_key: &Secret, now: OffsetDateTime) -> Result<bool, StoreError> {
        let Some(session) = self.store.admin_session(&id.digest()).await? else { return Ok(false) };
        if session.is_over(self.lifetimes, now) || !session.is_of(id, admin_key) {
            return Ok(false);
        }
        if now >= session.used_at + RECORDED_EVERY.min(self.lifetimes.idle_max / RECORDED_EVERY_SHARE) {
            // One that was ended meanwhile stays so.
            let used = AdminSession { used_at: now, ..session };
            if let Err(error) = self.store.apply(vec![Change::UpdateAdminSession(used)]).await {
                log::warn!("the use of an admin session is not recorded: {error}");
            }
        }
        Ok(true)
    }

    /// Ends a session: no Miroir takes its cookie any more.
    pub async fn end(&self, id: &SessionId) -> Result<(), StoreError> {
        self.store.apply(vec![Change::DeleteAdminSession(id.digest())]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// Two Miroirs on one store.
    fn two() -> (AdminSessions, AdminSessions, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::default());
        let lifetimes = SessionLifetimes { idle_max: Duration::from_secs(600), age_max: Duration::from_secs(3_600) };
        let sessions = || AdminSessions::new(Arc::clone(&store) as Arc<dyn Store>, lifetimes);
        (sessions(), sessions(), store)
    }

    fn key() -> Secret {
        Secret::new("the admin key")
    }

    fn at(second: u64) -> OffsetDateTime {
        START + Duration::from_secs(second)
    }

    #[tokio::test]
    async fn a_session_holds_on_every_miroir_until_it_is_ended_on_one() {
        let (here, there, store) = two();
        let id = here.begin(&key(), START).await.unwrap();
        let other = here.begin(&key(), START).await.unwrap();
        assert!(there.holds(&id, &key(), at(1)).await.unwrap());
        there.end(&id).await.unwrap();
        assert!(!here.holds(&id, &key(), at(2)).await.unwrap());
        assert!(here.holds(&other, &key(), at(2)).await.unwrap());
        let kept = serde_json::to_string(&store.admin_sessions().await.unwrap()).unwrap();
        assert!(!kept.contains(&other.reveal()) && !kept.contains("the admin key"), "{kept}");
    }

    #[tokio::test]
    async fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let (sessions, _, _) = two();
        let holds = async |id: &SessionId, second| sessions.holds(id, &key(), at(second)).await.unwrap();
        let idle = sessions.begin(&key(), START).await.unwrap();
        assert!(holds(&idle, 599).await);
        assert!(holds(&idle, 1_198).await);
        assert!(!holds(&idle, 1_800).await);
        let busy = sessions.begin(&key(), START).await.unwrap();
        for second in (0..3_600).step_by(300) {
            assert!(holds(&busy, second).await, "{second}");
        }
        assert!(!holds(&busy, 3_600).await);
    }

    #[tokio::test]
    async fn a_session_ends_with_the_key_that_opened_it() {
        let (sessions, _, _) = two();
        let id = sessions.begin(&key(), START).await.unwrap();
        assert!(!sessions.holds(&id, &Secret::new("the next key"), at(1)).await.unwrap());
        assert!(!sessions.holds(&SessionId::random().unwrap(), &key(), at(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_use_is_no_write_each_time_and_brings_no_ended_session_back() {
        let (sessions, _, store) = two();
        let id = sessions.begin(&key(), START).await.unwrap();
        let writes = store.metrics().writes;
        for second in 0..60 {
            assert!(sessions.holds(&id, &key(), at(second)).await.unwrap());
        }
        assert_eq!(store.metrics().writes, writes);
        sessions.holds(&id, &key(), at(60)).await.unwrap();
        assert_eq!(store.metrics().writes, writes + 1);
        let used = store.admin_session(&id.digest()).await.unwrap().unwrap();
        sessions.end(&id).await.unwrap();
        store.apply(vec![Change::UpdateAdminSession(used)]).await.unwrap();
        assert!(!sessions.holds(&id, &key(), at(61)).await.unwrap());
        // A store that takes no writes keeps nobody out.
        let id = sessions.begin(&key(), START).await.unwrap();
        store.set_failing(true);
        assert!(sessions.holds(&id, &key(), at(120)).await.unwrap());
    }

    #[tokio::test]
    async fn there_are_only_so_many_sessions() {
        let (sessions, _, store) = two();
        let first = sessions.begin(&key(), START).await.unwrap();
        let second = sessions.begin(&key(), START).await.unwrap();
        sessions.holds(&first, &key(), at(100)).await.unwrap();
        for _ in 2..=SESSIONS_MAX {
            sessions.begin(&key(), at(100)).await.unwrap();
        }
        assert_eq!(store.admin_sessions().await.unwrap().len(), SESSIONS_MAX);
        assert!(sessions.holds(&first, &key(), at(101)).await.unwrap());
        assert!(!sessions.holds(&second, &key(), at(101)).await.unwrap(), "it was idle longest");
        sessions.begin(&key(), at(10_000)).await.unwrap();
        assert_eq!(store.admin_sessions().await.unwrap().len(), 1, "those that are over make room");
    }

    #[test]
    fn each_session_has_a_csrf_token_of_its_own() {
        let (id, other) = (SessionId::random().unwrap(), SessionId::random().unwrap());
        let token = id.csrf_token();
        assert!(id.is_csrf_token(token.as_bytes()) && !other.is_csrf_token(token.as_bytes()));
        assert!(!id.is_csrf_token(b"") && !id.is_csrf_token(id.reveal().as_bytes()));
        assert_eq!(SessionId::parse(id.reveal().as_bytes()), Some(id.clone()));
        assert_eq!(SessionId::parse(b"no session"), None);
        assert!(!format!("{id:?}").contains(&id.reveal()));
    }
}
