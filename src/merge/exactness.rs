//! Matches of an attribute that are none, because their node does not know all words of the query.
//!
//! The rule `exactness` first asks whether an attribute is the query or begins with it, word by word; of the query it takes the
//! words that are in the node's dictionary, and when it lacks the last ones, asks about those before. In `geany plu`, a node
//! without the word `plu` takes `geany-plugin-doc` for a match of the beginning. One server that has `plu` in any document does
//! not: none of that node's documents has the word, so none begins with both.
//!
//! Of a hit whose match is denied all else stays: it has all words but the last, for so its node found a match. A denied hit may
//! belong behind others of its leg, so such a leg is taken as three lists, by what their node says of the match; each of them is
//! in order.

use bytes::Bytes;

use super::rank::RankKeys;
use super::search::{choose_page, hidden_rules_decide, lists_of, LegAnswer, SearchMerge};
use super::{IndexFacts, Leg, MergeError};

/// The legs whose matches of attributes are denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Their places among the legs, ascending.
    pub legs: Vec<usize>,
    /// The query's words and phrases but the last word: as many a hit has that was taken for a match.
    pub exact_words: u64,
}

/// How details tell of a match: cheap to look for, since most searches have none that could be denied.
const MATCH_TYPES: [&[u8]; 2] = [b"\"matchesStart\"", b"\"exactMatch\""];

/// Whether any hit may be a match of an attribute.
pub fn may_show_match(body: &Bytes) -> bool {
    MATCH_TYPES.iter().any(|kind| memchr::memmem::find(body, kind).is_some())
}

/// The legs that show a match of an attribute in a hit that does not show the query's last `word`: their nodes do not know it,
/// or hits do not show where they have it.
pub fn suspects(legs: &[Leg], request: &SearchMerge, word: &str) -> Result<Vec<usize>, MergeError> {
    let mut suspects = Vec::new();
    for (n, leg) in legs.iter().enumerate().filter(|(_, leg)| may_show_match(&leg.body)) {
        let answer = LegAnswer::read(n, leg, request)?;
        // A node that knows the word has it in each of its matches, one that does not in none.
        for hit in 0..answer.hits.len() {
            if answer.keys_from_node(hit)?.attribute_match().is_some() {
                if !shows_word(answer.text_of(hit), word) {
                    suspects.push(n);
                }
                break;
            }
        }
    }
    Ok(suspects)
}

/// Whether the page is another with those matches denied, or may be by fields that are not displayed.
pub fn decides(legs: &[Leg], request: &SearchMerge, denied: &Denied, facts: &IndexFacts) -> Result<bool, MergeError> {
    let page = |answers: &[LegAnswer], request: &SearchMerge| -> Result<Vec<(usize, usize)>, MergeError> {
        let place = |leg: usize, hit: usize| (answers[leg].leg, answers[leg].hits[hit].start);
        Ok(choose_page(answers, request, facts)?.iter().map(|chosen| place(chosen.leg, chosen.hit)).collect())
    };
    let as_denied = &SearchMerge { denied: Some(denied), ..request.clone() };
    let lists = lists_of(legs, as_denied)?;
    Ok(page(&lists_of(legs, request)?, request)? != page(&lists, as_denied)?
        || hidden_rules_decide(&lists, as_denied, facts)?)
}

/// Whether a leg has shown the beginning only of hits that rank by what stands behind the exactness rule, once matches are
/// denied: the others may come before those that it has shown.
pub fn is_cut_off(leg: &Leg, request: &SearchMerge, facts: &IndexFacts) -> Result<bool, MergeError> {
    let answer = LegAnswer::read(0, leg, request)?;
    let shown = answer.hits.len();
    if shown < request.paging.positions(facts.max_total_hits).end || shown as u64 >= answer.total {
        return Ok(false);
    }
    let Some(last) = shown.checked_sub(1) else { return Ok(false) };
    let last = answer.keys_from_node(last)?;
    for hit in (0..shown).rev() {
        let keys = answer.keys_from_node(hit)?;
        if let Some(place) = keys.attribute_match() {
            return Ok(keys.agree_up_to(&last, place));
        }
    }
    Ok(false)
}

/// A leg's hits in three lists: attributes that are the query, that begin with it, and the rest.
pub(super) fn by_match<'a>(whole: LegAnswer<'a>, exact_words: u64) -> Result<[LegAnswer<'a>; 3], MergeError> {
    let mut lists = [whole.without_hits(), whole.without_hits(), whole.without_hits()];
    for hit in 0..whole.hits.len() {
        let keys = whole.keys_from_node(hit)?;
        lists[list_of(&keys)].hits.push(whole.hits[hit].clone());
    }
    for list in &mut lists {
        list.denied_match = Some(exact_words);
    }
    // Totals and what stands around the hits count once.
    let [first, ..] = &mut lists;
    first.take_envelope(whole);
    Ok(lists)
}

fn list_of(keys: &RankKeys) -> usize {
    keys.attribute_match().map_or(2, |place| usize::from(!keys.is_exact_match_at(place)))
}

/// Whether a text has a word of ASCII letters and digits; members' names are no text. Of other words nothing is known, since
/// documents may write them otherwise.
pub(super) fn shows_word(json: &[u8], word: &str) -> bool {
    let (word, length) = (word.as_bytes(), word.len());
    if !word.is_ascii() || length == 0 || json.len() < length {
        return false;
    }
    let is_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    (0..=json.len() - length).any(|start| {
        let end = start + length;
        json[start..end].eq_ignore_ascii_case(word)
            && !is_of_word(start.checked_sub(1).and_then(|before| json.get(before)))
            && !is_of_word(json.get(end))
            && !json[end..].starts_with(b"\":")
    })
}

#[cfg(test)]
#[path = "exactness_tests.rs"]
mod tests;
