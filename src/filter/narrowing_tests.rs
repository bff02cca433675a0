//! Narrowing against brute force: whatever a filter matches, as Meilisearch compares, is in the shards that are asked.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::narrowing::{ids_found_by, narrow, Narrowing, Reason, IDS_MAX, VALUES_MAX};
use super::*;
use crate::cluster::Shard;
use crate::merge::facets::normalize_facet;

const SHARDS: u32 = 64;

fn narrowed(filter: &str) -> Narrowing {
    narrow(&parse(filter).unwrap().unwrap(), "id", SHARDS)
}

fn shards_of(ids: &[&str]) -> BTreeSet<Shard> {
    ids.iter().map(|id| Shard::of_key(id, SHARDS)).collect()
}

fn asked(filter: &str) -> BTreeSet<Shard> {
    match narrowed(filter) {
        Narrowing::Shards { shards, .. } => shards.iter().collect(),
        Narrowing::No(reason) => panic!("{filter} does not narrow: {reason:?}"),
    }
}

fn refusal(filter: &str) -> Option<Reason> {
    match narrowed(filter) {
        Narrowing::Shards { .. } => None,
        Narrowing::No(reason) => Some(reason),
    }
}

#[test]
fn a_filter_narrows_if_every_match_has_a_known_key() {
    assert_eq!(asked("id = 7"), shards_of(&["7"]));
    assert_eq!(asked("a > 3 AND (id = 7) AND NOT b EXISTS"), shards_of(&["7"]));
    assert_eq!(asked("id IN [1, '2', \"3\"] AND a = 1"), shards_of(&["1", "2", "3"]));
    assert_eq!(asked("id = 1 OR a = 3 AND id IN [2]"), shards_of(&["1", "2"]));
    assert_eq!(asked("id IN [1, 2] AND id IN [2, 3]"), shards_of(&["2"]));
    assert_eq!(asked("id = 1 AND id = 2"), shards_of(&[]));
    assert_eq!(asked("id IN []"), shards_of(&[]));
    for other in [
        "id = 7 OR a = 1",
        "NOT id = 7",
        "id != 7",
        "id > 7",
        "id 7 TO 7",
        "id EXISTS",
        "a = 7",
        "Id = 7",
        "NOT (id = 7 AND a = 1)",
        "id NOT IN [7]",
        "_foreign(id, id = 7)",
        "id STARTS WITH 7",
        "a = 1 AND (id = 1 OR b = 2)",
    ] {
        assert_eq!(refusal(other), Some(Reason::KeyNotForced), "{other}");
    }
}

