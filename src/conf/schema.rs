//! Which keys exist, with their defaults and limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;

use super::reader::{Reader, Section};
use super::yaml::Node;
use super::{
    admin_ui, search_ui, AdminConfig, AliasesConfig, Config, ConfigView, ExplainConfig, HealthConfig, IlmConfig,
    LeaderElectionConfig, MetricsConfig, MultiSearchConfig, NodeConfig, QueryCoalescingConfig, ScatterConfig, Secret,
    ServerConfig, SettingsBroadcastConfig, SettingsDriftCheckConfig, TaskRegistryConfig, TaskStoreConfig, TtlConfig,
    UnavailableShardPolicy, VectorSearchConfig, WebhooksConfig, WritesConfig,
};
use crate::cluster::concurrency_limit::LimitBounds;
use crate::cluster::{GroupId, NodeId, Shard, MAX_DELETES_RANGE, SWEEP_INTERVAL_RANGE_S};
use crate::documents::MissingKey;
use crate::merge::hybrid::Fusion;
use crate::scatter::{AdmissionLimits, HedgingLimits, SelectionOptions, Strategy};
use crate::store::check_redis_url;
use crate::writes::Spread;

/// Longest node id: it stands in metrics' labels, headers and paths.
const NODE_ID_LENGTH_MAX: usize = 64;
/// Longest prefix of keys in Redis: it stands in every one of them.
const KEY_PREFIX_LENGTH_MAX: usize = 64;

/// Where a node listens. Kept as written: a name is resolved where the connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// A name, an IPv4 address, or an IPv6 address in brackets; lower case.
    host: String,
    port: u16,
}

