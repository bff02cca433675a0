//! Queries, made out of the documents themselves and decided by a seed alone.

use fastrand::Rng;
use serde::Serialize;
use serde_json::{json, Value};

use crate::client::Object;
use crate::corpus::{fold, texts, words, Corpus};
use crate::filters;

/// What a query tries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    Word,
    Words,
    Prefix,
    WordsPrefix,
    Typo,
    Phrase,
    Negation,
    Placeholder,
    Filter,
    Range,
    Sort,
    SortMany,
    SortWords,
    GeoFilter,
    GeoSort,
    Page,
    Offset,
    Walk,
    Distinct,
    Facets,
    FacetsWords,
    FacetSearch,
    StrategyAll,
    StrategyFrequency,
    Attributes,
    Threshold,
    Formatted,
    Refused,
}

/// Every kind with its share among the generated queries.
const SHARES: [(Kind, u32); 28] = [
    (Kind::Word, 6),
    (Kind::Words, 8),
    (Kind::Prefix, 5),
    (Kind::WordsPrefix, 6),
    (Kind::Typo, 6),
    (Kind::Phrase, 4),
    (Kind::Negation, 3),
    (Kind::Placeholder, 1),
    (Kind::Filter, 6),
    (Kind::Range, 4),
    (Kind::Sort, 4),
    (Kind::SortMany, 3),
    (Kind::SortWords, 4),
    (Kind::GeoFilter, 4),
    (Kind::GeoSort, 4),
    (Kind::Page, 5),
    (Kind::Offset, 4),
    (Kind::Walk, 3),
    (Kind::Distinct, 3),
    (Kind::Facets, 4),
    (Kind::FacetsWords, 4),
    (Kind::FacetSearch, 3),
    (Kind::StrategyAll, 4),
    (Kind::StrategyFrequency, 4),
    (Kind::Attributes, 4),
    (Kind::Threshold, 3),
    (Kind::Formatted, 4),
    (Kind::Refused, 1),
];

/// Words in the longest generated query.
const WORDS_MAX: usize = 4;
/// Pages that a walk reads one after the other.
const WALK_PAGES: usize = 5;
/// How often a kind is tried before another one takes its place, because the documents do not offer what it needs.
const TRIES_MAX: usize = 20;
/// Generated queries among which one of two words is found.
const TRIES_PER_QUERY: usize = 20;

/// One query, sent alike to both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    pub kind: Kind,
    /// The body of the search request, with the paging of the first page.
    pub body: Object,
    /// How many pages are read, one after the other.
    pub pages: usize,
}

/// `count` queries; the same ones for the same corpus and seed.
pub fn cases(corpus: &Corpus, count: usize, seed: u64) -> Vec<Case> {
    let mut rng = Rng::with_seed(seed);
    (0..count).map(|_| case(corpus, &mut rng)).collect()
}

/// Up to `count` of those queries that are searches and are answered, for measurements of the route for searches.
pub fn searches(corpus: &Corpus, count: usize, seed: u64) -> Vec<Object> {
    let cases = cases(corpus, count, seed).into_iter();
    cases.filter(|case| !matches!(case.kind, Kind::Refused | Kind::FacetSearch)).map(|case| case.body).collect()
}

/// Up to `count` queries of two whole words, the same ones for the same corpus and seed.
pub fn two_words(corpus: &Corpus, count: usize, seed: u64) -> Vec<String> {
    let mut rng = Rng::with_seed(seed);
    let bodies = (0..count * TRIES_PER_QUERY).filter_map(|_| body(Kind::Words, corpus, &mut rng));
    let queries = bodies.filter_map(|body| body.get("q").and_then(Value::as_str).map(str::to_owned));
    queries.filter(|query| query.split_whitespace().count() == 2).take(count).collect()
}

fn case(corpus: &Corpus, rng: &mut Rng) -> Case {
    for _ in 0..TRIES_MAX {
        let kind = any_kind(rng);
        if let Some(body) = body(kind, corpus, rng) {
            let pages = if kind == Kind::Walk { WALK_PAGES } else { 1 };
            return Case { kind, body, pages };
        }
    }
    Case { kind: Kind::Placeholder, body: Object::new(), pages: 1 }
}

