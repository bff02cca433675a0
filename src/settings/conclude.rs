//! The end of a change: all nodes are read back, those that differ are mended, and the new version is committed.
//!
//! Changes that follow one another closely are concluded together, once the nodes have applied the last of them: in between no
//! state could be read back that would have to be the same everywhere.

use std::sync::Arc;

use futures_util::future::join_all;
use time::OffsetDateTime;

use super::canonical::are_same;
use super::on_nodes::{make_equal, most_common, nodes_of, read_all, settled_nodes, NotEqual, Reading};
use super::{is_due, pending, record_patch, Later, Settings};
use crate::app::App;
use crate::cluster::{Index, IndexUid, NodeIndex, Snapshot};
use crate::error::{Code, ErrorBody};
use crate::store::{IndexChange, StoreError};
use crate::tasks::{Conclusion, Outcome, Task, TaskStatus};

impl From<StoreError> for Later {
    fn from(error: StoreError) -> Self {
        Later(error.to_string())
    }
}

/// Concludes the pending changes of an index, if the nodes have carried all of them out. Whatever stands in the way passes, or
/// passes with the node that causes it; this is to be called until nothing is pending.
pub async fn conclude(app: &App, node_uid: &IndexUid) -> Result<(), Later> {
    let _alone = app.settings_locks.hold(node_uid).await;
    let tasks = pending(app, node_uid);
    if tasks.is_empty() || !tasks.iter().all(|task| is_due(task)) {
        return Ok(());
    }
    let snapshot = app.cluster.snapshot();
    let Some(index) = snapshot.index_on_nodes(node_uid).cloned() else {
        // It has been deleted meanwhile.
        return Ok(end(app, &tasks, None, |snapshot| snapshot).await?);
    };
    let nodes = settled_nodes(app, &snapshot, &index);
    let readings = read_all(app, &nodes, node_uid).await?;
    let target = target(&snapshot, &tasks, &readings, index.verified.as_deref());
    let Some(target) = target else { return Err(Later(format!("no node of index `{node_uid}` can be read"))) };

    let is_wanted = || pending(app, node_uid).len() == tasks.len();
    let different = readings.iter().filter(|reading| !are_same(&reading.settings, &target));
    let mended = different.map(|reading| {
        let (node, index, target, is_wanted) = (reading.node, &index, &target, &is_wanted);
        log::warn!("settings of index `{node_uid}` differ on node {}", app.scatter.health.id(node));
        async move { (node, make_equal(app, index, node, target, is_wanted).await) }
    });
    let mut unverified: Vec<(NodeIndex, Option<String>)> = Vec::new();
    for (node, result) in join_all(mended).await {
        match result {
            Ok(()) => app.metrics.settings_repairs.with_label_values(&["repaired"]).inc(),
            Err(NotEqual::Superseded) => return Err(Later("another change came meanwhile".to_owned())),
            Err(NotEqual::Away) => unverified.push((node, None)),
            Err(NotEqual::Unrepairable(why)) => {
                app.metrics.settings_repairs.with_label_values(&["failed"]).inc();
                unverified.push((node, Some(why)));
            }
        }
    }
    commit(app, &snapshot, &index, &tasks, target, &nodes, unverified).await
}

/// What the settings are to be: what most nodes say. If some node refused a change, none keeps it, and those that refused say how it
/// was without.
fn target(
    snapshot: &Snapshot,
    tasks: &[Arc<Task>],
    readings: &[Reading],
    verified: Option<&Settings>,
) -> Option<Settings> {
    let has_failed_on = |task: &Task, node: NodeIndex| {
        let id = &snapshot.topology.node(node).id;
        task.legs.iter().any(|leg| leg.node == *id && leg.status == TaskStatus::Failed)
    };
    let failed: Vec<&Arc<Task>> = tasks.iter().filter(|task| has_failed(task)).collect();
    let without = |reading: &&Reading| failed.iter().all(|task| has_failed_on(task, reading.node));
    let candidates: Vec<&Reading> = readings.iter().filter(without).collect();
    let all: Vec<&Reading> = readings.iter().collect();
    most_common(&candidates).or(verified).or_else(|| most_common(&all)).cloned()
}

