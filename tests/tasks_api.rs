//! What clients do with tasks beyond reading them: repeat writes under a key, cancel, delete, list batches.

mod support;

use serde_json::{json, Value};
use support::{wait_until, Answer, Client, Cluster, ClusterOptions, SingleServer, TASK_PATIENCE};

fn replicated() -> Cluster {
    Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() })
}

fn keyed(client: &Client, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let headers = [("idempotency-key", key), ("content-type", "application/json")];
    client.send(method, path, &headers, body.map(|body| body.to_string().into_bytes()))
}

/// How many tasks all nodes have had.
fn node_tasks(cluster: &Cluster) -> u64 {
    let total = |n| cluster.node_client(n).get("/tasks?limit=1").expect_status(200)["total"].as_u64().expect("a total");
    (0..cluster.nodes.len()).map(total).sum()
}

#[test]
fn a_write_that_is_repeated_under_its_key_is_carried_out_once() {
    for cluster in [Cluster::start(ClusterOptions::default()), replicated()] {
        let client = cluster.client();
        let documents = json!((0..30).map(|id| json!({ "id": id, "n": 1 })).collect::<Vec<_>>());
        let writes = [
            ("POST", "/indexes", Some(json!({ "uid": "i", "primaryKey": "id" }))),
            ("POST", "/indexes/i/documents", Some(documents)),
            ("PUT", "/indexes/i/documents?customMetadata=m", Some(json!([{ "id": 1, "n": 2 }]))),
            ("PATCH", "/indexes/i/settings", Some(json!({ "filterableAttributes": ["n"] }))),
            ("DELETE", "/indexes/i/documents/7", None),
            ("POST", "/indexes/i/documents/delete-batch", Some(json!([8, 9]))),
            ("POST", "/indexes/i/documents/delete", Some(json!({ "filter": "n = 2" }))),
            // A task that no node has a part in.
            ("POST", "/indexes", Some(json!({ "uid": "i" }))),
            ("DELETE", "/tasks?uids=999", None),
            ("POST", "/tasks/cancel?uids=999", None),
        ];
        for (n, (method, path, body)) in writes.iter().enumerate() {
            let first = keyed(client, &format!("key-{n}"), method, path, body.as_ref());
            assert!(matches!(first.status, 200 | 202), "{path}: {}", first.text);
            client.wait_task(first.body["taskUid"].as_u64().expect("a task"));
        }
        let before = (node_tasks(&cluster), cluster.get("/tasks").expect_status(200)["total"].clone());
        for (n, (method, path, body)) in writes.iter().enumerate() {
            let again = keyed(client, &format!("key-{n}"), method, path, body.as_ref());
            assert_eq!((again.status, &again.body["taskUid"]), (200, &json!(n)), "{path}: {}", again.text);
        }
        let other = json!([{ "id": 1, "n": 3 }]);
        for (method, path, body) in [
            ("POST", "/indexes/i/documents", Some(&other)),
            ("PUT", "/indexes/i/documents", Some(&other)),
            ("DELETE", "/indexes/i/documents/1", None),
        ] {
            keyed(client, "key-1", method, path, body).expect_error(409, "miroir_idempotency_key_reused");
        }
        assert_eq!((node_tasks(&cluster), cluster.get("/tasks").expect_status(200)["total"].clone()), before);
        assert_eq!(cluster.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 26);
    }
}

#[test]
fn a_key_outlives_the_proxy_and_a_refusal_leaves_it_free() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Cluster::start(ClusterOptions { data_dir: Some(folder.path().join("data")), ..Default::default() });
    let first = start();
    let documents = json!([{ "id": 1 }]);
    let refused = json!([{ "id": 1, "_miroir_shard": 3 }]);
    let send =
        |cluster: &Cluster, body: &Value| keyed(cluster.client(), "k", "POST", "/indexes/i/documents", Some(body));
    send(&first, &refused).expect_error(400, "miroir_reserved_field");
    let accepted = send(&first, &documents);
    assert_eq!(accepted.task_uid(), 0);
    for bad in ["", "a b", &"k".repeat(256)] {
        keyed(first.client(), bad, "POST", "/indexes/i/documents", Some(&documents))
            .expect_error(400, "miroir_invalid_idempotency_key");
    }
    first.client().wait_task(0);
    first.kill_proxy();
    drop(first);

    let second = start();
    assert_eq!(send(&second, &documents).expect_status(200), accepted.body);
    send(&second, &json!([{ "id": 2 }])).expect_error(409, "miroir_idempotency_key_reused");
}

