//! Settings go in and come out as Meilisearch's, and the task list can be filtered like its.

use crate::support::{directory, Node};
use serde_json::{json, Value};

#[test]
fn settings_are_printed_in_order_with_their_defaults_and_go_back_to_them() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    node.wait_for(&node.post("/indexes", &json!({ "uid": "x" })));
    let defaults = node.get("/indexes/x/settings").body;
    let names: Vec<_> = defaults.as_object().map(|settings| settings.keys().cloned().collect()).unwrap_or_default();
    assert_eq!(
        names,
        [
            "displayedAttributes",
            "searchableAttributes",
            "filterableAttributes",
            "sortableAttributes",
            "rankingRules",
            "stopWords",
            "nonSeparatorTokens",
            "separatorTokens",
            "dictionary",
            "synonyms",
            "distinctAttribute",
            "proximityPrecision",
            "typoTolerance",
            "faceting",
            "pagination",
            "embedders",
            "searchCutoffMs",
            "localizedAttributes",
            "facetSearch",
            "prefixSearch",
        ]
    );
    let wanted = json!({
        "displayedAttributes": ["id", "title"],
        "searchableAttributes": ["title"],
        "filterableAttributes": ["genre", { "attributePatterns": ["a_*"], "features": { "facetSearch": false, "filter": { "equality": true, "comparison": false } } }],
        "sortableAttributes": ["year"],
        "rankingRules": ["words", "typo", "sort", "year:desc"],
        "stopWords": ["a", "the"],
        "nonSeparatorTokens": ["#"],
        "separatorTokens": ["|"],
        "dictionary": ["J. R. R."],
        "synonyms": { "film": ["movie"] },
        "distinctAttribute": "sku",
        "proximityPrecision": "byAttribute",
        "typoTolerance": {
            "enabled": false,
            "minWordSizeForTypos": { "oneTypo": 4, "twoTypos": 8 },
            "disableOnWords": ["iphone"],
            "disableOnAttributes": ["sku"],
            "disableOnNumbers": true,
        },
        "faceting": { "maxValuesPerFacet": 7, "sortFacetValuesBy": { "*": "count", "genre": "alpha" } },
        "pagination": { "maxTotalHits": 17 },
        "embedders": { "own": { "source": "userProvided", "dimensions": 3 } },
        "searchCutoffMs": 150,
        "localizedAttributes": [{ "attributePatterns": ["*_ja"], "locales": ["jpn"] }],
        "facetSearch": false,
        "prefixSearch": "disabled",
    });
    let task = node.wait_for(&node.patch("/indexes/x/settings", &wanted));
    assert_eq!(task["status"], "succeeded", "{task}");
    assert_eq!(task["details"], wanted);
    assert_eq!(node.get("/indexes/x/settings").body, wanted);
    assert_eq!(node.get("/indexes/x/settings/synonyms").body, wanted["synonyms"]);
    node.wait_for(&node.delete("/indexes/x/settings/synonyms"));
    assert_eq!(node.get("/indexes/x/settings/synonyms").body, json!({}));
    node.wait_for(&node.delete("/indexes/x/settings"));
    assert_eq!(node.get("/indexes/x/settings").body, defaults);
}

#[test]
fn a_field_that_is_no_longer_filterable_or_sortable_is_still_searchable() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let facets =
        json!({ "filterableAttributes": ["genre"], "sortableAttributes": ["author"], "dictionary": ["J. R."] });
    node.wait_for(&node.patch("/indexes/x/settings", &facets));
    let documents: Vec<_> = (0..20).map(|id| json!({ "id": id, "genre": "novel", "author": "austen" })).collect();
    node.wait_for(&node.post("/indexes/x/documents", &json!(documents)));
    let without = json!({ "filterableAttributes": ["id"], "sortableAttributes": null });
    node.wait_for(&node.patch("/indexes/x/settings", &without));
    for word in ["novel", "austen"] {
        let found = node.post("/indexes/x/search", &json!({ "q": word })).body;
        assert_eq!(found["estimatedTotalHits"], 20, "{word}");
    }
    assert_eq!(node.get("/indexes/x/settings/dictionary").body, json!(["J. R."]));
}

