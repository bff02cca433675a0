//! Rollover policies: indexes that are full or old give way to new ones while documents flow, and the oldest are deleted.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use serde_json::{json, Value};
use support::{progress, wait_until, Client, Fleet, FleetOptions, TASK_PATIENCE};

const POLICIES: &str = "/_miroir/rollover-policies";

/// A fleet that looks at its policies every second, with a safety lock of so many days.
fn fleet(safety_lock_days: u32) -> Fleet {
    let settings = format!(
        "  shards: 8\n  ilm: {{ enabled: true, check_interval_s: 1, safety_lock_older_than_days: {safety_lock_days} }}\n"
    );
    Fleet::start(&FleetOptions { settings, ..FleetOptions::default() })
}

fn policy(triggers: Value, keep: Option<usize>) -> Value {
    json!({
        "name": "logs",
        "write_alias": "logs",
        "read_alias": "all-logs",
        "pattern": "logs-{YYYY-MM-DD}",
        "triggers": triggers,
        "retention": { "keep_indexes": keep.map_or(99, |keep| keep) },
        "template": {
            "primary_key": "id",
            "settings": { "filterableAttributes": ["level"], "sortableAttributes": ["id"], "stopWords": ["the"] },
        },
    })
}

fn today() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("logs-{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
}

fn documents(ids: std::ops::Range<u64>) -> Value {
    ids.map(|id| json!({ "id": id, "level": if id % 2 == 0 { "info" } else { "warn" }, "text": "line" })).collect()
}

fn names(indexes: &Value) -> Vec<String> {
    indexes.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn series(admin: &Client) -> Vec<String> {
    names(&progress(admin, "logs")["indexes"])
}

fn indexes(client: &Client) -> BTreeSet<String> {
    let listed = client.get("/indexes?limit=1000").expect_status(200);
    listed["results"]
        .as_array()
        .expect("indexes")
        .iter()
        .map(|index| index["uid"].as_str().unwrap().to_owned())
        .collect()
}

/// How often each id is found by the read alias.
fn found(client: &Client, alias: &str) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut offset = 0;
    loop {
        let page =
            client.get(&format!("/indexes/{alias}/documents?fields=id&limit=500&offset={offset}")).expect_status(200);
        let documents = page["results"].as_array().expect("documents");
        documents.iter().for_each(|document| *found.entry(document["id"].as_u64().expect("an id")).or_insert(0) += 1);
        offset += documents.len();
        if documents.is_empty() {
            assert_eq!(page["total"], offset, "each is shown once");
            return found;
        }
    }
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
fn a_full_index_gives_way_and_the_oldest_are_deleted() {
    let fleet = fleet(0);
    let (client, admin) = (fleet.client(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 20 }), Some(2))).expect_status(201);
    let mut seen = series(&admin);
    for round in 0..3_u64 {
        client.succeed(client.post("/indexes/logs/documents", documents(round * 100..round * 100 + 25)));
        let newest = seen.last().expect("an index").clone();
        wait_until("the next index is written", TASK_PATIENCE, || series(&admin).last() != Some(&newest));
        seen.push(series(&admin).last().expect("an index").clone());
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 4, "no name is given twice: {seen:?}");
    wait_until("the oldest are deleted", TASK_PATIENCE, || {
        indexes(client) == seen[2..].iter().cloned().collect() && progress(&admin, "logs")["deleting"] == json!([])
    });
    assert_eq!(series(&admin), seen[2..]);
    assert_eq!(found(client, "all-logs").into_keys().collect::<Vec<_>>(), (200..225).collect::<Vec<_>>());
    // On the nodes, too.
    fleet.await_tasks();
    for n in 0..fleet.node_count() {
        fleet.node_client(n).get(&format!("/indexes/{}", seen[0])).expect_error(404, "index_not_found");
    }
    assert_eq!(fleet.metric("miroir_rollover_deleted_indexes_total", ""), 2.0);
    assert_eq!(fleet.metric("miroir_rollover_total", "max_docs"), 3.0);
    // What is empty does not give way, however old.
    admin.post(POLICIES, policy(json!({ "max_age": "1s" }), Some(2))).expect_status(200);
    let before = series(&admin);
    // One that does shows that it has been looked at meanwhile.
    let other = json!({
        "name": "other", "write_alias": "o", "read_alias": "all-o", "pattern": "o-{YYYY}", "triggers": { "max_age": "1s" },
    });
    admin.post(POLICIES, other).expect_status(201);
    client.succeed(client.post("/indexes/o/documents", documents(0..1)));
    wait_until("it is old", TASK_PATIENCE, || names(&progress(&admin, "other")["indexes"]).len() > 1);
    assert_eq!(series(&admin), before);
    client.succeed(client.post("/indexes/logs/documents", documents(900..901)));
    wait_until("it is old and has a document", TASK_PATIENCE, || series(&admin) != before);
}

