//! Words that the matching strategy `frequency` drops, a cluster drops as one server with all documents would.

mod support;

use serde_json::{json, Value};
use support::{Both, ClusterOptions};

/// Words that some texts write as one: `sun` (30 texts), `flower` (40), `sunflower` (15), `garden` (44).
fn texts() -> Vec<Value> {
    let text = |n: usize| match n {
        0..30 => "sun",
        30..70 => "flower",
        70..85 => "sunflower",
        85..125 => "garden",
        125..129 => "garden sunflower",
        _ => "nothing of it",
    };
    (0..150).map(|n| json!({ "id": n, "text": text(n), "size": n * 77 % 150, "part": n % 2 })).collect()
}

fn settings() -> Value {
    json!({
        "searchableAttributes": ["text"],
        "filterableAttributes": ["part"],
        // No two texts rank alike.
        "rankingRules": ["words", "typo", "size:desc"],
    })
}

#[track_caller]
fn found_alike(both: &Both, body: Value) {
    let mut body = body;
    body["matchingStrategy"] = "frequency".into();
    let [got, expected] = both.post("/indexes/i/search", &body);
    for member in ["facetDistribution", "facetStats", "estimatedTotalHits", "totalHits", "totalPages", "hits"] {
        assert_eq!(got.body[member], expected.body[member], "{member} for {body}");
    }
}

/// `flower` is in fewer texts than `sun` or `sunflower` together, until it counts with `sunflower` too.
#[test]
fn a_word_counts_with_those_before_it_that_it_is_written_as_one_with() {
    let both = Both::with(settings(), texts());
    for query in ["sun flower", "sun flower ", "sun garden flower", "Sun Flower garden", "garden sun flower "] {
        found_alike(&both, json!({ "q": query, "limit": 150 }));
        found_alike(&both, json!({ "q": query, "page": 2, "hitsPerPage": 20, "attributesToSearchOn": ["text"] }));
    }
}

/// `garden` is in fewest texts and stays; written as one with `sun`, which is dropped, it is `sungarden`. A text that has just that is
/// found too, and counted.
#[test]
fn whoever_has_a_word_written_as_one_with_a_dropped_neighbour_is_found() {
    let mut texts = texts();
    for (n, text) in texts.iter_mut().enumerate().filter(|(n, _)| n % 8 == 3) {
        text["text"] = if n % 16 == 3 { "sungarden".into() } else { "gardenflower".into() };
    }
    let both = Both::with(settings(), texts);
    for query in ["flower sun garden", "sun garden flower", "flower nothing sun garden", "sun -flower garden nothing"] {
        found_alike(&both, json!({ "q": query, "limit": 0 }));
        found_alike(&both, json!({ "q": query, "limit": 0, "filter": "part = 1", "facets": ["part"] }));
        found_alike(&both, json!({ "q": query, "page": 1, "hitsPerPage": 0 }));
    }
}

/// `العراق` is two words, its article and the rest. Each of many texts has the article, few have the rest; with `ي` in it, what
/// a text matches depends on the language that it is taken for.
#[test]
fn the_article_of_an_arabic_word_is_dropped_by_itself() {
    let places = ["العراق", "المغرب", "ایران", "عراق", "المملكة العربية السعودية", "افغانستان", "السودان", "الكويت"];
    let text = |n: usize| format!("{} {}", ["sun", "flower", "garden"][n % 3], places[n * n % 11 % places.len()]);
    let texts = (0..150).map(|n| json!({ "id": n, "text": text(n), "size": n * 77 % 150, "part": n % 2 })).collect();
    let both = Both::with(settings(), texts);
    for query in [
        "العراق sun",
        "sun العراق",
        "المملكة flower العربية",
        "السعودية العربية garden ",
        "المغرب \"العراق\" sun",
        "garden -العراق sun",
        "ایران flower sun",
        "sun الكويت، العربية",
        "flower افغانستان garden",
    ] {
        found_alike(&both, json!({ "q": query, "limit": 150 }));
        found_alike(&both, json!({ "q": query, "page": 2, "hitsPerPage": 20 }));
        found_alike(&both, json!({ "q": query, "limit": 0, "filter": "part = 1", "facets": ["part"] }));
    }
}

