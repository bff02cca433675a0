//! What is asked of whom: filters as Meilisearch reads them, narrowing, Miroir's own field, searches of one node.

mod support;

use std::time::Duration;

use serde_json::{json, Value};
use support::{wait_until, Answer, Client, Cluster, ClusterOptions, SingleServer};

/// A cluster and one server with the same documents and settings.
struct Both {
    cluster: Cluster,
    single: SingleServer,
}

impl Both {
    fn with(options: ClusterOptions, settings: &Value, documents: &[Value]) -> Self {
        let both = Self { cluster: Cluster::start(options), single: SingleServer::start() };
        for client in [both.cluster.client(), both.single.client()] {
            client.succeed(client.patch("/indexes/i/settings", settings.clone()));
            client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(documents)));
        }
        both
    }

    /// What both answer to the same request.
    fn post(&self, path: &str, body: &Value) -> [Answer; 2] {
        [self.cluster.client(), self.single.client()].map(|client: &Client| client.post(path, body.clone()))
    }

    /// The sum of a metric's values whose labels contain `label`.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let text = Client::new(&self.cluster.metrics_url, None).get("").text;
        let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// Documents whose ids run into each other where Meilisearch compares them: by case, by number, by what a floating-point
/// number can hold.
fn documents() -> Vec<Value> {
    let mut ids: Vec<Value> =
        ["abc", "ABC", "aBc", "a-1", "A-1", "07", "7e0", "7E0", "1e1", "x_9", "k7", "K7", "0", "-3"]
            .into_iter()
            .map(Value::from)
            .collect();
    ids.extend((1..40).map(Value::from));
    ids.extend([9_007_199_254_740_991u64, 9_007_199_254_740_992, 9_007_199_254_740_993].map(Value::from));
    let document = |(n, id): (usize, Value)| json!({ "id": id, "n": n, "kind": format!("kind {}", n % 5), "title": format!("a title of {}", n % 7) });
    ids.into_iter().enumerate().map(document).collect()
}

fn settings() -> Value {
    json!({ "filterableAttributes": ["id", "n", "kind"], "sortableAttributes": ["n"] })
}

const NARROWING: [&str; 21] = [
    "id = abc",
    "id = ABC AND n >= 0",
    "id = 7",
    "id = '7.0'",
    "id = 07",
    "id = 7e0",
    "id = ' 10 '",
    "id = 1e1",
    "id = '-3' OR id = a-1",
    "id = 9007199254740991",
    "id = 9007199254740992",
    "id = 9007199254740993",
    "id IN [1, 2, abc, K7, 99]",
    "id IN []",
    "id IN [1, 2] AND id IN [2, 3]",
    "id IN [1, 2, 3, 4, 5] AND NOT n EXISTS",
    "(id = 5 AND kind = 'kind 1') OR id = 6",
    "kind = 'kind 2' AND id IN [5, 6, 7, 8, 9, 10, 11, 12]",
    "id = absent",
    "id = x_9 AND title = 1",
    "id = 0 AND id = 0",
];

const NOT_NARROWING: [&str; 8] = [
    "id = 7 OR kind = 'kind 1'",
    "NOT id = 7",
    "id != 7",
    "id = '\u{212a}7'",
    "id > 7",
    "id NOT IN [7, abc]",
    "kind = 'kind 1'",
    "id = 7 OR",
];

