//! Notices a node that has lost its data: an empty disk, or an older copy of it.
//!
//! Such a node answers as if all were well, and takes writes into indexes that it makes anew. Two things tell: it numbers its tasks
//! from the beginning, and indexes are not there that it should have. What it lost is marked, as if it had missed every write:
//! it serves no reads of those shards until they have been copied from a replica. `docs/decisions/018-lost-data.md` says why it is so.

use std::collections::HashSet;

use serde::Deserialize;

use super::lookup;
use crate::app::App;
use crate::cluster::{Index, NodeId, NodeIndex};
use crate::scatter::NodeRequest;
use crate::store::{StaleReplica, StoreError};

/// Indexes asked for at once.
const PAGE: usize = 1_000;

/// Why it is not known whether a node has lost anything.
#[derive(Debug, thiserror::Error)]
pub enum Unexamined {
    #[error("{0}")]
    Tasks(#[from] lookup::Unknown),
    #[error("the list of its indexes cannot be read: {0}")]
    Indexes(String),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Looks whether the node still has what it was given, and marks what it has not.
pub async fn examine(app: &App, node: NodeIndex) -> Result<(), Unexamined> {
    let id = NodeId::new(app.scatter.health.id(node));
    // In this order: what is numbered while the node is asked is above.
    let highest = app.logs.highest(node);
    let newest = lookup::newest(app, node).await?;
    let counts_anew = app.logs.counts_anew(node, highest, newest);
    let before = app.cluster.snapshot();
    let is_settled = |index: &Index| {
        let is_pending = |task: &crate::tasks::Task| {
            task.node_uid() == Some(&index.node_uid)
                && task.legs.iter().any(|leg| leg.node == id && !leg.status.is_final())
        };
        app.tasks.followed_where(is_pending).is_empty()
    };
    let mut suspects: Vec<_> = before.indexes().filter(|index| counts_anew || is_settled(index)).collect();
    if !counts_anew {
        let present = indexes_of(app, node).await?;
        // One that is being deleted meanwhile is not lost.
        let now = app.cluster.snapshot();
        let is_still_known = |index: &Index| now.index_on_nodes(&index.node_uid).is_some() && is_settled(index);
        suspects.retain(|index| !present.contains(index.node_uid.as_str()) && is_still_known(index));
    }
    let mut lost = 0;
    for index in suspects {
        let shards = before.placement(index.shard_count).shards_of(node).iter().copied().collect();
        let stale = StaleReplica { node: id.clone(), index_uid: index.node_uid.clone(), shards };
        lost += u32::from(app.tasks.go_stale(stale).await?);
    }
    if counts_anew {
        app.logs.forget_numbers(node);
    }
    if lost > 0 {
        app.metrics.node_data_lost.with_label_values(&[id.as_str()]).inc();
        log::error!(
            "node {id} has lost its data: its replicas of {lost} indexes stay out of reads until they are copied anew, or until \
             the index is deleted"
        );
    }
    Ok(())
}

#[derive(Deserialize)]
struct IndexList {
    results: Vec<ListedIndex>,
    total: usize,
}

#[derive(Deserialize)]
struct ListedIndex {
    uid: String,
}

/// The names of all indexes that the node has.
async fn indexes_of(app: &App, node: NodeIndex) -> Result<HashSet<String>, Unexamined> {
    let mut present = HashSet::new();
    let mut offset = 0;
    // Ends: a page that is not the last one is full.
    loop {
        let request = NodeRequest::get(format!("/indexes?limit={PAGE}&offset={offset}"));
        let answer = app.scatter.ask(node, &request).await.map_err(|error| Unexamined::Indexes(error.to_string()))?;
        if !answer.is_success() {
            return Err(Unexamined::Indexes(format!("status {}", answer.status)));
        }
        let list: IndexList =
            serde_json::from_slice(&answer.body).map_err(|error| Unexamined::Indexes(error.to_string()))?;
        let is_last = list.results.len() < PAGE || offset + PAGE >= list.total;
        present.extend(list.results.into_iter().map(|index| index.uid));
        if is_last {
            return Ok(present);
        }
        offset += PAGE;
    }
}
