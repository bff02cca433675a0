//! The names that Miroir adds to documents, and taking them out of what clients read.

use std::borrow::Cow;

/// Holds a document's shard, as one private-use character.
pub const SHARD_FIELD: &str = "_miroir_shard";

/// Whether a field is Miroir's own. No client ever sees one, whatever the route.
pub fn is_reserved(field: &[u8]) -> bool {
    field == SHARD_FIELD.as_bytes()
}

/// A text of a node without Miroir's own names. Meilisearch lists attributes in its messages, between backquotes and
/// separated by `, `: "Available filterable attribute patterns are: `_miroir_shard, genres`."
pub fn without_reserved_names(message: &str) -> Cow<'_, str> {
    if !message.contains(SHARD_FIELD) {
        return Cow::Borrowed(message);
    }
    let mut cleaned = message.to_owned();
    for quoted in [format!("`{SHARD_FIELD}`"), SHARD_FIELD.to_owned()] {
        cleaned = cleaned.replace(&format!("{quoted}, "), "").replace(&format!(", {quoted}"), "");
    }
    cleaned = cleaned.replace(SHARD_FIELD, "");
    // Where the shard was the only one, Meilisearch has another sentence.
    for list in
        ["Available filterable attribute patterns are: ``.", "Available filterable attributes patterns are: ``."]
    {
        cleaned = cleaned.replace(list, "This index does not have configured filterable attributes.");
    }
    Cow::Owned(cleaned)
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
