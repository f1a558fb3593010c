//! The write breaker: the operator calls no token API for a token that it could not store.
//!
//! Two kinds of circuit breaker decide, both pure over `now`. The global one opens when the API server can't be reached or
//! reports an overload. Each namespace has its own, for a webhook that fails or hangs there: it opens after [`FAILURES`]
//! failures in a row, and a written Secret of that namespace closes it. A global failure counts for no namespace, and any
//! successful write ends it. An open breaker becomes half-open after [`PAUSE`] and lets one trial through.

use super::decide::IssueDelay;
use super::write_failure::Extent;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Cool-down of an open breaker.
pub const PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row that open the breaker of a namespace. One Secret that can't be written delays no other
/// VideoAccessToken.
const FAILURES: u32 = 3;

/// Time of failing writes after which the statuses of the waiting objects report it.
const REPORTED_AFTER: Duration = Duration::from_secs(30);

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Writes succeed.
    Closed,
    /// The cool-down is over: one call at a time, and only if the API server answers.
    HalfOpen,
    /// Writes fail: no call before this time.
    Open(Instant),
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    open_until: Option<Instant>,
}

impl Circuit {
    fn state(self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open(until),
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Opens the breaker. A failure while it is open doesn't extend the cool-down. Otherwise many VideoAccessTokens
    /// that fail one after the other would keep it open forever.
    fn fail(&mut self, now: Instant) {
        if !matches!(self.state(now), BreakerState::Open(_)) {
            self.open_until = Some(now + PAUSE);
        }
    }
}

/// Failures of one namespace since its last success.
#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
    circuit: Circuit,
    /// Time of the next trial while the breaker is half-open. A trial doesn't open the breaker, which would refuse its
    /// own call.
    next_trial: Instant,
}

/// Time of the next try, and whether the failures have lasted long enough to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Earliest time of the next call.
    pub until: Instant,
    /// The failures have lasted long enough to be reported.
    pub lasts: bool,
}

impl Wait {
    /// Returns what the status of a waiting object reports, if the failures have lasted long enough.
    pub fn delay(&self) -> Option<IssueDelay> {
        let message = "Secrets of this namespace can't be written, so the operator issues no token. See the other VideoAccessTokens of \
                       this namespace with the reason SecretWriteFailed.";
        self.lasts.then(|| IssueDelay::new("SecretWriteFailed", message))
    }
}

/// Breakers of all namespaces, and the global one.
#[derive(Debug, Default)]
pub struct WriteBreaker {
    everywhere: Circuit,
    namespaces: BTreeMap<Arc<str>, Failures>,
    /// Namespace and time of the last successful write.
    last_success: Option<(Arc<str>, Instant)>,
}

impl WriteBreaker {
    /// Records a failed write in this namespace.
    pub fn failed(&mut self, namespace: &Arc<str>, extent: Extent, now: Instant) {
        let others_succeed =
            self.last_success.as_ref().is_some_and(|(other, at)| other != namespace && now.duration_since(*at) < PAUSE);
        if extent == Extent::Everywhere && !others_succeed {
            // the failure doesn't concern this namespace: when the API server is reachable again, all namespaces
            // continue at once
            self.everywhere.fail(now);
            return;
        }
        let new = Failures { since: now, count: 0, circuit: Circuit::default(), next_trial: now };
        let failing = self.namespaces.entry(namespace.clone()).or_insert(new);
        failing.count = failing.count.saturating_add(1);
        if failing.count >= FAILURES {
            failing.circuit.fail(now);
        }
    }

    /// Records a successful write of this namespace that isn't a Secret's, such as a status: the API server can be reached,
    /// which says nothing about Secrets. Returns true if that closed the global breaker.
    pub fn reached(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        match &mut self.last_success {
            Some((last, at)) if last == namespace => *at = now,
            last => *last = Some((namespace.clone(), now)),
        }
        self.everywhere.open_until.take().is_some()
    }

    /// Records a written Secret of this namespace. Returns true if that closed a breaker.
    pub fn succeeded(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        let here = self.namespaces.remove(namespace).is_some_and(|failing| failing.circuit.open_until.is_some());
        self.reached(namespace, now) || here
    }

