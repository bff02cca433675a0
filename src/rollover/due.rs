//! What retention ends.

use time::{Duration, OffsetDateTime};

use super::{Doomed, NamePattern};
use crate::cluster::IndexUid;

/// Most indexes that one check takes out of one series; the next check goes on.
const ENDED_MAX: usize = 10;

/// What an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSize {
    /// Each counted once, whatever the copies. No more than there are, where a shard cannot be counted.
    pub documents: u64,
    /// Of one copy of all documents.
    pub bytes: u64,
}

/// An index of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub index: IndexUid,
    pub created_at: OffsetDateTime,
}

/// Those of `series` (the oldest first) that are more than `keep` and that the safety lock lets go, at `now`.
///
/// The lock holds an index that is newer than `lock`, by its creation or by the end of the period that its name states, whichever is
/// later: neither an old index that was brought here yesterday nor one that was made ahead of its time is deleted for being old.
pub fn ended(
    series: &[Member],
    pattern: &NamePattern,
    keep: usize,
    lock: Duration,
    now: OffsetDateTime,
) -> Vec<Doomed> {
    let is_locked = |member: &Member| {
        let since = pattern.end_of(member.index.as_str()).map_or(member.created_at, |end| end.max(member.created_at));
        now - since < lock
    };
    let surplus = &series[..series.len().saturating_sub(keep.max(1))];
    // Of today's indexes the period has not ended; without a lock that keeps none.
    let let_go = surplus.iter().filter(|member| lock.is_zero() || !is_locked(member)).take(ENDED_MAX);
    let_go.map(|member| Doomed { index: member.index.clone(), created_at: member.created_at }).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn series(members: &[(&str, OffsetDateTime)]) -> Vec<Member> {
        let member = |(index, created_at): &(&str, OffsetDateTime)| Member {
            index: IndexUid::parse(index).unwrap(),
            created_at: *created_at,
        };
        members.iter().map(member).collect()
    }

    fn ended_of(series: &[Member], keep: usize, lock_days: i64) -> Vec<String> {
        let pattern = NamePattern::parse("l-{YYYY-MM-DD}").unwrap();
        let ended = ended(series, &pattern, keep, Duration::days(lock_days), NOW);
        ended.iter().map(|doomed| doomed.index.as_str().to_owned()).collect()
    }

    #[test]
    fn the_oldest_beyond_those_kept_end_once_they_are_older_than_the_lock() {
        let series = series(&[
            ("l-2026-11-18", datetime!(2026-11-18 12:00 UTC)),
            ("l-2026-11-19", datetime!(2026-11-19 12:00 UTC)),
            ("l-2026-11-20", datetime!(2026-11-20 12:00 UTC)),
            ("l-2026-11-26", datetime!(2026-11-26 12:00 UTC)),
            ("l-2026-11-27", datetime!(2026-11-27 00:00 UTC)),
        ]);
        // The 20th's period ended twelve hours less than seven days ago.
        assert_eq!(ended_of(&series, 1, 7), ["l-2026-11-18", "l-2026-11-19"]);
        assert_eq!(ended_of(&series, 4, 7), ["l-2026-11-18"]);
        assert_eq!(ended_of(&series, 5, 7), [""; 0]);
        assert_eq!(ended_of(&series, 1, 0).len(), 4, "the newest is written, and stays whatever is asked");
        assert_eq!(ended_of(&series, 0, 0).len(), 4);
        assert_eq!(ended_of(&[], 1, 0), [""; 0]);
    }

    #[test]
    fn the_lock_holds_what_is_new_by_its_creation_or_by_its_name() {
        let series = series(&[
            ("l-2020-01-01", datetime!(2026-11-26 12:00 UTC)),
            ("l-2026-12-24", datetime!(2020-01-01 12:00 UTC)),
            ("older-times", datetime!(2026-11-20 12:00 UTC)),
            ("newer-times", datetime!(2026-11-20 12:01 UTC)),
            ("l-2026-11-27", NOW),
        ]);
        assert_eq!(ended_of(&series, 1, 7), ["older-times"], "to the second seven days old, and named by no period");
    }

    #[test]
    fn one_check_ends_few() {
        let series: Vec<Member> =
            (0..50).flat_map(|n| series(&[(&format!("i{n}"), datetime!(2020-01-01 0:00 UTC))])).collect();
        let ended = ended_of(&series, 1, 7);
        assert_eq!((ended.len(), ended[0].as_str()), (ENDED_MAX, "i0"));
    }
}
