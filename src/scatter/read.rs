//! A read over a covering set: legs to all its nodes at once, second legs for late ones, other replicas for failed ones.
//!
//! Everything that was started is owned by the read: whoever drops it drops its legs. Nothing is spawned.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::StreamExt;
use pingora::time::timeout;

use super::gate::Turn;
use super::leg_times::LegTimes;
use super::progress::{LegNumber, Progress, Use};
use super::replica_choice::{ChosenBy, Query};
use super::{Expected, LegError, NodeAnswer, NodeRequest, Scatter};
use crate::cluster::{CoveringLeg, CoveringSet, Index, NodeIndex, Shard, Snapshot};
use crate::error::{ApiError, Code};

/// What a read asks for, as far as its legs must be told from others and their answers from nonsense.
#[derive(Clone, Copy, Debug)]
pub struct ReadKind {
    /// Reads of one kind take about as long as each other.
    pub name: &'static str,
    /// Whether a body is what a node answers to such a read. A leg whose answer is not is tried on another replica, so this
    /// must see what a merge would stumble over. It runs for every leg: some microseconds.
    pub accepts: fn(&[u8]) -> bool,
}

/// A read of some shards of one index.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    pub query: Query<'a>,
    pub kind: ReadKind,
}

/// A leg that was answered.
#[derive(Debug)]
pub struct ReadLeg {
    pub node: NodeIndex,
    pub shards: Vec<Shard>,
    pub answer: NodeAnswer,
}

/// What a read brought in: the legs with success, and the shards that nobody could answer for.
#[derive(Debug, Default)]
pub struct ReadOutcome {
    /// Ordered by their lowest shard.
    pub legs: Vec<ReadLeg>,
    pub missing: Vec<Shard>,
}

/// Why a leg brought nothing.
enum LegFault {
    /// The node blames the request, as every other would.
    Refused(ApiError),
    /// The node lacks the index: it has not made it yet, has deleted it already, or has lost it.
    Absent(ApiError),
    /// The node is too busy: load, not death.
    Busy(ApiError),
    TimedOut,
    Failed,
}

/// How long a node is left alone that is too busy and does not say for how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

type LegResult = Result<NodeAnswer, LegFault>;

impl Scatter {
    /// The covering set that a read of this query begins with, and what it was chosen by.
    pub(super) fn choose(&self, query: &Query<'_>) -> (CoveringSet, ChosenBy) {
        let now = Instant::now();
        self.choice.choose(query, &self.load.scores(now), now)
    }

    /// Asks one replica of each shard. `request_for` makes the request for a leg; it must only repeat safely.
    ///
    /// A leg that is late is asked for a second time elsewhere, within the budget for that. One that fails goes to the other
    /// replicas of its shards, in its own group and then in others, each node being tried once, until the read's time is up. An
    /// answer that blames the request (4xx) is every node's answer and ends the read with it, unless the node lacks the index.
    pub async fn read(
        &self,
        read: Read<'_>,
        request_for: impl Fn(&CoveringLeg) -> NodeRequest,
    ) -> Result<ReadOutcome, ApiError> {
        let (CoveringSet { mut legs, missing }, chosen_by) = self.choose(&read.query);
        self.metrics.replica_selections.with_label_values(&[chosen_by.name()]).inc();
        let CoveringSet { legs: recovered, missing } = self.since_recovered(&read.query, missing, &[]);
        legs.extend(recovered);
        self.metrics.scatter_fan_out_size.observe(legs.len() as f64);
        let times = self.leg_times.of(&read.query.index.node_uid, read.kind.name);
        let times = times.as_ref();
        let ends = Instant::now() + self.limits.read_time_max;
        let mut run = Run {
            scatter: self,
            read,
            times,
            ends,
            progress: Progress::new(),
            due: Vec::new(),
            missing,
            unusable: Vec::new(),
            absent: None,
            refused_for_load: None,
            hedges: 0,
        };
        let launch = |(number, leg): (LegNumber, CoveringLeg)| {
            let request = request_for(&leg);
            async move { (number, self.read_leg(leg.node, request, read.kind, ends, times).await) }
        };
        let mut under_way: FuturesUnordered<_> = run.begin(legs).into_iter().map(launch).collect();
        // Ends: legs end by their deadlines, and further ones go to nodes that were not tried.
        while !run.progress.is_complete() {
            let due = run.next_due();
            let advance = run.advance(&mut under_way);
            let further = match due {
                None => advance.await?,
                Some(due) => match timeout(due.saturating_duration_since(Instant::now()), advance).await {
                    Ok(further) => further?,
                    Err(_) => run.hedge_late_legs(),
                },
            };
            under_way.extend(further.into_iter().map(launch));
            if under_way.is_empty() {
                break;
            }
        }
        run.outcome()
    }

