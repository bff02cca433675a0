use serde_json::{json, Value};

use super::*;

fn request(body: Value) -> SearchRequest {
    match SearchRequest::from_json(body.to_string().as_bytes()) {
        ParsedSearch::Search(request) => *request,
        ParsedSearch::PassThrough => panic!("{body} is a search"),
    }
}

fn leg(body: Value, shards: Option<&[Shard]>, facts: &IndexFacts) -> Value {
    serde_json::from_slice(&request(body).leg_body(shards, facts)).unwrap()
}

#[test]
fn a_leg_is_asked_from_the_first_hit_to_the_pages_last() {
    let facts = IndexFacts::default();
    let paging = |body: Value| {
        let mut leg = leg(body, None, &facts);
        leg.as_object_mut().unwrap().remove("showRankingScoreDetails");
        leg
    };
    assert_eq!(paging(json!({})), json!({"offset": 0, "limit": 20}));
    assert_eq!(paging(json!({"offset": 40, "limit": 10})), json!({"offset": 0, "limit": 50}));
    assert_eq!(paging(json!({"offset": 995, "limit": 10})), json!({"offset": 0, "limit": 1000}), "maxTotalHits holds");
    assert_eq!(paging(json!({"page": 3, "hitsPerPage": 7})), json!({"page": 1, "hitsPerPage": 21}));
    assert_eq!(paging(json!({"page": 2})), json!({"page": 1, "hitsPerPage": 40}));
    assert_eq!(paging(json!({"hitsPerPage": 0})), json!({"page": 1, "hitsPerPage": 0}), "totals only");
    assert_eq!(paging(json!({"page": 0, "hitsPerPage": 5})), json!({"page": 1, "hitsPerPage": 0}));
    assert_eq!(paging(json!({"limit": usize::MAX, "offset": usize::MAX})), json!({"offset": 0, "limit": 1000}));
}

