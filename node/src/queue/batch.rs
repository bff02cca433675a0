//! Which tasks run next, and which of them together.
//!
//! Indexing one document costs nearly as much as indexing a thousand, so additions and deletions that wait for the
//! same index are run as one. Each keeps its own outcome.

use rusqlite::Connection;

use super::records;
use super::task::{Operation, Task};

/// Tasks of one batch.
const BATCH_TASKS_MAX: usize = 1000;

/// Documents of one batch, in bytes, unless its first task alone has more. They are held in memory.
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The tasks to run next, oldest first; none if nothing waits. `primary_key_of` tells the primary key of an index that
/// exists and has one.
pub fn next(
    connection: &Connection,
    primary_key_of: impl FnOnce(&str) -> Option<String>,
) -> rusqlite::Result<Vec<Task>> {
    let Some(first) = records::first_enqueued(connection)? else { return Ok(Vec::new()) };
    let Some(index_uid) = first.index_uid.clone() else { return Ok(vec![first]) };
    if !can_be_shared(&first.operation) {
        return Ok(vec![first]);
    }
    // Without a primary key, each task may infer another one, and what the first infers binds those after it.
    let Some(primary_key) = primary_key_of(&index_uid) else { return Ok(vec![first]) };
    if !keeps_primary_key(&first.operation, &primary_key) {
        return Ok(vec![first]);
    }
    let mut bytes = payload_bytes(&first.operation);
    let waiting = records::enqueued_after(connection, first.uid, &index_uid, BATCH_TASKS_MAX - 1)?;
    let mut batch = vec![first];
    for task in waiting {
        bytes += payload_bytes(&task.operation);
        let joins = is_same_change(&task.operation, &batch[0].operation)
            && keeps_primary_key(&task.operation, &primary_key)
            && bytes <= BATCH_BYTES_MAX;
        if !joins {
            break;
        }
        batch.push(task);
    }
    Ok(batch)
}

/// What one indexing run can take several of.
fn can_be_shared(operation: &Operation) -> bool {
    matches!(operation, Operation::DocumentAddition { .. } | Operation::DocumentDeletion { .. })
}

/// Whether both are additions by the same method, or both deletions. Deletions do not join additions: how many
/// documents each of them deleted could not be told any more.
fn is_same_change(one: &Operation, other: &Operation) -> bool {
    match (one, other) {
        (Operation::DocumentAddition { method: one, .. }, Operation::DocumentAddition { method: other, .. }) => {
            one == other
        }
        (Operation::DocumentDeletion { .. }, Operation::DocumentDeletion { .. }) => true,
        _ => false,
    }
}

fn keeps_primary_key(operation: &Operation, of_index: &str) -> bool {
    match operation {
        Operation::DocumentAddition { primary_key: Some(primary_key), .. } => primary_key == of_index,
        _ => true,
    }
}

fn payload_bytes(operation: &Operation) -> u64 {
    match operation {
        Operation::DocumentAddition { payload_bytes, .. } => *payload_bytes,
        _ => 0,
    }
}
