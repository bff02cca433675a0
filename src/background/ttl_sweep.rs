//! Deletes documents that have expired, index by index, each at its own pace.

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

use crate::api::expired_documents::{sweep, Swept};
use crate::api::expiry_filterable::set_filterable;
use crate::api::hidden_expired::now_ms;
use crate::app::App;
use crate::cluster::{EffectivePolicy, Index, IndexUid};
use crate::stage::SharedApp;

/// How often it is looked which indexes there are and what their policies say. No sweep comes sooner.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long it takes until a change of settings that could not be made is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(5);
/// Indexes that are swept at once. Each may wait for its nodes, so that one that is written to all the time does not hold up the
/// others.
const SWEEPS_AT_ONCE_MAX: usize = 4;

pub struct TtlSweep {
    app: SharedApp,
}

impl TtlSweep {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for TtlSweep {
    async fn start(&self, shutdown: ShutdownWatch) {
        // What is cut short here is found again by the next sweep.
        self.app.while_leading(shutdown, |app| async move { work(&app).await }).await;
    }
}

type Working = Pin<Box<dyn Future<Output = IndexUid> + Send>>;

/// Where the work on all indexes stands, by their names on the nodes.
#[derive(Default)]
struct Desk {
    working: FuturesUnordered<Working>,
    busy: HashSet<IndexUid>,
    /// When an index was last swept, by this process' clock and by that of documents.
    swept_at: HashMap<IndexUid, (Instant, i64)>,
    /// When a change of settings was last tried.
    changed_at: HashMap<IndexUid, Instant>,
}

/// Goes on as long as documents may expire; where they may not, until the nodes have forgotten that they ever did.
async fn work(app: &Arc<App>) {
    let mut desk = Desk::default();
    let may_expire = app.config.ttl.enabled;
    loop {
        let snapshot = app.cluster.snapshot();
        let mut indexes: Vec<Arc<Index>> = snapshot.indexes().cloned().collect();
        drop(snapshot);
        // The one that has waited longest comes first.
        indexes.sort_by_key(|index| desk.swept_at.get(&index.node_uid).map(|(at, _)| *at));
        let is_there = |node_uid: &IndexUid| indexes.iter().any(|index| index.node_uid == *node_uid);
        desk.swept_at.retain(|node_uid, _| is_there(node_uid));
        app.metrics.ttl_overdue_indexes.set(app.overdue.retain(is_there) as i64);
        desk.changed_at.retain(|node_uid, _| is_there(node_uid));
        if !may_expire && indexes.iter().all(|index| !index.expiry.is_filterable) {
            return;
        }
        for index in &indexes {
            if index.expiry.is_filterable != may_expire {
                desk.change_settings(app, index, may_expire);
            } else if may_expire {
                desk.sweep_if_due(app, index);
            }
        }
        let ended = async {
            match desk.working.next().await {
                Some(done) => done,
                None => std::future::pending().await,
            }
        };
        if let Ok(node_uid) = tokio::time::timeout(LOOK_INTERVAL, ended).await {
            desk.busy.remove(&node_uid);
        }
    }
}

impl Desk {
    fn is_free_for(&self, index: &Index) -> bool {
        self.busy.len() < SWEEPS_AT_ONCE_MAX && !self.busy.contains(&index.node_uid)
    }

    fn change_settings(&mut self, app: &Arc<App>, index: &Index, may_expire: bool) {
        let is_too_soon = |at: &Instant| at.elapsed() < RETRY_WAIT;
        if !self.is_free_for(index) || self.changed_at.get(&index.node_uid).is_some_and(is_too_soon) {
            return;
        }
        self.changed_at.insert(index.node_uid.clone(), Instant::now());
        let (app, node_uid) = (Arc::clone(app), index.node_uid.clone());
        self.begin(index, async move {
            if let Err(error) = set_filterable(&app, &node_uid, may_expire).await {
                log::info!("index `{node_uid}` is made ready for documents that expire later: {error}");
            }
        });
    }

    fn sweep_if_due(&mut self, app: &Arc<App>, index: &Index) {
        let policy = index.expiry.policy.over(app.config.ttl.default_policy());
        let last = self.swept_at.get(&index.node_uid).copied();
        let is_too_soon = last.is_some_and(|(at, _)| at.elapsed() < policy.sweep_interval);
        if !policy.enabled || !self.is_free_for(index) || is_too_soon {
            return;
        }
        let now_ms = now_ms();
        let before_ms = last.map_or(now_ms - policy.sweep_interval.as_millis() as i64, |(_, at_ms)| at_ms);
        self.swept_at.insert(index.node_uid.clone(), (Instant::now(), now_ms));
        let (app, node_uid) = (Arc::clone(app), index.node_uid.clone());
        self.begin(index, async move { sweep_one(&app, &node_uid, (before_ms, now_ms), &policy).await });
    }

    fn begin(&mut self, index: &Index, work: impl Future<Output = ()> + Send + 'static) {
        let node_uid = index.node_uid.clone();
        self.busy.insert(node_uid.clone());
        self.working.push(Box::pin(async move {
            work.await;
            node_uid
        }));
    }
}

/// `times_ms`: when the index was swept before, and now.
async fn sweep_one(app: &App, node_uid: &IndexUid, times_ms: (i64, i64), policy: &EffectivePolicy) {
    let started = Instant::now();
    let (before_ms, now_ms) = times_ms;
    let mut swept = Swept::default();
    let result = sweep(app, node_uid, before_ms, now_ms, policy.max_deletes_per_sweep, &mut swept).await;
    app.metrics.ttl_sweep_duration.observe(started.elapsed().as_secs_f64());
    app.metrics.ttl_deleted.inc_by(swept.deleted);
    app.metrics.ttl_spared.inc_by(swept.spared);
    if swept.deleted > 0 {
        log::info!("{} expired documents of index `{node_uid}` are deleted", swept.deleted);
    }
    let outcome = match result {
        Ok(()) if swept.is_bounded => "bounded",
        Ok(()) => "complete",
        Err(error) => {
            log::warn!("expired documents of index `{node_uid}` are deleted at the next sweep: {error}");
            "failed"
        }
    };
    app.metrics.ttl_sweeps.with_label_values(&[outcome]).inc();
}
