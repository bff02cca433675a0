//! What was acknowledged is done, once, whenever the node is killed.

use crate::support::{directory, Answer, Node};
use serde_json::{json, Value};

/// Enough documents that indexing them takes longer than enqueueing what follows.
const MANY: usize = 20_000;

fn many_documents() -> String {
    let mut lines = String::new();
    for id in 0..MANY {
        lines.push_str(&format!(
            "{{\"id\":{id},\"title\":\"word{id} of many words number {}\",\"body\":\"{}\"}}\n",
            id % 97,
            "lorem ipsum dolor sit amet ".repeat(3)
        ));
    }
    lines
}

#[test]
fn given_enqueued_documents_when_killed_before_they_are_indexed_then_they_are_indexed_once_after_the_restart() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let big = node.post_text("/indexes/x/documents?primaryKey=id", "application/x-ndjson", &many_documents());
    assert_eq!(big.status, 202, "{big:?}");
    let small = node.post("/indexes/x/documents", &json!([{ "id": "after", "title": "one more" }]));
    assert_eq!(small.status, 202, "{small:?}");
    let gone = node.delete("/indexes/x/documents/0");
    node.kill();

    let node = Node::start(&data);
    let big = node.wait_for(&big);
    assert_eq!(big["status"], "succeeded", "{big}");
    assert_eq!(big["details"], json!({ "receivedDocuments": MANY, "indexedDocuments": MANY }));
    assert_eq!(node.wait_for(&small)["status"], "succeeded");
    let gone = node.wait_for(&gone);
    assert_eq!(gone["details"]["deletedDocuments"], 1, "{gone}");
    assert_eq!(node.get("/indexes/x/stats").body["numberOfDocuments"], MANY);
    assert_eq!(node.get("/tasks").body["total"], 3);
}

#[test]
fn given_a_node_killed_again_and_again_then_each_task_has_exactly_its_own_effect() {
    let (_keep, data) = directory();
    let mut accepted: Vec<Value> = Vec::new();
    for round in 0..6 {
        let node = Node::start(&data);
        for number in 0..20 {
            let document = json!([{ "id": format!("{round}-{number}"), "round": round }]);
            let answer = node.post("/indexes/x/documents?primaryKey=id", &document);
            assert_eq!(answer.status, 202, "{answer:?}");
            accepted.push(answer.body);
        }
        // A deletion tells by its count whether it has been run on what it was meant for, and only once.
        let deletion = node.delete(&format!("/indexes/x/documents/{round}-0"));
        assert_eq!(deletion.status, 202, "{deletion:?}");
        accepted.push(deletion.body);
        // Later in each round, so that the kill falls into enqueueing, indexing and committing.
        std::thread::sleep(std::time::Duration::from_millis(15 * round));
        node.kill();
    }
    let node = Node::start(&data);
    for body in accepted {
        let task = node.wait_for(&Answer { status: 202, body });
        assert_eq!(task["status"], "succeeded", "{task}");
        if task["type"] == "documentDeletion" {
            assert_eq!(task["details"]["deletedDocuments"], 1, "{task}");
        } else {
            assert_eq!(task["details"]["indexedDocuments"], 1, "{task}");
        }
    }
    assert_eq!(node.get("/indexes/x/stats").body["numberOfDocuments"], 6 * 19);
}

#[test]
fn given_indexes_that_changed_names_when_killed_then_the_names_and_documents_are_as_acknowledged() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    node.post("/indexes/a/documents", &json!([{ "id": 1 }]));
    node.post("/indexes/b/documents", &json!([{ "id": 1 }, { "id": 2 }]));
    node.post("/swap-indexes", &json!([{ "indexes": ["a", "b"] }]));
    node.patch("/indexes/b", &json!({ "uid": "c" }));
    let last = node.delete("/indexes/none");
    node.kill();

    let node = Node::start(&data);
    node.wait_for(&last);
    assert_eq!(node.get("/indexes/a/stats").body["numberOfDocuments"], 2);
    assert_eq!(node.get("/indexes/c/stats").body["numberOfDocuments"], 1);
    assert_eq!(node.get("/indexes/b").status, 404);
    let deletion = node.delete("/indexes/a");
    node.wait_for(&deletion);
    assert!(node.terminate());
    let node = Node::start(&data);
    assert_eq!(node.get("/indexes").body["total"], 1);
    let directories = std::fs::read_dir(data.join("indexes")).expect("the indexes are there").count();
    assert_eq!(directories, 1, "a deleted index leaves nothing behind");
}

#[test]
fn given_a_task_being_run_when_terminated_then_the_node_ends_well_and_runs_it_at_the_next_start() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let big = node.post_text("/indexes/x/documents?primaryKey=id", "application/x-ndjson", &many_documents());
    assert!(node.terminate());
    let node = Node::start(&data);
    assert_eq!(node.wait_for(&big)["details"]["indexedDocuments"], MANY);
}

#[test]
fn given_a_node_that_uses_a_directory_then_a_second_one_refuses_to() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_miroir-node"))
        .args(["--http-addr", "127.0.0.1:0", "--db-path"])
        .arg(&data)
        .output()
        .expect("the second node ends");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another node"), "{second:?}");
    node.kill();
    assert_eq!(Node::start(&data).get("/tasks").status, 200);
}
