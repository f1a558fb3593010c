//! What is remembered of one token's restarts.

use crate::api::workload::Workload;
use crate::clock::Timestamp;
use crate::plan::facts::Seconds;

/// What is remembered of one token's restarts: while some are due, and of what was reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restarts {
    /// The issue of the token that they are for.
    pub(crate) of: Seconds,
    /// The workloads that are done with.
    pub(crate) done: Vec<Workload>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// No attempt before this.
    pub(crate) next: Option<Timestamp>,
    /// What was reported, and of which workload, until it is otherwise.
    pub(crate) reported: Vec<(Workload, &'static str)>,
}

impl Restarts {
    /// Nothing of an earlier token's but what was reported.
    pub(crate) fn reset(&mut self, of: Seconds) {
        let reported = std::mem::take(&mut self.reported);
        *self = Self { of, reported, ..Self::default() };
    }
}
