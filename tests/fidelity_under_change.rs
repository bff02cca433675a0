//! While nodes die and come back into the covering set, a cluster goes on answering what one server would: with two replicas no
//! read fails, and none is answered otherwise than when all is quiet.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadtest::client::Server;
use loadtest::fidelity::{self, Options};
use loadtest::report::Report;
use serde_json::{json, Value};
use support::{wait_until, Client, Fleet, FleetOptions, SingleServer};

const INDEX: &str = "cities";
/// Of the demo's: enough for ties, typos and prefixes, and soon indexed.
const CITIES: usize = 6_000;
const QUERIES: usize = 600;
const SEED: u64 = 11;

fn fill(client: &Client) {
    let settings: Value = serde_json::from_str(include_str!("../demo/settings.json")).expect("the demo's settings");
    let cities: Vec<&str> = include_str!("../demo/cities.ndjson").lines().take(CITIES).collect();
    client.succeed(client.post("/indexes", json!({ "uid": INDEX, "primaryKey": "id" })));
    client.succeed(client.patch(&format!("/indexes/{INDEX}/settings"), settings));
    let path = format!("/indexes/{INDEX}/documents");
    client.succeed(client.post_as(&path, "application/x-ndjson", &cities.join("\n")));
}

fn compare(fleet: &Server, single: &SingleServer) -> Report {
    let options = Options {
        single: Server::new(single.url(), Some(single.key().to_owned())),
        cluster: fleet.clone(),
        index: INDEX.to_owned(),
        queries: QUERIES,
        seed: SEED,
        kinds: Vec::new(),
        differences_max: QUERIES,
        concurrency: 2,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fidelity::run(options)).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The queries that were answered otherwise than by the single server.
fn different(report: &Report) -> BTreeSet<String> {
    report.differences.iter().map(|difference| Value::from(difference.query.clone()).to_string()).collect()
}

/// Ends the deaths also when the comparison fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_read_fails_and_none_is_answered_otherwise_while_nodes_die_and_come_back() {
    let mut fleet = Fleet::start(&FleetOptions::default());
    let single = SingleServer::start();
    fill(fleet.client());
    fill(single.client());
    let server = fleet.server();
    let quiet = compare(&server, &single);

    // The next node dies when the last one serves again: a shard always has a replica, and the covering sets change all the time.
    let (is_over, mut deaths) = (AtomicBool::new(false), 0);
    let disturbed = std::thread::scope(|scope| {
        let comparing = scope.spawn(|| {
            let _over = SetOnDrop(&is_over);
            compare(&server, &single)
        });
        while !is_over.load(Ordering::Relaxed) {
            let node = deaths % fleet.node_count();
            fleet.kill_node(node);
            fleet.await_failure(node);
            fleet.start_node(node);
            fleet.await_recovery();
            deaths += 1;
        }
        comparing.join().expect("the comparison ends")
    });

    println!("{deaths} deaths\n{quiet}\n{disturbed}");
    assert!(deaths >= 1, "no node died in the time of {QUERIES} queries");
    let new: Vec<String> = different(&disturbed).difference(&different(&quiet)).cloned().collect();
    assert_eq!(new, Vec::<String>::new(), "answered otherwise than when all is quiet");
    wait_until("all nodes serve", Duration::from_secs(30), || {
        fleet.topology().as_array().is_some_and(|nodes| nodes.iter().all(|node| node["status"] == "active"))
    });
}
