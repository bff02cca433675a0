//! Reading: a few connections of their own, which neither wait for the writer nor hold it up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{params_from_iter, Connection, OpenFlags, OptionalExtension};
use tokio::sync::Semaphore;

use super::writer::nanos;
use crate::store::{IndexRecord, StoreError};
use crate::tasks::{Task, TaskFilter, TaskPage, TaskQuery};

/// Connections that read at the same time. SQLite reads from memory mostly, so more would only compete for the cores.
const READERS_MAX: usize = 4;
/// How long a read waits for its turn before it gives up.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection: each set of filters is a statement of its own.
const STATEMENTS_MAX: usize = 64;

pub struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default(), turns: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `read` on a thread that may block.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let used = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = used.map_or_else(|| connect(&path), Ok)?;
            let result = read(&connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        reading.await.map_err(|error| StoreError::Backend(error.to_string()))?
    }
}

fn connect(path: &std::path::Path) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(TURN_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

pub fn indexes(connection: &Connection) -> Result<Vec<IndexRecord>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT record FROM indexes ORDER BY uid")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn task(connection: &Connection, uid: u32) -> Result<Option<Task>, StoreError> {
    let record: Option<String> = connection
        .prepare_cached("SELECT record FROM task_records WHERE uid = ?1")?
        .query_row([uid], |row| row.get(0))
        .optional()?;
    record.map(|record| from_json(&record)).transpose()
}

pub fn unfinished_tasks(connection: &Connection) -> Result<Vec<Task>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT record FROM tasks JOIN task_records USING (uid) WHERE finished_at IS NULL ORDER BY uid",
    )?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn tasks(connection: &Connection, query: &TaskQuery) -> Result<TaskPage, StoreError> {
    // Both reads see the same moment.
    let snapshot = connection.unchecked_transaction()?;
    let mut conditions = Conditions::of(&query.filter);
    let total: i64 = snapshot
        .prepare_cached(&format!("SELECT count(*) FROM tasks{}", conditions.sql()))?
        .query_row(params_from_iter(&conditions.values), |row| row.get(0))?;

    let (beyond, order) = if query.reverse { (">=", "ASC") } else { ("<=", "DESC") };
    if let Some(from) = query.from {
        conditions.add(format!("uid {beyond} ?"), [Value::from(from)]);
    }
    // One more than the page holds tells whether there is a next page, and where it starts.
    conditions.values.push(Value::from(i64::from(query.limit) + 1));
    let sql = format!(
        "SELECT record FROM tasks JOIN task_records USING (uid){} ORDER BY uid {order} LIMIT ?",
        conditions.sql()
    );
    let mut tasks = snapshot
        .prepare_cached(&sql)?
        .query_map(params_from_iter(&conditions.values), |row| row.get::<_, String>(0))?
        .map(|record| from_json(&record?))
        .collect::<Result<Vec<Task>, StoreError>>()?;
    let next = match u32::try_from(tasks.len()) {
        Ok(found) if found <= query.limit => None,
        _ => tasks.pop().map(|task| task.uid.0),
    };
    Ok(TaskPage { tasks, total: u64::try_from(total).unwrap_or(0), next })
}

/// A filter in SQL, with its values apart.
struct Conditions {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn of(filter: &TaskFilter) -> Self {
        let mut conditions = Self { terms: Vec::new(), values: Vec::new() };
        conditions.among("uid", &filter.uids, |uid| Value::from(*uid));
        conditions.among("batch_uid", &filter.batch_uids, |uid| Value::from(*uid));
        conditions.among("canceled_by", &filter.canceled_by, |uid| Value::from(*uid));
        conditions.among("kind", &filter.types, |kind| Value::from(kind.name().to_owned()));
        conditions.among("status", &filter.statuses, |status| Value::from(status.name().to_owned()));
        conditions.among("index_uid", &filter.index_uids, |uid| Value::from(uid.as_str().to_owned()));
        let ranges = [
            ("enqueued_at", filter.enqueued_at),
            ("started_at", filter.started_at),
            ("finished_at", filter.finished_at),
        ];
        for (column, range) in ranges {
            if let Some(after) = range.after {
                conditions.add(format!("{column} > ?"), [Value::from(nanos(after))]);
            }
            if let Some(before) = range.before {
                conditions.add(format!("{column} < ?"), [Value::from(nanos(before))]);
            }
        }
        conditions
    }

    fn add(&mut self, term: String, values: impl IntoIterator<Item = Value>) {
        self.terms.push(term);
        self.values.extend(values);
    }

    fn among<T>(&mut self, column: &str, wanted: &Option<Vec<T>>, value: impl Fn(&T) -> Value) {
        if let Some(wanted) = wanted {
            let marks = vec!["?"; wanted.len()].join(",");
            self.add(format!("{column} IN ({marks})"), wanted.iter().map(value));
        }
    }

    fn sql(&self) -> String {
        match self.terms.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.terms.join(" AND ")),
        }
    }
}

fn from_json<T: serde::de::DeserializeOwned>(record: &str) -> Result<T, StoreError> {
    serde_json::from_str(record).map_err(|error| StoreError::Corrupt(error.to_string()))
}
