//! Several Miroirs on one Redis: one leads, all serve reads, and whichever dies the others go on.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use serde_json::{json, Value};
use support::on_redis::{Proxy, RedisServer};
use support::{terminate, wait_until, Client, Cluster, ClusterOptions, START_PATIENCE, TASK_PATIENCE};
use tempfile::TempDir;

/// So short that a test need not wait long for another leader.
const SHORT_LEASE: &str = "  leader_election: { lease_s: 6, renew_s: 1 }\n";
/// So long that nobody sees it run out.
const LONG_LEASE: &str = "  leader_election: { lease_s: 300, renew_s: 1 }\n";

struct Several {
    miroirs: Vec<Proxy>,
    redis: RedisServer,
    cluster: Cluster,
    folders: Vec<TempDir>,
    settings: String,
}

impl Several {
    /// Two nodes that hold everything, and `count` Miroirs. The first one leads.
    fn start(count: usize, settings: &str) -> Self {
        let cluster = Cluster::start(ClusterOptions { nodes: 2, replication_factor: 2, ..Default::default() });
        let (miroirs, folders) = (Vec::new(), Vec::new());
        let mut several =
            Self { miroirs, redis: RedisServer::start(), cluster, folders, settings: settings.to_owned() };
        (0..count).for_each(|_| several.start_another());
        assert!(several.miroirs[0].leads());
        several
    }

    fn start_another(&mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        self.miroirs.push(Proxy::start_with(&self.cluster, &self.redis, folder.path(), &self.settings));
        self.folders.push(folder);
    }

    fn clients(&self) -> Vec<Client> {
        self.miroirs.iter().map(|miroir| miroir.client.clone()).collect()
    }

    /// Which one leads, as soon as exactly one does.
    fn await_one_leader(&self) -> usize {
        wait_until("one leads", START_PATIENCE, || self.leaders().iter().filter(|leads| **leads).count() == 1);
        self.leaders().iter().position(|leads| *leads).expect("one leads")
    }

