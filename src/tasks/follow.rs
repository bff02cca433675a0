//! Which tasks are being followed, and which of them a node is asked about next. Plain state; the time is passed in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::report::NodeTaskReport;
use super::task::Task;
use crate::cluster::{NodeId, TaskUid};

/// Node tasks asked for in one request: its query string stays near 2 KiB, well within what servers accept.
pub const QUESTION_UIDS_MAX: usize = 200;
/// Of those, at most so many for tasks that clients wait for, ...
const QUESTION_WANTED_MAX: usize = 100;
/// ... and up to so many filled with the oldest, which nodes run first. The rest goes around all others in turn,
/// because a node that batches by index may finish a young task before an old one.
const QUESTION_OLDEST_MAX: usize = 150;
/// How long after a client's last question a task counts as waited for.
pub const WANTED_FOR: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Following {
    tasks: HashMap<TaskUid, Arc<Task>>,
    nodes: HashMap<NodeId, NodeQueue>,
}

/// What one node still owes us.
#[derive(Default)]
struct NodeQueue {
    /// By the node's numbers, oldest first; with the task that each belongs to.
    open: BTreeSet<(u32, TaskUid)>,
    /// Node tasks that clients asked for lately, and when.
    wanted: HashMap<u32, Instant>,
    /// Until then it is asked often.
    hot_until: Option<Instant>,
    /// Where the next turn around the others begins.
    turn_from: u32,
}

/// What a node said when it was asked for `asked`.
pub struct Answer {
    pub node: NodeId,
    pub asked: Vec<u32>,
    pub reports: Vec<NodeTaskReport>,
}

impl Following {
    /// True if some node must be asked sooner than was planned.
    #[must_use]
    pub fn insert(&mut self, task: Arc<Task>, now: Instant) -> bool {
        let mut sooner = false;
        for leg in task.open_legs() {
            let queue = self.nodes.entry(leg.node.clone()).or_default();
            sooner |= queue.open.is_empty() || !queue.is_hot(now);
            queue.open.insert((leg.uid, task.uid));
            queue.hot_until = Some(now + WANTED_FOR);
        }
        self.tasks.insert(task.uid, task);
        sooner
    }

    pub fn get(&self, uid: TaskUid) -> Option<Arc<Task>> {
        self.tasks.get(&uid).cloned()
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Notes that a client waits for this task. True if some node must be asked sooner than was planned.
    #[must_use]
    pub fn want(&mut self, uid: TaskUid, now: Instant) -> bool {
        let Some(task) = self.tasks.get(&uid) else { return false };
        let mut sooner = false;
        for leg in task.open_legs() {
            let Some(queue) = self.nodes.get_mut(&leg.node) else { continue };
            sooner |= !queue.is_hot(now);
            queue.hot_until = Some(now + WANTED_FOR);
            queue.wanted.insert(leg.uid, now);
        }
        sooner
    }

    /// Nodes that owe something, each with whether it is to be asked often.
    pub fn owing(&self, now: Instant) -> impl Iterator<Item = (&NodeId, bool)> {
        let owing = self.nodes.iter().filter(|(_, queue)| !queue.open.is_empty());
        owing.map(move |(node, queue)| (node, queue.is_hot(now)))
    }

    /// The node tasks to ask `node` for, at most [`QUESTION_UIDS_MAX`].
    pub fn question(&mut self, node: &NodeId, now: Instant) -> Vec<u32> {
        self.nodes.get_mut(node).map(|queue| queue.question(now)).unwrap_or_default()
    }

    /// What the answers make of the tasks they concern. Nothing is visible before [`Following::publish`].
    pub fn changes(&self, answers: &[Answer]) -> Vec<Task> {
        let mut changed: HashMap<TaskUid, Task> = HashMap::new();
        for answer in answers {
            let Some(queue) = self.nodes.get(&answer.node) else { continue };
            let reports: HashMap<u32, &NodeTaskReport> = answer.reports.iter().map(|r| (r.uid, r)).collect();
            for node_task in answer.asked.iter().copied() {
                for (_, uid) in queue.open.range((node_task, TaskUid(0))..=(node_task, TaskUid(u32::MAX))) {
                    let Some(current) = changed.get(uid).or_else(|| self.tasks.get(uid).map(Arc::as_ref)) else {
                        continue;
                    };
                    let mut task = current.clone();
                    let is_change = match reports.get(&node_task) {
                        Some(report) => task.observe(&answer.node, report),
                        None => task.observe_lost(&answer.node, node_task),
                    };
                    if is_change {
                        changed.insert(*uid, task);
                    }
                }
            }
        }
        let mut changed: Vec<Task> = changed.into_values().collect();
        changed.sort_unstable_by_key(|task| task.uid);
        changed
    }

    /// Replaces tasks by their changed selves; finished ones are no longer followed. Says how many those were.
    pub fn publish(&mut self, changed: Vec<Task>) -> usize {
        let mut finished = 0;
        for task in changed {
            for leg in task.legs.iter().filter(|leg| leg.status.is_final()) {
                if let Some(queue) = self.nodes.get_mut(&leg.node) {
                    queue.open.remove(&(leg.uid, task.uid));
                    queue.wanted.remove(&leg.uid);
                }
            }
            if task.status.is_final() {
                finished += 1;
                self.tasks.remove(&task.uid);
            } else {
                self.tasks.insert(task.uid, Arc::new(task));
            }
        }
        finished
    }

    pub fn open_node_tasks(&self) -> usize {
        self.nodes.values().map(|queue| queue.open.len()).sum()
    }
}

impl NodeQueue {
    fn is_hot(&self, now: Instant) -> bool {
        self.hot_until.is_some_and(|until| now < until)
    }

