use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::cluster::{IndexUid, RuleChange, RuleUpdate, SearchRules, Shard};
use crate::merge::hidden::HiddenFields;

const WINDOW: Paging = Paging::Window { offset: 0, limit: 20 };

fn leg(shard: u32, body: impl ToString) -> Leg {
    Leg { shards: vec![Shard(shard)], body: Bytes::from(body.to_string()) }
}

/// A leg's answer as both versions shape it, with one `words` and one `typo` rule.
fn answer(hits: Vec<Value>, total: u64) -> Value {
    json!({"hits": hits, "query": "q", "processingTimeMs": 2, "limit": 20, "offset": 0, "estimatedTotalHits": total})
}

fn hit(id: u64, words: u64, typos: u64) -> Value {
    json!({"_miroir_shard": "\u{e000}", "id": id, "_rankingScoreDetails": {
        "words": {"order": 0, "matchingWords": words, "maxMatchingWords": 3, "score": words as f64 / 3.0},
        "typo": {"order": 1, "typoCount": typos, "maxTypoCount": 4, "score": 0.5},
    }})
}

fn merged(legs: &[Leg], paging: Paging, distinct: Option<&str>, facts: &IndexFacts) -> Value {
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging,
        distinct,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    serde_json::from_slice(&merge_searches(legs, &request, facts).unwrap()).unwrap()
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

#[test]
fn the_answer_reads_like_one_servers() {
    let first = r#"{"hits":[{"_miroir_shard":"","id":1,"_rankingScoreDetails":{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0}}}],"query":"x","processingTimeMs":1,"limit":3,"offset":0,"estimatedTotalHits":1,"facetDistribution":{"_miroir_shard":{"":1},"g":{"a":1}},"facetStats":{"n":{"min":1.0,"max":1.0}},"requestUid":"0198"}"#;
    let second = r#"{"hits":[{"_miroir_shard":"","id":2,"_rankingScoreDetails":{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0}}}],"query":"x","processingTimeMs":9,"limit":3,"offset":0,"estimatedTotalHits":5,"facetDistribution":{"_miroir_shard":{"":5},"g":{"a":2}},"facetStats":{"n":{"min":0.0,"max":1.0}},"requestUid":"0199"}"#;
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "x y",
        paging: Paging::Window { offset: 1, limit: 2 },
        distinct: None,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    let merged = merge_searches(&[leg(7, second), leg(2, first)], &request, &IndexFacts::default()).unwrap();
    assert_eq!(
        merged,
        r#"{"hits":[{"id":2}],"query":"x y","processingTimeMs":9,"limit":2,"offset":1,"estimatedTotalHits":6,"facetDistribution":{"g":{"a":3}},"facetStats":{"n":{"min":0.0,"max":1.0}},"requestUid":"0198"}"#
    );
}

#[test]
fn ties_fall_by_lowest_shard_then_by_place_in_the_leg() {
    let legs = [
        leg(5, answer(vec![hit(50, 3, 0), hit(51, 3, 0)], 2)),
        leg(1, answer(vec![hit(11, 3, 0), hit(10, 3, 0), hit(12, 1, 0)], 3)),
    ];
    assert_eq!(ids(&merged(&legs, WINDOW, None, &IndexFacts::default())), [11, 10, 50, 51, 12]);
}

#[test]
fn totals_are_sums_whatever_the_most_is_that_anybody_gets() {
    let legs = [leg(0, answer(vec![hit(1, 1, 0)], 700)), leg(1, answer(vec![], 600))];
    let facts = IndexFacts::default();
    let beyond = merged(&legs, Paging::Window { offset: 1005, limit: 20 }, None, &facts);
    assert_eq!((&beyond["estimatedTotalHits"], &beyond["offset"]), (&json!(1300), &json!(1005)));

    let page = |n: u64| {
        json!({"hits": [hit(n, 1, 0)], "query": "q", "processingTimeMs": 0, "hitsPerPage": 7, "page": 1,
               "totalPages": 99, "totalHits": n})
    };
    let legs = [leg(0, page(10)), leg(1, page(5))];
    let answer = merged(&legs, Paging::Page { page: 3, hits_per_page: 7 }, None, &facts);
    assert_eq!(
        [&answer["page"], &answer["hitsPerPage"], &answer["totalHits"], &answer["totalPages"]],
        [&json!(3), &json!(7), &json!(15), &json!(3)]
    );
    let answer = merged(&legs, Paging::Page { page: 1, hits_per_page: 0 }, None, &facts);
    assert_eq!((&answer["totalPages"], &answer["totalHits"], ids(&answer).len()), (&json!(0), &json!(15), 0));
    assert_eq!(merged(&legs, Paging::Page { page: 0, hits_per_page: 7 }, None, &facts)["hits"], json!([]));
}

#[test]
fn nobody_gets_at_hits_beyond_the_limit_of_the_index() {
    let facts = IndexFacts { max_total_hits: 3, ..IndexFacts::default() };
    let legs = [leg(0, answer((0..3).map(|id| hit(id, 3, 0)).collect(), 3)), leg(1, answer(vec![hit(9, 3, 1)], 1))];
    assert_eq!(ids(&merged(&legs, WINDOW, None, &facts)), [0, 1, 2]);
    let beyond = merged(&legs, Paging::Window { offset: 50, limit: 5 }, None, &facts);
    assert_eq!((ids(&beyond).len(), &beyond["offset"], &beyond["limit"]), (0, &json!(50), &json!(5)));
}

#[test]
fn of_hits_with_one_distinct_value_the_best_of_all_legs_stays() {
    let of = |id: u64, words: u64, brand: &str| {
        let mut hit = hit(id, words, 0);
        hit["brand"] = brand.into();
        hit
    };
    let legs = [
        leg(0, answer(vec![of(1, 3, "a"), of(2, 2, "b"), of(3, 1, "c")], 3)),
        leg(1, answer(vec![of(4, 3, "B"), of(5, 2, "A"), hit(6, 1, 0), hit(7, 1, 0)], 4)),
    ];
    let page = |offset, limit| Paging::Window { offset, limit };
    let facts = IndexFacts::default();
    assert_eq!(ids(&merged(&legs, page(0, 20), Some("brand"), &facts)), [1, 4, 3, 6, 7]);
    assert_eq!(ids(&merged(&legs, page(2, 2), Some("brand"), &facts)), [3, 6], "positions count hits that are shown");
}

#[test]
fn pinned_hits_stand_where_they_were_pinned() {
    let pin = |id: u64, at: u64| json!({"id": id, "_rankingScoreDetails": {"pin": {"order": 0, "position": at}}});
    let legs = [leg(0, answer(vec![hit(1, 3, 0), hit(2, 2, 0)], 2)), leg(1, answer(vec![pin(8, 0), pin(9, 2)], 2))];
    assert_eq!(ids(&merged(&legs, WINDOW, None, &IndexFacts::default())), [8, 1, 9, 2]);
}

/// Rules that pin 9 to position 3, and after that 8 to 0 and 7 to 0.
fn rules() -> SearchRules {
    let pin = |id: &str, position| json!({"selector": {"id": id}, "action": {"type": "pin", "position": position}});
    let rules = [("a", json!([pin("8", 0), pin("7", 0)]), 2), ("b", json!([pin("9", 3)]), 1)];
    rules.into_iter().fold(SearchRules::default(), |rules, (uid, actions, precedence)| {
        let update = RuleUpdate::parse(json!({"actions": actions, "precedence": precedence})).unwrap();
        let uid = IndexUid::parse(uid).unwrap();
        rules.after(&RuleChange::Update(uid, update), time::OffsetDateTime::UNIX_EPOCH)
    })
}

#[test]
fn pins_of_several_legs_are_taken_in_the_order_of_their_rules_and_shown_whatever_their_values() {
    let rules = rules();
    let order = rules.pins_of(&IndexUid::parse("i").unwrap()).unwrap();
    let pin =
        |id: u64, at: u64| json!({"id": id, "g": 1, "_rankingScoreDetails": {"pin": {"order": 0, "position": at}}});
    let hit = |id: u64, words: u64| {
        let mut hit = hit(id, words, 0);
        hit["g"] = json!(id);
        hit
    };
    let legs = [
        leg(0, answer(vec![pin(8, 0), hit(1, 3), hit(3, 2)], 4)),
        leg(1, answer(vec![pin(7, 0), hit(2, 3), hit(4, 1), pin(9, 3)], 5)),
    ];
    let visible = Visibility::default();
    let page = |offset, limit| {
        let request = SearchMerge {
            query: "q",
            paging: Paging::Window { offset, limit },
            distinct: Some("g"),
            key: None,
            semantic_ratio: None,
            hidden: None,
            pins: Some(Pins { order, key: "id" }),
            denied: None,
            distinct_total: None,
            found: None,
            counted: None,
            visible: &visible,
        };
        let merged = merge_searches(&legs, &request, &IndexFacts::default()).unwrap();
        serde_json::from_slice::<Value>(&merged).unwrap()
    };
    assert_eq!(ids(&page(0, 20)), [8, 7, 1, 9, 2, 3, 4]);
    assert_eq!(page(0, 20)["estimatedTotalHits"], 9);
    assert_eq!(ids(&page(3, 2)), [9, 3], "7 would be the sixth to be taken");
    assert_eq!(ids(&page(0, 5)), [8, 1, 2, 9, 3], "only as many pins as come before the page's end");
    assert_eq!(ids(&page(0, 3)), [1, 2, 3], "as 9, for which the others wait");
}

#[test]
fn a_hybrid_search_weighs_both_kinds_of_hits() {
    let word = |id: u64, score: f64| {
        json!({"id": id, "_rankingScore": score, "_rankingScoreDetails": {
            "words": {"order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": 1.0}}})
    };
    let vector = |id: u64, score: f64| json!({"id": id, "_rankingScore": score, "_rankingScoreDetails": {"vectorSort": {"order": 0, "similarity": score}}});
    let answer = |hits| {
        let mut answer = answer(hits, 2);
        answer["semanticHitCount"] = json!(1);
        answer
    };
    let legs = [leg(0, answer(vec![word(1, 0.9), vector(2, 0.2)])), leg(1, answer(vec![vector(3, 0.6), word(4, 0.5)]))];
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging: WINDOW,
        distinct: None,
        key: None,
        semantic_ratio: Some(0.8),
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    let merged = merge_searches(&legs, &request, &IndexFacts::default()).unwrap();
    let merged: Value = serde_json::from_slice(&merged).unwrap();
    assert_eq!(ids(&merged), [3, 1, 2, 4], "0.48, 0.18, 0.16, 0.10");
    assert_eq!(merged["semanticHitCount"], 2);
}

#[test]
fn an_answer_that_is_none_is_an_error_that_names_its_leg() {
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging: WINDOW,
        distinct: None,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    let whole = answer(vec![hit(1, 1, 0)], 1).to_string();
    for torn in [
        "",
        "[]",
        "{}",
        r#"{"hits":[]}"#,
        &whole[..whole.len() - 1],
        &whole[..40],
        r#"{"hits":[1],"estimatedTotalHits":1}"#,
    ] {
        let legs = [leg(9, &whole), leg(3, torn)];
        let error = merge_searches(&legs, &request, &IndexFacts::default()).unwrap_err();
        assert!(matches!(error, MergeError::Malformed { leg: 1, .. }), "{torn}: {error}");
    }
    assert_eq!(merge_searches(&[], &request, &IndexFacts::default()), Err(MergeError::NoLegs));
}

/// A corpus of ranks, each with the leg that holds the document, best first; ties in any order.
fn corpus() -> impl Strategy<Value = (Vec<(u64, u64, usize)>, usize)> {
    (1usize..6).prop_flat_map(|legs| {
        let documents = prop::collection::vec((0u64..4, 0u64..4, 0..legs), 0..60).prop_map(|mut documents| {
            documents.sort_by_key(|(words, typos, _)| (std::cmp::Reverse(*words), *typos));
            documents
        });
        (documents, Just(legs))
    })
}

/// Deals a corpus out to legs, each in the corpus' order.
fn deal(documents: &[(u64, u64, usize)], legs: usize) -> Vec<Leg> {
    (0..legs)
        .map(|n| {
            let own: Vec<Value> = documents
                .iter()
                .enumerate()
                .filter(|(_, (_, _, holder))| *holder == n)
                .map(|(id, (words, typos, _))| hit(id as u64, *words, *typos))
                .collect();
            let total = own.len() as u64;
            let mut answer = answer(own, total);
            answer["facetDistribution"] = json!({"n": {"x": total, format!("only{n}"): 1}});
            leg(n as u32, answer)
        })
        .collect()
}

proptest! {
    #[test]
    fn a_ranking_dealt_out_to_legs_comes_back(corpus in corpus()) {
        let (documents, legs) = corpus;
        let merged = merged(&deal(&documents, legs), Paging::Window { offset: 0, limit: 100 }, None, &IndexFacts::default());
        let rank = |id: &u64| (documents[*id as usize].0, documents[*id as usize].1);
        let got = ids(&merged);
        prop_assert_eq!(got.iter().map(rank).collect::<Vec<_>>(), documents.iter().map(|d| (d.0, d.1)).collect::<Vec<_>>());
        let mut sorted = got;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..documents.len() as u64).collect::<Vec<_>>(), "each document once");
        prop_assert_eq!(&merged["estimatedTotalHits"], &json!(documents.len()));
        prop_assert_eq!(&merged["facetDistribution"]["n"]["x"], &json!(documents.len()));
        prop_assert_eq!(merged["facetDistribution"]["n"].as_object().unwrap().len(), legs + 1);
    }

    #[test]
    fn five_pages_of_ten_are_one_of_fifty(corpus in corpus()) {
        let (documents, legs) = corpus;
        let legs = deal(&documents, legs);
        let page = |offset, limit| ids(&merged(&legs, Paging::Window { offset, limit }, None, &IndexFacts::default()));
        let five: Vec<u64> = (0..5).flat_map(|n| page(n * 10, 10)).collect();
        prop_assert_eq!(five, page(0, 50));
        let numbered = |page, hits_per_page| {
            Paging::Page { page, hits_per_page }.positions(1000)
        };
        prop_assert_eq!((1..=5).flat_map(|n| numbered(n, 10)).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    }
}

