//! Output of the process: requests to the API server, how many at the same time, events, metrics and traces.
//!
//! This module makes no decisions.

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod slots;

use crate::metrics::Metrics;
use crate::telemetry::traces::Traces;
use api::Applier;
use events::Events;
use slots::Slots;
use std::sync::Arc;

/// Number of reads of Secrets, and of status writes, that run at the same time. A higher number isn't faster.
const MAX_CONCURRENT_REQUESTS: usize = 24;

/// Maximum number of these requests in one namespace, including those that hang.
const MAX_CONCURRENT_OF_NAMESPACE: usize = 16;

/// Requests, events, metrics and traces.
pub(crate) struct Output {
    pub(crate) api: Applier,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
    /// Permits for reads of Secrets, and for writes of Secrets from the tokens in them.
    pub(crate) secret_permits: Arc<Slots>,
    /// Permits for status writes of VideoAccessTokens.
    pub(crate) status_permits: Arc<Slots>,
    /// Permits for writes of new tokens into their Secrets.
    pub(crate) write_permits: Arc<Slots>,
}

impl Output {
    /// Creates the output. `max_in_flight` limits the number of tokens in flight.
    pub(crate) fn new(api: Applier, events: Events, metrics: Metrics, traces: Traces, max_in_flight: usize) -> Self {
        let of_namespace = max_in_flight.div_ceil(2).max(MAX_CONCURRENT_OF_NAMESPACE);
        Self {
            api,
            events,
            metrics,
            traces,
            secret_permits: Slots::new(MAX_CONCURRENT_REQUESTS, MAX_CONCURRENT_OF_NAMESPACE),
            status_permits: Slots::new(MAX_CONCURRENT_REQUESTS, MAX_CONCURRENT_OF_NAMESPACE),
            write_permits: Slots::new(max_in_flight, of_namespace),
        }
    }

    /// Grants the slots that became free because a request hangs. Called once a second.
    pub(crate) fn tick(&self) {
        for slots in [&self.secret_permits, &self.status_permits, &self.write_permits] {
            slots.tick();
        }
    }
}
