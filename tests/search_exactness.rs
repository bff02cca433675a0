//! What one server decides by fields that it does not show, by text, by place and by different values, a cluster decides alike.

mod support;

use serde_json::{json, Value};
use support::{Cluster, ClusterOptions, SingleServer};

struct Both {
    cluster: Cluster,
    single: SingleServer,
}

impl Both {
    fn with(settings: Value, documents: &[Value]) -> Self {
        let both = Self { cluster: Cluster::start(ClusterOptions::default()), single: SingleServer::start() };
        for client in [both.cluster.client(), both.single.client()] {
            client.succeed(client.patch("/indexes/i/settings", settings.clone()));
            client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(documents)));
        }
        both
    }

    fn set(&self, settings: Value) {
        for client in [self.cluster.client(), self.single.client()] {
            client.succeed(client.patch("/indexes/i/settings", settings.clone()));
        }
    }

    /// Both answers to a search.
    fn ask(&self, body: &Value) -> [Value; 2] {
        [self.cluster.client(), self.single.client()].map(|client| client.search("i", body.clone()))
    }

    /// Asserts that the members of both answers are the same; returns the cluster's answer.
    #[track_caller]
    fn alike(&self, members: &[&str], body: Value) -> Value {
        let [got, expected] = self.ask(&body);
        for member in members {
            assert_eq!(got[member], expected[member], "{member} for {body}");
        }
        got
    }
}

/// Offers whose every order is total: no two have the same `rank`, and prices are numbers, texts, lists or missing.
fn offers() -> Vec<Value> {
    let price = |n: usize| match n % 7 {
        0 => json!(null),
        1 => json!([n, format!("p{n}"), n + 100]),
        2 => json!(format!("Ä{n}")),
        3 => json!(format!("a{n}")),
        4 => json!([format!("Zz{n}"), format!("b{n}")]),
        5 => json!(n.is_multiple_of(2)),
        _ => json!(n as f64 / 3.0),
    };
    (0..150)
        .map(|n| {
            json!({
                "id": n, "title": "an offer", "price": price(n), "rank": n * 71 % 150,
                "seller": { "name": format!("seller {}", n % 11), "rating": n % 4 },
            })
        })
        .collect()
}

fn offer_settings(displayed: Value) -> Value {
    json!({
        "displayedAttributes": displayed,
        "filterableAttributes": ["seller.name", "price"],
        "sortableAttributes": ["price", "rank", "seller.rating"],
        "rankingRules": ["words", "typo", "sort", "exactness", "rank:desc"],
    })
}

fn orders() -> Vec<Value> {
    vec![
        json!({ "sort": ["price:asc"] }),
        json!({ "sort": ["price:desc"], "q": "offer" }),
        json!({ "sort": ["seller.rating:desc", "price:asc"], "offset": 30, "limit": 40 }),
        json!({ "q": "an offer", "page": 3, "hitsPerPage": 17 }),
        json!({ "sort": ["rank:asc"], "attributesToRetrieve": ["title"], "limit": 5 }),
    ]
}

#[test]
fn texts_numbers_lists_and_missing_values_are_sorted_as_on_one_server() {
    let both = Both::with(offer_settings(json!(["*"])), &offers());
    for body in orders() {
        both.alike(&["hits", "estimatedTotalHits", "totalHits"], body);
    }
}

#[test]
fn fields_that_are_not_displayed_order_hits_of_different_nodes() {
    let both = Both::with(offer_settings(json!(["id", "title"])), &offers());
    for mut body in orders() {
        let answer = both.alike(&["hits"], body.clone());
        assert!(answer["hits"][0].get("rank").is_none(), "what is hidden stays hidden: {answer}");
        body["showRankingScoreDetails"] = json!(true);
        both.alike(&["hits"], body);
    }
}

#[test]
fn a_distinct_attribute_that_is_not_displayed_tells_hits_apart() {
    let both = Both::with(offer_settings(json!(["id", "title"])), &offers());
    for body in [json!({ "distinct": "seller.name" }), json!({ "distinct": "seller.name", "sort": ["rank:asc"] })] {
        let answer = both.alike(&["hits"], body);
        assert_eq!(answer["hits"].as_array().map(Vec::len), Some(11));
        assert!(answer["hits"][0].get("seller").is_none(), "{answer}");
    }
}

