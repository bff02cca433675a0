//! Settings are the same on all nodes, whatever happens to a node, to Miroir, or behind its back.

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};
use support::{wait_until, Answer, Both, Client, Fleet, FleetOptions, TASK_PATIENCE};

const VERSION: &str = "x-miroir-settings-version";
const INCONSISTENT: &str = "x-miroir-settings-inconsistent";

fn fleet_with(settings: &str) -> Fleet {
    let fleet = Fleet::start(&FleetOptions { settings: settings.to_owned(), ..FleetOptions::default() });
    let client = fleet.client();
    let documents: Value = (0..60).map(|id| json!({ "id": id, "name": format!("name{id}"), "n": id })).collect();
    client.succeed(client.post("/indexes/i/documents", documents));
    fleet
}

fn search(client: &Client) -> Answer {
    client.post("/indexes/i/search", json!({ "q": "name" }))
}

fn version(client: &Client) -> u64 {
    search(client).header(VERSION).expect("a version").parse().expect("a number")
}

/// The settings of `i` on node `n`, as it tells them itself.
fn on_node(fleet: &Fleet, n: usize) -> Value {
    fleet.node_client(n).get("/indexes/i/settings").expect_status(200)
}

fn await_equal(fleet: &Fleet) -> Value {
    let all = || (0..fleet.node_count()).map(|n| on_node(fleet, n)).collect::<Vec<_>>();
    wait_until("all nodes have the same settings", TASK_PATIENCE, || all().windows(2).all(|pair| pair[0] == pair[1]));
    on_node(fleet, 0)
}

fn await_consistency(client: &Client) {
    wait_until("answers do not speak of inconsistent settings", TASK_PATIENCE, || {
        search(client).header(INCONSISTENT).is_none()
    });
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).expect("a pid"), signal).expect("the process runs");
}

#[test]
fn a_change_is_the_same_everywhere_when_its_task_has_succeeded_and_counts_a_version() {
    let fleet = fleet_with("");
    let client = fleet.client();
    assert_eq!(version(client), 0);
    let accepted = client.patch("/indexes/i/settings", json!({ "stopWords": ["the"], "sortableAttributes": ["n"] }));
    let task = client.succeed(accepted);
    assert_eq!((&task["type"], &task["details"]["stopWords"]), (&json!("settingsUpdate"), &json!(["the"])));
    assert_eq!(version(client), 1);
    assert_eq!(search(client).header(INCONSISTENT), None);
    for n in 0..3 {
        assert_eq!(on_node(&fleet, n)["stopWords"], json!(["the"]));
    }
    client.succeed(client.put("/indexes/i/settings/synonyms", json!({ "a": ["b"] })));
    client.succeed(client.delete("/indexes/i/settings/stop-words"));
    assert_eq!(version(client), 3);
    // Several at once: each is a version, and the last one wins.
    let tasks: Vec<u64> =
        (0..5).map(|n| client.put("/indexes/i/settings/stop-words", json!([format!("w{n}")])).task_uid()).collect();
    for task in tasks {
        assert_eq!(client.wait_task(task)["status"], "succeeded");
    }
    assert_eq!(version(client), 8);
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["w4"]));
    assert_eq!(client.get("/indexes/i/settings/stop-words").expect_status(200), json!(["w4"]));
    // What every node refuses at once is the client's error, and nothing changes.
    let refused = client.patch("/indexes/i/settings", json!({ "rankingRules": ["nonsense"] }));
    refused.expect_error(400, "invalid_settings_ranking_rules");
    assert_eq!((version(client), search(client).header(INCONSISTENT)), (8, None));
    assert_eq!(
        client.get("/indexes/i/documents/3").header(VERSION),
        Some("8"),
        "a document that a node sends by itself"
    );
    let created = client.patch("/indexes/new/settings", json!({ "stopWords": ["x"] }));
    client.succeed(created);
    assert_eq!(client.post("/indexes/new/search", json!({})).header(VERSION), Some("1"));
}

#[test]
fn settings_that_one_node_refuses_are_kept_by_none() {
    refused_by_one_node_and_kept_by_none("");
}

#[test]
fn settings_that_one_node_after_another_is_given_are_taken_back_when_one_refuses() {
    refused_by_one_node_and_kept_by_none("  settings_broadcast: { strategy: sequential }\n");
}