    /// Who has come back since the read's snapshot was taken, for `shards` that nobody else has: while a read goes on, one
    /// replica may recover and another one die. Only as long as the index is still what the read began with.
    fn since_recovered(&self, query: &Query<'_>, shards: Vec<Shard>, unusable: &[NodeIndex]) -> CoveringSet {
        if shards.is_empty() {
            return CoveringSet::default();
        }
        let Some((snapshot, index)) = self.newest_view(query.snapshot, query.index) else {
            return CoveringSet { legs: Vec::new(), missing: shards };
        };
        let query = Query { snapshot: &snapshot, index: &index, shards: &shards, ..*query };
        self.choice.choose_again(&query, &self.load.scores(Instant::now()), unusable)
    }

    /// The newest snapshot, for a request that began with an earlier one and finds nobody in it any more; `None` if there is no
    /// newer one, or if the index is not what the request began with.
    pub fn newest_view(&self, began: &Snapshot, index: &Index) -> Option<(Arc<Snapshot>, Arc<Index>)> {
        let newest = self.cluster.snapshot();
        if newest.epoch == began.epoch {
            return None;
        }
        let now = newest.index(&index.uid)?;
        if now.node_uid != index.node_uid || now.settings_version != index.settings_version {
            return None;
        }
        let now = Arc::clone(now);
        let view = match began.settings_floor() {
            None => newest,
            Some(floor) => Arc::new(newest.with_settings_floor(&now, floor)?),
        };
        Some((view, now))
    }

    /// One leg of a read: counted while it is under way, and judged by what comes back.
    async fn read_leg(
        &self,
        node: NodeIndex,
        request: NodeRequest,
        kind: ReadKind,
        ends: Instant,
        times: &LegTimes,
    ) -> LegResult {
        let mut leg = self.load.begin(node, Some(times));
        let turn = match self.turn(node).await {
            Ok(turn) => turn,
            Err(refusal) => {
                leg.ended();
                return Err(LegFault::Busy(refusal));
            }
        };
        let sent = Instant::now();
        leg.sent(sent);
        let time_max = self.limits.read_timeout.min(ends.saturating_duration_since(sent));
        let result = self.leg(node, &request, time_max, true, Expected::Meilisearchs(kind.accepts)).await;
        let now = Instant::now();
        match result {
            Ok(answer) if answer.is_success() => {
                let latency = leg.answered(now);
                self.keep_limit(node, turn.answered(latency, now));
                Ok(answer)
            }
            Ok(answer) if answer.status < 500 => {
                leg.ended();
                let error = ApiError::from_node(answer.status, &answer.body);
                if !error.is(Code::IndexNotFound) {
                    return Err(LegFault::Refused(error));
                }
                self.suspicions.raise(node);
                Err(LegFault::Absent(error))
            }
            Ok(answer) if answer.status == 503 => {
                leg.ended();
                self.keep_limit(node, turn.overloaded());
                self.load.back_off(node, answer.retry_after.unwrap_or(RETRY_AFTER_DEFAULT), now);
                Err(LegFault::Busy(ApiError::from_node(answer.status, &answer.body)))
            }
            Err(LegError::Timeout { .. }) => {
                leg.timed_out(now);
                self.keep_limit(node, turn.overloaded());
                Err(LegFault::TimedOut)
            }
            Ok(_) | Err(_) => {
                leg.failed(now);
                Err(LegFault::Failed)
            }
        }
    }

