//! Looks for settings that were changed behind Miroir's back, at a steady pace.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::MissedTickBehavior;

use super::{opened, SharedApp};
use crate::app::App;
use crate::settings::{chats, check, features, rules};

/// Indexes that are looked at side by side: each costs one small request per node.
const INDEXES_AT_ONCE: usize = 4;

pub struct SettingsDrift {
    app: SharedApp,
}

impl SettingsDrift {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for SettingsDrift {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let app = opened(&self.app);
        if !app.config.settings_drift_check.enabled {
            return;
        }
        tokio::select! {
            () = look(&app) => {}
            _ = shutdown.changed() => {}
        }
    }
}

async fn look(app: &Arc<App>) {
    let mut interval = tokio::time::interval(app.config.settings_drift_check.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let snapshot = app.cluster.snapshot();
        let node_uids: Vec<_> = snapshot.indexes().map(|index| index.node_uid.clone()).collect();
        drop(snapshot);
        let checks = stream::iter(node_uids).for_each_concurrent(INDEXES_AT_ONCE, |node_uid| async move {
            if let Err(later) = check(app, &node_uid).await {
                log::info!("settings of index `{node_uid}` are compared at the next turn: {later}");
            }
        });
        checks.await;
        for node in app.cluster.snapshot().serving_nodes() {
            if let Err(later) = features::equalize(app, node).await {
                log::info!("features are compared at the next turn: {later}");
            }
            if let Err(later) = chats::equalize(app, node).await {
                log::info!("chat workspaces are compared at the next turn: {later}");
            }
            if let Err(later) = rules::equalize(app, node).await {
                log::info!("search rules are compared at the next turn: {later}");
            }
        }
    }
}
