use serde_json::{json, Value};

use super::*;
use crate::cluster::Shard;
use crate::merge::search::{merge_searches, Paging};
use crate::merge::splice::Visibility;

/// A hit of `geany plu` with the node's verdict on its exactness, and one more rule behind it.
fn hit(id: u64, name: &str, exactness: Value, size: u64) -> Value {
    let mut exactness = exactness;
    exactness["order"] = json!(2);
    json!({ "id": id, "name": name, "_rankingScoreDetails": {
        "words": { "order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0 },
        "typo": { "order": 1, "typoCount": 0, "maxTypoCount": 1, "score": 1.0 },
        "exactness": exactness,
        "size:asc": { "order": 3, "value": size },
    }})
}

fn start() -> Value {
    json!({ "matchType": "matchesStart", "score": 0.6 })
}

fn exact_words(words: u64) -> Value {
    json!({ "matchType": "noExactMatch", "matchingWords": words, "maxMatchingWords": 2, "score": 0.3 })
}

fn leg(shard: u32, hits: &[Value], total: usize) -> Leg {
    let body = json!({ "hits": hits, "query": "", "processingTimeMs": 1, "limit": 20, "offset": 0, "estimatedTotalHits": total,
        "facetDistribution": { "g": { "a": total } }});
    Leg { shards: vec![Shard(shard)], body: body.to_string().into() }
}

fn request<'r>(visible: &'r Visibility, denied: Option<&'r Denied>) -> SearchMerge<'r> {
    SearchMerge {
        query: "geany plu",
        paging: Paging::Window { offset: 0, limit: 4 },
        distinct: None,
        key: None,
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied,
        distinct_total: None,
        found: None,
        counted: None,
        visible,
    }
}

/// A node without the word `plu`, and one that has it.
fn legs() -> [Leg; 2] {
    let without = [
        hit(1, "geany-plugin-a", start(), 7),
        hit(2, "geany-plugin-b", start(), 9),
        hit(3, "the geany-plugins", exact_words(1), 5),
    ];
    let with = [hit(4, "a geany plu", exact_words(2), 50), hit(5, "geany-plugin-c", exact_words(1), 8)];
    [leg(0, &without, 3), leg(1, &with, 2)]
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_beginning_without_the_last_word_is_no_match_where_other_nodes_know_the_word() {
    let (legs, visible) = (legs(), Visibility::default());
    let merged = |denied| -> Value {
        let request = request(&visible, denied);
        serde_json::from_slice(&merge_searches(&legs, &request, &IndexFacts::default()).unwrap()).unwrap()
    };
    let denied = Denied { legs: vec![0], exact_words: 1 };
    assert_eq!(ids(&merged(None)), [1, 2, 4, 3]);
    let answer = merged(Some(&denied));
    assert_eq!(ids(&answer), [4, 3, 1, 5], "all but 4 have one exact word, and go by size");
    assert_eq!((&answer["estimatedTotalHits"], &answer["facetDistribution"]), (&json!(5), &json!({"g": {"a": 5}})));
}

#[test]
fn only_matches_that_do_not_show_the_word_and_would_change_the_page_are_looked_into() {
    let (legs, visible, facts) = (legs(), Visibility::default(), IndexFacts::default());
    let request = request(&visible, None);
    assert_eq!(suspects(&legs, &request, "plu").unwrap(), [0]);
    assert_eq!(suspects(&legs, &request, "geany").unwrap(), [0; 0], "the match shows this word");
    assert_eq!(suspects(&legs, &request, "name").unwrap(), [0], "a member's name is no text");
    let denied = Denied { legs: vec![0], exact_words: 1 };
    assert!(decides(&legs, &request, &denied, &facts).unwrap());
    let alone = [legs[0].clone(), leg(1, &[], 0)];
    let ends_earlier = SearchMerge { paging: Paging::Window { offset: 0, limit: 0 }, ..request.clone() };
    assert!(!decides(&alone, &ends_earlier, &denied, &facts).unwrap());
}

#[test]
fn hits_with_fewer_words_or_typos_may_match_by_what_they_have() {
    for (name, value) in [("/words/matchingWords", 1), ("/typo/typoCount", 1)] {
        let mut hit = hit(1, "geany-plugin", start(), 7);
        *hit["_rankingScoreDetails"].pointer_mut(name).unwrap() = json!(value);
        let details = hit["_rankingScoreDetails"].to_string();
        assert_eq!(RankKeys::parse(details.as_bytes()).unwrap().attribute_match(), None, "{name}");
    }
    let details = hit(1, "geany-plugin", start(), 7)["_rankingScoreDetails"].to_string();
    assert_eq!(RankKeys::parse(details.as_bytes()).unwrap().attribute_match(), Some(2));
}

#[test]
fn a_leg_that_ends_among_hits_equal_up_to_exactness_is_cut_off() {
    let (visible, facts) = (Visibility::default(), IndexFacts::default());
    let request = request(&visible, None);
    let hits: Vec<Value> = (0..4).map(|n| hit(n, "geany-plugin", start(), n)).collect();
    assert!(is_cut_off(&leg(0, &hits, 9), &request, &facts).unwrap());
    assert!(!is_cut_off(&leg(0, &hits, 4), &request, &facts).unwrap(), "there are no more");
    assert!(!is_cut_off(&leg(0, &hits[..3], 9), &request, &facts).unwrap(), "it showed all it has");
    let mut hits = hits;
    hits[3]["_rankingScoreDetails"]["words"]["matchingWords"] = json!(1);
    assert!(!is_cut_off(&leg(0, &hits, 9), &request, &facts).unwrap(), "the next hits rank lower anyway");
}
