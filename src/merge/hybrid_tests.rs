use super::super::splice::Visibility;
use super::*;
use crate::cluster::Shard;

fn leg(shard: u32, hits: &[String], more: &str) -> Leg {
    let body = format!(
        r#"{{"hits":[{}],"query":"x","processingTimeMs":0,"limit":20,"offset":0,"estimatedTotalHits":9{more}}}"#,
        hits.join(",")
    );
    Leg { shards: vec![Shard(shard)], body: body.into() }
}

fn by_words(id: u32, score: f64) -> String {
    format!(
        r#"{{"id":{id},"_rankingScore":{score},"_rankingScoreDetails":{{"proximity":{{"order":0,"score":{score}}}}}}}"#
    )
}

fn by_meaning(id: u32, similarity: &str) -> String {
    format!(r#"{{"id":{id},"_rankingScoreDetails":{{"vectorSort":{{"order":0,"similarity":{similarity}}}}}}}"#)
}

fn request(visible: &Visibility, limit: usize) -> SearchMerge<'_> {
    SearchMerge {
        query: "x",
        paging: Paging::Window { offset: 0, limit },
        distinct: None,
        key: Some("id"),
        semantic_ratio: None,
        hidden: None,
        pins: None,
        denied: None,
        distinct_total: None,
        found: None,
        counted: None,
        visible,
    }
}

fn ids(answer: &[u8]) -> Vec<u64> {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

fn merged(ratio: f64, fusion: Fusion, limit: usize) -> (Vec<u64>, u64) {
    let words = [leg(0, &[by_words(1, 0.9), by_words(2, 0.5)], ""), leg(1, &[by_words(3, 0.8)], "")];
    let meaning = [
        leg(0, &[by_meaning(2, "0.8"), by_meaning(1, "null")], ",\"semanticHitCount\":2"),
        leg(1, &[by_meaning(4, "0.7"), by_meaning(3, "0.1")], ",\"semanticHitCount\":2"),
    ];
    let visible = Visibility::default();
    let how = (Weights::of_ratio(ratio), fusion);
    let answer =
        merge_hybrid(&words, &meaning, &request(&visible, limit), how, &IndexFacts::default()).expect("merged");
    let count = serde_json::from_slice::<serde_json::Value>(&answer).unwrap()["semanticHitCount"].as_u64().unwrap();
    (ids(&answer), count)
}

#[test]
fn hits_are_weighed_over_all_legs_and_documents_shown_once() {
    assert_eq!(merged(0.5, Fusion::Score, 20), (vec![1, 2, 3, 4], 2));
    assert_eq!(merged(0.9, Fusion::Score, 20), (vec![2, 4, 1, 3], 3));
    assert_eq!(merged(0.1, Fusion::Score, 20), (vec![1, 3, 2, 4], 1));
    assert_eq!(merged(0.5, Fusion::Score, 2), (vec![1, 2], 1));
}

#[test]
fn pins_of_both_lists_are_weighed_with_nothing_and_shown_once() {
    let pin = |id: u32, at: u32| {
        format!(r#"{{"id":{id},"_rankingScore":1.0,"_rankingScoreDetails":{{"pin":{{"order":0,"position":{at}}}}}}}"#)
    };
    let words = [leg(0, &[pin(7, 0), by_words(1, 0.9), by_words(2, 0.5)], ""), leg(1, &[by_words(3, 0.8)], "")];
    let count = ",\"semanticHitCount\":1";
    let meaning =
        [leg(0, &[pin(7, 0), by_meaning(2, "0.8")], count), leg(1, &[by_meaning(4, "0.7"), pin(8, 1)], count)];
    let visible = Visibility::default();
    let merged = |offset, limit| {
        let request = SearchMerge { paging: Paging::Window { offset, limit }, ..request(&visible, 0) };
        let how = (Weights::of_ratio(0.5), Fusion::Score);
        ids(&merge_hybrid(&words, &meaning, &request, how, &IndexFacts::default()).expect("merged"))
    };
    assert_eq!(merged(0, 20), [7, 8, 1, 2, 3, 4]);
    assert_eq!(merged(1, 2), [8, 1]);
}

#[test]
fn places_in_both_lists_add_up() {
    // 1: first by words and last by meaning; 2: last by words and first by meaning; 3: second and third; 4: second.
    assert_eq!(merged(0.5, Fusion::ReciprocalRank, 20).0, [2, 1, 3, 4]);
}

#[test]
fn meaning_is_left_out_when_all_words_are_good_enough() {
    let words = [leg(0, &[by_words(1, 1.0), by_words(2, 0.9)], ""), leg(1, &[by_words(3, 0.95)], "")];
    let visible = Visibility::default();
    let suffice = |limit, ratio| {
        let request = request(&visible, limit);
        words_suffice(&words, &request, Weights::of_ratio(ratio), &IndexFacts::default()).expect("read")
    };
    let answer = suffice(3, 0.5).expect("good enough");
    assert_eq!(ids(&answer), [1, 3, 2]);
    assert!(answer.ends_with(b",\"semanticHitCount\":0}"));
    assert!(suffice(4, 0.5).is_none(), "too few");
    assert!(suffice(3, 0.51).is_none(), "the last weighs too little");
    assert!(suffice(0, 0.9).is_some(), "an empty page needs no meaning");
    assert!(!Weights::of_ratio(0.6).may_leave_meaning_out());
}

#[test]
fn a_sort_is_compared_where_it_stands() {
    let sorted = |id: u32, value: u32, score: &str| {
        format!(
            r#"{{"id":{id},"_rankingScore":0.5,"_rankingScoreDetails":{{"n:asc":{{"order":0,"value":{value}}},{score}}}}}"#
        )
    };
    let words = [leg(0, &[sorted(1, 2, r#""proximity":{"order":1,"score":0.5}"#)], "")];
    let meaning = [leg(
        0,
        &[
            sorted(2, 1, r#""vectorSort":{"order":1,"similarity":0.1}"#),
            sorted(3, 2, r#""vectorSort":{"order":1,"similarity":0.4}"#),
            sorted(4, 2, r#""vectorSort":{"order":1,"similarity":0.3}"#),
        ],
        ",\"semanticHitCount\":3",
    )];
    let visible = Visibility::default();
    let how = (Weights::of_ratio(0.5), Fusion::Score);
    let answer = merge_hybrid(&words, &meaning, &request(&visible, 9), how, &IndexFacts::default()).unwrap();
    assert_eq!(ids(&answer), [2, 1, 3, 4]);
}

#[test]
fn a_score_is_read_to_another_greatest_number_of_typos() {
    let details = br#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":3,"score":0.66},"typo":{"order":1,"typoCount":1,"maxTypoCount":1,"score":0.5},"proximity":{"order":2,"score":0.25}}"#;
    let score = |typos_max: f64| (1.0 + ((typos_max - 1.0) + 0.25) / (typos_max + 1.0)) / 3.0;
    let read = with_typos_max(score(1.0), details, 3).expect("readable");
    assert!((read - score(3.0)).abs() < 1e-12, "{read}");
    assert_eq!(with_typos_max(0.5, br#"{"proximity":{"order":0,"score":0.5}}"#, 3), None);
}
