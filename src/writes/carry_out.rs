//! Takes one write to its nodes.

use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::lookup;
use super::marker;
use super::order::Turn;
use super::quorum::Standing;
use super::request::{node_request, Reach, Spread, Write};
use super::sharing::{Part as SharedPart, Route};
use crate::app::App;
use crate::cluster::{NodeIndex, Placement, Shard, ShardSet, Snapshot, TaskUid};
use crate::error::{ApiError, Code};
use crate::scatter::{Delivery, LateAnswer};
use crate::store::{Change, IndexChange, PayloadId, PayloadPart, StoreError};
use crate::tasks::{Acknowledgement, Doubt, InCreation, NewTask, NodeTask, Replay, RequestHead, Task, TaskKind};

/// Bytes of a payload that go into one commit of the store: keeps the commits of others short.
const PAYLOAD_COMMIT_BYTES: usize = 4 << 20;
/// How long a write waits for nodes that are up and only have their logs to work off, before it is refused.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How long a write is held back while some node that is up has a log to work off, though the others make a quorum.
const BACK_PRESSURE_WAIT: Duration = Duration::from_millis(100);
/// How long a write waits for the store that has just come back to say whether this Miroir still leads.
const LEAD_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
const CATCH_UP_POLL: Duration = Duration::from_millis(10);

/// A write that has been taken.
#[derive(Debug)]
pub struct Taken {
    pub task: std::sync::Arc<Task>,
    /// Groups that have not taken all of it, as `groups=1,2`.
    pub degraded: Option<String>,
}

/// Hands a write to all replicas of its shards. It is taken when a quorum has it; what a replica misses stands in its log then.
///
/// `turn` is kept until the fate of every leg is known, so that the next conflicting write comes after it everywhere.
/// Not cancel-safe: see it through to its end.
pub async fn carry_out(app: &App, write: Write, turn: Turn) -> Result<Taken, ApiError> {
    app.scatter.lead.hold(Instant::now() + LEAD_WAIT).await?;
    let snapshot = app.cluster.snapshot();
    let placement = snapshot.placement(write.shard_count);
    let shards = write.shards();
    refuse_if_frozen(&snapshot, &write)?;
    let live = await_quorum(app, placement, &shards).await?;
    let spread = write.spread;
    let mut delivering = Delivering::plan(app, &snapshot, placement, write, &live);
    let is_single = snapshot.topology.copies() == 1 && delivering.write.reach == Reach::Documents;
    let taken =
        if is_single { delivering.deliver_single_copies().await } else { delivering.deliver_to_replicas().await };
    match &taken {
        // A node may execute it yet, after whatever would come next: that waits until it is known.
        Err(_) if delivering.is_late() => {
            app.late_turns.hold(turn, delivering.take_late().into_iter().map(|(_, _, late)| late).collect())
        }
        // Let go of when the last node has been given it.
        Ok(taken) if spread == Spread::NodeAfterNode => {
            app.withheld.put(taken.task.uid, turn);
            app.tasks.tell_news();
        }
        _ => drop(turn),
    }
    taken
}

/// Nodes that rank by different settings, and cannot be mended, take no more documents: what is wrong must not grow. New settings
/// and deleting the index are ways out.
fn refuse_if_frozen(snapshot: &Snapshot, write: &Write) -> Result<(), ApiError> {
    let is_way_out = matches!(write.kind, TaskKind::SettingsUpdate | TaskKind::IndexDeletion);
    match snapshot.index_on_nodes(&write.node_uid) {
        Some(index) if index.is_frozen && !is_way_out => {
            let message = format!(
                "The settings of index `{}` differ between nodes and could not be made equal; it takes no writes until they are.",
                write.index_uid
            );
            Err(ApiError::new(Code::MiroirIndexFrozen, message))
        }
        _ => Ok(()),
    }
}

/// A task that is over before it begins: no node has a part in it.
pub async fn settled(app: &App, task: NewTask) -> Result<Taken, ApiError> {
    app.metrics.tasks.with_label_values(&[task.kind.name()]).inc();
    Ok(Taken { task: app.tasks.register(task, Vec::new()).await?, degraded: None })
}

