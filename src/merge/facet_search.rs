//! The answer of `/facet-search` over all legs: exact counts, Meilisearch's order and limit.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::UnicodeNormalization;

use super::facets::normalize_facet;
use super::{in_tie_order, json, FacetOrder, IndexFacts, Leg, MergeError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LegAnswer<'a> {
    facet_hits: Vec<FacetHit>,
    #[serde(borrow)]
    facet_query: Option<&'a RawValue>,
    #[serde(default)]
    processing_time_ms: u64,
}

#[derive(Deserialize)]
struct FacetHit {
    value: String,
    count: u64,
}

/// Merges answers of `/facet-search` for the facet `facet`.
pub fn merge_facet_searches(legs: &[Leg], facet: &str, facts: &IndexFacts) -> Result<Bytes, MergeError> {
    let mut hits: Vec<(String, FacetHit)> = Vec::new();
    let mut by_normalized: HashMap<String, usize> = HashMap::new();
    let mut facet_query = None;
    let mut processing_time_ms = 0;
    for (n, leg) in in_tie_order(legs) {
        let answer: LegAnswer = serde_json::from_slice(&leg.body).map_err(|error| MergeError::Malformed {
            leg: n,
            what: "not a facet search",
            at: error.column(),
        })?;
        facet_query = facet_query.or(answer.facet_query);
        processing_time_ms = processing_time_ms.max(answer.processing_time_ms);
        for hit in answer.facet_hits {
            let normalized = normalize_facet(&hit.value);
            match by_normalized.get(&normalized) {
                Some(&at) => hits[at].1.count += hit.count,
                None => {
                    by_normalized.insert(normalized.clone(), hits.len());
                    hits.push((normalized, hit));
                }
            }
        }
    }
    if legs.is_empty() {
        return Err(MergeError::NoLegs);
    }

    match facts.facet_order.of(facet) {
        FacetOrder::Count => {
            hits.sort_by(|(_, left), (_, right)| {
                right.count.cmp(&left.count).then_with(|| right.value.cmp(&left.value))
            });
        }
        // With a query, Meilisearch walks its dictionary of searchable spellings; without one, the facet's values.
        FacetOrder::Alpha if facet_query.is_some() => {
            hits.sort_by_cached_key(|(normalized, _)| (searchable_spelling(normalized), normalized.clone()));
        }
        FacetOrder::Alpha => hits.sort_by(|(left, _), (right, _)| left.cmp(right)),
    }
    hits.truncate(facts.max_values_per_facet);
    Ok(write(&hits, facet_query, processing_time_ms))
}

/// A value as facet queries are matched against it: without accents.
fn searchable_spelling(normalized: &str) -> String {
    normalized.nfkd().filter(|c| !is_combining_mark(*c)).collect()
}

fn write(hits: &[(String, FacetHit)], facet_query: Option<&RawValue>, processing_time_ms: u64) -> Bytes {
    let mut out = b"{\"facetHits\":[".to_vec();
    for (n, (_, hit)) in hits.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"value\":");
        json::push_string(&hit.value, &mut out);
        out.extend_from_slice(b",\"count\":");
        json::push_count(hit.count, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"facetQuery\":");
    out.extend_from_slice(facet_query.map_or("null", RawValue::get).as_bytes());
    out.extend_from_slice(b",\"processingTimeMs\":");
    json::push_count(processing_time_ms, &mut out);
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Shard;
    use crate::merge::FacetOrders;

    fn leg(shard: u32, body: &str) -> Leg {
        Leg { shards: vec![Shard(shard)], body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn legs() -> Vec<Leg> {
        vec![
            leg(
                1,
                r#"{"facetHits":[{"value":"Action","count":2},{"value":"Éclair","count":1}],"facetQuery":"a","processingTimeMs":3}"#,
            ),
            leg(
                0,
                r#"{"facetHits":[{"value":"Adventure","count":3},{"value":"action","count":1},{"value":"Zoo","count":1}],"facetQuery":"a","processingTimeMs":1}"#,
            ),
        ]
    }

    #[test]
    fn counts_of_one_value_add_up_whatever_its_spelling() {
        let merged = merge_facet_searches(&legs(), "genre", &IndexFacts::default()).unwrap();
        assert_eq!(
            merged,
            r#"{"facetHits":[{"value":"action","count":3},{"value":"Adventure","count":3},{"value":"Éclair","count":1},{"value":"Zoo","count":1}],"facetQuery":"a","processingTimeMs":3}"#
        );
    }

    #[test]
    fn by_count_the_greatest_value_wins_a_tie_and_the_limit_is_the_clients() {
        let facts = IndexFacts {
            max_values_per_facet: 2,
            facet_order: FacetOrders { default: FacetOrder::Count, ..FacetOrders::default() },
            ..IndexFacts::default()
        };
        let merged = merge_facet_searches(&legs(), "genre", &facts).unwrap();
        assert_eq!(
            merged,
            r#"{"facetHits":[{"value":"action","count":3},{"value":"Adventure","count":3}],"facetQuery":"a","processingTimeMs":3}"#
        );
    }

    #[test]
    fn without_a_query_the_answer_says_null() {
        let answer = r#"{"facetHits":[],"facetQuery":null,"processingTimeMs":0}"#;
        assert_eq!(merge_facet_searches(&[leg(0, answer)], "g", &IndexFacts::default()).unwrap(), answer);
        assert!(merge_facet_searches(&[leg(0, "[]")], "g", &IndexFacts::default()).is_err());
        assert_eq!(merge_facet_searches(&[], "g", &IndexFacts::default()), Err(MergeError::NoLegs));
    }
}
