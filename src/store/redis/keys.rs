//! Names of keys, and what a task's filterable members look like in columns.
//!
//! All keys begin with the same hash tag, `{name}:`, so that on a cluster they are on one node and scripts may touch several:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `schema` | string | version of this layout |
//! | `indexes` | hash | index uid → record |
//! | `aliases` | hash | alias → record |
//! | `configuration` | hash | name → JSON |
//! | `next_task` | string | the next task's number |
//! | `tasks` | hash | task uid → record; the uid inside the record is not used |
//! | `blocks` | hash | block of 65,536 uids → number of tasks in it |
//! | `status:B`, `kind:B`, ... | string | a column of block B: one fixed width for each uid (see [`Column`]) |
//! | `followed` | sorted set | uids of followed tasks, by uid |
//! | `ended` | sorted set | uids of tasks that are finished and no longer followed, by end |
//! | `idempotency` | hash | key → digest and task uid |
//! | `idempotency_age` | sorted set | keys by time of use |
//! | `idempotency_of` | hash | task uid → key |
//! | `payloads` | hash | payload id → its steps |
//! | `payload:ID:STEP` | hash | `n:shard:length` → bytes, n counting from 0 in the order in which parts were added |
//! | `stale` | set | `node/index/shard` |
//! | `api_keys` | hash | uid → record |
//! | `admin_sessions` | hash | digest → record |
//! | `webhooks` | hash | uid → record |
//! | `session:ID` | hash | what one process has to know of writes whose answers it missed; expires |

use time::OffsetDateTime;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::{IndexUid, Shard};
use crate::store::StoreError;
use crate::tasks::{Task, TaskKind, TaskStatus};

/// Layout that this program reads and writes.
pub const VERSION: i64 = 1;

/// Uids of one block; the scripts have the same number. A column of a block is then 64 to 512 KB: few keys for millions of
/// tasks, and small enough to come and go with the tasks in it.
pub const BLOCK: u32 = 65_536;

/// What tasks are filtered by. A list reads the columns that its filter names and no others: among 100,000 tasks a few
/// hundred kilobytes, gone through in less than a millisecond, whatever the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// One byte; 0 where there is no task.
    Status,
    /// Four bytes of a hash of the name, so that the order of types may change.
    Kind,
    /// Eight bytes of a hash of the uid; zeros for none. The records on a page tell the rare double.
    Index,
    /// Four bytes, one more than the uid; zeros for none.
    CanceledBy,
    /// Eight bytes each, nanoseconds since the year 1677; zeros for none.
    EnqueuedAt,
    StartedAt,
    FinishedAt,
}

impl Column {
    pub const ALL: [Column; 7] = [
        Column::Status,
        Column::Kind,
        Column::Index,
        Column::CanceledBy,
        Column::EnqueuedAt,
        Column::StartedAt,
        Column::FinishedAt,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Column::Status => "status",
            Column::Kind => "kind",
            Column::Index => "index",
            Column::CanceledBy => "canceled_by",
            Column::EnqueuedAt => "enqueued_at",
            Column::StartedAt => "started_at",
            Column::FinishedAt => "finished_at",
        }
    }

    /// The task's value in this column.
    pub fn value(self, task: &Task) -> Vec<u8> {
        match self {
            Column::Status => vec![status_code(task.status)],
            Column::Kind => kind_code(task.kind).to_vec(),
            Column::Index => task.index_uid.as_ref().map(index_code).unwrap_or_default().to_vec(),
            Column::CanceledBy => task.canceled_by.map(|uid| canceled_by_code(uid.0)).unwrap_or_default().to_vec(),
            Column::EnqueuedAt => time_code(task.enqueued_at).to_vec(),
            Column::StartedAt => task.started_at.map(time_code).unwrap_or_default().to_vec(),
            Column::FinishedAt => task.finished_at.map(time_code).unwrap_or_default().to_vec(),
        }
    }
}

/// Stands in the store: never changes.
pub const fn status_code(status: TaskStatus) -> u8 {
    match status {
        TaskStatus::Enqueued => b'e',
        TaskStatus::Processing => b'p',
        TaskStatus::Succeeded => b's',
        TaskStatus::Failed => b'f',
        TaskStatus::Canceled => b'c',
    }
}

pub fn kind_code(kind: TaskKind) -> [u8; 4] {
    (xxh3_64(kind.name().as_bytes()) as u32).to_be_bytes()
}

pub fn index_code(uid: &IndexUid) -> [u8; 8] {
    xxh3_64(uid.as_str().as_bytes()).to_be_bytes()
}

pub fn canceled_by_code(uid: u32) -> [u8; 4] {
    uid.wrapping_add(1).to_be_bytes()
}

/// In the order of times when compared as bytes. Times beyond the years 1677 to 2262 become the nearest that fits.
pub fn time_code(time: OffsetDateTime) -> [u8; 8] {
    let nanos = time.unix_timestamp_nanos().clamp(i128::from(i64::MIN) + 1, i128::from(i64::MAX)) as i64;
    (nanos as u64 ^ (1 << 63)).to_be_bytes()
}

/// A time as the score of a sorted set: whole microseconds, which a double holds until the year 2255.
pub fn score(time: OffsetDateTime) -> String {
    time.unix_timestamp_nanos().div_euclid(1_000).to_string()
}

/// Field of a payload's part, but for its number and length.
pub fn shard_field(shard: Option<Shard>) -> String {
    shard.map_or_else(|| "-".to_owned(), |shard| shard.0.to_string())
}

/// Field of a payload's part, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartField {
    pub n: u64,
    pub shard: Option<Shard>,
    pub bytes: usize,
}

impl PartField {
    pub fn parse(field: &str) -> Result<Self, StoreError> {
        let parsed = || {
            let mut members = field.split(':');
            let (n, shard, bytes) = (members.next()?, members.next()?, members.next()?);
            let shard = if shard == "-" { None } else { Some(Shard(shard.parse().ok()?)) };
            Some(Self { n: n.parse().ok()?, shard, bytes: bytes.parse().ok()? })
        };
        parsed().ok_or_else(|| StoreError::Corrupt(format!("`{field}` is no part of a payload")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use time::macros::datetime;

    use super::*;

    #[test]
    fn types_have_codes_of_their_own() {
        let codes: BTreeSet<_> = TaskKind::ALL.iter().map(|kind| kind_code(*kind)).collect();
        assert_eq!(codes.len(), TaskKind::ALL.len());
        assert!(!codes.contains(&[0; 4]));
    }

    #[test]
    fn times_compare_as_bytes_and_never_look_like_none() {
        let times = [
            datetime!(1000-01-01 0:00 UTC),
            datetime!(1969-12-31 23:59 UTC),
            datetime!(2025-01-01 0:00 UTC),
            datetime!(2025-01-01 0:00:00.000000001 UTC),
        ];
        let codes = times.map(time_code);
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        assert!(codes[0] > [0; 8]);
    }

    #[test]
    fn a_field_reads_back() {
        let field = PartField { n: 12, shard: Some(Shard(5)), bytes: 40 };
        assert_eq!(PartField::parse("12:5:40").unwrap(), field);
        assert_eq!(PartField::parse("12:-:40").unwrap(), PartField { shard: None, ..field });
        assert!(PartField::parse("12:x").is_err());
    }
}
