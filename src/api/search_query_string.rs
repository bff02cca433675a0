//! The query string of `GET /indexes/{uid}/search` as the members of a body: parameters in Meilisearch's forms.

use serde_json::value::RawValue;
use serde_json::{json, Value};

use super::members::raw;

/// The members of the body that asks for the same, or `None` where Meilisearch would refuse the parameters.
pub(super) fn to_members(query_string: &str) -> Option<Vec<(String, Box<RawValue>)>> {
    let mut body = serde_json::Map::new();
    let mut embedder = None;
    let mut semantic_ratio = None;
    for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
        match &*name {
            "hybridEmbedder" => embedder = Some(value.into_owned()),
            "hybridSemanticRatio" => semantic_ratio = Some(ratio(&value)?),
            "personalizeUserContext" => {
                body.insert("personalize".to_owned(), json!({ "userContext": value }));
            }
            _ => {
                body.insert(name.to_string(), json_form(&name, &value)?);
            }
        }
    }
    match (embedder, semantic_ratio) {
        (Some(embedder), Some(ratio)) => {
            body.insert("hybrid".to_owned(), json!({ "embedder": embedder, "semanticRatio": ratio }));
        }
        (Some(embedder), None) => {
            body.insert("hybrid".to_owned(), json!({ "embedder": embedder }));
        }
        (None, Some(_)) => return None,
        (None, None) if body.contains_key("vector") => return None,
        (None, None) => {}
    }
    Some(body.into_iter().map(|(name, value)| (name, raw(&value))).collect())
}

fn json_form(name: &str, value: &str) -> Option<Value> {
    Some(match name {
        "q" | "cropMarker" | "highlightPreTag" | "highlightPostTag" | "distinct" => value.into(),
        "matchingStrategy" if matches!(value, "last" | "all" | "frequency") => value.into(),
        "offset" | "limit" | "page" | "hitsPerPage" | "cropLength" => value.parse::<usize>().ok()?.into(),
        "rankingScoreThreshold" => ratio(value)?.into(),
        "showMatchesPosition"
        | "showRankingScore"
        | "showRankingScoreDetails"
        | "showPerformanceDetails"
        | "retrieveVectors"
        | "useNetwork" => value.parse::<bool>().ok()?.into(),
        "attributesToRetrieve"
        | "attributesToCrop"
        | "attributesToHighlight"
        | "attributesToSearchOn"
        | "facets"
        | "locales" => value.split(',').collect::<Vec<_>>().into(),
        "vector" => value.split(',').map(|x| x.parse().ok()).collect::<Option<Vec<f64>>>()?.into(),
        // A filter that reads as JSON is meant as JSON.
        "filter" => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
        "sort" => sort_criteria(value).into(),
        _ => return None,
    })
}

fn ratio(value: &str) -> Option<f64> {
    value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
}

/// Splits `sort` at its commas, except at those inside of `_geoPoint(lat, lng)`.
pub(super) fn sort_criteria(sort: &str) -> Vec<String> {
    let mut criteria: Vec<String> = Vec::new();
    let mut is_in_point = false;
    for part in sort.trim_matches('"').split(',').map(str::trim) {
        match criteria.last_mut().filter(|_| is_in_point) {
            Some(point) => {
                point.push(',');
                point.push_str(part);
                is_in_point = !(part.ends_with("):asc") || part.ends_with("):desc"));
            }
            None => {
                criteria.push(part.to_owned());
                is_in_point = part.starts_with("_geoPoint(");
            }
        }
    }
    criteria
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(query_string: &str) -> Option<Value> {
        let members = to_members(query_string)?;
        Some(members.into_iter().map(|(name, raw)| (name, serde_json::from_str::<Value>(raw.get()).unwrap())).collect())
    }

    #[test]
    fn parameters_take_the_forms_of_a_body() {
        assert_eq!(
            body("q=a+b%20c&limit=3&facets=x,y&showRankingScore=true&rankingScoreThreshold=0.5&filter=a%20%3D%201"),
            Some(json!({"q": "a b c", "limit": 3, "facets": ["x", "y"], "showRankingScore": true,
                        "rankingScoreThreshold": 0.5, "filter": "a = 1"}))
        );
        assert_eq!(body("filter=%5B%22a%3D1%22%2C%5B%22b%3D2%22%5D%5D"), Some(json!({"filter": ["a=1", ["b=2"]]})));
        assert_eq!(
            body("sort=_geoPoint(48.8,2.3):asc,price:desc, name:asc"),
            Some(json!({"sort": ["_geoPoint(48.8,2.3):asc", "price:desc", "name:asc"]}))
        );
        assert_eq!(
            body("vector=0.5,1&hybridEmbedder=e&hybridSemanticRatio=0.9"),
            Some(json!({"vector": [0.5, 1.0], "hybrid": {"embedder": "e", "semanticRatio": 0.9}}))
        );
        assert_eq!(body(""), Some(json!({})));
    }

    #[test]
    fn what_meilisearch_would_refuse_is_not_translated() {
        for refused in [
            "limit=-1",
            "limit=doggo",
            "page=1.5",
            "showRankingScore=1",
            "matchingStrategy=some",
            "rankingScoreThreshold=2",
            "nonsense=1",
            "hybridSemanticRatio=0.5",
            "vector=1,2",
        ] {
            assert_eq!(body(refused), None, "{refused}");
        }
    }
}
