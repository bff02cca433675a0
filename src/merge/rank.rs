//! Which of two hits comes first: `_rankingScoreDetails`, rule by rule.
//!
//! A `_rankingScore` cannot be compared between nodes, because scores are ratios whose denominators depend on what else
//! matched there: a `typo` score of 2/3 on a node whose matches have up to two typos is 3/4 on one where they have up to
//! three. So each rule is compared by the most absolute number that it carries, and rules are told apart by what they
//! carry, never by a list of names, which differ between versions (1.15 has `attribute`, 1.50 `attributeRank` and
//! `wordPosition`).
//!
//! | a rule that carries | is compared by | because |
//! |---|---|---|
//! | `matchingWords` | the count, more is better | `maxMatchingWords` is the query's |
//! | `typoCount` | the count, fewer is better | `maxTypoCount` is what the node's dictionary could have given |
//! | `matchType` | exactMatch, matchesStart, noExactMatch; then `matchingWords` | `score` mixes both |
//! | `attributeRankingOrderScore` | that, then `queryWordDistanceScore` | `score` mixes both; the parts line up with 1.50's two rules |
//! | `distance` | metres, equal within one metre of the bucket's first | so does one server |
//! | `value` | the value, by the direction in the rule's name | no score exists |
//! | `value` of a hidden rule | what the document says ([`super::hidden`]) | the field is not displayed |
//! | `similarity` | the number | it is a property of document and query alone |
//! | only `score` | the score | its maximum comes from the query's words (see below) |
//! | only `order` (`skipped`) | last | the node's time ran out before this rule |
//!
//! Scores that are compared as they are: `attributeRank` costs each word the weight of its attribute and always includes
//! the path through the heaviest attribute, `wordPosition` always includes the path of cost 10 per word, `proximity`
//! costs up to 7 per pair of words. Their maxima follow from the words of the query, so equal situations give equal
//! ratios on all nodes. They part only where the surviving ways of reading the query differ between nodes (one node has
//! `sun flower` only, another only `sunflower`), which no answer tells.
//!
//! A hit never lacks the details of later rules because its bucket was small: with details asked for, milli ranks buckets
//! of one document to the end as well, and legs always start at offset 0, so no bucket is skipped over. Where a rule is
//! missing on one side all the same (nodes of different versions), hits are compared by the rules that both have.

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::json::{self, Cursor};

/// Keys that the default rules make, and one or two more. Only what more costs depends on it.
const RULES_USUAL: usize = 10;

/// How the name of a rule begins that sorts by a field that is not displayed.
pub const HIDDEN_RULE: &[u8] = b"<hidden-rule-";

/// Distances that differ by no more than this are equal: Meilisearch's allowance for the errors of positioning.
const GEO_BUCKET_METRES: f64 = 1.0;

/// What the exactness rule says of an attribute, as numbers that compare.
const EXACT_MATCH: f64 = 3.0;
const MATCHES_START: f64 = 2.0;
const NO_EXACT_MATCH: f64 = 1.0;

/// One rule's verdict on one hit, comparable between nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKey<'a> {
    /// Higher is better.
    Number(Kind, f64),
    Sort(Direction, SortValue<'a>),
    /// A sort by a field that is not displayed: that there is one is all that the node says.
    Hidden,
    /// Metres; `None` where the document has no position.
    Geo(Direction, Option<f64>),
    /// The node ran out of time before it applied this rule.
    Skipped,
}

/// What a number counts. Numbers of different kinds do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MatchingWords,
    Typos,
    MatchType,
    ExactWords,
    Score,
    Similarity,
    Weighted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Value of a sorted field, as the node's facet database holds it: numbers as floats, strings normalized.
#[derive(Clone, Debug, PartialEq)]
pub enum SortValue<'a> {
    Number(f64),
    String(Cow<'a, str>),
    Missing,
}

