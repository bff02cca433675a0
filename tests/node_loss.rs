//! A node dies: what has another replica is served as before, what has none is named as missing.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{json, Value};
use support::{wait_until, Cluster, ClusterOptions};

const DOCUMENTS: u64 = 1000;
const SHARDS: usize = 64;
const DEGRADED: &str = "x-miroir-degraded";
/// How long health checks may take to see that a node is gone, on a busy machine.
const FAILURE_PATIENCE: Duration = Duration::from_secs(20);

fn filled(options: ClusterOptions) -> Cluster {
    let cluster = Cluster::start(options);
    let documents: Vec<_> = (0..DOCUMENTS).map(|n| json!({ "id": n, "title": format!("book {n}") })).collect();
    cluster.succeed(cluster.patch("/indexes/i/settings", json!({ "filterableAttributes": ["id"] })));
    cluster.succeed(cluster.post("/indexes/i/documents", json!(documents)));
    cluster
}

/// Waits until the proxy has taken node `n` for failed.
fn await_failure(cluster: &Cluster, n: usize) {
    wait_until("the proxy sees that the node is gone", FAILURE_PATIENCE, || status_of(cluster, n) == "failed");
}

fn topology_of(cluster: &Cluster, n: usize) -> Value {
    let topology = cluster.admin().get("/_miroir/topology").expect_status(200);
    assert_eq!(topology["nodes"][n]["id"], json!(cluster.nodes[n].id));
    topology["nodes"][n].clone()
}

fn status_of(cluster: &Cluster, n: usize) -> Value {
    topology_of(cluster, n)["status"].clone()
}

/// The shards of the documents that node `n` holds, by its own account.
fn shards_of(cluster: &Cluster, n: usize) -> BTreeSet<u32> {
    let body = json!({ "facets": ["_miroir_shard"], "limit": 0 });
    let counts = cluster.node_client(n).search("i", body)["facetDistribution"]["_miroir_shard"].clone();
    let shard = |name: &String| name.chars().next().map_or(u32::MAX, |c| c as u32 - 0xE000);
    counts.as_object().expect("counts").keys().map(shard).collect()
}

/// Searches without a pause on several connections, kills node `dead` among it, and goes on until the node has been
/// taken for failed and for some searches more. Every answer must be complete.
fn kill_under_searches(cluster: &Cluster, dead: usize) {
    const SEARCHERS: usize = 3;
    /// Before the death and after it was noticed.
    const SEARCHES_MIN: usize = 30;
    let (stop, searches) = (AtomicBool::new(false), AtomicUsize::new(0));
    let search = |n: usize| {
        let (body, total) = match n % 3 {
            0 => (json!({ "q": "book" }), DOCUMENTS),
            1 => (json!({ "filter": "id < 500", "offset": n % 100 }), 500),
            _ => (json!({ "page": 1 + n % 10, "hitsPerPage": 7 }), DOCUMENTS),
        };
        let answer = cluster.post("/indexes/i/search", body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header(DEGRADED), None, "{}", answer.text);
        let totals = [&answer.body["estimatedTotalHits"], &answer.body["totalHits"]];
        assert!(totals.contains(&&json!(total)), "not {total}: {}", answer.text);
    };
    let stream = || {
        // A panic of this thread must not leave the others searching.
        while !stop.load(Ordering::Relaxed) {
            search(searches.fetch_add(1, Ordering::Relaxed));
        }
    };
    let more = || {
        let before = searches.load(Ordering::Relaxed);
        wait_until("searches go on", FAILURE_PATIENCE, || searches.load(Ordering::Relaxed) >= before + SEARCHES_MIN);
    };
    std::thread::scope(|scope| {
        let _end = StopOnDrop(&stop);
        (0..SEARCHERS).for_each(|_| drop(scope.spawn(stream)));
        more();
        cluster.kill_node(dead);
        await_failure(cluster, dead);
        more();
    });
}

/// Ends the searchers also when the test fails, so that it can end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn every_document_is_found(cluster: &Cluster) {
    for n in 0..DOCUMENTS {
        let found = cluster.get(&format!("/indexes/i/documents/{n}"));
        assert_eq!((found.status, &found.body["id"]), (200, &json!(n)), "{}", found.text);
    }
    let list = cluster.get("/indexes/i/documents?limit=1000");
    assert_eq!((list.header(DEGRADED), &list.body["total"]), (None, &json!(DOCUMENTS)));
    let ids: BTreeSet<_> = list.body["results"].as_array().expect("results").iter().map(|d| d["id"].as_u64()).collect();
    assert_eq!(ids, (0..DOCUMENTS).map(Some).collect());
}

#[test]
fn with_two_replicas_nobody_notices_the_death_of_a_node() {
    let cluster = filled(ClusterOptions { replication_factor: 2, ..Default::default() });
    assert_eq!(cluster.documents_held("i").iter().sum::<u64>(), 2 * DOCUMENTS);

    kill_under_searches(&cluster, 1);

    every_document_is_found(&cluster);
    let stats = cluster.get("/indexes/i/stats").expect_status(200);
    assert_eq!(stats["numberOfDocuments"], DOCUMENTS);
    cluster.get("/_miroir/ready").expect_status(200);
}

