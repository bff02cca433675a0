//! Tokens of the search UI: who is given one, and that it searches its index and does nothing else.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use jsonwebtoken::{encode, Algorithm, EncodingKey, Header};
use serde_json::{json, Value};
use support::{hang_up, Answer, Client, Fleet, FleetOptions};

const SECRET: &str = "the-search-ui-secret-of-these-tests";
const SESSION: &str = "/_miroir/ui/search/films/session";

/// Two nodes with six films of three tenants, and what `search_ui` says beside its secret.
fn fleet(search_ui: &str) -> Fleet {
    let settings =
        format!("  ilm: {{ enabled: true }}\n  search_ui:\n    enabled: true\n    jwt_secret: {SECRET}\n{search_ui}");
    let fleet = Fleet::start(&FleetOptions {
        groups: vec![2],
        replication_factor: 1,
        settings,
        server: ", trusted_proxies: [127.0.0.1]",
        ..FleetOptions::default()
    });
    let master = fleet.client();
    let tenants = ["a", "b", r#"c", "b"#];
    let films: Vec<Value> = (0..6).map(|n| json!({ "id": n, "title": "film", "tenant": tenants[n % 3] })).collect();
    for index in ["films", "books", "secret"] {
        master.succeed(
            master.patch(&format!("/indexes/{index}/settings"), json!({ "filterableAttributes": ["tenant"] })),
        );
        master.succeed(master.post(&format!("/indexes/{index}/documents"), json!(films)));
    }
    fleet
}

/// What a page sends that has no key of its own.
fn page(fleet: &Fleet) -> Client {
    Client::new(&fleet.url, None)
}

fn with_token(fleet: &Fleet, session: &Value) -> Client {
    Client::new(&fleet.url, Some(session["token"].as_str().expect("a token")))
}

/// The claims that a page can read.
fn claims(session: &Value) -> Value {
    let payload = session["token"].as_str().expect("a token").split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

fn ids(hits: &Value) -> Vec<u64> {
    let mut ids: Vec<u64> =
        hits.as_array().expect("hits").iter().map(|hit| hit["id"].as_u64().expect("an id")).collect();
    ids.sort_unstable();
    ids
}

fn reload(fleet: &Fleet, edit: impl FnOnce(String) -> String) {
    fleet.edit_configuration(edit);
    fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
}

#[test]
fn everyone_is_given_a_token_for_the_indexes_that_are_offered() {
    let fleet = fleet("    indexes: [films, cinema, \"none_*\"]\n");
    let page = page(&fleet);
    let answer = page.get(SESSION);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let session = answer.expect_status(200);
    assert_eq!(session["index"], "films");
    let expires_at = session["expires_at"].as_str().expect("a time");
    let expires_at =
        time::OffsetDateTime::parse(expires_at, &time::format_description::well_known::Rfc3339).expect("a time");
    assert_eq!(expires_at.unix_timestamp(), claims(&session)["exp"].as_i64().unwrap());
    let lifetime = (expires_at - time::OffsetDateTime::now_utc()).whole_seconds();
    assert!((800..=900).contains(&lifetime), "{lifetime}");
    assert_eq!(ids(&with_token(&fleet, &session).search("films", json!({}))["hits"]), [0, 1, 2, 3, 4, 5]);

    // An index that is not offered is as good as none.
    let message = |index: &str| {
        let refused = page.get(&format!("/_miroir/ui/search/{index}/session")).expect_error(404, "index_not_found");
        refused["message"].as_str().unwrap().to_owned()
    };
    for index in ["secret", "books", "none", "none_1", "cinema"] {
        assert_eq!(message(index), format!("Index `{index}` not found."));
    }
    fleet.admin().put("/_miroir/aliases/cinema", json!({ "target": "films" })).expect_status(201);
    let by_alias = page.get("/_miroir/ui/search/cinema/session").expect_status(200);
    assert_eq!(ids(&with_token(&fleet, &by_alias).search("cinema", json!({}))["hits"]).len(), 6);
    page.get("/_miroir/ui/search/a%20b/session").expect_error(401, "miroir_invalid_auth");
    page.post(SESSION, json!({})).expect_error(401, "miroir_invalid_auth");

    // Without the search UI there are neither sessions nor tokens.
    let client = with_token(&fleet, &session);
    reload(&fleet, |text| text.replace("    enabled: true\n", "    enabled: false\n"));
    page.get(SESSION).expect_error(404, "index_not_found");
    client.post("/indexes/films/search", json!({})).expect_error(401, "miroir_jwt_invalid");
}

#[test]
fn an_address_is_given_only_so_many_tokens_a_minute() {
    let fleet = fleet("    indexes: [films]\n    sessions_per_minute: 3\n");
    let page = page(&fleet);
    let from = |address: &str| page.send("GET", SESSION, &[("x-forwarded-for", address)], None);
    // However slowly they come: a minute has three.
    let given = (0..100).take_while(|_| from("1.2.3.4").status == 200).count();
    assert!((3..100).contains(&given), "{given}");
    let limited = from("9.9.9.9, 1.2.3.4");
    let wait: u64 = limited.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    limited.expect_error(429, "miroir_too_many_requests");
    from("1.2.3.5").expect_status(200);
    // What is asked for does not matter: names of indexes are not found out by trying either.
    let guess = |n: u32| {
        page.send("GET", &format!("/_miroir/ui/search/guess{n}/session"), &[("x-forwarded-for", "5.5.5.5")], None)
    };
    let guesses = (0..100).take_while(|n| guess(*n).status == 404).count();
    assert!((3..100).contains(&guesses), "{guesses}");
}

#[test]
fn a_shared_key_is_asked_for_before_anything_is_told() {
    let fleet = fleet("    indexes: [films]\n    access: shared_key\n    shared_key: the-key-that-pages-share\n");
    let ask = |key: &str, index: &str| {
        Client::with_header(&fleet.url, "x-search-ui-key", key).get(&format!("/_miroir/ui/search/{index}/session"))
    };
    ask("the-key-that-pages-share", "films").expect_status(200);
    ask("the-key-that-pages-share", "none").expect_error(404, "index_not_found");
    for key in ["", "the-key-that-pages-shar", "the-key-that-pages-sharex", SECRET] {
        for index in ["films", "secret", "none"] {
            ask(key, index).expect_error(401, "miroir_invalid_auth");
        }
    }
    page(&fleet).get(SESSION).expect_error(401, "miroir_invalid_auth");
    fleet.client().get(SESSION).expect_error(401, "miroir_invalid_auth");

    // It changes without a page that is refused.
    reload(&fleet, |text| {
        let both = "shared_key: the-next-key-that-pages-share\n    shared_key_previous: the-key-that-pages-share\n";
        text.replace("shared_key: the-key-that-pages-share\n", both)
    });
    ask("the-key-that-pages-share", "films").expect_status(200);
    ask("the-next-key-that-pages-share", "films").expect_status(200);
    reload(&fleet, |text| text.replace("    shared_key_previous: the-key-that-pages-share\n", ""));
    ask("the-key-that-pages-share", "films").expect_error(401, "miroir_invalid_auth");
}

#[test]
fn what_a_visitor_finds_is_what_the_proxy_says_who_the_visitor_is() {
    let fleet = fleet(
        "    indexes: [films, all]\n    access: oauth_proxy\n    oauth_proxies: [127.0.0.1]\n    filter_template: \"tenant IN \
         [{groups}]\"\n",
    );
    let page = page(&fleet);
    let session = |headers: &[(&str, &str)]| page.send("GET", SESSION, headers, None);
    let of_groups = |groups: &str| {
        let session = session(&[("x-forwarded-user", "ann"), ("x-forwarded-groups", groups)]).expect_status(200);
        with_token(&fleet, &session)
    };
    let found = |groups: &str| ids(&of_groups(groups).search("films", json!({}))["hits"]);
    assert_eq!(found("a"), [0, 3]);
    assert_eq!(found("a,b, nobody"), [0, 1, 3, 4]);
    // Whatever a group is called, it is one name.
    for group in [
        "",
        " , ",
        "nobody",
        r#"nobody", "a"#,
        r#"x"] OR "tenant" EXISTS OR "id" IN ["0"#,
        r#"x\"] OR tenant EXISTS OR tenant IN [\"a"#,
        r"\",
        r#"\""#,
        "'a'",
        "[a]",
        "*",
        "団体 ü",
        "{groups}",
        "tenant EXISTS",
    ] {
        let expected: [u64; 0] = [];
        assert_eq!(found(group), expected, "{group}");
        assert_eq!(found(&format!("b,{group}")), [1, 4], "{group}");
    }
    assert_eq!(found("c,b"), [1, 4], "a comma separates names");
    session(&[("x-forwarded-user", "ann")]).expect_status(200);
    assert_eq!(claims(&session(&[("x-forwarded-user", "ann")]).expect_status(200))["filter"], r#""tenant" IN []"#);

    // The page's own filter can only take away, on every way to search.
    let ann = of_groups("a");
    for filter in
        [json!("tenant = b OR tenant = a"), json!([["tenant = b", "tenant = a"]]), json!("tenant EXISTS"), json!(null)]
    {
        assert_eq!(ids(&ann.search("films", json!({ "filter": filter }))["hits"]), [0, 3], "{filter}");
    }
    let by_get = ann
        .get("/indexes/films/search?filter=tenant%20%3D%20b%20OR%20tenant%20%3D%20a&facets=tenant")
        .expect_status(200);
    assert_eq!((ids(&by_get["hits"]), &by_get["facetDistribution"]), (vec![0, 3], &json!({ "tenant": { "a": 2 } })));
    let queries =
        json!([{ "indexUid": "films", "filter": "tenant = b OR tenant = a" }, { "indexUid": "films", "limit": 1 }]);
    let several = ann.post("/multi-search", json!({ "queries": queries })).expect_status(200);
    assert_eq!(ids(&several["results"][0]["hits"]), [0, 3]);
    assert_eq!(several["results"][1]["estimatedTotalHits"], 2);
    let federation = json!({ "facetsByIndex": { "films": ["tenant"] } });
    let federated =
        ann.post("/multi-search", json!({ "federation": federation, "queries": [{ "indexUid": "films" }] }));
    let federated = federated.expect_status(200);
    assert_eq!(ids(&federated["hits"]), [0, 3]);
    assert_eq!(federated["facetsByIndex"]["films"]["distribution"], json!({ "tenant": { "a": 2 } }));
    // An alias that stands for several is searched as one, under the same filter.
    support::make_alias_of_several(&fleet.admin(), "all", &["films", "books"]);
    let headers = [("x-forwarded-user", "ann"), ("x-forwarded-groups", "a")];
    let of_all = page.send("GET", "/_miroir/ui/search/all/session", &headers, None).expect_status(200);
    let of_all = with_token(&fleet, &of_all);
    assert_eq!(ids(&of_all.search("all", json!({ "filter": "tenant = b OR tenant = a" }))["hits"]), [0, 0, 3, 3]);
    let several = of_all.post("/multi-search", json!({ "queries": [{ "indexUid": "all" }] })).expect_status(200);
    assert_eq!(ids(&several["results"][0]["hits"]), [0, 0, 3, 3]);
    // Two visitors who ask the same at the same time are two.
    std::thread::scope(|scope| {
        for (groups, expected) in [("a", [0, 3]), ("b", [1, 4])].repeat(4) {
            let client = of_groups(groups);
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(ids(&client.search("films", json!({ "q": "film" }))["hits"]), expected);
                }
            });
        }
    });

    // Who does not say who they are is not let in, nor is whoever says it twice, or is not the proxy.
    session(&[]).expect_error(401, "miroir_invalid_auth");
    session(&[("x-forwarded-groups", "a")]).expect_error(401, "miroir_invalid_auth");
    session(&[("x-forwarded-user", "ann"), ("x-forwarded-user", "bob")]).expect_error(401, "miroir_invalid_auth");
    let many: String = (0..1000).map(|n| format!("group-{n},")).collect();
    session(&[("x-forwarded-user", "ann"), ("x-forwarded-groups", &many)]).expect_error(401, "miroir_invalid_auth");
    reload(&fleet, |text| text.replace("oauth_proxies: [127.0.0.1]", "oauth_proxies: [10.0.0.1]"));
    let as_the_proxy = [("x-forwarded-user", "ann"), ("x-forwarded-groups", "a"), ("x-forwarded-for", "10.0.0.1")];
    session(&as_the_proxy).expect_error(401, "miroir_invalid_auth");
}

