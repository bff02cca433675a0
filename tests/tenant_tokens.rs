//! Tenant tokens: signed by a client with an API key, they open searches of what their rules show, and nothing else.

mod support;

use jsonwebtoken::{encode, Algorithm, EncodingKey, Header};
use serde_json::{json, Value};
use support::{Client, Cluster, ClusterOptions};

struct Tenants {
    cluster: Cluster,
    uid: String,
    value: String,
}

impl Tenants {
    /// Six films of two tenants, dealt out to shards, and a key for searching.
    fn start() -> Self {
        let cluster = Cluster::start(ClusterOptions { nodes: 2, ..Default::default() });
        let master = cluster.client();
        let films: Vec<Value> = (0..6)
            .map(
                |n| json!({ "id": n, "title": format!("film {n}"), "tenant": n % 2, "genre": if n < 3 { "war" } else { "peace" } }),
            )
            .collect();
        for index in ["films", "books"] {
            let settings = json!({ "filterableAttributes": ["tenant", "genre"] });
            cluster.succeed(master.patch(&format!("/indexes/{index}/settings"), settings));
            cluster.succeed(master.post(&format!("/indexes/{index}/documents"), json!(films)));
        }
        let body = json!({ "actions": ["search", "documents.get"], "indexes": ["films", "books"], "expiresAt": null });
        let key = master.post("/keys", body).expect_status(201);
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        Self { uid: text("uid"), value: text("key"), cluster }
    }