impl NodeAddress {
    /// Accepts `http://host:port`.
    pub fn parse(address: &str) -> Result<Self, String> {
        let expected = || format!("expected an address such as http://10.0.0.10:7700, got `{address}`");
        let uri: Uri = address.parse().map_err(|_| expected())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("TLS to nodes is not supported; use http://".to_owned()),
            _ => return Err(expected()),
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(expected)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("a node's address has no path; write http://{authority}"));
        }
        match (authority.host(), authority.port_u16()) {
            ("", _) => Err(expected()),
            (_, None | Some(0)) => Err(format!("name the port, as in http://{}:7700", authority.host())),
            (host, Some(port)) => Ok(Self { host: host.to_ascii_lowercase(), port }),
        }
    }

    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`: what the `Host` header says and what sockets resolve.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// The configuration that `root` describes, or `None` with at least one problem in `reader`.
pub(super) fn read(reader: &Reader<'_>, root: &Node) -> Option<Config> {
    let config = Section::read(reader, "", Some(root), |file| file.section("miroir", miroir));
    (!reader.has_problems()).then_some(config)
}

fn miroir(section: &Section<'_, '_>) -> Config {
    Config {
        file: PathBuf::new(),
        view: ConfigView::default(),
        master_key: section.secret("master_key", "master_key_file", Some("MIROIR_MASTER_KEY")),
        master_key_previous: section.secret("master_key_previous", "master_key_previous_file", None),
        node_master_key: section.secret("node_master_key", "node_master_key_file", Some("MIROIR_NODE_MASTER_KEY")),
        node_master_key_previous: section.secret("node_master_key_previous", "node_master_key_previous_file", None),
        shards: section.number("shards", 64, 1..=u64::from(Shard::COUNT_MAX)) as u32,
        replication_factor: section.number("replication_factor", 1, 1..=16) as u32,
        nodes: nodes(section),
        task_store: section.section("task_store", task_store),
        admin: section.section("admin", admin),
        server: section.section("server", server),
        metrics: section.section("metrics", metrics),
        health: section.section("health", health),
        scatter: section.section("scatter", scatter),
        multi_search: section.section("multi_search", multi_search),
        vector_search: section.section("vector_search", vector_search),
        replica_selection: section.section("replica_selection", replica_selection),
        hedging: section.section("hedging", hedging),
        query_coalescing: section.section("query_coalescing", query_coalescing),
        admission: section.section("admission", admission),
        task_registry: section.section("task_registry", task_registry),
        writes: section.section("writes", writes),
        settings_broadcast: section.section("settings_broadcast", settings_broadcast),
        settings_drift_check: section.section("settings_drift_check", settings_drift_check),
        aliases: section.section("aliases", aliases),
        leader_election: section.section("leader_election", leader_election),
        ilm: section.section("ilm", ilm),
        webhooks: section.section("webhooks", webhooks),
        explain: section.section("explain", |section| ExplainConfig { enabled: section.truth("enabled", true) }),
        search_ui: section.section("search_ui", search_ui::read),
        admin_ui: section.section("admin_ui", admin_ui::read),
        ttl: section.section("ttl", ttl),
    }
}

fn nodes(section: &Section<'_, '_>) -> Vec<NodeConfig> {
    section.list("nodes", |node| {
        let id = node.required("id", "meili-0", node_id);
        let address = node.required("address", "\"http://10.0.0.10:7700\"", NodeAddress::parse);
        let group = GroupId(node.number("replica_group", 0, 0..=u64::from(u16::MAX)) as u32);
        Some(NodeConfig { id: id?, address: address?, group })
    })
}

fn node_id(id: &str) -> Result<NodeId, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if id.len() <= NODE_ID_LENGTH_MAX && id.bytes().all(allowed) {
        Ok(NodeId::new(id))
    } else {
        Err(format!("a node id has 1 to {NODE_ID_LENGTH_MAX} of a-z A-Z 0-9 - _ . ; got `{id}`"))
    }
}

fn task_store(section: &Section<'_, '_>) -> TaskStoreConfig {
    let is_redis = section.parsed("backend", false, |backend| match backend {
        "sqlite" => Ok(false),
        "redis" => Ok(true),
        other => Err(format!("expected sqlite or redis, got `{other}`")),
    });
    let path = section.path("path", "/var/lib/miroir/miroir.db");
    let url = section.secret("url", "url_file", is_redis.then_some("MIROIR_REDIS_URL"));
    let key_prefix = section.parsed("key_prefix", "miroir".to_owned(), key_prefix);

    let (backend, of_the_other): (_, &[&str]) =
        if is_redis { ("redis", &["path"]) } else { ("sqlite", &["url", "url_file", "key_prefix"]) };
    for key in of_the_other.iter().filter(|key| section.has(key)) {
        section.problem(key, format!("means nothing to the backend {backend}; remove it, or choose the other backend"));
    }
    if !is_redis {
        return TaskStoreConfig::Sqlite { path };
    }
    match &url {
        None => section.problem("url", "is missing; it is needed, as in `url: redis://10.0.0.5:6379/0`"),
        Some(url) => {
            if let Err(message) = check_redis_url(url.reveal()) {
                section.problem("url", message);
            }
        }
    }
    TaskStoreConfig::Redis { url: url.unwrap_or_else(|| Secret::new("")), key_prefix }
}

/// Becomes the hash tag of all keys, so it must not hold what ends one.
fn key_prefix(prefix: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if prefix.len() <= KEY_PREFIX_LENGTH_MAX && prefix.bytes().all(allowed) {
        Ok(prefix.to_owned())
    } else {
        Err(format!("a prefix has 1 to {KEY_PREFIX_LENGTH_MAX} of a-z A-Z 0-9 - _ . : ; got `{prefix}`"))
    }
}

fn admin(section: &Section<'_, '_>) -> AdminConfig {
    AdminConfig {
        enabled: section.truth("enabled", true),
        api_key: section.secret("api_key", "api_key_file", Some("MIROIR_ADMIN_API_KEY")),
    }
}

fn server(section: &Section<'_, '_>) -> ServerConfig {
    ServerConfig {
        address: listener(section, 7700),
        max_body_bytes: section.number("max_body_bytes", 104_857_600, 1..=1 << 40),
        max_concurrent_requests: section.number("max_concurrent_requests", 500, 1..=1_000_000) as usize,
        request_timeout: section.milliseconds("request_timeout_ms", 30_000),
        insecure: section.truth("insecure", false),
        trusted_proxies: section.texts("trusted_proxies", network),
    }
}

fn metrics(section: &Section<'_, '_>) -> MetricsConfig {
    MetricsConfig { address: listener(section, 9090) }
}

/// `bind` and `port` of one listener. Loopback unless told otherwise, as Meilisearch does it.
fn listener(section: &Section<'_, '_>, port: u16) -> SocketAddr {
    let ip = section.parsed("bind", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| {
        text.parse().map_err(|_| format!("expected an IP address such as 127.0.0.1 or 0.0.0.0, got `{text}`"))
    });
    SocketAddr::new(ip, section.number("port", u64::from(port), 1..=65_535) as u16)
}

