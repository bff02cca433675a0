//! What every request and every background service shares.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::api::{KeysUnderWay, SearchesUnderWay};
use crate::auth::{AdminSessions, Gate, LoginAttempts, Secrets, SessionLimits};
use crate::catalog::{apply_pending_changes, index_of, Catalog};
use crate::cluster::{Cluster, HealthThresholds, Index, IndexUid, Node, Overdue, SearchRules, Snapshot, Topology};
use crate::conf::{Config, ConfigView, Secret};
use crate::documents::MemoryBudget;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::peers::{reads_last, Followers, Following, Lead, ReadLease, Role};
use crate::rollover::Rollovers;
use crate::scatter::{HealthBoard, LegLimits, NodeClient, Scatter};
use crate::settings::sequential::Withheld;
use crate::settings::{features, rules, DriftReports, SettingsLocks};
use crate::store::{self, Peer, Store};
use crate::tasks::{Conclusion, Task, TaskKind, TaskRegistry};
use crate::webhooks::Webhooks;
use crate::writes::{LateTurns, Quorum, ReplicaLogs, SharedRequests, WriteOrder};

/// How much longer a write's leg may take than a read's: its body is up to a hundred times larger.
const WRITE_TIMEOUT_FACTOR: u32 = 6;

/// How often it is looked whether earlier requests have ended.
const LEAVE_POLL: Duration = Duration::from_millis(5);

/// Share of a request's time after which a read makes do with what it has, so that the client gets that instead of nothing.
const READ_TIME_SHARE: f32 = 0.9;

pub struct App {
    pub config: Config,
    pub foundations: Arc<Foundations>,
    /// This Miroir as others on its store know it.
    pub me: Peer,
    /// What they tell each other by.
    pub peer_secret: Secret,
    pub role: Role,
    /// Held while reads may be answered by what this Miroir knows.
    pub reads: ReadLease,
    pub cluster: Arc<Cluster>,
    pub scatter: Scatter,
    pub store: Arc<dyn Store>,
    pub tasks: Arc<TaskRegistry>,
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub gate: Arc<Gate>,
    /// How often who is given a token of the search UI.
    pub session_limits: SessionLimits,
    /// Who has logged in with the admin key.
    pub admin_sessions: AdminSessions,
    /// Who has tried to.
    pub login_attempts: LoginAttempts,
    /// Who is told of tasks that have ended.
    pub webhooks: Arc<Webhooks>,
    /// Policies by which indexes give way to new ones.
    pub rollovers: Rollovers,
    /// How the records of indexes change.
    pub catalog: Catalog,
    /// Changes of settings that go to one node after another.
    pub withheld: Withheld,
    /// Held by the one who changes the nodes' features.
    pub changing_features: tokio::sync::Mutex<()>,
    /// Held by the one who changes the nodes' dynamic search rules, or compares them.
    pub changing_rules: tokio::sync::Mutex<()>,
    /// Who compares and mends the settings of which index.
    pub settings_locks: SettingsLocks,
    /// What followers have found to differ.
    pub drift_reports: DriftReports,
    /// The configuration that Miroir runs on, for showing it and for seeing what has changed.
    pub view: ArcSwap<ConfigView>,
    /// Writes under way, and which of them wait for which.
    pub order: WriteOrder,
    /// Requests to nodes that writes share.
    pub shared_requests: SharedRequests,
    /// Turns of refused writes that a node may still execute.
    pub late_turns: LateTurns,
    /// What each node still has to be given.
    pub logs: ReplicaLogs,
    /// What the bodies of all requests may hold together.
    pub body_memory: Arc<MemoryBudget>,
    /// Idempotency keys of writes under way.
    pub keys_under_way: Arc<KeysUnderWay>,
    /// Indexes of which expired documents are still there that should not be.
    pub overdue: Overdue,
    /// Searches under way, shared by whoever asks the same.
    pub searches: SearchesUnderWay,
}

/// What a process keeps from its start to its end, whoever leads.
pub struct Foundations {
    /// As it was last read.
    pub config: ArcSwap<Config>,
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
    pub gate: Arc<Gate>,
}

impl Foundations {
    /// Opens the store. `lock_wait` is how long a process that is being replaced may take to let go of it.
    pub async fn open(config: Config, lock_wait: Duration) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new().context("cannot set up metrics")?);
        let store = store::open(&config.task_store, lock_wait).await?;
        let gate = Gate::open(Secrets::of(&config), Arc::clone(&store)).await.context("cannot read the API keys")?;
        Ok(Self { config: ArcSwap::from_pointee(config), store, metrics, gate: Arc::new(gate) })
    }
}

/// A Miroir's place among those on its store when it opens.
pub enum Seat {
    /// It leads in this term, as long as `lead` says. The others may still go by what another one told them.
    Leader {
        term: u64,
        lead: Lead,
        reads: ReadLease,
        others: Vec<String>,
    },
    Follower {
        leader: Option<Peer>,
        peers: Vec<Peer>,
    },
}

