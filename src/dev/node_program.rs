//! Which program the nodes are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context};

/// What `--node-bin` says for the node that is built with Miroir.
const EMBEDDED: &str = "embedded";
const EMBEDDED_PROGRAM: &str = "miroir-node";

/// The program that `asked` means: a path or a name on PATH; `embedded`; or, unasked, `meilisearch` if it is on PATH and
/// the embedded node otherwise.
pub(super) fn find(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    match asked {
        Some(asked) if asked == Path::new(EMBEDDED) => find_embedded(),
        Some(asked) if asked.components().count() > 1 || asked.is_file() => {
            if !asked.is_file() {
                bail!("--node-bin {} is not a file", asked.display());
            }
            std::path::absolute(asked).with_context(|| format!("--node-bin {}", asked.display()))
        }
        Some(asked) => {
            on_path(asked).with_context(|| format!("--node-bin {}: no such program on PATH", asked.display()))
        }
        None => on_path(Path::new("meilisearch")).map_or_else(find_embedded, Ok),
    }
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// `miroir-node` beside this program, or beside the folder that Cargo puts test programs into.
fn find_embedded() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let folders = this.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(EMBEDDED_PROGRAM)).find(|program| program.is_file());
    found.with_context(|| {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        format!(
            "{EMBEDDED_PROGRAM} is not beside {}: build it with `cargo build{release} -p miroir-node`, or name a \
             Meilisearch program with --node-bin",
            this.display()
        )
    })
}