    fn leaders(&self) -> Vec<bool> {
        self.miroirs.iter().map(Proxy::leads).collect()
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn one_leads_and_each_takes_every_request() {
    let several = Several::start(3, "");
    assert_eq!(several.leaders(), [true, false, false]);
    let clients = several.clients();
    clients[1].succeed(clients[1].post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    for (n, client) in clients.iter().enumerate() {
        // Large ones too, which go through in pieces.
        let word = ["apple", "banana", "cherry"][n];
        let text = format!("{word} ").repeat(100);
        let documents: Value = (0..2_000).map(|id| json!({ "id": 10_000 * n + id, "text": text })).collect();
        let task = client.succeed(client.post("/indexes/i/documents", documents));
        assert_eq!(task["details"]["indexedDocuments"], 2_000);
        // Whoever has seen the task succeed finds what it wrote, wherever it asks.
        for other in &clients {
            assert_eq!(other.search("i", json!({ "q": word }))["estimatedTotalHits"], 2_000);
            assert_eq!(other.get(&format!("/indexes/i/documents/{}", 10_000 * n)).expect_status(200)["text"], text);
        }
        client.succeed(client.patch("/indexes/i/settings", json!({ "stopWords": [format!("stop{n}")] })));
        for other in &clients {
            let found = other.post("/indexes/i/search", json!({ "q": "" }));
            assert_eq!(found.header("x-miroir-settings-version"), Some((n + 1).to_string().as_str()));
        }
    }
    let of_all =
        |path: &str| -> Vec<Value> { clients.iter().map(|client| client.get(path).expect_status(200)).collect() };
    for path in ["/tasks?limit=5", "/indexes/i/stats", "/indexes/i/settings", "/keys", "/indexes"] {
        let answers = of_all(path);
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {answers:?}");
    }
    // Errors come back as they are, and who may what is judged where it is decided.
    for client in &clients {
        client.post("/indexes/i/documents", json!(7)).expect_error(400, "malformed_payload");
        client.get("/tasks/999999").expect_error(404, "task_not_found");
        client.with_key("none").get("/tasks").expect_error(403, "invalid_api_key");
        client.with_key("none").post("/indexes/i/search", json!({})).expect_error(403, "invalid_api_key");
    }
    assert!(several.miroirs.iter().all(|miroir| miroir.metric("miroir_peer_count") == 3.0));
}

#[test]
fn every_miroir_uses_the_new_target_before_the_flip_is_answered() {
    const FLIPS: usize = 150;
    let several = Several::start(3, "");
    let clients = several.clients();
    for (index, count) in [("first", 3), ("second", 2)] {
        let documents: Value = (0..count).map(|id| json!({ "id": id, "kind": index })).collect();
        clients[0].succeed(clients[0].post(&format!("/indexes/{index}/documents"), documents));
    }
    several.miroirs[0].admin().put("/_miroir/aliases/live", json!({ "target": "first" })).expect_status(201);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let found = client.search("live", json!({}));
                    let hits = found["hits"].as_array().expect("hits");
                    let expected = if hits[0]["kind"] == "first" { 3 } else { 2 };
                    assert!(hits.len() == expected && hits.iter().all(|hit| hit["kind"] == hits[0]["kind"]), "{found}");
                }
            });
        }
        for flip in 0..FLIPS {
            let target = if flip % 2 == 0 { "second" } else { "first" };
            let miroir = &several.miroirs[flip % 3];
            miroir.admin().put("/_miroir/aliases/live", json!({ "target": target })).expect_status(200);
            for client in &clients {
                assert_eq!(client.search("live", json!({ "limit": 1 }))["hits"][0]["kind"], target, "flip {flip}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_follower_that_hangs_serves_nothing_old_when_it_wakes() {
    let several = Several::start(2, SHORT_LEASE);
    let clients = several.clients();
    for index in ["first", "second"] {
        clients[0]
            .succeed(clients[0].post(&format!("/indexes/{index}/documents"), json!([{ "id": 1, "kind": index }])));
    }
    let admin = several.miroirs[0].admin();
    admin.put("/_miroir/aliases/live", json!({ "target": "first" })).expect_status(201);
    for target in ["second", "first"] {
        signal("STOP", several.miroirs[1].pid());
        // Waits for the one that hangs only as long as that one may read.
        admin.put("/_miroir/aliases/live", json!({ "target": target })).expect_status(200);
        signal("CONT", several.miroirs[1].pid());
        assert_eq!(clients[1].search("live", json!({}))["hits"][0]["kind"], target);
    }
}

/// Writes by three clients at whichever Miroir answers, as what is acknowledged: the last value of each id.
struct Writers {
    acknowledged: Mutex<BTreeMap<u64, u64>>,
    tasks: Mutex<Vec<u64>>,
    refused: AtomicU64,
}

impl Writers {
    fn write(&self, clients: &[Client], writer: u64, is_over: &AtomicBool) {
        for round in 0.. {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let id = writer * 1_000 + round % 50;
            let client = &clients[(writer + round) as usize % clients.len()];
            let body = json!([{ "id": id, "round": round }]).to_string().into_bytes();
            let headers = [("content-type", "application/json")];
            match client.try_send("POST", "/indexes/i/documents", &headers, Some(body)) {
                Ok(answer) if answer.status == 202 => {
                    self.acknowledged.lock().unwrap().insert(id, round);
                    self.tasks.lock().unwrap().push(answer.task_uid());
                }
                // What is not acknowledged may have been carried out: it is written until it is, so that the model knows.
                _ => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    self.acknowledged.lock().unwrap().remove(&id);
                }
            }
        }
    }
}

#[test]
fn whichever_dies_nothing_acknowledged_is_lost_and_no_read_of_the_others_fails() {
    let mut several = Several::start(3, SHORT_LEASE);
    let first = several.clients()[0].clone();
    first.succeed(first.post("/indexes/i/documents", json!([{ "id": 1_000_000 }])));
    let writers = Writers { acknowledged: Mutex::default(), tasks: Mutex::default(), refused: AtomicU64::new(0) };
    let reads = AtomicU64::new(0);
    for _ in 0..3 {
        let victim = several.await_one_leader();
        let mut victim = several.miroirs.remove(victim);
        let survivors = several.clients();
        let everyone: Vec<Client> = survivors.iter().chain([&victim.client]).cloned().collect();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let (writers, everyone, is_over) = (&writers, &everyone, &is_over);
                scope.spawn(move || writers.write(everyone, writer, is_over));
            }
            for client in &survivors {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        client.search("i", json!({ "q": "" }));
                        client.get("/indexes/i/documents/1000000").expect_status(200);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let count = writers.tasks.lock().unwrap().len();
            wait_until("some are written", TASK_PATIENCE, || writers.tasks.lock().unwrap().len() > count + 20);
            victim.kill();
            wait_until("another one leads", START_PATIENCE, || several.leaders().contains(&true));
            let count = writers.tasks.lock().unwrap().len();
            wait_until("writes go on", TASK_PATIENCE, || writers.tasks.lock().unwrap().len() > count + 20);
            is_over.store(true, Ordering::Relaxed);
        });
        several.start_another();
        several.await_one_leader();
    }
    let client = several.clients()[0].clone();
    for task in writers.tasks.into_inner().unwrap() {
        let task = client.wait_task(task);
        assert_eq!(task["status"], "succeeded", "{task}");
    }
    wait_until("both nodes have everything", TASK_PATIENCE, || {
        let held = several.cluster.documents_held("i");
        held[0] == held[1]
    });
    for (id, round) in writers.acknowledged.into_inner().unwrap() {
        let document = client.get(&format!("/indexes/i/documents/{id}")).expect_status(200);
        assert!(document["round"].as_u64().is_some_and(|held| held >= round), "{document}, acknowledged was {round}");
    }
    println!("{} reads, {} writes not acknowledged", reads.into_inner(), writers.refused.into_inner());
}

