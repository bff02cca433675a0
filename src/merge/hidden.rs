//! What searches do not show of fields on which their order, or the choice among equal values, depends.
//!
//! A rule that sorts by a field that is not displayed appears in a hit's score details as `<hidden-rule-N>` without its value,
//! and a hidden distinct attribute is not in the hit at all. A node has ordered its own hits by them all the same; only hits of
//! different nodes cannot be compared. [`keys_of_undecided`](super::search::keys_of_undecided) says for which hits the values
//! are needed, and lists of documents, which show every field, have them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::distinct::{values_of, DistinctValue};
use super::json;
use super::rank::{Direction, SortValue};
use super::sorted_documents::first_value;
use super::MergeError;

/// A ranking rule that sorts by a field which searches do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenRule {
    pub field: String,
    pub direction: Direction,
}

/// What a search depends on and does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HiddenFields {
    /// In the order in which score details list them.
    pub rules: Vec<HiddenRule>,
    pub distinct: Option<String>,
}

impl HiddenFields {
    /// Of the ranking rules and of the request's `sort`, which takes the place of the rule `sort`. Meilisearch sorts by a field
    /// once, where it comes first. `displayed`: the setting; a rule is hidden unless its very field is listed, a distinct
    /// attribute also shown within a listed parent.
    pub fn of(ranking_rules: &[String], sort: &[String], distinct: Option<&str>, displayed: &[String]) -> Self {
        let mut sorted = HashSet::new();
        let is_sort = |rule: &String| rule == "sort";
        let place = ranking_rules.iter().position(is_sort).unwrap_or(ranking_rules.len());
        let (before, after) = ranking_rules.split_at(place);
        // Without the rule `sort` a request that sorts is refused.
        let all = before.iter().chain(sort).chain(after);
        let fields = all.filter_map(|rule| rule.rsplit_once(':')).filter(|(field, _)| !field.starts_with("_geoPoint"));
        let rules = fields.filter(|(field, _)| sorted.insert(*field)).filter(|(field, _)| !lists(displayed, field));
        let rules = rules.map(|(field, direction)| HiddenRule {
            field: field.to_owned(),
            direction: if direction == "desc" { Direction::Descending } else { Direction::Ascending },
        });
        let is_shown = |attribute: &str| displayed.iter().any(|shown| shown == "*" || is_within(attribute, shown));
        Self { rules: rules.collect(), distinct: distinct.filter(|name| !is_shown(name)).map(str::to_owned) }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.distinct.is_none()
    }

