//! No secret of a running configuration is found anywhere but in the configuration; and secrets can be changed while Miroir runs,
//! without a request that fails.

mod support;

use std::path::Path;

use serde_json::{json, Value};
use support::{hang_up, wait_until, Answer, Client, Fleet, FleetOptions, START_PATIENCE};

fn fleet() -> Fleet {
    Fleet::start(&FleetOptions { groups: vec![2], replication_factor: 2, ..FleetOptions::default() })
}

/// What an answer shows to whoever reads it.
fn shown(answer: &Answer) -> String {
    format!("{:?}\n{}", answer.headers, answer.text)
}

/// The contents of the proxy's own files: all but its configuration, and not what the nodes keep.
fn files_of_the_proxy(folder: &Path) -> String {
    let mut contents = String::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "yaml") {
            contents += &String::from_utf8_lossy(&std::fs::read(&path).expect("a file can be read"));
        }
    }
    contents
}

/// What tokens of the search UI are signed with, now and before, and what pages share.
const SEARCH_UI_SECRETS: [&str; 4] = [
    "the-search-ui-secret-of-this-fleet",
    "the-search-ui-secret-that-was-before",
    "the-key-that-pages-share",
    "the-key-that-pages-shared-before",
];

fn fleet_with_search_ui() -> Fleet {
    let [secret, previous, shared, shared_previous] = SEARCH_UI_SECRETS;
    let settings = format!(
        "  search_ui:\n    enabled: true\n    jwt_secret: {secret}\n    jwt_secret_previous: {previous}\n    indexes: [i]\n    \
         access: shared_key\n    shared_key: {shared}\n    shared_key_previous: {shared_previous}\n"
    );
    Fleet::start(&FleetOptions { groups: vec![2], replication_factor: 2, settings, ..FleetOptions::default() })
}

#[test]
fn no_secret_is_found_in_logs_metrics_files_or_answers() {
    let mut fleet = fleet_with_search_ui();
    let master = fleet.client().clone();
    let key = master.post("/keys", json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null })).expect_status(201);
    let value = key["key"].as_str().unwrap().to_owned();
    let clients = [
        master.clone(),
        fleet.admin(),
        Client::new(&fleet.url, None),
        Client::new(&fleet.url, Some(&value)),
        Client::new(&fleet.url, Some("a guess")),
        Client::new(&fleet.url, Some("a.b.c")),
    ];
    master.succeed(master.post("/indexes/i/documents", json!([{ "id": 1 }])));
    let with_shared_key = Client::with_header(&fleet.url, "x-search-ui-key", SEARCH_UI_SECRETS[2]);
    let session = with_shared_key.get("/_miroir/ui/search/i/session").expect_status(200);
    let token = session["token"].as_str().unwrap().to_owned();
    let login = json!({ "key": Fleet::secrets()[1] });
    let login = Client::new(&fleet.url, None).post("/_miroir/admin/login", login);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let csrf_token = login.body["csrf_token"].as_str().unwrap().to_owned();
    let with_cookie = Client::with_header(&fleet.url, "cookie", &cookie);
    Client::new(&fleet.url, None).post("/_miroir/admin/login", json!({ "key": "a-wrong-guess-of-the-key" }));
    let clients = clients.into_iter().chain([with_shared_key, Client::new(&fleet.url, Some(&token)), with_cookie]);
    let clients: Vec<Client> = clients.collect();
    let mut seen = String::new();
    let mut look = |answer: &Answer| seen += &shown(answer);
    let paths = [
        "/health",
        "/version",
        "/stats",
        "/indexes",
        "/indexes/i",
        "/indexes/i/documents/1",
        "/indexes/i/documents/none",
        "/indexes/i/settings",
        "/indexes/none/settings",
        "/tasks",
        "/batches",
        "/network",
        "/no-such-route",
        "/_miroir/ready",
        "/_miroir/config",
        "/_miroir/topology",
        "/_miroir/ui/search/none/session",
        "/_miroir/version",
        "/_miroir/tasks/0",
        "/_miroir/no-such-route",
    ];
    for client in &clients {
        paths.iter().for_each(|path| look(&client.get(path)));
        look(&client.post("/indexes/i/search", json!({ "filter": "no = 1" })));
        look(&client.post("/indexes/i/documents", json!("no document")));
        look(&client.post("/_miroir/reload", json!({})));
    }
    let config = fleet.admin().get("/_miroir/config").expect_status(200);
    assert_eq!(config["miroir"]["master_key"], "********");
    assert_eq!(config["miroir"]["search_ui"]["jwt_secret"], "********");
    assert_eq!(config["miroir"]["nodes"].as_array().unwrap().len(), 2);

    // What goes wrong is written down too, and keys that clients name in paths or present.
    master.get(&format!("/keys/{value}")).expect_status(200);
    master.get(&format!("/keys/{value}/no-such-route")).expect_error(404, "not_found");
    fleet.kill_node(0);
    fleet.await_failure(0);
    look(&master.get("/indexes/i/documents/1"));
    look(&fleet.admin().get("/_miroir/topology"));
    fleet.edit_configuration(|text| text + "  master_key_previous: 17\n  no_such_key: 1\n");
    look(&fleet.admin().post("/_miroir/reload", json!({})));
    hang_up(fleet.proxy_pid());
    wait_until("the refused reload is in the log", START_PATIENCE, || fleet.proxy_log().contains("no_such_key"));
    look(&Client::new(&fleet.metrics_url, None).get("/metrics"));

    let logs = fleet.proxy_log();
    let files = files_of_the_proxy(fleet.folder());
    assert!(
        logs.contains("/keys/{uid_or_key}")
            && files.contains("Default Search API Key")
            && seen.contains("miroir_requests")
    );
    let session = cookie.split_once('=').unwrap().1;
    let given = [value.as_str(), &token, session, &csrf_token, "a-wrong-guess-of-the-key"];
    let secrets = Fleet::secrets().into_iter().chain(SEARCH_UI_SECRETS).chain(given);
    for secret in secrets {
        for (place, text) in [("logs", &logs), ("files", &files), ("answers", &seen)] {
            let at = text.find(secret);
            assert!(at.is_none(), "`{secret}` is in the {place}: ...{}", context(text, at.unwrap_or_default()));
        }
    }
}

