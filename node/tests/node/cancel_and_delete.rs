//! Tasks about tasks: canceling and deleting, and the batches that all of them ran in.

use crate::support::{directory, Answer, Node};
use serde_json::{json, Value};

/// Documents that take the engine some seconds, so that whatever is enqueued after them waits.
fn many_documents() -> String {
    (0..40_000).map(|id| format!("{{\"id\":{id},\"text\":\"some words {id} and {} more\"}}\n", id % 1000)).collect()
}

fn add_many(node: &Node) -> Answer {
    let accepted = node.post_text("/indexes/x/documents?primaryKey=id", "application/x-ndjson", &many_documents());
    assert_eq!(accepted.status, 202, "{accepted:?}");
    accepted
}

fn uid(accepted: &Answer) -> u64 {
    accepted.body["taskUid"].as_u64().unwrap_or_else(|| panic!("no task: {accepted:?}"))
}

#[test]
fn waiting_tasks_are_canceled_before_anything_else_runs() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let big = add_many(&node);
    let waiting: Vec<_> = (0..3).map(|id| node.post("/indexes/y/documents", &json!([{ "id": id }]))).collect();
    let kept = node.post("/indexes/z/documents", &json!([{ "id": 1 }]));
    let canceler = node.post(&format!("/tasks/cancel?indexUids=y&uids=0,1,2,3,{}", uid(&kept)), &Value::Null);
    assert_eq!(canceler.status, 200, "as Meilisearch answers: {canceler:?}");
    assert_eq!(canceler.body["type"], "taskCancelation");
    let canceler_task = node.wait_for(&canceler);
    assert_eq!(
        canceler_task["details"],
        json!({ "matchedTasks": 3, "canceledTasks": 3, "originalFilter": format!("?indexUids=y&uids=0,1,2,3,{}", uid(&kept)) })
    );
    for accepted in &waiting {
        let task = node.get(&format!("/tasks/{}", uid(accepted))).body;
        assert_eq!(task["status"], "canceled", "{task}");
        assert_eq!(task["canceledBy"], canceler.body["taskUid"]);
        assert_eq!(task["details"], json!({ "receivedDocuments": 1, "indexedDocuments": 0 }));
        for of_canceler in ["batchUid", "startedAt", "finishedAt", "duration"] {
            assert_eq!(task[of_canceler], canceler_task[of_canceler], "{task}");
        }
        assert_eq!(task["error"], Value::Null);
    }
    assert_eq!(node.wait_for(&big)["status"], "succeeded");
    assert_eq!(node.wait_for(&kept)["status"], "succeeded");
    assert_eq!(node.get("/indexes/y").status, 404);
    let by = node.get(&format!("/tasks?canceledBy={}", uid(&canceler))).body;
    assert_eq!(by["total"], 3, "{by}");
    let batch = node.get(&format!("/batches/{}", canceler_task["batchUid"])).body;
    assert_eq!(
        batch["stats"],
        json!({
            "totalNbTasks": 4,
            "status": { "canceled": 3, "succeeded": 1 },
            "types": { "documentAdditionOrUpdate": 3, "taskCancelation": 1 },
            "indexUids": { "y": 3 },
        })
    );
    assert_eq!(batch["details"]["canceledTasks"], 3, "{batch}");
    assert_eq!(batch["details"]["receivedDocuments"], 3, "{batch}");
}

#[test]
fn a_task_that_is_being_run_is_left_and_canceled() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let big = add_many(&node);
    while node.get(&format!("/tasks/{}", uid(&big))).body["status"] == "enqueued" {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let canceler = node.post("/tasks/cancel?statuses=processing", &Value::Null);
    let canceled = node.wait_for(&canceler);
    let big = node.wait_for(&big);
    assert_eq!(canceled["details"]["matchedTasks"], 1, "{canceled}");
    assert_eq!(canceled["details"]["canceledTasks"], 1, "{canceled}, {big}");
    assert_eq!(big["status"], "canceled", "{big}");
    assert_eq!(big["details"]["indexedDocuments"], 0);
    // Meilisearch makes the index before it indexes, and leaves it.
    assert_eq!(node.get("/indexes/x/stats").body["numberOfDocuments"], 0);
    let payloads = std::fs::read_dir(data.join("payloads")).expect("the payloads are there").count();
    assert_eq!(payloads, 0, "a canceled task leaves no documents behind");
    let after = node.post("/indexes/x/documents", &json!([{ "id": 1 }]));
    assert_eq!(node.wait_for(&after)["status"], "succeeded");
}

