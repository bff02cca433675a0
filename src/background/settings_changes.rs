//! Concludes changes of settings, and verifies nodes that have caught up with them.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::Instant;

use super::{opened, SharedApp};
use crate::app::App;
use crate::cluster::IndexUid;
use crate::settings::{check, conclude};
use crate::tasks::{Conclusion, Task};

/// How often it is looked whether something can be done that could not be before.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the nodes of an index that are not verified are looked at.
const VERIFY_INTERVAL: Duration = Duration::from_secs(2);
/// Indexes that are worked on at once; the others wait.
const INDEXES_AT_ONCE_MAX: usize = 32;

pub struct SettingsChanges {
    app: SharedApp,
}

impl SettingsChanges {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for SettingsChanges {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let app = opened(&self.app);
        tokio::select! {
            () = work(&app) => {}
            _ = shutdown.changed() => {}
        }
    }
}

type Working = Pin<Box<dyn Future<Output = IndexUid> + Send>>;

/// Where the work on all indexes stands.
#[derive(Default)]
struct Desk {
    working: FuturesUnordered<Working>,
    busy: HashSet<IndexUid>,
    verified_at: HashMap<IndexUid, Instant>,
}

async fn work(app: &Arc<App>) {
    let mut news = app.tasks.news();
    let mut desk = Desk::default();
    loop {
        desk.conclude_due(app);
        desk.verify_due(app);
        let ended = async {
            match desk.working.next().await {
                Some(node_uid) => node_uid,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            node_uid = ended => drop(desk.busy.remove(&node_uid)),
            _ = tokio::time::timeout(LOOK_INTERVAL, news.changed()) => {}
        }
    }
}

impl Desk {
    fn is_free_for(&self, node_uid: &IndexUid) -> bool {
        self.busy.len() < INDEXES_AT_ONCE_MAX && !self.busy.contains(node_uid)
    }

    fn conclude_due(&mut self, app: &Arc<App>) {
        let changes = |task: &Task| matches!(task.conclusion, Some(Conclusion::Settings { .. }));
        let mut carried_out: HashMap<IndexUid, bool> = HashMap::new();
        for task in app.tasks.followed_where(changes) {
            let Some(node_uid) = task.node_uid() else { continue };
            *carried_out.entry(node_uid.clone()).or_insert(true) &= task.has_been_carried_out();
        }
        for (node_uid, _) in carried_out.into_iter().filter(|(_, is_due)| *is_due) {
            if self.is_free_for(&node_uid) {
                self.busy.insert(node_uid.clone());
                let app = Arc::clone(app);
                self.working.push(Box::pin(async move {
                    if let Err(later) = conclude(&app, &node_uid).await {
                        log::info!("settings of index `{node_uid}` are concluded later: {later}");
                        // Whatever it was, it does not pass at once.
                        tokio::time::sleep(LOOK_INTERVAL).await;
                    }
                    node_uid
                }));
            }
        }
    }

    fn verify_due(&mut self, app: &Arc<App>) {
        let now = Instant::now();
        self.verified_at.retain(|_, at| now.duration_since(*at) < VERIFY_INTERVAL);
        for node_uid in app.cluster.snapshot().unverified_indexes() {
            if self.is_free_for(&node_uid) && !self.verified_at.contains_key(&node_uid) {
                self.verified_at.insert(node_uid.clone(), now);
                self.busy.insert(node_uid.clone());
                let app = Arc::clone(app);
                self.working.push(Box::pin(async move {
                    if let Err(later) = check(&app, &node_uid).await {
                        log::info!("settings of index `{node_uid}` are verified later: {later}");
                    }
                    node_uid
                }));
            }
        }
    }
}
