//! What keys may do: actions and indexes, and which of them a request needs.

use axum::http::Method;
use time::OffsetDateTime;

use super::Key;
use crate::error::{Code, ResponseError};

/// Every action that Meilisearch knows, in its order.
pub const ACTIONS: [&str; 58] = [
    "*",
    "search",
    "documents.*",
    "documents.add",
    "documents.get",
    "documents.delete",
    "indexes.*",
    "indexes.create",
    "indexes.get",
    "indexes.update",
    "indexes.delete",
    "indexes.swap",
    "tasks.*",
    "tasks.cancel",
    "tasks.delete",
    "tasks.get",
    "settings.*",
    "settings.get",
    "settings.update",
    "stats.*",
    "stats.get",
    "metrics.*",
    "metrics.get",
    "dumps.*",
    "dumps.create",
    "snapshots.*",
    "snapshots.create",
    "version",
    "keys.create",
    "keys.get",
    "keys.update",
    "keys.delete",
    "experimental.get",
    "experimental.update",
    "export",
    "network.get",
    "network.update",
    "chatCompletions",
    "chats.*",
    "chats.get",
    "chats.delete",
    "chatsSettings.*",
    "chatsSettings.get",
    "chatsSettings.update",
    "*.get",
    "webhooks.get",
    "webhooks.update",
    "webhooks.delete",
    "webhooks.create",
    "webhooks.*",
    "indexes.compact",
    "fields.post",
    "tasks.compact",
    "dynamicSearchRules.get",
    "dynamicSearchRules.create",
    "dynamicSearchRules.update",
    "dynamicSearchRules.delete",
    "dynamicSearchRules.*",
];

/// Actions that concern the whole server, which a key for some indexes cannot have.
pub const GLOBAL_ACTIONS: [&str; 33] = [
    "metrics.*",
    "metrics.get",
    "dumps.*",
    "dumps.create",
    "snapshots.*",
    "snapshots.create",
    "version",
    "keys.create",
    "keys.get",
    "keys.update",
    "keys.delete",
    "experimental.get",
    "experimental.update",
    "export",
    "network.get",
    "network.update",
    "chats.*",
    "chats.get",
    "chats.delete",
    "chatsSettings.*",
    "chatsSettings.get",
    "chatsSettings.update",
    "webhooks.get",
    "webhooks.update",
    "webhooks.delete",
    "webhooks.create",
    "webhooks.*",
    "tasks.compact",
    "dynamicSearchRules.get",
    "dynamicSearchRules.create",
    "dynamicSearchRules.update",
    "dynamicSearchRules.delete",
    "dynamicSearchRules.*",
];

/// The action that a request needs, and the index that it is about if its path names one. `None` for a path that does not
/// exist.
pub fn action_of<'p>(method: &Method, path: &'p str) -> Option<(&'static str, Option<&'p str>)> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let is = |wanted: &Method| method == wanted;
    let action = match segments.as_slice() {
        ["indexes"] if is(&Method::POST) => "indexes.create",
        ["indexes"] => "indexes.get",
        ["indexes", _] if is(&Method::PATCH) => "indexes.update",
        ["indexes", _] if is(&Method::DELETE) => "indexes.delete",
        ["indexes", _] => "indexes.get",
        ["indexes", _, "search" | "facet-search" | "similar"] | ["multi-search"] => "search",
        ["indexes", _, "stats"] | ["stats"] => "stats.get",
        ["indexes", _, "fields"] => "fields.post",
        ["indexes", _, "settings", ..] if is(&Method::GET) => "settings.get",
        ["indexes", _, "settings", ..] => "settings.update",
        ["indexes", _, "documents", "fetch"] => "documents.get",
        ["indexes", _, "documents", "delete" | "delete-batch"] => "documents.delete",
        ["indexes", _, "documents", ..] if is(&Method::GET) => "documents.get",
        ["indexes", _, "documents", ..] if is(&Method::DELETE) => "documents.delete",
        ["indexes", _, "documents", ..] => "documents.add",
        ["swap-indexes"] => "indexes.swap",
        ["tasks", "cancel"] => "tasks.cancel",
        ["tasks"] if is(&Method::DELETE) => "tasks.delete",
        ["tasks", ..] | ["batches", ..] => "tasks.get",
        ["keys"] if is(&Method::POST) => "keys.create",
        ["keys", ..] if is(&Method::PATCH) => "keys.update",
        ["keys", ..] if is(&Method::DELETE) => "keys.delete",
        ["keys", ..] => "keys.get",
        ["experimental-features"] if is(&Method::PATCH) => "experimental.update",
        ["experimental-features"] => "experimental.get",
        ["version"] => "version",
        _ => return None,
    };
    let index = match segments.as_slice() {
        ["indexes", uid, ..] => Some(*uid),
        _ => None,
    };
    Some((action, index))
}

