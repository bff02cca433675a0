//! Looks for settings that were changed behind Miroir's back, at a steady pace.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::cluster::IndexUid;
use crate::peers::{is_in_share, Following, LeaderClient, Role};
use crate::settings::{chats, check, differs, features, rules};
use crate::stage::SharedApp;

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
    async fn start(&self, shutdown: ShutdownWatch) {
        let looking = |app: Arc<App>| async move {
            if app.config.settings_drift_check.enabled {
                look(&app).await;
            }
        };
        self.app.for_each_app(shutdown, looking).await;
    }
}

async fn look(app: &Arc<App>) {
    let mut interval = tokio::time::interval(app.config.settings_drift_check.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {
                let share = share_of(app);
                match &app.role {
                    Role::Leads { .. } => {
                        compare(app, share).await;
                        equalize(app).await;
                    }
                    Role::Follows(following) => tell_of_drift(app, following, share).await,
                }
            }
            // Only the leader is told any.
            reported = app.drift_reports.take() => compare(app, reported).await,
        }
    }
}

/// The indexes that this Miroir looks at, by their names on the nodes: those that no other one on the store stands closer to.
fn share_of(app: &App) -> Vec<IndexUid> {
    let others = match &app.role {
        Role::Leads { followers, .. } => followers.ids(),
        Role::Follows(following) => following.peers().to_vec(),
    };
    let snapshot = app.cluster.snapshot();
    let node_uids = snapshot.indexes().map(|index| index.node_uid.clone());
    node_uids.filter(|node_uid| is_in_share(&app.me.id, &others, node_uid)).collect()
}

/// Compares, tells and mends.
async fn compare(app: &Arc<App>, node_uids: Vec<IndexUid>) {
    let checks = stream::iter(node_uids).for_each_concurrent(INDEXES_AT_ONCE, |node_uid| async move {
        app.metrics.settings_drift_checks.inc();
        if let Err(later) = check(app, &node_uid).await {
            log::info!("settings of index `{node_uid}` are compared at the next turn: {later}");
        }
    });
    checks.await;
}

/// A follower only compares: whoever leads mends.
async fn tell_of_drift(app: &Arc<App>, following: &Following, node_uids: Vec<IndexUid>) {
    let compared = stream::iter(node_uids).map(|node_uid| async move {
        app.metrics.settings_drift_checks.inc();
        match differs(app, &node_uid).await {
            Ok(differs) => differs.then_some(node_uid),
            Err(later) => {
                log::info!("settings of index `{node_uid}` are compared at the next turn: {later}");
                None
            }
        }
    });
    let found: Vec<IndexUid> =
        compared.buffer_unordered(INDEXES_AT_ONCE).filter_map(std::future::ready).collect().await;
    let Some(leader) = following.leader().filter(|_| !found.is_empty()) else { return };
    let client = LeaderClient::new(app.me.clone(), app.peer_secret.clone());
    let told = tokio::task::spawn_blocking(move || client.tell_of_drift(&leader, &found)).await;
    if let Err(error) = told.map_err(|error| error.to_string()).and_then(|told| told.map_err(|error| error.to_string()))
    {
        log::warn!("that settings were changed behind Miroir's back cannot be told to the one that leads: {error}");
    }
}

async fn equalize(app: &Arc<App>) {
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
