//! The promise of the whole: a cluster answers what one server with all the documents would.

mod support;

use loadtest::client::Server;
use loadtest::fidelity::{self, Options};
use serde_json::{json, Value};
use support::{Client, Cluster, ClusterOptions, SingleServer};

const INDEX: &str = "cities";
const QUERIES: usize = 300;
/// One that every run has asked, and two others.
const SEEDS: [u64; 3] = [1, 7, 19];
/// Differences that are printed.
const DIFFERENCES_MAX: usize = 5;
/// Documents per request; each node works on one batch while the next ones wait.
const BATCH: usize = 5_000;
/// Of all queries, those included in which the nodes' own dictionaries decide.
const PERCENT_MIN: f64 = 99.0;
/// Of pages outside that class.
const PAGES_PERCENT_MIN: f64 = 99.5;

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut queries, mut all_equal, mut pages, mut pages_equal) = (0, 0, 0, 0);
    for seed in SEEDS {
        let options = Options {
            single: Server::new(single.url(), Some(single.key().to_owned())),
            cluster: Server::new(&cluster.url, Some(cluster.master_key.clone())),
            index: INDEX.to_owned(),
            queries: QUERIES,
            seed,
            kinds: Vec::new(),
            differences_max: DIFFERENCES_MAX,
            concurrency: 2,
        };

        let report = runtime.block_on(fidelity::run(options)).unwrap_or_else(|error| panic!("{error:?}"));

        println!("{report}");
        assert_eq!(report.documents, include_str!("../demo/cities.ndjson").lines().count());
        assert!(report.overall.queries >= QUERIES * 9 / 10, "only {} queries could be judged", report.overall.queries);
        let outside = &report.outside_prefix_class;
        assert_eq!(outside.facets_equal, outside.with_facets, "facets are exact");
        (queries, all_equal) = (queries + report.overall.queries, all_equal + report.overall.all_equal);
        (pages, pages_equal) = (pages + outside.queries, pages_equal + outside.pages_equal);
    }
    let percent = |part: usize, whole: usize| part as f64 * 100.0 / whole as f64;
    let (all, pages) = (percent(all_equal, queries), percent(pages_equal, pages));
    assert!(all >= PERCENT_MIN, "{all:.2} % equal, {PERCENT_MIN} % wanted");
    assert!(pages >= PAGES_PERCENT_MIN, "{pages:.2} % of pages equal, {PAGES_PERCENT_MIN} % wanted");
}
