//! Five failed logins lock a user, administrators too.

use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::HashMap, time::Duration};

/// So many failures lock.
const FAILURES: usize = 5;

/// A login that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedLogin {
    /// When.
    pub at: DateTime<Utc>,
    /// The user was locked already, so that the password didn't matter.
    pub while_locked: bool,
}

pub(super) struct Lockout {
    /// In which so many failures lock, and for how long they do.
    time: TimeDelta,
    users: HashMap<String, Failures>,
}

#[derive(Default)]
struct Failures {
    all: Vec<FailedLogin>,
    /// Those that count, since the user was last locked.
    counted: Vec<DateTime<Utc>>,
    locked_at: Option<DateTime<Utc>>,
}

impl Default for Lockout {
    fn default() -> Self {
        Self { time: TimeDelta::minutes(15), users: HashMap::new() }
    }
}

impl Lockout {
    pub(super) fn set_time(&mut self, time: Duration) {
        self.time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    }

    pub(super) fn failures(&self, user: &str) -> Vec<FailedLogin> {
        self.users.get(&user.to_lowercase()).map(|failures| failures.all.clone()).unwrap_or_default()
    }

    pub(super) fn is_locked(&self, user: &str, now: DateTime<Utc>) -> bool {
        let locked_at = self.users.get(&user.to_lowercase()).and_then(|failures| failures.locked_at);
        locked_at.is_some_and(|at| now - at < self.time)
    }

    /// A login failed. One while the user is locked doesn't lock it for longer.
    pub(super) fn fail(&mut self, user: &str, now: DateTime<Utc>) {
        let while_locked = self.is_locked(user, now);
        let failures = self.users.entry(user.to_lowercase()).or_default();
        failures.all.push(FailedLogin { at: now, while_locked });
        if while_locked {
            return;
        }
        failures.counted.retain(|at| now - *at < self.time);
        failures.counted.push(now);
        if failures.counted.len() >= FAILURES {
            failures.counted.clear();
            failures.locked_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_the_time_lock_for_the_time() {
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let cases: [(&[i64], i64, bool); 6] = [
            (&[0, 1, 2, 3], 4, false),
            (&[0, 1, 2, 3, 4], 4, true),
            (&[0, 1, 2, 3, 4], 18, true),
            (&[0, 1, 2, 3, 4], 19, false),
            (&[0, 11, 12, 13, 15], 15, false),
            (&[0, 1, 2, 3, 4, 17, 18], 19, false),
        ];
        for (failures, now, locked) in cases {
            let mut lockout = Lockout::default();
            for minute in failures {
                lockout.fail("Reader", at(*minute));
            }
            assert_eq!(lockout.is_locked("reader", at(now)), locked, "{failures:?} at {now}");
            assert!(!lockout.is_locked("another", at(now)));
            assert_eq!(lockout.failures("READER").len(), failures.len());
        }
    }
}
