//! Which shards can hold what a filter matches.
//!
//! A filter that forces the primary key to known values matches documents of their shards only, so no others need be asked.
//! A value of a filter does not name one document, though. Meilisearch compares strings without regard to case and to how
//! accents are composed (both sides are trimmed, decomposed by NFKD, and put in lower case), and reads a value that is a
//! number as one, too: `id = "ABC"` also finds `abc`, and `id = 7.0` finds the document whose id is the number 7. So each
//! value stands for all ids that it may find ([`ids_found_by`]), and only where they are few is anything gained.
//!
//! Narrowing must never change a result. Whatever is not certain does not narrow.

use super::{Condition, Filter};
use crate::cluster::{Shard, ShardSet};

/// Most values that a filter may force the primary key to; the specification's limit.
pub const VALUES_MAX: usize = 128;
/// Most ids that the values of one filter may stand for. Each is hashed, which takes tens of nanoseconds; and in a usual index
/// of 64 shards so many are everywhere.
pub const IDS_MAX: usize = 1_024;
/// Longest value that is compared as a whole: of longer ids Meilisearch keeps only the first 468 bytes.
const COMPARED_LENGTH_MAX: usize = 467;

/// What a filter says of the shards.
#[derive(Clone, Debug, PartialEq)]
pub enum Narrowing {
    /// What it matches is in these shards, if anywhere.
    Shards {
        shards: ShardSet,
        /// Number of values that the filter names.
        values: usize,
    },
    /// It may match documents of any shard.
    No(Reason),
}

/// Why all shards must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NoFilter,
    /// The index has no documents yet, and so no primary key.
    NoPrimaryKey,
    /// Meilisearch will refuse it.
    Unreadable,
    /// It also matches documents with other keys: it does not name the key, or only as an alternative, a negation or a range.
    KeyNotForced,
    TooManyValues,
    /// Ids of so many spellings are found by its values.
    TooManyIds,
}

impl Reason {
    /// A name for metrics and for `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoFilter => "no_filter",
            Reason::NoPrimaryKey => "no_primary_key",
            Reason::Unreadable => "unreadable_filter",
            Reason::KeyNotForced => "key_not_forced",
            Reason::TooManyValues => "too_many_values",
            Reason::TooManyIds => "too_many_ids",
        }
    }
}

/// The shards of an index with `shard_count` of them in which a filter can match.
pub fn narrow(filter: &Filter, primary_key: &str, shard_count: u32) -> Narrowing {
    Narrower { primary_key, shard_count, ids_left: IDS_MAX }.narrow(filter)
}

struct Narrower<'f> {
    primary_key: &'f str,
    shard_count: u32,
    ids_left: usize,
}

