//! Federated searches of a small index, from the body that a client sends to the answer that it gets.

use serde_json::{json, Value};

use super::super::parse::BodyError;
use super::super::tests::{keys, Cities};
use super::federated::{self, MakesHits};
use super::request::MultiSearch;
use super::Refusal;
use crate::error::{Code, ResponseError};
use crate::features::Features;

/// The answer for the index `cities`, which is also called `towns`.
fn search(cities: &Cities, body: Value) -> Result<Value, Refusal> {
    let MultiSearch { queries, federation } = deserr::deserialize::<_, _, BodyError>(body)?;
    let federation = federation.expect("a federated search");
    let open = |uid: &str| match uid {
        "cities" | "towns" => Ok(cities.index.clone()),
        uid => Err(ResponseError::index_not_found(uid)),
    };
    let network = Features { network: true, ..Features::default() };
    let found = federated::search(open, queries, federation, network, MakesHits::ForClients)?;
    Ok(Value::Object(found.answer))
}

fn answer(cities: &Cities, body: Value) -> Value {
    search(cities, body).unwrap_or_else(|refusal| panic!("refused: {}", refusal.error.message))
}

fn refusal(cities: &Cities, body: Value) -> (Code, Option<usize>, String) {
    let Refusal { error, query } = search(cities, body).expect_err("a refusal");
    (error.code, query, error.message)
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().expect("hits").iter().map(|hit| hit["id"].as_u64().expect("an id")).collect()
}

#[test]
fn hits_of_several_queries_are_one_list_that_says_where_each_is_from() {
    let cities = Cities::new();
    let found = answer(
        &cities,
        json!({
            "federation": { "limit": 3 },
            "queries": [
                { "indexUid": "cities", "q": "berlin", "federationOptions": { "weight": 0.5 } },
                { "indexUid": "cities", "q": "lyon", "federationOptions": { "queryPosition": 7 } },
                { "indexUid": "cities", "q": "paris", "filter": "country = France" },
            ],
        }),
    );
    assert_eq!(keys(&found), ["hits", "processingTimeMs", "limit", "offset", "estimatedTotalHits"]);
    assert_eq!(ids(&found), [1, 2, 5]);
    assert_eq!(found["estimatedTotalHits"], 4);
    let place = |position: usize| &found["hits"][position]["_federation"];
    assert_eq!(keys(place(0)), ["indexUid", "queriesPosition", "weightedRankingScore"]);
    assert_eq!(place(1)["queriesPosition"], 7);
    let next = answer(
        &cities,
        json!({ "federation": { "hitsPerPage": 1, "page": 2 }, "queries": [
            { "indexUid": "cities", "q": "berlin", "federationOptions": { "weight": 0.5 } },
            { "indexUid": "cities", "q": "lyon" },
        ] }),
    );
    assert_eq!(ids(&next), [4]);
    assert_eq!(next["hits"][0]["_federation"]["weightedRankingScore"], 0.5);
    assert_eq!((&next["totalHits"], &next["totalPages"], &next["page"]), (&json!(2), &json!(2), &json!(2)));
}

#[test]
fn a_document_that_two_queries_find_is_there_once() {
    let cities = Cities::new();
    let query = |weight| json!({ "indexUid": "cities", "q": "paris", "federationOptions": { "weight": weight } });
    let found = answer(&cities, json!({ "federation": {}, "queries": [query(0.1), query(1.0)] }));
    assert_eq!(found["estimatedTotalHits"], 3);
    let positions: Vec<&Value> =
        found["hits"].as_array().expect("hits").iter().map(|hit| &hit["_federation"]["queriesPosition"]).collect();
    assert_eq!(positions, [1, 1, 1]);
}

#[test]
fn facets_are_counted_per_index_or_added_up() {
    let cities = Cities::new();
    let body = |merge: Value| {
        json!({
            "federation": { "facetsByIndex": { "cities": ["country"], "towns": ["country", "population"] }, "mergeFacets": merge },
            "queries": [
                { "indexUid": "cities", "filter": "country = France" },
                { "indexUid": "towns", "filter": "tags = capital" },
            ],
        })
    };
    let by_index = answer(&cities, body(Value::Null));
    assert_eq!(by_index["facetsByIndex"]["cities"]["distribution"], json!({ "country": { "France": 3 } }));
    assert_eq!(
        by_index["facetsByIndex"]["towns"]["stats"],
        json!({ "population": { "min": 2100000.0, "max": 3600000.0 } })
    );
    let merged = answer(&cities, body(json!({ "maxValuesPerFacet": 2 })));
    assert_eq!(merged["facetDistribution"]["country"], json!({ "France": 5, "Germany": 1 }));
    assert!(merged.get("facetsByIndex").is_none());
}

