//! Searches over three nodes: the hits, totals and facets of one server with all the documents.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{json, Value};
use support::Both;

impl Both {
    /// The cluster's answer.
    #[track_caller]
    fn search(&self, body: Value) -> Value {
        self.cluster.client().search("i", body)
    }

    /// The cluster's answer, where `members` must be those of the single server.
    #[track_caller]
    fn alike(&self, members: &[&str], body: Value) -> Value {
        let (got, expected) = (self.search(body.clone()), self.single.client().search("i", body));
        for member in members {
            assert_eq!(got[member], expected[member], "{member} of {got}");
        }
        got
    }
}

/// 200 books, of which each fifth has no price and some share everything that ranks them.
fn books() -> Vec<Value> {
    let genres = ["novel", "poem", "essay", "play", "letter", "diary", "fable"];
    let book = |n: usize| {
        let mut book = json!({
            "id": n,
            "title": if n == 77 { "the quokka book".to_owned() } else { format!("a book of {} pages", n % 10) },
            "genre": genres[n * n % genres.len()],
            "tags": [format!("t{}", n % 3), format!("t{}", n % 5)],
        });
        if !n.is_multiple_of(5) {
            book["price"] = json!(n * 37 % 101);
        }
        book
    };
    (0..200).map(book).collect()
}

fn settings() -> Value {
    json!({
        "filterableAttributes": ["id", "genre", "tags", "price"],
        "sortableAttributes": ["price", "genre", "id", "mixed"],
        "faceting": { "maxValuesPerFacet": 4 }
    })
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("no hits in {answer}"));
    hits.iter().map(|hit| hit["id"].as_u64().unwrap_or_else(|| panic!("no id in {hit}"))).collect()
}

#[test]
fn a_word_finds_what_has_it_and_nothing_else() {
    let both = Both::with(settings(), books());
    for q in ["quokka", "quok", "qoukka", "\"quokka book\""] {
        let answer = both.alike(&["hits", "estimatedTotalHits", "query", "limit", "offset"], json!({ "q": q }));
        assert_eq!((ids(&answer), &answer["estimatedTotalHits"]), (vec![77], &json!(1)), "{q}");
    }
    let one = both.search(json!({ "filter": "id = 12" }));
    assert_eq!(ids(&one), [12]);
    let nothing = both.alike(&["hits", "estimatedTotalHits"], json!({ "q": "\"no such words\"" }));
    assert_eq!(nothing["hits"], json!([]));
    let all = both.alike(&["estimatedTotalHits"], json!({ "limit": 1000 }));
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), (0..200).collect());
}

#[test]
fn facet_counts_are_sums_over_all_nodes() {
    let both = Both::with(settings(), books());
    let mut genres = BTreeMap::new();
    for book in books() {
        *genres.entry(book["genre"].as_str().expect("a genre").to_owned()).or_insert(0_u64) += 1;
    }

    let answer = both.alike(&["facetDistribution", "facetStats"], json!({ "facets": ["genre", "price", "tags"] }));

    let counted: BTreeMap<String, u64> =
        serde_json::from_value(answer["facetDistribution"]["genre"].clone()).expect("counts");
    assert_eq!(counted.len(), 4, "as many values as the setting allows");
    assert!(counted.iter().all(|(genre, count)| genres[genre] == *count), "{counted:?} of {genres:?}");
    assert_eq!(answer["facetStats"]["price"], json!({ "min": 0.0, "max": 100.0 }));

    // With room for all values the counts add up to the total.
    let wider = json!({ "faceting": { "maxValuesPerFacet": 100 } });
    for client in [both.cluster.client(), both.single.client()] {
        client.succeed(client.patch("/indexes/i/settings", wider.clone()));
    }
    for body in [json!({}), json!({ "q": "pages" }), json!({ "filter": "price > 50" }), json!({ "q": "quokka" })] {
        let mut body = body;
        body["facets"] = json!(["*"]);
        let answer = both.alike(&["facetDistribution", "facetStats", "estimatedTotalHits"], body);
        let counts = answer["facetDistribution"]["genre"].as_object().expect("counts").values();
        assert_eq!(json!(counts.filter_map(Value::as_u64).sum::<u64>()), answer["estimatedTotalHits"]);
    }
    let by_count = json!({ "faceting": { "sortFacetValuesBy": { "*": "count" } } });
    for client in [both.cluster.client(), both.single.client()] {
        client.succeed(client.patch("/indexes/i/settings", by_count.clone()));
    }
    let (got, expected) = [both.cluster.client(), both.single.client()]
        .map(|client| client.search("i", json!({ "facets": ["price", "tags"] }))["facetDistribution"].to_string())
        .into();
    assert_eq!(got, expected, "the same order too");
}

