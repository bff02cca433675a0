//! Rollover policies: how they are made, what they own, and what is refused.

mod support;

use serde_json::{json, Value};
use support::rollover::{
    index_names as indexes, log_lines as documents, logs_policy as policy, logs_series as series,
    rolling_fleet as fleet, POLICIES,
};
use support::{progress, wait_until, Fleet, FleetOptions, TASK_PATIENCE};

fn today() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("logs-{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
}

#[test]
fn a_policy_makes_its_first_index_with_its_template_and_aliases_before_it_is_answered() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    let made = admin.post(POLICIES, policy(json!({ "max_age": "1d" }), None)).expect_status(201);
    let first = series(&admin);
    assert!(first.len() == 1 && (first[0] == today() || first[0] < today()), "{first:?}");
    assert_eq!(made["progress"]["indexes"], json!(first));
    assert_eq!(made["progress"]["last_rollover"]["trigger"], "first");
    assert_eq!(made["triggers"], json!({ "max_age": "1d" }));
    let alias = |name: &str| admin.get(&format!("/_miroir/aliases/{name}")).expect_status(200);
    let (write, read) = (alias("logs"), alias("all-logs"));
    assert_eq!((&write["kind"], &write["targets"]), (&json!("single"), &json!(first)));
    assert_eq!((&read["kind"], &read["targets"]), (&json!("multi"), &json!(first)));
    assert_eq!(client.get("/indexes/logs").expect_status(200)["primaryKey"], "id");
    let settings = client.get("/indexes/logs/settings").expect_status(200);
    assert_eq!((&settings["filterableAttributes"], &settings["stopWords"]), (&json!(["level"]), &json!(["the"])));
    client.succeed(client.post("/indexes/logs/documents", documents(0..10)));
    assert_eq!(client.search("all-logs", json!({ "filter": "level = warn" }))["estimatedTotalHits"], 5);
    client.post("/indexes/all-logs/documents", documents(0..1)).expect_error(409, "miroir_multi_alias_not_writable");
    assert!(
        fleet.metric("miroir_rollover_total", "first") == 1.0 && fleet.metric("miroir_rollover_policies", "") == 1.0
    );
}

#[test]
fn operators_read_aliases_of_policies_and_change_none() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    for index in ["one", "two"] {
        client.succeed(client.post("/indexes", json!({ "uid": index })));
    }
    // None for several indexes is made by hand.
    for answer in [
        admin.put("/_miroir/aliases/both", json!({ "targets": ["one", "two"] })),
        admin.put("/_miroir/aliases/both", json!({ "targets": ["one"] })),
        admin.post("/_miroir/aliases", json!({ "name": "both", "targets": ["one", "two"] })),
    ] {
        answer.expect_error(409, "miroir_alias_managed");
    }
    let adopting = json!({
        "name": "p", "write_alias": "w", "read_alias": "r", "pattern": "p-{YYYY}", "triggers": { "max_docs": 1000 },
        "adopt_indexes": ["one", "two"],
    });
    admin.post(POLICIES, adopting.clone()).expect_status(201);
    let action = |action: Value| admin.post("/_miroir/aliases/actions", json!({ "actions": [action] }));
    for answer in [
        admin.put("/_miroir/aliases/w", json!({ "target": "one" })),
        admin.put("/_miroir/aliases/r", json!({ "target": "one" })),
        admin.put("/_miroir/aliases/r", json!({ "targets": ["two", "one"] })),
        admin.delete("/_miroir/aliases/w"),
        admin.delete("/_miroir/aliases/r"),
        action(json!({ "remove": { "alias": "r", "index": "one" } })),
        action(json!({ "remove": { "alias": "w", "index": "two" } })),
    ] {
        let refused = answer.expect_error(409, "miroir_alias_managed");
        assert!(refused["message"].as_str().unwrap().contains("rollover policy `p`"), "{refused}");
    }
    client.delete("/indexes/one").expect_error(409, "miroir_alias_conflict");
    assert_eq!(admin.get("/_miroir/aliases/w").expect_status(200)["targets"], json!(["two"]));
    assert_eq!(admin.get("/_miroir/aliases/r").expect_status(200)["targets"], json!(["one", "two"]));
    // An alias of an operator's own for one of the indexes is none of the policy's affair.
    admin.put("/_miroir/aliases/own", json!({ "target": "one" })).expect_status(201);
    admin.delete("/_miroir/aliases/own").expect_status(200);

    // Without the policy its aliases go on, and those for several may be deleted, though not changed.
    let gone = admin.delete(&format!("{POLICIES}/p")).expect_status(200);
    assert_eq!(gone["name"], "p");
    admin.get(&format!("{POLICIES}/p")).expect_error(404, "miroir_rollover_policy_not_found");
    admin.delete(&format!("{POLICIES}/p")).expect_error(404, "miroir_rollover_policy_not_found");
    assert_eq!(client.search("r", json!({}))["estimatedTotalHits"], 0);
    action(json!({ "remove": { "alias": "r", "index": "one" } })).expect_error(409, "miroir_alias_managed");
    // A policy takes them over if it is told what they stand for.
    let mut blind = adopting.clone();
    blind["adopt_indexes"] = json!(["two"]);
    let refused = admin.post(POLICIES, blind).expect_error(409, "miroir_alias_conflict");
    assert!(refused["message"].as_str().unwrap().contains("stands for `one`, `two`"), "{refused}");
    admin.post(POLICIES, adopting).expect_status(201);
    admin.delete(&format!("{POLICIES}/p")).expect_status(200);
    admin.delete("/_miroir/aliases/r").expect_status(200);
    admin.delete("/_miroir/aliases/w").expect_status(200);
    client.succeed(client.delete("/indexes/one"));
}

