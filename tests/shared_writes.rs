//! Writes of single documents that share requests to nodes: each keeps its own task, its own end, its own place in the order.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use loadtest::stub::Fault;
use serde_json::{json, Map, Value};
use support::{wait_until, Client, Fleet, FleetOptions, Operation, TASK_PATIENCE};

/// Enough for every request under way to have others waiting behind it.
const CLIENTS: u64 = 32;

/// Three nodes with the index `i`.
fn fleet(replication_factor: u32) -> Fleet {
    with_index(Fleet::start(&FleetOptions { replication_factor, ..FleetOptions::default() }))
}

fn with_index(fleet: Fleet) -> Fleet {
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    client.succeed(client.patch("/indexes/i/settings", json!({ "sortableAttributes": ["_geo"] })));
    fleet
}

/// Carries out `work` for each client side by side.
fn side_by_side(fleet: &Fleet, work: impl Fn(u64, &Client) + Sync) {
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (client, work) = (fleet.client().clone(), &work);
            scope.spawn(move || work(n, &client));
        }
    });
}

/// How many writes each node's tasks were for; no write may have been given to a node twice.
#[track_caller]
fn writes_of_tasks(fleet: &Fleet, index: &str) -> Vec<usize> {
    let mut counts = Vec::new();
    for n in 0..fleet.node_count() {
        let mut seen = BTreeSet::new();
        for markers in fleet.markers_of(n, index) {
            counts.push(markers.len());
            for marker in markers {
                assert!(seen.insert(marker.clone()), "node {n} was given write {marker} twice");
            }
        }
    }
    counts
}

/// Works in rounds until some request was shared: whether one is in a given round depends on how fast the nodes are.
#[track_caller]
fn rounds_until_shared(fleet: &Fleet, work: impl Fn(u64)) {
    const ROUNDS_MAX: u64 = 50;
    let is_shared = |round: u64| {
        work(round);
        writes_of_tasks(fleet, "i").iter().any(|&count| count > 1)
    };
    assert!((0..ROUNDS_MAX).any(is_shared), "no request was shared");
}

#[test]
fn writes_that_share_requests_have_tasks_and_counts_of_their_own() {
    const WRITES: u64 = 8;
    for replication_factor in [1, 2] {
        let fleet = fleet(replication_factor);
        let uids = Mutex::new(BTreeSet::new());
        rounds_until_shared(&fleet, |round| {
            side_by_side(&fleet, |n, client| {
                for m in 0..WRITES {
                    let document = json!([{ "id": (round * CLIENTS + n) * WRITES + m, "by": n }]);
                    let answer = match m % 2 {
                        0 => client.post("/indexes/i/documents", document),
                        _ => client.put("/indexes/i/documents", document),
                    };
                    assert_eq!(answer.status, 202, "{}", answer.text);
                    assert!(uids.lock().unwrap().insert(answer.task_uid()), "a task was given twice");
                }
            });
        });
        fleet.await_tasks();
        let uids = uids.into_inner().unwrap();
        let written = uids.len() as u64;
        for uid in uids {
            let task = fleet.client().get(&format!("/tasks/{uid}")).expect_status(200);
            assert_eq!(task["status"], "succeeded", "{task}");
            assert_eq!(task["details"], json!({ "receivedDocuments": 1, "indexedDocuments": 1 }), "{task}");
            assert_eq!(task["customMetadata"], Value::Null, "{task}");
        }
        let held: usize = (0..fleet.node_count()).map(|n| fleet.documents_of(n, "i").len()).sum();
        assert_eq!(held as u64, written * u64::from(replication_factor));
    }
}

#[test]
fn a_document_that_nodes_may_fail_by_itself_shares_no_request() {
    const WRITES: u64 = 4;
    let fleet = fleet(1);
    let client = fleet.client();
    let embedders = json!({ "embedders": { "e": { "source": "userProvided", "dimensions": 2 } } });
    client.succeed(client.patch("/indexes/e/settings", embedders));
    client.succeed(client.post("/indexes", json!({ "uid": "s", "primaryKey": "id" })));
    let outcomes = Mutex::new(Vec::new());
    side_by_side(&fleet, |n, client| {
        for m in 0..WRITES {
            let id = n * WRITES + m;
            // Were the last two in one request with others, those might fail with them. What is no place no node is sent.
            let (path, field, status) = match id % 8 {
                0 => ("/indexes/i/documents", json!({ "_geo": "nowhere" }), "failed"),
                1..4 => ("/indexes/i/documents", json!({ "_geo": { "lat": 1, "lng": n } }), "succeeded"),
                4..6 => ("/indexes/s/documents?skipCreation=true&primaryKey=id", json!({ "by": n }), "succeeded"),
                _ => {
                    ("/indexes/e/documents?primaryKey=id", json!({ "by": n, "_vectors": { "e": [1, 2] } }), "succeeded")
                }
            };
            let mut document = field;
            document["id"] = json!(id);
            let answer = client.post(path, json!([document]));
            assert_eq!(answer.status, 202, "{}", answer.text);
            outcomes.lock().unwrap().push((answer.task_uid(), status));
        }
    });
    fleet.await_tasks();
    for (uid, status) in outcomes.into_inner().unwrap() {
        let task = client.get(&format!("/tasks/{uid}")).expect_status(200);
        assert_eq!(task["status"], status, "{task}");
        assert!(status == "succeeded" || task["error"]["code"] == "invalid_document_geo_field", "{task}");
    }
    for index in ["s", "e"] {
        let writes = writes_of_tasks(&fleet, index);
        assert!(writes.iter().all(|&count| count <= 1), "a request was shared in {index}: {writes:?}");
    }
}

