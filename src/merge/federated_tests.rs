use serde_json::json;

use super::*;
use crate::cluster::Shard;
use crate::merge::FacetOrders;

fn leg(shard: u32, queries: &[usize], body: Value) -> FederatedLeg {
    let leg = Leg { shards: vec![Shard(shard)], body: Bytes::from(body.to_string()) };
    FederatedLeg { leg, queries: queries.to_vec() }
}

fn answer(hits: &[Value], total: u64) -> Value {
    json!({ "hits": hits, "processingTimeMs": total, "limit": 9, "offset": 0, "estimatedTotalHits": total, "requestUid": "r" })
}

/// A hit that a query, by its place among the node's, found with a score.
fn hit(id: u64, position: usize, score: f64, details: Value) -> Value {
    json!({
        "id": id, "_miroir_shard": "x",
        "_federation": { "indexUid": "on the node", "queriesPosition": position, "weightedRankingScore": score },
        "_rankingScoreDetails": if details == json!({}) { typos(0, 0) } else { details },
    })
}

fn typos(count: u64, max: u64) -> Value {
    json!({ "typo": { "order": 0, "typoCount": count, "maxTypoCount": max, "score": (max + 1 - count) as f64 / (max + 1) as f64 } })
}

struct Setup {
    facts: IndexFacts,
    queries: Vec<FederatedQuery<'static>>,
}

impl Setup {
    /// Two queries over the first index, one over the second.
    fn new() -> Self {
        let query = |index| FederatedQuery {
            index,
            weight: 1.0,
            distinct: None,
            hidden_key: None,
            hidden: None,
            pins: None,
            visible: Visibility::default(),
        };
        Self { facts: IndexFacts::default(), queries: vec![query(0), query(1), query(0)] }
    }

    fn merge(&self, legs: &[FederatedLeg], change: impl FnOnce(&mut FederatedMerge)) -> Value {
        let indexes = ["a", "b"].map(|uid| FederatedIndex { uid, node_uid: uid, facts: &self.facts });
        let mut request = FederatedMerge {
            queries: &self.queries,
            indexes: &indexes,
            paging: Paging::Window { offset: 0, limit: 20 },
            distinct: None,
            merge_facets: None,
            shows_origin: true,
            counted: &[],
        };
        change(&mut request);
        match merge_federated(legs, &request).unwrap() {
            Merged::Answer(answer) => serde_json::from_slice(&answer).unwrap(),
            Merged::FacetConflict(conflict) => panic!("{conflict:?}"),
        }
    }
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_u64().unwrap()).collect()
}

#[test]
fn hits_of_one_query_go_by_their_rules_and_those_of_two_by_their_scores() {
    // The second node knows words with two typos: the same document scores otherwise there.
    let legs = [
        leg(
            0,
            &[0, 1, 2],
            answer(&[hit(1, 0, 1.0, typos(0, 1)), hit(2, 1, 0.9, json!({})), hit(3, 0, 0.5, typos(1, 1))], 7),
        ),
        leg(
            1,
            &[0, 1, 2],
            answer(&[hit(4, 2, 0.95, json!({})), hit(5, 0, 0.67, typos(1, 2)), hit(6, 0, 0.33, typos(2, 2))], 5),
        ),
    ];
    let merged = Setup::new().merge(&legs, |_| {});
    assert_eq!(ids(&merged), [1, 4, 2, 3, 5, 6]);
    assert_eq!(merged["estimatedTotalHits"], 12);
    assert_eq!(
        merged["hits"][1],
        json!({"id": 4, "_federation": {"indexUid": "a", "queriesPosition": 2, "weightedRankingScore": 0.95}})
    );
    let page = Setup::new().merge(&legs, |request| request.paging = Paging::Window { offset: 2, limit: 2 });
    assert_eq!((ids(&page), &page["limit"], &page["offset"]), (vec![2, 3], &json!(2), &json!(2)));
}

