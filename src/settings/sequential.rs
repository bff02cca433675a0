//! `settings_broadcast.strategy: sequential`: a change goes to one node after another, and to no further one once a node fails it.
//!
//! All its legs stand in the store from the start, but only one at a time is let into its node's log. Later writes of the index wait
//! until the last one has been let in: they must not overtake it anywhere. After a crash the rest goes to all nodes at once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::app::App;
use crate::cluster::{NodeId, TaskUid};
use crate::error::{Code, ErrorBody};
use crate::store::StoreError;
use crate::tasks::{NodeTask, Task, TaskStatus};
use crate::writes::Turn;

/// How often it is looked whether a node has applied a change, beside whenever there is news of tasks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Changes that are under way node after node, each with its index's turn.
#[derive(Default)]
pub struct Withheld {
    turns: Mutex<HashMap<TaskUid, Turn>>,
}

impl Withheld {
    fn turns(&self) -> MutexGuard<'_, HashMap<TaskUid, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, task: TaskUid, turn: Turn) {
        self.turns().insert(task, turn);
    }

    /// The changes whose next node has to be seen to.
    pub fn tasks(&self) -> Vec<TaskUid> {
        self.turns().keys().copied().collect()
    }
}

/// Lets a change go to its nodes one after another, until the last has it or one has failed it.
pub async fn see_through(app: &App, uid: TaskUid) {
    let mut news = app.tasks.news();
    let mut let_in: HashSet<NodeId> = HashSet::new();
    while let Some(task) = app.tasks.followed(uid) {
        if task.legs.iter().any(|leg| leg.status == TaskStatus::Failed) {
            match give_up(app, uid).await {
                Ok(()) => break,
                Err(error) => log::error!("a change of settings cannot be ended, which is tried again: {error}"),
            }
        } else if !is_busy(app, &task, &let_in) {
            let Some(next) = task.legs.iter().find(|leg| leg.is_undelivered() && !let_in.contains(&leg.node)) else {
                break;
            };
            let node = next.node.clone();
            let topology = &app.cluster.snapshot().topology;
            let parts = task.legs.iter().filter(|leg| leg.node == node && leg.is_undelivered());
            parts.for_each(|leg| app.logs.add_leg(topology, &task, leg));
            let_in.insert(node);
        }
        // Looked at again after a while in any case: nodes come and go without news.
        let _ = tokio::time::timeout(LOOK_INTERVAL, news.changed()).await;
    }
    app.withheld.turns().remove(&uid);
}

/// Whether a node that is up has yet to apply it. Nodes that are away are not waited for.
fn is_busy(app: &App, task: &Task, let_in: &HashSet<NodeId>) -> bool {
    let snapshot = app.cluster.snapshot();
    let is_up =
        |leg: &&NodeTask| snapshot.topology.find(&leg.node).is_some_and(|node| snapshot.state(node).takes_writes());
    task.open_legs().filter(is_up).any(|leg| leg.is_running() || let_in.contains(&leg.node))
}

/// A node has failed it: the others that do not have it yet never get it, and those that have are put back when it is concluded.
async fn give_up(app: &App, uid: TaskUid) -> Result<(), StoreError> {
    let error = ErrorBody::new(Code::MiroirSettingsDiverged, "Another node failed the change before.");
    app.tasks
        .change(move |changes| {
            changes.task(uid, |task| {
                let left: Vec<(NodeId, u8)> = task
                    .legs
                    .iter()
                    .filter(|leg| leg.is_undelivered())
                    .map(|leg| (leg.node.clone(), leg.step))
                    .collect();
                left.into_iter().for_each(|(node, step)| task.refuse(&node, step, error.clone()));
                true
            });
        })
        .await
        .map(drop)
}
