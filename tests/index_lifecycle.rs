//! Indexes that change their names and primary keys: every name, at every moment, stands for one index on all nodes.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{json, Value};
use support::{wait_until, Both, Client, Cluster, ClusterOptions, Fleet, FleetOptions, TASK_PATIENCE};

fn replicated() -> Cluster {
    Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() })
}

fn documents(from: u64, to: u64, kind: &str) -> Value {
    (from..to).map(|id| json!({ "id": id, "kind": kind, "text": format!("word{} of {kind}", id % 97) })).collect()
}

#[track_caller]
fn fill(client: &Client, index: &str, count: u64, kind: &str) {
    client.succeed(client.post(&format!("/indexes/{index}/documents"), documents(0, count, kind)));
}

/// Kind and number of the documents that `index` holds.
#[track_caller]
fn content(client: &Client, index: &str) -> (String, u64) {
    let found = client.search(index, json!({ "limit": 1 }));
    let kind = found["hits"][0]["kind"].as_str().unwrap_or_default().to_owned();
    (kind, found["estimatedTotalHits"].as_u64().expect("a total"))
}

fn swap(client: &Client, pairs: Value) -> support::Answer {
    client.post("/swap-indexes", pairs)
}

#[test]
fn a_swap_exchanges_documents_settings_and_keys_and_later_writes_follow_the_names() {
    let cluster = replicated();
    let client = cluster.client();
    fill(client, "a", 30, "first");
    fill(client, "b", 20, "second");
    client.succeed(
        client.patch("/indexes/a/settings", json!({ "sortableAttributes": ["id"], "distinctAttribute": "id" })),
    );
    let task = client.succeed(swap(client, json!([{ "indexes": ["a", "b"] }])));
    assert_eq!((&task["type"], &task["indexUid"]), (&json!("indexSwap"), &Value::Null));
    assert_eq!(task["details"], json!({ "swaps": [{ "indexes": ["a", "b"], "rename": false }] }));
    assert_eq!(content(client, "a"), ("second".to_owned(), 20));
    assert_eq!(content(client, "b"), ("first".to_owned(), 30));
    assert_eq!(client.get("/indexes/b/settings/sortable-attributes").expect_status(200), json!(["id"]));
    assert_eq!(client.get("/indexes/a/settings/distinct-attribute").expect_status(200), Value::Null);

    // Every route goes by the new names.
    client.succeed(client.post("/indexes/b/documents", json!([{ "id": 100, "kind": "first" }])));
    client.succeed(client.delete("/indexes/b/documents/0"));
    client.succeed(client.post("/indexes/b/documents/delete-batch", json!([1, 2])));
    assert_eq!(client.get("/indexes/b/documents/100").expect_status(200), json!({ "id": 100, "kind": "first" }));
    assert_eq!(client.get("/indexes/a/documents/100").status, 404);
    assert_eq!(client.get("/indexes/b/stats").expect_status(200)["numberOfDocuments"], 28);
    assert_eq!(client.get("/indexes/b/documents?limit=1").expect_status(200)["total"], 28);
    let stats = client.get("/stats").expect_status(200);
    assert_eq!(
        (&stats["indexes"]["a"]["numberOfDocuments"], &stats["indexes"]["b"]["numberOfDocuments"]),
        (&json!(20), &json!(28))
    );

    // Errors that nodes word name the index as the client does.
    let refused =
        client.post("/indexes/b/search", json!({ "filter": "nothing = 1" })).expect_error(400, "invalid_search_filter");
    assert!(!refused["message"].as_str().unwrap().contains("`a`"), "{refused}");
    let failed = client.fail(
        client.post("/indexes/b/documents/delete", json!({ "filter": "nothing = 1" })),
        "invalid_document_filter",
    );
    assert!(!failed["error"]["message"].as_str().unwrap().contains("`a`"), "{failed}");

    // What is deleted and made anew under a name has nothing to do with the other index.
    client.succeed(client.delete("/indexes/a"));
    client.get("/indexes/a").expect_error(404, "index_not_found");
    assert_eq!(content(client, "b").1, 28);
    fill(client, "a", 5, "third");
    assert_eq!((content(client, "a"), content(client, "b").1), (("third".to_owned(), 5), 28));
    let listed = client.get("/indexes").expect_status(200);
    let uids: Vec<&Value> = listed["results"].as_array().unwrap().iter().map(|index| &index["uid"]).collect();
    assert_eq!(uids, ["a", "b"]);
}

