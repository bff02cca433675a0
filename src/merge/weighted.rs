//! How hits that different queries found are compared: by scores with the queries' weights, as Meilisearch compares them.
//!
//! Hits of one query are compared rule by rule ([`super::rank`]), those of two queries by what their rules add up to: all
//! rules between two sorts are one number, the whole of them if nothing is sorted. That whole is what a node says of each hit
//! (`weightedRankingScore`). A part before or after a sort must be put together from the details, which tell the ranks of
//! some rules and only the score of others; there the greatest rank is Meilisearch's for as many words, which decides as the
//! true one does unless the queries have different weights.

use std::cmp::Ordering;

use super::json::{self, Cursor};
use super::rank::{compare_sort_values, Direction, SortValue, HIDDEN_RULE};

/// One number, or one sort, of a hit.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreValue<'a> {
    Score(f64),
    Sort(Direction, SortValue<'a>),
    /// Metres; `None` where the document has no position.
    Geo(Direction, Option<f64>),
    /// A sort by a field that is not displayed.
    Hidden,
}

/// What a hit is compared by.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedScore<'a> {
    pub values: Vec<ScoreValue<'a>>,
    /// The score of all rules, with the query's weight.
    pub whole: f64,
}

/// Consecutive rules as one: each divides what the ones before it left.
#[derive(Clone, Copy)]
struct Rank {
    rank: f64,
    max: f64,
}

impl Rank {
    fn then(self, inner: Rank) -> Rank {
        Rank { rank: (self.rank - 1.0).max(0.0) * inner.max + inner.rank, max: self.max * inner.max }
    }
}

impl<'a> WeightedScore<'a> {
    /// Reads `_rankingScoreDetails`. `whole` is the hit's `weightedRankingScore`.
    pub fn read(details: &'a [u8], weight: f64, whole: f64) -> json::Result<Self> {
        let mut rules = Vec::new();
        let mut cursor = Cursor::new(details);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            rules.push(Rule::read(&details[start + 1..key_end], details, &mut cursor)?);
        }
        rules.sort_by_key(|rule| rule.order);
        if rules.is_empty() {
            // Of a query without words no rule says anything, and hits that some rule speaks for come first.
            return Ok(Self { values: Vec::new(), whole });
        }
        if rules.iter().all(|rule| rule.by.is_none()) {
            return Ok(Self { values: vec![ScoreValue::Score(whole)], whole });
        }
        let words = rules.iter().find(|rule| rule.name == b"words").map_or(1.0, |rule| rule.max_words);
        let mut values = Vec::new();
        let mut open: Option<Rank> = None;
        let close = |open: &mut Option<Rank>, values: &mut Vec<ScoreValue<'a>>| {
            values.extend(open.take().map(|rank| ScoreValue::Score(rank.rank / rank.max * weight)));
        };
        for rule in rules {
            match rule.by {
                None => {
                    for rank in rule.ranks(words) {
                        open = Some(open.map_or(rank, |before| before.then(rank)));
                    }
                }
                Some(ScoreValue::Score(similarity)) => {
                    close(&mut open, &mut values);
                    values.push(ScoreValue::Score(similarity * weight));
                }
                Some(value) => {
                    close(&mut open, &mut values);
                    values.push(value);
                }
            }
        }
        close(&mut open, &mut values);
        Ok(Self { values, whole })
    }

    /// Puts what `value_of` knows in place of hidden sorts, which it is given the numbers of, from 0.
    pub fn reveal(&mut self, mut value_of: impl FnMut(usize) -> Option<(Direction, SortValue<'a>)>) {
        let hidden = self.values.iter_mut().filter(|value| **value == ScoreValue::Hidden);
        for (n, value) in hidden.enumerate() {
            if let Some((direction, known)) = value_of(n) {
                *value = ScoreValue::Sort(direction, known);
            }
        }
    }

    /// `Greater` means that this hit comes first.
    pub fn compare(&self, other: &Self) -> Ordering {
        let by_whole = || self.whole.partial_cmp(&other.whole).unwrap_or(Ordering::Equal);
        for (n, (left, right)) in self.values.iter().zip(&other.values).enumerate() {
            match compare_values(left, right) {
                Some(Ordering::Equal) => {}
                Some(ordering) => return ordering,
                None => {
                    // Where rules say nothing about each other, the hit with more rules left comes first.
                    let left = self.values.len() - n;
                    return left.cmp(&(other.values.len() - n)).then_with(by_whole);
                }
            }
        }
        self.values.len().cmp(&other.values.len())
    }
}

