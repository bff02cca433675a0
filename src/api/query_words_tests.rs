use super::*;

fn split(query: &str) -> Option<QueryWords<'_>> {
    QueryWords::split(query, &HashSet::from(["the".to_owned()]))
}

/// What counts each word, alternatives parted by `|`.
fn counted(query: &str) -> Vec<String> {
    let queries = split(query).unwrap().count_queries().into_iter();
    let shown = queries.map(|count| match count {
        CountQuery::One { query, split: Split::Certain } => query,
        CountQuery::One { query, split: Split::Uncertain } => format!("?{query}"),
        CountQuery::Several(queries) => queries.join("|"),
    });
    shown.collect()
}

/// Queries of all stages with their matching words, the separators that shift positions shown as `^`.
fn stages(query: &str, counts: &[u64]) -> Vec<(String, u64)> {
    let words = split(query).unwrap();
    let stages = words.stages(&words.removal_groups(counts), counts);
    assert!(stages.iter().all(|stage| stage.max == stages[0].matching));
    stages.into_iter().map(|stage| (stage.query.replace(FILLER, "^"), stage.matching)).collect()
}

fn expected(stages: &[(&str, u64)]) -> Vec<(String, u64)> {
    stages.iter().map(|(query, matching)| ((*query).to_owned(), *matching)).collect()
}

#[test]
fn the_most_frequent_word_goes_first_and_the_rarest_stays() {
    assert_eq!(
        stages("new york city", &[50, 7, 900]),
        expected(&[("new york city", 3), ("new york ^ ", 2), ("^ york ^ ", 1)])
    );
    assert_eq!(
        stages("san jose", &[9, 3]),
        expected(&[("san jose", 2), ("^ jose", 1)]),
        "the last word stays a prefix"
    );
    assert_eq!(stages("a b c ", &[1, 3, 2]), expected(&[("a b c ", 3), ("a b ^ ", 2), ("a ^ c ", 2), ("a ^ ^ ", 1)]));
}

#[test]
fn a_word_that_nobody_has_is_the_most_frequent() {
    assert_eq!(stages("a b c", &[5, 0, 9]), expected(&[("a b c", 3), ("a ^ c", 2), ("a ^ ^ ", 1)]));
    assert_eq!(stages("a b c", &[0, 5, 0]), expected(&[("a b c", 3), ("^ b ^ ", 1)]), "such words go together");
    assert_eq!(stages("a b", &[0, 0]), expected(&[("a b", 1)]));
}

#[test]
fn of_words_of_one_frequency_any_may_go_before_all_do() {
    assert_eq!(stages("a b c", &[5, 5, 1]), expected(&[("a b c", 3), ("a ^ c", 2), ("^ b c", 2), ("^ ^ c", 1)]));
    assert_eq!(stages("a b c", &[5, 1, 1]), expected(&[("a b c", 2), ("^ b c", 1)]), "the last group stays whole");
}

#[test]
fn a_word_may_go_before_a_more_frequent_one_that_stands_before_it() {
    assert_eq!(
        stages("north brazil arnold", &[90, 20, 3]),
        expected(&[("north brazil arnold", 3), ("north ^ arnold", 2), ("^ brazil arnold", 2), ("^ ^ arnold", 1)])
    );
    let words = "a b c d e f g h";
    let counts = [90, 80, 70, 60, 50, 40, 30, 1];
    let left = stages(words, &counts);
    assert_eq!(left.len(), 8, "of too many ways those that find most");
    assert_eq!(left[7], ("^ ^ ^ ^ ^ ^ ^ h".to_owned(), 1));
}