#[test]
fn a_token_searches_its_index_and_does_nothing_else() {
    let fleet = fleet("    indexes: [films]\n");
    let client = with_token(&fleet, &page(&fleet).get(SESSION).expect_status(200));
    client.post("/indexes/films/search", json!({})).expect_status(200);
    client.get("/indexes/films/search?q=film").expect_status(200);
    let denied = |answer: Answer| {
        let message = answer.expect_error(403, "miroir_jwt_scope_denied")["message"].as_str().unwrap().to_owned();
        assert!(message.contains("opens searches of index `films` and nothing else"), "{message}");
    };
    for path in [
        "/version",
        "/stats",
        "/indexes",
        "/indexes/films",
        "/indexes/films/stats",
        "/indexes/films/settings",
        "/indexes/films/settings/synonyms",
        "/indexes/films/documents",
        "/indexes/films/documents/1",
        "/indexes/books/search",
        "/indexes/none/search",
        "/indexes/films/similar?id=1&embedder=e",
        "/tasks",
        "/tasks/0",
        "/batches",
        "/keys",
        "/webhooks",
        "/chats",
        "/experimental-features",
        "/network",
        "/no-such-route",
        "/_miroir/topology",
        "/_miroir/config",
        "/_miroir/aliases",
        "/_miroir/no-such-route",
    ] {
        denied(client.get(path));
    }
    for path in [
        "/indexes",
        "/indexes/books/search",
        "/indexes/films/facet-search",
        "/indexes/films/similar",
        "/indexes/films/explain",
        "/indexes/films/fields",
        "/indexes/films/documents",
        "/indexes/films/documents/fetch",
        "/indexes/films/documents/delete",
        "/indexes/films/documents/delete-batch",
        "/indexes/films/documents/edit",
        "/swap-indexes",
        "/tasks/cancel",
        "/keys",
        "/dumps",
        "/snapshots",
        "/export",
        "/_miroir/reload",
        "/_miroir/aliases/actions",
    ] {
        denied(client.post(path, json!({})));
    }
    for path in ["/indexes/films", "/indexes/films/documents", "/tasks?statuses=succeeded", "/keys/none"] {
        denied(client.delete(path));
    }
    denied(client.patch("/indexes/films/settings", json!({ "synonyms": {} })));

    // Every query of a request is of its index, in whatever order and form.
    for queries in [
        json!([{ "indexUid": "books" }]),
        json!([{ "indexUid": "films" }, { "indexUid": "books" }]),
        json!([{ "indexUid": "films" }, { "indexUid": "none" }]),
    ] {
        let refused =
            client.post("/multi-search", json!({ "queries": queries })).expect_error(403, "miroir_jwt_scope_denied");
        assert!(refused["message"].as_str().unwrap().starts_with("Inside `.queries["), "{refused}");
        let federated = client.post("/multi-search", json!({ "federation": {}, "queries": queries }));
        federated.expect_error(403, "miroir_jwt_scope_denied");
    }
    // Nor do errors tell which other indexes there are, and which facets they have.
    for (index, facet) in [("books", "tenant"), ("books", "nonsense"), ("none", "tenant")] {
        let federation = json!({ "facetsByIndex": { index: [facet] } });
        let refused =
            client.post("/multi-search", json!({ "federation": federation, "queries": [{ "indexUid": "films" }] }));
        refused.expect_error(403, "miroir_jwt_scope_denied");
    }
    let joined = client.post("/indexes/films/search", json!({ "filter": "_foreign(tenant, id = 1)" }));
    assert!(joined.status >= 400, "{}", joined.text);
    // What asks nobody does not ask for the token either.
    client.get("/health").expect_status(200);
    client.get("/_miroir/ready").expect_status(200);
}

