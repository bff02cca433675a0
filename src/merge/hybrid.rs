//! Hits found by words and hits found by meaning, weighed once over all nodes.
//!
//! Meilisearch makes two lists, each as long as from the first hit to the last of the page, and puts one into the other by
//! score, that of words times `1 - semanticRatio` and that of meaning times `semanticRatio`; hits by meaning go before hits
//! by words that weigh as much, and a document is shown where it comes first. It leaves meaning out if the words' list is full
//! of hits that are good enough. A node that weighs its own hits decides all that by its own hits, so each list is asked
//! for, and merged over all nodes, by itself.
//!
//! A score of words is a ratio whose denominator depends on what else matched on that node. Of the rules before the first
//! sort only `typo` has one that differs between nodes (see [`super::rank`]); before scores are weighed it is made the greatest
//! that any node has for as many words.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::distinct::SeenValues;
use super::json::{self, Cursor};
use super::pins::{placed, Pinned};
use super::rank::{compare, Kind, RankKeys, RuleKey};
use super::search::{choose_page, write_answer, Chosen, LegAnswer, Paging, SearchMerge};
use super::{in_tie_order, splice, IndexFacts, Leg, MergeError};

/// What all hits by words have to weigh for meaning to be left out: Meilisearch's number.
const GOOD_ENOUGH: f64 = 0.45;

/// How much a place in a list counts less than the one before, in reciprocal rank fusion: the number of its inventors.
const RRF_K: f64 = 60.0;

/// How the two lists become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// By the hits' scores, as Meilisearch does.
    Score,
    /// By the hits' places in both lists (reciprocal rank fusion).
    ReciprocalRank,
}

/// How much words and meaning weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    words: f64,
    meaning: f64,
}

impl Weights {
    /// Meilisearch reads `semanticRatio` as a float of 32 bits, and its remainder from 1 is one too.
    pub fn of_ratio(semantic_ratio: f64) -> Self {
        let ratio = semantic_ratio as f32;
        Self { words: f64::from(1.0 - ratio), meaning: f64::from(ratio) }
    }

    /// Whether hits by words can be so good that meaning is left out.
    pub fn may_leave_meaning_out(self) -> bool {
        self.words >= GOOD_ENOUGH
    }
}

/// The answer of words alone, if their hits are so good that Meilisearch would not ask for meaning.
pub fn words_suffice(
    words: &[Leg],
    request: &SearchMerge,
    weights: Weights,
    facts: &IndexFacts,
) -> Result<Option<Bytes>, MergeError> {
    let answers = read_legs(words, request)?;
    let list = from_the_first(&answers, request, facts)?;
    if list.len() < request.paging.positions(facts.max_total_hits).end {
        return Ok(None);
    }
    let typos_max = typos_max(&answers);
    let weigh = |chosen: &Chosen| weight_of_words(&answers[chosen.leg], chosen.hit, &typos_max) * weights.words;
    match list.iter().all(|chosen| weigh(chosen) >= GOOD_ENOUGH) {
        true => words_alone(words, request, facts).map(Some),
        false => Ok(None),
    }
}

/// The answer of words alone to a search that asked for meaning too.
pub fn words_alone(words: &[Leg], request: &SearchMerge, facts: &IndexFacts) -> Result<Bytes, MergeError> {
    let answer = super::search::merge_searches(words, request, facts)?;
    let mut answer = answer.to_vec();
    answer.pop();
    answer.extend_from_slice(b",\"semanticHitCount\":0}");
    Ok(answer.into())
}

