//! Filters that name no field of Miroir's own.
//!
//! To a client there is no field `_miroir_shard`, but the nodes' documents have it. A filter on it is put to the nodes with
//! another name in its place, of the same length, that no document has: whatever Meilisearch does with an attribute that is
//! not there (an error that names it, nothing found, everything found by `NOT EXISTS`), it then does with this one. In errors
//! the client's own word is put back.

use std::borrow::Cow;

use super::parse;
use crate::reserved::{is_reserved_attribute, stand_in_for, SHARD_FIELD};

/// The filter with a stand-in for each reserved field that it names. One that cannot be read has it wherever the name stands.
pub fn without_reserved_attributes(filter: &str) -> Cow<'_, str> {
    // Escapes may hide a name.
    if !filter.contains(SHARD_FIELD) && !filter.contains('\\') {
        return Cow::Borrowed(filter);
    }
    let parsed = match parse(filter) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Cow::Borrowed(filter),
        // The error will quote it.
        Err(_) => return Cow::Owned(filter.replace(SHARD_FIELD, &stand_in_for(SHARD_FIELD))),
    };
    let mut reserved = Vec::new();
    parsed.attributes(&mut |attribute| {
        if is_reserved_attribute(&attribute.name) {
            reserved.push(attribute);
        }
    });
    if reserved.is_empty() {
        return Cow::Borrowed(filter);
    }
    let mut replaced = String::with_capacity(filter.len());
    let mut copied = 0;
    for attribute in reserved {
        replaced.push_str(&filter[copied..attribute.span.start]);
        let stand_in = stand_in_for(&attribute.name);
        match &filter[attribute.span.start..][..1] {
            quote @ ("\"" | "'") => {
                let escaped = stand_in.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
                replaced.extend([quote, &escaped, quote]);
            }
            _ => replaced.push_str(&stand_in),
        }
        copied = attribute.span.end;
    }
    replaced.push_str(&filter[copied..]);
    Cow::Owned(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_miroirs_gets_a_stand_in_wherever_it_is_named() {
        for (filter, put) in [
            ("_miroir_shard = 3", "_miroir_shar\u{111} = 3"),
            ("  _miroir_shard EXISTS", "  _miroir_shar\u{111} EXISTS"),
            ("a = 1 AND NOT '_miroir_shard' IN [3]", "a = 1 AND NOT '_miroir_shar\u{111}' IN [3]"),
            (r#"a = 1 OR "\x5fmiroir_shard" > 3 OR b = 2"#, "a = 1 OR \"_miroir_shar\u{111}\" > 3 OR b = 2"),
            ("_miroir_shard.x = 3", "_miroir_shar\u{111}.x = 3"),
            (r#""_miroir_shard.\"\\" = 3"#, "\"_miroir_shar\u{111}.\\\"\\\\\" = 3"),
            ("_foreign(a, _miroir_shard = 3 AND b = 1)", "_foreign(a, _miroir_shar\u{111} = 3 AND b = 1)"),
        ] {
            let replaced = without_reserved_attributes(filter);
            assert_eq!(replaced, put);
            assert_eq!(without_reserved_attributes(&replaced), replaced, "once is enough");
            assert!(parse(&replaced).is_ok(), "{replaced}");
        }
    }

    #[test]
    fn values_and_other_attributes_stay_as_they_are() {
        for filter in [
            "title = _miroir_shard",
            r"title = 'a\\b' AND `",
            "_miroir_shards = 1",
            "title IN ['_miroir_shard', 7]",
            "",
        ] {
            assert_eq!(without_reserved_attributes(filter), filter);
        }
        assert_eq!(without_reserved_attributes("_miroir_shard = "), "_miroir_shar\u{111} = ", "an error will quote it");
    }
}
