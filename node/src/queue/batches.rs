//! Batches in the store: what `GET /batches` shows of the tasks that were run together.
//!
//! A batch is written when it starts and again when it ends, and keeps what it was then: tasks of it that are deleted
//! later do not change its numbers.

use std::collections::BTreeMap;

use rusqlite::{params, Connection, OptionalExtension, Row};
use serde_json::{json, Map, Value};
use time::OffsetDateTime;

use super::filter::{self, Filter, Page, Table};
use super::records::{date, from_json};
use super::task::{duration, rfc_3339, BatchUid, TaskUid};

const COLUMNS: &str = "uid, details, stats, strategy, started_at, finished_at";

/// Details that add up over the tasks of a batch.
const COUNTS: [&str; 7] = [
    "receivedDocuments",
    "indexedDocuments",
    "providedIds",
    "deletedDocuments",
    "matchedTasks",
    "canceledTasks",
    "deletedTasks",
];

/// Details that, like the counts, are not shown rather than `null` once the batch has ended. In settings, `null` means
/// something.
const OPTIONAL: [&str; 2] = ["primaryKey", "originalFilter"];

/// A batch as it is kept.
#[derive(Debug)]
pub struct Batch {
    pub uid: BatchUid,
    details: Value,
    stats: Value,
    strategy: String,
    started_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl Batch {
    /// The batch as `GET /batches/{uid}` shows it. How far a running one is cannot be told.
    pub fn view(&self) -> Value {
        json!({
            "uid": self.uid,
            "progress": null,
            "details": self.details,
            "stats": self.stats,
            "duration": duration(Some(self.started_at), self.finished_at),
            "startedAt": rfc_3339(self.started_at),
            "finishedAt": self.finished_at.map(rfc_3339),
            "batchStrategy": self.strategy,
        })
    }
}

/// The uid that the next batch gets.
pub fn next_uid(connection: &Connection) -> rusqlite::Result<BatchUid> {
    connection
        .prepare_cached(
            "SELECT 1 + max((SELECT coalesce(max(uid), -1) FROM batches), \
             (SELECT coalesce(max(batch_uid), -1) FROM tasks))",
        )?
        .query_row([], |row| row.get(0))
}

/// Notes the start of a batch, whose tasks know of it already.
pub fn open(connection: &Connection, uid: BatchUid, started_at_ns: i64, strategy: &str) -> rusqlite::Result<()> {
    let summary = summarize(connection, uid)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO batches (uid, details, stats, strategy, started_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![uid, summary.details().to_string(), summary.stats().to_string(), strategy, started_at_ns])?;
    Ok(())
}

/// Notes the end of the batch that the task belongs to, whose tasks have all ended.
pub fn close(connection: &Connection, task: TaskUid, finished_at_ns: i64) -> rusqlite::Result<()> {
    let uid: Option<BatchUid> = connection
        .prepare_cached("SELECT batch_uid FROM tasks WHERE uid = ?1")?
        .query_row([task], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(uid) = uid else { return Ok(()) };
    let mut summary = summarize(connection, uid)?;
    summary.details.retain(|name, value| !(value.is_null() && is_optional(name)));
    connection
        .prepare_cached("UPDATE batches SET details = ?2, stats = ?3, finished_at = ?4 WHERE uid = ?1")?
        .execute(params![uid, summary.details().to_string(), summary.stats().to_string(), finished_at_ns])?;
    Ok(())
}

/// Forgets the batches that started and never ended.
pub fn forget_unfinished(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM batches WHERE finished_at IS NULL")?.execute([])?;
    Ok(())
}

/// Forgets the batches whose tasks have all been deleted.
pub fn forget_empty(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM batches WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.batch_uid = batches.uid)",
        [],
    )?;
    Ok(())
}

/// The batches of one page, and the number of all that match.
pub fn list(connection: &Connection, filter: &Filter, page: Page) -> rusqlite::Result<(Vec<Batch>, u64)> {
    filter::page(connection, (Table::Batches, COLUMNS), filter.of_batches()?, page, batch)
}

fn batch(row: &Row<'_>) -> rusqlite::Result<Batch> {
    Ok(Batch {
        uid: row.get(0)?,
        details: from_json(row, 1)?,
        stats: from_json(row, 2)?,
        strategy: row.get(3)?,
        started_at: date(4, row.get(4)?)?,
        finished_at: row.get::<_, Option<i64>>(5)?.map(|ns| date(5, ns)).transpose()?,
    })
}

