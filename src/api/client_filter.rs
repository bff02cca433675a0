//! The filter of a client's request: what it says of shards, and what nodes are asked in its place.

use serde_json::Value;

use super::hidden_expired::shown_after;
use super::{reserved_attributes, restriction};
use crate::cluster::{Index, Shard};
use crate::filter::narrowing::{narrow, Narrowing, Reason};
use crate::filter::Filter;

/// A request's `filter` in any of its JSON forms, `null` if there is none. It names no field of Miroir's own
/// ([`super::reserved_attributes`]).
#[derive(Clone, Debug, Default)]
pub struct ClientFilter {
    json: Value,
    /// Documents that expired at this time, in milliseconds since 1970, or before it are not there for the client.
    hidden_until: Option<i64>,
}

impl ClientFilter {
    pub fn new(json: Value) -> Self {
        Self { json, hidden_until: None }
    }

    /// The same among the documents that had not expired at a time, if one is given.
    #[must_use]
    pub fn hiding_expired(self, until: Option<i64>) -> Self {
        Self { hidden_until: until, ..self }
    }

    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The filter ANDed with the rule of a tenant token.
    #[must_use]
    pub fn under_rule(self, rule: &Value) -> Self {
        let mut rule = rule.clone();
        reserved_attributes::replace("filter", &mut rule);
        Self { json: restriction::with_rule(self.json, &rule), ..self }
    }

    /// What the filter says; `None` when it filters by nothing, and an error when Meilisearch will refuse it.
    pub fn parse(&self) -> Result<Option<Filter>, crate::filter::Unreadable> {
        Filter::from_json(&self.json)
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

    /// The filter of a leg that may only count documents of these shards, and none that are hidden; `None` if it is the client's own.
    pub fn restricted(&self, shards: Option<&[Shard]>) -> Option<Value> {
        let shown = match self.hidden_until {
            Some(until) => restriction::with_rule(self.json.clone(), &Value::String(shown_after(until))),
            None if shards.is_none() => return None,
            None => self.json.clone(),
        };
        Some(match shards {
            Some(shards) => restriction::restrict(shown, shards),
            None => shown,
        })
    }

    fn is_null(&self) -> bool {
        self.json.is_null()
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
        any(&self.json, &|text| text.contains(name) || text.contains('\\'))
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
    fn hidden_documents_are_left_out_of_every_leg_whatever_the_clients_filter() {
        let shown = json!(shown_after(7));
        let shards = json!("_miroir_shard IN [\"\u{e003}\"]");
        let of_leg = |filter: Value, shards: Option<&[Shard]>| {
            ClientFilter::new(filter).hiding_expired(Some(7)).restricted(shards).unwrap()
        };
        assert_eq!(of_leg(Value::Null, None), json!([shown]));
        assert_eq!(of_leg(json!("a = 1 OR b = 2"), None), json!(["a = 1 OR b = 2", shown]));
        assert_eq!(of_leg(json!([["a = 1", "b = 2"]]), Some(&[Shard(3)])), json!([shards, ["a = 1", "b = 2"], shown]));
        let own = ClientFilter::new(json!("a = 1")).hiding_expired(None);
        assert_eq!((own.restricted(None), own.restricted(Some(&[Shard(3)]))), (None, Some(json!([shards, "a = 1"]))));
    }

    #[test]
    fn filters_on_other_indexes_are_recognised() {
        assert!(ClientFilter::new(json!(["a = 1", "NOT _foreign(b, c = 1)"])).is_foreign());
        assert!(!ClientFilter::new(json!("a = '_foreign(b, c = 1)'")).is_foreign());
    }
}
