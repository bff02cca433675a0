//! `/indexes/{uid}/fields`: what is known of each field, over all legs.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{in_tie_order, json, Leg, MergeError};
use crate::reserved;

#[derive(Deserialize)]
struct LegAnswer<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

/// The page of all fields that some leg has, by name, without Miroir's own. Each leg must show all of its own. What a field can
/// do follows from the settings alone, which are the same everywhere.
pub fn merge_fields(legs: &[Leg], offset: usize, limit: usize) -> Result<Bytes, MergeError> {
    let mut fields: BTreeMap<String, &str> = BTreeMap::new();
    for (n, leg) in in_tie_order(legs) {
        let malformed = |error: serde_json::Error| MergeError::Malformed {
            leg: n,
            what: "not a list of fields",
            at: error.column(),
        };
        let answer: LegAnswer = serde_json::from_slice(&leg.body).map_err(malformed)?;
        for field in answer.results {
            let Named { name } = serde_json::from_str(field.get()).map_err(malformed)?;
            if !reserved::is_reserved_attribute(&name) {
                fields.entry(name.into_owned()).or_insert_with(|| field.get());
            }
        }
    }
    if legs.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let mut page = br#"{"results":["#.to_vec();
    for (n, field) in fields.values().skip(offset).take(limit).enumerate() {
        if n > 0 {
            page.push(b',');
        }
        page.extend_from_slice(field.as_bytes());
    }
    for (name, count) in [("],\"offset\":", offset), (",\"limit\":", limit), (",\"total\":", fields.len())] {
        page.extend_from_slice(name.as_bytes());
        json::push_count(count as u64, &mut page);
    }
    page.push(b'}');
    Ok(page.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Shard;

    fn leg(shard: u32, names: &[&str]) -> Leg {
        let fields: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name, "x": 1 })).collect();
        let body = serde_json::json!({ "results": fields, "offset": 0, "limit": 9, "total": names.len() });
        Leg { shards: vec![Shard(shard)], body: body.to_string().into() }
    }

    fn page(legs: &[Leg], offset: usize, limit: usize) -> (Vec<String>, u64) {
        let merged: serde_json::Value = serde_json::from_slice(&merge_fields(legs, offset, limit).unwrap()).unwrap();
        let names =
            merged["results"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap().to_owned());
        assert_eq!((&merged["offset"], &merged["limit"]), (&offset.into(), &limit.into()));
        (names.collect(), merged["total"].as_u64().unwrap())
    }

    #[test]
    fn a_field_stands_once_whoever_has_it_and_miroirs_own_do_not() {
        let legs = [leg(1, &["_miroir_shard", "b", "é"]), leg(0, &["a", "b", "b.c", "_miroir_shard.x"])];
        assert_eq!(page(&legs, 0, 20), (["a", "b", "b.c", "é"].map(str::to_owned).to_vec(), 4));
        assert_eq!(page(&legs, 1, 2), (["b", "b.c"].map(str::to_owned).to_vec(), 4));
        assert_eq!(page(&legs, 9, 2), (Vec::new(), 4));
    }

    #[test]
    fn what_is_no_list_of_fields_is_refused() {
        let broken = Leg { shards: vec![Shard(0)], body: Bytes::from_static(br#"{"results":[{"nome":"a"}]}"#) };
        assert!(matches!(merge_fields(&[broken], 0, 1), Err(MergeError::Malformed { .. })));
        assert!(matches!(merge_fields(&[], 0, 1), Err(MergeError::NoLegs)));
    }
}
