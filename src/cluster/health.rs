//! When a node counts as failed, and when it is back: a state machine fed by checks and by live traffic.

/// State of one node. `joining`, `recovering` and `draining` come with moves and replica logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Active,
    Failed,
}

impl NodeState {
    pub fn serves_reads(self) -> bool {
        self == NodeState::Active
    }

    pub fn takes_writes(self) -> bool {
        self == NodeState::Active
    }

    pub fn name(self) -> &'static str {
        match self {
            NodeState::Active => "active",
            NodeState::Failed => "failed",
        }
    }
}

/// Consecutive results that flip a node's state.
#[derive(Clone, Copy, Debug)]
pub struct HealthThresholds {
    pub failures_to_fail: u32,
    pub successes_to_recover: u32,
}

/// One node's recent evidence.
///
/// Live traffic counts as evidence of failure as checks do, so that a dead node is noticed within a few requests instead
/// of a few check intervals. Only checks bring a node back: a failed node gets no traffic.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    state: NodeState,
    failures: u32,
    successes: u32,
}

impl NodeHealth {
    pub fn new() -> Self {
        Self { state: NodeState::Active, failures: 0, successes: 0 }
    }

    pub fn state(&self) -> NodeState {
        self.state
    }

    /// Takes one result in; returns the new state if it changed.
    pub fn observe(&mut self, healthy: bool, thresholds: HealthThresholds) -> Option<NodeState> {
        (self.failures, self.successes) =
            if healthy { (0, self.successes.saturating_add(1)) } else { (self.failures.saturating_add(1), 0) };
        let next = match self.state {
            NodeState::Active if self.failures >= thresholds.failures_to_fail => NodeState::Failed,
            NodeState::Failed if self.successes >= thresholds.successes_to_recover => NodeState::Active,
            unchanged => unchanged,
        };
        let changed = next != self.state;
        self.state = next;
        changed.then_some(next)
    }
}

impl Default for NodeHealth {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: HealthThresholds = HealthThresholds { failures_to_fail: 3, successes_to_recover: 2 };

    fn run(results: &[bool]) -> Vec<Option<NodeState>> {
        let mut health = NodeHealth::new();
        results.iter().map(|&healthy| health.observe(healthy, THRESHOLDS)).collect()
    }

    #[test]
    fn three_failures_in_a_row_fail_a_node_and_two_successes_bring_it_back() {
        let changes = run(&[false, false, false, false, true, true]);
        assert_eq!(changes, [None, None, Some(NodeState::Failed), None, None, Some(NodeState::Active)]);
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        assert_eq!(run(&[false, false, true, false, false, true]), [None; 6]);
    }

    #[test]
    fn a_flapping_node_stays_failed() {
        let mut health = NodeHealth::new();
        for _ in 0..3 {
            health.observe(false, THRESHOLDS);
        }
        for _ in 0..10 {
            assert_eq!(health.observe(true, THRESHOLDS), None);
            assert_eq!(health.observe(false, THRESHOLDS), None);
        }
        assert_eq!(health.state(), NodeState::Failed);
    }
}
