//! Which queries belong to the prefix class.
//!
//! The engine treats the last word of a query as a prefix, and derives from it, out of its own dictionary, the words it
//! stands for. How many it derives, and by which way, is limited, and each node has only part of the dictionary: what
//! passes a limit on one server may not on another, and scores and totals may then differ. No proxy can mend that, so
//! these queries are reported apart.

use crate::client::Object;
use crate::corpus::{fold, words, Corpus};

/// Prefixes up to this length are precomputed, if frequent enough (`max_prefix_length` in the engine).
const TABLE_PREFIX_CHARS_MAX: usize = 4;
/// A prefix is precomputed from this many words on (`prefix_count_threshold` in the engine).
const TABLE_WORDS_MIN: usize = 100;
/// The most words that a prefix stands for without a typo (`MAX_PREFIX_COUNT` in the engine).
const EXACT_DERIVATIONS_MAX: usize = 1_000;
/// The most words with one typo (`MAX_ONE_TYPO_COUNT` in the engine).
const ONE_TYPO_DERIVATIONS_MAX: usize = 150;
/// Words from this length on may have one typo, unless the settings say otherwise.
const ONE_TYPO_CHARS_MIN: usize = 5;

/// Whether the last word of this query is a prefix whose derivations reach one of the engine's limits on a server
/// with all the documents.
pub fn is_in_prefix_class(corpus: &Corpus, query: &Object) -> bool {
    let Some(text) = query.get("q").and_then(|q| q.as_str()) else { return false };
    // A word that is followed by a separator, or is inside a phrase or negated, is taken as it is.
    if !text.chars().last().is_some_and(char::is_alphanumeric) {
        return false;
    }
    let last_token = text.split_whitespace().last().unwrap_or_default();
    if last_token.starts_with('-') || text.matches('"').count() % 2 == 1 {
        return false;
    }
    let Some(prefix) = words(text).last().map(fold) else { return false };
    let exact = with_prefix(corpus, &prefix);
    let length = prefix.chars().count();
    if exact >= EXACT_DERIVATIONS_MAX || (length <= TABLE_PREFIX_CHARS_MAX && exact >= TABLE_WORDS_MIN) {
        return true;
    }
    length >= ONE_TYPO_CHARS_MIN && one_typo_away(corpus, &prefix) >= ONE_TYPO_DERIVATIONS_MAX
}

fn with_prefix(corpus: &Corpus, prefix: &str) -> usize {
    let from = corpus.dictionary.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
    from.take_while(|word| word.starts_with(prefix)).take(EXACT_DERIVATIONS_MAX).count()
}

/// How many words begin with something that is one typo away from the prefix. The engine allows no typo on a first
/// letter at the price of one, so only words with the same first letter count.
fn one_typo_away(corpus: &Corpus, prefix: &str) -> usize {
    let letters: Vec<char> = prefix.chars().collect();
    let Some(first) = letters.first().map(char::to_string) else { return 0 };
    let from =
        corpus.dictionary.range::<str, _>((std::ops::Bound::Included(first.as_str()), std::ops::Bound::Unbounded));
    from.take_while(|word| word.starts_with(&first)).filter(|word| begins_within_one_typo(word, &letters)).count()
}

/// Whether some beginning of `word` has an edit distance of one or less from `prefix`.
fn begins_within_one_typo(word: &str, prefix: &[char]) -> bool {
    let word: Vec<char> = word.chars().take(prefix.len() + 1).collect();
    let common = prefix.iter().zip(&word).take_while(|(a, b)| a == b).count();
    let rest = &prefix[common..];
    if rest.is_empty() {
        return true;
    }
    let after = |skipped_in_word: usize, skipped_in_prefix: usize| {
        let word = word.get(common + skipped_in_word..).unwrap_or_default();
        let rest = rest.get(skipped_in_prefix..).unwrap_or_default();
        word.starts_with(rest)
    };
    let transposed =
        rest.len() >= 2 && word.get(common) == Some(&rest[1]) && word.get(common + 1) == Some(&rest[0]) && after(2, 2);
    after(1, 1) || after(1, 0) || after(0, 1) || transposed
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().cloned().unwrap_or_default()
    }

    fn corpus_with(names: impl Iterator<Item = String>) -> Corpus {
        let documents = names.enumerate().map(|(id, name)| object(json!({ "id": id, "name": name }))).collect();
        Corpus::new("id".into(), documents, &object(json!({ "searchableAttributes": ["name"] })))
    }

    fn in_class(corpus: &Corpus, q: &str) -> bool {
        is_in_prefix_class(corpus, &object(json!({ "q": q })))
    }

    #[test]
    fn a_short_open_prefix_of_many_words_is_in_the_class() {
        let corpus = corpus_with((0..120).map(|number| format!("nab{number}")).chain(["lima".into()]));
        assert!(in_class(&corpus, "library nab"));
        assert!(!in_class(&corpus, "library lim"));
        assert!(!in_class(&corpus, "library nab "), "a closed word is not a prefix");
        assert!(!in_class(&corpus, "library \"nab\""), "a phrase is not a prefix");
        assert!(!in_class(&corpus, "lima -nab"), "a negated word is not a prefix");
        assert!(!in_class(&corpus, "nab lima"), "only the last word is a prefix");
    }

    #[test]
    fn a_longer_prefix_is_in_the_class_when_its_typos_reach_the_limit() {
        let corpus = corpus_with((0..200).map(|number| format!("carbo{number}")));
        assert!(in_class(&corpus, "carbi"));
        assert!(!in_class(&corpus, "cirbi"));
    }

    #[test]
    fn one_typo_is_any_single_edit_of_a_beginning() {
        let within = |word: &str, prefix: &str| begins_within_one_typo(word, &prefix.chars().collect::<Vec<_>>());
        assert!(within("libraries", "libra"));
        assert!(within("lubraries", "libra"));
        assert!(within("liraries", "libra"));
        assert!(within("liibraries", "libra"));
        assert!(within("lirbaries", "libra"));
        assert!(!within("lobbaries", "libra"));
        assert!(!within("li", "libra"));
    }
}
