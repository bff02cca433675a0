//! Work that no client waits for: one file per service.

mod creations;
mod health_checks;
mod key_refresh;
mod leader_news;
mod metrics_endpoint;
mod reload;
mod renamings;
mod replica_logs;
mod rollovers;
mod settings_changes;
mod settings_drift;
mod startup;
mod task_reconciliation;
mod ttl_sweep;
mod webhook_calls;

pub use creations::Creations;
pub use health_checks::HealthChecks;
pub use key_refresh::KeyRefresh;
pub use leader_news::LeaderNews;
pub use metrics_endpoint::MetricsEndpoint;
pub use reload::Reload;
pub use renamings::Renamings;
pub use replica_logs::ReplicaLogs;
pub use rollovers::IndexRollovers;
pub use settings_changes::SettingsChanges;
pub use settings_drift::SettingsDrift;
pub use startup::Startup;
pub use task_reconciliation::TaskReconciliation;
pub use ttl_sweep::TtlSweep;
pub use webhook_calls::WebhookCalls;
