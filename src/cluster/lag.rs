//! Which replicas lack something that has been acknowledged, and therefore serve no reads: plain counting.

use std::collections::HashMap;

use super::{IndexUid, NodeIndex, Shard, ShardSet};

/// How many reasons there are for each (index, node, shard) not to be read.
#[derive(Debug, Default)]
pub struct LagCounts {
    counts: HashMap<(IndexUid, NodeIndex), HashMap<Shard, u32>>,
}

/// The shards of an index that a node must not be read for, as they have become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub index_uid: IndexUid,
    pub node: NodeIndex,
    pub shards: ShardSet,
}

impl LagCounts {
    /// One more reason for each of `shards`. Returns what has become of the set if it changed.
    pub fn raise(&mut self, index_uid: &IndexUid, node: NodeIndex, shards: &ShardSet) -> Option<Lag> {
        let counts = self.counts.entry((index_uid.clone(), node)).or_default();
        let before = counts.len();
        shards.iter().for_each(|shard| *counts.entry(shard).or_default() += 1);
        (counts.len() != before).then(|| self.lag(index_uid, node))
    }

    /// One reason less for each of `shards`, as it was raised.
    pub fn lower(&mut self, index_uid: &IndexUid, node: NodeIndex, shards: &ShardSet) -> Option<Lag> {
        let key = (index_uid.clone(), node);
        let counts = self.counts.get_mut(&key)?;
        let before = counts.len();
        for shard in shards.iter() {
            if let Some(count) = counts.get_mut(&shard) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&shard);
                }
            }
        }
        let changed = counts.len() != before;
        if counts.is_empty() {
            self.counts.remove(&key);
        }
        changed.then(|| self.lag(index_uid, node))
    }

    fn lag(&self, index_uid: &IndexUid, node: NodeIndex) -> Lag {
        let key = (index_uid.clone(), node);
        let shards = self.counts.get(&key).into_iter().flat_map(|counts| counts.keys().copied()).collect();
        Lag { index_uid: key.0, node, shards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_readable_again_when_the_last_reason_has_gone() {
        let set = |shards: &[u32]| shards.iter().copied().map(Shard).collect::<ShardSet>();
        let (movies, node) = (IndexUid::parse("movies").unwrap(), NodeIndex(1));
        let mut counts = LagCounts::default();
        assert_eq!(counts.raise(&movies, node, &set(&[1, 2])).unwrap().shards, set(&[1, 2]));
        assert_eq!(counts.raise(&movies, node, &set(&[2])), None);
        assert_eq!(counts.raise(&movies, node, &set(&[2, 3])).unwrap().shards, set(&[1, 2, 3]));
        assert_eq!(counts.lower(&movies, node, &set(&[2])), None);
        assert_eq!(counts.lower(&movies, node, &set(&[2, 3])).unwrap().shards, set(&[1, 2]));
        assert_eq!(counts.lower(&movies, node, &set(&[1, 2])).unwrap().shards, set(&[]));
        assert_eq!(counts.lower(&movies, node, &set(&[1])), None, "there is nothing to lower");
    }
}
