//! Canceling and deleting tasks: what the tasks do that are about other tasks.
//!
//! Both happen in the store alone, in one transaction with their own end, so that a crash leaves them done or not begun.

use rusqlite::{params, Connection};

use super::batches;
use super::records::{self, Finish, NameChanges, Outcome, COLUMNS};
use super::task::{BatchUid, Operation, Status, Task};
use super::task_set::TaskSet;

/// Cancels those of `tasks` that wait, ends the task `canceler` that did it, and returns what was canceled. They become
/// part of the canceler's batch and have its times, as in Meilisearch.
pub fn cancel(
    connection: &Connection,
    canceler: &Task,
    tasks: &TaskSet,
    finished_at_ns: i64,
) -> rusqlite::Result<Vec<Operation>> {
    let (batch_uid, started_at_ns): (BatchUid, i64) =
        connection.query_row("SELECT batch_uid, started_at FROM tasks WHERE uid = ?1", [canceler.uid], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut waiting = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tasks WHERE status = 'enqueued' AND uid BETWEEN ?1 AND ?2 ORDER BY uid"
    ))?;
    let mut update = connection.prepare_cached(
        "UPDATE tasks SET status = ?2, canceled_by = ?3, batch_uid = ?4, details = ?5, started_at = ?6, \
         finished_at = ?7, payload = NULL WHERE uid = ?1",
    )?;
    let mut canceled = Vec::new();
    for (first, last) in tasks.rows() {
        let found: Vec<Task> = waiting.query_map([first, last], records::task)?.collect::<Result<_, _>>()?;
        for task in found {
            update.execute(params![
                task.uid,
                Status::Canceled.name(),
                canceler.uid,
                batch_uid,
                task.operation.details(task.index_uid.as_deref(), Some(0)).to_string(),
                started_at_ns,
                finished_at_ns,
            ])?;
            canceled.push(task.operation);
        }
    }
    let end = succeeded([(canceler, canceled.len() as u64)], finished_at_ns);
    records::finish(connection, &end)?;
    Ok(canceled)
}

/// Deletes those tasks that the `deleters` name and that have ended, and ends the deleters. A task that several of them
/// name counts for the first.
pub fn delete(connection: &Connection, deleters: &[Task], finished_at_ns: i64) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM tasks WHERE uid BETWEEN ?1 AND ?2 AND status IN ('succeeded', 'failed', 'canceled')",
    )?;
    let mut counted = Vec::with_capacity(deleters.len());
    for deleter in deleters {
        let mut deleted = 0;
        if let Operation::TaskDeletion { tasks, .. } = &deleter.operation {
            for (first, last) in tasks.rows() {
                deleted += delete.execute([first, last])? as u64;
            }
        }
        counted.push((deleter, deleted));
    }
    records::finish(connection, &succeeded(counted, finished_at_ns))?;
    batches::forget_empty(connection)
}

/// The good end of tasks about tasks, each with the number of those that it changed.
fn succeeded<'t>(counted: impl IntoIterator<Item = (&'t Task, u64)>, finished_at_ns: i64) -> Finish {
    let outcomes = counted.into_iter().map(|(task, changed)| Outcome {
        uid: task.uid,
        details: task.operation.details(None, Some(changed)),
        error: None,
    });
    Finish { outcomes: outcomes.collect(), finished_at_ns, names: NameChanges::default() }
}
