//! Gives a node what stands in its log, in order, whenever the node can take it.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::logs::Place;
use super::lookup;
use super::request::node_request;
use super::round::{Round, Touches};
use crate::app::App;
use crate::cluster::{IndexUid, NodeId, NodeIndex, ShardSet, TaskUid};
use crate::error::{Code, ErrorBody};
use crate::scatter::Delivery;
use crate::store::{StaleReplica, StoreError};
use crate::tasks::{Acknowledgement, Doubt, InCreation, NodeTask, Replay, Task};

/// Entries given to a node between two commits.
const ENTRIES_PER_COMMIT: usize = 128;
/// Entries under way to one node at a time.
const SIDE_BY_SIDE_MAX: usize = 16;
/// Bytes of entries that are held in memory at once. A single one may be larger.
const ENTRIES_BYTES_MAX: u64 = 16 << 20;
/// Entries of a dropped log that are struck off in one commit.
const DROPPED_PER_COMMIT: usize = 1_000;
/// How long a replay waits for a late answer before it looks at the rest of the log again.
const LATE_ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// How often a node is looked at that has nothing in its log, or is away.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often tasks are told that a node is still away: some got their leg acknowledged just before it left.
const AWAY_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after a node, or the store, did not do what it was asked.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Watches one node for as long as Miroir runs.
pub async fn replay(app: &App, node: NodeIndex) {
    let id = app.scatter.health.id(node).to_owned();
    let node_id = NodeId::new(&id);
    let mut away_noted: Option<Instant> = None;
    loop {
        app.metrics.replica_log_entries.with_label_values(&[&id]).set(app.logs.backlog(node).entries as i64);
        let is_up = app.cluster.snapshot().state(node).takes_writes();
        if is_up {
            away_noted = None;
        } else if away_noted.is_none_or(|noted| noted.elapsed() >= AWAY_INTERVAL) {
            away_noted = Some(Instant::now());
            if let Err(error) = app.tasks.node_left(&node_id).await {
                log::error!("tasks still wait for node {id}, which is away: {error}");
            }
        }
        if is_up && !app.logs.is_empty(node) {
            match (Replaying { app, node, id: &node_id }).some().await {
                Ok(()) => continue,
                Err(stop) => {
                    log::warn!("the log of node {id} is replayed later: {stop}");
                    drop_if_outgrown(app, node, &node_id).await;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        } else {
            drop_if_outgrown(app, node, &node_id).await;
            // News are a reason to look at once, but only where they can be acted upon.
            let news = async {
                match is_up {
                    true => app.logs.grown(node).await,
                    false => std::future::pending().await,
                }
            };
            let _ = tokio::time::timeout(LOOK_INTERVAL, news).await;
        }
    }
}

/// Why a replay stops for a while.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Lookup(#[from] lookup::Unknown),
    #[error("the node did not take task {0}")]
    NotTaken(TaskUid),
    #[error("the node has not answered yet whether it takes task {0}")]
    Late(TaskUid),
}

struct Replaying<'a> {
    app: &'a App,
    node: NodeIndex,
    id: &'a NodeId,
}

/// An entry with all that it takes to send it.
struct Entry {
    task: TaskUid,
    step: u8,
    leg: NodeTask,
    replay: Option<Replay>,
    /// The index, as nodes call it.
    node_uid: Option<IndexUid>,
    /// The index has been undone: what the node has not got of this it never gets.
    is_undone: bool,
}

impl Entry {
    fn touches(&self) -> Touches {
        Touches { task: self.task, index_uid: self.node_uid.clone(), shards: self.leg.shards.clone() }
    }
}

/// What became of an entry.
enum Replayed {
    Acknowledged(Acknowledgement),
    Refused(ErrorBody),
}

