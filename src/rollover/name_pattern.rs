//! What the indexes of a series are called: a name with a date in it, and a counter where one period has several.
//!
//! `logs-{YYYY-MM-DD}` makes `logs-2026-11-27`, then `logs-2026-11-27-000002`. The counter has six digits, so that names sort by age and
//! no counter looks like a part of a date: `logs-2026-11` of a monthly series is never the eleventh index of a yearly one.

use serde::{Deserialize, Serialize};
use time::{Date, Duration, Month, OffsetDateTime, Time};

use crate::cluster::IndexUid;

/// Digits of a counter, after its hyphen.
const COUNTER_DIGITS: usize = 6;
const COUNTER_MAX: u32 = 999_999;
/// Names of one period that are passed over because something else has them; more of them is no accident.
const TAKEN_NAMES_MAX: u32 = 1_000;

/// A part of a date, from the coarsest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
}

/// As they are written in a pattern, which is also how many digits they have.
const FIELDS: [(Field, &str); 4] =
    [(Field::Year, "YYYY"), (Field::Month, "MM"), (Field::Day, "DD"), (Field::Hour, "HH")];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Date(Field),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{0}` is opened or closed without its counterpart")]
    Unbalanced(char),
    #[error("`{{{0}}}` is not made of `YYYY`, `MM`, `DD`, `HH`, `-` and `_`")]
    UnknownField(String),
    #[error("a name has a date, from the year on and without gaps: `{{YYYY}}`, then `{{MM}}`, `{{DD}}` and `{{HH}}` as needed")]
    Order,
    #[error("`{0}`, as it would be, is no name of an index")]
    NoName(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    text: String,
    parts: Vec<Part>,
}

/// Where in its series a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Beginning of its period, in UTC.
    begins_at: OffsetDateTime,
    /// From 1, which is not written.
    counter: u32,
}

impl NamePattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if before.contains('}') {
                return Err(PatternError::Unbalanced('}'));
            }
            push_text(&mut parts, before);
            let (group, after) = after.split_once('}').ok_or(PatternError::Unbalanced('{'))?;
            read_group(&mut parts, group)?;
            rest = after;
        }
        if rest.contains('}') {
            return Err(PatternError::Unbalanced('}'));
        }
        push_text(&mut parts, rest);
        let fields = parts.iter().filter_map(|part| match part {
            Part::Date(field) => Some(*field),
            Part::Text(_) => None,
        });
        let fields: Vec<Field> = fields.collect();
        let in_order = fields.iter().zip(FIELDS).all(|(field, (expected, _))| *field == expected);
        if fields.is_empty() || fields.len() > FIELDS.len() || !in_order {
            return Err(PatternError::Order);
        }
        let pattern = Self { text: text.to_owned(), parts };
        let longest = with_counter(pattern.stem(OffsetDateTime::UNIX_EPOCH), COUNTER_MAX);
        IndexUid::parse(&longest).map_err(|_| PatternError::NoName(longest))?;
        Ok(pattern)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name that follows `last`, the newest of the series, at `now`. `None` if all of the period's are taken.
    ///
    /// Within a period counters only grow, also when the indexes that had the lower ones are gone.
    pub fn next(
        &self,
        last: Option<&IndexUid>,
        now: OffsetDateTime,
        is_taken: impl Fn(&IndexUid) -> bool,
    ) -> Option<IndexUid> {
        let stem = self.stem(now);
        let place = last.and_then(|last| self.place(last.as_str()));
        let is_same_period = place.is_some_and(|place| self.stem(place.begins_at) == stem);
        let first = if is_same_period { place.map_or(1, |place| place.counter + 1) } else { 1 };
        let last = first.saturating_add(TAKEN_NAMES_MAX).min(COUNTER_MAX);
        let mut names = (first..=last).filter_map(|counter| IndexUid::parse(&with_counter(stem.clone(), counter)).ok());
        names.find(|name| !is_taken(name))
    }

    /// End of the period that `name` states, if it is one of this pattern's.
    pub fn end_of(&self, name: &str) -> Option<OffsetDateTime> {
        let begins_at = self.place(name)?.begins_at;
        let finest = self.parts.iter().rev().find_map(|part| match part {
            Part::Date(field) => Some(*field),
            Part::Text(_) => None,
        });
        match finest? {
            Field::Hour => begins_at.checked_add(Duration::HOUR),
            Field::Day => begins_at.checked_add(Duration::DAY),
            Field::Month if begins_at.month() == Month::December => begins_of_year(begins_at.year() + 1),
            Field::Month => begins_at.replace_month(begins_at.month().next()).ok(),
            Field::Year => begins_of_year(begins_at.year() + 1),
        }
    }

    /// Whether some name could be of both. It may be said of names that no date makes.
    pub fn overlaps(&self, other: &Self) -> bool {
        let counted = |shape: &[Option<u8>]| -> Vec<Option<u8>> {
            let counter = std::iter::once(Some(b'-')).chain([None; COUNTER_DIGITS]);
            shape.iter().copied().chain(counter).collect()
        };
        let (own, others) = (self.shape(), other.shape());
        are_alike(&own, &others) || are_alike(&counted(&own), &others) || are_alike(&own, &counted(&others))
    }

    /// The name without a counter.
    fn stem(&self, at: OffsetDateTime) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Date(Field::Year) => format!("{:04}", at.year()),
            Part::Date(Field::Month) => format!("{:02}", u8::from(at.month())),
            Part::Date(Field::Day) => format!("{:02}", at.day()),
            Part::Date(Field::Hour) => format!("{:02}", at.hour()),
        };
        self.parts.iter().map(part).collect()
    }

    fn place(&self, name: &str) -> Option<Place> {
        let (mut year, mut month, mut day, mut hour) = (0, 1, 1, 0);
        let mut rest = name;
        for part in &self.parts {
            rest = match part {
                Part::Text(text) => rest.strip_prefix(text.as_str())?,
                Part::Date(Field::Year) => digits(rest, 4, |n| year = n as i32)?,
                Part::Date(Field::Month) => digits(rest, 2, |n| month = n as u8)?,
                Part::Date(Field::Day) => digits(rest, 2, |n| day = n as u8)?,
                Part::Date(Field::Hour) => digits(rest, 2, |n| hour = n as u8)?,
            };
        }
        let mut counter = 1;
        if !rest.is_empty() {
            rest = digits(rest.strip_prefix('-')?, COUNTER_DIGITS, |n| counter = n)?;
            if !rest.is_empty() || counter < 2 {
                return None;
            }
        }
        let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
        Some(Place { begins_at: date.with_time(Time::from_hms(hour, 0, 0).ok()?).assume_utc(), counter })
    }

    /// Each byte of a name without a counter; `None` for any digit.
    fn shape(&self) -> Vec<Option<u8>> {
        let bytes = self.parts.iter().flat_map(|part| match part {
            Part::Text(text) => text.bytes().map(Some).collect::<Vec<_>>(),
            Part::Date(Field::Year) => vec![None; 4],
            Part::Date(_) => vec![None; 2],
        });
        bytes.collect()
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// What stands between braces.
fn read_group(parts: &mut Vec<Part>, group: &str) -> Result<(), PatternError> {
    let mut rest = group;
    while !rest.is_empty() {
        let field = FIELDS.iter().find_map(|(field, text)| Some((*field, rest.strip_prefix(text)?)));
        if let Some((field, after)) = field {
            parts.push(Part::Date(field));
            rest = after;
        } else if let Some(after) = rest.strip_prefix(['-', '_']) {
            push_text(parts, &rest[..1]);
            rest = after;
        } else {
            return Err(PatternError::UnknownField(group.to_owned()));
        }
    }
    Ok(())
}

fn with_counter(stem: String, counter: u32) -> String {
    match counter {
        1 => stem,
        _ => format!("{stem}-{counter:0width$}", width = COUNTER_DIGITS),
    }
}

/// Takes `count` digits off `text`.
fn digits(text: &str, count: usize, mut take: impl FnMut(u32)) -> Option<&str> {
    let (number, rest) = text.split_at_checked(count)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    take(number.parse().ok()?);
    Some(rest)
}

fn begins_of_year(year: i32) -> Option<OffsetDateTime> {
    Some(Date::from_calendar_date(year, Month::January, 1).ok()?.midnight().assume_utc())
}

fn are_alike(one: &[Option<u8>], other: &[Option<u8>]) -> bool {
    let is_alike = |(one, other): (&Option<u8>, &Option<u8>)| match (one, other) {
        (None, None) => true,
        (Some(byte), None) | (None, Some(byte)) => byte.is_ascii_digit(),
        (Some(one), Some(other)) => one == other,
    };
    one.len() == other.len() && one.iter().zip(other).all(is_alike)
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 09:30 UTC);

    fn pattern(text: &str) -> NamePattern {
        NamePattern::parse(text).unwrap()
    }

    fn next(text: &str, last: Option<&str>, taken: &[&str]) -> String {
        let last = last.map(|last| IndexUid::parse(last).unwrap());
        let name = pattern(text).next(last.as_ref(), NOW, |name| taken.contains(&name.as_str()));
        name.expect("a name").as_str().to_owned()
    }

    #[test]
    fn a_name_has_the_date_and_a_counter_where_a_period_has_several() {
        assert_eq!(next("logs-{YYYY-MM-DD}", None, &[]), "logs-2026-11-27");
        assert_eq!(next("logs-{YYYY-MM-DD}", Some("logs-2026-11-26-000007"), &[]), "logs-2026-11-27");
        assert_eq!(next("logs-{YYYY-MM-DD}", Some("logs-2026-11-27"), &[]), "logs-2026-11-27-000002");
        assert_eq!(next("logs-{YYYY-MM-DD}", Some("logs-2026-11-27-000002"), &[]), "logs-2026-11-27-000003");
        assert_eq!(next("{YYYY}{MM}-m", Some("anything"), &[]), "202611-m");
        assert_eq!(next("h_{YYYY_MM}_{DDHH}", None, &[]), "h_2026_11_2709");
        assert_eq!(next("logs-{YYYY}", None, &["logs-2026", "logs-2026-000002"]), "logs-2026-000003");
    }

    #[test]
    fn a_name_is_never_given_again_within_its_period() {
        // The indexes before the last have been deleted.
        let mut last = next("l-{YYYY}", None, &[]);
        for n in 2..20 {
            last = next("l-{YYYY}", Some(&last), &[]);
            assert_eq!(last, format!("l-2026-{n:06}"));
        }
    }

    #[test]
    fn a_name_states_when_its_period_ends() {
        let end = |text: &str, name: &str| pattern(text).end_of(name);
        assert_eq!(end("l-{YYYY-MM-DD}", "l-2026-12-31"), Some(datetime!(2027-01-01 00:00 UTC)));
        assert_eq!(end("l-{YYYY-MM-DD}", "l-2026-12-31-000002"), Some(datetime!(2027-01-01 00:00 UTC)));
        assert_eq!(end("l-{YYYY}-{MM}", "l-2026-12"), Some(datetime!(2027-01-01 00:00 UTC)));
        assert_eq!(end("l-{YYYY}-{MM}", "l-2026-01"), Some(datetime!(2026-02-01 00:00 UTC)));
        assert_eq!(end("l-{YYYY}", "l-2026"), Some(datetime!(2027-01-01 00:00 UTC)));
        assert_eq!(end("l-{YYYYMMDDHH}", "l-2026112723"), Some(datetime!(2026-11-28 00:00 UTC)));
        for other in ["l-2026-13-01", "l-2026-12-31-2", "l-2026-12-31-000001", "l-2026-12-3", "m-2026-12-31", "é-é"] {
            assert_eq!(end("l-{YYYY-MM-DD}", other), None, "{other}");
        }
    }

    #[test]
    fn patterns_that_make_no_names_say_why() {
        for (text, why) in [
            ("logs", "a name has a date"),
            ("logs-{}", "a name has a date"),
            ("logs-{MM}", "a name has a date"),
            ("logs-{YYYY}-{DD}", "a name has a date"),
            ("logs-{YYYY}-{YYYY}", "a name has a date"),
            ("{YYYYMMDDHH}{YYYY}", "a name has a date"),
            ("logs-{YYYY", "`{` is opened"),
            ("logs-}{YYYY}", "`}` is opened"),
            ("logs-{YYYY}}", "`}` is opened"),
            ("logs-{YYYY.MM}", "`{YYYY.MM}` is not made"),
            ("logs.{YYYY}", "`logs.1970-999999`, as it would be"),
        ] {
            let error = NamePattern::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
        let longest = format!("{}{{YYYY}}", "a".repeat(389));
        assert!(NamePattern::parse(&longest).is_ok(), "400 bytes with its counter");
        assert!(NamePattern::parse(&format!("a{longest}")).is_err());
    }

    #[test]
    fn series_that_could_share_a_name_are_known() {
        let overlap = |one: &str, other: &str| {
            let answers = [pattern(one).overlaps(&pattern(other)), pattern(other).overlaps(&pattern(one))];
            assert_eq!(answers[0], answers[1]);
            answers[0]
        };
        assert!(overlap("l-{YYYY}", "l-{YYYY}"));
        assert!(overlap("l-{YYYY}-{MM}", "l-{YYYY-MM}"));
        assert!(overlap("l-20{YYYY}", "l-{YYYY}{MM}"));
        assert!(overlap("l-{YYYY}", "l-{YYYY}-{MM}0001"), "a counter can be read in it");
        assert!(!overlap("l-{YYYY}", "m-{YYYY}"));
        assert!(!overlap("l-{YYYY}", "l-{YYYY-MM}"));
        assert!(!overlap("l-{YYYY-MM}", "l-{YYYY-MM-DD}"));
    }
}
