//! Enqueueing is quick, durable, and refuses at once what can be refused at once.

use crate::support::{directory, Node, MASTER_KEY};
use serde_json::{json, Value};

fn code(body: &Value) -> &str {
    body["code"].as_str().unwrap_or_default()
}

#[test]
fn while_many_documents_are_indexed_then_other_writes_are_acknowledged_and_reads_answered() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let mut lines = String::new();
    for id in 0..30_000 {
        lines.push_str(&format!("{{\"id\":{id},\"text\":\"some words {id} and {} more\"}}\n", id % 1000));
    }
    let big = node.post_text("/indexes/x/documents", "application/x-ndjson", &lines);
    let small = node.post("/indexes/x/documents", &json!([{ "id": "small" }]));
    assert_eq!(small.status, 202, "{small:?}");
    let other = node.post("/indexes/other/documents", &json!([{ "id": "small" }]));
    assert_eq!(other.status, 202, "{other:?}");
    let task = node.get(&format!("/tasks/{}", big.body["taskUid"])).body;
    assert!(
        matches!(task["status"].as_str(), Some("enqueued" | "processing")),
        "acknowledged before the first ended: {task}"
    );
    for accepted in [&big, &small, &other] {
        assert_eq!(node.wait_for(accepted)["status"], "succeeded");
    }
    assert_eq!(node.get("/indexes/x/stats").body["numberOfDocuments"], 30_001);
}

#[test]
fn many_small_additions_share_batches_and_keep_their_own_outcomes() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let first = node.post("/indexes/x/documents?primaryKey=id", &json!([{ "id": 0 }]));
    node.wait_for(&first);
    let accepted: Vec<_> = (1..=100)
        .map(|id| match id {
            50 => node.post("/indexes/x/documents", &json!([{ "id": "not an id" }])),
            id => node.post("/indexes/x/documents", &json!([{ "id": id }])),
        })
        .collect();
    let tasks: Vec<_> = accepted.iter().map(|accepted| node.wait_for(accepted)).collect();
    let failed: Vec<_> = tasks.iter().filter(|task| task["status"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(code(&failed[0]["error"]), "invalid_document_id");
    assert_eq!(node.get("/indexes/x/stats").body["numberOfDocuments"], 100);
    let batches: std::collections::BTreeSet<_> = tasks.iter().map(|task| task["batchUid"].as_u64()).collect();
    assert!(batches.len() < tasks.len(), "{} batches", batches.len());
}

#[test]
fn every_format_says_the_same() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let json = node.post("/indexes/json/documents", &json!([{ "id": 1, "n": 2.5 }, { "id": 2, "n": null }]));
    let lines = node.post_text(
        "/indexes/lines/documents",
        "application/x-ndjson",
        "{\"id\":1,\"n\":2.5}\n{\"id\":2,\"n\":null}",
    );
    let csv = node.post_text("/indexes/csv/documents?csvDelimiter=%3B", "text/csv", "id:number;n:number\n1;2.5\n2;\n");
    for (index, accepted) in [("json", &json), ("lines", &lines), ("csv", &csv)] {
        assert_eq!(node.wait_for(accepted)["details"]["indexedDocuments"], 2, "{index}");
        assert_eq!(node.get(&format!("/indexes/{index}/documents/1")).body, json!({ "id": 1, "n": 2.5 }), "{index}");
        assert_eq!(node.get(&format!("/indexes/{index}/documents/2")).body, json!({ "id": 2, "n": null }), "{index}");
    }
}

#[test]
fn a_body_that_cannot_be_documents_is_refused_before_it_becomes_a_task() {
    let (_keep, data) = directory();
    let node = Node::start_with(&data, &["--http-payload-size-limit", "1 MiB"]);
    let large = format!("[{{\"id\":1,\"text\":\"{}\"}}]", "x".repeat(1024 * 1024));
    let cases = [
        ("application/json", "", 400, "missing_payload"),
        ("application/json", "[{\"id\":1}", 400, "malformed_payload"),
        ("application/json", "[1]", 400, "malformed_payload"),
        ("application/x-ndjson", "{\"id\":1}\n{", 400, "malformed_payload"),
        ("text/csv", "id:number\nx", 400, "malformed_payload"),
        ("text/plain", "[]", 415, "invalid_content_type"),
        ("application/json", large.as_str(), 413, "payload_too_large"),
    ];
    for (content_type, body, status, expected) in cases {
        let answer = node.post_text("/indexes/x/documents", content_type, body);
        let start = &body[..body.len().min(40)];
        assert_eq!((answer.status, code(&answer.body)), (status, expected), "{content_type}: {start}");
    }
    assert_eq!(node.post("/indexes/not%20a%20name/documents", &json!([])).body["code"], "invalid_index_uid");
    assert_eq!(node.get("/tasks").body["total"], 0);
    let payloads = std::fs::read_dir(data.join("payloads")).expect("the payloads are there").count();
    assert_eq!(payloads, 0, "a refused body leaves nothing behind");
}

#[test]
fn documents_without_a_usable_id_fail_their_task_with_meilisearchs_code() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let cases = [
        ("none", json!([{ "name": "x" }]), "index_primary_key_no_candidate_found"),
        ("several", json!([{ "aid": 1, "bid": 2 }]), "index_primary_key_multiple_candidates_found"),
        ("keyed?primaryKey=id", json!([{ "id": "a b" }]), "invalid_document_id"),
        ("keyed?primaryKey=id", json!([{ "name": "x" }]), "missing_document_id"),
    ];
    for (target, documents, expected) in cases {
        let (uid, query) = target.split_once('?').unwrap_or((target, ""));
        let task = node.wait_for(&node.post(&format!("/indexes/{uid}/documents?{query}"), &documents));
        assert_eq!(task["status"], "failed", "{task}");
        assert_eq!(code(&task["error"]), expected, "{task}");
        assert_eq!(task["details"], json!({ "receivedDocuments": 1, "indexedDocuments": 0 }));
    }
    let set = node.post("/indexes/keyed/documents?primaryKey=id", &json!([{ "id": 1 }]));
    assert_eq!(node.wait_for(&set)["status"], "succeeded");
    let task = node.wait_for(&node.post("/indexes/keyed/documents?primaryKey=other", &json!([{ "id": 2 }])));
    assert_eq!(code(&task["error"]), "index_primary_key_already_exists");
}

#[test]
fn only_the_master_key_opens_anything_but_health() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    assert_eq!(node.get_with("/health", &[]).status, 200);
    let cases = [
        (vec![], 401, "missing_authorization_header"),
        (vec![("Authorization", "Basic x")], 401, "missing_authorization_header"),
        (vec![("Authorization", "Bearer")], 403, "invalid_api_key"),
        (vec![("Authorization", "Bearer wrong")], 403, "invalid_api_key"),
    ];
    for (headers, status, expected) in cases {
        for path in ["/tasks", "/indexes", "/stats", "/indexes/x/documents", "/indexes/x/search", "/version"] {
            let answer = node.get_with(path, &headers);
            assert_eq!((answer.status, code(&answer.body)), (status, expected), "{path} {headers:?}");
        }
    }
    let right = format!("Bearer {MASTER_KEY}");
    assert_eq!(node.get_with("/version", &[("Authorization", &right)]).status, 200);
}
