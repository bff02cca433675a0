//! Clusters for unit tests.

use super::topology::tests::topology;
use super::{Index, IndexUid, Snapshot};

/// All nodes active, no index, and the placement of `shards` shards.
pub(crate) fn snapshot(nodes_per_group: &[usize], replication_factor: usize, shards: u32) -> Snapshot {
    Snapshot::new(topology(nodes_per_group, replication_factor)).with_placement(shards)
}

pub(crate) fn index(shards: u32) -> Index {
    Index {
        uid: IndexUid::parse("i").expect("a valid uid"),
        node_uid: IndexUid::parse("i").expect("a valid uid"),
        primary_key: None,
        shard_count: shards,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
        updated_at: time::OffsetDateTime::UNIX_EPOCH,
        settings: serde_json::Value::Null,
        settings_version: 0,
        verified: None,
        is_frozen: false,
        expiry: Default::default(),
    }
}
