//! Rollover policies, which alone make aliases for several indexes.

use serde_json::{json, Value};

use super::Client;

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