impl Key {
    /// Refuses what the key may not do. A request that names no index in its path needs a key for all of them: this node
    /// does not look into bodies for indexes, as Meilisearch does.
    pub fn check(&self, action: &str, index: Option<&str>) -> Result<(), ResponseError> {
        let invalid = || ResponseError::new(Code::InvalidApiKey, "The provided API key is invalid.");
        if let Some(index) = index.filter(|index| !self.indexes.iter().any(|pattern| matches(pattern, index))) {
            let mut allowed = self.indexes.clone();
            allowed.sort();
            let message = format!("The API key cannot acces the index `{index}`, authorized indexes are {allowed:?}.");
            return Err(ResponseError::new(Code::InvalidApiKey, message));
        }
        let is_expired = self.expires_at.is_some_and(|end| end <= OffsetDateTime::now_utc());
        let is_for_all = self.indexes.iter().any(|pattern| pattern == "*");
        let is_allowed = self.actions.iter().any(|allowed| includes(allowed, action));
        match is_allowed && !is_expired && (index.is_some() || is_for_all) {
            true => Ok(()),
            false => Err(invalid()),
        }
    }
}

fn matches(pattern: &str, index: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => index.starts_with(beginning),
        None => pattern == index,
    }
}

/// Whether a key with the action `allowed` may do `action`.
fn includes(allowed: &str, action: &str) -> bool {
    match allowed {
        "*" => true,
        // Reading keys would give away those that may do more.
        "*.get" => {
            action != "keys.get"
                && (action.ends_with(".get") || ["search", "version", "fields.post", "export"].contains(&action))
        }
        group if group.ends_with(".*") => action.starts_with(&group[..group.len() - 1]),
        one => one == action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(actions: &[&str], indexes: &[&str]) -> Key {
        let now = OffsetDateTime::now_utc();
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Key {
            name: None,
            description: None,
            uid: "6062abda-a5aa-4414-ac91-ecd7944c0f8d".to_owned(),
            actions: owned(actions),
            indexes: owned(indexes),
            expires_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn a_keys_value_is_the_hmac_of_its_uid() {
        // HMAC-SHA256 as any other implementation computes it.
        let value = key(&[], &[]).value("masterKey");
        assert_eq!(value, "0d030b69eea2dde1af6e6b714146c4dc942d4b2725c173e5d132c60aad9782f5");
    }

    #[test]
    fn actions_and_indexes_bound_what_a_key_may_do() {
        let search = key(&["search"], &["movies", "book*"]);
        assert!(search.check("search", Some("movies")).is_ok());
        assert!(search.check("search", Some("books")).is_ok());
        assert!(search.check("search", Some("songs")).is_err());
        assert!(search.check("documents.add", Some("movies")).is_err());
        assert!(search.check("search", None).is_err());
        assert!(key(&["documents.*"], &["*"]).check("documents.delete", Some("x")).is_ok());
        let reader = key(&["*.get"], &["*"]);
        assert!(reader.check("settings.get", Some("x")).is_ok());
        assert!(reader.check("keys.get", None).is_err());
        let expired = Key { expires_at: Some(OffsetDateTime::UNIX_EPOCH), ..key(&["*"], &["*"]) };
        assert!(expired.check("search", Some("x")).is_err());
    }

    #[test]
    fn requests_are_known_by_method_and_path() {
        assert_eq!(action_of(&Method::POST, "/indexes/x/documents/fetch"), Some(("documents.get", Some("x"))));
        assert_eq!(action_of(&Method::POST, "/indexes/x/documents"), Some(("documents.add", Some("x"))));
        assert_eq!(action_of(&Method::DELETE, "/tasks"), Some(("tasks.delete", None)));
        assert_eq!(action_of(&Method::GET, "/nonsense"), None);
    }
}