#[test]
fn policies_that_cannot_be_are_refused_and_leave_nothing_behind() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    client.get(POLICIES).expect_error(401, "miroir_invalid_auth");
    assert_eq!(admin.get(POLICIES).expect_status(200), json!({ "policies": [] }));
    client.succeed(client.post("/indexes", json!({ "uid": "taken" })));
    client.succeed(client.post("/indexes", json!({ "uid": "old" })));
    admin.put("/_miroir/aliases/busy", json!({ "target": "taken" })).expect_status(201);
    let with = |changes: Value| {
        let mut policy = policy(json!({ "max_docs": 1000 }), None);
        policy.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        admin.post(POLICIES, policy)
    };
    with(json!({ "write_alias": "taken" })).expect_error(409, "miroir_alias_conflict");
    with(json!({ "read_alias": "taken" })).expect_error(409, "miroir_alias_conflict");
    with(json!({ "write_alias": "busy" })).expect_error(409, "miroir_alias_conflict");
    with(json!({ "adopt_indexes": ["none"] })).expect_error(404, "index_not_found");
    with(json!({ "adopt_indexes": ["old", "old"] })).expect_error(400, "miroir_invalid_rollover_policy");
    with(json!({ "triggers": {} })).expect_error(400, "miroir_invalid_rollover_policy");
    with(json!({ "pattern": "logs" })).expect_error(400, "miroir_invalid_rollover_policy");
    with(json!({ "unknown": 1 })).expect_error(400, "bad_request");
    admin.post_as(POLICIES, "application/json", "{").expect_error(400, "malformed_payload");
    assert_eq!(admin.get(POLICIES).expect_status(200), json!({ "policies": [] }));
    assert_eq!(admin.get("/_miroir/aliases").expect_status(200)["aliases"].as_array().unwrap().len(), 1);

    with(json!({ "adopt_indexes": ["old"] })).expect_status(201);
    let other = |changes: Value| {
        let mut other = json!({ "name": "other", "write_alias": "w", "read_alias": "r", "pattern": "o-{YYYY}" });
        other.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        with(other)
    };
    other(json!({ "pattern": "logs-{YYYY}-{MM}-{DD}" })).expect_error(400, "miroir_invalid_rollover_policy");
    other(json!({ "write_alias": "all-logs" })).expect_error(409, "miroir_alias_conflict");
    other(json!({ "adopt_indexes": ["old"] })).expect_error(400, "miroir_invalid_rollover_policy");
    // A policy is replaced as a whole, but for its aliases and what they stand for.
    with(json!({ "write_alias": "other" })).expect_error(400, "miroir_invalid_rollover_policy");
    with(json!({ "read_alias": "other" })).expect_error(400, "miroir_invalid_rollover_policy");
    with(json!({ "adopt_indexes": ["taken"] })).expect_error(400, "miroir_invalid_rollover_policy");
    let replaced = with(json!({ "retention": {}, "template": {} })).expect_status(200);
    assert_eq!((&replaced["retention"], &replaced["template"]), (&json!({}), &json!({})));
    assert_eq!(replaced["progress"]["indexes"], json!(["old"]));
    assert_eq!(admin.get(&format!("{POLICIES}/logs")).expect_status(200)["retention"], json!({}));
}

