//! Reading: a few connections of their own, which neither wait for the writer nor hold it up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{params, params_from_iter, Connection, OpenFlags, OptionalExtension};
use tokio::sync::Semaphore;

use super::writer::nanos;
use crate::auth::{AdminSession, ApiKey};
use crate::cluster::{Alias, IndexUid, NodeId, Shard, ShardSet, TaskUid};
use crate::store::{IdempotentWrite, IndexRecord, PayloadId, PayloadPart, StaleReplica, StoreError};
use crate::tasks::{Task, TaskFilter, TaskPage, TaskQuery, TaskStatus};
use crate::webhooks::Webhook;

/// Connections that read at the same time. SQLite reads from memory mostly, so more would only compete for the cores.
const READERS_MAX: usize = 4;
/// How long a read waits for its turn before it gives up.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept per connection: each set of filters is a statement of its own.
const STATEMENTS_MAX: usize = 64;
/// From so many matches on, a page is found by walking the tasks in order and not by an index on what they match.
const MATCHES_MANY: i64 = 1_000;

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

pub fn api_keys(connection: &Connection) -> Result<Vec<ApiKey>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT record FROM api_keys")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn admin_sessions(connection: &Connection) -> Result<Vec<AdminSession>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT record FROM admin_sessions")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn admin_session(connection: &Connection, digest: &str) -> Result<Option<AdminSession>, StoreError> {
    let record: Option<String> = connection
        .prepare_cached("SELECT record FROM admin_sessions WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    record.map(|record| from_json(&record)).transpose()
}

pub fn webhooks(connection: &Connection) -> Result<Vec<Webhook>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT record FROM webhooks")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn aliases(connection: &Connection) -> Result<Vec<Alias>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT record FROM aliases ORDER BY name")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn configuration(connection: &Connection, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
    let value: Option<String> = connection
        .prepare_cached("SELECT value FROM configuration WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    value.map(|value| from_json(&value)).transpose()
}

pub fn task(connection: &Connection, uid: u32) -> Result<Option<Task>, StoreError> {
    let record: Option<String> = connection
        .prepare_cached("SELECT record FROM task_records WHERE uid = ?1")?
        .query_row([uid], |row| row.get(0))
        .optional()?;
    record.map(|record| from_json(&record)).transpose()
}

pub fn followed_tasks(connection: &Connection) -> Result<Vec<Task>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT record FROM tasks JOIN task_records USING (uid) WHERE followed ORDER BY uid")?;
    let records = statement.query_map([], |row| row.get::<_, String>(0))?;
    records.map(|record| from_json(&record?)).collect()
}

pub fn payload(
    connection: &Connection,
    id: PayloadId,
    step: u8,
    shards: &ShardSet,
) -> Result<Vec<PayloadPart>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT shard, bytes FROM payloads WHERE payload = ?1 AND step = ?2 ORDER BY n")?;
    let mut rows = statement.query(params![id.0 as i64, step])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let shard = row.get::<_, Option<u32>>(0)?.map(Shard);
        if shard.is_none_or(|shard| shards.contains(shard)) {
            parts.push(PayloadPart { step, shard, bytes: row.get::<_, Vec<u8>>(1)?.into() });
        }
    }
    Ok(parts)
}

pub fn idempotent_write(connection: &Connection, key: &str) -> Result<Option<IdempotentWrite>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT digest, task FROM idempotency WHERE key = ?1")?;
    let write = statement
        .query_row([key], |row| Ok(IdempotentWrite { digest: row.get::<_, [u8; 32]>(0)?, task: TaskUid(row.get(1)?) }));
    Ok(write.optional()?)
}

pub fn stale_replicas(connection: &Connection) -> Result<Vec<StaleReplica>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT node, index_uid, shards FROM stale_replicas ORDER BY node, index_uid")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.map(|row| stale_replica(row?)).collect()
}

fn stale_replica((node, index_uid, shards): (String, String, String)) -> Result<StaleReplica, StoreError> {
    let index_uid = IndexUid::parse(&index_uid).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(StaleReplica { node: NodeId::new(&node), index_uid, shards: from_json(&shards)? })
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
        conditions.add(format!("uid {beyond} ?"), Value::from(from));
    }
    // One more than the page holds tells whether there is a next page, and where it starts.
    conditions.values.push(Value::from(i64::from(query.limit) + 1));
    // Few matches are found by an index and sorted. Many are not: walking back by uid comes upon enough of them soon,
    // while an index would have all of them sorted for the sake of one page.
    let walk = if total >= MATCHES_MANY { " NOT INDEXED" } else { "" };
    let sql = format!(
        "SELECT record FROM (SELECT uid FROM tasks{walk}{} ORDER BY uid {order} LIMIT ?) JOIN task_records USING (uid) \
         ORDER BY uid {order}",
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
        conditions.among("uid", &filter.uids, |uid| serde_json::Value::from(*uid));
        if filter.batch_uids.is_some() {
            // Every task that left the queue is a batch of its own.
            conditions.among("uid", &filter.batch_uids, |uid| serde_json::Value::from(*uid));
            conditions.add("status <> ?", Value::from(TaskStatus::Enqueued.name().to_owned()));
        }
        conditions.among("canceled_by", &filter.canceled_by, |uid| serde_json::Value::from(*uid));
        conditions.among("kind", &filter.types, |kind| serde_json::Value::from(kind.name()));
        conditions.among("status", &filter.statuses, |status| serde_json::Value::from(status.name()));
        conditions.among("index_uid", &filter.index_uids, |uid| serde_json::Value::from(uid.as_str()));
        let ranges = [
            ("enqueued_at", filter.enqueued_at),
            ("started_at", filter.started_at),
            ("finished_at", filter.finished_at),
        ];
        for (column, range) in ranges {
            if let Some(after) = range.after {
                conditions.add(format!("{column} > ?"), Value::from(nanos(after)));
            }
            if let Some(before) = range.before {
                conditions.add(format!("{column} < ?"), Value::from(nanos(before)));
            }
        }
        conditions
    }

    fn add(&mut self, term: impl Into<String>, value: Value) {
        self.terms.push(term.into());
        self.values.push(value);
    }

    /// The list is one value, a JSON array: SQLite allows 32,766 values in a statement and a client may send more, and
    /// statements that do not depend on the length of lists can be kept prepared.
    fn among<T>(&mut self, column: &str, wanted: &Option<Vec<T>>, element: impl Fn(&T) -> serde_json::Value) {
        if let Some(wanted) = wanted {
            let list = serde_json::Value::Array(wanted.iter().map(element).collect());
            self.add(format!("{column} IN (SELECT value FROM json_each(?))"), Value::from(list.to_string()));
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