fn paged(hits: Vec<Value>, total: u64) -> Value {
    json!({"hits": hits, "query": "q", "processingTimeMs": 0, "hitsPerPage": 20, "page": 1, "totalPages": 1, "totalHits": total})
}

#[test]
fn values_that_several_legs_have_count_once_where_they_can_be_seen() {
    let of = |id: u64, brand: Value| {
        let mut hit = hit(id, 3, 0);
        hit["brand"] = brand;
        hit
    };
    let legs = [
        leg(0, paged(vec![of(1, json!("A")), of(2, json!("b")), of(3, json!(null))], 3)),
        leg(1, paged(vec![of(4, json!("a")), of(5, json!("c"))], 2)),
    ];
    let first = Paging::Page { page: 1, hits_per_page: 20 };
    assert_eq!(merged(&legs, first, Some("brand"), &IndexFacts::default())["totalHits"], 4);
    assert_eq!(merged(&legs, first, None, &IndexFacts::default())["totalHits"], 5);

    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging: first,
        distinct: Some("brand"),
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    assert!(!shows_too_few(&legs, &request).unwrap());
    let more = [leg(0, paged(vec![of(1, json!("a"))], 30)), leg(1, paged(vec![of(4, json!("a"))], 1))];
    assert!(shows_too_few(&more, &request).unwrap());
    assert!(!shows_too_few(&more[..1], &request).unwrap(), "one leg's total is exact");
    let counted = SearchMerge { distinct_total: Some(29), ..request };
    let answer: Value =
        serde_json::from_slice(&merge_searches(&more, &counted, &IndexFacts::default()).unwrap()).unwrap();
    assert_eq!((&answer["totalHits"], &answer["totalPages"]), (&json!(29), &json!(2)));
}