#[test]
fn of_many_with_one_key_at_once_one_is_carried_out() {
    const CLIENTS: usize = 8;
    let cluster = replicated();
    cluster.succeed(cluster.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let body = json!((0..500).map(|id| json!({ "id": id })).collect::<Vec<_>>());
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let client = cluster.client();
        let send = || keyed(client, "one", "POST", "/indexes/i/documents", Some(&body));
        let sent: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|sent| sent.join().expect("an answer")).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), CLIENTS - 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    assert_eq!(cluster.get("/tasks").expect_status(200)["total"], 2);
}

/// Sends batches that take the nodes some time, and returns their tasks.
fn fill_the_queues(cluster: &Cluster, batches: u64, batch: u64) -> Vec<u64> {
    let text = "many different words to index ".repeat(30);
    let send = |n: u64| {
        let ids = n * batch..(n + 1) * batch;
        let documents: Vec<_> = ids.map(|id| json!({ "id": id, "text": format!("{text}{id}") })).collect();
        cluster.post("/indexes/i/documents", json!(documents)).task_uid()
    };
    (0..batches).map(send).collect()
}

#[test]
fn canceling_stops_what_the_nodes_have_not_begun() {
    const BATCHES: u64 = 12;
    const BATCH: u64 = 1000;
    for copies in [1, 2] {
        let cluster = Cluster::start(ClusterOptions { replication_factor: copies, ..Default::default() });
        cluster.succeed(cluster.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
        let tasks = fill_the_queues(&cluster, BATCHES, BATCH);
        let answer = cluster.client().send("POST", "/tasks/cancel?statuses=enqueued,processing&indexUids=i", &[], None);
        let accepted = answer.expect_status(200);
        assert_eq!((&accepted["type"], &accepted["indexUid"]), (&json!("taskCancelation"), &Value::Null));
        let by = accepted["taskUid"].as_u64().expect("a task");

        let cancelation = cluster.client().wait_task(by);

        assert_eq!(cancelation["status"], "succeeded", "{cancelation}");
        let details = &cancelation["details"];
        assert_eq!(details["originalFilter"], "?statuses=enqueued,processing&indexUids=i");
        let canceled = details["canceledTasks"].as_u64().expect("a count");
        assert!(canceled > 0, "all was done before it could be canceled: {details}");
        assert!(details["matchedTasks"].as_u64().expect("a count") >= canceled, "{details}");
        let (mut indexed, mut seen) = (0, 0);
        for uid in tasks {
            let task = cluster.get(&format!("/tasks/{uid}")).expect_status(200);
            match task["status"].as_str() {
                Some("canceled") => {
                    assert_eq!(task["canceledBy"], by, "{task}");
                    seen += 1;
                }
                status => assert_eq!((status, &task["canceledBy"]), (Some("succeeded"), &Value::Null), "{task}"),
            }
            indexed += task["details"]["indexedDocuments"].as_u64().expect("a count");
        }
        assert_eq!(seen, canceled);
        let listed = cluster.get(&format!("/tasks?canceledBy={by}&limit=100")).expect_status(200);
        assert_eq!(listed["total"], canceled);
        // The tasks say what was done, and every reader sees the same of it.
        let counted = || cluster.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"].as_u64();
        if copies == 1 {
            assert_eq!(cluster.documents_held("i").iter().sum::<u64>(), indexed);
            assert_eq!(counted(), Some(indexed));
        }
        let first = counted();
        assert!((0..5).all(|_| counted() == first));
        // The queue is free for what comes after.
        cluster.succeed(cluster.post("/indexes/i/documents", json!([{ "id": 1_000_000, "text": "afterwards" }])));
        assert_eq!(cluster.client().search("i", json!({ "q": "afterwards" }))["estimatedTotalHits"], 1);
    }
}

#[test]
fn canceling_and_deleting_answer_as_one_server_does() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let both = [cluster.client(), single.client()];
    for client in both {
        client.succeed(client.post("/indexes", json!({ "uid": "a", "primaryKey": "id" })));
        client.succeed(client.post("/indexes/a/documents", json!([{ "id": 1 }])));
        client.fail(client.post("/indexes", json!({ "uid": "a" })), "index_already_exists");
    }
    let shown = |task: &Value| json!([task["uid"], task["type"], task["status"], task["details"], task["indexUid"]]);
    for (method, path) in [
        ("POST", "/tasks/cancel?uids=0,1,77"),
        ("DELETE", "/tasks?statuses=failed"),
        ("DELETE", "/tasks?uids=1,3"),
        ("DELETE", "/tasks?uids="),
        ("POST", "/tasks/cancel?statuses=*"),
    ] {
        let [got, expected] = both.map(|client| {
            let accepted = client.send(method, path, &[], None).expect_status(200);
            client.wait_task(accepted["taskUid"].as_u64().expect("a task"))
        });
        assert_eq!(shown(&got), shown(&expected), "{method} {path}");
        let [got, expected] = both.map(|client| client.get("/tasks").expect_status(200)["total"].clone());
        assert_eq!(got, expected, "tasks left by {method} {path}");
    }
    for (method, path) in [
        ("POST", "/tasks/cancel"),
        ("DELETE", "/tasks"),
        ("POST", "/tasks/cancel?limit=1"),
        ("DELETE", "/tasks?uids=x"),
        ("DELETE", "/tasks?statuses=done"),
    ] {
        let [got, expected] = both.map(|client| client.send(method, path, &[], None));
        assert_eq!((got.status, got.body["code"].clone()), (expected.status, expected.body["code"].clone()), "{path}");
        if expected.body["code"] == "missing_task_filters" || expected.body["code"] == "bad_request" {
            assert_eq!(got.body["message"], expected.body["message"]);
        }
    }
    cluster.get("/tasks/1").expect_error(404, "task_not_found");
}

