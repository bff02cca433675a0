//! The filter of a client's request: what it says of shards, and what nodes are asked in its place.

use serde_json::Value;

use super::{reserved_attributes, restriction};
use crate::cluster::{Index, Shard};
use crate::filter::narrowing::{narrow, Narrowing, Reason};
use crate::filter::Filter;

/// A request's `filter` in any of its JSON forms, `null` if there is none. It names no field of Miroir's own
/// ([`super::reserved_attributes`]).
#[derive(Clone, Debug, Default)]
pub struct ClientFilter(Value);

impl ClientFilter {
    pub fn new(json: Value) -> Self {
        Self(json)
    }

    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The filter ANDed with the rule of a tenant token.
    #[must_use]
    pub fn under_rule(self, rule: &Value) -> Self {
        let mut rule = rule.clone();
        reserved_attributes::replace("filter", &mut rule);
        Self(restriction::with_rule(self.0, &rule))
    }

    /// What the filter says; `None` when it filters by nothing, and an error when Meilisearch will refuse it.
    pub fn parse(&self) -> Result<Option<Filter>, crate::filter::Unreadable> {
        Filter::from_json(&self.0)
    }

    /// The shards in which it can match anything.
    pub fn narrowing(&self, index: &Index) -> Narrowing {
        let Some(primary_key) = index.primary_key.as_deref() else { return Narrowing::No(Reason::NoPrimaryKey) };
        // A filter that cannot name the key is not worth reading.
        if !self.is_null() && !self.contains(primary_key) {
            return Narrowing::No(Reason::KeyNotForced);
        }
        match self.parse() {
            Ok(Some(filter)) => narrow(&filter, primary_key, index.shard_count),
            Ok(None) => Narrowing::No(Reason::NoFilter),
            Err(_) => Narrowing::No(Reason::Unreadable),
        }
    }

    /// Whether it looks into another index, which each node has only a part of.
    pub fn is_foreign(&self) -> bool {
        self.contains("_foreign") && matches!(self.parse(), Ok(Some(filter)) if filter.is_foreign())
    }

    /// The filter of a leg that may only count documents of these shards.
    pub fn restricted(&self, shards: &[Shard]) -> Value {
        restriction::restrict(self.0.clone(), shards)
    }

    fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Whether a name may stand in it: it does, or it may be hidden by an escape.
    fn contains(&self, name: &str) -> bool {
        fn any(json: &Value, is_in: &dyn Fn(&str) -> bool) -> bool {
            match json {
                Value::String(text) => is_in(text),
                Value::Array(elements) => elements.iter().any(|element| any(element, is_in)),
                _ => false,
            }
        }
        any(&self.0, &|text| text.contains(name) || text.contains('\\'))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;
    use crate::cluster::IndexUid;

    fn index(primary_key: Option<&str>) -> Index {
        Index {
            uid: IndexUid::parse("i").unwrap(),
            node_uid: IndexUid::parse("i").unwrap(),
            primary_key: primary_key.map(str::to_owned),
            shard_count: 64,
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
            settings: Value::Null,
            settings_version: 0,
            verified: None,
            is_frozen: false,
            expiry: Default::default(),
        }
    }

    #[test]
    fn any_form_of_filter_narrows_if_it_forces_the_key() {
        let narrowing = |filter: Value| ClientFilter::new(filter).narrowing(&index(Some("id")));
        let is_of_7 = |filter: Value| match narrowing(filter) {
            Narrowing::Shards { shards, values: 1 } => shards.iter().eq([Shard::of_key("7", 64)]),
            _ => false,
        };
        assert!(is_of_7(json!("id = 7")));
        assert!(is_of_7(json!(["id = 7", ["a = 1", "b = 2"]])));
        assert!(is_of_7(json!([["id = 7"]])));
        assert!(is_of_7(json!(r#""\u0069d" = 7"#)), "whatever its name is written with");
        assert_eq!(narrowing(Value::Null), Narrowing::No(Reason::NoFilter));
        assert_eq!(narrowing(json!([["id = 7", "b = 2"]])), Narrowing::No(Reason::KeyNotForced));
        assert_eq!(narrowing(json!("title = 7")), Narrowing::No(Reason::KeyNotForced));
        assert_eq!(narrowing(json!("id = ")), Narrowing::No(Reason::Unreadable));
        assert_eq!(ClientFilter::new(json!("id = 7")).narrowing(&index(None)), Narrowing::No(Reason::NoPrimaryKey));
    }

    #[test]
    fn filters_on_other_indexes_are_recognised() {
        assert!(ClientFilter::new(json!(["a = 1", "NOT _foreign(b, c = 1)"])).is_foreign());
        assert!(!ClientFilter::new(json!("a = '_foreign(b, c = 1)'")).is_foreign());
    }
}
