//! What a write means while replicas are away, slow, or behind. Each test is a sentence of the specification of writes.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loadtest::stub::Fault;
use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};
use support::{wait_until, Fleet, FleetOptions, TASK_PATIENCE};

const DEGRADED: &str = "x-miroir-degraded";

fn documents(ids: std::ops::Range<u64>, version: u64) -> Value {
    ids.map(|id| json!({ "id": id, "version": version, "text": format!("book {id}") })).collect()
}

/// Index `i` with documents 0 to 199.
fn filled(options: &FleetOptions) -> Fleet {
    let fleet = Fleet::start(options);
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    client.succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["id", "version"] })));
    client.succeed(client.post("/indexes/i/documents", documents(0..200, 1)));
    fleet
}

fn two_groups() -> FleetOptions {
    FleetOptions { groups: vec![1, 1], replication_factor: 1, ..FleetOptions::default() }
}

/// All copies of all documents: how many there are of each, which must all be equal.
#[track_caller]
fn copies(fleet: &Fleet, index: &str) -> BTreeMap<String, (usize, Value)> {
    let mut copies: BTreeMap<String, (usize, Value)> = BTreeMap::new();
    for n in 0..fleet.node_count() {
        for (id, document) in fleet.documents_of(n, index) {
            let (count, first) = copies.entry(id).or_insert_with(|| (0, document.clone()));
            assert_eq!(*first, document, "replicas differ");
            *count += 1;
        }
    }
    copies
}

#[test]
fn with_one_of_two_groups_down_a_write_succeeds_degraded_and_with_both_down_it_is_refused() {
    let mut fleet = filled(&two_groups());
    let client = fleet.client().clone();
    let whole = client.post("/indexes/i/documents", documents(0..10, 2));
    assert_eq!(whole.header(DEGRADED), None);
    client.succeed(whole);

    fleet.kill_node(1);
    let unnoticed = client.post("/indexes/i/documents", documents(0..10, 3));
    assert_eq!(unnoticed.header(DEGRADED), Some("groups=1"), "{}", unnoticed.text);
    client.succeed(unnoticed);
    fleet.await_failure(1);
    let degraded = client.post("/indexes/i/documents", documents(0..10, 4));
    assert_eq!(degraded.header(DEGRADED), Some("groups=1"), "{}", degraded.text);
    client.succeed(degraded);
    assert_eq!(client.search("i", json!({ "filter": "version = 4" }))["estimatedTotalHits"], 10);

    fleet.kill_node(0);
    fleet.await_failure(0);
    let before = client.get("/tasks").expect_status(200)["total"].clone();
    let refused = client.post("/indexes/i/documents", documents(0..10, 5));
    assert_eq!(refused.header("retry-after"), Some("10"));
    let message = refused.expect_error(503, "miroir_no_quorum")["message"].to_string();
    assert!(message.contains("Nothing was sent"), "{message}");
    assert_eq!(client.get("/tasks").expect_status(200)["total"], before);

    fleet.start_node(0);
    fleet.start_node(1);
    fleet.await_recovery();
    let copies = copies(&fleet, "i");
    assert_eq!(copies.len(), 200);
    let versions = |id: u64| &copies[&id.to_string()];
    assert!((0..10).all(|id| versions(id).0 == 2 && versions(id).1["version"] == 4), "{copies:?}");
}

#[test]
fn one_invalid_document_in_a_batch_of_a_thousand_leaves_nothing_on_any_node() {
    let fleet = filled(&FleetOptions { replication_factor: 1, ..FleetOptions::default() });
    let client = fleet.client();
    let mut batch = documents(1_000..2_000, 1);
    batch[777]["id"] = json!("not a valid id!");
    client.fail(client.post("/indexes/i/documents", batch), "invalid_document_id");
    let mut batch = documents(1_000..2_000, 1);
    batch[500].as_object_mut().unwrap().remove("id");
    client.post("/indexes/i/documents", batch).expect_error(400, "miroir_primary_key_required");
    let mut batch = documents(1_000..2_000, 1);
    batch[999]["_miroir_shard"] = json!("x");
    client.post("/indexes/i/documents", batch).expect_error(400, "miroir_reserved_field");
    let held: usize = (0..fleet.node_count()).map(|n| fleet.documents_of(n, "i").len()).sum();
    assert_eq!(held, 200);
}

