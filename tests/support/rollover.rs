//! Rollover policies, which alone make aliases for several indexes.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use super::{Client, Fleet, FleetOptions};

pub const POLICIES: &str = "/_miroir/rollover-policies";

/// Makes `alias` stand for `indexes`, through a policy of its name that adopts them and has no reason ever to make another.
#[track_caller]
pub fn make_alias_of_several(admin: &Client, alias: &str, indexes: &[&str]) {
    let policy = json!({
        "name": alias,
        "write_alias": format!("{alias}-newest"),
        "read_alias": alias,
        "pattern": format!("{alias}-{{YYYY}}"),
        "triggers": { "max_docs": 1_000_000_000 },
        "adopt_indexes": indexes,
    });
    let made = admin.post("/_miroir/rollover-policies", policy).expect_status(201);
    assert_eq!(made["progress"]["indexes"], json!(indexes));
    let alias = admin.get(&format!("/_miroir/aliases/{alias}")).expect_status(200);
    assert_eq!((&alias["kind"], &alias["targets"]), (&json!("multi"), &json!(indexes)));
}

/// Where policy `name` stands.
#[track_caller]
pub fn progress(admin: &Client, name: &str) -> Value {
    admin.get(&format!("/_miroir/rollover-policies/{name}")).expect_status(200)["progress"].clone()
}

/// A fleet that looks at its policies every second, with a safety lock of so many days.
pub fn rolling_fleet(safety_lock_days: u32) -> Fleet {
    let settings = format!(
        "  shards: 8\n  ilm: {{ enabled: true, check_interval_s: 1, safety_lock_older_than_days: {safety_lock_days} }}\n"
    );
    Fleet::start(&FleetOptions { settings, ..FleetOptions::default() })
}

/// A policy for `logs`, written, and `all-logs`, read, that keeps so many indexes, or all.
pub fn logs_policy(triggers: Value, keep: Option<usize>) -> Value {
    json!({
        "name": "logs",
        "write_alias": "logs",
        "read_alias": "all-logs",
        "pattern": "logs-{YYYY-MM-DD}",
        "triggers": triggers,
        "retention": { "keep_indexes": keep.unwrap_or(99) },
        "template": {
            "primary_key": "id",
            "settings": { "filterableAttributes": ["level"], "sortableAttributes": ["id"], "stopWords": ["the"] },
        },
    })
}

/// Lines of a log.
pub fn log_lines(ids: std::ops::Range<u64>) -> Value {
    ids.map(|id| json!({ "id": id, "level": if id % 2 == 0 { "info" } else { "warn" }, "text": "line" })).collect()
}

/// A list of texts.
pub fn names(indexes: &Value) -> Vec<String> {
    indexes.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// The indexes of the policy for `logs`, the oldest first.
pub fn logs_series(admin: &Client) -> Vec<String> {
    names(&progress(admin, "logs")["indexes"])
}

/// The names of all indexes.
pub fn index_names(client: &Client) -> BTreeSet<String> {
    let listed = client.get("/indexes?limit=1000").expect_status(200);
    listed["results"]
        .as_array()
        .expect("indexes")
        .iter()
        .map(|index| index["uid"].as_str().unwrap().to_owned())
        .collect()
}
