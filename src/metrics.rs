//! What Miroir counts, in one registry. Labels are bounded: node ids, route templates, status codes.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Upper bounds of the latency histograms, in seconds: from a merge in memory to a request's longest deadline.
const LATENCY_BUCKETS_S: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds of the histogram of writes in one request to a node.
const SHARED_BY_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of the fan-out histogram, in legs.
const FAN_OUT_BUCKETS: [f64; 8] = [1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 32.0, 64.0];

pub struct Metrics {
    registry: Registry,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub requests_in_flight: IntGauge,
    pub node_healthy: IntGaugeVec,
    pub node_request_duration: HistogramVec,
    pub node_errors: IntCounterVec,
    pub scatter_fan_out_size: Histogram,
    pub scatter_partial_responses: IntCounter,
    pub scatter_retries: IntCounter,
    pub replica_selections: IntCounterVec,
    pub hedges: IntCounterVec,
    pub hedge_legs: IntCounter,
    pub query_coalesce: IntCounterVec,
    pub admission_limit: IntGaugeVec,
    pub admission_refused: IntCounterVec,
    pub admission_waits: IntCounterVec,
    pub degraded_shards: IntCounter,
    pub tasks: IntCounterVec,
    pub writes_per_request: Histogram,
    pub task_registry_unfinished: IntGauge,
    pub replica_log_entries: IntGaugeVec,
    pub node_data_lost: IntCounterVec,
    pub idempotency_requests: IntCounterVec,
    pub query_plan_narrowing: IntCounterVec,
    pub alias_changes: IntCounterVec,
    pub rollovers: IntCounterVec,
    pub rollover_deletions: IntCounter,
    pub rollover_failures: IntCounterVec,
    pub rollover_policies: IntGauge,
    pub settings_changes: IntCounterVec,
    pub settings_drift: IntCounter,
    pub settings_drift_checks: IntCounter,
    pub leader: IntGauge,
    pub peer_count: IntGauge,
    pub settings_repairs: IntCounterVec,
    pub settings_diverged: IntGauge,
    pub webhook_calls: IntCounterVec,
    pub webhook_given_up: IntCounter,
    pub webhook_waiting: IntGauge,
    pub query_plan_one_node: IntCounter,
    pub explain_requests: IntCounterVec,
    pub search_ui_sessions: IntCounterVec,
    pub admin_ui_logins: IntCounterVec,
    pub ttl_sweeps: IntCounterVec,
    pub ttl_sweep_duration: Histogram,
    pub ttl_deleted: IntCounter,
    pub ttl_spared: IntCounter,
    pub ttl_overdue_indexes: IntGauge,
}

