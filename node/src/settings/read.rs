//! The settings of an index, as `GET /indexes/{uid}/settings` shows them: defaults filled in, secrets hidden.

use std::collections::BTreeMap;

use milli_core::heed::RoTxn;
use milli_core::index::{IndexEmbeddingConfig, PrefixSearch};
use milli_core::proximity::ProximityPrecision;
use milli_core::update::Setting;
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{Index, OrderBy, DEFAULT_VALUES_PER_FACET};
use serde_json::{json, Map, Value};

use super::secrets::hidden;
use super::update::LanguageCode;
use crate::error::ResponseError;

/// Hits that a search can page through, unless set.
const DEFAULT_MAX_TOTAL_HITS: u64 = 1000;

/// All settings, in Meilisearch's order.
pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Result<Map<String, Value>, ResponseError> {
    let stop_words = match index.stop_words(rtxn)? {
        Some(words) => words.stream().into_strs().map_err(milli_core::Error::from)?,
        None => Vec::new(),
    };
    let ranking_rules: Vec<String> = index.criteria(rtxn)?.iter().map(ToString::to_string).collect();
    let sortable: std::collections::BTreeSet<_> = index.sortable_fields(rtxn)?.into_iter().collect();
    let proximity = match index.proximity_precision(rtxn)?.unwrap_or_default() {
        ProximityPrecision::ByWord => "byWord",
        ProximityPrecision::ByAttribute => "byAttribute",
    };
    let prefix_search = match index.prefix_search(rtxn)?.unwrap_or_default() {
        PrefixSearch::IndexingTime => "indexingTime",
        PrefixSearch::Disabled => "disabled",
    };
    let max_total_hits = match index.pagination_max_total_hits(rtxn)? {
        Some(0) | None => DEFAULT_MAX_TOTAL_HITS,
        Some(hits) => hits,
    };
    let settings = json!({
        "displayedAttributes": index.displayed_fields(rtxn)?.unwrap_or_else(|| vec!["*"]),
        "searchableAttributes": index.user_defined_searchable_fields(rtxn)?.unwrap_or_else(|| vec!["*"]),
        "filterableAttributes": index.filterable_attributes_rules(rtxn)?,
        "sortableAttributes": sortable,
        "rankingRules": ranking_rules,
        "stopWords": stop_words,
        "nonSeparatorTokens": index.non_separator_tokens(rtxn)?.unwrap_or_default(),
        "separatorTokens": index.separator_tokens(rtxn)?.unwrap_or_default(),
        "dictionary": index.dictionary(rtxn)?.unwrap_or_default(),
        "synonyms": index.user_defined_synonyms(rtxn)?,
        "distinctAttribute": index.distinct_field(rtxn)?,
        "proximityPrecision": proximity,
        "typoTolerance": typo_tolerance(index, rtxn)?,
        "faceting": faceting(index, rtxn)?,
        "pagination": { "maxTotalHits": max_total_hits },
        "embedders": embedders(index, rtxn)?,
        "searchCutoffMs": index.search_cutoff(rtxn)?,
        "localizedAttributes": localized_attributes(index, rtxn)?,
        "facetSearch": index.facet_search(rtxn)?,
        "prefixSearch": prefix_search,
    });
    match settings {
        Value::Object(settings) => Ok(settings),
        other => Err(ResponseError::internal(format!("settings became {other}"))),
    }
}

fn typo_tolerance(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, ResponseError> {
    let words = match index.exact_words(rtxn)? {
        Some(words) => words.stream().into_strs().map_err(milli_core::Error::from)?,
        None => Vec::new(),
    };
    let attributes: std::collections::BTreeSet<_> = index.exact_attributes(rtxn)?.into_iter().collect();
    Ok(json!({
        "enabled": index.authorize_typos(rtxn)?,
        "minWordSizeForTypos": {
            "oneTypo": index.min_word_len_one_typo(rtxn)?,
            "twoTypos": index.min_word_len_two_typos(rtxn)?,
        },
        "disableOnWords": words,
        "disableOnAttributes": attributes,
        "disableOnNumbers": index.disabled_typos_terms(rtxn)?.disable_on_numbers,
    }))
}

fn faceting(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, ResponseError> {
    let max_values = index.max_values_per_facet(rtxn)?.unwrap_or(DEFAULT_VALUES_PER_FACET as u64);
    let orders: BTreeMap<String, &str> = index
        .sort_facet_values_by(rtxn)?
        .into_iter()
        .map(|(name, order)| match order {
            OrderBy::Lexicographic => (name, "alpha"),
            OrderBy::Count => (name, "count"),
        })
        .collect();
    Ok(json!({ "maxValuesPerFacet": max_values, "sortFacetValuesBy": orders }))
}

fn embedders(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, ResponseError> {
    let mut embedders = BTreeMap::new();
    for IndexEmbeddingConfig { name, config, .. } in index.embedding_configs(rtxn)? {
        let mut settings = EmbeddingSettings::from(config);
        if let Setting::Set(key) = &mut settings.api_key {
            *key = hidden(key);
        }
        embedders.insert(name, settings);
    }
    serde_json::to_value(embedders).map_err(ResponseError::internal)
}

fn localized_attributes(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, ResponseError> {
    let Some(rules) = index.localized_attributes_rules(rtxn)? else { return Ok(Value::Null) };
    let rules = rules.into_iter().map(|rule| {
        let locales: Vec<_> = rule.locales.into_iter().map(LanguageCode).collect();
        json!({ "attributePatterns": rule.attribute_patterns, "locales": locales })
    });
    Ok(rules.collect())
}
