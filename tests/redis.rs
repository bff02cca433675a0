//! Miroir with its store in Redis, in front of the nodes of a development cluster.

mod support;

use serde_json::{json, Value};
use support::on_redis::{Proxy, RedisServer, ADMIN_KEY};
use support::{wait_until, Cluster, ClusterOptions, START_PATIENCE};

fn replicated() -> Cluster {
    Cluster::start(ClusterOptions { nodes: 2, replication_factor: 2, ..Default::default() })
}

#[test]
fn tasks_in_redis_are_followed_to_their_end_after_miroir_and_redis_have_crashed() {
    const BATCHES: u64 = 6;
    const BATCH: u64 = 1000;
    let (cluster, mut redis, folder) = (replicated(), RedisServer::start(), tempfile::tempdir().unwrap());
    let mut proxy = Proxy::start(&cluster, &redis, folder.path());
    proxy.client.succeed(proxy.client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let text = "words to index ".repeat(20);
    let accepted: Vec<u64> = (0..BATCHES)
        .map(|batch| {
            let ids = batch * BATCH..(batch + 1) * BATCH;
            let documents: Vec<_> = ids.map(|id| json!({ "id": id, "text": format!("{text}{id}") })).collect();
            proxy.client.post("/indexes/i/documents", json!(documents)).task_uid()
        })
        .collect();
    assert_eq!(accepted, (1..=BATCHES).collect::<Vec<_>>());
    let unfinished = proxy.client.get("/tasks?statuses=enqueued,processing").expect_status(200);
    assert_ne!(unfinished["total"], 0, "all was done before the crash: the batches are too small for this test");
    proxy.kill();
    redis.kill();
    redis.start_again();

    proxy.start_again();

    for uid in accepted {
        let task = proxy.client.wait_task(uid);
        assert_eq!(task["status"], "succeeded", "{task}");
        assert_eq!(task["details"], json!({ "receivedDocuments": BATCH, "indexedDocuments": BATCH }));
    }
    assert_eq!(cluster.documents_held("i"), [BATCHES * BATCH; 2]);
    assert_eq!(proxy.client.get("/indexes/i").expect_status(200)["primaryKey"], "id");
    assert_eq!(proxy.client.delete("/indexes/i/documents/1").task_uid(), BATCHES + 1);
}

#[test]
fn given_redis_is_away_then_reads_go_on_and_writes_are_refused_until_it_is_back() {
    let (cluster, mut redis, folder) = (replicated(), RedisServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(&cluster, &redis, folder.path());
    proxy.client.succeed(proxy.client.post("/indexes/i/documents", json!([{ "id": 1 }])));
    redis.kill();

    let found = proxy.client.search("i", json!({}));
    assert_eq!(found["hits"], json!([{ "id": 1 }]), "{found}");
    let refused: Value =
        proxy.client.post("/indexes/i/documents", json!([{ "id": 2 }])).expect_error(503, "miroir_store_unavailable");
    let told = refused["message"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("cannot be reached") && told.contains("task_store.url"), "{told}");

    redis.start_again();
    proxy.client.succeed(proxy.client.post("/indexes/i/documents", json!([{ "id": 3 }])));
    let found = proxy.client.search("i", json!({ "sort": [] }));
    assert_eq!(found["estimatedTotalHits"], 2, "{found}");
    assert_eq!(cluster.documents_held("i"), [2, 2]);
}

#[test]
fn a_key_that_one_miroir_makes_and_deletes_counts_and_ends_at_the_other() {
    let (cluster, redis) = (replicated(), RedisServer::start());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = folders.each_ref().map(|folder| Proxy::start(&cluster, &redis, folder.path()));
    assert_eq!(
        here.client.get("/keys").expect_status(200),
        there.client.get("/keys").expect_status(200),
        "the default keys are made once"
    );
    let made = here.client.post("/keys", json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null }));
    let made = made.expect_status(201);
    let elsewhere = there.client.with_key(made["key"].as_str().unwrap());
    wait_until("the key counts at the other Miroir", START_PATIENCE, || elsewhere.get("/indexes").status == 200);
    assert_eq!(here.client.delete(&format!("/keys/{}", made["uid"].as_str().unwrap())).status, 204);
    wait_until("the key counts no more", START_PATIENCE, || elsewhere.get("/indexes").status == 403);
}

#[test]
fn who_logs_in_at_one_miroir_is_logged_in_at_the_other_and_logs_out_at_both() {
    let (cluster, redis) = (replicated(), RedisServer::start());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let here = Proxy::start(&cluster, &redis, folders[0].path());
    here.client.succeed(here.client.post("/indexes/i/documents", json!([{ "id": 1 }])));
    let there = Proxy::start(&cluster, &redis, folders[1].path());
    let login = here.client.post("/_miroir/admin/login", json!({ "key": ADMIN_KEY }));
    let cookie = login.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
    let token = login.body["csrf_token"].as_str().expect("a token").to_owned();
    let topology = |proxy: &Proxy| proxy.client.send("GET", "/_miroir/topology", &[("cookie", &cookie)], None);
    topology(&here).expect_status(200);
    topology(&there).expect_status(200);
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", token.as_str())];
    assert_eq!(there.client.send("POST", "/_miroir/admin/logout", &headers, None).status, 204);
    topology(&there).expect_error(401, "miroir_invalid_auth");
    topology(&here).expect_error(401, "miroir_invalid_auth");

    // A page's token needs no store: both have the secret.
    let session = here.client.get("/_miroir/ui/search/i/session").expect_status(200);
    let page = there.client.with_key(session["token"].as_str().unwrap());
    assert_eq!(page.search("i", json!({}))["hits"], json!([{ "id": 1 }]));
    page.get("/indexes/i").expect_error(403, "miroir_jwt_scope_denied");
}
