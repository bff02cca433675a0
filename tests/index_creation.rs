//! The creation of indexes: on all nodes or on none, whatever is on a node behind Miroir's back, and whoever dies meanwhile.

mod support;

use std::time::Duration;

use loadtest::stub::Fault;
use serde_json::{json, Value};
use support::{wait_until, Answer, Client, Fleet, FleetOptions, TASK_PATIENCE};

fn fleet() -> Fleet {
    Fleet::start(&FleetOptions { stubs: true, ..FleetOptions::default() })
}

/// The primary key of the index that a node has behind Miroir's back.
const FOREIGN_KEY: &str = "isbn";

/// Gives node `n` an index of its own, with a document, and hides it from who asks whether it is there.
fn make_foreign(fleet: &Fleet, n: usize, index: &str) {
    let node = fleet.node_client(n);
    node.succeed(node.post("/indexes", json!({ "uid": index, "primaryKey": FOREIGN_KEY })));
    node.succeed(node.post(&format!("/indexes/{index}/documents"), json!([{ FOREIGN_KEY: 1, "title": "kept" }])));
}

#[track_caller]
fn assert_foreign_is_kept(fleet: &Fleet, n: usize, index: &str) {
    let node = fleet.node_client(n);
    assert_eq!(node.get(&format!("/indexes/{index}")).expect_status(200)["primaryKey"], FOREIGN_KEY);
    let kept = node.get(&format!("/indexes/{index}/documents/1")).expect_status(200);
    assert_eq!(kept, json!({ FOREIGN_KEY: 1, "title": "kept" }));
    assert_eq!(node.get(&format!("/indexes/{index}/documents")).expect_status(200)["total"], 1);
}

/// Nothing of `index` is left: neither with Miroir nor on any node but `except`.
#[track_caller]
fn assert_gone(fleet: &Fleet, index: &str, except: Option<usize>) {
    let client = fleet.client();
    client.get(&format!("/indexes/{index}")).expect_error(404, "index_not_found");
    client.post(&format!("/indexes/{index}/search"), json!({})).expect_error(404, "index_not_found");
    assert_eq!(client.get("/indexes").expect_status(200)["total"], 0);
    for n in (0..fleet.node_count()).filter(|n| Some(*n) != except) {
        fleet.node_client(n).get(&format!("/indexes/{index}")).expect_error(404, "index_not_found");
    }
}

#[track_caller]
fn assert_works(fleet: &Fleet, index: &str) {
    let client = fleet.client();
    client.succeed(client.post(&format!("/indexes/{index}/documents"), documents()));
    assert_eq!(client.search(index, json!({}))["estimatedTotalHits"], 40);
    for n in 0..fleet.node_count() {
        assert_eq!(fleet.node_client(n).get(&format!("/indexes/{index}")).expect_status(200)["primaryKey"], "id");
    }
}

fn documents() -> Value {
    (0..40).map(|id| json!({ "id": id, "title": format!("word{id}") })).collect()
}

/// The three ways in which an index comes into being.
const WAYS: [fn(&Client, &str) -> Answer; 3] = [
    |client, index| client.post("/indexes", json!({ "uid": index, "primaryKey": "id" })),
    |client, index| client.post(&format!("/indexes/{index}/documents"), documents()),
    |client, index| client.patch(&format!("/indexes/{index}/settings"), json!({ "stopWords": ["the"] })),
];

#[test]
fn an_index_that_a_node_has_behind_miroirs_back_is_neither_changed_nor_created_elsewhere() {
    let fleet = fleet();
    let client = fleet.client();
    for (way, create) in WAYS.iter().enumerate() {
        let index = format!("books{way}");
        make_foreign(&fleet, 1, &index);
        let before = fleet.node_client(1).get(&format!("/indexes/{index}/settings")).expect_status(200);
        let failed = client.fail(create(client, &index), "index_already_exists");
        let message = failed["error"]["message"].as_str().expect("a message");
        assert!(message.contains("`node-1`"), "it says where: {message}");
        assert_gone(&fleet, &index, Some(1));
        assert_foreign_is_kept(&fleet, 1, &index);
        assert_eq!(fleet.node_client(1).get(&format!("/indexes/{index}/settings")).expect_status(200), before);
    }
    // Once it is out of the way, the name is free.
    fleet.node_client(1).succeed(fleet.node_client(1).delete("/indexes/books0"));
    assert_works(&fleet, "books0");
}