/// What was acknowledged, by task, and the documents that must come of it.
#[track_caller]
fn expect_model(fleet: &Fleet, acknowledged: &BTreeMap<u64, Operation>, replicas: usize) {
    let mut model: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (uid, operation) in acknowledged {
        let task = fleet.client().get(&format!("/tasks/{uid}")).expect_status(200);
        assert_eq!(task["status"], "succeeded", "{task}");
        operation.apply(&mut model);
    }
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..fleet.node_count() {
        for (id, document) in fleet.documents_of(n, "i") {
            assert_eq!(document.as_object(), model.get(&id), "node {n}, document {id}");
            *copies.entry(id).or_default() += 1;
        }
    }
    assert!(model.keys().eq(copies.keys()) && copies.values().all(|&count| count == replicas), "{copies:?}");
}

#[test]
fn writes_that_share_requests_keep_their_order_with_deletions_and_batches() {
    const WRITES: u64 = 5;
    for replication_factor in [1, 2] {
        let fleet = fleet(replication_factor);
        let acknowledged = Mutex::new(BTreeMap::new());
        rounds_until_shared(&fleet, |round| {
            side_by_side(&fleet, |n, client| {
                let mut random = fastrand::Rng::with_seed(round * CLIENTS + n);
                for m in 0..WRITES {
                    // Few documents, so that writes often conflict.
                    let operation = Operation::random(&mut random, 60, (round * CLIENTS + n) * WRITES + m);
                    let answer = operation.send(client).expect("an answer");
                    assert_eq!(answer.status, 202, "{}", answer.text);
                    acknowledged.lock().unwrap().insert(answer.task_uid(), operation);
                }
            });
        });
        fleet.await_tasks();
        expect_model(&fleet, &acknowledged.into_inner().unwrap(), replication_factor as usize);
    }
}

#[test]
fn shared_requests_under_way_when_the_proxy_dies_are_carried_through_once() {
    const LIVES: u64 = 2;
    let mut fleet = fleet(2);
    let acknowledged = Mutex::new(BTreeMap::new());
    for life in 0..LIVES {
        let pid = fleet.proxy_pid();
        side_by_side(&fleet, |n, client| {
            for m in 0.. {
                // Each document is written once, so that it does not matter whether one without an answer was taken.
                let document = json!({ "id": (life * CLIENTS + n) * 100_000 + m, "by": n });
                let operation = Operation::Replace(vec![document]);
                let Ok(answer) = operation.send(client) else { return };
                assert_eq!(answer.status, 202, "{}", answer.text);
                let mut acknowledged = acknowledged.lock().unwrap();
                acknowledged.insert(answer.task_uid(), operation);
                if acknowledged.len() as u64 >= (life + 1) * 200 {
                    support::kill(pid);
                }
            }
        });
        fleet.kill_proxy();
        fleet.start_proxy();
    }
    fleet.await_recovery();
    fleet.await_tasks();
    let acknowledged = acknowledged.into_inner().unwrap();
    // Those without an answer may have been taken as well: then by all replicas, which `all` holds against each other.
    let mut all: BTreeMap<String, (usize, Value)> = BTreeMap::new();
    for n in 0..fleet.node_count() {
        for (id, document) in fleet.documents_of(n, "i") {
            let (count, first) = all.entry(id).or_insert_with(|| (0, document.clone()));
            assert_eq!(*first, document, "replicas differ");
            *count += 1;
        }
    }
    assert!(all.values().all(|(count, _)| *count == 2), "a replica lacks a document");
    for (uid, operation) in &acknowledged {
        let task = fleet.client().get(&format!("/tasks/{uid}")).expect_status(200);
        assert_eq!(task["status"], "succeeded", "{task}");
        let Operation::Replace(documents) = operation else { unreachable!("only these were sent") };
        assert!(
            documents.iter().all(|document| all.contains_key(&document["id"].to_string())),
            "{operation:?} is lost"
        );
    }
    let writes = writes_of_tasks(&fleet, "i");
    assert!(writes.iter().any(|&count| count > 1), "no request was shared");
}

