//! Opens the store and takes up what it remembers, before any other service starts.
//!
//! It is a service because Pingora forks when it runs as a daemon: threads that were started earlier would be gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::services::ServiceReadyNotifier;

use super::SharedApp;
use crate::app::App;
use crate::conf::Config;

pub struct Startup {
    /// Taken when the service starts.
    config: Mutex<Option<Config>>,
    app: SharedApp,
    /// How long the process that this one replaces may keep the store.
    lock_wait: Duration,
}

impl Startup {
    pub fn new(config: Config, app: SharedApp, lock_wait: Duration) -> Self {
        Self { config: Mutex::new(Some(config)), app, lock_wait }
    }
}

#[async_trait]
impl BackgroundService for Startup {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(config) = config else { return };
        match App::open(config, self.lock_wait).await {
            Ok(app) => drop(self.app.set(Arc::new(app))),
            Err(error) => {
                log::error!("cannot start: {error:#}");
                std::process::exit(1);
            }
        }
        ready.notify_ready();
        // What was opened here lives on this service's runtime.
        drop(shutdown.changed().await);
    }
}