#[test]
fn a_replica_gets_what_it_missed_in_order_and_serves_no_reads_before() {
    let mut fleet = filled(&FleetOptions::default());
    let client = fleet.client().clone();
    fleet.kill_node(0);
    // The first of these find the node dead themselves, the others know.
    client.succeed(client.post("/indexes/i/documents", documents(0..50, 2)));
    client.succeed(client.delete("/indexes/i/documents/7"));
    fleet.await_failure(0);
    client.succeed(client.post("/indexes/i/documents/delete-batch", json!([8, "9"])));
    client.succeed(client.put("/indexes/i/documents", json!([{ "id": 10, "note": "kept" }])));
    client.succeed(client.post("/indexes/i/documents/delete", json!({ "filter": "id >= 190" })));
    client.succeed(client.post("/indexes/i/documents", documents(7..8, 3)));
    client.succeed(client.delete("/indexes/i/documents/7"));
    client.succeed(client.patch("/indexes/i/settings", json!({ "sortableAttributes": ["version"] })));
    client.succeed(client.post("/indexes", json!({ "uid": "new", "primaryKey": "id" })));
    client.succeed(client.post("/indexes/new/documents", documents(0..30, 1)));

    let expected = |client: &support::Client| {
        let all = client.search("i", json!({ "limit": 0 }));
        assert_eq!(all["estimatedTotalHits"], 187, "{all}");
        let updated = client.search("i", json!({ "filter": "version = 2", "limit": 0 }));
        assert_eq!(updated["estimatedTotalHits"], 47, "{updated}");
        client.get("/indexes/i/documents/7").expect_error(404, "document_not_found");
        assert_eq!(client.get("/indexes/i/documents/10").expect_status(200)["note"], "kept");
        assert_eq!(client.search("new", json!({ "limit": 0 }))["estimatedTotalHits"], 30);
    };
    expected(&client);
    fleet.start_node(0);
    // From its first moment on, no answer may come from what the node has not caught up with.
    let recovered = Instant::now() + Duration::from_secs(3);
    while Instant::now() < recovered {
        expected(&client);
    }
    fleet.await_recovery();
    expected(&client);

    for index in ["i", "new"] {
        let copies = copies(&fleet, index);
        assert_eq!(copies.len(), if index == "i" { 187 } else { 30 });
        assert!(copies.values().all(|(count, _)| *count == 2));
    }
    for n in 0..fleet.node_count() {
        let settings = fleet.node_client(n).get("/indexes/i/settings/sortable-attributes").expect_status(200);
        assert_eq!(settings, json!(["version"]));
    }
}

#[test]
fn indexes_that_were_deleted_while_a_node_was_away_are_gone_when_it_is_back() {
    let mut fleet = filled(&FleetOptions::default());
    let client = fleet.client().clone();
    fleet.kill_node(2);
    fleet.await_failure(2);
    client.succeed(client.delete("/indexes/i"));
    client.succeed(client.post("/indexes/i/documents", documents(0..5, 9)));
    fleet.start_node(2);
    fleet.await_recovery();
    let copies = copies(&fleet, "i");
    assert_eq!(copies.len(), 5);
    assert!(copies.values().all(|(count, document)| *count == 2 && document["version"] == 9));
}

#[test]
fn a_strict_quorum_counts_acknowledgements_alone() {
    let settings = "  writes: { strict_quorum: true }\n".to_owned();
    let mut fleet = filled(&FleetOptions { settings, ..FleetOptions::default() });
    let client = fleet.client().clone();
    client.succeed(client.post("/indexes/i/documents", documents(0..200, 2)));
    fleet.kill_node(0);
    fleet.await_failure(0);
    client.post("/indexes/i/documents", documents(0..200, 3)).expect_error(503, "miroir_no_quorum");
    assert_eq!(client.search("i", json!({ "filter": "version = 3" }))["estimatedTotalHits"], 0, "nothing was sent");
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    kill_process(pid, signal).expect("the process runs");
}

/// Tasks of index `i` that node `n` has been given, by its own account.
fn node_tasks(fleet: &Fleet, n: usize) -> u64 {
    let tasks = fleet.node_client(n).get("/tasks?indexUids=i&types=documentAdditionOrUpdate&limit=1");
    tasks.expect_status(200)["total"].as_u64().expect("a number")
}

