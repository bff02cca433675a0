//! Tasks: Miroir's own integers over the nodes' own, from the answer to a write until long after a restart.

mod support;

use std::path::Path;

use serde_json::{json, Value};
use support::{kill, wait_until, Cluster, ClusterOptions, SingleServer, STOP_PATIENCE};

fn kept_in(folder: &Path) -> Cluster {
    Cluster::start(ClusterOptions { data_dir: Some(folder.join("data")), ..Default::default() })
}

fn uids(list: &Value) -> Vec<u64> {
    let results = list["results"].as_array().unwrap_or_else(|| panic!("no results in {list}"));
    results.iter().map(|task| task["uid"].as_u64().unwrap_or_else(|| panic!("no integer uid in {task}"))).collect()
}

#[test]
fn uids_are_integers_that_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = kept_in(folder.path());
    let write = |cluster: &Cluster, n: u64| cluster.post("/indexes/i/documents", json!([{ "id": n }])).task_uid();
    let before: Vec<_> = (0..5).map(|n| write(&first, n)).collect();
    assert_eq!(before, [0, 1, 2, 3, 4]);
    let tasks: Vec<Value> = before.iter().map(|uid| first.client().wait_task(*uid)).collect();
    // A crash: what was answered must have been durable.
    first.kill_proxy();
    drop(first);

    let second = kept_in(folder.path());

    assert_eq!(write(&second, 5), 5);
    for (uid, task) in before.into_iter().zip(tasks) {
        assert_eq!(second.get(&format!("/tasks/{uid}")).expect_status(200), task);
    }
    second.client().wait_task(5);
    assert_eq!(second.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 6);
    second.get("/tasks/6").expect_error(404, "task_not_found");
}

#[test]
fn unfinished_tasks_are_followed_after_everything_has_crashed() {
    const BATCHES: u64 = 6;
    const BATCH: u64 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let first = kept_in(folder.path());
    let text = "words to index ".repeat(20);
    let accepted: Vec<u64> = (0..BATCHES)
        .map(|batch| {
            let ids = batch * BATCH..(batch + 1) * BATCH;
            let documents: Vec<_> = ids.map(|id| json!({ "id": id, "text": format!("{text}{id}") })).collect();
            first.post("/indexes/i/documents", json!(documents)).task_uid()
        })
        .collect();
    let unfinished = first.get("/tasks?statuses=enqueued,processing").expect_status(200);
    kill(first.pid());
    assert!(!uids(&unfinished).is_empty(), "all was done before the crash: the batches are too small for this test");
    let pids: Vec<u32> = first.nodes.iter().map(|node| node.pid).chain([first.proxy_pid]).collect();
    wait_until("everything is gone", STOP_PATIENCE, || pids.iter().all(|pid| !support::is_running(*pid)));
    drop(first);

    let second = kept_in(folder.path());

    for uid in accepted {
        let task = second.client().wait_task(uid);
        assert_eq!(task["status"], "succeeded", "{task}");
        assert_eq!(task["details"], json!({ "receivedDocuments": BATCH, "indexedDocuments": BATCH }));
    }
    assert_eq!(second.documents_held("i").iter().sum::<u64>(), BATCHES * BATCH);
    for batch in 0..BATCHES {
        let found = second.client().search("i", json!({ "q": format!("\"index {}\"", batch * BATCH) }));
        assert_eq!(found["hits"][0]["id"], batch * BATCH, "{found}");
    }
    assert_eq!(second.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], BATCHES * BATCH);
}

#[test]
fn tasks_are_listed_filtered_and_paged_as_by_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    for client in [cluster.client(), single.client()] {
        let documents = |n: u64| json!([{ "id": n }, { "id": n + 1 }]);
        // Each waits for the one before, so that they end in the same order everywhere.
        client.succeed(client.post("/indexes", json!({ "uid": "a", "primaryKey": "id" })));
        client.succeed(client.post("/indexes/a/documents", documents(1)));
        client.succeed(client.put("/indexes/b/documents", documents(2)));
        client.succeed(client.patch("/indexes/a/settings", json!({ "filterableAttributes": ["id"] })));
        client.succeed(client.delete("/indexes/a/documents/1"));
        client.fail(
            client.post("/indexes/a/documents/delete", json!({ "filter": "size = 1" })),
            "invalid_document_filter",
        );
        client.fail(client.post("/indexes", json!({ "uid": "a" })), "index_already_exists");
        client.succeed(client.delete("/indexes/b"));
    }
    let shown = |task: &Value| -> Value {
        let members = ["uid", "indexUid", "status", "type", "details", "canceledBy"];
        members.into_iter().map(|name| (name.to_owned(), task[name].clone())).collect::<serde_json::Map<_, _>>().into()
    };
    for query in [
        "",
        "?limit=3",
        "?limit=3&from=4",
        "?limit=3&from=4&reverse=true",
        "?reverse=true",
        "?limit=0",
        "?from=1000",
        "?statuses=failed",
        "?statuses=succeeded,failed&indexUids=b",
        "?types=documentAdditionOrUpdate",
        "?types=documentDeletion,indexCreation&statuses=succeeded",
        "?uids=0,5,77",
        "?indexUids=nobody",
        "?statuses=*&limit=2",
        "?afterEnqueuedAt=2100-01-01",
        "?beforeEnqueuedAt=2100-01-01T00:00:00Z&limit=1",
    ] {
        let [got, expected] =
            [cluster.client(), single.client()].map(|client| client.get(&format!("/tasks{query}")).expect_status(200));
        for member in ["total", "limit", "from", "next"] {
            assert_eq!(got[member], expected[member], "{member} of /tasks{query}");
        }
        let tasks = |list: &Value| list["results"].as_array().expect("results").iter().map(shown).collect::<Vec<_>>();
        assert_eq!(tasks(&got), tasks(&expected), "/tasks{query}");
    }
    for query in ["?limit=x", "?uids=a", "?statuses=done", "?types=search", "?beforeStartedAt=then", "?unknown=1", "/x"]
    {
        let [got, expected] = [cluster.client(), single.client()].map(|client| client.get(&format!("/tasks{query}")));
        assert_eq!((got.status, got.code()), (expected.status, expected.code()), "/tasks{query}: {}", got.text);
    }
    // Its pages, followed by `next`, are all of it.
    let mut seen = Vec::new();
    let mut next = json!(7);
    while let Some(from) = next.as_u64() {
        let page = cluster.get(&format!("/tasks?limit=3&from={from}")).expect_status(200);
        seen.extend(uids(&page));
        next = page["next"].clone();
    }
    assert_eq!(seen, (0..8).rev().collect::<Vec<_>>());
}

