//! A read over a covering set, with fallback to other replicas.

use futures_util::future::join_all;

use super::{LegError, NodeAnswer, NodeRequest, Scatter};
use crate::cluster::{CoveringLeg, CoveringSet, Index, NodeIndex, Shard, Snapshot};
use crate::error::{ApiError, Code};

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

impl Scatter {
    /// Asks one replica of each shard. `request_for` makes the request for a leg; it must only repeat safely.
    ///
    /// A leg that fails goes to the other replicas of its shards, in its own group and then in others, each node being tried
    /// once. An answer that blames the request (4xx) is every node's answer and ends the read with it.
    pub async fn read(
        &self,
        snapshot: &Snapshot,
        index: &Index,
        shards: &[Shard],
        seed: u64,
        request_for: impl Fn(&CoveringLeg) -> NodeRequest,
    ) -> Result<ReadOutcome, ApiError> {
        let mut outcome = ReadOutcome::default();
        let mut unusable: Vec<NodeIndex> = Vec::new();
        let mut refused_for_load = None;
        let mut wanted = shards.to_vec();
        // Ends: every further turn has at least one more node that is unusable.
        while !wanted.is_empty() {
            let set = CoveringSet::choose(snapshot, index, &wanted, seed, &unusable);
            outcome.missing.extend(set.missing);
            self.metrics.scatter_fan_out_size.observe(set.legs.len() as f64);
            let requests: Vec<NodeRequest> = set.legs.iter().map(&request_for).collect();
            let answers = join_all(
                set.legs
                    .iter()
                    .zip(&requests)
                    .map(|(leg, request)| self.leg(leg.node, request, self.limits.read_timeout, true)),
            )
            .await;
            wanted.clear();
            for (leg, answer) in set.legs.into_iter().zip(answers) {
                match answer {
                    Ok(answer) if answer.is_success() => {
                        outcome.legs.push(ReadLeg { node: leg.node, shards: leg.shards, answer });
                        continue;
                    }
                    Ok(answer) if answer.status < 500 => return Err(ApiError::from_node(answer.status, &answer.body)),
                    Ok(answer) if answer.status == 503 => {
                        refused_for_load = Some(ApiError::from_node(answer.status, &answer.body));
                    }
                    Err(LegError::Timeout { .. }) if !self.limits.retry_on_timeout => {
                        outcome.missing.extend(&leg.shards);
                        continue;
                    }
                    Ok(_) | Err(_) => {}
                }
                self.metrics.scatter_retries.inc();
                unusable.push(leg.node);
                wanted.extend(&leg.shards);
            }
            wanted.sort_unstable();
        }
        if let (Some(error), false) = (refused_for_load, outcome.missing.is_empty()) {
            // The node lives but is too busy: the client should come back, not take half an answer.
            return Err(error);
        }
        outcome.legs.sort_by_key(|leg| leg.shards[0]);
        outcome.missing.sort_unstable();
        Ok(outcome)
    }

    /// Asks one node after the other until one answers; for requests that any of them can answer.
    pub async fn first_answer(&self, candidates: &[NodeIndex], request: &NodeRequest) -> Result<NodeAnswer, ApiError> {
        let mut last = ApiError::new(Code::MiroirShardUnavailable, "No node can be reached.");
        for &node in candidates {
            match self.ask(node, request).await {
                Ok(answer) if answer.is_success() => return Ok(answer),
                Ok(answer) if answer.status < 500 => return Err(ApiError::from_node(answer.status, &answer.body)),
                Ok(answer) => last = ApiError::from_node(answer.status, &answer.body),
                Err(error) => last = ApiError::new(Code::MiroirShardUnavailable, format!("No node answers: {error}.")),
            }
        }
        Err(last)
    }
}
