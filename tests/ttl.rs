//! Documents that expire are deleted everywhere, those that were renewed are not, and clients see their own settings.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{json, Value};
use support::{make_alias_of_several, programs, wait_until, Client, Fleet, FleetOptions, TASK_PATIENCE};

const ON: &str = "  ttl: { enabled: true, sweep_interval_s: 1 }\n";
const OFF: &str = "  ttl: { enabled: false, sweep_interval_s: 1 }\n";
const EXPIRES: &str = "_miroir_expires_at";
/// A year from now, or so.
const FAR: u64 = 4_000_000_000_000;

fn fleet(settings: &str) -> Fleet {
    Fleet::start(&FleetOptions { settings: settings.to_owned(), ..FleetOptions::default() })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as u64
}

fn total(client: &Client, index: &str) -> u64 {
    let page = client.get(&format!("/indexes/{index}/documents?limit=0")).expect_status(200);
    page["total"].as_u64().expect("a total")
}

fn sweeps(fleet: &Fleet, outcome: &str) -> f64 {
    fleet.metric("miroir_ttl_sweeps_total", outcome)
}

/// Waits until as many sweeps as there may be at once, and one more, have begun after now and ended.
fn await_sweeps(fleet: &Fleet) {
    let before = sweeps(fleet, "");
    wait_until("sweeps are made", TASK_PATIENCE, || sweeps(fleet, "") >= before + 3.0);
}

/// The ids of `index` that node `n` holds.
fn held(fleet: &Fleet, n: usize, index: &str) -> Vec<String> {
    fleet.documents_of(n, index).into_keys().collect()
}

fn filterable_on(fleet: &Fleet, n: usize, index: &str) -> Value {
    fleet.node_client(n).get(&format!("/indexes/{index}/settings/filterable-attributes")).expect_status(200)
}

fn has_expiry_rule(attributes: &Value) -> bool {
    attributes.as_array().expect("attributes").iter().any(|rule| rule["attributePatterns"] == json!([EXPIRES]))
}

#[test]
fn expired_documents_are_deleted_from_every_replica_by_tasks_that_say_why() {
    let fleet = fleet(ON);
    let client = fleet.client();
    let soon = now_ms() + 3_000;
    let documents: Value = (0..60)
        .map(|id| match id % 4 {
            0 => json!({ "id": id, "name": "gone", EXPIRES: soon }),
            1 => json!({ "id": id, "name": "stays", EXPIRES: FAR }),
            2 => json!({ "id": id, "name": "stays", EXPIRES: null }),
            _ => json!({ "id": id, "name": "stays" }),
        })
        .collect();
    client.succeed(client.post("/indexes/i/documents", documents));
    wait_until("expired documents are gone", TASK_PATIENCE, || total(client, "i") == 45);
    assert!(now_ms() > soon, "not before their time");
    wait_until("they are gone from all replicas", TASK_PATIENCE, || {
        (0..3).map(|n| held(&fleet, n, "i").len()).sum::<usize>() == 90
    });
    let search = client.post("/indexes/i/search", json!({ "q": "gone" })).expect_status(200);
    assert_eq!(search["hits"], json!([]));
    // The field is the client's own: it reads what it wrote.
    let document = client.get("/indexes/i/documents/1").expect_status(200);
    assert_eq!(document, json!({ "id": 1, "name": "stays", EXPIRES: FAR }));
    fleet.await_tasks();
    let sweep = client.get("/tasks?types=documentDeletion&limit=1").expect_status(200)["results"][0].clone();
    assert_eq!((&sweep["customMetadata"], &sweep["status"]), (&json!("miroir:ttl"), &json!("succeeded")));
    assert_eq!(sweep["indexUid"], "i");
    let tasks = client.get("/tasks?types=documentDeletion").expect_status(200);
    let deleted = |task: &Value| task["details"]["deletedDocuments"].as_u64().expect("a count");
    assert_eq!(tasks["results"].as_array().expect("tasks").iter().map(deleted).sum::<u64>(), 15, "{tasks}");
    assert_eq!(fleet.metric("miroir_ttl_deleted_documents_total", ""), 15.0);
}

