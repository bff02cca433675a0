//! The store that several Miroirs may share: Redis.
//!
//! `keys` is the layout, `link` the connection and its deadlines, `write` and the scripts in `scripts/` everything that changes
//! something, `read` the rest. Nothing that correctness needs is kept in the process: another one may change any record at
//! any time.
//!
//! What is acknowledged is as durable as Redis makes it: with `appendonly yes` and `appendfsync always` it outlives a power
//! cut; with `appendfsync everysec` a crash of Redis, but of a power cut the last second is lost; without `appendonly`, or with
//! an eviction policy that takes keys without expiry, nothing is certain. A start looks and warns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{cmd, Client, ConnectionAddr, IntoConnectionInfo};
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use self::link::Link;
use self::read::Reader;
use self::roll::Roll;
use self::write::Writer;
use super::{
    Candidacy, Change, IdempotentWrite, IndexRecord, PayloadId, PayloadPart, Peer, RollCall, StaleReplica, Store,
    StoreError, StoreMetrics,
};
use crate::auth::{AdminSession, ApiKey};
use crate::cluster::{Alias, ShardSet, TaskUid};
use crate::tasks::{NewTask, Task, TaskPage, TaskQuery};
use crate::webhooks::Webhook;

mod keys;
mod link;
mod read;
mod roll;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod write;

/// Threads that talk to Redis: one to read what the other takes apart.
const THREADS: usize = 2;

/// What a URL must look like, for messages.
const URL_EXPECTED: &str = "expected an address such as redis://:password@10.0.0.5:6379/0 (rediss:// for TLS)";

/// A store in Redis.
pub struct RedisStore {
    shared: Arc<Shared>,
    /// The connections belong to threads of their own, as callers' runtimes come and go. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

struct Shared {
    /// What all keys begin with.
    prefix: String,
    /// The server, without credentials.
    server: String,
    commands: Arc<Link>,
    bulk: Arc<Link>,
    writer: Arc<Writer>,
    roll: Roll,
    /// What Miroirs on this store tell each other by, if this is the first.
    peer_secret: String,
}

impl RedisStore {
    /// Connects, and refuses a store of a newer Miroir. All keys are under `prefix`.
    pub async fn open(url: &str, prefix: &str) -> Result<Self, StoreError> {
        let (client, server) = client(url).map_err(|why| cannot_open("at task_store.url", why))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store-redis")
            .enable_all()
            .build()
            .map_err(|error| cannot_open(&server, error))?;
        let commands = Arc::new(Link::new(client.clone(), server.clone()));
        let bulk = Arc::new(Link::new(client, server.clone()));
        // The braces are a hash tag: a cluster keeps all these keys together.
        let prefix = format!("{{{prefix}}}:");
        let random = || -> Result<String, StoreError> {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|error| cannot_open(&server, error.to_string()))?;
            Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
        };
        let (session, peer_secret) = (random()?, random()?);
        let writer = Arc::new(Writer::new(prefix.clone(), session, Arc::clone(&commands), Arc::clone(&bulk)));
        let shared = Arc::new(Shared { prefix, server, commands, bulk, writer, roll: Roll::new(), peer_secret });
        let store = Self { shared, runtime: Some(runtime) };
        store.on_its_threads(|shared| async move { shared.check_version().await }).await?;
        store.on_its_threads(|shared| async move { shared.warn_of_what_is_not_durable().await }).await?;
        Ok(store)
    }

    /// Carries a call out to its end, whatever becomes of the caller.
    async fn on_its_threads<T, F>(&self, call: impl FnOnce(Arc<Shared>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().ok_or(StoreError::Closed)?;
        runtime.spawn(call(Arc::clone(&self.shared))).await.map_err(|error| match error.is_cancelled() {
            true => StoreError::Closed,
            false => StoreError::Backend(format!("a call to Redis was given up: {error}")),
        })?
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn reader(&self) -> Reader<'_> {
        Reader { link: &self.commands, prefix: &self.prefix }
    }

    fn payload_reader(&self) -> Reader<'_> {
        Reader { link: &self.bulk, prefix: &self.prefix }
    }

    /// An empty Redis gets this program's version; another one must have it.
    async fn check_version(&self) -> Result<(), StoreError> {
        let key = format!("{}schema", self.prefix);
        let opened = async {
            let _: i64 = self.commands.read(cmd("SETNX").arg(&key).arg(keys::VERSION)).await?;
            self.commands.read::<String>(cmd("GET").arg(&key)).await
        };
        let found = opened.await.map_err(|error| cannot_open(&self.server, error))?;
        match found.parse::<i64>() {
            Ok(keys::VERSION) => Ok(()),
            Ok(found) if found > keys::VERSION => {
                Err(StoreError::Newer { path: self.server.clone(), found, known: keys::VERSION })
            }
            _ => Err(cannot_open(&self.server, format!("{key} is `{found}`, which is no version of Miroir's records"))),
        }
    }

    /// Where `CONFIG` is forbidden, as in hosted services, whoever runs it has to know.
    async fn warn_of_what_is_not_durable(&self) -> Result<(), StoreError> {
        let server = &self.server;
        match self.setting("appendonly").await.as_deref() {
            Some("no") => log::warn!(
                "Redis at {server} has `appendonly no`: when it stops, tasks and replica logs are lost. Set `appendonly yes`"
            ),
            Some(_) => {
                if self.setting("appendfsync").await.as_deref() == Some("no") {
                    log::warn!(
                        "Redis at {server} has `appendfsync no`: a power cut takes half a minute of writes. Set `always`, \
                         or `everysec` to lose a second at most"
                    );
                }
            }
            None => log::info!("Redis at {server} does not tell its settings; it should have `appendonly yes`"),
        }
        if let Some(policy) = self.setting("maxmemory-policy").await.filter(|policy| policy.starts_with("allkeys")) {
            log::warn!(
                "Redis at {server} has `maxmemory-policy {policy}`: it would drop records when its memory is full. Set \
                 `noeviction`"
            );
        }
        Ok(())
    }

