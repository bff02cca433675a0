//! What is known of an index: its documents, and what its settings allow to be asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::UnicodeNormalization;

use crate::client::{Client, ClientError, Object};
use crate::compare::FacetOrder;

/// Documents read from the single server. More of them make no better queries, only more memory.
const DOCUMENTS_MAX: usize = 200_000;
/// Meilisearch's own value when the setting is absent.
const DEFAULT_VALUES_PER_FACET: usize = 100;
/// Meilisearch's own value when the setting is absent.
const DEFAULT_TOTAL_HITS_MAX: usize = 1_000;

/// Why no queries can be made out of an index.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the index {0} has no primary key, so its hits cannot be told apart")]
    NoPrimaryKey(String),
    #[error("the index {0} has no documents to make queries from")]
    Empty(String),
}

/// The documents of an index and its settings, as far as queries depend on them.
#[derive(Debug)]
pub struct Corpus {
    pub primary_key: String,
    pub documents: Vec<Object>,
    /// Fields that hold text to search for.
    pub text_fields: Vec<String>,
    /// Filterable fields with strings, and every value of each.
    pub string_facets: BTreeMap<String, Vec<String>>,
    /// Filterable fields with numbers, and every value of each in ascending order.
    pub number_facets: BTreeMap<String, Vec<f64>>,
    /// Sortable fields, `_geo` left out.
    pub sortable: Vec<String>,
    pub geo_filterable: bool,
    pub geo_sortable: bool,
    pub total_hits_max: usize,
    pub values_per_facet: usize,
    facet_orders: HashMap<String, FacetOrder>,
    ranking_rules: Vec<String>,
    /// The fields that searches show; `None` for all.
    displayed: Option<Vec<String>>,
    /// Places of documents by their ids.
    by_id: HashMap<String, usize>,
    /// Every word of the text fields, folded, each once.
    pub dictionary: BTreeSet<String>,
}

impl Corpus {
    /// Reads the index from a server.
    pub async fn read(client: &Client, index: &str) -> Result<Self, CorpusError> {
        let primary_key =
            client.primary_key(index).await?.ok_or_else(|| CorpusError::NoPrimaryKey(index.to_owned()))?;
        let settings = client.settings(index).await?;
        let documents = client.documents(index, DOCUMENTS_MAX).await?;
        if documents.is_empty() {
            return Err(CorpusError::Empty(index.to_owned()));
        }
        Ok(Self::new(primary_key, documents, &settings))
    }

    /// Builds the corpus from documents and an answer of `GET /indexes/{uid}/settings`.
    pub fn new(primary_key: String, documents: Vec<Object>, settings: &Object) -> Self {
        let fields: BTreeSet<String> = documents.iter().flat_map(|document| document.keys().cloned()).collect();
        let searchable = named_fields(settings, "searchableAttributes", &fields);
        let filterable = named_fields(settings, "filterableAttributes", &fields);
        let sortable = named_fields(settings, "sortableAttributes", &fields);
        let text_fields: Vec<String> = searchable
            .into_iter()
            .filter(|field| documents.iter().any(|document| !texts(document, field).is_empty()))
            .collect();
        let mut string_facets = BTreeMap::new();
        let mut number_facets = BTreeMap::new();
        for field in filterable.iter().filter(|field| *field != "_geo") {
            let strings: BTreeSet<&str> = documents.iter().flat_map(|document| texts(document, field)).collect();
            if !strings.is_empty() {
                string_facets.insert(field.clone(), strings.into_iter().map(str::to_owned).collect());
            }
            let mut numbers: Vec<f64> = documents.iter().filter_map(|document| document.get(field)?.as_f64()).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            if !numbers.is_empty() {
                number_facets.insert(field.clone(), numbers);
            }
        }
        let dictionary = documents
            .iter()
            .flat_map(|document| text_fields.iter().flat_map(|field| texts(document, field)))
            .flat_map(words)
            .map(fold)
            .collect();
        Self {
            geo_filterable: filterable.iter().any(|field| field == "_geo"),
            geo_sortable: sortable.iter().any(|field| field == "_geo"),
            sortable: sortable.into_iter().filter(|field| field != "_geo").collect(),
            total_hits_max: number_setting(settings, "pagination", "maxTotalHits", DEFAULT_TOTAL_HITS_MAX),
            values_per_facet: number_setting(settings, "faceting", "maxValuesPerFacet", DEFAULT_VALUES_PER_FACET),
            facet_orders: facet_orders(settings),
            ranking_rules: strings(settings, "rankingRules"),
            displayed: Some(strings(settings, "displayedAttributes"))
                .filter(|names| !names.is_empty() && names[0] != "*"),
            by_id: documents.iter().enumerate().map(|(n, document)| (id_text(document.get(&primary_key)), n)).collect(),
            primary_key,
            documents,
            text_fields,
            string_facets,
            number_facets,
            dictionary,
        }
    }

