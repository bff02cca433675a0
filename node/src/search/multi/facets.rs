//! Facets of several queries: counted per index, and added up over the indexes if that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use milli_core::order_by_map::OrderByMap;
use milli_core::{normalize_facet, Object, OrderBy};
use serde_json::Value;

use super::super::facets::{attributes, Facets};
use super::super::stored::Reader;
use super::request::MergeFacets;
use crate::error::{Code, ResponseError};

/// The order in which each facet's values are shown, and the index that said so first.
#[derive(Default)]
pub struct FacetOrders(BTreeMap<String, (String, OrderBy)>);

impl FacetOrders {
    /// Notes the orders of the index, and refuses one that differs from an index before.
    pub fn add(&mut self, uid: &str, reader: &Reader<'_>, patterns: &[String]) -> Result<(), ResponseError> {
        let orders: OrderByMap = reader.index.sort_facet_values_by(reader.rtxn)?;
        for name in attributes(reader, patterns)? {
            let order = orders.get(&name);
            let (first_uid, first) = self.0.entry(name.clone()).or_insert_with(|| (uid.to_owned(), order));
            if *first != order {
                return Err(ResponseError::new(
                    Code::InvalidMultiSearchFacetOrder,
                    format!(
                        "Inconsistent order for values in facet `{name}`: index `{first_uid}` orders {first}, but index \
                         `{uid}` orders {order}.\n - Hint: Remove `federation.mergeFacets` or change \
                         `faceting.sortFacetValuesBy` to be consistent in settings."
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Adds up what was counted in all indexes.
    pub fn merge(&self, by_index: BTreeMap<String, Facets>, how: MergeFacets) -> Facets {
        let mut merged = Facets::default();
        for facets in by_index.into_values() {
            for (name, values) in facets.distribution {
                let sums = merged.distribution.entry(name).or_default();
                for (value, count) in values {
                    *sums.entry(value).or_insert(0) += count;
                }
            }
            for (name, stats) in facets.stats {
                let sum = merged.stats.entry(name).or_insert(stats);
                sum.min = sum.min.min(stats.min);
                sum.max = sum.max.max(stats.max);
            }
        }
        for (name, values) in &mut merged.distribution {
            match self.0.get(name).map(|(_, order)| *order).unwrap_or_default() {
                OrderBy::Lexicographic => values.sort_keys(),
                OrderBy::Count => values.sort_by(|_, left, _, right| right.cmp(left)),
            }
            values.truncate(how.max_values_per_facet.unwrap_or(usize::MAX));
        }
        merged
    }
}

/// What `distinct` compares and facets count: the scalars that a document has in a field, strings as facets store them.
pub fn facet_values(document: &Object, field: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for (key, value) in document {
        visit(key, value, field, &mut values);
    }
    values
}

fn visit(key: &str, value: &Value, field: &str, values: &mut BTreeSet<String>) {
    if key == field {
        return add_leaves(value, values);
    }
    let Some(below) = field.strip_prefix(key).and_then(|rest| rest.strip_prefix('.')) else { return };
    visit_below(value, below, values);
}

fn visit_below(value: &Value, field: &str, values: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| visit(key, value, field, values)),
        Value::Array(array) => array.iter().for_each(|value| visit_below(value, field, values)),
        _ => {}
    }
}

fn add_leaves(value: &Value, values: &mut BTreeSet<String>) {
    match value {
        Value::Array(array) => array.iter().for_each(|value| add_leaves(value, values)),
        Value::Bool(value) => _ = values.insert(value.to_string()),
        Value::Number(number) => _ = values.insert(number.to_string()),
        Value::String(text) => _ = values.insert(normalize_facet(text)),
        Value::Null | Value::Object(_) => {}
    }
}

/// Takes documents out of what was counted, and values that none is left with.
pub fn uncount(facets: &mut Facets, documents: &[Object]) {
    for (name, counts) in &mut facets.distribution {
        // Counts go by a value as some document has it, documents are compared by its normal form.
        let originals: BTreeMap<String, String> =
            counts.keys().map(|value| (normalize_facet(value), value.clone())).collect();
        for value in documents.iter().flat_map(|document| facet_values(document, name)) {
            let shown = originals.get(&value).unwrap_or(&value);
            if let Some(count) = counts.get_mut(shown) {
                *count = count.saturating_sub(1);
            }
        }
        counts.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_below_objects_and_arrays_in_their_normal_form() {
        let document = json!({ "a": { "b": ["Red", 1, [true]] }, "a.c": "x", "d": [{ "e": "f" }, { "e": null }] });
        let Value::Object(document) = document else { panic!("not an object") };
        let values = |field| facet_values(&document, field).into_iter().collect::<Vec<_>>();
        assert_eq!(values("a.b"), ["1", "red", "true"]);
        assert_eq!(values("a.c"), ["x"]);
        assert_eq!(values("d.e"), ["f"]);
        assert!(values("a").is_empty());
    }
}