impl App {
    /// Takes up what the store remembers: all of it as the leader, and else only what there is to know before the leader tells it. Talks to
    /// no node yet.
    pub async fn open(
        foundations: Arc<Foundations>,
        me: Peer,
        peer_secret: Secret,
        seat: Seat,
    ) -> anyhow::Result<Self> {
        let config = Config::clone(&foundations.config.load());
        let (store, metrics) = (Arc::clone(&foundations.store), Arc::clone(&foundations.metrics));
        let gate = Arc::clone(&foundations.gate);
        let leads = matches!(seat, Seat::Leader { .. });
        if leads {
            apply_pending_changes(store.as_ref()).await?;
        }
        let admin_sessions = AdminSessions::new(Arc::clone(&store), config.admin_ui.lifetimes);
        let topology = topology_of(&config);
        let nodes = NodeClient::new(&topology, config.node_keys()).context("node_master_key is no header value")?;
        let thresholds = HealthThresholds {
            failures_to_fail: config.health.unhealthy_threshold as u32,
            successes_to_recover: config.health.recovery_threshold as u32,
        };
        let health = HealthBoard::new(&topology, thresholds);
        for node in &topology.nodes {
            metrics.node_healthy.with_label_values(&[node.id.as_str()]).set(1);
        }
        let cluster = Arc::new(Cluster::new(recorded(store.as_ref(), topology, config.shards).await?));
        let ttl = config.task_registry.ttl;
        let tasks = match leads {
            true => TaskRegistry::open(Arc::clone(&store), ttl, Arc::clone(&cluster)).await?,
            false => TaskRegistry::idle(Arc::clone(&store), ttl, Arc::clone(&cluster)),
        };
        let webhooks = Arc::new(Webhooks::open(Arc::clone(&store)).await?);
        tasks.tell_ends_while(webhooks.are_there());
        let topology = Arc::clone(&cluster.snapshot().topology);
        let logs = ReplicaLogs::new(&topology);
        tasks.undelivered().iter().for_each(|task| logs.add(&topology, task));
        for task in tasks.followed_where(|_| true) {
            cluster.publish(|snapshot| showing(snapshot, &task));
        }
        let rollovers = Rollovers::open(store.as_ref()).await?;
        metrics.rollover_policies.set(rollovers.all().len() as i64);
        let limits = LegLimits {
            read_timeout: config.scatter.node_timeout,
            write_timeout: config.scatter.node_timeout * WRITE_TIMEOUT_FACTOR,
            read_time_max: config.server.request_timeout.mul_f32(READ_TIME_SHARE),
            retry_on_timeout: config.scatter.retry_on_timeout,
        };
        let reads_last = reads_last(config.leader_election.lease);
        let (role, lead, reads, followers) = match seat {
            Seat::Leader { term, lead, reads, others } => {
                let followers = Arc::new(Followers::new(others, reads_last));
                tasks.show_first(Arc::clone(&followers));
                (Role::Leads { term, followers: Arc::clone(&followers) }, lead, reads, followers)
            }
            Seat::Follower { leader, peers } => {
                let following = Following::default();
                following.set_roll(leader, peers);
                (Role::Follows(following), Lead::none(), ReadLease::none(), Arc::new(Followers::new([], reads_last)))
            }
        };
        let catalog = Catalog::new(Arc::clone(&cluster), followers);
        let scatter = Scatter::new(
            &topology,
            (Arc::clone(&cluster), nodes, health, lead),
            limits,
            config.replica_selection,
            config.hedging,
            config.admission,
            Arc::clone(&metrics),
        );
        let body_memory = MemoryBudget::new(config.writes.buffer_bytes_max);
        let view = ArcSwap::from_pointee(config.view.clone());
        let (order, keys_under_way, settings_locks) = (WriteOrder::default(), Arc::default(), SettingsLocks::default());
        let shared_requests = SharedRequests::new(metrics.writes_per_request.clone());
        // Who has seen a task end must not join a search that began before. Only the leader knows of ends.
        let searches = SearchesUnderWay::new(config.query_coalescing.enabled && leads, Arc::clone(&metrics));
        Ok(Self {
            config,
            foundations,
            me,
            peer_secret,
            role,
            reads,
            cluster,
            scatter,
            store,
            tasks,
            metrics,
            gate,
            session_limits: SessionLimits::default(),
            admin_sessions,
            login_attempts: LoginAttempts::default(),
            webhooks,
            rollovers,
            catalog,
            withheld: Withheld::default(),
            changing_features: Default::default(),
            changing_rules: Default::default(),
            settings_locks,
            drift_reports: DriftReports::default(),
            view,
            order,
            shared_requests,
            late_turns: LateTurns::default(),
            logs,
            body_memory,
            keys_under_way,
            overdue: Overdue::default(),
            searches,
        })
    }