#[test]
fn a_token_that_says_it_is_of_the_search_ui_and_does_not_count_is_invalid() {
    let fleet = fleet("    indexes: [films]\n");
    let good = claims(&page(&fleet).get(SESSION).expect_status(200));
    let changed = |changes: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let signed = |algorithm, secret: &str, claims: &Value| {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
    };
    let search = |token: &str| Client::new(&fleet.url, Some(token)).post("/indexes/films/search", json!({}));
    search(&signed(Algorithm::HS256, SECRET, &good)).expect_status(200);
    let unsigned =
        |header: &str| format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good.to_string()));
    for token in [
        signed(Algorithm::HS256, "another-secret-of-thirty-two-bytes", &good),
        signed(Algorithm::HS256, SECRET, &changed(json!({ "exp": 1_000_000 }))),
        signed(Algorithm::HS256, SECRET, &changed(json!({ "nbf": 99_999_999_999_u64 }))),
        signed(Algorithm::HS256, SECRET, &changed(json!({ "iss": "somebody" }))),
        signed(Algorithm::HS512, SECRET, &good),
        unsigned(r#"{"alg":"none","typ":"JWT"}"#),
        unsigned(r#"{"alg":"RS256","typ":"JWT"}"#),
        // A tenant token by its other claims is still what its audience says.
        signed(
            Algorithm::HS256,
            "value",
            &changed(json!({ "searchRules": ["*"], "apiKeyUid": "74c9c733-3368-4738-bbe5-1d18a5fecb37" })),
        ),
    ] {
        search(&token).expect_error(401, "miroir_jwt_invalid");
        let client = Client::new(&fleet.url, Some(&token));
        client.get("/stats").expect_error(401, "miroir_jwt_invalid");
        client.get("/_miroir/topology").expect_error(401, "miroir_jwt_invalid");
    }
    // One for another index, with the right signature, is not for this one.
    search(&signed(Algorithm::HS256, SECRET, &changed(json!({ "index": "books" }))))
        .expect_error(403, "miroir_jwt_scope_denied");
    search(&signed(Algorithm::HS256, SECRET, &changed(json!({ "scopes": ["multi_search"] }))))
        .expect_error(403, "miroir_jwt_scope_denied");
    // What does not say so is answered as Meilisearch answers it.
    for token in ["a.b.c", "..", &signed(Algorithm::HS256, SECRET, &json!({ "aud": "somebody" }))] {
        search(token).expect_error(403, "invalid_api_key");
    }
}

#[test]
fn a_token_for_an_alias_goes_by_what_that_stands_for_at_each_search() {
    let fleet = fleet("    indexes: [shop]\n");
    let flip = |target: &str| fleet.admin().put("/_miroir/aliases/shop", json!({ "target": target }));
    flip("films").expect_status(201);
    let client = with_token(&fleet, &page(&fleet).get("/_miroir/ui/search/shop/session").expect_status(200));
    let master = fleet.client();
    master.succeed(master.delete("/indexes/books/documents/0"));
    let queries = json!({ "queries": [{ "indexUid": "shop" }] });
    let found = || {
        let one = client.search("shop", json!({}))["estimatedTotalHits"].clone();
        let several = client.post("/multi-search", queries.clone()).expect_status(200)["results"][0]
            ["estimatedTotalHits"]
            .clone();
        assert_eq!(one, several);
        one
    };
    assert_eq!(found(), 6);
    flip("books").expect_status(200);
    assert_eq!(found(), 5);
    // It opens the name, not what the name stands for.
    for index in ["films", "books"] {
        let refused =
            client.post(&format!("/indexes/{index}/search"), json!({})).expect_error(403, "miroir_jwt_scope_denied");
        assert!(!refused.to_string().contains("books"), "{refused}");
        let query = json!({ "queries": [{ "indexUid": index }] });
        client.post("/multi-search", query).expect_error(403, "miroir_jwt_scope_denied");
    }
    // While it is flipped, no search fails.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let total = client.search("shop", json!({}))["estimatedTotalHits"].as_u64();
                    assert!(matches!(total, Some(5 | 6)), "{total:?}");
                    client.post("/multi-search", queries.clone()).expect_status(200);
                }
            });
        }
        for n in 0..60 {
            flip(["films", "books"][n % 2]).expect_status(200);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    fleet.admin().delete("/_miroir/aliases/shop").expect_status(200);
    client.post("/indexes/shop/search", json!({})).expect_error(404, "index_not_found");
}