#[test]
fn narrowing_never_changes_an_answer() {
    let both = Both::with(ClusterOptions { replication_factor: 2, ..Default::default() }, &settings(), &documents());
    for filter in NARROWING.into_iter().chain(NOT_NARROWING) {
        let body = json!({ "filter": filter, "sort": ["n:asc"], "facets": ["kind"], "limit": 100 });
        let [got, expected] = both.post("/indexes/i/search", &body);
        assert_eq!(got.status, expected.status, "{filter}");
        let (got, expected) = (got.body, expected.body);
        for member in ["hits", "estimatedTotalHits", "facetDistribution", "facetStats", "message", "code"] {
            assert_eq!(got[member], expected[member], "{member} of {filter}");
        }
        let body = json!({ "filter": filter, "facetName": "kind", "facetQuery": "kind" });
        let [got, expected] = both.post("/indexes/i/facet-search", &body).map(|answer| answer.body);
        for member in ["facetHits", "message"] {
            assert_eq!(got[member], expected[member], "{member} of {filter}");
        }
        let body = json!({ "filter": filter, "sort": ["n:asc"], "limit": 100 });
        let [got, expected] = both.post("/indexes/i/documents/fetch", &body).map(|answer| answer.body);
        for member in ["results", "total", "message"] {
            assert_eq!(got[member], expected[member], "{member} of {filter}");
        }
    }
    let narrowed = both.metric("miroir_query_plan_narrowing_total", "narrowed");
    // `title` is not filterable, so one of them is refused; it is narrowed all the same.
    assert_eq!(narrowed, 3.0 * NARROWING.len() as f64);
}

#[test]
fn a_search_for_one_document_asks_one_node() {
    let both = Both::with(ClusterOptions::default(), &settings(), &documents());
    let legs_of = |body: Value| {
        let before = both.metric("miroir_scatter_fan_out_size_sum", "");
        both.cluster.client().search("i", body);
        both.metric("miroir_scatter_fan_out_size_sum", "") - before
    };
    assert_eq!(legs_of(json!({ "filter": "id = 7" })), 1.0);
    assert_eq!(legs_of(json!({ "filter": ["kind = 'kind 1'", "id = 7"] })), 1.0);
    assert_eq!(legs_of(json!({ "filter": "kind = 'kind 1'" })), 3.0);
    assert_eq!(legs_of(json!({ "filter": [["id = 7", "kind = 'kind 1'"]] })), 3.0);
}

#[test]
fn to_a_client_there_is_no_field_of_miroirs() {
    let both = Both::with(ClusterOptions::default(), &settings(), &documents());
    let search = "/indexes/i/search";
    let features = json!({ "facetSearch": true, "filter": { "equality": true, "comparison": true } });
    let everything = json!({ "filterableAttributes": [{ "attributePatterns": ["*"], "features": features }] });
    for settings in [json!({}), everything] {
        for client in [both.cluster.client(), both.single.client()] {
            client.succeed(client.patch("/indexes/i/settings", settings.clone()));
        }
        for (path, body) in [
            (search, json!({ "filter": "_miroir_shard = 3" })),
            (search, json!({ "filter": ["n > 3", ["kind = x", " '_miroir_shard' EXISTS"]] })),
            (search, json!({ "filter": "n = 3 AND _miroir_shard.x IN [3]" })),
            (search, json!({ "filter": "n = 3 OR NOT _miroir_shard EXISTS", "sort": ["n:asc"] })),
            (search, json!({ "filter": "kind = _miroir_shard" })),
            (search, json!({ "filter": "_miroir_shard = " })),
            (search, json!({ "filter": "absent = 3" })),
            (search, json!({ "sort": ["_miroir_shard:asc"] })),
            (search, json!({ "facets": ["_miroir_shard"] })),
            (search, json!({ "facets": ["absent"] })),
            (search, json!({ "distinct": "_miroir_shard" })),
            (search, json!({ "attributesToSearchOn": ["_miroir_shard"] })),
            ("/indexes/i/documents/fetch", json!({ "filter": "_miroir_shard = 3" })),
            ("/indexes/i/documents/fetch", json!({ "sort": ["_miroir_shard:asc"] })),
            ("/indexes/i/facet-search", json!({ "facetName": "_miroir_shard" })),
            ("/indexes/i/facet-search", json!({ "facetName": "absent" })),
            ("/indexes/i/facet-search", json!({ "facetName": "kind", "filter": "_miroir_shard = 3" })),
        ] {
            let [got, expected] = both.post(path, &body);
            assert_eq!(got.status, expected.status, "{body}: {}", got.body);
            let (got, expected) = (got.body, expected.body);
            for member in ["message", "code", "type", "estimatedTotalHits", "facetHits"] {
                // Where it is no error that Miroir's field is named, Meilisearch may list what it found.
                assert_eq!(got[member], expected[member], "{member} of {body}");
            }
        }
    }
}