/// The nodes that take live writes, once they make a quorum for all of `shards`.
///
/// A node that is up and only has its log to work off is worth a wait: a long one where there is no quorum without it, a short one
/// elsewhere, since a node that lags would never catch up with clients that are not held back. Nodes that are away are not
/// waited for.
async fn await_quorum(app: &App, placement: &Placement, shards: &ShardSet) -> Result<Vec<NodeIndex>, ApiError> {
    let started = Instant::now();
    loop {
        let snapshot = app.cluster.snapshot();
        let nodes = || snapshot.topology.node_indexes();
        let up: Vec<NodeIndex> = nodes().filter(|&node| snapshot.state(node).takes_writes()).collect();
        let live: Vec<NodeIndex> = up.iter().copied().filter(|&node| app.logs.is_empty(node)).collect();
        let standing = |present: &[NodeIndex]| {
            app.quorum().standing(&snapshot.topology, placement, shards, |node, _| present.contains(&node))
        };
        let now = standing(&live).missing;
        let waited = started.elapsed();
        if now.is_empty() && (live.len() == up.len() || waited >= BACK_PRESSURE_WAIT) {
            return Ok(live);
        }
        let hopeless = if now.is_empty() { Vec::new() } else { standing(&up).missing };
        if !hopeless.is_empty() || waited >= CATCH_UP_WAIT {
            return Err(no_quorum(if hopeless.is_empty() { &now } else { &hopeless }, "Nothing was sent."));
        }
        tokio::time::sleep(CATCH_UP_POLL).await;
    }
}

fn no_quorum(shards: &[Shard], consequence: &str) -> ApiError {
    let list: Vec<String> = shards.iter().map(Shard::to_string).collect();
    let message = format!(
        "Too few replicas take the write: no group has a quorum for the shards {}. {consequence}",
        list.join(", ")
    );
    ApiError::new(Code::MiroirNoQuorum, message)
}

/// A write on its way.
struct Delivering<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    placement: &'a Placement,
    write: Write,
    parts: Vec<PayloadPart>,
    heads: Vec<RequestHead>,
    marker: String,
    nodes: Vec<Part>,
}

/// One node's part in a write.
struct Part {
    node: NodeIndex,
    /// Whether it is sent now; otherwise it goes to the node's log.
    is_live: bool,
    /// What is known of the node's numbers before anything is sent.
    doubt: Doubt,
    /// In the order of steps.
    legs: Vec<Leg>,
}

/// One request to one node.
struct Leg {
    step: u8,
    shards: ShardSet,
    delivery: Delivery,
}

impl<'a> Delivering<'a> {
    fn plan(app: &'a App, snapshot: &'a Snapshot, placement: &'a Placement, write: Write, live: &[NodeIndex]) -> Self {
        let legs_of = |node: NodeIndex| -> Vec<Leg> {
            let held = placement.shards_of(node);
            let owned = |step: &super::request::Step| -> ShardSet {
                held.iter().copied().filter(|&shard| step.shards.contains(shard)).collect()
            };
            let legs = write.steps.iter().enumerate().map(|(step, described)| Leg {
                step: step as u8,
                shards: owned(described),
                delivery: Delivery::NotSent,
            });
            legs.filter(|leg| !leg.shards.is_empty()).collect()
        };
        let part = |node: NodeIndex| Part {
            node,
            is_live: live.contains(&node),
            doubt: Doubt { after: app.logs.highest(node).flatten() },
            legs: legs_of(node),
        };
        let nodes = snapshot.topology.node_indexes().map(part).filter(|part| !part.legs.is_empty()).collect();
        let marker = marker::new();
        let (parts, heads) = (write.payload(), write.heads(&marker));
        Self { app, snapshot, placement, write, parts, heads, marker, nodes }
    }

    /// One copy of each document: there is no replica to be unequal with, so it is recorded once, when the nodes have it.
    async fn deliver_single_copies(&mut self) -> Result<Taken, ApiError> {
        self.send().await;
        if !self.standing().missing.is_empty() && self.refusal().is_none() {
            self.settle_doubts().await;
            // What is surely not on a node is sent once more before the client is troubled with it.
            if !self.is_anywhere(|delivery| matches!(delivery, Delivery::InDoubt | Delivery::Late(_))) {
                self.send().await;
            }
        }
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        let standing = self.standing();
        if !standing.missing.is_empty() {
            return Err(no_quorum(&standing.missing, "Other shards may have taken their part; send the write again."));
        }
        let task = self.app.tasks.register(self.task(), Vec::new()).await?;
        Ok(Taken { task, degraded: None })
    }