fn context(text: &str, at: usize) -> String {
    text.chars().skip(text[..at].chars().count().saturating_sub(100)).take(200).collect()
}

/// Every kind of request that goes to a node, none of which may fail.
fn all_is_well(fleet: &Fleet, document: u64) {
    let client = fleet.client();
    client.succeed(client.post("/indexes/i/documents", json!([{ "id": document }])));
    for _ in 0..4 {
        assert_eq!(client.search("i", json!({ "limit": 0 }))["estimatedTotalHits"], document + 1);
        client.get(&format!("/indexes/i/documents/{document}")).expect_status(200);
        client.get("/indexes/i/settings").expect_status(200);
        client.get("/version").expect_status(200);
        client.get("/indexes/i/stats").expect_status(200);
    }
}

#[test]
fn the_nodes_key_is_changed_without_a_request_that_fails() {
    let mut fleet = fleet();
    let [_, _, old] = Fleet::secrets();
    let new = "the-new-node-key-of-tests";
    all_is_well(&fleet, 0);
    let both = format!("  node_master_key: {new}\n  node_master_key_previous: {old}\n");
    fleet.edit_configuration(|text| text.replace(&format!("  node_master_key: {old}\n"), &both));
    let changed = fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
    assert_eq!(changed, json!({ "changed": ["miroir.node_master_key", "miroir.node_master_key_previous"] }));
    all_is_well(&fleet, 1);
    fleet.set_node_key(new);
    for node in 0..2 {
        fleet.kill_node(node);
        fleet.start_node(node);
        fleet.await_recovery();
        all_is_well(&fleet, 2 + node as u64);
    }
    fleet.edit_configuration(|text| text.replace(&format!("  node_master_key_previous: {old}\n"), ""));
    hang_up(fleet.proxy_pid());
    let shows_one = || {
        let config = fleet.admin().get("/_miroir/config").expect_status(200);
        config["miroir"]["node_master_key_previous"] == Value::Null
    };
    wait_until("the proxy has read its configuration again", START_PATIENCE, shows_one);
    all_is_well(&fleet, 4);
}