    async fn setting(&self, name: &str) -> Option<String> {
        let answer: Vec<String> = self.commands.read(cmd("CONFIG").arg("GET").arg(name)).await.ok()?;
        answer.into_iter().nth(1)
    }
}

/// What is wrong with a URL, without the URL: there may be a password in it.
pub fn check_url(url: &str) -> Result<(), String> {
    client(url).map(drop)
}

/// A client, and the server's name without credentials.
fn client(url: &str) -> Result<(Client, String), String> {
    let info = url.into_connection_info().map_err(|_| URL_EXPECTED.to_owned())?;
    let address = info.addr().clone();
    let scheme = match &address {
        ConnectionAddr::Unix(_) => "unix:",
        ConnectionAddr::TcpTls { .. } => "rediss://",
        _ => "redis://",
    };
    let server = format!("{scheme}{address}/{}", info.redis_settings().db());
    let client = Client::open(info).map_err(|error| format!("{URL_EXPECTED}; {error}"))?;
    Ok((client, server))
}

fn cannot_open(server: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Open { path: server.to_owned(), source: source.into() }
}

#[async_trait]
impl Store for RedisStore {
    async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().indexes().await }).await
    }

    async fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().aliases().await }).await
    }

    async fn configuration(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let name = name.to_owned();
        self.on_its_threads(|shared| async move { shared.reader().configuration(&name).await }).await
    }

    async fn insert_task(&self, task: NewTask, payload: Vec<PayloadPart>) -> Result<Task, StoreError> {
        self.on_its_threads(|shared| async move { shared.writer.insert_task(task, &payload).await }).await
    }

    async fn add_payload(&self, id: PayloadId, parts: Vec<PayloadPart>) -> Result<(), StoreError> {
        self.on_its_threads(|shared| async move { shared.writer.add_payload(id, &parts).await }).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.on_its_threads(|shared| async move { shared.writer.apply(&changes).await }).await
    }

    async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        self.on_its_threads(move |shared| async move { shared.reader().task(uid).await }).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let query = query.clone();
        self.on_its_threads(|shared| async move { shared.reader().tasks(&query).await }).await
    }

    async fn followed_tasks(&self) -> Result<Vec<Task>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().followed_tasks().await }).await
    }

    async fn payload(&self, id: PayloadId, step: u8, shards: &ShardSet) -> Result<Vec<PayloadPart>, StoreError> {
        let shards = shards.clone();
        self.on_its_threads(move |shared| async move { shared.payload_reader().payload(id, step, &shards).await }).await
    }

    async fn retain_payloads(&self, ids: &[PayloadId]) -> Result<u32, StoreError> {
        let ids = ids.to_vec();
        self.on_its_threads(|shared| async move { shared.writer.retain_payloads(&ids).await }).await
    }

    async fn idempotent_write(&self, key: &str) -> Result<Option<IdempotentWrite>, StoreError> {
        let key = key.to_owned();
        self.on_its_threads(|shared| async move { shared.reader().idempotent_write(&key).await }).await
    }

    async fn forget_idempotency_keys(
        &self,
        time: OffsetDateTime,
        keys_max: u64,
        limit: u32,
    ) -> Result<u32, StoreError> {
        self.on_its_threads(move |shared| async move { shared.writer.forget_keys(time, keys_max, limit).await }).await
    }

    async fn stale_replicas(&self) -> Result<Vec<StaleReplica>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().stale_replicas().await }).await
    }

    async fn delete_finished_tasks_before(&self, time: OffsetDateTime, limit: u32) -> Result<u32, StoreError> {
        self.on_its_threads(move |shared| async move { shared.writer.delete_finished(time, limit).await }).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().api_keys().await }).await
    }

    async fn admin_sessions(&self) -> Result<Vec<AdminSession>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().admin_sessions().await }).await
    }

    async fn admin_session(&self, digest: &str) -> Result<Option<AdminSession>, StoreError> {
        let digest = digest.to_owned();
        self.on_its_threads(|shared| async move { shared.reader().admin_session(&digest).await }).await
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.on_its_threads(|shared| async move { shared.reader().webhooks().await }).await
    }

    async fn call_roll(&self, me: &Peer, candidacy: Candidacy, lease: Duration) -> Result<RollCall, StoreError> {
        let me = me.clone();
        self.on_its_threads(move |shared| async move {
            let place = (shared.commands.as_ref(), shared.prefix.as_str());
            shared.roll.call(place, &me, candidacy, lease, &shared.peer_secret).await
        })
        .await
    }

    async fn leave(&self, me: &Peer) -> Result<(), StoreError> {
        let me = me.clone();
        let leaving = |shared: Arc<Shared>| async move {
            shared.roll.leave((shared.commands.as_ref(), shared.prefix.as_str()), &me).await
        };
        self.on_its_threads(leaving).await
    }

    fn write_in_term(&self, term: u64) {
        self.shared.writer.write_in_term(term);
    }

    fn metrics(&self) -> StoreMetrics {
        self.shared.writer.metrics()
    }
}
