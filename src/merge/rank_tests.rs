use super::*;

/// Which of two hits, each given as its details, is chosen; both equal falls to the first.
fn first_of(left: &str, right: &str) -> usize {
    let heads = [left, right].map(|details| Some(RankKeys::parse(details.as_bytes()).unwrap()));
    Chooser::default().choose(&heads).unwrap()
}

fn assert_before(better: &str, worse: &str) {
    assert_eq!(first_of(better, worse), 0, "{better} comes before {worse}");
    assert_eq!(first_of(worse, better), 1, "{better} comes before {worse}, whichever leg it is on");
}

fn assert_tied(left: &str, right: &str) {
    assert_eq!((first_of(left, right), first_of(right, left)), (0, 0), "{left} and {right} are tied");
}

#[test]
fn fewer_typos_win_whatever_the_nodes_scores_say() {
    // The worse document has the better score, because its node knows of spellings with more typos.
    assert_before(
        r#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":2,"score":1.0},"typo":{"order":1,"typoCount":1,"maxTypoCount":2,"score":0.6666666666666666}}"#,
        r#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":2,"score":1.0},"typo":{"order":1,"typoCount":2,"maxTypoCount":6,"score":0.7142857142857143}}"#,
    );
}

#[test]
fn rules_are_applied_in_their_order_and_not_in_that_of_the_text() {
    assert_before(
        r#"{"proximity":{"order":1,"score":0.1},"words":{"order":0,"matchingWords":2,"maxMatchingWords":2,"score":1.0}}"#,
        r#"{"proximity":{"order":1,"score":1.0},"words":{"order":0,"matchingWords":1,"maxMatchingWords":2,"score":0.5}}"#,
    );
}

#[test]
fn attribute_of_1_15_is_compared_by_its_parts() {
    let attribute = |order: f64, distance: f64, score: f64| {
        format!(
            r#"{{"attribute":{{"order":0,"attributeRankingOrderScore":{order},"queryWordDistanceScore":{distance},"score":{score}}}}}"#
        )
    };
    assert_before(&attribute(1.0, 0.1, 0.9), &attribute(0.8, 1.0, 0.95));
    assert_before(&attribute(0.8, 0.9, 0.1), &attribute(0.8, 0.8, 0.2));
}

#[test]
fn attribute_of_1_15_lines_up_with_the_two_rules_of_1_50() {
    assert_before(
        r#"{"attribute":{"order":0,"attributeRankingOrderScore":1.0,"queryWordDistanceScore":0.9,"score":0.97}}"#,
        r#"{"attributeRank":{"order":0,"score":1.0},"wordPosition":{"order":1,"score":0.8}}"#,
    );
}

#[test]
fn exactness_is_compared_by_kind_then_by_words() {
    let words = |n: u32, score: f64| {
        format!(
            r#"{{"exactness":{{"order":0,"matchType":"noExactMatch","matchingWords":{n},"maxMatchingWords":4,"score":{score}}}}}"#
        )
    };
    let exact = r#"{"exactness":{"order":0,"matchType":"exactMatch","score":1.0}}"#;
    let start = r#"{"exactness":{"order":0,"matchType":"matchesStart","score":0.6666666666666666}}"#;
    assert_before(exact, start);
    assert_before(start, &words(4, 0.99));
    assert_before(&words(3, 0.2), &words(2, 0.3));
}

