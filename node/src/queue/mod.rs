//! The task queue: every write is a task that is durable before it is acknowledged and is run once, in order.
//!
//! `task` says what a task is, `records` keeps tasks in the `store`, `batch` chooses what runs next, `apply` does the
//! work on an index, `on_tasks` that on other tasks, and `worker` is the thread that ties them together. What HTTP looks like does not belong here.

mod apply;
mod batch;
mod batches;
mod existing;
mod filter;
mod names;
mod on_tasks;
mod payloads;
mod records;
mod store;
mod task;
mod task_set;
mod worker;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

pub use self::batches::Batch;
pub use self::filter::{Filter, Page};
pub use self::payloads::PayloadWriter;
pub use self::records::{NameChanges, NewTask};
pub use self::task::{rfc_3339, Method, Operation, Status, Swap, Task, TaskUid, KINDS};
pub use self::task_set::TaskSet;

use self::payloads::Payloads;
use self::store::{DirectoryLock, Store};
use self::worker::Worker;
use crate::error::ResponseError;
use crate::indexes::Indexes;

/// How long a stop waits for the worker to leave the task it is running. The task is run again at the next start, so
/// a longer wait would gain nothing but manners.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The queue's front: where requests put tasks in and look at them. Cheap to clone.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    store: Store,
    payloads: Payloads,
    /// Set when there may be something to run; the worker clears it before it looks.
    pending: Mutex<bool>,
    wake: Condvar,
    stopping: AtomicBool,
    /// The tasks that the worker chose last. Locked while it chooses, so that a cancelation that is durable before
    /// finds what was chosen, and one after is chosen itself.
    chosen: Mutex<Vec<TaskUid>>,
    /// Set when one of `chosen` is canceled: the worker leaves them as soon as the engine lets it.
    abort: AtomicBool,
}

/// The worker's thread. Owned by `main`, which stops it.
pub struct RunningWorker {
    /// Held until the worker has ended.
    _lock: DirectoryLock,
    queue: Queue,
    thread: JoinHandle<()>,
}

impl Queue {
    /// Opens the queue of the database directory, brings it and the indexes into the state that a crash may have
    /// interrupted, and starts its worker with that many indexing threads.
    pub fn start(directory: &Path, indexing_threads: usize) -> Result<(Self, Indexes, RunningWorker), ResponseError> {
        let index_root = directory.join("indexes");
        std::fs::create_dir_all(&index_root)?;
        let lock = DirectoryLock::take(directory)?;
        let store = Store::open(&directory.join("tasks.sqlite"))?;
        let payloads = Payloads::open(&directory.join("payloads"))?;
        let indexes = worker::recover(&store, &payloads, &index_root)?;
        let queue = Self(Arc::new(Shared {
            store,
            payloads,
            pending: Mutex::new(true),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            chosen: Mutex::new(Vec::new()),
            abort: AtomicBool::new(false),
        }));
        let worker = Worker::new(queue.clone(), indexes.clone(), indexing_threads)?;
        let thread = std::thread::Builder::new().name("task-worker".into()).spawn(move || worker.run())?;
        Ok((queue.clone(), indexes, RunningWorker { _lock: lock, queue, thread }))
    }

    /// Accepts a task: once this returns, it will be run whatever happens. Blocks for one fsync.
    pub fn enqueue(&self, new: NewTask) -> Result<Task, ResponseError> {
        let task = self.0.store.write(move |connection| records::insert(connection, new, OffsetDateTime::now_utc()))?;
        if let Operation::TaskCancelation { tasks, .. } = &task.operation {
            let chosen = self.0.chosen.lock().unwrap_or_else(PoisonError::into_inner);
            if chosen.iter().any(|uid| tasks.contains(*uid)) {
                self.0.abort.store(true, Ordering::Relaxed);
            }
        }
        *self.0.pending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.wake.notify_all();
        Ok(task)
    }

    /// A place for the documents of a task that is going to be enqueued.
    pub fn payload_writer(&self) -> PayloadWriter {
        self.0.payloads.writer()
    }

    /// Throws away documents whose task was not enqueued after all.
    pub fn discard_payload(&self, operation: &Operation) {
        self.0.payloads.delete(operation);
    }

    pub fn get(&self, uid: TaskUid) -> Result<Option<Task>, ResponseError> {
        self.0.store.read(|connection| records::get(connection, uid))
    }

    /// The tasks of one page, and the number of all that match.
    pub fn list(&self, filter: &Filter, page: Page) -> Result<(Vec<Task>, u64), ResponseError> {
        self.0.store.read(|connection| records::list(connection, filter, page))
    }

    /// The batches of one page, and the number of all that match.
    pub fn list_batches(&self, filter: &Filter, page: Page) -> Result<(Vec<Batch>, u64), ResponseError> {
        self.0.store.read(|connection| batches::list(connection, filter, page))
    }

    /// All tasks that match at this moment.
    pub fn matching(&self, filter: &Filter) -> Result<TaskSet, ResponseError> {
        self.0.store.read(|connection| filter::uids(connection, filter)).map(TaskSet::from_ordered)
    }

    /// What the store takes on disk, in bytes.
    pub fn bytes(&self) -> Result<u64, ResponseError> {
        self.0.store.read(records::bytes)
    }

    /// The indexes that are being written at this moment.
    pub fn indexing(&self) -> Result<Vec<String>, ResponseError> {
        self.0.store.read(records::indexing)
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// Whether what is being run is to be left unfinished.
    fn must_leave(&self) -> bool {
        self.is_stopping() || self.0.abort.load(Ordering::Relaxed)
    }
}

impl RunningWorker {
    /// Stops the worker, in the middle of a task if need be. What it was doing has not happened and is done again at
    /// the next start.
    pub fn stop(self) {
        self.queue.0.stopping.store(true, Ordering::Relaxed);
        self.queue.0.wake.notify_all();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
