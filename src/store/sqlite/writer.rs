//! The one thread that writes: it takes all writes that wait and makes them one commit.
//!
//! A commit costs a flush of the disk, whatever is in it. While one is being flushed, the next writes queue up and
//! become the next commit, so that durability costs each writer about one or two flushes and not one per writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rusqlite::{params, Connection, OptionalExtension, Transaction, TransactionBehavior};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::auth::ApiKey;
use crate::cluster::{ShardSet, TaskUid};
use crate::store::{Change, IndexRecord, PayloadId, PayloadPart, StaleReplica, StoreError, StoreMetrics};
use crate::tasks::{NewTask, Task};

/// Most writes in one commit: keeps a commit to milliseconds and the time until the first waiter hears of it short.
const COMMIT_WRITES_MAX: usize = 512;

pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A write and who waits for it.
pub enum Write {
    InsertTask(Box<NewTask>, Vec<PayloadPart>, Reply<Task>),
    AddPayload(PayloadId, Vec<PayloadPart>, Reply<()>),
    Apply(Vec<Change>, Reply<()>),
    RetainPayloads(Vec<PayloadId>, Reply<u32>),
    ForgetKeys { before: OffsetDateTime, keys_max: u64, limit: u32, reply: Reply<u32> },
    DeleteFinished { before: OffsetDateTime, limit: u32, reply: Reply<u32> },
}

/// Tells the waiter of a write that has been carried out how its commit went.
type Tell = Box<dyn FnOnce(Result<(), String>)>;

#[derive(Default)]
pub struct WriterMetrics {
    writes: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
}

impl WriterMetrics {
    pub fn read(&self) -> StoreMetrics {
        StoreMetrics {
            writes: self.writes.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            failed_commits: self.failed_commits.load(Ordering::Relaxed),
        }
    }
}

/// Writes until every sender is gone and the queue is empty.
pub fn run(mut connection: Connection, mut queue: mpsc::Receiver<Write>, metrics: Arc<WriterMetrics>) {
    let mut waiting = Vec::with_capacity(COMMIT_WRITES_MAX);
    while queue.blocking_recv_many(&mut waiting, COMMIT_WRITES_MAX) > 0 {
        let writes = waiting.len() as u64;
        let mut done = Vec::with_capacity(waiting.len());
        let result = commit(&mut connection, waiting.drain(..), &mut done);
        metrics.writes.fetch_add(writes, Ordering::Relaxed);
        match &result {
            Ok(()) => metrics.commits.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                log::error!("a commit of {writes} writes to the store failed: {error}");
                metrics.failed_commits.fetch_add(1, Ordering::Relaxed)
            }
        };
        for tell in done {
            tell(result.clone());
        }
    }
}

/// One transaction; if any part of it fails, none of it happened and all waiters are told so.
fn commit(
    connection: &mut Connection,
    writes: impl Iterator<Item = Write>,
    done: &mut Vec<Tell>,
) -> Result<(), String> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            refuse(writes, &error.to_string());
            return Err(error.to_string());
        }
    };
    let mut writes = writes;
    while let Some(write) = writes.next() {
        if let Err(error) = carry_out(&transaction, write, done) {
            refuse(writes, &error.to_string());
            return Err(error.to_string());
        }
    }
    transaction.commit().map_err(|error| error.to_string())
}

/// Tells waiters whose writes were not even tried.
fn refuse(writes: impl Iterator<Item = Write>, error: &str) {
    let failed = || StoreError::Backend(error.to_owned());
    for write in writes {
        match write {
            Write::InsertTask(_, _, reply) => drop(reply.send(Err(failed()))),
            Write::AddPayload(_, _, reply) | Write::Apply(_, reply) => drop(reply.send(Err(failed()))),
            Write::RetainPayloads(_, reply) => drop(reply.send(Err(failed()))),
            Write::ForgetKeys { reply, .. } | Write::DeleteFinished { reply, .. } => drop(reply.send(Err(failed()))),
        }
    }
}

