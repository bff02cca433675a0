//! `POST /tasks/cancel`: a task of its own, which has the nodes cancel theirs.
//!
//! Only writes of documents are canceled. What creates, changes or deletes an index stands in Miroir's own record of it from the
//! moment the write was taken, and later writes rely on it; such tasks run to their end, and so does the part of a write that
//! creates its index. A task some node of which is away is left alone as well: that node would carry out later what the others
//! had canceled, and so is one that shares a node's task with others unless all of these are canceled with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use http::Method;
use serde_json::json;

use super::tasks::restricted;
use super::whole_index::accepted;
use super::{Answer, Request};
use crate::app::App;
use crate::cluster::{NodeId, NodeIndex, ShardSet, Snapshot, TaskUid};
use crate::error::{ApiError, Code, ErrorBody};
use crate::scatter::{Delivery, NodeRequest};
use crate::store::StoreError;
use crate::tasks::{Acknowledgement, NewTask, NodeTask, Outcome, Task, TaskFilter, TaskKind, TaskQuery};

/// Tasks that one request cancels, newest first; whoever has more unfinished ones asks again. Keeps the requests to one node
/// within the 256 that the legs of a task can number.
const TARGETS_MAX: usize = 20_000;
/// Tasks read, or marked in one commit, at a time.
const PAGE: u32 = 1_000;
/// Node tasks named in one request: its query string stays near 2 KiB, well within what servers accept.
const UIDS_PER_REQUEST: usize = 200;
/// Requests under way at once.
const REQUESTS_MAX: usize = 8;
/// How often a node is told, since being told twice does no harm.
const TRIES: usize = 2;
/// Kinds of node tasks that may be canceled.
const KINDS: [TaskKind; 3] =
    [TaskKind::DocumentAdditionOrUpdate, TaskKind::DocumentDeletion, TaskKind::DocumentEdition];

/// One request to one node.
struct Leg {
    node: NodeIndex,
    id: NodeId,
    step: u8,
    uids: Vec<u32>,
}

pub async fn cancel(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = request.query.unwrap_or("");
    let filter = restricted(app, TaskFilter::parse_to("cancel", query)?, request.rights);
    let matched = app.tasks.count(&filter).await?;
    let snapshot = app.cluster.snapshot();
    let targets = targets(app, &snapshot, filter).await?;
    let details = |canceled: Option<u32>| json!({ "matchedTasks": matched, "canceledTasks": canceled, "originalFilter": format!("?{query}") });
    let legs = legs(&snapshot, &targets);
    if legs.is_empty() {
        let task = NewTask::settled(TaskKind::TaskCancelation, None, Outcome::Succeeded);
        return Ok(Answer { status: 200, ..accepted(app, request, task.with_details(details(Some(0)))).await? });
    }
    let planned = legs.iter().map(|leg| NodeTask::planned(leg.id.clone(), leg.step, ShardSet::default()));
    let mut new = NewTask::followed(TaskKind::TaskCancelation, None, 1, planned.collect()).with_details(details(None));
    new.idempotency = request.idempotency()?;
    app.metrics.tasks.with_label_values(&[new.kind.name()]).inc();
    let task = app.tasks.register(new, Vec::new()).await?;
    // Before the nodes hear of it, so that no end is missed.
    mark(app, task.uid, &targets).await?;
    let told: Vec<_> = legs.iter().map(|leg| tell(app, leg)).collect();
    let outcomes: Vec<_> = stream::iter(told).buffer_unordered(REQUESTS_MAX).collect().await;
    record(app, task.uid, outcomes).await?;
    Ok(Answer::json(200, &task.summary()))
}

