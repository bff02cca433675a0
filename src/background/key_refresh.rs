//! Takes up the API keys that other Miroirs on the same store have made, changed or deleted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::app::App;
use crate::conf::TaskStoreConfig;
use crate::stage::SharedApp;

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
    async fn start(&self, shutdown: ShutdownWatch) {
        self.app.for_each_app(shutdown, refresh_for_ever).await;
    }
}

async fn refresh_for_ever(app: Arc<App>) {
    // A file has one Miroir, which knows what it has written.
    if matches!(app.config.task_store, TaskStoreConfig::Sqlite { .. }) {
        return;
    }
    loop {
        tokio::time::sleep(PACE).await;
        match app.gate.refresh().await {
            Ok(true) => log::info!("API keys were changed at another Miroir"),
            Ok(false) => {}
            Err(error) => log::warn!("API keys cannot be read, those known count on: {error}"),
        }
    }
}
