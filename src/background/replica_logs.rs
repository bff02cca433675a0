//! Keeps every node's replica log short: one watch per node.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::app::App;
use crate::stage::SharedApp;
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
    async fn start(&self, shutdown: ShutdownWatch) {
        // What is cut short here is taken up by the next start, like after a crash.
        let replaying = |app: Arc<App>| async move {
            let topology = Arc::clone(&app.cluster.snapshot().topology);
            join_all(topology.node_indexes().map(|node| replay(&app, node))).await;
        };
        self.app.while_leading(shutdown, replaying).await;
    }
}
