//! Which entries of a log may be given to their node side by side: those that touch different shards or indexes.

use std::collections::BTreeSet;

use crate::cluster::{IndexUid, ShardSet, TaskUid};

/// What an entry touches, as far as its leg tells. Shards are coarser than keys: two entries may wait for each other in vain.
#[derive(Clone, Debug)]
pub struct Touches {
    pub task: TaskUid,
    pub index_uid: Option<IndexUid>,
    pub shards: ShardSet,
}

impl Touches {
    fn conflicts_with(&self, other: &Self) -> bool {
        self.task == other.task || (self.index_uid == other.index_uid && self.shards.intersects(&other.shards))
    }
}

/// Some entries on their way, oldest first.
pub struct Round {
    touches: Vec<Touches>,
    waiting: BTreeSet<usize>,
    under_way: BTreeSet<usize>,
}

impl Round {
    pub fn new(touches: Vec<Touches>) -> Self {
        Self { waiting: (0..touches.len()).collect(), under_way: BTreeSet::new(), touches }
    }

    /// The next entry that no earlier one stands in the way of; it is under way from now on.
    pub fn start_next(&mut self) -> Option<usize> {
        let is_free = |&at: &usize| {
            let earlier = self.waiting.range(..at).chain(self.under_way.range(..at));
            !earlier.into_iter().any(|&earlier| self.touches[at].conflicts_with(&self.touches[earlier]))
        };
        let at = self.waiting.iter().copied().find(is_free)?;
        self.waiting.remove(&at);
        self.under_way.insert(at);
        Some(at)
    }

    /// The node has it. Entries that fail are never ended: what comes after them waits for another round.
    pub fn ended(&mut self, at: usize) {
        self.under_way.remove(&at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Shard;

    fn touches(task: u32, index: &str, shards: &[u32]) -> Touches {
        let shards = shards.iter().copied().map(Shard).collect();
        Touches { task: TaskUid(task), index_uid: IndexUid::parse(index).ok(), shards }
    }

    fn started(round: &mut Round) -> Vec<usize> {
        std::iter::from_fn(|| round.start_next()).collect()
    }

    #[test]
    fn entries_of_different_shards_or_indexes_go_side_by_side_and_others_in_order() {
        let mut round = Round::new(vec![
            touches(1, "a", &[1]),
            touches(2, "a", &[2]),
            touches(3, "a", &[1, 3]),
            touches(4, "a", &[3]),
            touches(5, "b", &[1]),
            touches(6, "a", &[4]),
        ]);
        assert_eq!(started(&mut round), [0, 1, 4, 5]);
        round.ended(1);
        assert!(started(&mut round).is_empty(), "the fourth waits for the third, which waits for the first");
        round.ended(0);
        assert_eq!(started(&mut round), [2]);
        round.ended(2);
        assert_eq!(started(&mut round), [3]);
    }

    #[test]
    fn a_write_of_a_whole_index_goes_alone() {
        let all: Vec<u32> = (0..8).collect();
        let mut round = Round::new(vec![touches(1, "a", &[1]), touches(2, "a", &all), touches(3, "a", &[2])]);
        assert_eq!(started(&mut round), [0]);
        round.ended(0);
        assert_eq!(started(&mut round), [1]);
        round.ended(1);
        assert_eq!(started(&mut round), [2]);
    }

    #[test]
    fn the_steps_of_one_write_go_in_their_order() {
        let mut round = Round::new(vec![touches(1, "a", &[1]), touches(1, "a", &[2])]);
        assert_eq!(started(&mut round), [0]);
    }
}