/// What all rules say of one hit, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankKeys<'a> {
    keys: Vec<RuleKey<'a>>,
    /// A pinned hit stands at this position of the list, whatever its rank.
    pub pinned_at: Option<u64>,
    /// Whether the hit was found by its vector.
    pub is_semantic: bool,
    /// Words that the query has, as the words rule counts them.
    max_matching_words: f64,
    /// Whether the hit lacks words that its stage asks for, see [`super::stages`].
    pub is_of_other_stage: bool,
}

impl<'a> RankKeys<'a> {
    /// Reads `_rankingScoreDetails`.
    pub fn parse(details: &'a [u8]) -> json::Result<Self> {
        let mut keys = Self { keys: Vec::with_capacity(RULES_USUAL), ..Self::default() };
        let mut orders: SmallVec<[u64; RULES_USUAL]> = SmallVec::new();
        let mut cursor = Cursor::new(details);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            let rule = Rule::read(&details[start + 1..key_end], details, &mut cursor)?;
            let before = keys.keys.len();
            rule.push_keys(&mut keys);
            orders.resize(orders.len() + keys.keys.len() - before, rule.order);
        }
        if !orders.is_sorted() {
            let mut ordered: Vec<_> = orders.into_iter().zip(keys.keys).collect();
            ordered.sort_by_key(|(order, _)| *order);
            keys.keys = ordered.into_iter().map(|(_, key)| key).collect();
        }
        Ok(keys)
    }

    /// Whether a rule says nothing because its field is not displayed.
    pub fn has_hidden(&self) -> bool {
        self.keys.contains(&RuleKey::Hidden)
    }

    /// Puts what `value_of` knows in place of the hidden rules, which it is given the numbers of, from 0.
    pub fn reveal(&mut self, mut value_of: impl FnMut(usize) -> Option<(Direction, SortValue<'a>)>) {
        let hidden = self.keys.iter_mut().filter(|key| **key == RuleKey::Hidden);
        for (n, key) in hidden.enumerate() {
            if let Some((direction, value)) = value_of(n) {
                *key = RuleKey::Sort(direction, value);
            }
        }
    }

    pub fn into_keys(self) -> Vec<RuleKey<'a>> {
        self.keys
    }

    /// Puts a weighted score before all rules: how a hybrid search compares hits found by words with hits found by vector.
    pub fn put_weighted_score_first(&mut self, weighted_score: f64) {
        self.keys.insert(0, RuleKey::Number(Kind::Weighted, weighted_score));
    }

    /// Puts the verdict of the words rule of a stage in place of the node's, which was asked for `dropped` words that no
    /// document has.
    pub fn replace_matching_words(&mut self, dropped: f64, matching_words: f64) {
        let is_words = |key: &&mut RuleKey| matches!(key, RuleKey::Number(Kind::MatchingWords, _));
        if let Some(RuleKey::Number(_, words)) = self.keys.iter_mut().find(is_words) {
            self.is_of_other_stage = *words + dropped < self.max_matching_words;
            *words = matching_words;
        }
    }

    /// Puts a words rule at its place among the rules: how a hit ranks from which Miroir dropped words.
    pub fn put_matching_words_at(&mut self, place: usize, matching_words: f64) {
        let place = place.min(self.keys.len());
        self.keys.insert(place, RuleKey::Number(Kind::MatchingWords, matching_words));
    }

    /// The place of the exactness rule, if it found an attribute that is the query or begins with it, in a hit that has all words
    /// and, where typos rank before, none in them. Else fewer words than the query has may match for other reasons.
    pub fn attribute_match(&self) -> Option<usize> {
        let is_match = |key: &RuleKey| matches!(key, RuleKey::Number(Kind::MatchType, kind) if *kind > NO_EXACT_MATCH);
        let place = self.keys.iter().position(is_match)?;
        let lacks = |key: &RuleKey| matches!(key, RuleKey::Number(Kind::MatchingWords, words) if *words < self.max_matching_words);
        let has_typo = |key: &RuleKey| matches!(key, RuleKey::Number(Kind::Typos, typos) if *typos < 0.0);
        (!self.keys.iter().any(lacks) && !self.keys[..place].iter().any(has_typo)).then_some(place)
    }

    pub fn is_exact_match_at(&self, place: usize) -> bool {
        matches!(self.keys.get(place), Some(RuleKey::Number(Kind::MatchType, kind)) if *kind == EXACT_MATCH)
    }

    /// Takes back a match of an attribute: see [`super::exactness`].
    pub fn deny_attribute_match(&mut self, exact_words: u64) {
        if let Some(place) = self.attribute_match() {
            self.keys[place] = RuleKey::Number(Kind::MatchType, NO_EXACT_MATCH);
            self.keys.insert(place + 1, RuleKey::Number(Kind::ExactWords, exact_words as f64));
        }
    }

    /// Whether all rules before the one at `place` say the same.
    pub fn agree_up_to(&self, other: &Self, place: usize) -> bool {
        self.keys.get(..place).is_some_and(|before| other.keys.get(..place) == Some(before))
    }

    /// Keys that were read elsewhere, in the order in which they are applied.
    pub fn new(keys: Vec<RuleKey<'a>>) -> Self {
        Self { keys, ..Self::default() }
    }
}

