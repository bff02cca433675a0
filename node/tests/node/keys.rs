//! API keys: made, listed, changed and deleted, and what they open.

use crate::support::{directory, Node, MASTER_KEY};
use hmac::{Hmac, Mac};
use serde_json::{json, Value};
use sha2::Sha256;

const UID: &str = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";

fn value_of(uid: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(MASTER_KEY.as_bytes()).expect("any length is good");
    mac.update(uid.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_new_node_has_the_default_keys() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let list = node.get("/keys").body;
    assert_eq!((&list["total"], &list["limit"], &list["offset"]), (&json!(4), &json!(20), &json!(0)));
    let names: Vec<_> = list["results"].as_array().expect("keys").iter().map(|key| &key["name"]).collect();
    assert!(names.contains(&&json!("Default Search API Key")) && names.contains(&&json!("Default Admin API Key")));
    node.kill();
    assert_eq!(Node::start(&data).get("/keys").body, list);
}

#[test]
fn a_key_lives_from_its_creation_to_its_deletion() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let wanted = json!({
        "uid": UID, "name": "search films", "actions": ["search"], "indexes": ["films*"], "expiresAt": "2100-01-01",
    });
    let made = node.post("/keys", &wanted);
    assert_eq!(made.status, 201, "{}", made.body);
    let names: Vec<_> = made.body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["name", "description", "key", "uid", "actions", "indexes", "expiresAt", "createdAt", "updatedAt"]
    );
    assert_eq!(made.body["key"], value_of(UID));
    assert_eq!(made.body["expiresAt"], "2100-01-01T00:00:00Z");
    let again = node.post("/keys", &wanted);
    assert_eq!((again.status, again.body["code"].as_str()), (409, Some("api_key_already_exists")));
    assert_eq!(node.get(&format!("/keys/{}", value_of(UID))).body, made.body);
    let changed = node.patch(&format!("/keys/{UID}"), &json!({ "description": "for the site", "name": null }));
    assert_eq!((&changed.body["description"], &changed.body["name"]), (&json!("for the site"), &Value::Null));
    let refused = node.patch(&format!("/keys/{UID}"), &json!({ "actions": ["*"] }));
    assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("immutable_api_key_actions")));
    assert_eq!(node.delete(&format!("/keys/{UID}")).status, 204);
    let gone = node.get(&format!("/keys/{UID}"));
    assert_eq!((gone.status, gone.body["code"].as_str()), (404, Some("api_key_not_found")));
}

#[test]
fn a_key_opens_what_it_was_made_for() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    for index in ["films", "books"] {
        node.wait_for(&node.post("/indexes", &json!({ "uid": index })));
    }
    let wanted = json!({ "uid": UID, "actions": ["search"], "indexes": ["films"], "expiresAt": null });
    assert_eq!(node.post("/keys", &wanted).status, 201);
    let bearer = format!("Bearer {}", value_of(UID));
    let status = |path: &str| node.get_with(path, &[("Authorization", &bearer)]).status;
    assert_eq!(status("/indexes/films/search"), 200);
    assert_eq!(status("/indexes/books/search"), 403);
    assert_eq!(status("/indexes/films/settings"), 403);
    assert_eq!(status("/keys"), 403);
    assert_eq!(node.get_with("/indexes/films/search", &[("Authorization", "Bearer nonsense")]).status, 403);
}

#[test]
fn what_is_wrong_with_a_key_is_said_with_its_own_code() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let good = json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null });
    let cases = [
        ("actions", json!(["doggo"]), "invalid_api_key_actions"),
        ("actions", Value::Null, "invalid_api_key_actions"),
        ("indexes", json!(["a b"]), "invalid_api_key_indexes"),
        ("expiresAt", json!("2010-11-13"), "invalid_api_key_expires_at"),
        ("expiresAt", json!("soon"), "invalid_api_key_expires_at"),
        ("uid", json!("aaa"), "invalid_api_key_uid"),
        ("name", json!(1), "invalid_api_key_name"),
        ("description", json!({}), "invalid_api_key_description"),
        ("nonsense", json!(1), "bad_request"),
    ];
    for (field, value, code) in cases {
        let mut key = good.clone();
        key[field] = value;
        let refused = node.post("/keys", &key);
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some(code)), "{key}: {}", refused.body);
    }
    let missing = [
        ("actions", "missing_api_key_actions"),
        ("indexes", "missing_api_key_indexes"),
        ("expiresAt", "missing_api_key_expires_at"),
    ];
    for (field, code) in missing {
        let mut key = good.clone();
        key.as_object_mut().expect("an object").remove(field);
        assert_eq!(node.post("/keys", &key).body["code"], code);
    }
    let scoped = json!({ "actions": ["keys.get"], "indexes": ["films"], "expiresAt": null });
    assert_eq!(node.post("/keys", &scoped).body["code"], "index_scoped_api_key_with_global_action");
}