#[test]
fn an_index_that_is_swapped_into_place_unawaited_is_full_when_it_is_seen() {
    let cluster = replicated();
    let client = cluster.client();
    fill(client, "live", 10, "old");
    for round in 0..4 {
        let batch = documents(round * 3_000, (round + 1) * 3_000, "new");
        assert_eq!(client.post("/indexes/next/documents", batch).status, 202);
    }
    let swapped = swap(client, json!([{ "indexes": ["live", "next"] }])).task_uid();
    // After the swap in order, before it in time.
    let after = client.post("/indexes/live/documents", json!([{ "id": 99_999, "kind": "new" }])).task_uid();
    wait_until("the swap is over", TASK_PATIENCE, || {
        let is_over = client.get(&format!("/tasks/{swapped}")).expect_status(200)["status"] == "succeeded";
        let seen = content(client, "live");
        assert!(seen == ("old".to_owned(), 10) || seen.1 >= 12_000, "a half filled index was seen: {seen:?}");
        is_over
    });
    client.wait_task(after);
    assert_eq!(content(client, "live"), ("new".to_owned(), 12_001));
    assert_eq!(content(client, "next"), ("old".to_owned(), 10));
}

#[test]
fn searches_under_way_while_indexes_are_swapped_see_one_or_the_other() {
    let cluster = replicated();
    let client = cluster.client();
    fill(client, "a", 60, "first");
    fill(client, "b", 40, "second");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searching: Vec<_> = (0..3)
            .map(|_| {
                let (client, is_over) = (client.clone(), &is_over);
                scope.spawn(move || {
                    let mut seen = std::collections::BTreeSet::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let found = client.search("a", json!({ "q": "word", "limit": 100 }));
                        let kinds: std::collections::BTreeSet<String> =
                            found["hits"].as_array().unwrap().iter().map(|hit| hit["kind"].to_string()).collect();
                        assert_eq!(kinds.len(), 1, "a search mixes two indexes");
                        let count = found["hits"].as_array().unwrap().len();
                        assert_eq!(count, if kinds.contains("\"first\"") { 60 } else { 40 });
                        seen.extend(kinds);
                    }
                    seen.len()
                })
            })
            .collect();
        for _ in 0..30 {
            client.succeed(swap(client, json!([{ "indexes": ["a", "b"] }])));
        }
        is_over.store(true, Ordering::Relaxed);
        for thread in searching {
            assert_eq!(thread.join().expect("no search fails"), 2, "both indexes were seen");
        }
    });
}

#[test]
fn swaps_and_renamings_that_cannot_be_fail_as_meilisearchs_do() {
    let cluster = Cluster::start(ClusterOptions::default());
    let client = cluster.client();
    for index in ["a", "b", "c"] {
        client.succeed(client.post("/indexes", json!({ "uid": index })));
    }
    swap(client, json!([{ "indexes": ["a"] }])).expect_error(400, "invalid_swap_indexes");
    swap(client, json!([{ "rename": true }])).expect_error(400, "missing_swap_indexes");
    swap(client, json!([{ "indexes": ["a", "b"] }, { "indexes": ["a", "c"] }]))
        .expect_error(400, "invalid_swap_duplicate_index_found");
    let missing =
        client.fail(swap(client, json!([{ "indexes": ["a", "x"] }, { "indexes": ["b", "y"] }])), "index_not_found");
    assert_eq!(missing["error"]["message"], "Indexes `x`, `y` not found.");
    client.fail(swap(client, json!([{ "indexes": ["a", "b"], "rename": true }])), "index_already_exists");
    client.succeed(swap(client, json!([])));

    client.patch("/indexes/a", json!({ "uid": "not a uid" })).expect_error(400, "invalid_index_uid");
    client.patch("/indexes/a", json!({ "primaryKey": 7 })).expect_error(400, "invalid_index_primary_key");
    client.patch("/indexes/a", json!({ "createdAt": "now" })).expect_error(400, "immutable_index_created_at");
    client.fail(client.patch("/indexes/none", json!({ "primaryKey": "id" })), "index_not_found");
    client.fail(client.patch("/indexes/a", json!({ "uid": "b" })), "index_already_exists");
}

