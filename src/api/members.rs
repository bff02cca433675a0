//! The members of a request's JSON object, kept as the client wrote them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::{to_raw_value, RawValue};

use super::reserved_attributes;

/// The members of a request in the client's order, values as the client wrote them.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl Members {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value.get())
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.remove(at).1)
    }

    /// Sets a member in place of any of that name.
    pub(super) fn set(&mut self, name: &str, value: &serde_json::Value) {
        self.set_raw(name, raw(value));
    }

    pub(super) fn set_raw(&mut self, name: &str, value: Box<RawValue>) {
        self.0.retain(|(member, _)| member != name);
        self.0.push((name.to_owned(), value));
    }

    /// Puts stand-ins in place of Miroir's own fields; `None` when a member cannot be read.
    pub(super) fn replace_reserved_attributes(&mut self) -> Option<()> {
        for (name, raw_value) in &mut self.0 {
            if reserved_attributes::NAMING.contains(&name.as_str())
                && reserved_attributes::may_be_named_in(raw_value.get())
            {
                let mut value = serde_json::from_str(raw_value.get()).ok()?;
                reserved_attributes::replace(name, &mut value);
                *raw_value = raw(&value);
            }
        }
        Some(())
    }

    /// A member's value; `null` when it is absent. `None`: it is there and cannot be read.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name).unwrap_or("null")).ok()
    }

    /// A member's value, which may be absent but not `null`. `None`: it is there and cannot be read.
    pub(super) fn read_or<T: DeserializeOwned>(&self, name: &str, default: T) -> Option<T> {
        match self.get(name) {
            Some(value) => serde_json::from_str(value).ok(),
            None => Some(default),
        }
    }

    /// These members in place of those of the same name in `base`, the rest of `base` as it is.
    pub(super) fn over(self, base: &Members) -> Bytes {
        let kept = base.0.iter().filter(|(name, _)| self.get(name).is_none());
        let mut out = vec![b'{'];
        for (n, (name, value)) in kept.chain(&self.0).enumerate() {
            if n > 0 {
                out.push(b',');
            }
            crate::merge::json::push_string(name, &mut out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
        out.into()
    }
}

/// A value built here as raw JSON.
pub(super) fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("a tree of JSON values always serializes")
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<str>, Box<RawValue>>()? {
                    // Of members of the same name the last counts.
                    members.retain(|(earlier, _): &(String, _)| *earlier != name);
                    members.push((name.into_owned(), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
