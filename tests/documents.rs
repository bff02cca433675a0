//! Documents through the proxy: written to whoever owns them, read back as from one server.

mod support;

use serde_json::{json, Value};
use support::{Answer, Client, Cluster, ClusterOptions, SingleServer};

fn cluster() -> Cluster {
    Cluster::start(ClusterOptions::default())
}

/// What a client can see of a task, without what differs from one run to the next.
fn outcome(task: &Value) -> Value {
    let members = ["indexUid", "status", "type", "details", "error", "canceledBy"];
    members.into_iter().map(|name| (name.to_owned(), task[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Does the same on a cluster and on one server: the task must be told alike. Returns it as the cluster tells it.
#[track_caller]
fn alike(cluster: &Cluster, single: &SingleServer, request: impl Fn(&Client) -> Answer) -> Value {
    let got = cluster.client().ended(request(cluster.client()));
    let expected = single.client().ended(request(single.client()));
    assert_eq!(outcome(&got), outcome(&expected));
    got
}

/// Ids of all documents of an index, in order.
#[track_caller]
fn ids(client: &Client, index: &str) -> Vec<u64> {
    let list = client.get(&format!("/indexes/{index}/documents?limit=100000")).expect_status(200);
    let mut ids: Vec<u64> =
        list["results"].as_array().expect("results").iter().map(|d| d["id"].as_u64().expect("an id")).collect();
    ids.sort_unstable();
    assert_eq!(list["total"], ids.len());
    ids
}

#[test]
fn a_thousand_documents_are_spread_and_each_is_found_by_its_id() {
    let cluster = cluster();
    let documents: Vec<_> = (0..1000).map(|n| json!({ "id": n, "title": format!("book {n}") })).collect();

    let task = cluster.succeed(cluster.post("/indexes/books/documents", json!(documents)));

    assert_eq!(task["details"], json!({ "receivedDocuments": 1000, "indexedDocuments": 1000 }));
    let held = cluster.documents_held("books");
    assert_eq!(held.iter().sum::<u64>(), 1000, "{held:?}");
    assert!(held.iter().all(|&held| held >= 200), "a node holds under 20 %: {held:?}");
    for document in &documents {
        let found = cluster.get(&format!("/indexes/books/documents/{}", document["id"])).expect_status(200);
        assert_eq!(&found, document);
    }
    cluster.get("/indexes/books/documents/1000").expect_error(404, "document_not_found");
    assert_eq!(ids(cluster.client(), "books"), (0..1000).collect::<Vec<_>>());
    let stats = cluster.get("/indexes/books/stats").expect_status(200);
    assert_eq!(stats["numberOfDocuments"], 1000);
    assert_eq!(stats["fieldDistribution"], json!({ "id": 1000, "title": 1000 }));
}

#[test]
fn pages_of_the_list_of_documents_have_no_gap_and_no_overlap() {
    let cluster = cluster();
    let documents: Vec<_> = (0..100).map(|n| json!({ "id": n, "even": n % 2 == 0 })).collect();
    cluster.succeed(cluster.post("/indexes/books/documents", json!(documents)));
    let page = |offset: usize, limit: usize| {
        let list = cluster.get(&format!("/indexes/books/documents?offset={offset}&limit={limit}")).expect_status(200);
        assert_eq!((&list["offset"], &list["limit"], &list["total"]), (&json!(offset), &json!(limit), &json!(100)));
        list["results"].as_array().expect("results").clone()
    };
    let whole = page(0, 100);
    assert_eq!(whole.len(), 100);
    let pages: Vec<_> = (0..10).flat_map(|n| page(n * 13, 13)).collect();
    assert_eq!(pages, whole);
    assert!(page(100, 10).is_empty());

    let some = json!({ "fields": ["even"], "limit": 2 });
    let some = cluster.post("/indexes/books/documents/fetch", some).expect_status(200);
    assert_eq!(some["results"][0].as_object().expect("a document").keys().collect::<Vec<_>>(), ["even"]);
    cluster.succeed(cluster.patch("/indexes/books/settings", json!({ "filterableAttributes": ["even"] })));
    let even = json!({ "filter": "even = true", "limit": 1 });
    assert_eq!(cluster.post("/indexes/books/documents/fetch", even).expect_status(200)["total"], 50);
}

#[test]
fn an_integer_and_the_string_that_spells_it_are_one_document() {
    let cluster = cluster();
    let all = |of: fn(u64) -> Value, as_what: &str| {
        let documents: Vec<_> = (0..64).map(|n| json!({ "id": of(n), "written": as_what })).collect();
        cluster.succeed(cluster.post("/indexes/i/documents", json!(documents)));
    };
    all(|n| json!(n), "number");
    all(|n| json!(n.to_string()), "text");

    assert_eq!(cluster.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 64);
    for n in 0..64 {
        let found = cluster.get(&format!("/indexes/i/documents/{n}")).expect_status(200);
        assert_eq!(found, json!({ "id": n.to_string(), "written": "text" }));
    }
    let both = json!([5, "5", "6"]);
    let task = cluster.succeed(cluster.post("/indexes/i/documents/delete-batch", both));
    assert_eq!(task["details"]["deletedDocuments"], 2);
    assert_eq!(cluster.get("/indexes/i/stats").expect_status(200)["numberOfDocuments"], 62);
}

#[test]
fn put_merges_and_post_replaces() {
    let cluster = cluster();
    let path = "/indexes/i/documents";
    let all = |member: &str| (0..30).map(|n| json!({ "id": n, member: n })).collect::<Vec<_>>();
    cluster.succeed(cluster.post(path, json!(all("a"))));
    cluster.succeed(cluster.put(path, json!(all("b"))));
    for n in 0..30 {
        let merged = cluster.get(&format!("{path}/{n}")).expect_status(200);
        assert_eq!(merged, json!({ "id": n, "a": n, "b": n }));
    }
    cluster.succeed(cluster.post(path, json!(all("c"))));
    for n in 0..30 {
        let replaced = cluster.get(&format!("{path}/{n}")).expect_status(200);
        assert_eq!(replaced, json!({ "id": n, "c": n }));
    }
    // Of two versions in one payload the last one counts, whoever owns the document.
    cluster.succeed(cluster.post(path, json!([{ "id": 1, "v": 1 }, { "id": 2 }, { "id": 1, "v": 2 }])));
    assert_eq!(cluster.get(&format!("{path}/1")).expect_status(200), json!({ "id": 1, "v": 2 }));
}

#[test]
fn deletions_are_told_as_by_one_server() {
    let (cluster, single) = (cluster(), SingleServer::start());
    let documents: Vec<_> =
        (0..100).map(|n| json!({ "id": n, "colour": if n % 2 == 0 { "red" } else { "blue" } })).collect();
    let alike = |request: &dyn Fn(&Client) -> Answer| alike(&cluster, &single, request)["details"].clone();
    let same_are_left = |expected: Vec<u64>| {
        assert_eq!(ids(cluster.client(), "i"), expected);
        assert_eq!(ids(single.client(), "i"), expected);
    };
    let delete = |body: Value| move |client: &Client| client.post("/indexes/i/documents/delete", body.clone());

    // Of an index that nobody has.
    alike(&|client| client.delete("/indexes/i/documents/1"));
    alike(&|client| client.post("/indexes/i/documents/delete-batch", json!([1, 2])));
    alike(&delete(json!({ "filter": "id = 1" })));
    alike(&|client| client.delete("/indexes/i/documents"));

    let settings = json!({ "filterableAttributes": ["id", "colour"] });
    alike(&|client| client.patch("/indexes/i/settings", settings.clone()));
    let added = alike(&|client| client.post("/indexes/i/documents", json!(documents)));
    assert_eq!(added, json!({ "receivedDocuments": 100, "indexedDocuments": 100 }));

    let one = alike(&|client| client.delete("/indexes/i/documents/1"));
    assert_eq!(one, json!({ "providedIds": 1, "deletedDocuments": 1, "originalFilter": null }));
    let nobody = alike(&|client| client.delete("/indexes/i/documents/1"));
    assert_eq!(nobody["deletedDocuments"], 0);

    let batch = json!([1, 2, "3", 4, 4, 1000]);
    let several = alike(&|client| client.post("/indexes/i/documents/delete-batch", batch.clone()));
    assert_eq!(several["deletedDocuments"], 3);
    same_are_left((0..100).filter(|n| ![1, 2, 3, 4].contains(n)).collect());

    alike(&delete(json!({ "filter": "id < 10 AND colour = red" })));
    alike(&delete(json!({ "filter": ["id < 20", ["colour = 'blue'", "id = 12"]] })));
    same_are_left((0..100).filter(|n| *n >= 20 || (*n >= 10 && n % 2 == 0 && *n != 12)).collect());

    let failed = alike(&delete(json!({ "filter": "size = 1" })));
    assert_eq!(failed["deletedDocuments"], 0);

    let all = alike(&|client| client.delete("/indexes/i/documents"));
    assert_eq!(all["deletedDocuments"], 84);
    same_are_left(Vec::new());
    assert_eq!(cluster.documents_held("i"), [0, 0, 0]);
}

#[test]
fn one_bad_document_keeps_the_whole_batch_from_every_node() {
    let (cluster, single) = (cluster(), SingleServer::start());
    cluster.succeed(cluster.post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    single.client().succeed(single.client().post("/indexes", json!({ "uid": "i", "primaryKey": "id" })));
    let with = |bad: Value| {
        let mut documents: Vec<_> = (0..100).map(|n| json!({ "id": n })).collect();
        documents.insert(70, bad);
        Value::from(documents)
    };
    let too_long = "x".repeat(512);
    for bad in [json!("not a valid id"), json!(too_long), json!(1.5), json!(null), json!({ "a": 1 }), json!(-0.5)] {
        let batch = with(json!({ "id": bad, "title": "bad" }));
        let task = alike(&cluster, &single, |client| client.post("/indexes/i/documents", batch.clone()));
        assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("invalid_document_id")));
    }
    for verb in ["POST", "PUT"] {
        let headers = [("content-type", "application/json")];
        let send =
            |body: String| cluster.client().send(verb, "/indexes/i/documents", &headers, Some(body.into_bytes()));
        send(with(json!({ "title": "no id" })).to_string()).expect_error(400, "miroir_primary_key_required");
        let reserved = send(with(json!({ "id": 100, "_miroir_shard": 1 })).to_string());
        let error = reserved.expect_error(400, "miroir_reserved_field");
        assert!(error["message"].as_str().expect("a message").contains("_miroir_shard"), "{error}");
        let unfinished = with(json!({ "id": 100 })).to_string().replace(']', ",");
        send(unfinished).expect_error(400, "malformed_payload");
    }
    let lines = "{\"id\":1}\n{\"id\":2,\"_miroir_shard\":\"a\"}\n";
    let path = "/indexes/i/documents";
    cluster.client().post_as(path, "application/x-ndjson", lines).expect_error(400, "miroir_reserved_field");
    let table = "id,_miroir_shard\n1,a\n";
    cluster.client().post_as(path, "text/csv", table).expect_error(400, "miroir_reserved_field");

    assert_eq!(cluster.documents_held("i"), [0, 0, 0]);
    // A field that only looks like a reserved one, or that is inside of another, is the client's own.
    let own = json!([{ "id": 1, "miroir_shard": 1, "a": { "_miroir_shard": 1 }, "_miroir_updated_at": 1 }]);
    cluster.succeed(cluster.post(path, own.clone()));
    assert_eq!(cluster.get("/indexes/i/documents/1").expect_status(200), own[0]);
}

#[test]
fn the_primary_key_is_found_as_by_one_server() {
    let (cluster, single) = (cluster(), SingleServer::start());
    let add = |path: &'static str, documents: Value| {
        alike(&cluster, &single, move |client| client.post(path, documents.clone()))
    };
    let primary_key = |index: &str| {
        let path = format!("/indexes/{index}");
        let (got, expected) = (cluster.get(&path).body, single.client().get(&path).body);
        assert_eq!(got["primaryKey"], expected["primaryKey"]);
        got["primaryKey"].clone()
    };

    // Inferred from the first document alone, and kept.
    add("/indexes/a/documents", json!([{ "bookId": 1, "title": "a" }, { "bookId": 2, "other_id": 1 }]));
    assert_eq!(primary_key("a"), "bookId");
    cluster.post("/indexes/a/documents", json!([{ "id": 1 }])).expect_error(400, "miroir_primary_key_required");
    let conflict = add("/indexes/a/documents?primaryKey=title", json!([{ "bookId": 3, "title": "t" }]));
    assert_eq!(conflict["error"]["code"], "index_primary_key_already_exists");
    add("/indexes/a/documents?primaryKey=bookId", json!([{ "bookId": 4 }]));

    // Named by the client, against what would have been inferred.
    add("/indexes/b/documents?primaryKey=isbn", json!([{ "id": "one", "isbn": 1 }]));
    assert_eq!(primary_key("b"), "isbn");

    // Nothing to infer from: tasks that fail as SDKs expect, and an index that can still get its key.
    let none = add("/indexes/c/documents", json!([{ "title": "a" }]));
    assert_eq!(none["error"]["code"], "index_primary_key_no_candidate_found");
    let several = add("/indexes/c/documents", json!([{ "id": 1, "uid": 1 }]));
    assert_eq!(several["error"]["code"], "index_primary_key_multiple_candidates_found");
    add("/indexes/c/documents", json!([{ "id": 1 }]));
    assert_eq!(primary_key("c"), "id");
}

#[test]
fn documents_create_their_index_on_every_node() {
    let cluster = cluster();
    cluster.get("/indexes/new").expect_error(404, "index_not_found");
    cluster.get("/indexes/new/documents").expect_error(404, "index_not_found");
    cluster.post("/indexes/new/search", json!({})).expect_error(404, "index_not_found");
    cluster.client().fail(cluster.delete("/indexes/new/documents/1"), "index_not_found");

    // One document is on one node; the other nodes answer searches of the index too.
    cluster.succeed(cluster.post("/indexes/new/documents", json!({ "id": 1, "title": "only" })));

    let index = cluster.get("/indexes/new").expect_status(200);
    assert_eq!((&index["uid"], &index["primaryKey"]), (&json!("new"), &json!("id")));
    assert_eq!(cluster.get("/indexes").expect_status(200)["total"], 1);
    let mut held = cluster.documents_held("new");
    held.sort_unstable();
    assert_eq!(held, [0, 0, 1]);
    for q in ["", "only"] {
        assert_eq!(cluster.client().search("new", json!({ "q": q }))["hits"], json!([{ "id": 1, "title": "only" }]));
    }

    let deleted = cluster.succeed(cluster.delete("/indexes/new"));
    assert_eq!(deleted["details"]["deletedDocuments"], 1);
    cluster.get("/indexes/new").expect_error(404, "index_not_found");
    (0..3).for_each(|n| assert_eq!(cluster.node_client(n).get("/indexes/new").status, 404));
    // Nothing of the old one is in a new one of the same name.
    cluster.succeed(cluster.post("/indexes/new/documents?primaryKey=key", json!([{ "key": 2 }])));
    assert_eq!(cluster.client().search("new", json!({}))["hits"], json!([{ "key": 2 }]));
}

#[test]
fn every_format_gives_the_same_documents() {
    let (cluster, single) = (cluster(), SingleServer::start());
    let rows: Vec<_> = (0..50)
        .map(|n| json!({ "id": n.to_string(), "title": format!("a \"b\", {n}\nc"), "price": f64::from(n) + 0.5 }))
        .collect();
    let json = Value::from(rows.clone()).to_string();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let csv = |delimiter: &str| {
        let quoted = |row: &Value| format!("\"{}\"", row["title"].as_str().unwrap_or_default().replace('"', "\"\""));
        let record = |row: &Value| {
            [row["id"].as_str().unwrap_or_default(), &quoted(row), &row["price"].to_string()].join(delimiter) + "\n"
        };
        ["id:string", "title", "price:number"].join(delimiter) + "\n" + &rows.iter().map(record).collect::<String>()
    };
    for (index, query, content_type, body) in [
        ("json", "", "application/json", json),
        ("ndjson", "", "application/x-ndjson", lines),
        ("csv", "", "text/csv", csv(",")),
        ("semicolons", "?csvDelimiter=%3B", "text/csv", csv(";")),
    ] {
        let path = format!("/indexes/{index}/documents{query}");
        let task = alike(&cluster, &single, |client| client.post_as(&path, content_type, &body));
        assert_eq!(task["details"], json!({ "receivedDocuments": 50, "indexedDocuments": 50 }), "{index}");
        for row in &rows {
            let path = format!("/indexes/{index}/documents/{}", row["id"].as_str().unwrap_or_default());
            assert_eq!(&cluster.get(&path).expect_status(200), row);
            assert_eq!(&single.client().get(&path).expect_status(200), row);
        }
    }
    let path = "/indexes/json/documents";
    for (content_type, body) in [("text/plain", "[]"), ("text/csv", "id\n1,2\n"), ("application/x-ndjson", "{]")] {
        let (got, expected) =
            (cluster.client().post_as(path, content_type, body), single.client().post_as(path, content_type, body));
        assert_eq!((got.status, got.code()), (expected.status, expected.code()), "{content_type}");
    }
}

#[test]
fn no_answer_shows_the_shard_of_a_document() {
    let cluster = cluster();
    let settings = json!({ "filterableAttributes": ["genre"], "sortableAttributes": ["id"] });
    cluster.succeed(cluster.patch("/indexes/i/settings", settings));
    let documents: Vec<_> =
        (0..100).map(|n| json!({ "id": n, "title": format!("book {n}"), "genre": format!("g{}", n % 3) })).collect();
    cluster.succeed(cluster.post("/indexes/i/documents", json!(documents)));
    // It is there, where the nodes can see it.
    let behind = cluster.node_client(0).get("/indexes/i/documents?limit=1").expect_status(200);
    assert!(behind["results"][0]["_miroir_shard"].is_string(), "{behind}");

    let everything = json!({
        "q": "book", "limit": 100, "attributesToRetrieve": ["*"], "attributesToHighlight": ["*"], "attributesToCrop": ["*"],
        "showMatchesPosition": true, "facets": ["*"], "showRankingScore": true, "showRankingScoreDetails": true,
        "sort": ["id:asc"], "filter": "genre != none"
    });
    let answers = [
        cluster.get("/indexes/i/documents/1"),
        cluster.get("/indexes/i/documents?limit=100"),
        cluster.get("/indexes/i/documents?limit=100&fields=*"),
        cluster.get("/indexes/i/documents?limit=100&fields=id,_miroir_shard"),
        cluster.get("/indexes/i/documents/1?fields=_miroir_shard"),
        cluster.post("/indexes/i/documents/fetch", json!({ "limit": 100 })),
        cluster.post("/indexes/i/search", everything),
        cluster.post("/indexes/i/search", json!({ "attributesToRetrieve": ["_miroir_shard", "id"] })),
        cluster.post("/indexes/i/search", json!({ "attributesToHighlight": ["_miroir_shard"], "limit": 100 })),
        cluster.get("/indexes/i/search?q=book&attributesToHighlight=*&facets=*"),
        cluster.post("/indexes/i/facet-search", json!({ "facetName": "genre" })),
        cluster.get("/indexes/i/settings"),
        cluster.get("/indexes/i/settings/filterable-attributes"),
        cluster.get("/indexes/i/stats"),
        cluster.get("/stats"),
        cluster.get("/tasks"),
        cluster.get("/indexes/i"),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.status, 200, "answer {n}: {}", answer.text);
        let is_private = |c: char| ('\u{e000}'..='\u{f8ff}').contains(&c);
        assert!(!answer.text.contains("_miroir_") && !answer.text.contains(is_private), "answer {n}: {}", answer.text);
    }
    // Naming it is of no use either.
    let sorted = cluster.post("/indexes/i/search", json!({ "sort": ["_miroir_shard:asc"] }));
    sorted.expect_error(400, "invalid_search_sort");
    let faceted = cluster.post("/indexes/i/search", json!({ "facets": ["_miroir_shard"] }));
    assert!(faceted.status == 400 || faceted.body["facetDistribution"] == json!({}), "{}", faceted.text);
}