#[test]
fn an_index_is_renamed_and_its_old_name_is_free() {
    let mut fleet = Fleet::start(&FleetOptions::default());
    let client = fleet.client().clone();
    fill(&client, "a", 30, "first");
    let task = client.succeed(client.patch("/indexes/a", json!({ "uid": "b" })));
    assert_eq!(task["type"], "indexUpdate");
    assert_eq!(task["details"], json!({ "primaryKey": null, "oldIndexUid": "a", "newIndexUid": "b" }));
    client.get("/indexes/a").expect_error(404, "index_not_found");
    assert_eq!(content(&client, "b"), ("first".to_owned(), 30));
    // The old name is another index's from now on.
    fill(&client, "a", 7, "second");
    client.succeed(swap(&client, json!([{ "indexes": ["b", "c"], "rename": true }])));
    assert_eq!((content(&client, "a").1, content(&client, "c").1), (7, 30));

    // While a node is away, and over the proxy's death.
    fleet.kill_node(1);
    fleet.await_failure(1);
    client.succeed(swap(&client, json!([{ "indexes": ["a", "c"] }])));
    client.succeed(client.post("/indexes/a/documents", json!([{ "id": 500, "kind": "first" }])));
    fleet.kill_proxy();
    fleet.start_proxy();
    fleet.start_node(1);
    fleet.await_recovery();
    assert_eq!((content(&client, "a").1, content(&client, "c")), (31, ("second".to_owned(), 7)));
    let copies: usize = (0..3).map(|n| fleet.documents_of(n, "a").len()).sum();
    assert_eq!(
        copies, 62,
        "what nodes call `a` is what clients call so now by chance, with all copies of 31 documents"
    );
}

#[test]
fn a_primary_key_is_changed_on_all_nodes_while_there_are_no_documents() {
    let cluster = replicated();
    let client = cluster.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let task = client.succeed(client.patch("/indexes/i", json!({ "primaryKey": "sku" })));
    assert_eq!(task["details"], json!({ "primaryKey": "sku" }));
    assert_eq!(client.get("/indexes/i").expect_status(200)["primaryKey"], "sku");
    for n in 0..3 {
        assert_eq!(cluster.node_client(n).get("/indexes/i").expect_status(200)["primaryKey"], "sku");
    }
    // A single document is on two nodes only: the third could not refuse.
    assert_eq!(client.post("/indexes/i/documents", json!([{ "sku": "x" }])).status, 202);
    let failed =
        client.fail(client.patch("/indexes/i", json!({ "primaryKey": "id" })), "index_primary_key_already_exists");
    assert_eq!(failed["error"]["message"], "Index `i`: Index already has a primary key: `sku`.");
    client.succeed(client.delete("/indexes/i/documents"));
    client.succeed(client.patch("/indexes/i", json!({ "primaryKey": "id", "uid": "j" })));
    assert_eq!(client.get("/indexes/j").expect_status(200)["primaryKey"], "id");
    client.get("/indexes/i").expect_error(404, "index_not_found");
}

