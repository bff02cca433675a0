//! Documents similar to one, over three nodes: those of one server with all documents.

mod support;

use fastrand::Rng;
use serde_json::{json, Value};
use support::Both;

/// More than there are documents: the embedded node's search among vectors is exact then.
const DIMENSIONS: usize = 256;

/// 150 documents with a vector each, but for every tenth.
fn both() -> Both {
    let mut random = Rng::with_seed(7);
    let document = |n: usize| {
        let mut document = json!({ "id": n, "name": format!("Document {n}"), "genre": if n.is_multiple_of(2) { "novel" } else { "poem" } });
        let vector: Vec<f32> = (0..DIMENSIONS).map(|_| random.f32() * 2.0 - 1.0).collect();
        let vectors = if n % 10 == 9 { json!({ "e": null }) } else { json!({ "e": vector }) };
        document["_vectors"] = vectors;
        document
    };
    let settings = json!({
        "filterableAttributes": ["genre"],
        "embedders": { "e": { "source": "userProvided", "dimensions": DIMENSIONS } },
    });
    Both::with(settings, (0..150).map(document).collect())
}

/// An answer without what says how long it took.
fn comparable(mut answer: Value) -> Value {
    answer.as_object_mut().expect("an object").remove("processingTimeMs");
    answer
}

/// The cluster's answer, which must be the single server's. Near vectors are looked for by trees, which may miss some, on
/// one server and on each of three.
#[track_caller]
fn alike(both: &Both, body: &Value) -> Value {
    let [got, expected] = both.post("/indexes/i/similar", body).map(|answer| comparable(answer.expect_status(200)));
    if got["hits"] == expected["hits"] {
        assert_eq!(got, expected, "{body}");
        return got;
    }
    let without_hits = |answer: &Value| {
        let mut answer = answer.clone();
        answer["hits"] = Value::Null;
        answer
    };
    assert_eq!(without_hits(&got), without_hits(&expected), "{body}");
    let mut scored = body.clone();
    scored["showRankingScore"] = json!(true);
    scored["attributesToRetrieve"] = json!(["id"]);
    let [got_hits, expected_hits] = both.post("/indexes/i/similar", &scored).map(|answer| {
        let answer = answer.expect_status(200);
        answer["hits"].as_array().expect("hits").clone()
    });
    let common = got_hits.iter().filter(|got| expected_hits.iter().any(|hit| hit["id"] == got["id"])).count();
    assert!((common + 2) * 10 >= got_hits.len() * 8, "{body}: {common} of {got_hits:?} in {expected_hits:?}");
    assert!(got_hits
        .is_sorted_by_key(|hit| std::cmp::Reverse((hit["_rankingScore"].as_f64().expect("a score") * 1e6) as i64)));
    got
}

#[test]
fn similar_documents_are_those_of_one_server() {
    let both = both();
    for id in [json!(0), json!(17), json!("58"), json!(149 - 1)] {
        for rest in [
            json!({}),
            json!({ "limit": 5, "offset": 3, "showRankingScore": true }),
            json!({ "filter": "genre = poem", "attributesToRetrieve": ["name"], "showRankingScoreDetails": true }),
            json!({ "limit": 30, "attributesToRetrieve": ["id"] }),
            json!({ "retrieveVectors": true, "limit": 2 }),
            json!({ "limit": 0 }),
        ] {
            let mut body = json!({ "id": id, "embedder": "e" });
            body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            alike(&both, &body);
        }
    }
    let [got, expected] = both
        .get("/indexes/i/similar?id=17&embedder=e&limit=3&filter=genre%20%3D%20novel&showRankingScore=true")
        .map(|answer| answer.expect_status(200));
    assert_eq!(comparable(got), comparable(expected));
}

#[test]
fn hits_below_the_threshold_are_left_out() {
    let both = both();
    for threshold in [0.5, 0.8, 0.95] {
        let body = json!({ "id": 3, "embedder": "e", "rankingScoreThreshold": threshold, "limit": 200, "showRankingScore": true });
        let [got, expected] = both.post("/indexes/i/similar", &body).map(|answer| answer.expect_status(200));
        let scores = got["hits"].as_array().expect("hits").iter().map(|hit| hit["_rankingScore"].as_f64());
        assert!(scores.clone().all(|score| score >= Some(threshold)), "{got}");
        assert!(scores.count() >= expected["hits"].as_array().expect("hits").len(), "{got}");
    }
}

#[test]
fn nothing_is_similar_to_a_document_without_a_vector() {
    let both = both();
    let [got, expected] =
        both.post("/indexes/i/similar", &json!({ "id": 9, "embedder": "e" })).map(|answer| answer.expect_status(200));
    assert_eq!(got["hits"], expected["hits"]);
    assert_eq!(got["id"], expected["id"]);
}

#[test]
fn what_is_refused_is_refused_in_the_words_of_one_server() {
    let both = both();
    for body in [
        json!({ "id": 9_999, "embedder": "e" }),
        json!({ "id": "a b", "embedder": "e" }),
        json!({ "id": 1, "embedder": "other" }),
        json!({ "id": 9_999, "embedder": "other" }),
        json!({ "id": 1 }),
        json!({ "embedder": "e" }),
        json!({ "id": 1, "embedder": "e", "filter": "name = x" }),
        json!({ "id": 1, "embedder": "e", "filter": "genre" }),
        json!({ "id": 1, "embedder": "e", "limit": -1 }),
        json!({ "id": 1, "embedder": "e", "rankingScoreThreshold": 2 }),
        json!({ "id": 1, "embedder": "e", "q": "x" }),
    ] {
        both.refuse_alike("/indexes/i/similar", &body);
    }
    both.refuse_alike("/indexes/other/similar", &json!({ "id": 1, "embedder": "e" }));
    for query in ["id=1", "embedder=e", "id=1&embedder=e&limit=x", "id=9999&embedder=e", "id=1&embedder=e&nonsense=1"] {
        let [got, expected] = both.get(&format!("/indexes/i/similar?{query}"));
        assert!(expected.status >= 400, "{query}");
        assert_eq!((got.status, &got.body), (expected.status, &expected.body), "{query}");
    }
}
