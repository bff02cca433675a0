//! A store without a disk, for tests that stop the clock: it never waits for another thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{IndexRecord, Store, StoreError, StoreMetrics};
use crate::cluster::{IndexUid, TaskUid};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};

#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    indexes: BTreeMap<IndexUid, IndexRecord>,
    tasks: BTreeMap<TaskUid, Task>,
    next_task_uid: u32,
    metrics: StoreMetrics,
    fails: bool,
}

impl MemoryStore {
    /// From now on (or no longer) every write fails.
    pub fn set_failing(&self, fails: bool) {
        self.state().fails = fails;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state();
        if state.fails {
            return Err(StoreError::Backend("told to fail".to_owned()));
        }
        state.metrics.writes += 1;
        state.metrics.commits += 1;
        Ok(write(&mut state))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        Ok(self.state().indexes.values().cloned().collect())
    }

    async fn put_index(&self, record: &IndexRecord) -> Result<(), StoreError> {
        self.write(|state| drop(state.indexes.insert(record.uid.clone(), record.clone())))
    }

    async fn delete_index(&self, uid: &IndexUid) -> Result<bool, StoreError> {
        self.write(|state| state.indexes.remove(uid).is_some())
    }

    async fn insert_task(&self, task: NewTask) -> Result<Task, StoreError> {
        self.write(|state| {
            let task = Task::numbered(TaskUid(state.next_task_uid), task);
            state.next_task_uid += 1;
            state.tasks.insert(task.uid, task.clone());
            task
        })
    }

    async fn update_tasks(&self, tasks: Vec<Task>) -> Result<(), StoreError> {
        self.write(|state| {
            for task in tasks {
                if let Some(stored) = state.tasks.get_mut(&task.uid) {
                    *stored = task;
                }
            }
        })
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        Ok(self.state().tasks.get(&uid).cloned())
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let state = self.state();
        let mut matching: Vec<&Task> = state.tasks.values().filter(|task| query.filter.matches(task)).collect();
        let total = matching.len() as u64;
        if query.reverse {
            matching.retain(|task| query.from.is_none_or(|from| task.uid.0 >= from));
        } else {
            matching.reverse();
            matching.retain(|task| query.from.is_none_or(|from| task.uid.0 <= from));
        }
        let next = matching.get(query.limit as usize).map(|task| task.uid.0);
        let tasks = matching.into_iter().take(query.limit as usize).cloned().collect();
        Ok(TaskPage { tasks, total, next })
    }

    async fn unfinished_tasks(&self) -> Result<Vec<Task>, StoreError> {
        Ok(self.state().tasks.values().filter(|task| !task.status.is_final()).cloned().collect())
    }

    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
        self.write(|state| {
            let old = state.tasks.values().filter(|task| task.finished_at.is_some_and(|at| at < time));
            let uids: Vec<TaskUid> = old.take(limit as usize).map(|task| task.uid).collect();
            uids.iter().for_each(|uid| drop(state.tasks.remove(uid)));
            uids.len() as u32
        })
    }

    fn metrics(&self) -> StoreMetrics {
        self.state().metrics
    }
}

#[cfg(test)]
mod tests {
    crate::store::conformance::conformance_tests!((super::MemoryStore::default(), ()));
}
