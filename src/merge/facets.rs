//! Facet counts and statistics over all legs: summed by value, then ordered and cut off as one server would.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use unicode_normalization::UnicodeNormalization;

use super::json::{self, Cursor};
use super::{FacetOrder, IndexFacts};
use crate::reserved;

/// Above so many matching documents Meilisearch lists numeric values in numeric order; up to it, in that of their digits,
/// where 10 comes before 9.
const NUMERIC_ORDER_ABOVE: u64 = 3_000;

/// Meilisearch tells longer facet values apart by so many bytes of them: its longest database key, less room for the field.
const FACET_VALUE_BYTES_MAX: usize = 468;

/// A facet value as Meilisearch tells values apart: trimmed, compatibility-decomposed character by character, lowercase, and
/// cut. (Accents stay: `é` and `e` are two values.)
pub fn normalize_facet(value: &str) -> String {
    let value = value.trim();
    let mut normalized = match value.is_ascii() {
        true => value.to_ascii_lowercase(),
        false => value.chars().flat_map(|c| std::iter::once(c).nfkd()).collect::<String>().to_lowercase(),
    };
    if normalized.len() > FACET_VALUE_BYTES_MAX {
        let is_boundary = |end: &usize| normalized.is_char_boundary(*end);
        let end = (0..=FACET_VALUE_BYTES_MAX).rev().find(is_boundary).unwrap_or(0);
        normalized.truncate(end);
    }
    normalized
}

/// One value of one facet over all legs.
struct Value<'a> {
    /// Documents may spell one value in several ways. Each node shows the spelling of the first of its documents, and one server
    /// that of the first of all, which is most likely a document of the node that has most of them.
    shown: Cow<'a, str>,
    /// Documents of the nodes that show it so.
    shown_count: u64,
    /// Other spellings, with the documents of the nodes that show them.
    others: Vec<(Cow<'a, str>, u64)>,
    normalized: String,
    count: u64,
    number: Option<f64>,
}

impl<'a> Value<'a> {
    /// Adds what another leg counted.
    fn add(&mut self, spelling: Cow<'a, str>, count: u64) {
        self.count += count;
        if spelling == self.shown {
            self.shown_count += count;
            return;
        }
        let at = self.others.iter().position(|(other, _)| *other == spelling).unwrap_or_else(|| {
            self.others.push((spelling, 0));
            self.others.len() - 1
        });
        let (other, of_other) = &mut self.others[at];
        *of_other += count;
        if *of_other > self.shown_count {
            std::mem::swap(other, &mut self.shown);
            std::mem::swap(of_other, &mut self.shown_count);
        }
    }
}

/// Values of one facet, while legs are added.
#[derive(Default)]
struct Counts<'a> {
    values: Vec<Value<'a>>,
    by_normalized: HashMap<String, usize>,
}

impl<'a> Counts<'a> {
    fn add(&mut self, shown: Cow<'a, str>, count: u64) {
        let normalized = normalize_facet(&shown);
        match self.by_normalized.get(&normalized) {
            Some(&at) => self.values[at].add(shown, count),
            None => {
                self.by_normalized.insert(normalized.clone(), self.values.len());
                let (shown_count, others) = (count, Vec::new());
                self.values.push(Value { shown, shown_count, others, normalized, count, number: None });
            }
        }
    }

    /// Puts the values in Meilisearch's order: numbers first, then strings, each by the facet's order, as many in all as
    /// are shown. `has_numbers`: `facetStats` has the facet, without which `"10"` is a string.
    fn into_shown(mut self, order: FacetOrder, numeric_order: bool, has_numbers: bool, max: usize) -> Vec<Value<'a>> {
        if has_numbers {
            for value in &mut self.values {
                value.number = value.shown.parse().ok().filter(|number: &f64| number.to_string() == value.shown);
            }
        }
        self.values.sort_by(|left, right| {
            let numbers_first = right.number.is_some().cmp(&left.number.is_some());
            let by_value = match (left.number, right.number) {
                (Some(left), Some(right)) if numeric_order || order == FacetOrder::Count => left.total_cmp(&right),
                (Some(_), Some(_)) => left.shown.cmp(&right.shown),
                _ => left.normalized.cmp(&right.normalized),
            };
            numbers_first.then_with(|| match order {
                FacetOrder::Alpha => by_value,
                // Meilisearch takes values of equal count from a heap of (count, value), the greatest first.
                FacetOrder::Count => right.count.cmp(&left.count).then(by_value.reverse()),
            })
        });
        self.values.truncate(max);
        self.values
    }
}

/// What the legs' `facetDistribution` and `facetStats` add up to.
#[derive(Default)]
pub struct Facets<'a> {
    counts: BTreeMap<Cow<'a, str>, Counts<'a>>,
    stats: BTreeMap<Cow<'a, str>, Stats<'a>>,
    /// Matching documents: each has exactly one shard, so the counts of the shard's facet add up to them.
    documents: u64,
    /// See [`IndexFacts`].
    hidden: Option<&'static str>,
}