fn carry_out(transaction: &Transaction<'_>, write: Write, done: &mut Vec<Tell>) -> Result<(), StoreError> {
    match write {
        Write::InsertTask(new, payload, reply) => match insert_task(transaction, *new, &payload) {
            // This writer's misfortune alone, found before anything was changed: the rest of the commit goes on.
            Err(own @ (StoreError::OutOfTaskUids | StoreError::IdempotencyKeyTaken)) => {
                let _ = reply.send(Err(own));
                Ok(())
            }
            result => tell_later(done, reply, result),
        },
        Write::AddPayload(id, parts, reply) => tell_later(done, reply, add_payload(transaction, id, &parts)),
        Write::Apply(changes, reply) => {
            let result = changes.iter().try_for_each(|change| apply(transaction, change));
            tell_later(done, reply, result)
        }
        Write::RetainPayloads(ids, reply) => tell_later(done, reply, retain_payloads(transaction, &ids)),
        Write::ForgetKeys { before, keys_max, limit, reply } => {
            tell_later(done, reply, forget_keys(transaction, before, keys_max, limit))
        }
        Write::DeleteFinished { before, limit, reply } => {
            tell_later(done, reply, delete_finished(transaction, before, limit))
        }
    }
}

/// A success is told once it has been committed; a failure at once, and it ends the commit.
fn tell_later<T: 'static>(
    done: &mut Vec<Tell>,
    reply: Reply<T>,
    result: Result<T, StoreError>,
) -> Result<(), StoreError> {
    // A waiter that has gone away does not need to hear.
    match result {
        Ok(value) => {
            let told = move |committed: Result<(), String>| {
                drop(reply.send(committed.map(|()| value).map_err(StoreError::Backend)));
            };
            done.push(Box::new(told));
            Ok(())
        }
        Err(error) => {
            let ends_commit = StoreError::Backend(error.to_string());
            let _ = reply.send(Err(error));
            Err(ends_commit)
        }
    }
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::PutIndex(record) => put_index(transaction, record),
        Change::DeleteIndex(uid) => execute(transaction, "DELETE FROM indexes WHERE uid = ?1", [uid.as_str()]),
        Change::PutAlias(alias) => {
            let sql = "INSERT OR REPLACE INTO aliases (name, record) VALUES (?1, ?2)";
            execute(transaction, sql, params![alias.name.as_str(), to_json(alias)?])
        }
        Change::DeleteAlias(name) => execute(transaction, "DELETE FROM aliases WHERE name = ?1", [name.as_str()]),
        Change::PutConfiguration { name, value } => {
            let sql = "INSERT OR REPLACE INTO configuration (name, value) VALUES (?1, ?2)";
            execute(transaction, sql, params![name, to_json(value)?])
        }
        Change::UpdateTask(task) => update_task(transaction, task),
        Change::DeleteTask(uid) => delete_task(transaction, uid.0),
        Change::ForgetKey(uid) => execute(transaction, "DELETE FROM idempotency WHERE task = ?1", [uid.0]),
        Change::DeletePayload(id) => execute(transaction, "DELETE FROM payloads WHERE payload = ?1", [id.0 as i64]),
        Change::AddStale(stale) => change_stale(transaction, stale, |left, shards| left.extend(shards)),
        Change::RemoveStale(stale) => change_stale(transaction, stale, |left, shards| {
            shards.iter().for_each(|shard| left.remove(shard));
        }),
        Change::PutApiKey(key) => put_api_key(transaction, key),
        Change::UpdateApiKey(key) => {
            let sql = "UPDATE api_keys SET record = ?2 WHERE uid = ?1";
            execute(transaction, sql, [key.uid.to_string(), to_json(key)?])
        }
        Change::DeleteApiKey(uid) => execute(transaction, "DELETE FROM api_keys WHERE uid = ?1", [uid.to_string()]),
        Change::PutAdminSession(session) => {
            let sql = "INSERT OR REPLACE INTO admin_sessions (digest, record) VALUES (?1, ?2)";
            execute(transaction, sql, params![session.digest, to_json(session)?])
        }
        Change::UpdateAdminSession(session) => {
            let sql = "UPDATE admin_sessions SET record = ?2 WHERE digest = ?1";
            execute(transaction, sql, params![session.digest, to_json(session)?])
        }
        Change::DeleteAdminSession(digest) => {
            execute(transaction, "DELETE FROM admin_sessions WHERE digest = ?1", [digest])
        }
        Change::PutWebhook(webhook) => {
            let sql = "INSERT OR REPLACE INTO webhooks (uid, record) VALUES (?1, ?2)";
            execute(transaction, sql, [webhook.uid.to_string(), to_json(webhook)?])
        }
        Change::DeleteWebhook(uid) => execute(transaction, "DELETE FROM webhooks WHERE uid = ?1", [uid.to_string()]),
        Change::PutDefaultKeys(keys) => {
            let is_empty = !transaction.prepare_cached("SELECT 1 FROM api_keys")?.exists([])?;
            keys.iter().filter(|_| is_empty).try_for_each(|key| put_api_key(transaction, key))
        }
    }
}

