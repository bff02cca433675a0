//! Chat workspaces: their settings are the same on all nodes, and no secret of theirs is shown.

mod support;

use serde_json::{json, Value};
use support::{wait_until, Client, Cluster, ClusterOptions, Fleet, FleetOptions, SingleServer, TASK_PATIENCE};

const SECRET: &str = "sk-model-provider-0123456789-0123456789";

/// The embedded node has no chats.
fn nodes_have_chats() -> bool {
    std::env::var_os("MIROIR_NODE_BIN").is_some_and(|program| program != "embedded")
}

fn switch_on(client: &Client) {
    client.patch("/experimental-features", json!({ "chatCompletions": true })).expect_status(200);
}

fn send(client: &Client, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = (method == "PATCH").then(|| body.to_string().into_bytes());
    let answer = client.send(method, path, &[("content-type", "application/json")], body);
    (answer.status, answer.body)
}

#[test]
fn while_they_are_switched_off_chats_are_refused_as_such() {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() });
    for path in ["/chats", "/chats/a", "/chats/a/settings"] {
        cluster.get(path).expect_error(400, "feature_not_enabled");
    }
    cluster.post("/chats/a/chat/completions", json!({})).expect_error(501, "miroir_not_supported");
    let body = json!({ "actions": ["chats.get"], "indexes": ["*"], "expiresAt": null });
    let reader = cluster.client_with(cluster.post("/keys", body).expect_status(201)["key"].as_str());
    reader.get("/chats").expect_error(400, "feature_not_enabled");
    reader.patch("/chats/a/settings", json!({})).expect_error(403, "invalid_api_key");
    reader.delete("/chats/a").expect_error(403, "invalid_api_key");
}

#[test]
fn workspaces_are_written_and_read_as_on_one_server() {
    if !nodes_have_chats() {
        return;
    }
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let clients = [cluster.client(), single.client()];
    clients.into_iter().for_each(switch_on);
    let none = json!(null);
    for (method, path, body) in [
        ("GET", "/chats", &none),
        ("GET", "/chats/a", &none),
        ("GET", "/chats/a/settings", &none),
        ("PATCH", "/chats/a/settings", &json!({})),
        ("PATCH", "/chats/a/settings", &json!({ "apiKey": SECRET, "prompts": { "system": "s" } })),
        ("PATCH", "/chats/a/settings", &json!({ "baseUrl": "http://h/" })),
        ("GET", "/chats/a/settings", &none),
        ("PATCH", "/chats/a/settings", &json!({ "prompts": { "system": null } })),
        ("PATCH", "/chats/a/settings", &json!({ "nonsense": 1 })),
        ("PATCH", "/chats/a/settings", &json!({ "source": "x" })),
        ("PATCH", "/chats/a/settings", &json!({ "source": "azureOpenAi", "baseUrl": null })),
        ("PATCH", "/chats/b/settings", &json!({ "source": "mistral", "apiKey": "abc" })),
        ("GET", "/chats?offset=1&limit=1", &none),
        ("GET", "/chats?limit=x", &none),
        ("DELETE", "/chats/a/settings", &none),
        ("DELETE", "/chats/none/settings", &none),
        ("DELETE", "/chats/none", &none),
        ("DELETE", "/chats/a", &none),
        ("GET", "/chats/a", &none),
        ("GET", "/chats", &none),
    ] {
        let [got, expected] = clients.map(|client| send(client, method, path, body));
        assert_eq!(got, expected, "{method} {path} {body}");
        assert!(!got.1.to_string().contains(SECRET));
    }
}

#[test]
fn workspaces_are_the_same_on_all_nodes_and_their_keys_are_told_to_nobody() {
    if !nodes_have_chats() {
        return;
    }
    let settings = "  settings_drift_check: { interval_ms: 1000 }\n".to_owned();
    let mut fleet = Fleet::start(&FleetOptions { settings, ..Default::default() });
    let client = fleet.client().clone();
    switch_on(&client);
    let shown = |client: &Client| {
        let list = client.get("/chats").expect_status(200)["results"].clone();
        let uids = list
            .as_array()
            .expect("workspaces")
            .iter()
            .map(|workspace| workspace["uid"].as_str().expect("a uid").to_owned());
        // One may be deleted in between.
        Vec::from_iter(uids.map(|uid| json!([uid, client.get(&format!("/chats/{uid}/settings")).body])))
    };
    let same_everywhere = |fleet: &Fleet| {
        let all = Vec::from_iter((0..fleet.node_count()).map(|n| shown(&fleet.node_client(n))));
        all.iter().all(|of_node| *of_node == all[0])
    };
    client.patch("/chats/kept/settings", json!({ "apiKey": SECRET })).expect_status(200);
    client.patch("/chats/gone/settings", json!({})).expect_status(200);
    assert!(same_everywhere(&fleet), "when the change is answered");

    let node = fleet.node_client(1);
    // Twice: the first time it may be repaired because features have just been switched on.
    for _ in 0..2 {
        node.patch("/chats/kept/settings", json!({ "orgId": "other", "apiKey": null })).expect_status(200);
        node.patch("/chats/own/settings", json!({})).expect_status(200);
        assert_eq!(node.delete("/chats/gone").status, 204);
        wait_until("the node is repaired", TASK_PATIENCE, || same_everywhere(&fleet) && shown(&node).len() == 2);
    }

    fleet.kill_node(2);
    fleet.await_failure(2);
    assert_eq!(client.delete("/chats/gone").status, 204);
    client.patch("/chats/kept/settings", json!({ "orgId": "mine" })).expect_status(200);
    fleet.kill_proxy();
    fleet.start_node(2);
    fleet.start_proxy();
    wait_until("the node has caught up", TASK_PATIENCE, || same_everywhere(&fleet));
    let kept = client.get("/chats/kept/settings").expect_status(200);
    assert_eq!((&kept["orgId"], &kept["apiKey"]), (&json!("mine"), &json!("sk-moXXXXXX...")));

    let config = fleet.admin().get("/_miroir/config").text;
    let metrics = Client::new(&fleet.metrics_url, None).get("/metrics").text;
    for text in [config, metrics, fleet.proxy_log()] {
        assert!(!text.is_empty() && !text.contains(SECRET));
    }
}
