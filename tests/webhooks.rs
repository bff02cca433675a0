//! Webhooks: what clients make of them, and what they are told.

mod support;

use std::collections::BTreeSet;

use serde_json::{json, Value};
use support::{
    wait_until, Answer, Client, Cluster, ClusterOptions, Fleet, FleetOptions, Receiver, SingleServer, TASK_PATIENCE,
};

const LOOPBACK: &str = "  webhooks: { allow_private_networks: true }\n";

fn cluster() -> Cluster {
    Cluster::start(ClusterOptions { nodes: 2, ..Default::default() })
}

fn make(client: &Client, url: &str) -> String {
    let made = client.post("/webhooks", json!({ "url": url })).expect_status(201);
    made["uuid"].as_str().expect("a uuid").to_owned()
}

#[test]
fn webhooks_are_made_shown_changed_and_deleted_as_in_meilisearch() {
    let cluster = cluster();
    let client = cluster.client();
    assert_eq!(client.get("/webhooks").expect_status(200), json!({ "results": [] }));
    let headers = json!({ "X-Tenant": "shop", "authorization": "Bearer a-secret-of-the-receiver" });
    let made = client.post("/webhooks", json!({ "url": "https://shop.example/told", "headers": headers }));
    let made = made.expect_status(201);
    let uuid = made["uuid"].as_str().expect("a uuid").to_owned();
    let shown = json!({
        "uuid": uuid, "isEditable": true, "url": "https://shop.example/told",
        "headers": { "X-Tenant": "shop", "authorization": "Bearer a-sXXXXX..." }
    });
    assert_eq!(made, shown);
    assert_eq!(client.get(&format!("/webhooks/{uuid}")).expect_status(200), shown);
    assert_eq!(client.get("/webhooks").expect_status(200), json!({ "results": [shown] }));
    let patch = json!({ "headers": { "X-Tenant": null, "X-Other": "1" } });
    let changed = client.patch(&format!("/webhooks/{uuid}"), patch).expect_status(200);
    assert_eq!(changed["headers"], json!({ "X-Other": "1", "authorization": "Bearer a-sXXXXX..." }));
    assert_eq!(changed["url"], "https://shop.example/told");
    assert_eq!(client.delete(&format!("/webhooks/{uuid}")).status, 204);
    client.get(&format!("/webhooks/{uuid}")).expect_error(404, "webhook_not_found");
}