#[test]
fn size_is_a_reason_and_new_indexes_are_locked_against_deletion() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_size_gb": 0.000_02 }), Some(1))).expect_status(201);
    let texts: Vec<Value> = (0..40).map(|id| json!({ "id": id, "text": format!("{id} ").repeat(400) })).collect();
    client.succeed(client.post("/indexes/logs/documents", json!(texts)));
    wait_until("the next index is written", TASK_PATIENCE, || series(&admin).len() == 2);
    assert_eq!(fleet.metric("miroir_rollover_total", "max_size_gb"), 1.0);
    // Retention has been looked at by the time that another policy has come and gone.
    for n in 0..2 {
        let name = format!("other{n}");
        let other = json!({
            "name": name, "write_alias": format!("{name}w"), "read_alias": format!("{name}r"),
            "pattern": format!("{name}-{{YYYY}}"), "triggers": { "max_age": "1s" },
        });
        admin.post(POLICIES, other).expect_status(201);
    }
    assert_eq!(series(&admin).len(), 2, "it is not seven days old");
    assert_eq!(found(client, "all-logs").len(), 40);
    assert_eq!(fleet.metric("miroir_rollover_deleted_indexes_total", ""), 0.0);
}

/// Writers know one name, readers another. Whatever gives way meanwhile, no write fails, and what was taken is found once.
#[test]
fn documents_keep_flowing_while_indexes_give_way() {
    let fleet = fleet(7);
    let (client, admin) = (fleet.client(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 30 }), None)).expect_status(201);
    let (is_over, ids, taken) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let indexed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for waits in [true, false, false] {
            let (client, is_over, ids, taken, indexed) = (client, &is_over, &ids, &taken, &indexed);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let count = 1 + fastrand::u64(0..5);
                    let from = ids.fetch_add(count, Ordering::Relaxed);
                    let accepted = client.post("/indexes/logs/documents", documents(from..from + count));
                    assert_eq!(accepted.status, 202, "{}", accepted.text);
                    let task = accepted.task_uid();
                    taken.lock().unwrap().push((task, from..from + count));
                    if waits {
                        client.wait_task(task);
                        indexed.fetch_add(count, Ordering::SeqCst);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let search = json!({ "q": "line", "filter": "level IN [info, warn]", "sort": ["id:asc"], "hitsPerPage": 5, "page": 1 });
                let before = indexed.load(Ordering::SeqCst);
                let total = client.search("all-logs", search)["totalHits"].as_u64().expect("a total");
                assert!(total >= before, "what has been indexed is found: {total}, {before}");
            }
        });
        wait_until("indexes have given way", TASK_PATIENCE, || series(&admin).len() >= 6);
        is_over.store(true, Ordering::Relaxed);
    });
    fleet.await_tasks();
    let taken = taken.into_inner().unwrap();
    println!("{} writes, {} documents, {} indexes", taken.len(), ids.load(Ordering::Relaxed), series(&admin).len());
    let mut tasks = BTreeSet::new();
    for (task, _) in &taken {
        let task = client.wait_task(*task);
        assert_eq!(task["status"], "succeeded", "{task}");
        tasks.insert(task["indexUid"].as_str().expect("an index").to_owned());
    }
    assert!(tasks.len() >= 5, "writes went to {tasks:?}");
    let expected: BTreeMap<u64, u64> = taken.into_iter().flat_map(|(_, ids)| ids.map(|id| (id, 1))).collect();
    assert_eq!(found(client, "all-logs"), expected);
}

/// A write by the alias that never comes to its end.
fn begin_write(fleet: &Fleet) -> TcpStream {
    let address = fleet.url.strip_prefix("http://").expect("an address");
    let mut connection = TcpStream::connect(address).expect("the proxy listens");
    let head = format!(
        "POST /indexes/logs/documents HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/json\r\nContent-Length: 1000\r\n\r\n[",
        Fleet::secrets()[0]
    );
    connection.write_all(head.as_bytes()).expect("it is sent");
    connection
}

#[test]
fn an_index_is_deleted_once_no_request_reads_it_and_other_policies_do_not_wait_for_that() {
    let fleet = fleet(0);
    let (client, admin) = (fleet.client(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 5 }), Some(1))).expect_status(201);
    let first = series(&admin);
    client.succeed(client.post("/indexes/logs/documents", documents(0..5)));
    let held = begin_write(&fleet);
    wait_until("it has given way", TASK_PATIENCE, || progress(&admin, "logs")["deleting"] == json!(first));
    assert_eq!(series(&admin).len(), 1, "no later request reads it");
    let other = json!({
        "name": "other", "write_alias": "o", "read_alias": "all-o", "pattern": "o-{YYYY}", "triggers": { "max_docs": 5 },
    });
    admin.post(POLICIES, other).expect_status(201);
    client.succeed(client.post("/indexes/o/documents", documents(0..5)));
    wait_until("another gives way", TASK_PATIENCE, || names(&progress(&admin, "other")["indexes"]).len() == 2);
    assert_eq!(progress(&admin, "logs")["deleting"], json!(first));
    assert_eq!(client.search(&first[0], json!({}))["estimatedTotalHits"], 5);
    drop(held);
    wait_until("it is deleted", TASK_PATIENCE, || !indexes(client).contains(&first[0]));
    wait_until("that is known", TASK_PATIENCE, || progress(&admin, "logs")["deleting"] == json!([]));
}

