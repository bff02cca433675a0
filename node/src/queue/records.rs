//! Tasks in the store: the SQL, and nothing else.

use rusqlite::types::Type;
use rusqlite::{params, Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::batches;
use super::filter::{self, Filter, Page, Table};
use super::task::{Operation, Status, Task, TaskUid};

/// What [`task`] reads.
pub const COLUMNS: &str = "uid, batch_uid, index_uid, status, operation, details, error, custom_metadata, \
                           enqueued_at, started_at, finished_at, canceled_by";

/// A task that is about to be enqueued.
#[derive(Debug)]
pub struct NewTask {
    pub index_uid: Option<String>,
    pub operation: Operation,
    /// The documents, if they are few enough to be kept in the record.
    pub inline_payload: Option<Vec<u8>>,
    pub custom_metadata: Option<String>,
}

impl NewTask {
    /// A task without documents.
    pub fn new(index_uid: Option<String>, operation: Operation) -> Self {
        Self { index_uid, operation, inline_payload: None, custom_metadata: None }
    }
}

/// How one task of a batch ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub uid: TaskUid,
    pub details: Value,
    /// What went wrong, in Meilisearch's error shape.
    pub error: Option<Value>,
}

/// What finishing a batch changes in the list of indexes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NameChanges {
    /// Names that go.
    pub removed: Vec<String>,
    /// Names that come or change what they stand for: (uid, directory).
    pub set: Vec<(String, String)>,
    /// Pairs of names whose earlier tasks change hands: a task follows its index.
    pub swapped: Vec<(String, String)>,
}

/// Written before an index is committed, so that a restart can tell whether the commit took place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommitIntent {
    /// The directory of the index that is being committed.
    pub directory: String,
    /// The `updated_at` that the commit gives to the index, in nanoseconds since 1970. No other commit has the same.
    pub updated_at_ns: i64,
    pub finish: Finish,
}

/// The end of a batch: what its tasks became and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finish {
    pub outcomes: Vec<Outcome>,
    pub finished_at_ns: i64,
    pub names: NameChanges,
}

pub fn insert(connection: &Connection, new: NewTask, now: OffsetDateTime) -> rusqlite::Result<Task> {
    let uid: TaskUid =
        connection.prepare_cached("SELECT coalesce(max(uid) + 1, 0) FROM tasks")?.query_row([], |row| row.get(0))?;
    let details = new.operation.details(new.index_uid.as_deref(), None);
    connection
        .prepare_cached(
            "INSERT INTO tasks (uid, index_uid, status, kind, operation, payload, details, \
             custom_metadata, enqueued_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            uid,
            new.index_uid,
            Status::Enqueued.name(),
            new.operation.kind(),
            to_json(&new.operation)?,
            new.inline_payload,
            details.to_string(),
            new.custom_metadata,
            nanoseconds(now),
        ])?;
    Ok(Task {
        uid,
        batch_uid: None,
        index_uid: new.index_uid,
        status: Status::Enqueued,
        operation: new.operation,
        details,
        error: None,
        canceled_by: None,
        custom_metadata: new.custom_metadata,
        enqueued_at: now,
        started_at: None,
        finished_at: None,
    })
}

pub fn get(connection: &Connection, uid: TaskUid) -> rusqlite::Result<Option<Task>> {
    connection.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE uid = ?1"))?.query_row([uid], task).optional()
}

/// The task that runs next, if any waits: the latest cancelation, then the oldest deletion of tasks, then the oldest of
/// all others. A cancelation comes first because what it cancels must not run any more.
pub fn next_enqueued(connection: &Connection) -> rusqlite::Result<Option<Task>> {
    let urgent =
        ["kind = 'taskCancelation' ORDER BY uid DESC", "kind = 'taskDeletion' ORDER BY uid", "1 = 1 ORDER BY uid"];
    for choice in urgent {
        let next = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE status = 'enqueued' AND {choice} LIMIT 1"))?
            .query_row([], task)
            .optional()?;
        if next.is_some() {
            return Ok(next);
        }
    }
    Ok(None)
}

/// The waiting tasks of that kind, oldest first.
pub fn enqueued_of_kind(connection: &Connection, kind: &str, limit: usize) -> rusqlite::Result<Vec<Task>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tasks WHERE status = 'enqueued' AND kind = ?1 ORDER BY uid LIMIT ?2"
        ))?
        .query_map(params![kind, limit], task)?
        .collect()
}

/// Whether any task waits that does not concern that index alone.
pub fn others_wait(connection: &Connection, index_uid: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM tasks WHERE status = 'enqueued' AND index_uid IS NOT ?1 LIMIT 1")?
        .exists([index_uid])
}

/// The waiting tasks after `uid` that concern the same index, or several indexes at once, oldest first.
pub fn enqueued_after(
    connection: &Connection,
    uid: TaskUid,
    index_uid: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Task>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM tasks WHERE status = 'enqueued' AND uid > ?1 \
             AND (index_uid = ?2 OR index_uid IS NULL) ORDER BY uid LIMIT ?3"
        ))?
        .query_map(params![uid, index_uid, limit], task)?
        .collect()
}

