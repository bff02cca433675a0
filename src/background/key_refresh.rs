//! Takes up the API keys that other Miroirs on the same store have made, changed or deleted.

use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::{opened, SharedApp};
use crate::conf::TaskStoreConfig;

/// How long a key that was deleted at another Miroir may still count here. One read of a hash of a few kilobytes each time.
const PACE: Duration = Duration::from_secs(2);

pub struct KeyRefresh {
    app: SharedApp,
}

impl KeyRefresh {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for KeyRefresh {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let app = opened(&self.app);
        // A file has one Miroir, which knows what it has written.
        if matches!(app.config.task_store, TaskStoreConfig::Sqlite { .. }) {
            return;
        }
        loop {
            tokio::select! {
                _ = tokio::time::sleep(PACE) => {}
                _ = shutdown.changed() => return,
            }
            match app.gate.refresh().await {
                Ok(true) => log::info!("API keys were changed at another Miroir"),
                Ok(false) => {}
                Err(error) => log::warn!("API keys cannot be read, those known count on: {error}"),
            }
        }
    }
}