impl Replaying<'_> {
    /// Gives the node the oldest entries of its log, side by side where they touch different shards: a node that lags must catch
    /// up with clients that write side by side. What it has taken is committed together, whatever stops the rest.
    async fn some(&self) -> Result<(), Stop> {
        let mut entries = self.oldest();
        self.note_doubts(&entries).await?;
        // Whatever was struck off before the doubts were noted is not sent; afterwards nothing is struck off.
        entries.retain(|entry| {
            self.app.tasks.followed(entry.task).is_some_and(|task| self.entry(&task, entry.step).is_some())
        });
        let mut round = Round::new(entries.iter().map(Entry::touches).collect());
        let mut sending = FuturesUnordered::new();
        let (mut replayed, mut stopped) = (Vec::new(), None);
        // The highest number given in this round to each index's entries.
        let mut floors: HashMap<IndexUid, u32> = HashMap::new();
        loop {
            while stopped.is_none() && sending.len() < SIDE_BY_SIDE_MAX {
                let Some(at) = round.start_next() else { break };
                let entry = &entries[at];
                let floor = entry.node_uid.as_ref().and_then(|node_uid| floors.get(node_uid).copied());
                sending.push(async move { (at, self.one(entry, floor).await) });
            }
            let Some((at, result)) = sending.next().await else { break };
            match result {
                Ok(outcome) => {
                    round.ended(at);
                    let entry = &entries[at];
                    if let (Replayed::Acknowledged(acknowledgement), Some(node_uid)) = (&outcome, &entry.node_uid) {
                        self.app.logs.numbered(self.node, Some(acknowledgement.uid));
                        let floor = floors.entry(node_uid.clone()).or_default();
                        *floor = acknowledgement.uid.max(*floor);
                    }
                    replayed.push((entry.task, entry.step, outcome));
                }
                Err(stop) => stopped = Some(stop),
            }
        }
        self.commit(replayed).await?;
        stopped.map_or(Ok(()), Err)
    }

    /// Entries whose legs are still undelivered; others are struck off.
    fn oldest(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (task, step) in self.app.logs.head(self.node, ENTRIES_PER_COMMIT) {
            match self.app.tasks.followed(task).and_then(|task| self.entry(&task, step)) {
                Some(entry) => {
                    bytes += entry.replay.as_ref().map_or(0, |replay| replay.bytes);
                    if bytes > ENTRIES_BYTES_MAX && !entries.is_empty() {
                        break;
                    }
                    entries.push(entry);
                }
                None => self.app.logs.remove(self.node, (task, step)),
            }
        }
        entries
    }

    fn entry(&self, task: &Task, step: u8) -> Option<Entry> {
        let wanted = |leg: &&NodeTask| leg.node == *self.id && leg.step == step && leg.is_undelivered();
        let leg = task.legs.iter().find(wanted)?.clone();
        Some(Entry {
            task: task.uid,
            step,
            leg,
            replay: task.replay.clone(),
            node_uid: task.node_uid().cloned(),
            is_undone: task.creation == Some(InCreation::Undone),
        })
    }

    /// From here on a crash leaves it open whether the entries were executed.
    async fn note_doubts(&self, entries: &[Entry]) -> Result<(), Stop> {
        let fresh: Vec<Place> =
            entries.iter().filter(|entry| entry.leg.doubt.is_none()).map(|entry| (entry.task, entry.step)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let doubt = Doubt { after: lookup::learn_highest(self.app, self.node).await? };
        let id = self.id.clone();
        let noted = self.app.tasks.change(move |changes| {
            for (task, step) in fresh {
                changes.task(task, |task| {
                    task.doubt(&id, step, doubt);
                    true
                });
            }
        });
        noted.await?;
        Ok(())
    }

    /// `floor` is the highest number that an entry of the same index has been given in this round: all that conflict are below.
    async fn one(&self, entry: &Entry, floor: Option<u32>) -> Result<Replayed, Stop> {
        let Some(replay) = &entry.replay else { return Ok(Replayed::Refused(never_sent(self.id))) };
        let Some(node_uid) = &entry.node_uid else { return Ok(Replayed::Refused(never_sent(self.id))) };
        let Some(head) = replay.heads.get(entry.step as usize) else {
            return Ok(Replayed::Refused(never_sent(self.id)));
        };
        if let Some(known) = self.late_answer(entry).await? {
            return Ok(known);
        }
        if let Some(doubt) = entry.leg.doubt {
            // A request that is found by its marker may have been given any number, even one that others share.
            let floor = floor.filter(|_| !lookup::is_marked(head, &replay.marker));
            let doubt = Doubt { after: doubt.after.max(floor) };
            let found = lookup::find(self.app, self.node, node_uid, head, &replay.marker, doubt).await?;
            if let Some(acknowledgement) = found {
                return Ok(Replayed::Acknowledged(acknowledgement));
            }
        }
        if entry.is_undone {
            return Ok(Replayed::Refused(ErrorBody::new(Code::IndexNotFound, "The index has not been created.")));
        }
        let parts = self.app.store.payload(replay.payload, entry.step, &entry.leg.shards).await?;
        match self.app.scatter.deliver(self.node, &node_request(head, &parts, &entry.leg.shards)).await {
            Delivery::Acknowledged(acknowledgement) => Ok(Replayed::Acknowledged(acknowledgement)),
            Delivery::Refused(error) => Ok(Replayed::Refused(error.body)),
            Delivery::NotSent => Err(Stop::NotTaken(entry.task)),
            Delivery::InDoubt => {
                self.app.logs.broke(self.node);
                Err(Stop::NotTaken(entry.task))
            }
            Delivery::Late(late) => {
                self.app.logs.await_answer(self.node, (entry.task, entry.step), late);
                Err(Stop::Late(entry.task))
            }
        }
    }

    /// What the node said late to an earlier attempt, if there was one whose answer is owed. Until it is known nothing is sent again.
    async fn late_answer(&self, entry: &Entry) -> Result<Option<Replayed>, Stop> {
        let (logs, place) = (&self.app.logs, (entry.task, entry.step));
        let Some(late) = logs.awaited_answer(self.node, place) else { return Ok(None) };
        match late.within(LATE_ANSWER_PAUSE).await {
            Ok(Delivery::Acknowledged(acknowledgement)) => Ok(Some(Replayed::Acknowledged(acknowledgement))),
            Ok(Delivery::Refused(error)) => Ok(Some(Replayed::Refused(error.body))),
            Ok(Delivery::NotSent) => Ok(None),
            Ok(Delivery::InDoubt | Delivery::Late(_)) => {
                logs.broke(self.node);
                Ok(None)
            }
            Err(late) => {
                logs.await_answer(self.node, place, late);
                Err(Stop::Late(entry.task))
            }
        }
    }

    /// Live writes go to the node again once this has struck its last entry off.
    async fn commit(&self, replayed: Vec<(TaskUid, u8, Replayed)>) -> Result<(), Stop> {
        if replayed.is_empty() {
            return Ok(());
        }
        let places: Vec<Place> = replayed.iter().map(|(task, step, _)| (*task, *step)).collect();
        let id = self.id.clone();
        let committed = self.app.tasks.change(move |changes| {
            for (task, step, outcome) in replayed {
                changes.task(task, |task| {
                    match outcome {
                        Replayed::Acknowledged(acknowledgement) => task.acknowledge(&id, step, acknowledgement),
                        Replayed::Refused(error) => task.refuse(&id, step, error),
                    }
                    true
                });
            }
        });
        committed.await?;
        places.into_iter().for_each(|place| self.app.logs.remove(self.node, place));
        Ok(())
    }
}