    /// The id of a hit or document as text: integer 7 and string "7" are one key.
    pub fn id_of(&self, document: &Value) -> String {
        id_text(document.get(&self.primary_key))
    }

    /// What ranking rules about fields that searches do not show say of a document, in the order of these rules: one field
    /// counts once, where it comes first.
    pub fn hidden_values(&self, query: &Object, id: &str) -> Vec<String> {
        let Some(displayed) = &self.displayed else { return Vec::new() };
        let Some(document) = self.by_id.get(id).map(|n| &self.documents[*n]) else { return Vec::new() };
        let mut sorted = BTreeSet::new();
        let rules = self.ranking_rules.iter().flat_map(|rule| match rule.as_str() {
            "sort" => strings(query, "sort"),
            other => vec![other.to_owned()],
        });
        let mut values = Vec::new();
        for rule in rules {
            let Some((field, direction)) = rule.rsplit_once(':') else { continue };
            if !field.starts_with("_geoPoint")
                && sorted.insert(field.to_owned())
                && !displayed.iter().any(|f| f == field)
            {
                values.push(sort_value(document.get(field), direction == "asc"));
            }
        }
        values
    }

    pub fn facet_order(&self, facet: &str) -> FacetOrder {
        let order = self.facet_orders.get(facet).or_else(|| self.facet_orders.get("*"));
        order.copied().unwrap_or(FacetOrder::Alphabetical)
    }

    /// The latitude and longitude of a document that has them as numbers.
    pub fn position(document: &Object) -> Option<(f64, f64)> {
        let geo = document.get("_geo")?;
        Some((geo.get("lat")?.as_f64()?, geo.get("lng")?.as_f64()?))
    }
}

fn id_text(id: Option<&Value>) -> String {
    match id {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// The value that a document is sorted by: of several numbers the first in the direction, of strings only where there is no
/// number.
fn sort_value(value: Option<&Value>, ascending: bool) -> String {
    let values = match value {
        Some(Value::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    };
    let mut numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
    numbers.sort_by(f64::total_cmp);
    let mut texts: Vec<String> =
        values.iter().filter_map(|value| value.as_str()).map(|text| text.trim().to_lowercase()).collect();
    texts.sort();
    let (number, text) = match ascending {
        true => (numbers.first(), texts.first()),
        false => (numbers.last(), texts.last()),
    };
    number.map(f64::to_string).or(text.cloned()).unwrap_or_default()
}

/// The strings of a list among an object's members.
fn strings(object: &Object, name: &str) -> Vec<String> {
    let list = object.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The strings of a field, whether it holds one or a list.
pub fn texts<'a>(document: &'a Object, field: &str) -> Vec<&'a str> {
    match document.get(field) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The words of a text, as written.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && !is_combining_mark(letter)).filter(|word| !word.is_empty())
}

/// A word in lower case and without accents, roughly as the engine's normalizer leaves it.
pub fn fold(word: &str) -> String {
    word.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase).collect()
}