fn any_kind(rng: &mut Rng) -> Kind {
    let mut at = rng.u32(0..SHARES.iter().map(|(_, share)| share).sum());
    for (kind, share) in SHARES {
        if at < share {
            return kind;
        }
        at -= share;
    }
    Kind::Placeholder
}

/// A query of this kind, or `None` if the documents and settings do not allow one.
fn body(kind: Kind, corpus: &Corpus, rng: &mut Rng) -> Option<Object> {
    let mut body = Object::new();
    match kind {
        Kind::Placeholder => {}
        Kind::Word => set(&mut body, "q", some_words(corpus, rng, 1)?),
        Kind::Words => set(&mut body, "q", several_words(corpus, rng)?),
        Kind::Prefix => set(&mut body, "q", cut(&some_words(corpus, rng, 1)?, rng)?),
        Kind::WordsPrefix => set(&mut body, "q", cut(&several_words(corpus, rng)?, rng)?),
        Kind::Typo => set(&mut body, "q", with_typo(&any_words(corpus, rng)?, rng)?),
        Kind::Phrase => set(&mut body, "q", phrase(corpus, rng)?),
        Kind::Negation => {
            set(&mut body, "q", format!("{} -{}", some_words(corpus, rng, 1)?, some_words(corpus, rng, 1)?));
        }
        Kind::Filter => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "filter", filters::string_filter(corpus, rng)?);
        }
        Kind::Range => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "filter", filters::number_filter(corpus, rng)?);
        }
        Kind::Sort => set(&mut body, "sort", sorts(corpus, rng, 1)?),
        Kind::SortMany => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "sort", sorts(corpus, rng, 2)?);
        }
        Kind::SortWords => {
            set(&mut body, "q", any_words(corpus, rng)?);
            set(&mut body, "sort", sorts(corpus, rng, 1)?);
        }
        Kind::GeoFilter => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "filter", filters::geo_filter(corpus, rng)?);
        }
        Kind::GeoSort => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "sort", [geo_sort(corpus, rng)?]);
        }
        Kind::Distinct => {
            maybe_words(&mut body, corpus, rng)?;
            set(&mut body, "distinct", distinct_field(corpus, rng)?);
        }
        Kind::Facets => {
            if rng.bool() {
                set(&mut body, "filter", filters::string_filter(corpus, rng)?);
            }
            set(&mut body, "facets", facets(corpus, rng)?);
        }
        Kind::FacetsWords => {
            set(&mut body, "q", any_words(corpus, rng)?);
            set(&mut body, "facets", facets(corpus, rng)?);
        }
        Kind::FacetSearch => return facet_search(corpus, rng),
        Kind::StrategyAll => {
            set(&mut body, "q", several_words(corpus, rng)?);
            set(&mut body, "matchingStrategy", "all");
        }
        Kind::StrategyFrequency => {
            set(&mut body, "q", several_words(corpus, rng)?);
            set(&mut body, "matchingStrategy", "frequency");
        }
        Kind::Attributes => {
            set(&mut body, "q", any_words(corpus, rng)?);
            let count = rng.usize(1..3);
            let some = rng.choose_multiple(corpus.text_fields.iter(), count);
            set(&mut body, "attributesToSearchOn", json!(some));
        }
        Kind::Threshold => {
            set(&mut body, "q", any_words(corpus, rng)?);
            set(&mut body, "rankingScoreThreshold", f64::from(rng.u8(1..19)) / 20.0);
        }
        Kind::Formatted => formatted(&mut body, corpus, rng)?,
        Kind::Page | Kind::Offset | Kind::Walk => maybe_words(&mut body, corpus, rng)?,
        Kind::Refused => set(&mut body, "filter", refused_filter(rng)),
    }
    page(&mut body, kind, rng);
    if let (Kind::Distinct, true, Some(field)) = (kind, body.contains_key("page"), body.get("distinct").cloned()) {
        // One hit has each value. Counts of other facets depend on which hit stands for a value, and so on the order in which
        // the documents were added; without exhaustive totals all counts do.
        set(&mut body, "facets", json!([field]));
    }
    Some(body)
}

