//! Settings of the controller, and its bounds on time.

use crate::metrics::Metrics;
use crate::status_page::Page;
use crate::telemetry::traces::Traces;
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_providers::account::Reach;

/// Time that the lease must still last when a call of a token API begins.
pub const MIN_LEASE_TIME: Duration = Duration::from_secs(2);

/// Longest time between two decisions on an object, whatever triggers it or doesn't (P14).
pub(crate) const DECIDE_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// Time for which an object is left alone after a panic.
pub(crate) const PANIC_RETRY_DELAY: TimeDelta = TimeDelta::minutes(1);

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces that are watched; empty for all.
    pub watch_namespaces: Vec<String>,
    /// `ClusterTokenProvider`s are served.
    pub cluster_providers: bool,
    /// Namespace in which the references of a `ClusterTokenProvider` resolve.
    pub cluster_resource_namespace: String,
    /// Endpoints that providers may reach, and how.
    pub reach: Reach,
    /// Number of tokens between grant and Secret at the same time.
    pub max_in_flight: usize,
    /// Each token has its own series of metrics.
    pub token_metrics: bool,
}

/// Receivers of what happens.
pub struct Observers {
    /// Metrics.
    pub metrics: Metrics,
    /// Traces of attempts.
    pub traces: Traces,
    /// Status page, if there is one.
    pub page: Option<Page>,
}
