//! The words of a query, and which of them the matching strategy `frequency` drops.
//!
//! Meilisearch's rules, as its engine has them: words are dropped in the order of how many documents of the whole index have
//! them, the most frequent first; one that no document has counts as the most frequent; words of equal frequency form one
//! group; the last group stays, unless a phrase does. A document is ranked by how many words had to be dropped for it.
//! Dropping some word of a group requires that all groups before it are dropped whole.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use serde_json::Value;

use super::arabic;

/// Meilisearch reads so many words and phrases of a query and none behind them.
const TERMS_MAX: usize = 10;
/// Meilisearch also looks for two or three neighbouring words written as one.
const NGRAM_WORDS_MAX: usize = 3;
/// With more ways of dropping words than this, only those are asked for that drop whole groups: each is a search on every node.
/// Five words make at most sixteen.
const STAGES_MAX: usize = 16;
/// Of rare words that are in equally many documents, as many ways of writing them as one with their neighbours are asked for.
const FOUND_QUERIES_MAX: usize = 16;
/// Stands for dropped words between others where hits are only counted: a hard separator, so that the words around it are no
/// neighbours.
const GAP: &str = " ! ";
/// Stands for a dropped word where hits are ranked. The words that remain keep their places in the query, on which the rules
/// about position and exactness depend, and a word that no document has, nor one within two typos or beginning with it, is the
/// first that a node drops under the strategy `frequency`.
pub const FILLER: &str = "xqzjvkwxqvzkjwqx";

/// A query, split as Meilisearch splits it.
#[derive(Debug)]
pub struct QueryWords<'q> {
    query: Cow<'q, str>,
    language: Option<&'static str>,
    parts: Vec<Part>,
    /// Whether there is more behind the last part than is read.
    is_cut: bool,
}

#[derive(Debug)]
struct Part {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// May be dropped.
    Word(Split),
    /// Nothing is searched for it, but it keeps its neighbours apart.
    StopWord,
    /// A word or phrase that documents must not have.
    Negative,
    /// A phrase of so many words, which is never dropped.
    Phrase(usize),
}

/// Whether a word is one to Meilisearch too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Certain,
    /// It may be several: its script has no spaces between words, or it has a capital inside. A node must be asked.
    Uncertain,
}

/// A query's last word, if it may be the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenWord {
    pub word: String,
    /// How many words and phrases are searched for before it.
    pub words_before: u64,
    /// See [`QueryWords::language`].
    pub language: Option<&'static str>,
}

/// The searches that count the documents that have a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountQuery {
    /// Its matches under the strategy `last` are those documents. If uncertain, it has no other words.
    One { query: String, split: Split },
    /// All their matches under the strategy `all` are, each document once.
    Several(Vec<String>),
}

/// One way of dropping words: a search for all of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// With [`FILLER`] in place of each dropped word.
    pub query: String,
    /// How many words are dropped.
    pub dropped: usize,
    /// `matchingWords` and `maxMatchingWords` of documents that are found this way and no better one.
    pub matching: u64,
    pub max: u64,
}

impl<'q> QueryWords<'q> {
    /// Splits a query; `None` when it is not certain that Meilisearch would split it the same way.
    pub fn split(query: &'q str, stop_words: &HashSet<String>) -> Option<Self> {
        let arabic::Reading { query, language } = arabic::read(query, is_separator)?;
        let parts = parts_of(&query, stop_words)?;
        // Other scripts would be read otherwise if the language was named.
        let is_of_others = |part: &Part| query[part.range.clone()].chars().any(|c| script_of(c) == Some(Script::Other));
        if language.is_some() && parts.iter().any(is_of_others) {
            return None;
        }
        let mut words = Self { query, language, parts, is_cut: false };
        words.leave_out_what_is_not_read()?;
        Some(words)
    }

    fn leave_out_what_is_not_read(&mut self) -> Option<()> {
        let is_term = |part: &&Part| matches!(part.kind, Kind::Word(_) | Kind::Phrase(_));
        let terms = self.parts.iter().filter(is_term).count();
        if terms <= TERMS_MAX {
            return Some(());
        }
        // A phrase with hard separators is several terms.
        (!self.has_phrase()).then_some(())?;
        let last = self.words().nth(TERMS_MAX - 1)?;
        self.parts.truncate(last + 1);
        self.is_cut = true;
        Some(())
    }

    /// What stands behind the last part. If it is empty, the last word is a prefix.
    fn tail(&self) -> &str {
        match self.parts.last() {
            _ if self.is_cut => " ",
            Some(last) => &self.query[last.range.end..],
            None => "",
        }
    }

