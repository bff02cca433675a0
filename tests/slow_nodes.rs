//! Nodes that are slow, too busy or broken: with a second replica nobody gets a wrong answer, and nobody waits for ever.
//!
//! Stubs stand before the nodes and disturb their reads; what is not disturbed is the nodes' own. Health checks pass through, so
//! that the proxy has nothing to go by but the reads themselves.

mod support;

use std::time::{Duration, Instant};

use loadtest::stub::Fault;
use serde_json::{json, Value};
use support::{wait_until, Fleet, FleetOptions};

const DOCUMENTS: u64 = 300;
/// Far above any wait that is right here, and far below a proxy that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn filled(settings: &str) -> Fleet {
    let fleet = Fleet::start(&FleetOptions { settings: settings.to_owned(), stubs: true, ..Default::default() });
    let client = fleet.client();
    let documents: Vec<_> = (0..DOCUMENTS)
        .map(|n| json!({ "id": n, "title": format!("book {n}"), "kind": format!("k{}", n % 7) }))
        .collect();
    let settings = json!({ "filterableAttributes": ["id", "kind"], "sortableAttributes": ["id"] });
    client.succeed(client.patch("/indexes/i/settings", settings));
    client.succeed(client.post("/indexes/i/documents", json!(documents)));
    fleet
}

/// One of many searches, each of which has one right order whichever replicas answer it: replicas break ties differently.
fn search(n: u64) -> Value {
    let mut search = match n % 4 {
        0 => json!({ "q": format!("book {}", n % DOCUMENTS), "facets": ["kind"], "limit": 5 + n % 13 }),
        1 => json!({ "q": "book", "filter": format!("id < {}", n % DOCUMENTS) }),
        2 => {
            json!({ "q": "", "filter": format!("kind = k{} AND id >= {}", n % 7, n % 50), "page": 1, "hitsPerPage": 9 })
        }
        _ => json!({ "q": format!("bok {n}"), "limit": 4 }),
    };
    search["sort"] = json!(["id:desc"]);
    search
}

/// An answer without what differs from one execution to the next.
fn comparable(mut answer: Value) -> Value {
    for differs in ["processingTimeMs", "requestUid"] {
        answer.as_object_mut().expect("an object").remove(differs);
    }
    answer
}

/// Asks everything that can be asked of the index; every answer must be there in time, whole, and `right`.
#[track_caller]
fn all_answers_are(fleet: &Fleet, right: &[Value], first: u64) {
    for (n, right) in right.iter().enumerate() {
        let started = Instant::now();
        let answer = fleet.client().post("/indexes/i/search", search(first + n as u64));
        assert!(started.elapsed() < PATIENCE, "{:?} for {}", started.elapsed(), search(first + n as u64));
        assert_eq!((answer.status, answer.header("x-miroir-degraded")), (200, None), "{}", answer.text);
        assert_eq!(comparable(answer.body), *right, "{}", search(first + n as u64));
    }
    let list = fleet.client().get("/indexes/i/documents?limit=1000");
    assert_eq!((list.status, list.header("x-miroir-degraded")), (200, None), "{}", list.text);
    assert_eq!((&list.body["total"], list.body["results"].as_array().map(Vec::len)), (&json!(DOCUMENTS), Some(300)));
    let facets = fleet.client().post("/indexes/i/facet-search", json!({ "facetName": "kind", "facetQuery": "k1" }));
    assert_eq!((facets.status, &facets.body["facetHits"][0]["count"]), (200, &json!(43)), "{}", facets.text);
}

fn answers(fleet: &Fleet, first: u64, count: u64) -> Vec<Value> {
    (first..first + count).map(|n| comparable(fleet.client().search("i", search(n)))).collect()
}

#[test]
fn a_node_that_answers_nonsense_or_nothing_costs_neither_an_answer_nor_its_rightness() {
    // Long for a node that is not disturbed, on a busy machine too.
    let fleet = filled("  scatter: { node_timeout_ms: 5000 }\n");
    let right = answers(&fleet, 0, 12);
    for fault in [
        Fault::Garbage,
        Fault::NotFoundPage,
        Fault::HalfBody,
        Fault::HalfAnnouncedAsWhole,
        Fault::HangUp,
        Fault::TooBusy { retry_after_s: 1 },
        Fault::Silence,
    ] {
        println!("{fault:?}");
        fleet.stub(1).set_fault(fault);
        all_answers_are(&fleet, &right, 0);
        fleet.stub(1).set_fault(Fault::None);
        fleet.await_recovery();
    }
    assert!(fleet.metric("miroir_scatter_retries_total", "") > 0.0);
}

/// Replicas of a document, by their nodes' own account.
fn holders(fleet: &Fleet, id: u64) -> Vec<usize> {
    let path = format!("/indexes/i/documents/{id}");
    (0..fleet.node_count()).filter(|&n| fleet.node_client(n).get(&path).status == 200).collect()
}

