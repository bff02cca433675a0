//! What the merge must know of an index's settings.

use std::collections::HashMap;

use serde_json::Value;

use super::explain::filterable::covers;
use crate::cluster::{Index, Snapshot};
use crate::merge::{FacetOrder, FacetOrders, IndexFacts};
use crate::reserved::EXPIRY_FIELD;

/// Reads the client's settings; whatever is absent has Meilisearch's default.
pub fn of(snapshot: &Snapshot, index: &Index) -> IndexFacts {
    let defaults = IndexFacts::default();
    let number = |pointer: &str, default: usize| {
        index.settings.pointer(pointer).and_then(Value::as_u64).map_or(default, |n| n as usize)
    };
    let displayed =
        strings(&index.settings, "displayedAttributes").filter(|names| !names.iter().any(|name| name == "*"));
    IndexFacts {
        primary_key: index.primary_key.clone(),
        distinct_attribute: index.settings.get("distinctAttribute").and_then(Value::as_str).map(str::to_owned),
        max_total_hits: number("/pagination/maxTotalHits", defaults.max_total_hits),
        max_values_per_facet: number("/faceting/maxValuesPerFacet", defaults.max_values_per_facet),
        facet_order: facet_orders(&index.settings),
        ranking_rules: match displayed {
            Some(_) => strings(&index.settings, "rankingRules").unwrap_or_else(default_ranking_rules),
            None => Vec::new(),
        },
        displayed,
        pins: snapshot.search_rules().pins_of(&index.uid).cloned(),
        hidden_facet: (index.expiry.is_filterable && !filters_by_expiry(&index.settings)).then_some(EXPIRY_FIELD),
    }
}

/// Whether the client itself has made the time at which documents expire filterable.
fn filters_by_expiry(settings: &Value) -> bool {
    let rules = settings.get("filterableAttributes").and_then(Value::as_array);
    rules.into_iter().flatten().any(|rule| covers(rule, EXPIRY_FIELD))
}

fn strings(settings: &Value, name: &str) -> Option<Vec<String>> {
    let list = settings.get(name)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Only where the rule `sort` stands matters here, and that there is one.
fn default_ranking_rules() -> Vec<String> {
    vec!["sort".to_owned()]
}

fn facet_orders(settings: &Value) -> FacetOrders {
    let order = |value: &Value| if value == "count" { FacetOrder::Count } else { FacetOrder::Alpha };
    let mut orders = FacetOrders::default();
    if let Some(Value::Object(entries)) = settings.pointer("/faceting/sortFacetValuesBy") {
        let by_facet: HashMap<String, FacetOrder> =
            entries.iter().map(|(name, value)| (name.clone(), order(value))).collect();
        orders.default = by_facet.get("*").copied().unwrap_or_default();
        orders.by_facet = by_facet;
    }
    orders
}

/// Facet values that nodes are told to list when their order is by count: each node's list must then be complete, or a value
/// that is common over all but rare on one node would lack that node's part. Beyond this many values counts may be short.
const LISTED_VALUES_MAX: u64 = 100_000;

/// `faceting.maxValuesPerFacet` for the nodes. In alphabetical order, a value that is among the client's first N over all nodes
/// is among the first N of every node that has it, so the client's own number is exact; by count it is not.
pub fn node_max_values_per_facet(settings: &Value) -> u64 {
    let orders = facet_orders(settings);
    let by_count =
        orders.default == FacetOrder::Count || orders.by_facet.values().any(|order| *order == FacetOrder::Count);
    let asked = settings.pointer("/faceting/maxValuesPerFacet").and_then(Value::as_u64);
    let asked = asked.unwrap_or(IndexFacts::default().max_values_per_facet as u64);
    if by_count {
        asked.max(LISTED_VALUES_MAX)
    } else {
        asked
    }
}