/// The fields of one rule's entry that say how it compares.
#[derive(Default)]
struct Rule<'a> {
    name: &'a [u8],
    order: u64,
    score: Option<f64>,
    matching_words: Option<f64>,
    max_matching_words: Option<f64>,
    typo_count: Option<f64>,
    match_type: Option<f64>,
    is_exactness: bool,
    attribute_order: Option<f64>,
    word_distance: Option<f64>,
    similarity: Option<&'a [u8]>,
    distance: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    position: Option<u64>,
}

impl<'a> Rule<'a> {
    fn read(name: &'a [u8], details: &'a [u8], cursor: &mut Cursor<'a>) -> json::Result<Self> {
        let mut rule = Self { name, ..Self::default() };
        cursor.enter_object()?;
        while let Some(member) = cursor.next_member()? {
            let raw = member.value(details);
            match member.raw_key(details) {
                b"order" => rule.order = json::count(raw).unwrap_or(u64::MAX),
                b"score" => rule.score = json::number(raw),
                b"matchingWords" => rule.matching_words = json::number(raw),
                b"maxMatchingWords" => rule.max_matching_words = json::number(raw),
                b"typoCount" => rule.typo_count = json::number(raw),
                b"matchType" => {
                    rule.is_exactness = true;
                    rule.match_type = match raw {
                        b"\"exactMatch\"" => Some(EXACT_MATCH),
                        b"\"matchesStart\"" => Some(MATCHES_START),
                        b"\"noExactMatch\"" => Some(NO_EXACT_MATCH),
                        _ => None,
                    };
                }
                b"attributeRankingOrderScore" => rule.attribute_order = json::number(raw),
                b"queryWordDistanceScore" => rule.word_distance = json::number(raw),
                b"similarity" => rule.similarity = Some(raw),
                b"distance" => rule.distance = Some(raw),
                b"value" => rule.value = Some(raw),
                b"position" => rule.position = json::count(raw),
                _ => {}
            }
        }
        Ok(rule)
    }

