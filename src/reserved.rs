//! The names that Miroir adds to documents, and taking them out of what clients read.

use std::borrow::Cow;

/// Holds a document's shard, as one private-use character.
pub const SHARD_FIELD: &str = "_miroir_shard";

/// When a document expires, in milliseconds since 1970. The client sets it and reads it; where TTL is off, it is a field like any
/// other.
pub const EXPIRY_FIELD: &str = "_miroir_expires_at";

/// Whether a field is Miroir's own. No client ever sees one, whatever the route.
pub fn is_reserved(field: &[u8]) -> bool {
    field == SHARD_FIELD.as_bytes()
}

/// Stands for [`SHARD_FIELD`] where a client names it: a field of the same length that no document has.
const STAND_IN: &str = "_miroir_shar\u{111}";

/// Whether an attribute, as requests name it, is Miroir's own field or lies inside of it.
pub fn is_reserved_attribute(name: &str) -> bool {
    name.strip_prefix(SHARD_FIELD).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What nodes are asked for in place of a reserved attribute, see [`crate::filter::reserved_names`].
pub fn stand_in_for(attribute: &str) -> String {
    attribute.replacen(SHARD_FIELD, STAND_IN, 1)
}

/// A text of a node without Miroir's own names. Meilisearch lists attributes in its messages, between backquotes and
/// separated by `, `: "Available filterable attribute patterns are: `_miroir_shard, genres`." Where the client named such a
/// field itself, the stand-in gives way to the client's word.
pub fn without_reserved_names(message: &str) -> Cow<'_, str> {
    // Behind the first line stands what the client wrote.
    let (said, quoted) = message.split_at(message.find('\n').unwrap_or(message.len()));
    let named = said.contains(SHARD_FIELD);
    if !named && !message.contains(STAND_IN) {
        return Cow::Borrowed(message);
    }
    let mut cleaned = said.to_owned();
    if named {
        for name in [format!("`{SHARD_FIELD}`"), SHARD_FIELD.to_owned()] {
            cleaned = cleaned.replace(&format!("{name}, "), "").replace(&format!(", {name}"), "");
        }
        cleaned = cleaned.replace(SHARD_FIELD, "");
        // Where the shard was the only one, Meilisearch has another sentence.
        for list in
            ["Available filterable attribute patterns are: ``.", "Available filterable attributes patterns are: ``."]
        {
            cleaned = cleaned.replace(list, "This index does not have configured filterable attributes.");
        }
    }
    cleaned.push_str(quoted);
    Cow::Owned(cleaned.replace(STAND_IN, SHARD_FIELD))
}

/// Whether a character is one of those in which shards and times are written. Queries are freed of them.
pub fn is_private_use(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{FFFFD}' | '\u{100000}'..='\u{10FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_the_reserved_name_and_nothing_else() {
        for (said, shown) in [
            ("patterns are: `_miroir_shard, genres`.", "patterns are: `genres`."),
            ("patterns are: `a, _miroir_shard, genres`.", "patterns are: `a, genres`."),
            ("patterns are: `a, _miroir_shard`.", "patterns are: `a`."),
            ("patterns are: `a`, `_miroir_shard`.", "patterns are: `a`."),
            ("patterns are: `a, b`.", "patterns are: `a, b`."),
            (
                "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`.",
                "Attribute `x` is not filterable. This index does not have configured filterable attributes.",
            ),
            ("`_miroir_shard`, `a`.\n1:5 kind = _miroir_shard", "`a`.\n1:5 kind = _miroir_shard"),
            (
                "Attribute `_miroir_shar\u{111}` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `a`.\n1:14 _miroir_shar\u{111} = 3",
                "Attribute `_miroir_shard` is not filterable. Available filterable attribute patterns are: `a`.\n1:14 _miroir_shard = 3",
            ),
        ] {
            assert_eq!(without_reserved_names(said), shown);
        }
    }

    #[test]
    fn every_shard_is_private_use_and_no_letter_is() {
        for shard in [0, 3, 6_399, 6_400, crate::cluster::Shard::COUNT_MAX - 1] {
            assert!(is_private_use(crate::cluster::Shard(shard).as_char()));
        }
        assert!(!"7aé漢🦀".chars().any(is_private_use));
    }
}