#[test]
fn a_leader_that_is_ended_gives_its_place_up_at_once() {
    let mut several = Several::start(2, LONG_LEASE);
    let client = several.clients()[1].clone();
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 1 }])));
    let leader = several.miroirs.remove(0);
    terminate(leader.pid());
    // The lease would outlast the test's patience.
    wait_until("the other one leads", START_PATIENCE, || several.miroirs[0].leads());
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 2 }])));
    assert_eq!(client.search("i", json!({}))["estimatedTotalHits"], 2);
    // Whoever starts again where it was does not wait for itself.
    several.start_another();
    assert!(several.miroirs[0].leads() && !several.miroirs[1].leads());
}

#[test]
fn a_leader_that_hangs_until_another_one_leads_changes_nothing_any_more() {
    let several = Several::start(2, SHORT_LEASE);
    let clients = several.clients();
    clients[0].succeed(clients[0].post("/indexes/i/documents", json!([{ "id": 1 }])));
    let waiting: Vec<u64> =
        (0..20).map(|n| clients[0].post("/indexes/i/documents", json!([{ "id": 100 + n }])).task_uid()).collect();
    signal("STOP", several.miroirs[0].pid());
    wait_until("the other one leads", START_PATIENCE, || several.miroirs[1].leads());
    let later = clients[1].succeed(clients[1].post("/indexes/i/documents", json!([{ "id": 2 }])));
    signal("CONT", several.miroirs[0].pid());
    // It finds out at the first thing that it wants to change, and passes everything on from then on.
    wait_until("it follows", START_PATIENCE, || !several.miroirs[0].leads());
    for uid in waiting {
        assert_eq!(clients[0].wait_task(uid)["status"], "succeeded");
    }
    let newest = clients[0].succeed(clients[0].post("/indexes/i/documents", json!([{ "id": 3 }])));
    assert!(newest["uid"].as_u64() > later["uid"].as_u64());
    for client in &clients {
        assert_eq!(client.search("i", json!({}))["estimatedTotalHits"], 23);
    }
    assert_eq!(several.cluster.documents_held("i"), [23, 23]);
}

