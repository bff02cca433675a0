//! What clients call an index and what nodes call it: two names, so that swapping or renaming indexes is a change of the snapshot
//! alone, seen by a request whole or not at all. `docs/decisions/` says why.
//!
//! A swap that has been taken waits for the writes before it. Until then its names mean the new index to writes, which come after
//! it, and still the old one to reads.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::IndexUid;

/// The index that nodes know as `node_uid` is to be called `uid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renaming {
    pub node_uid: IndexUid,
    pub uid: IndexUid,
}

/// Which index, by its name on the nodes, each name of a client stands for.
pub type Names = HashMap<IndexUid, IndexUid>;

/// Renames several indexes at once; those that are gone are passed over.
pub fn rename(names: &mut Names, renamings: &[Renaming]) {
    let is_renamed = |node_uid: &IndexUid| renamings.iter().any(|renaming| renaming.node_uid == *node_uid);
    let there: Vec<IndexUid> = names.values().filter(|node_uid| is_renamed(node_uid)).cloned().collect();
    names.retain(|_, node_uid| !is_renamed(node_uid));
    for renaming in renamings.iter().filter(|renaming| there.contains(&renaming.node_uid)) {
        names.insert(renaming.uid.clone(), renaming.node_uid.clone());
    }
}

/// Stands between a client's name and a number where the name itself is taken on the nodes.
const MARK: &str = "--miroir-";
/// Bytes of a long name that are kept; the rest is told apart by its hash.
const KEPT_BYTES: usize = 350;

/// A name on the nodes for a new index that clients call `uid`: the same if it is free, else with a number.
///
/// No two client names ever lead to the same name: one that looks like ours gets a number of its own.
pub fn free_node_uid(uid: &IndexUid, is_taken: impl Fn(&IndexUid) -> bool) -> IndexUid {
    let looks_like_ours = uid.as_str().rsplit_once(MARK).is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
    if !looks_like_ours && !is_taken(uid) {
        return uid.clone();
    }
    let stem = match uid.as_str() {
        short if short.len() <= KEPT_BYTES => short.to_owned(),
        long => format!("{}-{:016x}", &long[..KEPT_BYTES], xxh3_64(long.as_bytes())),
    };
    let numbered = (1_u64..).map(|n| IndexUid::parse(&format!("{stem}{MARK}{n}")));
    let mut free = numbered.filter_map(Result::ok).filter(|node_uid| !is_taken(node_uid));
    free.next().expect("a stem, a mark and a number are a valid uid, and some number is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn names(pairs: &[(&str, &str)]) -> Names {
        pairs.iter().map(|(name, node_uid)| (uid(name), uid(node_uid))).collect()
    }

    fn renamings(pairs: &[(&str, &str)]) -> Vec<Renaming> {
        pairs.iter().map(|(node_uid, name)| Renaming { node_uid: uid(node_uid), uid: uid(name) }).collect()
    }

    #[test]
    fn indexes_are_renamed_all_at_once() {
        let mut table = names(&[("a", "A"), ("b", "B"), ("c", "C")]);
        rename(&mut table, &renamings(&[("A", "b"), ("B", "a"), ("C", "d")]));
        assert_eq!(table, names(&[("a", "B"), ("b", "A"), ("d", "C")]));
        rename(&mut table, &renamings(&[("gone", "x"), ("A", "y")]));
        assert_eq!(table, names(&[("a", "B"), ("y", "A"), ("d", "C")]));
    }

    #[test]
    fn a_name_that_is_taken_on_the_nodes_gets_a_number() {
        let taken = [uid("a"), uid("a--miroir-1")];
        let free = |name: &str| free_node_uid(&uid(name), |node_uid| taken.contains(node_uid)).as_str().to_owned();
        assert_eq!(free("b"), "b");
        assert_eq!(free("a"), "a--miroir-2");
        assert_eq!(free("a--miroir-3"), "a--miroir-3--miroir-1", "it must not be what `a` would get");
        let long = "x".repeat(IndexUid::LENGTH_MAX);
        assert_eq!(free_node_uid(&uid(&long), |node_uid| node_uid.as_str() == long).as_str().len(), 350 + 17 + 10);
    }
}
