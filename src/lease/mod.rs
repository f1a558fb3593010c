//! Leader election over a `coordination.k8s.io/v1` Lease with the algorithm of client-go. [`LeaseHandle`] computes the
//! expiry locally, without a request.
//!
//! The leader renews by a PUT with the resourceVersion that it saw last. The standbys measure, on their own monotonic
//! clock, how long the record has not changed; once that exceeds the record's duration they take it. No process
//! compares the wall clock of another. A leader works for the renew deadline after the moment *before* its last
//! successful PUT was sent. The deadline is shorter than the duration, so that a leader that is cut off from the API
//! server has stopped before another starts. See [`step`](videotoken_core::lease::step) for the decision and [`Candidate`] for the loop.
//!
//! A client that deletes the Lease frees it for every process at once, and its leader sees that at its next renewal.
//!
//! The API is polled, not watched: the operator's Role has get, create and update on Leases, no more. A standby reads
//! four times in a retry period.

mod candidate;

pub use candidate::Candidate;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use videotoken_providers::clock::{self, Timestamp};

/// The Lease to use, the identity of this process, and the timing. Retry period < renew deadline < duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of this process. No other process may ever have the same.
    pub identity: String,
    /// Time for which other processes wait for a leader that no longer renews; on the wire in whole seconds, rounded
    /// up.
    pub duration: Duration,
    /// Time after its last renewal for which the leader still acts.
    pub renew_deadline: Duration,
    /// Interval between two tries.
    pub retry_period: Duration,
}

/// Creates the handle, which shows the state of the election, and the candidate, which the caller must run.
pub fn candidate(client: kube::Client, settings: Settings) -> (LeaseHandle, Candidate) {
    let handle = LeaseHandle::new(NOT_HELD);
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    (handle.clone(), Candidate::new(api, settings, handle))
}

/// Shows whether this process may act. Cheap to clone and to query.
#[derive(Clone, Debug)]
pub struct LeaseHandle(Arc<LeaseState>);

#[derive(Debug)]
struct LeaseState {
    start: Instant,
    /// Nanoseconds after `start` until which the lease is held.
    until: AtomicU64,
    /// The same in milliseconds of the wall clock since the epoch. The monotonic clock stands still while the machine
    /// is suspended, and another process may acquire the lease during that time.
    until_wall: AtomicI64,
    leading: watch::Sender<bool>,
}

/// Step of the wall clock that doesn't affect a lease.
const TOLERANCE: Duration = Duration::from_secs(2);

const NOT_HELD: u64 = 0;
const FOREVER: u64 = u64::MAX;

impl LeaseHandle {
    /// Returns a handle for a process without rivals, which always leads.
    pub fn always() -> Self {
        Self::new(FOREVER)
    }

