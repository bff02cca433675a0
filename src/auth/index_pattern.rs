//! Which indexes a key or a token is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::IndexUid;

/// An index uid, or the beginning of some followed by `*`.
///
/// Patterns of keys are checked by [`IndexPattern::parse`]; those of tokens are taken as they are, as Meilisearch does, and
/// match nothing if they are none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexPattern(String);

impl IndexPattern {
    /// Matches every index.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// The message of the error is Meilisearch's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_valid = match text.strip_suffix('*') {
            Some("") => true,
            Some(beginning) => IndexUid::parse(beginning).is_ok(),
            None => IndexUid::parse(text).is_ok(),
        };
        if is_valid {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only \
             alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*)."
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches_all(&self) -> bool {
        self.0 == "*"
    }

    /// Whether it is one index.
    pub fn is_exact(&self) -> bool {
        !self.0.ends_with('*')
    }

    pub fn matches(&self, uid: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => uid.starts_with(beginning),
            None => self.0 == uid,
        }
    }
}

impl fmt::Display for IndexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_ends_a_pattern_and_stands_for_any_rest() {
        let pattern = |text| IndexPattern::parse(text).unwrap();
        assert!(pattern("movies").matches("movies") && !pattern("movies").matches("movies2"));
        assert!(pattern("movies_*").matches("movies_fr") && pattern("movies_*").matches("movies_"));
        assert!(!pattern("movies_*").matches("movies"));
        assert!(pattern("*").matches("anything") && pattern("*").matches_all() && !pattern("*").is_exact());
        for refused in ["", "good doggo", "a*b", "**", "é*"] {
            assert!(IndexPattern::parse(refused).is_err(), "{refused}");
        }
    }
}
