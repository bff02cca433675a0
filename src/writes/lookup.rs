//! Finds a request that got no answer in its node's own task list, so that it is not executed twice.

use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::marker;
use crate::app::App;
use crate::cluster::{IndexUid, NodeIndex};
use crate::scatter::NodeRequest;
use crate::tasks::{Acknowledgement, Doubt, RequestHead};

/// Tasks asked for at once.
const PAGE: u32 = 1_000;
/// Pages that are looked through: the request is among the newest tasks of its index and kind, unless others made a hundred
/// thousand since.
const PAGES_MAX: u32 = 100;

/// How long after its connection has ended a request may still be on its way into the node's task list: it stands in the node's
/// socket, or the documents are being read. What takes longer than that was never taken in whole.
const REGISTERED_WITHIN: Duration = Duration::from_secs(1);

/// Why a node's task list says nothing about a request.
#[derive(Debug, thiserror::Error)]
#[error("the task list of node {node} cannot be read: {cause}")]
pub struct Unknown {
    node: String,
    cause: String,
}

#[derive(Deserialize)]
struct TaskList {
    results: Vec<ListedTask>,
    next: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedTask {
    uid: u32,
    #[serde(default)]
    custom_metadata: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    enqueued_at: OffsetDateTime,
}

impl ListedTask {
    fn acknowledgement(&self) -> Acknowledgement {
        let shared_by = self.markers().count().max(1) as u32;
        Acknowledgement { uid: self.uid, enqueued_at: Some(self.enqueued_at), shared_by }
    }

    /// Of all the writes whose request it was.
    fn markers(&self) -> impl Iterator<Item = &str> {
        marker::all_in(self.custom_metadata.as_deref())
    }
}

/// The task that the node made of a request whose connection has ended; `None` if it has made none and will make none.
pub async fn find(
    app: &App,
    node: NodeIndex,
    node_uid: &IndexUid,
    head: &RequestHead,
    marker: &str,
    doubt: Doubt,
) -> Result<Option<Acknowledgement>, Unknown> {
    let settled = app.logs.broken_at(node) + REGISTERED_WITHIN;
    let asked_at = Instant::now();
    let found = look(app, node, node_uid, head, marker, doubt).await?;
    if found.is_some() || asked_at >= settled {
        return Ok(found);
    }
    tokio::time::sleep_until(settled).await;
    look(app, node, node_uid, head, marker, doubt).await
}

/// Whether the write's marker tells the node's task of this request from all others.
pub fn is_marked(head: &RequestHead, marker: &str) -> bool {
    head.path_and_query.contains(marker)
}

/// What the node's task list says now.
///
/// Where the route takes `customMetadata` the write's marker names it. Elsewhere it is the oldest one of its index and kind above
/// the number that was the node's highest before: such writes concern a whole index and go out one at a time.
async fn look(
    app: &App,
    node: NodeIndex,
    node_uid: &IndexUid,
    head: &RequestHead,
    marker: &str,
    doubt: Doubt,
) -> Result<Option<Acknowledgement>, Unknown> {
    let is_marked = is_marked(head, marker);
    let mut oldest_above: Option<Acknowledgement> = None;
    let mut from = None;
    for _ in 0..PAGES_MAX {
        let mut query = format!("indexUids={node_uid}&types={}&limit={PAGE}", head.kind);
        if let Some(from) = from {
            query.push_str(&format!("&from={from}"));
        }
        let page = list(app, node, &query).await?;
        // Newest first.
        for task in &page.results {
            if doubt.after.is_some_and(|after| task.uid <= after) {
                return Ok(oldest_above);
            }
            if is_marked && task.markers().any(|known| known == marker) {
                return Ok(Some(task.acknowledgement()));
            }
            if !is_marked {
                oldest_above = Some(task.acknowledgement());
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(oldest_above),
        }
    }
    Ok(oldest_above)
}

/// The highest number that the node has given so far, as far as is known; the node is asked if nothing is.
pub async fn learn_highest(app: &App, node: NodeIndex) -> Result<Option<u32>, Unknown> {
    if let Some(highest) = app.logs.highest(node) {
        return Ok(highest);
    }
    let newest = newest(app, node).await?;
    app.logs.numbered(node, newest);
    Ok(newest)
}

/// The number of the node's newest task.
pub async fn newest(app: &App, node: NodeIndex) -> Result<Option<u32>, Unknown> {
    Ok(list(app, node, "limit=1").await?.results.first().map(|task| task.uid))
}

async fn list(app: &App, node: NodeIndex, query: &str) -> Result<TaskList, Unknown> {
    let unknown = |cause: String| Unknown { node: app.scatter.health.id(node).to_owned(), cause };
    let request = NodeRequest::get(format!("/tasks?{query}"));
    let answer = app.scatter.ask(node, &request).await.map_err(|error| unknown(error.to_string()))?;
    if !answer.is_success() {
        return Err(unknown(format!("status {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| unknown(error.to_string()))
}
