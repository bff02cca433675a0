//! Several searches in one request, over three nodes: each answered as by one server, or all with its one list.

mod support;

use fastrand::Rng;
use serde_json::{json, Value};
use support::{Both, Client, Cluster, ClusterOptions};

const WORDS: [&str; 24] = [
    "amber", "river", "stone", "winter", "garden", "silver", "mountain", "window", "letter", "shadow", "bridge",
    "candle", "forest", "harbour", "island", "journey", "kitchen", "lantern", "meadow", "northern", "orchard",
    "painter", "quarry", "station",
];

fn documents(seed: u64, count: usize) -> Vec<Value> {
    let mut random = Rng::with_seed(seed);
    let mut text = |most: usize| {
        let count = random.usize(1..=most);
        (0..count).map(|_| random.choice(WORDS).expect("words")).collect::<Vec<_>>().join(" ")
    };
    let document = |n: usize| {
        let genre = ["novel", "poem", "Essay"][n * 7 % 3];
        let mut document = json!({
            "id": n, "title": text(3), "text": text(12), "genre": genre,
            "brand": format!("b{}", n * n % 37), "_geo": { "lat": (n * 7 % 60) as f64, "lng": (n * 11 % 90) as f64 },
        });
        if !n.is_multiple_of(9) {
            document["price"] = json!(n * 37 % 50);
        }
        document
    };
    (0..count).map(document).collect()
}

fn settings() -> Value {
    json!({
        "filterableAttributes": ["id", "genre", "price", "brand", "_geo"],
        "sortableAttributes": ["id", "price", "_geo"],
        "faceting": { "maxValuesPerFacet": 5 },
    })
}

/// Two indexes of a few hundred documents each.
fn both() -> Both {
    let both = Both::with(settings(), documents(1, 260));
    both.add_index("j", settings(), documents(2, 240));
    both
}

fn results(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().unwrap_or_else(|| panic!("no results in {answer}"))
}

fn hits(answer: &Value) -> &Vec<Value> {
    answer["hits"].as_array().unwrap_or_else(|| panic!("no hits in {answer}"))
}

/// An answer without what says how long it took and which request it was.
fn comparable(mut answer: Value) -> Value {
    let members = answer.as_object_mut().expect("an object");
    members.retain(|name, _| !matches!(name.as_str(), "processingTimeMs" | "requestUid"));
    answer
}

#[test]
fn every_query_is_answered_as_by_itself() {
    let both = both();
    let sorted = |mut query: Value| {
        query["sort"] = json!(["id:asc"]);
        query
    };
    let queries = [
        json!({ "indexUid": "i", "q": "river", "limit": 3, "sort": ["id:asc"], "matchingStrategy": "all" }),
        sorted(json!({ "indexUid": "j", "q": "", "facets": ["genre", "price"], "page": 2, "hitsPerPage": 7 })),
        sorted(json!({ "indexUid": "i", "filter": "price > 10 AND genre = poem", "limit": null, "offset": 4 })),
        sorted(json!({ "indexUid": "i", "q": "", "attributesToRetrieve": ["title"], "limit": 2 })),
        json!({ "indexUid": "j", "q": "\"no such words\"", "showRankingScore": true }),
        sorted(json!({ "indexUid": "j", "q": "", "distinct": "brand", "limit": 4 })),
        json!({ "indexUid": "i", "q": "amber stone", "matchingStrategy": "frequency", "limit": 0 }),
        sorted(json!({ "indexUid": "i", "filter": "id = 12" })),
    ];
    let body = json!({ "queries": queries });
    let [got, expected] = both.post("/multi-search", &body).map(|answer| answer.expect_status(200));
    assert_eq!(results(&got).len(), queries.len());
    for (n, query) in queries.iter().enumerate() {
        let (got, expected) = (results(&got)[n].clone(), results(&expected)[n].clone());
        let mut expected = comparable(expected);
        // What relevancy leaves open falls by the nodes' own order.
        let (got_hits, expected_hits) = (hits(&got).len(), hits(&expected).len());
        let mut got = comparable(got);
        assert_eq!(got_hits, expected_hits, "{query}");
        if query["sort"].is_null() || query["q"] != "" && query["q"].is_string() {
            got["hits"] = Value::Null;
            expected["hits"] = Value::Null;
        }
        if query.get("distinct").is_some() {
            // Under `distinct` totals are estimates.
            expected["estimatedTotalHits"] = got["estimatedTotalHits"].clone();
        }
        assert_eq!(got, expected, "{query}");
    }
    let uids: Vec<&Value> = results(&got).iter().map(|result| &result["requestUid"]).collect();
    assert!(uids.iter().all(|uid| uid.is_string() && *uid == uids[0]), "one request: {uids:?}");
    assert!(!got.to_string().contains("_miroir"), "{got}");
    let [got, expected] = both.post("/multi-search", &json!({ "queries": [] })).map(|answer| answer.expect_status(200));
    assert_eq!(got, expected);
}