fn refused_by_one_node_and_kept_by_none(settings: &str) {
    let settings = settings.to_owned();
    let fleet = Fleet::start(&FleetOptions { replication_factor: 1, settings, ..FleetOptions::default() });
    let client = fleet.client();
    client
        .succeed(client.patch("/indexes/i/settings", json!({ "stopWords": ["before"], "sortableAttributes": ["n"] })));
    // One document, on one node: it stands in the way of `_geo` there.
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 1, "_geo": { "lat": "bad", "lng": 5 } }])));
    let patch = json!({ "sortableAttributes": ["_geo"], "stopWords": ["after"] });
    let failed = client.fail(client.patch("/indexes/i/settings", patch), "invalid_document_geo_field");
    assert!(!failed["error"]["message"].as_str().expect("a message").contains("miroir"), "{failed}");
    let settings = await_equal(&fleet);
    assert_eq!((&settings["stopWords"], &settings["sortableAttributes"]), (&json!(["before"]), &json!(["n"])));
    assert_eq!(client.get("/indexes/i/settings/stop-words").expect_status(200), json!(["before"]));
    assert_eq!((version(client), search(client).header(INCONSISTENT)), (1, None));
}

#[test]
fn a_node_that_dies_before_it_is_proposed_to_catches_up_with_settings_and_writes_in_order() {
    let mut fleet = fleet_with("");
    let client = fleet.client().clone();
    fleet.kill_node(1);
    // Miroir does not know yet.
    let first = client.put("/indexes/i/settings/filterable-attributes", json!(["n"])).task_uid();
    assert_eq!(client.wait_task(first)["status"], "succeeded");
    // Only possible after the settings, on every node.
    client.succeed(client.post("/indexes/i/documents/delete", json!({ "filter": "n >= 30" })));
    client.succeed(client.put("/indexes/i/settings/stop-words", json!(["late"])));
    assert_eq!(version(&client), 2);
    fleet.start_node(1);
    fleet.await_recovery();
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["late"]));
    await_consistency(&client);
    for n in 0..3 {
        assert!(fleet.documents_of(n, "i").values().all(|document| document["n"].as_u64().unwrap() < 30));
    }
}

/// Node tasks for settings of `i` that have ended on node `n`.
fn ended_on_node(fleet: &Fleet, n: usize) -> u64 {
    let list = fleet.node_client(n).get("/tasks?indexUids=i&types=settingsUpdate&statuses=succeeded&limit=1");
    list.expect_status(200)["total"].as_u64().expect("a total")
}

#[test]
fn a_node_that_dies_between_its_part_and_the_verification_ends_up_equal() {
    let mut fleet = fleet_with("");
    let client = fleet.client().clone();
    let before = ended_on_node(&fleet, 1);
    // Node 2 holds the change up, so that it is not verified before node 1 has gone.
    let stopped = fleet.node_pid(2);
    signal(stopped, Signal::STOP);
    let changing = std::thread::spawn({
        let client = client.clone();
        move || client.put("/indexes/i/settings/stop-words", json!(["x"]))
    });
    wait_until("node 1 has done its part", TASK_PATIENCE, || ended_on_node(&fleet, 1) > before);
    fleet.kill_node(1);
    signal(stopped, Signal::CONT);
    let accepted = changing.join().expect("an answer");
    client.succeed(accepted);
    assert_eq!(on_node(&fleet, 0)["stopWords"], json!(["x"]));
    fleet.start_node(1);
    fleet.await_recovery();
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["x"]));
    await_consistency(&client);
}

#[test]
fn nodes_and_proxies_that_die_at_the_commit_leave_all_nodes_equal_and_the_task_truthful() {
    let mut fleet = fleet_with("");
    let client = fleet.client().clone();
    for round in 0..3_u64 {
        let before: Vec<u64> = (0..3).map(|n| ended_on_node(&fleet, n)).collect();
        let word = format!("word{round}");
        let task = client.put("/indexes/i/settings/stop-words", json!([word])).task_uid();
        wait_until("all nodes have done their parts", TASK_PATIENCE, || {
            (0..3).all(|n| ended_on_node(&fleet, n) > before[n])
        });
        fleet.kill_node(1);
        if round == 2 {
            fleet.kill_proxy();
            fleet.start_proxy();
        }
        assert_eq!(client.wait_task(task)["status"], "succeeded");
        assert_eq!(version(&client), round + 1);
        fleet.start_node(1);
        fleet.await_recovery();
        assert_eq!(await_equal(&fleet)["stopWords"], json!([word]));
    }
    await_consistency(&client);
}