/// As on 1.50: a document that two queries pin is there twice.
#[test]
fn each_query_has_its_pins_in_the_list() {
    let pin = |id: u64, query: usize, at: u64| hit(id, query, 1.0, json!({ "pin": { "order": 0, "position": at } }));
    let legs = [
        leg(0, &[0, 2], answer(&[pin(8, 0, 1), pin(8, 1, 1), hit(1, 0, 0.9, json!({})), hit(2, 1, 0.5, json!({}))], 3)),
        leg(1, &[0, 2], answer(&[hit(3, 0, 0.8, json!({})), pin(9, 1, 5)], 2)),
    ];
    let merged = |paging| ids(&Setup::new().merge(&legs, |request| request.paging = paging));
    assert_eq!(merged(Paging::Window { offset: 0, limit: 20 }), [1, 8, 8, 3, 2, 9]);
    assert_eq!(merged(Paging::Window { offset: 2, limit: 2 }), [8, 3]);
    assert_eq!(merged(Paging::Page { page: 2, hits_per_page: 2 }), [8, 3]);
}

#[test]
fn equal_scores_fall_to_the_earlier_query() {
    let legs = [
        leg(0, &[0, 1, 2], answer(&[hit(1, 1, 0.5, json!({})), hit(2, 2, 0.5, json!({}))], 2)),
        leg(1, &[0, 1, 2], answer(&[hit(3, 0, 0.5, json!({}))], 1)),
    ];
    assert_eq!(ids(&Setup::new().merge(&legs, |_| {})), [3, 1, 2]);
}

#[test]
fn a_nodes_places_of_queries_are_not_the_clients() {
    let legs = [
        leg(0, &[1], answer(&[hit(1, 0, 0.5, json!({}))], 1)),
        leg(0, &[0, 2], answer(&[hit(2, 1, 0.4, json!({}))], 1)),
    ];
    let merged = Setup::new().merge(&legs, |_| {});
    let origins: Vec<&Value> = merged["hits"].as_array().unwrap().iter().map(|hit| &hit["_federation"]).collect();
    assert_eq!((&origins[0]["indexUid"], &origins[0]["queriesPosition"]), (&json!("b"), &json!(1)));
    assert_eq!((&origins[1]["indexUid"], &origins[1]["queriesPosition"]), (&json!("a"), &json!(2)));
    let without = Setup::new().merge(&legs, |request| request.shows_origin = false);
    assert_eq!(without["hits"], json!([{"id": 1}, {"id": 2}]));
}

#[test]
fn of_each_distinct_value_one_hit_is_left() {
    let with = |mut hit: Value, value: &str| {
        hit["brand"] = json!(value);
        hit
    };
    let legs = [
        leg(0, &[0, 1, 2], answer(&[with(hit(1, 0, 0.9, json!({})), "x"), with(hit(2, 1, 0.8, json!({})), "y")], 4)),
        leg(1, &[0, 1, 2], answer(&[with(hit(3, 2, 0.85, json!({})), "X "), with(hit(4, 1, 0.1, json!({})), "z")], 4)),
    ];
    let merged = Setup::new().merge(&legs, |request| request.distinct = Some("brand"));
    assert_eq!((ids(&merged), &merged["estimatedTotalHits"]), (vec![1, 2, 4], &json!(7)));
}

fn with_facets(mut answer: Value, facets: Value) -> Value {
    answer["facetsByIndex"] = facets;
    answer
}