fn never_sent(node: &NodeId) -> ErrorBody {
    ErrorBody::new(
        Code::Internal,
        format!("The request for node `{node}` is not in the store any more; send it again."),
    )
}

/// A log beyond its bounds is dropped. Its node's replicas are not read until they have been copied from good ones.
async fn drop_if_outgrown(app: &App, node: NodeIndex, id: &NodeId) {
    let backlog = app.logs.backlog(node);
    let limits = &app.config.writes;
    let is_old = backlog.oldest.is_some_and(|oldest| OffsetDateTime::now_utc() - oldest > limits.log_age_max);
    if backlog.bytes <= limits.log_bytes_max && backlog.entries <= limits.log_entries_max && !is_old {
        return;
    }
    log::error!(
        "the log of node {id} has outgrown its bounds ({} writes, {} bytes): it is dropped, and the node's shards stay out of \
         reads until they are copied anew",
        backlog.entries,
        backlog.bytes
    );
    if let Err(error) = drop_log(app, node, id).await {
        log::error!("the log of node {id} could not be dropped, which is tried again: {error}");
    }
}

async fn drop_log(app: &App, node: NodeIndex, id: &NodeId) -> Result<(), StoreError> {
    let places = app.logs.head(node, usize::MAX);
    let mut stale: HashMap<IndexUid, ShardSet> = HashMap::new();
    for (uid, step) in &places {
        let Some(task) = app.tasks.followed(*uid) else { continue };
        let Some(node_uid) = task.node_uid() else { continue };
        let is_dropped = |leg: &&NodeTask| leg.node == *id && leg.step == *step && leg.is_undelivered();
        let shards = stale.entry(node_uid.clone()).or_default();
        task.legs.iter().filter(is_dropped).for_each(|leg| shards.extend(&leg.shards));
    }
    // The mark comes first: a crash in between leaves a mark too many, never one too few.
    for (index_uid, shards) in stale {
        app.tasks.go_stale(StaleReplica { node: id.clone(), index_uid, shards }).await?;
    }
    for some in places.chunks(DROPPED_PER_COMMIT) {
        let (dropped, id) = (some.to_vec(), id.clone());
        let error = ErrorBody::new(Code::MiroirNoQuorum, outgrown(&id));
        let change = app.tasks.change(move |changes| {
            for (uid, step) in dropped {
                changes.task(uid, |task| {
                    task.refuse(&id, step, error.clone());
                    true
                });
            }
        });
        change.await?;
        some.iter().for_each(|place| app.logs.remove(node, *place));
    }
    Ok(())
}

fn outgrown(node: &NodeId) -> String {
    format!("The log of node `{node}` outgrew its bounds; its replica is to be copied anew.")
}