    /// Several copies, or all nodes: the write stands in the store before any node sees it, and is seen through from there.
    async fn deliver_to_replicas(&mut self) -> Result<Taken, ApiError> {
        if self.write.spread == Spread::NodeAfterNode {
            self.nodes.iter_mut().filter(|part| part.is_live).skip(1).for_each(|part| part.is_live = false);
        }
        self.learn_numbers().await;
        let task = self.record().await?;
        self.send().await;
        if !self.standing().missing.is_empty() {
            self.settle_doubts().await;
        }
        if !self.is_anywhere(Delivery::may_be_executed) {
            self.app.tasks.withdraw(task.uid).await?;
            self.app.hide_conclusion(&task);
            let missing = self.standing().missing;
            return Err(self.refusal().unwrap_or_else(|| no_quorum(&missing, "No node has taken it.")));
        }
        let standing = self.standing();
        let refused = match self.refusal() {
            Some(error) => Some(error),
            None if standing.missing.is_empty() || self.write.spread == Spread::NodeAfterNode => None,
            None => Some(no_quorum(
                &standing.missing,
                "Some replicas have taken it, and all will in time, so that they stay equal; it is safe to send it again.",
            )),
        };
        let settled = self.settle(task.uid, refused.clone()).await;
        for (node, step, late) in self.take_late() {
            self.app.logs.await_answer(node, (task.uid, step), late);
        }
        // Whatever the store said: nothing may overtake what a node has not been given.
        let followed = self.app.tasks.followed(task.uid);
        if let (Some(followed), Spread::SideBySide) = (&followed, self.write.spread) {
            self.app.logs.add(&self.snapshot.topology, followed);
        }
        settled?;
        if let Some(error) = refused {
            return Err(error);
        }
        let is_degraded = self.write.spread == Spread::SideBySide;
        let groups: Vec<String> = standing.degraded.iter().map(ToString::to_string).collect();
        let degraded = (is_degraded && !groups.is_empty()).then(|| format!("groups={}", groups.join(",")));
        // One that the nodes have finished by now is not followed any more; its summary is the same.
        Ok(Taken { task: followed.unwrap_or(task), degraded })
    }

    /// A request without a marker is found again by the node's numbers: the highest must be known before it is sent.
    async fn learn_numbers(&mut self) {
        if self.write.steps.iter().all(|step| step.takes_metadata) {
            return;
        }
        let app = self.app;
        let learned = self.nodes.iter_mut().filter(|part| part.is_live).map(|part| async move {
            match lookup::learn_highest(app, part.node).await {
                Ok(highest) => part.doubt = Doubt { after: highest },
                Err(error) => {
                    log::warn!("a write goes to the log of a node: {error}");
                    part.is_live = false;
                }
            }
        });
        join_all(learned).await;
    }

    /// Commits the write with all its legs: those that are about to be sent are in doubt from now on.
    async fn record(&mut self) -> Result<std::sync::Arc<Task>, StoreError> {
        let payload = PayloadId(fastrand::u64(..));
        let mut task = self.task();
        let doubts = self.nodes.iter().flat_map(|part| part.legs.iter().map(|_| part.is_live.then_some(part.doubt)));
        task.legs.iter_mut().zip(doubts).for_each(|(leg, doubt)| leg.doubt = doubt);
        task.replay = Some(Replay {
            payload,
            bytes: self.write.bytes() as u64,
            heads: self.heads.clone(),
            marker: self.marker.clone(),
        });
        task.change = self.write.change.clone();
        let mut inline = self.parts.clone();
        if self.write.bytes() > PAYLOAD_COMMIT_BYTES {
            for parts in in_commits(std::mem::take(&mut inline)) {
                self.app.store.add_payload(payload, parts).await?;
            }
        }
        let task = self.app.tasks.register(task, inline).await?;
        self.app.show_conclusion(&task);
        Ok(task)
    }

    fn task(&self) -> NewTask {
        let legs = self.nodes.iter().flat_map(|part| {
            let id = &self.snapshot.topology.node(part.node).id;
            part.legs.iter().map(|leg| {
                let mut planned = NodeTask::planned(id.clone(), leg.step, leg.shards.clone());
                if let Delivery::Acknowledged(acknowledgement) = leg.delivery {
                    planned.acknowledge(acknowledgement);
                }
                planned
            })
        });
        let index_uid = Some(self.write.index_uid.clone());
        let mut task = NewTask::followed(self.write.kind, index_uid, self.snapshot.topology.copies(), legs.collect())
            .with_details(self.write.details.clone());
        task.custom_metadata = self.write.custom_metadata.clone();
        task.idempotency = self.write.idempotency.clone();
        task.other_node_uid = Some(&self.write.node_uid).filter(|uid| **uid != self.write.index_uid).cloned();
        task.conclusion = self.write.conclusion.clone();
        task.creation = self.creates().then_some(InCreation::Creates);
        self.app.metrics.tasks.with_label_values(&[task.kind.name()]).inc();
        task
    }