#[test]
fn a_change_that_was_interrupted_by_the_proxys_death_is_concluded_by_the_next() {
    let mut fleet = fleet_with("");
    let client = fleet.client().clone();
    let stopped = fleet.node_pid(1);
    signal(stopped, Signal::STOP);
    let changing = std::thread::spawn({
        let client = client.clone();
        let body = json!(["x"]).to_string().into_bytes();
        move || {
            let headers = [("content-type", "application/json")];
            client.try_send("PUT", "/indexes/i/settings/stop-words", &headers, Some(body))
        }
    });
    wait_until("node 0 has it", TASK_PATIENCE, || on_node(&fleet, 0)["stopWords"] == json!(["x"]));
    assert_eq!(search(&client).header(INCONSISTENT), Some("true"), "proposed and not committed");
    fleet.kill_proxy();
    assert!(changing.join().unwrap().is_err(), "the client was not answered");
    signal(stopped, Signal::CONT);
    fleet.start_proxy();
    fleet.await_recovery();
    fleet.await_tasks();
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["x"]));
    await_consistency(&client);
    assert_eq!(version(&client), 1);
}

const EVERY_300_MS: &str = "  settings_drift_check: { interval_ms: 300 }\n";

#[test]
fn what_is_changed_behind_miroirs_back_is_repaired_and_told() {
    let fleet = fleet_with(EVERY_300_MS);
    let client = fleet.client();
    client.succeed(client.put("/indexes/i/settings/stop-words", json!(["right"])));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            let mut told = false;
            while !is_over.load(Ordering::Relaxed) {
                told |= search(client).header(INCONSISTENT) == Some("true");
            }
            told
        });
        for _ in 0..3 {
            let node = fleet.node_client(0);
            node.succeed(
                node.patch("/indexes/i/settings", json!({ "stopWords": ["wrong"], "rankingRules": ["words"] })),
            );
            wait_until("the node is repaired", TASK_PATIENCE, || on_node(&fleet, 0) == on_node(&fleet, 1));
        }
        await_consistency(client);
        is_over.store(true, Ordering::Relaxed);
        assert!(told.join().expect("no search fails"), "some search said that the settings were inconsistent");
    });
    assert_eq!(on_node(&fleet, 0)["stopWords"], json!(["right"]));
    assert_eq!(version(client), 1, "a repair is no change");
    // A change that comes while another one is being repaired is repaired with it.
    assert!(fleet.metric("miroir_settings_drift_total", "") >= 1.0);
    assert!(fleet.metric("miroir_settings_repairs_total", "repaired") >= 1.0);
    assert_eq!(fleet.metric("miroir_settings_diverged_indexes", ""), 0.0);
}

#[test]
fn what_is_only_told_keeps_fresh_reads_away_from_the_node() {
    let fleet = fleet_with("  settings_drift_check: { interval_ms: 300, auto_repair: false }\n");
    let client = fleet.client();
    client.succeed(client.put("/indexes/i/settings/stop-words", json!(["right"])));
    let fresh = |version: u64| {
        let headers = [("content-type", "application/json"), ("x-miroir-min-settings-version", &*version.to_string())];
        client.send("POST", "/indexes/i/search", &headers, Some(b"{\"q\":\"name\"}".to_vec()))
    };
    fresh(1).expect_status(200);
    fresh(2).expect_error(503, "miroir_settings_version_stale");
    let fresh_in_one_of_several = |version: u64, federation: &str| {
        let headers = [("content-type", "application/json"), ("x-miroir-min-settings-version", &*version.to_string())];
        let body = format!("{{\"queries\":[{{\"indexUid\":\"i\",\"q\":\"name\"}}]{federation}}}");
        client.send("POST", "/multi-search", &headers, Some(body.into_bytes()))
    };
    for federation in ["", ",\"federation\":{}"] {
        fresh_in_one_of_several(1, federation).expect_status(200);
        fresh_in_one_of_several(2, federation).expect_error(503, "miroir_settings_version_stale");
    }
    fresh(0).expect_status(200);
    client
        .send("GET", "/indexes/i/search", &[("x-miroir-min-settings-version", "new")], None)
        .expect_error(400, "bad_request");

    let node = fleet.node_client(0);
    node.succeed(node.put("/indexes/i/settings/stop-words", json!(["wrong"])));
    wait_until("it is told", TASK_PATIENCE, || search(client).header(INCONSISTENT) == Some("true"));
    // With two replicas the others cover all shards.
    let found = fresh(1).expect_status(200);
    assert_eq!(found["hits"].as_array().unwrap().len(), 20);
    let other = fleet.node_client(1);
    other.succeed(other.put("/indexes/i/settings/stop-words", json!(["also wrong"])));
    wait_until("too few nodes are left", TASK_PATIENCE, || fresh(1).code() == Some("miroir_settings_version_stale"));
    fresh_in_one_of_several(1, "").expect_error(503, "miroir_settings_version_stale");
    assert_eq!(search(client).status, 200, "who asks for no version is answered");
    assert_eq!(on_node(&fleet, 0)["stopWords"], json!(["wrong"]), "nobody repairs it");
}