#[test]
fn phrases_and_negative_words_are_in_every_stage() {
    assert_eq!(
        stages(r#"new "san jose" york -city"#, &[2, 1]),
        expected(&[
            (r#"new "san jose" york -city"#, 4),
            (r#"new "san jose" ^ -city"#, 3),
            (r#"^ "san jose" york -city"#, 3),
            (r#"^ "san jose" ^ -city"#, 2)
        ])
    );
    assert_eq!(stages(r#"a -"b c" d"#, &[2, 1]), expected(&[(r#"a -"b c" d"#, 2), (r#"^ -"b c" d"#, 1)]));
}

#[test]
fn a_word_that_is_not_dropped_may_be_written_as_one_with_those_that_are() {
    let found = |query: &str, counts: &[u64]| {
        let words = split(query).unwrap();
        words.found_queries(&words.removal_groups(counts))
    };
    assert_eq!(found("a b", &[1, 2]), ["a ", "a b"]);
    assert_eq!(found("a b c d", &[9, 8, 1, 9]), ["c ", "a b c ", "b c ", "b c d", "c d"]);
    assert_eq!(found("a b", &[2, 2]), ["a b"], "none is dropped");
    assert_eq!(found("a b c d", &[1, 9, 8, 1]), ["a ! d", "a b c d", "a b ! d", "a ! c d"]);
    assert_eq!(found("a \"b\" c -d", &[1, 2]), ["\"b\" ! -d"], "a phrase alone is not dropped");
}

#[test]
fn words_are_parted_as_meilisearch_parts_them() {
    assert_eq!(counted("l'aquila"), ["l'aquila", "l'aquila|aquila"]);
    assert_eq!(counted("a - b"), ["a - b", "a - b|b"], "a minus with a space behind it is none");
    assert_eq!(counted("a --b"), ["a --b", "a --b|b"]);
    assert_eq!(
        counted("the a the b the"),
        ["a ", "b the", "b the|the"],
        "only at the very end may `the` be the start of a word"
    );
    assert_eq!(counted("azərbaycan "), ["azərbaycan "]);
    assert_eq!(
        counted("Köln Αθήνα 42"),
        ["Köln Αθήνα 42", "Köln Αθήνα |Köln Αθήνα 42|Αθήνα |Αθήνα 42", "Köln Αθήνα 42|Αθήνα 42|42"]
    );
}

#[test]
fn a_word_counts_with_all_that_it_is_written_as_one_with() {
    assert_eq!(
        counted("a b c d e "),
        [
            "a b c ",
            "a b |a b c |b |b c |b c d ",
            "a b c |b c |b c d |c |c d |c d e ",
            "b c d |c d |c d e |d |d e ",
            "c d e |d e |e "
        ]
    );
    assert_eq!(counted(r#"a "b" c d"#), ["a ", "c d", "c d|d"], "a phrase is nobody's neighbour");
}

#[test]
fn behind_ten_words_nothing_is_read() {
    let query = "a b c d e f g h i j k -l";
    let counts = counted(query);
    assert_eq!((counts.len(), counts[9].as_str()), (10, "h i j |i j |j "));
    assert_eq!(stages(query, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), expected(&[("a b c d e f g h i j ", 1)]));
}

#[test]
fn what_may_be_parted_otherwise_is_left_to_the_nodes() {
    let signs = ["a\u{301}b c", "c# d", "a \"b", "a \"\"", "a \"the\" b", "a\u{e003}b c"];
    let scripts = ["東京tower a", "a -東京", "a \"東京\" b", "a \"camelCase\" b", "αb c", "a 12β c"];
    let arabic = ["الالعراق a", "ا\u{640}ل -b\u{640} a", "العراق 東京", "a ً b"];
    for query in [signs, scripts].concat().into_iter().chain(arabic) {
        assert!(split(query).is_none(), "{query}");
    }
    let languages = "العراق city ایران";
    assert!(split(languages).is_none(), "Arabic and Persian");
}

#[test]
fn words_that_may_be_several_are_counted_alone() {
    assert_eq!(
        counted("big blue 東京 tower camelCase"),
        ["big blue ", "big blue |blue ", "?東京 ", "tower ", "?camelCase"]
    );
}

#[test]
fn the_strategy_last_drops_words_from_the_end() {
    let from_the_end = |query: &str, counts: &[u64]| {
        let words = split(query).unwrap();
        words.are_dropped_from_the_end(&words.removal_groups(counts), counts)
    };
    assert!(from_the_end("a b c", &[1, 2, 3]));
    assert!(from_the_end("a b c", &[1, 0, 0]), "words that nobody has go in any order");
    assert!(!from_the_end("a b c", &[1, 2, 2]), "words of one frequency do not");
    assert!(!from_the_end("a b c", &[1, 3, 2]));
    assert!(!from_the_end("a b c", &[1, 1, 2]), "both of the rarest stay, and `last` would keep one");
    assert!(from_the_end("a \"b\" c", &[1, 2]));
    assert!(!from_the_end("a \"b\" c", &[2, 1]));
}

#[test]
fn the_article_of_an_arabic_word_is_a_word() {
    assert_eq!(
        counted("العراق تونس"),
        ["ال عراق تونس", "ال عراق |ال عراق تونس|عراق |عراق تونس", "ال عراق تونس|عراق تونس|تونس"]
    );
    assert_eq!(counted("إلعراق "), ["إل عراق ", "إل عراق |عراق "], "whatever its alef is written with");
    assert_eq!(counted("الصحراء، الغربية "), counted("ال صحراء، ال غربية "));
    assert_eq!(counted("ال "), ["ال "], "it is one by itself");
    assert_eq!(counted("قطر"), ["قطر"]);
    assert_eq!(counted("12العراق "), ["12العراق "], "it begins a word");
}

#[test]
fn the_article_counts_wherever_words_are_counted() {
    assert_eq!(
        stages(r#"city "المغرب" العراق"#, &[9, 1, 2]),
        expected(&[
            (r#"city "ال مغرب" ال عراق"#, 5),
            (r#"city "ال مغرب" ال ^ "#, 4),
            (r#"^ "ال مغرب" ال عراق"#, 4),
            (r#"city "ال مغرب" ^ ^ "#, 3),
            (r#"^ "ال مغرب" ال ^ "#, 3),
            (r#"^ "ال مغرب" ^ ^ "#, 2)
        ])
    );
    // Only the article is what documents must not have.
    assert_eq!(counted("city -العراق"), ["city ", "عراق"]);
    assert_eq!(
        split("city العراق").unwrap().open_last_word(&HashSet::new()),
        Some(OpenWord { word: "عراق".to_owned(), words_before: 2, language: Some("ara") })
    );
}

#[test]
fn nodes_are_told_the_language_that_arabic_words_are_taken_for() {
    let language = |query| split(query).unwrap().language();
    assert_eq!(language("city"), None);
    assert_eq!(language("المملكة العربية السعودية"), Some("ara"));
    assert_eq!(language("city ایران"), Some("pes"));
    assert_eq!(counted("بھارت کی الیکشن میں ہے")[0], "بھارت کی الیکشن ", "Urdu has no such article");
}