#[test]
fn facets_add_up_by_index_or_over_all() {
    let of = |counts: Value| json!({ "distribution": { "genre": counts }, "stats": { "price": { "min": 1.0, "max": 2.0 } } });
    let legs = [
        leg(
            0,
            &[0, 1, 2],
            with_facets(answer(&[], 0), json!({"a": of(json!({"x": 1, "y": 2})), "b": of(json!({"x": 5}))})),
        ),
        leg(1, &[0, 1, 2], with_facets(answer(&[], 0), json!({"a": of(json!({"y": 1, "z": 9}))}))),
    ];
    let by_index = Setup::new().merge(&legs, |_| {});
    assert_eq!(by_index["facetsByIndex"]["a"]["distribution"]["genre"], json!({"x": 1, "y": 3, "z": 9}));
    assert_eq!(by_index["facetsByIndex"]["b"]["distribution"]["genre"], json!({"x": 5}));

    let over_all =
        Setup::new().merge(&legs, |request| request.merge_facets = Some(MergeFacets { max_values_per_facet: Some(2) }));
    assert_eq!(over_all["facetDistribution"]["genre"], json!({"x": 6, "y": 3}));
    assert_eq!(over_all["facetStats"]["price"], json!({"min": 1.0, "max": 2.0}));
    assert_eq!(over_all["facetsByIndex"], Value::Null);
}

#[test]
fn facets_that_two_indexes_order_differently_do_not_add_up() {
    let counted = json!({ "distribution": { "genre": { "x": 1 } }, "stats": {} });
    let legs = [leg(0, &[0, 1, 2], with_facets(answer(&[], 0), json!({"a": counted, "b": counted})))];
    let setup = Setup::new();
    let by_count = IndexFacts {
        facet_order: FacetOrders { default: FacetOrder::Count, ..FacetOrders::default() },
        ..IndexFacts::default()
    };
    let indexes = [
        FederatedIndex { uid: "a", node_uid: "a", facts: &setup.facts },
        FederatedIndex { uid: "b", node_uid: "b", facts: &by_count },
    ];
    let request = FederatedMerge {
        queries: &setup.queries,
        indexes: &indexes,
        paging: Paging::Window { offset: 0, limit: 20 },
        distinct: None,
        merge_facets: Some(MergeFacets::default()),
        shows_origin: true,
        counted: &[],
    };
    let merged = merge_federated(&legs, &request).unwrap();
    let expected = FacetConflict { facet: "genre".to_owned(), indexes: [0, 1] };
    assert!(matches!(merged, Merged::FacetConflict(conflict) if conflict == expected));
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let torn = FederatedLeg {
        leg: Leg { shards: vec![Shard(0)], body: Bytes::from_static(b"{\"hits\":[{\"id\":1}]}") },
        queries: vec![0],
    };
    let setup = Setup::new();
    let request = FederatedMerge {
        queries: &setup.queries,
        indexes: &[],
        paging: Paging::Window { offset: 0, limit: 20 },
        distinct: None,
        merge_facets: None,
        shows_origin: true,
        counted: &[],
    };
    assert!(matches!(merge_federated(&[torn], &request), Err(MergeError::Malformed { leg: 0, .. })));
    assert_eq!(merge_federated(&[], &request).unwrap_err(), MergeError::NoLegs);
}

#[test]
fn of_a_list_for_each_query_a_document_is_shown_once_and_nodes_count() {
    let lists = [
        leg(0, &[0], answer(&[hit(1, 0, 0.9, json!({})), hit(2, 0, 0.3, typos(1, 1))], 2)),
        leg(1, &[2], answer(&[hit(2, 0, 0.8, json!({})), hit(1, 0, 0.5, typos(1, 1)), hit(3, 0, 0.2, typos(1, 1))], 3)),
    ];
    let counted: &[FederatedLeg] = vec![leg(0, &[0, 2], answer(&[], 2)), leg(1, &[0, 2], answer(&[], 1))].leak();
    let mut setup = Setup::new();
    setup.facts.primary_key = Some("id".to_owned());
    let merged = setup.merge(&lists, |request| request.counted = counted);
    assert_eq!((ids(&merged), &merged["estimatedTotalHits"]), (vec![1, 2, 3], &json!(3)));
    assert_eq!(merged["hits"][1]["_federation"]["queriesPosition"], 2, "by which it ranks best");
}