#[test]
fn no_miroir_reads_from_a_replica_that_lacks_what_was_acknowledged() {
    let several = Several::start(2, "  replica_selection: { strategy: round_robin }\n");
    let clients = several.clients();
    clients[0].succeed(clients[0].post("/indexes/i/documents", json!([{ "id": 0 }])));
    let status = |n: usize| several.miroirs[0].admin().get("/_miroir/topology").expect_status(200)["nodes"][n].clone();
    let mut count = 1;
    let write = |count: &mut u64, n: u64| {
        for _ in 0..n {
            let client = &clients[*count as usize % 2];
            client.succeed(client.post("/indexes/i/documents", json!([{ "id": count }])));
            *count += 1;
            for reader in clients.iter().chain(&clients) {
                let found = reader.search("i", json!({ "limit": 0 }));
                assert_eq!(found["estimatedTotalHits"], *count, "{found}");
            }
        }
    };
    for round in 0..2 {
        let n = round % 2;
        signal("STOP", several.cluster.nodes[n].pid);
        wait_until("the node is taken for failed", START_PATIENCE, || status(n)["status"] == "failed");
        write(&mut count, 5);
        signal("CONT", several.cluster.nodes[n].pid);
        // Now it answers, and has yet to be given what it lacks.
        write(&mut count, 15);
        wait_until("the node has caught up", TASK_PATIENCE, || {
            let node = status(n);
            node["status"] == "active" && node["lagging_shards"] == 0
        });
    }
}

#[test]
fn drift_is_looked_for_by_each_miroir_in_its_share_and_mended_by_the_leader() {
    const INDEXES: usize = 12;
    let several = Several::start(2, "  settings_drift_check: { interval_ms: 500 }\n");
    let clients = several.clients();
    for n in 0..INDEXES {
        clients[0].succeed(clients[0].patch(&format!("/indexes/i{n}/settings"), json!({ "stopWords": ["the"] })));
    }
    let checks = || {
        several.miroirs.iter().map(|miroir| miroir.metric("miroir_settings_drift_checks_total")).collect::<Vec<f64>>()
    };
    let before = checks();
    wait_until("both look", START_PATIENCE, || checks().iter().zip(&before).all(|(now, before)| now > before));
    let node = &several.cluster.nodes[0];
    let node = Client::new(&node.url, Some(&several.cluster.node_master_key));
    for n in 0..INDEXES {
        node.succeed(node.put(&format!("/indexes/i{n}/settings/stop-words"), json!(["behind", "the", "back"])));
    }
    wait_until("all are mended", TASK_PATIENCE, || {
        (0..INDEXES).all(|n| node.get(&format!("/indexes/i{n}/settings/stop-words")).body == json!(["the"]))
    });
    let found = several.miroirs[0].metric("miroir_settings_drift_total");
    assert!(found >= INDEXES as f64, "the leader has mended {found}");
}

#[test]
fn given_redis_is_away_then_reads_go_on_everywhere_and_writes_are_refused_until_it_is_back() {
    let mut several = Several::start(2, SHORT_LEASE);
    let clients = several.clients();
    clients[0].succeed(clients[0].post("/indexes/i/documents", json!([{ "id": 1 }])));
    several.redis.kill();
    for client in &clients {
        let refused = client.post("/indexes/i/documents", json!([{ "id": 2 }]));
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(client.search("i", json!({}))["estimatedTotalHits"], 1);
    }
    several.redis.start_again();
    for (n, client) in clients.iter().enumerate() {
        let taken = || client.post("/indexes/i/documents", json!([{ "id": 3 + n }])).status == 202;
        wait_until("writes are taken again", START_PATIENCE, taken);
    }
    several.await_one_leader();
    for client in &clients {
        wait_until("both are found", TASK_PATIENCE, || client.search("i", json!({}))["estimatedTotalHits"] == 3);
    }
}