/// A hit that ranks by a field that is not displayed, with its score details as nodes write them.
fn hidden(id: u64, words: u64) -> Value {
    json!({"id": id, "_rankingScoreDetails": {
        "words": {"order": 0, "matchingWords": words, "maxMatchingWords": 3, "score": words as f64 / 3.0},
        "<hidden-rule-1>": {"order": 1, "value": "<hidden>"},
    }})
}

#[test]
fn hits_are_ordered_by_fields_that_are_not_displayed() {
    let legs = [
        leg(0, answer(vec![hidden(1, 3), hidden(2, 3), hidden(3, 1)], 3)),
        leg(1, answer(vec![hidden(4, 3), hidden(5, 2)], 2)),
    ];
    let rules = vec!["words".to_owned(), "price:desc".to_owned()];
    let fields = HiddenFields::of(&rules, &[], None, &["id".to_owned()]);
    let mut values = HiddenValues::new("id".to_owned(), fields);
    let list = r#"{"results":[{"id":1,"price":9},{"id":2,"price":3},{"id":4,"price":"5"},{"id":3},{"id":5}]}"#;
    values.add(0, &Bytes::from(list)).unwrap();
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging: WINDOW,
        distinct: None,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    let facts = IndexFacts::default();
    let keys = keys_of_undecided(&legs, &request, "id", false, &facts).unwrap();
    assert_eq!(keys, [b"1", b"2", b"3", b"4", b"5"]);
    let revealed = SearchMerge { hidden: Some(&values), ..request.clone() };
    let merged: Value = serde_json::from_slice(&merge_searches(&legs, &revealed, &facts).unwrap()).unwrap();
    assert_eq!(ids(&merged), [1, 2, 4, 5, 3], "numbers before strings in both directions");

    let clear = [leg(0, answer(vec![hidden(1, 3)], 1)), leg(1, answer(vec![hidden(5, 2)], 1))];
    assert!(keys_of_undecided(&clear, &request, "id", false, &facts).unwrap().is_empty(), "words decide");
    assert!(keys_of_undecided(&legs[..1], &request, "id", false, &facts).unwrap().is_empty(), "one leg has an order");
    assert_eq!(keys_of_undecided(&clear, &request, "id", true, &facts).unwrap().len(), 2);

    let stage =
        |matching, hit| (StageWords { matching, max: 3, order: 0, dropped: 1 }, vec![leg(0, answer(vec![hit], 1))]);
    let same = [stage(2, hidden(1, 2)), stage(2, hidden(2, 2))];
    let keys = keys_of_undecided_stages(&same, &request, "id", false, &facts).unwrap();
    assert_eq!(keys, [b"2", b"1"], "hits that lack different words, as many of them");
    let clear = [stage(3, hidden(1, 2)), stage(2, hidden(2, 2))];
    assert!(keys_of_undecided_stages(&clear, &request, "id", false, &facts).unwrap().is_empty(), "words decide");
}

