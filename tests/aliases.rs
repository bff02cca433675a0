//! Aliases: names that stand for indexes, flipped in one moment.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{json, Value};
use support::{make_alias_of_several, programs, Client, Cluster, ClusterOptions, Fleet, FleetOptions};

/// Flips under load: enough to meet every order of events. `MIROIR_TEST_ALIAS_FLIPS` asks for more.
const FLIPS_DEFAULT: u64 = 1_000;

fn documents(count: u64, kind: &str) -> Value {
    (0..count).map(|id| json!({ "id": id, "kind": kind, "text": "word" })).collect()
}

fn fill(client: &Client, index: &str, count: u64, kind: &str) {
    client.succeed(client.post(&format!("/indexes/{index}/documents"), documents(count, kind)));
}

#[test]
fn flips_under_load_fail_no_request_and_mix_no_indexes() {
    let cluster = Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() });
    let (client, admin) = (cluster.client(), cluster.admin());
    fill(client, "first", 30, "first");
    fill(client, "second", 20, "second");
    admin.put("/_miroir/aliases/live", json!({ "target": "first" })).expect_status(201);
    let flips = std::env::var("MIROIR_TEST_ALIAS_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(FLIPS_DEFAULT);
    let (is_over, searches) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    let found = client.search("live", json!({ "q": "word", "limit": 100 }));
                    let hits = found["hits"].as_array().expect("hits");
                    let kinds: BTreeSet<&str> = hits.iter().filter_map(|hit| hit["kind"].as_str()).collect();
                    assert_eq!(kinds.len(), 1, "a search mixes two indexes");
                    assert_eq!(hits.len(), if kinds.contains("first") { 30 } else { 20 });
                    assert_eq!(found["estimatedTotalHits"], hits.len());
                    seen.extend(kinds.into_iter().map(str::to_owned));
                    searches.fetch_add(1, Ordering::Relaxed);
                }
                assert_eq!(seen.len(), 2, "both indexes were seen");
            });
        }
        for flip in 0..flips {
            let target = if flip % 2 == 0 { "second" } else { "first" };
            let alias = admin.put("/_miroir/aliases/live", json!({ "target": target })).expect_status(200);
            assert_eq!(alias["version"], flip + 2);
            if flip % 100 == 0 {
                // Whoever asks after the answer to the flip is answered from the new target.
                let found = client.search("live", json!({ "limit": 1 }));
                assert_eq!(found["hits"][0]["kind"], target);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{flips} flips, {} searches", searches.load(Ordering::Relaxed));
    let alias = admin.get("/_miroir/aliases/live").expect_status(200);
    assert_eq!(alias["history"].as_array().unwrap().len(), 10);
}

#[test]
fn an_alias_stands_for_its_index_on_every_route() {
    let mut fleet = Fleet::start(&FleetOptions::default());
    let (client, admin) = (fleet.client().clone(), fleet.admin());
    fill(&client, "one", 3, "first");
    fill(&client, "two", 2, "second");
    admin.post("/_miroir/aliases", json!({ "name": "a", "target": "one" })).expect_status(201);
    let added = client.succeed(client.post("/indexes/a/documents", json!([{ "id": 10, "kind": "first" }])));
    assert_eq!(added["indexUid"], "one");
    client.succeed(client.delete("/indexes/a/documents/0"));
    client.succeed(client.put("/indexes/a/settings/stop-words", json!(["x"])));
    assert_eq!(client.get("/indexes/one/settings/stop-words").expect_status(200), json!(["x"]));
    assert_eq!(client.get("/indexes/a/documents/10").expect_status(200)["kind"], "first");
    assert_eq!(client.get("/indexes/a/documents").expect_status(200)["total"], 3);
    assert_eq!(client.get("/indexes/a/stats").expect_status(200)["numberOfDocuments"], 3);
    assert_eq!(client.get("/indexes/a").expect_status(200)["uid"], "one");
    // Neither an index of its name, nor its index gone.
    client.post("/indexes", json!({ "uid": "a" })).expect_error(409, "miroir_alias_conflict");
    client.delete("/indexes/one").expect_error(409, "miroir_alias_conflict");
    client.patch("/indexes/one", json!({ "uid": "other" })).expect_error(409, "miroir_alias_conflict");
    client.patch("/indexes/two", json!({ "uid": "a" })).expect_error(409, "miroir_alias_conflict");
    let uids = |client: &Client| -> Vec<String> {
        let listed = client.get("/indexes").expect_status(200);
        listed["results"].as_array().unwrap().iter().map(|index| index["uid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(uids(&client), ["one", "two"]);

    fleet.kill_proxy();
    fleet.start_proxy();
    assert_eq!(client.search("a", json!({}))["estimatedTotalHits"], 3, "aliases outlive the process");

    // A new index in the place of the old one, which goes: one request.
    let actions = json!({ "actions": [
        { "add": { "alias": "a", "index": "two" } },
        { "remove": { "alias": "a", "index": "one" } },
        { "remove_index": { "index": "one" } },
    ] });
    let done = admin.post("/_miroir/aliases/actions", actions).expect_status(200);
    assert_eq!(client.search("a", json!({}))["estimatedTotalHits"], 2);
    client.wait_task(done["tasks"][0]["taskUid"].as_u64().expect("a task"));
    client.get("/indexes/one").expect_error(404, "index_not_found");

    admin.delete("/_miroir/aliases/a").expect_status(200);
    client.get("/indexes/a").expect_error(404, "index_not_found");
    client.succeed(client.delete("/indexes/two"));
}

#[test]
fn changes_that_cannot_be_are_refused_whole() {
    let cluster = Cluster::start(ClusterOptions::default());
    let (client, admin) = (cluster.client(), cluster.admin());
    for index in ["one", "two"] {
        client.succeed(client.post("/indexes", json!({ "uid": index })));
    }
    client.get("/_miroir/aliases").expect_error(401, "miroir_invalid_auth");
    admin.get("/_miroir/aliases/none").expect_error(404, "miroir_alias_not_found");
    admin.delete("/_miroir/aliases/none").expect_error(404, "miroir_alias_not_found");
    admin.put("/_miroir/aliases/a", json!({ "target": "none" })).expect_error(404, "index_not_found");
    admin.put("/_miroir/aliases/two", json!({ "target": "one" })).expect_error(409, "miroir_alias_conflict");
    admin.put("/_miroir/aliases/a", json!({})).expect_error(400, "miroir_invalid_alias");
    admin
        .put("/_miroir/aliases/a", json!({ "target": "one", "targets": ["two"] }))
        .expect_error(400, "miroir_invalid_alias");
    admin.put("/_miroir/aliases/a", json!({ "target": "no uid" })).expect_error(400, "invalid_index_uid");
    let half = json!({ "actions": [
        { "add": { "alias": "a", "index": "one" } },
        { "add": { "alias": "b", "index": "none" } },
    ] });
    admin.post("/_miroir/aliases/actions", half).expect_error(404, "index_not_found");
    assert_eq!(admin.get("/_miroir/aliases").expect_status(200), json!({ "aliases": [] }));
    admin.post("/_miroir/aliases", json!({ "name": "a", "target": "one" })).expect_status(201);
    admin.post("/_miroir/aliases", json!({ "name": "a", "target": "two" })).expect_error(409, "miroir_alias_conflict");
    let both = json!({ "actions": [{ "add": { "alias": "a", "index": "two" } }] });
    admin.post("/_miroir/aliases/actions", both).expect_error(400, "miroir_invalid_alias");
}

#[test]
fn an_alias_for_several_indexes_is_not_written() {
    let cluster = Cluster::start(ClusterOptions::default());
    let (client, admin) = (cluster.client(), cluster.admin());
    for index in ["one", "two"] {
        fill(client, index, 2, index);
    }
    make_alias_of_several(&admin, "all", &["one", "two"]);
    let refused = [
        client.post("/indexes/all/documents", json!([{ "id": 1 }])),
        client.delete("/indexes/all/documents/1"),
        client.patch("/indexes/all/settings", json!({ "stopWords": ["x"] })),
        client.delete("/indexes/all"),
    ];
    for answer in refused {
        answer.expect_error(409, "miroir_multi_alias_not_writable");
    }
}

#[test]
fn an_alias_for_several_indexes_is_searched_as_one() {
    let cluster = Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() });
    let (client, admin) = (cluster.client(), cluster.admin());
    let documents = |from: u64, count: u64, kind: &str| -> Value {
        (from..from + count).map(|id| json!({ "id": id, "kind": kind, "n": id % 7, "text": "word" })).collect()
    };
    let settings = json!({ "filterableAttributes": ["kind", "n"], "sortableAttributes": ["id"] });
    for index in ["old", "new", "both"] {
        client.succeed(client.patch(&format!("/indexes/{index}/settings"), settings.clone()));
    }
    for (index, from, kind) in [("old", 0, "old"), ("new", 100, "new"), ("both", 0, "old"), ("both", 100, "new")] {
        client.succeed(client.post(&format!("/indexes/{index}/documents"), documents(from, 30, kind)));
    }
    make_alias_of_several(&admin, "all", &["old", "new"]);
    for search in [
        json!({ "q": "word", "sort": ["id:desc"], "limit": 7, "offset": 5 }),
        json!({ "q": "word", "sort": ["id:asc"], "filter": "n = 3" }),
        json!({ "sort": ["id:asc"], "page": 2, "hitsPerPage": 25 }),
        json!({ "q": "word", "facets": ["kind"], "sort": ["id:asc"], "limit": 40 }),
    ] {
        let (found, expected) = (client.search("all", search.clone()), client.search("both", search.clone()));
        for member in [
            "query",
            "hits",
            "limit",
            "offset",
            "estimatedTotalHits",
            "page",
            "totalHits",
            "totalPages",
            "facetDistribution",
        ] {
            assert_eq!(found[member], expected[member], "{member} of {search}");
        }
    }
    let by_get = client.get("/indexes/all/search?q=word&limit=3&sort=id:desc").expect_status(200);
    assert_eq!(by_get["hits"][0]["id"], 129);
}

/// Besides searches: lists of documents, facet searches, statistics and queries of a multi-search are those of one index that has
/// all documents.
#[test]
fn an_alias_for_several_indexes_is_read_as_one() {
    let cluster = Cluster::start(ClusterOptions { replication_factor: 2, ..Default::default() });
    let (client, admin) = (cluster.client(), cluster.admin());
    let documents = |from: u64, count: u64, kind: &str| -> Value {
        (from..from + count)
            .map(|id| json!({ "id": id, "kind": kind, "n": (id * 7) % 30, "tag": format!("t{}", id % 5) }))
            .collect()
    };
    let settings = json!({ "filterableAttributes": ["kind", "n", "tag"], "sortableAttributes": ["id", "n"] });
    for index in ["old", "new", "both"] {
        client.succeed(client.patch(&format!("/indexes/{index}/settings"), settings.clone()));
    }
    for (index, from, kind) in [("old", 0, "old"), ("new", 100, "new"), ("both", 0, "old"), ("both", 100, "new")] {
        client.succeed(client.post(&format!("/indexes/{index}/documents"), documents(from, 30, kind)));
    }
    make_alias_of_several(&admin, "all", &["old", "new"]);

    // Sorted lists are in one order; ids are unique, so that it is the only one.
    for query in [
        json!({ "sort": ["id:desc"], "limit": 7, "offset": 27 }),
        json!({ "sort": ["id:asc"], "limit": 100 }),
        json!({ "sort": ["n:asc", "id:desc"], "offset": 3, "limit": 20 }),
        json!({ "sort": ["n:desc", "id:asc"], "fields": ["kind"], "limit": 9 }),
        json!({ "sort": ["id:asc"], "filter": "n < 12", "limit": 40 }),
        json!({ "sort": ["id:asc"], "ids": [1, 101, 7, 999] }),
        json!({ "sort": ["id:asc"], "limit": 0 }),
    ] {
        let read = |index: &str| client.post(&format!("/indexes/{index}/documents/fetch"), query.clone());
        assert_eq!(read("all").expect_status(200), read("both").expect_status(200), "{query}");
    }
    // Others show each document once, and the first index's first.
    let mut ids = Vec::new();
    for offset in (0..70).step_by(10) {
        let page = client.get(&format!("/indexes/all/documents?offset={offset}&limit=10")).expect_status(200);
        assert_eq!((&page["total"], &page["offset"], &page["limit"]), (&json!(60), &json!(offset), &json!(10)));
        ids.extend(page["results"].as_array().unwrap().iter().map(|document| document["id"].as_u64().unwrap()));
    }
    assert!(ids[..30].iter().all(|id| *id < 100) && ids[30..].iter().all(|id| *id >= 100), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 60);
    let few = client.get("/indexes/all/documents?filter=n%20%3D%207&fields=id").expect_status(200);
    assert_eq!((few["total"].clone(), few["results"].as_array().unwrap().len()), (json!(2), 2));
    client.get("/indexes/all/documents?limit=x").expect_error(400, "invalid_document_limit");
    client
        .post("/indexes/all/documents/fetch", json!({ "filter": "no = 1" }))
        .expect_error(400, "invalid_document_filter");

    for query in [
        json!({ "facetName": "tag" }),
        json!({ "facetName": "tag", "facetQuery": "t3" }),
        json!({ "facetName": "kind", "filter": "n < 10" }),
    ] {
        let read = |index: &str| client.post(&format!("/indexes/{index}/facet-search"), query.clone());
        let [got, expected] = [read("all"), read("both")].map(|answer| answer.expect_status(200)["facetHits"].clone());
        assert_eq!(got, expected, "{query}");
    }
    client.post("/indexes/all/facet-search", json!({})).expect_error(400, "missing_facet_search_facet_name");

    let [got, expected] = ["all", "both"].map(|name| client.get(&format!("/indexes/{name}/stats")).expect_status(200));
    for member in ["numberOfDocuments", "fieldDistribution", "isIndexing"] {
        assert_eq!(got[member], expected[member], "{member}");
    }
    assert_eq!(got["fieldDistribution"]["kind"], 60);

    let query = |index: &str| json!({ "indexUid": index, "sort": ["id:desc"], "limit": 40, "facets": ["kind"] });
    let queries = json!({ "queries": [query("all"), query("both"), { "indexUid": "old" }, query("all")] });
    let found = client.post("/multi-search", queries).expect_status(200);
    let results = found["results"].as_array().unwrap();
    let uids: Vec<&str> = results.iter().map(|result| result["indexUid"].as_str().unwrap()).collect();
    assert_eq!(uids, ["all", "both", "old", "all"]);
    for member in ["hits", "estimatedTotalHits", "facetDistribution", "query", "limit", "offset"] {
        assert_eq!(results[0][member], results[1][member], "{member}");
    }
    assert_eq!(results[3]["hits"], results[0]["hits"]);
    let wrong = json!({ "queries": [{ "indexUid": "old" }, { "indexUid": "all", "filter": "no = 1" }] });
    let wrong = client.post("/multi-search", wrong).expect_error(400, "invalid_search_filter");
    assert!(wrong["message"].as_str().unwrap().starts_with("Inside `.queries[1]`: "), "{wrong}");

    // What one index alone can answer says so.
    let federated = json!({ "federation": {}, "queries": [{ "indexUid": "all" }] });
    for answer in [
        client.get("/indexes/all"),
        client.get("/indexes/all/documents/1"),
        client.get("/indexes/all/settings"),
        client.post("/indexes/all/fields", json!({})),
        client.post("/indexes/all/similar", json!({ "id": 1, "embedder": "default" })),
        client.post("/multi-search", federated),
    ] {
        let refused = answer.expect_error(501, "miroir_not_supported");
        assert!(refused["message"].as_str().unwrap().contains("`all` stands for several indexes"), "{refused}");
    }
    cluster.client_with(None).get("/indexes/all/documents/1").expect_error(401, "missing_authorization_header");
}

#[test]
fn miroir_ctl_makes_lists_and_removes_aliases() {
    let cluster = Cluster::start(ClusterOptions::default());
    cluster.succeed(cluster.post("/indexes", json!({ "uid": "one" })));
    let ctl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(programs().join("miroir-ctl"));
        command.args(["--url", &cluster.url]).env("MIROIR_ADMIN_API_KEY", &cluster.admin_key).args(arguments);
        let output = command.output().expect("miroir-ctl starts");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (ok, said) = ctl(&["alias", "set", "a", "one"]);
    assert!(ok && said.contains("version 1"), "{said}");
    let (ok, said) = ctl(&["alias", "list"]);
    assert!(
        ok && said.lines().any(|line| line.starts_with("a ") && line.contains("single") && line.ends_with("one")),
        "{said}"
    );
    assert!(!ctl(&["alias", "set", "b", "none"]).0);
    let (ok, said) = ctl(&["alias", "get", "a"]);
    assert!(ok && serde_json::from_str::<Value>(&said).expect("JSON")["targets"] == json!(["one"]), "{said}");
    assert!(ctl(&["alias", "delete", "a"]).0);
    assert!(!ctl(&["alias", "get", "a"]).0);
}
