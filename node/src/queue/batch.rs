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

/// The tasks to run together, oldest first; none if nothing waits.
#[derive(Debug, Default)]
pub struct Chosen {
    pub tasks: Vec<Task>,
    /// Why these and no more, in the words of Meilisearch's `batchStrategy`.
    pub strategy: String,
}

/// Chooses what to run next. `primary_key_of` tells the primary key of an index that exists and has one.
pub fn next(connection: &Connection, primary_key_of: impl FnOnce(&str) -> Option<String>) -> rusqlite::Result<Chosen> {
    let Some(first) = records::next_enqueued(connection)? else { return Ok(Chosen::default()) };
    if let Operation::TaskDeletion { .. } = first.operation {
        let kind = first.operation.kind();
        let strategy = format!(
            "stopped after the last task of type `{kind}` because they cannot be batched with tasks of any other type."
        );
        let tasks = records::enqueued_of_kind(connection, kind, BATCH_TASKS_MAX)?;
        return Ok(Chosen { tasks, strategy });
    }
    let index_uid = match &first.index_uid {
        Some(index_uid) if !is_alone(&first.operation) => index_uid.clone(),
        _ => return Ok(Chosen { strategy: alone(&first), tasks: vec![first] }),
    };
    if let Operation::IndexDeletion = first.operation {
        let strategy = format!("stopped after task with id {} because it deletes the index", first.uid);
        return Ok(Chosen { tasks: vec![first], strategy });
    }
    // Without a primary key, each task may infer another one, and what the first infers binds those after it.
    let primary_key = match can_be_shared(&first.operation) {
        true => primary_key_of(&index_uid),
        false => None,
    };
    // One more than can join tells why no more do.
    let waiting_max = if primary_key.is_some() { BATCH_TASKS_MAX } else { 1 };
    let waiting = records::enqueued_after(connection, first.uid, &index_uid, waiting_max)?;
    let mut bytes = payload_bytes(&first.operation);
    let mut tasks = vec![first];
    for task in waiting {
        if tasks.len() == BATCH_TASKS_MAX {
            let strategy = format!("batched up to configured batch limit of {BATCH_TASKS_MAX} tasks");
            return Ok(Chosen { tasks, strategy });
        }
        if let Some(strategy) = refusal(&tasks[0], &task, primary_key.as_deref()) {
            return Ok(Chosen { tasks, strategy });
        }
        bytes += payload_bytes(&task.operation);
        if bytes > BATCH_BYTES_MAX {
            let strategy =
                format!("batched up to configured batch size limit of {BATCH_BYTES_MAX}B with a total of {bytes}B");
            return Ok(Chosen { tasks, strategy });
        }
        tasks.push(task);
    }
    let strategy = match records::others_wait(connection, &index_uid)? {
        true => format!("batched all enqueued tasks for index `{index_uid}`"),
        false => String::from("batched all enqueued tasks"),
    };
    Ok(Chosen { tasks, strategy })
}

/// Whether no other task can ever run together with this one, in Meilisearch either.
fn is_alone(operation: &Operation) -> bool {
    use Operation::*;
    matches!(operation, IndexCreation { .. } | IndexUpdate { .. } | IndexSwap { .. } | TaskCancelation { .. })
}

fn alone(task: &Task) -> String {
    let kind = task.operation.kind();
    format!(
        "created batch containing only task with id {} of type `{kind}` that cannot be batched with any other task.",
        task.uid
    )
}

/// Why a batch that begins with `first` ends before `task`, if it does.
fn refusal(first: &Task, task: &Task, primary_key: Option<&str>) -> Option<String> {
    if is_alone(&task.operation) {
        return Some(alone(task));
    }
    let uid = task.uid;
    let before = |cause: &str| Some(format!("stopped before task with id {uid} because it is {cause}"));
    let with_documents = matches!(
        first.operation,
        Operation::DocumentAddition { .. }
            | Operation::DocumentDeletion { .. }
            | Operation::DocumentDeletionByFilter { .. }
            | Operation::DocumentClear
    );
    match (&first.operation, &task.operation) {
        (_, Operation::SettingsUpdate { .. }) if with_documents => {
            return before("a settings change which cannot be batched with document operations");
        }
        (Operation::DocumentAddition { .. }, Operation::DocumentDeletionByFilter { .. }) => {
            return before("a deletion by filter which cannot be batched with document operations");
        }
        (Operation::SettingsUpdate { .. }, other) if !matches!(other, Operation::SettingsUpdate { .. }) => {
            return before("a document operation which cannot be batched with settings changes");
        }
        _ => {}
    }
    let Some(primary_key) = primary_key else {
        return before("one that this node does not run together with the one before");
    };
    for of_task in [first, task].into_iter().filter_map(own_primary_key) {
        if of_task != primary_key {
            return Some(format!(
                "stopped batching before task with id {uid} because its primary key `{of_task}` is different from \
                 the primary key of the index `{primary_key}`"
            ));
        }
    }
    match can_be_shared(&task.operation) && is_same_change(&first.operation, &task.operation) {
        true => None,
        false => before("one that this node does not run together with the one before"),
    }
}

/// What one indexing run can take several of. Additions that create nothing look at what was there before them, so each
/// is run by itself.
fn can_be_shared(operation: &Operation) -> bool {
    matches!(operation, Operation::DocumentAddition { skip_creation: false, .. } | Operation::DocumentDeletion { .. })
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

/// The primary key that the task itself asks for.
fn own_primary_key(task: &Task) -> Option<&str> {
    match &task.operation {
        Operation::DocumentAddition { primary_key, .. } => primary_key.as_deref(),
        _ => None,
    }
}

fn payload_bytes(operation: &Operation) -> u64 {
    match operation {
        Operation::DocumentAddition { payload_bytes, .. } => *payload_bytes,
        _ => 0,
    }
}
