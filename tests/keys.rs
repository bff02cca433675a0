//! API keys: made, listed, changed and deleted as with Meilisearch, and held to their actions, indexes and expiry on every route.

mod support;

use serde_json::{json, Value};
use support::{Client, Cluster, ClusterOptions};

fn cluster() -> Cluster {
    Cluster::start(ClusterOptions { nodes: 2, ..Default::default() })
}

/// A key of the master's making, and a client that presents it.
fn key(cluster: &Cluster, actions: Value, indexes: Value) -> (Value, Client) {
    let body = json!({ "actions": actions, "indexes": indexes, "expiresAt": null });
    let key = cluster.client().post("/keys", body).expect_status(201);
    let client = cluster.client_with(key["key"].as_str());
    (key, client)
}

#[test]
fn a_key_is_made_read_changed_and_deleted() {
    let cluster = cluster();
    let master = cluster.client();
    let defaults = master.get("/keys").expect_status(200);
    assert_eq!((&defaults["total"], &defaults["limit"], &defaults["offset"]), (&json!(4), &json!(20), &json!(0)));
    assert_eq!(defaults["results"][0]["name"], "Default Search API Key");

    let uid = "74c9c733-3368-4738-bbe5-1d18a5fecb37";
    let body = json!({
        "uid": uid, "name": "shop", "actions": ["search"], "indexes": ["movies", "books_*"], "expiresAt": "2999-01-01"
    });
    let made = master.post("/keys", body.clone()).expect_status(201);
    let members: Vec<&String> = made.as_object().unwrap().keys().collect();
    let expected = ["name", "description", "key", "uid", "actions", "indexes", "expiresAt", "createdAt", "updatedAt"];
    assert_eq!(members, expected);
    assert_eq!((&made["uid"], &made["description"]), (&json!(uid), &Value::Null));
    assert_eq!(made["expiresAt"], "2999-01-01T00:00:00Z");
    let value = made["key"].as_str().unwrap();
    assert_eq!(value.len(), 64);
    master.post("/keys", body).expect_error(409, "api_key_already_exists");

    for name in [uid, value] {
        assert_eq!(master.get(&format!("/keys/{name}")).expect_status(200), made);
    }
    let path = format!("/keys/{uid}");
    let changed = master.patch(&path, json!({ "name": null, "description": "of the shop" })).expect_status(200);
    assert_eq!((&changed["name"], &changed["description"]), (&Value::Null, &json!("of the shop")));
    assert_eq!((&changed["key"], &changed["createdAt"]), (&made["key"], &made["createdAt"]));
    assert_ne!(changed["updatedAt"], made["updatedAt"]);
    master.patch(&path, json!({ "actions": ["*"] })).expect_error(400, "immutable_api_key_actions");

    assert_eq!(master.get("/keys?limit=1&offset=1").expect_status(200)["results"].as_array().unwrap().len(), 1);
    assert_eq!(master.get("/keys").expect_status(200)["results"][0]["uid"], uid);

    let deleted = master.delete(&path);
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    let refused = master.delete(&path).expect_error(404, "api_key_not_found");
    assert_eq!(refused["message"], format!("API key `{uid}` not found."));
    master.get(&format!("/keys/{value}")).expect_error(404, "api_key_not_found");
    cluster.client_with(Some(value)).get("/indexes").expect_error(403, "invalid_api_key");
}