#[test]
fn distinct_counts_over_all_indexes() {
    let cities = Cities::new();
    let found = answer(
        &cities,
        json!({
            "federation": { "distinct": "country", "facetsByIndex": { "cities": ["country"], "towns": ["country"] } },
            "queries": [
                { "indexUid": "cities", "filter": "country IN [France, USA, Germany]" },
                { "indexUid": "towns", "filter": "country = France OR country = Germany" },
            ],
        }),
    );
    assert_eq!(ids(&found).len(), 3);
    assert_eq!(found["estimatedTotalHits"], 3);
    assert_eq!(found["facetsByIndex"]["towns"]["distribution"], json!({ "country": {} }));
}

#[test]
fn hits_for_another_node_carry_what_they_rank_by() {
    let cities = Cities::new();
    let body = json!({ "federation": { "distinct": "country" }, "queries": [
        { "indexUid": "cities", "sort": ["population:desc"], "attributesToRetrieve": ["id"] }
    ] });
    let MultiSearch { queries, federation } = deserr::deserialize::<_, _, BodyError>(body).ok().expect("a body");
    let open = |_: &str| Ok(cities.index.clone());
    let federation = federation.expect("a federated search");
    let found = federated::search(open, queries, federation, Features::default(), MakesHits::ForMerging);
    let found = Value::Object(found.ok().expect("an answer").answer);
    let place = &found["hits"][0]["_federation"];
    assert_eq!(place["weightedScoreValues"], json!([{ "sort": { "asc": false, "value": 3600000.0 } }]));
    assert_eq!(place["extra_document"], json!({ "country": "Germany" }));
}

#[test]
fn what_cannot_be_merged_is_refused_and_the_query_named() {
    let cities = Cities::with_settings(|settings| {
        settings.set_criteria(vec![milli_core::Criterion::Sort, milli_core::Criterion::Words]);
    });
    let two = |query: Value| json!({ "federation": { "distinct": "country" }, "queries": [{ "indexUid": "cities", "sort": ["population:asc"] }, query] });
    let cases = [
        (json!({ "indexUid": "cities", "limit": 3 }), Code::InvalidMultiSearchQueryPagination),
        (json!({ "indexUid": "cities", "facets": ["country"] }), Code::InvalidMultiSearchQueryFacets),
        (json!({ "indexUid": "cities", "distinct": "country" }), Code::InvalidMultiSearchDistinct),
        (
            json!({ "indexUid": "cities", "showPerformanceDetails": true }),
            Code::InvalidMultiSearchQueryShowPerformanceDetails,
        ),
        (json!({ "indexUid": "nowhere" }), Code::IndexNotFound),
        (json!({ "indexUid": "towns", "filter": "nonsense" }), Code::InvalidSearchFilter),
        (json!({ "indexUid": "cities", "federationOptions": { "remote": "x" } }), Code::InvalidMultiSearchRemote),
        (json!({ "indexUid": "cities", "sort": ["population:desc"] }), Code::InvalidMultiSearchQueryRankingRules),
    ];
    for (query, code) in cases {
        let (found, position, message) = refusal(&cities, two(query.clone()));
        assert_eq!((found, position), (code, Some(1)), "{query}: {message}");
    }
    let (_, _, message) = refusal(&cities, two(json!({ "indexUid": "cities", "sort": ["population:desc"] })));
    assert_eq!(
        message,
        "The results of queries #0 and #1 are incompatible: \n  1. `queries[0].sort[0]`, `cities.rankingRules[0]`: \
         ascending sort rule(s) on field `population`\n  2. `queries[1].sort[0]`, `cities.rankingRules[0]`: descending \
         sort rule(s) on field `population`\n  - cannot compare two sort rules in opposite directions\n"
    );
    let weight = json!({ "indexUid": "cities", "federationOptions": { "weight": -1 } });
    let (code, position, message) = refusal(&cities, two(weight));
    assert_eq!((code, position), (Code::InvalidMultiSearchWeight, None));
    assert!(message.starts_with("Invalid value at `.queries[1].federationOptions.weight`: "), "{message}");
    let facets = json!({ "federation": { "facetsByIndex": { "towns": ["name"] } }, "queries": [] });
    let (code, _, message) = refusal(&cities, facets);
    assert_eq!(code, Code::InvalidSearchFacets);
    assert!(message.ends_with("\n - Note: index `towns` is not used in queries"), "{message}");
}
