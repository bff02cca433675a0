//! The measuring commands run to their end on a real fleet; what they find is for whoever measures on a quiet machine.

mod support;

use std::future::Future;
use std::time::Duration;

use loadtest::client::Server;
use loadtest::stub::Fault;
use loadtest::{hedging, latency};
use serde_json::{json, Value};
use support::{Fleet, FleetOptions};

const INDEX: &str = "cities";
const DOCUMENTS: usize = 500;
/// Enough for every kind of query.
const QUERIES: usize = 120;

/// A fleet with some of the demo's cities, behind stubs.
fn fleet() -> Fleet {
    let fleet = Fleet::start(&FleetOptions { stubs: true, ..FleetOptions::default() });
    let client = fleet.client();
    let settings: Value = serde_json::from_str(include_str!("../demo/settings.json")).expect("the demo's settings");
    let cities: Vec<&str> = include_str!("../demo/cities.ndjson").lines().take(DOCUMENTS).collect();
    client.succeed(client.post("/indexes", json!({ "uid": INDEX, "primaryKey": "id" })));
    client.succeed(client.patch(&format!("/indexes/{INDEX}/settings"), settings));
    let path = format!("/indexes/{INDEX}/documents");
    client.succeed(client.post_as(&path, "application/x-ndjson", &cities.join("\n")));
    fleet
}

fn ran<T, E: std::fmt::Debug>(measurement: impl Future<Output = Result<T, E>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measurement).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn latencies_of_the_cluster_and_of_its_nodes_are_measured_side_by_side() {
    let fleet = fleet();
    for two_words in [false, true] {
        let options = latency::Options {
            cluster: fleet.server(),
            nodes: (0..fleet.node_count()).map(|n| fleet.node_server(n)).collect(),
            index: INDEX.to_owned(),
            queries: QUERIES,
            clients: 2,
            seed: 1,
            two_words,
        };

        let report = ran(latency::run(options));

        assert_eq!(report.targets.len(), 1 + fleet.node_count());
        assert!(report.targets.iter().all(|target| target.requests > 0), "{report}");
        assert_eq!(report.legs.len(), fleet.node_count());
        assert!(report.p50_ratio_to_slowest_leg.is_some_and(|ratio| ratio > 0.0), "{report}");
    }
}

#[test]
fn what_hedging_costs_is_counted_by_the_stubs() {
    let fleet = fleet();
    fleet.stub(0).set_fault(Fault::Late { percent: 5, by: Duration::from_millis(100) });
    let stubs = (0..fleet.node_count()).map(|n| Server::new(format!("http://{}", fleet.stub(n).address()), None));
    let options = hedging::Options {
        plain: fleet.server(),
        hedged: fleet.server(),
        stubs: stubs.collect(),
        index: INDEX.to_owned(),
        queries: QUERIES,
        seed: 1,
    };

    let report = ran(hedging::run(options));

    assert!(report.plain.searches > 0 && report.plain.searches == report.hedged.searches, "{report}");
    assert!(report.plain.node_reads >= report.plain.searches, "each search asks at least one node: {report}");
}