#[test]
fn what_miroir_adds_to_settings_is_seen_by_no_client_and_survives_what_clients_set() {
    let fleet = fleet(ON);
    let client = fleet.client();
    let own = |client: &Client| client.get("/indexes/i/settings/filterable-attributes").expect_status(200);
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    assert_eq!(own(client), json!([]));
    for set in [json!(["a"]), json!([EXPIRES, "a"]), json!([{ "attributePatterns": ["*"] }, "a"]), json!([])] {
        client.succeed(client.put("/indexes/i/settings/filterable-attributes", set.clone()));
        let shown = own(client);
        assert_eq!(shown.as_array().map(Vec::len), set.as_array().map(Vec::len), "{shown}");
        assert!(!has_expiry_rule(&shown) && !shown.to_string().contains("_miroir_shard"), "{shown}");
        assert!(has_expiry_rule(&filterable_on(&fleet, 0, "i")));
        // A facet of the client's is one that it has made so.
        client.succeed(client.post("/indexes/i/documents", json!([{ "id": 7, "a": "x", EXPIRES: FAR }])));
        for (filter, legs) in
            [(json!(null), "of all nodes"), (json!("id = 7 OR a = x"), "of all"), (json!("id = 7"), "of one")]
        {
            let search = client.post("/indexes/i/search", json!({ "facets": ["*"], "filter": filter }));
            if search.status == 400 {
                continue;
            }
            let answer = search.expect_status(200);
            let covers = set.to_string().contains(EXPIRES) || set.to_string().contains('*');
            for member in ["facetDistribution", "facetStats"] {
                assert_eq!(answer[member].get(EXPIRES).is_some(), covers, "{legs}, {set}: {answer}");
            }
        }
    }
    client.succeed(client.delete("/indexes/i/settings"));
    assert_eq!(own(client), json!([]));
    for n in 0..3 {
        assert!(has_expiry_rule(&filterable_on(&fleet, n, "i")), "resetting keeps it");
    }
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 1, EXPIRES: 5 }, { "id": 2 }])));
    wait_until("documents expire all the same", TASK_PATIENCE, || total(client, "i") == 2);
}

#[test]
fn a_time_that_is_none_is_refused_before_any_node_is_asked() {
    let fleet = fleet(ON);
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let before = client.get("/tasks").expect_status(200)["total"].clone();
    for value in [json!("2030-01-01"), json!(1.5), json!(true), json!([1]), json!({})] {
        let documents = json!([{ "id": 1 }, { "id": 2, EXPIRES: value }]);
        let refused = client.post("/indexes/i/documents", documents.clone());
        assert!(refused.text.contains("in milliseconds since 1970"), "{}", refused.text);
        refused.expect_error(400, "miroir_invalid_expiry");
        client.put("/indexes/i/documents", documents).expect_error(400, "miroir_invalid_expiry");
    }
    assert_eq!(client.get("/tasks").expect_status(200)["total"], before);
    for n in 0..3 {
        assert_eq!(held(&fleet, n, "i"), Vec::<String>::new());
    }
}

#[test]
fn where_ttl_is_off_the_field_is_like_any_other() {
    let fleet = fleet(OFF);
    let client = fleet.client();
    let documents = json!([{ "id": 1, EXPIRES: "once" }, { "id": 2, EXPIRES: 5 }]);
    client.succeed(client.post("/indexes/i/documents", documents.clone()));
    assert_eq!(client.get("/indexes/i/documents?sort=id:asc").status, 400, "nothing is sortable");
    let shown = client.get("/indexes/i/documents").expect_status(200)["results"].clone();
    let mut shown = shown.as_array().expect("documents").clone();
    shown.sort_by_key(|document| document["id"].as_u64());
    assert_eq!(Value::Array(shown), documents);
    let filter = json!({ "filter": format!("{EXPIRES} <= 7") });
    client.post("/indexes/i/search", filter).expect_error(400, "invalid_search_filter");
    for n in 0..3 {
        assert_eq!(filterable_on(&fleet, n, "i"), json!(["_miroir_shard"]));
    }
    let policy = fleet.metric("miroir_ttl_sweeps_total", "");
    assert_eq!(policy, 0.0);
}

#[test]
fn an_index_from_before_is_made_ready_when_ttl_is_switched_on_and_forgets_it_when_it_is_off_again() {
    made_ready_and_forgotten("");
}

#[test]
fn an_index_from_before_is_made_ready_on_one_node_after_another_where_settings_are_changed_so() {
    made_ready_and_forgotten("  settings_broadcast: { strategy: sequential }\n");
}

