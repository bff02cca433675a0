//! Lists of documents over three nodes: the documents, order, totals and errors of one server with all of them.

mod support;

use std::collections::BTreeSet;

use serde_json::{json, Value};
use support::{Both, Client, Fleet, FleetOptions};

/// 120 places. Some lack what they are sorted by, some have texts among numbers, some have several values.
fn places() -> Vec<Value> {
    let place = |n: usize| {
        let mut place = json!({ "id": n, "name": format!("Place {n:03}"), "seller": { "rank": n % 7, "name": "x" } });
        match n % 6 {
            0 => place["size"] = json!(n * 37 % 101),
            1 => place["size"] = json!(format!("{} wide", ["Very", "not", "éven"][n % 3])),
            2 => place["size"] = json!([n, n * 2 + 1]),
            3 => place["size"] = json!(n as f64 / 2.0),
            4 => {}
            _ => place["size"] = json!(n.is_multiple_of(7)),
        }
        if !n.is_multiple_of(4) {
            place["_geo"] = json!({ "lat": (n * 13 % 80) as f64, "lng": (n * 29 % 170) as f64 });
        }
        place
    };
    (0..120).map(place).collect()
}

fn both() -> Both {
    let settings = json!({
        "filterableAttributes": ["id", "size", "seller.rank"],
        "sortableAttributes": ["id", "size", "seller.rank", "_geo"],
        "displayedAttributes": ["id"],
    });
    Both::with(settings, places())
}

fn results(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().unwrap_or_else(|| panic!("no results in {answer}"))
}

/// Both answers to a fetch, without what says how long it took.
fn fetched(both: &Both, body: &Value) -> [Value; 2] {
    both.post("/indexes/i/documents/fetch", body).map(|answer| answer.expect_status(200))
}

#[test]
fn sorted_lists_are_those_of_one_server() {
    let both = both();
    for sort in [
        json!(["id:asc"]),
        json!(["id:desc"]),
        json!(["size:asc", "id:asc"]),
        json!(["size:desc", "id:desc"]),
        json!(["seller.rank:desc", "id:asc"]),
        json!(["seller.rank:asc", "size:desc", "id:asc"]),
        json!(["_geoPoint(10, 20):asc", "id:asc"]),
        json!(["_geoPoint(-10.5, 120.25):desc", "id:asc"]),
        json!(["size:asc", "_geoPoint(1, 2):asc", "id:desc"]),
    ] {
        for window in
            [json!({}), json!({"offset": 0, "limit": 120}), json!({"offset": 37, "limit": 11}), json!({"offset": 115})]
        {
            for fields in [json!({}), json!({"fields": ["name"]}), json!({"fields": ["id", "seller"]})] {
                for filter in [json!({}), json!({"filter": "seller.rank > 2"})] {
                    let mut body = json!({ "sort": sort });
                    for part in [&window, &fields, &filter] {
                        body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
                    }
                    let [got, expected] = fetched(&both, &body);
                    assert_eq!(got, expected, "{body}");
                }
            }
        }
    }
    let query = "sort=_geoPoint(10,20):asc,id:desc&fields=id&offset=3&limit=4&filter=seller.rank%20%3C%206";
    let [got, expected] = both.get(&format!("/indexes/i/documents?{query}")).map(|answer| answer.expect_status(200));
    assert_eq!(got, expected);
    assert_eq!(results(&got).len(), 4);
}