/// `min` and `max` as the nodes wrote them.
struct Stats<'a> {
    min: (&'a [u8], f64),
    max: (&'a [u8], f64),
}

impl<'a> Facets<'a> {
    pub fn of(facts: &IndexFacts) -> Self {
        Self { hidden: facts.hidden_facet, ..Self::default() }
    }

    fn is_hidden(&self, facet: &str) -> bool {
        self.hidden.is_some_and(|hidden| hidden == facet)
    }

    /// Adds a leg's `facetDistribution`.
    pub fn add_distribution(&mut self, distribution: &'a [u8]) -> json::Result<()> {
        let mut cursor = Cursor::new(distribution);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            let facet = text(&distribution[start..=key_end], start)?;
            let is_reserved = reserved::is_reserved(facet.as_bytes());
            if self.is_hidden(&facet) {
                cursor.skip_value()?;
                continue;
            }
            // A facet without any value is shown all the same, as an empty object.
            let mut counts = (!is_reserved).then(|| self.counts.entry(facet).or_default());
            cursor.enter_object()?;
            while let Some(member) = cursor.next_member()? {
                let count = json::count(member.value(distribution)).unwrap_or(0);
                match &mut counts {
                    Some(counts) => {
                        counts.add(text(&distribution[member.start..=member.key_end], member.start)?, count)
                    }
                    None => self.documents += count,
                }
            }
        }
        Ok(())
    }

    /// Says of each value of the distinct attribute that one hit has it, however many legs found one: so does one server whose
    /// totals are exhaustive.
    pub fn count_distinct_once(&mut self, attribute: &str) {
        for value in self.counts.get_mut(attribute).into_iter().flat_map(|counts| &mut counts.values) {
            value.count = value.count.min(1);
        }
    }

    /// The facets that were counted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(AsRef::as_ref)
    }

    /// Adds a leg's `facetStats`.
    pub fn add_stats(&mut self, stats: &'a [u8]) -> json::Result<()> {
        for member in json::members(stats)? {
            let facet = text(&stats[member.start..=member.key_end], member.start)?;
            if self.is_hidden(&facet) {
                continue;
            }
            let value = member.value(stats);
            let (mut min, mut max) = (None, None);
            for bound in json::members(value)? {
                let raw = bound.value(value);
                match bound.raw_key(value) {
                    b"min" => min = json::number(raw).map(|number| (raw, number)),
                    b"max" => max = json::number(raw).map(|number| (raw, number)),
                    _ => {}
                }
            }
            let (Some(min), Some(max)) = (min, max) else { continue };
            let merged = self.stats.entry(facet).or_insert(Stats { min, max });
            if min.1.total_cmp(&merged.min.1) == Ordering::Less {
                merged.min = min;
            }
            if max.1.total_cmp(&merged.max.1) == Ordering::Greater {
                merged.max = max;
            }
        }
        Ok(())
    }

    /// Appends `facetStats`.
    pub fn push_stats(&self, out: &mut Vec<u8>) {
        push_object(self.stats.iter(), out, |stats, out| {
            out.extend_from_slice(b"{\"min\":");
            out.extend_from_slice(stats.min.0);
            out.extend_from_slice(b",\"max\":");
            out.extend_from_slice(stats.max.0);
            out.push(b'}');
        });
    }

    /// Appends `facetDistribution`. The statistics must have been added before: they tell numbers from strings.
    pub fn push_distribution(&mut self, facts: &IndexFacts, out: &mut Vec<u8>) {
        let numeric_order = self.documents > NUMERIC_ORDER_ABOVE;
        let counts = std::mem::take(&mut self.counts);
        let shown = counts.into_iter().map(|(facet, counts)| {
            let order = facts.facet_order.of(&facet);
            let has_numbers = self.stats.contains_key(&facet);
            let values = counts.into_shown(order, numeric_order, has_numbers, facts.max_values_per_facet);
            (facet, values)
        });
        push_object(shown, out, |values, out| {
            push_object(values.iter().map(|value| (&value.shown, value.count)), out, json::push_count);
        });
    }
}

/// Appends an object.
fn push_object<K: AsRef<str>, V>(
    members: impl Iterator<Item = (K, V)>,
    out: &mut Vec<u8>,
    push_value: impl Fn(V, &mut Vec<u8>),
) {
    out.push(b'{');
    for (n, (key, value)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::push_string(key.as_ref(), out);
        out.push(b':');
        push_value(value, out);
    }
    out.push(b'}');
}

fn text(raw: &[u8], at: usize) -> json::Result<Cow<'_, str>> {
    json::string(raw).ok_or(json::JsonError { what: "expected a string", at })
}

#[cfg(test)]
#[path = "facets_tests.rs"]
mod tests;