fn set(body: &mut Object, name: &str, value: impl Into<Value>) {
    body.insert(name.to_owned(), value.into());
}

/// Paging as clients use it: mostly the first page of twenty, by offset and limit or by page number.
fn page(body: &mut Object, kind: Kind, rng: &mut Rng) {
    match kind {
        Kind::Walk => {
            set(body, "offset", 0);
            set(body, "limit", 10);
        }
        Kind::Offset => {
            set(body, "offset", rng.usize(0..120));
            set(body, "limit", rng.usize(0..40));
        }
        Kind::Page => {
            set(body, "page", rng.usize(1..8));
            set(body, "hitsPerPage", rng.usize(1..30));
        }
        _ => match rng.u8(0..6) {
            0 => {
                set(body, "page", 1);
                set(body, "hitsPerPage", 20);
            }
            1 => {
                set(body, "offset", rng.usize(0..30));
                set(body, "limit", rng.usize(1..25));
            }
            _ => {}
        },
    }
}

fn maybe_words(body: &mut Object, corpus: &Corpus, rng: &mut Rng) -> Option<()> {
    if rng.u8(0..3) > 0 {
        set(body, "q", any_words(corpus, rng)?);
    }
    Some(())
}

/// A text of a document, from a field that is searched.
fn some_text<'a>(corpus: &'a Corpus, rng: &mut Rng) -> Option<&'a str> {
    let document = &corpus.documents[rng.usize(0..corpus.documents.len())];
    let field = rng.choice(&corpus.text_fields)?;
    rng.choice(texts(document, field))
}

/// `count` words that follow each other in a text, as typed: without accents or capitals half of the time.
fn some_words(corpus: &Corpus, rng: &mut Rng, count: usize) -> Option<String> {
    for _ in 0..TRIES_MAX {
        let Some(text) = some_text(corpus, rng) else { continue };
        let all: Vec<&str> = words(text).collect();
        if all.len() < count {
            continue;
        }
        let start = rng.usize(0..=all.len() - count);
        let chosen = all[start..start + count].join(" ");
        return Some(if rng.bool() { fold(&chosen) } else { chosen });
    }
    None
}

/// Two to four words of one document, from one field or several: what a person types who knows what they look for.
/// One in five has a word of another document among them.
fn several_words(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    let document = &corpus.documents[rng.usize(0..corpus.documents.len())];
    let mut all: Vec<&str> =
        corpus.text_fields.iter().flat_map(|field| texts(document, field)).flat_map(words).collect();
    if all.len() < 2 {
        return None;
    }
    let count = rng.usize(2..=WORDS_MAX.min(all.len()));
    if rng.bool() {
        rng.shuffle(&mut all);
    }
    all.truncate(count);
    let mut query = all.join(" ");
    if rng.u8(0..5) == 0 {
        query = format!("{query} {}", some_words(corpus, rng, 1)?);
    }
    Some(if rng.bool() { fold(&query) } else { query })
}

fn any_words(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    if rng.bool() {
        some_words(corpus, rng, 1)
    } else {
        several_words(corpus, rng)
    }
}

/// The text with its last word cut short, as while typing.
fn cut(text: &str, rng: &mut Rng) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let last_word = words(text).last()?.chars().count();
    let removed = if last_word < 2 { 0 } else { rng.usize(1..last_word) };
    Some(letters[..letters.len() - removed].iter().collect())
}

/// The text with one wrong letter in one of its longer words: replaced, left out, added, or two exchanged.
fn with_typo(text: &str, rng: &mut Rng) -> Option<String> {
    let mut all: Vec<String> = words(text).map(str::to_owned).collect();
    let long: Vec<usize> = (0..all.len()).filter(|at| all[*at].chars().count() >= 5).collect();
    let chosen = rng.choice(long)?;
    let mut letters: Vec<char> = all[chosen].chars().collect();
    let at = rng.usize(1..letters.len() - 1);
    let letter = rng.lowercase();
    match rng.u8(0..4) {
        0 => letters[at] = letter,
        1 => drop(letters.remove(at)),
        2 => letters.insert(at, letter),
        _ => letters.swap(at, at + 1),
    }
    all[chosen] = letters.into_iter().collect();
    Some(all.join(" "))
}