fn made_ready_and_forgotten(settings: &str) {
    let mut fleet = fleet(&format!("{OFF}{settings}"));
    let client = fleet.client().clone();
    client.succeed(client.put("/indexes/i/settings/filterable-attributes", json!(["a"])));
    let documents = json!([{ "id": 1, "a": 1, EXPIRES: 5 }, { "id": 2, "a": 1, EXPIRES: "5" }, { "id": 3, "a": 1 }]);
    client.succeed(client.post("/indexes/i/documents", documents));
    let switch = |fleet: &mut Fleet, from: &'static str, to: &str| {
        fleet.kill_proxy();
        fleet.edit_configuration(|text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
        fleet.start_proxy();
        fleet.await_recovery();
    };
    switch(&mut fleet, OFF, ON);
    wait_until("what has expired is deleted", TASK_PATIENCE, || total(&client, "i") == 2);
    await_sweeps(&fleet);
    // A text from before ends nothing.
    assert_eq!(client.get("/indexes/i/documents/2").expect_status(200)[EXPIRES], "5");
    let attributes = || client.get("/indexes/i/settings/filterable-attributes").expect_status(200);
    assert_eq!(attributes(), json!(["a"]));
    for n in 0..3 {
        assert!(has_expiry_rule(&filterable_on(&fleet, n, "i")));
    }
    switch(&mut fleet, ON, OFF);
    assert_eq!(attributes(), json!(["a"]));
    wait_until("the nodes forget it", TASK_PATIENCE, || {
        (0..3).all(|n| !has_expiry_rule(&filterable_on(&fleet, n, "i")))
    });
    assert_eq!(attributes(), json!(["a"]));
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 4, EXPIRES: 5 }])));
    assert_eq!(total(&client, "i"), 3);
}

#[test]
fn a_document_whose_end_was_moved_is_never_deleted_by_a_sweep_that_saw_the_earlier_one() {
    let fleet = fleet(ON);
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    // While nodes have much to index, what they tell is old.
    let text = |id: u64| (0..40).map(|n| format!("w{} ", id * 31 + n * 7919 % 5_003)).collect::<String>();
    let ballast = |round: u64| -> Value {
        (0..500).map(|n| 100_000 + round * 500 + n).map(|id| json!({ "id": id, "text": text(id) })).collect()
    };
    let (rounds, per_round) = (8, 20);
    for round in 0..rounds {
        let ids = round * per_round..(round + 1) * per_round;
        let with = |ends: u64| ids.clone().map(|id| json!({ "id": id, EXPIRES: ends })).collect::<Value>();
        client.post("/indexes/i/documents", with(1)).expect_status(202);
        client.post("/indexes/i/documents", ballast(round)).expect_status(202);
        client.put("/indexes/i/documents", with(FAR)).expect_status(202);
    }
    fleet.await_tasks();
    await_sweeps(&fleet);
    fleet.await_tasks();
    let page = json!({ "filter": format!("{EXPIRES} = {FAR}"), "limit": 0 });
    let left = client.post("/indexes/i/documents/fetch", page).expect_status(200)["total"].clone();
    assert_eq!(left, rounds * per_round);
}

#[test]
fn a_node_that_is_away_while_documents_expire_deletes_them_when_it_is_back() {
    let mut fleet = fleet(ON);
    let client = fleet.client().clone();
    let documents = |ends: u64| (0..30).map(|id| json!({ "id": id, EXPIRES: ends })).collect::<Value>();
    client.succeed(client.post("/indexes/i/documents", documents(now_ms() + 2_000)));
    fleet.kill_node(1);
    wait_until("they are gone while the node is away", TASK_PATIENCE, || total(&client, "i") == 0);
    fleet.start_node(1);
    fleet.await_recovery();
    for n in 0..3 {
        wait_until("they are gone on every node", TASK_PATIENCE, || held(&fleet, n, "i").is_empty());
    }
}

fn policy(fleet: &Fleet, index: &str, body: Value) -> Value {
    fleet.admin().post(&format!("/_miroir/indexes/{index}/ttl-policy"), body).expect_status(200)
}

