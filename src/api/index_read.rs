//! A read of one index: which of its shards are asked, and what may be lacking of the answers.

use super::restriction;
use crate::app::App;
use crate::cluster::{CoveringLeg, Index, Shard, Snapshot};
use crate::conf::UnavailableShardPolicy;
use crate::error::{ApiError, Code};
use crate::filter::narrowing::Narrowing;
use crate::merge::Leg;
use crate::scatter::{NodeRequest, Outlook, Query, Read, ReadKind, ReadOutcome};

/// What all legs of a read share. Every reader of an index's documents goes through it: searches and each of their stages,
/// facet searches, lists of documents.
pub struct IndexRead<'a> {
    pub app: &'a App,
    pub snapshot: &'a Snapshot,
    pub index: &'a Index,
    /// The shards that are asked, ascending; what the others hold cannot be part of the answer.
    pub shards: Vec<Shard>,
    /// Chooses between equal replicas: the same for all that must come from the same ones.
    pub seed: u64,
}

impl<'a> IndexRead<'a> {
    pub fn of_all_shards(app: &'a App, snapshot: &'a Snapshot, index: &'a Index, seed: u64) -> Self {
        let shards = snapshot.placement(index.shard_count).shards().collect();
        Self { app, snapshot, index, shards, seed }
    }

    /// The same read of those shards only in which its filter can match anything.
    #[must_use]
    pub fn narrowed(mut self, narrowing: &Narrowing) -> Self {
        let outcome = match narrowing {
            Narrowing::Shards { shards, .. } => {
                self.shards = shards.iter().collect();
                "narrowed"
            }
            Narrowing::No(reason) => reason.name(),
        };
        if self.shards.is_empty() {
            // Nothing can match. Some node must say so, or that it does not accept the request.
            self.shards = vec![Shard((self.seed % u64::from(self.index.shard_count)) as u32)];
        }
        self.app.metrics.query_plan_narrowing.with_label_values(&[outcome]).inc();
        self
    }

    /// The same read of all shards: what is counted over the index as a whole knows no filter.
    pub fn over_all_shards(&self) -> Self {
        Self::of_all_shards(self.app, self.snapshot, self.index, self.seed)
    }

    /// Whether a leg with these shards has all that is asked for, so that its node answers alone.
    pub fn is_whole(&self, leg: &[Shard]) -> bool {
        leg.len() == self.shards.len()
    }

    /// Whether every node holds the whole index, so that each decides as all would together.
    pub fn is_whole_on_every_node(&self) -> bool {
        let placement = self.snapshot.placement(self.index.shard_count);
        let all = self.index.shard_count as usize;
        self.snapshot.topology.node_indexes().all(|node| placement.shards_of(node).len() == all)
    }

    /// Asks one replica of each shard. `kind` tells these legs from others (see `read_kinds`). `request_for` makes a node's
    /// request, restricted to the shards that it is given; to
    /// none if the node holds just those it is asked for. Returns the legs by their lowest shard, and the shards that could
    /// not be had, if `unavailable_shard_policy` lets them be missing.
    pub async fn legs(
        &self,
        kind: ReadKind,
        request_for: impl Fn(Option<&[Shard]>) -> NodeRequest,
    ) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
        self.legs_of(kind, &self.shards, |_, restriction| request_for(restriction)).await
    }

    /// The same for some of the shards. `request_for` is also given all shards of its leg.
    pub async fn legs_of(
        &self,
        kind: ReadKind,
        shards: &[Shard],
        request_for: impl Fn(&[Shard], Option<&[Shard]>) -> NodeRequest,
    ) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
        let outcome = self.outcome(kind, shards, request_for).await?;
        let legs = outcome.legs.into_iter().map(|leg| Leg { shards: leg.shards, body: leg.answer.body });
        Ok((legs.collect(), outcome.missing))
    }

    /// The same, with who answered.
    pub async fn outcome(
        &self,
        kind: ReadKind,
        shards: &[Shard],
        request_for: impl Fn(&[Shard], Option<&[Shard]>) -> NodeRequest,
    ) -> Result<ReadOutcome, ApiError> {
        let Self { app, snapshot, index, seed, .. } = self;
        let request_for = |leg: &CoveringLeg| request_for(&leg.shards, self.restriction(leg));
        let query = Query { snapshot, index, shards, fingerprint: *seed };
        complete_enough(app, snapshot, app.scatter.read(Read { query, kind }, request_for).await?)
    }

    /// Who would be asked first, and why.
    pub fn outlook(&self, kind: ReadKind) -> Outlook {
        let Self { app, snapshot, index, shards, seed } = self;
        app.scatter.outlook(&Query { snapshot, index, shards, fingerprint: *seed }, kind)
    }

    /// The shards that a leg's filter must name, if any.
    pub fn restriction<'l>(&self, leg: &'l CoveringLeg) -> Option<&'l [Shard]> {
        restriction::needed(self.snapshot, self.index.shard_count, leg)
    }
}

/// Applies `unavailable_shard_policy` to a read that lacks shards. A read that lacks all of them is refused in any case.
fn complete_enough(app: &App, snapshot: &Snapshot, outcome: ReadOutcome) -> Result<ReadOutcome, ApiError> {
    if outcome.missing.is_empty() {
        return Ok(outcome);
    }
    // Whoever asks for fresh settings does not want an answer from fewer shards.
    if let Some(floor) = snapshot.settings_floor() {
        return Err(settings_stale(floor));
    }
    app.metrics.scatter_partial_responses.inc();
    app.metrics.degraded_shards.inc_by(outcome.missing.len() as u64);
    let refuse = app.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
    if refuse || outcome.legs.is_empty() {
        return Err(shards_unavailable(&outcome.missing));
    }
    Ok(outcome)
}

pub fn settings_stale(floor: u64) -> ApiError {
    let message = format!("Too few nodes are known to have version {floor} of the index's settings, or a later one.");
    ApiError::new(Code::MiroirSettingsVersionStale, message)
}

pub fn shards_unavailable(missing: &[Shard]) -> ApiError {
    let list: Vec<String> = missing.iter().map(Shard::to_string).collect();
    let message = format!("No replica can be reached for the shards {}.", list.join(", "));
    ApiError::new(Code::MiroirShardUnavailable, message)
}