#[test]
fn facet_search_counts_over_all_nodes() {
    let both = Both::with(settings(), books());
    for body in [
        json!({ "facetName": "genre" }),
        json!({ "facetName": "genre", "facetQuery": "no" }),
        json!({ "facetName": "genre", "facetQuery": "novle" }),
        json!({ "facetName": "tags", "filter": "genre = poem", "q": "book" }),
        json!({ "facetName": "genre", "facetQuery": "nothing alike" }),
    ] {
        let (got, expected) = [both.cluster.client(), both.single.client()]
            .map(|client| client.post("/indexes/i/facet-search", body.clone()).expect_status(200))
            .into();
        assert_eq!(got["facetHits"], expected["facetHits"], "{body}");
    }
    let tags = both.cluster.post("/indexes/i/facet-search", json!({ "facetName": "tags", "facetQuery": "t4" }));
    assert_eq!(tags.expect_status(200)["facetHits"], json!([{ "value": "t4", "count": 40 }]));
}

#[test]
fn five_pages_of_ten_are_one_of_fifty() {
    let both = Both::with(settings(), books());
    for query in [
        json!({ "q": "book" }),
        json!({ "q": "a book of pages", "filter": "price > 10" }),
        json!({}),
        json!({ "sort": ["genre:desc"] }),
        json!({ "q": "pages", "sort": ["price:asc"], "matchingStrategy": "all" }),
    ] {
        let with = |members: Value| {
            let mut body = query.clone();
            body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
            both.search(body)
        };
        let whole = with(json!({ "limit": 50 }));
        assert_eq!(ids(&whole).into_iter().collect::<BTreeSet<_>>().len(), 50, "{query}");
        let by_offset = (0..5).flat_map(|page| ids(&with(json!({ "offset": page * 10, "limit": 10 }))));
        assert_eq!(by_offset.collect::<Vec<_>>(), ids(&whole), "{query}");

        let total = &whole["estimatedTotalHits"];
        let by_page = (1..=5).flat_map(|page| {
            let answer = with(json!({ "page": page, "hitsPerPage": 10 }));
            assert_eq!(
                (&answer["totalHits"], &answer["page"], &answer["hitsPerPage"]),
                (total, &json!(page), &json!(10))
            );
            assert_eq!(answer["totalPages"], json!(total.as_u64().expect("a total").div_ceil(10)));
            ids(&answer)
        });
        assert_eq!(by_page.collect::<Vec<_>>(), ids(&whole), "{query}");
    }
    let beyond = both.alike(&["hits", "totalHits", "totalPages", "page"], json!({ "page": 21, "hitsPerPage": 10 }));
    assert_eq!(beyond["hits"], json!([]));
}

