//! Requests that go to several nodes: legs, deadlines, fallbacks.
//!
//! `node_client` sends one request to one node, over a `node_stream` that it may find among the `idle_connections`. `read`
//! asks a covering set, of late legs other replicas as well (`hedging`, by the usual `leg_times`), and of failed ones others
//! instead; its `progress` is plain state. Each leg has its turn at the node's `gate`. Which replicas are asked is the `replica_choice`, by what the `load_board` knows.
//! `write` delivers one request of a write (who gets which, and what becomes of those that miss it, is in `writes`). Nothing
//! here knows what the bodies mean. `suspicions` are what answers suggest of nodes. `outlook` tells how a read would begin.

mod gate;
mod health_board;
mod hedging;
mod idle_connections;
mod leg_times;
mod load_board;
mod node_client;
mod node_keys;
mod node_stream;
mod outlook;
mod progress;
mod read;
mod replica_choice;
mod suspicions;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NodeId, NodeIndex, Topology};
use crate::error::ErrorBody;
use crate::metrics::Metrics;
use crate::peers::Lead;
use gate::Gate;
use hedging::Hedging;
use leg_times::LegTimesBoard;
use load_board::LoadBoard;
use replica_choice::ReplicaChoice;

pub use gate::AdmissionLimits;
pub use health_board::HealthBoard;
pub use hedging::HedgingLimits;
pub use node_client::{LegError, NodeAnswer, NodeClient, NodeRequest, CONNECT_TIMEOUT, IDLE_CONNECTION_TIMEOUT};
pub use node_keys::{is_refusal, PresentedKey};
pub use outlook::{NodeOutlook, Outlook};
pub use read::{Read, ReadKind, ReadLeg, ReadOutcome};
pub use replica_choice::{ChosenBy, Query, Strategy};
pub use suspicions::Suspicions;
pub use write::{Delivery, LateAnswer};

/// Limits of legs and reads.
#[derive(Clone, Copy, Debug)]
pub struct LegLimits {
    /// Deadline of a read's leg.
    pub read_timeout: Duration,
    /// Deadline of a write's leg: its body may be a hundred times larger than a read's.
    pub write_timeout: Duration,
    /// Time after which a read makes do with what it has.
    pub read_time_max: Duration,
    /// Whether a read whose leg timed out is tried on another replica.
    pub retry_on_timeout: bool,
}

/// How reads choose whom they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectionOptions {
    pub strategy: Strategy,
    /// Time after which a node's latencies and errors count half as much.
    pub half_life: Duration,
    /// Of 100 adaptive choices, so many are made at random.
    pub exploration_percent: u32,
}

/// Everything that a fan-out needs.
pub struct Scatter {
    pub cluster: Arc<Cluster>,
    pub nodes: Arc<NodeClient>,
    pub health: HealthBoard,
    pub limits: LegLimits,
    pub metrics: Arc<Metrics>,
    pub suspicions: Suspicions,
    /// Held while nodes may be given anything to write.
    pub lead: Lead,
    load: LoadBoard,
    choice: ReplicaChoice,
    hedging: Hedging,
    leg_times: LegTimesBoard,
    /// By node.
    gates: Vec<Gate>,
}

impl Scatter {
    pub fn new(
        topology: &Topology,
        (cluster, nodes, health, lead): (Arc<Cluster>, NodeClient, HealthBoard, Lead),
        limits: LegLimits,
        selection: SelectionOptions,
        hedging: HedgingLimits,
        admission: AdmissionLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let count = topology.nodes.len();
        let (now, initial) = (Instant::now(), admission.per_node.initial);
        for node in &topology.nodes {
            metrics.admission_limit.with_label_values(&[node.id.as_str()]).set(initial as i64);
        }
        Self {
            cluster,
            nodes: Arc::new(nodes),
            health,
            limits,
            metrics,
            suspicions: Suspicions::new(count),
            lead,
            load: LoadBoard::new(count, selection.half_life, initial),
            choice: ReplicaChoice::new(selection.strategy, selection.exploration_percent),
            hedging: Hedging::new(hedging),
            leg_times: LegTimesBoard::new(count),
            gates: (0..count).map(|_| Gate::new(admission, now)).collect(),
        }
    }
}

/// What is taken for an answer.
#[derive(Clone, Copy)]
enum Expected {
    Anything,
    /// What Meilisearch answers: a body that is accepted, or one of its errors.
    Meilisearchs(fn(&[u8]) -> bool),
}

impl Expected {
    /// Why an answer is none.
    fn objection(self, answer: &NodeAnswer) -> Option<&'static str> {
        let Expected::Meilisearchs(accepts) = self else { return None };
        let is_error = || serde_json::from_slice::<ErrorBody>(&answer.body).is_ok();
        match answer.status {
            200..=299 if !accepts(&answer.body) => Some("a body that is no answer"),
            200..=299 => None,
            // Load balancers and overloaded servers say this in their own words.
            503 => None,
            // It is the proxy that the node does not let in, not the client.
            401 | 403 => Some("that its key is another"),
            _ if !is_error() => Some("neither a result nor an error"),
            _ => None,
        }
    }
}

impl Scatter {
    /// Sends one leg, and keeps what it tells about the node's health and speed.
    async fn leg(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        deadline: Duration,
        repeatable: bool,
        expected: Expected,
    ) -> Result<NodeAnswer, LegError> {
        let started = Instant::now();
        let result = self.nodes.send(node, request, deadline, repeatable).await;
        self.judged(node, request, started, result, expected)
    }

    /// What a leg's end tells about the node's health and speed.
    fn judged(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        started: Instant,
        mut result: Result<NodeAnswer, LegError>,
        expected: Expected,
    ) -> Result<NodeAnswer, LegError> {
        if let Ok(answer) = &mut result {
            answer.took = started.elapsed();
        }
        let id = self.health.id(node);
        self.metrics.node_request_duration.with_label_values(&[id]).observe(started.elapsed().as_secs_f64());
        let result = result.and_then(|answer| match expected.objection(&answer) {
            None => Ok(answer),
            Some(what) => Err(LegError::Garbled { node: NodeId::new(id), status: answer.status, what }),
        });
        match &result {
            // Any answer shows a living node; a refusal because of load is load, not death.
            Ok(answer) if answer.status < 500 || answer.status == 503 => self.health.succeeded(node),
            // One that speaks for itself lives: were a query that breaks every node to count, it would fail the fleet.
            Ok(answer) => {
                log::warn!(
                    "node {id} answered {} {} with status {}",
                    request.method,
                    request.path_and_query,
                    answer.status
                );
                self.metrics.node_errors.with_label_values(&[id]).inc();
            }
            Err(error) => {
                log::warn!("{error} ({} {})", request.method, request.path_and_query);
                self.metrics.node_errors.with_label_values(&[id]).inc();
                self.health.failed(node, &self.cluster);
            }
        }
        result
    }

    /// One request to one node, outside of any index: checks, tasks, versions.
    pub async fn ask(&self, node: NodeIndex, request: &NodeRequest) -> Result<NodeAnswer, LegError> {
        self.leg(node, request, self.limits.read_timeout, true, Expected::Anything).await
    }
}