    /// Returns the state of the global breaker.
    pub fn everywhere(&self, now: Instant) -> BreakerState {
        self.everywhere.state(now)
    }

    /// Returns the state of this namespace's breaker, without the global one.
    fn namespace(&self, namespace: &str, now: Instant) -> BreakerState {
        self.namespaces.get(namespace).map_or(BreakerState::Closed, |failing| failing.circuit.state(now))
    }

    /// Returns whether a token of this namespace could be stored now: the state of the namespace's breaker while that is
    /// open, else that of the global one.
    pub fn for_namespace(&self, namespace: &str, now: Instant) -> BreakerState {
        match self.namespace(namespace, now) {
            open @ BreakerState::Open(_) => open,
            BreakerState::Closed | BreakerState::HalfOpen => self.everywhere(now),
        }
    }

    /// Returns how many more calls may be granted, where `free` of `most` tokens in flight are left: one at a time while
    /// the global breaker is half-open. Requests that hang don't count as in flight.
    pub fn grant_capacity(&self, free: usize, most: usize, now: Instant) -> usize {
        match self.everywhere(now) {
            BreakerState::Closed => free,
            BreakerState::HalfOpen => usize::from(free == most),
            BreakerState::Open(_) => 0,
        }
    }

    /// Admits an object of this namespace to the queue of its account. While the breaker of the namespace is half-open, one
    /// object is admitted in each [`PAUSE`].
    ///
    /// # Errors
    /// Returns the time of the next try while the breaker is open.
    pub fn admit(&mut self, namespace: &str, now: Instant) -> Result<(), Wait> {
        let Some(failing) = self.namespaces.get_mut(namespace) else { return Ok(()) };
        let until = match failing.circuit.state(now) {
            BreakerState::Closed => return Ok(()),
            BreakerState::Open(until) => until,
            BreakerState::HalfOpen if now >= failing.next_trial => {
                failing.next_trial = now + PAUSE;
                return Ok(());
            }
            BreakerState::HalfOpen => failing.next_trial,
        };
        Err(Wait { until, lasts: now.duration_since(failing.since) >= REPORTED_AFTER })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn p17_writes_that_fail_in_one_namespace_stop_no_other() {
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        let mut breaker = WriteBreaker::default();
        let start = Instant::now();
        for n in 0..600 {
            let now = start + SECOND * n;
            breaker.failed(&bad, Extent::Namespace, now);
            assert_eq!(breaker.everywhere(now), BreakerState::Closed);
            assert_eq!(breaker.namespace(&good, now), BreakerState::Closed);
            assert_eq!(breaker.namespace(&bad, now) == BreakerState::Closed, n < 2, "after {n} failures");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p17_an_overload_that_others_do_not_see_stops_nobody_else() {
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        let mut breaker = WriteBreaker::default();
        let now = Instant::now();
        breaker.succeeded(&good, now);
        breaker.failed(&bad, Extent::Everywhere, now + SECOND);
        assert_eq!(breaker.everywhere(now + SECOND), BreakerState::Closed);
        breaker.failed(&good, Extent::Everywhere, now + SECOND * 2);
        assert_eq!(breaker.everywhere(now + SECOND * 2), BreakerState::Open(now + SECOND * 2 + PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn p01_an_api_server_that_was_away_leaves_no_namespace_blocked() {
        let [one, other]: [Arc<str>; 2] = ["one".into(), "other".into()];
        let mut breaker = WriteBreaker::default();
        let start = Instant::now();
        for n in 0..20 {
            breaker.failed(&one, Extent::Everywhere, start + SECOND * n);
            breaker.failed(&other, Extent::Everywhere, start + SECOND * n);
        }
        let back = start + SECOND * 20;
        assert!(breaker.succeeded(&one, back));
        assert_eq!(breaker.everywhere(back), BreakerState::Closed);
        for namespace in [&one, &other] {
            assert_eq!(breaker.admit(namespace, back), Ok(()));
            assert_eq!(breaker.admit(namespace, back), Ok(()), "not one at a time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_one_after_the_other_do_not_keep_it_open_and_a_success_closes_it() {
        let all: Arc<str> = "a".into();
        let mut breaker = WriteBreaker::default();
        let start = Instant::now();
        for n in 0..5 {
            breaker.failed(&all, Extent::Everywhere, start + SECOND * n);
        }
        assert_eq!(breaker.everywhere(start + SECOND * 4), BreakerState::Open(start + PAUSE));
        assert_eq!(breaker.everywhere(start + PAUSE), BreakerState::HalfOpen);
        assert!(breaker.succeeded(&all, start + PAUSE));
        assert_eq!(breaker.everywhere(start + PAUSE), BreakerState::Closed);
        assert!(!breaker.succeeded(&all, start + PAUSE), "it was open before");
    }

    #[tokio::test(start_paused = true)]
    async fn p17_a_status_that_is_written_says_nothing_of_the_secrets() {
        let all: Arc<str> = "a".into();
        let mut breaker = WriteBreaker::default();
        let now = Instant::now();
        for _ in 0..FAILURES {
            breaker.failed(&all, Extent::Namespace, now);
            assert!(!breaker.reached(&all, now));
        }
        assert_eq!(breaker.namespace(&all, now), BreakerState::Open(now + PAUSE));
        assert!(breaker.succeeded(&all, now));
        assert_eq!(breaker.namespace(&all, now), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_of_a_failing_namespace_is_admitted_at_a_time() {
        let all: Arc<str> = "a".into();
        let mut breaker = WriteBreaker::default();
        let start = Instant::now();
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(&all, start), Ok(()));
            breaker.failed(&all, Extent::Namespace, start);
        }
        let wait = |until, lasts| Err(Wait { until, lasts });
        assert_eq!(breaker.admit(&all, start + SECOND), wait(start + PAUSE, false));
        let later = start + REPORTED_AFTER;
        assert_eq!(breaker.admit(&all, later), Ok(()));
        assert_eq!(breaker.admit(&all, later), wait(later + PAUSE, true));
        let reported = breaker.admit(&all, later).map_err(|wait| wait.delay().map(|delay| delay.reason));
        assert_eq!(reported, Err(Some("SecretWriteFailed".to_owned())));
        breaker.succeeded(&all, later);
        assert_eq!(breaker.admit(&all, later), Ok(()));
        assert_eq!(breaker.admit(&all, later), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn p01_what_is_admitted_to_a_failing_namespace_may_call() {
        let all: Arc<str> = "a".into();
        let mut breaker = WriteBreaker::default();
        let start = Instant::now();
        (0..FAILURES).for_each(|_| breaker.failed(&all, Extent::Namespace, start));
        for trial in 1..9 {
            let now = start + PAUSE * trial;
            assert_eq!(breaker.admit(&all, now), Ok(()), "trial {trial}");
            assert_eq!(breaker.for_namespace(&all, now), BreakerState::Closed, "trial {trial}");
            assert!(breaker.admit(&all, now + SECOND).is_err(), "one in each pause");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p17_calls_are_granted_as_the_breakers_allow() {
        use BreakerState::{Closed, HalfOpen, Open};
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        let start = Instant::now();
        let after = start + PAUSE;
        // what failed, when it is asked, the states of `bad` and `good`, grants with 3 of 8 and with 8 of 8 free
        let cases = [
            (None, start, [Closed, Closed], [3, 8]),
            (Some(Extent::Everywhere), start, [Open(after); 2], [0, 0]),
            (Some(Extent::Everywhere), after, [HalfOpen; 2], [0, 1]),
            (Some(Extent::Namespace), start, [Open(after), Closed], [3, 8]),
            // one object of the namespace is on trial: `admit` sees to that
            (Some(Extent::Namespace), after, [Closed, Closed], [3, 8]),
        ];
        for (failed, now, states, granted) in cases {
            let mut breaker = WriteBreaker::default();
            for extent in failed.iter().flat_map(|extent| [extent; FAILURES as usize]) {
                breaker.failed(&bad, *extent, start);
            }
            let found = [&bad, &good].map(|namespace| breaker.for_namespace(namespace, now));
            assert_eq!(found, states, "{failed:?} at {:?}", now - start);
            assert_eq!([3, 8].map(|free| breaker.grant_capacity(free, 8, now)), granted, "{failed:?}");
        }
    }
}