#[test]
fn a_value_stands_for_all_ids_that_meilisearch_finds_by_it() {
    let found = |value: &str| ids_found_by(value, IDS_MAX).map(|ids| ids.into_iter().collect::<BTreeSet<_>>());
    let ids = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
    assert_eq!(found("7"), ids(&["7"]));
    assert_eq!(found(" 7 "), ids(&["7"]), "strings are trimmed");
    assert_eq!(found("07"), ids(&["07", "7"]), "a string, or a number");
    assert_eq!(found("7.0"), ids(&["7"]));
    assert_eq!(found("7e1"), ids(&["7e1", "7E1", "70"]));
    assert_eq!(found("-0"), ids(&["-0", "0"]));
    assert_eq!(found("7.5"), ids(&[]));
    assert_eq!(found("a-b"), ids(&["a-b", "A-b", "a-B", "A-B"]));
    assert_eq!(found("AB"), found("ab"));
    assert_eq!(found("a b"), ids(&[]), "no id has a blank");
    assert_eq!(found(""), ids(&[]));
    assert_eq!(found("inf"), found("INF"));
    assert_eq!(found("9007199254740991"), ids(&["9007199254740991"]));
    assert_eq!(
        found("9007199254740993"),
        ids(&["9007199254740993", "9007199254740992"]),
        "kept as a floating-point number, it is its neighbour"
    );
    assert_eq!(
        ids_found_by("18446744073709551616", usize::MAX).map(|ids| ids.len()),
        Some(1_025),
        "2^64, and what is kept as it"
    );
    assert_eq!(found("-1e300"), ids(&["-1e300", "-1E300"]), "no id is as small");
    assert_eq!(found("\u{212a}7"), None, "a Kelvin sign is a k to Meilisearch");
    assert_eq!(found("é"), None);
    assert_eq!(
        found("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
        ids_found_by("7C9E6679-7425-40de-944b-e07fc1f90ae7", IDS_MAX).map(|ids| ids.into_iter().collect())
    );
    assert_eq!(found("abcdefghijk"), None, "of 2,048 spellings none is left out, so none is listed");
    assert_eq!(found(&"7".repeat(468)), None, "longer ids are compared by their beginning");
    assert_eq!(found(&"_".repeat(467)), ids(&[&"_".repeat(467)]));
    assert_eq!(found("1e300"), ids_found_by("1E300", IDS_MAX).map(|ids| ids.into_iter().collect()));
}

#[test]
fn too_many_values_or_spellings_do_not_narrow() {
    let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(refusal(&format!("id IN [{}]", list(VALUES_MAX))), None);
    assert_eq!(refusal(&format!("id IN [{}]", list(VALUES_MAX + 1))), Some(Reason::TooManyValues));
    assert_eq!(refusal(&format!("id IN [{0}] OR id IN [{0}]", list(100))), Some(Reason::TooManyValues));
    assert_eq!(refusal(&format!("id = 7 AND id IN [{}]", list(200))), None, "the other one suffices");
    assert_eq!(refusal("id = product-number-one"), Some(Reason::TooManyIds));
    let spellings = (0..VALUES_MAX).map(|n| format!("abcd{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(refusal(&format!("id IN [{spellings}]")), Some(Reason::TooManyIds));
}

/// Whether a document is found, by Meilisearch's rules and without looking at shards.
fn matches(filter: &Filter, id: &Value, a: i64) -> bool {
    let equals = |attribute: &Attribute, value: &str| {
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        let stored = if attribute.name == "id" { id.clone() } else { a.into() };
        match stored {
            Value::String(text) => normalize_facet(&text) == normalize_facet(value),
            stored => number.is_some() && stored.as_f64() == number,
        }
    };
    match filter {
        Filter::Not(inner) => !matches(inner, id, a),
        Filter::And(operands) => operands.iter().all(|operand| matches(operand, id, a)),
        Filter::Or(operands) => operands.iter().any(|operand| matches(operand, id, a)),
        Filter::Condition { attribute, condition: Condition::Equal(value) } => equals(attribute, value),
        Filter::Condition { attribute, condition: Condition::NotEqual(value) } => !equals(attribute, value),
        Filter::Condition { condition: Condition::Exists, .. } => true,
        Filter::In { attribute, values } => values.iter().any(|value| equals(attribute, value)),
        other => unreachable!("{other} is not generated"),
    }
}

/// Spellings that run into each other.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-3]",
        "0?[1-3](\\.0|e0|E1)?",
        "[aAbB]{1,2}",
        "[aA][-_]?[0-3]",
        " ?[1-3aB] ?",
        Just("\u{212a}".to_owned()),
        Just("k".to_owned()),
        Just("９".to_owned()),
        Just("9".to_owned()),
        Just("9007199254740992".to_owned()),
        Just("9007199254740993".to_owned()),
        Just("-0".to_owned()),
    ]
}

fn id() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-1i64..31).prop_map(Value::from),
        (9_007_199_254_740_990u64..9_007_199_254_740_996).prop_map(Value::from)
    ];
    let text = prop_oneof!["[0-3]{1,2}", "[aAbBkK9]{1,2}", "[aA][-_]?[0-3]", "[0-3][eE][01]"].prop_map(Value::from);
    prop_oneof![number, text]
}

fn filter() -> impl Strategy<Value = Filter> {
    let attribute =
        prop_oneof![3 => Just("id"), 1 => Just("a")].prop_map(|name| Attribute { name: name.to_owned(), span: 0..0 });
    let condition = prop_oneof![
        4 => value().prop_map(Condition::Equal),
        1 => value().prop_map(Condition::NotEqual),
        1 => Just(Condition::Exists),
    ];
    let leaf = prop_oneof![
        (attribute.clone(), condition).prop_map(|(attribute, condition)| Filter::Condition { attribute, condition }),
        (attribute, prop::collection::vec(value(), 0..4))
            .prop_map(|(attribute, values)| Filter::In { attribute, values }),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            1 => inner.prop_map(|inner| match inner {
                Filter::Not(inner) => *inner,
                inner => Filter::Not(Box::new(inner)),
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_document_is_lost(filter in filter(), documents in prop::collection::vec((id(), 0i64..4), 1..60)) {
        let Narrowing::Shards { shards, .. } = narrow(&filter, "id", SHARDS) else { return Ok(()) };
        for (id, a) in documents {
            let key = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            if matches(&filter, &id, a) {
                prop_assert!(shards.contains(Shard::of_key(&key, SHARDS)), "{filter} finds {key}");
            }
        }
    }

    #[test]
    fn what_is_printed_reads_as_the_same_tree(filter in filter()) {
        prop_assert_eq!(parse(&filter.to_string()), Ok(Some(filter)));
    }
}