#[test]
fn no_query_finds_the_number_of_a_shard() {
    // Documents without digits, some of them in shard 7, 17, 70, ...
    let name =
        |n: usize| ["amber", "birch", "cedar", "dune"][n % 4].repeat(1 + n / 16) + ["a", "b", "c", "d"][n / 4 % 4];
    let documents: Vec<_> = (0..64).map(|n| json!({ "id": name(n), "title": name(n) })).collect();
    let both = Both::with(json!({}), documents);
    assert_eq!(both.search(json!({}))["estimatedTotalHits"], 64);
    let mut queries: Vec<String> = (0..64).map(|shard: u32| shard.to_string()).collect();
    // The value as it is stored, by itself and beside a word.
    queries.extend((0..64).filter_map(|shard| char::from_u32(0xE000 + shard)).map(String::from));
    for q in queries {
        let answer = both.search(json!({ "q": q, "matchingStrategy": "all" }));
        let all_or_none = if q.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { 64 };
        assert_eq!(answer["estimatedTotalHits"], all_or_none, "query {q:?}: {answer}");
    }
}

#[test]
fn sorting_compares_values_over_all_nodes_and_puts_missing_ones_last() {
    let mut documents = books();
    // Numbers and texts in one field: numbers come first, in both directions.
    for (n, book) in documents.iter_mut().enumerate() {
        match n % 3 {
            0 => book["mixed"] = json!(n),
            1 => book["mixed"] = json!(format!("text {n:03}")),
            _ => {}
        }
    }
    let both = Both::with(settings(), documents.clone());
    let values = |field: &str, direction: &str| -> Vec<Value> {
        let body = json!({ "sort": [format!("{field}:{direction}")], "limit": 200, "q": "" });
        let answer = both.search(body.clone());
        assert_eq!(ids(&answer).into_iter().collect::<BTreeSet<_>>().len(), 200);
        let of = |answer: &Value| -> Vec<Value> {
            answer["hits"].as_array().expect("hits").iter().map(|hit| hit[field].clone()).collect()
        };
        assert_eq!(of(&answer), of(&both.single.client().search("i", body)), "{field}:{direction}");
        of(&answer)
    };

    let rising = values("price", "asc");
    let (present, missing) = rising.split_at(160);
    assert!(missing.iter().all(Value::is_null), "missing values come last");
    assert!(present.windows(2).all(|two| two[0].as_u64() <= two[1].as_u64()), "{present:?}");
    let falling = values("price", "desc");
    assert!(falling[160..].iter().all(Value::is_null), "missing values come last");
    assert!(falling[..160].iter().eq(present.iter().rev()));
    values("genre", "asc");
    values("genre", "desc");
    values("mixed", "asc");
    values("mixed", "desc");

    // A field that is not shown sorts as well.
    let hidden = json!({ "sort": ["price:desc", "id:asc"], "limit": 200, "attributesToRetrieve": ["id"] });
    both.alike(&["hits"], hidden);
}

#[test]
fn a_query_that_is_refused_is_refused_as_by_one_server() {
    let both = Both::with(settings(), books());
    for (body, code) in [
        (json!({ "filter": "price >" }), "invalid_search_filter"),
        (json!({ "filter": "price = 1 AND" }), "invalid_search_filter"),
        (json!({ "filter": "title = a" }), "invalid_search_filter"),
        (json!({ "filter": ["genre = poem", "(price = 1"] }), "invalid_search_filter"),
        (json!({ "filter": "genre = poem) OR (genre = novel" }), "invalid_search_filter"),
        (json!({ "filter": 7 }), "invalid_search_filter"),
        (json!({ "sort": ["title:asc"] }), "invalid_search_sort"),
        (json!({ "sort": ["price"] }), "invalid_search_sort"),
        (json!({ "facets": ["title"] }), "invalid_search_facets"),
        (json!({ "limit": -1 }), "invalid_search_limit"),
        (json!({ "q": 1 }), "invalid_search_q"),
        (json!({ "unknown": 1 }), "bad_request"),
    ] {
        let [got, expected] =
            [both.cluster.client(), both.single.client()].map(|client| client.post("/indexes/i/search", body.clone()));
        assert_eq!(expected.code(), Some(code), "{body}");
        assert_eq!((got.status, &got.body), (expected.status, &expected.body), "{body}");
        assert!(!got.text.contains("_miroir"), "{}", got.text);
    }
    let other = both.cluster.post("/indexes/other/search", json!({}));
    other.expect_error(404, "index_not_found");
}
