//! Writing: each write is one script, which Redis runs alone and keeps whole or not at all.
//!
//! What arrives while Redis flushes its log is flushed together next time, so that writes that wait together share a flush as
//! they do with SQLite, without anything being gathered here.
//!
//! A lost connection leaves a write in doubt. It is sent again until it is known to be done: what may be done twice as it is,
//! what may not with a number that Redis remembers it by. Where even that fails within the deadline, the caller is told so,
//! and an inserted task is withdrawn before another one is inserted: it must not come up later, behind writes that followed it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, Script};
use time::OffsetDateTime;
use tokio::time::{timeout, Instant};

use super::keys::{score, shard_field, Column};
use super::link::{pause, Call, Failure, Link, CALL_TIMEOUT};
use crate::cluster::TaskUid;
use crate::store::{Change, PayloadId, PayloadPart, StaleReplica, StoreError, StoreMetrics};
use crate::tasks::{NewTask, Task};

/// Numbers of acknowledged writes that one call tells Redis to forget.
const FORGET_MAX: usize = 64;
/// How often tasks that may have been inserted are tried to be withdrawn while nothing else needs it.
const WITHDRAW_EVERY: Duration = Duration::from_secs(1);

pub struct Writer {
    /// What all keys begin with.
    prefix: String,
    commands: Arc<Link>,
    /// Payloads go over a connection of their own: nothing small waits behind a large body.
    bulk: Arc<Link>,
    session: String,
    /// The term whose leader writes; 0 while this Miroir has led in none.
    term: AtomicU64,
    /// Rises with every answer that is missing: see `common.lua`.
    epoch: AtomicU64,
    next_number: AtomicU64,
    acknowledged: Mutex<Vec<u64>>,
    doubtful: Mutex<Vec<DoubtfulTask>>,
    scripts: Scripts,
    writes: AtomicU64,
    commits: AtomicU64,
    failed_commits: AtomicU64,
}

/// An insertion that may have been carried out, or may yet be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DoubtfulTask {
    number: u64,
    payload: Option<PayloadId>,
}

struct Scripts {
    insert_task: Script,
    withdraw_task: Script,
    add_payload: Script,
    apply: Script,
    retain_payloads: Script,
    forget_keys: Script,
    delete_finished: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file))))
    };
}

impl Scripts {
    fn new() -> Self {
        Self {
            insert_task: script!("insert_task.lua"),
            withdraw_task: script!("withdraw_task.lua"),
            add_payload: script!("add_payload.lua"),
            apply: script!("apply.lua"),
            retain_payloads: script!("retain_payloads.lua"),
            forget_keys: script!("forget_keys.lua"),
            delete_finished: script!("delete_finished.lua"),
        }
    }
}

/// Arguments of a script, in the order in which it takes them.
#[derive(Default)]
struct Arguments(Vec<Vec<u8>>);

impl Arguments {
    fn push(&mut self, argument: impl AsRef<[u8]>) -> &mut Self {
        self.0.push(argument.as_ref().to_vec());
        self
    }

    fn push_number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.push(number.to_string())
    }

    fn push_parts(&mut self, parts: &[PayloadPart]) {
        self.push_number(parts.len());
        for part in parts {
            self.push_number(part.step).push(shard_field(part.shard)).push(&part.bytes);
        }
    }

    /// Whether the task is followed, and since when it may be deleted.
    fn push_life(&mut self, task: &Task) -> &mut Self {
        let is_followed = task.is_followed();
        let ended = task.finished_at.filter(|_| !is_followed);
        self.push(if is_followed { "1" } else { "0" }).push(ended.map(score).unwrap_or_default())
    }

    fn push_columns(&mut self, columns: &[Column], task: &Task) {
        self.push_number(columns.len());
        for column in columns {
            self.push(column.name()).push(column.value(task));
        }
    }

    fn push_stale(&mut self, stale: &StaleReplica) {
        self.push_number(stale.shards.len());
        for shard in stale.shards.iter() {
            self.push(format!("{}/{}/{}", stale.node.as_str(), stale.index_uid.as_str(), shard.0));
        }
    }
}