pub fn inline_payload(connection: &Connection, uid: TaskUid) -> rusqlite::Result<Vec<u8>> {
    connection
        .prepare_cached("SELECT coalesce(payload, x'') FROM tasks WHERE uid = ?1")?
        .query_row([uid], |row| row.get(0))
}

/// Marks the tasks as one batch that is being processed. `strategy` says why these and no others.
pub fn start(connection: &Connection, uids: &[TaskUid], strategy: &str, now: OffsetDateTime) -> rusqlite::Result<()> {
    let batch_uid = batches::next_uid(connection)?;
    let mut update = connection
        .prepare_cached("UPDATE tasks SET status = 'processing', batch_uid = ?2, started_at = ?3 WHERE uid = ?1")?;
    for uid in uids {
        update.execute(params![uid, batch_uid, nanoseconds(now)])?;
    }
    batches::open(connection, batch_uid, nanoseconds(now), strategy)
}

/// Makes every task that was being processed wait again.
pub fn put_back(connection: &Connection) -> rusqlite::Result<usize> {
    batches::forget_unfinished(connection)?;
    connection.execute(
        "UPDATE tasks SET status = 'enqueued', batch_uid = NULL, started_at = NULL \
         WHERE status = 'processing'",
        [],
    )
}

pub fn set_intent(connection: &Connection, intent: &CommitIntent) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO commit_intent (one, intent) VALUES (1, ?1)", [to_json(intent)?])?;
    Ok(())
}

pub fn intent(connection: &Connection) -> rusqlite::Result<Option<CommitIntent>> {
    connection.query_row("SELECT intent FROM commit_intent", [], |row| from_json(row, 0)).optional()
}

pub fn clear_intent(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM commit_intent", [])?;
    Ok(())
}

/// Ends a batch: what became of its tasks and of the names of indexes becomes true at once.
pub fn finish(connection: &Connection, finish: &Finish) -> rusqlite::Result<()> {
    clear_intent(connection)?;
    let mut update = connection.prepare_cached(
        "UPDATE tasks SET status = ?2, details = ?3, error = ?4, finished_at = ?5, payload = NULL \
         WHERE uid = ?1",
    )?;
    for outcome in &finish.outcomes {
        let status = match outcome.error {
            None => Status::Succeeded,
            Some(_) => Status::Failed,
        };
        let error = outcome.error.as_ref().map(Value::to_string);
        update.execute(params![
            outcome.uid,
            status.name(),
            outcome.details.to_string(),
            error,
            finish.finished_at_ns,
        ])?;
    }
    let first = finish.outcomes.iter().map(|outcome| outcome.uid).min();
    if let Some(first) = first {
        batches::close(connection, first, finish.finished_at_ns)?;
    }
    for (left, right) in &finish.names.swapped {
        connection.execute(
            "UPDATE tasks SET index_uid = CASE index_uid WHEN ?1 THEN ?2 ELSE ?1 END \
             WHERE index_uid IN (?1, ?2) AND uid < ?3",
            params![left, right, first],
        )?;
    }
    for uid in &finish.names.removed {
        connection.execute("DELETE FROM indexes WHERE uid = ?1", [uid])?;
    }
    for (uid, directory) in &finish.names.set {
        connection.execute("INSERT OR REPLACE INTO indexes (uid, directory) VALUES (?1, ?2)", [uid, directory])?;
    }
    Ok(())
}

/// Every index: (uid, directory).
pub fn indexes(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare_cached("SELECT uid, directory FROM indexes ORDER BY uid")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Every task that still needs its payload.
pub fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Task>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE status IN ('enqueued', 'processing')"))?
        .query_map([], task)?
        .collect()
}

/// The indexes that a task is being processed for.
pub fn indexing(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT DISTINCT index_uid FROM tasks WHERE status = 'processing' AND index_uid IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The size of the database, in bytes.
pub fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", [], |row| row.get(0))
}

/// The tasks of one page, and the number of all that match.
pub fn list(connection: &Connection, filter: &Filter, page: Page) -> rusqlite::Result<(Vec<Task>, u64)> {
    filter::page(connection, (Table::Tasks, COLUMNS), filter.of_tasks()?, page, task)
}

pub fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let status: String = row.get(3)?;
    let status = Status::parse(&status)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(3, format!("status {status}"), Type::Text))?;
    Ok(Task {
        uid: row.get(0)?,
        batch_uid: row.get(1)?,
        index_uid: row.get(2)?,
        status,
        operation: from_json(row, 4)?,
        details: from_json(row, 5)?,
        error: match row.get_ref(6)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(from_json(row, 6)?),
        },
        canceled_by: row.get(11)?,
        custom_metadata: row.get(7)?,
        enqueued_at: date(8, row.get(8)?)?,
        started_at: row.get::<_, Option<i64>>(9)?.map(|ns| date(9, ns)).transpose()?,
        finished_at: row.get::<_, Option<i64>>(10)?.map(|ns| date(10, ns)).transpose()?,
    })
}

/// Nanoseconds since 1970; this fits until the year 2262, and later dates are cut to it.
pub fn nanoseconds(date: OffsetDateTime) -> i64 {
    i64::try_from(date.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

/// The date that a column holds in nanoseconds since 1970.
pub fn date(column: usize, ns: i64) -> rusqlite::Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(error)))
}

pub fn to_json<T: Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// What a column holds as JSON.
pub fn from_json<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
