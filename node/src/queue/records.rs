//! Tasks in the store: the SQL, and nothing else.

use rusqlite::types::Type;
use rusqlite::{params, Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::task::{BatchUid, Operation, Status, Task, TaskUid};

const COLUMNS: &str = "uid, batch_uid, index_uid, status, operation, details, error, custom_metadata, \
                       enqueued_at, started_at, finished_at";

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
    let uid: TaskUid = connection.query_row("SELECT coalesce(max(uid) + 1, 0) FROM tasks", [], |row| row.get(0))?;
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
        custom_metadata: new.custom_metadata,
        enqueued_at: now,
        started_at: None,
        finished_at: None,
    })
}

pub fn get(connection: &Connection, uid: TaskUid) -> rusqlite::Result<Option<Task>> {
    connection.prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE uid = ?1"))?.query_row([uid], task).optional()
}

/// The oldest task that waits.
pub fn first_enqueued(connection: &Connection) -> rusqlite::Result<Option<Task>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM tasks WHERE status = 'enqueued' ORDER BY uid LIMIT 1"))?
        .query_row([], task)
        .optional()
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

/// Marks the tasks as one batch that is being processed.
pub fn start(connection: &Connection, uids: &[TaskUid], now: OffsetDateTime) -> rusqlite::Result<BatchUid> {
    let batch_uid: BatchUid =
        connection.query_row("SELECT coalesce(max(batch_uid) + 1, 0) FROM tasks", [], |row| row.get(0))?;
    let mut update = connection
        .prepare_cached("UPDATE tasks SET status = 'processing', batch_uid = ?2, started_at = ?3 WHERE uid = ?1")?;
    for uid in uids {
        update.execute(params![uid, batch_uid, nanoseconds(now)])?;
    }
    Ok(batch_uid)
}

/// Makes every task that was being processed wait again.
pub fn put_back(connection: &Connection) -> rusqlite::Result<usize> {
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

/// Which tasks a list shall have; `None` is no restriction. Dates are exclusive, in nanoseconds since 1970.
#[derive(Debug, Default)]
pub struct Filter {
    pub uids: Option<Vec<TaskUid>>,
    pub batch_uids: Option<Vec<BatchUid>>,
    pub statuses: Option<Vec<&'static str>>,
    pub kinds: Option<Vec<&'static str>>,
    pub index_uids: Option<Vec<String>>,
    /// No task of this node is ever canceled, so any list here matches nothing.
    pub canceled_by: Option<Vec<TaskUid>>,
    pub after_ns: [Option<i64>; 3],
    pub before_ns: [Option<i64>; 3],
    pub from: Option<TaskUid>,
    pub reverse: bool,
    pub limit: u32,
}

/// The columns of [`Filter::after_ns`] and [`Filter::before_ns`], in their order.
const DATES: [&str; 3] = ["enqueued_at", "started_at", "finished_at"];

/// The tasks of one page, newest first unless reversed, and the number of those that match, pages and `from` aside.
pub fn list(connection: &Connection, filter: &Filter) -> rusqlite::Result<(Vec<Task>, u64)> {
    let mut wanted = String::from("1 = 1");
    let mut values: Vec<rusqlite::types::Value> = Vec::new();
    let lists = [
        ("uid", filter.uids.as_ref().map(to_json)),
        ("batch_uid", filter.batch_uids.as_ref().map(to_json)),
        ("status", filter.statuses.as_ref().map(to_json)),
        ("kind", filter.kinds.as_ref().map(to_json)),
        ("index_uid", filter.index_uids.as_ref().map(to_json)),
    ];
    for (column, list) in lists {
        if let Some(list) = list {
            values.push(list?.into());
            wanted.push_str(&format!(" AND {column} IN (SELECT value FROM json_each(?{}))", values.len()));
        }
    }
    if filter.canceled_by.is_some() {
        wanted.push_str(" AND 1 = 0");
    }
    for (operator, bounds) in [(">", &filter.after_ns), ("<", &filter.before_ns)] {
        for (column, bound) in DATES.iter().zip(bounds) {
            if let Some(bound) = bound {
                values.push((*bound).into());
                wanted.push_str(&format!(" AND {column} {operator} ?{}", values.len()));
            }
        }
    }
    let total = connection.query_row(
        &format!("SELECT count(*) FROM tasks WHERE {wanted}"),
        rusqlite::params_from_iter(&values),
        |row| row.get(0),
    )?;
    if let Some(from) = filter.from {
        values.push(from.into());
        let operator = if filter.reverse { ">=" } else { "<=" };
        wanted.push_str(&format!(" AND uid {operator} ?{}", values.len()));
    }
    values.push(filter.limit.into());
    let order = if filter.reverse { "ASC" } else { "DESC" };
    let tasks = connection
        .prepare(&format!("SELECT {COLUMNS} FROM tasks WHERE {wanted} ORDER BY uid {order} LIMIT ?{}", values.len()))?
        .query_map(rusqlite::params_from_iter(&values), task)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((tasks, total))
}

fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
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

fn date(column: usize, ns: i64) -> rusqlite::Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(error)))
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn from_json<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
