//! Workloads that are being restarted now.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use videotoken_api::workload::Workload;

/// Workloads that are being restarted now, so that two VideoAccessTokens that name the same workload don't both restart
/// it.
#[derive(Debug, Default)]
pub(crate) struct RestartsInProgress(Mutex<HashSet<(Arc<str>, Workload)>>);

/// Exclusive right to restart a workload.
pub(crate) struct Claim<'a>(&'a RestartsInProgress, (Arc<str>, Workload));

impl RestartsInProgress {
    /// Claims the workload until the claim is dropped. Returns `None` if the reconcile of another object restarts it.
    pub(crate) fn claim(&self, namespace: &Arc<str>, workload: &Workload) -> Option<Claim<'_>> {
        let place = (namespace.clone(), workload.clone());
        self.0.lock().insert(place.clone()).then(|| Claim(self, place))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}
