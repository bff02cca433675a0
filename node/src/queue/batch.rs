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
    if !is_document_change(&first.operation) {
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
        let joins = is_document_change(&task.operation)
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
fn is_document_change(operation: &Operation) -> bool {
    matches!(operation, Operation::DocumentAddition { .. } | Operation::DocumentDeletion { .. })
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
