//! Facets: how many of the matching documents have each value, and the search among values.

use std::collections::BTreeMap;

use deserr::Deserr;
use indexmap::IndexMap;
use milli_core::{
    is_faceted_by, AttributePatterns, FacetDistribution, FilterableAttributesRule, Index, OrderBy, PatternMatch,
    SearchForFacetValues, DEFAULT_VALUES_PER_FACET,
};
use roaring::RoaringBitmap;
use serde::Serialize;
use serde_json::{json, Value};

use super::kind::SearchKind;
use super::locales::Locale;
use super::parse::codes::*;
use super::parse::{missing_field, BodyError};
use super::query::{HybridQuery, MatchingStrategy, RankingScoreThreshold, SearchQuery};
use super::stored::Reader;
use super::{filter, run};
use crate::error::{Code, ResponseError};
use crate::features::Features;

/// `facetDistribution` and `facetStats` of an answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facets {
    /// Values and counts by attribute, in the order that clients see.
    pub distribution: BTreeMap<String, IndexMap<String, u64>>,
    pub stats: BTreeMap<String, Stats>,
}

/// The smallest and the largest number that an attribute has.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stats {
    pub min: f64,
    pub max: f64,
}

/// Counts the values that the candidates have in every filterable attribute that one of the patterns matches.
pub fn count(reader: &Reader<'_>, patterns: &[String], candidates: RoaringBitmap) -> Result<Facets, ResponseError> {
    let rules = reader.index.filterable_attributes_rules(reader.rtxn)?;
    for pattern in patterns {
        check_pattern(&rules, pattern)?;
    }
    let order = reader.index.sort_facet_values_by(reader.rtxn)?;
    let names = counted(reader, &rules, patterns);
    let attributes: Vec<(&str, OrderBy)> = names.into_iter().map(|name| (name, order.get(name))).collect();

    let mut distribution: FacetDistribution<'_> = reader.index.facets_distribution(reader.rtxn);
    distribution.facets(attributes).candidates(candidates).default_order_by(order.get("*")).max_values_per_facet(
        match reader.index.max_values_per_facet(reader.rtxn)? {
            Some(max) => usize::try_from(max).unwrap_or(usize::MAX),
            None => DEFAULT_VALUES_PER_FACET,
        },
    );
    let counts = distribution.execute()?;
    let stats = distribution.compute_stats()?;
    let stats = stats.into_iter().map(|(name, (min, max))| (name, Stats { min, max }));
    Ok(Facets { distribution: counts, stats: stats.collect() })
}

/// The attributes that patterns select.
pub fn attributes(reader: &Reader<'_>, patterns: &[String]) -> Result<Vec<String>, ResponseError> {
    let rules = reader.index.filterable_attributes_rules(reader.rtxn)?;
    Ok(counted(reader, &rules, patterns).into_iter().map(str::to_owned).collect())
}

fn counted<'r>(reader: &'r Reader<'_>, rules: &[FilterableAttributesRule], patterns: &[String]) -> Vec<&'r str> {
    let matching = AttributePatterns::from(patterns.to_vec());
    let names = reader.fields.names().filter(|name| matching.match_str(name) == PatternMatch::Match);
    names.filter(|name| first_rule(rules, name).is_some_and(|(_, rule)| rule.features().is_filterable())).collect()
}

/// The first rule that speaks of the attribute decides what may be done with it.
fn first_rule<'a>(
    rules: &'a [FilterableAttributesRule],
    attribute: &str,
) -> Option<(usize, &'a FilterableAttributesRule)> {
    rules.iter().enumerate().find(|(_, rule)| rule.match_str(attribute) == PatternMatch::Match)
}

/// Refuses a pattern that can match no filterable attribute.
fn check_pattern(rules: &[FilterableAttributesRule], pattern: &str) -> Result<(), ResponseError> {
    let mut available: Vec<&str> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if rule.features().is_filterable() {
            if may_share_attributes(rule, pattern) {
                return Ok(());
            }
            available.extend(names_of(rule));
        } else if rule.match_str(pattern) == PatternMatch::Match {
            return Err(invalid_facet(format!(
                "Attribute `{pattern}` matched rule #{index} in filterableAttributes, but this rule does not enable \
                 filtering.\nHint: enable filtering in rule #{index} by modifying the features.filter object\nHint: \
                 prepend another rule matching `{pattern}` with appropriate filter features before rule #{index}"
            )));
        }
    }
    available.sort_unstable();
    available.dedup();
    Err(invalid_facet(if available.is_empty() {
        format!("Pattern `{pattern}` is not filterable. This index does not have configured filterable attributes.")
    } else {
        format!(
            "Pattern `{pattern}` is not filterable. Available filterable attributes patterns are: `{}`.",
            available.join(", ")
        )
    }))
}

fn invalid_facet(reason: String) -> ResponseError {
    ResponseError::new(Code::InvalidSearchFacets, format!("Invalid facet distribution: {reason}"))
}

fn names_of(rule: &FilterableAttributesRule) -> Vec<&str> {
    match rule {
        FilterableAttributesRule::Field(name) => vec![name.as_str()],
        FilterableAttributesRule::Pattern(rule) => {
            rule.attribute_patterns.patterns.iter().map(String::as_str).collect()
        }
    }
}

