//! The one thread that runs tasks, and what a start does about tasks that a crash interrupted.
//!
//! An index and the list of tasks are two databases, so ending a batch is two commits, and a crash can fall between
//! them. Before the index is committed, the store therefore takes note of what the end will be and of the `updated_at`
//! that the commit gives to the index. A restart that finds the note compares: if the index has that `updated_at`, the
//! commit took place and the batch is ended as noted; if not, it has not happened at all and is run from the start.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::PoisonError;
use std::time::Duration;

use milli_core::heed::RwTxn;
use time::OffsetDateTime;

use super::apply::Applier;
use super::payloads::Payloads;
use super::records::{self, CommitIntent, Finish, NameChanges, Outcome};
use super::store::Store;
use super::task::{Operation, Task};
use super::task_set::TaskSet;
use super::{batch, names, on_tasks, Queue};
use crate::error::{Code, ResponseError};
use crate::indexes::{Indexes, Opened};

/// How long the worker sleeps when nobody wakes it. A safety net only.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// How long the worker waits after the store itself has failed, for instance because the disk is full.
const STORE_RETRY_WAIT: Duration = Duration::from_secs(1);

pub struct Worker {
    queue: Queue,
    indexes: Indexes,
    applier: Applier,
    /// Whether the store may still call tasks processed that are not, because it failed.
    is_unsettled: bool,
}

/// How a batch went on its index.
enum Ran {
    /// Done, in a transaction that is not committed yet.
    Done(Vec<Outcome>),
    /// Refused as a whole; nothing may be committed.
    Failed(ResponseError),
    /// Left because the node stops or one of the tasks was canceled.
    Left,
}

/// How a batch went.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// All of its tasks have ended.
    Finished,
    /// None of its tasks has; they will be run again, unless they are canceled.
    Left,
}

/// Brings store, payloads and indexes back into one state after a stop of any kind.
pub fn recover(store: &Store, payloads: &Payloads, index_root: &Path) -> Result<Indexes, ResponseError> {
    if let Some(intent) = store.read(records::intent)? {
        let was_committed = is_committed(&intent, index_root)?;
        store.write(move |connection| match was_committed {
            true => records::finish(connection, &intent.finish),
            false => records::clear_intent(connection),
        })?;
    }
    let interrupted = store.write(records::put_back)?;
    if interrupted > 0 {
        log::info!("{interrupted} interrupted tasks will be run again");
    }
    payloads.delete_unneeded(&store.read(records::unfinished)?)?;
    let indexes = Indexes::new(index_root, store.read(records::indexes)?);
    indexes.delete_nameless()?;
    Ok(indexes)
}

fn is_committed(intent: &CommitIntent, index_root: &Path) -> Result<bool, ResponseError> {
    if !index_root.join(&intent.directory).exists() {
        return Ok(false);
    }
    // Closed again at the end of this function: the list of indexes opens it anew.
    let index = Indexes::new(index_root, Vec::new()).open_directory(&intent.directory)?;
    let rtxn = index.read_txn()?;
    Ok(records::nanoseconds(index.updated_at(&rtxn)?) == intent.updated_at_ns)
}

impl Worker {
    pub fn new(queue: Queue, indexes: Indexes, threads: usize) -> Result<Self, ResponseError> {
        Ok(Self { queue, indexes, applier: Applier::new(threads)?, is_unsettled: false })
    }

    /// Runs batch after batch until the queue stops.
    pub fn run(mut self) {
        while !self.queue.is_stopping() {
            self.set_idle();
            match self.run_next() {
                Ok(true) => {}
                Ok(false) => self.wait(),
                Err(error) => {
                    log::error!("the task queue could not go on: {error}");
                    self.is_unsettled = true;
                    std::thread::sleep(STORE_RETRY_WAIT);
                }
            }
        }
    }