#[test]
fn a_leg_that_timed_out_and_was_executed_makes_no_second_node_task() {
    for replication_factor in [1, 2] {
        let settings = "  scatter: { node_timeout_ms: 300 }\n".to_owned();
        let fleet = filled(&FleetOptions { replication_factor, settings, ..FleetOptions::default() });
        let client = fleet.client().clone();
        let before: Vec<u64> = (0..fleet.node_count()).map(|n| node_tasks(&fleet, n)).collect();
        let stopped = fleet.node_pid(0);
        signal(stopped, Signal::STOP);
        let writing = std::thread::spawn({
            let client = client.clone();
            move || client.post("/indexes/i/documents", documents(0..200, 2))
        });
        // Longer than a write's leg may take: the node wakes up with the request in its socket.
        std::thread::sleep(Duration::from_millis(2_500));
        signal(stopped, Signal::CONT);
        let answer = writing.join().unwrap();
        // Without another replica, an answer that does not come is a write without a quorum.
        let is_taken = replication_factor == 2 || answer.status == 202;
        if is_taken {
            client.succeed(answer);
        } else {
            answer.expect_error(503, "miroir_no_quorum");
        }
        fleet.await_recovery();
        fleet.await_tasks();
        let after: Vec<u64> = (0..fleet.node_count()).map(|n| node_tasks(&fleet, n)).collect();
        let made: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        if is_taken {
            assert_eq!(made, [1, 1, 1], "replication factor {replication_factor}");
        } else {
            // The client was told that its write may have been taken in part; whoever took it, took it once.
            assert!(made.iter().all(|&tasks| tasks <= 1), "replication factor {replication_factor}: {made:?}");
        }
    }
}

#[test]
fn a_node_that_executes_a_request_long_after_its_time_makes_one_task_of_it() {
    for replication_factor in [1, 2] {
        let settings = "  scatter: { node_timeout_ms: 300 }\n".to_owned();
        let fleet = filled(&FleetOptions { replication_factor, settings, stubs: true, ..FleetOptions::default() });
        let client = fleet.client().clone();
        let before = node_tasks(&fleet, 0);
        // The node answers everything else meanwhile, so that its task list can be read: there is nothing in it yet.
        fleet.stub(0).set_fault(Fault::WritesHeld);
        let writing = std::thread::spawn({
            let client = client.clone();
            move || client.post("/indexes/i/documents", documents(0..200, 2))
        });
        wait_until("the leg has timed out", TASK_PATIENCE, || fleet.proxy_log().contains("did not answer within"));
        // Time enough for what should not happen: the same request once more.
        std::thread::sleep(Duration::from_secs(2));
        fleet.stub(0).set_fault(Fault::None);
        let answer = writing.join().unwrap();
        let is_taken = answer.status == 202;
        assert!(is_taken || replication_factor == 1, "{}", answer.text);
        // Later writes of the same documents come after the late one, wherever it is.
        client.succeed(client.post("/indexes/i/documents", documents(0..200, 3)));
        fleet.await_recovery();
        fleet.await_tasks();
        assert_eq!(node_tasks(&fleet, 0) - before, 2, "replication factor {replication_factor}");
        let copies = copies(&fleet, "i");
        assert!(copies.values().all(|(_, document)| document["version"] == 3), "{copies:?}");
    }
}

#[test]
fn a_write_that_was_interrupted_by_the_proxys_death_is_carried_through_to_all_replicas() {
    let mut fleet = filled(&FleetOptions::default());
    let client = fleet.client().clone();
    // One replica hangs, so that the write is under way when the proxy dies.
    let stopped = fleet.node_pid(1);
    signal(stopped, Signal::STOP);
    let writing = std::thread::spawn({
        let client = client.clone();
        move || {
            client.try_send(
                "POST",
                "/indexes/i/documents",
                &[("content-type", "application/json")],
                Some(documents(0..200, 2).to_string().into_bytes()),
            )
        }
    });
    std::thread::sleep(Duration::from_millis(700));
    fleet.kill_proxy();
    assert!(writing.join().unwrap().is_err(), "the client was not answered");
    signal(stopped, Signal::CONT);
    fleet.start_proxy();
    fleet.await_recovery();
    fleet.await_tasks();
    let copies = copies(&fleet, "i");
    assert_eq!(copies.len(), 200);
    assert!(copies.values().all(|(count, document)| *count == 2 && document["version"] == 2));
}

#[test]
fn conflicting_writes_are_applied_in_the_same_order_on_every_replica() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 40;
    let fleet = filled(&FleetOptions { groups: vec![2, 2], ..FleetOptions::default() });
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = fleet.client().clone();
            scope.spawn(move || {
                for n in 0..WRITES {
                    let version = writer * WRITES + n;
                    let batch = json!([{ "id": n % 5, "version": version }, { "id": 5 + n % 3, "version": version }]);
                    assert_eq!(client.post("/indexes/i/documents", batch).status, 202);
                }
            });
        }
    });
    fleet.await_tasks();
    let copies = copies(&fleet, "i");
    assert!((0..8).all(|id: u64| copies[&id.to_string()].0 == 4), "{copies:?}");
}

