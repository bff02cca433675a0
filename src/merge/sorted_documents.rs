//! The order of documents in a sorted list: what one server's facet database would say of their values.
//!
//! A leg's list is in order already. What is compared between legs is read out of the documents themselves: numbers before
//! texts in both directions, texts by Meilisearch's normalization, of several values the one that comes first, documents
//! without a value last, distances as equal within a metre.

use super::distinct::{self, DistinctValue};
use super::json::{self, Member};
use super::rank::{Chooser, Direction, RankKeys, RuleKey, SortValue};
use super::{documents, Leg, MergeError};

/// The field in which Meilisearch looks for a document's position.
const GEO_FIELD: &str = "_geo";

/// One entry of a request's `sort`.
#[derive(Clone, Debug, PartialEq)]
pub struct SortCriterion {
    pub by: SortBy,
    pub direction: Direction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    Field(String),
    /// Distance from this latitude and longitude.
    Distance([f64; 2]),
}

impl SortCriterion {
    /// Reads `price:asc` and `_geoPoint(48.8, 2.3):desc`. `None` for what Meilisearch would not take either.
    pub fn parse(text: &str) -> Option<Self> {
        let (member, direction) = text.rsplit_once(':')?;
        let direction = match direction {
            "asc" => Direction::Ascending,
            "desc" => Direction::Descending,
            _ => return None,
        };
        let by = match member.strip_prefix("_geoPoint(") {
            Some(point) => {
                let (lat, lng) = point.strip_suffix(')')?.split_once(',')?;
                SortBy::Distance([lat.trim().parse().ok()?, lng.trim().parse().ok()?])
            }
            None => SortBy::Field(member.to_owned()),
        };
        Some(Self { by, direction })
    }

    /// The top-level field that must be at hand to compare documents.
    pub fn field(&self) -> &str {
        match &self.by {
            SortBy::Field(name) => name.split('.').next().unwrap_or(name),
            SortBy::Distance(_) => GEO_FIELD,
        }
    }

    fn key<'a>(&self, document: &[u8], members: &[Member]) -> RuleKey<'a> {
        match &self.by {
            SortBy::Field(name) => {
                let values = distinct::values_of(document, members, name);
                RuleKey::Sort(self.direction, first_value(values, self.direction))
            }
            SortBy::Distance(from) => {
                let geo = members.iter().find(|member| json::key_is(member.raw_key(document), GEO_FIELD));
                let point = geo.and_then(|member| point_of(member.value(document)));
                RuleKey::Geo(self.direction, point.map(|point| distance_metres(from, &point)))
            }
        }
    }
}

/// Of all values of a document the one by which it is sorted: the first in this direction.
pub fn first_value<'a>(values: Vec<DistinctValue>, direction: Direction) -> SortValue<'a> {
    let mut number: Option<f64> = None;
    let mut text: Option<String> = None;
    for value in values {
        match value {
            DistinctValue::Number(bits) => {
                let found = f64::from_bits(bits);
                let is_first = number.is_none_or(|first| match direction {
                    Direction::Ascending => found < first,
                    Direction::Descending => found > first,
                });
                number = if is_first { Some(found) } else { number };
            }
            DistinctValue::Text(found) => {
                let is_first = text.as_ref().is_none_or(|first| match direction {
                    Direction::Ascending => found < *first,
                    Direction::Descending => found > *first,
                });
                text = if is_first { Some(found) } else { text };
            }
        }
    }
    match (number, text) {
        (Some(number), _) => SortValue::Number(number),
        (None, Some(text)) => SortValue::String(text.into()),
        (None, None) => SortValue::Missing,
    }
}

/// Latitude and longitude, each a number or a text that reads as one.
fn point_of(geo: &[u8]) -> Option<[f64; 2]> {
    let members = json::members(geo).ok()?;
    let coordinate = |name: &str| {
        let raw = members.iter().find(|member| json::key_is(member.raw_key(geo), name))?.value(geo);
        json::number(raw).or_else(|| json::string(raw)?.trim().parse().ok())
    };
    Some([coordinate("lat")?, coordinate("lng")?])
}

/// Great-circle distance by the haversine formula, to the millimetre: how Meilisearch measures it.
fn distance_metres(from: &[f64; 2], to: &[f64; 2]) -> f64 {
    const EARTH_RADIUS_METRES: f64 = 6_371e3;
    let haversine = |theta: f64| (1.0 - theta.cos()) / 2.0;
    let [from_lat, from_lng, to_lat, to_lng] = [from[0], from[1], to[0], to[1]].map(f64::to_radians);
    let total = haversine(to_lat - from_lat) + from_lat.cos() * to_lat.cos() * haversine(to_lng - from_lng);
    (2.0 * EARTH_RADIUS_METRES * total.sqrt().asin() * 1_000.0).round() / 1_000.0
}

/// Where the documents of a page come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SortedPage {
    /// How many documents of each leg come before the page.
    pub before: Vec<usize>,
    /// For each document of the page, in order, its leg.
    pub legs: Vec<usize>,
}