/// The answer of both. Whatever the filter lets through is found by meaning, so totals and facets are those of meaning.
pub fn merge_hybrid(
    words: &[Leg],
    meaning: &[Leg],
    request: &SearchMerge,
    (weights, fusion): (Weights, Fusion),
    facts: &IndexFacts,
) -> Result<Bytes, MergeError> {
    let mut answers = read_legs(meaning, request)?;
    // A node that was asked for a trace of words too, so that it marks them in its hits, may have found hits by them.
    for answer in &mut answers {
        let is_of_it = |hit| is_by_meaning(answer, hit) || answer.is_pinned(hit);
        let details: Vec<bool> = (0..answer.hits.len()).map(is_of_it).collect();
        let mut details = details.into_iter();
        answer.hits.retain(|_| details.next().unwrap_or(false));
    }
    let first_of_words = answers.len();
    answers.extend(read_legs(words, request)?);
    let (of_meaning, of_words) = answers.split_at(first_of_words);
    if of_meaning.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let mut by_meaning = from_the_first(of_meaning, request, facts)?;
    let mut by_words = from_the_first(of_words, request, facts)?;
    let typos_max = typos_max(of_words);
    by_words.iter_mut().for_each(|chosen| chosen.leg += first_of_words);
    let pinned = take_pinned_out(&answers, request, &mut by_words, &mut by_meaning)?;

    let listed = |list: Vec<Chosen>, weight: f64| -> Result<Vec<Weighed>, MergeError> {
        list.into_iter().map(|chosen| Weighed::new(&answers, chosen, weight, &typos_max)).collect()
    };
    let by_meaning = listed(by_meaning, weights.meaning)?;
    let by_words = listed(by_words, weights.words)?;
    let ordered = match fusion {
        Fusion::Score => put_into_another(by_meaning, by_words),
        Fusion::ReciprocalRank => by_places(by_meaning, by_words, weights, |chosen| key_of(&answers, request, chosen)),
    };

    let positions = request.paging.positions(facts.max_total_hits);
    let mut seen = SeenValues::default();
    let mut seen_documents = HashSet::new();
    let kept = ordered.into_iter().filter(|chosen| {
        if key_of(&answers, request, chosen).is_some_and(|key| !seen_documents.insert(key)) {
            return false;
        }
        let Some(attribute) = request.distinct else { return true };
        seen.take(answers[chosen.leg].distinct_values(chosen.hit, attribute, request))
    });
    let page = match pinned.is_empty() {
        true => kept.skip(positions.start).take(positions.len()).collect(),
        false => placed(pinned, kept.take(positions.end).collect(), positions),
    };
    write_answer(&answers, &answers[..first_of_words], &page, request, facts)
}

/// The pinned hits of both lists, each document once, by position. They have no score to be weighed by.
fn take_pinned_out(
    answers: &[LegAnswer],
    request: &SearchMerge,
    by_words: &mut Vec<Chosen>,
    by_meaning: &mut Vec<Chosen>,
) -> Result<Vec<Pinned<Chosen>>, MergeError> {
    let is_pinned = |chosen: &Chosen| answers[chosen.leg].is_pinned(chosen.hit);
    let mut pinned: Vec<Pinned<Chosen>> = Vec::new();
    let mut seen = HashSet::new();
    for list in [by_words, by_meaning] {
        for hit in list.iter().copied().filter(is_pinned) {
            if key_of(answers, request, &hit).is_none_or(|key| seen.insert(key)) {
                let position = answers[hit.leg].keys_from_node(hit.hit)?.pinned_at.unwrap_or(0);
                pinned.push(Pinned { position, hit });
            }
        }
        list.retain(|chosen| !is_pinned(chosen));
    }
    pinned.sort_by_key(|pin| pin.position);
    Ok(pinned)
}

fn is_by_meaning(answer: &LegAnswer, hit: usize) -> bool {
    answer.details_of(hit).is_some_and(|details| memchr::memmem::find(details, b"\"similarity\"").is_some())
}

fn read_legs<'a>(legs: &'a [Leg], request: &SearchMerge) -> Result<Vec<LegAnswer<'a>>, MergeError> {
    in_tie_order(legs).into_iter().map(|(n, leg)| LegAnswer::read(n, leg, request)).collect()
}

/// The merged list from the first hit to the last of the page.
fn from_the_first(answers: &[LegAnswer], request: &SearchMerge, facts: &IndexFacts) -> Result<Vec<Chosen>, MergeError> {
    let end = request.paging.positions(facts.max_total_hits).end;
    let whole = SearchMerge { paging: Paging::Window { offset: 0, limit: end }, ..request.clone() };
    choose_page(answers, &whole, facts)
}

fn key_of<'a>(answers: &[LegAnswer<'a>], request: &SearchMerge, chosen: &Chosen) -> Option<&'a [u8]> {
    answers[chosen.leg].key_of(chosen.hit, request.key?)
}