#[test]
fn given_a_node_killed_after_canceling_then_what_was_canceled_stays_so_and_the_rest_runs_once() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let big = add_many(&node);
    let canceled: Vec<_> = (0..20).map(|id| node.post("/indexes/y/documents", &json!([{ "id": id }]))).collect();
    let kept: Vec<_> = (0..20).map(|id| node.post("/indexes/z/documents", &json!([{ "id": id }]))).collect();
    let canceler = node.post("/tasks/cancel?indexUids=y", &Value::Null);
    assert_eq!(canceler.status, 200);
    node.kill();

    let node = Node::start(&data);
    assert_eq!(node.wait_for(&canceler)["details"]["canceledTasks"], 20);
    for accepted in &canceled {
        assert_eq!(node.wait_for(accepted)["status"], "canceled");
    }
    node.kill();

    let node = Node::start(&data);
    for accepted in &canceled {
        let task = node.wait_for(accepted);
        assert_eq!((&task["status"], &task["canceledBy"]), (&json!("canceled"), &canceler.body["taskUid"]));
    }
    for accepted in kept.iter().chain([&big]) {
        assert_eq!(node.wait_for(accepted)["status"], "succeeded");
    }
    assert_eq!(node.get("/indexes/z/stats").body["numberOfDocuments"], 20);
    assert_eq!(node.get("/indexes/y").status, 404);
    let unfinished = node.get("/batches?statuses=processing").body;
    assert_eq!(unfinished["total"], 0, "{unfinished}");
}

#[test]
fn only_tasks_that_have_ended_are_deleted() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let first = node.post("/indexes", &json!({ "uid": "a" }));
    node.wait_for(&first);
    let failed = node.post("/indexes", &json!({ "uid": "a" }));
    node.wait_for(&failed);
    let big = add_many(&node);
    while node.get(&format!("/tasks/{}", uid(&big))).body["status"] == "enqueued" {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let waiting = node.post("/indexes/y/documents", &json!([{ "id": 1 }]));
    let deleter = node.delete("/tasks?uids=*");
    assert_eq!((deleter.status, &deleter.body["type"]), (200, &json!("taskDeletion")), "{deleter:?}");
    let again = node.delete("/tasks?uids=0,1,99");
    let deletion = node.wait_for(&deleter);
    assert_eq!(deletion["status"], "succeeded", "{deletion}");
    assert_eq!(deletion["details"]["matchedTasks"], 4, "{deletion}");
    assert_eq!(deletion["details"]["originalFilter"], "?uids=*");
    let again = node.wait_for(&again);
    assert_eq!(again["details"], json!({ "matchedTasks": 2, "deletedTasks": 0, "originalFilter": "?uids=0,1,99" }));
    assert_eq!(again["batchUid"], deletion["batchUid"], "deletions that wait run together");
    for gone in [&first, &failed] {
        assert_eq!(node.get(&format!("/tasks/{}", uid(gone))).body["code"], "task_not_found");
    }
    assert_eq!(node.get("/batches/0").body["code"], "batch_not_found", "its only task is gone");
    assert_eq!(node.wait_for(&waiting)["status"], "succeeded");
    let last = node.delete("/tasks?statuses=succeeded");
    node.wait_for(&last);
    let left = node.get("/tasks").body;
    assert_eq!((&left["total"], &left["results"][0]["uid"]), (&json!(1), &last.body["taskUid"]), "{left}");
    assert_eq!(uid(&node.post("/indexes", &json!({ "uid": "b" }))), uid(&last) + 1, "a uid is never used again");
}