#[test]
fn under_a_threshold_totals_are_of_all_hits_once_the_page_is_full() {
    let hits = |ids: std::ops::Range<u64>| ids.map(|id| hit(id, 3, 0)).collect::<Vec<_>>();
    let visible = Visibility::default();
    let request = SearchMerge {
        query: "q",
        paging: Paging::Window { offset: 0, limit: 3 },
        distinct: None,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible: &visible,
    };
    let facts = IndexFacts::default();
    let total = |legs: &[Leg]| threshold_total(legs, &request, &facts).unwrap();
    let full = leg(0, answer(hits(0..3), 40));
    let short = leg(1, answer(hits(10..12), 2));
    assert_eq!(total(&[full.clone(), short.clone()]), ThresholdTotal::Unlimited, "the second leg looked at all it has");
    assert_eq!(total(&[full.clone(), full.clone()]), ThresholdTotal::Sum, "no leg looked at what one server would not");
    assert_eq!(total(std::slice::from_ref(&short)), ThresholdTotal::Sum, "one server looks at everything too");

    let counted = [leg(0, answer(vec![], 40)), leg(1, answer(vec![], 30))];
    let request = SearchMerge { counted: Some(&counted), ..request };
    let merged = merge_searches(&[full, short], &request, &facts).unwrap();
    let merged: Value = serde_json::from_slice(&merged).unwrap();
    assert_eq!((ids(&merged), &merged["estimatedTotalHits"]), (vec![0, 1, 2], &json!(70)));
}