#[test]
fn a_finished_task_has_all_its_times() {
    let cluster = Cluster::start(ClusterOptions::default());
    let task = cluster.succeed(cluster.post("/indexes/i/documents", json!([{ "id": 1 }, { "id": 2 }])));
    let members: Vec<_> = task.as_object().expect("a task").keys().map(String::as_str).collect();
    let expected = [
        "uid",
        "batchUid",
        "indexUid",
        "status",
        "type",
        "canceledBy",
        "details",
        "error",
        "duration",
        "enqueuedAt",
        "startedAt",
        "finishedAt",
    ];
    assert_eq!(members, expected);
    let time = |name: &str| {
        let text = task[name].as_str().unwrap_or_else(|| panic!("no {name} in {task}"));
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time")
    };
    assert!(time("enqueuedAt") <= time("startedAt") && time("startedAt") <= time("finishedAt"), "{task}");
    assert!(task["duration"].as_str().is_some_and(|duration| duration.starts_with("PT")), "{task}");
}

#[test]
fn settings_are_a_task_on_every_node() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let settings = json!({
        "rankingRules": ["words", "typo", "price:asc"],
        "filterableAttributes": ["genre"],
        "synonyms": { "book": ["volume"] },
        "pagination": { "maxTotalHits": 50 },
        "faceting": { "maxValuesPerFacet": 7 }
    });
    let both = [cluster.client(), single.client()];
    let [got, expected] = both.map(|client| client.succeed(client.patch("/indexes/i/settings", settings.clone())));
    assert_eq!((&got["type"], &got["details"]), (&expected["type"], &expected["details"]));
    let [got, expected] = both.map(|client| client.get("/indexes/i/settings").expect_status(200));
    assert_eq!(got, expected);
    for n in 0..3 {
        let of_node = cluster.node_client(n).get("/indexes/i/settings").expect_status(200);
        assert_eq!(of_node["synonyms"], settings["synonyms"]);
    }

    let [got, expected] = both.map(|client| client.succeed(client.delete("/indexes/i/settings/synonyms")));
    assert_eq!((&got["type"], &got["details"]), (&expected["type"], &expected["details"]));
    assert_eq!(cluster.get("/indexes/i/settings/synonyms").expect_status(200), json!({}));

    for refused in
        [json!({ "rankingRules": ["nonsense"] }), json!({ "nonsense": 1 }), json!({ "distinctAttribute": 1 })]
    {
        let [got, expected] = both.map(|client| client.patch("/indexes/i/settings", refused.clone()));
        assert_eq!((got.status, got.body), (expected.status, expected.body), "{refused}");
    }
    // Resetting everything leaves documents where they can be found.
    let documents: Vec<_> = (0..20).map(|n| json!({ "id": n, "title": "a novel", "genre": "prose" })).collect();
    for client in both {
        client.succeed(client.post("/indexes/i/documents", json!(documents)));
        client.succeed(client.delete("/indexes/i/settings"));
    }
    let [got, expected] = both.map(|client| client.get("/indexes/i/settings").expect_status(200));
    assert_eq!(got, expected);
    assert_eq!(cluster.client().search("i", json!({ "q": "novel" }))["estimatedTotalHits"], 20);
}

#[test]
fn a_failed_task_carries_the_error_of_the_node_that_failed() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    // Only the nodes look into this field, and only one of them gets the bad one.
    let mut places: Vec<_> = (0..30).map(|n| json!({ "id": n, "_geo": { "lat": n, "lng": n } })).collect();
    places[11]["_geo"] = json!({ "lat": "north", "lng": 1 });
    let [got, expected] = [cluster.client(), single.client()].map(|client| {
        client.succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["_geo"] })));
        client.fail(client.post("/indexes/i/documents", json!(places)), "invalid_document_geo_field")
    });
    assert_eq!(got["error"], expected["error"]);
    assert_eq!(got["details"]["receivedDocuments"], 30);
    // The next write is none the worse for it.
    places[11]["_geo"] = json!({ "lat": 1, "lng": 1 });
    cluster.succeed(cluster.post("/indexes/i/documents", json!(places)));
    assert_eq!(cluster.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 30);
}
