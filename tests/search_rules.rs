//! Dynamic search rules: kept the same on all nodes, and pages with pinned documents are those of one server.

mod support;

use serde_json::{json, Value};
use support::{wait_until, Both, Client, Cluster, ClusterOptions, Fleet, FleetOptions, SingleServer, TASK_PATIENCE};

const PATH: &str = "/dynamic-search-rules";

fn switch_on(client: &Client) {
    let features = client.patch("/experimental-features", json!({ "dynamicSearchRules": true })).expect_status(200);
    assert_eq!(features["dynamicSearchRules"], true);
}

fn pin(id: impl ToString, position: u64) -> Value {
    json!({ "selector": { "id": id.to_string() }, "action": { "type": "pin", "position": position } })
}

fn pin_in(index: &str, id: impl ToString, position: u64) -> Value {
    json!({ "selector": { "indexUid": index, "id": id.to_string() }, "action": { "type": "pin", "position": position } })
}

fn set(client: &Client, uid: &str, rule: Value) -> Value {
    client.succeed(client.patch(&format!("{PATH}/{uid}"), rule))
}

/// Whether the nodes have rules; the embedded one has none, so that only what Miroir does of itself can be seen with it.
fn nodes_have_rules() -> bool {
    std::env::var_os("MIROIR_NODE_BIN").is_some_and(|program| program != "embedded")
}

/// Forty films, of which every third has the same kind; equal ones go by their numbers.
fn films() -> Both {
    films_on(ClusterOptions::default())
}

fn films_on(options: ClusterOptions) -> Both {
    let titles = ["red night", "blue night", "red sun", "long night of the sun"];
    let film = |n: usize| json!({ "id": n, "title": titles[n % 4], "kind": n % 3, "group": n % 7, "_vectors": { "v": [n as f64 / 40.0, 1.0] } });
    let settings = json!({
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness", "id:asc"],
        "filterableAttributes": ["kind", "group"], "sortableAttributes": ["id"],
        "embedders": { "v": { "source": "userProvided", "dimensions": 2 } },
    });
    let both = Both { cluster: Cluster::start(options), single: SingleServer::start() };
    both.add_index("i", settings, (0..40).map(film).collect());
    both.clients().into_iter().for_each(switch_on);
    both
}

/// What a client sees of an answer, but for times, versions and numbers of requests.
fn seen(mut body: Value) -> Value {
    let times =
        ["processingTimeMs", "requestUid", "lastUpdatedAt", "enqueuedAt", "startedAt", "finishedAt", "duration"];
    match &mut body {
        Value::Object(members) => {
            times.into_iter().for_each(|name| drop(members.remove(name)));
            members.values_mut().for_each(|value| *value = seen(value.take()));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| *value = seen(value.take())),
        _ => {}
    }
    body
}

#[track_caller]
fn same(both: &Both, method: &str, path: &str, body: &Value) -> Value {
    let [got, expected] = both.clients().map(|client| {
        let bytes = (method != "GET" && method != "DELETE").then(|| body.to_string().into_bytes());
        client.send(method, path, &[("content-type", "application/json")], bytes)
    });
    assert_eq!((got.status, seen(got.body)), (expected.status, seen(expected.body.clone())), "{method} {path} {body}");
    expected.body
}

