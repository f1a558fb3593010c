//! Restart state of one VideoAccessToken.

use videotoken_api::workload::Workload;
use videotoken_core::plan::facts::Seconds;
use videotoken_providers::clock::Timestamp;

/// Restart state of one VideoAccessToken: the restarts that are due, and the events that were published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restarts {
    /// Issuance of the token that the restarts are for.
    pub(crate) of: Seconds,
    /// Workloads that were restarted or can't be restarted.
    pub(crate) done: Vec<Workload>,
    /// Consecutive failures.
    pub(crate) failures: u32,
    /// Earliest time of the next attempt.
    pub(crate) next: Option<Timestamp>,
    /// Last reported reason, by workload.
    pub(crate) reported: Vec<(Workload, &'static str)>,
}

impl Restarts {
    /// Clears the state of an earlier token, except for the reported reasons.
    pub(crate) fn reset(&mut self, of: Seconds) {
        let reported = std::mem::take(&mut self.reported);
        *self = Self { of, reported, ..Self::default() };
    }
}