    fn push_keys(&self, keys: &mut RankKeys<'a>) {
        let mut push = |kind, value| keys.keys.push(RuleKey::Number(kind, value));
        if let Some(match_type) = self.match_type {
            push(Kind::MatchType, match_type);
            if let Some(words) = self.matching_words {
                push(Kind::ExactWords, words);
            }
        } else if let (Some(words), false) = (self.matching_words, self.is_exactness) {
            push(Kind::MatchingWords, words);
            keys.max_matching_words = self.max_matching_words.unwrap_or(0.0);
        } else if let Some(typos) = self.typo_count {
            push(Kind::Typos, -typos);
        } else if let Some(attribute_order) = self.attribute_order {
            push(Kind::Score, attribute_order);
            if let Some(word_distance) = self.word_distance {
                push(Kind::Score, word_distance);
            }
        } else if let Some(similarity) = self.similarity {
            // Documents without a vector come last.
            push(Kind::Similarity, json::number(similarity).unwrap_or(f64::NEG_INFINITY));
            keys.is_semantic = true;
        } else if let Some(distance) = self.distance {
            keys.keys.push(RuleKey::Geo(self.direction(), json::number(distance)));
        } else if self.name.starts_with(HIDDEN_RULE) {
            keys.keys.push(RuleKey::Hidden);
        } else if let Some(value) = self.value {
            keys.keys.push(RuleKey::Sort(self.direction(), SortValue::parse(value)));
        } else if let Some(score) = self.score {
            push(Kind::Score, score);
        } else if let Some(position) = self.position {
            keys.pinned_at = Some(position);
        } else {
            keys.keys.push(RuleKey::Skipped);
        }
    }

    /// The name ends in the direction: `population:desc`, `_geoPoint(48, 2):asc`.
    fn direction(&self) -> Direction {
        match self.name.ends_with(b":desc") {
            true => Direction::Descending,
            false => Direction::Ascending,
        }
    }
}

impl<'a> SortValue<'a> {
    pub(super) fn parse(raw: &'a [u8]) -> Self {
        if let Some(number) = json::number(raw) {
            Self::Number(number)
        } else if let Some(string) = json::string(raw) {
            Self::String(string)
        } else {
            Self::Missing
        }
    }
}

/// `Greater` means that `left` comes first.
fn compare_in_direction<T: PartialOrd>(direction: Direction, left: T, right: T) -> Ordering {
    let ordering = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
    match direction {
        Direction::Ascending => ordering.reverse(),
        Direction::Descending => ordering,
    }
}

/// Numbers before strings and missing values last, in both directions.
pub(super) fn compare_sort_values(direction: Direction, left: &SortValue, right: &SortValue) -> Ordering {
    use SortValue::{Missing, Number, String};
    match (left, right) {
        (Number(left), Number(right)) => compare_in_direction(direction, left, right),
        (String(left), String(right)) => compare_in_direction(direction, left.as_bytes(), right.as_bytes()),
        (Missing, Missing) => Ordering::Equal,
        (Missing, _) | (String(_), Number(_)) => Ordering::Less,
        (_, Missing) | (Number(_), String(_)) => Ordering::Greater,
    }
}

/// `Greater` means that `left` comes first, `None` that the two say nothing about each other.
pub(super) fn compare(left: &RuleKey, right: &RuleKey) -> Option<Ordering> {
    use RuleKey::{Geo, Hidden, Number, Skipped, Sort};
    match (left, right) {
        (Skipped, Skipped) | (Hidden, Hidden) => Some(Ordering::Equal),
        (Skipped, _) => Some(Ordering::Less),
        (_, Skipped) => Some(Ordering::Greater),
        (Number(left_kind, left), Number(right_kind, right)) if left_kind == right_kind => {
            Some(left.partial_cmp(right).unwrap_or(Ordering::Equal))
        }
        (Sort(left_direction, left), Sort(right_direction, right)) if left_direction == right_direction => {
            Some(compare_sort_values(*left_direction, left, right))
        }
        (Geo(left_direction, left), Geo(right_direction, right)) if left_direction == right_direction => {
            Some(match (left, right) {
                (Some(left), Some(right)) => compare_in_direction(*left_direction, left, right),
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
            })
        }
        _ => None,
    }
}

