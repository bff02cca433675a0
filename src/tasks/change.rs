//! How followed tasks change: one commit at a time, with everything that waits for one.
//!
//! Tasks are changed from several sides at once: by what nodes say of their tasks, by legs that are delivered, by nodes that
//! leave. Each change starts from what the one before made visible, so they go one after another; to cost one flush of the
//! disk for all and not one for each, whoever finds that nobody is committing commits the changes of all who wait.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::follow::{Answer, Following};
use super::registry::TaskRegistry;
use super::report::NodeTaskReport;
use super::task::Task;
use crate::cluster::{IndexUid, TaskUid};
use crate::store::{Change, StoreError};

/// Changed tasks over the followed ones, not visible to anybody else yet.
pub struct Changes<'a> {
    following: &'a Following,
    changed: HashMap<TaskUid, Task>,
    /// Further changes of the store, in the same commit.
    others: Vec<Change>,
    /// What is done once all is stored, before anybody sees the changed tasks.
    publications: Vec<Publication>,
}

pub(super) type Publication = Box<dyn FnOnce() + Send>;

impl<'a> Changes<'a> {
    pub(super) fn new(following: &'a Following) -> Self {
        Self { following, changed: HashMap::new(), others: Vec::new(), publications: Vec::new() }
    }

    /// Changes a task, if it is followed and `change` says that it did change.
    pub fn task(&mut self, uid: TaskUid, change: impl FnOnce(&mut Task) -> bool) {
        let was_final;
        if let Some(task) = self.changed.get_mut(&uid) {
            was_final = task.status.is_final();
            change(task);
        } else if let Some(task) = self.following.get(uid) {
            was_final = task.status.is_final();
            let mut task = (*task).clone();
            if change(&mut task) {
                self.changed.insert(uid, task);
            }
        } else {
            return;
        }
        if !was_final {
            self.tell_webhooks(uid);
            self.tell_canceler(uid);
        }
    }

    /// A task that is followed, as it stands before this commit.
    pub fn followed(&self, uid: TaskUid) -> Option<Arc<Task>> {
        self.following.get(uid)
    }

    /// Whether the index that nodes call `node_uid` was being created before this commit.
    pub fn is_being_created(&self, node_uid: &IndexUid) -> bool {
        self.following.is_being_created(node_uid)
    }

    /// The followed tasks that `are_wanted` as they stand before this commit, oldest first. Looks through all of them.
    pub fn followed_where(&self, are_wanted: impl Fn(&Task) -> bool) -> Vec<TaskUid> {
        let wanted = self.following.tasks().filter(|task| are_wanted(task));
        let mut uids: Vec<TaskUid> = wanted.map(|task| task.uid).collect();
        uids.sort_unstable();
        uids
    }

    /// If the task has just ended, its record says in the same commit that webhooks have to be told.
    fn tell_webhooks(&mut self, uid: TaskUid) {
        if let Some(task) = self.changed.get_mut(&uid).filter(|task| task.status.is_final()) {
            task.is_untold = self.following.has_webhooks();
        }
    }

    /// If the task has just ended and was to be canceled, the one that cancels it learns of it in the same commit.
    fn tell_canceler(&mut self, uid: TaskUid) {
        let Some((by, is_canceled)) = self.changed.get_mut(&uid).and_then(Task::canceled_in_time) else { return };
        self.task(by, |task| task.one_named_ended(is_canceled));
    }

    /// Another change in the same commit.
    pub fn also(&mut self, change: Change) {
        self.others.push(change);
    }

    /// Makes something visible once all is stored, before anybody sees the changed tasks.
    pub fn then(&mut self, publication: impl FnOnce() + Send + 'static) {
        self.publications.push(Box::new(publication));
    }

    /// What a node said of its tasks.
    pub(super) fn take_in(&mut self, answer: &Answer) {
        let reports: HashMap<u32, &NodeTaskReport> = answer.reports.iter().map(|report| (report.uid, report)).collect();
        let following = self.following;
        for (uid, node_task) in following.concerned(answer) {
            self.task(uid, |task| match reports.get(&node_task) {
                Some(report) => task.observe(&answer.node, report),
                None => task.observe_lost(&answer.node, node_task),
            });
        }
    }

    pub(super) fn into_tasks(self) -> Vec<Task> {
        let mut tasks: Vec<Task> = self.changed.into_values().collect();
        tasks.sort_unstable_by_key(|task| task.uid);
        tasks
    }

    /// Everything for the store, what is to be made visible, and the tasks to publish afterwards.
    fn into_commit(mut self) -> (Vec<Change>, Vec<Publication>, Vec<Task>) {
        let publications = std::mem::take(&mut self.publications);
        let mut changes = std::mem::take(&mut self.others);
        for (uid, task) in &self.changed {
            let before = self.following.get(*uid);
            let payload = before.as_ref().and_then(|before| Some(before.replay.as_ref()?.payload));
            if task.replay.is_none() {
                changes.extend(payload.map(Change::DeletePayload));
            }
            let unequal = task.unequal_replicas();
            if !unequal.is_empty() && before.is_none_or(|before| before.unequal_replicas() != unequal) {
                changes.extend(unequal.into_iter().map(Change::AddStale));
            }
        }
        let tasks = self.into_tasks();
        changes.extend(tasks.iter().map(|task| Change::UpdateTask(Box::new(task.clone()))));
        (changes, publications, tasks)
    }
}

type Carry = Box<dyn for<'a> FnOnce(&mut Changes<'a>) + Send>;

/// A change that waits for its commit. The number of tasks changed by the commit that it became part of is sent back.
pub struct Pending {
    carry_out: Carry,
    reply: oneshot::Sender<Result<usize, StoreError>>,
}

impl TaskRegistry {
    /// Changes followed tasks. All that `change` does is stored, all or nothing, and visible when this returns; with how many
    /// tasks changed in the commit that it was part of.
    pub async fn change(&self, change: impl FnOnce(&mut Changes<'_>) + Send + 'static) -> Result<usize, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        self.pending().push(Pending { carry_out: Box::new(change), reply });
        let turn = self.committing.lock().await;
        if let Ok(result) = answer.try_recv() {
            return result;
        }
        self.commit_pending().await;
        drop(turn);
        answer.await.map_err(|_| StoreError::Backend("a change of tasks was given up".to_owned()))?
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit_pending(&self) {
        let pending = std::mem::take(&mut *self.pending());
        let mut replies = Vec::with_capacity(pending.len());
        let (changes, publications, tasks) = {
            let following = self.following();
            let mut changes = Changes::new(&following);
            for change in pending {
                (change.carry_out)(&mut changes);
                replies.push(change.reply);
            }
            changes.into_commit()
        };
        let count = tasks.len();
        let stored = if changes.is_empty() { Ok(()) } else { self.store.apply(changes).await };
        if stored.is_ok() {
            self.show(publications, &tasks).await;
            if count > 0 {
                self.publish(tasks);
            }
        }
        let failure = stored.err().map(|error| error.to_string());
        for reply in replies {
            // Who has gone away does not need to hear.
            let _ = reply.send(failure.as_ref().map_or(Ok(count), |error| Err(StoreError::Backend(error.clone()))));
        }
    }
}
