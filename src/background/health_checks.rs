//! Asks every node for its health at a steady pace, with Pingora's HTTP health check.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck};
use pingora::lb::Backend;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::app::App;
use crate::cluster::NodeIndex;
use crate::stage::SharedApp;
use crate::writes::examine;

pub struct HealthChecks {
    app: SharedApp,
}

impl HealthChecks {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

/// A failed node is asked this much more often than a healthy one, so that it serves again soon after it answers.
const FAILED_NODE_PACE: u32 = 5;

#[async_trait]
impl BackgroundService for HealthChecks {
    async fn start(&self, shutdown: ShutdownWatch) {
        let watching = |app: Arc<App>| async move {
            let nodes: Vec<NodeIndex> = app.cluster.snapshot().topology.node_indexes().collect();
            join_all(nodes.into_iter().map(|node| watch(Arc::clone(&app), node))).await;
        };
        self.app.for_each_app(shutdown, watching).await;
    }
}

async fn watch(app: Arc<App>, node: NodeIndex) {
    let check = check_for(&app, node);
    let deadline = app.config.health.timeout;
    let id = app.scatter.health.id(node).to_owned();
    look_for_losses(&app, node).await;
    loop {
        match tokio::time::timeout(deadline, probe(&app, node, &check)).await {
            Ok(true) if app.cluster.snapshot().state(node).serves_reads() => {
                app.scatter.health.checked(node, &app.cluster);
            }
            Ok(true) => {
                look_for_losses(&app, node).await;
                app.tasks.between_commits(|| app.scatter.health.checked(node, &app.cluster)).await;
            }
            Ok(false) | Err(_) => app.scatter.health.failed(node, &app.cluster),
        }
        let serves = app.cluster.snapshot().state(node).serves_reads();
        app.metrics.node_healthy.with_label_values(&[&id]).set(i64::from(serves));
        app.metrics.task_registry_unfinished.set(app.tasks.metrics().unfinished as i64);
        let until_next = tokio::time::sleep(pace(app.config.health.interval, serves));
        tokio::pin!(until_next);
        tokio::select! {
            () = &mut until_next => {}
            () = app.scatter.suspicions.raised(node) => {
                look_for_losses(&app, node).await;
                until_next.await;
            }
        }
    }
}

/// Looks whether the node has lost its data, before it is read and wherever an answer suggests it.
async fn look_for_losses(app: &App, node: NodeIndex) {
    // The leader's business, who tells the others what is not to be read.
    if !app.leads() {
        return;
    }
    if let Err(error) = examine(app, node).await {
        log::warn!("whether node {} has all its data is not known: {error}", app.scatter.health.id(node));
    }
}

fn pace(interval: Duration, serves: bool) -> Duration {
    if serves {
        interval
    } else {
        interval / FAILED_NODE_PACE
    }
}

fn check_for(app: &App, node: NodeIndex) -> HttpHealthCheck {
    let mut check = HttpHealthCheck::new(app.scatter.nodes.authority(node), false);
    check.req.set_uri(http::Uri::from_static("/health"));
    check.reuse_connection = true;
    check.peer_template.options.connection_timeout = Some(app.config.health.timeout);
    check.peer_template.options.read_timeout = Some(app.config.health.timeout);
    check
}

async fn probe(app: &App, node: NodeIndex, check: &HttpHealthCheck) -> bool {
    // The name is looked up each time: a node may have come back elsewhere.
    let Ok(address) = app.scatter.nodes.resolve(node).await else { return false };
    match Backend::new(&address.to_string()) {
        Ok(backend) => check.check(&backend).await.is_ok(),
        Err(_) => false,
    }
}
