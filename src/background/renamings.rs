//! Carries out swaps and renamings of indexes, once the writes before them have ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use time::OffsetDateTime;

use crate::app::App;
use crate::cluster::Snapshot;
use crate::settings::rules;
use crate::stage::SharedApp;
use crate::store::{IndexChange, StoreError};
use crate::tasks::{Outcome, Task};

/// How often tasks are looked through without news, in case the store has failed before.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub struct Renamings {
    app: SharedApp,
}

impl Renamings {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for Renamings {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.app.while_leading(shutdown, |app| async move { carry_out_all(&app).await }).await;
    }
}

async fn carry_out_all(app: &App) {
    let mut news = app.tasks.news();
    loop {
        for task in app.tasks.concluding().into_iter().filter(|task| task.renamings().is_some()) {
            if is_due(app, &task) {
                if let Err(error) = carry_out(app, &task).await {
                    log::error!("task {} has not renamed its indexes yet, which is tried again: {error}", task.uid);
                }
            }
        }
        // A timeout is a reason to look, too.
        let _ = tokio::time::timeout(LOOK_INTERVAL, news.changed()).await;
    }
}

/// Whether the nodes have carried out everything that came before in the indexes that it renames, itself included.
fn is_due(app: &App, task: &Task) -> bool {
    let renamed = task.renamings().unwrap_or_default();
    let is_before = |other: &Task| {
        other.uid < task.uid
            && !other.status.is_final()
            && renamed.iter().any(|renaming| other.concerns(&renaming.node_uid))
    };
    app.cluster.snapshot().has_renamings(task.uid)
        && task.has_been_carried_out()
        && app.tasks.followed_where(is_before).is_empty()
}

/// Readers see the new names before anybody learns that the task has ended.
async fn carry_out(app: &App, task: &Arc<Task>) -> Result<(), StoreError> {
    let uid = task.uid;
    let renamings = task.renamings().unwrap_or_default().to_vec();
    let has_failed = task.legs.iter().any(|leg| leg.error.is_some());
    let change = IndexChange::Rename(if has_failed { Vec::new() } else { renamings });
    let amendment = app.catalog.amend(&change).await;
    let records = amendment.changes();
    let uids: Vec<_> = task.renamings().unwrap_or_default().iter().map(|renaming| renaming.uid.clone()).collect();
    let publication = amendment.publication(move |snapshot| {
        // Until they have been told by other names, nodes pin what was meant before.
        let named = rules::mean_any(&snapshot, uids.iter());
        let nodes: Vec<_> = snapshot.topology.node_indexes().filter(|_| named).collect();
        nodes.into_iter().fold(snapshot.without_renamings(uid), Snapshot::missing_search_rules)
    });
    app.tasks
        .change(move |changes| {
            changes.task(uid, |task| {
                task.conclude(Outcome::Succeeded, OffsetDateTime::now_utc());
                true
            });
            records.into_iter().for_each(|record| changes.also(record));
            changes.then(publication);
        })
        .await?;
    Ok(())
}