#[test]
fn a_template_that_the_nodes_refuse_is_told_and_can_be_mended() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    let mut wrong = policy(json!({ "max_docs": 10 }), None);
    wrong["template"]["settings"] = json!({ "rankingRules": ["no-such-rule"] });
    let made = admin.post(POLICIES, wrong.clone()).expect_status(201);
    let message = made["progress"]["trouble"]["message"].as_str().expect("what is wrong").to_owned();
    assert!(message.starts_with("configure: ") && message.contains("no-such-rule"), "{message}");
    assert_eq!(made["progress"]["phase"], "configuring");
    admin.get("/_miroir/aliases/logs").expect_error(404, "miroir_alias_not_found");
    // Nobody takes the name meanwhile.
    client.fail(client.post("/indexes/logs/documents", documents(0..1)), "miroir_alias_conflict");
    client.post("/indexes", json!({ "uid": "logs" })).expect_error(409, "miroir_alias_conflict");
    assert!(fleet.metric("miroir_rollover_failures_total", "configure") >= 1.0);

    wrong["template"]["settings"] = json!({ "stopWords": ["the"] });
    admin.post(POLICIES, wrong).expect_status(200);
    wait_until("the aliases are there", TASK_PATIENCE, || admin.get("/_miroir/aliases/logs").status == 200);
    wait_until("nothing is wrong any more", TASK_PATIENCE, || progress(&admin, "logs")["trouble"].is_null());
    client.succeed(client.post("/indexes/logs/documents", documents(0..1)));
    assert_eq!(client.get("/indexes/logs/settings/stop-words").expect_status(200), json!(["the"]));
    assert_eq!(indexes(client).len(), 1, "no index was left over");
}

#[test]
fn nothing_runs_when_it_is_switched_off_and_policies_can_still_be_deleted() {
    // It looks when it starts, when there is a policy, and not for an hour then.
    let settings = |enabled: bool| format!("  ilm: {{ enabled: {enabled}, check_interval_s: 3600 }}\n");
    let mut fleet = Fleet::start(&FleetOptions { settings: settings(true), ..FleetOptions::default() });
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 5 }), None)).expect_status(201);
    client.succeed(client.post("/indexes/logs/documents", documents(0..50)));
    let before = series(&admin);
    let mut switch = |enabled: bool| {
        fleet.kill_proxy();
        fleet.edit_configuration(|text| text.replace(&settings(!enabled), &settings(enabled)));
        fleet.start_proxy();
    };
    switch(false);
    for id in 50..60 {
        client.succeed(client.post("/indexes/logs/documents", documents(id..id + 1)));
    }
    admin.post(POLICIES, policy(json!({ "max_docs": 5 }), None)).expect_error(501, "miroir_not_supported");
    assert_eq!((series(&admin), &progress(&admin, "logs")["phase"]), (before.clone(), &Value::Null));
    switch(true);
    wait_until("it is looked at", TASK_PATIENCE, || series(&admin).len() == before.len() + 1);
    switch(false);
    admin.delete(&format!("{POLICIES}/logs")).expect_status(200);
    admin.delete("/_miroir/aliases/all-logs").expect_status(200);
    assert_eq!(client.get("/indexes/logs/stats").expect_status(200)["numberOfDocuments"], 0);
}