fn phrase(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    let length = rng.usize(1..4);
    let phrase = format!("\"{}\"", some_words(corpus, rng, length)?);
    Some(if rng.u8(0..3) == 0 { format!("{phrase} {}", some_words(corpus, rng, 1)?) } else { phrase })
}

fn sorts(corpus: &Corpus, rng: &mut Rng, count: usize) -> Option<Value> {
    let fields: Vec<&String> = rng.choose_multiple(corpus.sortable.iter(), count);
    if fields.len() < count {
        return None;
    }
    let directed = fields.into_iter().map(|field| format!("{field}:{}", if rng.bool() { "asc" } else { "desc" }));
    Some(directed.collect())
}

fn geo_sort(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    if !corpus.geo_sortable {
        return None;
    }
    let (lat, lng) = filters::somewhere(corpus, rng)?;
    Some(format!("_geoPoint({lat:.5}, {lng:.5}):{}", if rng.u8(0..3) > 0 { "asc" } else { "desc" }))
}

/// A filterable field in which every document has one string at most: a list of values has no one value to be
/// distinct by.
fn distinct_field(corpus: &Corpus, rng: &mut Rng) -> Option<String> {
    let single =
        |field: &&String| !corpus.documents.iter().any(|document| document.get(*field).is_some_and(Value::is_array));
    let fields: Vec<&String> = corpus.string_facets.keys().filter(single).collect();
    rng.choice(fields).cloned()
}

fn facets(corpus: &Corpus, rng: &mut Rng) -> Option<Value> {
    let fields: Vec<&String> = corpus.string_facets.keys().chain(corpus.number_facets.keys()).collect();
    if !fields.is_empty() && rng.u8(0..5) == 0 {
        return Some(json!(["*"]));
    }
    let count = rng.usize(1..4);
    let some = rng.choose_multiple(fields, count);
    (!some.is_empty()).then(|| json!(some))
}

/// A search among the values of a facet: all of them or those like a value's beginning, over all documents or some.
fn facet_search(corpus: &Corpus, rng: &mut Rng) -> Option<Object> {
    let (facet, values) = rng.choice(corpus.string_facets.iter())?;
    let mut body = Object::new();
    set(&mut body, "facetName", facet.as_str());
    if rng.u8(0..4) > 0 {
        let value = rng.choice(values)?;
        let length = rng.usize(1..=value.chars().count().max(1));
        set(&mut body, "facetQuery", value.chars().take(length).collect::<String>());
    }
    match rng.u8(0..3) {
        0 => set(&mut body, "q", any_words(corpus, rng)?),
        1 => set(&mut body, "filter", filters::string_filter(corpus, rng)?),
        _ => {}
    }
    Some(body)
}

fn formatted(body: &mut Object, corpus: &Corpus, rng: &mut Rng) -> Option<()> {
    set(body, "q", any_words(corpus, rng)?);
    let field = rng.choice(&corpus.text_fields)?;
    match rng.u8(0..4) {
        0 => {
            set(body, "attributesToHighlight", json!(["*"]));
            set(body, "showMatchesPosition", true);
        }
        1 => {
            set(body, "attributesToCrop", json!([field]));
            set(body, "cropLength", 2);
            set(body, "cropMarker", "...");
        }
        2 => {
            set(body, "attributesToRetrieve", json!([corpus.primary_key, field]));
            set(body, "attributesToHighlight", json!([field]));
            set(body, "highlightPreTag", "[");
            set(body, "highlightPostTag", "]");
        }
        _ => {
            set(body, "showRankingScore", true);
            set(body, "attributesToRetrieve", json!(["*"]));
        }
    }
    Some(())
}

/// A filter that every server refuses: both sides must refuse it alike.
fn refused_filter(rng: &mut Rng) -> &'static str {
    const FILTERS: [&str; 3] = ["no_such_attribute = 1", "name = ", "name ~~ \"x\" AND"];
    FILTERS[rng.usize(0..FILTERS.len())]
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
