//! The folder of a development cluster: databases, logs, the generated configuration, the nodes' key.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context};
use rustix::fs::{flock, FlockOperation};

use super::plan::{Plan, Shape};

/// Node health is checked more often than in production: people and tests wait for what they just did.
const HEALTH: &str = "{ interval_ms: 1000, timeout_ms: 1000, unhealthy_threshold: 3, recovery_threshold: 2 }";
/// Random bytes of the nodes' key.
const NODE_KEY_BYTES: usize = 16;

/// A folder that this process alone uses. A temporary one is removed with its contents when dropped.
pub(super) struct DataDir {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
    /// Held as long as the folder is used.
    _lock: File,
}

impl DataDir {
    /// Opens the folder at `path`, making it if needed, or a temporary one. Refuses one that another supervisor uses or
    /// that holds a cluster of another `shape`.
    pub fn open(path: Option<&Path>, shape: Shape) -> anyhow::Result<Self> {
        let (path, temporary) = match path {
            Some(path) => {
                let made = fs::create_dir_all(path).and_then(|()| path.canonicalize());
                (made.with_context(|| format!("--data-dir {} cannot be made", path.display()))?, None)
            }
            None => {
                let folder = tempfile::Builder::new().prefix("miroir-dev-").tempdir();
                let folder = folder.context("cannot make a temporary folder")?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let lock = File::create(path.join("lock")).with_context(|| format!("cannot write to {}", path.display()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("--data-dir {} is in use by another `miroir dev`", path.display()))?;
        let folder = Self { path, temporary, _lock: lock };
        folder.keep_shape(shape)?;
        for name in ["nodes", "logs"] {
            fs::create_dir_all(folder.path.join(name)).with_context(|| format!("cannot make {name}"))?;
        }
        Ok(folder)
    }

    /// Whether the data is still there after the end.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn configuration(&self) -> PathBuf {
        self.path.join("miroir.yaml")
    }

    pub fn log_of(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    pub fn database_of(&self, node: &str) -> PathBuf {
        self.path.join("nodes").join(node)
    }

    /// Remembers the shape of a new cluster; refuses another one for the same data.
    fn keep_shape(&self, shape: Shape) -> anyhow::Result<()> {
        let path = self.path.join("cluster.json");
        let kept = match fs::read(&path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return write_private(&path, &serde_json::to_vec(&shape)?)
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let kept: Shape = serde_json::from_slice(&kept).with_context(|| format!("{} is damaged", path.display()))?;
        if kept != shape {
            bail!(
                "--data-dir {} holds a cluster made with --nodes {} --groups {} --replication-factor {}; start it with \
                 these, or use another folder",
                self.path.display(),
                kept.nodes,
                kept.groups,
                kept.replication_factor
            );
        }
        Ok(())
    }

    /// The key of this folder's nodes: random, made once.
    pub fn node_key(&self) -> anyhow::Result<String> {
        let path = self.path.join("node.key");
        match fs::read_to_string(&path) {
            Ok(key) => {
                ensure!(!key.is_empty(), "{} is empty", path.display());
                Ok(key)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut random = [0; NODE_KEY_BYTES];
                getrandom::fill(&mut random)
                    .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
                let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
                write_private(&path, key.as_bytes())?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the proxy's configuration: `nodes` are ports, in the order of the nodes' numbers.
    pub fn write_configuration(
        &self,
        plan: &Plan,
        node_key: &str,
        nodes: &[(String, u16)],
        port: u16,
        metrics_port: u16,
    ) -> anyhow::Result<()> {
        let mut text = format!(
            "# Written by `miroir dev` at each start; changes are lost.\nmiroir:\n  master_key: {}\n  node_master_key: \
             {}\n  replication_factor: {}\n  nodes:\n",
            quoted(&plan.master_key),
            quoted(node_key),
            plan.shape.replication_factor
        );
        for (n, (id, port)) in (0..).zip(nodes) {
            let group = plan.shape.group_of(n);
            text += &format!("    - {{ id: {id}, address: \"http://127.0.0.1:{port}\", replica_group: {group} }}\n");
        }
        text += &format!(
            "  task_store: {{ backend: sqlite, path: miroir.db }}\n  admin: {{ enabled: true, api_key: {} }}\n  server: {{ \
             bind: 127.0.0.1, port: {port} }}\n  metrics: {{ bind: 127.0.0.1, port: {metrics_port} }}\n  health: \
             {HEALTH}\n  webhooks: {{ allow_private_networks: true }}\n  ilm: {{ enabled: true, check_interval_s: 5 }}\n",
            quoted(&plan.admin_key)
        );
        write_private(&self.configuration(), text.as_bytes())
    }
}

/// `text` as a YAML string: a JSON string is one. What would be a variable is escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace("${", "$${")
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(contents))
        .and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::conf::Config;

    const SHAPE: Shape = Shape { nodes: 2, groups: 2, replication_factor: 1 };

    fn plan(master_key: &str) -> Plan {
        Plan {
            shape: SHAPE,
            port: 0,
            metrics_port: 0,
            data_dir: None,
            node_program: PathBuf::new(),
            master_key: master_key.to_owned(),
            admin_key: "admin".to_owned(),
            proxy_logs_to_stderr: false,
        }
    }

    #[test]
    fn the_generated_configuration_is_private_and_says_what_was_planned() {
        let folder = DataDir::open(None, SHAPE).unwrap();
        let key = "a \"${HOME}\" $${b # {";
        let nodes = [("node-0".to_owned(), 7001), ("node-1".to_owned(), 7002)];
        folder.write_configuration(&plan(key), "node-key", &nodes, 7700, 9090).unwrap();

        let config = Config::load(&folder.configuration()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.master_key.unwrap().reveal(), key);
        assert_eq!(config.admin.api_key.unwrap().reveal(), "admin");
        assert_eq!(config.node_master_key.unwrap().reveal(), "node-key");
        assert_eq!(config.server.address.to_string(), "127.0.0.1:7700");
        let nodes: Vec<_> =
            config.nodes.iter().map(|node| format!("{} {} {}", node.id, node.address, node.group)).collect();
        assert_eq!(nodes, ["node-0 http://127.0.0.1:7001 0", "node-1 http://127.0.0.1:7002 1"]);
        for name in ["miroir.yaml", "cluster.json"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_folder_keeps_its_key_and_its_shape_and_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/er");
        let folder = DataDir::open(Some(&path), SHAPE).unwrap();
        let key = folder.node_key().unwrap();
        assert_eq!(key.len(), 2 * NODE_KEY_BYTES);
        let second = DataDir::open(Some(&path), SHAPE).err().expect("it is in use");
        assert!(second.to_string().contains("is in use by another `miroir dev`"), "{second}");
        drop(folder);

        let other = Shape { nodes: 3, ..SHAPE };
        let refused = DataDir::open(Some(&path), other).err().expect("the shape differs");
        assert!(refused.to_string().contains("made with --nodes 2 --groups 2 --replication-factor 1"), "{refused}");
        assert_eq!(DataDir::open(Some(&path), SHAPE).unwrap().node_key().unwrap(), key);
    }

    #[test]
    fn a_temporary_folder_is_removed_at_the_end() {
        let folder = DataDir::open(None, SHAPE).unwrap();
        let path = folder.path().to_owned();
        assert!(path.join("nodes").is_dir() && !folder.is_kept());
        drop(folder);
        assert!(!path.exists());
    }
}
