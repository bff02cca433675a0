//! The names of things, as types that cannot be mixed up or malformed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{ApiError, Code};

/// A slice of one index's key space, `0..S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u32);

/// First code point of the private-use area of the basic plane, in which the first 6,400 shards are written.
const PRIVATE_USE: u32 = 0xE000;
/// Shards that fit the private-use area of the basic plane (U+E000 to U+F8FF).
const PRIVATE_USE_LEN: u32 = 6_400;
/// First code point of the supplementary private-use plane, in which all further shards are written.
const SUPPLEMENTARY_PRIVATE_USE: u32 = 0xF_0000;

impl Shard {
    /// Most shards that an index can have: what both private-use areas can name (planes end in two non-characters).
    pub const COUNT_MAX: u32 = PRIVATE_USE_LEN + 65_534;

    /// Shard of a document: `xxh3_64(primary key as its canonical string) % shard_count`.
    /// The integer 7 and the string "7" are one document in Meilisearch, so both are passed as `7`.
    pub fn of_key(canonical_key: &str, shard_count: u32) -> Self {
        Self::of_hash(Self::hash_of_key(canonical_key), shard_count)
    }

    /// The hash that places a key, for those who also need it to tell whether two writes touch the same document.
    pub fn hash_of_key(canonical_key: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(canonical_key.as_bytes())
    }

    /// Shard of a document by [`Shard::hash_of_key`].
    pub fn of_hash(hash: u64, shard_count: u32) -> Self {
        debug_assert!(shard_count > 0 && shard_count <= Self::COUNT_MAX);
        Self((hash % u64::from(shard_count)) as u32)
    }

    /// Value of `_miroir_shard` in a stored document: one private-use character, which no word, prefix or typo of a
    /// query reaches. A number would answer the query that spells it.
    pub fn as_char(self) -> char {
        debug_assert!(self.0 < Self::COUNT_MAX);
        let code_point = match self.0 {
            n if n < PRIVATE_USE_LEN => PRIVATE_USE + n,
            n => SUPPLEMENTARY_PRIVATE_USE + (n - PRIVATE_USE_LEN),
        };
        char::from_u32(code_point).expect("both private-use areas are valid characters throughout")
    }

    /// Inverse of [`Shard::as_char`].
    pub fn from_char(c: char) -> Option<Self> {
        let code_point = c as u32;
        let basic = PRIVATE_USE..PRIVATE_USE + PRIVATE_USE_LEN;
        let supplementary = SUPPLEMENTARY_PRIVATE_USE..SUPPLEMENTARY_PRIVATE_USE + 65_534;
        if basic.contains(&code_point) {
            Some(Self(code_point - PRIVATE_USE))
        } else if supplementary.contains(&code_point) {
            Some(Self(code_point - SUPPLEMENTARY_PRIVATE_USE + PRIVATE_USE_LEN))
        } else {
            None
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node's name, as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(Arc<str>);

impl NodeId {
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica group: a set of nodes that together hold every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a Miroir task: what clients know as `taskUid`. SDKs parse it as an unsigned 32-bit integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskUid(pub u32);

impl fmt::Display for TaskUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An index's name, known to be one that Meilisearch accepts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IndexUid(Arc<str>);

impl IndexUid {
    /// Longest index uid in bytes; Meilisearch's limit.
    pub const LENGTH_MAX: usize = 400;

    /// Accepts 1 to 400 of `a-z A-Z 0-9 - _`, as Meilisearch does; otherwise its error `invalid_index_uid`, whose message
    /// names another limit than the one that holds.
    pub fn parse(uid: &str) -> Result<Self, ApiError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if uid.is_empty() || uid.len() > Self::LENGTH_MAX || !uid.bytes().all(allowed) {
            return Err(ApiError::new(
                Code::InvalidIndexUid,
                format!(
                    "`{uid}` is not a valid index uid. Index uid can be an integer or a string containing only \
                     alphanumeric characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
                ),
            ));
        }
        Ok(Self(Arc::from(uid)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for IndexUid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for IndexUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_private_use_character_of_its_own() {
        let mut last = None;
        for n in 0..Shard::COUNT_MAX {
            let c = Shard(n).as_char();
            assert_eq!(Shard::from_char(c), Some(Shard(n)));
            assert!(last < Some(c), "the encoding keeps the order of shards");
            last = Some(c);
        }
        assert_eq!(Shard::from_char('7'), None);
        assert_eq!(Shard(3).as_char(), '\u{e003}');
    }

    #[test]
    fn index_uids_are_those_of_meilisearch() {
        assert!(IndexUid::parse("movies-2_A").is_ok());
        for refused in ["", "a b", "é", "a/b", &"x".repeat(401)] {
            assert!(IndexUid::parse(refused).unwrap_err().is(Code::InvalidIndexUid), "{refused}");
        }
    }
}
