//! The promise of the whole: a cluster answers what one server with all the documents would.

mod support;

use loadtest::client::Server;
use loadtest::fidelity::{self, Options};
use serde_json::{json, Value};
use support::{Client, Cluster, ClusterOptions, SingleServer};

const INDEX: &str = "cities";
const QUERIES: usize = 500;
const SEED: u64 = 1;
/// Differences that are printed.
const DIFFERENCES_MAX: usize = 5;
/// Documents per request; each node works on one batch while the next ones wait.
const BATCH: usize = 5_000;
/// What a proxy can reach without the nodes' help, and some: short prefixes are decided by each node's own dictionary.
const PERCENT_MIN: f64 = 98.0;

/// Puts the demo's cities into a server. Returns the tasks to wait for.
fn fill(client: &Client) -> Vec<u64> {
    let settings: Value = serde_json::from_str(include_str!("../demo/settings.json")).expect("the demo's settings");
    let cities: Vec<&str> = include_str!("../demo/cities.ndjson").lines().collect();
    let mut tasks = vec![
        client.post("/indexes", json!({ "uid": INDEX, "primaryKey": "id" })).task_uid(),
        client.patch(&format!("/indexes/{INDEX}/settings"), settings).task_uid(),
    ];
    let path = format!("/indexes/{INDEX}/documents");
    let batches = cities.chunks(BATCH);
    tasks.extend(batches.map(|batch| client.post_as(&path, "application/x-ndjson", &batch.join("\n")).task_uid()));
    tasks
}

#[test]
fn a_cluster_answers_what_one_server_would() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let both = [cluster.client(), single.client()];
    for (client, tasks) in both.map(|client| (client, fill(client))) {
        for uid in tasks {
            let task = client.wait_task(uid);
            assert_eq!(task["status"], "succeeded", "{task}");
        }
    }
    let options = Options {
        single: Server::new(single.url(), Some(single.key().to_owned())),
        cluster: Server::new(&cluster.url, Some(cluster.master_key.clone())),
        index: INDEX.to_owned(),
        queries: QUERIES,
        seed: SEED,
        differences_max: DIFFERENCES_MAX,
        concurrency: 2,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

    let report = runtime.block_on(fidelity::run(options)).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{report}");
    assert_eq!(report.documents, include_str!("../demo/cities.ndjson").lines().count());
    assert!(report.overall.queries >= QUERIES * 9 / 10, "only {} queries could be judged", report.overall.queries);
    assert!(report.percent() >= PERCENT_MIN, "{:.2} % equal, {PERCENT_MIN} % wanted", report.percent());
}