impl Writer {
    /// `session` is this store's own among all that use the same Redis.
    pub fn new(prefix: String, session: String, commands: Arc<Link>, bulk: Arc<Link>) -> Self {
        Self {
            prefix,
            commands,
            bulk,
            session,
            term: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            next_number: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            doubtful: Mutex::default(),
            scripts: Scripts::new(),
            writes: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            failed_commits: AtomicU64::new(0),
        }
    }

    pub fn write_in_term(&self, term: u64) {
        // What was in doubt in an earlier term is there or not for whoever has led since.
        if self.term.swap(term, Ordering::AcqRel) != term {
            self.doubtful().clear();
        }
    }

    pub fn metrics(&self) -> StoreMetrics {
        StoreMetrics {
            writes: self.writes.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            failed_commits: self.failed_commits.load(Ordering::Relaxed),
        }
    }

    /// The number is an atomic counter's, given by the script that keeps the task, so that it rises in the order of commits for
    /// all Miroirs together and one that is not used leaves no gap. The record is written before the number is known: the uid in
    /// it is not read, the field that it is kept under is.
    pub async fn insert_task(self: &Arc<Self>, new: NewTask, payload: &[PayloadPart]) -> Result<Task, StoreError> {
        let settled = timeout(CALL_TIMEOUT, self.withdraw_doubtful()).await;
        settled.unwrap_or(Err(StoreError::Busy))?;

        let mut arguments = Arguments::default();
        match &new.idempotency {
            Some(idempotency) => {
                let used_at = score(new.enqueued_at);
                arguments.push(&idempotency.key).push(idempotency.digest).push(used_at)
            }
            None => arguments.push("").push("").push(""),
        };
        let payload_id = new.replay.as_ref().map(|replay| replay.payload);
        arguments.push(payload_id.map(|id| id.0.to_string()).unwrap_or_default());
        arguments.push_parts(if payload_id.is_some() { payload } else { &[] });
        let mut task = Task::numbered(TaskUid(0), new);
        arguments.push(to_json(&task)?).push_life(&task).push_columns(&Column::ALL, &task);

        let number = self.number();
        match self.write(&self.commands, &self.scripts.insert_task, Some(number), arguments).await {
            Ok(uid) => {
                let uid = u32::try_from(uid).map_err(|_| StoreError::Corrupt(format!("{uid} is no task number")))?;
                task.uid = TaskUid(uid);
                Ok(task)
            }
            Err(Failure::Declined(code)) if code == "TAKEN" => Err(StoreError::IdempotencyKeyTaken),
            Err(Failure::Declined(code)) if code == "NOUIDS" => Err(StoreError::OutOfTaskUids),
            Err(failure) => {
                if matches!(failure, Failure::InDoubt(_)) {
                    self.doubtful().push(DoubtfulTask { number, payload: payload_id });
                    tokio::spawn(Arc::clone(self).keep_withdrawing());
                }
                Err(self.commands.error(failure))
            }
        }
    }

    pub async fn add_payload(&self, id: PayloadId, parts: &[PayloadPart]) -> Result<(), StoreError> {
        let mut arguments = Arguments::default();
        arguments.push_number(id.0).push_parts(parts);
        let written = self.write(&self.bulk, &self.scripts.add_payload, Some(self.number()), arguments).await;
        written.map(drop).map_err(|failure| self.bulk.error(failure))
    }