/// A hit and what it is compared by.
struct Weighed<'a> {
    chosen: Chosen,
    values: Vec<Value<'a>>,
}

enum Value<'a> {
    /// A weighed score.
    Score(f64),
    /// What a sort says.
    Sort(RuleKey<'a>),
}

impl<'a> Weighed<'a> {
    fn new(answers: &[LegAnswer<'a>], chosen: Chosen, weight: f64, typos_max: &TyposMax) -> Result<Self, MergeError> {
        let answer = &answers[chosen.leg];
        let keys = match answer.details_of(chosen.hit) {
            Some(details) => RankKeys::parse(details).map_err(|error| MergeError::of_leg(answer.leg, error))?,
            None => RankKeys::default(),
        };
        let mut values = Vec::new();
        let mut is_in_score = false;
        let mut has_score = false;
        for key in keys.into_keys() {
            let is_sort = matches!(key, RuleKey::Sort(..) | RuleKey::Geo(..) | RuleKey::Hidden);
            match key {
                RuleKey::Number(Kind::Similarity, similarity) => {
                    values.push(Value::Score(as_stored(similarity) * weight))
                }
                key if is_sort => values.push(Value::Sort(key)),
                // Rules one after the other have one score.
                _ if is_in_score => {}
                // Of rules after a sort Meilisearch compares more than whether they say anything only with rules of another
                // list that stand after a sort too, and in the list of meaning there are none.
                _ if has_score => values.push(Value::Score(weight)),
                _ => values.push(Value::Score(weight_of_words(answer, chosen.hit, typos_max) * weight)),
            }
            is_in_score = !is_sort;
            has_score |= is_in_score;
        }
        Ok(Self { chosen, values })
    }

    /// `Greater` means that `self` comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let (mut left, mut right) = (self.values.iter(), other.values.iter());
        loop {
            let order = match (left.next(), right.next()) {
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(Value::Score(left)), Some(Value::Score(right))) if (left - right).abs() <= f64::EPSILON => {
                    continue
                }
                (Some(Value::Score(left)), Some(Value::Score(right))) => left.total_cmp(right),
                (Some(Value::Sort(left)), Some(Value::Sort(right))) => compare(left, right).unwrap_or(Ordering::Equal),
                (Some(Value::Score(score)), Some(Value::Sort(_))) => score.total_cmp(&0.0).then(Ordering::Less),
                (Some(Value::Sort(_)), Some(Value::Score(score))) => {
                    score.total_cmp(&0.0).reverse().then(Ordering::Greater)
                }
            };
            if order != Ordering::Equal {
                return order;
            }
        }
    }
}

/// A similarity is a float of 32 bits, of which JSON has the shortest text; none is no similarity at all.
fn as_stored(similarity: f64) -> f64 {
    match similarity.is_finite() {
        true => f64::from(similarity as f32),
        false => 0.0,
    }
}

/// Always the better of both lists' first hits.
fn put_into_another(by_meaning: Vec<Weighed>, by_words: Vec<Weighed>) -> Vec<Chosen> {
    let mut merged = Vec::with_capacity(by_meaning.len() + by_words.len());
    let (mut by_meaning, mut by_words) = (by_meaning.into_iter().peekable(), by_words.into_iter().peekable());
    loop {
        let from_meaning = match (by_meaning.peek(), by_words.peek()) {
            (Some(meaning), Some(words)) => meaning.compare(words).is_ge(),
            (meaning, _) => meaning.is_some(),
        };
        let Some(next) = (if from_meaning { by_meaning.next() } else { by_words.next() }) else { return merged };
        merged.push(next.chosen);
    }
}