    /// The snapshot that a request is to keep, with the index that it names.
    pub fn index(&self, uid: &IndexUid) -> Result<(Arc<Snapshot>, Arc<Index>), ApiError> {
        let snapshot = self.cluster.snapshot();
        let index = snapshot.index(uid).cloned().ok_or_else(|| ApiError::index_not_found(uid.as_str()))?;
        Ok((snapshot, index))
    }

    /// The index that a write to `uid` is for, as it is now. Differs from what reads see while a swap is under way.
    pub fn index_for_writes(&self, uid: &IndexUid) -> Option<Arc<Index>> {
        self.cluster.snapshot().index_for_writes(uid).cloned()
    }

    /// Shows what `task` is about to change: later writes go by the names that it will give, and reads say that settings are
    /// being changed. Nobody concludes the task before.
    pub fn show_conclusion(&self, task: &Task) {
        if task.conclusion.is_some() {
            self.cluster.publish(|snapshot| showing(snapshot, task));
            self.tasks.tell_news();
        }
    }

    /// Takes back what [`show_conclusion`](Self::show_conclusion) has shown.
    pub fn hide_conclusion(&self, task: &Task) {
        if task.conclusion.is_some() {
            let uid = task.uid;
            self.cluster.publish(|snapshot| {
                snapshot.without_renamings(uid).without_settings_changes(&[uid]).without_rules_changes(&[uid])
            });
        }
    }

    /// Waits until no request goes by a snapshot from before `epoch`, at most until `deadline`.
    pub async fn leave_behind(&self, epoch: u64, deadline: Instant) {
        while !self.is_left(epoch) && Instant::now() < deadline {
            tokio::time::sleep(LEAVE_POLL).await;
        }
    }

    /// Whether no request goes by a snapshot from before `epoch`, at any Miroir.
    pub fn is_left(&self, epoch: u64) -> bool {
        self.cluster.is_left(epoch) && self.followers().is_none_or(|followers| followers.have_left(epoch))
    }

    /// Whether this Miroir is the one that changes things.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Leads { .. })
    }

    /// Whether a Miroir on the same store presents this. One that has its store for itself believes nobody.
    pub fn is_peer_secret(&self, presented: &[u8]) -> bool {
        !self.peer_secret.reveal().is_empty() && self.peer_secret.matches(presented)
    }

    /// The others, where this one leads.
    pub fn followers(&self) -> Option<&Followers> {
        match &self.role {
            Role::Leads { followers, .. } => Some(followers),
            Role::Follows(_) => None,
        }
    }

    /// What this one knows of the leader, if that is another.
    pub fn following(&self) -> Option<&Following> {
        match &self.role {
            Role::Leads { .. } => None,
            Role::Follows(following) => Some(following),
        }
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
}

/// What the store remembers of the cluster, but for tasks.
async fn recorded(store: &dyn Store, topology: Topology, shards: u32) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::new(topology).with_placement(shards);
    for record in store.indexes().await? {
        snapshot = snapshot.with_index(Arc::new(index_of(record)));
    }
    if let Some(serde_json::Value::Object(features)) = store.configuration(features::NAME).await? {
        snapshot = snapshot.with_features(features);
    }
    if let Some(rules) = store.configuration(rules::NAME).await? {
        let rules = SearchRules::from_json(rules).context("the search rules in the store cannot be read")?;
        // Until they have been looked at, it is not known what nodes have.
        let nodes: Vec<_> = snapshot.topology.node_indexes().filter(|_| !rules.is_empty()).collect();
        snapshot = snapshot.with_search_rules(Arc::new(rules), nodes);
    }
    let aliases = store.aliases().await?.into_iter().map(|alias| (alias.name.clone(), alias));
    Ok(snapshot.with_aliases(aliases.collect()))
}

fn showing(snapshot: Snapshot, task: &Task) -> Snapshot {
    match (&task.conclusion, task.node_uid()) {
        (Some(Conclusion::Rename(renamings)), _) => snapshot.with_renamings(task.uid, renamings),
        (Some(Conclusion::Rules(_)), _) => snapshot.with_rules_change(task.uid),
        (Some(Conclusion::Settings { .. }), Some(node_uid)) => snapshot.with_settings_change(node_uid, task.uid),
        // Committed without a node that has yet to catch up.
        (None, Some(node_uid)) if task.kind == TaskKind::SettingsUpdate => {
            let open = task.open_legs().filter_map(|leg| Some((snapshot.topology.find(&leg.node)?, Some(0))));
            let mut unverified: Vec<_> = open.collect();
            let known = snapshot.index_on_nodes(node_uid).and_then(|index| snapshot.settings_state(index));
            unverified.extend(known.into_iter().flat_map(|state| state.unverified.iter().copied()));
            unverified.sort_unstable();
            unverified.dedup();
            snapshot.with_unverified(node_uid, unverified)
        }
        _ => snapshot,
    }
}

fn topology_of(config: &Config) -> Topology {
    let node = |node: &crate::conf::NodeConfig| Node {
        id: node.id.clone(),
        address: node.address.authority(),
        group: node.group,
    };
    Topology::new(config.nodes.iter().map(node).collect(), config.replication_factor as usize)
}