#[test]
fn a_policy_of_an_index_goes_before_the_configuration_and_stays_with_its_documents() {
    let mut fleet = fleet(&format!("{ON}  ilm: {{ enabled: true }}\n"));
    let client = fleet.client().clone();
    let path = "/_miroir/indexes/a/ttl-policy";
    fleet.admin().get(path).expect_error(404, "index_not_found");
    client.get(path).expect_error(401, "miroir_invalid_auth");
    client.succeed(client.post("/indexes", json!({ "uid": "a", "primaryKey": "id" })));
    client.succeed(client.post("/indexes", json!({ "uid": "b", "primaryKey": "id" })));
    let shown = fleet.admin().get(path).expect_status(200);
    let by_default = json!({ "indexUid": "a", "enabled": true, "sweep_interval_s": 1, "max_deletes_per_sweep": 10_000,
                             "filter_expired": false, "policy": {} });
    assert_eq!(shown, by_default);
    fleet.admin().post(path, json!({ "sweep_interval_s": 0 })).expect_error(400, "miroir_invalid_ttl_policy");
    fleet.admin().post(path, json!({ "other": 1 })).expect_error(400, "miroir_invalid_ttl_policy");
    assert_eq!(fleet.admin().get(path).expect_status(200), by_default, "what is refused changes nothing");

    let set = policy(&fleet, "a", json!({ "enabled": false }));
    assert_eq!((&set["enabled"], &set["policy"]), (&json!(false), &json!({ "enabled": false })));
    let expired: Value = (0..20).map(|id| json!({ "id": id, EXPIRES: 5 })).collect();
    client.succeed(client.post("/indexes/a/documents", expired.clone()));
    client.succeed(client.post("/indexes/b/documents", expired));
    wait_until("the other index is swept", TASK_PATIENCE, || total(&client, "b") == 0);
    await_sweeps(&fleet);
    assert_eq!(total(&client, "a"), 20);
    // It goes with the documents, whatever they are called, and survives the process.
    client.succeed(client.post("/swap-indexes", json!([{ "indexes": ["a", "b"] }])));
    client.succeed(client.patch("/indexes/b", json!({ "uid": "c" })));
    fleet.kill_proxy();
    fleet.start_proxy();
    fleet.await_recovery();
    let of = |index: &str| fleet.admin().get(&format!("/_miroir/indexes/{index}/ttl-policy")).expect_status(200);
    assert_eq!((&of("c")["enabled"], &of("a")["enabled"]), (&json!(false), &json!(true)));
    await_sweeps(&fleet);
    assert_eq!(total(&client, "c"), 20);

    let ctl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(programs().join("miroir-ctl"));
        command.args(["--url", &fleet.url]).env("MIROIR_ADMIN_API_KEY", Fleet::secrets()[1]).args(arguments);
        let output = command.output().expect("miroir-ctl starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(ctl(&["ttl", "set", "c", "--enabled", "false", "--sweep-interval-s", "9"])["sweep_interval_s"], 9);
    assert_eq!(ctl(&["ttl", "get", "c"]), of("c"));

    // A few at a time, by an alias' name.
    fleet.admin().put("/_miroir/aliases/one", json!({ "target": "c" })).expect_status(201);
    make_alias_of_several(&fleet.admin(), "all", &["a", "c"]);
    let refused = fleet.admin().post("/_miroir/indexes/all/ttl-policy", json!({}));
    refused.expect_error(409, "miroir_multi_alias_not_writable");
    assert_eq!(policy(&fleet, "one", json!({ "max_deletes_per_sweep": 7 }))["indexUid"], "c");
    // Its name on the nodes is that which it was made with.
    wait_until("all are deleted in the end", TASK_PATIENCE, || (0..3).all(|n| held(&fleet, n, "a").is_empty()));
    assert!(sweeps(&fleet, "bounded") >= 2.0, "no sweep deletes more than it may");
    let tasks = client.get("/tasks?types=documentDeletion&indexUids=c").expect_status(200)["results"].clone();
    let provided: Vec<u64> =
        tasks.as_array().expect("tasks").iter().filter_map(|task| task["details"]["providedIds"].as_u64()).collect();
    assert_eq!((provided.iter().max(), provided.iter().sum::<u64>()), (Some(&7), 20), "{tasks}");

    // An index of the same name that is made later has no part of it.
    client.succeed(client.post("/indexes", json!({ "uid": "d" })));
    policy(&fleet, "d", json!({ "enabled": false }));
    client.succeed(client.delete("/indexes/d"));
    client.succeed(client.post("/indexes", json!({ "uid": "d" })));
    assert_eq!(of("d")["policy"], json!({}));
}

#[test]
fn where_ttl_is_off_no_policy_switches_it_on() {
    let fleet = fleet(OFF);
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let path = "/_miroir/indexes/i/ttl-policy";
    fleet.admin().post(path, json!({ "enabled": true })).expect_error(501, "miroir_not_supported");
    assert_eq!(fleet.admin().get(path).expect_status(200)["enabled"], false);
}

/// Every read of `i` that shows documents, as what it says of how many there are.
fn counted(client: &Client) -> Vec<(&'static str, u64)> {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number expected in {value}"));
    let search = |body: Value| client.search("i", body);
    let facets = search(json!({ "facets": ["kind"] }));
    let queries = json!([{ "indexUid": "i", "q": "film" }, { "indexUid": "i", "q": "", "limit": 1 }]);
    let multi = client.post("/multi-search", json!({ "queries": queries })).expect_status(200);
    let query = json!([{ "indexUid": "i", "q": "film" }]);
    let federated = client.post("/multi-search", json!({ "federation": {}, "queries": query })).expect_status(200);
    let facet_search = client.post("/indexes/i/facet-search", json!({ "facetName": "kind" })).expect_status(200);
    let ids: Vec<u64> = (0..40).collect();
    let fetched = |body: Value| client.post("/indexes/i/documents/fetch", body).expect_status(200);
    let similar = json!({ "id": 1, "embedder": "e", "limit": 100 });
    let similar = client.post("/indexes/i/similar", similar).expect_status(200);
    let by_id = ids.iter().filter(|id| client.get(&format!("/indexes/i/documents/{id}?fields=id")).status == 200);
    let hybrid = json!({ "q": "film", "vector": [1.0, 0.0], "hybrid": { "embedder": "e" }, "limit": 100 });
    let len = |value: &Value| value.as_array().expect("a list").len() as u64;
    vec![
        ("search", number(&search(json!({ "q": "film" }))["estimatedTotalHits"])),
        ("search by GET", number(&client.get("/indexes/i/search?q=film").expect_status(200)["estimatedTotalHits"])),
        ("pages", number(&search(json!({ "q": "", "page": 1, "hitsPerPage": 3 }))["totalHits"])),
        ("one node's", number(&search(json!({ "filter": "id IN [0, 1, 2, 3]" }))["estimatedTotalHits"]) * 10),
        ("facets", number(&facets["facetDistribution"]["kind"]["a"])),
        ("hybrid", len(&search(hybrid)["hits"])),
        ("several", number(&multi["results"][0]["estimatedTotalHits"])),
        ("several, empty", number(&multi["results"][1]["estimatedTotalHits"])),
        ("one list", number(&federated["estimatedTotalHits"])),
        ("facet search", number(&facet_search["facetHits"][0]["count"])),
        ("similar", len(&similar["hits"]) + 1),
        ("list", total(client, "i")),
        ("sorted list", len(&client.get("/indexes/i/documents?sort=id:desc&limit=100").expect_status(200)["results"])),
        ("by ids", number(&fetched(json!({ "ids": ids }))["total"])),
        ("by filter", number(&fetched(json!({ "filter": "kind = a OR kind = b" }))["total"])),
        ("by id", by_id.count() as u64),
    ]
}

#[test]
fn where_reads_filter_no_read_shows_a_document_from_the_moment_at_which_it_expires() {
    const HIDING: &str = "  ttl: { enabled: true, sweep_interval_s: 3600, filter_expired: true }\n";
    let mut fleet = fleet(OFF);
    let client = fleet.client().clone();
    let settings = json!({ "filterableAttributes": ["id", "kind"], "sortableAttributes": ["id"],
                           "embedders": { "e": { "source": "userProvided", "dimensions": 2 } } });
    client.succeed(client.patch("/indexes/i/settings", settings));
    // From before: a text is no time.
    let document = |id: u64, ends: Value| {
        let vectors = json!({ "e": [1.0, id as f64 / 100.0] });
        json!({ "id": id, "name": "film", "kind": "a", EXPIRES: ends, "_vectors": vectors })
    };
    client.succeed(client.post("/indexes/i/documents", json!([document(1, json!("5"))])));
    fleet.kill_proxy();
    fleet.edit_configuration(|text| text.replace(OFF, HIDING));
    fleet.start_proxy();
    fleet.await_recovery();
    wait_until("the nodes can filter by it", TASK_PATIENCE, || sweeps(&fleet, "") >= 1.0);

    let soon = now_ms() + 6_000;
    let ends = |id: u64| if id.is_multiple_of(2) { json!(soon) } else { json!(FAR) };
    let documents: Value = (0..40).filter(|id| *id != 1).map(|id| document(id, ends(id))).collect();
    client.succeed(client.post("/indexes/i/documents", documents));
    let before = counted(&client);
    if now_ms() < soon {
        before.iter().for_each(|(read, count)| assert_eq!(*count, 40, "{read}"));
    }
    wait_until("their time has come", TASK_PATIENCE, || now_ms() > soon);
    counted(&client).iter().for_each(|(read, count)| assert_eq!(*count, 20, "{read}"));
    client.get("/indexes/i/documents/2").expect_error(404, "document_not_found");
    let similar = json!({ "id": 2, "embedder": "e" });
    client.post("/indexes/i/similar", similar).expect_error(400, "not_found_similar_id");
    assert_eq!(client.get("/indexes/i/documents/1").expect_status(200)[EXPIRES], "5");
    // A node's error speaks of the client's own filter alone.
    let refused = client.post("/indexes/i/search", json!({ "filter": "nonsense = 1" }));
    assert!(!refused.text.contains("9e-999"), "{}", refused.text);
    refused.expect_error(400, "invalid_search_filter");
    // They are hidden, and not deleted yet.
    let held = (0..3).map(|n| held(&fleet, n, "i").len()).sum::<usize>();
    assert_eq!(held, 80);
    // One that is given more time is there again.
    client.succeed(client.put("/indexes/i/documents", json!([{ "id": 2, EXPIRES: FAR }])));
    assert_eq!(client.get("/indexes/i/documents/2?fields=name").expect_status(200), json!({ "name": "film" }));
}

#[test]
fn what_should_have_been_deleted_by_the_sweep_before_the_last_is_shown_to_nobody() {
    let fleet = fleet(ON);
    let client = fleet.client();
    client.succeed(client.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    policy(&fleet, "i", json!({ "max_deletes_per_sweep": 1 }));
    let documents: Value = (0..16).map(|id| json!({ "id": id, "name": "film", EXPIRES: 5 })).collect();
    client.succeed(client.post("/indexes/i/documents", documents));
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": 100, "name": "film", EXPIRES: FAR }])));
    let overdue = || fleet.metric("miroir_ttl_overdue_indexes", "");
    wait_until("a sweep sees what is left of the one before", TASK_PATIENCE, || overdue() == 1.0);
    assert_eq!(client.search("i", json!({ "q": "film" }))["estimatedTotalHits"], 1);
    assert_eq!(total(client, "i"), 1);
    client.get("/indexes/i/documents/15").expect_error(404, "document_not_found");
    wait_until("it is deleted in the end", TASK_PATIENCE, || {
        (0..3).map(|n| held(&fleet, n, "i").len()).sum::<usize>() == 2
    });
    wait_until("nothing is overdue any more", TASK_PATIENCE, || overdue() == 0.0);
}

#[test]
fn a_client_that_deletes_by_filter_all_the_time_keeps_no_expired_document_alive() {
    let fleet = fleet(ON);
    let client = fleet.client();
    client.succeed(client.put("/indexes/i/settings/filterable-attributes", json!(["kind"])));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let accepted = client.post("/indexes/i/documents/delete", json!({ "filter": "kind = none" }));
                accepted.expect_status(202);
            }
        });
        let documents: Value = (0..30).map(|id| json!({ "id": id, EXPIRES: 5 })).collect();
        client.post("/indexes/i/documents", documents).expect_status(202);
        let swept = || fleet.metric("miroir_ttl_deleted_documents_total", "") >= 30.0;
        let started = Instant::now();
        while !swept() && started.elapsed() < TASK_PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(swept(), "they are not deleted");
    });
    fleet.await_tasks();
    assert_eq!(fleet.metric("miroir_ttl_sweeps_total", "failed"), 0.0);
    assert!((0..3).all(|n| held(&fleet, n, "i").is_empty()));
}