/// Does something when its scope ends, however it ends.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn an_index_that_cannot_be_made_equal_takes_no_writes_until_it_is() {
    let fleet = fleet_with(EVERY_300_MS);
    let client = fleet.client();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A failure too ends the other thread.
        let _over = AtEnd(|| is_over.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            let node = fleet.node_client(0);
            let mut sent = VecDeque::new();
            for n in 0.. {
                // Others' changes must always be queued behind Miroir's, however many the node carries out together, but not pile up.
                sent.push_back(node.put("/indexes/i/settings/stop-words", json!([format!("mine{n}")])).task_uid());
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
                if sent.len() > 20 {
                    sent.pop_front().map(|oldest| node.wait_task(oldest));
                }
            }
            sent.into_iter().for_each(|uid| drop(node.wait_task(uid)));
        });
        let deadline = Instant::now() + TASK_PATIENCE;
        loop {
            let task = client.ended(client.put("/indexes/i/settings/stop-words", json!(["ours"])));
            // Between two of the other's changes it may just look equal.
            if task["status"] == "failed" {
                assert_eq!(task["error"]["code"], "miroir_settings_diverged", "{task}");
                break;
            }
            assert!(Instant::now() < deadline, "never found to differ");
        }
        client.post("/indexes/i/documents", json!([{ "id": 1 }])).expect_error(503, "miroir_index_frozen");
        assert_eq!(fleet.metric("miroir_settings_diverged_indexes", ""), 1.0, "what is alerted on");
        client.delete("/indexes/i/documents/1").expect_error(503, "miroir_index_frozen");
        assert_eq!(search(client).status, 200);
        assert_eq!(client.post("/indexes/other/documents", json!([{ "id": 1 }])).status, 202);
    });
    wait_until("writes are taken again", TASK_PATIENCE, || {
        std::thread::sleep(Duration::from_millis(50));
        client.post("/indexes/i/documents", json!([{ "id": 1, "name": "name" }])).status == 202
    });
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["ours"]));
}

#[test]
fn one_node_after_another_gets_a_change_where_that_is_configured() {
    let sequential = "  settings_broadcast: { strategy: sequential }\n";
    let fleet = fleet_with(sequential);
    let client = fleet.client();
    // The second node hangs: the third must not have it yet.
    let stopped = fleet.node_pid(1);
    signal(stopped, Signal::STOP);
    let task = client.put("/indexes/i/settings/stop-words", json!(["x"])).task_uid();
    wait_until("the first node has it", TASK_PATIENCE, || on_node(&fleet, 0)["stopWords"] == json!(["x"]));
    assert_eq!(on_node(&fleet, 2)["stopWords"], json!([]));
    signal(stopped, Signal::CONT);
    assert_eq!(client.wait_task(task)["status"], "succeeded");
    assert_eq!(await_equal(&fleet)["stopWords"], json!(["x"]));
    assert_eq!(version(client), 1);
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 1_000, "name": "name" }])));
}

