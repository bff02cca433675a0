//! What a hit's words rule says, when words were dropped by Miroir and not by the node.
//!
//! Under the matching strategy `frequency` Miroir asks the nodes for all words, then for all but the most frequent one, and so
//! on. In place of each dropped word a node is asked for a word that no document has, which it drops first. It may drop more:
//! hits that lack others of the words belong to another stage and are left out. One server would have had one list and a `words`
//! rule in it, whose verdict is known from the stage. The merge takes all stages' lists at once, with that verdict at its place
//! among the rules, and shows every document once, where it ranks best.

use serde_json::{json, Map, Value};

use super::rank::RankKeys;

/// The verdict of the words rule on all hits of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageWords {
    /// Words that were not dropped, as Meilisearch counts them.
    pub matching: u64,
    pub max: u64,
    /// Place of the words rule among the rules.
    pub order: usize,
    /// Words in whose place the nodes were asked for one that no document has. Without any, nodes have no words rule.
    pub dropped: u64,
}

impl StageWords {
    pub fn rank_keys<'a>(&self, keys: &mut RankKeys<'a>) {
        if self.dropped == 0 {
            keys.put_matching_words_at(self.order, self.matching as f64);
        } else {
            keys.replace_matching_words(self.dropped as f64, self.matching as f64);
        }
    }

    /// `_rankingScore` with the words rule before all rules that have a score. A score is made of the rules' ranks as a number
    /// is of its digits: the first rule's, less one, counts as many as the later ones can make.
    /// `details` are the node's: if it had a words rule, the score is freed of it first.
    pub fn score(&self, score: f64, details: Option<&[u8]>) -> f64 {
        let rules = details.and_then(|details| serde_json::from_slice::<Map<String, Value>>(details).ok());
        let words = rules.as_ref().and_then(|rules| rules.get("words")).filter(|_| self.dropped > 0);
        let count = |name: &str| words.and_then(|words| words[name].as_f64());
        let of_the_rest = match (count("matchingWords"), count("maxMatchingWords")) {
            (Some(matching), Some(max)) => score * max - (matching - 1.0),
            _ => score,
        };
        (self.matching.saturating_sub(1) as f64 + of_the_rest) / self.max as f64
    }

    /// `_rankingScoreDetails` with the words rule among them. What cannot be read stays as it is.
    pub fn details(&self, of_the_rest: &[u8]) -> Vec<u8> {
        let Ok(mut rules) = serde_json::from_slice::<Map<String, Value>>(of_the_rest) else {
            return of_the_rest.to_vec();
        };
        let had_rule = self.dropped > 0 && rules.shift_remove("words").is_some();
        for order in rules.values_mut().filter(|_| !had_rule).filter_map(|rule| rule.get_mut("order")) {
            if let Some(n) = order.as_u64().filter(|n| *n >= self.order as u64) {
                *order = (n + 1).into();
            }
        }
        let words = json!({
            "order": self.order,
            "matchingWords": self.matching,
            "maxMatchingWords": self.max,
            "score": self.matching as f64 / self.max as f64,
        });
        rules.shift_insert(self.order.min(rules.len()), "words".to_owned(), words);
        Value::Object(rules).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_rule_stands_where_one_server_has_it() {
        let words = StageWords { matching: 2, max: 3, order: 1, dropped: 0 };
        let rest = br#"{"population:desc":{"order":0,"value":7.0},"typo":{"order":1,"typoCount":0,"maxTypoCount":1,"score":1.0}}"#;
        assert_eq!(
            String::from_utf8(words.details(rest)).unwrap(),
            r#"{"population:desc":{"order":0,"value":7.0},"words":{"order":1,"matchingWords":2,"maxMatchingWords":3,"score":0.6666666666666666},"typo":{"order":2,"typoCount":0,"maxTypoCount":1,"score":1.0}}"#
        );
    }

    #[test]
    fn scores_of_later_stages_are_below_those_of_earlier_ones() {
        let of = |matching| StageWords { matching, max: 3, order: 0, dropped: 0 };
        assert_eq!(of(3).score(1.0, None), 1.0);
        assert!(of(3).score(0.01, None) > of(2).score(1.0, None));
        assert_eq!(of(1).score(0.5, None), 0.5 / 3.0);
    }

    #[test]
    fn the_words_rule_of_a_node_that_was_asked_for_fillers_gives_way() {
        let words = StageWords { matching: 2, max: 3, order: 0, dropped: 1 };
        let node = br#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":2,"score":0.5},"typo":{"order":1,"typoCount":0,"maxTypoCount":1,"score":1.0}}"#;
        assert_eq!(
            String::from_utf8(words.details(node)).unwrap(),
            r#"{"words":{"order":0,"matchingWords":2,"maxMatchingWords":3,"score":0.6666666666666666},"typo":{"order":1,"typoCount":0,"maxTypoCount":1,"score":1.0}}"#
        );
        assert_eq!(words.score(0.5, Some(node)), 2.0 / 3.0);
        let mut keys = RankKeys::parse(node).unwrap();
        words.rank_keys(&mut keys);
        assert!(!keys.is_of_other_stage, "it lacks the filler alone");
        let mut keys =
            RankKeys::parse(br#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":3,"score":0.3}}"#).unwrap();
        words.rank_keys(&mut keys);
        assert!(keys.is_of_other_stage, "it lacks another word too");
    }
}