/// Of distances the nearer comes first when they ascend. (Meilisearch's own merge of two queries has it the wrong way round.)
fn compare_values(left: &ScoreValue, right: &ScoreValue) -> Option<Ordering> {
    let numbers = |left: f64, right: f64| match (left - right).abs() <= f64::EPSILON {
        true => Ordering::Equal,
        false => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
    };
    match (left, right) {
        (ScoreValue::Hidden, ScoreValue::Hidden) => Some(Ordering::Equal),
        (ScoreValue::Score(left), ScoreValue::Score(right)) => Some(numbers(*left, *right)),
        (ScoreValue::Sort(way, left), ScoreValue::Sort(other_way, right)) if way == other_way => {
            Some(compare_sort_values(*way, left, right))
        }
        (ScoreValue::Geo(way, left), ScoreValue::Geo(other_way, right)) if way == other_way => {
            Some(match (left, right) {
                (Some(left), Some(right)) if *way == Direction::Ascending => numbers(*right, *left),
                (Some(left), Some(right)) => numbers(*left, *right),
                (left, right) => left.is_some().cmp(&right.is_some()),
            })
        }
        _ => None,
    }
}

/// One rule's entry in the details.
struct Rule<'a> {
    name: &'a [u8],
    order: u64,
    score: Option<f64>,
    matching_words: Option<f64>,
    max_words: f64,
    typos: Option<f64>,
    max_typos: f64,
    match_type: Option<f64>,
    /// Set where the rule is no rank among ranks but compares by itself.
    by: Option<ScoreValue<'a>>,
}

impl<'a> Rule<'a> {
    fn read(name: &'a [u8], details: &'a [u8], cursor: &mut Cursor<'a>) -> json::Result<Self> {
        let direction = match name.ends_with(b":desc") {
            true => Direction::Descending,
            false => Direction::Ascending,
        };
        let mut rule = Self {
            name,
            order: u64::MAX,
            score: None,
            matching_words: None,
            max_words: 0.0,
            typos: None,
            max_typos: 0.0,
            match_type: None,
            by: None,
        };
        let mut distance = None;
        cursor.enter_object()?;
        while let Some(member) = cursor.next_member()? {
            let raw = member.value(details);
            match member.raw_key(details) {
                b"order" => rule.order = json::count(raw).unwrap_or(u64::MAX),
                b"score" => rule.score = json::number(raw),
                b"matchingWords" => rule.matching_words = json::number(raw),
                b"maxMatchingWords" => rule.max_words = json::number(raw).unwrap_or(0.0),
                b"typoCount" => rule.typos = json::number(raw),
                b"maxTypoCount" => rule.max_typos = json::number(raw).unwrap_or(0.0),
                b"matchType" => {
                    rule.match_type = Some(match raw {
                        b"\"exactMatch\"" => 3.0,
                        b"\"matchesStart\"" => 2.0,
                        _ => 1.0,
                    });
                }
                b"similarity" => rule.by = Some(ScoreValue::Score(json::number(raw).unwrap_or(0.0))),
                b"value" if name.starts_with(HIDDEN_RULE) => rule.by = Some(ScoreValue::Hidden),
                b"value" => rule.by = Some(ScoreValue::Sort(direction, SortValue::parse(raw))),
                b"distance" => distance = Some(json::number(raw)),
                _ => {}
            }
        }
        if let Some(distance) = distance {
            rule.by = Some(ScoreValue::Geo(direction, distance));
        }
        Ok(rule)
    }

