//! Searches by meaning over three nodes: the hits of one server with all the documents.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use serde_json::{json, Value};
use support::{Cluster, ClusterOptions, SingleServer};

const DOCUMENTS: usize = 180;
/// The embedded node's vector index is approximate once it has more documents than vectors have dimensions; then one server
/// itself misses hits (with 8 dimensions on nearly half of these queries' pages) and there is nothing to compare with.
const DIMENSIONS: usize = 256;

/// Three nodes and one server with the same documents and settings.
struct Both {
    cluster: Cluster,
    single: SingleServer,
}

/// A small generator of numbers, the same ones for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn vector(&mut self) -> Vec<f64> {
        (0..DIMENSIONS).map(|_| (self.next() % 2001) as f64 / 1000.0 - 1.0).collect()
    }
}

const WORDS: [&str; 12] = [
    "harbour", "harvest", "lantern", "meadow", "orchard", "quarry", "river", "ribbon", "saddle", "timber", "valley",
    "window",
];

/// Documents of some words and a vector; each ninth has no vector.
fn documents(numbers: &mut Numbers) -> Vec<Value> {
    let document = |id: usize| {
        let words: Vec<&str> = (0..2 + numbers.below(5)).map(|_| *numbers.one_of(&WORDS)).collect();
        let kind = *numbers.one_of(&["a", "b", "c"]);
        let vector = if id.is_multiple_of(9) { Value::Null } else { json!(numbers.vector()) };
        json!({
            "id": id, "text": words.join(" "), "kind": kind, "size": numbers.below(40),
            "_vectors": { "own": vector },
        })
    };
    (0..DOCUMENTS).map(document).collect()
}

impl Both {
    fn start(seed: u64) -> Self {
        let both = Self { cluster: Cluster::start(ClusterOptions::default()), single: SingleServer::start() };
        let settings = json!({
            "embedders": { "own": { "source": "userProvided", "dimensions": DIMENSIONS } },
            "searchableAttributes": ["text"],
            "filterableAttributes": ["kind", "size"],
            "sortableAttributes": ["size"],
        });
        let documents = documents(&mut Numbers(seed));
        for client in [both.cluster.client(), both.single.client()] {
            client.succeed(client.patch("/indexes/i/settings", settings.clone()));
            client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(documents)));
        }
        both
    }

    fn both(&self, body: &Value) -> (Value, Value) {
        (self.cluster.client().search("i", body.clone()), self.single.client().search("i", body.clone()))
    }
}

/// A query with words, a vector, or both.
fn query(numbers: &mut Numbers) -> Value {
    let mut query = json!({
        "vector": numbers.vector(),
        "hybrid": { "embedder": "own", "semanticRatio": numbers.one_of(&[0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]) },
        "showRankingScore": true,
        "showRankingScoreDetails": true,
    });
    if numbers.below(6) > 0 {
        let words = (0..1 + numbers.below(3)).map(|_| {
            let word = *numbers.one_of(&WORDS);
            match numbers.below(4) {
                // A typo, and a word that is cut off.
                0 => word.replacen('r', "t", 1),
                1 => word[..4].to_owned(),
                _ => word.to_owned(),
            }
        });
        query["q"] = json!(words.collect::<Vec<_>>().join(" "));
    }
    match numbers.below(5) {
        0 => query["filter"] = json!(format!("size < {}", 5 + numbers.below(35))),
        1 => query["filter"] = json!("kind = a"),
        2 => query["sort"] = json!([numbers.one_of(&["size:asc", "size:desc"])]),
        _ => {}
    }
    match numbers.below(3) {
        0 => query["limit"] = json!(1 + numbers.below(30)),
        1 => {
            query["offset"] = json!(numbers.below(25));
            query["limit"] = json!(1 + numbers.below(20));
        }
        _ => {
            query["page"] = json!(1 + numbers.below(4));
            query["hitsPerPage"] = json!(1 + numbers.below(15));
        }
    }
    query
}