#[test]
fn batches_are_listed_as_by_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let both = [cluster.client(), single.client()];
    for client in both {
        client.succeed(client.post("/indexes", json!({ "uid": "a", "primaryKey": "id" })));
        client.succeed(client.post("/indexes/a/documents", json!([{ "id": 1 }, { "id": 2 }])));
        client.succeed(client.patch("/indexes/a/settings", json!({ "filterableAttributes": ["id"] })));
        client.fail(client.post("/indexes", json!({ "uid": "a" })), "index_already_exists");
    }
    let shown = |batch: &Value| {
        let stats = &batch["stats"];
        let stats = json!([stats["totalNbTasks"], stats["status"], stats["types"], stats["indexUids"]]);
        json!([batch["uid"], batch["progress"], batch["details"], stats])
    };
    for query in [
        "",
        "?limit=2",
        "?limit=2&from=2",
        "?reverse=true&limit=3",
        "?uids=1,2",
        "?batchUids=0,9",
        "?statuses=failed",
        "?types=settingsUpdate",
        "?indexUids=a&statuses=succeeded",
        "?indexUids=b",
        "?statuses=enqueued",
    ] {
        let [got, expected] = both.map(|client| client.get(&format!("/batches{query}")).expect_status(200));
        for member in ["total", "limit", "from", "next"] {
            assert_eq!(got[member], expected[member], "{member} of /batches{query}");
        }
        let batches = |list: &Value| list["results"].as_array().expect("results").iter().map(shown).collect::<Vec<_>>();
        assert_eq!(batches(&got), batches(&expected), "/batches{query}");
    }
    let [got, expected] = both.map(|client| client.get("/batches/1").expect_status(200));
    assert_eq!(shown(&got), shown(&expected));
    for member in ["duration", "startedAt", "finishedAt", "batchStrategy"] {
        assert!(got[member].is_string() && expected[member].is_string(), "{member}: {got} {expected}");
    }
    for path in ["/batches/77", "/batches/x", "/batches?limit=x", "/batches?unknown=1"] {
        let [got, expected] = both.map(|client| client.get(path));
        assert_eq!((got.status, got.code()), (expected.status, expected.code()), "{path}: {}", got.text);
    }
}