impl Metrics {
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram =
            |name: &str, help: &str, buckets: &[f64]| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("miroir_requests_total", "Requests by method, route and status"),
                &["method", "path", "status"],
            )?,
            request_duration: HistogramVec::new(
                histogram("miroir_request_duration_seconds", "Time to answer a request", &LATENCY_BUCKETS_S),
                &["method", "path"],
            )?,
            requests_in_flight: IntGauge::new("miroir_requests_in_flight", "Requests being answered")?,
            node_healthy: IntGaugeVec::new(Opts::new("miroir_node_healthy", "1 while a node is active"), &["node"])?,
            node_request_duration: HistogramVec::new(
                histogram("miroir_node_request_duration_seconds", "Time of one leg", &LATENCY_BUCKETS_S),
                &["node"],
            )?,
            node_errors: IntCounterVec::new(
                Opts::new("miroir_node_errors_total", "Legs without an answer or with a server error"),
                &["node"],
            )?,
            scatter_fan_out_size: Histogram::with_opts(histogram(
                "miroir_scatter_fan_out_size",
                "Legs of a read",
                &FAN_OUT_BUCKETS,
            ))?,
            scatter_partial_responses: IntCounter::new(
                "miroir_scatter_partial_responses_total",
                "Reads that were answered without some shards",
            )?,
            scatter_retries: IntCounter::new(
                "miroir_scatter_retries_total",
                "Legs that were tried on another replica",
            )?,
            replica_selections: IntCounterVec::new(
                Opts::new(
                    "miroir_replica_selection_choices_total",
                    "Reads by what chose their replicas: memory, load, turn, chance",
                ),
                &["by"],
            )?,
            hedges: IntCounterVec::new(
                Opts::new(
                    "miroir_hedge_total",
                    "Late legs: asked for elsewhere too (sent; then won or lost), or not (query_limit, no_replica, \
                     replica_busy, budget)",
                ),
                &["outcome"],
            )?,
            hedge_legs: IntCounter::new("miroir_hedge_legs_total", "Requests to nodes that were hedges")?,
            query_coalesce: IntCounterVec::new(
                Opts::new(
                    "miroir_query_coalesce_requests_total",
                    "Searches: leader (carried out), waiter (shared another's answer); abandoned by a leader while waiting",
                ),
                &["part"],
            )?,
            admission_limit: IntGaugeVec::new(
                Opts::new("miroir_admission_limit", "Reads that a node is given at a time"),
                &["node"],
            )?,
            admission_refused: IntCounterVec::new(
                Opts::new("miroir_admission_refused_total", "Legs that got no turn: queue_full, waited_too_long"),
                &["node", "why"],
            )?,
            admission_waits: IntCounterVec::new(
                Opts::new("miroir_admission_waits_total", "Legs that waited for their turn"),
                &["node"],
            )?,
            degraded_shards: IntCounter::new("miroir_degraded_shards_total", "Shards missing from answers")?,
            tasks: IntCounterVec::new(Opts::new("miroir_tasks_total", "Tasks taken, by type"), &["type"])?,
            writes_per_request: Histogram::with_opts(histogram(
                "miroir_writes_per_request",
                "Single-document writes in one request to a node",
                &SHARED_BY_BUCKETS,
            ))?,
            task_registry_unfinished: IntGauge::new("miroir_task_registry_unfinished", "Tasks that have not ended")?,
            replica_log_entries: IntGaugeVec::new(
                Opts::new("miroir_replica_log_entries", "Writes that a node still has to be given"),
                &["node"],
            )?,
            node_data_lost: IntCounterVec::new(
                Opts::new("miroir_node_data_lost_total", "Times that a node was found to have lost its data"),
                &["node"],
            )?,
            idempotency_requests: IntCounterVec::new(
                Opts::new(
                    "miroir_idempotency_requests_total",
                    "Writes with an Idempotency-Key: first, repeated, reused",
                ),
                &["outcome"],
            )?,
            query_plan_narrowing: IntCounterVec::new(
                Opts::new(
                    "miroir_query_plan_narrowing_total",
                    "Reads by whether their filter narrowed the shards, or why it did not",
                ),
                &["outcome"],
            )?,
            alias_changes: IntCounterVec::new(
                Opts::new("miroir_alias_changes_total", "Requests that change aliases: changed, refused"),
                &["outcome"],
            )?,
            rollovers: IntCounterVec::new(
                Opts::new(
                    "miroir_rollover_total",
                    "Rollovers that came to their end, by trigger: first, max_docs, max_age, max_size_gb",
                ),
                &["trigger"],
            )?,
            rollover_deletions: IntCounter::new(
                "miroir_rollover_deleted_indexes_total",
                "Indexes that were deleted at the end of their retention",
            )?,
            rollover_failures: IntCounterVec::new(
                Opts::new(
                    "miroir_rollover_failures_total",
                    "What a policy could not do, to be tried again: look, create, configure, flip, retire, delete",
                ),
                &["step"],
            )?,
            rollover_policies: IntGauge::new("miroir_rollover_policies", "Rollover policies that there are")?,
            settings_changes: IntCounterVec::new(
                Opts::new("miroir_settings_changes_total", "Changes of settings that ended: committed, failed"),
                &["outcome"],
            )?,
            settings_drift: IntCounter::new(
                "miroir_settings_drift_total",
                "Times that a node's settings of an index were found changed behind Miroir's back",
            )?,
            settings_drift_checks: IntCounter::new(
                "miroir_settings_drift_checks_total",
                "Times that this Miroir compared the nodes' settings of an index because it was time to",
            )?,
            leader: IntGauge::new("miroir_leader", "1 if this Miroir leads those on its store, else 0")?,
            peer_count: IntGauge::new("miroir_peer_count", "Miroirs on the same store, this one included")?,
            settings_repairs: IntCounterVec::new(
                Opts::new("miroir_settings_repairs_total", "Nodes made equal again, or not: repaired, failed"),
                &["outcome"],
            )?,
            settings_diverged: IntGauge::new(
                "miroir_settings_diverged_indexes",
                "Indexes whose settings differ between nodes; to be alerted on",
            )?,
            webhook_calls: IntCounterVec::new(
                Opts::new("miroir_webhook_calls_total", "Calls of webhooks: succeeded, failed"),
                &["outcome"],
            )?,
            webhook_given_up: IntCounter::new(
                "miroir_webhook_given_up_total",
                "Times that a webhook was not told of a task: it was away for too long",
            )?,
            webhook_waiting: IntGauge::new("miroir_webhook_waiting", "Tasks that webhooks have yet to be told of")?,
            query_plan_one_node: IntCounter::new(
                "miroir_query_plan_one_node_total",
                "Searches that one node answered alone, as the client asked",
            )?,
            explain_requests: IntCounterVec::new(
                Opts::new("miroir_explain_requests_total", "Searches explained, and whether they were run too"),
                &["executed"],
            )?,
            admin_ui_logins: IntCounterVec::new(
                Opts::new("miroir_admin_ui_logins_total", "Tries to log in: accepted, refused, limited"),
                &["outcome"],
            )?,
            search_ui_sessions: IntCounterVec::new(
                Opts::new(
                    "miroir_search_ui_sessions_total",
                    "Requests for a token of the search UI: given, refused, limited, unknown_index",
                ),
                &["outcome"],
            )?,
            ttl_sweeps: IntCounterVec::new(
                Opts::new(
                    "miroir_ttl_sweeps_total",
                    "Sweeps of an index: complete, bounded (more has expired than one may delete), or failed, to be tried again",
                ),
                &["outcome"],
            )?,
            ttl_sweep_duration: Histogram::with_opts(histogram(
                "miroir_ttl_sweep_duration_seconds",
                "Time of one sweep, with its wait for earlier writes",
                &LATENCY_BUCKETS_S,
            ))?,
            ttl_deleted: IntCounter::new("miroir_ttl_deleted_documents_total", "Expired documents that were deleted")?,
            ttl_spared: IntCounter::new(
                "miroir_ttl_spared_documents_total",
                "Documents that were found to have expired and left, because they were written to meanwhile",
            )?,
            ttl_overdue_indexes: IntGauge::new(
                "miroir_ttl_overdue_indexes",
                "Indexes with documents that should have been deleted by the sweep before the last one, and are hidden",
            )?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        self.registry.register(Box::new(self.requests.clone()))?;
        self.registry.register(Box::new(self.request_duration.clone()))?;
        self.registry.register(Box::new(self.requests_in_flight.clone()))?;
        self.registry.register(Box::new(self.node_healthy.clone()))?;
        self.registry.register(Box::new(self.node_request_duration.clone()))?;
        self.registry.register(Box::new(self.node_errors.clone()))?;
        self.registry.register(Box::new(self.scatter_fan_out_size.clone()))?;
        self.registry.register(Box::new(self.scatter_partial_responses.clone()))?;
        self.registry.register(Box::new(self.scatter_retries.clone()))?;
        self.registry.register(Box::new(self.replica_selections.clone()))?;
        self.registry.register(Box::new(self.hedges.clone()))?;
        self.registry.register(Box::new(self.hedge_legs.clone()))?;
        self.registry.register(Box::new(self.query_coalesce.clone()))?;
        self.registry.register(Box::new(self.admission_limit.clone()))?;
        self.registry.register(Box::new(self.admission_refused.clone()))?;
        self.registry.register(Box::new(self.admission_waits.clone()))?;
        self.registry.register(Box::new(self.degraded_shards.clone()))?;
        self.registry.register(Box::new(self.tasks.clone()))?;
        self.registry.register(Box::new(self.writes_per_request.clone()))?;
        self.registry.register(Box::new(self.task_registry_unfinished.clone()))?;
        self.registry.register(Box::new(self.query_plan_narrowing.clone()))?;
        self.registry.register(Box::new(self.query_plan_one_node.clone()))?;
        self.registry.register(Box::new(self.explain_requests.clone()))?;
        self.registry.register(Box::new(self.search_ui_sessions.clone()))?;
        self.registry.register(Box::new(self.admin_ui_logins.clone()))?;
        self.registry.register(Box::new(self.ttl_sweeps.clone()))?;
        self.registry.register(Box::new(self.ttl_sweep_duration.clone()))?;
        self.registry.register(Box::new(self.ttl_deleted.clone()))?;
        self.registry.register(Box::new(self.ttl_spared.clone()))?;
        self.registry.register(Box::new(self.ttl_overdue_indexes.clone()))?;
        self.registry.register(Box::new(self.replica_log_entries.clone()))?;
        self.registry.register(Box::new(self.node_data_lost.clone()))?;
        self.registry.register(Box::new(self.idempotency_requests.clone()))?;
        self.registry.register(Box::new(self.alias_changes.clone()))?;
        self.registry.register(Box::new(self.rollovers.clone()))?;
        self.registry.register(Box::new(self.rollover_deletions.clone()))?;
        self.registry.register(Box::new(self.rollover_failures.clone()))?;
        self.registry.register(Box::new(self.rollover_policies.clone()))?;
        self.registry.register(Box::new(self.settings_changes.clone()))?;
        self.registry.register(Box::new(self.settings_drift.clone()))?;
        self.registry.register(Box::new(self.settings_drift_checks.clone()))?;
        self.registry.register(Box::new(self.leader.clone()))?;
        self.registry.register(Box::new(self.peer_count.clone()))?;
        self.registry.register(Box::new(self.settings_repairs.clone()))?;
        self.registry.register(Box::new(self.settings_diverged.clone()))?;
        self.registry.register(Box::new(self.webhook_calls.clone()))?;
        self.registry.register(Box::new(self.webhook_given_up.clone()))?;
        self.registry.register(Box::new(self.webhook_waiting.clone()))
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