/// 1,500 articles of 600 brands, some without a brand.
fn articles() -> Vec<Value> {
    (0..1_500)
        .map(|n| {
            let mut article = json!({ "id": n, "title": "article", "rank": n * 7 % 1_500 });
            if n % 50 != 0 {
                article["brand"] = json!(format!("brand {}", n % 600));
            }
            article
        })
        .collect()
}

#[test]
fn different_values_are_counted_once_over_all_nodes() {
    let settings = json!({
        "filterableAttributes": ["brand", "rank"],
        "rankingRules": ["words", "rank:asc"],
    });
    let both = Both::with(settings, &articles());
    let exact = ["hits", "totalHits", "totalPages", "hitsPerPage"];
    for body in [
        json!({ "distinct": "brand", "page": 1, "hitsPerPage": 20 }),
        json!({ "distinct": "brand", "page": 29, "hitsPerPage": 20, "q": "article" }),
        json!({ "distinct": "brand", "page": 1, "hitsPerPage": 1000, "facets": ["brand"] }),
        json!({ "distinct": "brand", "page": 1, "hitsPerPage": 5, "filter": "rank < 40", "facets": ["brand"] }),
        json!({ "distinct": "brand", "hitsPerPage": 0 }),
    ] {
        let answer = both.alike(&exact, body.clone());
        if body.get("facets").is_some() {
            both.alike(&["facetDistribution"], body);
        }
        assert!(answer["totalHits"].as_u64() > Some(0));
    }
    // As a setting, which needs no filterable attribute, and where a page without end shows all there is.
    both.set(json!({ "distinctAttribute": "brand", "filterableAttributes": ["rank"] }));
    both.alike(&exact, json!({ "page": 2, "hitsPerPage": 30, "attributesToRetrieve": ["id"] }));
    both.alike(&["hits", "estimatedTotalHits"], json!({ "filter": "rank < 300", "limit": 1000 }));
}

#[test]
fn values_in_several_spellings_are_one() {
    let spellings = ["Rock & Roll", "rock & roll", " ROCK & ROLL ", "Ｒock & Roll", "roc", "Röck"];
    let documents: Vec<Value> = (0..120)
        .map(|n| json!({ "id": n, "genre": spellings[n % spellings.len()], "kind": [n % 2 == 0, n % 3] }))
        .collect();
    let both = Both::with(json!({ "filterableAttributes": ["genre", "kind"] }), &documents);
    let [got, expected] = both.ask(&json!({ "facets": ["*"], "distinct": "genre", "page": 1 }));
    assert_eq!(got["totalHits"], expected["totalHits"]);
    let [got, expected] = both.ask(&json!({ "facets": ["genre", "kind"] }));
    let counts = |answer: &Value| -> Vec<u64> {
        let genres = answer["facetDistribution"]["genre"].as_object().expect("counts");
        genres.values().filter_map(Value::as_u64).collect()
    };
    assert_eq!(counts(&got), counts(&expected), "{got} {expected}");
    assert_eq!(got["facetDistribution"]["kind"], expected["facetDistribution"]["kind"]);
    // Which spelling stands for a value is that of the document that was added first, which the nodes do not tell.
    let shown = got["facetDistribution"]["genre"].as_object().expect("counts");
    assert!(shown.keys().all(|value| spellings.contains(&value.as_str())), "{shown:?}");
}

#[test]
fn places_are_sorted_in_both_directions_and_documents_without_one_come_last() {
    let documents: Vec<Value> = (0..90)
        .map(|n| {
            let mut place = json!({ "id": n, "name": "place", "rank": n });
            if n % 9 != 0 {
                place["_geo"] = json!({ "lat": (n * 37 % 90) as f64 / 2.0, "lng": (n * 53 % 180) as f64 });
            }
            place
        })
        .collect();
    let settings = json!({
        "sortableAttributes": ["_geo", "rank"],
        "filterableAttributes": ["_geo"],
        "rankingRules": ["sort", "words", "rank:desc"],
    });
    let both = Both::with(settings, &documents);
    for direction in ["asc", "desc"] {
        for body in [
            json!({ "sort": [format!("_geoPoint(20.1, 30.2):{direction}")], "limit": 100 }),
            json!({ "q": "place", "sort": [format!("_geoPoint(-10, 170):{direction}"), "rank:asc"], "offset": 70 }),
        ] {
            both.alike(&["hits", "estimatedTotalHits"], body);
        }
    }
}