#[test]
fn rules_are_written_read_and_listed_as_on_one_server() {
    if !nodes_have_rules() {
        return;
    }
    let both = Both::with(json!({}), vec![json!({ "id": 1 })]);
    for (method, path) in
        [("POST", PATH), ("DELETE", PATH), ("GET", "/dynamic-search-rules/a"), ("PATCH", "/dynamic-search-rules/a")]
    {
        let refused = same(&both, method, path, &json!({}));
        assert_eq!(refused["code"], "feature_not_enabled");
    }
    both.clients().into_iter().for_each(switch_on);
    same(&both, "POST", PATH, &json!({}));
    same(&both, "GET", "/dynamic-search-rules/none", &json!(null));
    let full = json!({ "description": "black friday sale", "precedence": 10, "active": true,
        "conditions": { "query": { "words": "shoe", "isEmpty": null }, "filter": { "values": { "b": [1], "a": "x" } },
            "time": { "start": "2020-01-01T00:00:00.5+02:00" } },
        "actions": [pin_in("i", 1, 3), pin(2, 0)] });
    let steps = [
        ("a", full),
        ("b", json!({ "description": "black sale", "active": false })),
        ("c", json!({ "description": "friday", "conditions": { "query": { "words": "friday night" } } })),
        ("a", json!({ "precedence": null, "conditions": { "query": { "isEmpty": false } } })),
        ("a", json!({})),
        ("d", json!({ "conditions": { "filter": {}, "time": {} } })),
    ];
    for (uid, body) in steps {
        let tasks = both.clients().map(|client| seen(set(client, uid, body.clone())));
        let [got, expected] = tasks.map(|task| json!([task["type"], task["indexUid"], task["details"], task["error"]]));
        assert_eq!(got, expected);
        same(&both, "GET", &format!("{PATH}/{uid}"), &json!(null));
    }
    for body in [
        json!({}),
        json!({ "offset": 1, "limit": 1 }),
        json!({ "limit": 0 }),
        json!({ "filter": { "active": false } }),
        json!({ "filter": { "active": true, "query": "" }, "limit": 2 }),
        json!({ "filter": { "query": "friday" } }),
        json!({ "filter": { "query": "nothing like it" } }),
        json!({ "filter": { "active": 1 } }),
        json!({ "filter": 1 }),
        json!({ "limit": "x" }),
        json!({ "offset": null }),
        json!({ "nonsense": 1 }),
        json!([]),
    ] {
        same(&both, "POST", PATH, &body);
    }
    for body in [
        json!({ "nonsense": 1 }),
        json!({ "precedence": -1 }),
        json!({ "active": "x" }),
        json!({ "description": 3 }),
        json!({ "conditions": { "x": 1 } }),
        json!({ "conditions": { "query": { "isEmpty": true, "words": "x" } } }),
        json!({ "conditions": { "time": { "start": "x" } } }),
        json!({ "conditions": { "time": { "start": "2025-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z" } } }),
        json!({ "actions": [{ "selector": { "id": 1 }, "action": { "type": "pin", "position": 0 } }] }),
        json!({ "actions": [{ "selector": { "id": "1", "indexUid": "a b" }, "action": { "type": "pin", "position": 0 } }] }),
        json!({ "actions": [{ "selector": { "id": "1" }, "action": { "type": "pun" } }] }),
        json!({ "conditions": [] }),
        json!([]),
    ] {
        assert_eq!(same(&both, "PATCH", "/dynamic-search-rules/v", &body)["type"], "invalid_request");
    }
    same(&both, "PATCH", "/dynamic-search-rules/v?nonsense=1", &json!({}));
    for path in ["/dynamic-search-rules/none", "/dynamic-search-rules/a?customMetadata=mine", PATH, PATH] {
        let tasks = both.clients().map(|client| client.succeed(client.delete(path)));
        let [got, expected] = tasks.map(|task| {
            json!([task["type"], task["indexUid"], task["details"], task["customMetadata"], task["error"]])
        });
        assert_eq!(got, expected, "{path}");
    }
    same(&both, "POST", PATH, &json!({}));
    for filter in
        ["types=dsrUpdate", "types=dsrClear&statuses=succeeded", "indexUids=.meili_dsr", "types=dsrClear&indexUids=i"]
    {
        let totals = both.get(&format!("/tasks?{filter}")).map(|answer| (answer.status, answer.body["total"].clone()));
        assert_eq!(totals[0], totals[1], "{filter}");
    }
}

