//! Restarts of workloads after a renewal.
//!
//! This module doesn't decide on restarts; `plan::restart` does.

pub(crate) mod in_progress;
pub(crate) mod kinds;
pub(crate) mod restarts;
