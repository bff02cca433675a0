//! What each node still has to be given, in order: a view of the undelivered legs of all tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::{NodeIndex, TaskUid, Topology};
use crate::scatter::LateAnswer;
use crate::tasks::{NodeTask, Task};

/// An entry's place in its node's log. Conflicting writes get their task uids in the order in which they are to be applied.
pub type Place = (TaskUid, u8);

/// The replica logs of all nodes. Durable as the legs of tasks; this is where the running process looks.
pub struct ReplicaLogs {
    nodes: Vec<NodeLog>,
}

struct NodeLog {
    state: Mutex<LogState>,
    /// Tells the one who replays the log that there is something in it.
    grown: Notify,
    late: Mutex<LateAnswers>,
}

/// What may yet be executed without standing in the node's task list.
struct LateAnswers {
    awaited: HashMap<Place, LateAnswer>,
    /// When a connection to the node last ended under a request: of this process, or of the one before it.
    broken_at: Instant,
}

#[derive(Default)]
struct LogState {
    entries: BTreeMap<Place, Entry>,
    /// Of all entries' requests.
    bytes: u64,
    /// Highest number that the node has given one of its tasks, once that is known; `Some(None)` if it has given none.
    highest: Option<Option<u32>>,
    /// Whether it has given a number that is not above those before: it counts anew.
    counts_anew: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u64,
    since: OffsetDateTime,
}

/// How much a node has to catch up on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub entries: usize,
    /// Of the whole writes of which the node lacks a part.
    pub bytes: u64,
    pub oldest: Option<OffsetDateTime>,
}

impl ReplicaLogs {
    pub fn new(topology: &Topology) -> Self {
        let log = |_| NodeLog {
            state: Mutex::default(),
            grown: Notify::new(),
            late: Mutex::new(LateAnswers { awaited: HashMap::new(), broken_at: Instant::now() }),
        };
        Self { nodes: topology.nodes.iter().map(log).collect() }
    }

    /// Takes up the undelivered legs of `task`.
    pub fn add(&self, topology: &Topology, task: &Task) {
        let undelivered = task.legs.iter().filter(|leg| leg.is_undelivered());
        undelivered.for_each(|leg| self.add_leg(topology, task, leg));
    }

    /// Takes up one undelivered leg of `task`.
    pub fn add_leg(&self, topology: &Topology, task: &Task, leg: &NodeTask) {
        let bytes = task.replay.as_ref().map_or(0, |replay| replay.bytes);
        let Some(node) = topology.find(&leg.node) else { return };
        let mut state = self.state(node);
        let entry = Entry { bytes, since: task.enqueued_at };
        if state.entries.insert((task.uid, leg.step), entry).is_none() {
            state.bytes += bytes;
        }
        drop(state);
        self.nodes[node.0 as usize].grown.notify_one();
    }

    /// The entry has been delivered, or dropped.
    pub fn remove(&self, node: NodeIndex, place: Place) {
        let mut state = self.state(node);
        if let Some(entry) = state.entries.remove(&place) {
            state.bytes -= entry.bytes;
        }
    }

    /// The oldest entries, at most `count`.
    pub fn head(&self, node: NodeIndex, count: usize) -> Vec<Place> {
        self.state(node).entries.keys().copied().take(count).collect()
    }

    pub fn is_empty(&self, node: NodeIndex) -> bool {
        self.state(node).entries.is_empty()
    }

    /// Returns when the log may have something in it.
    pub async fn grown(&self, node: NodeIndex) {
        self.nodes[node.0 as usize].grown.notified().await;
    }

    pub fn backlog(&self, node: NodeIndex) -> Backlog {
        let state = self.state(node);
        let oldest = state.entries.values().map(|entry| entry.since).next();
        Backlog { entries: state.entries.len(), bytes: state.bytes, oldest }
    }

    /// The node has given a task this number, or is known to have given none.
    pub fn numbered(&self, node: NodeIndex, node_task: Option<u32>) {
        let mut state = self.state(node);
        state.highest = state.highest.max(Some(node_task));
    }

    /// The node has given this number to a request that was sent when `before` was the highest known. Returns whether it counts
    /// anew, which is to say that it has lost its data.
    pub fn acknowledged(&self, node: NodeIndex, before: Option<Option<u32>>, node_task: u32) -> bool {
        self.numbered(node, Some(node_task));
        let counts_anew = before.flatten().is_some_and(|before| node_task <= before);
        let mut state = self.state(node);
        state.counts_anew |= counts_anew;
        counts_anew
    }

    /// Whether the node, whose newest task has this number, counts anew.
    pub fn counts_anew(&self, node: NodeIndex, before: Option<Option<u32>>, newest: Option<u32>) -> bool {
        self.state(node).counts_anew || before.flatten() > newest
    }

    /// From now on the node's numbers are those that it has given since it lost its data.
    pub fn forget_numbers(&self, node: NodeIndex) {
        let mut state = self.state(node);
        (state.highest, state.counts_anew) = (None, false);
    }

    /// Highest number that the node has given, if that is known; `Some(None)` if it has given none.
    pub fn highest(&self, node: NodeIndex) -> Option<Option<u32>> {
        self.state(node).highest
    }

    /// Keeps the answer that a node still owes to the request in this place.
    pub fn await_answer(&self, node: NodeIndex, place: Place, late: LateAnswer) {
        let mut answers = self.late(node);
        // Nobody has asked for these: their tasks were over before.
        answers.awaited.retain(|_, late| !late.is_known());
        answers.awaited.insert(place, late);
    }

    /// The answer that the node owes to the request in this place.
    pub fn awaited_answer(&self, node: NodeIndex, place: Place) -> Option<LateAnswer> {
        self.late(node).awaited.remove(&place)
    }

    /// A connection to the node has ended under a request.
    pub fn broke(&self, node: NodeIndex) {
        self.late(node).broken_at = Instant::now();
    }

    /// When a connection to the node last ended under a request, or may have.
    pub fn broken_at(&self, node: NodeIndex) -> Instant {
        self.late(node).broken_at
    }

    fn late(&self, node: NodeIndex) -> MutexGuard<'_, LateAnswers> {
        self.nodes[node.0 as usize].late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, node: NodeIndex) -> MutexGuard<'_, LogState> {
        self.nodes[node.0 as usize].state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