#[test]
fn without_filters_or_with_wrong_ones_nothing_is_enqueued() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let cases = [
        ("", "missing_task_filters"),
        ("?limit=1", "bad_request"),
        ("?uids=x", "invalid_task_uids"),
        ("?statuses=nonsense", "invalid_task_statuses"),
        ("?beforeStartedAt=yesterday", "invalid_task_before_started_at"),
    ];
    for (query, code) in cases {
        for answer in
            [node.post(&format!("/tasks/cancel{query}"), &Value::Null), node.delete(&format!("/tasks{query}"))]
        {
            assert_eq!((answer.status, answer.body["code"].as_str()), (400, Some(code)), "{query}");
        }
    }
    let unfiltered = node.delete("/tasks").body;
    assert_eq!(
        unfiltered["message"],
        "Query parameters to filter the tasks to delete are missing. Available query parameters are: `uids`, \
         `indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, \
         `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`."
    );
    assert_eq!(node.get("/tasks").body["total"], 0);
}

#[test]
fn batches_show_what_ran_together_and_are_filtered_by_their_tasks() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    assert_eq!(
        node.get("/batches").body,
        json!({ "results": [], "total": 0, "limit": 20, "from": null, "next": null })
    );
    node.wait_for(&node.post("/indexes/a/documents?primaryKey=id", &json!([{ "id": 1 }, { "id": 2 }])));
    node.wait_for(&node.delete("/indexes/none"));
    node.wait_for(&node.post("/swap-indexes", &json!([{ "indexes": ["a", "b"] }])));
    let batch = node.get("/batches/0").body;
    let names: Vec<_> = batch.as_object().map(|batch| batch.keys().map(String::as_str).collect()).unwrap_or_default();
    let expected = ["uid", "progress", "details", "stats", "duration", "startedAt", "finishedAt", "batchStrategy"];
    assert_eq!(names, expected);
    assert_eq!(batch["details"], json!({ "receivedDocuments": 2, "indexedDocuments": 2 }));
    assert_eq!(batch["progress"], Value::Null);
    assert_eq!(batch["batchStrategy"], "batched all enqueued tasks");
    assert_eq!(
        batch["stats"],
        json!({
            "totalNbTasks": 1,
            "status": { "succeeded": 1 },
            "types": { "documentAdditionOrUpdate": 1 },
            "indexUids": { "a": 1 },
        })
    );
    assert_eq!(
        node.get("/batches/2").body["batchStrategy"],
        "created batch containing only task with id 2 of type `indexSwap` that cannot be batched with any other task."
    );
    let uids = |query: &str| -> Vec<u64> {
        let list = node.get(&format!("/batches{query}")).body;
        let results = list["results"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
        results.iter().filter_map(|batch| batch["uid"].as_u64()).collect()
    };
    assert_eq!(uids(""), [2, 1, 0]);
    assert_eq!(uids("?reverse=true&limit=2"), [0, 1]);
    assert_eq!(uids("?statuses=failed"), [2, 1]);
    assert_eq!(uids("?types=documentAdditionOrUpdate"), [0]);
    assert_eq!(uids("?indexUids=none"), [1]);
    assert_eq!(uids("?uids=2,0&batchUids=0,1"), [0]);
    assert_eq!(uids("?afterStartedAt=2020-01-01&beforeEnqueuedAt=2020-01-01"), [0; 0]);
    let page = node.get("/batches?limit=1&from=1").body;
    assert_eq!((&page["total"], &page["from"], &page["next"]), (&json!(3), &json!(1), &json!(0)));
    for (path, status, code) in [
        ("/batches/7", 404, "batch_not_found"),
        ("/batches/x", 400, "invalid_batch_uids"),
        ("/batches?limit=x", 400, "invalid_task_limit"),
    ] {
        let answer = node.get(path);
        assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{path}");
    }
}