#[test]
fn queries_to_one_node_travel_in_one_request() {
    let both = both();
    let requests = || {
        let metrics = Client::new(&both.cluster.metrics_url, None).get("").text;
        let of_nodes = metrics.lines().filter(|line| line.starts_with("miroir_node_request_duration_seconds_count{"));
        of_nodes.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let searching = |queries: usize| {
        let queries: Vec<Value> = (0..queries)
            .map(|n| json!({ "indexUid": if n % 2 == 0 { "i" } else { "j" }, "q": WORDS[n % 24] }))
            .collect();
        json!({ "queries": queries })
    };
    // Health checks ask nodes too: of several tries one is between two of them.
    let fewest = |body: Value| {
        let asked = (0..5).map(|_| {
            let before = requests();
            both.cluster.post("/multi-search", body.clone()).expect_status(200);
            requests() - before
        });
        asked.min().expect("tries")
    };
    assert_eq!(fewest(searching(1)), 3);
    assert_eq!(fewest(searching(30)), 3);
    let mut one_list = searching(9);
    one_list["federation"] = json!({});
    assert_eq!(fewest(one_list), 3);
    // Only one node can have this document.
    let of_one = json!({ "queries": [{ "indexUid": "i", "filter": "id = 12" }], "federation": {} });
    assert_eq!(fewest(of_one.clone()), 1);
    let [got, expected] = federated(&both, &of_one);
    assert_eq!((&got, got.len()), (&expected, 1));
}

#[test]
fn a_fault_is_named_as_by_one_server_in_the_first_query_that_has_one() {
    let both = both();
    for queries in [
        json!([{ "indexUid": "i" }, { "indexUid": "nowhere" }]),
        json!([{ "indexUid": "nowhere" }, { "indexUid": "i", "sort": ["title:asc"] }]),
        json!([{ "indexUid": "i" }, { "indexUid": "j", "sort": ["title:asc"] }, { "indexUid": "nowhere" }]),
        json!([{ "indexUid": "i", "filter": "id = 3 AND title = 1" }, { "indexUid": "j", "filter": "price >" }]),
        json!([{ "indexUid": "i" }, { "indexUid": "j", "limit": -1 }]),
        json!([{ "indexUid": "i" }, { "indexUid": "j", "unknown": 1 }]),
        json!([{ "indexUid": "i" }, { "q": "river" }]),
        json!([{ "indexUid": "a b" }]),
        json!([{ "indexUid": "i", "federationOptions": { "weight": 1.0 } }]),
        json!([{ "indexUid": "i", "facets": ["title"] }]),
        json!("queries"),
        json!(null),
    ] {
        both.refuse_alike("/multi-search", &json!({ "queries": queries }));
    }
    both.refuse_alike("/multi-search", &json!({}));
    both.refuse_alike("/multi-search", &json!({ "queries": [], "unknown": 1 }));
    let too_many: Vec<Value> = (0..101).map(|_| json!({ "indexUid": "i", "limit": 0 })).collect();
    let refused = both.cluster.post("/multi-search", json!({ "queries": too_many }));
    refused.expect_error(400, "miroir_too_many_queries");
    both.cluster.post("/multi-search", json!({ "queries": too_many[1..] })).expect_status(200);
}

#[test]
fn a_federated_request_is_refused_as_by_one_server() {
    let both = both();
    let query = |members: Value| {
        let mut query = json!({ "indexUid": "i", "q": "river" });
        query.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        query
    };
    for (queries, federation) in [
        (json!([query(json!({})), query(json!({ "limit": 3 }))]), json!({})),
        (json!([query(json!({ "offset": 3 }))]), json!({})),
        (json!([query(json!({ "page": 3 }))]), json!({})),
        (json!([query(json!({ "hitsPerPage": 3 }))]), json!({})),
        (json!([query(json!({ "facets": ["genre"] }))]), json!({})),
        (json!([query(json!({ "federationOptions": { "weight": -1.0 } }))]), json!({})),
        (json!([query(json!({ "federationOptions": { "remote": "other" } }))]), json!({})),
        (json!([query(json!({ "federationOptions": { "queryPosition": 7 } }))]), json!({})),
        (json!([query(json!({ "federationOptions": { "unknown": 7 } }))]), json!({})),
        (json!([query(json!({ "distinct": "brand" }))]), json!({ "distinct": "brand" })),
        (json!([query(json!({ "showPerformanceDetails": true }))]), json!({})),
        (json!([query(json!({ "indexUid": "nowhere" }))]), json!({})),
        (json!([query(json!({ "sort": ["id:asc"] })), query(json!({ "sort": ["id:desc"] }))]), json!({})),
        (json!([query(json!({}))]), json!({ "limit": -1 })),
        (json!([query(json!({}))]), json!({ "unknown": 1 })),
        (json!([query(json!({}))]), json!({ "facetsByIndex": { "i": ["title"] } })),
        (json!([query(json!({}))]), json!({ "facetsByIndex": { "j": ["title"] } })),
        (json!([query(json!({}))]), json!({ "facetsByIndex": { "nowhere": ["title"] } })),
        (json!([query(json!({}))]), json!({ "mergeFacets": { "maxValuesPerFacet": "x" } })),
        (json!([query(json!({}))]), json!([])),
    ] {
        both.refuse_alike("/multi-search", &json!({ "queries": queries, "federation": federation }));
    }
    let by_count = json!({ "faceting": { "sortFacetValuesBy": { "genre": "count" } } });
    for client in both.clients() {
        client.succeed(client.patch("/indexes/j/settings", by_count.clone()));
    }
    let queries = json!([query(json!({})), query(json!({ "indexUid": "j" }))]);
    let facets = json!({ "i": ["genre"], "j": ["genre"] });
    let federation = json!({ "facetsByIndex": facets, "mergeFacets": {} });
    both.refuse_alike("/multi-search", &json!({ "queries": queries, "federation": federation }));
}

/// Requests that a seed makes up.
struct Generator(Rng);

impl Generator {
    fn chance(&mut self, of: f64) -> bool {
        self.0.f64() < of
    }

    fn words(&mut self) -> String {
        let count = self.0.usize(0..=3);
        let mut words: Vec<String> = (0..count).map(|_| self.0.choice(WORDS).expect("words").to_owned()).collect();
        if let (Some(last), true) = (words.last_mut(), self.chance(0.2)) {
            // A typo.
            last.replace_range(2..3, "x");
        }
        words.join(" ")
    }

    fn request(&mut self) -> Value {
        let sort = match self.0.usize(0..6) {
            0 => Some(json!(["id:asc"])),
            1 => Some(json!(["price:desc", "id:asc"])),
            _ => None,
        };
        let count = self.0.usize(1..=4);
        let queries: Vec<Value> = (0..count)
            .map(|_| {
                let index = if self.chance(0.5) { "i" } else { "j" };
                let mut query = json!({ "indexUid": index, "q": self.words() });
                if self.chance(0.3) {
                    query["filter"] = json!(self.0.choice(["price > 20", "genre = poem", "price < 10 OR brand = b1"]));
                }
                if self.chance(0.4) {
                    query["federationOptions"] = json!({ "weight": self.0.choice([0.5, 0.9, 1.0, 1.3, 2.0]) });
                }
                if let Some(sort) = &sort {
                    query["sort"] = sort.clone();
                }
                if self.chance(0.2) {
                    query["matchingStrategy"] = json!("all");
                }
                query
            })
            .collect();
        let mut federation = match self.0.usize(0..3) {
            0 => json!({}),
            1 => json!({ "offset": self.0.usize(0..30), "limit": self.0.usize(0..30) }),
            _ => json!({ "page": self.0.usize(1..5), "hitsPerPage": self.0.usize(1..15) }),
        };
        if self.chance(0.4) {
            federation["facetsByIndex"] = json!({ "i": ["genre", "price"], "j": ["genre"] });
            if self.chance(0.5) {
                federation["mergeFacets"] = json!({ "maxValuesPerFacet": self.0.usize(1..8) });
            }
        }
        json!({ "queries": queries, "federation": federation })
    }
}

/// The document that a hit is, with the query that is said to have found it.
fn origin(hit: &Value) -> (String, u64, u64) {
    let federation = &hit["_federation"];
    let uid = federation["indexUid"].as_str().unwrap_or_else(|| panic!("no origin in {hit}"));
    (uid.to_owned(), hit["id"].as_u64().expect("an id"), federation["queriesPosition"].as_u64().expect("a position"))
}

/// Says what differs between two pages, where `all` has the ranks of all documents: not the order of hits of one rank.
fn difference(got: &Value, expected: &Value, all: &Value, is_sorted: bool) -> Option<String> {
    for member in [
        "limit",
        "offset",
        "estimatedTotalHits",
        "page",
        "hitsPerPage",
        "totalHits",
        "totalPages",
        "facetsByIndex",
        "facetDistribution",
        "facetStats",
    ] {
        if got[member] != expected[member] {
            return Some(format!("{member}: {} instead of {}", got[member], expected[member]));
        }
    }
    let (got, expected) = (hits(got), hits(expected));
    if got.len() != expected.len() {
        return Some(format!("{} hits instead of {}", got.len(), expected.len()));
    }
    let rank = |hit: &Value| {
        let (uid, id, _) = origin(hit);
        let of_all = hits(all).iter().find(|other| (origin(other).0, origin(other).1) == (uid.clone(), id))?;
        let score = of_all["_federation"]["weightedRankingScore"].as_f64()?;
        Some(if is_sorted { (0.0, of_all["price"].to_string()) } else { ((score * 1e9).round(), String::new()) })
    };
    for (n, (got, expected)) in got.iter().zip(expected).enumerate() {
        if origin(got) != origin(expected) && rank(got) != rank(expected) {
            return Some(format!("hit {n}: {got} {:?} instead of {expected} {:?}", rank(got), rank(expected)));
        }
    }
    None
}

#[test]
fn generated_federated_requests_have_the_list_of_one_server() {
    const REQUESTS: usize = 150;
    let both = both();
    let seed = std::env::var("MIROIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    let mut generator = Generator(Rng::with_seed(seed));
    let mut differences = Vec::new();
    let mut answered = 0;
    for _ in 0..REQUESTS {
        let body = generator.request();
        let [got, expected] = both.post("/multi-search", &body);
        assert_eq!(got.status, expected.status, "{body}: {} instead of {}", got.text, expected.text);
        if expected.status != 200 {
            // A sort by itself and one after relevancy do not go into one list.
            assert_eq!(got.body, expected.body, "{body}");
            continue;
        }
        answered += 1;
        let (got, expected) = (got.body, expected.body);
        assert!(!got.to_string().contains("_miroir"), "{got}");
        let mut whole = body.clone();
        whole["federation"] = json!({ "limit": 1000 });
        let all = both.single.client().post("/multi-search", whole).expect_status(200);
        let is_sorted = !body["queries"][0]["sort"].is_null();
        differences.extend(difference(&got, &expected, &all, is_sorted).map(|what| format!("{body}\n  {what}\n")));
    }
    eprintln!("{} of {answered} differ (seed {seed}):\n{}", differences.len(), differences.concat());
    assert!(answered > REQUESTS / 2, "only {answered} are answered");
    assert!(differences.len() * 100 <= answered * 3, "{} of {answered} differ", differences.len());
}

#[test]
fn hits_of_one_distinct_value_are_shown_once_over_all_indexes() {
    let both = both();
    let body = json!({
        "queries": [{ "indexUid": "i", "q": "river" }, { "indexUid": "j", "q": "stone" }, { "indexUid": "i", "q": "amber" }],
        "federation": { "distinct": "brand", "limit": 100 },
    });
    let [got, expected] = both.post("/multi-search", &body).map(|answer| answer.expect_status(200));
    let brands = |answer: &Value| {
        let mut brands: Vec<String> = hits(answer).iter().map(|hit| hit["brand"].to_string()).collect();
        brands.sort();
        brands
    };
    let once = brands(&got);
    assert!(once.windows(2).all(|two| two[0] != two[1]) && once.len() > 10, "{once:?}");
    assert_eq!(once, brands(&expected));
}

#[test]
fn indexes_are_called_as_the_client_calls_them() {
    let cluster = Cluster::start(ClusterOptions::default());
    for (uid, seed) in [("i", 1), ("j", 2)] {
        cluster.succeed(cluster.client().patch(&format!("/indexes/{uid}/settings"), settings()));
        cluster.succeed(
            cluster
                .post(&format!("/indexes/{uid}/documents?primaryKey=id"), json!(documents(seed, 40 * seed as usize))),
        );
    }
    cluster.succeed(cluster.post("/swap-indexes", json!([{ "indexes": ["i", "j"] }])));

    let plain = json!({ "queries": [{ "indexUid": "i" }, { "indexUid": "j", "facets": ["genre"] }] });
    let answer = cluster.post("/multi-search", plain).expect_status(200);
    let told: Vec<_> =
        results(&answer).iter().map(|result| (&result["indexUid"], &result["estimatedTotalHits"])).collect();
    assert_eq!(told, [(&json!("i"), &json!(80)), (&json!("j"), &json!(40))]);

    let federation = json!({ "facetsByIndex": { "i": ["genre"] }, "limit": 200 });
    let federated = json!({ "queries": [{ "indexUid": "i" }, { "indexUid": "j" }], "federation": federation });
    let answer = cluster.post("/multi-search", federated).expect_status(200);
    let of = |uid: &str| hits(&answer).iter().filter(|hit| origin(hit).0 == uid).count();
    assert_eq!((of("i"), of("j")), (80, 40));
    let counts = answer["facetsByIndex"]["i"]["distribution"]["genre"].as_object().expect("counts").values();
    assert_eq!(counts.filter_map(Value::as_u64).sum::<u64>(), 80);

    let refused = json!({ "queries": [{ "indexUid": "j" }, { "indexUid": "i", "sort": ["title:asc"] }] });
    let refused = cluster.post("/multi-search", refused).expect_error(400, "invalid_search_sort");
    assert!(refused["message"].as_str().expect("a message").starts_with("Inside `.queries[1]`: "), "{refused}");
}

#[test]
fn a_key_finds_what_it_may_see() {
    let cluster = Cluster::start(ClusterOptions { nodes: 2, ..ClusterOptions::default() });
    for uid in ["i", "j"] {
        cluster.succeed(cluster.post(&format!("/indexes/{uid}/documents?primaryKey=id"), json!(documents(1, 20))));
    }
    let key = json!({ "actions": ["search"], "indexes": ["i"], "expiresAt": null });
    let key = cluster.post("/keys", key).expect_status(201)["key"].as_str().expect("a key").to_owned();
    let holder = cluster.client_with(Some(&key));
    let queries = |uids: [&str; 2]| uids.map(|uid| json!({ "indexUid": uid }));
    for federation in [json!(null), json!({})] {
        let body = json!({ "queries": queries(["i", "i"]), "federation": federation });
        holder.post("/multi-search", body).expect_status(200);
        let body = json!({ "queries": queries(["i", "j"]), "federation": federation });
        let refused = holder.post("/multi-search", body).expect_error(403, "invalid_api_key");
        assert_eq!(refused["message"], "Inside `.queries[1]`: The provided API key is invalid.");
    }
}

#[test]
fn a_node_that_dies_costs_no_query() {
    let cluster = Cluster::start(ClusterOptions { replication_factor: 2, ..ClusterOptions::default() });
    for (uid, seed) in [("i", 1), ("j", 2)] {
        cluster.succeed(cluster.post(&format!("/indexes/{uid}/documents?primaryKey=id"), json!(documents(seed, 100))));
    }
    let plain = json!({ "queries": [{ "indexUid": "i", "limit": 200 }, { "indexUid": "j", "limit": 0 }] });
    let federated = json!({
        "queries": [{ "indexUid": "i" }, { "indexUid": "j" }], "federation": { "limit": 300 }
    });
    support::kill(cluster.nodes[1].pid);
    for _ in 0..3 {
        let answer = cluster.post("/multi-search", plain.clone());
        assert_eq!(answer.header("x-miroir-degraded"), None);
        let answer = answer.expect_status(200);
        assert_eq!((hits(&results(&answer)[0]).len(), &results(&answer)[1]["estimatedTotalHits"]), (100, &json!(100)));
        let answer = cluster.post("/multi-search", federated.clone()).expect_status(200);
        assert_eq!((hits(&answer).len(), &answer["estimatedTotalHits"]), (200, &json!(200)));
    }
}

/// The ids of a federated list, in order.
fn federated(both: &Both, body: &Value) -> [Vec<Value>; 2] {
    let answers = both.post("/multi-search", body).map(|answer| answer.expect_status(200));
    answers.map(|answer| hits(&answer).iter().map(|hit| hit["id"].clone()).collect())
}

#[test]
fn fields_that_are_not_displayed_order_a_federated_list() {
    let hidden = |extra: Value| {
        let mut settings = settings();
        settings["displayedAttributes"] = json!(["id", "title"]);
        settings.as_object_mut().expect("an object").extend(extra.as_object().cloned().expect("an object"));
        settings
    };
    let both = Both::with(
        hidden(json!({ "rankingRules": ["words", "sort", "typo", "price:desc", "id:asc"] })),
        documents(3, 200),
    );
    both.add_index("j", hidden(json!({})), documents(4, 150));
    let lists = [
        json!([{ "indexUid": "i", "q": "", "sort": ["price:asc", "id:asc"] }]),
        json!([{ "indexUid": "i", "q": "river stone", "matchingStrategy": "all" }]),
        json!([
            { "indexUid": "i", "sort": ["price:desc", "id:desc"], "attributesToRetrieve": ["title", "id"] },
            { "indexUid": "j", "sort": ["price:desc", "id:desc"] },
        ]),
        json!([{ "indexUid": "i", "sort": ["id:asc"], "distinct": "brand" }]),
    ];
    for queries in lists {
        for paging in [json!({}), json!({ "offset": 15, "limit": 30 })] {
            let body = json!({ "queries": queries, "federation": paging });
            let [got, expected] = federated(&both, &body);
            assert_eq!(got, expected, "{body}");
        }
    }
}