#[test]
fn a_search_for_anything_is_an_object_too() {
    assert_eq!(request(json!({})).whole_body(None), "{}");
    assert_eq!(request(json!({ "q": "a" })).whole_body(None), r#"{"q":"a"}"#);
}

#[test]
fn the_restriction_is_anded_to_any_form_of_filter() {
    let restricted = |filter: Value| {
        leg(json!({ "filter": filter }), Some(&[Shard(3), Shard(4)]), &IndexFacts::default())["filter"].clone()
    };
    let shards = "_miroir_shard IN [\"\u{e003}\", \"\u{e004}\"]";
    assert_eq!(restricted(Value::Null), json!([shards]));
    assert_eq!(restricted(json!("a = 1 OR b = 2")), json!([shards, "a = 1 OR b = 2"]));
    assert_eq!(restricted(json!(["a = 1", ["b = 2", "c = 3"]])), json!([shards, "a = 1", ["b = 2", "c = 3"]]));
    assert_eq!(restricted(json!([])), json!([shards]));
    assert_eq!(leg(json!({"filter": "a = 1"}), None, &IndexFacts::default())["filter"], "a = 1");
}

#[test]
fn what_the_client_wrote_stays_as_it_was_written() {
    let body = br#"{"q":"x","vector":[1.10,2e5],"cropMarker":"\u2026","hybrid":{"embedder":"e"}}"#;
    let ParsedSearch::Search(request) = SearchRequest::from_json(body) else { panic!("a search") };
    let leg = request.leg_body(None, &IndexFacts::default());
    let text = std::str::from_utf8(&leg).unwrap();
    assert!(
        text.starts_with(r#"{"q":"x","vector":[1.10,2e5],"cropMarker":"\u2026","hybrid":{"embedder":"e"},"#),
        "{text}"
    );
}

#[test]
fn shard_characters_are_taken_out_of_the_query() {
    let body = json!({"q": "a\u{e003}b\u{f0001}"});
    assert_eq!(leg(body.clone(), None, &IndexFacts::default())["q"], "ab");
    let merged = request(body).merge(&[empty_leg()], &IndexFacts::default(), &Supplement::NONE).unwrap();
    let answer: Value = serde_json::from_slice(&merged).unwrap();
    assert_eq!(answer["query"], "a\u{e003}b\u{f0001}", "the answer repeats what the client sent");
}

#[test]
fn the_distinct_attribute_is_asked_for_when_the_client_did_not() {
    let facts = IndexFacts { distinct_attribute: Some("seller.id".to_owned()), ..IndexFacts::default() };
    let asked = |body: Value| leg(body, None, &facts)["attributesToRetrieve"].clone();
    assert_eq!(asked(json!({})), Value::Null, "all attributes come anyway");
    assert_eq!(asked(json!({"attributesToRetrieve": ["*"]})), json!(["*"]));
    assert_eq!(asked(json!({"attributesToRetrieve": ["seller"]})), json!(["seller"]));
    assert_eq!(asked(json!({"attributesToRetrieve": ["title"]})), json!(["title", "seller.id"]));
    assert_eq!(asked(json!({"attributesToRetrieve": ["title"], "distinct": "brand"})), json!(["title", "brand"]));

    let added =
        request(json!({"attributesToRetrieve": ["seller.name"], "attributesToCrop": ["*:5"]})).added_attributes(&facts);
    assert_eq!(added, [AddedAttribute { name: "seller.id".to_owned(), shares_member: true, stays_in_formatted: true }]);
}

#[test]
fn facets_are_counted_with_the_number_of_documents() {
    let facets = |facets: Value| leg(json!({ "facets": facets }), None, &IndexFacts::default())["facets"].clone();
    assert_eq!(facets(json!(["a"])), json!(["a", "_miroir_shard"]));
    assert_eq!(facets(json!(["*"])), json!(["*"]));
    assert_eq!(facets(json!([])), json!([]));
}

#[test]
fn pages_of_one_query_have_one_fingerprint() {
    let of = |body: Value| request(body).fingerprint();
    let first = of(json!({"q": "a", "sort": ["x:asc"]}));
    assert_eq!(first, of(json!({"sort": ["x:asc"], "offset": 20, "limit": 5, "q": "a"})));
    assert_eq!(first, of(json!({"sort": ["x:asc"], "page": 2, "hitsPerPage": 5, "q": "a"})));
    assert_ne!(first, of(json!({"q": "b", "sort": ["x:asc"]})));
    assert_ne!(of(json!({"q": "a"})), of(json!({"q": "a", "filter": "x = 1"})));
}

#[test]
fn what_miroir_cannot_read_goes_to_a_node_unchanged() {
    for body in [
        "",
        "[]",
        "{",
        r#"{"limit":-1}"#,
        r#"{"limit":null}"#,
        r#"{"offset":"1"}"#,
        r#"{"page":1.5}"#,
        r#"{"q":7}"#,
        r#"{"filter":7}"#,
        r#"{"filter":{"a":1}}"#,
        r#"{"facets":"a"}"#,
        r#"{"showRankingScore":"yes"}"#,
        r#"{"attributesToRetrieve":"a"}"#,
        r#"{"distinct":["a"]}"#,
    ] {
        assert!(matches!(SearchRequest::from_json(body.as_bytes()), ParsedSearch::PassThrough), "{body}");
    }
    assert!(matches!(SearchRequest::from_query("limit=doggo"), ParsedSearch::PassThrough));
}

#[test]
fn get_and_post_ask_the_same() {
    let ParsedSearch::Search(get) = SearchRequest::from_query("q=x&limit=5&filter=a%3D1") else { panic!("a search") };
    let post = request(json!({"filter": "a=1", "q": "x", "limit": 5}));
    assert_eq!(get.fingerprint(), post.fingerprint());
    assert_eq!(
        get.leg_body(Some(&[Shard(1)]), &IndexFacts::default()),
        post.leg_body(Some(&[Shard(1)]), &IndexFacts::default())
    );
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    let ParsedSearch::Search(request) = SearchRequest::from_json(br#"{"limit":1,"limit":2}"#) else {
        panic!("a search")
    };
    assert_eq!(request.paging(), Paging::Window { offset: 0, limit: 2 });
}

fn empty_leg() -> Leg {
    let body = r#"{"hits":[],"query":"","processingTimeMs":0,"limit":20,"offset":0,"estimatedTotalHits":0}"#;
    Leg { shards: vec![Shard(0)], body: Bytes::from_static(body.as_bytes()) }
}

#[test]
fn no_leg_is_asked_for_a_field_of_miroirs_own_because_the_client_named_it() {
    let body = json!({"filter": "_miroir_shard = 3", "sort": ["_miroir_shard:asc"], "facets": ["_miroir_shard"]});
    let asked = leg(body, None, &IndexFacts::default());
    assert_eq!(asked["filter"], "_miroir_shar\u{111} = 3");
    assert_eq!(asked["sort"], json!(["_miroir_shar\u{111}:asc"]));
    assert_eq!(asked["facets"], json!(["_miroir_shar\u{111}", "_miroir_shard"]));
}

#[test]
fn the_part_by_words_of_a_hybrid_search_stays_in_the_order_of_its_sort() {
    let hit = |id: u64, size: u64, exactness: f64| {
        json!({
            "id": id, "_rankingScore": exactness, "_rankingScoreDetails": {
                "words": { "order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": 1.0 },
                "size:desc": { "order": 1, "value": size },
                "wordPosition": { "order": 2, "score": exactness },
            },
        })
    };
    let leg = |shard: u32, hits: Value| {
        let body = json!({ "hits": hits, "query": "x", "processingTimeMs": 0, "limit": 3, "offset": 0, "estimatedTotalHits": 9 });
        Leg { shards: vec![Shard(shard)], body: body.to_string().into() }
    };
    let words = [leg(0, json!([hit(1, 9, 1.0), hit(2, 7, 1.0)])), leg(1, json!([hit(3, 8, 0.9), hit(4, 6, 0.9)]))];
    let search = json!({
        "q": "x", "sort": ["size:desc"], "limit": 3, "vector": [1.0],
        "hybrid": { "embedder": "e", "semanticRatio": 0.1 },
    });
    let search = request(search).with_key("id");
    let answer = search.words_suffice(&words, Weights::of_ratio(0.1), &IndexFacts::default()).unwrap();
    let answer: Value = serde_json::from_slice(&answer.expect("the words are good enough")).unwrap();
    let ids: Vec<u64> = answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 3, 2]);
}