/// What a client may see of two answers that are to be the same.
fn without_times(mut answer: Value) -> Value {
    for member in ["processingTimeMs", "requestUid"] {
        answer.as_object_mut().expect("an object").remove(member);
    }
    answer
}

#[test]
fn what_one_node_answers_alone_is_passed_on_whole() {
    let settings = json!({
        "filterableAttributes": ["id", "n", "kind"],
        "sortableAttributes": ["n"],
        "faceting": { "maxValuesPerFacet": 2, "sortFacetValuesBy": { "kind": "count" } },
    });
    let both = Both::with(ClusterOptions { nodes: 1, ..Default::default() }, &settings, &documents());
    for body in [
        json!({ "q": "title" }),
        json!({ "q": "title of 3", "matchingStrategy": "frequency", "offset": 3, "limit": 4 }),
        json!({ "q": "a titel", "showRankingScore": true, "showRankingScoreDetails": true, "showMatchesPosition": true }),
        json!({ "sort": ["n:desc"], "page": 2, "hitsPerPage": 7, "facets": ["*"] }),
        json!({ "facets": ["kind", "n"], "limit": 0 }),
        json!({ "distinct": "kind", "attributesToRetrieve": ["n"], "filter": "n > 7" }),
        json!({ "attributesToHighlight": ["*"], "q": "title", "limit": 2 }),
        json!({ "q": "ti\u{e003}tle", "limit": 3 }),
        json!({ "filter": "absent = 1" }),
        json!({ "filter": "id = 7" }),
    ] {
        // What is tied stands in the order in which it was taken in, and Miroir sends documents shard by shard.
        let mut body: Value = body;
        if body["sort"].is_null() {
            body["sort"] = json!(["n:asc"]);
        }
        let [got, expected] = both.post("/indexes/i/search", &body);
        assert_eq!(got.status, expected.status, "{body}: {}", got.text);
        assert!(!got.text.contains("_miroir_shard"), "{}", got.text);
        let mut expected = without_times(expected.body);
        if body["q"] == "ti\u{e003}tle" {
            // Miroir searches for what is left without such characters.
            expected["hits"] = both.single.client().search("i", json!({ "q": "title", "limit": 3, "sort": ["n:asc"] }))
                ["hits"]
                .clone();
            expected["estimatedTotalHits"] = got.body["estimatedTotalHits"].clone();
        }
        assert_eq!(without_times(got.body), expected, "{body}");
    }
    assert!(both.metric("miroir_query_plan_one_node_total", "") >= 9.0);
}

#[test]
fn a_search_that_one_node_was_to_answer_goes_to_others_when_it_is_dead() {
    let both = Both::with(ClusterOptions { replication_factor: 2, ..Default::default() }, &settings(), &documents());
    both.cluster.kill_node(1);
    for id in (1..40).map(|id| id.to_string()).chain(["x_9".to_owned(), "1e1".to_owned()]) {
        let body = json!({ "filter": format!("id IN [{id}, 0]"), "sort": ["n:asc"] });
        let [got, expected] = both.post("/indexes/i/search", &body);
        assert_eq!(without_times(got.body), without_times(expected.body), "{id}");
    }
}