#[test]
fn a_read_that_began_while_one_replica_was_away_is_answered_by_it_when_the_other_dies() {
    const ID: u64 = 7;
    // Longer than it takes a node to come back.
    let mut fleet = filled("  scatter: { node_timeout_ms: 20000 }\n");
    let [away, dies] = holders(&fleet, ID)[..] else { panic!("two replicas") };
    fleet.kill_node(away);
    fleet.await_failure(away);
    let before = fleet.stub(dies).counts().reads;
    fleet.stub(dies).set_fault(Fault::Held);
    let reading = ["GET", "POST"].map(|method| {
        let client = fleet.client().clone();
        std::thread::spawn(move || match method {
            "GET" => client.get(&format!("/indexes/i/documents/{ID}")),
            _ => client.post("/indexes/i/search", json!({ "filter": format!("id = {ID}") })),
        })
    });
    wait_until("both reads are under way", PATIENCE, || fleet.stub(dies).counts().reads >= before + 2);
    fleet.start_node(away);
    fleet.await_recovery();
    fleet.kill_node(dies);
    fleet.stub(dies).set_fault(Fault::None);
    let [by_id, found] = reading.map(|reading| reading.join().expect("an answer"));
    for answer in [&by_id, &found] {
        assert_eq!((answer.status, answer.header("x-miroir-degraded")), (200, None), "{}", answer.text);
    }
    assert_eq!((&by_id.body["id"], &found.body["hits"][0]["id"]), (&json!(ID), &json!(ID)));
}

#[test]
fn a_node_that_is_too_busy_is_left_alone_for_as_long_as_it_asked_and_is_not_taken_for_failed() {
    let fleet = filled("");
    fleet.stub(0).set_fault(Fault::TooBusy { retry_after_s: 60 });
    let mut asked = 0;
    for n in 0..200 {
        let answer = fleet.client().post("/indexes/i/search", search(n));
        assert_eq!((answer.status, answer.header("x-miroir-degraded")), (200, None), "{}", answer.text);
        asked = fleet.stub(0).counts().reads;
    }
    // Its first refusal, and the few searches that look whether it has recovered.
    let disturbed = fleet.stub(0).counts().disturbed;
    assert!((1..=40).contains(&disturbed), "asked {disturbed} of {asked} reads");
    assert_eq!(fleet.topology()[0]["status"], "active");
}

#[test]
fn when_all_replicas_are_too_busy_the_client_is_told_to_come_back() {
    let fleet = filled("");
    (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::TooBusy { retry_after_s: 3 }));
    let refused = fleet.client().post("/indexes/i/search", search(0));
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{refused:?}");
    (0..3).for_each(|n| fleet.stub(n).set_fault(Fault::None));
    assert_eq!(fleet.client().post("/indexes/i/search", search(0)).status, 200);
}

#[test]
fn when_all_nodes_answer_nonsense_the_answer_is_an_error_and_no_result() {
    let fleet = filled("  scatter: { node_timeout_ms: 500 }\n");
    for fault in [Fault::Garbage, Fault::HalfAnnouncedAsWhole, Fault::Silence] {
        (0..3).for_each(|n| fleet.stub(n).set_fault(fault));
        let started = Instant::now();
        let refused = fleet.client().post("/indexes/i/search", search(1));
        refused.expect_error(503, "miroir_shard_unavailable");
        assert!(started.elapsed() < PATIENCE, "{fault:?}: {:?}", started.elapsed());
    }
}

#[test]
fn late_legs_are_answered_by_other_replicas_within_the_budget() {
    const SEARCHES: u64 = 600;
    let fleet = filled("  hedging: { trigger_min_ms: 40 }\n");
    // What is usual must be known first.
    drop(answers(&fleet, 100_000, 150));
    let right = answers(&fleet, 0, 20);
    let (reads_before, sent_before) = (fleet.reads(), fleet.metric("miroir_hedge_legs_total", ""));
    fleet.stub(0).set_fault(Fault::Late { percent: 5, by: Duration::from_millis(1_500) });
    let mut late = 0;
    for n in 0..SEARCHES {
        let started = Instant::now();
        let answer = fleet.client().search("i", search(n));
        late += u64::from(started.elapsed() > Duration::from_millis(1_500));
        if let Some(right) = right.get(n as usize) {
            assert_eq!(comparable(answer), *right);
        }
    }
    let delayed = fleet.stub(0).counts().disturbed;
    let legs = fleet.metric("miroir_hedge_legs_total", "") - sent_before;
    let reads = fleet.reads() - reads_before;
    println!("{delayed} of {reads} reads were delayed, {late} searches waited for one, {legs} hedging legs");
    assert!(delayed >= 5, "{delayed} reads were delayed");
    assert!(late <= delayed / 2, "{late} searches waited for {delayed} delayed reads");
    // Over time: what was saved up before may be spent now.
    assert!(legs <= 0.05 * reads as f64 + 20.0, "{legs} of {reads}");
    assert!(fleet.metric("miroir_hedge_total", "outcome=\"won\"") >= 1.0);
}

#[test]
fn without_hedging_nobody_is_asked_twice() {
    let fleet = filled("  hedging: { enabled: false }\n");
    drop(answers(&fleet, 0, 50));
    fleet.stub(0).set_fault(Fault::Late { percent: 50, by: Duration::from_millis(400) });
    drop(answers(&fleet, 1_000, 20));
    assert_eq!(fleet.metric("miroir_hedge", ""), 0.0);
}