#[test]
fn canceling_one_write_leaves_those_that_share_its_request_alone_and_canceling_all_cancels_all() {
    const WRITES: u64 = 6;
    let fleet = fleet(1);
    // Indexing this takes each node long enough for the others to queue up behind it.
    let text = |n: u64| (0..60).map(|word| format!("w{} ", (n * 7919 + word * 104_729) % 100_003)).collect::<String>();
    let big: Value = (0..8_000).map(|n: u64| json!({ "id": n, "text": text(n) })).collect();
    assert_eq!(fleet.client().post("/indexes/big/documents?primaryKey=id", big).status, 202);
    let uids = Mutex::new(BTreeSet::new());
    side_by_side(&fleet, |n, client| {
        for m in 0..WRITES {
            let answer = client.post("/indexes/i/documents", json!([{ "id": n * WRITES + m }]));
            uids.lock().unwrap().insert(answer.task_uid());
        }
    });
    let uids: Vec<String> = uids.into_inner().unwrap().iter().map(u64::to_string).collect();
    // Every second one: whatever is canceled is one of these.
    let named: Vec<String> = uids.iter().step_by(2).cloned().collect();
    let client = fleet.client();
    let canceling = client.post(&format!("/tasks/cancel?uids={}", named.join(",")), json!({}));
    let task = client.wait_task(canceling.expect_status(200)["taskUid"].as_u64().unwrap());
    assert_eq!(task["status"], "succeeded", "{task}");
    let canceled = client.get("/tasks?statuses=canceled&limit=1000").expect_status(200);
    for task in canceled["results"].as_array().unwrap() {
        assert!(named.contains(&task["uid"].to_string()), "{task} was not to be canceled");
    }
    let canceling = client.post("/tasks/cancel?statuses=enqueued,processing&indexUids=i", json!({}));
    client.wait_task(canceling.expect_status(200)["taskUid"].as_u64().unwrap());
    println!("{canceled} then {task}");
    fleet.await_tasks();
    // What ended first has succeeded; nothing else became of any of them, and documents tell the same as tasks.
    let mut succeeded = 0;
    for uid in &uids {
        let task = client.get(&format!("/tasks/{uid}")).expect_status(200);
        match task["status"].as_str() {
            Some("succeeded") => succeeded += 1,
            Some("canceled") => assert_eq!(task["details"]["indexedDocuments"], 0, "{task}"),
            _ => panic!("{task}"),
        }
    }
    let held: usize = (0..fleet.node_count()).map(|n| fleet.documents_of(n, "i").len()).sum();
    assert_eq!(held, succeeded);
    assert!(writes_of_tasks(&fleet, "i").iter().any(|&count| count > 1), "no request was shared");
}

#[test]
fn a_shared_request_that_a_node_executes_long_after_its_time_is_executed_once() {
    for replication_factor in [1, 2] {
        let settings = "  scatter: { node_timeout_ms: 300 }\n".to_owned();
        let options = FleetOptions { replication_factor, settings, stubs: true, ..FleetOptions::default() };
        let fleet = with_index(Fleet::start(&options));
        let acknowledged = Mutex::new(BTreeMap::new());
        fleet.stub(0).set_fault(Fault::WritesHeld);
        std::thread::scope(|scope| {
            let (fleet, acknowledged) = (&fleet, &acknowledged);
            for n in 0..CLIENTS {
                scope.spawn(move || {
                    let operation = Operation::Replace(vec![json!({ "id": n, "by": 1 })]);
                    let answer = operation.send(fleet.client()).expect("an answer");
                    if answer.status == 202 {
                        acknowledged.lock().unwrap().insert(answer.task_uid(), operation);
                    } else {
                        // Without another replica, an answer that does not come is a write without a quorum.
                        assert_eq!(replication_factor, 1, "{}", answer.text);
                        answer.expect_error(503, "miroir_no_quorum");
                    }
                });
            }
            wait_until("legs have timed out", TASK_PATIENCE, || fleet.proxy_log().contains("did not answer within"));
            fleet.stub(0).set_fault(Fault::None);
        });
        // Later writes of the same documents come after the late ones, wherever these are.
        side_by_side(&fleet, |n, client| {
            let operation = Operation::Update(vec![json!({ "id": n, "again": true })]);
            let answer = operation.send(client).expect("an answer");
            assert_eq!(answer.status, 202, "{}", answer.text);
            acknowledged.lock().unwrap().insert(answer.task_uid(), operation);
        });
        fleet.await_recovery();
        fleet.await_tasks();
        if replication_factor == 2 {
            expect_model(&fleet, &acknowledged.into_inner().unwrap(), 2);
        }
        assert!(writes_of_tasks(&fleet, "i").iter().any(|&count| count > 1), "no request was shared");
    }
}
