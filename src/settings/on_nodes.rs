//! The settings of single nodes: reading them, and making them what they should be.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::canonical::{are_same, difference, digest};
use super::{Later, Settings};
use crate::app::App;
use crate::cluster::{Index, IndexUid, NodeIndex, Snapshot};
use crate::scatter::{Delivery, NodeRequest};
use crate::tasks::{Task, TaskKind, TaskStatus};
use crate::writes::Scope;

/// Pause before the second try; it doubles with each.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often a node is asked whether it has applied settings that it was sent again.
const TASK_POLL: Duration = Duration::from_millis(50);
/// How long that may take: a node may have to index everything anew.
const TASK_WAIT: Duration = Duration::from_secs(600);

/// What a node says of an index.
pub struct Reading {
    pub node: NodeIndex,
    pub settings: Settings,
}

/// Why a node's settings are not what they should be.
#[derive(Debug)]
pub enum NotEqual {
    /// It went away.
    Away,
    /// Another change came meanwhile.
    Superseded,
    /// It does not take them, or something else changes them all the time.
    Unrepairable(String),
}

/// Whether the task's requests create an index or change its settings.
fn makes_settings(task: &Task) -> bool {
    matches!(task.kind, TaskKind::SettingsUpdate | TaskKind::IndexCreation) || task.legs.iter().any(|leg| leg.step > 0)
}

/// The nodes that hold shards of the index, in their order.
pub fn nodes_of(snapshot: &Snapshot, index: &Index) -> Vec<NodeIndex> {
    let placement = snapshot.placement(index.shard_count);
    snapshot.topology.node_indexes().filter(|&node| !placement.shards_of(node).is_empty()).collect()
}

/// Those of them that are up and have applied all settings that they were to be given.
pub fn settled_nodes(app: &App, snapshot: &Snapshot, index: &Index) -> Vec<NodeIndex> {
    let changing = app.tasks.followed_where(|task| task.node_uid() == Some(&index.node_uid) && makes_settings(task));
    let is_settled = |node: &NodeIndex| {
        let id = &snapshot.topology.node(*node).id;
        snapshot.state(*node).takes_writes() && !changing.iter().any(|task| task.open_legs().any(|leg| leg.node == *id))
    };
    nodes_of(snapshot, index).into_iter().filter(is_settled).collect()
}

pub async fn read(app: &App, node: NodeIndex, node_uid: &IndexUid) -> Result<Settings, Later> {
    let later = |why: String| Later(format!("node {} does not tell its settings: {why}", app.scatter.health.id(node)));
    let request = NodeRequest::get(format!("/indexes/{node_uid}/settings"));
    let answer = app.scatter.ask(node, &request).await.map_err(|error| later(error.to_string()))?;
    if !answer.is_success() {
        return Err(later(format!("status {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| later(error.to_string()))
}

/// What all of `nodes` say, or none of it.
pub async fn read_all(app: &App, nodes: &[NodeIndex], node_uid: &IndexUid) -> Result<Vec<Reading>, Later> {
    let readings = nodes.iter().map(|&node| async move {
        let settings = read(app, node, node_uid).await?;
        Ok(Reading { node, settings })
    });
    join_all(readings).await.into_iter().collect()
}

/// The settings that most say; of equals the first.
pub fn most_common<'a>(readings: &[&'a Reading]) -> Option<&'a Settings> {
    let digests: Vec<[u8; 32]> = readings.iter().map(|reading| digest(&reading.settings)).collect();
    let count = |at: usize| digests.iter().filter(|digest| **digest == digests[at]).count();
    let best = (0..readings.len()).rev().max_by_key(|&at| count(at))?;
    Some(&readings[best].settings)
}

/// Sends a node what its settings lack, until they are those of `target`. Gives up as soon as they are not wanted any more.
pub async fn make_equal(
    app: &App,
    index: &Index,
    node: NodeIndex,
    target: &Settings,
    is_wanted: impl Fn() -> bool,
) -> Result<(), NotEqual> {
    let tries = app.config.settings_broadcast.repair_tries;
    let mut last = "its settings change all the time".to_owned();
    for attempt in 0..=tries {
        if attempt > 0 {
            tokio::time::sleep(RETRY_PAUSE * (1 << (attempt - 1).min(6))).await;
        }
        if !app.cluster.snapshot().state(node).takes_writes() {
            return Err(NotEqual::Away);
        }
        let settings = match read(app, node, &index.node_uid).await {
            Ok(settings) => settings,
            Err(later) => {
                last = later.to_string();
                continue;
            }
        };
        if are_same(&settings, target) {
            return Ok(());
        }
        if attempt == tries {
            break;
        }
        let patch = difference(&settings, target, &index.settings);
        if let Err(why) = send(app, index, node, patch, &is_wanted).await? {
            last = why;
        }
    }
    Err(NotEqual::Unrepairable(last))
}

/// Sends one patch and waits until the node has applied it. The outer error ends the attempts.
async fn send(
    app: &App,
    index: &Index,
    node: NodeIndex,
    patch: Settings,
    is_wanted: impl Fn() -> bool,
) -> Result<Result<(), String>, NotEqual> {
    let body = Bytes::from(Value::Object(patch).to_string());
    let request = NodeRequest::json(Method::PATCH, format!("/indexes/{}/settings", index.node_uid), body);
    // No proposal is under way meanwhile: one that got no answer would be mistaken for this.
    let deadline = Instant::now() + app.request_timeout();
    let turn = match app.order.turn(&index.uid, Scope::Whole, deadline).await {
        Ok(turn) => turn,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if !is_wanted() {
        return Err(NotEqual::Superseded);
    }
    let uid = match app.scatter.deliver(node, &request).await {
        Delivery::Acknowledged(acknowledgement) => acknowledgement.uid,
        Delivery::Refused(error) => return Ok(Err(error.to_string())),
        Delivery::Late(late) => {
            app.late_turns.hold(turn, vec![late]);
            return Ok(Err("it does not answer".to_owned()));
        }
        Delivery::NotSent | Delivery::InDoubt => return Ok(Err("it does not answer".to_owned())),
    };
    app.logs.numbered(node, Some(uid));
    drop(turn);
    Ok(wait(app, node, uid).await)
}

#[derive(Deserialize)]
struct NodeTask {
    status: TaskStatus,
    error: Option<crate::error::ErrorBody>,
}

/// Waits until a node has carried a task of its own out; else says why not.
pub async fn wait(app: &App, node: NodeIndex, uid: u32) -> Result<(), String> {
    let deadline = Instant::now() + TASK_WAIT;
    let request = NodeRequest::get(format!("/tasks/{uid}"));
    while Instant::now() < deadline {
        if !app.cluster.snapshot().state(node).takes_writes() {
            return Err("it went away".to_owned());
        }
        if let Ok(answer) = app.scatter.ask(node, &request).await {
            match serde_json::from_slice::<NodeTask>(&answer.body) {
                Ok(NodeTask { status: TaskStatus::Succeeded, .. }) => return Ok(()),
                Ok(NodeTask { status, error }) if status.is_final() => {
                    return Err(error.map_or_else(|| status.name().to_owned(), |error| error.message));
                }
                _ => {}
            }
        }
        tokio::time::sleep(TASK_POLL).await;
    }
    Err(format!("it has not applied them within {} s", TASK_WAIT.as_secs()))
}