#[test]
fn a_list_by_ids_has_the_documents_that_exist() {
    let both = both();
    let sorted = |body: Value| {
        let [got, expected] = fetched(&both, &body);
        assert_eq!((&got["total"], &got["limit"]), (&expected["total"], &expected["limit"]), "{body}");
        let ids = |answer: &Value| results(answer).iter().map(|d| d["id"].as_u64().unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(ids(&got), ids(&expected), "{body}");
        got
    };
    assert_eq!(results(&sorted(json!({"ids": [3, "7", 99, 100, "nobody", "7"]}))).len(), 4);
    assert_eq!(sorted(json!({"ids": []}))["total"], 0);
    assert_eq!(sorted(json!({"ids": ["nobody"]}))["total"], 0);
    sorted(json!({"ids": [1, 2, 3, 4, 5, 6, 7, 8], "filter": "seller.rank = 1"}));
    let [got, expected] = fetched(&both, &json!({"ids": [5, 90, 17, 44], "sort": ["id:desc"], "limit": 3}));
    assert_eq!(got, expected);
    let whole = sorted(json!({"ids": (0..120).collect::<Vec<_>>(), "limit": 120}));
    for document in results(&whole) {
        assert_eq!(document, &places()[document["id"].as_u64().unwrap() as usize]);
    }
    let by_parameters = both.cluster.get("/indexes/i/documents?ids=3,nobody,7&fields=id").expect_status(200);
    assert_eq!(by_parameters["total"], 2);
}

#[test]
fn pages_of_an_unsorted_list_neither_overlap_nor_leave_gaps() {
    let both = both();
    let page = |offset: usize, limit: usize| {
        let [got, expected] = fetched(&both, &json!({"offset": offset, "limit": limit}));
        for member in ["offset", "limit", "total"] {
            assert_eq!(got[member], expected[member]);
        }
        results(&got).iter().map(|document| document["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let whole = page(0, 1000);
    assert_eq!(whole.iter().copied().collect::<BTreeSet<_>>(), (0..120).collect());
    let by_seven: Vec<u64> = (0..18).flat_map(|n| page(n * 7, 7)).collect();
    assert_eq!(by_seven, whole);
    assert_eq!(page(120, 5), [0; 0]);
}

#[test]
fn what_is_refused_is_refused_in_the_words_of_one_server() {
    let both = both();
    for body in [
        json!({"sort": ["name:asc"]}),
        json!({"sort": ["id"]}),
        json!({"sort": ["_geoPoint(100, 2):asc"]}),
        json!({"sort": "id:asc"}),
        json!({"limit": -1}),
        json!({"offset": "a"}),
        json!({"ids": ["a b"]}),
        json!({"ids": [1.5]}),
        json!({"filter": "name = x"}),
        json!({"filter": "id ="}),
        json!({"fields": 7}),
        json!({"retrieveVectors": "x"}),
        json!({"unknown": 1}),
        json!([]),
    ] {
        both.refuse_alike("/indexes/i/documents/fetch", &body);
    }
    for query in ["limit=x", "offset=-1", "sort=name:asc", "nonsense=1", "ids=a%20b", "retrieveVectors=1", "filter=id"]
    {
        let [got, expected] = both.get(&format!("/indexes/i/documents?{query}"));
        assert!(expected.status >= 400, "{query}");
        assert_eq!((got.status, &got.body), (expected.status, &expected.body), "{query}");
    }
}

#[test]
fn a_node_that_dies_between_pages_costs_no_page() {
    let mut fleet = Fleet::start(&FleetOptions::default());
    let client: Client = fleet.client().clone();
    client.succeed(client.patch("/indexes/i/settings", json!({"sortableAttributes": ["id"]})));
    client.succeed(client.post("/indexes/i/documents?primaryKey=id", json!(places())));
    let ids = |body: Value| -> Vec<u64> {
        let page = client.post("/indexes/i/documents/fetch", body).expect_status(200);
        assert_eq!(page["total"], 120);
        results(&page).iter().map(|document| document["id"].as_u64().unwrap()).collect()
    };
    let first = ids(json!({"sort": ["id:asc"], "limit": 60}));
    fleet.kill_node(1);
    let second = ids(json!({"sort": ["id:asc"], "offset": 60, "limit": 60, "fields": ["id"]}));
    assert!(first.into_iter().chain(second).eq(0..120));
    assert_eq!(ids(json!({"limit": 1000})).into_iter().collect::<BTreeSet<_>>(), (0..120).collect());
}
