//! Writes while nodes and the proxy are killed: afterwards every replica is what was acknowledged, in order.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{json, Map, Value};
use support::{Client, Fleet, FleetOptions, Operation};

const CLIENTS: u64 = 8;
/// Further clients that write one document each, all at the same moment, so that their writes share requests.
const CROWD: u64 = 24;
/// How often they do.
const CROWD_INTERVAL: Duration = Duration::from_millis(250);
const IDS: u64 = 2_000;
/// Documents that are written before the faults and never changed: reading them must always succeed.
const SETTLED_IDS: std::ops::Range<u64> = 10_000..10_100;
/// How long a client goes on trying to get one write acknowledged.
const WRITE_PATIENCE: Duration = Duration::from_secs(120);
/// How long a client waits for its task before it goes on with the next write: nodes with slow disks take seconds for each.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// Replicas of each document.
const REPLICAS: usize = 2;

/// What all threads share.
struct Run {
    client: Client,
    admin: Client,
    started: Instant,
    end: Instant,
    versions: AtomicU64,
    /// By task uid: conflicting writes are applied in the order of their tasks.
    acknowledged: Mutex<BTreeMap<u64, Operation>>,
    reads: AtomicU64,
    stopped: AtomicBool,
}

impl Run {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end || self.stopped.load(Ordering::Relaxed)
    }

    /// Sends the write until it is acknowledged; whatever became of attempts without an answer, this one comes after them. Returns
    /// the task.
    fn write(&self, operation: &Operation) -> u64 {
        let deadline = Instant::now() + WRITE_PATIENCE;
        loop {
            match operation.send(&self.client) {
                Ok(answer) if answer.status == 202 => {
                    let uid = answer.task_uid();
                    let before = self.acknowledged.lock().unwrap().insert(uid, operation.clone());
                    assert!(before.is_none(), "task {uid} was given twice");
                    return uid;
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                Err(_) => {}
            }
            assert!(Instant::now() < deadline, "not acknowledged within {WRITE_PATIENCE:?}: {operation:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn write_until_the_end(&self, mut random: fastrand::Rng) {
        while !self.is_over() {
            let version = self.versions.fetch_add(1, Ordering::Relaxed);
            let task = self.write(&Operation::random(&mut random, IDS, version));
            self.await_end(task);
        }
    }

    fn write_with_the_crowd_until_the_end(&self, mut random: fastrand::Rng) {
        while !self.is_over() {
            let since = self.started.elapsed().as_micros() as u64;
            let interval = CROWD_INTERVAL.as_micros() as u64;
            std::thread::sleep(Duration::from_micros(interval - since % interval));
            let version = self.versions.fetch_add(1, Ordering::Relaxed);
            self.write(&Operation::of_one_document(&mut random, IDS, version));
        }
    }

    /// Gives the nodes time for the task, so that their queues do not grow without end; its end is looked at in the end.
    fn await_end(&self, task: u64) {
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline && !self.is_over() {
            let answer = self.client.try_send("GET", &format!("/tasks/{task}"), &[], None);
            if answer
                .is_ok_and(|answer| !["enqueued", "processing"].contains(&answer.body["status"].as_str().unwrap_or("")))
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the proxy says of its nodes, to tell why a read failed.
    fn topology(&self) -> String {
        let answer = self.admin.try_send("GET", "/_miroir/topology", &[], None);
        answer.map_or_else(|error| error.to_string(), |answer| answer.text)
    }

    /// Reads what was finished before the faults. Only the proxy's own absence excuses an answer that does not come.
    fn read_until_the_end(&self, mut random: fastrand::Rng) {
        while !self.is_over() {
            let id = random.u64(SETTLED_IDS);
            let read = match random.bool() {
                true => self.client.try_send("GET", &format!("/indexes/i/documents/{id}"), &[], None),
                false => {
                    let body = json!({ "filter": format!("id = {id}"), "q": "settled" }).to_string().into_bytes();
                    let json = [("content-type", "application/json")];
                    self.client.try_send("POST", "/indexes/i/search", &json, Some(body))
                }
            };
            let Ok(answer) = read else { continue };
            let is_whole = answer.status == 200 && answer.header("x-miroir-degraded").is_none();
            assert!(is_whole, "{} {}, while the nodes were: {}", answer.status, answer.text, self.topology());
            let found = if answer.body["hits"].is_array() { &answer.body["hits"][0] } else { &answer.body };
            assert_eq!(found, &json!({ "id": id, "text": "settled" }), "{}", answer.text);
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells all threads to end, also when one of them panics.
struct StopOnDrop<'a>(&'a Run);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Tasks of node `n` that several writes share, each of which must have been given to it once.
#[track_caller]
fn shared_requests(fleet: &Fleet, n: usize) -> usize {
    let tasks = fleet.markers_of(n, "i");
    let mut seen = BTreeSet::new();
    for marker in tasks.iter().flatten() {
        assert!(seen.insert(marker), "node {n} was given write {marker} twice");
    }
    tasks.iter().filter(|markers| markers.len() > 1).count()
}

/// `MIROIR_TEST_SEED` repeats a run, `MIROIR_TEST_FAULT_SECONDS` makes it longer.
#[test]
fn every_replica_is_what_was_acknowledged_though_nodes_and_proxy_are_killed() {
    let seed = number_from_environment("MIROIR_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number_from_environment("MIROIR_TEST_FAULT_SECONDS").unwrap_or(12);
    println!("MIROIR_TEST_SEED={seed}, {seconds} s");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut fleet = Fleet::start(&FleetOptions::default());
    let client = fleet.client().clone();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    client.succeed(client.patch("/indexes/i/settings", json!({ "filterableAttributes": ["id"] })));
    let settled: Vec<Value> = SETTLED_IDS.map(|id| json!({ "id": id, "text": "settled" })).collect();
    client.succeed(client.post("/indexes/i/documents", json!(settled)));

    let run = Run {
        admin: fleet.admin(),
        client,
        started: Instant::now(),
        end: Instant::now() + Duration::from_secs(seconds),
        versions: AtomicU64::new(1),
        acknowledged: Mutex::default(),
        reads: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    };
    let (mut node_kills, mut proxy_kills) = (0, 0);
    std::thread::scope(|scope| {
        let run = &run;
        for _ in 0..CLIENTS {
            let random = random.fork();
            scope.spawn(move || {
                let ended_early = StopOnDrop(run);
                run.write_until_the_end(random);
                std::mem::forget(ended_early);
            });
        }
        for _ in 0..CROWD {
            let random = random.fork();
            scope.spawn(move || {
                let ended_early = StopOnDrop(run);
                run.write_with_the_crowd_until_the_end(random);
                std::mem::forget(ended_early);
            });
        }
        for _ in 0..2 {
            let random = random.fork();
            scope.spawn(move || {
                let ended_early = StopOnDrop(run);
                run.read_until_the_end(random);
                std::mem::forget(ended_early);
            });
        }
        let _stop = StopOnDrop(run);
        let pause =
            |random: &mut fastrand::Rng, most: u64| std::thread::sleep(Duration::from_millis(random.u64(50..most)));
        while !run.is_over() {
            pause(&mut random, 600);
            let victim = random.usize(0..fleet.node_count());
            fleet.kill_node(victim);
            node_kills += 1;
            pause(&mut random, 2_000);
            if random.u32(0..3) == 0 {
                fleet.kill_proxy();
                proxy_kills += 1;
                pause(&mut random, 300);
                fleet.start_proxy();
                pause(&mut random, 500);
            }
            fleet.start_node(victim);
            if random.u32(0..3) == 0 {
                fleet.kill_proxy();
                proxy_kills += 1;
                fleet.start_proxy();
            }
            // With two replicas, one more death before it has caught up would leave shards without any.
            fleet.await_recovery();
        }
    });

    fleet.await_recovery();
    fleet.await_tasks();
    let acknowledged = run.acknowledged.into_inner().unwrap();
    println!(
        "{} writes acknowledged, {} reads, {node_kills} nodes and {proxy_kills} proxies killed",
        acknowledged.len(),
        run.reads.load(Ordering::Relaxed)
    );
    let shared = (0..fleet.node_count()).map(|n| shared_requests(&fleet, n)).sum::<usize>();
    println!("{shared} requests were shared by several writes");
    assert!(shared > 10, "too little happened to prove anything");
    assert!(acknowledged.len() > 50 && run.reads.load(Ordering::Relaxed) > 50, "too little happened to prove anything");

    let mut model: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for document in &settled {
        model.insert(document["id"].to_string(), document.as_object().unwrap().clone());
    }
    for (uid, operation) in &acknowledged {
        let task = fleet.client().get(&format!("/tasks/{uid}")).expect_status(200);
        assert_eq!(task["status"], "succeeded", "{task}");
        operation.apply(&mut model);
    }
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..fleet.node_count() {
        for (id, document) in fleet.documents_of(n, "i") {
            let expected = model.get(&id).unwrap_or_else(|| panic!("seed {seed}: node {n} still has {document}"));
            assert_eq!(document.as_object(), Some(expected), "seed {seed}: node {n}, document {id}");
            *copies.entry(id).or_default() += 1;
        }
    }
    for id in model.keys() {
        assert_eq!(copies.get(id), Some(&REPLICAS), "seed {seed}: replicas of document {id}");
    }
}