    /// The language that nodes must be told to read parts of the query as they would read it in the whole, in the way of `locales`.
    pub fn language(&self) -> Option<&'static str> {
        self.language
    }

    fn has_phrase(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, Kind::Phrase(_)))
    }

    /// Places in `parts` of the words that may be dropped.
    fn words(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().enumerate().filter(|(_, part)| matches!(part.kind, Kind::Word(_))).map(|(at, _)| at)
    }

    /// The last word, if it may be the beginning of another. `None` where no words or phrases are searched for before it, or
    /// where nodes may see something else in it.
    pub fn open_last_word(&self, stop_words: &HashSet<String>) -> Option<OpenWord> {
        let (last, before) = self.parts.split_last()?;
        let word = self.query[last.range.clone()].to_lowercase();
        let is_term = |part: &&Part| matches!(part.kind, Kind::Word(_) | Kind::Phrase(_));
        let words_before = before.iter().filter(is_term).count() as u64;
        let is_open = self.tail().is_empty() && last.kind == Kind::Word(Split::Certain) && !stop_words.contains(&word);
        (is_open && words_before > 0).then_some(OpenWord { word, words_before, language: self.language })
    }

    fn is_certain(&self, part: usize) -> bool {
        self.parts[part].kind == Kind::Word(Split::Certain)
    }

    pub fn word_count(&self) -> usize {
        self.words().count()
    }

    /// For each word what counts the documents that have it. Those count too that have it written as one word with two neighbours
    /// at most. Where none stands before it, the strategy `last` finds just that in a query that goes on with the words that
    /// follow: the first word alone or written as one with others. Else the word is asked for with each row of neighbours that
    /// it may be written as one with: whoever has all words of a row, or as one some of them, has this word in it.
    pub fn count_queries(&self) -> Vec<CountQuery> {
        let query_of = |word: usize| {
            let rows = self.rows_with(word);
            if rows.iter().any(|row| row.start < word) {
                return CountQuery::Several(rows.iter().map(|row| self.text_of(row)).collect());
            }
            let split = if self.is_certain(word) { Split::Certain } else { Split::Uncertain };
            // The last row is the longest of those that begin with the word.
            CountQuery::One { query: rows.last().map(|row| self.text_of(row)).unwrap_or_default(), split }
        };
        self.words().map(query_of).collect()
    }

    /// The rows of neighbouring parts that have a word in them and may be written as one word; the word alone is one too.
    fn rows_with(&self, word: usize) -> Vec<Range<usize>> {
        let is_joinable = |row: &Range<usize>| row.len() == 1 || row.clone().all(|part| self.is_certain(part));
        let starts = word.saturating_sub(NGRAM_WORDS_MAX - 1)..=word;
        let ends = word + 1..=(word + NGRAM_WORDS_MAX).min(self.parts.len());
        let rows = starts.flat_map(|start| ends.clone().map(move |end| start..end));
        rows.filter(|row| row.len() <= NGRAM_WORDS_MAX).filter(is_joinable).collect()
    }

    /// A row of parts as the query has it. Only at the query's end the last word may be the beginning of another.
    fn text_of(&self, row: &Range<usize>) -> String {
        let (first, last) = (&self.parts[row.start], &self.parts[row.end - 1]);
        let tail = if row.end == self.parts.len() { self.tail() } else { " " };
        format!("{}{tail}", &self.query[first.range.start..last.range.end])
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

    /// All ways of dropping words, in the order of how many are dropped; the last one finds whatever is found.
    pub fn stages(&self, groups: &[Vec<usize>], counts: &[u64]) -> Vec<Stage> {
        let words: Vec<usize> = self.words().collect();
        let in_phrases = self.parts.iter().map(|part| if let Kind::Phrase(words) = part.kind { words } else { 0 });
        let max = 1 + in_phrases.sum::<usize>().saturating_sub(1) + groups.iter().map(Vec::len).sum::<usize>();
        let mut ways = ways_to_drop(groups, counts);
        if ways.len() > STAGES_MAX {
            ways = whole_groups(groups);
        }
        let stage = |way: &Vec<usize>| {
            let dropped = way.iter().map(|&word| words[word]).collect();
            Stage {
                query: self.with_fillers(&dropped),
                dropped: way.len(),
                matching: (max - way.len()) as u64,
                max: max as u64,
            }
        };
        ways.iter().map(stage).collect()
    }

    /// Searches whose matches under the strategy `all` together are whatever is found, the first one without words that are
    /// dropped. The others are for words that are never dropped, written as one with neighbours: those are not dropped then,
    /// whatever becomes of the neighbours by themselves.
    pub fn found_queries(&self, groups: &[Vec<usize>]) -> Vec<String> {
        let words: Vec<usize> = self.words().collect();
        let dropped: HashSet<usize> = groups.iter().flatten().map(|&word| words[word]).collect();
        let without_dropped = self.without(&dropped);
        let mut ways = BTreeSet::from([BTreeSet::new()]);
        for &kept in words.iter().filter(|part| !dropped.contains(part)) {
            let rows = self.rows_with(kept);
            let with_row = |way: &BTreeSet<usize>, row: &Range<usize>| way.iter().copied().chain(row.clone()).collect();
            ways = ways.iter().flat_map(|way| rows.iter().map(move |row| with_row(way, row))).collect();
            if ways.len() > FOUND_QUERIES_MAX {
                return vec![without_dropped];
            }
        }
        let of_way =
            |way: &BTreeSet<usize>| self.without(&words.iter().copied().filter(|part| !way.contains(part)).collect());
        let mut queries = vec![without_dropped];
        queries.extend(ways.iter().map(of_way).filter(|query| *query != queries[0]).collect::<Vec<_>>());
        queries
    }

    /// The query with something in place of some of its parts that no document has.
    fn with_fillers(&self, dropped: &HashSet<usize>) -> String {
        let mut out = String::new();
        let mut end = self.parts.first().map_or(0, |part| part.range.start);
        for (at, part) in self.parts.iter().enumerate() {
            out.push_str(&self.query[end..part.range.start]);
            out.push_str(if dropped.contains(&at) { FILLER } else { &self.query[part.range.clone()] });
            end = part.range.end;
        }
        // Nothing begins with the filler.
        let is_last_dropped = self.parts.len().checked_sub(1).is_some_and(|last| dropped.contains(&last));
        out.push_str(if is_last_dropped && self.tail().is_empty() { " " } else { self.tail() });
        out
    }

    /// The query without some of its parts; what remains keeps its order, and no words become neighbours.
    fn without(&self, dropped: &HashSet<usize>) -> String {
        let mut out = String::new();
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
        out.push_str(if gap { " " } else { self.tail() });
        out
    }
}

