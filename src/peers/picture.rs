//! What the leader tells the others of the cluster.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::{index_of, record_of};
use crate::cluster::{Alias, IndexUid, Outlooks, SearchRules, Snapshot};
use crate::store::IndexRecord;

/// Which of the leader's epochs somebody goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub term: u64,
    pub epoch: u64,
}

/// The answer to a follower.
#[derive(Debug, Serialize, Deserialize)]
pub struct News {
    pub known: Known,
    /// `None`: nothing is new.
    pub picture: Option<Picture>,
    /// Up to which time documents have expired that are still there, by index: Unix time in milliseconds.
    pub overdue: Vec<(IndexUid, i64)>,
    /// How long whoever asked may read by this, from when it asked.
    pub reads_last_ms: u64,
}

/// Everything that routing needs and only the leader knows. Which nodes answer everybody finds out for himself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The nodes by which the rest is meant.
    nodes: Vec<String>,
    indexes: Vec<IndexRecord>,
    aliases: Vec<Alias>,
    features: Option<Map<String, Value>>,
    search_rules: Value,
    outlooks: Outlooks,
}

/// The picture cannot be read by this configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the leader has other nodes in its configuration: {}", .0.join(", "))]
    OtherNodes(Vec<String>),
    #[error("its search rules cannot be read: {0}")]
    Rules(#[from] serde_json::Error),
}

/// Nodes and their groups, as they are configured.
fn nodes(snapshot: &Snapshot) -> Vec<String> {
    let topology = &snapshot.topology;
    let of_group = |node: &crate::cluster::Node| format!("{} in group {}", node.id, node.group.0);
    let mut nodes: Vec<String> = topology.nodes.iter().map(of_group).collect();
    nodes.push(format!("replication factor {}", topology.replication_factor));
    nodes
}

impl Picture {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            nodes: nodes(snapshot),
            indexes: snapshot.indexes().map(|index| record_of(index)).collect(),
            aliases: snapshot.aliases().values().cloned().collect(),
            features: snapshot.features().cloned(),
            search_rules: snapshot.search_rules().to_json(),
            outlooks: snapshot.outlooks(),
        }
    }

    /// What makes a follower's snapshot one of these.
    pub fn read(self, current: &Snapshot) -> Result<impl FnOnce(Snapshot) -> Snapshot, Unreadable> {
        if self.nodes != nodes(current) {
            return Err(Unreadable::OtherNodes(self.nodes));
        }
        let rules = SearchRules::from_json(self.search_rules)?;
        Ok(move |snapshot: Snapshot| {
            let indexes = self.indexes.into_iter().map(index_of);
            let aliases = self.aliases.into_iter().map(|alias| (alias.name.clone(), alias));
            let shown =
                snapshot.with_all_indexes(indexes).with_aliases(aliases.collect()).with_outlooks(self.outlooks, rules);
            match self.features {
                Some(features) if shown.features() != Some(&features) => shown.with_features(features),
                _ => shown,
            }
        })
    }
}
