//! What the rest of Miroir asks about tasks, and where it registers new ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{watch, Notify};
use tokio::time::Instant;

use super::follow::{Following, WANTED_FOR};
use super::query::TaskQuery;
use super::task::{NewTask, Task};
use super::view::TaskPage;
use crate::cluster::TaskUid;
use crate::error::{ApiError, Code};
use crate::store::{Store, StoreError};

/// Tasks deleted in one write when pruning: short enough that writes of clients do not wait behind it.
const PRUNE_BATCH: u32 = 1_000;
/// Unfinished tasks of one page that count as waited for; more than a client can wait for by polling a list.
const WANTED_OF_A_PAGE_MAX: usize = 100;

/// All tasks. Unfinished ones are in memory, all are in the store; what is told of a task is always stored already.
pub struct TaskRegistry {
    pub(super) store: Arc<dyn Store>,
    ttl: Duration,
    following: Mutex<Following>,
    /// Wakes the reconciliation when something must be asked sooner than it planned.
    pub(super) work: Notify,
    /// Changes whenever tasks were published.
    published: watch::Sender<u64>,
    pub(super) counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    pub registered: AtomicU64,
    pub finished: AtomicU64,
    pub pruned: AtomicU64,
    pub node_requests: AtomicU64,
    pub node_request_failures: AtomicU64,
}

/// Gauges, and counters since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskMetrics {
    pub unfinished: usize,
    /// Node tasks that are still awaited.
    pub open_node_tasks: usize,
    pub registered: u64,
    pub finished: u64,
    pub pruned: u64,
    pub node_requests: u64,
    pub node_request_failures: u64,
}

impl TaskRegistry {
    /// How long finished tasks are kept unless the configuration says otherwise.
    pub const TTL_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

    /// Takes up all tasks that were unfinished when the store was last closed, however that came about.
    pub async fn open(store: Arc<dyn Store>, ttl: Duration) -> Result<Arc<Self>, StoreError> {
        let mut following = Following::default();
        for task in store.unfinished_tasks().await? {
            // The loop has not started, so there is nobody to wake.
            let _ = following.insert(Arc::new(task), Instant::now());
        }
        Ok(Arc::new(Self {
            store,
            ttl,
            following: Mutex::new(following),
            work: Notify::new(),
            published: watch::Sender::new(0),
            counters: Counters::default(),
        }))
    }

    pub(super) fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the task its number. It is durable when this returns, and its legs are followed from then on.
    pub async fn register(&self, new: NewTask) -> Result<Arc<Task>, ApiError> {
        let task = Arc::new(self.store.insert_task(new).await?);
        self.counters.registered.fetch_add(1, Ordering::Relaxed);
        if task.status.is_final() {
            self.counters.finished.fetch_add(1, Ordering::Relaxed);
        } else if self.following().insert(task.clone(), Instant::now()) {
            self.work.notify_one();
        }
        Ok(task)
    }

    /// The task, or Meilisearch's `task_not_found`. Asking for an unfinished task makes its nodes be asked often.
    pub async fn get(&self, uid: TaskUid) -> Result<Arc<Task>, ApiError> {
        let unfinished = self.want([uid]).into_iter().next();
        match unfinished {
            Some(task) => Ok(task),
            None => match self.store.task(uid).await? {
                Some(task) => Ok(Arc::new(task)),
                None => Err(ApiError::new(Code::TaskNotFound, format!("Task `{uid}` not found."))),
            },
        }
    }

    pub async fn list(&self, query: &TaskQuery) -> Result<TaskPage, ApiError> {
        let page = self.store.tasks(query).await?;
        let unfinished = page.tasks.iter().filter(|task| !task.status.is_final()).map(|task| task.uid);
        self.want(unfinished.take(WANTED_OF_A_PAGE_MAX));
        Ok(page)
    }

    /// Notes that somebody waits for these, and returns those of them that are being followed.
    fn want(&self, uids: impl IntoIterator<Item = TaskUid>) -> Vec<Arc<Task>> {
        let now = Instant::now();
        let mut following = self.following();
        let mut sooner = false;
        let mut found = Vec::new();
        for uid in uids {
            sooner |= following.want(uid, now);
            found.extend(following.get(uid));
        }
        drop(following);
        if sooner {
            self.work.notify_one();
        }
        found
    }

    /// Returns the task once it has ended, or `miroir_timeout` at `deadline`.
    pub async fn wait_finished(&self, uid: TaskUid, deadline: Instant) -> Result<Arc<Task>, ApiError> {
        let mut published = self.published.subscribe();
        loop {
            let task = self.get(uid).await?;
            if task.status.is_final() {
                return Ok(task);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(ApiError::new(Code::MiroirTimeout, format!("Task `{uid}` has not ended in time.")));
            }
            // Asks again, even without news, before the nodes would be asked less often.
            let wake_at = deadline.min(now + WANTED_FOR / 2);
            let _ = tokio::time::timeout_at(wake_at, published.changed()).await;
        }
    }

    /// Makes stored changes visible and wakes whoever waits for them.
    pub(super) fn publish(&self, changed: Vec<Task>) {
        let finished = self.following().publish(changed);
        self.counters.finished.fetch_add(finished as u64, Ordering::Relaxed);
        self.published.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// Deletes tasks that finished longer than the ttl before `now`, in batches. Returns how many.
    pub async fn prune(&self, now: OffsetDateTime) -> Result<u64, ApiError> {
        let before = now - self.ttl;
        let mut pruned = 0;
        loop {
            let deleted = self.store.delete_finished_tasks_before(before, PRUNE_BATCH).await?;
            pruned += u64::from(deleted);
            self.counters.pruned.fetch_add(u64::from(deleted), Ordering::Relaxed);
            if deleted < PRUNE_BATCH {
                return Ok(pruned);
            }
        }
    }

    pub fn metrics(&self) -> TaskMetrics {
        let (unfinished, open_node_tasks) = {
            let following = self.following();
            (following.len(), following.open_node_tasks())
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TaskMetrics {
            unfinished,
            open_node_tasks,
            registered: read(&self.counters.registered),
            finished: read(&self.counters.finished),
            pruned: read(&self.counters.pruned),
            node_requests: read(&self.counters.node_requests),
            node_request_failures: read(&self.counters.node_request_failures),
        }
    }
}
