//! Identical searches at the same time are carried out once, for whoever may see the same.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use loadtest::stub::Fault;
use serde_json::{json, Value};
use support::{wait_until, Client, Fleet, FleetOptions};

/// How long clients may take to ask, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn filled(settings: &str) -> Fleet {
    let settings = format!("  scatter: {{ node_timeout_ms: 60000 }}\n  hedging: {{ enabled: false }}\n{settings}");
    let server = ", max_concurrent_requests: 2000, request_timeout_ms: 120000";
    let fleet = Fleet::start(&FleetOptions { settings, server, stubs: true, ..Default::default() });
    let client = fleet.client();
    let documents: Vec<_> = (0..100).map(|n| json!({ "id": n, "title": format!("book {n}") })).collect();
    client.succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["id"] })));
    client.succeed(client.post("/indexes/i/documents", json!(documents)));
    fleet
}

/// Sends a search from each client as many times at once: no node answers before all have asked. Returns the bodies.
fn at_once(fleet: &Fleet, clients: &[Client], times: usize, body: &Value) -> Vec<Value> {
    (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::Held));
    std::thread::scope(|scope| {
        let ask = |client: &Client| client.post("/indexes/i/search", body.clone()).expect_status(200);
        let clients = (0..times).flat_map(|_| clients.iter());
        let threads: Vec<_> = clients.map(|client| scope.spawn(move || ask(client))).collect();
        let all = threads.len() as f64;
        wait_until("all have asked", PATIENCE, || fleet.metric("miroir_requests_in_flight", "") >= all);
        (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::None));
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    })
}

#[test]
fn a_thousand_identical_searches_are_one_scatter() {
    let fleet = filled("");
    let before = fleet.reads();
    let answers = at_once(&fleet, &[fleet.client().clone()], 1_000, &json!({ "q": "book" }));
    assert_eq!(fleet.reads() - before, 2, "two of three nodes hold everything");
    assert_eq!(fleet.metric("miroir_query_coalesce_requests_total", "leader"), 1.0);
    assert_eq!(fleet.metric("miroir_query_coalesce_requests_total", "waiter"), 999.0);
    assert!(answers.iter().all(|answer| answer["hits"] == answers[0]["hits"]));
    let uids: BTreeSet<String> = answers.iter().map(|answer| answer["requestUid"].to_string()).collect();
    assert!(uids.len() == 1_000 || answers[0].get("requestUid").is_none(), "{} of 1,000 responses' uids", uids.len());
}

#[test]
fn two_keys_of_different_rights_share_nothing() {
    let fleet = filled("");
    let key = |indexes: Value| {
        let key = json!({ "actions": ["search"], "indexes": indexes, "expiresAt": null });
        let created = fleet.client().post("/keys", key).expect_status(201);
        Client::new(&fleet.url, created["key"].as_str())
    };
    let keys = [key(json!(["i"])), key(json!(["*"]))];
    let before = fleet.reads();
    at_once(&fleet, &keys, 20, &json!({ "q": "book" }));
    assert_eq!(fleet.reads() - before, 4);
    assert_eq!(fleet.metric("miroir_query_coalesce_requests_total", "leader"), 2.0);
}

#[test]
fn who_has_seen_a_write_succeed_joins_no_search_that_began_before() {
    let fleet = filled("");
    (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::Late { percent: 100, by: Duration::from_millis(500) }));
    let body = json!({ "q": "", "limit": 0 });
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // There is always an identical search under way.
        let searcher = scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                fleet.client().search("i", body.clone());
            }
        });
        for n in 0..5 {
            fleet.client().succeed(fleet.client().post("/indexes/i/documents", json!([{ "id": 1_000 + n }])));
            let seen = fleet.client().search("i", body.clone());
            assert_eq!(seen["estimatedTotalHits"], 101 + n);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        searcher.join().expect("searches succeed");
    });
}

#[test]
fn switched_off_every_search_is_its_own() {
    let fleet = filled("  query_coalescing: { enabled: false }\n");
    let before = fleet.reads();
    at_once(&fleet, &[fleet.client().clone()], 5, &json!({ "q": "book" }));
    assert_eq!(fleet.reads() - before, 10);
}

#[test]
fn beyond_what_a_node_is_given_at_a_time_searches_wait_and_are_then_told_to_come_back() {
    let fleet = filled(
        "  query_coalescing: { enabled: false }\n  \
         admission: { per_node_initial: 2, per_node_min: 2, queue_max: 4, queue_wait_ms: 300 }\n",
    );
    (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::Held));
    let (mut served, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let ask = |n: usize| fleet.client().post("/indexes/i/search", json!({ "q": format!("book {n}") }));
        let threads: Vec<_> = (0..40).map(|n| scope.spawn(move || ask(n))).collect();
        // Each search has a leg to two of three nodes, and no node is given more than two.
        let is_refused = || fleet.metric("miroir_admission_refused_total", "") >= 40.0;
        wait_until("searches are refused", PATIENCE, is_refused);
        (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::None));
        for thread in threads {
            let answer = thread.join().expect("an answer");
            match answer.status {
                200 => served += 1,
                _ => {
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    answer.expect_error(503, "miroir_too_busy");
                    refused += 1;
                }
            }
        }
    });
    assert!(served >= 1 && refused >= 10, "{served} served, {refused} refused");
    // Load is not death.
    assert!((0..3).all(|n| fleet.topology()[n]["status"] == "active"));
    fleet.client().search("i", json!({ "q": "book" }));
}
