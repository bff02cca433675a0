//! The one thread that writes: it takes all writes that wait and makes them one commit.
//!
//! A commit costs a flush of the disk, whatever is in it. While one is being flushed, the next writes queue up and
//! become the next commit, so that durability costs each writer about one or two flushes and not one per writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rusqlite::{params, Connection, Transaction, TransactionBehavior};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{IndexUid, TaskUid};
use crate::store::{IndexRecord, StoreError, StoreMetrics};
use crate::tasks::{NewTask, Task};

/// Most writes in one commit: keeps a commit to milliseconds and the time until the first waiter hears of it short.
const COMMIT_WRITES_MAX: usize = 512;

pub type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A write and who waits for it.
pub enum Write {
    PutIndex(IndexRecord, Reply<()>),
    DeleteIndex(IndexUid, Reply<bool>),
    InsertTask(Box<NewTask>, Reply<Task>),
    UpdateTasks(Vec<Task>, Reply<()>),
    DeleteFinished { before: OffsetDateTime, limit: u32, reply: Reply<u32> },
}

/// A write that has been carried out, and waits for its commit before its waiter hears of it.
enum Done {
    Nothing(Reply<()>),
    Existed(bool, Reply<bool>),
    Inserted(Box<Task>, Reply<Task>),
    Deleted(u32, Reply<u32>),
}

impl Done {
    fn tell(self, committed: Result<(), String>) {
        // A waiter that has gone away does not need to hear.
        let failed = |error: String| StoreError::Backend(error);
        match self {
            Done::Nothing(reply) => drop(reply.send(committed.map_err(failed))),
            Done::Existed(existed, reply) => drop(reply.send(committed.map(|()| existed).map_err(failed))),
            Done::Inserted(task, reply) => drop(reply.send(committed.map(|()| *task).map_err(failed))),
            Done::Deleted(count, reply) => drop(reply.send(committed.map(|()| count).map_err(failed))),
        }
    }
}

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
        for write in done {
            write.tell(result.clone());
        }
    }
}

/// One transaction; if any part of it fails, none of it happened and all waiters are told so.
fn commit(
    connection: &mut Connection,
    writes: impl Iterator<Item = Write>,
    done: &mut Vec<Done>,
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
            Write::PutIndex(_, reply) | Write::UpdateTasks(_, reply) => drop(reply.send(Err(failed()))),
            Write::DeleteIndex(_, reply) => drop(reply.send(Err(failed()))),
            Write::InsertTask(_, reply) => drop(reply.send(Err(failed()))),
            Write::DeleteFinished { reply, .. } => drop(reply.send(Err(failed()))),
        }
    }
}

fn carry_out(transaction: &Transaction<'_>, write: Write, done: &mut Vec<Done>) -> Result<(), StoreError> {
    match write {
        Write::PutIndex(record, reply) => {
            let result = put_index(transaction, &record);
            done.push(Done::Nothing(reply));
            result
        }
        Write::DeleteIndex(uid, reply) => {
            let deleted = transaction.prepare_cached("DELETE FROM indexes WHERE uid = ?1")?.execute([uid.as_str()]);
            done.push(Done::Existed(matches!(deleted, Ok(1)), reply));
            Ok(deleted.map(drop)?)
        }
        Write::InsertTask(new, reply) => match next_task_uid(transaction)? {
            // Out of numbers is this writer's misfortune alone: the rest of the commit goes on.
            None => {
                let _ = reply.send(Err(StoreError::OutOfTaskUids));
                Ok(())
            }
            Some(uid) => {
                let task = Task::numbered(uid, *new);
                let result = insert_task(transaction, &task);
                done.push(Done::Inserted(Box::new(task), reply));
                result
            }
        },
        Write::UpdateTasks(tasks, reply) => {
            let result = tasks.iter().try_for_each(|task| update_task(transaction, task));
            done.push(Done::Nothing(reply));
            result
        }
        Write::DeleteFinished { before, limit, reply } => {
            let deleted = delete_finished(transaction, before, limit);
            done.push(Done::Deleted(*deleted.as_ref().unwrap_or(&0), reply));
            deleted.map(drop)
        }
    }
}

fn put_index(transaction: &Transaction<'_>, record: &IndexRecord) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO indexes (uid, record) VALUES (?1, ?2)")?
        .execute(params![record.uid.as_str(), to_json(record)?])?;
    Ok(())
}

/// Takes the next number. It counts in the file, not by the highest task there is, which may have been deleted.
fn next_task_uid(transaction: &Transaction<'_>) -> Result<Option<TaskUid>, StoreError> {
    let uid: i64 = transaction
        .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'next_task_uid' RETURNING value - 1")?
        .query_row([], |row| row.get(0))?;
    Ok(u32::try_from(uid).ok().map(TaskUid))
}

fn insert_task(transaction: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO tasks (uid, index_uid, kind, status, batch_uid, canceled_by, enqueued_at, started_at, \
             finished_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            task.uid.0,
            task.index_uid.as_ref().map(|uid| uid.as_str()),
            task.kind.name(),
            task.status.name(),
            task.batch_uid(),
            task.canceled_by.map(|uid| uid.0),
            nanos(task.enqueued_at),
            task.started_at.map(nanos),
            task.finished_at.map(nanos),
        ])?;
    transaction
        .prepare_cached("INSERT INTO task_records (uid, record) VALUES (?1, ?2)")?
        .execute(params![task.uid.0, to_json(task)?])?;
    Ok(())
}

/// Index, type and time of enqueuing never change.
fn update_task(transaction: &Transaction<'_>, task: &Task) -> Result<(), StoreError> {
    let updated = transaction
        .prepare_cached(
            "UPDATE tasks SET status = ?2, batch_uid = ?3, canceled_by = ?4, started_at = ?5, finished_at = ?6 \
             WHERE uid = ?1",
        )?
        .execute(params![
            task.uid.0,
            task.status.name(),
            task.batch_uid(),
            task.canceled_by.map(|uid| uid.0),
            task.started_at.map(nanos),
            task.finished_at.map(nanos),
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
        .prepare_cached("SELECT uid FROM tasks WHERE finished_at < ?1 ORDER BY finished_at LIMIT ?2")?
        .query_map(params![nanos(before), limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for uid in &uids {
        transaction.prepare_cached("DELETE FROM task_records WHERE uid = ?1")?.execute([uid])?;
        transaction.prepare_cached("DELETE FROM tasks WHERE uid = ?1")?.execute([uid])?;
    }
    Ok(uids.len() as u32)
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