    pub async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut arguments = Arguments::default();
        for change in changes {
            push_change(&mut arguments, change)?;
        }
        self.repeatable(&self.scripts.apply, arguments).await.map(drop)
    }

    pub async fn retain_payloads(&self, ids: &[PayloadId]) -> Result<u32, StoreError> {
        // One argument, as there may be more of them than a command may have arguments.
        let ids: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
        let mut arguments = Arguments::default();
        arguments.push(ids.join(","));
        self.repeatable(&self.scripts.retain_payloads, arguments).await
    }

    pub async fn forget_keys(&self, before: OffsetDateTime, keys_max: u64, limit: u32) -> Result<u32, StoreError> {
        let mut arguments = Arguments::default();
        arguments.push(score(before)).push_number(keys_max).push_number(limit);
        self.repeatable(&self.scripts.forget_keys, arguments).await
    }

    pub async fn delete_finished(&self, before: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
        let mut arguments = Arguments::default();
        arguments.push(score(before)).push_number(limit);
        self.repeatable(&self.scripts.delete_finished, arguments).await
    }

    /// A write that leaves the same behind when it is carried out twice in a row.
    async fn repeatable(&self, script: &Script, arguments: Arguments) -> Result<u32, StoreError> {
        let written = self.write(&self.commands, script, None, arguments).await;
        let count = written.map_err(|failure| self.commands.error(failure))?;
        u32::try_from(count).map_err(|_| StoreError::Corrupt(format!("{count} is no number of records")))
    }

    /// Tasks whose insertion was given up must be gone before the next one is inserted.
    async fn withdraw_doubtful(&self) -> Result<(), StoreError> {
        let doubtful = self.doubtful().clone();
        for task in doubtful {
            let mut arguments = Arguments::default();
            arguments.push_number(task.number).push(task.payload.map(|id| id.0.to_string()).unwrap_or_default());
            self.repeatable(&self.scripts.withdraw_task, arguments).await?;
            self.doubtful().retain(|other| *other != task);
            log::info!("a task that may have been inserted while Redis did not answer has been withdrawn");
        }
        Ok(())
    }

    async fn keep_withdrawing(self: Arc<Self>) {
        while !self.doubtful().is_empty() {
            tokio::time::sleep(WITHDRAW_EVERY).await;
            // Told at the call that failed; this goes on until it works or the store is closed.
            let _ = self.withdraw_doubtful().await;
        }
    }

    /// Sends a script until its answer is known, within the deadline.
    async fn write(
        &self,
        link: &Link,
        script: &Script,
        number: Option<u64>,
        arguments: Arguments,
    ) -> Result<i64, Failure> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let forgotten = self.take_acknowledged();
        let result = self.write_until(link, script, number, &forgotten, arguments).await;
        match &result {
            Ok(_) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.acknowledged().extend(number);
            }
            Err(failure) => {
                self.acknowledged().extend(forgotten);
                if !matches!(failure, Failure::Declined(_)) {
                    self.failed_commits.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        result
    }

    async fn write_until(
        &self,
        link: &Link,
        script: &Script,
        number: Option<u64>,
        forgotten: &[u64],
        mut arguments: Arguments,
    ) -> Result<i64, Failure> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut head = Arguments::default();
        let term = self.term.load(Ordering::Acquire);
        head.push(if term == 0 { String::new() } else { term.to_string() });
        head.push(&self.session).push("").push(number.map(|number| number.to_string()).unwrap_or_default());
        head.push_number(forgotten.len());
        for number in forgotten {
            head.push_number(number);
        }
        head.0.append(&mut arguments.0);
        let mut arguments = head.0;
        let mut is_in_doubt = false;
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            arguments[2] = epoch.to_string().into_bytes();
            let call = Call::Script { script, prefix: &self.prefix, arguments: &arguments };
            let failure = match link.attempt(&call, deadline).await {
                Ok(value) => match i64::from_redis_value(value) {
                    Ok(count) => return Ok(count),
                    Err(error) => return Err(Failure::InDoubt(error.to_string())),
                },
                Err(failure) => failure,
            };
            match failure {
                // An answer to another call went missing after this one went out: this one was not carried out.
                Failure::Declined(ref code) if code == "FENCED" && pause(deadline).await => {}
                Failure::Declined(_) => return Err(failure),
                Failure::Refused(why) if is_in_doubt => return Err(Failure::InDoubt(why)),
                Failure::Refused(_) => return Err(failure),
                Failure::Busy if is_in_doubt => return Err(Failure::InDoubt("no turn in time".to_owned())),
                Failure::Busy => return Err(failure),
                Failure::InDoubt(why) => {
                    // Whoever comes second finds it raised already.
                    let _ = self.epoch.compare_exchange(epoch, epoch + 1, Ordering::AcqRel, Ordering::Acquire);
                    if !pause(deadline).await {
                        return Err(Failure::InDoubt(why));
                    }
                    is_in_doubt = true;
                }
                Failure::NotNow(why) => {
                    if !pause(deadline).await {
                        return Err(if is_in_doubt { Failure::InDoubt(why) } else { Failure::NotNow(why) });
                    }
                }
            }
        }
    }

    fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    fn take_acknowledged(&self) -> Vec<u64> {
        let mut acknowledged = self.acknowledged();
        let count = acknowledged.len().min(FORGET_MAX);
        acknowledged.drain(..count).collect()
    }

    fn acknowledged(&self) -> MutexGuard<'_, Vec<u64>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubtful(&self) -> MutexGuard<'_, Vec<DoubtfulTask>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Index, type and time of enqueuing never change.