    /// Notes that whatever is enqueued from here on needs another look.
    fn set_idle(&self) {
        *self.queue.0.pending.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn wait(&self) {
        let pending = self.queue.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |pending: &mut bool| !*pending && !self.queue.is_stopping();
        // Woken or not, the caller looks again.
        drop(self.queue.0.wake.wait_timeout_while(pending, IDLE_WAIT, is_idle));
    }

    /// Runs one batch, if there is one. Errors are the store's; those of tasks are their outcomes.
    fn run_next(&mut self) -> Result<bool, ResponseError> {
        let store = &self.queue.0.store;
        if self.is_unsettled {
            // What the store could not take is tried again from the start.
            store.write(records::put_back)?;
            self.is_unsettled = false;
        }
        let batch::Chosen { tasks, strategy } = self.choose()?;
        if tasks.is_empty() {
            return Ok(false);
        }
        let uids: Vec<_> = tasks.iter().map(|task| task.uid).collect();
        store.write(move |connection| records::start(connection, &uids, &strategy, OffsetDateTime::now_utc()))?;
        match self.run_batch(&tasks)? {
            Ended::Finished => tasks.iter().for_each(|task| self.queue.0.payloads.delete(&task.operation)),
            // A stop leaves everything to the next start.
            Ended::Left if self.queue.is_stopping() => return Ok(false),
            Ended::Left => {
                store.write(records::put_back)?;
            }
        }
        Ok(true)
    }

    /// Chooses what runs next. From here on, canceling one of these tasks interrupts them.
    fn choose(&self) -> Result<batch::Chosen, ResponseError> {
        let mut chosen = self.queue.0.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let next =
            self.queue.0.store.read(|connection| batch::next(connection, |index_uid| self.primary_key(index_uid)))?;
        *chosen = next.tasks.iter().map(|task| task.uid).collect();
        self.queue.0.abort.store(false, Ordering::Relaxed);
        Ok(next)
    }

    fn primary_key(&self, index_uid: &str) -> Option<String> {
        let index = self.indexes.get(index_uid).ok()?;
        let rtxn = index.read_txn().ok()?;
        index.primary_key(&rtxn).ok()?.map(String::from)
    }

    fn run_batch(&self, batch: &[Task]) -> Result<Ended, ResponseError> {
        let task = &batch[0];
        let index_uid = task.index_uid.as_deref().unwrap_or_default();
        match &task.operation {
            Operation::TaskCancelation { tasks, .. } => self.cancel(task, tasks),
            Operation::TaskDeletion { .. } => {
                let deleters = batch.to_vec();
                let now_ns = records::nanoseconds(OffsetDateTime::now_utc());
                self.queue.0.store.write(move |connection| on_tasks::delete(connection, &deleters, now_ns))?;
                Ok(Ended::Finished)
            }
            Operation::IndexSwap { swaps } => self.finish_names(task, None, names::after_swaps(&self.indexes, swaps)),
            Operation::IndexDeletion => match self.indexes.get(index_uid) {
                Ok(index) => {
                    let documents = index
                        .read_txn()
                        .map_err(milli_core::Error::from)
                        .and_then(|rtxn| index.number_of_documents(&rtxn));
                    let removed = vec![index_uid.to_owned()];
                    let names = NameChanges { removed, ..NameChanges::default() };
                    self.finish_names(task, documents.ok(), Ok(names))
                }
                Err(error) => self.finish_names(task, None, Err(error)),
            },
            Operation::IndexCreation { .. } if self.indexes.contains(index_uid) => {
                let error =
                    ResponseError::new(Code::IndexAlreadyExists, format!("Index `{index_uid}` already exists."));
                self.finish_names(task, None, Err(error))
            }
            _ => self.run_on_index(index_uid, batch),
        }
    }

    /// Cancels the tasks that wait, and throws their documents away.
    fn cancel(&self, canceler: &Task, tasks: &TaskSet) -> Result<Ended, ResponseError> {
        let (canceler, tasks) = (canceler.clone(), tasks.clone());
        let now_ns = records::nanoseconds(OffsetDateTime::now_utc());
        let canceled =
            self.queue.0.store.write(move |connection| on_tasks::cancel(connection, &canceler, &tasks, now_ns))?;
        for operation in &canceled {
            self.queue.0.payloads.delete(operation);
        }
        Ok(Ended::Finished)
    }

    /// Runs a batch that changes the inside of an index, and commits it.
    fn run_on_index(&self, index_uid: &str, batch: &[Task]) -> Result<Ended, ResponseError> {
        let is_new = !self.indexes.contains(index_uid);
        let opened = match is_new {
            false => self.indexes.open(index_uid),
            true if creates_index(&batch[0].operation) => self.indexes.create(),
            true => Err(ResponseError::index_not_found(index_uid)),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return self.finish(failed(batch, &error), NameChanges::default(), None);
            }
        };
        let mut names = match is_new {
            true => {
                NameChanges { set: vec![(index_uid.to_owned(), opened.directory.clone())], ..NameChanges::default() }
            }
            false => NameChanges::default(),
        };
        if let Operation::IndexUpdate { new_uid: Some(new_uid), .. } = &batch[0].operation {
            match names::after_renaming(&self.indexes, index_uid, new_uid) {
                Ok(renamed) => names = renamed,
                Err(error) => return self.finish(failed(batch, &error), names, None),
            }
        }
        let fresh = is_new.then(|| Opened { directory: opened.directory.clone(), index: opened.index.clone() });
        let mut wtxn = match opened.index.write_txn() {
            Ok(wtxn) => wtxn,
            Err(error) => return self.finish(failed(batch, &error.into()), names, fresh),
        };
        let error = match self.apply(&opened, &mut wtxn, batch) {
            Ran::Done(outcomes) => return self.commit(&opened, wtxn, outcomes, names, fresh),
            Ran::Failed(error) => Some(error),
            Ran::Left => None,
        };
        drop(wtxn);
        // The index stays, empty, if the batch created it: Meilisearch creates before it indexes.
        let names = if is_new { names } else { NameChanges::default() };
        match error {
            Some(error) => self.finish(failed(batch, &error), names, fresh),
            None => {
                if is_new && !self.queue.is_stopping() {
                    self.finish(Vec::new(), names, fresh)?;
                }
                Ok(Ended::Left)
            }
        }
    }

