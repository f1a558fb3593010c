//! Restarts of workloads after a renewal.
//!
//! May not enter: the decision on a restart, which is in `plan::restart`.

pub(crate) mod in_progress;
pub(crate) mod pending;
pub(crate) mod restarts;