/// What the tasks of a batch add up to.
#[derive(Default)]
struct Summary {
    tasks: u32,
    statuses: BTreeMap<String, u32>,
    kinds: BTreeMap<String, u32>,
    indexes: BTreeMap<String, u32>,
    details: Map<String, Value>,
}

impl Summary {
    fn details(&self) -> Value {
        Value::Object(self.details.clone())
    }

    fn stats(&self) -> Value {
        json!({
            "totalNbTasks": self.tasks,
            "status": self.statuses,
            "types": self.kinds,
            "indexUids": self.indexes,
        })
    }
}

fn summarize(connection: &Connection, uid: BatchUid) -> rusqlite::Result<Summary> {
    let mut summary = Summary::default();
    let mut statement = connection
        .prepare_cached("SELECT status, kind, index_uid, details FROM tasks WHERE batch_uid = ?1 ORDER BY uid")?;
    let mut rows = statement.query([uid])?;
    while let Some(row) = rows.next()? {
        summary.tasks += 1;
        *summary.statuses.entry(row.get(0)?).or_default() += 1;
        *summary.kinds.entry(row.get(1)?).or_default() += 1;
        if let Some(index_uid) = row.get(2)? {
            *summary.indexes.entry(index_uid).or_default() += 1;
        }
        let details: Value = from_json(row, 3)?;
        if let Value::Object(details) = details {
            for (name, value) in details {
                accumulate(&mut summary.details, name, value);
            }
        }
    }
    Ok(summary)
}

/// Adds one detail of one more task.
fn accumulate(details: &mut Map<String, Value>, name: String, value: Value) {
    let Some(so_far) = details.get_mut(&name) else {
        details.insert(name, value);
        return;
    };
    match (&mut *so_far, value) {
        (Value::Null, value) => *so_far = value,
        (_, Value::Null) if is_optional(&name) => {}
        (Value::Number(sum), Value::Number(more)) if COUNTS.contains(&name.as_str()) => {
            *so_far = json!(sum.as_u64().unwrap_or_default() + more.as_u64().unwrap_or_default());
        }
        (Value::String(filter), Value::String(more)) if name == "originalFilter" => {
            filter.push('&');
            filter.push_str(&more);
        }
        (Value::Array(swaps), Value::Array(more)) if name == "swaps" => swaps.extend(more),
        // Names come from one task of a batch alone; of settings, the latest hold.
        (_, _) if matches!(name.as_str(), "primaryKey" | "oldIndexUid" | "newIndexUid") => {}
        (_, value) => *so_far = value,
    }
}

/// Whether the detail is one of those of which `null` says nothing.
fn is_optional(name: &str) -> bool {
    OPTIONAL.contains(&name) || COUNTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(tasks: &[Value]) -> Value {
        let mut details = Map::new();
        for task in tasks {
            for (name, value) in task.as_object().expect("details are objects") {
                accumulate(&mut details, name.clone(), value.clone());
            }
        }
        Value::Object(details)
    }

    #[test]
    fn counts_add_up_and_an_unknown_count_adds_nothing() {
        let sum = sum_of(&[
            json!({ "receivedDocuments": 2, "indexedDocuments": null }),
            json!({ "receivedDocuments": 3, "indexedDocuments": 3 }),
            json!({ "receivedDocuments": 1, "indexedDocuments": null }),
        ]);
        assert_eq!(sum, json!({ "receivedDocuments": 6, "indexedDocuments": 3 }));
    }

    #[test]
    fn filters_are_joined_and_the_latest_settings_hold() {
        let sum = sum_of(&[
            json!({ "originalFilter": "?uids=1", "matchedTasks": 1, "searchCutoffMs": 10, "stopWords": ["a"] }),
            json!({ "originalFilter": null, "searchCutoffMs": 20, "stopWords": null }),
            json!({ "originalFilter": "?uids=2", "matchedTasks": 4 }),
        ]);
        let expected =
            json!({ "originalFilter": "?uids=1&?uids=2", "matchedTasks": 5, "searchCutoffMs": 20, "stopWords": null });
        assert_eq!(sum, expected);
    }
}
