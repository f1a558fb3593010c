//! Settings of the controller, and its time limits.

use super::workloads::kinds::RestartKinds;
use crate::metrics::Metrics;
use crate::status_page::Page;
use crate::telemetry::traces::Traces;
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_providers::provider_setup::OutboundPolicy;

/// Time for which the lease must still be valid when a call of a token API begins.
pub const MIN_LEASE_TIME: Duration = Duration::from_secs(2);

/// Maximum time between two decisions on an object, with or without a trigger (P14).
pub(crate) const DECIDE_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// Delay before the next reconcile of an object after a panic.
pub(crate) const PANIC_RETRY_DELAY: TimeDelta = TimeDelta::minutes(1);

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces to watch; empty for all.
    pub watch_namespaces: Vec<String>,
    /// True if `ClusterTokenProvider`s are served.
    pub cluster_providers: bool,
    /// True if their status is written, in addition to the login attempts.
    pub cluster_provider_status: bool,
    /// Namespace in which the references of a `ClusterTokenProvider` resolve.
    pub cluster_resource_namespace: String,
    /// Endpoints that providers may connect to, and the network rules.
    pub reach: OutboundPolicy,
    /// Maximum number of tokens in flight.
    pub max_in_flight: usize,
    /// True if each token has its own series of metrics.
    pub token_metrics: bool,
    /// Kinds of workload that may be restarted.
    pub restart_kinds: RestartKinds,
}

/// Receivers of metrics, traces and the status page's input.
pub struct Observers {
    /// Metrics.
    pub metrics: Metrics,
    /// Traces of attempts.
    pub traces: Traces,
    /// Status page, if enabled.
    pub page: Option<Page>,
}