const CHANGING: [Column; 4] = [Column::Status, Column::CanceledBy, Column::StartedAt, Column::FinishedAt];

fn push_change(arguments: &mut Arguments, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::PutIndex(record) => {
            arguments.push("put_index").push(record.uid.as_str()).push(to_json(record)?);
        }
        Change::DeleteIndex(uid) => {
            arguments.push("delete_index").push(uid.as_str());
        }
        Change::PutAlias(alias) => {
            arguments.push("put_alias").push(alias.name.as_str()).push(to_json(alias)?);
        }
        Change::DeleteAlias(name) => {
            arguments.push("delete_alias").push(name.as_str());
        }
        Change::PutConfiguration { name, value } => {
            arguments.push("put_configuration").push(name).push(to_json(value)?);
        }
        Change::UpdateTask(task) => {
            arguments.push("update_task").push_number(task.uid.0).push(to_json(task)?).push_life(task);
            arguments.push_columns(&CHANGING, task);
        }
        Change::DeleteTask(uid) => {
            arguments.push("delete_task").push_number(uid.0);
        }
        Change::ForgetKey(uid) => {
            arguments.push("forget_key").push_number(uid.0);
        }
        Change::DeletePayload(id) => {
            arguments.push("delete_payload").push_number(id.0);
        }
        Change::AddStale(stale) => arguments.push("add_stale").push_stale(stale),
        Change::RemoveStale(stale) => arguments.push("remove_stale").push_stale(stale),
        Change::PutApiKey(key) => {
            arguments.push("put_api_key").push(key.uid.to_string()).push(to_json(key)?);
        }
        Change::UpdateApiKey(key) => {
            arguments.push("update_api_key").push(key.uid.to_string()).push(to_json(key)?);
        }
        Change::DeleteApiKey(uid) => {
            arguments.push("delete_api_key").push(uid.to_string());
        }
        Change::PutAdminSession(session) => {
            arguments.push("put_admin_session").push(&session.digest).push(to_json(session)?);
        }
        Change::UpdateAdminSession(session) => {
            arguments.push("update_admin_session").push(&session.digest).push(to_json(session)?);
        }
        Change::DeleteAdminSession(digest) => {
            arguments.push("delete_admin_session").push(digest);
        }
        Change::PutWebhook(webhook) => {
            arguments.push("put_webhook").push(webhook.uid.to_string()).push(to_json(webhook)?);
        }
        Change::DeleteWebhook(uid) => {
            arguments.push("delete_webhook").push(uid.to_string());
        }
        Change::PutDefaultKeys(keys) => {
            arguments.push("put_default_keys").push_number(keys.len());
            for key in keys {
                arguments.push(key.uid.to_string()).push(to_json(key)?);
            }
        }
    }
    Ok(())
}

fn to_json(record: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Backend(error.to_string()))
}
