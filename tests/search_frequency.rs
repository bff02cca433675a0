//! Words that the matching strategy `frequency` drops, a cluster drops as one server with all documents would.

mod support;

use serde_json::{json, Value};
use support::Both;

/// Words that some texts write as one: `sun` (30 texts), `flower` (40), `sunflower` (15), `garden` (44).
fn texts() -> Vec<Value> {
    let text = |n: usize| match n {
        0..30 => "sun",
        30..70 => "flower",
        70..85 => "sunflower",
        85..125 => "garden",
        125..129 => "garden sunflower",
        _ => "nothing of it",
    };
    (0..150).map(|n| json!({ "id": n, "text": text(n), "size": n * 77 % 150, "part": n % 2 })).collect()
}

fn settings() -> Value {
    json!({
        "searchableAttributes": ["text"],
        "filterableAttributes": ["part"],
        // No two texts rank alike.
        "rankingRules": ["words", "typo", "size:desc"],
    })
}

#[track_caller]
fn found_alike(both: &Both, body: Value) {
    let mut body = body;
    body["matchingStrategy"] = "frequency".into();
    let [got, expected] = both.post("/indexes/i/search", &body);
    for member in ["facetDistribution", "facetStats", "estimatedTotalHits", "totalHits", "totalPages", "hits"] {
        assert_eq!(got.body[member], expected.body[member], "{member} for {body}");
    }
}

/// `flower` is in fewer texts than `sun` or `sunflower` together, until it counts with `sunflower` too.
#[test]
fn a_word_counts_with_those_before_it_that_it_is_written_as_one_with() {
    let both = Both::with(settings(), texts());
    for query in ["sun flower", "sun flower ", "sun garden flower", "Sun Flower garden", "garden sun flower "] {
        found_alike(&both, json!({ "q": query, "limit": 150 }));
        found_alike(&both, json!({ "q": query, "page": 2, "hitsPerPage": 20, "attributesToSearchOn": ["text"] }));
    }
}

/// `garden` is in fewest texts and stays; written as one with `sun`, which is dropped, it is `sungarden`. A text that has just that is
/// found too, and counted.
#[test]
fn whoever_has_a_word_written_as_one_with_a_dropped_neighbour_is_found() {
    let mut texts = texts();
    for (n, text) in texts.iter_mut().enumerate().filter(|(n, _)| n % 8 == 3) {
        text["text"] = if n % 16 == 3 { "sungarden".into() } else { "gardenflower".into() };
    }
    let both = Both::with(settings(), texts);
    for query in ["flower sun garden", "sun garden flower", "flower nothing sun garden", "sun -flower garden nothing"] {
        found_alike(&both, json!({ "q": query, "limit": 0 }));
        found_alike(&both, json!({ "q": query, "limit": 0, "filter": "part = 1", "facets": ["part"] }));
        found_alike(&both, json!({ "q": query, "page": 1, "hitsPerPage": 0 }));
    }
}

/// `العراق` is two words, its article and the rest. Each of many texts has the article, few have the rest; with `ي` in it, what
/// a text matches depends on the language that it is taken for.
#[test]
fn the_article_of_an_arabic_word_is_dropped_by_itself() {
    let places = ["العراق", "المغرب", "ایران", "عراق", "المملكة العربية السعودية", "افغانستان", "السودان", "الكويت"];
    let text = |n: usize| format!("{} {}", ["sun", "flower", "garden"][n % 3], places[n * n % 11 % places.len()]);
    let texts = (0..150).map(|n| json!({ "id": n, "text": text(n), "size": n * 77 % 150, "part": n % 2 })).collect();
    let both = Both::with(settings(), texts);
    for query in [
        "العراق sun",
        "sun العراق",
        "المملكة flower العربية",
        "السعودية العربية garden ",
        "المغرب \"العراق\" sun",
        "garden -العراق sun",
        "ایران flower sun",
        "sun الكويت، العربية",
        "flower افغانستان garden",
    ] {
        found_alike(&both, json!({ "q": query, "limit": 150 }));
        found_alike(&both, json!({ "q": query, "page": 2, "hitsPerPage": 20 }));
        found_alike(&both, json!({ "q": query, "limit": 0, "filter": "part = 1", "facets": ["part"] }));
    }
}
