//! Rollovers: indexes that are full or old give way to new ones while documents flow, and the oldest are deleted.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

use serde_json::{json, Value};
use support::rollover::{
    index_names as indexes, log_lines as documents, logs_policy as policy, logs_series as series, names,
    rolling_fleet as fleet, POLICIES,
};
use support::{progress, wait_until, Client, Fleet, FleetOptions, TASK_PATIENCE};

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

#[test]
fn the_safety_lock_holds_what_is_newer_and_lets_go_of_what_is_older() {
    let mut fleet = fleet(7);
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    let made = ["eight-days", "six-days", "newest"];
    for index in made {
        client.succeed(client.post(&format!("/indexes/{index}/documents"), documents(0..1)));
    }
    let mut policy = policy(json!({ "max_docs": 1000 }), Some(1));
    policy["adopt_indexes"] = json!(made);
    admin.post(POLICIES, policy).expect_status(201);
    assert_eq!(series(&admin), made);
    fleet.kill_proxy();
    for (index, age_days) in [("eight-days", 8), ("six-days", 6)] {
        backdate(&fleet, index, time::Duration::days(age_days));
    }
    fleet.start_proxy();
    wait_until("the oldest is deleted", TASK_PATIENCE, || {
        indexes(&client).len() == 2 && progress(&admin, "logs")["deleting"] == json!([])
    });
    assert_eq!(series(&admin), made[1..]);
    client.get("/indexes/eight-days").expect_error(404, "index_not_found");
    assert_eq!(found(&client, "six-days").len(), 1);
}

/// Makes an index older, in the store of a proxy that does not run.
fn backdate(fleet: &Fleet, index: &str, by: time::Duration) {
    let store = rusqlite::Connection::open(fleet.folder().join("miroir.db")).expect("the store opens");
    let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let record = store.query_row("SELECT record FROM indexes WHERE uid = ?1", [index], read).expect("its record");
    let mut record: Value = serde_json::from_str(&record).expect("JSON");
    let at = (time::OffsetDateTime::now_utc() - by).format(&time::format_description::well_known::Rfc3339);
    record["created_at"] = json!(at.expect("a time"));
    let changed = store.execute("UPDATE indexes SET record = ?2 WHERE uid = ?1", [index, &record.to_string()]);
    assert_eq!(changed.expect("it is written"), 1);
}

#[test]
fn a_check_begins_no_more_rollovers_than_it_may_and_those_that_wait_come_first() {
    // It looks when it starts, when there is a policy, and not for an hour then.
    let settings = "  ilm: { enabled: true, check_interval_s: 3600, max_rollovers_per_check: 1 }\n".to_owned();
    let mut fleet = Fleet::start(&FleetOptions { settings, ..FleetOptions::default() });
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    let names_of = ["a", "b", "c"];
    for name in names_of {
        let policy = json!({
            "name": name, "write_alias": format!("{name}w"), "read_alias": format!("{name}r"),
            "pattern": format!("{name}-{{YYYY}}"), "triggers": { "max_docs": 5 },
        });
        admin.post(POLICIES, policy).expect_status(201);
    }
    for name in names_of {
        client.succeed(client.post(&format!("/indexes/{name}w/documents"), documents(0..5)));
    }
    for checks in 1..=3 {
        fleet.kill_proxy();
        fleet.start_proxy();
        let lengths = || names_of.map(|name| names(&progress(&admin, name)["indexes"]).len());
        wait_until("one gives way", TASK_PATIENCE, || lengths().iter().sum::<usize>() > names_of.len() + checks - 1);
        // A whole look goes by before this one is answered.
        client.succeed(client.post("/indexes/other/documents", documents(0..1)));
        assert_eq!(lengths(), [2, 1 + usize::from(checks > 1), 1 + usize::from(checks > 2)]);
        assert!(names_of.iter().all(|name| progress(&admin, name)["phase"].is_null()));
        // The first would be due again each time.
        client.succeed(client.post("/indexes/aw/documents", documents(checks as u64 * 10..checks as u64 * 10 + 5)));
    }
}

#[test]
fn an_index_gives_way_while_a_node_is_away_and_the_node_has_it_when_it_is_back() {
    let mut fleet = fleet(7);
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    admin.post(POLICIES, policy(json!({ "max_docs": 10 }), None)).expect_status(201);
    client.succeed(client.post("/indexes/logs/documents", documents(0..5)));
    fleet.kill_node(0);
    fleet.await_failure(0);
    client.succeed(client.post("/indexes/logs/documents", documents(5..10)));
    wait_until("it has given way", TASK_PATIENCE, || series(&admin).len() == 2);
    client.succeed(client.post("/indexes/logs/documents", documents(10..15)));
    let all: BTreeMap<u64, u64> = (0..15).map(|id| (id, 1)).collect();
    assert_eq!(found(&client, "all-logs"), all);
    fleet.start_node(0);
    fleet.await_recovery();
    assert_eq!(found(&client, "all-logs"), all);
    let newest = series(&admin)[1].clone();
    fleet.await_tasks();
    let settings = |n: usize| fleet.node_client(n).get(&format!("/indexes/{newest}/settings")).expect_status(200);
    wait_until("the node has the index as the others", TASK_PATIENCE, || settings(0) == settings(1));
    assert_eq!(settings(0)["stopWords"], json!(["the"]));
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
        wait_until("indexes have given way", TASK_PATIENCE, || series(&admin).len() >= 4);
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
    assert!(tasks.len() >= 3, "writes went to {tasks:?}");
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
