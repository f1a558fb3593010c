//! Whether the API server takes writes: no provider is called for a token that could not be stored.
//!
//! Two kinds of circuit decide, both pure over `now`. The one for everything opens when the API server can't be reached or
//! says that it is overloaded. Each namespace has one of its own, for a webhook that fails or hangs there: it opens after
//! [`FAILURES`] in a row, and a Secret that is written there closes it. A failure everywhere counts for no namespace, and any
//! write that succeeds ends it. An open circuit lets one trial through after [`PAUSE`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An open circuit is tried again after this.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row that open a namespace's circuit: one object that can't be written holds up no other.
const FAILURES: u32 = 3;

/// A namespace whose writes fail for so long is told of in the statuses of those that wait.
const TOLD_AFTER: Duration = Duration::from_secs(30);

/// Where a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// At the API server itself: no connection, overload.
    Everywhere,
    /// In its namespace, as far as can be told: a webhook, a timeout.
    Namespace,
}

/// Whether a provider may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// Writes succeed.
    Free,
    /// A write failed a while ago: one call at a time, and only if the API server answers.
    Trial,
    /// A write failed a moment ago: not before this.
    Blocked(Instant),
}

/// Open while writes fail.
#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    open_until: Option<Instant>,
}

impl Circuit {
    fn passage(self, now: Instant) -> Passage {
        match self.open_until {
            None => Passage::Free,
            Some(until) if now < until => Passage::Blocked(until),
            Some(_) => Passage::Trial,
        }
    }

    /// A failure while it is open doesn't extend it: else many objects that fail one after the other keep it open for ever.
    fn fail(&mut self, now: Instant) {
        if !matches!(self.passage(now), Passage::Blocked(_)) {
            self.open_until = Some(now + PAUSE);
        }
    }
}

/// One namespace's failures since its last success.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    since: Instant,
    failures: u32,
    circuit: Circuit,
}

/// When to ask again, and whether the wait has lasted long enough to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) until: Instant,
    pub(super) lasts: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct WriteHealth {
    everywhere: Circuit,
    namespaces: BTreeMap<Arc<str>, Trouble>,
    /// The namespace of the last write that succeeded.
    last_success: Option<(Arc<str>, Instant)>,
}

impl WriteHealth {
    /// A write in this namespace failed.
    pub(super) fn failed(&mut self, namespace: &Arc<str>, extent: Extent, now: Instant) {
        let others_succeed =
            self.last_success.as_ref().is_some_and(|(other, at)| other != namespace && now.duration_since(*at) < PAUSE);
        if extent == Extent::Everywhere && !others_succeed {
            // it says nothing of this namespace: when the API server is back, each goes on at once
            self.everywhere.fail(now);
            return;
        }
        let new = Trouble { since: now, failures: 0, circuit: Circuit::default() };
        let trouble = self.namespaces.entry(namespace.clone()).or_insert(new);
        trouble.failures = trouble.failures.saturating_add(1);
        if trouble.failures >= FAILURES {
            trouble.circuit.fail(now);
        }
    }

    /// The API server took another write of this namespace than a Secret's, such as a status: it can be reached, which says
    /// nothing of the Secrets. Tells whether that opened the way for anyone.
    pub(super) fn reached(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        match &mut self.last_success {
            Some((last, at)) if last == namespace => *at = now,
            last => *last = Some((namespace.clone(), now)),
        }
        self.everywhere.open_until.take().is_some()
    }

    /// A Secret of this namespace was written. Tells whether that opened the way for anyone.
    pub(super) fn succeeded(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        let here = self.namespaces.remove(namespace).is_some_and(|trouble| trouble.circuit.open_until.is_some());
        self.reached(namespace, now) || here
    }

    /// Whether writes pass at all.
    pub(super) fn everywhere(&self, now: Instant) -> Passage {
        self.everywhere.passage(now)
    }

    /// Whether writes pass in this namespace.
    pub(super) fn namespace(&self, namespace: &str, now: Instant) -> Passage {
        self.namespaces.get(namespace).map_or(Passage::Free, |trouble| trouble.circuit.passage(now))
    }