impl SortedPage {
    /// Merges lists that hold, from their starts, the fields that the criteria need, and reach to the page's end.
    pub fn choose(lists: &[Leg], criteria: &[SortCriterion], offset: usize, limit: usize) -> Result<Self, MergeError> {
        let lists = documents::read_lists(lists)?;
        let keys_of = |leg: usize, place: usize| -> Result<Option<RankKeys>, MergeError> {
            let Some(document) = lists[leg].documents.get(place) else { return Ok(None) };
            let members = json::members(document).map_err(|error| MergeError::of_leg(leg, error))?;
            Ok(Some(RankKeys::new(criteria.iter().map(|criterion| criterion.key(document, &members)).collect())))
        };
        let mut places = vec![0; lists.len()];
        let mut heads = (0..lists.len()).map(|leg| keys_of(leg, 0)).collect::<Result<Vec<_>, _>>()?;
        let mut chooser = Chooser::default();
        let mut page = Self { before: vec![0; lists.len()], legs: Vec::new() };
        for position in 0..offset.saturating_add(limit) {
            let Some(leg) = chooser.choose(&heads) else { break };
            match position < offset {
                true => page.before[leg] += 1,
                false => page.legs.push(leg),
            }
            places[leg] += 1;
            heads[leg] = keys_of(leg, places[leg])?;
        }
        Ok(page)
    }

    /// How many documents of the page are a leg's.
    pub fn count_of(&self, leg: usize) -> usize {
        self.legs.iter().filter(|&&of| of == leg).count()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cluster::Shard;

    fn leg(documents: &str) -> Leg {
        let body = format!(r#"{{"results":{documents},"offset":0,"limit":9,"total":9}}"#);
        Leg { shards: vec![Shard(0)], body: Bytes::from(body) }
    }

    fn order(lists: &[Leg], sort: &[&str]) -> Vec<usize> {
        let criteria: Vec<_> = sort.iter().map(|text| SortCriterion::parse(text).unwrap()).collect();
        SortedPage::choose(lists, &criteria, 0, 100).unwrap().legs
    }

    #[test]
    fn numbers_come_before_texts_and_missing_values_last_in_both_directions() {
        let rising = [leg(r#"[{"a":1},{"a":"B"},{}]"#), leg(r#"[{"a":[9,0.5]},{"a":2},{"a":"a"},{"a":null}]"#)];
        assert_eq!(order(&rising, &["a:asc"]), [1, 0, 1, 1, 0, 0, 1]);
        let falling = [leg(r#"[{"a":1},{"a":"B"},{}]"#), leg(r#"[{"a":[9,0.5]},{"a":2},{"a":"a"},{"a":null}]"#)];
        assert_eq!(order(&falling, &["a:desc"]), [1, 1, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn later_criteria_decide_between_equals() {
        let lists = [leg(r#"[{"a":1,"b":{"c":5}},{"a":2,"b":{"c":1}}]"#), leg(r#"[{"a":1,"b":{"c":7}},{"a":2}]"#)];
        assert_eq!(order(&lists, &["a:asc", "b.c:desc"]), [1, 0, 0, 1]);
    }

    #[test]
    fn distances_count_to_the_metre() {
        let near = r#"{"_geo":{"lat":48.85,"lng":2.35},"n":2}"#;
        let as_near = r#"{"_geo":{"lat":"48.850001","lng":"2.35"},"n":1}"#;
        let far = r#"{"_geo":{"lat":40.7,"lng":-74.0}}"#;
        let lists = [leg(&format!("[{near},{far}]")), leg(&format!("[{as_near},{{}}]"))];
        assert_eq!(order(&lists, &["_geoPoint(48.85, 2.35):asc", "n:asc"]), [1, 0, 0, 1]);
        assert_eq!(distance_metres(&[48.8566, 2.3522], &[40.7128, -74.006]).round(), 5_837_241.0);
    }

    #[test]
    fn a_page_knows_what_each_list_has_before_it() {
        let lists = [leg(r#"[{"a":1},{"a":2},{"a":6}]"#), leg(r#"[{"a":3},{"a":4},{"a":5}]"#)];
        let criteria = [SortCriterion::parse("a:asc").unwrap()];
        let page = SortedPage::choose(&lists, &criteria, 3, 2).unwrap();
        assert_eq!(page, SortedPage { before: vec![2, 1], legs: vec![1, 1] });
        assert_eq!((page.count_of(0), page.count_of(1)), (0, 2));
    }

    #[test]
    fn what_meilisearch_does_not_take_is_no_criterion() {
        for text in ["a", "a:up", "_geoPoint(1):asc", "_geoPoint(1,2:asc", "_geoPoint(a,2):asc", ":"] {
            assert_eq!(SortCriterion::parse(text), None, "{text}");
        }
        assert_eq!(SortCriterion::parse("a:b:asc").unwrap().by, SortBy::Field("a:b".to_owned()));
    }
}
