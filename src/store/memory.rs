//! A store without a disk, for tests that stop the clock: it never waits for another thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    Change, IdempotentWrite, IndexRecord, PayloadId, PayloadPart, StaleReplica, Store, StoreError, StoreMetrics,
};
use crate::auth::{AdminSession, ApiKey, KeyUid};
use crate::cluster::{Alias, IndexUid, NodeId, ShardSet, TaskUid};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};
use crate::webhooks::{Webhook, WebhookUid};

#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    indexes: BTreeMap<IndexUid, IndexRecord>,
    aliases: BTreeMap<IndexUid, Alias>,
    configuration: BTreeMap<String, serde_json::Value>,
    tasks: BTreeMap<TaskUid, Task>,
    payloads: BTreeMap<PayloadId, Vec<PayloadPart>>,
    idempotency: BTreeMap<String, (OffsetDateTime, IdempotentWrite)>,
    stale: BTreeMap<(NodeId, IndexUid), ShardSet>,
    api_keys: BTreeMap<KeyUid, ApiKey>,
    admin_sessions: BTreeMap<String, AdminSession>,
    webhooks: BTreeMap<WebhookUid, Webhook>,
    next_task_uid: u32,
    metrics: StoreMetrics,
    fails: bool,
}

impl State {
    fn apply(&mut self, change: Change) {
        match change {
            Change::PutIndex(record) => drop(self.indexes.insert(record.uid.clone(), record)),
            Change::DeleteIndex(uid) => drop(self.indexes.remove(&uid)),
            Change::PutAlias(alias) => drop(self.aliases.insert(alias.name.clone(), alias)),
            Change::DeleteAlias(name) => drop(self.aliases.remove(&name)),
            Change::PutConfiguration { name, value } => drop(self.configuration.insert(name, value)),
            Change::UpdateTask(task) => {
                if let Some(stored) = self.tasks.get_mut(&task.uid) {
                    *stored = *task;
                }
            }
            Change::DeleteTask(uid) => {
                self.tasks.remove(&uid);
                self.idempotency.retain(|_, (_, write)| write.task != uid);
            }
            Change::ForgetKey(uid) => self.idempotency.retain(|_, (_, write)| write.task != uid),
            Change::DeletePayload(id) => drop(self.payloads.remove(&id)),
            Change::AddStale(stale) => {
                self.stale.entry((stale.node, stale.index_uid)).or_default().extend(&stale.shards);
            }
            Change::RemoveStale(stale) => {
                let key = (stale.node, stale.index_uid);
                let Some(left) = self.stale.get_mut(&key) else { return };
                stale.shards.iter().for_each(|shard| left.remove(shard));
                if left.is_empty() {
                    self.stale.remove(&key);
                }
            }
            Change::PutApiKey(key) => drop(self.api_keys.insert(key.uid, key)),
            Change::UpdateApiKey(key) => {
                if let Some(stored) = self.api_keys.get_mut(&key.uid) {
                    *stored = key;
                }
            }
            Change::PutAdminSession(session) => drop(self.admin_sessions.insert(session.digest.clone(), session)),
            Change::UpdateAdminSession(session) => {
                if let Some(stored) = self.admin_sessions.get_mut(&session.digest) {
                    *stored = session;
                }
            }
            Change::DeleteAdminSession(digest) => drop(self.admin_sessions.remove(&digest)),
            Change::PutWebhook(webhook) => drop(self.webhooks.insert(webhook.uid, webhook)),
            Change::DeleteWebhook(uid) => drop(self.webhooks.remove(&uid)),
            Change::DeleteApiKey(uid) => drop(self.api_keys.remove(&uid)),
            Change::PutDefaultKeys(keys) => {
                if self.api_keys.is_empty() {
                    self.api_keys.extend(keys.into_iter().map(|key| (key.uid, key)));
                }
            }
        }
    }
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

