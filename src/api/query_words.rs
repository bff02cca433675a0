//! The words of a query, and which of them the matching strategy `frequency` drops.
//!
//! Meilisearch's rules, as its engine has them: words are dropped in the order of how many documents of the whole index have
//! them, the most frequent first; one that no document has counts as the most frequent; words of equal frequency form one
//! group; the last group stays, unless a phrase does. A document is ranked by how many words had to be dropped for it.
//! Dropping some word of a group requires that all groups before it are dropped whole.

use std::collections::HashSet;
use std::ops::Range;

/// Meilisearch reads so many words and phrases of a query and none behind them.
const TERMS_MAX: usize = 10;
/// Meilisearch also looks for two or three neighbouring words written as one.
const NGRAM_WORDS_MAX: usize = 3;
/// More ways of dropping words than this are not asked for: each is a search on every node. Ten words make at most ten ways,
/// unless several have the same frequency.
const STAGES_MAX: usize = 24;
/// Stands for dropped words between others: a hard separator, so that the words around it are no neighbours.
const GAP: &str = " ! ";
/// Hard separators before a query that has lost one of its first words. Each moves the words by 8 positions or so, to where
/// no attribute has them: the rest must not pass for an exact attribute, because with the lost word it is none.
const SHIFT: usize = 64;

/// A query, split as Meilisearch splits it.
#[derive(Debug)]
pub struct QueryWords<'q> {
    query: &'q str,
    parts: Vec<Part>,
    /// What stands behind the last part. If it is empty, the last word is a prefix.
    tail: &'q str,
}

#[derive(Debug)]
struct Part {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// May be dropped.
    Word,
    /// Nothing is searched for it, but it keeps its neighbours apart.
    StopWord,
    /// A word or phrase that documents must not have.
    Negative,
    /// A phrase of so many words, which is never dropped.
    Phrase(usize),
}

/// One way of dropping words: a search for all of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub query: String,
    /// `matchingWords` and `maxMatchingWords` of documents that are found this way and no better one.
    pub matching: u64,
    pub max: u64,
}

impl<'q> QueryWords<'q> {
    /// Splits a query; `None` when it is not certain that Meilisearch would split it the same way.
    pub fn split(query: &'q str, stop_words: &HashSet<String>) -> Option<Self> {
        let mut words = Self { query, parts: Vec::new(), tail: "" };
        let mut at = 0;
        let mut after_space = true;
        let mut minus = None;
        while let Some(next) = query[at..].chars().next() {
            if next == '"' {
                let end = at + 1 + query[at + 1..].find('"')? + 1;
                words.push_phrase(minus.take(), at..end, stop_words)?;
                (at, after_space) = (end, false);
            } else if is_separator(next) {
                minus = (next == '-' && after_space).then_some(at);
                at += next.len_utf8();
                after_space = next == ' ';
            } else {
                let end = query[at..].find(|c| c == '"' || is_separator(c)).map_or(query.len(), |length| at + length);
                is_plain(&query[at..end]).then_some(())?;
                let kind = match minus {
                    Some(_) => Kind::Negative,
                    // At the very end it may be the beginning of another word.
                    None if end < query.len() && stop_words.contains(&query[at..end].to_lowercase()) => Kind::StopWord,
                    None => Kind::Word,
                };
                words.parts.push(Part { range: minus.take().unwrap_or(at)..end, kind });
                (at, after_space) = (end, false);
            }
        }
        words.tail = words.parts.last().map_or("", |last| &query[last.range.end..]);
        words.leave_out_what_is_not_read()?;
        Some(words)
    }

    fn push_phrase(&mut self, minus: Option<usize>, range: Range<usize>, stop_words: &HashSet<String>) -> Option<()> {
        let words = self.query[range.clone()].split(|c: char| c == '"' || is_separator(c));
        let words = words.filter(|word| !word.is_empty() && !stop_words.contains(&word.to_lowercase())).count();
        // Of a phrase without words it is not certain what Meilisearch makes.
        (words > 0).then_some(())?;
        let kind = if minus.is_some() { Kind::Negative } else { Kind::Phrase(words) };
        self.parts.push(Part { range: minus.unwrap_or(range.start)..range.end, kind });
        Some(())
    }

    fn leave_out_what_is_not_read(&mut self) -> Option<()> {
        let is_term = |part: &&Part| matches!(part.kind, Kind::Word | Kind::Phrase(_));
        let terms = self.parts.iter().filter(is_term).count();
        if terms <= TERMS_MAX {
            return Some(());
        }
        // A phrase with hard separators is several terms.
        (!self.has_phrase()).then_some(())?;
        let last = self.parts.iter().enumerate().filter(|(_, part)| part.kind == Kind::Word).nth(TERMS_MAX - 1)?.0;
        self.parts.truncate(last + 1);
        self.tail = " ";
        Some(())
    }

