//! Output of the process: requests to the API server, how many at the same time, events, metrics and traces.
//!
//! May not enter: decisions.

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod slots;

use crate::metrics::Metrics;
use crate::telemetry::traces::Traces;
use api::Applier;
use events::Events;
use slots::Slots;
use std::sync::Arc;

/// Reads of Secrets, and status writes, that run at the same time. More are no faster.
const MAX_CONCURRENT_REQUESTS: usize = 24;

/// Number of them of one namespace, hanging or not.
const MAX_CONCURRENT_OF_NAMESPACE: usize = 16;

/// Requests, events, metrics and traces.
pub(crate) struct Output {
    pub(crate) api: Applier,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) traces: Traces,
    /// Reads of Secrets, and writes of Secrets from the tokens in them.
    pub(crate) secret_permits: Arc<Slots>,
    /// Writes of tokens' statuses.
    pub(crate) status_permits: Arc<Slots>,
    /// Writes of new tokens into their Secrets.
    pub(crate) write_permits: Arc<Slots>,
}

impl Output {
    /// `max_in_flight` is the number of tokens between grant and Secret at the same time.
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

    /// Gives out the slots that became free because a request hangs. Called once a second.
    pub(crate) fn tick(&self) {
        for slots in [&self.secret_permits, &self.status_permits, &self.write_permits] {
            slots.tick();
        }
    }
}
