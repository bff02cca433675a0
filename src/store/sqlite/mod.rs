//! The store of a single Miroir: one SQLite file in WAL mode, one writing thread, a few reading connections.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use rustix::fs::{flock, FlockOperation};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use self::read::Readers;
use self::writer::{Reply, Write, WriterMetrics};
use super::{
    Change, IdempotentWrite, IndexRecord, PayloadId, PayloadPart, StaleReplica, Store, StoreError, StoreMetrics,
};
use crate::auth::{AdminSession, ApiKey};
use crate::cluster::{Alias, ShardSet, TaskUid};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};
use crate::webhooks::Webhook;

mod read;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

/// Writes that wait for the writing thread. Beyond it, writers wait for a place: that is the back-pressure.
const QUEUE_MAX: usize = 4_096;
/// How long a write waits, for its place and then for its commit, before its client is told that the store is busy.
/// The write may still happen.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest write-ahead log kept on disk between checkpoints.
const WAL_BYTES_MAX: i64 = 64 << 20;
/// How often a start tries again for a file that a leaving process still holds.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// How to open a file.
#[derive(Clone, Debug, Default)]
pub struct SqliteOptions {
    /// How long to wait for another process to let go of the file: zero at a plain start; in an upgrade the time
    /// that the old process may take to leave.
    pub lock_wait: Duration,
}

/// A store in a file of its own. Dropping it carries out what is still queued and lets go of the file.
pub struct SqliteStore {
    /// `None` only while the store is being dropped.
    queue: Option<mpsc::Sender<Write>>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    metrics: Arc<WriterMetrics>,
    /// Held, not read: the lock lasts as long as the file is open.
    _lock: File,
}

impl SqliteStore {
    /// Opens or creates the file and brings its schema up to date. Blocks; meant for the start of the process.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        let lock = lock(path, options.lock_wait)?;
        let connection = connect(path)?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let metrics = Arc::<WriterMetrics>::default();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let metrics = metrics.clone();
                move || writer::run(connection, waiting, metrics)
            })
            .map_err(|error| cannot_open(path, error))?;
        Ok(Self { queue: Some(queue), writer: Some(writer), readers: Readers::new(path.into()), metrics, _lock: lock })
    }

    async fn write<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let committed = async {
            queue.send(write(reply)).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Backend("the write was given up; the log says why".to_owned()))?
        };
        tokio::time::timeout(WRITE_TIMEOUT, committed).await.unwrap_or(Err(StoreError::Busy))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Without senders the writer ends, once the queue is empty.
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            if writer.join().is_err() {
                log::error!("the thread that writes to the store panicked");
            }
        }
    }
}

/// Two processes on one file would give the same task numbers' meaning to two registries, so the second is refused.
/// The lock is on a file beside the database, because SQLite's own locks are on the database.
fn lock(path: &Path, wait: Duration) -> Result<File, StoreError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(lock_path))
        .map_err(|error| cannot_open(path, error))?;
    let give_up_at = Instant::now() + wait;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < give_up_at => std::thread::sleep(LOCK_RETRY),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse { path: path.display().to_string() }),
            Err(error) => return Err(cannot_open(path, error)),
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode anything less does not flush at commit, and a power cut takes acknowledged writes.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
        connection.busy_timeout(WRITE_TIMEOUT)?;
        schema::version(&connection).map(|version| (connection, version))
    };
    let (mut connection, found) = open().map_err(|error| cannot_open(path, error))?;
    if found > schema::VERSION {
        return Err(StoreError::Newer { path: path.display().to_string(), found, known: schema::VERSION });
    }
    schema::migrate(&mut connection).map_err(|error| cannot_open(path, error))?;
    Ok(connection)
}

fn cannot_open(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Open { path: path.display().to_string(), source: Box::new(source) }
}

#[async_trait]
impl Store for SqliteStore {
    async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        self.readers.read(read::indexes).await
    }

    async fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        self.readers.read(read::aliases).await
    }

    async fn configuration(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |connection| read::configuration(connection, &name)).await
    }

    async fn insert_task(&self, task: NewTask, payload: Vec<PayloadPart>) -> Result<Task, StoreError> {
        self.write(|reply| Write::InsertTask(Box::new(task), payload, reply)).await
    }

    async fn add_payload(&self, id: PayloadId, parts: Vec<PayloadPart>) -> Result<(), StoreError> {
        self.write(|reply| Write::AddPayload(id, parts, reply)).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.write(|reply| Write::Apply(changes, reply)).await
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        self.readers.read(move |connection| read::task(connection, uid.0)).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let query = query.clone();
        self.readers.read(move |connection| read::tasks(connection, &query)).await
    }

    async fn followed_tasks(&self) -> Result<Vec<Task>, StoreError> {
        self.readers.read(read::followed_tasks).await
    }

    async fn payload(&self, id: PayloadId, step: u8, shards: &ShardSet) -> Result<Vec<PayloadPart>, StoreError> {
        let shards = shards.clone();
        self.readers.read(move |connection| read::payload(connection, id, step, &shards)).await
    }

    async fn retain_payloads(&self, ids: &[PayloadId]) -> Result<u32, StoreError> {
        self.write(|reply| Write::RetainPayloads(ids.to_vec(), reply)).await
    }

    async fn idempotent_write(&self, key: &str) -> Result<Option<IdempotentWrite>, StoreError> {
        let key = key.to_owned();
        self.readers.read(move |connection| read::idempotent_write(connection, &key)).await
    }

    async fn forget_idempotency_keys(
        &self,
        time: OffsetDateTime,
        keys_max: u64,
        limit: u32,
    ) -> Result<u32, StoreError> {
        self.write(|reply| Write::ForgetKeys { before: time, keys_max, limit, reply }).await
    }

    async fn stale_replicas(&self) -> Result<Vec<StaleReplica>, StoreError> {
        self.readers.read(read::stale_replicas).await
    }

    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
        self.write(|reply| Write::DeleteFinished { before: time, limit, reply }).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.readers.read(read::api_keys).await
    }

    async fn admin_sessions(&self) -> Result<Vec<AdminSession>, StoreError> {
        self.readers.read(read::admin_sessions).await
    }

    async fn admin_session(&self, digest: &str) -> Result<Option<AdminSession>, StoreError> {
        let digest = digest.to_owned();
        self.readers.read(move |connection| read::admin_session(connection, &digest)).await
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.readers.read(read::webhooks).await
    }

    fn metrics(&self) -> StoreMetrics {
        self.metrics.read()
    }
}
