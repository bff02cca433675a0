//! What is to be started, checked before anything is.

use std::path::PathBuf;

use anyhow::{bail, ensure};

use super::{node_program, ports, DevArgs};

/// Most nodes on one machine: each is a process with its own engine, threads and memory map.
const NODES_MAX: u32 = 64;

/// A cluster that can be started.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub shape: Shape,
    /// 0: any free one.
    pub port: u16,
    /// 0: any free one.
    pub metrics_port: u16,
    /// `None`: a temporary one.
    pub data_dir: Option<PathBuf>,
    pub node_program: PathBuf,
    pub master_key: String,
    pub admin_key: String,
    /// Children that would print to us print to our standard error, not to files.
    pub proxy_logs_to_stderr: bool,
}

/// What decides where documents are; data written with one shape cannot be served with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Shape {
    pub nodes: u32,
    pub groups: u32,
    pub replication_factor: u32,
}

impl Shape {
    fn check(self) -> anyhow::Result<()> {
        let Shape { nodes, groups, replication_factor } = self;
        ensure!((1..=NODES_MAX).contains(&nodes), "--nodes must be from 1 to {NODES_MAX}, got {nodes}");
        ensure!(groups >= 1, "--groups must be at least 1");
        ensure!(replication_factor >= 1, "--replication-factor must be at least 1");
        if nodes / groups < replication_factor {
            bail!(
                "--nodes {nodes} --groups {groups} gives a group of {}, too few for --replication-factor \
                 {replication_factor}; use --nodes {} or more",
                nodes / groups,
                u64::from(groups) * u64::from(replication_factor)
            );
        }
        Ok(())
    }

    /// Group of the `n`th node: they are dealt out in turn, so that groups differ by one node at most.
    pub fn group_of(self, n: u32) -> u32 {
        n % self.groups
    }
}

impl Plan {
    pub fn of(args: &DevArgs) -> anyhow::Result<Self> {
        let shape = Shape { nodes: args.nodes, groups: args.groups, replication_factor: args.replication_factor };
        shape.check()?;
        ensure!(!args.master_key.is_empty(), "--master-key must not be empty");
        ensure!(!args.admin_key.is_empty(), "--admin-key must not be empty");
        if args.port == args.metrics_port && args.port != 0 {
            bail!("--port and --metrics-port are both {}; choose two", args.port);
        }
        ports::require_free(args.port, "--port")?;
        ports::require_free(args.metrics_port, "--metrics-port")?;
        Ok(Self {
            shape,
            port: args.port,
            metrics_port: args.metrics_port,
            data_dir: args.data_dir.clone(),
            node_program: node_program::find(args.node_bin.as_deref())?,
            master_key: args.master_key.clone(),
            admin_key: args.admin_key.clone(),
            proxy_logs_to_stderr: args.json,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(nodes: u32, groups: u32, replication_factor: u32) -> Shape {
        Shape { nodes, groups, replication_factor }
    }

    #[test]
    fn nodes_are_dealt_out_evenly() {
        let groups: Vec<_> = (0..5).map(|n| shape(5, 2, 2).group_of(n)).collect();
        assert_eq!(groups, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn shapes_that_cannot_be_are_refused_with_what_would_do() {
        for possible in [shape(1, 1, 1), shape(3, 1, 3), shape(6, 2, 3), shape(5, 2, 2), shape(64, 64, 1)] {
            possible.check().unwrap();
        }
        for (impossible, hint) in [
            (shape(0, 1, 1), "--nodes must be from 1 to 64"),
            (shape(65, 1, 1), "--nodes must be from 1 to 64"),
            (shape(3, 0, 1), "--groups must be at least 1"),
            (shape(3, 1, 0), "--replication-factor must be at least 1"),
            (shape(3, 4, 1), "use --nodes 4 or more"),
            (shape(5, 2, 3), "use --nodes 6 or more"),
        ] {
            let error = impossible.check().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