/// A hit's id, and what it is ranked by: hits that say the same are tied, and nodes may show them in any order.
fn ranked(answer: &Value) -> Vec<(u64, String)> {
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("no hits in {answer}"));
    let rank = |hit: &Value| {
        let details = &hit["_rankingScoreDetails"];
        let number = |rule: &str, name: &str| details[rule][name].as_f64().map(|number| format!("{number:.5}"));
        let sorted = number("size:asc", "value").or(number("size:desc", "value"));
        match details.get("vectorSort") {
            Some(_) => format!("meaning {:?} {sorted:?}", number("vectorSort", "similarity")),
            None => {
                let typos = number("typo", "typoCount");
                let (proximity, exactness) = (number("proximity", "score"), number("exactness", "score"));
                let words = number("words", "matchingWords");
                format!("words {words:?} {typos:?} {proximity:?} {exactness:?} {sorted:?}")
            }
        }
    };
    hits.iter().map(|hit| (hit["id"].as_u64().expect("an id"), rank(hit))).collect()
}

/// Whether both pages are the same up to the order of tied hits and to which of several tied hits are just on the page.
fn is_same_page(got: &[(u64, String)], expected: &[(u64, String)]) -> bool {
    got.len() == expected.len()
        && got.iter().zip(expected).all(|(got, expected)| got.0 == expected.0 || got.1 == expected.1)
}

#[test]
fn pages_found_by_words_and_meaning_are_those_of_one_server() {
    let both = Both::start(20);
    let mut numbers = Numbers(7);
    let mut differing = Vec::new();
    const QUERIES: usize = 400;
    for _ in 0..QUERIES {
        let body = query(&mut numbers);
        let (got, expected) = both.both(&body);
        let total = ["estimatedTotalHits", "totalHits", "totalPages", "semanticHitCount"];
        let differs = total.iter().find(|member| got[**member] != expected[**member]);
        if !is_same_page(&ranked(&got), &ranked(&expected)) || differs.is_some() {
            differing.push(format!("{body}\n  {differs:?} {got}\n  {expected}"));
        }
    }
    assert!(differing.is_empty(), "{} of {QUERIES} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn members_and_formatting_are_those_of_one_server() {
    let both = Both::start(3);
    let hybrid = json!({
        "q": "harbour river", "vector": Numbers(5).vector(), "hybrid": { "embedder": "own", "semanticRatio": 0.9 }, "limit": 6,
        "attributesToHighlight": ["text"], "facets": ["kind", "size"], "retrieveVectors": true,
    });
    let (got, expected) = both.both(&hybrid);
    let names = |answer: &Value| -> Vec<String> { answer.as_object().expect("an object").keys().cloned().collect() };
    assert_eq!(names(&got), names(&expected));
    for member in ["hits", "queryVector", "semanticHitCount", "facetDistribution", "facetStats", "estimatedTotalHits"] {
        assert_eq!(got[member], expected[member], "{member}");
    }
    // Good enough for the nodes to leave meaning out.
    let words = json!({
        "q": "harbour", "vector": Numbers(5).vector(), "hybrid": { "embedder": "own", "semanticRatio": 0.05 }, "limit": 3,
    });
    let (got, expected) = both.both(&words);
    assert_eq!(got["semanticHitCount"], expected["semanticHitCount"]);
    assert_eq!(got["estimatedTotalHits"], expected["estimatedTotalHits"]);
}

#[test]
fn what_is_wrong_with_a_vector_is_said_as_one_server_says_it() {
    let both = Both::start(1);
    let (cluster, single) = (both.cluster.client(), both.single.client());
    let cases = [
        json!({ "q": "river", "vector": [1.0], "hybrid": { "embedder": "own" } }),
        json!({ "q": "river", "hybrid": { "embedder": "other" } }),
        json!({ "q": "river", "hybrid": { "embedder": "other", "semanticRatio": 0.9 } }),
        json!({ "q": "river", "hybrid": { "embedder": "own", "semanticRatio": 1.5 } }),
        json!({ "q": "river", "hybrid": { "embedder": "own", "semanticRatio": 1.0 } }),
        json!({ "q": "river", "hybrid": { "semanticRatio": 1.0 } }),
        json!({ "q": "river", "hybrid": { "embedder": "own", "other": 1 } }),
        json!({ "vector": [1.0] }),
    ];
    for body in cases {
        let got = cluster.post("/indexes/i/search", body.clone());
        let expected = single.post("/indexes/i/search", body.clone());
        assert_eq!((got.status, &got.body["code"]), (expected.status, &expected.body["code"]), "{body}");
    }
    // Words that cannot be made a vector are searched for as words.
    let (got, expected) = both.both(&json!({ "q": "river", "hybrid": { "embedder": "own", "semanticRatio": 0.9 } }));
    assert_eq!(got["semanticHitCount"], 0);
    assert_eq!(got["semanticHitCount"], expected["semanticHitCount"]);
    assert_eq!(got["estimatedTotalHits"], expected["estimatedTotalHits"]);
}

/// An embedding service that gives every text the same vector and counts how often it is asked.
struct EmbeddingService {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl EmbeddingService {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        // Ends with the process.
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                answer(connection).expect("the node listens");
            }
        });
        Self { url, asked }
    }
}

