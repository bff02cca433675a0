//! The configuration: one YAML file under the key `miroir`, parsed into types that cannot be wrong.
//!
//! `yaml` turns the text into a tree that knows its lines and fills in `${VAR}`; `reader` takes typed values out of that
//! tree and collects every problem; `schema` says which keys exist, their defaults and limits; `checks` refuses values
//! that contradict each other. A key that nothing reads does not exist: it is refused, with the nearest key that does.
//!
//! Nothing here listens, connects or changes the process; reading secrets from `*_file` is the only other input.

mod admin_ui;
mod checks;
mod reader;
mod schema;
mod search_ui;
mod secret;
#[cfg(test)]
mod tests;
mod view;
mod yaml;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::cluster::{EffectivePolicy, GroupId, NodeId};
use crate::documents::MissingKey;
use crate::merge::hybrid::Fusion;
use crate::scatter::{AdmissionLimits, HedgingLimits, SelectionOptions};
use crate::writes::Spread;

pub use admin_ui::AdminUiConfig;
pub use reader::Problem;
pub use schema::NodeAddress;
pub use search_ui::{SearchUiAccess, SearchUiConfig};
pub use secret::Secret;
pub use view::ConfigView;

/// Largest configuration file that is read. A fleet of thousands of nodes fits; a data file named by mistake does not.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Keys that are applied to a running Miroir, whether they stand in the file or in a file of their own.
const RELOADED: [&str; 5] = [
    "miroir.master_key",
    "miroir.master_key_previous",
    "miroir.node_master_key",
    "miroir.node_master_key_previous",
    "miroir.admin.api_key",
];

/// Blocks all of whose keys are.
const RELOADED_BLOCKS: [&str; 1] = ["miroir.search_ui."];

/// Everything that the configuration file says, checked. Relative paths in the file are taken from its folder, so that
/// a value means the same from whichever directory Miroir is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    pub view: ConfigView,
    /// What clients present. `None`: everyone may do everything.
    pub master_key: Option<Secret>,
    /// The master key before, which counts too while clients change over.
    pub master_key_previous: Option<Secret>,
    /// What Miroir presents to nodes.
    pub node_master_key: Option<Secret>,
    /// The nodes' key before, for nodes that still have it.
    pub node_master_key_previous: Option<Secret>,
    /// S of an index created from now on.
    pub shards: u32,
    /// Replicas of each shard within a group.
    pub replication_factor: u32,
    /// At least one; ids and addresses are unique; every group has at least `replication_factor` of them.
    pub nodes: Vec<NodeConfig>,
    pub task_store: TaskStoreConfig,
    pub admin: AdminConfig,
    pub server: ServerConfig,
    pub metrics: MetricsConfig,
    pub health: HealthConfig,
    pub scatter: ScatterConfig,
    pub multi_search: MultiSearchConfig,
    pub vector_search: VectorSearchConfig,
    pub replica_selection: SelectionOptions,
    pub hedging: HedgingLimits,
    pub query_coalescing: QueryCoalescingConfig,
    pub admission: AdmissionLimits,
    pub task_registry: TaskRegistryConfig,
    pub writes: WritesConfig,
    pub settings_broadcast: SettingsBroadcastConfig,
    pub settings_drift_check: SettingsDriftCheckConfig,
    pub aliases: AliasesConfig,
    pub leader_election: LeaderElectionConfig,
    pub ilm: IlmConfig,
    pub webhooks: WebhooksConfig,
    pub explain: ExplainConfig,
    pub search_ui: SearchUiConfig,
    pub admin_ui: AdminUiConfig,
    pub ttl: TtlConfig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub id: NodeId,
    pub address: NodeAddress,
    pub group: GroupId,
}

/// Where Miroir's own durable state lives.
#[derive(Clone, Debug)]
pub enum TaskStoreConfig {
    /// A file, for one Miroir.
    Sqlite { path: PathBuf },
    /// A server, for any number of them. Its URL is secret as a whole: there may be a password in it.
    Redis { url: Secret, key_prefix: String },
}