/// By the sum of what a document's places in both lists are worth.
fn by_places<'a>(
    by_meaning: Vec<Weighed>,
    by_words: Vec<Weighed>,
    weights: Weights,
    key_of: impl Fn(&Chosen) -> Option<&'a [u8]>,
) -> Vec<Chosen> {
    let worth = |place: usize, weight: f64| weight / (RRF_K + 1.0 + place as f64);
    let mut documents: Vec<(f64, Chosen)> = Vec::with_capacity(by_meaning.len() + by_words.len());
    let mut by_key = HashMap::new();
    let meaning = by_meaning.into_iter().enumerate().map(|(place, hit)| (worth(place, weights.meaning), hit.chosen));
    let words = by_words.into_iter().enumerate().map(|(place, hit)| (worth(place, weights.words), hit.chosen));
    for (worth, chosen) in meaning.chain(words) {
        match key_of(&chosen).map(|key| *by_key.entry(key).or_insert(documents.len())) {
            Some(known) if known < documents.len() => documents[known].0 += worth,
            _ => documents.push((worth, chosen)),
        }
    }
    documents.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    documents.into_iter().map(|(_, chosen)| chosen).collect()
}

/// The score of a hit's words, as a server would give it whose greatest number of typos is `typos_max`.
fn weight_of_words(answer: &LegAnswer, hit: usize, typos_max: &TyposMax) -> f64 {
    // Rules that say nothing of words leave a hit with the best score.
    let score = splice::ranking_score(answer.body, answer.marked_of(hit)).unwrap_or(1.0);
    let Some(details) = answer.details_of(hit) else { return score };
    match typos_max.get(&matching_words(details)) {
        Some(typos_max) => with_typos_max(score, details, *typos_max).unwrap_or(score),
        None => score,
    }
}

/// The greatest `maxTypoCount` of all hits that have as many of the query's words: words that a hit lacks have no typos.
type TyposMax = HashMap<Option<u64>, u64>;

fn typos_max(answers: &[LegAnswer]) -> TyposMax {
    let mut greatest = TyposMax::new();
    let details = answers.iter().flat_map(|answer| (0..answer.hits.len()).filter_map(|hit| answer.details_of(hit)));
    for details in details {
        if let Some(max) = count_in(details, b"maxTypoCount") {
            let of_words = greatest.entry(matching_words(details)).or_insert(max);
            *of_words = max.max(*of_words);
        }
    }
    greatest
}

/// What the words rule says; `None` if there is none.
fn matching_words(details: &[u8]) -> Option<u64> {
    let rules = json::members(details).ok()?;
    let rules = rules.iter().map(|rule| rule.value(details));
    // Exactness counts words too.
    let mut counts = rules.filter(|rule| member_of(rule, b"matchType").is_none());
    counts.find_map(|rule| member_of(rule, b"matchingWords").and_then(json::count))
}

/// The value of the first member of that name inside any rule.
fn count_in(details: &[u8], name: &[u8]) -> Option<u64> {
    json::members(details).ok()?.iter().find_map(|rule| member_of(rule.value(details), name).and_then(json::count))
}

fn member_of<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(object);
    cursor.enter_object().ok()?;
    while let Some(member) = cursor.next_member().ok()? {
        if member.raw_key(object) == name {
            return Some(member.value(object));
        }
    }
    None
}

/// A score is made of the rules' ranks as a number is of its digits: the first rule's, less one, counts as many as the later
/// ones can make. So what stands before the typos is taken off, their digit read and written anew to the other base.
/// `None` where the rules before them do not tell their ranks.
fn with_typos_max(score: f64, details: &[u8], typos_max: u64) -> Option<f64> {
    let mut before: Vec<(f64, f64)> = Vec::new();
    let mut rest = score;
    for rule in json::members(details).ok()? {
        let rule = rule.value(details);
        let count = |name| member_of(rule, name).and_then(json::count).map(|count| count as f64);
        if member_of(rule, b"value").is_some() {
            match before.is_empty() {
                // A sort before all words has no digit.
                true => continue,
                false => return None,
            }
        }
        if let (Some(typos), Some(max)) = (count(b"typoCount"), count(b"maxTypoCount")) {
            let later = rest * (max + 1.0) - (max - typos);
            let max = typos_max as f64;
            let typo = ((max - typos) + later) / (max + 1.0);
            return Some(before.iter().rev().fold(typo, |score, (rank, max)| (rank - 1.0 + score) / max));
        }
        let (rank, max) = (count(b"matchingWords")?, count(b"maxMatchingWords")?);
        rest = rest * max - (rank - 1.0);
        before.push((rank, max));
    }
    None
}

#[cfg(test)]
#[path = "hybrid_tests.rs"]
mod tests;
