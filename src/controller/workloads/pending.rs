//! State of one token's restarts.

use videotoken_api::workload::Workload;
use videotoken_core::plan::facts::Seconds;
use videotoken_providers::clock::Timestamp;

/// State of one token's restarts: while some are due, and the events that were published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restarts {
    /// The issue of the token that they are for.
    pub(crate) of: Seconds,
    /// The workloads that are done with.
    pub(crate) done: Vec<Workload>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Earliest time of the next attempt.
    pub(crate) next: Option<Timestamp>,
    /// Last reported reason by workload.
    pub(crate) reported: Vec<(Workload, &'static str)>,
}

impl Restarts {
    /// Clears the state of an earlier token, except for the reported reasons.
    pub(crate) fn reset(&mut self, of: Seconds) {
        let reported = std::mem::take(&mut self.reported);
        *self = Self { of, reported, ..Self::default() };
    }
}