/// One address, or a network such as `10.1.0.0/16`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let single = text.parse::<IpAddr>().map(IpNet::from);
    let network = single.or_else(|_| text.parse::<IpNet>());
    network.map_err(|_| format!("expected an address such as 10.0.0.5 or a network such as 10.1.0.0/16, got `{text}`"))
}

fn health(section: &Section<'_, '_>) -> HealthConfig {
    HealthConfig {
        interval: section.milliseconds("interval_ms", 5_000),
        timeout: section.milliseconds("timeout_ms", 2_000),
        unhealthy_threshold: section.number("unhealthy_threshold", 3, 1..=100) as usize,
        recovery_threshold: section.number("recovery_threshold", 2, 1..=100) as usize,
    }
}

fn scatter(section: &Section<'_, '_>) -> ScatterConfig {
    ScatterConfig {
        node_timeout: section.milliseconds("node_timeout_ms", 5_000),
        retry_on_timeout: section.truth("retry_on_timeout", true),
        unavailable_shard_policy: section.parsed(
            "unavailable_shard_policy",
            UnavailableShardPolicy::Partial,
            |policy| match policy {
                "partial" => Ok(UnavailableShardPolicy::Partial),
                "error" => Ok(UnavailableShardPolicy::Error),
                other => Err(format!("expected partial or error, got `{other}`")),
            },
        ),
    }
}

fn multi_search(section: &Section<'_, '_>) -> MultiSearchConfig {
    MultiSearchConfig { max_queries: section.number("max_queries", 100, 1..=10_000) as usize }
}

fn vector_search(section: &Section<'_, '_>) -> VectorSearchConfig {
    VectorSearchConfig {
        over_fetch_factor: section.number("over_fetch_factor", 3, 1..=20) as usize,
        hybrid_fusion: section.parsed("hybrid_fusion", Fusion::Score, |fusion| match fusion {
            "score" => Ok(Fusion::Score),
            "rrf" => Ok(Fusion::ReciprocalRank),
            other => Err(format!("expected score or rrf, got `{other}`")),
        }),
    }
}

fn replica_selection(section: &Section<'_, '_>) -> SelectionOptions {
    SelectionOptions {
        strategy: section.parsed("strategy", Strategy::Adaptive, |strategy| match strategy {
            "adaptive" => Ok(Strategy::Adaptive),
            "round_robin" => Ok(Strategy::RoundRobin),
            "random" => Ok(Strategy::Random),
            other => Err(format!("expected adaptive, round_robin or random, got `{other}`")),
        }),
        half_life: section.milliseconds("half_life_ms", 5_000),
        exploration_percent: section.number("exploration_percent", 5, 0..=50) as u32,
    }
}

fn hedging(section: &Section<'_, '_>) -> HedgingLimits {
    HedgingLimits {
        enabled: section.truth("enabled", true),
        trigger_percent: section.number("trigger_percent", 120, 100..=1_000) as u32,
        trigger_min: section.milliseconds("trigger_min_ms", 15),
        per_query_max: section.number("per_query_max", 2, 1..=16) as u32,
        budget_percent: section.number("budget_percent", 5, 1..=100) as u32,
    }
}

fn query_coalescing(section: &Section<'_, '_>) -> QueryCoalescingConfig {
    QueryCoalescingConfig { enabled: section.truth("enabled", true) }
}

fn admission(section: &Section<'_, '_>) -> AdmissionLimits {
    let limits = AdmissionLimits {
        enabled: section.truth("enabled", true),
        per_node: LimitBounds {
            initial: section.number("per_node_initial", 8, 1..=10_000) as usize,
            min: section.number("per_node_min", 4, 1..=10_000) as usize,
            max: section.number("per_node_max", 256, 1..=10_000) as usize,
        },
        queue_max: section.number("queue_max", 512, 1..=100_000) as usize,
        queue_wait: section.milliseconds("queue_wait_ms", 1_000),
    };
    if !(limits.per_node.min..=limits.per_node.max).contains(&limits.per_node.initial) {
        section.problem("per_node_initial", "is not between per_node_min and per_node_max");
    }
    limits
}