/// Whatever the nodes are: rules are Miroir's own record.
#[test]
fn rules_are_read_as_they_were_written_and_outlive_a_restart() {
    let mut fleet = Fleet::start(&FleetOptions { groups: vec![2], ..Default::default() });
    let client = fleet.client().clone();
    client.patch("/dynamic-search-rules/a", json!({})).expect_error(400, "feature_not_enabled");
    switch_on(&client);
    let task = set(&client, "a", json!({ "description": "d", "precedence": 2, "actions": [pin_in("i", 1, 3)] }));
    assert_eq!((&task["type"], &task["indexUid"]), (&json!("dsrUpdate"), &json!(".meili_dsr")));
    assert_eq!(task["details"]["rule"], json!({ "description": "d", "precedence": 2, "actions": [pin_in("i", 1, 3)] }));
    set(&client, "b", json!({ "active": false }));
    set(&client, "a", json!({ "description": null, "conditions": { "query": { "isEmpty": true } } }));
    fleet.kill_proxy();
    fleet.start_proxy();
    let a = json!({ "uid": "a", "precedence": 2, "active": true, "conditions": { "query": { "isEmpty": true } }, "actions": [pin_in("i", 1, 3)] });
    assert_eq!(seen(client.get("/dynamic-search-rules/a").expect_status(200)), a);
    let uids = |body: Value| {
        let list = client.post(PATH, body).expect_status(200);
        let rules = list["results"].as_array().expect("rules").iter();
        (Vec::from_iter(rules.map(|rule| rule["uid"].as_str().unwrap_or_default().to_owned())), list["total"].clone())
    };
    assert_eq!(uids(json!({})), (vec!["a".to_owned(), "b".to_owned()], json!(2)));
    assert_eq!(uids(json!({ "offset": 1, "limit": 1 })), (vec!["b".to_owned()], json!(2)));
    assert_eq!(uids(json!({ "filter": { "active": true } })), (vec!["a".to_owned()], json!(1)));
    client.get("/dynamic-search-rules/none").expect_error(404, "dynamic_search_rule_not_found");
    assert_eq!(client.succeed(client.delete("/dynamic-search-rules/b"))["details"], json!({ "updatedRules": 1 }));
    assert_eq!(client.succeed(client.delete(PATH))["details"], json!({ "deletedDocuments": 1 }));
    assert_eq!(uids(json!({})), (vec![], json!(0)));
    assert_eq!(client.get("/tasks?types=dsrUpdate,dsrClear").expect_status(200)["total"], 5);
}

#[test]
fn keys_need_the_actions_of_rules() {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() });
    let client = cluster.client();
    switch_on(client);
    let key_for = |actions: Value| {
        let body = json!({ "actions": actions, "indexes": ["*"], "expiresAt": null });
        cluster.client_with(client.post("/keys", body).expect_status(201)["key"].as_str())
    };
    let reader = key_for(json!(["dynamicSearchRules.get", "tasks.get"]));
    reader.post(PATH, json!({})).expect_status(200);
    reader.get("/dynamic-search-rules/a").expect_error(404, "dynamic_search_rule_not_found");
    reader.patch("/dynamic-search-rules/a", json!({})).expect_error(403, "invalid_api_key");
    reader.delete(PATH).expect_error(403, "invalid_api_key");
    let writer = key_for(json!(["dynamicSearchRules.update", "tasks.get"]));
    set(&writer, "a", json!({}));
    writer.post(PATH, json!({})).expect_error(403, "invalid_api_key");
    writer.delete("/dynamic-search-rules/a").expect_error(403, "invalid_api_key");
}

