//! What the rest of Miroir asks about tasks, and where it registers new ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{watch, Notify};
use tokio::time::Instant;

use super::change::{Pending, Publication};
use super::creation::InCreation;
use super::follow::{Following, WANTED_FOR};
use super::kind::TaskStatus;
use super::leg::NodeTask;
use super::new_task::NewTask;
use super::query::{TaskFilter, TaskQuery};
use super::replicas::Replicas;
use super::task::Task;
use super::view::TaskPage;
use crate::cluster::{Cluster, IndexUid, NodeId, TaskUid};
use crate::error::{ApiError, Code};
use crate::peers::Followers;
use crate::store::{Change, PayloadPart, StaleReplica, Store, StoreError};

/// Tasks deleted in one write when pruning: short enough that writes of clients do not wait behind it.
const PRUNE_BATCH: u32 = 1_000;
/// How long an idempotency key is remembered.
const KEYS_TTL: Duration = Duration::from_secs(24 * 3600);
/// Idempotency keys that are remembered; beyond that the oldest are forgotten.
const KEYS_MAX: u64 = 1_000_000;
/// Keys forgotten in one write. Each counts all keys, so fewer at a time would cost more in all.
const KEYS_BATCH: u32 = 5_000;
/// Tasks changed in one commit when a node leaves.
const CHANGE_BATCH: usize = 1_000;
/// Unfinished tasks of one page that count as waited for; more than a client can wait for by polling a list.
const WANTED_OF_A_PAGE_MAX: usize = 100;

/// All tasks. Followed ones are in memory, all are in the store; what is told of a task is always stored already.
pub struct TaskRegistry {
    pub(super) store: Arc<dyn Store>,
    ttl: Duration,
    following: Mutex<Following>,
    /// Changes that wait for their commit: see `change`.
    pub(super) pending: Mutex<Vec<Pending>>,
    /// Held by the one who commits.
    pub(super) committing: tokio::sync::Mutex<()>,
    replicas: Replicas,
    /// Who has to know first what snapshots say, before anybody sees the tasks that it is due to.
    pub(super) followers: OnceLock<Arc<Followers>>,
    /// Wakes the reconciliation when something must be asked sooner than it planned.
    pub(super) work: Notify,
    /// Changes whenever tasks were published.
    published: watch::Sender<u64>,
    ended: AtomicU64,
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
    ///
    /// Replicas that lag are kept from serving reads through `cluster` from then on.
    pub async fn open(store: Arc<dyn Store>, ttl: Duration, cluster: Arc<Cluster>) -> Result<Arc<Self>, StoreError> {
        let registry = Self::idle(Arc::clone(&store), ttl, cluster);
        let replicas = &registry.replicas;
        for stale in store.stale_replicas().await? {
            replicas.go_stale(&stale);
        }
        let mut payloads = Vec::new();
        for task in store.followed_tasks().await? {
            payloads.extend(task.replay.as_ref().map(|replay| replay.payload));
            replicas.changed(None, &task);
            // The loop has not started, so there is nobody to wake.
            let _ = registry.following().insert(Arc::new(task), Instant::now());
        }
        store.retain_payloads(&payloads).await?;
        Ok(registry)
    }