/// Nodes know the fields of their own documents; a client sees those of all, as one server shows them.
#[test]
fn the_fields_of_an_index_are_listed_as_by_one_server() {
    let settings = json!({
        "displayedAttributes": ["id", "title", "tags", "info"], "searchableAttributes": ["title", "info"],
        "filterableAttributes": ["tags", { "attributePatterns": ["info*"], "features": { "facetSearch": true, "filter": { "comparison": false } } }],
        "sortableAttributes": ["id", "year"], "distinctAttribute": "tags",
        "rankingRules": ["words", "year:desc", "id:asc"],
        "faceting": { "sortFacetValuesBy": { "tags": "count" } },
        "localizedAttributes": [{ "attributePatterns": ["title"], "locales": ["fra"] }]
    });
    let documents = (0..40).map(|id| {
        let mut document = json!({ "id": id, "title": "t", "year": id });
        // Some fields are on few nodes only.
        document[format!("only_{id}")] = json!(1);
        if id == 7 {
            document["info"] = json!({ "deep": { "er": "x" }, "list": [{ "a": 1 }] });
            document["_geo"] = json!({ "lat": 1, "lng": 2 });
        }
        document
    });
    let both = Both::with(settings, documents.collect());
    let asked = [
        json!({}),
        json!({ "limit": 100 }),
        json!({ "offset": 5, "limit": 3 }),
        json!({ "offset": 90 }),
        json!({ "limit": 0 }),
        json!({ "filter": null }),
        json!({ "filter": { "attributePatterns": ["only_1*", "*er", "info"] } }),
        json!({ "limit": 100, "filter": { "displayed": true } }),
        json!({ "limit": 100, "filter": { "searchable": true, "displayed": true } }),
        json!({ "filter": { "sortable": true } }),
        json!({ "filter": { "distinct": true } }),
        json!({ "filter": { "rankingRule": true } }),
        json!({ "filter": { "filterable": true } }),
        json!({ "filter": { "attributePatterns": ["_miroir*"] } }),
    ];
    for body in asked {
        let [got, expected] = both.post("/indexes/i/fields", &body).map(|answer| answer.expect_status(200));
        assert_eq!(got, expected, "{body}");
    }
    assert_eq!(
        both.cluster.post("/indexes/i/fields", json!({})).expect_status(200)["results"].as_array().unwrap().len(),
        20
    );
    for body in [
        json!([]),
        json!({ "limit": "x" }),
        json!({ "offset": -1 }),
        json!({ "limit": null }),
        json!({ "nonsense": 1 }),
        json!({ "filter": 1 }),
        json!({ "filter": { "nonsense": 1 } }),
        json!({ "filter": { "displayed": 1 } }),
        json!({ "filter": { "searchable": [] } }),
        json!({ "filter": { "sortable": "x" } }),
        json!({ "filter": { "distinct": 1 } }),
        json!({ "filter": { "rankingRule": 1 } }),
        json!({ "filter": { "filterable": 1 } }),
        json!({ "filter": { "attributePatterns": "x" } }),
    ] {
        both.refuse_alike("/indexes/i/fields", &body);
    }
    both.refuse_alike("/indexes/none/fields", &json!({}));
    let key = json!({ "actions": ["fields.post"], "indexes": ["i"], "expiresAt": null });
    let key = both.cluster.post("/keys", key).expect_status(201);
    let client = both.cluster.client_with(key["key"].as_str());
    client.post("/indexes/i/fields", json!({})).expect_status(200);
    client.post("/indexes/other/fields", json!({})).expect_error(403, "invalid_api_key");
}

/// By a request of its own or by its first documents: on every node of every group, also on one that was away; and what was settled
/// at its creation stays.
#[test]
fn an_index_is_made_on_every_node_of_every_group_and_keeps_what_was_settled_then() {
    let mut fleet =
        Fleet::start(&FleetOptions { groups: vec![2, 2], replication_factor: 1, ..FleetOptions::default() });
    let client = fleet.client().clone();
    fleet.kill_node(3);
    client.succeed(client.post("/indexes", json!({ "uid": "made", "primaryKey": "key" })));
    client.succeed(client.post("/indexes/filled/documents", documents(0, 40, "film")));
    fleet.start_node(3);
    fleet.await_recovery();
    for n in 0..4 {
        let node = fleet.node_client(n);
        assert_eq!(node.get("/indexes/made").expect_status(200)["primaryKey"], "key", "node {n}");
        for index in ["made", "filled"] {
            let path = format!("/indexes/{index}/settings/filterable-attributes");
            wait_until("the shard is filterable", TASK_PATIENCE, || {
                node.get(&path).body.to_string().contains("_miroir_shard")
            });
        }
    }
    let created = client.get("/indexes/filled").expect_status(200);
    assert_eq!(created["primaryKey"], "id");
    // Another number of shards from now on, but not for this index.
    fleet.kill_proxy();
    fleet.edit_configuration(|text| text + "  shards: 7\n");
    fleet.start_proxy();
    fleet.await_recovery();
    let again = client.get("/indexes/filled").expect_status(200);
    assert_eq!((&again["createdAt"], &again["primaryKey"]), (&created["createdAt"], &created["primaryKey"]));
    for id in 0..40 {
        assert_eq!(client.get(&format!("/indexes/filled/documents/{id}")).expect_status(200)["id"], id);
    }
}

