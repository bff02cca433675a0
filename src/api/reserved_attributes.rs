//! Requests that name no field of Miroir's own: see [`crate::filter::reserved_names`].

use serde_json::{Map, Value};

use crate::filter::reserved_names::without_reserved_attributes;
use crate::reserved::{is_reserved_attribute, stand_in_for, SHARD_FIELD};

/// Members of requests that name attributes of which Meilisearch wants to know whether they are there. (What is shown,
/// highlighted or cropped may be anything.)
pub const NAMING: [&str; 6] = ["filter", "sort", "facets", "distinct", "attributesToSearchOn", "facetName"];

/// Whether the JSON of a member can name a reserved attribute at all; cheap, and nearly always no.
pub fn may_be_named_in(raw: &str) -> bool {
    raw.contains(SHARD_FIELD) || raw.contains('\\')
}

/// Puts stand-ins in place of all reserved attributes that a request names.
pub fn replace_in(request: &mut Map<String, Value>) {
    for name in NAMING {
        if let Some(value) = request.get_mut(name) {
            replace(name, value);
        }
    }
}

/// The same for one member.
pub fn replace(member: &str, value: &mut Value) {
    match value {
        Value::String(text) => {
            let replaced = match member {
                "filter" => without_reserved_attributes(text).into_owned(),
                "sort" if is_reserved_attribute(text.rsplit_once(':').map_or(text, |(name, _)| name)) => {
                    stand_in_for(text)
                }
                _ if is_reserved_attribute(text) => stand_in_for(text),
                _ => return,
            };
            *text = replaced;
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| replace(member, element)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_member_that_names_attributes_is_freed_of_miroirs() {
        let mut request = json!({
            "q": "_miroir_shard",
            "filter": ["_miroir_shard = 1", ["a = _miroir_shard", "_miroir_shard EXISTS"]],
            "sort": ["a:asc", "_miroir_shard:desc", "_miroir_shards:asc"],
            "facets": ["_miroir_shard", "*"],
            "distinct": "_miroir_shard",
            "attributesToSearchOn": ["_miroir_shard.x"],
            "attributesToRetrieve": ["_miroir_shard"],
        });
        replace_in(request.as_object_mut().unwrap());
        let freed = json!({
            "q": "_miroir_shard",
            "filter": ["_miroir_shar\u{111} = 1", ["a = _miroir_shard", "_miroir_shar\u{111} EXISTS"]],
            "sort": ["a:asc", "_miroir_shar\u{111}:desc", "_miroir_shards:asc"],
            "facets": ["_miroir_shar\u{111}", "*"],
            "distinct": "_miroir_shar\u{111}",
            "attributesToSearchOn": ["_miroir_shar\u{111}.x"],
            "attributesToRetrieve": ["_miroir_shard"],
        });
        assert_eq!(request, freed);
    }
}
