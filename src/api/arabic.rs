//! How Meilisearch reads Arabic words: it splits their article off, and takes letters for each other, as it finds proper for the
//! language that it takes the text for. That is a guess from all of a text between letters of other scripts, so that a part of
//! a query may be read otherwise than the whole, unless the language is named.

use std::borrow::Cow;
use std::ops::Range;

use whatlang::Lang;

/// A query in which each article is a word of its own.
#[derive(Debug)]
pub struct Reading<'q> {
    pub query: Cow<'q, str>,
    /// What Meilisearch takes its Arabic words for, as `locales` has it; `None` where it has none.
    pub language: Option<&'static str>,
}

/// The letters that Meilisearch takes for an article at the beginning of a longer word.
const ARTICLES: [&str; 5] = ["ال", "أل", "إل", "آل", "ٱل"];

/// Reads a query's Arabic words. `None` where it has some that Meilisearch takes for several languages, or would split again if
/// it was asked for a part of the query.
pub fn read<'q>(query: &'q str, is_separator: impl Fn(char) -> bool) -> Option<Reading<'q>> {
    let groups = groups(query);
    let mut languages = groups.iter().map(|group| whatlang::detect_lang(&query[group.clone()]));
    let Some(first) = languages.next() else { return Some(Reading { query: Cow::Borrowed(query), language: None }) };
    if languages.any(|language| language != first) {
        return None;
    }
    // For Urdu there is no rule to split words by.
    let has_articles = matches!(first?, Lang::Ara | Lang::Pes);
    let query = if has_articles { without_joined_articles(query, is_separator)? } else { Cow::Borrowed(query) };
    Some(Reading { query, language: Some(first?.code()) })
}

/// Whether a character belongs to Arabic texts, be it letter, mark, digit or sign.
pub fn is_arabic(c: char) -> bool {
    matches!(
        c,
        '\u{600}'..='\u{6FF}' | '\u{750}'..='\u{7FF}' | '\u{8A0}'..='\u{8FF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFF}'
    )
}

/// The letters of Arabic, Persian and Urdu, without signs, digits, and the mark that only makes a word longer.
pub fn is_letter(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{63F}' | '\u{641}'..='\u{64A}' | '\u{66E}' | '\u{66F}' | '\u{671}'..='\u{6D3}')
}

/// Vowels and the like, which Meilisearch leaves out.
pub fn is_mark(c: char) -> bool {
    matches!(c, '\u{64B}'..='\u{65F}' | '\u{670}')
}

/// The stretches of the query that are Arabic: what is of no script belongs to what stands before it, or else behind it.
fn groups(query: &str) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut in_arabic = None;
    for (at, c) in query.char_indices() {
        let is_arabic = is_arabic(c);
        if is_arabic && in_arabic != Some(true) {
            groups.push(if in_arabic.is_none() { 0..query.len() } else { at..query.len() });
            in_arabic = Some(true);
        } else if !is_arabic && c.is_alphabetic() {
            if let (Some(true), Some(group)) = (in_arabic, groups.last_mut()) {
                group.end = at;
            }
            in_arabic = Some(false);
        }
    }
    groups
}

/// The query with a space behind each article, which changes nothing of how it is read. `None` where what then begins a word
/// looks like an article again.
fn without_joined_articles(query: &str, is_separator: impl Fn(char) -> bool) -> Option<Cow<'_, str>> {
    let mut parted = String::new();
    let mut done = 0;
    let mut word_begins = true;
    for (at, c) in query.char_indices() {
        if word_begins {
            if let Some(rest) = behind_article(&query[at..], &is_separator) {
                let seam = query.len() - rest.len();
                if behind_article(rest, &is_separator).is_some() {
                    return None;
                }
                parted.push_str(&query[done..seam]);
                parted.push(' ');
                done = seam;
            }
        }
        word_begins = c == '"' || is_separator(c);
    }
    if done == 0 {
        return Some(Cow::Borrowed(query));
    }
    parted.push_str(&query[done..]);
    Some(Cow::Owned(parted))
}

/// What follows an article and belongs to the same word.
fn behind_article(text: &str, is_separator: impl Fn(char) -> bool) -> Option<&str> {
    let rest = ARTICLES.iter().find_map(|article| text.strip_prefix(article))?;
    let goes_on = rest.chars().next().is_some_and(|c| c != '"' && !is_separator(c));
    goes_on.then_some(rest)
}
