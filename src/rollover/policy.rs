//! What a policy says.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::due::IndexSize;
use super::{NamePattern, Trigger};
use crate::cluster::IndexUid;

/// Longest name of a policy.
const NAME_LENGTH_MAX: usize = 64;
/// Longest age that can be asked for: a hundred years, of which no clock or calendar makes trouble.
const AGE_SECONDS_MAX: u64 = 100 * 366 * 86_400;
/// Bytes of the unit in which sizes are given.
const GIGABYTE: f64 = 1e9;

/// Units of an age, from the largest.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// 1 to 64 of `a-z A-Z 0-9 - _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyName(String);

impl PolicyName {
    pub fn parse(name: &str) -> Result<Self, String> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(is_allowed) {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("a policy's name has 1 to {NAME_LENGTH_MAX} of a-z A-Z 0-9 - _, got `{name}`"))
        }
    }
}

impl TryFrom<String> for PolicyName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name)
    }
}

impl From<PolicyName> for String {
    fn from(name: PolicyName) -> Self {
        name.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time span in whole seconds, written as `7d`, `12h`, `30m` or `45s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(u64);

impl Age {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("an age is a whole number of `d`, `h`, `m` or `s`, as in `7d`, got `{text}`");
        let (number, seconds) = UNITS
            .iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))
            .filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(seconds) {
            Some(age @ 1..=AGE_SECONDS_MAX) => Ok(Self(age)),
            _ => Err(format!("an age is from 1s to a hundred years, got `{text}`")),
        }
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        let unit = UNITS.iter().find(|(_, seconds)| age.0.is_multiple_of(*seconds));
        unit.map_or_else(String::new, |(unit, seconds)| format!("{}{unit}", age.0 / seconds))
    }
}

/// When the newest index gives way: at least one is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Triggers {
    /// Documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_docs: Option<u64>,
    /// Since it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Age>,
    /// Of one copy of its documents, as the nodes store them, in units of 10^9 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size_gb: Option<f64>,
}

impl Triggers {
    /// The first that an index of this size and age has reached.
    ///
    /// One without documents has reached none: where nothing is written, empty indexes would take the places of full ones.
    pub fn reached(&self, size: &IndexSize, age: Duration) -> Option<Trigger> {
        if size.documents == 0 {
            None
        } else if self.max_docs.is_some_and(|max| size.documents >= max) {
            Some(Trigger::MaxDocs)
        } else if self.max_size_gb.is_some_and(|max| size.bytes as f64 >= max * GIGABYTE) {
            Some(Trigger::MaxSizeGb)
        } else if self.max_age.is_some_and(|max| age >= max.duration()) {
            Some(Trigger::MaxAge)
        } else {
            None
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Indexes of the series that stay, the one that is written included. `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_indexes: Option<usize>,
}

/// What a new index begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<String>,
    /// As a client would set them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub name: PolicyName,
    /// Stands for the newest index.
    pub write_alias: IndexUid,
    /// Stands for all indexes of the series, the oldest first.
    pub read_alias: IndexUid,
    pub pattern: NamePattern,
    pub triggers: Triggers,
    pub retention: Retention,
    pub template: Template,
}

impl Policy {
    pub fn owns(&self, alias: &IndexUid) -> bool {
        self.write_alias == *alias || self.read_alias == *alias
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written_in_the_largest_unit_that_fits() {
        for (text, seconds, written) in
            [("7d", 604_800, "7d"), ("48h", 172_800, "2d"), ("90s", 90, "90s"), ("60m", 3_600, "1h")]
        {
            let age = Age::parse(text).unwrap();
            assert_eq!((age.duration().as_secs(), String::from(age).as_str()), (seconds, written));
        }
        for wrong in ["", "d", "7", "7w", "-1d", "1.5d", "7 d", "0s", "99999999999d", "99999999999999999999d", "+7d"] {
            assert!(Age::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_index_gives_way_when_it_has_reached_a_limit_and_never_while_it_is_empty() {
        let age = |seconds| Duration::from_secs(seconds);
        let size = |documents, bytes| IndexSize { documents, bytes };
        let triggers = Triggers { max_docs: Some(10), max_age: Some(Age(60)), max_size_gb: Some(0.000_001) };
        assert_eq!(triggers.reached(&size(10, 0), age(0)), Some(Trigger::MaxDocs));
        assert_eq!(triggers.reached(&size(9, 1_000), age(0)), Some(Trigger::MaxSizeGb));
        assert_eq!(triggers.reached(&size(1, 0), age(60)), Some(Trigger::MaxAge));
        assert_eq!(triggers.reached(&size(9, 999), age(59)), None);
        assert_eq!(triggers.reached(&size(0, 5_000), age(600)), None);
        assert_eq!(Triggers::default().reached(&size(10, 5_000), age(600)), None);
    }
}
