//! The record of an API key, and its value.

use ring::hmac;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Action, IndexPattern};
use crate::conf::Secret;

/// What names a key, chosen by whoever makes it or at random.
pub type KeyUid = uuid::Uuid;

/// A key as it stands in the store. Its value does not: that is computed from the uid and the master key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub uid: KeyUid,
    pub name: Option<String>,
    pub description: Option<String>,
    pub actions: Vec<Action>,
    pub indexes: Vec<IndexPattern>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// Bytes of a key's value; clients present them in hexadecimal.
pub const VALUE_BYTES: usize = 32;

/// A key's value: HMAC-SHA256 of its uid, written with hyphens and in lower case, under the master key. Meilisearch's formula, so
/// that clients may compute the values of keys whose uids they chose.
pub fn value_of(uid: KeyUid, master_key: &Secret) -> [u8; VALUE_BYTES] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, master_key.reveal().as_bytes());
    let mut text = uuid::Uuid::encode_buffer();
    let tag = hmac::sign(&key, uid.hyphenated().encode_lower(&mut text).as_bytes());
    tag.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value that a client presents; `None` if it cannot be one.
pub fn value_from_hex(text: &[u8]) -> Option<[u8; VALUE_BYTES]> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    if text.len() != 2 * VALUE_BYTES {
        return None;
    }
    let mut value = [0; VALUE_BYTES];
    for (byte, pair) in value.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(value)
}

/// A uid for a key whose maker names none.
pub fn random_uid() -> Result<KeyUid, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The keys that Meilisearch makes at its first start, oldest first.
pub fn default_keys(now: OffsetDateTime) -> Result<Vec<ApiKey>, getrandom::Error> {
    let described: [(&str, &str, &[Action]); 4] = [
        (
            "Default Chat API Key",
            "Use it to chat and search from the frontend",
            &[Action::ChatCompletions, Action::Search],
        ),
        (
            "Default Read-Only Admin API Key",
            "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
            &[Action::EverythingGet, Action::KeysGet],
        ),
        (
            "Default Admin API Key",
            "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
            &[Action::Everything],
        ),
        ("Default Search API Key", "Use it to search from the frontend", &[Action::Search]),
    ];
    let mut keys = Vec::with_capacity(described.len());
    for (n, (name, description, actions)) in described.into_iter().enumerate() {
        // Lists are by age, and two keys of the same moment would have no order.
        let created_at = now + Duration::microseconds(n as i64);
        keys.push(ApiKey {
            uid: random_uid()?,
            name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            actions: actions.to_vec(),
            indexes: vec![IndexPattern::all()],
            expires_at: None,
            created_at,
            updated_at: created_at,
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_meilisearchs_documentation_computes() {
        // echo -n '74c9c733-3368-4738-bbe5-1d18a5fecb37' | openssl dgst -sha256 -hmac 'aSampleMasterKey'
        let uid = KeyUid::parse_str("74c9c733-3368-4738-bbe5-1d18a5fecb37").unwrap();
        let value = to_hex(&value_of(uid, &Secret::new("aSampleMasterKey")));
        assert_eq!(value, "d5d7045310e78ca5375d6187fe9ea790036ca9082108c8ac135412fde3feb555");
        assert_eq!(value_from_hex(value.as_bytes()), value_from_hex(value.to_uppercase().as_bytes()));
        assert_eq!((value_from_hex(b"12"), value_from_hex(&[b'g'; 64])), (None, None));
    }

    #[test]
    fn the_default_keys_are_meilisearchs() {
        let keys = default_keys(OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(keys.len(), 4);
        assert!(keys.windows(2).all(|pair| pair[0].created_at < pair[1].created_at && pair[0].uid != pair[1].uid));
        assert!(keys.iter().all(|key| key.uid.get_version_num() == 4 && key.expires_at.is_none()));
        assert_eq!(keys[3].actions, [Action::Search]);
    }
}