    /// Admits an object of this namespace to its account's queue. In a namespace on trial, one object is admitted in each
    /// [`PAUSE`].
    pub(super) fn admit(&mut self, namespace: &str, now: Instant) -> Result<(), Wait> {
        let Some(trouble) = self.namespaces.get_mut(namespace) else { return Ok(()) };
        match trouble.circuit.passage(now) {
            Passage::Free => Ok(()),
            Passage::Blocked(until) => Err(Wait { until, lasts: now.duration_since(trouble.since) >= TOLD_AFTER }),
            Passage::Trial => {
                trouble.circuit.fail(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn p17_writes_that_fail_in_one_namespace_stop_no_other() {
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        let mut health = WriteHealth::default();
        let start = Instant::now();
        for n in 0..600 {
            let now = start + SECOND * n;
            health.failed(&bad, Extent::Namespace, now);
            assert_eq!(health.everywhere(now), Passage::Free);
            assert_eq!(health.namespace(&good, now), Passage::Free);
            assert_eq!(health.namespace(&bad, now) == Passage::Free, n < 2, "after {n} failures");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p17_an_overload_that_others_do_not_see_stops_nobody_else() {
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        let mut health = WriteHealth::default();
        let now = Instant::now();
        health.succeeded(&good, now);
        health.failed(&bad, Extent::Everywhere, now + SECOND);
        assert_eq!(health.everywhere(now + SECOND), Passage::Free);
        health.failed(&good, Extent::Everywhere, now + SECOND * 2);
        assert_eq!(health.everywhere(now + SECOND * 2), Passage::Blocked(now + SECOND * 2 + PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn p01_an_api_server_that_was_away_leaves_no_namespace_blocked() {
        let [one, other]: [Arc<str>; 2] = ["one".into(), "other".into()];
        let mut health = WriteHealth::default();
        let start = Instant::now();
        for n in 0..20 {
            health.failed(&one, Extent::Everywhere, start + SECOND * n);
            health.failed(&other, Extent::Everywhere, start + SECOND * n);
        }
        let back = start + SECOND * 20;
        assert!(health.succeeded(&one, back));
        assert_eq!(health.everywhere(back), Passage::Free);
        for namespace in [&one, &other] {
            assert_eq!(health.admit(namespace, back), Ok(()));
            assert_eq!(health.admit(namespace, back), Ok(()), "not one at a time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_one_after_the_other_do_not_keep_it_open_and_a_success_closes_it() {
        let all: Arc<str> = "a".into();
        let mut health = WriteHealth::default();
        let start = Instant::now();
        for n in 0..5 {
            health.failed(&all, Extent::Everywhere, start + SECOND * n);
        }
        assert_eq!(health.everywhere(start + SECOND * 4), Passage::Blocked(start + PAUSE));
        assert_eq!(health.everywhere(start + PAUSE), Passage::Trial);
        assert!(health.succeeded(&all, start + PAUSE));
        assert_eq!(health.everywhere(start + PAUSE), Passage::Free);
        assert!(!health.succeeded(&all, start + PAUSE), "it was open before");
    }

    #[tokio::test(start_paused = true)]
    async fn p17_a_status_that_is_written_says_nothing_of_the_secrets() {
        let all: Arc<str> = "a".into();
        let mut health = WriteHealth::default();
        let now = Instant::now();
        for _ in 0..FAILURES {
            health.failed(&all, Extent::Namespace, now);
            assert!(!health.reached(&all, now));
        }
        assert_eq!(health.namespace(&all, now), Passage::Blocked(now + PAUSE));
        assert!(health.succeeded(&all, now));
        assert_eq!(health.namespace(&all, now), Passage::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_of_a_failing_namespace_is_admitted_at_a_time() {
        let all: Arc<str> = "a".into();
        let mut health = WriteHealth::default();
        let start = Instant::now();
        for _ in 0..FAILURES {
            assert_eq!(health.admit(&all, start), Ok(()));
            health.failed(&all, Extent::Namespace, start);
        }
        let wait = |until, lasts| Err(Wait { until, lasts });
        assert_eq!(health.admit(&all, start + SECOND), wait(start + PAUSE, false));
        let later = start + TOLD_AFTER;
        assert_eq!(health.admit(&all, later), Ok(()));
        assert_eq!(health.admit(&all, later), wait(later + PAUSE, true));
        health.succeeded(&all, later);
        assert_eq!(health.admit(&all, later), Ok(()));
        assert_eq!(health.admit(&all, later), Ok(()));
    }
}