/// A generator of its own, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    fn rule(&mut self) -> Value {
        let mut rule = json!({ "actions": (0..1 + self.below(4)).map(|_| pin(self.below(45), self.below(12))).collect::<Vec<_>>() });
        if self.below(3) > 0 {
            rule["precedence"] = self.below(3).into();
        }
        rule["conditions"] = self.one_of(&[
            json!({}),
            json!({}),
            json!({ "query": { "words": "night" } }),
            json!({ "query": { "isEmpty": true } }),
            json!({ "filter": { "values": { "kind": 1 } } }),
            json!({ "time": { "end": "2020-01-01T00:00:00Z" } }),
        ]);
        rule
    }

    fn search(&mut self) -> Value {
        let mut search =
            json!({ "q": self.one_of(&["", "night", "red", "red night", "sun"]), "showRankingScoreDetails": true });
        match self.below(3) {
            0 => {
                search["page"] = (1 + self.below(4)).into();
                search["hitsPerPage"] = (1 + self.below(8)).into();
            }
            1 => {
                search["offset"] = self.below(10).into();
                search["limit"] = self.below(9).into();
            }
            _ => {}
        }
        match self.below(4) {
            0 => search["filter"] = "kind = 1".into(),
            1 => search["filter"] = json!(["group > 1", "kind != 2"]),
            _ => {}
        }
        if self.below(3) == 0 {
            search["facets"] = json!(["kind"]);
        }
        if self.below(4) == 0 {
            search["attributesToRetrieve"] = json!(["title"]);
        }
        if self.below(5) == 0 {
            search["sort"] = json!(["id:desc"]);
        }
        search
    }
}

/// Hits as both show them. Details of rules are ratios of each server's own, but those of a pin are not.
fn page(answer: Value) -> Value {
    let mut answer = seen(answer);
    for hit in answer["hits"].as_array_mut().into_iter().flatten() {
        if hit["_rankingScoreDetails"].get("pin").is_none() {
            hit.as_object_mut().map(|members| members.remove("_rankingScoreDetails"));
        }
        hit.as_object_mut().map(|members| members.remove("_federation").map(|_| ()));
    }
    answer
}

#[test]
fn pages_with_pins_are_those_of_one_server() {
    if !nodes_have_rules() {
        return;
    }
    as_on_one_server(&films(), 2);
}

/// Legs whose nodes hold more shards than they are asked for are restricted to some, which the conditions of a rule see as well.
#[test]
fn pages_with_pins_of_replicated_shards_are_those_of_one_server() {
    if !nodes_have_rules() {
        return;
    }
    as_on_one_server(&films_on(ClusterOptions { replication_factor: 2, ..Default::default() }), 3);
}

/// Compares pages of generated searches under generated rules.
fn as_on_one_server(both: &Both, seed: u64) {
    let mut random = Random(seed);
    let mut pinned = 0;
    for round in 0..3 {
        both.clients().into_iter().for_each(|client| drop(client.succeed(client.delete(PATH))));
        let rules: Vec<Value> = (0..2 + random.below(3)).map(|_| random.rule()).collect();
        for (n, rule) in rules.iter().enumerate() {
            both.clients().into_iter().for_each(|client| drop(set(client, &format!("r{n}"), rule.clone())));
        }
        for _ in 0..60 {
            let search = random.search();
            let [got, expected] = both.post("/indexes/i/search", &search).map(|answer| page(answer.expect_status(200)));
            pinned += expected["hits"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|hit| hit["_rankingScoreDetails"].is_object())
                .count();
            assert_eq!(got, expected, "round {round}, {search}, {}", json!(rules));
        }
    }
    assert!(pinned > 60, "only {pinned} pins were seen");
}

