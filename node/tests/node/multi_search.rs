//! Several queries in one request, and experimental features.

use crate::support::{directory, Node};
use serde_json::json;

#[test]
fn each_query_has_its_answer_and_the_first_that_fails_is_named() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    node.wait_for(&node.post("/indexes/films/documents", &json!([{ "id": 1, "title": "Dune" }])));
    node.wait_for(&node.post("/indexes/books/documents", &json!([{ "id": 7, "title": "Dune" }])));
    let queries = json!({ "queries": [
        { "indexUid": "films", "q": "dune", "limit": 1 },
        { "indexUid": "books", "q": "dune", "hitsPerPage": 5 },
    ] });
    let found = node.post("/multi-search", &queries);
    assert_eq!(found.status, 200);
    let results = found.body["results"].as_array().expect("results");
    assert_eq!(results[0]["indexUid"], "films");
    assert_eq!(results[0]["hits"], json!([{ "id": 1, "title": "Dune" }]));
    assert_eq!(results[1]["totalHits"], 1);
    assert_eq!(results[0]["requestUid"], results[1]["requestUid"]);

    let cases = [
        (json!({ "indexUid": "nowhere" }), "index_not_found", "Inside `.queries[1]`: Index `nowhere` not found."),
        (
            json!({ "indexUid": "books", "federationOptions": {} }),
            "invalid_multi_search_federation_options",
            "Inside `.queries[1]`: Using `federationOptions` is not allowed in a non-federated search.",
        ),
        (json!({ "q": "x" }), "missing_index_uid", "Missing field `indexUid` inside `.queries[1]`"),
        (
            json!({ "indexUid": "books", "limit": "x" }),
            "invalid_search_limit",
            "Invalid value type at `.queries[1].limit`: expected a positive integer",
        ),
        (json!({ "indexUid": "b c" }), "invalid_index_uid", "Invalid value at `.queries[1].indexUid`: `b c` is not"),
        (
            json!({ "indexUid": "books", "nonsense": 1 }),
            "bad_request",
            "Unknown field `nonsense` inside `.queries[1]`: expected one of `indexUid`, `q`, `offset`, `limit`,",
        ),
    ];
    for (query, code, message) in cases {
        let refused = node.post("/multi-search", &json!({ "queries": [{ "indexUid": "films" }, query] }));
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some(code)), "{}", refused.body);
        assert!(refused.body["message"].as_str().is_some_and(|text| text.starts_with(message)), "{}", refused.body);
    }
}

#[test]
fn features_are_switched_on_one_by_one_and_stay_on() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    node.wait_for(&node.post("/indexes/films/documents", &json!([{ "id": 1, "title": "Dune" }])));
    node.wait_for(&node.put("/indexes/films/settings/filterable-attributes", &json!(["title"])));
    let contains = json!({ "filter": "title CONTAINS un" });
    assert_eq!(node.post("/indexes/films/search", &contains).body["code"], "feature_not_enabled");
    let position = json!({ "federation": {}, "queries": [
        { "indexUid": "films", "federationOptions": { "queryPosition": 4 } }
    ] });
    assert_eq!(node.post("/multi-search", &position).body["code"], "feature_not_enabled");

    let before = node.get("/experimental-features").body;
    assert_eq!(before["containsFilter"], false);
    assert_eq!(node.patch("/experimental-features", &json!({ "nonsense": true })).body["code"], "bad_request");
    let changed = node.patch("/experimental-features", &json!({ "containsFilter": true, "network": true }));
    assert_eq!((changed.status, &changed.body["containsFilter"]), (200, &json!(true)));
    assert_eq!(node.post("/indexes/films/search", &contains).body["estimatedTotalHits"], 1);
    assert_eq!(node.post("/multi-search", &position).body["hits"][0]["_federation"]["queriesPosition"], 4);

    node.kill();
    let node = Node::start(&data);
    assert_eq!(node.get("/experimental-features").body, changed.body);
}
