//! Documents with vectors of their own: found by meaning, by words and meaning, and by likeness.

use crate::support::{directory, Node};
use serde_json::{json, Value};

/// A node with four points on a circle, of which one has no vector.
fn points(data: &std::path::Path) -> Node {
    let node = Node::start(data);
    let settings = json!({
        "embedders": { "own": { "source": "userProvided", "dimensions": 2 } },
        "filterableAttributes": ["side"],
    });
    let task = node.wait_for(&node.patch("/indexes/points/settings", &settings));
    assert_eq!(task["status"], "succeeded", "{task}");
    let documents = json!([
        { "id": 1, "name": "east", "side": "right", "_vectors": { "own": [1.0, 0.0] } },
        { "id": 2, "name": "north", "side": "middle", "_vectors": { "own": [0.0, 1.0] } },
        { "id": 3, "name": "north east", "side": "right", "_vectors": { "own": { "embeddings": [0.7, 0.7], "regenerate": false } } },
        { "id": 4, "name": "nowhere", "side": "none", "_vectors": { "own": null } },
    ]);
    let task = node.wait_for(&node.post("/indexes/points/documents", &documents));
    assert_eq!(task["status"], "succeeded", "{task}");
    node
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().unwrap_or_else(|| panic!("no hits: {answer}"));
    hits.iter().map(|hit| hit["id"].as_u64().expect("an id")).collect()
}

#[test]
fn a_vector_finds_what_is_near_it_and_then_what_has_none() {
    let (_keep, data) = directory();
    let node = points(&data);
    let found = node.post(
        "/indexes/points/search",
        &json!({
            "vector": [1.0, 0.1], "hybrid": { "embedder": "own", "semanticRatio": 1.0 },
            "showRankingScoreDetails": true, "retrieveVectors": true,
        }),
    );
    assert_eq!(ids(&found.body), [1, 3, 2, 4]);
    assert_eq!(found.body["semanticHitCount"], 4);
    assert_eq!(found.body["queryVector"], json!([1.0, 0.1f32]));
    let first = &found.body["hits"][0];
    assert_eq!(first["_vectors"], json!({ "own": { "embeddings": [[1.0, 0.0]], "regenerate": false } }));
    let details = &first["_rankingScoreDetails"]["vectorSort"];
    assert!(details["similarity"].as_f64().is_some_and(|similarity| similarity > 0.99), "{first}");
    assert_eq!(found.body["hits"][3]["_rankingScoreDetails"]["vectorSort"]["similarity"], Value::Null);
    assert!(node.post("/indexes/points/search", &json!({ "q": "north" })).body.get("semanticHitCount").is_none());
}

#[test]
fn words_and_meaning_are_weighed() {
    let (_keep, data) = directory();
    let node = points(&data);
    let hybrid = |ratio: f64| {
        let body = json!({
            "q": "north", "vector": [1.0, 0.0], "hybrid": { "embedder": "own", "semanticRatio": ratio },
            "filter": "side != none",
        });
        node.post("/indexes/points/search", &body).body
    };
    assert_eq!(ids(&hybrid(0.0)), [2, 3]);
    assert_eq!(ids(&hybrid(0.9)), [1, 3, 2]);
    assert_eq!(hybrid(0.9)["semanticHitCount"], 3);
    assert_eq!(ids(&hybrid(0.1)), [2, 3, 1]);
    assert_eq!(hybrid(0.1)["semanticHitCount"], 1);
}

#[test]
fn what_is_wrong_with_a_vector_is_said() {
    let (_keep, data) = directory();
    let node = points(&data);
    let cases = [
        (json!({ "vector": [1.0, 0.0, 0.0], "hybrid": { "embedder": "own" } }), "invalid_vector_dimensions"),
        (json!({ "q": "x", "hybrid": { "embedder": "other" } }), "invalid_search_embedder"),
        (json!({ "vector": [1.0, 0.0] }), "missing_search_hybrid"),
        (json!({ "q": "x", "hybrid": { "embedder": "own", "semanticRatio": 1.0 } }), "vector_embedding_error"),
    ];
    for (body, code) in cases {
        let refused = node.post("/indexes/points/search", &body);
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some(code)), "{}", refused.body);
    }
    let wrong = node.post("/indexes/points/documents", &json!([{ "id": 9, "_vectors": { "own": [1.0] } }]));
    assert_eq!(node.wait_for(&wrong)["error"]["code"], "invalid_vector_dimensions");
}

#[test]
fn similar_documents_are_those_near_a_document_without_itself() {
    let (_keep, data) = directory();
    let node = points(&data);
    let found = node.post(
        "/indexes/points/similar",
        &json!({ "id": 1, "embedder": "own", "limit": 2, "attributesToRetrieve": ["id"], "showRankingScore": true }),
    );
    assert_eq!(found.status, 200, "{}", found.body);
    assert_eq!(ids(&found.body), [3, 2]);
    let names: Vec<_> = found.body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["hits", "id", "processingTimeMs", "limit", "offset", "estimatedTotalHits"]);
    assert_eq!(found.body["id"], "1");
    let by_get = node.get("/indexes/points/similar?id=1&embedder=own&filter=side%20%3D%20middle");
    assert_eq!(ids(&by_get.body), [2]);
    let cases = [
        (json!({ "id": 1 }), "bad_request"),
        (json!({ "embedder": "own" }), "bad_request"),
        (json!({ "id": 99, "embedder": "own" }), "not_found_similar_id"),
        (json!({ "id": ["x"], "embedder": "own" }), "invalid_similar_id"),
        (json!({ "id": 1, "embedder": "other" }), "invalid_similar_embedder"),
        (json!({ "id": 1, "embedder": "own", "filter": "name = x" }), "invalid_similar_filter"),
        (json!({ "id": 1, "embedder": "own", "limit": -1 }), "invalid_similar_limit"),
    ];
    for (body, code) in cases {
        let refused = node.post("/indexes/points/similar", &body);
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some(code)), "{body}: {}", refused.body);
    }
}
