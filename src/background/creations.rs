//! Ends the creation of indexes: they are there on all nodes, or what was made of them is deleted again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::app::App;
use crate::cluster::{IndexUid, TaskUid};
use crate::error::ApiError;
use crate::stage::SharedApp;
use crate::store::{IndexChange, PayloadId, StoreError};
use crate::tasks::{InCreation, RequestHead, Task, TaskKind};
use crate::writes::{Scope, Turn};

/// How often tasks are looked through without news, in case the store has failed before.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub struct Creations {
    app: SharedApp,
}

impl Creations {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for Creations {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.app.while_leading(shutdown, |app| async move { end_all(&app).await }).await;
    }
}

async fn end_all(app: &App) {
    let mut news = app.tasks.news();
    while let Err(error) = release_left_behind(app).await {
        log::error!("writes to new indexes do not end yet, which is tried again: {error}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    loop {
        for task in app.tasks.creating().into_iter().filter(|task| task.has_been_carried_out()) {
            let ended = match task.creation {
                Some(InCreation::Creates) if task.is_creation_refused() => undo(app, &task).await,
                _ => end(app, task.uid).await.map_err(ApiError::from),
            };
            if let Err(error) = ended {
                log::error!("the creation by task {} has not ended yet, which is tried again: {error}", task.uid);
            }
        }
        // A timeout is a reason to look, too.
        let _ = tokio::time::timeout(LOOK_INTERVAL, news.changed()).await;
    }
}

/// Writes that were stored just when the creation before them ended, and whose process died just then.
async fn release_left_behind(app: &App) -> Result<(), StoreError> {
    let following = app.tasks.followed_where(|task| task.creation == Some(InCreation::Follows));
    // Looked up later than those that follow them: one that is not there has ended.
    let creating: Vec<IndexUid> = app.tasks.creating().iter().filter_map(|task| task.node_uid().cloned()).collect();
    let is_left = |task: &&Arc<Task>| task.node_uid().is_none_or(|uid| !creating.contains(uid));
    let left: Vec<TaskUid> = following.iter().filter(is_left).map(|task| task.uid).collect();
    if left.is_empty() {
        return Ok(());
    }
    app.tasks.change(move |changes| left.into_iter().for_each(|uid| changes.task(uid, Task::end_creation))).await?;
    Ok(())
}

/// The nodes have made the index, or deleted it again: the tasks that waited for it end.
async fn end(app: &App, uid: TaskUid) -> Result<(), StoreError> {
    app.tasks
        .change(move |changes| {
            let Some(task) = changes.followed(uid) else { return };
            let follows =
                |other: &Task| other.creation == Some(InCreation::Follows) && other.node_uid() == task.node_uid();
            for waiting in std::iter::once(uid).chain(changes.followed_where(follows)) {
                changes.task(waiting, Task::end_creation);
            }
        })
        .await
        .map(drop)
}

/// A node has refused the index: its record goes, what other nodes have made of it is deleted by their logs, and the writes that came
/// after the creation have failed. All of it stands in one commit, from which a crash is recovered as with any write.
async fn undo(app: &App, task: &Arc<Task>) -> Result<(), ApiError> {
    let Some(node_uid) = task.node_uid().cloned() else { return Ok(()) };
    let uid = task.uid;
    let turns = turns_of(app, task, &node_uid).await?;
    let amendment = app.catalog.amend(&IndexChange::Delete(node_uid.clone())).await;
    let records = amendment.changes();
    let mut gone = vec![uid];
    let is_later = |other: &Task| other.uid > uid && !other.status.is_final() && other.concerns(&node_uid);
    gone.extend(app.tasks.followed_where(is_later).iter().map(|task| task.uid));
    let publication = amendment.publication({
        let gone = gone.clone();
        move |snapshot| {
            let names = gone.iter().fold(snapshot, |snapshot, uid| snapshot.without_renamings(*uid));
            names.without_settings_changes(&gone)
        }
    });
    let deletion = RequestHead {
        method: http::Method::DELETE.to_string(),
        path_and_query: format!("/indexes/{node_uid}"),
        kind: TaskKind::IndexDeletion,
    };
    let error = task.creation_error();
    log::warn!(
        "index `{node_uid}` is deleted where task {uid} has made it, since a node refused it: {}",
        error.message
    );
    app.tasks
        .change(move |changes| {
            let now = OffsetDateTime::now_utc();
            for later in gone.into_iter().filter(|gone| *gone != uid) {
                let error = error.clone();
                changes.task(later, |task| {
                    task.undo(error, now);
                    true
                });
            }
            changes.task(uid, |task| {
                task.undo_creation(PayloadId(fastrand::u64(..)), deletion);
                true
            });
            records.into_iter().for_each(|record| changes.also(record));
            changes.then(publication);
        })
        .await?;
    if let Some(task) = app.tasks.followed(uid) {
        app.logs.add(&app.cluster.snapshot().topology, &task);
    }
    drop((amendment, turns));
    app.tasks.index_deleted(&node_uid).await?;
    Ok(())
}

/// The turns of all names by which writes reach the index. Nothing of it is under way then, and what comes later finds no index.
async fn turns_of(app: &App, task: &Task, node_uid: &IndexUid) -> Result<Vec<Turn>, ApiError> {
    let mut names: BTreeSet<IndexUid> = task.index_uid.iter().cloned().collect();
    names.extend(app.cluster.snapshot().index_on_nodes(node_uid).map(|index| index.uid.clone()));
    for renaming in app.tasks.concluding().iter().flat_map(|task| task.renamings().unwrap_or_default().to_vec()) {
        if renaming.node_uid == *node_uid {
            names.insert(renaming.uid);
        }
    }
    let deadline = Instant::now() + app.request_timeout();
    let mut turns = Vec::with_capacity(names.len());
    for name in &names {
        turns.push(app.order.turn(name, Scope::Whole, deadline).await?);
    }
    Ok(turns)
}
