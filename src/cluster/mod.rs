//! What the cluster is, and who serves what: names, the snapshot, placement of shards, covering sets.
//!
//! Nothing here talks to a node or a clock; all of it is plain state that tests drive directly.

mod ids;

pub use ids::{GroupId, IndexUid, NodeId, Shard, TaskUid};