/// Each query's words are dropped as if it was asked by itself; a text that two queries find is there once, and counts once.
#[test]
fn queries_of_a_federated_search_drop_words_as_by_themselves() {
    let both = Both::with(settings(), texts());
    let query = |q: &str, strategy: &str, more: Value| {
        let mut query = json!({ "indexUid": "i", "q": q, "matchingStrategy": strategy });
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        query
    };
    let two = [query("sun flower", "frequency", json!({})), query("garden nothing", "frequency", json!({}))];
    let beside_another = [
        query("garden sun flower ", "frequency", json!({ "attributesToRetrieve": ["text"] })),
        query("sunflower", "last", json!({ "attributesToRetrieve": ["text", "size"] })),
    ];
    let weighted = [
        query("sun garden flower", "frequency", json!({ "federationOptions": { "weight": 0.7 } })),
        query("sun", "last", json!({ "filter": "part = 1", "showRankingScoreDetails": true })),
    ];
    for queries in [json!(two), json!(beside_another), json!(weighted)] {
        for federation in [
            json!({ "limit": 200 }),
            json!({ "offset": 10, "limit": 15 }),
            json!({ "limit": 0 }),
            json!({ "page": 2, "hitsPerPage": 7 }),
            json!({ "limit": 5, "facetsByIndex": { "i": ["part"] } }),
            json!({ "limit": 5, "facetsByIndex": { "i": ["part"] }, "mergeFacets": {} }),
        ] {
            let body = json!({ "queries": queries, "federation": federation });
            let [got, expected] = both.post("/multi-search", &body);
            let with_rounded_scores = |answer: &Value| {
                let mut answer = answer.clone();
                for hit in answer["hits"].as_array_mut().unwrap() {
                    let score = &mut hit["_federation"]["weightedRankingScore"];
                    *score = format!("{:.6}", score.as_f64().unwrap()).into();
                }
                for member in ["processingTimeMs", "requestUid"] {
                    answer.as_object_mut().unwrap().remove(member);
                }
                answer
            };
            assert_eq!(with_rounded_scores(&got.body), with_rounded_scores(&expected.body), "for {body}");
        }
    }
}

/// Where shards are on several nodes, a node drops words by more documents than it is asked about. As long as all would drop
/// them in the order of the whole index, they are left to do so: what texts score that lack different words, only a search
/// for all of them tells.
#[test]
fn replicas_that_agree_on_the_order_drop_words_themselves() {
    let text = |n: usize| {
        let words = [("alpha", 13, 10), ("beta", 29, 8), ("gamma", 37, 6), ("delta", 53, 4)];
        let has = |(_, factor, of): &&(&str, usize, usize)| n * factor / 7 % 11 < *of;
        words.iter().filter(has).map(|(word, ..)| *word).collect::<Vec<_>>().join(" ")
    };
    let texts = (0..300).map(|n| json!({ "id": n, "text": text(n), "size": n * 77 % 300 })).collect();
    let replicated = ClusterOptions { replication_factor: 2, ..ClusterOptions::default() };
    let both = Both::with_cluster(replicated, settings(), texts);
    let requests = || {
        let metrics = support::Client::new(&both.cluster.metrics_url, None).get("").text;
        let counts = metrics.lines().filter(|line| line.starts_with("miroir_node_request_duration_seconds_count{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    for query in ["alpha beta gamma delta", "delta gamma beta alpha ", "beta delta alpha gamma"] {
        found_alike(&both, json!({ "q": query, "limit": 300 }));
        found_alike(&both, json!({ "q": query, "offset": 40, "limit": 20 }));
        // Health checks ask nodes too: of several tries one is between two of them.
        let asked = (0..5).map(|_| {
            let before = requests();
            both.cluster.client().search("i", json!({ "q": query, "matchingStrategy": "frequency" }));
            requests() - before
        });
        // Two nodes have all shards: each counts four words among its shards and in all it has, and searches once.
        assert_eq!(asked.min(), Some(2 * (4 + 4 + 1)), "{query}");
    }
}