    fn has_phrase(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, Kind::Phrase(_)))
    }

    /// Places in `parts` of the words that may be dropped.
    fn words(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().enumerate().filter(|(_, part)| part.kind == Kind::Word).map(|(at, _)| at)
    }

    pub fn word_count(&self) -> usize {
        self.words().count()
    }

    /// For each word a query whose matches under the strategy `last` are the documents that count as having that word. It goes
    /// on with the words that follow, because the word written as one with those counts too, and `last` finds just that: the
    /// first word alone or written as one with others. (As one with words before it, it is not counted.)
    pub fn count_queries(&self) -> Vec<String> {
        let query_of = |first: usize| {
            let run = self.parts[first..].iter().take(NGRAM_WORDS_MAX).take_while(|part| part.kind == Kind::Word);
            let last = first + run.count() - 1;
            let tail = if last + 1 == self.parts.len() { self.tail } else { " " };
            format!("{}{tail}", &self.query[self.parts[first].range.start..self.parts[last].range.end])
        };
        self.words().map(query_of).collect()
    }

    /// Words (0 is the first) in the groups in which they are dropped, from the number of documents that have each. Words that
    /// are never dropped are in none.
    pub fn removal_groups(&self, counts: &[u64]) -> Vec<Vec<usize>> {
        let frequency = |word: &usize| match counts[*word] {
            0 => u64::MAX,
            count => count,
        };
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|word| std::cmp::Reverse(frequency(word)));
        let mut groups: Vec<Vec<usize>> =
            order.chunk_by(|left, right| frequency(left) == frequency(right)).map(<[usize]>::to_vec).collect();
        if !self.has_phrase() {
            groups.pop();
        }
        groups
    }

    /// Whether the strategy `last` drops the same words in the same order.
    pub fn are_dropped_from_the_end(&self, groups: &[Vec<usize>], counts: &[u64]) -> bool {
        let kept = if self.has_phrase() { 0 } else { 1 };
        let mut order: Vec<usize> = Vec::new();
        for group in groups {
            // Words that no document has may be dropped one by one: dropping some of them finds nothing.
            if group.len() > 1 && counts[group[0]] > 0 {
                return false;
            }
            order.extend(group.iter().rev());
        }
        order.into_iter().eq((kept..counts.len()).rev())
    }

    /// All ways of dropping words, in the order of how many are dropped; the last one finds whatever is found. `None` when they
    /// are too many.
    pub fn stages(&self, groups: &[Vec<usize>], counts: &[u64]) -> Option<Vec<Stage>> {
        let words: Vec<usize> = self.words().collect();
        let in_phrases = self.parts.iter().map(|part| if let Kind::Phrase(words) = part.kind { words } else { 0 });
        let max = 1 + in_phrases.sum::<usize>().saturating_sub(1) + groups.iter().map(Vec::len).sum::<usize>();
        let mut dropped: HashSet<usize> = HashSet::new();
        let stage = |dropped: &HashSet<usize>| Stage {
            query: self.without(dropped),
            matching: (max - dropped.len()) as u64,
            max: max as u64,
        };
        let mut stages = vec![stage(&dropped)];
        for group in groups {
            let mut parts = 0..0;
            if counts[group[0]] > 0 {
                // All subsets but the empty one and the whole.
                parts = 1..(1u32 << group.len()) - 1;
            }
            let mut parts: Vec<u32> = parts.collect();
            parts.sort_by_key(|part| part.count_ones());
            for part in parts {
                let of_group = (0..group.len()).filter(|n| part & (1 << n) != 0).map(|n| words[group[n]]);
                stages.push(stage(&dropped.iter().copied().chain(of_group).collect()));
            }
            dropped.extend(group.iter().map(|&word| words[word]));
            stages.push(stage(&dropped));
            if stages.len() > STAGES_MAX {
                return None;
            }
        }
        Some(stages)
    }

    /// The query without some of its parts; what remains keeps its order, and no words become neighbours.
    fn without(&self, dropped: &HashSet<usize>) -> String {
        let is_searched = |at: usize| matches!(self.parts[at].kind, Kind::Word | Kind::Phrase(_));
        let last = (0..self.parts.len()).rfind(|at| is_searched(*at) && !dropped.contains(at));
        let mut out = String::new();
        if dropped.iter().any(|at| Some(*at) < last) {
            out.push_str(&"!".repeat(SHIFT));
            out.push(' ');
        }
        let mut end = 0;
        let mut gap = false;
        for (at, part) in self.parts.iter().enumerate() {
            if dropped.contains(&at) {
                gap = true;
                continue;
            }
            out.push_str(match gap {
                true if end == 0 => "",
                true => GAP,
                false => &self.query[end..part.range.start],
            });
            out.push_str(&self.query[part.range.clone()]);
            (end, gap) = (part.range.end, false);
        }
        out.push_str(if gap { " " } else { self.tail });
        out
    }
}

/// Characters that part words and of which nothing more needs to be known. Meilisearch knows many more.
fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\'' | '’' | '-' | '_' | ',' | '.' | ';' | ':' | '!' | '?' | '(' | ')' | '/')
}

/// Whether a text without separators is one word: digits and letters of one script that has spaces between words. A capital
/// behind a small letter may begin a new word.
fn is_plain(text: &str) -> bool {
    let mut script = None;
    let mut after_small = false;
    text.chars().all(|c| {
        let is_start_of_another = after_small && c.is_uppercase();
        after_small = c.is_lowercase();
        let own = match c {
            '0'..='9' => return true,
            'a'..='z' | 'A'..='Z' | '\u{C0}'..='\u{24F}' | '\u{1E00}'..='\u{1EFF}' => "Latin",
            '\u{370}'..='\u{3FF}' | '\u{1F00}'..='\u{1FFF}' => "Greek",
            '\u{400}'..='\u{52F}' => "Cyrillic",
            '\u{531}'..='\u{587}' => "Armenian",
            '\u{10A0}'..='\u{10FF}' => "Georgian",
            _ => return false,
        };
        c.is_alphabetic() && !is_start_of_another && *script.get_or_insert(own) == own
    })
}

#[cfg(test)]
#[path = "query_words_tests.rs"]
mod tests;
