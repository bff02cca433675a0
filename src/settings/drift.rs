//! What was changed behind Miroir's back: found by comparing, told to clients, mended.

use futures_util::future::join_all;

use super::canonical::are_same;
use super::on_nodes::{make_equal, most_common, read_all, settled_nodes, NotEqual, Reading};
use super::{pending, Later, Settings};
use crate::app::App;
use crate::cluster::{Index, IndexUid, NodeIndex, Snapshot};
use crate::store::{IndexChange, StoreError};

/// Compares the settings of an index on all nodes that can be asked with what they should be.
///
/// Nothing is done while a change is under way, which ends with a comparison of its own.
pub async fn check(app: &App, node_uid: &IndexUid) -> Result<(), Later> {
    let _alone = app.settings_locks.hold(node_uid).await;
    let is_quiet = || pending(app, node_uid).is_empty();
    let snapshot = app.cluster.snapshot();
    let Some(index) = snapshot.index_on_nodes(node_uid).cloned() else { return Ok(()) };
    let nodes = settled_nodes(app, &snapshot, &index);
    if !is_quiet() || nodes.is_empty() {
        return Ok(());
    }
    let readings = read_all(app, &nodes, node_uid).await?;
    if !is_quiet() {
        return Ok(());
    }
    let said: Vec<&Reading> = readings.iter().collect();
    let Some(target) = index.verified.as_deref().or_else(|| most_common(&said)).cloned() else { return Ok(()) };
    let (same, different): (Vec<&Reading>, Vec<&Reading>) =
        readings.iter().partition(|reading| are_same(&reading.settings, &target));
    let same: Vec<NodeIndex> = same.iter().map(|reading| reading.node).collect();
    let different: Vec<NodeIndex> = different.iter().map(|reading| reading.node).collect();
    let known = snapshot.settings_state(&index).map(|state| state.unverified.clone()).unwrap_or_default();
    let news = different.iter().filter(|node| !known.contains(&(**node, None))).count();
    if news > 0 {
        log::warn!("settings of index `{}` were changed on {news} nodes behind Miroir's back", index.uid);
        app.metrics.settings_drift.inc_by(news as u64);
    }
    show(app, &index, &same, &different);
    let mut is_whole = different.is_empty();
    if !different.is_empty() && app.config.settings_drift_check.auto_repair {
        let mended = different.iter().map(|&node| {
            let (index, target, is_quiet) = (&index, &target, &is_quiet);
            async move { (node, make_equal(app, index, node, target, is_quiet).await) }
        });
        let mut repaired = Vec::new();
        for (node, result) in join_all(mended).await {
            match result {
                Ok(()) => {
                    app.metrics.settings_repairs.with_label_values(&["repaired"]).inc();
                    repaired.push(node);
                }
                Err(NotEqual::Away | NotEqual::Superseded) => {}
                Err(NotEqual::Unrepairable(why)) => {
                    app.metrics.settings_repairs.with_label_values(&["failed"]).inc();
                    log::error!(
                        "settings of index `{}` cannot be repaired on node {}: {why}",
                        index.uid,
                        app.scatter.health.id(node)
                    );
                }
            }
        }
        is_whole = repaired.len() == different.len();
        show(app, &index, &repaired, &[]);
    }
    if is_whole && (index.verified.is_none() || index.is_frozen) {
        adopt(app, &index, target).await?;
    }
    Ok(())
}

/// Whether some node's settings of an index are others than the leader last found everywhere, as far as a follower can see: a change may
/// be under way that it does not know of. Who leads looks more closely.
pub async fn differs(app: &App, node_uid: &IndexUid) -> Result<bool, Later> {
    let snapshot = app.cluster.snapshot();
    let Some(index) = snapshot.index_on_nodes(node_uid).cloned() else { return Ok(false) };
    let Some(target) = index.verified.as_deref() else { return Ok(false) };
    let readings = read_all(app, &settled_nodes(app, &snapshot, &index), node_uid).await?;
    Ok(readings.iter().any(|reading| !are_same(&reading.settings, target)))
}

/// Tells requests which nodes are as they should be, and which are not.
fn show(app: &App, index: &Index, same: &[NodeIndex], different: &[NodeIndex]) {
    let change = |snapshot: Snapshot| {
        let known = snapshot.settings_state(index).map(|state| state.unverified.clone()).unwrap_or_default();
        let is_told = |node: &NodeIndex| same.contains(node) || different.contains(node);
        let mut unverified: Vec<(NodeIndex, Option<u64>)> =
            known.into_iter().filter(|(node, _)| !is_told(node)).collect();
        unverified.extend(different.iter().map(|node| (*node, None)));
        snapshot.with_unverified(&index.node_uid, unverified)
    };
    let is_known = app.cluster.snapshot().settings_state(index).is_some_and(|state| !state.unverified.is_empty());
    if is_known || !different.is_empty() {
        app.cluster.publish(change);
        app.metrics.settings_diverged.set(app.cluster.snapshot().diverged_indexes() as i64);
    }
}

/// All nodes agree: what they say is what they are to say from now on, and writes may go on.
async fn adopt(app: &App, index: &Index, target: Settings) -> Result<(), StoreError> {
    let change = IndexChange::Settings {
        node_uid: index.node_uid.clone(),
        settings: index.settings.clone(),
        version: index.settings_version,
        verified: Some(target),
        is_frozen: false,
    };
    let amendment = app.catalog.amend(&change).await;
    app.store.apply(amendment.changes()).await?;
    amendment.publication(|snapshot| snapshot)();
    Ok(())
}
