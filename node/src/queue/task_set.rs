//! A set of tasks that a task is about. It is kept in that task's record, so it has to stay small for a million tasks.

use serde::{Deserialize, Serialize};

use super::task::TaskUid;

/// Tasks, as the first and last of each unbroken row of uids, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSet(Vec<(TaskUid, TaskUid)>);

impl TaskSet {
    /// The set of these uids, which must be in their order and each there once.
    pub fn from_ordered(uids: impl IntoIterator<Item = TaskUid>) -> Self {
        let mut rows: Vec<(TaskUid, TaskUid)> = Vec::new();
        for uid in uids {
            match rows.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
                last => {
                    debug_assert!(last.is_none_or(|(_, last)| *last < uid), "uids come in their order");
                    rows.push((uid, uid));
                }
            }
        }
        Self(rows)
    }

    /// How many tasks there are in the set.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    pub fn contains(&self, uid: TaskUid) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= uid);
        after > 0 && uid <= self.0[after - 1].1
    }

    /// The first and last uid of each unbroken row.
    pub fn rows(&self) -> impl Iterator<Item = (TaskUid, TaskUid)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_that_follow_each_other_are_one_row() {
        let set = TaskSet::from_ordered([0, 1, 2, 5, 7, 8, TaskUid::MAX]);
        assert_eq!(set.rows().collect::<Vec<_>>(), [(0, 2), (5, 5), (7, 8), (TaskUid::MAX, TaskUid::MAX)]);
        assert_eq!(set.len(), 7);
    }

    #[test]
    fn a_set_has_exactly_what_was_put_in() {
        let uids = [1, 2, 3, 9, 11, 12, 40];
        let set = TaskSet::from_ordered(uids);
        for uid in 0..50 {
            assert_eq!(set.contains(uid), uids.contains(&uid), "{uid}");
        }
        assert!(!TaskSet::default().contains(0));
    }
}