#[test]
fn what_one_node_refuses_in_its_task_is_undone_on_the_others() {
    let fleet = fleet();
    let client = fleet.client();
    for (way, create) in WAYS.iter().enumerate() {
        let index = format!("books{way}");
        make_foreign(&fleet, 1, &index);
        fleet.stub(1).set_fault(Fault::IndexesHidden);
        // Until it has said how it fares, the creation does not end, and later writes are those of an index in creation.
        fleet.stub(2).set_fault(Fault::TasksHeld);
        let accepted = create(client, &index);
        let later = client.post(&format!("/indexes/{index}/documents"), json!([{ "id": 77 }]));
        let later_settings = client.put(&format!("/indexes/{index}/settings/stop-words"), json!(["a"]));
        fleet.stub(2).set_fault(Fault::None);
        let failed = client.fail(accepted, "index_already_exists");
        if let Some(count) = failed["details"].get("indexedDocuments") {
            assert_eq!(*count, 0);
        }
        client.fail(later, "index_already_exists");
        client.fail(later_settings, "index_already_exists");
        assert_gone(&fleet, &index, Some(1));
        assert_foreign_is_kept(&fleet, 1, &index);
        fleet.stub(1).set_fault(Fault::None);
    }
    fleet.node_client(1).succeed(fleet.node_client(1).delete("/indexes/books0"));
    assert_works(&fleet, "books0");
}

#[test]
fn what_one_node_refuses_at_once_is_undone_on_the_others_and_can_be_tried_again() {
    let fleet = fleet();
    let client = fleet.client();
    for (way, create) in WAYS.iter().enumerate() {
        let index = format!("books{way}");
        fleet.stub(2).set_fault(Fault::CreationsRefused);
        create(client, &index).expect_error(422, "no_space_left_on_device");
        fleet.await_tasks();
        let deletions = format!("/tasks?indexUids={index}&types=indexDeletion&statuses=succeeded,failed&limit=1");
        wait_until("the others have undone it", TASK_PATIENCE, || {
            (0..2).all(|n| fleet.node_client(n).get(&deletions).expect_status(200)["total"] == 1)
        });
        fleet.await_recovery();
        assert_gone(&fleet, &index, None);
        // Refused again, and then not: what is undone does not stand in the way of what comes next.
        create(client, &index).expect_error(422, "no_space_left_on_device");
        fleet.stub(2).set_fault(Fault::None);
        client.succeed(create(client, &index));
        assert_eq!(client.get("/indexes").expect_status(200)["total"], 1);
        client.succeed(client.delete(&format!("/indexes/{index}")));
    }
}

#[test]
fn a_node_that_was_away_while_an_index_was_undone_has_nothing_of_it_when_it_is_back() {
    let mut fleet = fleet();
    let client = fleet.client().clone();
    make_foreign(&fleet, 1, "books");
    fleet.stub(1).set_fault(Fault::IndexesHidden);
    fleet.kill_node(2);
    // Miroir may know by now or not: the node's part is in its log, or in doubt.
    client.fail(client.post("/indexes/books/documents", documents()), "index_already_exists");
    fleet.start_node(2);
    fleet.await_recovery();
    assert_gone(&fleet, "books", Some(1));
    assert_foreign_is_kept(&fleet, 1, "books");
}

#[test]
fn a_proxy_that_dies_while_an_index_is_created_or_undone_leaves_all_of_it_or_nothing() {
    let mut fleet = fleet();
    let client = fleet.client().clone();
    let mut random = fastrand::Rng::with_seed(5);
    let rounds = 8;
    for round in 0..rounds {
        let index = format!("books{round}");
        let is_refused = round % 4 != 3;
        if is_refused {
            make_foreign(&fleet, 1, &index);
            fleet.stub(1).set_fault(Fault::IndexesHidden);
        }
        let accepted = WAYS[round % 3](&client, &index).task_uid();
        if is_refused && round % 2 == 0 {
            // Just when it is to be deleted again.
            let begun = |fleet: &Fleet| fleet.proxy_log().contains(&format!("index `{index}` is deleted where"));
            wait_until("it is undone", TASK_PATIENCE, || begun(&fleet));
        } else {
            // From before the nodes have made it to after that.
            std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        }
        fleet.kill_proxy();
        fleet.start_proxy();
        let task = client.wait_task(accepted);
        if is_refused {
            assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("index_already_exists")));
            assert_gone(&fleet, &index, Some(1));
            assert_foreign_is_kept(&fleet, 1, &index);
        } else {
            assert_eq!(task["status"], "succeeded", "{task}");
            assert_works(&fleet, &index);
            client.succeed(client.delete(&format!("/indexes/{index}")));
        }
        fleet.stub(1).set_fault(Fault::None);
    }
}
