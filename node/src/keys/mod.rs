//! API keys: what each may do (`permissions`), and their routes (`routes`).
//!
//! A key's value is never kept: it is computed from its uid and the master key.

mod permissions;
mod routes;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{Code, ResponseError};
use crate::kept::Kept;
use crate::queue::rfc_3339;

pub use self::permissions::action_of;
use self::permissions::{ACTIONS, GLOBAL_ACTIONS};
pub use self::routes::routes;

/// Keys that a node can have: each is compared to on every request that does not come with the master key.
const KEYS_MAX: usize = 10_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    pub name: Option<String>,
    pub description: Option<String>,
    /// A UUID, in small letters.
    pub uid: String,
    pub actions: Vec<String>,
    /// Names, beginnings of names that end with `*`, or `*`.
    pub indexes: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl Key {
    /// The value that clients present.
    pub fn value(&self, master_key: &str) -> String {
        // An HMAC takes a key of any length, so there is no error.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(master_key.as_bytes()) else { return String::new() };
        mac.update(self.uid.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn view(&self, master_key: &str) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "key": self.value(master_key),
            "uid": self.uid,
            "actions": self.actions,
            "indexes": self.indexes,
            "expiresAt": self.expires_at.map(rfc_3339),
            "createdAt": rfc_3339(self.created_at),
            "updatedAt": rfc_3339(self.updated_at),
        })
    }
}

/// The keys, newest first.
pub type Keys = Kept<Vec<Key>>;

/// Makes the keys that Meilisearch has from the start, if there are none.
pub fn create_default(keys: &Keys) -> Result<(), ResponseError> {
    if !keys.get().is_empty() {
        return Ok(());
    }
    let default = |name: &str, description: &str, actions: &[&str]| {
        let now = OffsetDateTime::now_utc();
        Key {
            name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            uid: Uuid::new_v4().to_string(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            indexes: vec!["*".to_owned()],
            expires_at: None,
            created_at: now,
            updated_at: now,
        }
    };
    let made = [
        default("Default Chat API Key", "Use it to chat and search from the frontend", &["chatCompletions", "search"]),
        default(
            "Default Read-Only Admin API Key",
            "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
            &["*.get", "keys.get"],
        ),
        default(
            "Default Admin API Key",
            "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
            &["*"],
        ),
        default("Default Search API Key", "Use it to search from the frontend", &["search"]),
    ];
    keys.change(|keys| {
        keys.extend(made.into_iter().rev());
        Ok(())
    })
}

/// Adds a key whose uid is new.
fn create(keys: &Keys, key: Key) -> Result<Key, ResponseError> {
    let is_scoped = !key.indexes.is_empty() && !key.indexes.iter().any(|pattern| pattern == "*");
    if let Some(action) = key.actions.iter().find(|action| is_scoped && GLOBAL_ACTIONS.contains(&action.as_str())) {
        return Err(ResponseError::new(
            Code::IndexScopedApiKeyWithGlobalAction,
            format!(
                "cannot create index-scoped API key with global action `\"{action}\"`\n  - Hint: remove action \
                 `\"{action}\"` from the action list, or remove `indexes` to make the key global"
            ),
        ));
    }
    keys.change(|keys| {
        if keys.iter().any(|other| other.uid == key.uid) {
            return Err(ResponseError::new(
                Code::ApiKeyAlreadyExists,
                format!("`uid` field value `{}` is already an existing API key.", key.uid),
            ));
        }
        if keys.len() >= KEYS_MAX {
            return Err(ResponseError::new(Code::BadRequest, format!("There cannot be more than {KEYS_MAX} keys.")));
        }
        keys.insert(0, key.clone());
        Ok(key.clone())
    })
}

/// The position of the key that a request names by its uid or by its value.
fn position(keys: &[Key], named: &str, master_key: &str) -> Result<usize, ResponseError> {
    let uid = Uuid::parse_str(named).map(|uid| uid.to_string());
    let found = keys.iter().position(|key| match &uid {
        Ok(uid) => key.uid == *uid,
        Err(_) => is_value_of(key, named, master_key),
    });
    found.ok_or_else(|| ResponseError::new(Code::ApiKeyNotFound, format!("API key `{named}` not found.")))
}

/// The key that has this value.
pub fn with_value<'k>(keys: &'k [Key], value: &str, master_key: &str) -> Option<&'k Key> {
    keys.iter().find(|key| is_value_of(key, value, master_key))
}

/// The time that this takes tells nothing but the length of the value.
fn is_value_of(key: &Key, value: &str, master_key: &str) -> bool {
    key.value(master_key).as_bytes().ct_eq(value.as_bytes()).into()
}
