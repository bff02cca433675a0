//! Which tasks are being followed, and which of them a node is asked about next. Plain state; the time is passed in.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::creation::InCreation;
use super::leg::NodeTask;
use super::new_task::NewTask;
use super::report::NodeTaskReport;
use super::task::Task;
use crate::cluster::{IndexUid, NodeId, TaskUid};

/// Node tasks asked for in one request: its query string stays near 2 KiB, well within what servers accept.
pub const QUESTION_UIDS_MAX: usize = 200;
/// Of those, at most so many for tasks that clients wait for, ...
const QUESTION_WANTED_MAX: usize = 100;
/// ... and up to so many filled with the oldest, which nodes run first. The rest goes around all others in turn,
/// because a node that batches by index may finish a young task before an old one.
const QUESTION_OLDEST_MAX: usize = 150;
/// How many of the oldest, and of the others in turn, are asked for to see whether anything has happened at all: a node has to read
/// and print each task that it is asked for.
const PROBE_OLDEST_MAX: usize = 8;
const PROBE_OTHERS_MAX: usize = 8;
/// How long such probes may take the place of whole questions while nothing happens.
const PROBING_MAX: Duration = Duration::from_millis(100);
/// How long after a client's last question a task counts as waited for.
pub const WANTED_FOR: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Following {
    tasks: HashMap<TaskUid, Arc<Task>>,
    /// Those that Miroir itself has to conclude: few, and looked for often.
    concluding: BTreeSet<TaskUid>,
    /// Those that create an index, until all nodes have said whether they do.
    creating: BTreeSet<TaskUid>,
    nodes: HashMap<NodeId, NodeQueue>,
    /// Whether there are webhooks.
    pub webhooks: Option<Arc<AtomicBool>>,
    /// Tasks that have ended since somebody last looked, and that webhooks have to be told of.
    untold: Vec<Arc<Task>>,
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
    /// When it was last asked for all that one question may hold.
    last_whole: Option<Instant>,
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
        for (leg, node_task) in running(&task) {
            let queue = self.nodes.entry(leg.node.clone()).or_default();
            if queue.open.insert((node_task, task.uid)) {
                sooner |= queue.open.len() == 1 || !queue.is_hot(now);
                queue.hot_until = Some(now + WANTED_FOR);
            }
        }
        for (has_it, set) in
            [(task.conclusion.is_some(), &mut self.concluding), (task.is_creating(), &mut self.creating)]
        {
            if has_it {
                set.insert(task.uid);
            } else {
                set.remove(&task.uid);
            }
        }
        if task.is_untold && !self.tasks.get(&task.uid).is_some_and(|before| before.is_untold) {
            self.untold.push(Arc::clone(&task));
        }
        self.tasks.insert(task.uid, task);
        sooner
    }

    /// A new task, with what it has to do with others from the start.
    pub fn placed(&self, mut new: NewTask) -> NewTask {
        new.has_webhooks = self.has_webhooks();
        let node_uid = new.other_node_uid.as_ref().or(new.index_uid.as_ref());
        let follows = || node_uid.is_some_and(|node_uid| self.is_being_created(node_uid));
        if new.creation.is_none() && !new.legs.is_empty() && follows() {
            new.creation = Some(InCreation::Follows);
        }
        new
    }

    pub fn has_webhooks(&self) -> bool {
        self.webhooks.as_ref().is_some_and(|are_there| are_there.load(Ordering::SeqCst))
    }

    /// Each task once.
    pub fn take_untold(&mut self) -> Vec<Arc<Task>> {
        std::mem::take(&mut self.untold)
    }

    /// Tasks that Miroir itself has to conclude, oldest first.
    pub fn concluding(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.concluding.iter().filter_map(|uid| self.tasks.get(uid))
    }

    /// Tasks that create an index, until all nodes have said whether they do. Few at any time.
    pub fn creating(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.creating.iter().filter_map(|uid| self.tasks.get(uid))
    }

    /// Whether the index that nodes call `node_uid` is being created.
    pub fn is_being_created(&self, node_uid: &IndexUid) -> bool {
        self.creating().any(|task| task.node_uid() == Some(node_uid))
    }

    pub fn get(&self, uid: TaskUid) -> Option<Arc<Task>> {
        self.tasks.get(&uid).cloned()
    }

    /// Tasks that are not over for their clients.
    pub fn unfinished(&self) -> usize {
        self.tasks.values().filter(|task| !task.status.is_final()).count()
    }

    /// Notes that a client waits for this task. True if some node must be asked sooner than was planned.
    #[must_use]
    pub fn want(&mut self, uid: TaskUid, now: Instant) -> bool {
        let Some(task) = self.tasks.get(&uid) else { return false };
        let mut sooner = false;
        for (leg, node_task) in running(task) {
            let Some(queue) = self.nodes.get_mut(&leg.node) else { continue };
            sooner |= !queue.is_hot(now);
            queue.hot_until = Some(now + WANTED_FOR);
            queue.wanted.insert(node_task, now);
        }
        sooner
    }

    /// Nodes that owe something, each with whether it is to be asked often.
    pub fn owing(&self, now: Instant) -> impl Iterator<Item = (&NodeId, bool)> {
        let owing = self.nodes.iter().filter(|(_, queue)| !queue.open.is_empty());
        owing.map(move |(node, queue)| (node, queue.is_hot(now)))
    }

    /// The node tasks to ask `node` for, at most [`QUESTION_UIDS_MAX`]. All that clients wait for are among them; of the others few if
    /// the node's last answer had no news, and the last whole question is not long ago.
    pub fn question(&mut self, node: &NodeId, now: Instant, had_news: bool) -> Vec<u32> {
        self.nodes.get_mut(node).map(|queue| queue.question(now, had_news)).unwrap_or_default()
    }

    /// Tasks to which one of these answers matters, each with the node's task.
    pub fn concerned<'a>(&'a self, answer: &'a Answer) -> impl Iterator<Item = (TaskUid, u32)> + 'a {
        let queue = self.nodes.get(&answer.node);
        let of_node_task = move |node_task: u32| {
            let range = (node_task, TaskUid(0))..=(node_task, TaskUid(u32::MAX));
            queue.into_iter().flat_map(move |queue| queue.open.range(range.clone()).map(|(_, uid)| *uid))
        };
        answer.asked.iter().flat_map(move |&node_task| of_node_task(node_task).map(move |uid| (uid, node_task)))
    }

    /// Stops following a task as if it had never been.
    pub fn forget(&mut self, uid: TaskUid) {
        self.stop_looking(uid);
        let Some(task) = self.tasks.remove(&uid) else { return };
        for (leg, node_task) in running(&task) {
            if let Some(queue) = self.nodes.get_mut(&leg.node) {
                queue.open.remove(&(node_task, uid));
            }
        }
    }

    fn stop_looking(&mut self, uid: TaskUid) {
        self.concluding.remove(&uid);
        self.creating.remove(&uid);
    }

    /// Replaces tasks by their changed selves; those whose legs have all ended are no longer followed. Returns how many
    /// became final, and whether some node must be asked sooner than was planned.
    pub fn publish(&mut self, changed: Vec<Task>, now: Instant) -> (usize, bool) {
        let (mut finished, mut sooner) = (0, false);
        for task in changed {
            for leg in task.legs.iter().filter(|leg| leg.status.is_final()) {
                if let (Some(queue), Some(node_task)) = (self.nodes.get_mut(&leg.node), leg.uid) {
                    queue.open.remove(&(node_task, task.uid));
                    queue.wanted.remove(&node_task);
                }
            }
            let was_final = self.tasks.get(&task.uid).is_none_or(|before| before.status.is_final());
            finished += usize::from(task.status.is_final() && !was_final);
            if task.is_followed() {
                sooner |= self.insert(Arc::new(task), now);
            } else {
                self.stop_looking(task.uid);
                self.tasks.remove(&task.uid);
            }
        }
        (finished, sooner)
    }

    /// Tasks that have open legs on `node`, oldest first.
    pub fn of_node(&self, node: &NodeId) -> Vec<Arc<Task>> {
        let has_leg = |task: &&Arc<Task>| task.open_legs().any(|leg| leg.node == *node);
        let mut tasks: Vec<Arc<Task>> = self.tasks.values().filter(has_leg).cloned().collect();
        tasks.sort_unstable_by_key(|task| task.uid);
        tasks
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    pub fn open_node_tasks(&self) -> usize {
        self.nodes.values().map(|queue| queue.open.len()).sum()
    }
}

