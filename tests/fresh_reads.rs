//! Reads that ask for settings of a version or later: every kind of them, in one index and in several that one alias stands for.

mod support;

use serde_json::{json, Value};
use support::{wait_until, Answer, Client, Fleet, FleetOptions, TASK_PATIENCE};

const STALE: &str = "miroir_settings_version_stale";

type Asked = (&'static str, &'static str, Value);

fn read(client: &Client, asked: &Asked, floor: u64) -> Answer {
    send(client, asked, &[("x-miroir-min-settings-version", &floor.to_string())])
}

fn read_any(client: &Client, asked: &Asked) -> Answer {
    send(client, asked, &[])
}

fn send(client: &Client, (method, path, body): &Asked, headers: &[(&str, &str)]) -> Answer {
    let is_empty = body.is_null();
    let of_body: &[(&str, &str)] = if is_empty { &[] } else { &[("content-type", "application/json")] };
    client.send(method, path, &[headers, of_body].concat(), (!is_empty).then(|| body.to_string().into_bytes()))
}

/// Reads of `b`, and of an alias that stands for `a` and `b`.
fn reads() -> Vec<Asked> {
    let query = json!([{ "indexUid": "b", "q": "name" }]);
    let of_all = json!([{ "indexUid": "all", "q": "name" }]);
    vec![
        ("POST", "/indexes/b/search", json!({ "q": "name" })),
        ("GET", "/indexes/b/search?q=name", Value::Null),
        ("POST", "/indexes/b/facet-search", json!({ "facetName": "kind" })),
        ("POST", "/indexes/b/similar", json!({ "id": 1, "embedder": "e" })),
        ("GET", "/indexes/b/similar?id=1&embedder=e", Value::Null),
        ("POST", "/multi-search", json!({ "queries": query })),
        ("POST", "/multi-search", json!({ "queries": query, "federation": {} })),
        ("POST", "/indexes/b/documents/fetch", json!({ "filter": "kind = x" })),
        ("GET", "/indexes/b/documents", Value::Null),
        ("POST", "/indexes/all/search", json!({ "q": "name" })),
        ("GET", "/indexes/all/search?q=name", Value::Null),
        ("POST", "/indexes/all/facet-search", json!({ "facetName": "kind" })),
        ("POST", "/multi-search", json!({ "queries": of_all })),
        ("GET", "/indexes/all/documents", Value::Null),
    ]
}

#[test]
fn every_kind_of_read_goes_by_nodes_that_have_the_settings_it_asks_for() {
    let settings =
        "  settings_drift_check: { interval_ms: 300, auto_repair: false }\n  ilm: { enabled: true }\n".to_owned();
    let fleet = Fleet::start(&FleetOptions { settings, ..FleetOptions::default() });
    let client = fleet.client();
    for index in ["a", "b"] {
        let settings = json!({
            "filterableAttributes": ["kind"],
            "embedders": { "e": { "source": "userProvided", "dimensions": 2 } },
        });
        client.succeed(client.patch(&format!("/indexes/{index}/settings"), settings));
        let document = |n: u32| json!({ "id": n, "name": format!("name{n}"), "kind": "x", "_vectors": { "e": [f64::from(n), 1.0] } });
        client.succeed(client.post(&format!("/indexes/{index}/documents"), (0..40).map(document).collect()));
    }
    support::make_alias_of_several(&fleet.admin(), "all", &["a", "b"]);
    for asked in reads() {
        let answer = read(client, &asked, 1);
        assert_eq!(answer.status, 200, "{asked:?}: {}", answer.text);
        let answer = read(client, &asked, 2);
        assert_eq!((answer.status, answer.code()), (503, Some(STALE)), "not committed yet: {asked:?}");
    }
    // Two of three nodes, behind Miroir's back: what is left does not cover the shards.
    for n in [0, 1] {
        let node = fleet.node_client(n);
        node.succeed(node.put("/indexes/b/settings/stop-words", json!([format!("wrong{n}")])));
    }
    let first = &reads()[0];
    wait_until("too few nodes are left", TASK_PATIENCE, || read(client, first, 1).code() == Some(STALE));
    for asked in reads() {
        let answer = read(client, &asked, 1);
        assert_eq!((answer.status, answer.code()), (503, Some(STALE)), "{asked:?}: {}", answer.text);
        let answer = read_any(client, &asked);
        assert_eq!(answer.status, 200, "who asks for no version is answered: {asked:?}: {}", answer.text);
    }
    read(client, &("POST", "/indexes/a/search", json!({})), 1).expect_status(200);
}