#[test]
fn sorts_put_numbers_before_strings_and_missing_values_last_both_ways() {
    let by = |direction: &str, value: &str| format!(r#"{{"price:{direction}":{{"order":0,"value":{value}}}}}"#);
    for direction in ["asc", "desc"] {
        assert_before(&by(direction, "1e300"), &by(direction, r#""a""#));
        assert_before(&by(direction, r#""a""#), &by(direction, "null"));
        assert_tied(&by(direction, "null"), &by(direction, "null"));
        assert_tied(&by(direction, "7.0"), &by(direction, "7.0"));
    }
    assert_before(&by("asc", "-2.0"), &by("asc", "10.0"));
    assert_before(&by("desc", "10.0"), &by("desc", "9.0"));
    assert_before(&by("asc", r#""a\"b""#), &by("asc", r#""b""#));
    assert_before(&by("desc", r#""é""#), &by("desc", r#""z""#));
}

#[test]
fn a_hidden_sort_field_says_nothing() {
    let hidden = |proximity: f64| {
        format!(
            r#"{{"<hidden-rule-0>":{{"order":0,"value":"<hidden>"}},"proximity":{{"order":1,"score":{proximity}}}}}"#
        )
    };
    assert_before(&hidden(0.9), &hidden(0.8));
}

fn geo(direction: &str, metres: Option<f64>, then: f64) -> String {
    let (value, distance) = match metres {
        Some(metres) => (r#"{"lat":1.0,"lng":2.0}"#.to_owned(), metres.to_string()),
        None => ("null".to_owned(), "null".to_owned()),
    };
    format!(
        r#"{{"_geoPoint(48.8, 2.3):{direction}":{{"order":0,"value":{value},"distance":{distance}}},"proximity":{{"order":1,"score":{then}}}}}"#
    )
}

#[test]
fn distances_go_the_way_that_was_asked() {
    assert_before(&geo("asc", Some(10.0), 0.1), &geo("asc", Some(20.0), 0.9));
    assert_before(&geo("desc", Some(20.0), 0.1), &geo("desc", Some(10.0), 0.9));
    for direction in ["asc", "desc"] {
        assert_before(&geo(direction, Some(1e7), 0.1), &geo(direction, None, 0.9));
    }
}

#[test]
fn distances_within_a_metre_leave_the_decision_to_the_next_rule() {
    assert_before(&geo("asc", Some(10.9), 0.9), &geo("asc", Some(10.0), 0.1));
    assert_before(&geo("asc", Some(10.0), 0.1), &geo("asc", Some(11.1), 0.9));
}

#[test]
fn a_bucket_of_distances_is_measured_from_its_first() {
    // 10.0 opens the bucket, 10.8 is in it, 11.5 is not, although it is within a metre of 10.8.
    let lists = [[geo("asc", Some(10.0), 0.9)], [geo("asc", Some(10.8), 0.1)], [geo("asc", Some(11.5), 0.5)]];
    let mut heads: Vec<_> = lists.iter().map(|list| Some(RankKeys::parse(list[0].as_bytes()).unwrap())).collect();
    let mut chooser = Chooser::default();
    let mut order = Vec::new();
    while let Some(leg) = chooser.choose(&heads) {
        order.push(leg);
        heads[leg] = None;
    }
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn hits_that_the_node_had_no_time_to_rank_come_last() {
    assert_before(
        r#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0},"proximity":{"order":1,"score":0.0}}"#,
        r#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0},"skipped":{"order":1}}"#,
    );
}

#[test]
fn vectors_are_compared_by_similarity() {
    assert_before(r#"{"vectorSort":{"order":0,"similarity":0.7}}"#, r#"{"vectorSort":{"order":0,"similarity":0.6}}"#);
    assert_before(r#"{"vectorSort":{"order":0,"similarity":0.1}}"#, r#"{"vectorSort":{"order":0,"similarity":null}}"#);
}

#[test]
fn hits_are_compared_by_the_rules_that_both_have() {
    let words = r#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0}}"#;
    let more = r#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0},"typo":{"order":1,"typoCount":0,"maxTypoCount":1,"score":1.0}}"#;
    assert_tied(words, more);
    assert_tied("{}", words);
}

#[test]
fn details_that_are_no_details_are_an_error() {
    assert!(RankKeys::parse(br#"{"words":3}"#).is_err());
    assert!(RankKeys::parse(br#"{"words":{"order":0"#).is_err());
    assert_eq!(RankKeys::parse(b"{}").unwrap(), RankKeys::new(vec![]));
}
