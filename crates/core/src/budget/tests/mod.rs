//! The budget in virtual time: a world of objects that ask and a provider that answers.

mod account;
mod kept;
mod order;
mod shared;
mod windows;

use super::{AccountKey, Budgets, CallOutcome, CredentialBlock, Grant, GrantRequest, Limits, Window};
use crate::clock::{Now, Timestamp};
use chrono::TimeDelta;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) fn account(name: &str) -> AccountKey {
    AccountKey(name.into())
}

pub(super) fn limits(windows: &[(u32, Duration)], concurrency: u32) -> Limits {
    let windows = windows.iter().map(|&(requests, period)| Window { requests, period }).collect();
    Limits { windows, concurrency }
}

/// How the provider takes one call: it arrives and is answered so long after the grant.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) arrives: Duration,
    pub(super) ends: Duration,
    pub(super) outcome: CallOutcome,
}

pub(super) fn issued_in(ends: Duration) -> Answer {
    Answer { arrives: ends / 2, ends, outcome: CallOutcome::Issued }
}

struct Call {
    ends: Duration,
    key: ObjectKey,
    outcome: CallOutcome,
}

/// Times are counted from the world's start.
pub(super) struct World {
    pub(super) budgets: Budgets,
    pub(super) at: Duration,
    /// How far the wall clock has jumped.
    pub(super) jumped: TimeDelta,
    /// True if the following requests are unplanned.
    pub(super) unplanned: bool,
    pub(super) grants: Vec<(Duration, Grant)>,
    pub(super) arrivals: Vec<Duration>,
    /// Start and end of the throttles that the provider requested.
    pub(super) stops: Vec<(Duration, Duration)>,
    calls: Vec<Call>,
    start: Instant,
}

impl World {
    /// With one account, `a`, whose credential is proven.
    pub(super) fn accepted(limits: &Limits) -> Self {
        let mut world = Self::with_accounts(&["a"], limits);
        world.prove("a");
        world
    }

    pub(super) fn with_accounts(names: &[&str], limits: &Limits) -> Self {
        let mut budgets = Budgets::default();
        for name in names {
            budgets.configure(&account(name), limits.clone());
        }
        let start = Instant::now();
        Self {
            budgets,
            at: Duration::ZERO,
            jumped: TimeDelta::zero(),
            unplanned: false,
            grants: Vec::new(),
            arrivals: Vec::new(),
            stops: Vec::new(),
            calls: Vec::new(),
            start,
        }
    }

    /// Makes one call by hand, an hour before all else.
    pub(super) fn prove(&mut self, name: &str) {
        self.request(name, "prover/prover", None, None);
        assert_eq!(self.budgets.grant(self.now(), 1).len(), 1);
        self.budgets.finish(&key("prover/prover"), CallOutcome::Issued, self.now());
        self.at += secs(3600);
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.wall(self.at), mono: self.start + self.at }
    }

    /// The wall clock at a time of this world.
    pub(super) fn wall(&self, at: Duration) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::from_std(at).unwrap() + self.jumped
    }

    /// `object` is `namespace/name`; the times count from now.
    pub(super) fn request(
        &mut self,
        name: &str,
        object: &str,
        expires_in: Option<Duration>,
        urgent_in: Option<Duration>,
    ) {
        let wall = |after: Option<Duration>| after.map(|after| self.wall(self.at + after));
        let request = GrantRequest {
            key: key(object),
            expires_at: wall(expires_in),
            urgent_at: wall(urgent_in),
            unplanned: self.unplanned,
        };
        self.budgets.enqueue(&account(name), request, self.now());
    }

    /// A first issue on account `a`.
    pub(super) fn ask_first(&mut self, object: &str) {
        self.request("a", object, None, None);
    }

    /// Lets the world go on until `end`: calls are answered, grants are taken up as soon as they come.
    pub(super) fn run_until(&mut self, end: Duration, mut answer: impl FnMut(&Grant) -> Answer) {
        loop {
            self.end_due_calls();
            for grant in self.budgets.grant(self.now(), usize::MAX) {
                let Answer { arrives, ends, outcome } = answer(&grant);
                if outcome != CallOutcome::NotCalled {
                    self.arrivals.push(self.at + arrives);
                }
                self.calls.push(Call { ends: self.at + ends, key: grant.key.clone(), outcome });
                self.grants.push((self.at, grant));
            }
            let by_time = self.budgets.next_grant_in(self.now()).map(|wait| self.at + wait);
            assert_ne!(by_time, Some(self.at), "a promised grant didn't come");
            let next = self.calls.iter().map(|call| call.ends).chain(by_time).min().unwrap_or(end);
            if next >= end {
                self.at = self.at.max(end);
                return self.end_due_calls();
            }
            self.at = next;
        }
    }

    fn end_due_calls(&mut self) {
        self.calls.sort_by_key(|call| call.ends);
        let due = self.calls.partition_point(|call| call.ends <= self.at);
        for call in self.calls.drain(..due).collect::<Vec<_>>() {
            if let CallOutcome::Throttled { retry_after: Some(wait) } = call.outcome {
                self.stops.push((self.at, self.at + wait));
            }
            self.budgets.finish(&call.key, call.outcome, self.now());
        }
    }

    /// When `object` was last granted.
    pub(super) fn granted_at(&self, object: &str) -> Option<Duration> {
        let key = key(object);
        self.grants.iter().rev().find(|(_, grant)| grant.key == key).map(|(at, _)| *at)
    }

    /// The names of those granted, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.grants.iter().map(|(_, grant)| grant.key.to_string()).collect()
    }

    /// Checks that no period of a window contains more arrivals than allowed.
    pub(super) fn assert_windows_held(&mut self, limits: &Limits) {
        self.arrivals.sort();
        for window in &limits.windows {
            for span in self.arrivals.windows(window.requests as usize + 1) {
                let length = span[span.len() - 1] - span[0];
                assert!(length >= window.period, "{} requests in {length:?} break {window:?}", span.len());
            }
        }
    }
}

pub(super) fn key(object: &str) -> ObjectKey {
    let (namespace, name) = object.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}
