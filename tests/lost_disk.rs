//! A node that comes back without its data is noticed before it is believed.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{json, Value};
use support::{wait_until, Fleet, FleetOptions};

const COUNT: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(30);

fn fleet() -> Fleet {
    let fleet = Fleet::start(&FleetOptions::default());
    write(&fleet, "all that there is");
    fleet
}

/// Writes all documents, some of which are on every node.
fn write(fleet: &Fleet, title: &str) {
    let documents: Vec<Value> = (0..COUNT).map(|id| json!({ "id": id, "title": title })).collect();
    fleet.client().succeed(fleet.client().post("/indexes/films/documents?primaryKey=id", json!(documents)));
}

/// How many documents a search finds, which must not say that it left anything out. Each is another search, or all might go by the
/// same two nodes, and never by the third.
fn found(fleet: &Fleet) -> u64 {
    static SEARCHES: AtomicU64 = AtomicU64::new(0);
    let another = SEARCHES.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = fleet.client().post("/indexes/films/search", json!({ "page": 1, "highlightPreTag": another }));
    assert_eq!(answer.header("x-miroir-degraded"), None);
    answer.expect_status(200)["totalHits"].as_u64().expect("a total")
}

fn is_noticed(fleet: &Fleet) -> bool {
    fleet.metric("miroir_node_data_lost_total", "node-0") > 0.0
}

/// Waits until node 0 takes writes again, and has been given those that it missed.
fn await_replay(fleet: &Fleet) {
    wait_until("the node is up to date but for what it lost", PATIENCE, || {
        let node = &fleet.topology()[0];
        node["status"] == "active" && node["replica_log"]["entries"] == 0 && node["lagging_shards"] != 0
    });
}

#[test]
fn given_a_node_that_was_away_and_lost_its_disk_then_it_is_not_read() {
    let mut fleet = fleet();
    fleet.kill_node(0);
    fleet.await_failure(0);
    // Stands in its log, and would make the index anew on the node.
    write(&fleet, "new");
    wait_until("the log grows", PATIENCE, || fleet.metric("miroir_replica_log_entries", "node-0") > 0.0);
    fleet.lose_disk(0);
    fleet.start_node(0);
    wait_until("the loss is noticed", PATIENCE, || {
        assert_eq!(found(&fleet), COUNT);
        is_noticed(&fleet)
    });
    await_replay(&fleet);
    for id in 0..COUNT {
        fleet.client().get(&format!("/indexes/films/documents/{id}")).expect_status(200);
        assert_eq!(found(&fleet), COUNT);
    }
    // The proxy knows it after a restart, too.
    fleet.kill_proxy();
    fleet.start_proxy();
    await_replay(&fleet);
    (0..20).for_each(|_| assert_eq!(found(&fleet), COUNT));
}

#[test]
fn given_a_node_that_lost_its_disk_before_it_was_missed_then_searches_are_whole() {
    let mut fleet = fleet();
    fleet.kill_node(0);
    fleet.lose_disk(0);
    fleet.start_node(0);
    wait_until("the loss is noticed", PATIENCE, || {
        assert_eq!(found(&fleet), COUNT);
        is_noticed(&fleet)
    });
    (0..20).for_each(|_| assert_eq!(found(&fleet), COUNT));
}

#[test]
fn given_a_node_that_lost_its_disk_then_the_first_write_tells() {
    let mut fleet = fleet();
    fleet.kill_node(0);
    fleet.lose_disk(0);
    fleet.start_node(0);
    write(&fleet, "new");
    wait_until("the loss is noticed", PATIENCE, || is_noticed(&fleet));
    (0..20).for_each(|_| assert_eq!(found(&fleet), COUNT));

    // An index that is made anew is whole on every node again.
    fleet.client().succeed(fleet.client().delete("/indexes/films"));
    write(&fleet, "anew");
    fleet.await_tasks();
    assert_eq!(found(&fleet), COUNT);
    let held: usize = (0..3).map(|n| fleet.documents_of(n, "films").len()).sum();
    assert_eq!(held as u64, 2 * COUNT);
    fleet.kill_node(1);
    fleet.await_failure(1);
    (0..20).for_each(|_| assert_eq!(found(&fleet), COUNT));
}