#[test]
fn what_is_wrong_with_a_key_is_told_with_meilisearchs_codes() {
    let cluster = cluster();
    let master = cluster.client();
    let cases = [
        (json!({ "indexes": ["*"], "expiresAt": null }), "missing_api_key_actions"),
        (json!({ "actions": ["*"], "expiresAt": null }), "missing_api_key_indexes"),
        (json!({ "actions": ["*"], "indexes": ["*"] }), "missing_api_key_expires_at"),
        (json!({ "actions": ["doggo"] }), "invalid_api_key_actions"),
        (json!({ "indexes": ["a b"] }), "invalid_api_key_indexes"),
        (json!({ "expiresAt": "2010-01-01" }), "invalid_api_key_expires_at"),
        (json!({ "uid": "doggo" }), "invalid_api_key_uid"),
        (json!({ "name": 13 }), "invalid_api_key_name"),
        (json!({ "description": [] }), "invalid_api_key_description"),
        (json!({ "doggo": 1 }), "bad_request"),
        (json!([]), "bad_request"),
        (
            json!({ "actions": ["version"], "indexes": ["movies"], "expiresAt": null }),
            "index_scoped_api_key_with_global_action",
        ),
    ];
    for (body, code) in cases {
        master.post("/keys", body).expect_error(400, code);
    }
    master.get("/keys?limit=doggo").expect_error(400, "invalid_api_key_limit");
    master.get("/keys?offset=doggo").expect_error(400, "invalid_api_key_offset");
    master.post_as("/keys", "text/plain", "{}").expect_error(415, "invalid_content_type");
    master.post_as("/keys", "application/json", "").expect_error(400, "missing_payload");
    master.post_as("/keys", "application/json", "{").expect_error(400, "malformed_payload");
    cluster.client_with(None).get("/keys").expect_error(401, "missing_authorization_header");
}