/// Chooses the next hit among the heads of all legs, and remembers what that choice must remember.
///
/// Rules are applied to all heads at once, each rule leaving those that it finds best, rather than to pairs: equality
/// within a metre is not transitive, and pairwise comparison would make the order depend on which leg is looked at first.
#[derive(Debug, Default)]
pub struct Chooser<'a> {
    /// Heads that all rules so far found equally good. Kept to be used again.
    candidates: Vec<usize>,
    /// Keys of the hit chosen last.
    last: Vec<RuleKey<'a>>,
    /// First distance of the bucket that the last choice fell into, with its rule.
    geo_bucket: Option<(usize, f64)>,
    /// Whether a rule that says nothing was asked to choose between hits.
    pub met_hidden: bool,
}

impl<'a> Chooser<'a> {
    /// Index of the head that comes first; ties fall to the lowest index. `None` when no leg has a hit left.
    pub fn choose(&mut self, heads: &[Option<RankKeys<'a>>]) -> Option<usize> {
        self.candidates.clear();
        self.candidates.extend(heads.iter().enumerate().filter_map(|(leg, head)| head.as_ref().map(|_| leg)));
        let mut candidates = std::mem::take(&mut self.candidates);
        let keys_of = |leg: usize| heads[leg].as_ref().map_or(&[][..], |head| &head.keys);

        let mut rule = 0;
        while candidates.len() > 1 && candidates.iter().all(|&leg| keys_of(leg).len() > rule) {
            let mut best = candidates[0];
            let mut comparable = true;
            for &leg in &candidates[1..] {
                match compare(&keys_of(leg)[rule], &keys_of(best)[rule]) {
                    Some(Ordering::Greater) => best = leg,
                    Some(_) => {}
                    None => comparable = false,
                }
            }
            if !comparable {
                break;
            }
            self.met_hidden |= keys_of(best)[rule] == RuleKey::Hidden;
            if let RuleKey::Geo(_, Some(nearest)) = keys_of(best)[rule] {
                let first = self.geo_bucket_of(&keys_of(best)[..rule], rule, nearest);
                candidates.retain(|&leg| match keys_of(leg)[rule] {
                    RuleKey::Geo(_, Some(distance)) => (distance - first).abs() <= GEO_BUCKET_METRES,
                    _ => false,
                });
            } else {
                candidates.retain(|&leg| compare(&keys_of(leg)[rule], &keys_of(best)[rule]) == Some(Ordering::Equal));
            }
            rule += 1;
        }

        let chosen = candidates.first().copied();
        self.candidates = candidates;
        if let Some(chosen) = chosen {
            self.remember(keys_of(chosen));
        }
        chosen
    }

    /// Whether the next choice depends on nothing but the heads. Under a geo sort it depends on the choices before.
    pub fn depends_on_heads_alone(&self) -> bool {
        self.geo_bucket.is_none()
    }

    /// First distance of the bucket that a head `nearest` metres away belongs to: the open bucket's, when all rules before
    /// found this head equal to the last choice and it lies within the bucket, else its own.
    fn geo_bucket_of(&self, before: &[RuleKey<'a>], rule: usize, nearest: f64) -> f64 {
        match self.geo_bucket {
            Some((open, first))
                if open == rule
                    && (nearest - first).abs() <= GEO_BUCKET_METRES
                    && self.last.get(..rule).is_some_and(|last| last == before) =>
            {
                first
            }
            _ => nearest,
        }
    }

    /// Only geo sorts need the last choice, so only they pay for keeping it.
    fn remember(&mut self, chosen: &[RuleKey<'a>]) {
        let geo = chosen.iter().enumerate().find_map(|(rule, key)| match key {
            RuleKey::Geo(_, Some(distance)) => Some((rule, *distance)),
            _ => None,
        });
        if let Some((rule, distance)) = geo {
            let first = self.geo_bucket_of(&chosen[..rule], rule, distance);
            self.geo_bucket = Some((rule, first));
            self.last.clear();
            self.last.extend_from_slice(chosen);
        }
    }
}

#[cfg(test)]
#[path = "rank_tests.rs"]
mod tests;