#[test]
fn with_two_groups_the_other_group_answers_for_a_dead_node() {
    let cluster = filled(ClusterOptions { nodes: 4, groups: 2, ..Default::default() });
    assert_eq!(cluster.documents_held("i").iter().sum::<u64>(), 2 * DOCUMENTS);

    kill_under_searches(&cluster, 2);

    every_document_is_found(&cluster);
}

#[test]
fn without_a_replica_answers_are_partial_and_name_the_missing_shards() {
    let cluster = filled(ClusterOptions::default());
    let dead = 1;
    let (missing, held) = (shards_of(&cluster, dead), cluster.documents_held("i"));
    assert_eq!((0..3).map(|n| shards_of(&cluster, n).len()).sum::<usize>(), SHARDS, "every shard has documents");
    assert_eq!(topology_of(&cluster, dead)["shard_count"], missing.len());
    let left = DOCUMENTS - held[dead];
    let named = |header: Option<&str>| -> BTreeSet<u32> {
        let list = header.and_then(|header| header.strip_prefix("shards=")).unwrap_or_else(|| panic!("{header:?}"));
        list.split(',').map(|shard| shard.parse().expect("a shard's number")).collect()
    };
    assert_eq!(cluster.post("/indexes/i/search", json!({})).header(DEGRADED), None);

    cluster.kill_node(dead);

    let is_partial = || {
        let answer = cluster.post("/indexes/i/search", json!({ "q": "book", "limit": 1000, "facets": ["id"] }));
        assert_eq!((named(answer.header(DEGRADED)), answer.status), (missing.clone(), 200));
        assert_eq!(answer.body["estimatedTotalHits"], left);
        assert_eq!(answer.body["hits"].as_array().map(Vec::len), Some(left as usize));
        let list = cluster.get("/indexes/i/documents");
        assert_eq!((named(list.header(DEGRADED)), list.status), (missing.clone(), 200));
        assert_eq!(list.body["total"], left);
    };
    // Both before health checks have seen it, where the legs themselves fail, and afterwards.
    is_partial();
    await_failure(&cluster, dead);
    is_partial();

    let (mut found, mut lost) = (0, 0);
    for n in 0..DOCUMENTS {
        let answer = cluster.get(&format!("/indexes/i/documents/{n}"));
        match answer.status {
            200 => found += 1,
            // It may well exist: nobody may say that it does not.
            _ => lost += u64::from(answer.expect_error(503, "miroir_shard_unavailable").is_object()),
        }
    }
    assert_eq!((found, lost), (left, held[dead]));
    let ready = cluster.get("/_miroir/ready").expect_status(503);
    assert_eq!(ready["missing_shards"], json!(missing));
}

#[test]
fn a_write_to_a_shard_without_any_replica_is_sent_to_nobody() {
    let cluster = filled(ClusterOptions::default());
    cluster.kill_node(0);
    await_failure(&cluster, 0);
    let newest_tasks = || -> Vec<Value> {
        [1, 2]
            .map(|n| cluster.node_client(n).get("/tasks?limit=1").expect_status(200)["results"][0]["uid"].clone())
            .into()
    };
    let (tasks, own) = (newest_tasks(), cluster.get("/tasks").expect_status(200)["total"].clone());
    let many: Vec<_> = (0..100).map(|n| json!({ "id": DOCUMENTS + n })).collect();

    for refused in [
        cluster.post("/indexes/i/documents", json!(many)),
        cluster.put("/indexes/i/documents", json!(many)),
        cluster.post("/indexes/i/documents/delete-batch", json!((0..100).collect::<Vec<_>>())),
        cluster.post("/indexes/i/documents/delete", json!({ "filter": "id < 10" })),
        cluster.delete("/indexes/i/documents"),
        cluster.patch("/indexes/i/settings", json!({ "sortableAttributes": ["id"] })),
        cluster.post("/indexes/other/documents", json!(many)),
        cluster.post("/indexes", json!({ "uid": "other" })),
        cluster.delete("/indexes/i"),
    ] {
        let error = refused.expect_error(503, "miroir_no_quorum");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("Nothing was sent")), "{error}");
    }
    assert_eq!(newest_tasks(), tasks);
    assert_eq!(cluster.get("/tasks").expect_status(200)["total"], own);
    cluster.get("/indexes/other").expect_error(404, "index_not_found");

    // Documents that only living nodes hold are written.
    let accepted = (0..DOCUMENTS)
        .map(|n| cluster.delete(&format!("/indexes/i/documents/{n}")))
        .find(|answer| answer.status == 202)
        .expect("two of three nodes own two thirds of the documents");
    cluster.succeed(accepted);
}