#[test]
fn features_are_the_same_on_all_nodes_and_on_one_that_was_away() {
    let mut fleet = fleet_with("");
    let client = fleet.client().clone();
    let on = |fleet: &Fleet, n: usize| {
        let features = fleet.node_client(n).get("/experimental-features").expect_status(200);
        features["containsFilter"].clone()
    };
    client.patch("/experimental-features", json!({ "nonsense": true })).expect_error(400, "bad_request");
    let features = client.patch("/experimental-features", json!({ "containsFilter": true })).expect_status(200);
    assert_eq!(features["containsFilter"], true);
    assert_eq!(client.get("/experimental-features").expect_status(200), features);
    assert!((0..3).all(|n| on(&fleet, n) == json!(true)));
    fleet.kill_node(1);
    fleet.await_failure(1);
    client.patch("/experimental-features", json!({ "containsFilter": false })).expect_status(200);
    fleet.start_node(1);
    wait_until("the node that was away has it too", TASK_PATIENCE, || on(&fleet, 1) == json!(false));
    // Over the proxy's death, and against what was changed past it.
    fleet.kill_proxy();
    fleet.node_client(2).patch("/experimental-features", json!({ "containsFilter": true })).expect_status(200);
    fleet.start_proxy();
    wait_until("the node is made equal again", TASK_PATIENCE, || on(&fleet, 2) == json!(false));
}

/// Every sub-route: what a client reads back is what it wrote, as from one server, whatever Miroir adds for the nodes.
#[test]
fn every_sub_route_is_written_read_and_reset_as_on_one_server() {
    let both = Both::with(json!({}), vec![json!({ "id": 1, "a": 1, "_vectors": { "e": null } })]);
    let written = [
        (
            "filterable-attributes",
            json!(["a", { "attributePatterns": ["b*"], "features": { "facetSearch": true, "filter": { "equality": true, "comparison": false } } }]),
        ),
        ("sortable-attributes", json!(["a", "id"])),
        ("displayed-attributes", json!(["id", "a"])),
        ("searchable-attributes", json!(["a"])),
        ("typo-tolerance", json!({ "minWordSizeForTypos": { "oneTypo": 3 } })),
        ("stop-words", json!(["the"])),
        ("non-separator-tokens", json!(["#"])),
        ("separator-tokens", json!(["|"])),
        ("dictionary", json!(["J. R. R."])),
        ("synonyms", json!({ "a": ["b"] })),
        ("distinct-attribute", json!("a")),
        ("proximity-precision", json!("byAttribute")),
        ("localized-attributes", json!([{ "attributePatterns": ["a"], "locales": ["jpn"] }])),
        ("ranking-rules", json!(["words", "a:asc"])),
        ("faceting", json!({ "sortFacetValuesBy": { "a": "count" } })),
        ("faceting", json!({ "maxValuesPerFacet": 3 })),
        ("pagination", json!({ "maxTotalHits": 7 })),
        ("search-cutoff-ms", json!(150)),
        ("facet-search", json!(false)),
        ("prefix-search", json!("disabled")),
        ("embedders", json!({ "e": { "source": "userProvided", "dimensions": 3 } })),
    ];
    let alike = |doing: &str| {
        let [got, expected] = both.get("/indexes/i/settings").map(|answer| answer.expect_status(200));
        assert_eq!(got, expected, "{doing}");
    };
    alike("untouched");
    for (sub, value) in &written {
        let path = format!("/indexes/i/settings/{sub}");
        for client in both.clients() {
            let is_patch = matches!(*sub, "typo-tolerance" | "faceting" | "pagination" | "embedders");
            let answer = if is_patch { client.patch(&path, value.clone()) } else { client.put(&path, value.clone()) };
            client.succeed(answer);
        }
        let [got, expected] = both.get(&path).map(|answer| answer.expect_status(200));
        assert_eq!(got, expected, "{sub}");
        alike(sub);
        let on_nodes = both.cluster.node_client(0).get("/indexes/i/settings").expect_status(200);
        assert!(on_nodes["filterableAttributes"].to_string().contains("_miroir_shard"), "{sub}: {on_nodes}");
    }
    for (sub, _) in &written {
        let path = format!("/indexes/i/settings/{sub}");
        for client in both.clients() {
            client.succeed(client.delete(&path));
        }
        alike(&format!("{sub} reset"));
    }
    for client in both.clients() {
        client
            .succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["a"], "stopWords": ["x"] })));
        client.succeed(client.delete("/indexes/i/settings"));
    }
    alike("all reset");
    let on_nodes = both.cluster.node_client(1).get("/indexes/i/settings/filterable-attributes").expect_status(200);
    assert_eq!(on_nodes, json!(["_miroir_shard"]));
    let [got, expected] = both.get("/indexes/i/settings/nonsense");
    assert_eq!((got.status, expected.status), (404, 404));
}