#[test]
fn a_key_is_held_to_its_actions_and_indexes_on_every_route() {
    let cluster = cluster();
    let master = cluster.client();
    for index in ["movies", "books_fr", "songs"] {
        cluster.succeed(master.post(&format!("/indexes/{index}/documents"), json!([{ "id": 1, "title": "Dune" }])));
    }

    let (_, searcher) = key(&cluster, json!(["search"]), json!(["movies", "books_*"]));
    for index in ["movies", "books_fr"] {
        assert_eq!(searcher.search(index, json!({}))["hits"].as_array().unwrap().len(), 1);
        searcher.get(&format!("/indexes/{index}/search?q=dune")).expect_status(200);
        searcher.get(&format!("/indexes/{index}/documents")).expect_error(403, "invalid_api_key");
        searcher.get(&format!("/indexes/{index}/settings")).expect_error(403, "invalid_api_key");
        searcher.post(&format!("/indexes/{index}/documents"), json!([])).expect_error(403, "invalid_api_key");
    }
    let refused = searcher.post("/indexes/songs/search", json!({})).expect_error(403, "invalid_api_key");
    assert_eq!(
        refused["message"],
        r#"The API key cannot acces the index `songs`, authorized indexes are ["books_*", "movies"]."#
    );
    for path in ["/indexes", "/stats", "/tasks", "/batches", "/keys", "/version", "/no-such-route/x"] {
        let status = if path.starts_with("/no") { (404, "not_found") } else { (403, "invalid_api_key") };
        searcher.get(path).expect_error(status.0, status.1);
    }
    searcher.get("/health").expect_status(200);

    // Lists show what the key may see.
    let (_, reader) = key(&cluster, json!(["indexes.get", "stats.get", "tasks.get"]), json!(["movies"]));
    let listed = reader.get("/indexes").expect_status(200);
    assert_eq!((&listed["total"], &listed["results"][0]["uid"]), (&json!(1), &json!("movies")));
    let stats = reader.get("/stats").expect_status(200);
    assert_eq!(stats["indexes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["movies"]);
    for list in ["/tasks", "/tasks?limit=1", "/batches"] {
        let tasks = reader.get(list).expect_status(200);
        assert_eq!(tasks["results"].as_array().unwrap().len(), 1, "{list}: {tasks}");
        assert_eq!(tasks["next"], Value::Null, "{list}");
    }
    let all = master.get("/tasks").expect_status(200);
    for task in all["results"].as_array().unwrap() {
        for answer in [reader.get(&format!("/tasks/{}", task["uid"])), reader.get(&format!("/batches/{}", task["uid"]))]
        {
            assert_eq!(answer.status, if task["indexUid"] == "movies" { 200 } else { 404 }, "{}", answer.text);
        }
    }

    // Without the right to create an index, a write to one that does not exist fails.
    let (_, writer) = key(&cluster, json!(["documents.add"]), json!(["*"]));
    let task = writer.post("/indexes/new/documents", json!([{ "id": 1 }])).task_uid();
    assert_eq!(master.wait_task(task)["error"]["code"], "index_not_found");
    writer.post("/indexes", json!({ "uid": "new" })).expect_error(403, "invalid_api_key");
    let (_, maker) = key(&cluster, json!(["documents.*", "indexes.create"]), json!(["ne*"]));
    let task = maker.post("/indexes/new/documents", json!([{ "id": 1 }])).task_uid();
    assert_eq!(master.wait_task(task)["status"], "succeeded");
    maker.post("/indexes", json!({ "uid": "other" })).expect_error(403, "invalid_api_key");

    // A key deletes only tasks that it sees.
    let (_, cleaner) = key(&cluster, json!(["tasks.delete"]), json!(["movies"]));
    let task = cleaner.delete("/tasks?statuses=*");
    let details = master.wait_task(task.expect_status(200)["taskUid"].as_u64().unwrap())["details"].clone();
    assert_eq!((&details["matchedTasks"], &details["deletedTasks"]), (&json!(1), &json!(1)));
    assert!(master.get("/tasks?indexUids=songs").expect_status(200)["total"] == 1);
}

#[test]
fn neither_a_swap_nor_an_alias_leads_around_a_keys_indexes() {
    let cluster = cluster();
    let master = cluster.client();
    for index in ["movies", "songs"] {
        cluster.succeed(master.post(&format!("/indexes/{index}/documents"), json!([{ "id": 1 }])));
    }
    let (_, swapper) = key(&cluster, json!(["indexes.swap", "search"]), json!(["movies", "books"]));
    let swap = json!([{ "indexes": ["movies", "songs"] }]);
    let refused = swapper.post("/swap-indexes", swap.clone()).expect_error(403, "invalid_api_key");
    assert_eq!(refused["message"], "The provided API key is invalid.");
    let (_, both) = key(&cluster, json!(["indexes.swap"]), json!(["movies", "songs"]));
    let task = both.post("/swap-indexes", swap).task_uid();
    assert_eq!(master.wait_task(task)["status"], "succeeded");

    cluster.admin().put("/_miroir/aliases/shop", json!({ "target": "songs" })).expect_status(201);
    swapper.post("/indexes/shop/search", json!({})).expect_error(403, "invalid_api_key");
    cluster.admin().put("/_miroir/aliases/shop", json!({ "target": "movies" })).expect_status(200);
    assert_eq!(swapper.search("shop", json!({}))["hits"].as_array().unwrap().len(), 1);
}

/// A key's indexes are those that an alias stands for: its name opens nothing, and needs no right of its own.
#[test]
fn an_alias_needs_the_right_to_all_of_its_targets_and_to_nothing_else() {
    let cluster = cluster();
    let master = cluster.client();
    for index in ["movies_1", "movies_2", "movies_3", "songs"] {
        cluster.succeed(master.post(&format!("/indexes/{index}/documents"), json!([{ "id": 1, "of": index }])));
    }
    let admin = cluster.admin();
    admin.put("/_miroir/aliases/movies", json!({ "target": "movies_1" })).expect_status(201);
    support::make_alias_of_several(&admin, "both", &["movies_1", "movies_2"]);
    support::make_alias_of_several(&admin, "mixed", &["movies_3", "songs"]);
    let actions = json!(["search", "documents.*", "stats.get", "settings.*"]);
    let by_name = key(&cluster, actions.clone(), json!(["movies", "both", "mixed"])).1;
    let by_target = key(&cluster, actions, json!(["movies_*"])).1;

    let search = |alias: &str| json!({ "queries": [{ "indexUid": alias }] });
    for alias in ["movies", "both", "mixed"] {
        let refused = by_name.post(&format!("/indexes/{alias}/search"), json!({})).expect_error(403, "invalid_api_key");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(&format!("index `{alias}`")) && !message.contains("movies_"), "{message}");
        by_name.get(&format!("/indexes/{alias}/documents")).expect_error(403, "invalid_api_key");
        by_name.get(&format!("/indexes/{alias}/stats")).expect_error(403, "invalid_api_key");
        by_name.get(&format!("/indexes/{alias}/settings")).expect_error(403, "invalid_api_key");
        by_name.post(&format!("/indexes/{alias}/documents"), json!([{ "id": 2 }])).expect_error(403, "invalid_api_key");
        // Neither by itself nor as one list of several does a query lead around it.
        by_name.post("/multi-search", search(alias)).expect_error(403, "invalid_api_key");
        let federated = json!({ "federation": {}, "queries": [{ "indexUid": alias }] });
        by_name.post("/multi-search", federated).expect_error(403, "invalid_api_key");
    }
    let hits = |client: &Client, alias: &str| {
        let one = client.search(alias, json!({}))["hits"].as_array().unwrap().len();
        let several = client.post("/multi-search", search(alias)).expect_status(200);
        assert_eq!(several["results"][0]["hits"].as_array().unwrap().len(), one, "{several}");
        assert_eq!(several["results"][0]["indexUid"], alias);
        one
    };
    assert_eq!((hits(&by_target, "movies"), hits(&by_target, "both")), (1, 2));
    assert_eq!(by_target.get("/indexes/both/documents").expect_status(200)["total"], 2);
    // Of several, all must be the key's: what it may not see is not left out silently.
    by_target.post("/indexes/mixed/search", json!({})).expect_error(403, "invalid_api_key");
    by_target.get("/indexes/mixed/documents").expect_error(403, "invalid_api_key");
    by_target.get("/indexes/mixed/stats").expect_error(403, "invalid_api_key");
    by_target.post("/indexes/mixed/facet-search", json!({ "facetName": "of" })).expect_error(403, "invalid_api_key");
    by_target.post("/multi-search", search("mixed")).expect_error(403, "invalid_api_key");
    assert_eq!(hits(master, "mixed"), 2);
}

#[test]
fn an_expired_key_opens_nothing() {
    let cluster = cluster();
    let soon = time::OffsetDateTime::now_utc() + time::Duration::SECOND;
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let body = json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": soon });
    let made = cluster.client().post("/keys", body);
    // On a slow machine the second may be over before the key is made.
    if made.status == 201 {
        let client = cluster.client_with(made.body["key"].as_str());
        support::wait_until("the key expires", support::TASK_PATIENCE, || client.get("/indexes").status == 403);
        client.get("/indexes").expect_error(403, "invalid_api_key");
    }
}

#[test]
fn keys_outlive_the_proxy_and_need_no_node() {
    let mut fleet =
        support::Fleet::start(&support::FleetOptions { groups: vec![1], replication_factor: 1, ..Default::default() });
    let made = fleet
        .client()
        .post("/keys", json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null }))
        .expect_status(201);
    let before = fleet.client().get("/keys").expect_status(200);
    fleet.kill_node(0);
    fleet.kill_proxy();
    fleet.start_proxy();
    assert_eq!(fleet.client().get("/keys").expect_status(200), before);
    let value = made["key"].as_str().unwrap();
    Client::new(&fleet.url, Some(value)).get("/keys").expect_status(200);
    let log = fleet.proxy_log();
    fleet.client().get(&format!("/keys/{value}")).expect_status(200);
    assert!(!log.contains(value) && !fleet.proxy_log().contains(value));
}
