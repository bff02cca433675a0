//! Filter expressions made out of the values that documents really have, so that most of them match something.

use fastrand::Rng;
use serde_json::{json, Value};

use crate::corpus::Corpus;

/// Radii and boxes around a document, in metres: from one town to half a continent.
const RADIUS_METRES: [u32; 4] = [5_000, 50_000, 400_000, 2_500_000];
/// A degree of latitude in metres, near enough for making a box.
const METRES_PER_DEGREE: f64 = 111_000.0;

/// A value as the filter language writes it.
pub fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An expression over string facets: a comparison, a list, or a combination; as text or in the array form. `None`
/// when no string attribute is filterable.
pub fn string_filter(corpus: &Corpus, rng: &mut Rng) -> Option<Value> {
    let one = comparison(corpus, rng)?;
    let other = comparison(corpus, rng)?;
    Some(match rng.u8(0..8) {
        0 | 1 => json!(one),
        2 => json!(list(corpus, rng, "IN")?),
        3 => json!(list(corpus, rng, "NOT IN")?),
        4 => json!(format!("{one} AND {other}")),
        5 => json!(format!("{one} OR ({other})")),
        6 => json!(format!("NOT ({one}) AND {}", existence(corpus, rng)?)),
        _ => json!([[one, other], existence(corpus, rng)?]),
    })
}

/// A range over a numeric facet, alone or with a string comparison. `None` when no number is filterable.
pub fn number_filter(corpus: &Corpus, rng: &mut Rng) -> Option<Value> {
    let fields: Vec<&String> = corpus.number_facets.keys().collect();
    let field = rng.choice(fields)?;
    let values = &corpus.number_facets[field];
    let low = values[rng.usize(0..values.len())];
    let high = values[rng.usize(0..values.len())];
    let (low, high) = (low.min(high), low.max(high));
    let range = match rng.u8(0..6) {
        0 => format!("{field} > {low}"),
        1 => format!("{field} <= {high}"),
        2 => format!("{field} {low} TO {high}"),
        3 => format!("{field} = {low}"),
        4 => format!("{field} >= {low} AND {field} < {high}"),
        _ => format!("NOT {field} {low} TO {high}"),
    };
    if rng.bool() {
        if let Some(comparison) = comparison(corpus, rng) {
            return Some(json!(format!("{range} AND {comparison}")));
        }
    }
    Some(json!(range))
}

/// `_geoRadius` or `_geoBoundingBox` around a document. `None` when `_geo` is not filterable or no document has one.
pub fn geo_filter(corpus: &Corpus, rng: &mut Rng) -> Option<Value> {
    if !corpus.geo_filterable {
        return None;
    }
    let (lat, lng) = somewhere(corpus, rng)?;
    let metres = rng.choice(RADIUS_METRES)?;
    if rng.u8(0..3) > 0 {
        return Some(json!(format!("_geoRadius({lat:.5}, {lng:.5}, {metres})")));
    }
    let half = f64::from(metres) / METRES_PER_DEGREE;
    let (top, bottom) = ((lat + half).min(90.0), (lat - half).max(-90.0));
    let (left, right) = ((lng - half).max(-180.0), (lng + half).min(180.0));
    Some(json!(format!("_geoBoundingBox([{top:.5}, {right:.5}], [{bottom:.5}, {left:.5}])")))
}

/// A point near a document, but not exactly on one.
pub fn somewhere(corpus: &Corpus, rng: &mut Rng) -> Option<(f64, f64)> {
    let document = &corpus.documents[rng.usize(0..corpus.documents.len())];
    let (lat, lng) = Corpus::position(document)?;
    Some(((lat + rng.f64() - 0.5).clamp(-90.0, 90.0), (lng + rng.f64() - 0.5).clamp(-180.0, 180.0)))
}

fn facet<'a>(corpus: &'a Corpus, rng: &mut Rng) -> Option<(&'a String, &'a Vec<String>)> {
    let fields: Vec<_> = corpus.string_facets.iter().collect();
    rng.choice(fields)
}

fn comparison(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    let (field, values) = facet(corpus, rng)?;
    let value = &values[rng.usize(0..values.len())];
    let operator = if rng.u8(0..5) == 0 { "!=" } else { "=" };
    Some(format!("{field} {operator} {}", quoted(value)))
}

fn list(corpus: &Corpus, rng: &mut Rng, operator: &str) -> Option<String> {
    let (field, values) = facet(corpus, rng)?;
    let chosen: Vec<String> = (0..rng.usize(1..5)).map(|_| quoted(&values[rng.usize(0..values.len())])).collect();
    Some(format!("{field} {operator} [{}]", chosen.join(", ")))
}

fn existence(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    let (field, _) = facet(corpus, rng)?;
    Some(match rng.u8(0..4) {
        0 => format!("{field} EXISTS"),
        1 => format!("{field} IS NOT NULL"),
        2 => format!("{field} IS NOT EMPTY"),
        _ => format!("NOT {field} NOT EXISTS"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Object;

    #[test]
    fn quotes_and_backslashes_in_values_are_escaped() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    #[test]
    fn an_index_without_filterable_attributes_gets_no_filter() {
        let document = json!({ "id": 1, "name": "x" }).as_object().cloned().unwrap_or_default();
        let corpus = Corpus::new("id".into(), vec![document], &Object::new());
        let mut rng = Rng::with_seed(1);
        assert_eq!(string_filter(&corpus, &mut rng), None);
        assert_eq!(number_filter(&corpus, &mut rng), None);
        assert_eq!(geo_filter(&corpus, &mut rng), None);
    }
}