fn has_failed(task: &Task) -> bool {
    task.legs.iter().any(|leg| leg.status == TaskStatus::Failed)
}

async fn commit(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    tasks: &[Arc<Task>],
    target: Settings,
    nodes: &[NodeIndex],
    unverified: Vec<(NodeIndex, Option<String>)>,
) -> Result<(), Later> {
    let mut settings = index.settings.clone();
    let mut version = index.settings_version;
    for task in tasks.iter().filter(|task| !has_failed(task)) {
        if let Some(Conclusion::Settings { patch }) = &task.conclusion {
            settings = record_patch(&settings, patch);
            version += 1;
        }
    }
    let unrepairable: Vec<String> = unverified
        .iter()
        .filter_map(|(node, why)| Some(format!("{} ({})", app.scatter.health.id(*node), why.as_ref()?)))
        .collect();
    let error = (!unrepairable.is_empty()).then(|| {
        let message = format!("The settings could not be made equal on these nodes: {}.", unrepairable.join(", "));
        log::error!("index `{}`: {message}", index.node_uid);
        ErrorBody::new(Code::MiroirSettingsDiverged, message)
    });
    let is_frozen = error.is_some() && app.config.settings_broadcast.freeze_writes_on_unrepairable;
    let change = IndexChange::Settings {
        node_uid: index.node_uid.clone(),
        settings,
        version,
        verified: Some(target),
        is_frozen,
    };
    let is_verified =
        |node: NodeIndex| nodes.contains(&node) && !unverified.iter().any(|(unverified, _)| *unverified == node);
    let behind = snapshot.settings_state(index).map(|state| state.unverified.clone()).unwrap_or_default();
    let known = |node: NodeIndex| behind.iter().find(|(of, _)| *of == node).map(|(_, version)| *version);
    // A node that differs for good has no version at all; one that only was away still has what was verified there.
    let left = nodes_of(snapshot, index).into_iter().filter(|&node| !is_verified(node)).map(|node| {
        let differs = unverified.iter().any(|(of, why)| *of == node && why.is_some());
        (node, if differs { None } else { known(node).unwrap_or(Some(index.settings_version)) })
    });
    let left: Vec<(NodeIndex, Option<u64>)> = left.collect();
    let node_uid = index.node_uid.clone();
    let show = move |snapshot: Snapshot| snapshot.with_unverified(&node_uid, left);
    end(app, tasks, Some((change, error)), show).await?;
    app.metrics.settings_diverged.set(app.cluster.snapshot().diverged_indexes() as i64);
    Ok(())
}

/// Ends the tasks, and stores and shows what they have made of the index's record, all in one.
async fn end(
    app: &App,
    tasks: &[Arc<Task>],
    committed: Option<(IndexChange, Option<ErrorBody>)>,
    show: impl FnOnce(Snapshot) -> Snapshot + Send + 'static,
) -> Result<(), StoreError> {
    let uids: Vec<_> = tasks.iter().map(|task| task.uid).collect();
    let (change, error) = committed.unzip();
    let change = change.unwrap_or(IndexChange::Rename(Vec::new()));
    let outcome = error.flatten().map_or(Outcome::Succeeded, Outcome::Failed);
    let amendment = app.catalog.amend(&change).await;
    let records = amendment.changes();
    let shown = uids.clone();
    let publication = amendment.publication(move |snapshot| show(snapshot.without_settings_changes(&shown)));
    for task in tasks {
        let how = if has_failed(task) || outcome != Outcome::Succeeded { "failed" } else { "committed" };
        app.metrics.settings_changes.with_label_values(&[how]).inc();
    }
    app.tasks
        .change(move |changes| {
            let now = OffsetDateTime::now_utc();
            for uid in uids {
                changes.task(uid, |task| {
                    task.conclude(if has_failed(task) { Outcome::Succeeded } else { outcome.clone() }, now);
                    true
                });
            }
            records.into_iter().for_each(|record| changes.also(record));
            changes.then(publication);
        })
        .await?;
    Ok(())
}