    /// Waits for a leg's turn at a node, or says that the client should come back.
    async fn turn(&self, node: NodeIndex) -> Result<Turn<'_>, ApiError> {
        let gate = &self.gates[node.0 as usize];
        if !gate.has_room() {
            self.metrics.admission_waits.with_label_values(&[self.health.id(node)]).inc();
        }
        gate.turn().await.map_err(|no_turn| {
            self.metrics.admission_refused.with_label_values(&[self.health.id(node), no_turn.name()]).inc();
            ApiError::new(Code::MiroirTooBusy, "Too many searches are under way; come back later.")
        })
    }

    /// Notes a limit that has changed.
    fn keep_limit(&self, node: NodeIndex, changed: Option<usize>) {
        if let Some(limit) = changed {
            self.load.set_limit(node, limit);
            self.metrics.admission_limit.with_label_values(&[self.health.id(node)]).set(limit as i64);
        }
    }

    /// Asks one node after the other until one answers; for requests that any of them can answer.
    pub async fn first_answer(&self, candidates: &[NodeIndex], request: &NodeRequest) -> Result<NodeAnswer, ApiError> {
        let mut last = ApiError::new(Code::MiroirShardUnavailable, "No node can be reached.");
        for &node in candidates {
            match self.leg(node, request, self.limits.read_timeout, true, Expected::Meilisearchs(|_| true)).await {
                Ok(answer) if answer.is_success() => return Ok(answer),
                Ok(answer) if answer.status < 500 => return Err(ApiError::from_node(answer.status, &answer.body)),
                Ok(answer) => last = ApiError::from_node(answer.status, &answer.body),
                Err(error) => last = ApiError::new(Code::MiroirShardUnavailable, format!("No node answers: {error}.")),
            }
        }
        Err(last)
    }
}

/// A read under way, but for its legs' futures.
struct Run<'a> {
    scatter: &'a Scatter,
    read: Read<'a>,
    times: &'a LegTimes,
    /// When the read gives up.
    ends: Instant,
    progress: Progress<NodeAnswer>,
    /// By number of the leg: when it is late.
    due: Vec<Option<Instant>>,
    missing: Vec<Shard>,
    /// Nodes that have failed a leg of this read, or were too busy for it.
    unusable: Vec<NodeIndex>,
    absent: Option<ApiError>,
    refused_for_load: Option<ApiError>,
    hedges: u32,
}

/// Legs that are to be sent.
type Further = Vec<(LegNumber, CoveringLeg)>;