#[test]
fn a_setting_that_is_wrong_is_refused_with_its_own_code() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let cases = [
        (json!({ "stopWords": "the" }), "invalid_settings_stop_words"),
        (json!({ "rankingRules": ["nonsense"] }), "invalid_settings_ranking_rules"),
        (
            json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 9, "twoTypos": 5 } } }),
            "invalid_settings_typo_tolerance",
        ),
        (json!({ "pagination": { "maxTotalHits": 0 } }), "invalid_settings_pagination"),
        (json!({ "nonsense": 1 }), "bad_request"),
    ];
    for (settings, expected) in cases {
        let answer = node.patch("/indexes/x/settings", &settings);
        assert_eq!((answer.status, answer.body["code"].as_str()), (400, Some(expected)), "{settings}");
    }
    assert_eq!(node.get("/tasks").body["total"], 0);
}

#[test]
fn deleting_tells_how_many_documents_went() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    let documents: Vec<Value> = (0..10).map(|id| json!({ "id": id, "even": id % 2 == 0 })).collect();
    node.post("/indexes/x/documents", &json!(documents));
    node.wait_for(&node.patch("/indexes/x/settings", &json!({ "filterableAttributes": ["even"] })));
    let by_ids = node.post("/indexes/x/documents/delete-batch", &json!([1, "3", 99, 3]));
    let by_filter = node.post("/indexes/x/documents/delete", &json!({ "filter": "even = true" }));
    let missing = node.delete("/indexes/x/documents/none");
    let rest = node.delete("/indexes/x/documents");
    assert_eq!(
        node.wait_for(&by_ids)["details"],
        json!({ "providedIds": 4, "deletedDocuments": 2, "originalFilter": null })
    );
    assert_eq!(
        node.wait_for(&by_filter)["details"],
        json!({ "providedIds": 0, "deletedDocuments": 5, "originalFilter": "\"even = true\"" })
    );
    assert_eq!(node.wait_for(&missing)["details"]["deletedDocuments"], 0);
    assert_eq!(node.wait_for(&rest)["details"], json!({ "deletedDocuments": 3 }));
    let nowhere = node.wait_for(&node.delete("/indexes/nowhere/documents/1"));
    assert_eq!(nowhere["error"]["code"], "index_not_found");
    let filter = node.wait_for(&node.post("/indexes/x/documents/delete", &json!({ "filter": "other = 1" })));
    assert_eq!(filter["error"]["code"], "invalid_document_filter");
}

#[test]
fn tasks_are_listed_newest_first_and_by_every_filter() {
    let (_keep, data) = directory();
    let node = Node::start(&data);
    for uid in ["a", "b", "a"] {
        node.wait_for(&node.post("/indexes", &json!({ "uid": uid })));
    }
    node.wait_for(&node.delete("/indexes/b"));
    let uids = |query: &str| -> Vec<u64> {
        let list = node.get(&format!("/tasks{query}")).body;
        let results = list["results"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
        results.iter().filter_map(|task| task["uid"].as_u64()).collect()
    };
    assert_eq!(uids(""), [3, 2, 1, 0]);
    assert_eq!(uids("?reverse=true"), [0, 1, 2, 3]);
    assert_eq!(uids("?statuses=failed"), [2]);
    assert_eq!(uids("?types=indexDeletion,documentDeletion"), [3]);
    assert_eq!(uids("?indexUids=b"), [3, 1]);
    assert_eq!(uids("?uids=0,3&statuses=*"), [3, 0]);
    assert_eq!(uids("?beforeEnqueuedAt=2020-01-01"), [0; 0]);
    assert_eq!(uids("?afterFinishedAt=2020-01-01T00:00:00Z&limit=2"), [3, 2]);
    let page = node.get("/tasks?limit=2&from=2").body;
    assert_eq!((&page["total"], &page["from"], &page["next"]), (&json!(4), &json!(2), &json!(0)));
    for (query, code) in [
        ("?statuses=nonsense", "invalid_task_statuses"),
        ("?types=nonsense", "invalid_task_types"),
        ("?uids=x", "invalid_task_uids"),
        ("?limit=-1", "invalid_task_limit"),
        ("?beforeEnqueuedAt=yesterday", "invalid_task_before_enqueued_at"),
        ("?nonsense=1", "bad_request"),
    ] {
        assert_eq!(node.get(&format!("/tasks{query}")).body["code"], code, "{query}");
    }
    assert_eq!(node.get("/tasks/99").body["code"], "task_not_found");
}