    fn apply<'i>(&self, opened: &'i Opened, wtxn: &mut RwTxn<'i>, batch: &[Task]) -> Ran {
        let queue = &self.queue.0;
        // After a panic the transaction is dropped, never committed, so that no half-changed state is used again.
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.applier.apply(&opened.index, wtxn, batch, (&queue.store, &queue.payloads), &|| self.queue.must_leave())
        }));
        match result {
            _ if self.queue.is_stopping() => Ran::Left,
            // What was done before the engine heard of the cancelation stays done, as in Meilisearch.
            Ok(Ok(outcomes)) => Ran::Done(outcomes),
            _ if self.queue.must_leave() => Ran::Left,
            Ok(Err(error)) => Ran::Failed(error),
            Err(panic) => Ran::Failed(ResponseError::new(
                Code::Internal,
                format!("An unexpected crash occurred when processing the task: {}", panic_message(&*panic)),
            )),
        }
    }

    /// Commits the index and ends the batch: both or, across a crash, neither.
    fn commit(
        &self,
        opened: &Opened,
        wtxn: RwTxn<'_>,
        outcomes: Vec<Outcome>,
        names: NameChanges,
        fresh: Option<Opened>,
    ) -> Result<Ended, ResponseError> {
        // Every change that the engine makes sets this to the moment of the change.
        let updated_at = opened.index.updated_at(&wtxn)?;
        let rtxn = opened.index.read_txn()?;
        if updated_at == opened.index.updated_at(&rtxn)? {
            // Nothing has changed, so there is nothing to commit and nothing for a crash to cut in two.
            return self.finish(outcomes, names, fresh);
        }
        drop(rtxn);
        let finished_at_ns = records::nanoseconds(OffsetDateTime::now_utc());
        let intent = CommitIntent {
            directory: opened.directory.clone(),
            updated_at_ns: records::nanoseconds(updated_at),
            finish: Finish { outcomes, finished_at_ns, names },
        };
        let noted = intent.clone();
        self.queue.0.store.write(move |connection| records::set_intent(connection, &noted))?;
        wtxn.commit()?;
        // From here on the batch must not be run again: what cannot be noted now is noted later, or at the next start.
        while let Err(error) = self.note_end(&intent.finish) {
            log::error!("the end of a batch could not be noted: {error}");
            if self.queue.is_stopping() {
                return Ok(Ended::Left);
            }
            std::thread::sleep(STORE_RETRY_WAIT);
        }
        self.indexes.apply(&intent.finish.names, fresh);
        Ok(Ended::Finished)
    }

    /// Ends a task that only concerns names.
    fn finish_names(
        &self,
        task: &Task,
        documents: Option<u64>,
        names: Result<NameChanges, ResponseError>,
    ) -> Result<Ended, ResponseError> {
        match names {
            Ok(names) => {
                let details = task.operation.details(task.index_uid.as_deref(), documents);
                let done = vec![Outcome { uid: task.uid, details, error: None }];
                self.finish(done, names, None)
            }
            Err(error) => {
                let failed = failed(std::slice::from_ref(task), &error);
                self.finish(failed, NameChanges::default(), None)
            }
        }
    }

    /// Makes the end of a batch true: first durably, then for readers.
    fn finish(
        &self,
        outcomes: Vec<Outcome>,
        names: NameChanges,
        fresh: Option<Opened>,
    ) -> Result<Ended, ResponseError> {
        let finished_at_ns = records::nanoseconds(OffsetDateTime::now_utc());
        let end = Finish { outcomes, finished_at_ns, names };
        self.note_end(&end)?;
        self.indexes.apply(&end.names, fresh);
        Ok(Ended::Finished)
    }

    fn note_end(&self, end: &Finish) -> Result<(), ResponseError> {
        let end = end.clone();
        self.queue.0.store.write(move |connection| records::finish(connection, &end))
    }
}

/// Whether the operation makes its index if it is not there.
fn creates_index(operation: &Operation) -> bool {
    match operation {
        Operation::DocumentAddition { .. } | Operation::IndexCreation { .. } => true,
        Operation::SettingsUpdate { creates_index, .. } => *creates_index,
        _ => false,
    }
}

/// The outcomes of a batch of which nothing was done.
fn failed(batch: &[Task], error: &ResponseError) -> Vec<Outcome> {
    batch
        .iter()
        .map(|task| Outcome {
            uid: task.uid,
            details: task.operation.details(task.index_uid.as_deref(), Some(0)),
            error: Some(error.to_json()),
        })
        .collect()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "no message".to_owned(),
    }
}
