//! Compares two answers to one query. Pure: everything it needs is in its arguments.
//!
//! A page is right when at every position stands a hit that the single server could have put there: the one it did
//! put there, or one of equal rank key. Since every position of a tie may be filled by any member of that tie, and no
//! hit may appear twice, a page whose boundary cuts through a tie is right exactly when what it has of the tie comes
//! from that tie.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use crate::client::Object;
use crate::rank::RankKey;

/// A hit of the single server: the document, its rank, and under `distinct` the value it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedHit {
    pub id: String,
    pub key: RankKey,
    pub distinct_value: Option<String>,
}

/// A hit of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHit {
    pub id: String,
    pub distinct_value: Option<String>,
}

/// The single server's hits from the first one on, beyond the page that is compared.
#[derive(Debug, Clone, Default)]
pub struct Window {
    pub hits: Vec<RankedHit>,
    /// Whether these are all hits that the server gives for the query.
    pub complete: bool,
    /// Keys of documents that are not among `hits`: those that `distinct` left out, or that a tie which runs on past
    /// the window holds.
    pub other_keys: HashMap<String, RankKey>,
    /// Whether `other_keys` lacks documents because the server cannot be asked about them.
    pub others_unknown: bool,
}

impl Window {
    /// Whether the tie that holds the last hit of `page` ends within the window.
    pub fn closes(&self, page: &Range<usize>) -> bool {
        if self.complete || page.is_empty() {
            return true;
        }
        match (self.hits.get(page.end - 1), self.hits.last()) {
            (Some(at_end), Some(last)) => at_end.key != last.key,
            _ => false,
        }
    }
}

/// What is wrong with a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageDifference {
    Length {
        expected: usize,
        got: usize,
    },
    Twice {
        id: String,
        position: usize,
    },
    SameDistinctValueTwice {
        value: String,
        position: usize,
    },
    NotAHit {
        id: String,
        position: usize,
        expected: String,
    },
    WrongRank {
        id: String,
        rank: String,
        position: usize,
        expected: String,
        expected_rank: String,
    },
    /// The hit may belong to the tie that runs on past the window, but nothing tells its rank.
    Undecided {
        id: String,
        position: usize,
    },
}

/// Compares the hits `got` for the positions `page` with the single server's.
pub fn compare_page(window: &Window, page: Range<usize>, got: &[SeenHit]) -> Result<(), PageDifference> {
    let end = page.end.min(window.hits.len());
    let start = page.start.min(end);
    let expected = &window.hits[start..end];
    if expected.len() != got.len() {
        return Err(PageDifference::Length { expected: expected.len(), got: got.len() });
    }
    let mut ids = HashSet::new();
    let mut values = HashSet::new();
    let by_id: HashMap<&str, &RankedHit> = window.hits.iter().map(|hit| (hit.id.as_str(), hit)).collect();
    let by_value: HashMap<&str, &RankedHit> =
        window.hits.iter().filter_map(|hit| Some((hit.distinct_value.as_deref()?, hit))).collect();

    for (index, (hit, should_be)) in got.iter().zip(expected).enumerate() {
        let position = start + index;
        if !ids.insert(hit.id.as_str()) {
            return Err(PageDifference::Twice { id: hit.id.clone(), position });
        }
        if let Some(value) = &hit.distinct_value {
            if !values.insert(value.as_str()) {
                return Err(PageDifference::SameDistinctValueTwice { value: value.clone(), position });
            }
        }
        // Under `distinct` a value stands where its best document stands; which of equally good documents speaks
        // for it is free.
        let standing_for = hit.distinct_value.as_deref().and_then(|value| by_value.get(value)).map(|best| &best.key);
        let own = by_id.get(hit.id.as_str()).map(|known| &known.key);
        let own = own.or_else(|| window.other_keys.get(&hit.id).filter(|_| standing_for.is_some() || !window.complete));
        let Some(rank) = own else {
            if window.others_unknown && window.hits.last().is_some_and(|last| last.key == should_be.key) {
                return Err(PageDifference::Undecided { id: hit.id.clone(), position });
            }
            return Err(PageDifference::NotAHit { id: hit.id.clone(), position, expected: should_be.id.clone() });
        };
        if *rank != should_be.key || standing_for.is_some_and(|key| *key != should_be.key) {
            return Err(PageDifference::WrongRank {
                id: hit.id.clone(),
                rank: rank.to_string(),
                position,
                expected: should_be.id.clone(),
                expected_rank: should_be.key.to_string(),
            });
        }
    }
    Ok(())
}

/// The fields of a search answer that count or page.
const COUNTING_FIELDS: [&str; 7] =
    ["estimatedTotalHits", "totalHits", "totalPages", "page", "hitsPerPage", "limit", "offset"];

/// Compares the fields that count or page; tells the first that differs.
///
/// Under `distinct`, `estimatedTotalHits` is not compared: the engine subtracts the documents that it happened to leave
/// out on its way to the page's end, so that the same documents, added in another order, give another estimate (seen
/// on 1.50: 22,983 and 13,231). `totalHits` is exact and compared.
pub fn compare_totals(single: &Object, cluster: &Object, is_distinct: bool) -> Result<(), String> {
    for field in COUNTING_FIELDS.into_iter().filter(|field| !(is_distinct && *field == "estimatedTotalHits")) {
        let (expected, got) = (single.get(field), cluster.get(field));
        if expected != got {
            let told = |side: Option<&Value>| side.map_or("nothing".to_owned(), Value::to_string);
            return Err(format!("{field}: expected {}, got {}", told(expected), told(got)));
        }
    }
    Ok(())
}