/// Splits a query in which no articles are joined to Arabic words.
fn parts_of(query: &str, stop_words: &HashSet<String>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut at = 0;
    let mut after_space = true;
    let mut minus = None;
    // Of the letters so far: where another script begins, Meilisearch splits, even within digits and letters.
    let mut script = None;
    while let Some(next) = query[at..].chars().next() {
        if next == '"' {
            let end = at + 1 + query[at + 1..].find('"')? + 1;
            parts.push(phrase(query, minus.take(), at..end, &mut script, stop_words)?);
            (at, after_space) = (end, false);
        } else if is_separator(next) {
            minus = (next == '-' && after_space).then_some(at);
            at += next.len_utf8();
            after_space = next == ' ';
        } else {
            let end = query[at..].find(|c| c == '"' || is_separator(c)).map_or(query.len(), |length| at + length);
            let split = split_of(&query[at..end], &mut script)?;
            let kind = match minus {
                Some(_) if split == Split::Certain => Kind::Negative,
                Some(_) => return None,
                // At the very end it may be the beginning of another word.
                None if end < query.len() && stop_words.contains(&query[at..end].to_lowercase()) => Kind::StopWord,
                None => Kind::Word(split),
            };
            parts.push(Part { range: minus.take().unwrap_or(at)..end, kind });
            (at, after_space) = (end, false);
        }
    }
    Some(parts)
}

/// A phrase between its quotes. `None` where it is not certain what Meilisearch makes of it: of one without words, and of one
/// whose words may be several.
fn phrase(
    query: &str,
    minus: Option<usize>,
    range: Range<usize>,
    script: &mut Option<Script>,
    stop_words: &HashSet<String>,
) -> Option<Part> {
    let mut words = 0;
    for word in query[range.clone()].split(|c: char| c == '"' || is_separator(c)).filter(|word| !word.is_empty()) {
        (split_of(word, script)? == Split::Certain).then_some(())?;
        words += usize::from(!stop_words.contains(&word.to_lowercase()));
    }
    (words > 0).then_some(())?;
    let kind = if minus.is_some() { Kind::Negative } else { Kind::Phrase(words) };
    Some(Part { range: minus.unwrap_or(range.start)..range.end, kind })
}