fn task_registry(section: &Section<'_, '_>) -> TaskRegistryConfig {
    TaskRegistryConfig { ttl: Duration::from_secs(section.number("ttl_s", 604_800, 60..=31_536_000)) }
}

fn settings_broadcast(section: &Section<'_, '_>) -> SettingsBroadcastConfig {
    SettingsBroadcastConfig {
        strategy: section.parsed("strategy", Spread::SideBySide, |strategy| match strategy {
            "two_phase" => Ok(Spread::SideBySide),
            "sequential" => Ok(Spread::NodeAfterNode),
            other => Err(format!("expected two_phase or sequential, got `{other}`")),
        }),
        repair_tries: section.number("repair_tries", 3, 1..=100) as u32,
        freeze_writes_on_unrepairable: section.truth("freeze_writes_on_unrepairable", true),
    }
}

fn settings_drift_check(section: &Section<'_, '_>) -> SettingsDriftCheckConfig {
    SettingsDriftCheckConfig {
        enabled: section.truth("enabled", true),
        interval: section.milliseconds("interval_ms", 300_000),
        auto_repair: section.truth("auto_repair", true),
    }
}

fn aliases(section: &Section<'_, '_>) -> AliasesConfig {
    AliasesConfig {
        enabled: section.truth("enabled", true),
        history: section.number("history", 10, 0..=1_000) as usize,
    }
}

fn leader_election(section: &Section<'_, '_>) -> LeaderElectionConfig {
    LeaderElectionConfig {
        address: section.parsed("address", None, |address| peer_address(address).map(Some)),
        lease: Duration::from_secs(section.number("lease_s", 10, 3..=300)),
        renew: Duration::from_secs(section.number("renew_s", 3, 1..=60)),
    }
}

fn peer_address(address: &str) -> Result<String, String> {
    let expected = || format!("expected a host and a port, such as 10.0.0.5:7700, got `{address}`");
    let authority: http::uri::Authority = address.parse().map_err(|_| expected())?;
    match (authority.host(), authority.port_u16()) {
        ("", _) | (_, None | Some(0)) => Err(expected()),
        _ if address.contains('@') => Err(expected()),
        _ => Ok(address.to_owned()),
    }
}

fn ilm(section: &Section<'_, '_>) -> IlmConfig {
    IlmConfig {
        enabled: section.truth("enabled", false),
        check_interval: Duration::from_secs(section.number("check_interval_s", 60, 1..=86_400)),
        safety_lock: Duration::from_secs(section.number("safety_lock_older_than_days", 7, 0..=36_500) * 86_400),
        rollovers_per_check_max: section.number("max_rollovers_per_check", 10, 1..=1_000) as usize,
    }
}

fn webhooks(section: &Section<'_, '_>) -> WebhooksConfig {
    WebhooksConfig {
        allow_private_networks: section.truth("allow_private_networks", false),
        authorities: section.certificates("ca_file"),
    }
}

fn ttl(section: &Section<'_, '_>) -> TtlConfig {
    TtlConfig {
        enabled: section.truth("enabled", false),
        sweep_interval: Duration::from_secs(section.number("sweep_interval_s", 300, SWEEP_INTERVAL_RANGE_S)),
        max_deletes_per_sweep: section.number("max_deletes_per_sweep", 10_000, MAX_DELETES_RANGE) as usize,
        filter_expired: section.truth("filter_expired", false),
    }
}

fn writes(section: &Section<'_, '_>) -> WritesConfig {
    WritesConfig {
        missing_primary_key: section.parsed("missing_primary_key", MissingKey::Refuse, |what| match what {
            "refuse" => Ok(MissingKey::Refuse),
            "task" => Ok(MissingKey::FailTask),
            other => Err(format!("expected refuse or task, got `{other}`")),
        }),
        buffer_bytes_max: section.number("buffer_bytes_max", 1 << 30, 1..=1 << 42),
        strict_quorum: section.truth("strict_quorum", false),
        log_bytes_max: section.number("log_bytes_max", 1 << 30, 1 << 20..=1 << 40),
        log_entries_max: section.number("log_entries_max", 200_000, 1_000..=10_000_000) as usize,
        log_age_max: Duration::from_secs(section.number("log_age_max_s", 86_400, 60..=2_592_000)),
    }
}