fn execute(transaction: &Transaction<'_>, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn put_index(transaction: &Transaction<'_>, record: &IndexRecord) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO indexes (uid, record) VALUES (?1, ?2)")?
        .execute(params![record.uid.as_str(), to_json(record)?])?;
    Ok(())
}

fn put_api_key(transaction: &Transaction<'_>, key: &ApiKey) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO api_keys (uid, record) VALUES (?1, ?2)";
    execute(transaction, sql, [key.uid.to_string(), to_json(key)?])
}

/// Takes the next number. It counts in the file, not by the highest task there is, which may have been deleted.
fn next_task_uid(transaction: &Transaction<'_>) -> Result<Option<TaskUid>, StoreError> {
    let uid: i64 = transaction
        .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'next_task_uid' RETURNING value - 1")?
        .query_row([], |row| row.get(0))?;
    Ok(u32::try_from(uid).ok().map(TaskUid))
}

fn insert_task(transaction: &Transaction<'_>, new: NewTask, payload: &[PayloadPart]) -> Result<Task, StoreError> {
    if let Some(idempotency) = &new.idempotency {
        let mut known = transaction.prepare_cached("SELECT 1 FROM idempotency WHERE key = ?1")?;
        if known.exists([&idempotency.key])? {
            return Err(StoreError::IdempotencyKeyTaken);
        }
    }
    let uid = next_task_uid(transaction)?.ok_or(StoreError::OutOfTaskUids)?;
    if let Some(idempotency) = &new.idempotency {
        let sql = "INSERT INTO idempotency (key, digest, task, used_at) VALUES (?1, ?2, ?3, ?4)";
        let used_at = nanos(new.enqueued_at);
        execute(transaction, sql, params![idempotency.key, idempotency.digest, uid.0, used_at])?;
    }
    if let Some(replay) = &new.replay {
        add_payload(transaction, replay.payload, payload)?;
    }
    let task = Task::numbered(uid, new);
    transaction
        .prepare_cached(
            "INSERT INTO tasks (uid, index_uid, kind, status, canceled_by, enqueued_at, started_at, finished_at, followed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            task.uid.0,
            task.index_uid.as_ref().map(|uid| uid.as_str()),
            task.kind.name(),
            task.status.name(),
            task.canceled_by.map(|uid| uid.0),
            nanos(task.enqueued_at),
            task.started_at.map(nanos),
            task.finished_at.map(nanos),
            task.is_followed(),
        ])?;
    let sql = "INSERT INTO task_records (uid, record) VALUES (?1, ?2)";
    execute(transaction, sql, params![task.uid.0, to_json(&task)?])?;
    Ok(task)
}

fn add_payload(transaction: &Transaction<'_>, id: PayloadId, parts: &[PayloadPart]) -> Result<(), StoreError> {
    let sql = "INSERT INTO payloads (payload, step, shard, bytes) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = transaction.prepare_cached(sql)?;
    for part in parts {
        insert.execute(params![id.0 as i64, part.step, part.shard.map(|shard| shard.0), &part.bytes[..]])?;
    }
    Ok(())
}

fn retain_payloads(transaction: &Transaction<'_>, ids: &[PayloadId]) -> Result<u32, StoreError> {
    let kept: Vec<i64> = ids.iter().map(|id| id.0 as i64).collect();
    let sql = "DELETE FROM payloads WHERE payload NOT IN (SELECT value FROM json_each(?1)) RETURNING payload";
    let mut statement = transaction.prepare_cached(sql)?;
    let deleted = statement.query_map([to_json(&kept)?], |row| row.get::<_, i64>(0))?;
    let deleted: std::collections::BTreeSet<i64> = deleted.collect::<Result<_, _>>()?;
    Ok(deleted.len() as u32)
}