#[test]
fn a_pin_is_shown_whatever_its_distinct_value_and_filter_and_counts() {
    if !nodes_have_rules() {
        return;
    }
    let both = films();
    let rule = json!({ "actions": [pin(39, 1), pin(3, 0), pin(6, 5), pin(77, 0)] });
    both.clients().into_iter().for_each(|client| drop(set(client, "r", rule.clone())));
    for search in [
        json!({ "q": "night", "distinct": "kind" }),
        json!({ "q": "night", "distinct": "kind", "page": 1, "hitsPerPage": 3, "facets": ["kind"] }),
        json!({ "q": "night", "distinct": "group", "limit": 4 }),
        json!({ "q": "sun", "filter": "kind = 0", "facets": ["kind", "group"] }),
        json!({ "q": "sun", "filter": "kind = 1" }),
        json!({ "q": "nothinglikeit", "facets": ["kind"] }),
        json!({ "q": "night", "limit": 0 }),
        json!({ "q": "night", "showRankingScore": true, "offset": 1, "limit": 1 }),
    ] {
        let answers = both.post("/indexes/i/search", &search).map(|answer| page(answer.expect_status(200)));
        let [got, expected] = answers.map(|mut answer| {
            if search.get("distinct").is_some() {
                // An estimate, with rules or without.
                answer.as_object_mut().map(|members| members.remove("estimatedTotalHits"));
            }
            answer
        });
        assert_eq!(got, expected, "{search}");
    }
    let without = json!({ "q": "night", "attributesToRetrieve": ["title"], "limit": 3 });
    let [got, _] = both.post("/indexes/i/search", &without);
    assert!(!got.text.contains("_rankingScore") && !got.text.contains("\"id\""), "{}", got.text);
}

#[test]
fn several_searches_and_one_list_of_several_have_their_pins() {
    if !nodes_have_rules() {
        return;
    }
    let both = films();
    let other = (0..10).map(|n| json!({ "id": n, "title": "red book", "kind": n % 3 })).collect();
    both.add_index(
        "j",
        json!({ "filterableAttributes": ["kind"], "rankingRules": ["words", "typo", "sort", "id:asc"] }),
        other,
    );
    let rules = [
        ("a", json!({ "precedence": 2, "actions": [pin_in("i", 8, 2), pin_in("j", 9, 2), pin(5, 0)] })),
        (
            "b",
            json!({ "precedence": 1, "actions": [pin_in("j", 7, 4), pin_in("i", 30, 0)], "conditions": { "query": { "words": "red" } } }),
        ),
    ];
    for (uid, rule) in &rules {
        both.clients().into_iter().for_each(|client| drop(set(client, uid, rule.clone())));
    }
    let query = |index: &str, q: &str| json!({ "indexUid": index, "q": q, "showRankingScoreDetails": true });
    let queries = json!([query("i", "red"), query("j", "red"), query("i", "sun")]);
    let answers = both.post("/multi-search", &json!({ "queries": queries }));
    let [got, expected] = answers.map(|answer| {
        Vec::from_iter(answer.expect_status(200)["results"].as_array().expect("results").iter().cloned().map(page))
    });
    assert_eq!(got, expected);
    for federation in
        [json!({}), json!({ "limit": 5 }), json!({ "offset": 2, "limit": 4 }), json!({ "page": 2, "hitsPerPage": 3 })]
    {
        for queries in [json!([query("i", "red")]), json!([query("j", "red"), query("i", "red")]), queries.clone()] {
            let body = json!({ "federation": federation, "queries": queries });
            let [got, expected] = both.post("/multi-search", &body).map(|answer| page(answer.expect_status(200)));
            let shown = |answer: &Value| {
                let hits = answer["hits"].as_array().expect("hits");
                Vec::from_iter(hits.iter().map(|hit| json!([hit["id"], hit["title"], hit["_rankingScoreDetails"]])))
            };
            assert_eq!(shown(&got), shown(&expected), "{body}");
        }
    }
}

