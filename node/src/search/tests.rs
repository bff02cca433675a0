//! Searches of a small index, from the body that a client sends to the answer that it gets.

use bumpalo::Bump;
use memmap2::MmapMut;
use milli_core::heed::EnvOpenOptions;
use milli_core::progress::Progress;
use milli_core::update::new::indexer;
use milli_core::update::{IndexerConfig, Settings};
use milli_core::vector::EmbeddingConfigs;
use milli_core::{Criterion, FilterableAttributesRule, Index, ThreadPoolNoAbortBuilder};
use serde_json::{json, Value};
use tempfile::TempDir;

use super::parse::BodyError;
use super::query::SearchQuery;
use super::{facets, run};
use crate::error::{Code, ResponseError};
use crate::features::Features;

const INDEX_MAP_BYTES: usize = 64 * 1024 * 1024;

/// An index of six cities, in a directory that goes away with it.
pub(super) struct Cities {
    pub(super) index: Index,
    _directory: TempDir,
}

impl Cities {
    pub(super) fn new() -> Self {
        Self::with_settings(|_| ())
    }

    pub(super) fn with_settings(change: impl FnOnce(&mut Settings<'_, '_, '_>)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(INDEX_MAP_BYTES);
        let index = Index::new(options, directory.path(), true).expect("an index");
        let cities = Self { index, _directory: directory };
        cities.configure(|settings| {
            let names = ["country", "population", "tags", "mayor", "_geo"];
            let rules = names.map(|name| FilterableAttributesRule::Field(name.to_owned()));
            settings.set_filterable_fields(rules.to_vec());
            let sortable = ["name", "population", "_geo"].map(str::to_owned);
            settings.set_sortable_fields(sortable.into_iter().collect());
            change(settings);
        });
        cities.add(&[
            json!({ "id": 1, "name": "Paris", "country": "France", "population": 2100000, "tags": ["capital", "river"],
                "text": "Paris is the capital of France. It lies on the Seine, a long river, and has many museums.",
                "mayor": { "name": "Anne", "since": 2014 }, "_geo": { "lat": 48.85, "lng": 2.35 } }),
            json!({ "id": 2, "name": "Lyon", "country": "France", "population": 520000, "tags": ["river"],
                "_geo": { "lat": 45.76, "lng": 4.83 } }),
            json!({ "id": 3, "name": "Paris", "country": "USA", "population": 24000, "tags": [],
                "mayor": { "name": "Steve", "since": 2014 } }),
            json!({ "id": 4, "name": "Berlin", "country": "Germany", "population": 3600000, "tags": ["capital"],
                "_geo": { "lat": 52.52, "lng": 13.4 } }),
            json!({ "id": 5, "name": "Parisot", "country": "France", "tags": ["Capital"] }),
            json!({ "id": 6, "name": "Nowhere", "country": null, "population": "unknown" }),
        ]);
        cities
    }

    fn configure(&self, change: impl FnOnce(&mut Settings<'_, '_, '_>)) {
        let mut wtxn = self.index.write_txn().expect("a transaction");
        let config = IndexerConfig::default();
        let mut settings = Settings::new(&mut wtxn, &self.index, &config);
        change(&mut settings);
        settings.execute(|_| (), || false).expect("settings");
        wtxn.commit().expect("a commit");
    }

    fn add(&self, documents: &[Value]) {
        let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
        let mut payload = MmapMut::map_anon(lines.join("\n").len()).expect("a map");
        payload.copy_from_slice(lines.join("\n").as_bytes());
        let payload = payload.make_read_only().expect("a map");

        let mut wtxn = self.index.write_txn().expect("a transaction");
        let rtxn = self.index.read_txn().expect("a transaction");
        let fields = self.index.fields_ids_map(&rtxn).expect("fields");
        let mut new_fields = fields.clone();
        let allocator = Bump::new();
        let mut operations = indexer::DocumentOperation::new();
        operations.replace_documents(&payload).expect("documents");
        let (changes, _, primary_key) = operations
            .into_changes(&allocator, &self.index, &rtxn, Some("id"), &mut new_fields, &|| false, Progress::default())
            .expect("changes");
        indexer::index(
            &mut wtxn,
            &self.index,
            &ThreadPoolNoAbortBuilder::new().num_threads(1).build().expect("a thread"),
            IndexerConfig::default().grenad_parameters(),
            &fields,
            new_fields,
            primary_key,
            &changes,
            EmbeddingConfigs::default(),
            &|| false,
            &Progress::default(),
        )
        .expect("documents indexed");
        wtxn.commit().expect("a commit");
    }

    fn try_search(&self, body: Value) -> Result<Value, ResponseError> {
        let query = deserr::deserialize::<SearchQuery, _, BodyError>(body)?;
        run::search(&self.index, "cities", &query, Features::default()).map(|answered| Value::Object(answered.answer))
    }

    fn search(&self, body: Value) -> Value {
        self.try_search(body).expect("an answer")
    }

    fn refusal(&self, body: Value) -> (Code, String) {
        let error = self.try_search(body).expect_err("a refusal");
        (error.code, error.message)
    }

    fn ids(&self, body: Value) -> Vec<u64> {
        let answer = self.search(body);
        let hits = answer["hits"].as_array().expect("hits");
        hits.iter().map(|hit| hit["id"].as_u64().expect("an id")).collect()
    }

    fn facet_search(&self, body: Value) -> Result<Value, ResponseError> {
        let query = deserr::deserialize::<_, _, BodyError>(body)?;
        facets::search(&self.index, query, Features::default())
    }
}

pub(super) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn an_answer_has_meilisearchs_members_in_meilisearchs_order() {
    let cities = Cities::new();
    let estimated = cities.search(json!({ "q": "paris", "facets": ["country"] }));
    let expected = [
        "hits",
        "query",
        "processingTimeMs",
        "limit",
        "offset",
        "estimatedTotalHits",
        "facetDistribution",
        "facetStats",
    ];
    assert_eq!(keys(&estimated), expected);
    assert_eq!(estimated["estimatedTotalHits"], 3);
    assert!(cities.search(json!({ "facets": [] })).get("facetDistribution").is_none());
    let paged = cities.search(json!({ "hitsPerPage": 2, "page": 2 }));
    let expected = ["hits", "query", "processingTimeMs", "hitsPerPage", "page", "totalPages", "totalHits"];
    assert_eq!(keys(&paged), expected);
    assert_eq!((&paged["totalHits"], &paged["totalPages"]), (&json!(6), &json!(3)));
    assert_eq!(paged["hits"][0]["id"], 3);
}

#[test]
fn hits_beyond_max_total_hits_are_counted_but_not_reached() {
    let cities = Cities::with_settings(|settings| settings.set_pagination_max_total_hits(4));
    let answer = cities.search(json!({ "offset": 3, "limit": 100 }));
    assert_eq!(answer["hits"].as_array().map(Vec::len), Some(1));
    assert_eq!((&answer["limit"], &answer["estimatedTotalHits"]), (&json!(100), &json!(6)));
    assert!(cities.ids(json!({ "offset": 9 })).is_empty());
    assert_eq!(cities.ids(json!({ "hitsPerPage": 3, "page": 2 })).len(), 1);
}

#[test]
fn filters_are_expressions_and_arrays_of_alternatives() {
    let cities = Cities::new();
    assert_eq!(cities.ids(json!({ "filter": "country = France AND population > 600000" })), [1]);
    assert_eq!(cities.ids(json!({ "filter": [["country = USA", "country = Germany"], "tags = capital"] })), [4]);
    assert_eq!(cities.ids(json!({ "filter": [["country = USA", "country = Germany"]] })), [3, 4]);
    assert_eq!(cities.ids(json!({ "filter": "_geoRadius(48.85, 2.35, 5000)" })), [1]);
}

#[test]
fn sorted_hits_say_by_what_and_how_far() {
    let cities = Cities::new();
    // Numbers before strings, missing values last, whatever the direction.
    assert_eq!(cities.ids(json!({ "sort": ["population:asc"] })), [3, 2, 1, 4, 6, 5]);
    assert_eq!(cities.ids(json!({ "sort": ["population:desc"] })), [4, 1, 2, 3, 6, 5]);
    let answer = cities.search(json!({
        "sort": ["_geoPoint(48.85, 2.35):asc"], "limit": 2, "showRankingScoreDetails": true,
    }));
    assert_eq!(answer["hits"][0]["_geoDistance"], 0);
    let details = &answer["hits"][1]["_rankingScoreDetails"]["_geoPoint(48.85, 2.35):asc"];
    assert_eq!(details["value"], json!({ "lat": 45.76, "lng": 4.83 }));
    assert!(details["distance"].as_f64().is_some_and(|metres| (380_000.0..400_000.0).contains(&metres)));
}

#[test]
fn details_of_a_hidden_sort_field_keep_their_place_and_hide_their_value() {
    let cities = Cities::with_settings(|settings| settings.set_displayed_fields(vec!["id".to_owned()]));
    let answer = cities.search(json!({
        "q": "paris", "sort": ["population:desc"], "showRankingScoreDetails": true, "showRankingScore": true,
    }));
    let hit = &answer["hits"][0];
    assert_eq!(keys(hit), ["id", "_rankingScore", "_rankingScoreDetails"]);
    let details = &hit["_rankingScoreDetails"];
    let expected = ["words", "typo", "proximity", "attribute", "<hidden-rule-4>", "exactness"];
    assert_eq!(keys(details), expected);
    assert_eq!(details["<hidden-rule-4>"], json!({ "order": 4, "value": "<hidden>" }));
    let words = json!({ "order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": 1.0 });
    assert_eq!(details["words"], words);
}

#[test]
fn formatted_holds_every_retrieved_field_and_turns_numbers_into_strings() {
    let cities = Cities::new();
    let answer = cities.search(json!({
        "q": "museum", "attributesToRetrieve": ["id", "mayor"], "attributesToHighlight": ["text"],
        "attributesToCrop": ["text:3"], "highlightPreTag": "[", "highlightPostTag": "]", "cropMarker": "...",
    }));
    let hit = &answer["hits"][0];
    assert_eq!(keys(hit), ["id", "mayor", "_formatted"]);
    assert_eq!(
        hit["_formatted"],
        json!({
            "id": "1",
            "text": "...has many [museum]s.",
            "mayor": { "name": "Anne", "since": "2014" },
        })
    );
    let without = cities.search(json!({ "q": "museum", "attributesToHighlight": ["unknown"] }));
    assert!(without["hits"][0].get("_formatted").is_none());
}

#[test]
fn match_positions_name_array_elements_by_index() {
    let cities = Cities::new();
    let answer = cities.search(json!({ "q": "river", "showMatchesPosition": true, "limit": 1 }));
    let positions = &answer["hits"][0]["_matchesPosition"];
    assert_eq!(positions["tags"], json!([{ "start": 0, "length": 5, "indices": [0] }]));
}

#[test]
fn facets_are_counted_cut_and_ordered_as_the_settings_say() {
    let cities = Cities::with_settings(|settings| settings.set_max_values_per_facet(2));
    let answer = cities.search(json!({ "facets": ["country", "pop*"] }));
    let counts = &answer["facetDistribution"];
    assert_eq!(keys(counts), ["country", "population"]);
    assert_eq!(counts["country"], json!({ "France": 3, "Germany": 1 }));
    assert_eq!(answer["facetStats"], json!({ "population": { "min": 24000.0, "max": 3600000.0 } }));
    assert_eq!(
        cities.search(json!({ "facets": ["*"] }))["facetDistribution"]["mayor.name"],
        json!({ "Anne": 1, "Steve": 1 })
    );
}

#[test]
fn facet_search_finds_values_of_matching_documents() {
    let cities = Cities::new();
    let answer = cities
        .facet_search(json!({ "facetName": "tags", "facetQuery": "cap", "filter": "country = France" }))
        .expect("an answer");
    assert_eq!(answer["facetHits"], json!([{ "value": "capital", "count": 2 }]));
    assert_eq!(answer["facetQuery"], "cap");
    let error = cities.facet_search(json!({ "facetQuery": "cap" })).expect_err("a refusal");
    assert_eq!(error.code, Code::MissingFacetSearchFacetName);
    let error = cities.facet_search(json!({ "facetName": "name" })).expect_err("a refusal");
    assert_eq!(error.code, Code::InvalidFacetSearchFacetName);
}

#[test]
fn matching_strategy_attributes_and_threshold_narrow_the_hits() {
    let cities = Cities::new();
    assert_eq!(cities.ids(json!({ "q": "paris zzzz" })).len(), 2);
    assert!(cities.ids(json!({ "q": "paris zzzz", "matchingStrategy": "all" })).is_empty());
    assert_eq!(cities.ids(json!({ "q": "capital", "attributesToSearchOn": ["text"] })), [1]);
    assert_eq!(cities.ids(json!({ "q": "parisot", "rankingScoreThreshold": 0.9 })), [5]);
    assert_eq!(cities.ids(json!({ "distinct": "country", "filter": "country EXISTS" })), [1, 3, 4, 6]);
}

/// As 1.50 does: of the hits without the words of the page's first hit the engine would count all that it need not look at.
#[test]
fn totals_under_a_threshold_are_of_hits_above_it_up_to_the_pages_end() {
    let cities = Cities::new();
    let total = |paging: Value, name: &str| {
        let mut body = json!({ "q": "paris france", "rankingScoreThreshold": 0.7 });
        paging.as_object().expect("an object").iter().for_each(|(name, value)| body[name] = value.clone());
        cities.search(body)[name].clone()
    };
    assert_eq!(cities.search(json!({ "q": "paris france" }))["estimatedTotalHits"], 2);
    assert_eq!(total(json!({}), "estimatedTotalHits"), 1);
    assert_eq!(total(json!({ "offset": 10 }), "estimatedTotalHits"), 1, "beyond all hits");
    assert_eq!(total(json!({ "limit": 1 }), "estimatedTotalHits"), 2, "of a full page no more is looked at");
    assert_eq!(total(json!({ "page": 1, "hitsPerPage": 1 }), "totalHits"), 1, "exhaustive");
    assert_eq!(total(json!({ "page": 2, "hitsPerPage": 1 }), "totalHits"), 1, "exhaustive, on a later page");
    let page = |page: u64| {
        let body = json!({ "q": "paris france", "rankingScoreThreshold": 0.1, "page": page, "hitsPerPage": 1 });
        cities.search(body)["hits"][0]["id"].clone()
    };
    assert_eq!([page(1), page(2)], cities.ids(json!({ "q": "paris france" }))[..2]);
}

#[test]
fn custom_ranking_rules_are_in_the_details_with_their_values() {
    let cities = Cities::with_settings(|settings| {
        settings.set_criteria(vec![Criterion::Desc("population".to_owned()), Criterion::Words]);
    });
    let answer = cities.search(json!({ "q": "paris", "showRankingScoreDetails": true, "limit": 1 }));
    let details = &answer["hits"][0]["_rankingScoreDetails"];
    assert_eq!(details["population:desc"], json!({ "order": 0, "value": 2100000.0 }));
    assert_eq!(details["words"]["order"], 1);
}

#[test]
fn what_a_search_cannot_mean_is_refused_in_meilisearchs_words() {
    let cities = Cities::with_settings(|settings| {
        settings.set_searchable_fields(["name", "text", "tags"].map(str::to_owned).to_vec());
    });
    let refusals = [
        (json!({ "limit": -1 }), Code::InvalidSearchLimit,
            "Invalid value type at `.limit`: expected a positive integer, but found a negative integer: `-1`"),
        (json!({ "q": 3 }), Code::InvalidSearchQ,
            "Invalid value type at `.q`: expected a string, but found a positive integer: `3`"),
        (json!({ "matchingStrategy": "some" }), Code::InvalidSearchMatchingStrategy,
            "Unknown value `some` at `.matchingStrategy`: expected one of `last`, `all`, `frequency`"),
        (json!({ "rankingScoreThreshold": 2 }), Code::InvalidSearchRankingScoreThreshold,
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`."),
        (json!({ "sort": ["name"] }), Code::InvalidSearchSort,
            "Invalid syntax for the sort parameter: expected expression ending by `:asc` or `:desc`, found `name`."),
        (json!({ "sort": ["country:asc"] }), Code::InvalidSearchSort,
            "Index `cities`: Attribute `country` is not sortable. Available sortable attributes are: `_geo, name, population`."),
        (json!({ "distinct": "name" }), Code::InvalidSearchDistinct,
            "Index `cities`: Attribute `name` is not filterable and thus, cannot be used as distinct attribute. Available filterable attributes patterns are: `_geo, country, mayor, population, tags`."),
        (json!({ "facets": ["name"] }), Code::InvalidSearchFacets,
            "Invalid facet distribution: Pattern `name` is not filterable. Available filterable attributes patterns are: `_geo, country, mayor, population, tags`."),
        (json!({ "attributesToSearchOn": ["nothing"] }), Code::InvalidSearchAttributesToSearchOn,
            "Index `cities`: Attribute `nothing` is not searchable."),
    ];
    for (body, code, message) in refusals {
        let (found_code, found) = cities.refusal(body.clone());
        assert_eq!(found_code, code, "{body}: {found}");
        assert!(found.starts_with(message), "{body}: {found}");
    }
    let (code, message) = cities.refusal(json!({ "lmit": 3 }));
    assert_eq!(code, Code::BadRequest);
    assert!(message.starts_with("Unknown field `lmit`: did you mean `limit`? expected one of `q`, `offset`, `limit`,"));
    let (code, message) = cities.refusal(json!({ "filter": "name = Paris" }));
    assert_eq!(code, Code::InvalidSearchFilter);
    assert!(message.starts_with("Index `cities`: Attribute `name` is not filterable."), "{message}");
}

#[test]
fn a_search_by_meaning_is_refused_unless_it_needs_none() {
    let cities = Cities::new();
    let (code, message) = cities.refusal(json!({ "q": "paris", "hybrid": { "embedder": "default" } }));
    assert_eq!(code, Code::InvalidSearchEmbedder);
    assert_eq!(message, "Cannot find embedder with name `default`.");
    assert_eq!(cities.refusal(json!({ "vector": [1.0] })).0, Code::MissingSearchHybrid);
    let keyword = json!({ "q": "lyon", "hybrid": { "embedder": "default", "semanticRatio": 0 } });
    assert_eq!(cities.ids(keyword), [2]);
}