#[test]
fn a_node_that_refuses_its_key_never_answers_a_client() {
    let mut fleet = fleet();
    all_is_well(&fleet, 0);
    fleet.set_node_key("a-key-that-the-proxy-does-not-know");
    fleet.kill_node(1);
    fleet.start_node(1);
    // The other replica answers, and a client's own key is not called wrong.
    let client = fleet.client();
    for _ in 0..10 {
        client.get("/indexes/i/documents/0").expect_status(200);
        assert_eq!(client.search("i", json!({}))["estimatedTotalHits"], 1);
    }
    assert!(fleet.proxy_log().contains("refuses the key that it is asked with"));
}

#[test]
fn the_master_key_is_changed_while_clients_still_have_the_old_one() {
    let fleet = fleet();
    let [old, _, _] = Fleet::secrets();
    let new = "the-new-master-key-of-tests";
    let key = fleet.client().get("/keys").expect_status(200)["results"][1].clone();
    let passes = |key: &str| Client::new(&fleet.url, Some(key)).get("/indexes").status == 200;
    let old_value = key["key"].as_str().unwrap();

    let both = format!("  master_key: {new}\n  master_key_previous: {old}\n");
    fleet.edit_configuration(|text| text.replace(&format!("  master_key: {old}\n"), &both));
    fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
    let path = format!("/keys/{}", key["uid"].as_str().unwrap());
    let shown = Client::new(&fleet.url, Some(new)).get(&path).expect_status(200);
    let new_value = shown["key"].as_str().unwrap();
    assert_ne!(old_value, new_value);
    assert!([old, new, old_value, new_value].into_iter().all(passes));

    fleet.edit_configuration(|text| text.replace(&format!("  master_key_previous: {old}\n"), ""));
    fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
    assert!(passes(new) && passes(new_value) && !passes(old) && !passes(old_value));
}

#[test]
fn without_a_master_key_all_is_open_but_keys_and_the_log_says_so() {
    let mut fleet = fleet();
    let [master, admin, _] = Fleet::secrets();
    fleet.kill_proxy();
    fleet.edit_configuration(|text| text.replace(&format!("  master_key: {master}\n"), ""));
    fleet.start_proxy();
    let nobody = Client::new(&fleet.url, None);
    nobody.get("/indexes").expect_status(200);
    nobody.get("/keys").expect_error(401, "missing_master_key");
    nobody.get("/_miroir/topology").expect_error(401, "miroir_invalid_auth");
    Client::with_header(&fleet.url, "x-admin-key", admin).get("/_miroir/topology").expect_status(200);
    wait_until("the log says so", START_PATIENCE, || {
        fleet.proxy_log().contains("there is no master_key: everyone who")
    });
}

#[test]
fn a_configuration_that_cannot_be_applied_changes_nothing() {
    let fleet = fleet();
    let [old, _, _] = Fleet::secrets();
    let reload = || fleet.admin().post("/_miroir/reload", json!({}));
    let before = fleet.admin().get("/_miroir/config").expect_status(200);
    for addition in ["  shards: 128\n", "  no_such_key: 1\n"] {
        fleet.edit_configuration(|text| text.replace(old, "another-master-key") + addition);
        let refused = reload().expect_error(409, "miroir_reload_refused");
        let named = addition.trim().split(':').next().unwrap();
        assert!(refused["message"].as_str().unwrap().contains(named), "{refused}");
        fleet.client().get("/indexes").expect_status(200);
        assert_eq!(fleet.admin().get("/_miroir/config").expect_status(200), before);
        fleet.edit_configuration(|text| text.replace("another-master-key", old).replace(addition, ""));
    }
    assert_eq!(reload().expect_status(200), json!({ "changed": [] }));
    Client::new(&fleet.url, None).post("/_miroir/reload", json!({})).expect_error(401, "miroir_invalid_auth");
}