#[test]
fn a_search_is_explained_without_being_run() {
    let both = Both::with(ClusterOptions::default(), &settings(), &documents());
    let explain = "/indexes/i/explain";
    let of = |body: Value| both.cluster.client().post(explain, body).expect_status(200);
    let narrowed = of(json!({ "filter": "id = 7 AND n > 1" }));
    assert_eq!(narrowed["narrowing"]["narrowed"], true);
    assert_eq!(narrowed["shards"].as_array().map(Vec::len), Some(1));
    assert_eq!(narrowed["legs"].as_array().map(Vec::len), Some(1));
    assert_eq!(narrowed["legs"][0]["asked"], "the search as it is");
    assert_eq!(narrowed["legs"][0]["restricted"], true);
    assert_eq!(narrowed["warnings"], json!([]));
    assert_eq!(narrowed["execution"], Value::Null);

    let broad = of(json!({ "filter": "id = 7 OR title = 1", "offset": 5000 }));
    assert_eq!(
        (&broad["narrowing"]["narrowed"], &broad["narrowing"]["reason"]),
        (&json!(false), &json!("key_not_forced"))
    );
    assert_eq!(broad["legs"].as_array().map(Vec::len), Some(3));
    let codes = |answer: &Value| -> Vec<String> {
        let warnings = answer["warnings"].as_array().expect("warnings");
        warnings.iter().map(|warning| warning["code"].as_str().expect("a code").to_owned()).collect()
    };
    assert_eq!(codes(&broad), ["not_filterable", "not_narrowed", "deep_page"]);
    assert!(!broad.to_string().contains("_miroir_shard"));

    let run = both.cluster.client().post("/indexes/i/explain?execute=true", json!({ "q": "title" })).expect_status(200);
    let legs = run["execution"]["legs"].as_array().expect("legs");
    assert_eq!(legs.len(), 3);
    assert!(legs.iter().all(|leg| leg["ms"].as_f64() > Some(0.0) && leg["nodeMs"].is_u64()), "{run}");
    let total: u64 = legs.iter().filter_map(|leg| leg["total"].as_u64()).sum();
    assert_eq!(total, documents().len() as u64);

    let [first, again] = [(); 2].map(|()| of(json!({ "q": "x", "limit": 5 })));
    assert!(["load", "chance"].map(Value::from).contains(&first["replicas"]["chosenBy"]), "{first}");
    assert_eq!(again["replicas"]["chosenBy"], "memory", "a query's replicas are remembered");
    let nodes = first["replicas"]["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    let is_told = |node: &Value| node["score"].is_f64() && node["hedgeAfterMs"].as_f64() > Some(0.0);
    assert!(nodes.iter().all(is_told), "{first}");
    let shared = |answer: &Value| answer["coalescing"]["identity"].as_str().expect("an identity").to_owned();
    let spelled_otherwise = of(json!({ "limit": 5, "q": "x" }));
    assert_eq!(shared(&first), shared(&spelled_otherwise));
    assert_ne!(shared(&first), shared(&of(json!({ "q": "x", "limit": 6 }))));
    assert_eq!(first["coalescing"]["underWay"], false);

    // The same plan for the same query, and those who may not know are not told.
    assert_eq!(of(json!({ "q": "x" }))["legs"], of(json!({ "q": "x", "offset": 20 }))["legs"]);
    let nobody = both.cluster.client_with(Some("a guess"));
    nobody.post(explain, json!({})).expect_error(403, "invalid_api_key");
    both.cluster.client().post(explain, json!({ "limit": "x" })).expect_error(400, "invalid_search_limit");
    both.cluster.client().post("/indexes/absent/explain", json!({})).expect_error(404, "index_not_found");
}

#[test]
fn only_operators_are_warned_of_what_only_they_can_mend() {
    let both = Both::with(ClusterOptions { replication_factor: 2, ..Default::default() }, &settings(), &documents());
    let explain = "/indexes/i/explain";
    let codes = |client: &Client| -> Vec<Value> {
        let answer = client.post(explain, json!({})).expect_status(200);
        answer["warnings"].as_array().expect("warnings").iter().map(|warning| warning["code"].clone()).collect()
    };
    assert_eq!(codes(&both.cluster.admin()), [json!("")][..0]);
    both.cluster.kill_node(1);
    wait_until("the node counts as failed", Duration::from_secs(60), || {
        codes(&both.cluster.admin()).contains(&json!("node_away"))
    });
    assert_eq!(codes(both.cluster.client()), [json!("")][..0], "the master key is not an operator's");
}

/// Pieces of filters that every version knows, and those that only newer ones do.
const PIECES: [&str; 44] = [
    " ",
    "  ",
    "(",
    ")",
    "[",
    "]",
    ",",
    " = ",
    "!=",
    "<",
    ">=",
    "'",
    "\"",
    "\\'",
    "\\\\",
    "\\x41",
    "\\q",
    "AND",
    " AND ",
    " OR ",
    "NOT ",
    "NOT",
    "IN ",
    " TO ",
    "EXISTS",
    " IS NULL",
    " IS NOT EMPTY",
    " CONTAINS ",
    " STARTS WITH ",
    "a",
    "n",
    "7",
    "-1.5",
    "'a b'",
    "\"x\"",
    "_geo",
    "_geoRadius(1,2,3)",
    "_geoBoundingBox([3,4],[1,2])",
    "_geoPoint(1,2)",
    "a = 1",
    "n IN [1, 2]",
    "n NOT EXISTS",
    "n 1 TO 2",
    "(a = 1 OR n = 2)",
];
const NEWER_PIECES: [&str; 7] = [
    "_vectors EXISTS",
    "_vectors.e",
    ".userProvided",
    ".fragments.",
    "_geoPolygon([1,2],[3,4],[5,6])",
    "_vectors",
    "_geoPolygon",
];

#[test]
fn what_the_grammar_reads_and_refuses_is_what_a_node_does() {
    let single = SingleServer::start();
    let client = single.client();
    client.succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["*", "_geo"] })));
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 1, "a": 1, "n": 2 }])));
    let version = client.get("/version").body;
    let is_newer = version["pkgVersion"].as_str().is_some_and(|version| !version.starts_with("1.15."));
    let mut pieces = PIECES.to_vec();
    pieces.extend(if is_newer { &NEWER_PIECES[..] } else { &[] });
    let mut rng = fastrand::Rng::with_seed(4);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..1_500 {
        let text = some_filter(&mut rng, &pieces);
        let answer = client.post("/indexes/i/search", json!({ "filter": text, "limit": 0 }));
        let is_read = is_read(&answer);
        assert_eq!(miroir::filter::parse(&text).is_ok(), is_read, "{text:?}: {}", answer.body);
        if is_read {
            read += 1;
        } else {
            refused += 1;
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// Pieces in a row, or what is a filter with a piece more somewhere.
fn some_filter(rng: &mut fastrand::Rng, pieces: &[&str]) -> String {
    const FILTERS: [&str; 8] = [
        "a = 1",
        "n >= 'x y'",
        "NOT a EXISTS",
        "a IN [1, \"2\", b,]",
        "n 1 TO 2",
        "a IS NOT NULL",
        "(a != 1 OR n < 2)",
        "_geoRadius(1,2,3)",
    ];
    let piece = |rng: &mut fastrand::Rng| *rng.choice(pieces).expect("there are pieces");
    if rng.u8(0..4) == 0 {
        return (0..rng.usize(1..7)).map(|_| piece(rng)).collect();
    }
    let filters: Vec<&str> =
        (0..rng.usize(1..4)).map(|_| *rng.choice(FILTERS.iter()).expect("there are filters")).collect();
    let mut text = filters.join(if rng.bool() { " AND " } else { " OR " });
    text.insert_str(rng.usize(0..=text.len()), piece(rng));
    text
}

/// Whether a node understood a filter, though it may not have carried it out.
fn is_read(answer: &Answer) -> bool {
    const UNDERSTOOD: [&str; 5] =
        ["is not filterable", "Bad latitude", "Bad longitude", "is below the bottom latitude", "requires enabling"];
    let body = &answer.body;
    let message = body["message"].as_str().unwrap_or_default();
    answer.status == 200 || UNDERSTOOD.iter().any(|understood| message.contains(understood))
}