/// Pages search all the time while the secret changes: by the API, by a signal, and until the old one is taken out.
#[test]
fn the_secret_is_changed_without_a_search_that_fails() {
    let fleet = fleet("    indexes: [films]\n    sessions_per_minute: 1000000\n");
    let page = page(&fleet);
    let new = "the-next-search-ui-secret-of-these-tests";
    let session = || page.get(SESSION).expect_status(200);
    let of_old = session();
    let (is_over, searches) = (AtomicBool::new(false), AtomicU64::new(0));
    let searched = |count: u64| {
        let from = searches.load(Ordering::SeqCst);
        support::wait_until("searches go on", support::START_PATIENCE, || {
            searches.load(Ordering::SeqCst) >= from + count
        });
    };
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (is_over, searches, of_old, fleet) = (&is_over, &searches, &of_old, &fleet);
            scope.spawn(move || {
                let mut client = with_token(fleet, of_old);
                while !is_over.load(Ordering::SeqCst) {
                    // Some keep their token, some take a new one each time.
                    if n % 2 == 0 {
                        client = with_token(fleet, &Client::new(&fleet.url, None).get(SESSION).expect_status(200));
                    }
                    client.post("/indexes/films/search", json!({})).expect_status(200);
                    client.post("/multi-search", json!({ "queries": [{ "indexUid": "films" }] })).expect_status(200);
                    searches.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        searched(20);
        let both = format!("jwt_secret: {new}\n    jwt_secret_previous: {SECRET}\n");
        fleet.edit_configuration(|text| text.replace(&format!("jwt_secret: {SECRET}\n"), &both));
        let changed = fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
        let paths = ["miroir.search_ui.jwt_secret", "miroir.search_ui.jwt_secret_previous"];
        assert_eq!(changed, json!({ "changed": paths }));
        searched(20);
        hang_up(fleet.proxy_pid());
        searched(20);
        is_over.store(true, Ordering::SeqCst);
    });
    let of_new = session();
    let status = |session: &Value| with_token(&fleet, session).post("/indexes/films/search", json!({})).status;
    assert_eq!((status(&of_old), status(&of_new)), (200, 200));
    fleet.edit_configuration(|text| text.replace(&format!("    jwt_secret_previous: {SECRET}\n"), ""));
    hang_up(fleet.proxy_pid());
    support::wait_until("the old secret has gone", support::START_PATIENCE, || status(&of_old) == 401);
    assert_eq!(status(&of_new), 200);
}