/// The unfinished tasks that match and can be canceled, newest first.
async fn targets(app: &App, snapshot: &Snapshot, filter: TaskFilter) -> Result<Vec<Arc<Task>>, ApiError> {
    let filter = filter.with_statuses(|status| !status.is_final());
    let mut query = TaskQuery { filter, limit: PAGE, ..TaskQuery::default() };
    let mut targets = Vec::new();
    loop {
        let page = app.store.tasks(&query).await?;
        let followed = page.tasks.iter().filter_map(|task| app.tasks.followed(task.uid));
        targets.extend(followed.filter(|task| is_cancelable(snapshot, task)));
        match page.next {
            Some(next) if targets.len() < TARGETS_MAX => query.from = Some(next),
            _ => break,
        }
    }
    targets.truncate(TARGETS_MAX);
    leave_shared(&mut targets);
    Ok(targets)
}

/// Leaves out tasks that share a node's task with others which are not to be canceled: the node would cancel those as well.
fn leave_shared(targets: &mut Vec<Arc<Task>>) {
    let shared = |task: &Arc<Task>| {
        let running = task.legs.iter().filter(|leg| leg.is_running() && leg.is_shared());
        running.map(|leg| ((leg.node.clone(), leg.uid), leg.shared_by)).collect::<Vec<_>>()
    };
    loop {
        let mut named: HashMap<(NodeId, Option<u32>), u32> = HashMap::new();
        for (node_task, _) in targets.iter().flat_map(shared) {
            *named.entry(node_task).or_default() += 1;
        }
        let before = targets.len();
        targets
            .retain(|task| shared(task).iter().all(|(node_task, shared_by)| named.get(node_task) == Some(shared_by)));
        // One that is left out may share its other nodes' tasks with further ones.
        if targets.len() == before {
            return;
        }
    }
}

fn is_cancelable(snapshot: &Snapshot, task: &Task) -> bool {
    let takes_writes = |node: &NodeId| {
        let node = snapshot.topology.find(node);
        node.is_some_and(|node| snapshot.state(node).takes_writes())
    };
    let mut running = task.legs.iter().filter(|leg| leg.is_running()).peekable();
    KINDS.contains(&task.kind)
        && task.canceled_by.is_none()
        && running.peek().is_some()
        && running.all(|leg| takes_writes(&leg.node))
        // What may just be on its way to a node cannot be canceled there.
        && !task.legs.iter().any(|leg| leg.is_undelivered() && leg.doubt.is_some())
}

fn legs(snapshot: &Snapshot, targets: &[Arc<Task>]) -> Vec<Leg> {
    let mut of_nodes: BTreeMap<NodeIndex, BTreeSet<u32>> = BTreeMap::new();
    for leg in targets.iter().flat_map(|task| &task.legs).filter(|leg| leg.is_running()) {
        if let (Some(node), Some(uid)) = (snapshot.topology.find(&leg.node), leg.uid) {
            of_nodes.entry(node).or_default().insert(uid);
        }
    }
    let chunked = of_nodes.into_iter().flat_map(|(node, uids)| {
        let id = &snapshot.topology.node(node).id;
        let uids: Vec<u32> = uids.into_iter().collect();
        let chunks: Vec<Vec<u32>> = uids.chunks(UIDS_PER_REQUEST).map(<[u32]>::to_vec).collect();
        // Two legs of a task on one node at most: creation and documents.
        debug_assert!(chunks.len() <= usize::from(u8::MAX) + 1);
        (0..=u8::MAX).zip(chunks).map(move |(step, uids)| Leg { node, id: id.clone(), step, uids })
    });
    chunked.collect()
}

/// Notes for each task who cancels it.
async fn mark(app: &App, canceled_by: TaskUid, targets: &[Arc<Task>]) -> Result<(), StoreError> {
    let uids: Vec<TaskUid> = targets.iter().map(|task| task.uid).collect();
    for some in uids.chunks(PAGE as usize) {
        let some = some.to_vec();
        let marked = app.tasks.change(move |changes| {
            let mut count = 0;
            for uid in some {
                changes.task(uid, |task| {
                    let is_marked = task.cancel_by(canceled_by);
                    count += u32::from(is_marked);
                    is_marked
                });
            }
            changes.task(canceled_by, |task| {
                task.await_canceled(count);
                true
            });
        });
        marked.await?;
    }
    Ok(())
}