    /// Follows nothing: another Miroir does.
    pub fn idle(store: Arc<dyn Store>, ttl: Duration, cluster: Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self {
            store,
            ttl,
            following: Mutex::default(),
            pending: Mutex::default(),
            committing: tokio::sync::Mutex::default(),
            replicas: Replicas::new(cluster),
            followers: OnceLock::new(),
            work: Notify::new(),
            published: watch::Sender::new(0),
            ended: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// From now on other Miroirs go by what a snapshot says before anybody sees the tasks that it is due to.
    pub fn show_first(&self, followers: Arc<Followers>) {
        // Called once, by who opens the registry.
        let _ = self.followers.set(followers);
    }

    pub(super) fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the task its number. It is durable when this returns, and its legs are followed from then on. `payload` is kept
    /// for those that are undelivered.
    pub async fn register(&self, new: NewTask, payload: Vec<PayloadPart>) -> Result<Arc<Task>, StoreError> {
        let new = self.following().placed(new);
        let task = Arc::new(self.store.insert_task(new, payload).await?);
        self.counters.registered.fetch_add(1, Ordering::Relaxed);
        if task.status.is_final() {
            self.counters.finished.fetch_add(1, Ordering::Relaxed);
        }
        if task.is_followed() && self.following().insert(task.clone(), Instant::now()) {
            self.work.notify_one();
        }
        if task.is_untold {
            self.tell_news();
        }
        if task.creation == Some(InCreation::Follows) {
            self.release_if_created(&task).await?;
        }
        Ok(task)
    }

    /// The creation that a write follows may have ended well while the write was being stored. Whether it has is looked up in turn
    /// with its end, which sees the write or is seen here. One that ends badly waits for the write.
    async fn release_if_created(&self, task: &Task) -> Result<(), StoreError> {
        let (uid, node_uid) = (task.uid, task.node_uid().cloned());
        self.change(move |changes| {
            if !node_uid.is_some_and(|node_uid| changes.is_being_created(&node_uid)) {
                changes.task(uid, Task::end_creation);
            }
        })
        .await?;
        Ok(())
    }

    /// The tasks that create an index, until all nodes have said whether they do; oldest first.
    pub fn creating(&self) -> Vec<Arc<Task>> {
        self.following().creating().cloned().collect()
    }

    /// From now on the records of tasks say when they have ended and webhooks have not been told, as long as `are_there` says
    /// that there are any.
    pub fn tell_ends_while(&self, are_there: Arc<AtomicBool>) {
        self.following().webhooks = Some(are_there);
    }

    /// Tasks that have ended and that webhooks have not been told of, each once. There is [`news`](Self::news) when there are some.
    pub fn take_untold(&self) -> Vec<Arc<Task>> {
        self.following().take_untold()
    }

    /// Webhooks have been told of these, or will not be.
    pub async fn told(&self, uids: Vec<TaskUid>) -> Result<(), StoreError> {
        for some in uids.chunks(CHANGE_BATCH) {
            let some = some.to_vec();
            self.change(move |changes| {
                let tell = |task: &mut Task| std::mem::take(&mut task.is_untold);
                some.into_iter().for_each(|uid| changes.task(uid, tell));
            })
            .await?;
        }
        Ok(())
    }

    /// A task that is followed, as it stands.
    pub fn followed(&self, uid: TaskUid) -> Option<Arc<Task>> {
        self.following().get(uid)
    }

    /// All tasks that are followed and have undelivered legs, in no order.
    pub fn undelivered(&self) -> Vec<Arc<Task>> {
        let following = self.following();
        following.tasks().filter(|task| task.legs.iter().any(NodeTask::is_undelivered)).cloned().collect()
    }

    /// Withdraws a task that no node has been given anything of.
    pub async fn withdraw(&self, uid: TaskUid) -> Result<(), StoreError> {
        let task = self.following().get(uid);
        let mut changes = vec![Change::DeleteTask(uid)];
        changes.extend(task.and_then(|task| Some(Change::DeletePayload(task.replay.as_ref()?.payload))));
        self.store.apply(changes).await?;
        self.following().forget(uid);
        Ok(())
    }

    /// `node` is away: tasks stop waiting for it wherever another replica has what it lacks. It may be back by the time that
    /// comes to be stored; then they wait on.
    pub async fn node_left(&self, node: &NodeId) -> Result<(), StoreError> {
        let uids: Vec<TaskUid> = self.following().of_node(node).iter().map(|task| task.uid).collect();
        for some in uids.chunks(CHANGE_BATCH) {
            let (some, node, cluster) = (some.to_vec(), node.clone(), Arc::clone(self.replicas.cluster()));
            self.change(move |changes| {
                let snapshot = cluster.snapshot();
                if snapshot.is_away(&node) {
                    some.into_iter().for_each(|uid| changes.task(uid, |task| task.let_lag(|other| *other == node)));
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Carries out `publish` while no change of tasks is under way. A node that comes back does so between two commits: what was
    /// decided while it was away is seen by then, so whoever sees that it is back sees all that it lacks.
    pub async fn between_commits<T>(&self, publish: impl FnOnce() -> T) -> T {
        let _turn = self.committing.lock().await;
        publish()
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

    /// Returns once the nodes have carried out all earlier writes of the index that they call `node_uid`, or `miroir_timeout` at
    /// `deadline`. The caller keeps later ones from coming.
    pub async fn wait_carried_out(&self, node_uid: &IndexUid, deadline: Instant) -> Result<(), ApiError> {
        for task in self.followed_where(|task| !task.status.is_final() && task.concerns(node_uid)) {
            self.wait_finished(task.uid, deadline).await?;
        }
        Ok(())
    }

    /// Grows whenever a task ends, before anybody sees that it has.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Makes visible what stands behind changed tasks: `publications`, and that replicas are not read that tasks have not waited for. Other
    /// Miroirs go by it too when this returns.
    pub(super) async fn show(&self, publications: Vec<Publication>, changed: &[Task]) {
        let cluster = self.replicas.cluster();
        let before = cluster.snapshot().epoch;
        publications.into_iter().for_each(|publish| publish());
        self.withhold(changed);
        let epoch = cluster.snapshot().epoch;
        if let Some(followers) = self.followers.get().filter(|_| epoch != before) {
            followers.adopt(epoch).await;
        }
    }

    fn withhold(&self, changed: &[Task]) {
        let following = self.following();
        for task in changed {
            let before = following.get(task.uid);
            self.replicas.changed(before.as_deref(), task);
            let unequal = task.unequal_replicas();
            if before.is_none_or(|before| before.unequal_replicas() != unequal) {
                unequal.iter().for_each(|replica| self.replicas.go_stale(replica));
            }
        }
    }

    /// Makes stored changes visible and wakes whoever waits for them. What stands behind them has been [shown](Self::show).
    pub(super) fn publish(&self, changed: Vec<Task>) {
        let mut following = self.following();
        // Before anybody sees that a task has ended, so that whoever has seen it joins no search that began before.
        let ended = changed.iter().filter(|task| task.status.is_final()).count();
        self.ended.fetch_add(ended as u64, Ordering::SeqCst);
        let (finished, sooner) = following.publish(changed, Instant::now());
        drop(following);
        if sooner {
            self.work.notify_one();
        }
        self.counters.finished.fetch_add(finished as u64, Ordering::Relaxed);
        self.tell_news();
    }

    /// Wakes everybody who looks at tasks when there is [`news`](Self::news).
    pub fn tell_news(&self) {
        self.published.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// Changes whenever tasks have changed, or somebody else has news for those who look at them.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// The tasks that Miroir itself has to conclude, oldest first.
    pub fn concluding(&self) -> Vec<Arc<Task>> {
        self.following().concluding().cloned().collect()
    }

    /// The followed tasks that `are_wanted`, oldest first. Looks through all of them.
    pub fn followed_where(&self, are_wanted: impl Fn(&Task) -> bool) -> Vec<Arc<Task>> {
        let following = self.following();
        let mut tasks: Vec<Arc<Task>> = following.tasks().filter(|task| are_wanted(task)).cloned().collect();
        drop(following);
        tasks.sort_unstable_by_key(|task| task.uid);
        tasks
    }

    /// The index is gone, and with it all that its replicas were stale in.
    pub async fn index_deleted(&self, index_uid: &IndexUid) -> Result<(), StoreError> {
        let stale = self.replicas.stale(index_uid);
        if !stale.is_empty() {
            self.store.apply(stale.iter().cloned().map(Change::RemoveStale).collect()).await?;
            stale.iter().for_each(|stale| self.replicas.forget_stale(stale));
        }
        Ok(())
    }

    /// The node lacks what it will not be given by its log; its replica is not read until it has been copied anew. Returns whether
    /// that was news.
    pub async fn go_stale(&self, stale: StaleReplica) -> Result<bool, StoreError> {
        if self.replicas.is_stale(&stale) {
            return Ok(false);
        }
        self.store.apply(vec![Change::AddStale(stale.clone())]).await?;
        self.replicas.go_stale(&stale);
        Ok(true)
    }

    /// How many tasks match, whatever their status.
    pub async fn count(&self, filter: &TaskFilter) -> Result<u64, ApiError> {
        let query = TaskQuery { filter: filter.clone(), limit: 0, ..TaskQuery::default() };
        Ok(self.store.tasks(&query).await?.total)
    }

    /// Deletes the tasks that match, have ended, and are not followed any more, in batches. Returns how many.
    pub async fn delete(&self, filter: TaskFilter) -> Result<u64, ApiError> {
        let filter = filter.with_statuses(TaskStatus::is_final);
        // Newest first, so that those which come meanwhile do not make it endless.
        let mut query = TaskQuery { filter, limit: PRUNE_BATCH, ..TaskQuery::default() };
        let mut deleted = 0;
        loop {
            let page = self.store.tasks(&query).await?;
            let over: Vec<TaskUid> =
                page.tasks.iter().filter(|task| !task.has_work_left()).map(|task| task.uid).collect();
            deleted += over.len() as u64;
            if !over.is_empty() {
                self.store.apply(over.iter().copied().map(Change::DeleteTask).collect()).await?;
                // Webhooks are told all the same, unless a crash comes before.
                let mut following = self.following();
                over.into_iter().for_each(|uid| following.forget(uid));
            }
            match page.next {
                Some(next) => query.from = Some(next),
                None => return Ok(deleted),
            }
        }
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

    /// Forgets idempotency keys that are older than a day, or beyond a million, in batches. Returns how many.
    pub async fn forget_keys(&self, now: OffsetDateTime) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let batch = self.store.forget_idempotency_keys(now - KEYS_TTL, KEYS_MAX, KEYS_BATCH).await?;
            forgotten += u64::from(batch);
            if batch < KEYS_BATCH {
                return Ok(forgotten);
            }
        }
    }

    pub fn metrics(&self) -> TaskMetrics {
        let (unfinished, open_node_tasks) = {
            let following = self.following();
            (following.unfinished(), following.open_node_tasks())
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