    fn token(&self, algorithm: Algorithm, secret: &str, claims: Value) -> String {
        let mut claims = claims;
        claims["apiKeyUid"] = json!(self.uid);
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn client(&self, claims: Value) -> Client {
        self.cluster.client_with(Some(&self.token(Algorithm::HS256, &self.value, claims)))
    }
}

fn ids(hits: &Value) -> Vec<u64> {
    let mut ids: Vec<u64> = hits.as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_tokens_filter_is_anded_to_every_search() {
    let tenants = Tenants::start();
    let one = tenants.client(json!({ "searchRules": { "films": { "filter": "tenant = 1" } } }));
    let found = one.search("films", json!({ "facets": ["genre", "tenant"] }));
    assert_eq!((ids(&found["hits"]), &found["estimatedTotalHits"]), (vec![1, 3, 5], &json!(3)));
    assert_eq!(found["facetDistribution"], json!({ "genre": { "war": 1, "peace": 2 }, "tenant": { "1": 3 } }));

    // Whatever the client filters by, also by what would show more.
    let cases = [
        (json!("genre = war"), vec![1]),
        (json!("genre = war OR tenant = 0"), vec![1]),
        (json!(["genre = peace"]), vec![3, 5]),
        (json!([["tenant = 0", "tenant = 1"]]), vec![1, 3, 5]),
        (json!("tenant = 0"), vec![]),
        (json!(""), vec![1, 3, 5]),
    ];
    for (filter, expected) in cases {
        let found = one.search("films", json!({ "filter": filter }));
        assert_eq!(ids(&found["hits"]), expected, "{filter}");
    }
    let found = one.get("/indexes/films/search?filter=genre%20%3D%20war%20OR%20tenant%20%3D%200").expect_status(200);
    assert_eq!(ids(&found["hits"]), [1]);
    // Pages, numbered and not.
    let page = one.search("films", json!({ "page": 2, "hitsPerPage": 2 }));
    assert_eq!((page["hits"].as_array().unwrap().len(), &page["totalHits"]), (1, &json!(3)));

    let facets = one.post("/indexes/films/facet-search", json!({ "facetName": "genre" })).expect_status(200);
    let expected = json!([{ "value": "peace", "count": 2 }, { "value": "war", "count": 1 }]);
    assert_eq!(facets["facetHits"], expected);
    let ruled = json!({ "facetName": "genre", "filter": "genre = war OR tenant = 0" });
    let facets = one.post("/indexes/films/facet-search", ruled).expect_status(200);
    assert_eq!(facets["facetHits"], json!([{ "value": "war", "count": 1 }]));
}

#[test]
fn rules_may_be_names_patterns_and_filters_of_any_form() {
    let tenants = Tenants::start();
    let films = |claims: Value| ids(&tenants.client(claims).search("films", json!({}))["hits"]);
    assert_eq!(films(json!({ "searchRules": ["*"] })).len(), 6);
    assert_eq!(films(json!({ "searchRules": ["fil*"] })).len(), 6);
    assert_eq!(films(json!({ "searchRules": { "*": {} }, "exp": null })).len(), 6);
    assert_eq!(films(json!({ "searchRules": { "films": null, "*": { "filter": "tenant = 1" } } })).len(), 6);
    assert_eq!(
        films(json!({ "searchRules": { "*": { "filter": [["tenant = 1", "genre = war"], "genre = war"] } } })),
        [0, 1, 2]
    );
    assert_eq!(films(json!({ "searchRules": { "fi*": { "filter": "tenant = 0" }, "*": {} } })), [0, 2, 4]);
    for (algorithm, claims) in
        [Algorithm::HS384, Algorithm::HS512].map(|algorithm| (algorithm, json!({ "searchRules": ["films"] })))
    {
        let token = tenants.token(algorithm, &tenants.value, claims);
        assert_eq!(
            tenants.cluster.client_with(Some(&token)).search("films", json!({}))["hits"].as_array().unwrap().len(),
            6
        );
    }
}

#[test]
fn a_token_that_does_not_count_is_refused_with_the_reason() {
    let tenants = Tenants::start();
    let message = |client: &Client, path: &str| {
        let refused = client.post(path, json!({})).expect_error(403, "invalid_api_key");
        refused["message"].as_str().unwrap().to_owned()
    };
    let search = "/indexes/films/search";
    let only_books = tenants.client(json!({ "searchRules": ["books"] }));
    assert_eq!(
        message(&only_books, search),
        r#"The provided tenant token cannot acces the index `films`, allowed indexes are ["books"]."#
    );
    let beyond_its_key = tenants.client(json!({ "searchRules": ["*"] }));
    assert_eq!(
        message(&beyond_its_key, "/indexes/songs/search"),
        "The API key used to generate this tenant token cannot acces the index `songs`."
    );
    let expired = tenants.client(json!({ "searchRules": ["*"], "exp": 1_000_000 }));
    assert!(message(&expired, search).starts_with("Tenant token expired. Was valid up to `1000000` and we're now `"));
    let with = |token: &str| tenants.cluster.client_with(Some(token));
    let forged = with(&tenants.token(Algorithm::HS256, "forged", json!({ "searchRules": ["*"] })));
    assert_eq!(message(&forged, search), "Could not decode tenant token, InvalidSignature.");
    let without_rules = with(&tenants.token(Algorithm::HS256, &tenants.value, json!({})));
    assert!(message(&without_rules, search)
        .starts_with("Could not decode tenant token, JSON error: missing field `searchRules`"));
    assert!(message(&with("a.b.c"), search).starts_with("Could not decode tenant token, "));

    // A token searches and does nothing else, whatever its key may do.
    let good = tenants.client(json!({ "searchRules": ["*"] }));
    for path in ["/indexes/films/documents/fetch", "/indexes/films/documents", "/keys"] {
        assert_eq!(message(&good, path), "The provided API key is invalid.");
    }
    for path in ["/indexes/films/documents", "/indexes", "/stats", "/tasks", "/no-such-route"] {
        good.get(path).expect_error(403, "invalid_api_key");
    }
    good.get("/_miroir/topology").expect_error(401, "miroir_invalid_auth");

    // It dies with its key.
    good.search("films", json!({}));
    assert_eq!(tenants.cluster.client().delete(&format!("/keys/{}", tenants.uid)).status, 204);
    assert_eq!(message(&good, search), "The provided API key is invalid.");
}

/// The rule that counts is that of the index, whatever the client calls it.
#[test]
fn an_alias_leads_around_no_rule() {
    let tenants = Tenants::start();
    let admin = tenants.cluster.admin();
    admin.put("/_miroir/aliases/cinema", json!({ "target": "films" })).expect_status(201);
    support::make_alias_of_several(&admin, "all", &["films", "books"]);
    let rules = json!({ "films": { "filter": "tenant = 1" }, "books": { "filter": "tenant = 0" }, "*": null });
    let client = tenants.client(json!({ "searchRules": rules }));
    assert_eq!(ids(&client.search("cinema", json!({}))["hits"]), [1, 3, 5]);
    assert_eq!(ids(&client.search("all", json!({}))["hits"]), [0, 1, 2, 3, 4, 5]);
    let queries = json!([{ "indexUid": "cinema" }, { "indexUid": "all", "filter": "genre = war OR genre = peace" }]);
    let found = client.post("/multi-search", json!({ "queries": queries })).expect_status(200);
    assert_eq!(ids(&found["results"][0]["hits"]), [1, 3, 5]);
    assert_eq!(ids(&found["results"][1]["hits"]), [0, 1, 2, 3, 4, 5]);
    let federated = json!({ "federation": {}, "queries": [{ "indexUid": "cinema" }] });
    assert_eq!(ids(&client.post("/multi-search", federated).expect_status(200)["hits"]), [1, 3, 5]);
    let facets = client.post("/indexes/all/facet-search", json!({ "facetName": "genre" })).expect_status(200);
    let expected = json!([{ "value": "peace", "count": 3 }, { "value": "war", "count": 3 }]);
    assert_eq!(facets["facetHits"], expected);
    // A rule for the alias' name is no rule for its index.
    let of_name = tenants.client(json!({ "searchRules": ["cinema", "all"] }));
    of_name.post("/indexes/cinema/search", json!({})).expect_error(403, "invalid_api_key");
    of_name.post("/indexes/all/search", json!({})).expect_error(403, "invalid_api_key");
    let query = json!({ "queries": [{ "indexUid": "cinema" }] });
    of_name.post("/multi-search", query).expect_error(403, "invalid_api_key");
}

#[test]
fn similar_documents_are_those_that_the_rule_shows() {
    let tenants = Tenants::start();
    let master = tenants.cluster.client();
    let embedders = json!({ "e": { "source": "userProvided", "dimensions": 2 } });
    tenants.cluster.succeed(master.delete("/indexes/films/documents"));
    tenants.cluster.succeed(master.patch("/indexes/films/settings", json!({ "embedders": embedders })));
    let film = |n: u32| json!({ "id": n, "tenant": n % 2, "_vectors": { "e": [f64::from(n), 1.0] } });
    tenants.cluster.succeed(master.post("/indexes/films/documents", (0..6).map(film).collect()));
    let similar = json!({ "id": 2, "embedder": "e", "limit": 10, "filter": "tenant = 0 OR tenant = 1" });
    let of_all = master.post("/indexes/films/similar", similar.clone()).expect_status(200);
    assert_eq!(ids(&of_all["hits"]), [0, 1, 3, 4, 5]);
    let one = tenants.client(json!({ "searchRules": { "films": { "filter": "tenant = 1" } } }));
    let own = json!({ "id": 3, "embedder": "e", "limit": 10, "filter": "tenant = 0 OR tenant = 1" });
    let found = one.post("/indexes/films/similar", own).expect_status(200);
    assert_eq!((ids(&found["hits"]), &found["estimatedTotalHits"]), (vec![1, 5], &json!(2)));
    let by_get = one.get("/indexes/films/similar?id=3&embedder=e").expect_status(200);
    assert_eq!(ids(&by_get["hits"]), [1, 5]);
    // Nor does what is near another tenant's document tell anything of it.
    one.post("/indexes/films/similar", similar).expect_error(400, "not_found_similar_id");
}
