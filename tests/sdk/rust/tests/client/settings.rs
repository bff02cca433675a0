use std::collections::{BTreeMap, HashMap};

use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::settings::*;
use miroir_sdk_tests::*;
use serde_json::json;

/// One setting: its default is read, it is changed and read back, and its reset gives the default again.
macro_rules! round_trip {
    ($client:ident, $index:ident, $get:ident, $set:ident($value:expr), $reset:ident) => {
        round_trip!($client, $index, $get, $set($value) as $value, $reset)
    };
    ($client:ident, $index:ident, $get:ident, $set:ident($argument:expr) as $value:expr, $reset:ident) => {{
        let initial = in_any_order($index.$get().await.unwrap());
        succeed(&$client, $index.$set($argument).await).await;
        assert_eq!(in_any_order($index.$get().await.unwrap()), in_any_order($value), stringify!($set));
        succeed(&$client, $index.$reset().await).await;
        assert_eq!(in_any_order($index.$get().await.unwrap()), initial, stringify!($reset));
    }};
}

#[tokio::test]
async fn each_list_of_words_or_attributes_is_read_changed_and_reset() {
    let client = client();
    let index = new_index(&client).await;
    round_trip!(client, index, get_dictionary, set_dictionary(["J. R. R.", "W. E. B."]), reset_dictionary);
    round_trip!(client, index, get_displayed_attributes, set_displayed_attributes(["id"]), reset_displayed_attributes);
    let filterable = ["year", "genres"];
    round_trip!(
        client,
        index,
        get_filterable_attributes,
        set_filterable_attributes(filterable),
        reset_filterable_attributes
    );
    let rules = ["words", "typo", "year:desc"];
    round_trip!(client, index, get_ranking_rules, set_ranking_rules(rules), reset_ranking_rules);
    let searchable = ["title", "director"];
    round_trip!(
        client,
        index,
        get_searchable_attributes,
        set_searchable_attributes(searchable),
        reset_searchable_attributes
    );
    round_trip!(client, index, get_sortable_attributes, set_sortable_attributes(["year"]), reset_sortable_attributes);
    round_trip!(client, index, get_stop_words, set_stop_words(["of", "the"]), reset_stop_words);
    let tokens = vec!["/".to_owned(), "&sep".to_owned()];
    round_trip!(client, index, get_separator_tokens, set_separator_tokens(&tokens), reset_separator_tokens);
    round_trip!(client, index, get_non_separator_tokens, set_non_separator_tokens(&tokens), reset_non_separator_tokens);
}

#[tokio::test]
async fn each_other_setting_is_read_changed_and_reset() {
    let client = client();
    let index = new_index(&client).await;
    round_trip!(client, index, get_distinct_attribute, set_distinct_attribute("director"), reset_distinct_attribute);
    round_trip!(client, index, get_facet_search, set_facet_search(false), reset_facet_search);
    let alpha = BTreeMap::from([("*".to_owned(), FacetSortValue::Alpha)]);
    let faceting = FacetingSettings { max_values_per_facet: 7, sort_facet_values_by: Some(alpha) };
    round_trip!(client, index, get_faceting, set_faceting(&faceting), reset_faceting);
    let localized =
        vec![LocalizedAttributes { locales: vec!["jpn".to_owned()], attribute_patterns: vec!["title".to_owned()] }];
    round_trip!(
        client,
        index,
        get_localized_attributes,
        set_localized_attributes(&localized),
        reset_localized_attributes
    );
    let pagination = PaginationSetting { max_total_hits: 50 };
    round_trip!(client, index, get_pagination, set_pagination(pagination), reset_pagination);
    let disabled = PrefixSearchSettings::Disabled;
    round_trip!(client, index, get_prefix_search, set_prefix_search(disabled.clone()), reset_prefix_search);
    let precision = "byAttribute".to_owned();
    round_trip!(
        client,
        index,
        get_proximity_precision,
        set_proximity_precision(precision.clone()),
        reset_proximity_precision
    );
    round_trip!(client, index, get_search_cutoff_ms, set_search_cutoff_ms(Some(150)), reset_search_cutoff_ms);
    let synonyms = HashMap::from([("film".to_owned(), vec!["movie".to_owned()])]);
    round_trip!(client, index, get_synonyms, set_synonyms(&synonyms), reset_synonyms);
    let typos = TypoToleranceSettings {
        enabled: Some(true),
        disable_on_attributes: Some(vec!["director".to_owned()]),
        disable_on_words: Some(vec!["heat".to_owned()]),
        min_word_size_for_typos: Some(MinWordSizeForTypos { one_typo: Some(6), two_typos: Some(10) }),
        disable_on_numbers: Some(true),
    };
    round_trip!(client, index, get_typo_tolerance, set_typo_tolerance(&typos), reset_typo_tolerance);
}

#[tokio::test]
async fn filterable_attributes_can_say_what_each_is_for() {
    let client = client();
    let index = new_index(&client).await;
    let patterns = FilterableAttributesSettings {
        attribute_patterns: vec!["genre*".to_owned()],
        features: FilterFeatures {
            facet_search: true,
            filter: FilterFeatureModes { equality: true, comparison: false },
        },
    };
    let rules = [FilterableAttribute::from("year"), FilterableAttribute::Settings(patterns)];
    succeed(&client, index.set_filterable_attributes_advanced(rules.clone()).await).await;
    assert_eq!(index.get_filterable_attributes_advanced().await.unwrap(), rules);
}

#[tokio::test]
async fn embedders_are_read_changed_and_reset() {
    let client = client();
    let index = new_index(&client).await;
    let embedder = Embedder { source: EmbedderSource::UserProvided, dimensions: Some(3), ..Embedder::default() };
    succeed(&client, index.set_embedders(&HashMap::from([("mine".to_owned(), embedder)])).await).await;
    assert_eq!(index.get_embedders().await.unwrap()["mine"].dimensions, Some(3));
    succeed(&client, index.reset_embedders().await).await;
    assert!(index.get_embedders().await.unwrap().is_empty());
}

#[tokio::test]
async fn all_settings_at_once() {
    let client = client();
    let index = new_index(&client).await;
    let json_of = |settings: &Settings| serde_json::to_value(settings).unwrap();
    let initial = json_of(&index.get_settings().await.unwrap());
    assert_eq!(initial["filterableAttributes"], json!([]));
    let changed = Settings::new()
        .with_filterable_attributes(["genres", "year"])
        .with_stop_words(["the"])
        .with_pagination(PaginationSetting { max_total_hits: 100 });
    succeed(&client, index.set_settings(&changed).await).await;
    let mut expected = initial.clone();
    for (name, value) in json_of(&changed).as_object().unwrap() {
        expected[name] = value.clone();
    }
    assert_eq!(json_of(&index.get_settings().await.unwrap()), expected);
    succeed(&client, index.reset_settings().await).await;
    assert_eq!(json_of(&index.get_settings().await.unwrap()), initial);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let client = client();
    let index = new_index(&client).await;
    let rules = index.set_ranking_rules(["nonsense"]).await;
    assert_eq!(refusal(rules), ErrorCode::InvalidSettingsRankingRules);
    assert_eq!(refusal(client.index(new_name()).get_settings().await), ErrorCode::IndexNotFound);
}