/// Whether there can be an attribute that both the rule and the pattern match.
fn may_share_attributes(rule: &FilterableAttributesRule, pattern: &str) -> bool {
    let matches = |pattern: &str, text: &str| {
        AttributePatterns::from(vec![pattern.to_owned()]).match_str(text) != PatternMatch::NoMatch
    };
    let is_field = matches!(rule, FilterableAttributesRule::Field(_));
    names_of(rule).into_iter().any(|name| {
        let nested = is_faceted_by(name, pattern) || is_faceted_by(pattern, name);
        matches(pattern, name) || if is_field { nested } else { matches(name, pattern) }
    })
}

/// The body of `POST /indexes/{uid}/facet-search`. Parameters of a search that it does not know are ignored, so that a
/// client can send the search that the facet belongs to.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase)]
pub struct FacetSearchQuery {
    #[deserr(default, error = BodyError<InvalidFacetSearchQuery>)]
    facet_query: Option<String>,
    #[deserr(error = BodyError<InvalidFacetSearchFacetName>, missing_field_error = missing_field::<InvalidFacetSearchFacetName, MissingFacetSearchFacetName>)]
    facet_name: String,
    #[deserr(default, error = BodyError<InvalidSearchQ>)]
    q: Option<String>,
    #[deserr(default, error = BodyError<InvalidSearchVector>)]
    vector: Option<Vec<f32>>,
    #[deserr(default, error = BodyError<InvalidSearchMedia>)]
    media: Option<Value>,
    #[deserr(default, error = BodyError<InvalidSearchHybridQuery>)]
    hybrid: Option<HybridQuery>,
    #[deserr(default, error = BodyError<InvalidSearchFilter>)]
    filter: Option<Value>,
    #[deserr(default, error = BodyError<InvalidSearchMatchingStrategy>)]
    matching_strategy: MatchingStrategy,
    #[deserr(default, error = BodyError<InvalidSearchAttributesToSearchOn>)]
    attributes_to_search_on: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSearchRankingScoreThreshold>)]
    ranking_score_threshold: Option<RankingScoreThreshold>,
    #[deserr(default, error = BodyError<InvalidSearchLocales>)]
    locales: Option<Vec<Locale>>,
    #[deserr(default, error = BodyError<InvalidFacetSearchExhaustiveFacetCount>)]
    exhaustive_facet_count: Option<bool>,
    #[deserr(default, error = BodyError<InvalidSearchUseNetwork>)]
    use_network: Option<bool>,
}

/// Searches among the values of one facet. Computes for long; not to be called from the server's own threads.
pub fn search(index: &Index, facet: FacetSearchQuery, features: Features) -> Result<Value, ResponseError> {
    let started = std::time::Instant::now();
    let FacetSearchQuery { facet_query, facet_name, exhaustive_facet_count, .. } = facet.clone();
    let query = SearchQuery {
        q: facet.q,
        vector: facet.vector,
        media: facet.media,
        hybrid: facet.hybrid,
        filter: facet.filter,
        matching_strategy: facet.matching_strategy,
        attributes_to_search_on: facet.attributes_to_search_on,
        ranking_score_threshold: facet.ranking_score_threshold,
        locales: facet.locales,
        use_network: facet.use_network,
        // Page 0 has no hits to rank, and makes the engine find every candidate.
        page: exhaustive_facet_count.filter(|is_exhaustive| *is_exhaustive).map(|_| 0),
        ..SearchQuery::default()
    };
    run::refuse_unavailable(&query, features)?;
    let rtxn = index.read_txn()?;
    let kind = SearchKind::of(&query, index, &rtxn)?;
    run::refuse_media(&query)?;
    if !index.facet_search(&rtxn)? {
        return Err(ResponseError::new(Code::FacetSearchDisabled, "The facet search is disabled for this index"));
    }
    let filter = match &query.filter {
        Some(filter) => filter::parse(filter, Code::InvalidSearchFilter, features)?,
        None => None,
    };
    let limits = run::Limits::of(index, &rtxn, &query)?;
    let search = run::prepare(index, &rtxn, &query, &kind, filter, &[], &limits)?;

    // Values of an attribute without a language of its own have none, whatever the query's locales are.
    let rules = index.localized_attributes_rules(&rtxn)?.unwrap_or_default();
    let locales = rules.into_iter().find(|rule| rule.match_str(&facet_name) == PatternMatch::Match);
    let mut values = SearchForFacetValues::new(facet_name, search, matches!(kind, SearchKind::Both(..)));
    if let Some(rule) = locales {
        let asked = |language| match &query.locales {
            Some(locales) => locales.contains(&Locale(language)),
            None => true,
        };
        values.locales(rule.locales.into_iter().filter(|language| asked(*language)).collect());
    }
    if let Some(facet_query) = &facet_query {
        values.query(facet_query);
    }
    if let Some(max) = index.max_values_per_facet(&rtxn)? {
        values.max_values(usize::try_from(max).unwrap_or(usize::MAX));
    }
    let hits = values.execute()?;
    let hits: Vec<Value> = hits.into_iter().map(|hit| json!({ "value": hit.value, "count": hit.count })).collect();
    Ok(json!({
        "facetHits": hits,
        "facetQuery": facet_query,
        "processingTimeMs": started.elapsed().as_millis() as u64,
    }))
}