/// The legs that their nodes have taken and not ended, with the nodes' numbers.
fn running(task: &Task) -> impl Iterator<Item = (&NodeTask, u32)> {
    task.legs.iter().filter(|leg| leg.is_running()).filter_map(|leg| Some((leg, leg.uid?)))
}

impl NodeQueue {
    fn is_hot(&self, now: Instant) -> bool {
        self.hot_until.is_some_and(|until| now < until)
    }

    fn question(&mut self, now: Instant, had_news: bool) -> Vec<u32> {
        self.wanted.retain(|_, asked_at| now.duration_since(*asked_at) < WANTED_FOR);
        let mut wanted: Vec<u32> = self.wanted.keys().copied().collect();
        wanted.sort_unstable();
        wanted.truncate(QUESTION_WANTED_MAX);
        let is_whole = had_news || self.last_whole.is_none_or(|last| now.duration_since(last) >= PROBING_MAX);
        let (oldest_end, end) = if is_whole {
            self.last_whole = Some(now);
            (QUESTION_OLDEST_MAX, QUESTION_UIDS_MAX)
        } else {
            (wanted.len() + PROBE_OLDEST_MAX, wanted.len() + PROBE_OLDEST_MAX + PROBE_OTHERS_MAX)
        };
        let mut uids: BTreeSet<u32> = wanted.into_iter().collect();
        for (uid, _) in &self.open {
            if uids.len() >= oldest_end {
                break;
            }
            uids.insert(*uid);
        }
        let others = self.open.range((self.turn_from, TaskUid(0))..).chain(self.open.iter());
        for (uid, _) in others.take(self.open.len()) {
            if uids.len() >= end {
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
    use crate::tasks::change::Changes;
    use crate::tasks::TaskKind;

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
            let uids = following.question(&node, now, true);
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
    fn while_nothing_happens_most_questions_are_for_few_and_all_are_reached_in_turn() {
        let (node, start) = (NodeId::new("a"), Instant::now());
        let mut following = following(1_000, start);
        let _ = following.want(TaskUid(777), start);
        let (mut seen, mut asked) = (BTreeSet::new(), Vec::new());
        for n in 0..100 {
            let uids = following.question(&node, start + n * Duration::from_millis(20), false);
            assert!(uids.contains(&777) && uids.contains(&0));
            asked.push(uids.len());
            seen.extend(uids);
        }
        assert_eq!(asked[..6], [200, 17, 17, 17, 17, 200]);
        assert_eq!(seen.len(), 1_000);
        assert_eq!(
            following.question(&node, start + Duration::from_millis(1_990), true).len(),
            200,
            "more may have ended"
        );
    }

    #[test]
    fn a_task_that_is_missing_from_an_answer_is_lost_and_one_not_asked_for_is_not() {
        let (node, now) = (NodeId::new("a"), Instant::now());
        let mut following = following(2, now);
        let mut changes = Changes::new(&following);
        changes.take_in(&Answer { node, asked: vec![0], reports: vec![] });
        let changed = changes.into_tasks();
        assert_eq!(changed.iter().map(|task| task.uid.0).collect::<Vec<_>>(), [0]);
        assert!(!following.get(TaskUid(0)).unwrap().status.is_final(), "not visible before it is stored");
        assert_eq!(following.publish(changed, now), (1, false));
        assert_eq!((following.unfinished(), following.open_node_tasks()), (1, 1));
    }
}