/// The fields that a list of attributes in the settings names. An entry may be a name, a pattern with `*`, or an object
/// with `attributePatterns`.
fn named_fields(settings: &Object, setting: &str, fields: &BTreeSet<String>) -> Vec<String> {
    let mut named = Vec::new();
    for entry in settings.get(setting).and_then(Value::as_array).into_iter().flatten() {
        let patterns = match entry {
            Value::String(name) => vec![name.as_str()],
            other => other["attributePatterns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        };
        for pattern in patterns {
            let matching = fields.iter().filter(|field| match pattern.strip_suffix('*') {
                Some(start) => field.starts_with(start),
                None => *field == pattern,
            });
            named.extend(matching.cloned());
        }
    }
    let mut seen = BTreeSet::new();
    named.retain(|field| seen.insert(field.clone()));
    named
}

fn number_setting(settings: &Object, group: &str, name: &str, default: usize) -> usize {
    let value = settings.get(group).and_then(|group| group.get(name)).and_then(Value::as_u64);
    value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
}

fn facet_orders(settings: &Object) -> HashMap<String, FacetOrder> {
    let orders = settings.get("faceting").and_then(|faceting| faceting.get("sortFacetValuesBy"));
    let orders = orders.and_then(Value::as_object).into_iter().flatten();
    orders
        .map(|(facet, order)| {
            let order = if order == "count" { FacetOrder::ByCount } else { FacetOrder::Alphabetical };
            (facet.clone(), order)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn fields_are_sorted_by_what_can_be_asked_of_them() {
        let documents = vec![
            object(json!({ "id": 1, "name": "São Paulo", "size": 3, "tags": ["a b"], "_geo": { "lat": 1, "lng": 2 } })),
            object(json!({ "id": 2, "name": "Lima", "size": 1 })),
        ];
        let settings = object(json!({
            "searchableAttributes": ["*"],
            "filterableAttributes": ["size", { "attributePatterns": ["ta*"] }, "_geo"],
            "sortableAttributes": ["size", "_geo"],
            "faceting": { "maxValuesPerFacet": 7, "sortFacetValuesBy": { "*": "alpha", "tags": "count" } },
        }));
        let corpus = Corpus::new("id".into(), documents, &settings);
        assert_eq!(corpus.text_fields, ["name", "tags"]);
        assert_eq!(corpus.number_facets["size"], [1.0, 3.0]);
        assert_eq!(corpus.string_facets["tags"], ["a b"]);
        assert!(corpus.geo_filterable && corpus.geo_sortable);
        assert_eq!(corpus.sortable, ["size"]);
        assert_eq!((corpus.values_per_facet, corpus.total_hits_max), (7, 1_000));
        assert_eq!(corpus.facet_order("tags"), FacetOrder::ByCount);
        assert_eq!(corpus.facet_order("size"), FacetOrder::Alphabetical);
        assert!(corpus.dictionary.contains("sao") && corpus.dictionary.contains("b"));
    }

    #[test]
    fn an_id_is_the_same_as_number_and_as_string() {
        let corpus = Corpus::new("id".into(), vec![object(json!({ "id": 7 }))], &Object::new());
        assert_eq!(corpus.id_of(&json!({ "id": 7 })), corpus.id_of(&json!({ "id": "7" })));
    }

    #[test]
    fn rules_about_fields_that_are_not_shown_are_known_from_the_documents() {
        let settings = object(json!({
            "displayedAttributes": ["id", "name"],
            "rankingRules": ["words", "sort", "size:desc", "name:asc", "tags:asc"],
        }));
        let document = object(json!({ "id": 1, "name": "x", "size": 3, "tags": ["b", 2, "A", 1.5] }));
        let corpus = Corpus::new("id".into(), vec![document], &settings);
        assert_eq!(corpus.hidden_values(&Object::new(), "1"), ["3", "1.5"]);
        let sorted = object(json!({ "sort": ["name:desc", "tags:desc", "_geoPoint(1, 2):asc"] }));
        assert_eq!(corpus.hidden_values(&sorted, "1"), ["2", "3"]);
        assert!(corpus.hidden_values(&sorted, "2").is_empty());
    }
}