async fn tell(app: &App, leg: &Leg) -> (NodeId, u8, Result<Acknowledgement, ErrorBody>) {
    let uids: Vec<String> = leg.uids.iter().map(u32::to_string).collect();
    let request = NodeRequest {
        method: Method::POST,
        ..NodeRequest::get(format!(
            "/tasks/cancel?types={}&uids={}",
            KINDS.map(TaskKind::name).join(","),
            uids.join(",")
        ))
    };
    let mut outcome = Err(ErrorBody::new(
        Code::MiroirShardUnavailable,
        format!("Node `{}` could not be told what to cancel; its part of these tasks goes on.", leg.id),
    ));
    for _ in 0..TRIES {
        match app.scatter.deliver(leg.node, &request).await {
            Delivery::Acknowledged(acknowledgement) => {
                app.logs.numbered(leg.node, Some(acknowledgement.uid));
                outcome = Ok(acknowledgement);
                break;
            }
            Delivery::Refused(error) => {
                outcome = Err(error.body);
                break;
            }
            Delivery::NotSent | Delivery::InDoubt | Delivery::Late(_) => {}
        }
    }
    (leg.id.clone(), leg.step, outcome)
}

async fn record(
    app: &App,
    uid: TaskUid,
    outcomes: Vec<(NodeId, u8, Result<Acknowledgement, ErrorBody>)>,
) -> Result<(), StoreError> {
    let recorded = app.tasks.change(move |changes| {
        changes.task(uid, |task| {
            for (node, step, outcome) in outcomes {
                match outcome {
                    Ok(acknowledgement) => task.acknowledge(&node, step, acknowledgement),
                    Err(error) => task.refuse(&node, step, error),
                }
            }
            true
        });
    });
    recorded.await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task with legs on nodes, each with the node's number and how many writes share it.
    fn task(uid: u32, legs: &[(&str, u32, u32)]) -> Arc<Task> {
        let leg = |(node, node_task, shared_by): &(&str, u32, u32)| {
            let mut leg = NodeTask::planned(NodeId::new(node), 0, ShardSet::default());
            leg.acknowledge(Acknowledgement { uid: *node_task, enqueued_at: None, shared_by: *shared_by });
            leg
        };
        let new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, None, 1, legs.iter().map(leg).collect());
        Arc::new(Task::numbered(TaskUid(uid), new))
    }

    fn left(tasks: &[&Arc<Task>]) -> Vec<u32> {
        let mut targets: Vec<Arc<Task>> = tasks.iter().map(|task| Arc::clone(task)).collect();
        leave_shared(&mut targets);
        targets.iter().map(|task| task.uid.0).collect()
    }

    #[test]
    fn a_shared_node_task_is_canceled_only_with_all_who_share_it() {
        let [one, two] = [task(1, &[("a", 10, 2)]), task(2, &[("a", 10, 2)])];
        let own = task(3, &[("a", 11, 1), ("b", 10, 1)]);
        assert_eq!(left(&[&one, &two, &own]), [1, 2, 3]);
        assert_eq!(left(&[&one, &own]), [3]);
    }

    #[test]
    fn who_is_left_out_leaves_out_those_it_shares_other_nodes_tasks_with() {
        let one = task(1, &[("a", 10, 2), ("b", 5, 1)]);
        let two = task(2, &[("a", 10, 2), ("b", 6, 2)]);
        let three = task(3, &[("b", 6, 2), ("c", 7, 2)]);
        let four = task(4, &[("c", 7, 2)]);
        assert_eq!(left(&[&one, &two, &three, &four]), [1, 2, 3, 4]);
        assert_eq!(left(&[&one, &two, &three]), Vec::<u32>::new());
    }
}