#[test]
fn operators_see_what_became_of_a_task_on_each_node() {
    let cluster = replicated();
    let documents: Vec<_> = (0..50).map(|id| json!({ "id": id })).collect();
    let task = cluster.succeed(cluster.post("/indexes/i/documents", json!(documents)));
    let path = format!("/_miroir/tasks/{}", task["uid"]);
    wait_until("all nodes have ended", TASK_PATIENCE, || {
        let breakdown = cluster.admin().get(&path).expect_status(200);
        let nodes = breakdown["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|leg| cluster.nodes.iter().any(|node| leg["node"] == node.id.as_str())));
        // Creation, Miroir's settings and documents, on each of the three.
        nodes.len() == 9 && nodes.iter().all(|leg| leg["status"] == "succeeded" && leg["uid"].is_number())
    });
    assert_eq!(cluster.get(&path).status, 401);
    cluster.admin().get("/_miroir/tasks/9999").expect_error(404, "task_not_found");
}

#[test]
fn a_function_edits_documents_and_cannot_reach_their_shards() {
    let (cluster, single) = (replicated(), SingleServer::start());
    let both = [cluster.client(), single.client()];
    let edition = |function: &str| json!({ "function": function, "context": { "by": 2 } });
    let [got, expected] = both.map(|client| client.post("/indexes/i/documents/edit", edition("doc.n += 1")));
    assert_eq!((got.status, got.body), (expected.status, expected.body), "the feature is off");

    for client in both {
        client.patch("/experimental-features", json!({ "editDocumentsByFunction": true })).expect_status(200);
    }
    if single.client().post("/indexes/i/documents/edit", edition("doc.n += 1")).body["code"] == "feature_not_enabled" {
        // The embedded node remembers the choice and cannot edit all the same.
        return;
    }
    for client in both {
        let documents: Vec<_> = (0..40).map(|id| json!({ "id": id, "n": id })).collect();
        client.succeed(client.post("/indexes/i/documents", json!(documents)));
    }
    for function in [
        "doc.n *= context.by;\ndoc.name = \"n\\\\\" + doc.n;",
        "doc._miroir_shard = \"elsewhere\"; doc.remove(\"_miroir_shard\"); if doc.id == 1 { return; } doc.seen = doc.keys().len()",
        "if doc.id % 4 == 0 { doc = () } else { doc = #{ id: doc.id } }",
    ] {
        let [got, expected] = both.map(|client| client.succeed(client.post("/indexes/i/documents/edit", edition(function))));
        assert_eq!((&got["type"], &got["details"]), (&expected["type"], &expected["details"]), "{function}");
        let documents = |client: &Client| {
            let list = client.post("/indexes/i/documents/fetch", json!({ "limit": 100 })).expect_status(200);
            let mut documents = list["results"].as_array().expect("documents").clone();
            documents.sort_by_key(|document| document["id"].as_u64());
            documents
        };
        assert_eq!(documents(cluster.client()), documents(single.client()), "{function}");
    }
    for body in [json!({}), json!({ "function": 1 }), json!({ "function": "", "context": 1 })] {
        let [got, expected] = both.map(|client| client.post("/indexes/i/documents/edit", body.clone()));
        assert_eq!((got.status, got.code()), (expected.status, expected.code()), "{body}");
    }
    cluster.client().fail(cluster.post("/indexes/nowhere/documents/edit", edition("doc.a = 1")), "index_not_found");
}