    async fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        Ok(self.state().aliases.values().cloned().collect())
    }

    async fn configuration(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        Ok(self.state().configuration.get(name).cloned())
    }

    async fn insert_task(&self, new: NewTask, payload: Vec<PayloadPart>) -> Result<Task, StoreError> {
        self.write(|state| {
            let uid = TaskUid(state.next_task_uid);
            if let Some(idempotency) = &new.idempotency {
                if state.idempotency.contains_key(&idempotency.key) {
                    return Err(StoreError::IdempotencyKeyTaken);
                }
                let write = IdempotentWrite { digest: idempotency.digest, task: uid };
                state.idempotency.insert(idempotency.key.clone(), (new.enqueued_at, write));
            }
            if let Some(replay) = &new.replay {
                state.payloads.entry(replay.payload).or_default().extend(payload);
            }
            state.next_task_uid += 1;
            let task = Task::numbered(uid, new);
            state.tasks.insert(task.uid, task.clone());
            Ok(task)
        })?
    }

    async fn add_payload(&self, id: PayloadId, parts: Vec<PayloadPart>) -> Result<(), StoreError> {
        self.write(|state| state.payloads.entry(id).or_default().extend(parts))
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.write(|state| changes.into_iter().for_each(|change| state.apply(change)))
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

    async fn followed_tasks(&self) -> Result<Vec<Task>, StoreError> {
        Ok(self.state().tasks.values().filter(|task| task.is_followed()).cloned().collect())
    }

    async fn payload(&self, id: PayloadId, step: u8, shards: &ShardSet) -> Result<Vec<PayloadPart>, StoreError> {
        let state = self.state();
        let parts = state.payloads.get(&id).into_iter().flatten();
        let wanted = |part: &&PayloadPart| part.step == step && part.shard.is_none_or(|shard| shards.contains(shard));
        Ok(parts.filter(wanted).cloned().collect())
    }

    async fn retain_payloads(&self, ids: &[PayloadId]) -> Result<u32, StoreError> {
        self.write(|state| {
            let before = state.payloads.len();
            state.payloads.retain(|id, _| ids.contains(id));
            (before - state.payloads.len()) as u32
        })
    }

    async fn idempotent_write(&self, key: &str) -> Result<Option<IdempotentWrite>, StoreError> {
        Ok(self.state().idempotency.get(key).map(|(_, write)| write.clone()))
    }

    async fn forget_idempotency_keys(
        &self,
        time: OffsetDateTime,
        keys_max: u64,
        limit: u32,
    ) -> Result<u32, StoreError> {
        self.write(|state| {
            let mut by_age: Vec<(OffsetDateTime, String)> =
                state.idempotency.iter().map(|(key, (at, _))| (*at, key.clone())).collect();
            by_age.sort_unstable();
            let beyond = by_age.len().saturating_sub(keys_max as usize);
            let old = by_age.into_iter().enumerate().filter(|(n, (at, _))| *n < beyond || *at < time);
            let keys: Vec<String> = old.map(|(_, (_, key))| key).take(limit as usize).collect();
            state.idempotency.retain(|key, _| !keys.contains(key));
            keys.len() as u32
        })
    }

    async fn stale_replicas(&self) -> Result<Vec<StaleReplica>, StoreError> {
        let state = self.state();
        let stale = state.stale.iter().map(|((node, index_uid), shards)| StaleReplica {
            node: node.clone(),
            index_uid: index_uid.clone(),
            shards: shards.clone(),
        });
        Ok(stale.collect())
    }

    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
        self.write(|state| {
            let is_old = |task: &&Task| task.finished_at.is_some_and(|at| at < time) && !task.is_followed();
            let old = state.tasks.values().filter(is_old);
            let uids: Vec<TaskUid> = old.take(limit as usize).map(|task| task.uid).collect();
            uids.iter().for_each(|uid| drop(state.tasks.remove(uid)));
            uids.len() as u32
        })
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(self.state().api_keys.values().cloned().collect())
    }

    async fn admin_sessions(&self) -> Result<Vec<AdminSession>, StoreError> {
        Ok(self.state().admin_sessions.values().cloned().collect())
    }

    async fn admin_session(&self, digest: &str) -> Result<Option<AdminSession>, StoreError> {
        Ok(self.state().admin_sessions.get(digest).cloned())
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        Ok(self.state().webhooks.values().cloned().collect())
    }

    fn metrics(&self) -> StoreMetrics {
        self.state().metrics
    }
}

#[cfg(test)]
mod tests {
    crate::store::conformance::conformance_tests!((super::MemoryStore::default(), ()));
}
