//! A read of one index: which of its shards are asked, and what may be lacking of the answers.

use super::restriction;
use crate::app::App;
use crate::cluster::{CoveringLeg, Index, Shard, Snapshot};
use crate::conf::UnavailableShardPolicy;
use crate::error::{ApiError, Code};
use crate::merge::Leg;
use crate::scatter::{NodeRequest, ReadOutcome};

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

    /// Asks one replica of each shard. `request_for` makes a node's request, restricted to the shards that it is given; to
    /// none if the node holds just those it is asked for. Returns the legs by their lowest shard, and the shards that could
    /// not be had, if `unavailable_shard_policy` lets them be missing.
    pub async fn legs(
        &self,
        request_for: impl Fn(Option<&[Shard]>) -> NodeRequest,
    ) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
        self.legs_of(&self.shards, |_, restriction| request_for(restriction)).await
    }

    /// The same for some of the shards. `request_for` is also given all shards of its leg.
    pub async fn legs_of(
        &self,
        shards: &[Shard],
        request_for: impl Fn(&[Shard], Option<&[Shard]>) -> NodeRequest,
    ) -> Result<(Vec<Leg>, Vec<Shard>), ApiError> {
        let Self { app, snapshot, index, seed, .. } = self;
        let request_for =
            |leg: &CoveringLeg| request_for(&leg.shards, restriction::needed(snapshot, index.shard_count, leg));
        let outcome = app.scatter.read(snapshot, index, shards, *seed, request_for).await?;
        let outcome = complete_enough(app, outcome)?;
        let legs = outcome.legs.into_iter().map(|leg| Leg { shards: leg.shards, body: leg.answer.body });
        Ok((legs.collect(), outcome.missing))
    }
}

/// Applies `unavailable_shard_policy` to a read that lacks shards. A read that lacks all of them is refused in any case.
fn complete_enough(app: &App, outcome: ReadOutcome) -> Result<ReadOutcome, ApiError> {
    if outcome.missing.is_empty() {
        return Ok(outcome);
    }
    app.metrics.scatter_partial_responses.inc();
    app.metrics.degraded_shards.inc_by(outcome.missing.len() as u64);
    let refuse = app.config.scatter.unavailable_shard_policy == UnavailableShardPolicy::Error;
    if refuse || outcome.legs.is_empty() {
        return Err(shards_unavailable(&outcome.missing));
    }
    Ok(outcome)
}

pub fn shards_unavailable(missing: &[Shard]) -> ApiError {
    let list: Vec<String> = missing.iter().map(Shard::to_string).collect();
    let message = format!("No replica can be reached for the shards {}.", list.join(", "));
    ApiError::new(Code::MiroirShardUnavailable, message)
}
