//! Keeps every node's replica log short: one watch per node.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::{opened, SharedApp};
use crate::writes::replay;

pub struct ReplicaLogs {
    app: SharedApp,
}

impl ReplicaLogs {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for ReplicaLogs {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let app = opened(&self.app);
        let topology = Arc::clone(&app.cluster.snapshot().topology);
        let replays = join_all(topology.node_indexes().map(|node| replay(&app, node)));
        // What is cut short here is taken up by the next start, like after a crash.
        tokio::select! {
            _ = replays => {}
            _ = shutdown.changed() => {}
        }
    }
}
