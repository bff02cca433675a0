//! Requests that go to several nodes: legs, deadlines, fallbacks.
//!
//! `node_client` sends one request to one node, over a `node_stream` that it may find among the `idle_connections`; `read`
//! asks a covering set and falls back to other replicas; `write` delivers one request of a write (who gets which, and what
//! becomes of those that miss it, is in `writes`). Nothing here knows what the bodies mean.

mod health_board;
mod idle_connections;
mod node_client;
mod node_keys;
mod node_stream;
mod read;
mod write;

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Cluster, NodeIndex};
use crate::metrics::Metrics;

pub use health_board::HealthBoard;
pub use node_client::{LegError, NodeAnswer, NodeClient, NodeRequest, CONNECT_TIMEOUT, IDLE_CONNECTION_TIMEOUT};
pub use node_keys::{is_refusal, PresentedKey};
pub use read::{ReadLeg, ReadOutcome};
pub use write::Delivery;

/// Limits of one leg.
#[derive(Clone, Copy, Debug)]
pub struct LegLimits {
    /// Deadline of a read's leg.
    pub read_timeout: Duration,
    /// Deadline of a write's leg: its body may be a hundred times larger than a read's.
    pub write_timeout: Duration,
    /// Whether a read whose leg timed out is tried on another replica.
    pub retry_on_timeout: bool,
}

/// Everything that a fan-out needs.
pub struct Scatter {
    pub cluster: Arc<Cluster>,
    pub nodes: NodeClient,
    pub health: HealthBoard,
    pub limits: LegLimits,
    pub metrics: Arc<Metrics>,
}

impl Scatter {
    /// Sends one leg, and keeps what it tells about the node's health and speed.
    async fn leg(
        &self,
        node: NodeIndex,
        request: &NodeRequest,
        deadline: Duration,
        repeatable: bool,
    ) -> Result<NodeAnswer, LegError> {
        let started = std::time::Instant::now();
        let mut result = self.nodes.send(node, request, deadline, repeatable).await;
        if let Ok(answer) = &mut result {
            answer.took = started.elapsed();
        }
        let id = self.health.id(node);
        self.metrics.node_request_duration.with_label_values(&[id]).observe(started.elapsed().as_secs_f64());
        match &result {
            // Any answer shows a living node; a refusal because of load is load, not death.
            Ok(answer) if answer.status < 500 || answer.status == 503 => self.health.succeeded(node),
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
        self.leg(node, request, self.limits.read_timeout, true).await
    }
}