/// The `/_miroir` API. Enabled without a key only where clients need none either.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    pub enabled: bool,
    pub api_key: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub address: SocketAddr,
    /// Largest request body, in bytes as they arrive.
    pub max_body_bytes: u64,
    /// Requests in progress at once; more are answered 503.
    pub max_concurrent_requests: usize,
    /// Longest time from a request's first byte to its answer.
    pub request_timeout: Duration,
    /// The operator has said that an open server beyond loopback is meant.
    pub insecure: bool,
    /// Proxies whose word counts of where a request comes from: `X-Forwarded-For`, `X-Forwarded-Proto`.
    pub trusted_proxies: Vec<IpNet>,
}

/// `POST /indexes/{uid}/explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainConfig {
    pub enabled: bool,
}

/// Documents that expire. What an index's policy says goes before the numbers here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlConfig {
    /// Whether `_miroir_expires_at` means anything; otherwise it is a field like any other.
    pub enabled: bool,
    /// Time from one sweep of an index to the next.
    pub sweep_interval: Duration,
    /// Documents that one sweep deletes of an index; the others wait for the next.
    pub max_deletes_per_sweep: usize,
    /// Whether reads hide what has expired and is not deleted yet.
    pub filter_expired: bool,
}

impl TtlConfig {
    /// What holds for an index without a policy of its own.
    pub fn default_policy(&self) -> EffectivePolicy {
        let Self { enabled, sweep_interval, max_deletes_per_sweep, .. } = *self;
        EffectivePolicy { enabled, sweep_interval, max_deletes_per_sweep }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    pub address: SocketAddr,
}

/// How writes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WritesConfig {
    /// What a document without its primary key does to its request.
    pub missing_primary_key: MissingKey,
    /// What the bodies of all requests may hold together; a request beyond it is answered 503. At least twice the largest
    /// body.
    pub buffer_bytes_max: u64,
    /// Whether a quorum takes acknowledgements of nodes alone; otherwise a replica that has the write in its log counts too.
    pub strict_quorum: bool,
    /// Largest replica log of a node, in bytes of the writes in it.
    pub log_bytes_max: u64,
    /// Most writes in the replica log of a node.
    pub log_entries_max: usize,
    /// Longest time that a write stands in a replica log.
    pub log_age_max: Duration,
}

/// How changes of settings reach all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsBroadcastConfig {
    pub strategy: Spread,
    /// How often a node whose settings differ is sent them again.
    pub repair_tries: u32,
    /// Whether an index takes no writes while a node that differs could not be made equal.
    pub freeze_writes_on_unrepairable: bool,
}

/// The search for settings that were changed behind Miroir's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsDriftCheckConfig {
    pub enabled: bool,
    pub interval: Duration,
    /// Whether what is found is mended, and not only told.
    pub auto_repair: bool,
}

/// Names that stand for indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasesConfig {
    /// Whether aliases can be made and changed. Those that exist stand for their indexes in any case.
    pub enabled: bool,
    /// Flips that are remembered of each alias.
    pub history: usize,
}

/// Which of several Miroirs on one store leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    /// `host:port` at which the other Miroirs reach this one. `None`: where it listens.
    pub address: Option<String>,
    /// How long a Miroir that is not heard of leads on.
    pub lease: Duration,
    /// Time from one sign of life to the next.
    pub renew: Duration,
}

/// Rolling time-series indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IlmConfig {
    /// Whether policies can be made, and are carried out.
    pub enabled: bool,
    pub check_interval: Duration,
    /// An index that is newer is never deleted.
    pub safety_lock: Duration,
    /// Series that one check gives a new index; the others wait for the next.
    pub rollovers_per_check_max: usize,
}

/// Whom webhooks may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Whether addresses of private networks, and of this machine, are called too.
    pub allow_private_networks: bool,
    /// Certificates, in DER, of the authorities that vouch for receivers; if there are none, those that browsers trust do.
    pub authorities: Vec<Vec<u8>>,
}

