//! How many different values of the distinct attribute all hits have together.
//!
//! With exhaustive totals each leg tells how many values it found, but not which of them others found too. So the legs are asked
//! once more, for their values alone: as hits, of which a node shows no more than `maxTotalHits`, and, where the attribute is
//! certainly filterable, as a facet, of which it shows no more than its `maxValuesPerFacet`. What neither shows whole cannot be
//! counted.

use super::distinct::{self, DistinctValue, SeenValues};
use super::facets::normalize_facet;
use super::json::{self, Cursor};
use super::splice::Hit;
use super::{Leg, MergeError};

/// What one leg answered.
#[derive(Default)]
struct Counted {
    /// Values of each hit.
    hits: Vec<Vec<DistinctValue>>,
    /// Values of the facet, which has a hit for each.
    facet: Option<Vec<String>>,
    total: u64,
}

impl Counted {
    fn read(body: &[u8], attribute: &str) -> json::Result<Self> {
        let mut counted = Self::default();
        let mut marked = Vec::new();
        let mut cursor = Cursor::new(body);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            match &body[start + 1..key_end] {
                b"hits" => {
                    cursor.enter_array()?;
                    while cursor.next_element()? {
                        marked.clear();
                        let hit = Hit::scan(body, &mut cursor, &[attribute], &mut marked)?;
                        counted.hits.push(distinct::values_of(body, &marked[hit.marked], attribute));
                    }
                }
                b"totalHits" => counted.total = json::count(&body[cursor.skip_value()?]).unwrap_or(0),
                b"facetDistribution" => {
                    let facets = &body[cursor.skip_value()?];
                    let members = json::members(facets)?;
                    let own = members.iter().find(|member| json::key_is(member.raw_key(facets), attribute));
                    counted.facet = own.map(|member| values_of_facet(member.value(facets))).transpose()?;
                }
                _ => {
                    cursor.skip_value()?;
                }
            }
        }
        Ok(counted)
    }

    fn shows_all_hits(&self) -> bool {
        self.hits.len() as u64 == self.total
    }
}

fn values_of_facet(values: &[u8]) -> json::Result<Vec<String>> {
    let members = json::members(values)?;
    let texts = members.iter().filter_map(|member| json::string(&values[member.start..=member.key_end]));
    Ok(texts.map(|text| normalize_facet(&text)).collect())
}

/// Counts over the legs' answers. `listed_max`: how many values of a facet the nodes list. `None`: some leg shows its values in
/// neither way.
pub fn distinct_total(legs: &[Leg], attribute: &str, listed_max: usize) -> Result<Option<u64>, MergeError> {
    let read =
        |(n, leg): (usize, &Leg)| Counted::read(&leg.body, attribute).map_err(|error| MergeError::of_leg(n, error));
    let legs = legs.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if legs.iter().all(Counted::shows_all_hits) {
        let mut seen = SeenValues::default();
        let hits = legs.into_iter().flat_map(|leg| leg.hits);
        return Ok(Some(hits.filter(|values| seen.take(values.clone())).count() as u64));
    }
    let mut values = std::collections::HashSet::new();
    let mut without_value = 0;
    for leg in &legs {
        match &leg.facet {
            Some(listed) if listed.len() < listed_max => {
                // Hits stand for different values, so those beyond their number have none.
                without_value += leg.total.saturating_sub(listed.len() as u64);
                values.extend(listed);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(values.len() as u64 + without_value))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn leg(hits: serde_json::Value, facet: serde_json::Value, total: u64) -> Leg {
        let body = json!({ "hits": hits, "totalHits": total, "facetDistribution": { "brand": facet, "other": {} } });
        Leg { shards: Vec::new(), body: Bytes::from(body.to_string()) }
    }

    #[test]
    fn values_are_counted_by_the_hits_where_all_are_shown() {
        let legs = [
            leg(json!([{ "brand": "A" }, { "brand": 1 }, {}]), json!({}), 3),
            leg(json!([{ "brand": "a " }, { "brand": "1" }, {}]), json!({}), 3),
        ];
        assert_eq!(distinct_total(&legs, "brand", 100).unwrap(), Some(5), "text and number are two values");
    }

    #[test]
    fn values_are_counted_by_the_facet_where_hits_are_not_shown() {
        let legs = [
            leg(json!([{ "brand": "A" }]), json!({ "A": 1, "b": 1 }), 4),
            leg(json!([{ "brand": "c" }]), json!({ "a": 1, "c": 1 }), 2),
        ];
        assert_eq!(distinct_total(&legs, "brand", 3).unwrap(), Some(5), "three values, and two hits without");
        assert_eq!(distinct_total(&legs, "brand", 2).unwrap(), None, "a list that is full may be cut");
    }
}
