//! Provider objects: resolved to an account and its issuer, and their statuses.
//!
//! This module makes no decisions on tokens.

pub(crate) mod assertion;
pub(crate) mod last_written;
pub(crate) mod references;
pub(crate) mod registry;
pub(crate) mod resolve;
pub(crate) mod status;
pub(crate) mod work;

use super::requeue::RequeueSchedule;
use super::stores::provider_key::ProviderKey;
use last_written::LastWritten;
use registry::ProviderRegistry;
use videotoken_providers::http::HttpPool;
use work::Work;

/// Resolved provider objects, and the work that is queued for them.
pub(crate) struct Providers {
    pub(crate) registry: ProviderRegistry,
    pub(crate) last_written: LastWritten,
    /// Times at which provider objects are resolved again.
    pub(crate) requeue: RequeueSchedule<ProviderKey>,
    /// Provider objects to resolve.
    pub(crate) resolves: Work,
    /// Provider objects whose status may have changed.
    pub(crate) reports: Work,
    pub(crate) http: HttpPool,
}

impl Providers {
    /// Resolves the provider object soon.
    pub(crate) fn resolve_soon(&self, key: &ProviderKey) {
        self.resolves.request(key);
    }

    /// Queues a write of the provider object's status, which is skipped if the status is unchanged.
    pub(crate) fn report_soon(&self, key: &ProviderKey) {
        self.reports.request(key);
    }
}