/// Counted by shards, never by dividing what nodes hold: replicas, groups and documents of a node's other shards do not show.
#[test]
fn statistics_count_each_document_once_whatever_the_copies() {
    let fleet = Fleet::start(&FleetOptions { groups: vec![3, 3], replication_factor: 2, ..FleetOptions::default() });
    let client = fleet.client();
    fill(client, "i", 101, "film");
    fill(client, "j", 7, "book");
    client.succeed(client.post("/indexes", json!({ "uid": "empty" })));
    let stats = client.get("/indexes/i/stats").expect_status(200);
    assert_eq!((&stats["numberOfDocuments"], &stats["isIndexing"]), (&json!(101), &json!(false)));
    assert_eq!(stats["fieldDistribution"], json!({ "id": 101, "kind": 101, "text": 101 }));
    let all = client.get("/stats").expect_status(200);
    let counts = |uid: &str| all["indexes"][uid]["numberOfDocuments"].as_u64();
    assert_eq!((counts("i"), counts("j"), counts("empty")), (Some(101), Some(7), Some(0)));
    assert_eq!(all["indexes"]["i"], stats);
    assert!(all["databaseSize"].as_u64().unwrap() > 0 && all["lastUpdate"].is_string());
    client.succeed(client.delete("/indexes/i/documents/100"));
    assert_eq!(client.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 100);
    let listed = client.get("/indexes?limit=2").expect_status(200);
    let uids: Vec<&str> = listed["results"].as_array().unwrap().iter().map(|i| i["uid"].as_str().unwrap()).collect();
    assert_eq!((uids, &listed["total"]), (vec!["empty", "i"], &json!(3)));
    client.succeed(client.delete("/indexes/j"));
    client.get("/indexes/j").expect_error(404, "index_not_found");
    for n in 0..6 {
        fleet.node_client(n).get("/indexes/j").expect_error(404, "index_not_found");
    }
}

/// Such as the shadow of an index that is being resharded.
#[test]
fn an_index_that_nodes_have_beside_those_of_clients_is_seen_by_nobody() {
    const HIDDEN: &str = "books__reshard_8";
    let fleet = Fleet::start(&FleetOptions { replication_factor: 2, ..FleetOptions::default() });
    let client = fleet.client();
    fill(client, "books", 20, "seen");
    for n in 0..fleet.node_count() {
        let node = fleet.node_client(n);
        node.succeed(node.patch(&format!("/indexes/{HIDDEN}/settings"), json!({ "filterableAttributes": ["kind"] })));
        fill(&node, HIDDEN, 30, "hidden");
    }

    for list in ["/indexes", "/stats", "/tasks", "/batches", "/tasks?indexUids=books*", "/_miroir/topology"] {
        let listed = client.get(list);
        assert!(!listed.text.contains(HIDDEN), "{list}: {}", listed.text);
    }
    assert_eq!(client.get("/indexes").expect_status(200)["total"], 1);
    assert_eq!(client.get(&format!("/tasks?indexUids={HIDDEN}")).expect_status(200)["total"], 0);
    assert_eq!(content(client, "books"), ("seen".to_owned(), 20));

    for path in [
        "",
        "/stats",
        "/settings",
        "/settings/synonyms",
        "/documents",
        "/documents/1",
        "/search?q=hidden",
        "/similar?id=1&embedder=e",
    ] {
        client.get(&format!("/indexes/{HIDDEN}{path}")).expect_error(404, "index_not_found");
    }
    for (path, body) in [
        ("/search", json!({ "q": "hidden" })),
        ("/facet-search", json!({ "facetName": "kind" })),
        ("/documents/fetch", json!({})),
        ("/similar", json!({ "id": 1, "embedder": "e" })),
        ("/explain", json!({ "q": "hidden" })),
    ] {
        client.post(&format!("/indexes/{HIDDEN}{path}"), body).expect_error(404, "index_not_found");
    }
    let queries = json!([{ "indexUid": "books" }, { "indexUid": HIDDEN }]);
    for searches in [json!({ "queries": queries }), json!({ "queries": queries, "federation": {} })] {
        let error = client.post("/multi-search", searches);
        assert_eq!(error.code(), Some("index_not_found"), "{}", error.text);
    }
    client.fail(client.delete(&format!("/indexes/{HIDDEN}")), "index_not_found");
    client.fail(client.delete(&format!("/indexes/{HIDDEN}/documents/1")), "index_not_found");
    client.fail(client.patch(&format!("/indexes/{HIDDEN}"), json!({ "primaryKey": "kind" })), "index_not_found");
    client.fail(swap(client, json!([{ "indexes": ["books", HIDDEN] }])), "index_not_found");
    let alias = fleet.admin().put("/_miroir/aliases/live", json!({ "target": HIDDEN }));
    assert_eq!(alias.code(), Some("index_not_found"), "{}", alias.text);
    for n in 0..fleet.node_count() {
        assert_eq!(content(&fleet.node_client(n), HIDDEN), ("hidden".to_owned(), 30));
    }
}