#[test]
fn a_log_that_outgrows_its_bound_is_dropped_and_its_shards_stay_out_of_reads() {
    // Each node has a replica of two documents in three.
    const WRITES: u64 = 1_700;
    let settings = "  writes: { log_entries_max: 1000 }\n".to_owned();
    let mut fleet = filled(&FleetOptions { settings, ..FleetOptions::default() });
    let client = fleet.client().clone();
    fleet.kill_node(0);
    fleet.await_failure(0);
    for n in 0..WRITES {
        let answer = client.post("/indexes/i/documents", json!([{ "id": n % 200, "version": 2 }]));
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    wait_until("the log is dropped", TASK_PATIENCE, || fleet.proxy_log().contains("has outgrown its bounds"));
    fleet.start_node(0);
    wait_until("the node is active", TASK_PATIENCE, || fleet.topology()[0]["status"] == "active");
    let lagging = |fleet: &Fleet| fleet.topology()[0]["lagging_shards"].as_u64().expect("a number");
    assert!(lagging(&fleet) > 0);
    for n in 0..20 {
        let body = json!({ "filter": "version = 2", "limit": 0, "q": if n % 2 == 0 { "" } else { "book" } });
        let found = client.post("/indexes/i/search", body);
        assert_eq!(found.header(DEGRADED), None);
        let total = if n % 2 == 0 { 200 } else { 0 };
        assert_eq!(found.expect_status(200)["estimatedTotalHits"], total);
    }
    fleet.kill_proxy();
    fleet.start_proxy();
    assert!(lagging(&fleet) > 0, "the mark outlives the process");
}

#[test]
fn a_restarted_proxy_follows_ten_thousand_unfinished_tasks_to_their_end() {
    const TASKS: u64 = 10_000;
    const WRITERS: u64 = 16;
    let mut fleet = filled(&FleetOptions { replication_factor: 1, ..FleetOptions::default() });
    // Indexing this takes each node long enough for the others to queue up behind it.
    let text = |n: u64| (0..60).map(|word| format!("w{} ", (n * 7919 + word * 104_729) % 100_003)).collect::<String>();
    let big: Value = (0..30_000).map(|n: u64| json!({ "id": n, "text": text(n) })).collect();
    assert_eq!(fleet.client().post("/indexes/big/documents?primaryKey=id", big).status, 202);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let client = fleet.client().clone();
            scope.spawn(move || {
                for n in 0..TASKS / WRITERS {
                    let id = 1_000_000 + writer * TASKS + n;
                    let answer = client.post("/indexes/i/documents", json!([{ "id": id, "version": 3 }]));
                    assert_eq!(answer.status, 202, "{}", answer.text);
                }
            });
        }
    });
    fleet.kill_proxy();
    fleet.start_proxy();
    let unfinished = fleet.client().get("/tasks?statuses=enqueued,processing&limit=1").expect_status(200);
    println!("{} tasks were unfinished after the restart", unfinished["total"]);
    fleet.await_tasks();
    let failed = fleet.client().get("/tasks?statuses=failed,canceled&limit=1").expect_status(200);
    assert_eq!(failed["total"], 0, "{failed}");
    let succeeded = fleet.client().get("/tasks?statuses=succeeded&limit=1").expect_status(200);
    assert!(succeeded["total"].as_u64().expect("a number") >= TASKS, "{succeeded}");
    let found = fleet.client().search("i", json!({ "filter": "version = 3", "limit": 0 }));
    assert_eq!(found["estimatedTotalHits"], TASKS);
}

/// A node fails all writes of the batch in which it finds a `_geo` that is no place, and replicas make different batches.
#[test]
fn a_document_with_a_bad_place_fails_no_other_write_and_leaves_replicas_equal() {
    let fleet = Fleet::start(&FleetOptions { replication_factor: 2, ..FleetOptions::default() });
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    // Not awaited: what comes after it is judged by it all the same.
    let settings = client.patch("/indexes/i/settings", json!({ "sortableAttributes": ["_geo"] }));
    let mut outcomes = vec![(settings.task_uid(), "succeeded")];
    for n in 0..60_u64 {
        let (lat, status) = if n % 3 == 0 { (json!("nowhere"), "failed") } else { (json!(n), "succeeded") };
        let answer = client.post("/indexes/i/documents", json!([{ "id": n, "_geo": { "lat": lat, "lng": 1 } }]));
        outcomes.push((answer.task_uid(), status));
    }
    fleet.await_tasks();
    for (uid, status) in outcomes {
        let task = client.get(&format!("/tasks/{uid}")).expect_status(200);
        assert_eq!(task["status"], status, "{task}");
    }
    let copies = copies(&fleet, "i");
    assert_eq!(copies.len(), 40);
    assert!(copies.values().all(|(count, _)| *count == 2), "{copies:?}");
}