    /// The ranks that the rule stands for, when the query has so many words.
    fn ranks(&self, words: f64) -> Vec<Rank> {
        let scored = |score: f64, max: f64| Rank { rank: score * max, max };
        if let Some(match_type) = self.match_type {
            let by_type = Rank { rank: match_type, max: 3.0 };
            // Of better matches the details do not tell the words: all of them are there.
            let max = if self.max_words > 0.0 { self.max_words } else { words } + 1.0;
            return vec![by_type, Rank { rank: self.matching_words.map_or(max, |words| words + 1.0), max }];
        }
        if let Some(matching) = self.matching_words {
            return vec![Rank { rank: matching, max: self.max_words.max(1.0) }];
        }
        if let Some(typos) = self.typos {
            return vec![Rank { rank: self.max_typos + 1.0 - typos, max: self.max_typos + 1.0 }];
        }
        match (self.name, self.score) {
            (b"proximity", Some(score)) => vec![scored(score, 7.0 * (words - 1.0).max(0.0) + 1.0)],
            // Each word may cost 10 by where it stands, and stand in the last of many attributes.
            (b"wordPosition", Some(score)) => vec![scored(score, words * 10.0 + 1.0)],
            (_, Some(score)) => vec![scored(score, words * f64::from(u16::MAX) + 1.0)],
            // The node's time ran out.
            (_, None) => vec![Rank { rank: 0.0, max: 1.0 }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEVANCY: &str = r#""words":{"order":0,"matchingWords":2,"maxMatchingWords":3,"score":0.67},"typo":{"order":1,"typoCount":1,"maxTypoCount":3,"score":0.75}"#;

    #[test]
    fn without_a_sort_the_score_says_it_all() {
        let details = format!("{{{RELEVANCY}}}");
        let score = WeightedScore::read(details.as_bytes(), 2.0, 1.16).unwrap();
        assert_eq!(score.values, [ScoreValue::Score(1.16)]);
    }

    #[test]
    fn rules_between_sorts_are_one_number() {
        let details = format!(
            r#"{{{RELEVANCY},"price:desc":{{"order":2,"value":7.0}},"exactness":{{"order":3,"matchType":"noExactMatch","matchingWords":1,"maxMatchingWords":3,"score":0.16}}}}"#
        );
        let score = WeightedScore::read(details.as_bytes(), 2.0, 1.0).unwrap();
        // (2 - 1) x 4 + 3 of 12; (1 - 1) x 4 + 2 of 12.
        let expected = [
            ScoreValue::Score(7.0 / 12.0 * 2.0),
            ScoreValue::Sort(Direction::Descending, SortValue::Number(7.0)),
            ScoreValue::Score(2.0 / 12.0 * 2.0),
        ];
        assert_eq!(score.values, expected);
    }

    #[test]
    fn hits_of_no_words_come_after_all_others() {
        let of_words =
            WeightedScore::read(br#"{"typo":{"order":0,"typoCount":0,"maxTypoCount":0}}"#, 1.0, 0.1).unwrap();
        let of_none = WeightedScore::read(b"{}", 1.0, 1.0).unwrap();
        assert_eq!(of_none.compare(&of_words), Ordering::Less);
        assert_eq!(of_none.compare(&of_none), Ordering::Equal);
    }

    #[test]
    fn sorts_decide_between_equal_numbers_and_missing_values_come_last() {
        let score = |value: &str, whole: f64| {
            let details = format!(r#"{{{RELEVANCY},"price:asc":{{"order":2,"value":{value}}}}}"#);
            let details: &'static str = details.leak();
            WeightedScore::read(details.as_bytes(), 1.0, whole).unwrap()
        };
        assert_eq!(score("1", 0.1).compare(&score("2", 0.9)), Ordering::Greater);
        assert_eq!(score("null", 0.9).compare(&score("2", 0.1)), Ordering::Less);
        assert_eq!(score("\"a\"", 0.9).compare(&score("2", 0.1)), Ordering::Less);
        assert_eq!(score("2", 0.9).compare(&score("2", 0.1)), Ordering::Equal);
    }

    #[test]
    fn hits_that_are_not_sorted_alike_compare_by_rules_left_and_then_by_score() {
        let read = |details: &'static str, whole| WeightedScore::read(details.as_bytes(), 1.0, whole).unwrap();
        let rising = read(r#"{"a:asc":{"order":0,"value":1}}"#, 0.5);
        let falling = read(r#"{"a:desc":{"order":0,"value":1}}"#, 0.6);
        let longer = read(r#"{"a:desc":{"order":0,"value":1},"b:asc":{"order":1,"value":1}}"#, 0.1);
        assert_eq!(rising.compare(&falling), Ordering::Less);
        assert_eq!(longer.compare(&rising), Ordering::Greater);
    }
}