/// Reads one request to its end and answers it.
fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let body = json!({ "embedding": vec![0.25; DIMENSIONS] }).to_string();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_query_is_embedded_once_for_all_nodes() {
    if std::env::var_os("MIROIR_NODE_BIN").is_some() {
        // Meilisearch may be told not to ask services on the loopback interface.
        return;
    }
    let service = EmbeddingService::start();
    let cluster = Cluster::start(ClusterOptions::default());
    let client = cluster.client();
    let embedder = json!({
        "source": "rest", "url": service.url, "dimensions": DIMENSIONS,
        "request": { "text": "{{text}}" }, "response": { "embedding": "{{embedding}}" },
    });
    client.succeed(client.patch("/indexes/i/settings", json!({ "embedders": { "own": embedder } })));
    client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(documents(&mut Numbers(2)))));

    for ratio in [0.9, 1.0] {
        let before = service.asked.load(Ordering::SeqCst);
        let body = json!({
            "q": "river", "hybrid": { "embedder": "own", "semanticRatio": ratio }, "limit": 5, "retrieveVectors": true,
        });
        let found = client.search("i", body);
        assert_eq!(service.asked.load(Ordering::SeqCst) - before, 1, "for a ratio of {ratio}");
        assert_eq!(found["queryVector"], json!(vec![0.25; DIMENSIONS]));
        assert_eq!(found["semanticHitCount"], 5);
        let given = json!({
            "q": "river", "hybrid": { "embedder": "own", "semanticRatio": ratio }, "limit": 5,
            "vector": vec![0.25; DIMENSIONS], "retrieveVectors": true,
        });
        assert_eq!(client.search("i", given)["hits"], found["hits"], "the vector is the one that the service gave");
    }
}

#[test]
fn queries_by_words_and_meaning_are_weighed_inside_multi_search_as_by_themselves() {
    let both = Both::start(5);
    let numbers = &mut Numbers(8);
    let queries: Vec<Value> = (0..40).map(|_| query(numbers)).collect();
    let named = queries.iter().cloned().map(|mut query| {
        query["indexUid"] = json!("i");
        query
    });
    let body = json!({ "queries": named.collect::<Vec<Value>>() });
    let answer = both.cluster.client().post("/multi-search", body).expect_status(200);
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), queries.len());
    for (query, result) in queries.iter().zip(results) {
        let alone = both.cluster.client().search("i", query.clone());
        assert_eq!(result["indexUid"], "i");
        for member in ["hits", "estimatedTotalHits", "totalHits", "semanticHitCount", "limit", "page"] {
            assert_eq!(result[member], alone[member], "{member} for {query}");
        }
    }
}