    fn question(&mut self, now: Instant) -> Vec<u32> {
        self.wanted.retain(|_, asked_at| now.duration_since(*asked_at) < WANTED_FOR);
        let mut wanted: Vec<u32> = self.wanted.keys().copied().collect();
        wanted.sort_unstable();
        wanted.truncate(QUESTION_WANTED_MAX);
        let mut uids: BTreeSet<u32> = wanted.into_iter().collect();
        for (uid, _) in &self.open {
            if uids.len() >= QUESTION_OLDEST_MAX {
                break;
            }
            uids.insert(*uid);
        }
        let others = self.open.range((self.turn_from, TaskUid(0))..).chain(self.open.iter());
        for (uid, _) in others.take(self.open.len()) {
            if uids.len() >= QUESTION_UIDS_MAX {
                break;
            }
            uids.insert(*uid);
            self.turn_from = uid.saturating_add(1);
        }
        debug_assert!(uids.len() <= QUESTION_UIDS_MAX);
        uids.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{NewTask, NodeTask, TaskKind};

    fn following(count: u32, now: Instant) -> Following {
        let mut following = Following::default();
        for n in 0..count {
            let leg = NodeTask::enqueued(NodeId::new("a"), n, None);
            let new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, None, 1, vec![leg]);
            let sooner = following.insert(Arc::new(Task::numbered(TaskUid(n), new)), now);
            assert_eq!(sooner, n == 0, "only the first wakes the loop");
        }
        following
    }

    #[test]
    fn a_question_holds_what_is_wanted_and_the_oldest_and_reaches_everything_in_turn() {
        let (node, now) = (NodeId::new("a"), Instant::now());
        let mut following = following(1_000, now);
        assert!(!following.want(TaskUid(777), now), "the node is asked often already");
        let mut seen = BTreeSet::new();
        for _ in 0..25 {
            let uids = following.question(&node, now);
            assert_eq!(uids.len(), QUESTION_UIDS_MAX);
            assert!(uids.contains(&777) && uids.contains(&0));
            seen.extend(uids);
        }
        assert_eq!(seen.len(), 1_000);
        let later = now + WANTED_FOR;
        assert!(following.owing(later).all(|(_, hot)| !hot));
        assert!(following.want(TaskUid(3), later), "a client's question wakes the loop");
    }

    #[test]
    fn a_task_that_is_missing_from_an_answer_is_lost_and_one_not_asked_for_is_not() {
        let (node, now) = (NodeId::new("a"), Instant::now());
        let mut following = following(2, now);
        let changed = following.changes(&[Answer { node, asked: vec![0], reports: vec![] }]);
        assert_eq!(changed.iter().map(|task| task.uid.0).collect::<Vec<_>>(), [0]);
        assert!(!following.get(TaskUid(0)).unwrap().status.is_final(), "not visible before it is stored");
        assert_eq!(following.publish(changed), 1);
        assert_eq!((following.len(), following.open_node_tasks()), (1, 1));
    }
}