    fn creates(&self) -> bool {
        matches!(self.write.change, Some(IndexChange::Put(_)))
    }

    /// Sends all legs of nodes that take live writes: nodes side by side, the legs of one node one after another.
    async fn send(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        let (this, app) = (&*self, self.app);
        let sent = nodes.iter_mut().filter(|part| part.is_live).map(|Part { node, legs, .. }| async move {
            for leg in legs.iter_mut() {
                if matches!(leg.delivery, Delivery::Acknowledged(_)) {
                    continue;
                }
                // A shared request leaves after this, so that its number is above.
                let highest = app.logs.highest(*node);
                leg.delivery = this.deliver(*node, leg).await;
                match leg.delivery {
                    Delivery::Acknowledged(acknowledgement) => {
                        if app.logs.acknowledged(*node, highest, acknowledgement.uid) {
                            app.scatter.suspicions.raise(*node);
                        }
                    }
                    // A node never gets a later request of a write without the earlier ones.
                    Delivery::InDoubt => {
                        app.logs.broke(*node);
                        break;
                    }
                    _ => break,
                }
            }
        });
        join_all(sent).await;
        self.nodes = nodes;
    }

    async fn deliver(&self, node: NodeIndex, leg: &Leg) -> Delivery {
        let (scatter, step) = (&self.app.scatter, &self.write.steps[leg.step as usize]);
        let of_step = self.parts.iter().filter(|part| part.step == leg.step);
        if !step.is_shareable {
            let of_step: Vec<PayloadPart> = of_step.cloned().collect();
            return scatter.deliver(node, &node_request(&self.heads[leg.step as usize], &of_step, &leg.shards)).await;
        }
        debug_assert!(self.write.steps.len() == 1 && leg.shards.len() == 1, "a single document");
        let document = of_step.map(|part| part.bytes.clone()).collect();
        let route = Route { node, method: step.method.clone(), path_and_query: step.path_and_query.clone() };
        let part = SharedPart { marker: self.marker.clone(), document };
        let send = |request| async move { scatter.deliver(node, &request).await };
        self.app.shared_requests.deliver(&route, part, send).await
    }

    /// Waits some more for late answers, and looks for legs in doubt on their nodes; those that are there count as acknowledged,
    /// those that are not as not sent.
    async fn settle_doubts(&mut self) {
        let (app, heads, marker, node_uid) = (self.app, &self.heads, &self.marker, &self.write.node_uid);
        let looked_for = self.nodes.iter_mut().map(|Part { node, doubt, legs, .. }| async move {
            for leg in legs.iter_mut() {
                leg.delivery = match std::mem::replace(&mut leg.delivery, Delivery::NotSent) {
                    Delivery::Late(late) => match late.within(app.scatter.limits.read_timeout).await {
                        Ok(delivery) => delivery,
                        Err(late) => Delivery::Late(late),
                    },
                    known => known,
                };
                if !matches!(leg.delivery, Delivery::InDoubt) {
                    continue;
                }
                app.logs.broke(*node);
                let head = &heads[leg.step as usize];
                match lookup::find(app, *node, node_uid, head, marker, *doubt).await {
                    Ok(Some(acknowledgement)) => leg.delivery = Delivery::Acknowledged(acknowledgement),
                    Ok(None) => leg.delivery = Delivery::NotSent,
                    Err(unknown) => log::warn!("a write stays in doubt: {unknown}"),
                }
            }
        });
        join_all(looked_for).await;
    }

    fn is_late(&self) -> bool {
        self.is_anywhere(|delivery| matches!(delivery, Delivery::Late(_)))
    }

    /// The answers that are still owed, with whose they are. Their legs stay in doubt.
    fn take_late(&mut self) -> Vec<(NodeIndex, u8, LateAnswer)> {
        let mut taken = Vec::new();
        for Part { node, legs, .. } in &mut self.nodes {
            for leg in legs {
                match std::mem::replace(&mut leg.delivery, Delivery::InDoubt) {
                    Delivery::Late(late) => taken.push((*node, leg.step, late)),
                    known => leg.delivery = known,
                }
            }
        }
        taken
    }

    fn is_anywhere(&self, wanted: impl Fn(&Delivery) -> bool) -> bool {
        self.nodes.iter().flat_map(|part| &part.legs).any(|leg| wanted(&leg.delivery))
    }