impl Run<'_> {
    /// Awaits answers from the nodes of these legs.
    fn begin(&mut self, legs: Vec<CoveringLeg>) -> Further {
        self.scatter.hedging.earn(legs.len());
        let now = Instant::now();
        let trigger = |leg: &CoveringLeg| self.scatter.hedging.trigger(self.times, leg.node);
        self.due.extend(legs.iter().map(|leg| trigger(leg).map(|trigger| now + trigger)));
        self.progress.begin(&legs).zip(legs).collect()
    }

    /// When the next leg will be late.
    fn next_due(&self) -> Option<Instant> {
        self.progress.awaited().filter_map(|awaited| self.due[awaited.leg.index()]).min()
    }

    /// Takes outcomes of legs until the read is complete or further legs are needed.
    async fn advance<F>(&mut self, under_way: &mut FuturesUnordered<F>) -> Result<Further, ApiError>
    where
        F: Future<Output = (LegNumber, LegResult)>,
    {
        while !self.progress.is_complete() {
            let Some((leg, result)) = under_way.next().await else { break };
            let further = match result {
                Ok(answer) => self.take_answer(leg, answer),
                Err(fault) if self.progress.matters(leg) => self.take_fault(leg, fault)?,
                Err(_) => Further::new(),
            };
            if !further.is_empty() {
                return Ok(further);
            }
        }
        Ok(Further::new())
    }

    fn take_answer(&mut self, leg: LegNumber, answer: NodeAnswer) -> Further {
        match self.progress.answered(leg, answer) {
            Use::BeatLeg => self.scatter.metrics.hedges.with_label_values(&["won"]).inc(),
            Use::BeatHedge => self.scatter.metrics.hedges.with_label_values(&["lost"]).inc(),
            Use::Taken | Use::None => {}
        }
        Further::new()
    }

    /// Sends the shards of a failed leg elsewhere.
    fn take_fault(&mut self, leg: LegNumber, fault: LegFault) -> Result<Further, ApiError> {
        let is_final = matches!(fault, LegFault::TimedOut) && !self.scatter.limits.retry_on_timeout;
        match fault {
            LegFault::Refused(error) => return Err(error),
            LegFault::Absent(error) => self.absent = Some(error),
            LegFault::Busy(error) => self.refused_for_load = Some(error),
            LegFault::TimedOut | LegFault::Failed => {}
        }
        self.unusable.push(self.progress.node(leg));
        let shards = self.progress.failed(leg);
        if shards.is_empty() {
            return Ok(Further::new());
        }
        if is_final || Instant::now() >= self.ends {
            self.missing.extend(shards);
            return Ok(Further::new());
        }
        let CoveringSet { mut legs, missing } = self.elsewhere(&shards, &[]);
        let CoveringSet { legs: recovered, missing } =
            self.scatter.since_recovered(&self.read.query, missing, &self.unusable);
        legs.extend(recovered);
        self.missing.extend(missing);
        self.scatter.metrics.scatter_retries.inc_by(legs.len() as u64);
        Ok(self.begin(legs))
    }

    /// Who has these shards, but for the nodes that cannot be used, and `not`.
    fn elsewhere(&self, shards: &[Shard], not: &[NodeIndex]) -> CoveringSet {
        let query = Query { shards, ..self.read.query };
        let unusable: Vec<NodeIndex> = self.unusable.iter().chain(not).copied().collect();
        self.scatter.choice.choose_again(&query, &self.scatter.load.scores(Instant::now()), &unusable)
    }

    /// Asks other nodes for what late legs were to bring, where that is possible and within the budget.
    fn hedge_late_legs(&mut self) -> Further {
        let now = Instant::now();
        let is_late = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let late: Vec<(LegNumber, NodeIndex, Vec<Shard>)> = self
            .progress
            .awaited()
            .filter(|awaited| is_late(self.due[awaited.leg.index()]))
            .map(|awaited| (awaited.leg, awaited.node, awaited.shards.to_vec()))
            .collect();
        let nodes: Vec<NodeIndex> = late.iter().map(|(_, node, _)| *node).collect();
        let mut further = Further::new();
        for (leg, _, shards) in late {
            let (pieces, outcome) = match self.hedge_of(&shards, &nodes) {
                Ok(pieces) => (pieces, "sent"),
                Err(why) => (Vec::new(), why),
            };
            self.hedges += u32::from(!pieces.is_empty());
            self.scatter.metrics.hedges.with_label_values(&[outcome]).inc();
            self.scatter.metrics.hedge_legs.inc_by(pieces.len() as u64);
            let numbers = self.progress.hedge(leg, &pieces);
            further.extend(numbers.zip(pieces));
        }
        self.due.resize(self.progress.legs(), None);
        further
    }

    /// The legs of a hedge, as many as it takes, or why there is none.
    fn hedge_of(&self, shards: &[Shard], late: &[NodeIndex]) -> Result<Vec<CoveringLeg>, &'static str> {
        if self.hedges >= self.scatter.hedging.limits.per_query_max {
            return Err("query_limit");
        }
        let CoveringSet { legs, missing } = self.elsewhere(shards, late);
        let scores = self.scatter.load.scores(Instant::now());
        if !missing.is_empty() {
            return Err("no_replica");
        }
        let has_room = |leg: &CoveringLeg| self.scatter.gates[leg.node.0 as usize].has_room();
        if !legs.iter().all(|leg| has_room(leg) && !scores.is_avoided(leg.node)) {
            return Err("replica_busy");
        }
        if !self.scatter.hedging.spend(legs.len()) {
            return Err("budget");
        }
        Ok(legs)
    }

    fn outcome(mut self) -> Result<ReadOutcome, ApiError> {
        // A node that lives and is too busy: the client should come back, not take half an answer. One that lacks the index, and no
        // other has it either: it is being made, or deleted.
        match self.refused_for_load.take().or(self.absent.take()) {
            Some(error) if !self.missing.is_empty() => return Err(error),
            _ => {}
        }
        let answers = self.progress.into_answers().into_iter();
        let mut legs: Vec<ReadLeg> = answers.map(|(node, shards, answer)| ReadLeg { node, shards, answer }).collect();
        legs.sort_by_key(|leg| leg.shards[0]);
        self.missing.sort_unstable();
        Ok(ReadOutcome { legs, missing: self.missing })
    }
}
