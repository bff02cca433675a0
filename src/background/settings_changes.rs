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

use crate::app::App;
use crate::cluster::{IndexUid, NodeIndex, TaskUid};
use crate::settings::sequential::see_through;
use crate::settings::{changes_settings, chats, check, conclude, features, is_due, rules};
use crate::stage::SharedApp;

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
    async fn start(&self, shutdown: ShutdownWatch) {
        self.app.while_leading(shutdown, |app| async move { work(&app).await }).await;
    }
}

type Working = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What has been done for now.
enum Done {
    Index(IndexUid),
    Sequence(TaskUid),
    Rules,
    /// A node has been given the search rules that have this fingerprint, while these features held.
    RulesOf(NodeIndex, Option<(u64, u64)>),
}

/// Where the work on all indexes stands.
#[derive(Default)]
struct Desk {
    working: FuturesUnordered<Working>,
    busy: HashSet<IndexUid>,
    /// Changes that are seen through node after node.
    sequences: HashSet<TaskUid>,
    verified_at: HashMap<IndexUid, Instant>,
    /// Nodes that have been given their features since they came up, with the version of those.
    equal: HashMap<NodeIndex, u64>,
    /// Epoch of the snapshot by which nodes were last given search rules.
    rules_seen_at: Option<u64>,
    /// Whether changes of search rules are being concluded.
    concludes_rules: bool,
    /// Nodes that have been given the search rules since they came up, with what they were told by; none while that is under way.
    have_rules: HashMap<NodeIndex, Option<(u64, u64)>>,
}

async fn work(app: &Arc<App>) {
    let mut news = app.tasks.news();
    let mut desk = Desk::default();
    loop {
        desk.see_sequences_through(app);
        desk.conclude_due(app);
        desk.verify_due(app);
        desk.equalize_returned(app).await;
        desk.conclude_rules(app);
        desk.give_rules(app);
        let ended = async {
            match desk.working.next().await {
                Some(done) => done,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = ended => match done {
                Done::Index(node_uid) => drop(desk.busy.remove(&node_uid)),
                Done::Sequence(task) => drop(desk.sequences.remove(&task)),
                Done::Rules => desk.concludes_rules = false,
                Done::RulesOf(node, Some(known)) => drop(desk.have_rules.insert(node, Some(known))),
                Done::RulesOf(node, None) => drop(desk.have_rules.remove(&node)),
            },
            _ = tokio::time::timeout(LOOK_INTERVAL, news.changed()) => {}
        }
    }
}

impl Desk {
    fn is_free_for(&self, node_uid: &IndexUid) -> bool {
        self.busy.len() < INDEXES_AT_ONCE_MAX && !self.busy.contains(node_uid)
    }

    fn see_sequences_through(&mut self, app: &Arc<App>) {
        for task in app.withheld.tasks() {
            if self.sequences.insert(task) {
                let app = Arc::clone(app);
                self.working.push(Box::pin(async move {
                    see_through(&app, task).await;
                    Done::Sequence(task)
                }));
            }
        }
    }

    fn conclude_due(&mut self, app: &Arc<App>) {
        let mut carried_out: HashMap<IndexUid, bool> = HashMap::new();
        for task in app.tasks.concluding().iter().filter(|task| changes_settings(task)) {
            let Some(node_uid) = task.node_uid() else { continue };
            *carried_out.entry(node_uid.clone()).or_insert(true) &= is_due(task);
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
                    Done::Index(node_uid)
                }));
            }
        }
    }

    /// A node may have been away while features were changed, for however short a time.
    async fn equalize_returned(&mut self, app: &App) {
        let snapshot = app.cluster.snapshot();
        for node in snapshot.topology.node_indexes() {
            if !snapshot.state(node).takes_writes() {
                self.equal.remove(&node);
            } else if self.equal.get(&node) != Some(&snapshot.features_version()) {
                let given = match features::equalize(app, node).await {
                    Ok(()) => chats::give(app, node).await,
                    Err(later) => Err(later),
                };
                match given {
                    Ok(()) => drop(self.equal.insert(node, snapshot.features_version())),
                    Err(later) => log::info!("{later}"),
                }
            }
        }
    }

    fn conclude_rules(&mut self, app: &Arc<App>) {
        if self.concludes_rules || rules::pending(app).is_empty() {
            return;
        }
        self.concludes_rules = true;
        let app = Arc::clone(app);
        self.working.push(Box::pin(async move {
            if let Err(later) = rules::conclude(&app).await {
                log::info!("search rules are changed later: {later}");
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Done::Rules
        }));
    }

    /// A node may have been away while search rules were changed, and what they name may have another name there.
    fn give_rules(&mut self, app: &Arc<App>) {
        let snapshot = app.cluster.snapshot();
        let is_told = |node| self.have_rules.contains_key(&node);
        if self.rules_seen_at == Some(snapshot.epoch) && snapshot.topology.node_indexes().all(is_told) {
            return;
        }
        self.rules_seen_at = Some(snapshot.epoch);
        let known = (snapshot.features_version(), rules::fingerprint(&snapshot));
        for node in snapshot.topology.node_indexes() {
            let has = self.have_rules.get(&node);
            if !snapshot.state(node).takes_writes() {
                if has.is_some_and(Option::is_some) {
                    self.have_rules.remove(&node);
                }
            } else if has.is_none_or(|has| has.is_some_and(|has| has != known)) {
                self.have_rules.insert(node, None);
                let app = Arc::clone(app);
                self.working.push(Box::pin(async move {
                    let result = rules::equalize(&app, node).await;
                    if let Err(later) = &result {
                        log::info!("{later}");
                        tokio::time::sleep(LOOK_INTERVAL).await;
                    }
                    Done::RulesOf(node, result.ok().map(|()| known))
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
                    Done::Index(node_uid)
                }));
            }
        }
    }
}