/// 240 packages whose names begin alike, of many sizes. One alone, the last, has the word `plu`, so that two of three nodes do
/// not know it; `quick` is everywhere.
fn packages() -> Vec<Value> {
    let name = |n: usize| match n % 6 {
        0 => format!("geany-plugin-{n}"),
        1 => format!("geany-plugins {n}"),
        2 => format!("the geany-plugin-{n}"),
        3 => format!("geany quick-{n}"),
        4 => "geany".to_owned(),
        _ => format!("a plugin of geany {n}"),
    };
    let package = |n: usize| json!({ "id": n, "name": name(n), "text": "geany plugin", "size": n * 77 % 240 });
    (0..239).map(package).chain([json!({ "id": 239, "name": "geany plu", "text": "none", "size": 500 })]).collect()
}

#[test]
fn a_word_that_only_some_nodes_know_counts_as_on_one_server() {
    let settings = json!({
        "searchableAttributes": ["name", "text"],
        "rankingRules": ["words", "typo", "exactness", "size:desc", "proximity"],
    });
    let both = Both::with(settings, &packages());
    for rules in [json!(["words", "typo", "exactness", "size:desc"]), json!(["typo", "words", "exactness", "size:asc"])]
    {
        both.set(json!({ "rankingRules": rules }));
        for query in ["geany plu", "geany plug", "geany qui", "geany quick", "the geany plu", "plu", "\"geany\" plu"] {
            for strategy in ["last", "all"] {
                for paging in [json!({ "limit": 7 }), json!({ "offset": 30, "limit": 40 }), json!({ "page": 2 })] {
                    let mut body = json!({ "q": query, "matchingStrategy": strategy });
                    body.as_object_mut().expect("an object").extend(paging.as_object().cloned().expect("an object"));
                    both.alike(&["hits", "estimatedTotalHits", "totalHits"], body);
                }
            }
        }
    }
}

#[test]
fn a_word_that_only_some_nodes_know_counts_in_a_federated_search_as_by_itself() {
    let settings = json!({
        "searchableAttributes": ["name", "text"],
        "filterableAttributes": ["size"],
        "rankingRules": ["words", "typo", "exactness", "size:desc"],
    });
    let both = Both::with(settings, &packages());
    let ids = |answer: &Value| -> Vec<(Value, Value)> {
        let hits = answer["hits"].as_array().expect("hits").iter();
        hits.map(|hit| (hit["id"].clone(), hit["_federation"]["queriesPosition"].clone())).collect()
    };
    for query in ["geany plu", "geany qui", "the geany plu"] {
        for paging in [json!({ "limit": 7 }), json!({ "offset": 30, "limit": 40 }), json!({ "page": 2 })] {
            let other = json!({ "indexUid": "i", "q": "plugin", "filter": "size < 50" });
            let body = json!({ "queries": [{ "indexUid": "i", "q": query }, other], "federation": paging });
            let [got, expected] = [both.cluster.client(), both.single.client()]
                .map(|client| client.post("/multi-search", body.clone()).expect_status(200));
            assert_eq!(ids(&got), ids(&expected), "{body}");
            for total in ["estimatedTotalHits", "totalHits"] {
                assert_eq!(got[total], expected[total], "{body}");
            }
        }
    }
}

#[test]
fn searches_whose_matches_show_their_last_word_are_asked_once() {
    let both = Both::with(json!({}), &packages());
    let requests = || {
        let metrics = support::Client::new(&both.cluster.metrics_url, None).get("").text;
        let counts = metrics.lines().filter(|line| line.starts_with("miroir_node_request_duration_seconds_count{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    // Health checks ask nodes too: of several tries one is between two of them.
    let fewest = |query: &str| {
        let asked = (0..5).map(|_| {
            let before = requests();
            both.cluster.client().search("i", json!({ "q": query }));
            requests() - before
        });
        asked.min().expect("tries")
    };
    for query in ["geany", "geany plugin", "geany plugins ", "geany quick"] {
        assert_eq!(fewest(query), 3, "{query}");
    }
}