    fn refusal(&self) -> Option<ApiError> {
        self.nodes.iter().flat_map(|part| &part.legs).find_map(|leg| match &leg.delivery {
            Delivery::Refused(error) => Some(error.clone()),
            _ => None,
        })
    }

    fn standing(&self) -> Standing {
        let has = |node: NodeIndex, shard: Shard| {
            let part = self.nodes.iter().find(|part| part.node == node);
            let mut of_shard =
                part.into_iter().flat_map(|part| &part.legs).filter(|leg| leg.shards.contains(shard)).peekable();
            of_shard.peek().is_some() && of_shard.all(|leg| matches!(leg.delivery, Delivery::Acknowledged(_)))
        };
        let (topology, shards) = (&self.snapshot.topology, self.write.shards());
        self.app.quorum().standing(topology, self.placement, &shards, has)
    }

    /// Records what became of the legs, and applies what the write changes of its index.
    async fn settle(&self, uid: TaskUid, refused: Option<ApiError>) -> Result<(), StoreError> {
        let outcomes: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|part| {
                let id = self.snapshot.topology.node(part.node).id.clone();
                part.legs.iter().map(move |leg| (id.clone(), leg.step, Outcome::of(&leg.delivery)))
            })
            .collect();
        let cluster = std::sync::Arc::clone(&self.app.cluster);
        // An index that a node has refused is undone on the others; nobody is to see it meanwhile.
        let is_stillborn = self.creates() && self.refusal().is_some();
        let amendment = match &self.write.change {
            Some(change) if !is_stillborn => Some(self.app.catalog.amend(change).await),
            _ => None,
        };
        let records = amendment.as_ref().map(|amendment| amendment.changes()).unwrap_or_default();
        let publication = amendment.as_ref().map(|amendment| amendment.publication(|snapshot| snapshot));
        let frees_key = refused.is_some() && self.write.idempotency.is_some();
        self.app
            .tasks
            .change(move |changes| {
                // A node that is up and only has its log to work off will have this soon: the task waits for it. Were it kept from
                // reads, a shard could be left without a replica whose other one has just come back and lags.
                let snapshot = cluster.snapshot();
                changes.task(uid, |task| {
                    for (node, step, outcome) in &outcomes {
                        match outcome {
                            Outcome::Acknowledged(acknowledgement) => task.acknowledge(node, *step, *acknowledgement),
                            Outcome::Refused(error) => task.refuse(node, *step, error.body.clone()),
                            Outcome::NotSent => task.clear_doubt(node, *step),
                            Outcome::InDoubt => {}
                        }
                    }
                    match &refused {
                        Some(error) => task.fail(error.body.clone(), OffsetDateTime::now_utc()),
                        None => drop(task.let_lag(|node| snapshot.is_away(node))),
                    }
                    task.change = None;
                    true
                });
                records.into_iter().for_each(|record| changes.also(record));
                publication.into_iter().for_each(|publish| changes.then(publish));
                if frees_key {
                    changes.also(Change::ForgetKey(uid));
                }
            })
            .await?;
        drop(amendment);
        if let Some(IndexChange::Delete(node_uid)) = &self.write.change {
            self.app.tasks.index_deleted(node_uid).await?;
        }
        Ok(())
    }
}

/// A delivery, owned.
enum Outcome {
    Acknowledged(Acknowledgement),
    Refused(ApiError),
    NotSent,
    InDoubt,
}

impl Outcome {
    fn of(delivery: &Delivery) -> Self {
        match delivery {
            Delivery::Acknowledged(acknowledgement) => Outcome::Acknowledged(*acknowledgement),
            Delivery::Refused(error) => Outcome::Refused(error.clone()),
            Delivery::NotSent => Outcome::NotSent,
            Delivery::InDoubt | Delivery::Late(_) => Outcome::InDoubt,
        }
    }
}

/// Parts in groups of about [`PAYLOAD_COMMIT_BYTES`].
fn in_commits(parts: Vec<PayloadPart>) -> Vec<Vec<PayloadPart>> {
    let mut commits: Vec<Vec<PayloadPart>> = Vec::new();
    let mut room = 0;
    for part in parts {
        let len = part.bytes.len();
        match commits.last_mut() {
            Some(commit) if len <= room => {
                room -= len;
                commit.push(part);
            }
            _ => {
                room = PAYLOAD_COMMIT_BYTES.saturating_sub(len);
                commits.push(vec![part]);
            }
        }
    }
    commits
}