fn forget_keys(
    transaction: &Transaction<'_>,
    before: OffsetDateTime,
    keys_max: u64,
    limit: u32,
) -> Result<u32, StoreError> {
    let count: i64 = transaction.prepare_cached("SELECT count(*) FROM idempotency")?.query_row([], |row| row.get(0))?;
    let beyond = count.saturating_sub(i64::try_from(keys_max).unwrap_or(i64::MAX)).max(0);
    let old: i64 = transaction
        .prepare_cached("SELECT count(*) FROM idempotency WHERE used_at < ?1")?
        .query_row([nanos(before)], |row| row.get(0))?;
    let deleted = transaction
        .prepare_cached("DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency ORDER BY used_at LIMIT ?1)")?
        .execute([beyond.max(old).min(i64::from(limit))])?;
    Ok(deleted as u32)
}

fn change_stale(
    transaction: &Transaction<'_>,
    stale: &StaleReplica,
    change: impl Fn(&mut ShardSet, &ShardSet),
) -> Result<(), StoreError> {
    let place = [stale.node.as_str(), stale.index_uid.as_str()];
    let recorded: Option<String> = transaction
        .prepare_cached("SELECT shards FROM stale_replicas WHERE node = ?1 AND index_uid = ?2")?
        .query_row(place, |row| row.get(0))
        .optional()?;
    let recorded = recorded.map(|text| serde_json::from_str::<ShardSet>(&text)).transpose();
    let mut shards = recorded.map_err(|error| StoreError::Corrupt(error.to_string()))?.unwrap_or_default();
    change(&mut shards, &stale.shards);
    if shards.is_empty() {
        return execute(transaction, "DELETE FROM stale_replicas WHERE node = ?1 AND index_uid = ?2", place);
    }
    let sql = "INSERT OR REPLACE INTO stale_replicas (node, index_uid, shards) VALUES (?1, ?2, ?3)";
    execute(transaction, sql, [place[0], place[1], &to_json(&shards)?])
}

/// Index, type and time of enqueuing never change.
fn update_task(transaction: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
    let updated = transaction
        .prepare_cached(
            "UPDATE tasks SET status = ?2, canceled_by = ?3, started_at = ?4, finished_at = ?5, followed = ?6 \
             WHERE uid = ?1",
        )?
        .execute(params![
            task.uid.0,
            task.status.name(),
            task.canceled_by.map(|uid| uid.0),
            task.started_at.map(nanos),
            task.finished_at.map(nanos),
            task.is_followed(),
        ])?;
    if updated > 0 {
        transaction
            .prepare_cached("UPDATE task_records SET record = ?2 WHERE uid = ?1")?
            .execute(params![task.uid.0, to_json(task)?])?;
    }
    Ok(())
}

fn delete_finished(transaction: &Transaction<'_>, before: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
    let uids: Vec<u32> = transaction
        .prepare_cached("SELECT uid FROM tasks WHERE finished_at < ?1 AND NOT followed ORDER BY finished_at LIMIT ?2")?
        .query_map(params![nanos(before), limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    uids.iter().try_for_each(|uid| delete_task(transaction, *uid))?;
    Ok(uids.len() as u32)
}

fn delete_task(transaction: &Transaction<'_>, uid: u32) -> Result<(), StoreError> {
    execute(transaction, "DELETE FROM task_records WHERE uid = ?1", [uid])?;
    execute(transaction, "DELETE FROM tasks WHERE uid = ?1", [uid])?;
    execute(transaction, "DELETE FROM idempotency WHERE task = ?1", [uid])
}

/// Times as they stand in the file. Those beyond the years 1678 to 2262 become the nearest that fits.
pub fn nanos(time: OffsetDateTime) -> i64 {
    let nanos = time.unix_timestamp_nanos();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

fn to_json(record: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Backend(error.to_string()))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::Backend(error.to_string())
    }
}