    /// The fields that must be read of each document. Of a nested field the top one too: it may be the only one that there is.
    pub fn to_read(&self) -> Vec<&str> {
        let named = self.rules.iter().map(|rule| rule.field.as_str()).chain(self.distinct.as_deref());
        let mut fields: Vec<&str> = named.flat_map(|name| [name, name.split('.').next().unwrap_or(name)]).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}

fn lists(displayed: &[String], field: &str) -> bool {
    displayed.iter().any(|shown| shown == "*" || shown == field)
}

/// Whether `attribute` is `parent` or inside of it.
fn is_within(attribute: &str, parent: &str) -> bool {
    attribute.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the hidden fields of the documents say.
#[derive(Debug, Default)]
pub struct HiddenValues {
    pub primary_key: String,
    pub fields: HiddenFields,
    by_key: HashMap<String, DocumentValues>,
}

#[derive(Debug)]
struct DocumentValues {
    /// One for each hidden rule.
    sort: Vec<SortValue<'static>>,
    distinct: Vec<DistinctValue>,
}

#[derive(Deserialize)]
struct DocumentList<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl HiddenValues {
    pub fn new(primary_key: String, fields: HiddenFields) -> Self {
        Self { primary_key, fields, by_key: HashMap::new() }
    }

    /// Adds the documents of a list, as `documents/fetch` answers.
    pub fn add(&mut self, leg: usize, list: &Bytes) -> Result<(), MergeError> {
        let malformed = |at| MergeError::Malformed { leg, what: "not a list of documents", at };
        let list: DocumentList = serde_json::from_slice(list).map_err(|error| malformed(error.column()))?;
        for document in list.results {
            let bytes = document.get().as_bytes();
            let members = json::members(bytes).map_err(|error| MergeError::of_leg(leg, error))?;
            let key = members.iter().find(|member| json::key_is(member.raw_key(bytes), &self.primary_key));
            let Some(key) = key.map(|member| key_text(member.value(bytes))) else { continue };
            let values = |field: &str| values_of(bytes, &members, field);
            let sort = self.fields.rules.iter().map(|rule| first_value(values(&rule.field), rule.direction));
            let sort = sort.collect();
            let distinct = self.fields.distinct.as_deref().map(values).unwrap_or_default();
            self.by_key.insert(key, DocumentValues { sort, distinct });
        }
        Ok(())
    }

    /// What the `n`th hidden rule says of a document, with its direction. `None`: the document was not read.
    pub fn sort_value(&self, raw_key: &[u8], n: usize) -> Option<(Direction, &SortValue<'static>)> {
        let document = self.by_key.get(&key_text(raw_key))?;
        Some((self.fields.rules.get(n)?.direction, document.sort.get(n)?))
    }

    /// The values of the hidden distinct attribute; `None` when it is not hidden, or the document was not read.
    pub fn distinct_values(&self, raw_key: &[u8]) -> Option<Vec<DistinctValue>> {
        self.fields.distinct.as_ref()?;
        Some(self.by_key.get(&key_text(raw_key))?.distinct.clone())
    }
}

/// A primary key as text. Integer 7 and string "7" are one key.
pub fn key_text(raw: &[u8]) -> String {
    json::string(raw).unwrap_or_else(|| String::from_utf8_lossy(raw)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn fields(rules: &[&str], sort: &[&str], distinct: Option<&str>, displayed: &[&str]) -> HiddenFields {
        HiddenFields::of(&strings(rules), &strings(sort), distinct, &strings(displayed))
    }

    #[test]
    fn hidden_rules_are_those_of_fields_that_are_not_listed_each_once() {
        let rules = ["words", "sort", "typo", "price:asc", "rank:desc"];
        let found = fields(&rules, &["price:desc", "_geoPoint(1,2):asc", "title:asc"], None, &["id", "title"]);
        let expected = [("price", Direction::Descending), ("rank", Direction::Descending)];
        assert_eq!(found.rules.iter().map(|rule| (rule.field.as_str(), rule.direction)).collect::<Vec<_>>(), expected);
        assert!(fields(&rules, &[], Some("x"), &["*"]).is_empty());
    }

    #[test]
    fn a_nested_rule_is_hidden_though_its_parent_is_shown_and_a_distinct_attribute_is_not() {
        let found = fields(&["price.eur:asc"], &[], Some("seller.id"), &["price", "seller"]);
        assert_eq!((found.rules.len(), &found.distinct), (1, &None));
        assert_eq!(found.to_read(), ["price", "price.eur"]);
        assert_eq!(fields(&[], &[], Some("seller"), &["seller.id"]).distinct.as_deref(), Some("seller"));
    }

    #[test]
    fn values_are_those_that_meilisearch_sorts_by() {
        let hidden = fields(&["a:asc", "b.c:desc"], &[], Some("d"), &["id"]);
        let mut values = HiddenValues::new("id".to_owned(), hidden);
        let list =
            r#"{"results":[{"id":"7","a":["Z",3,1],"b":[{"c":"É "},{"c":"a"}],"d":["x",2]},{"id":8}],"total":2}"#;
        values.add(0, &Bytes::from(list)).unwrap();
        let text = |text: &str| SortValue::String(text.to_owned().into());
        assert_eq!(values.sort_value(b"7", 0), Some((Direction::Ascending, &SortValue::Number(1.0))));
        assert_eq!(values.sort_value(b"\"7\"", 1), Some((Direction::Descending, &text("e\u{301}"))));
        assert_eq!(values.sort_value(b"8", 1), Some((Direction::Descending, &SortValue::Missing)));
        assert_eq!(values.sort_value(b"9", 0), None);
        assert_eq!(values.distinct_values(b"7").unwrap().len(), 2);
        assert_eq!(values.distinct_values(b"8").unwrap(), []);
    }
}
