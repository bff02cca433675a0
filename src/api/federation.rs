//! The member `federation` of a `/multi-search`: how the answers to several queries become one list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, Value};

use super::members::Members;
use super::reserved_attributes;
use super::search_request::LIMIT_DEFAULT;
use crate::merge::federated::MergeFacets;
use crate::merge::search::Paging;
use crate::reserved::SHARD_FIELD;

/// How the answers to several queries become one list.
#[derive(Clone)]
pub struct Federation {
    pub paging: Paging,
    /// The facets that are counted in each index; `null` for none.
    facets_by_index: BTreeMap<String, Option<Vec<String>>>,
    pub merge_facets: Option<MergeFacets>,
    pub distinct: Option<String>,
    /// As the client wrote it.
    members: Members,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MergeFacetsOptions {
    max_values_per_facet: Option<usize>,
}

impl Federation {
    /// `None` when Miroir cannot read some value that it needs, so that Meilisearch will not accept it either.
    pub fn from_json(text: &str) -> Option<Self> {
        let members: Members = serde_json::from_str(&without_reserved_attributes(text)?).ok()?;
        let page = members.read::<Option<usize>>("page")?;
        let hits_per_page = members.read::<Option<usize>>("hitsPerPage")?;
        let paging = match (page, hits_per_page) {
            (None, None) => Paging::Window {
                offset: members.read_or("offset", 0)?,
                limit: members.read_or("limit", LIMIT_DEFAULT)?,
            },
            (page, hits) => Paging::Page { page: page.unwrap_or(1), hits_per_page: hits.unwrap_or(LIMIT_DEFAULT) },
        };
        let merge_facets = members.read::<Option<MergeFacetsOptions>>("mergeFacets")?;
        let merge_facets =
            merge_facets.map(|options| MergeFacets { max_values_per_facet: options.max_values_per_facet });
        Some(Self {
            paging,
            facets_by_index: members.read_or("facetsByIndex", BTreeMap::new())?,
            merge_facets,
            distinct: members.read("distinct")?,
            members,
        })
    }

    /// The same without hits.
    pub fn for_counts(&self) -> Self {
        let paging = match self.paging {
            Paging::Window { .. } => Paging::Window { offset: 0, limit: 0 },
            Paging::Page { .. } => Paging::Page { page: 1, hits_per_page: 0 },
        };
        Self { paging, ..self.clone() }
    }

    /// The names of the indexes whose facets are asked for.
    pub fn indexes_of_facets(&self) -> impl Iterator<Item = &str> {
        self.facets_by_index.keys().map(String::as_str)
    }

    /// What nodes are told: all hits up to the page's end, since any of them may come from one node alone, and as many more as may be
    /// pinned; and each index's
    /// facets by themselves. Facets are asked of those indexes for which `on_nodes` knows the nodes' name.
    pub fn for_legs(&self, pins_max: usize, on_nodes: impl Fn(&str) -> Option<String>) -> Bytes {
        let mut members = self.members.clone();
        members.take("mergeFacets");
        let end = self.paging.positions(usize::MAX).end;
        let end = if end > 0 { end.saturating_add(pins_max) } else { 0 };
        match self.paging {
            Paging::Window { .. } => {
                members.set("offset", &0.into());
                members.set("limit", &end.into());
            }
            Paging::Page { .. } => {
                members.set("page", &1.into());
                members.set("hitsPerPage", &end.into());
            }
        }
        if !self.facets_by_index.is_empty() {
            let asked = self.facets_by_index.iter().filter_map(|(uid, facets)| Some((on_nodes(uid)?, facets)));
            let with_shard = |facets: &Option<Vec<String>>| match facets {
                Some(facets) if !facets.is_empty() && !facets.iter().any(|facet| facet == "*") => {
                    // Its counts add up to the number of matching documents, on which Meilisearch's order depends.
                    facets.iter().map(String::as_str).chain([SHARD_FIELD]).collect()
                }
                facets => json!(facets),
            };
            let asked: serde_json::Map<String, Value> = asked.map(|(uid, facets)| (uid, with_shard(facets))).collect();
            members.set("facetsByIndex", &asked.into());
        }
        members.over(&Members::default())
    }
}

/// The federation with stand-ins in place of Miroir's own fields; `None` when it cannot be read.
fn without_reserved_attributes(text: &str) -> Option<Cow<'_, str>> {
    if !reserved_attributes::may_be_named_in(text) {
        return Some(Cow::Borrowed(text));
    }
    let mut federation: Value = serde_json::from_str(text).ok()?;
    if let Some(distinct) = federation.get_mut("distinct") {
        reserved_attributes::replace("distinct", distinct);
    }
    for facets in federation.get_mut("facetsByIndex").and_then(Value::as_object_mut).into_iter().flatten() {
        reserved_attributes::replace("facets", facets.1);
    }
    Some(Cow::Owned(federation.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federation(json: Value) -> Option<Federation> {
        Federation::from_json(&json.to_string())
    }

    #[test]
    fn legs_are_asked_for_all_up_to_the_pages_end() {
        let legs = |json: Value, uid: &'static str| -> Value {
            let on_nodes = |of: &str| (of == uid).then(|| of.to_owned());
            serde_json::from_slice(&federation(json).unwrap().for_legs(0, on_nodes)).unwrap()
        };
        assert_eq!(legs(json!({}), "a"), json!({"offset": 0, "limit": 20}));
        assert_eq!(
            legs(json!({"limit": 5, "offset": 3, "distinct": "x", "mergeFacets": {"maxValuesPerFacet": 3}}), "a"),
            json!({"distinct": "x", "offset": 0, "limit": 8})
        );
        assert_eq!(
            legs(json!({"page": 3, "facetsByIndex": {"a": ["g"], "b": ["h"]}}), "a"),
            json!({"page": 1, "hitsPerPage": 60, "facetsByIndex": {"a": ["g", "_miroir_shard"]}})
        );
        assert_eq!(legs(json!({"facetsByIndex": {"a": null}}), "a")["facetsByIndex"], json!({"a": null}));
        assert_eq!(legs(json!({"facetsByIndex": {"a": ["*"]}}), "a")["facetsByIndex"], json!({"a": ["*"]}));
    }

    #[test]
    fn what_meilisearch_refuses_is_no_federation() {
        for refused in [
            json!([]),
            json!({"limit": -1}),
            json!({"limit": null}),
            json!({"facetsByIndex": []}),
            json!({"mergeFacets": {"other": 1}}),
            json!({"distinct": 1}),
        ] {
            assert!(federation(refused.clone()).is_none(), "{refused}");
        }
    }
}