/// The sets of words that Meilisearch may drop, the smaller first. Going through the query from left to right, it drops a word
/// or not; once it has, it must drop those behind it that are in earlier groups. (Those before it may have stayed.) Sets that
/// keep a word that no document has are left out, but for the empty one: the words written as one may exist.
fn ways_to_drop(groups: &[Vec<usize>], counts: &[u64]) -> Vec<Vec<usize>> {
    let group_of = |word: usize| groups.iter().position(|group| group.contains(&word));
    let mut ways: Vec<Vec<usize>> = vec![Vec::new()];
    for word in 0..counts.len() {
        let Some(own) = group_of(word) else { continue };
        let mut next = Vec::with_capacity(ways.len() * 2);
        for way in ways {
            let must_go = way.iter().any(|&dropped| group_of(dropped) > Some(own));
            let with_word = way.iter().copied().chain([word]).collect();
            if !must_go {
                next.push(way);
            }
            next.push(with_word);
        }
        ways = next;
    }
    let missing = (0..counts.len()).filter(|&word| counts[word] == 0 && group_of(word).is_some());
    let missing: Vec<usize> = missing.collect();
    ways.retain(|way| way.is_empty() || missing.iter().all(|word| way.contains(word)));
    ways.sort_by_key(Vec::len);
    ways
}

/// The ways that drop one whole group after the other: those that find most.
fn whole_groups(groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
    (0..=groups.len()).map(|dropped| groups[..dropped].concat()).collect()
}

/// Whether no setting changes how texts are split into words.
pub fn splits_as_usual(settings: &Value) -> bool {
    let changes = ["separatorTokens", "nonSeparatorTokens", "dictionary", "localizedAttributes"];
    let is_set = |name: &str| settings.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    !changes.into_iter().any(is_set)
}

/// The words for which an index does not search, in lower case.
pub fn stop_words(settings: &Value) -> HashSet<String> {
    let stop_words = settings.get("stopWords").and_then(Value::as_array).into_iter().flatten();
    stop_words.filter_map(Value::as_str).map(str::to_lowercase).collect()
}

/// Characters that part words and of which nothing more needs to be known. Meilisearch knows many more.
fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\'' | '’' | '-' | '_' | ',' | '.' | ';' | ':' | '!' | '?' | '(' | ')' | '/')
        || matches!(c, '،' | '؛' | '؟' | '۔' | '\u{200C}')
}

/// What is known of a text without separators. One word is what has digits and letters of one script that has spaces between
/// words, and no capital behind a small letter. `None`: it has characters that may part words, or that Meilisearch leaves out.
fn split_of(text: &str, script_before: &mut Option<Script>) -> Option<Split> {
    let mut scripts = text.chars().filter(|c| !c.is_ascii_digit()).map(script_of).collect::<Option<Vec<_>>>()?;
    scripts.dedup();
    let [script] = scripts[..] else { return scripts.is_empty().then_some(Split::Certain) };
    let is_another = script_before.replace(script).is_some_and(|before| before != script);
    if is_another && text.starts_with(|c: char| c.is_ascii_digit()) || text.chars().all(arabic::is_mark) {
        return None;
    }
    let capital_inside =
        text.chars().zip(text.chars().skip(1)).any(|(c, next)| c.is_lowercase() && next.is_uppercase());
    Some(if script == Script::Other || capital_inside { Split::Uncertain } else { Split::Certain })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Georgian,
    Arabic,
    Other,
}

/// The script of a letter or of a mark on it; `None` for signs, and for blocks that have some.
fn script_of(c: char) -> Option<Script> {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{C0}'..='\u{2AF}' | '\u{1E00}'..='\u{1EFF}' => {
            c.is_alphabetic().then_some(Script::Latin)
        }
        '\u{370}'..='\u{3FF}' | '\u{1F00}'..='\u{1FFF}' => c.is_alphabetic().then_some(Script::Greek),
        '\u{400}'..='\u{52F}' => c.is_alphabetic().then_some(Script::Cyrillic),
        '\u{531}'..='\u{587}' => c.is_alphabetic().then_some(Script::Armenian),
        '\u{10A0}'..='\u{10FF}' => c.is_alphabetic().then_some(Script::Georgian),
        _ if arabic::is_letter(c) || arabic::is_mark(c) => Some(Script::Arabic),
        // Marks are no letters to Rust, and in these blocks there is more of them than of signs.
        '\u{590}'..='\u{1FFF}' | '\u{3040}'..='\u{D7FF}' if !c.is_numeric() => Some(Script::Other),
        _ => None,
    }
}

#[cfg(test)]
#[path = "query_words_tests.rs"]
mod tests;