/// How a server orders and cuts the values of a facet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FacetOrder {
    Alphabetical,
    /// Most frequent first; which values of equal count come first, or fall to the cut, is the server's choice.
    ByCount,
}

/// Compares `facetDistribution` and `facetStats`. `order_of` says how a facet is ordered and `values_max` where its
/// list is cut.
pub fn compare_facets(
    single: &Object,
    cluster: &Object,
    values_max: usize,
    order_of: impl Fn(&str) -> FacetOrder,
) -> Result<(), String> {
    if single.get("facetStats") != cluster.get("facetStats") {
        return Err(format!(
            "facetStats: expected {:?}, got {:?}",
            single.get("facetStats"),
            cluster.get("facetStats")
        ));
    }
    let (expected, got) = match (single.get("facetDistribution"), cluster.get("facetDistribution")) {
        (Some(Value::Object(expected)), Some(Value::Object(got))) => (expected, got),
        (expected, got) if expected == got => return Ok(()),
        (expected, got) => return Err(format!("facetDistribution: expected {expected:?}, got {got:?}")),
    };
    let facets: HashSet<&String> = expected.keys().chain(got.keys()).collect();
    for facet in facets {
        let (Some(Value::Object(expected)), Some(Value::Object(got))) = (expected.get(facet), got.get(facet)) else {
            return Err(format!("facet {facet} is on one side only"));
        };
        compare_facet(expected, got, values_max, order_of(facet)).map_err(|what| format!("facet {facet}: {what}"))?;
    }
    Ok(())
}

/// Compares two answers of a search among the values of a facet: the values in their order, their counts, the echoed query.
pub fn compare_facet_search(
    single: &Object,
    cluster: &Object,
    values_max: usize,
    order: FacetOrder,
) -> Result<(), String> {
    if single.get("facetQuery") != cluster.get("facetQuery") {
        return Err(format!(
            "facetQuery: expected {:?}, got {:?}",
            single.get("facetQuery"),
            cluster.get("facetQuery")
        ));
    }
    compare_facet(&counts_of(single)?, &counts_of(cluster)?, values_max, order)
}

/// `facetHits` as values with their counts.
fn counts_of(answer: &Object) -> Result<Object, String> {
    let hits = answer.get("facetHits").and_then(Value::as_array).ok_or("no facetHits")?;
    let mut counts = Object::new();
    for hit in hits {
        let value = hit["value"].as_str().ok_or_else(|| format!("a hit without value: {hit}"))?;
        // Values that differ by case alone are one, so none may appear twice.
        if counts.insert(value.to_owned(), hit["count"].clone()).is_some() {
            return Err(format!("value {value:?} appears twice"));
        }
    }
    Ok(counts)
}

fn compare_facet(expected: &Object, got: &Object, values_max: usize, order: FacetOrder) -> Result<(), String> {
    match order {
        FacetOrder::Alphabetical => {
            let unequal = expected.iter().zip(got.iter()).find(|(expected, got)| expected != got);
            if let Some((expected, got)) = unequal {
                return Err(format!("expected {expected:?}, got {got:?}"));
            }
        }
        FacetOrder::ByCount => {
            let unequal = expected.iter().zip(got.iter()).find(|(expected, got)| expected.1 != got.1);
            if let Some((expected, got)) = unequal {
                return Err(format!("expected a count as in {expected:?}, got {got:?}"));
            }
        }
    }
    if expected.len() != got.len() {
        return Err(format!("expected {} values, got {}", expected.len(), got.len()));
    }
    // A full list may have been cut inside a tie of counts: its last count's values are then a choice.
    let cut =
        (order == FacetOrder::ByCount && expected.len() >= values_max).then(|| expected.values().next_back()).flatten();
    for (value, count) in expected {
        if got.get(value) != Some(count) && Some(count) != cut {
            return Err(format!("value {value:?}: expected {count}, got {:?}", got.get(value)));
        }
    }
    Ok(())
}

/// Fields of a hit that tell how it was found rather than what it is. Nodes count them against what else they hold, so
/// they may differ.
const SCORE_FIELDS: [&str; 2] = ["_rankingScore", "_rankingScoreDetails"];

/// Compares the documents that both answers hold, with all that was added to them (`_formatted`, `_matchesPosition`,
/// `_geoDistance`); tells the first that differs.
pub fn compare_contents(single: &[Value], cluster: &[Value], id_of: impl Fn(&Value) -> String) -> Result<(), String> {
    let by_id: HashMap<String, &Value> = single.iter().map(|hit| (id_of(hit), hit)).collect();
    for got in cluster {
        let id = id_of(got);
        let Some(expected) = by_id.get(&id) else { continue };
        let (expected, got) = (without_scores(expected), without_scores(got));
        if expected != got {
            return Err(format!("document {id}: expected {expected}, got {got}"));
        }
    }
    Ok(())
}

fn without_scores(hit: &Value) -> Value {
    let mut hit = hit.clone();
    if let Some(fields) = hit.as_object_mut() {
        fields.retain(|name, _| !SCORE_FIELDS.contains(&name.as_str()));
    }
    hit
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