#[test]
fn a_proxy_that_dies_at_any_moment_goes_on_where_it_was() {
    let mut fleet = fleet(0);
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 5 }), Some(3))).expect_status(201);
    let mut phases: BTreeMap<String, u32> = BTreeMap::new();
    let mut written = 0..0;
    let mut newest = series(&admin).last().expect("an index").clone();
    for round in 0..8_u64 {
        written = round * 10..round * 10 + 10;
        let accepted = client.post("/indexes/logs/documents", documents(written.clone()));
        let into = client.succeed(accepted)["indexUid"].as_str().expect("an index").to_owned();
        assert_eq!(into, newest, "the newest is written");
        // Killed in one phase or another, and a few times at any moment.
        let mut kills = 0;
        let wanted = ["creating", "configuring", "deleting", "any"][round as usize % 4];
        // Nothing is deleted while a request goes by the aliases of before: this one ends with the proxy.
        let held = (wanted == "deleting").then(|| begin_write(&fleet));
        wait_until("the index has given way", TASK_PATIENCE, || {
            let progress = progress(&admin, "logs");
            let phase = match &progress["phase"] {
                Value::String(phase) => phase.as_str(),
                _ if progress["deleting"] != json!([]) => "deleting",
                _ => "none",
            };
            if kills < 3 && (phase == wanted || wanted == "any" && fastrand::u8(0..10) == 0) {
                *phases.entry(phase.to_owned()).or_default() += 1;
                kills += 1;
                fleet.kill_proxy();
                fleet.start_proxy();
            }
            let series = names(&progress["indexes"]);
            series.last() != Some(&newest) && progress["phase"].is_null() && progress["deleting"] == json!([])
        });
        drop(held);
        let series = series(&admin);
        newest = series.last().expect("an index").clone();
        let write = admin.get("/_miroir/aliases/logs").expect_status(200);
        assert_eq!(write["targets"], json!([newest]));
    }
    println!("killed in {phases:?}");
    assert!(phases.contains_key("deleting") && (phases.contains_key("creating") || phases.contains_key("configuring")));
    fleet.await_recovery();
    fleet.await_tasks();
    // Each made index had its settings; none is left over but those of the series.
    wait_until("the oldest are deleted", TASK_PATIENCE, || series(&admin).len() == 3 && indexes(&client).len() == 3);
    let series = series(&admin);
    assert_eq!(indexes(&client), series.iter().cloned().collect());
    for index in &series {
        let settings = client.get(&format!("/indexes/{index}/settings")).expect_status(200);
        assert_eq!((&settings["stopWords"], &settings["filterableAttributes"]), (&json!(["the"]), &json!(["level"])));
        assert_eq!(client.get(&format!("/indexes/{index}")).expect_status(200)["primaryKey"], "id");
    }
    let expected: BTreeMap<u64, u64> = (written.start - 10..written.end).map(|id| (id, 1)).collect();
    assert_eq!(found(&client, "all-logs"), expected);
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
fn an_index_that_another_alias_stands_for_is_not_deleted_and_is_no_reason_not_to_roll_over() {
    let fleet = fleet(0);
    let (client, admin) = (fleet.client(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 5 }), Some(1))).expect_status(201);
    let first = series(&admin)[0].clone();
    admin.put("/_miroir/aliases/kept", json!({ "target": first })).expect_status(201);
    for round in 1..3_u64 {
        let newest = series(&admin).last().unwrap().clone();
        client.succeed(client.post("/indexes/logs/documents", documents(round * 10..round * 10 + 5)));
        wait_until("the next index is written", TASK_PATIENCE, || *series(&admin).last().unwrap() != newest);
    }
    wait_until("it is told", TASK_PATIENCE, || {
        let trouble = progress(&admin, "logs")["trouble"]["message"].clone();
        trouble.as_str().is_some_and(|trouble| trouble.starts_with("retire: ") && trouble.contains("`kept`"))
    });
    assert_eq!(series(&admin).len(), 3, "all or none leave the alias");
    assert_eq!(found(client, "kept").len(), 5);
    admin.delete("/_miroir/aliases/kept").expect_status(200);
    wait_until("the oldest are deleted", TASK_PATIENCE, || indexes(client).len() == 1 && series(&admin).len() == 1);
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
