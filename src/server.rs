//! The services of one Miroir process, and how they depend on each other.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::http_proxy_service_with_name;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::Server;
use pingora::services::background::background_service;
use pingora::services::listening::Service;

use crate::background::{
    Creations, HealthChecks, IndexRollovers, KeyRefresh, LeaderNews, MetricsEndpoint, Reload, Renamings, ReplicaLogs,
    SettingsChanges, SettingsDrift, Startup, TaskReconciliation, TtlSweep, WebhookCalls,
};
use crate::conf::Config;
use crate::proxy::Proxy;
use crate::stage::{SharedApp, Stage};

/// How long requests that are under way get to end after SIGTERM.
const GRACE_PERIOD_S: u64 = 1;
/// How long runtimes get to end after that.
const RUNTIME_SHUTDOWN_TIMEOUT_S: u64 = 5;
/// How long the process that is being replaced may take to leave.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections to nodes that are kept, over all nodes.
const IDLE_CONNECTIONS_MAX: usize = 1_024;

/// Pingora's default for what is read. An answer up to the size of what is written leaves with its header, as one packet that
/// wakes the client once: a page of 20 documents does.
const CLIENT_BUFFERS: L4BufferSettings = L4BufferSettings { read: None, write: Some(32 << 10) };

/// Pingora's own ways of running.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Run in the background.
    pub daemon: bool,
    /// Take the listening sockets over from a running process.
    pub upgrade: bool,
}

/// Serves until a signal ends it: SIGTERM lets requests end, SIGINT does not, SIGQUIT hands the sockets to a successor.
pub fn run(config: Config, options: RunOptions) -> ! {
    let opt = Opt { daemon: options.daemon, upgrade: options.upgrade, ..Opt::default() };
    let conf = ServerConf {
        threads: available_parallelism().map_or(1, usize::from),
        // A request's legs are then woken on the thread that waits for them: a quarter less CPU per search than with tasks
        // that move between threads.
        work_stealing: false,
        grace_period_seconds: Some(GRACE_PERIOD_S),
        graceful_shutdown_timeout_seconds: Some(RUNTIME_SHUTDOWN_TIMEOUT_S),
        upstream_keepalive_pool_size: IDLE_CONNECTIONS_MAX,
        ..ServerConf::default()
    };
    let lock_wait = if options.upgrade { HANDOVER_TIMEOUT } else { Duration::ZERO };
    let mut server = Server::new_with_opt_and_conf(opt, conf);
    server.bootstrap();

    let app: SharedApp = Arc::new(Stage::empty());
    let address = config.server.address.to_string();
    if config.master_key.is_none() {
        log::warn!("there is no master_key: everyone who reaches {address} may read, change and delete everything");
    }
    let metrics_address = config.metrics.address.to_string();

    let proxy = Proxy::new(Arc::clone(&app), config.server.max_concurrent_requests);
    let mut proxy = http_proxy_service_with_name(&server.configuration, proxy, "proxy");
    proxy.add_listener(ListenerConfig::tcp(&address).l4_buffer(CLIENT_BUFFERS));
    let mut metrics = Service::new("metrics".to_owned(), MetricsEndpoint::new(Arc::clone(&app)));
    metrics.add_tcp(&metrics_address);
    metrics.threads = Some(1);

    let startup = server
        .add_service(background_service("startup", Startup::new(config, Arc::clone(&app), lock_wait, options.upgrade)));
    let health = server.add_service(background_service("health", HealthChecks::new(Arc::clone(&app))));
    let tasks = server.add_service(background_service("tasks", TaskReconciliation::new(Arc::clone(&app))));
    let news = server.add_service(background_service("news", LeaderNews::new(Arc::clone(&app))));
    let logs = server.add_service(background_service("logs", ReplicaLogs::new(Arc::clone(&app))));
    let renamings = server.add_service(background_service("renamings", Renamings::new(Arc::clone(&app))));
    let creations = server.add_service(background_service("creations", Creations::new(Arc::clone(&app))));
    let changes = server.add_service(background_service("settings", SettingsChanges::new(Arc::clone(&app))));
    let drift = server.add_service(background_service("drift", SettingsDrift::new(Arc::clone(&app))));
    let keys = server.add_service(background_service("keys", KeyRefresh::new(Arc::clone(&app))));
    let webhooks = server.add_service(background_service("webhooks", WebhookCalls::new(Arc::clone(&app))));
    let rollovers = server.add_service(background_service("rollovers", IndexRollovers::new(Arc::clone(&app))));
    let reload = server.add_service(background_service("reload", Reload::new(Arc::clone(&app))));
    let ttl = server.add_service(background_service("ttl", TtlSweep::new(Arc::clone(&app))));
    let proxy = server.add_service(proxy);
    let metrics = server.add_service(metrics);
    for dependent in [
        &health, &tasks, &news, &logs, &renamings, &creations, &changes, &drift, &keys, &webhooks, &rollovers, &reload,
        &ttl, &proxy, &metrics,
    ] {
        dependent.add_dependency(&startup);
    }
    log::info!("Miroir {} listens on {address}, metrics on {metrics_address}", env!("CARGO_PKG_VERSION"));
    server.run_forever()
}
