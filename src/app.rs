//! What every request and every background service shares.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::api::KeysUnderWay;
use crate::auth::{Gate, Secrets};
use crate::cluster::{Cluster, HealthThresholds, Index, IndexUid, Node, Snapshot, Topology};
use crate::conf::Config;
use crate::documents::MemoryBudget;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::scatter::{HealthBoard, LegLimits, NodeClient, Scatter};
use crate::store::{self, Change, IndexChange, IndexRecord, Store, StoreError};
use crate::tasks::TaskRegistry;
use crate::writes::{Quorum, ReplicaLogs, WriteOrder};

/// How much longer a write's leg may take than a read's: its body is up to a hundred times larger.
const WRITE_TIMEOUT_FACTOR: u32 = 6;

pub struct App {
    pub config: Config,
    pub cluster: Arc<Cluster>,
    pub scatter: Scatter,
    pub store: Arc<dyn Store>,
    pub tasks: Arc<TaskRegistry>,
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub gate: Arc<Gate>,
    /// Writes under way, and which of them wait for which.
    pub order: WriteOrder,
    /// What each node still has to be given.
    pub logs: ReplicaLogs,
    /// What the bodies of all requests may hold together.
    pub body_memory: Arc<MemoryBudget>,
    /// Idempotency keys of writes under way.
    pub keys_under_way: Arc<KeysUnderWay>,
}

impl App {
    /// Opens the store and takes up what it remembers. Talks to no node yet. `lock_wait` is how long a process that is being
    /// replaced may take to let go of the store.
    pub async fn open(config: Config, lock_wait: Duration) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new().context("cannot set up metrics")?);
        let store = store::open(&config.task_store, lock_wait).await?;
        apply_pending_changes(store.as_ref()).await?;

        let gate = Gate::open(Secrets::of(&config), Arc::clone(&store)).await.context("cannot read the API keys")?;
        let gate = Arc::new(gate);
        let topology = topology_of(&config);
        let nodes = NodeClient::new(&topology, config.node_master_key.as_ref())
            .context("node_master_key is no header value")?;
        let thresholds = HealthThresholds {
            failures_to_fail: config.health.unhealthy_threshold as u32,
            successes_to_recover: config.health.recovery_threshold as u32,
        };
        let health = HealthBoard::new(&topology, thresholds);
        for node in &topology.nodes {
            metrics.node_healthy.with_label_values(&[node.id.as_str()]).set(1);
        }
        let mut snapshot = Snapshot::new(topology).with_placement(config.shards);
        for record in store.indexes().await? {
            snapshot = snapshot.with_index(Arc::new(index_of(record)));
        }
        let cluster = Arc::new(Cluster::new(snapshot));
        let tasks = TaskRegistry::open(Arc::clone(&store), config.task_registry.ttl, Arc::clone(&cluster)).await?;
        let topology = Arc::clone(&cluster.snapshot().topology);
        let logs = ReplicaLogs::new(&topology);
        tasks.undelivered().iter().for_each(|task| logs.add(&topology, task));
        let limits = LegLimits {
            read_timeout: config.scatter.node_timeout,
            write_timeout: config.scatter.node_timeout * WRITE_TIMEOUT_FACTOR,
            retry_on_timeout: config.scatter.retry_on_timeout,
        };
        let scatter = Scatter { cluster: Arc::clone(&cluster), nodes, health, limits, metrics: Arc::clone(&metrics) };
        let body_memory = MemoryBudget::new(config.writes.buffer_bytes_max);
        let (order, keys_under_way) = (WriteOrder::default(), Arc::default());
        Ok(Self { config, cluster, scatter, store, tasks, metrics, gate, order, logs, body_memory, keys_under_way })
    }

    /// The snapshot that a request is to keep, with the index that it names.
    pub fn index(&self, uid: &IndexUid) -> Result<(Arc<Snapshot>, Arc<Index>), ApiError> {
        let snapshot = self.cluster.snapshot();
        let index = snapshot.index(uid).cloned().ok_or_else(|| ApiError::index_not_found(uid.as_str()))?;
        Ok((snapshot, index))
    }

    /// Longest time that a client waits for an answer.
    pub fn request_timeout(&self) -> Duration {
        self.config.server.request_timeout
    }

    /// What counts as holding a write.
    pub fn quorum(&self) -> Quorum {
        if self.config.writes.strict_quorum {
            Quorum::Acknowledged
        } else {
            Quorum::AcknowledgedOrLogged
        }
    }

    /// Makes a stored change of an index visible to requests.
    pub fn publish_index(&self, change: IndexChange) {
        self.cluster.publish(|snapshot| match change {
            IndexChange::Put(record) => snapshot.with_index(Arc::new(index_of(record))),
            IndexChange::Delete(uid) => snapshot.without_index(&uid),
        });
    }
}

/// A crash may have come between a write's two commits: what it changes of its index is applied now, as its legs will be.
async fn apply_pending_changes(store: &dyn Store) -> Result<(), StoreError> {
    for mut task in store.followed_tasks().await? {
        if let Some(change) = task.change.take() {
            store.apply(vec![Change::from(change), Change::UpdateTask(Box::new(task))]).await?;
        }
    }
    Ok(())
}

fn topology_of(config: &Config) -> Topology {
    let node = |node: &crate::conf::NodeConfig| Node {
        id: node.id.clone(),
        address: node.address.authority(),
        group: node.group,
    };
    Topology::new(config.nodes.iter().map(node).collect(), config.replication_factor as usize)
}

fn index_of(record: IndexRecord) -> Index {
    Index {
        uid: record.uid,
        primary_key: record.primary_key,
        shard_count: record.shard_count,
        created_at: record.created_at,
        updated_at: record.updated_at,
        settings: record.settings,
    }
}

/// The record that keeps an index as it is.
pub fn record_of(index: &Index) -> IndexRecord {
    IndexRecord {
        uid: index.uid.clone(),
        primary_key: index.primary_key.clone(),
        shard_count: index.shard_count,
        created_at: index.created_at,
        updated_at: index.updated_at,
        settings: index.settings.clone(),
    }
}