/// Active checks of `GET /health` on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    pub interval: Duration,
    pub timeout: Duration,
    /// Consecutive failures after which a node is failed.
    pub unhealthy_threshold: usize,
    /// Consecutive successes after which a failed node is active again.
    pub recovery_threshold: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterConfig {
    /// Longest time that one leg may take.
    pub node_timeout: Duration,
    /// Whether a leg that timed out goes to another replica.
    pub retry_on_timeout: bool,
    pub unavailable_shard_policy: UnavailableShardPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiSearchConfig {
    /// Most queries of one request: each is a search on every node.
    pub max_queries: usize,
}

/// Searches by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorSearchConfig {
    /// How many times more hits each node is asked for than the page needs.
    pub over_fetch_factor: usize,
    pub hybrid_fusion: Fusion,
}

/// Identical searches that are under way at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryCoalescingConfig {
    /// Whether they are carried out once.
    pub enabled: bool,
}

/// What a read answers when a shard has no eligible replica anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableShardPolicy {
    /// From what is reachable, with `X-Miroir-Degraded` naming the missing shards.
    Partial,
    /// 503 `miroir_shard_unavailable`.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRegistryConfig {
    /// How long a finished task is remembered.
    pub ttl: Duration,
}

impl Config {
    /// Reads and checks the file at `path`, with the process's environment. What is unwise without being wrong is
    /// logged as a warning.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = Self::load_with(path, &environment)?;
        for warning in config.warnings() {
            log::warn!("{}: {warning}", path.display());
        }
        Ok(config)
    }

    fn load_with(path: &Path, environment: &Environment) -> Result<Self, ConfigErrors> {
        let failed = |message: String| ConfigErrors::whole_file(path, message);
        let size = std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?.len();
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("has {size} bytes; a configuration has at most {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
        Self::parse(&text, path, environment)
    }

    /// The configuration in `text`. `path` names the file in messages and is where relative paths start.
    fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Self, ConfigErrors> {
        let reader = reader::Reader::new(path, environment);
        let config = match yaml::parse(text) {
            Ok(root) => schema::read(&reader, &root),
            Err(problem) => {
                reader.add(problem);
                None
            }
        };
        if let Some(config) = &config {
            checks::check(&reader, config);
        }
        let view = reader.view();
        match (config, reader.into_problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(Self { file: path.to_owned(), view, ..config }),
            (_, problems) => Err(ConfigErrors { file: path.to_owned(), problems }),
        }
    }

    /// What works but is probably not meant, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        checks::warnings(self)
    }

    /// Paths of the keys that are other in `next` and are only read at start.
    pub fn restart_needed_for(&self, next: &Self) -> Vec<String> {
        let mut paths = self.view.differences(&next.view);
        let is_reloaded = |path: &str| {
            RELOADED.contains(&path.strip_suffix("_file").unwrap_or(path))
                || RELOADED_BLOCKS.iter().any(|block| path.starts_with(block))
        };
        paths.retain(|path| !is_reloaded(path));
        paths
    }

    /// What nodes are asked with, in the order in which it is tried.
    pub fn node_keys(&self) -> impl Iterator<Item = &Secret> {
        self.node_master_key.iter().chain(&self.node_master_key_previous)
    }

    /// Number of nodes of each group.
    pub fn group_sizes(&self) -> HashMap<GroupId, usize> {
        let mut sizes = HashMap::new();
        for node in &self.nodes {
            *sizes.entry(node.group).or_default() += 1;
        }
        sizes
    }
}

/// The environment variables that `${VAR}` and the keys' overrides are taken from.
type Environment = HashMap<String, String>;

/// Everything that is wrong with a configuration file, in the order of its lines.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    pub file: PathBuf,
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    fn whole_file(path: &Path, message: String) -> Self {
        Self { file: path.to_owned(), problems: vec![Problem { line: None, key: String::new(), message }] }
    }
}

/// One line per problem: `conf/miroir.yaml:12: miroir.server.prot: unknown key; did you mean `port`?`
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:", self.file.display())?;
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            if !problem.key.is_empty() {
                write!(f, " {}:", problem.key)?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Whether only this machine can reach a listener at `ip`.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