impl Narrower<'_> {
    fn narrow(&mut self, filter: &Filter) -> Narrowing {
        match filter {
            Filter::Condition { attribute, condition: Condition::Equal(value) }
                if attribute.name == self.primary_key =>
            {
                self.shards_of([value.as_str()].into_iter())
            }
            Filter::In { attribute, values } if attribute.name == self.primary_key => {
                self.shards_of(values.iter().map(String::as_str))
            }
            Filter::And(operands) => self.all_of(operands),
            Filter::Or(operands) => self.any_of(operands),
            _ => Narrowing::No(Reason::KeyNotForced),
        }
    }

    /// One operand that narrows is enough; several leave what they have in common.
    fn all_of(&mut self, operands: &[Filter]) -> Narrowing {
        let mut narrowed = Narrowing::No(Reason::KeyNotForced);
        for operand in operands {
            narrowed = match (narrowed, self.narrow(operand)) {
                (Narrowing::Shards { shards, values }, Narrowing::Shards { shards: others, values: more }) => {
                    let common = shards.iter().filter(|shard| others.contains(*shard)).collect();
                    Narrowing::Shards { shards: common, values: values.min(more) }
                }
                (narrowed @ Narrowing::Shards { .. }, Narrowing::No(_)) => narrowed,
                (Narrowing::No(Reason::KeyNotForced), next) => next,
                (Narrowing::No(_), narrowed @ Narrowing::Shards { .. }) => narrowed,
                (narrowed, Narrowing::No(_)) => narrowed,
            };
        }
        narrowed
    }

    /// Narrows only if every alternative does.
    fn any_of(&mut self, operands: &[Filter]) -> Narrowing {
        let mut all = ShardSet::default();
        let mut count = 0;
        for operand in operands {
            match self.narrow(operand) {
                Narrowing::Shards { shards, values } => {
                    all.extend(&shards);
                    count += values;
                }
                no => return no,
            }
        }
        match count {
            0..=VALUES_MAX => Narrowing::Shards { shards: all, values: count },
            _ => Narrowing::No(Reason::TooManyValues),
        }
    }

    fn shards_of<'v>(&mut self, values: impl ExactSizeIterator<Item = &'v str>) -> Narrowing {
        let count = values.len();
        if count > VALUES_MAX {
            return Narrowing::No(Reason::TooManyValues);
        }
        let mut shards = ShardSet::default();
        for value in values {
            let Some(ids) = ids_found_by(value, self.ids_left) else { return Narrowing::No(Reason::TooManyIds) };
            self.ids_left -= ids.len();
            shards.extend(&ids.iter().map(|id| Shard::of_key(id, self.shard_count)).collect());
        }
        Narrowing::Shards { shards, values: count }
    }
}

/// All ids, in canonical form, of documents that Meilisearch may find by `primary key = value`; `None` if they are more than
/// `max`, or not known for certain.
///
/// Ids are integers, or strings of ASCII letters, digits, `-` and `_`.
pub fn ids_found_by(value: &str, max: usize) -> Option<Vec<String>> {
    // What Unicode beyond ASCII decomposes to is left to the nodes' version of it.
    if !value.is_ascii() || value.len() > COMPARED_LENGTH_MAX {
        return None;
    }
    let mut ids = Vec::new();
    let folded = value.trim().to_ascii_lowercase();
    let is_in_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !folded.is_empty() && folded.bytes().all(is_in_id) {
        push_spellings(folded, max, &mut ids)?;
    }
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number.fract() == 0.0 => push_integers(number, max, &mut ids)?,
        _ => {}
    }
    Some(ids)
}

/// Adds a string in all its spellings with small and capital letters.
fn push_spellings(folded: String, max: usize, ids: &mut Vec<String>) -> Option<()> {
    let letters: Vec<usize> = (0..folded.len()).filter(|&at| folded.as_bytes()[at].is_ascii_lowercase()).collect();
    let spellings = 1usize.checked_shl(letters.len() as u32).filter(|&count| count <= max)?;
    for capitals in 0..spellings {
        let mut spelling = folded.clone();
        for (n, &at) in letters.iter().enumerate() {
            if capitals & (1 << n) != 0 {
                spelling[at..=at].make_ascii_uppercase();
            }
        }
        ids.push(spelling);
    }
    Some(())
}

/// Adds all integers that are this number when they are written as a floating-point number, as Meilisearch keeps them. From
/// 2^53 on, several are one.
fn push_integers(number: f64, max: usize, ids: &mut Vec<String>) -> Option<()> {
    const SMALLEST: i128 = i64::MIN as i128;
    const LARGEST: i128 = u64::MAX as i128;
    let is_same = |integer: &i128| (SMALLEST..=LARGEST).contains(integer) && *integer as f64 == number;
    // The largest id is written as a number that is larger by one.
    let nearest = (number as i128).clamp(SMALLEST, LARGEST);
    let below = (0..).map(|distance| nearest - distance).take_while(is_same);
    let above = (1..).map(|distance| nearest + distance).take_while(is_same);
    for integer in below.chain(above) {
        let id = integer.to_string();
        if ids.contains(&id) {
            continue;
        }
        if ids.len() >= max {
            return None;
        }
        ids.push(id);
    }
    Some(())
}