/// What is refused, and how; on real nodes compared with what a node itself answers.
#[test]
fn mistakes_are_answered_as_meilisearch_answers_them() {
    let (cluster, single) = (cluster(), SingleServer::start());
    let many: Value = (0..201).map(|n| (format!("h{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let nil = "/webhooks/00000000-0000-0000-0000-000000000000";
    let other = "/webhooks/550e8400-e29b-41d4-a716-446655440000";
    let cases: Vec<(&str, &str, Value, u16, &str)> = vec![
        ("POST", "/webhooks", json!({}), 400, "invalid_webhook_url"),
        ("POST", "/webhooks", json!({ "url": null }), 400, "invalid_webhook_url"),
        ("POST", "/webhooks", json!({ "url": "" }), 400, "invalid_webhook_url"),
        ("POST", "/webhooks", json!({ "url": 7 }), 400, "invalid_webhook_url"),
        ("POST", "/webhooks", json!({ "url": "no address" }), 400, "invalid_webhook_url"),
        ("POST", "/webhooks", json!({ "url": "http://h/", "headers": 1 }), 400, "invalid_webhook_headers"),
        ("POST", "/webhooks", json!({ "url": "http://h/", "headers": { "a": 1 } }), 400, "invalid_webhook_headers"),
        ("POST", "/webhooks", json!({ "url": "http://h/", "headers": { "a b": "c" } }), 400, "invalid_webhook_headers"),
        ("POST", "/webhooks", json!({ "url": "http://h/", "headers": { "a": "\n" } }), 400, "invalid_webhook_headers"),
        ("POST", "/webhooks", json!({ "url": "http://h/", "headers": many }), 400, "invalid_webhook_headers"),
        ("POST", "/webhooks", json!({ "uuid": "x" }), 400, "immutable_webhook_uuid"),
        ("POST", "/webhooks", json!({ "isEditable": true }), 400, "immutable_webhook_is_editable"),
        ("POST", "/webhooks", json!({ "nonsense": 1 }), 400, "bad_request"),
        ("POST", "/webhooks", json!([]), 400, "bad_request"),
        ("PATCH", nil, json!({ "url": "http://h/" }), 400, "immutable_webhook"),
        ("DELETE", nil, Value::Null, 400, "immutable_webhook"),
        ("GET", nil, Value::Null, 404, "webhook_not_found"),
        ("PATCH", other, json!({ "url": "http://h/" }), 404, "webhook_not_found"),
        ("DELETE", other, Value::Null, 404, "webhook_not_found"),
        ("GET", "/webhooks/nonsense", Value::Null, 400, "invalid_webhook_uuid"),
        ("PATCH", "/webhooks/nonsense", json!({}), 400, "invalid_webhook_uuid"),
        ("PATCH", "/webhooks/nonsense", json!({ "url": 1 }), 400, "invalid_webhook_url"),
    ];
    let ask = |client: &Client, method: &str, path: &str, body: &Value| -> Answer {
        let json = [("content-type", "application/json")];
        let body = (!body.is_null()).then(|| body.to_string().into_bytes());
        client.send(method, path, if body.is_some() { &json } else { &[] }, body)
    };
    // The uid of what was not made is in the message, and chosen at random.
    let without_uid = |answer: &Answer| {
        let message = answer.body["message"].as_str().unwrap_or_default();
        message.split('`').map(|part| if part.len() == 36 { "" } else { part }).collect::<Vec<_>>().join("`")
    };
    for (method, path, body, status, code) in &cases {
        let answer = ask(cluster.client(), method, path, body);
        if !single.is_embedded() {
            let expected = ask(single.client(), method, path, body);
            assert_eq!(without_uid(&answer), without_uid(&expected), "{method} {path} {body}");
            assert_eq!((expected.status, expected.code()), (*status, Some(*code)), "{method} {path} {body}");
        }
        answer.expect_error(*status, code);
    }
    for _ in 0..20 {
        make(cluster.client(), "http://h/");
    }
    cluster.post("/webhooks", json!({ "url": "http://h/" })).expect_error(400, "invalid_webhooks");
}

#[test]
fn keys_need_the_actions_of_webhooks() {
    let cluster = cluster();
    let client_for = |actions: Value| {
        let body = json!({ "actions": actions, "indexes": ["*"], "expiresAt": null });
        let key = cluster.post("/keys", body).expect_status(201);
        cluster.client_with(key["key"].as_str())
    };
    let reader = client_for(json!(["webhooks.get"]));
    reader.get("/webhooks").expect_status(200);
    reader.post("/webhooks", json!({ "url": "http://h/" })).expect_error(403, "invalid_api_key");
    let maker = client_for(json!(["webhooks.create", "webhooks.delete"]));
    let uuid = make(&maker, "http://h/");
    maker.patch(&format!("/webhooks/{uuid}"), json!({})).expect_error(403, "invalid_api_key");
    maker.get("/webhooks").expect_error(403, "invalid_api_key");
    assert_eq!(maker.delete(&format!("/webhooks/{uuid}")).status, 204);
    cluster.client_with(None).get("/webhooks").expect_error(401, "missing_authorization_header");
}

/// However many nodes have a part in a task, each webhook hears of it once, and of every task.
#[test]
fn each_webhook_is_told_once_of_each_task_that_has_ended() {
    let cluster = Cluster::start(ClusterOptions { nodes: 3, replication_factor: 2, ..Default::default() });
    let client = cluster.client();
    client.succeed(client.post("/indexes", json!({ "uid": "before" })));
    let receivers = [Receiver::start(), Receiver::start()];
    make(client, &receivers[0].url);
    let headers = json!({ "Authorization": "Bearer of-the-receiver", "X-Shop": "7" });
    client.post("/webhooks", json!({ "url": receivers[1].url, "headers": headers })).expect_status(201);

    let mut tasks = vec![
        client.post("/indexes/films/documents", json!([{ "id": 1, "title": "a" }])).task_uid(),
        client.patch("/indexes/films/settings", json!({ "stopWords": ["the"] })).task_uid(),
        client.delete("/indexes/none").task_uid(),
        client.post("/indexes", json!({ "uid": "films" })).task_uid(),
        client.post("/swap-indexes", json!([{ "indexes": ["films", "before"] }])).task_uid(),
    ];
    tasks.extend((0..50).map(|id| client.post("/indexes/films/documents", json!([{ "id": id }])).task_uid()));
    for receiver in &receivers {
        wait_until("all tasks are told", TASK_PATIENCE, || receiver.told().len() >= tasks.len());
    }
    for task in &tasks {
        client.wait_task(*task);
    }
    for receiver in &receivers {
        let told = receiver.told();
        assert_eq!(told.len(), tasks.len(), "each once: {told:?}");
        assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), tasks.iter().copied().collect());
        for call in receiver.calls() {
            assert_eq!(call.line, "POST /told");
            assert_eq!(call.header("content-type"), Some("application/x-ndjson"));
            assert_eq!(call.header("content-encoding"), Some("gzip"));
            for task in &call.tasks {
                assert_eq!(*task, client.get(&format!("/tasks/{}", task["uid"])).expect_status(200));
            }
        }
    }
    let call = &receivers[1].calls()[0];
    assert_eq!((call.header("authorization"), call.header("x-shop")), (Some("Bearer of-the-receiver"), Some("7")));
    assert_eq!(receivers[0].calls()[0].header("authorization"), None);
}

#[test]
fn a_receiver_that_fails_is_called_again_and_holds_up_no_other() {
    let mut fleet = Fleet::start(&FleetOptions {
        groups: vec![1],
        replication_factor: 1,
        settings: LOOPBACK.to_owned(),
        ..Default::default()
    });
    let client = fleet.client().clone();
    let (failing, well) = (Receiver::start(), Receiver::start());
    failing.answer_with(503);
    let headers = json!({ "X-Secret": "of-the-receiver-alone" });
    let made = client.post("/webhooks", json!({ "url": failing.url, "headers": headers })).expect_status(201);
    let uuid = made["uuid"].as_str().expect("a uuid").to_owned();
    make(&client, &well.url);
    let first = client.post("/indexes/films/documents", json!([{ "id": 1 }])).task_uid();
    wait_until("it was called twice", TASK_PATIENCE, || failing.calls().len() >= 2);
    wait_until("the other one was told", TASK_PATIENCE, || well.told() == [first]);
    assert_eq!(failing.told(), [0_u64; 0]);
    assert!(fleet.metric("miroir_webhook_calls_total", "failed") >= 2.0);
    assert!(fleet.metric("miroir_webhook_waiting", "") >= 1.0);

    // What it was not told of outlives a crash.
    let second = client.post("/indexes/films/documents", json!([{ "id": 2 }])).task_uid();
    client.wait_task(second);
    fleet.kill_proxy();
    failing.answer_with(200);
    fleet.start_proxy();
    let expected = BTreeSet::from([first, second]);
    wait_until("it is told after all", TASK_PATIENCE, || {
        failing.told().into_iter().collect::<BTreeSet<_>>() == expected
    });
    wait_until("nothing waits any more", TASK_PATIENCE, || fleet.metric("miroir_webhook_waiting", "") == 0.0);
    // Told and put down: another start has nothing to tell.
    let calls = failing.calls().len();
    fleet.kill_proxy();
    fleet.start_proxy();
    let third = client.post("/indexes/films/documents", json!([{ "id": 3 }])).task_uid();
    wait_until("the next one is told", TASK_PATIENCE, || failing.told().contains(&third));
    assert_eq!(failing.calls().len(), calls + 1, "{:?}", failing.calls());

    // A webhook that is gone is owed nothing.
    failing.answer_with(500);
    let fourth = client.post("/indexes/films/documents", json!([{ "id": 4 }])).task_uid();
    wait_until("it is called", TASK_PATIENCE, || failing.calls().len() > calls + 1);
    assert_eq!(client.delete(&format!("/webhooks/{uuid}")).status, 204);
    wait_until("nothing waits any more", TASK_PATIENCE, || fleet.metric("miroir_webhook_waiting", "") == 0.0);
    assert!(!failing.told().contains(&fourth) && well.told().contains(&fourth));
    let log = fleet.proxy_log();
    assert!(log.contains(&uuid) && !log.contains(&failing.url), "no address is logged");
    assert!(!log.contains("of-the-receiver-alone"), "no header is logged");
}

/// Tasks can be deleted as soon as they have ended, told or not.
#[test]
fn a_task_that_was_not_told_yet_can_be_deleted() {
    let cluster = cluster();
    let (client, receiver) = (cluster.client(), Receiver::start());
    receiver.answer_with(500);
    make(client, &receiver.url);
    let task = client.post("/indexes/films/documents", json!([{ "id": 1 }])).task_uid();
    client.wait_task(task);
    let deletion = client.delete(&format!("/tasks?uids={task}")).expect_status(200);
    let deletion = client.wait_task(deletion["taskUid"].as_u64().expect("a uid"));
    assert_eq!(deletion["details"]["deletedTasks"], 1);
    client.get(&format!("/tasks/{task}")).expect_error(404, "task_not_found");
    receiver.answer_with(200);
    wait_until("it is told all the same", TASK_PATIENCE, || receiver.told().contains(&task));
}

#[test]
fn private_addresses_are_not_called_unless_the_configuration_allows_it() {
    let fleet = Fleet::start(&FleetOptions { groups: vec![1], replication_factor: 1, ..Default::default() });
    let (client, receiver) = (fleet.client(), Receiver::start());
    make(client, &receiver.url);
    client.succeed(client.post("/indexes/films/documents", json!([{ "id": 1 }])));
    wait_until("the call is refused", TASK_PATIENCE, || fleet.metric("miroir_webhook_calls_total", "failed") >= 1.0);
    assert!(receiver.calls().is_empty());
    assert!(fleet.proxy_log().contains("allow_private_networks"));
}

#[test]
fn a_receiver_over_https_is_told_if_its_authority_is_trusted_and_only_then() {
    let one = |settings: String| {
        Fleet::start(&FleetOptions { groups: vec![1], replication_factor: 1, settings, ..Default::default() })
    };
    let receiver = Receiver::start_with_tls();
    let trusting = one(format!("  webhooks: {{ allow_private_networks: true, ca_file: {} }}\n", Receiver::authority()));
    make(trusting.client(), &receiver.url);
    let told = trusting.client().succeed(trusting.client().post("/indexes/films/documents", json!([{ "id": 1 }])));
    wait_until("it is told", TASK_PATIENCE, || receiver.told().contains(&told["uid"].as_u64().expect("a uid")));

    let other = one(LOOPBACK.to_owned());
    make(other.client(), &receiver.url);
    let calls = receiver.calls().len();
    other.client().succeed(other.client().post("/indexes/films/documents", json!([{ "id": 1 }])));
    wait_until("the call is refused", TASK_PATIENCE, || other.metric("miroir_webhook_calls_total", "failed") >= 1.0);
    assert_eq!(receiver.calls().len(), calls, "nothing was said to whom nobody vouches for");
    assert!(other.proxy_log().contains("not secure"), "the log says why");
}
