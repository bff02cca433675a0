//! What the query of a documents route can ask for besides the documents.

use crate::support::{directory, Node};
use serde_json::{json, Value};

#[test]
fn with_skip_creation_only_documents_that_are_there_are_changed() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let empty = node.wait_for(&node.post("/indexes/a/documents?skipCreation=true", &json!([{ "id": 1, "n": 1 }])));
    assert_eq!(empty["status"], "succeeded", "{empty}");
    assert_eq!(empty["details"], json!({ "receivedDocuments": 1, "indexedDocuments": 1 }), "as Meilisearch counts");
    assert_eq!(node.get("/indexes/a").body["primaryKey"], "id", "the index is created");
    assert_eq!(node.get("/indexes/a/documents").body["total"], 0);
    node.wait_for(&node.post("/indexes/a/documents", &json!([{ "id": 1, "n": 1 }, { "id": 2, "n": 2 }])));
    let merged = node.put("/indexes/a/documents?skipCreation=TRUE", &json!([{ "id": 1, "x": 1 }, { "id": 3, "x": 3 }]));
    assert_eq!(node.wait_for(&merged)["details"]["indexedDocuments"], 2);
    let replaced = json!([{ "id": 2, "x": 1 }, { "id": 4 }, { "id": 2, "y": 7 }]);
    let replaced = node.wait_for(&node.post("/indexes/a/documents?skipCreation=true", &replaced));
    assert_eq!(replaced["details"], json!({ "receivedDocuments": 3, "indexedDocuments": 2 }));
    let documents = node.get("/indexes/a/documents").body;
    assert_eq!(documents["results"], json!([{ "id": 1, "n": 1, "x": 1 }, { "id": 2, "y": 7 }]));
    for (document, code) in
        [(json!([{ "x": 3 }]), "missing_document_id"), (json!([{ "id": "a b" }]), "invalid_document_id")]
    {
        let task = node.wait_for(&node.put("/indexes/a/documents?skipCreation=true", &document));
        assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!(code)), "{task}");
    }
    let created = node.wait_for(&node.put("/indexes/a/documents?skipCreation=false", &json!([{ "id": 5 }])));
    assert_eq!(created["status"], "succeeded");
    assert_eq!(node.get("/indexes/a/documents/5").status, 200);
    let refused = node.put("/indexes/a/documents?skipCreation=yes", &json!([]));
    assert_eq!(refused.body["code"], "invalid_skip_creation");
    assert_eq!(refused.body["message"], "skipCreation must be either `true` or `false`. Found: `yes`");
}

#[test]
fn given_additions_that_create_and_ones_that_do_not_when_they_wait_together_then_each_sees_those_before_it() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    node.wait_for(&node.post("/indexes", &json!({ "uid": "a", "primaryKey": "id" })));
    let mut last = None;
    for round in 0..10 {
        node.put("/indexes/a/documents?skipCreation=true", &json!([{ "id": round, "early": true }]));
        node.put("/indexes/a/documents", &json!([{ "id": round, "created": true }]));
        last = Some(node.put("/indexes/a/documents?skipCreation=true", &json!([{ "id": round, "late": true }])));
    }
    node.wait_for(&last.expect("there were rounds"));
    for round in 0..10 {
        let document = node.get(&format!("/indexes/a/documents/{round}")).body;
        assert_eq!(document, json!({ "id": round, "created": true, "late": true }));
    }
}

#[test]
fn custom_metadata_is_shown_on_the_task_of_every_documents_route() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let accepted = [
        node.post("/indexes/a/documents?customMetadata=m%200", &json!([{ "id": 1 }])),
        node.put("/indexes/a/documents?customMetadata=m%200", &json!([{ "id": 1 }])),
        node.delete("/indexes/a/documents/1?customMetadata=m%200"),
        node.post("/indexes/a/documents/delete-batch?customMetadata=m%200", &json!([1])),
        node.post("/indexes/a/documents/delete?customMetadata=m%200", &json!({ "filter": "id = 1" })),
        node.delete("/indexes/a/documents?customMetadata=m%200"),
    ];
    for accepted in accepted {
        assert_eq!((accepted.status, accepted.body["customMetadata"].as_str()), (202, Some("m 0")), "{accepted:?}");
        assert_eq!(node.wait_for(&accepted)["customMetadata"], "m 0");
    }
    let without = node.post("/indexes/a/documents", &json!([{ "id": 1 }]));
    assert_eq!(node.wait_for(&without).get("customMetadata"), None);
}

#[test]
fn editing_by_function_is_an_experimental_feature_that_is_off() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let cases = [
        ("?customMetadata=m", json!({ "function": "doc.x = 1" }), "feature_not_enabled"),
        ("?nonsense=m", json!({ "function": "doc.x = 1" }), "bad_request"),
        ("", json!({ "filter": "id = 1" }), "missing_document_edition_function"),
        ("", json!({ "function": 1 }), "invalid_document_edition_function_filter"),
        ("", json!({ "function": "doc.x = 1", "nonsense": 1 }), "bad_request"),
        ("", Value::Null, "bad_request"),
    ];
    for (query, body, code) in cases {
        let answer = node.post(&format!("/indexes/a/documents/edit{query}"), &body);
        assert_eq!((answer.status, answer.body["code"].as_str()), (400, Some(code)), "{query} {body}: {answer:?}");
    }
    let off = node.post("/indexes/a/documents/edit", &json!({ "function": "x" })).body;
    assert_eq!(
        off["message"],
        "Using the documents edit route requires enabling the `edit documents by function` experimental feature. \
         See https://github.com/orgs/meilisearch/discussions/762"
    );
    assert_eq!(node.get("/tasks").body["total"], 0);
}
