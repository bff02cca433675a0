//! Values that are each fine and cannot stand together.

use std::collections::HashMap;
use std::hash::Hash;

use super::reader::Reader;
use super::{admin_ui, is_loopback, search_ui, Config};

/// Fewest shards per node of the largest group that spread documents evenly and leave room to add nodes.
const SHARDS_PER_NODE_MIN: usize = 8;

/// How often the largest body must fit in the memory for bodies: one alone needs more than its length while it is cut up.
const BUFFERED_BODIES_MIN: u64 = 2;

/// Reports every contradiction in `config` to `reader`.
pub(super) fn check(reader: &Reader<'_>, config: &Config) {
    check_nodes(reader, config);
    check_keys(reader, config);
    check_listeners(reader, config);
    check_times(reader, config);
    check_sizes(reader, config);
    if config.leader_election.renew * 3 > config.leader_election.lease {
        reader.problem(
            "miroir.leader_election.renew_s",
            "is at most a third of lease_s, so that one sign of life may be lost",
        );
    }
    if config.ilm.enabled && !config.aliases.enabled {
        reader.problem("miroir.ilm.enabled", "needs miroir.aliases.enabled: a rollover is a change of aliases");
    }
    search_ui::check(reader, config);
    admin_ui::check(reader, config);
}

fn check_nodes(reader: &Reader<'_>, config: &Config) {
    if config.nodes.is_empty() {
        reader.problem(
            "miroir.nodes",
            "names no node; Miroir needs at least one Meilisearch server to stand in front of",
        );
    }
    check_unique(reader, "id", config.nodes.iter().map(|node| node.id.clone()));
    check_unique(reader, "address", config.nodes.iter().map(|node| node.address.clone()));

    let mut sizes: Vec<_> = config.group_sizes().into_iter().collect();
    sizes.sort();
    for (group, size) in sizes.into_iter().filter(|(_, size)| *size < config.replication_factor as usize) {
        let nodes = if size == 1 { "1 node" } else { &format!("{size} nodes") };
        reader.problem(
            "miroir.replication_factor",
            format!("is {}, but group {group} has only {nodes}", config.replication_factor),
        );
    }
}

/// Reports each value that an earlier node has too.
fn check_unique<T: Eq + Hash + ToString>(reader: &Reader<'_>, key: &str, values: impl Iterator<Item = T>) {
    let mut first = HashMap::new();
    for (n, value) in values.enumerate() {
        let shown = value.to_string();
        let earlier = *first.entry(value).or_insert(n);
        if earlier != n {
            let message = format!("`{shown}` is already the {key} of miroir.nodes[{earlier}]");
            reader.problem(&format!("miroir.nodes[{n}].{key}"), message);
        }
    }
}

/// An open server is for one machine only, and an open admin API never stands beside protected data.
fn check_keys(reader: &Reader<'_>, config: &Config) {
    let exposed = !is_loopback(config.server.address.ip());
    if exposed && config.master_key.is_none() && !config.server.insecure {
        let message = format!(
            "is missing while the server listens on {}: anyone who reaches it could read and delete everything. Set it \
             (or MIROIR_MASTER_KEY), listen on 127.0.0.1, or say `insecure: true` under `server`",
            config.server.address.ip()
        );
        reader.problem("miroir.master_key", message);
    }
    let pairs = [
        ("master_key_previous", &config.master_key_previous, "master_key", &config.master_key),
        ("node_master_key_previous", &config.node_master_key_previous, "node_master_key", &config.node_master_key),
    ];
    for (key, _, newer, _) in pairs.iter().filter(|(_, previous, _, current)| previous.is_some() && current.is_none()) {
        let message = format!("is set without {newer}: what there was before counts only beside what there is");
        reader.problem(&format!("miroir.{key}"), message);
    }
    let open_beside_protected_data = config.master_key.is_some() && config.admin.api_key.is_none();
    if config.admin.enabled && open_beside_protected_data {
        reader.problem(
            "miroir.admin.api_key",
            "is missing while there is a master_key: the admin API would be open. Set it (or MIROIR_ADMIN_API_KEY), or \
             say `enabled: false` under `admin`",
        );
    }
}

fn check_listeners(reader: &Reader<'_>, config: &Config) {
    let (server, metrics) = (config.server.address, config.metrics.address);
    let same_ip = server.ip() == metrics.ip() || server.ip().is_unspecified() || metrics.ip().is_unspecified();
    if server.port() == metrics.port() && same_ip {
        reader.problem("miroir.metrics.port", format!("{} is already the port of miroir.server", metrics.port()));
    }
}

fn check_times(reader: &Reader<'_>, config: &Config) {
    if config.health.timeout > config.health.interval {
        reader.problem("miroir.health.timeout_ms", "is longer than interval_ms: checks would overtake each other");
    }
    if config.scatter.node_timeout > config.server.request_timeout {
        reader.problem(
            "miroir.scatter.node_timeout_ms",
            "is longer than miroir.server.request_timeout_ms: the request would end before its leg may",
        );
    }
}

fn check_sizes(reader: &Reader<'_>, config: &Config) {
    if config.writes.buffer_bytes_max < config.server.max_body_bytes * BUFFERED_BODIES_MIN {
        let message = format!(
            "is less than {BUFFERED_BODIES_MIN} times miroir.server.max_body_bytes: one such body would not fit"
        );
        reader.problem("miroir.writes.buffer_bytes_max", message);
    }
}

/// What is probably not meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let largest = config.group_sizes().into_values().max().unwrap_or(0);
    if (config.shards as usize) < SHARDS_PER_NODE_MIN * largest {
        warnings.push(format!(
            "miroir.shards is {} with {largest} nodes in the largest group: nodes will hold unequal shares; use at least {}",
            config.shards,
            SHARDS_PER_NODE_MIN * largest
        ));
    }
    if config.server.insecure && config.master_key.is_none() && !is_loopback(config.server.address.ip()) {
        warnings
            .push(format!("anyone who reaches {} may do everything: there is no master_key", config.server.address));
    }
    warnings
}
