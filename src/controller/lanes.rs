//! How many requests may be at the API server at once that no budget bounds.
//!
//! Its priority and fairness answers a client that has some hundreds of them waiting by 429, the renewals of its Lease
//! too. What a crowd of objects has to ask therefore waits here; what follows a budget's grant is bounded by it, and passes by.

use super::Context;
use super::apply::WRITE_TIMEOUT;
use tokio::sync::{Semaphore, SemaphorePermit};

/// More at once are no faster.
const AT_ONCE: usize = 24;

/// One lane for each kind of request, so that neither waits for the other.
pub(super) struct Lanes {
    looks: Semaphore,
    statuses: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { looks: Semaphore::new(AT_ONCE), statuses: Semaphore::new(AT_ONCE) }
    }
}

impl Context {
    /// Waits for room to look at a Secret, or to write it anew from its own token: an edit of all objects' templates makes
    /// as large a crowd as an install. `None`: the lease has too little left now.
    pub(super) async fn room_to_look(&self) -> Option<SemaphorePermit<'_>> {
        self.admitted(&self.lanes.looks).await
    }

    /// Waits for room to write a status. `None`: the lease has too little left now.
    pub(super) async fn room_to_tell(&self) -> Option<SemaphorePermit<'_>> {
        self.admitted(&self.lanes.statuses).await
    }

    async fn admitted<'a>(&self, lane: &'a Semaphore) -> Option<SemaphorePermit<'a>> {
        let permit = lane.acquire().await.ok()?;
        // a crowd's wait is longer than what was left when the reconcile looked
        self.lease.valid_for(WRITE_TIMEOUT).then_some(permit)
    }
}
