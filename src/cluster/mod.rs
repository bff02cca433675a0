//! What the cluster is, and who serves what: names, topology, placement of shards, the snapshot, covering sets, health, load.
//!
//! Nothing here talks to a node, a clock or a store; all of it is plain state that tests drive directly.

mod aliases;
pub mod concurrency_limit;
mod covering_set;
mod expiry;
mod health;
mod ids;
mod lag;
mod names;
pub mod node_load;
mod outlooks;
mod placement;
pub mod replica_order;
mod search_rules;
mod settings_state;
mod shard_set;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests_support;
mod topology;

pub use aliases::{
    change_aliases, refuse_to_operators, Alias, AliasAction, AliasError, AliasKind, AliasTable, Flip, TARGETS_MAX,
};
pub use covering_set::{CoveringLeg, CoveringSet, Preference};
pub use expiry::{EffectivePolicy, Expiry, Overdue, TtlPolicy, MAX_DELETES_RANGE, SWEEP_INTERVAL_RANGE_S};
pub use health::{HealthThresholds, NodeHealth, NodeState};
pub use ids::{GroupId, IndexUid, NodeId, Shard, TaskUid};
pub use lag::{Lag, LagCounts};
pub use names::{free_node_uid, Renaming};
pub use outlooks::Outlooks;
pub use placement::Placement;
pub use search_rules::{PinOrder, RuleChange, RuleUpdate, SearchRule, SearchRules, PINS_MAX};
pub use settings_state::SettingsState;
pub use shard_set::ShardSet;
pub use snapshot::{Cluster, Index, Snapshot};
pub use topology::{Group, Node, NodeIndex, Topology};
