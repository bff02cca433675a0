//! Reads the configuration again on SIGHUP.

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{signal, SignalKind};

use crate::stage::SharedApp;

pub struct Reload {
    app: SharedApp,
}

impl Reload {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                return log::error!("SIGHUP cannot be heard, the configuration is only read at start: {error}")
            }
        };
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    if let Err(error) = self.app.app().reload().await {
                        log::error!("{error}");
                    }
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}