    /// Returns a handle for a process that never leads.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self::new(NOT_HELD)
    }

    fn new(until: u64) -> Self {
        Self(Arc::new(LeaseState {
            start: Instant::now(),
            until: AtomicU64::new(until),
            until_wall: AtomicI64::new(i64::MAX),
            leading: watch::Sender::new(until == FOREVER),
        }))
    }

    /// Returns true if this process holds the lease now.
    pub fn is_leader(&self) -> bool {
        self.valid_for(Duration::ZERO)
    }

    /// Returns true if this process holds the lease for `need` from now on, even without another renewal. Always
    /// returns false if `need` is the renew deadline or longer.
    pub fn valid_for(&self, need: Duration) -> bool {
        match self.0.until.load(Ordering::Acquire) {
            NOT_HELD => false,
            FOREVER => true,
            until => nanoseconds(self.0.start.elapsed().saturating_add(need)) <= until && !self.overslept(),
        }
    }

    /// Returns a receiver of the leadership as the election last recorded it. Its value changes when the lease is won
    /// or lost. Before actions that would do harm if they were late, call [`valid_for`](Self::valid_for) instead.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.0.leading.subscribe()
    }

    /// Returns true if the lease has expired by the wall clock: the machine was suspended, or its clock was set
    /// forward.
    fn overslept(&self) -> bool {
        clock::now().wall.timestamp_millis() > self.0.until_wall.load(Ordering::Acquire)
    }

    /// Returns the time until which the lease is held, or `None` if it is not held at `now`.
    fn until(&self, now: Instant) -> Option<Instant> {
        let until = self.0.until.load(Ordering::Acquire);
        let held =
            until != NOT_HELD && nanoseconds(now.saturating_duration_since(self.0.start)) <= until && !self.overslept();
        held.then(|| self.0.start + Duration::from_nanos(until))
    }

    /// Extends the lease to these times, one of each clock. If the lease had expired, it counts as won again, and
    /// subscribers are notified.
    fn hold_until(&self, until: Instant, wall: Timestamp) {
        let lapsed = self.until(Instant::now()).is_none();
        let until = nanoseconds(until.saturating_duration_since(self.0.start));
        let tolerance = i64::try_from(TOLERANCE.as_millis()).unwrap_or_default();
        self.0.until_wall.store(wall.timestamp_millis().saturating_add(tolerance), Ordering::Release);
        self.0.until.store(until.clamp(NOT_HELD + 1, FOREVER - 1), Ordering::Release);
        self.0.leading.send_if_modified(|leading| !std::mem::replace(leading, true) || lapsed);
    }

    fn mark_lost(&self) {
        self.0.until.store(NOT_HELD, Ordering::Release);
        self.0.leading.send_if_modified(|leading| std::mem::replace(leading, false));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_holds_until_its_time_and_tells_of_changes() {
        let handle = LeaseHandle::new(NOT_HELD);
        let mut changes = handle.changes();
        assert!(!handle.is_leader() && !*changes.borrow_and_update());

        let wall = clock::now().wall + chrono::TimeDelta::hours(1);
        handle.hold_until(Instant::now() + Duration::from_secs(10), wall);
        assert!(changes.has_changed().is_ok_and(|changed| changed) && *changes.borrow_and_update());
        for (after, need, valid) in [(0, 10, true), (0, 11, false), (6, 4, true), (6, 5, false), (10, 0, true)] {
            let handle = handle.clone();
            let asked = handle.0.start + Duration::from_secs(after);
            tokio::time::sleep_until(asked).await;
            assert_eq!(handle.valid_for(Duration::from_secs(need)), valid, "{need} s after {after} s");
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!handle.is_leader(), "nothing has to run for a lease to end");

        handle.mark_lost();
        assert!(changes.has_changed().is_ok_and(|changed| changed) && !*changes.borrow_and_update());
        handle.mark_lost();
        assert!(changes.has_changed().is_ok_and(|changed| !changed), "lost once, reported once");
    }

    #[tokio::test(start_paused = true)]
    async fn p10_a_suspended_machine_wakes_without_its_lease() {
        let handle = LeaseHandle::new(NOT_HELD);
        let in_10_s = || Instant::now() + Duration::from_secs(10);
        let wall = |seconds| clock::now().wall + chrono::TimeDelta::seconds(seconds);
        handle.hold_until(in_10_s(), wall(10));
        assert!(handle.is_leader());
        // The monotonic clock stood still for an hour.
        handle.hold_until(in_10_s(), wall(10 - 3600));
        assert!(!handle.is_leader());
    }

    #[tokio::test(start_paused = true)]
    async fn p01_a_lease_that_lapsed_and_is_won_again_is_told() {
        let handle = LeaseHandle::new(NOT_HELD);
        let hold = || {
            let wall = clock::now().wall + chrono::TimeDelta::hours(1);
            handle.hold_until(Instant::now() + Duration::from_secs(10), wall);
        };
        hold();
        let mut changes = handle.changes();
        hold();
        assert!(changes.has_changed().is_ok_and(|changed| !changed), "it was only renewed");
        tokio::time::advance(Duration::from_secs(11)).await;
        hold();
        assert!(changes.has_changed().is_ok_and(|changed| changed) && *changes.borrow_and_update());
    }

    #[tokio::test]
    async fn a_process_that_is_alone_always_leads() {
        let handle = LeaseHandle::always();
        assert!(handle.is_leader() && handle.valid_for(Duration::MAX) && *handle.changes().borrow());
    }
}