#[test]
fn searches_by_meaning_have_their_pins() {
    if !nodes_have_rules() {
        return;
    }
    let both = films();
    let rule = json!({ "actions": [pin(20, 3), pin(38, 0), pin(2, 1)] });
    both.clients().into_iter().for_each(|client| drop(set(client, "r", rule.clone())));
    for ratio in [0.2, 0.5, 0.9, 1.0] {
        for paging in [json!([0, 20]), json!([0, 2]), json!([2, 5])] {
            let search = json!({ "q": "red night", "vector": [0.9, 1.0], "hybrid": { "embedder": "v", "semanticRatio": ratio },
                "offset": paging[0], "limit": paging[1], "showRankingScoreDetails": true });
            let [got, expected] = both.post("/indexes/i/search", &search).map(|answer| page(answer.expect_status(200)));
            assert_eq!(got, expected, "{search}");
        }
    }
}

fn rules_of(client: &Client) -> Value {
    let mut rules = seen(client.post(PATH, json!({ "limit": 100 })).expect_status(200)["results"].clone());
    rules.as_array_mut().expect("rules").sort_by_key(|rule| rule["uid"].to_string());
    rules
}

#[test]
fn rules_are_the_same_on_all_nodes_whatever_happens_to_them() {
    if !nodes_have_rules() {
        return;
    }
    let settings = "  settings_drift_check: { interval_ms: 1000 }\n".to_owned();
    let mut fleet = Fleet::start(&FleetOptions { settings, ..Default::default() });
    let client = fleet.client().clone();
    let documents: Vec<Value> = (0..30).map(|id| json!({ "id": id, "title": "film" })).collect();
    client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(documents)));
    switch_on(&client);
    set(&client, "kept", json!({ "actions": [pin_in("i", 20, 0)] }));
    set(&client, "gone", json!({ "actions": [pin(21, 1)] }));
    let first = |client: &Client| client.search("i", json!({ "limit": 2 }))["hits"][0]["id"].clone();
    assert_eq!(first(&client), 20);
    let same_everywhere = |fleet: &Fleet| {
        let wanted = rules_of(fleet.client());
        (0..fleet.node_count()).all(|n| rules_of(&fleet.node_client(n)) == wanted)
    };
    assert!(same_everywhere(&fleet), "when the tasks have succeeded");

    // What was changed behind Miroir's back.
    let node = fleet.node_client(1);
    node.succeed(node.patch("/dynamic-search-rules/own", json!({})));
    node.succeed(node.delete("/dynamic-search-rules/kept"));
    wait_until("the node is repaired", TASK_PATIENCE, || same_everywhere(&fleet));

    // What a node missed, and what Miroir knew before it was started anew.
    fleet.kill_node(2);
    fleet.await_failure(2);
    client.succeed(client.delete("/dynamic-search-rules/gone"));
    set(&client, "kept", json!({ "actions": [pin_in("i", 25, 0)] }));
    set(&client, "late", json!({ "active": false }));
    assert_eq!(first(&client), 25);
    fleet.kill_proxy();
    fleet.start_node(2);
    fleet.start_proxy();
    fleet.await_recovery();
    assert_eq!(rules_of(&client).as_array().map(Vec::len), Some(2));
    wait_until("the node has caught up", TASK_PATIENCE, || same_everywhere(&fleet));
    let told = |answer: &support::Answer| answer.header("x-miroir-settings-inconsistent").is_some();
    wait_until("answers say so", TASK_PATIENCE, || !told(&client.post("/indexes/i/search", json!({}))));
    assert_eq!(first(&client), 25);

    // A rule names what clients call an index.
    client.succeed(
        client.post("/indexes/j/documents?primaryKey=id", json!([{ "id": 25 }, { "id": 1, "title": "other" }])),
    );
    client.succeed(client.post("/swap-indexes", json!([{ "indexes": ["i", "j"] }])));
    wait_until("nodes have been told", TASK_PATIENCE, || !told(&client.post("/indexes/i/search", json!({}))));
    assert_eq!(first(&client), 25);
    let of_other = client.search("j", json!({ "showRankingScoreDetails": true, "limit": 1 }));
    assert!(of_other["hits"][0]["_rankingScoreDetails"].get("pin").is_none(), "{of_other}");
}
