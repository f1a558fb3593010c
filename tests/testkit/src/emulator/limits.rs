//! Rate limits as the providers keep them, per account.

use super::locked;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};
use tokio::time::Instant;

/// One limit. A request must pass all of an emulator's limits; one that doesn't isn't counted.
///
/// In JSON: `{"window": {"requests": 10, "seconds": 1}}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Limit {
    /// At most so many requests in any stretch of so many seconds.
    Window {
        /// How many.
        requests: u32,
        /// In which time.
        seconds: u32,
    },
    /// A bucket that starts full and refills steadily, as Azure Resource Manager's for writes.
    Bucket {
        /// What it holds.
        capacity: u32,
        /// How fast it refills; above 0.
        per_second: u32,
    },
}

/// What one account has used of one limit.
enum Usage {
    Window(VecDeque<Instant>),
    Bucket { level: f64, at: Instant },
}

impl Usage {
    fn new(limit: Limit, now: Instant) -> Self {
        match limit {
            Limit::Window { .. } => Self::Window(VecDeque::new()),
            Limit::Bucket { capacity, .. } => Self::Bucket { level: f64::from(capacity), at: now },
        }
    }

    /// How long until one more request fits; zero if it does now.
    fn wait(&mut self, limit: Limit, now: Instant) -> Duration {
        match (self, limit) {
            (Self::Window(times), Limit::Window { requests, seconds }) => {
                let period = Duration::from_secs(seconds.into());
                while times.front().is_some_and(|time| *time + period <= now) {
                    times.pop_front();
                }
                let full = times.len() >= requests as usize;
                let oldest = times.front().filter(|_| full);
                oldest.map_or(Duration::ZERO, |time| *time + period - now)
            }
            (Self::Bucket { level, at }, Limit::Bucket { capacity, per_second }) => {
                let rate = f64::from(per_second.max(1));
                *level = (*level + (now - *at).as_secs_f64() * rate).min(f64::from(capacity));
                *at = now;
                Duration::from_secs_f64((1.0 - *level).max(0.0) / rate)
            }
            _ => Duration::ZERO,
        }
    }

    fn take(&mut self, now: Instant) {
        match self {
            Self::Window(times) => times.push_back(now),
            Self::Bucket { level, .. } => *level -= 1.0,
        }
    }
}

#[derive(Default)]
pub(super) struct Limits(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    limits: Vec<Limit>,
    accounts: HashMap<String, Vec<Usage>>,
}

impl Limits {
    /// Replaces all limits and forgets what was used of the old ones.
    pub(super) fn set(&self, limits: Vec<Limit>) {
        *locked(&self.0) = Inner { limits, accounts: HashMap::new() };
    }

    /// Counts one request, or says how long to wait.
    pub(super) fn admit(&self, account: &str, now: Instant) -> Result<(), Duration> {
        let mut inner = locked(&self.0);
        if inner.limits.is_empty() {
            return Ok(());
        }
        let Inner { limits, accounts } = &mut *inner;
        if !accounts.contains_key(account) {
            let fresh = limits.iter().map(|limit| Usage::new(*limit, now)).collect();
            accounts.insert(account.to_owned(), fresh);
        }
        let Some(usages) = accounts.get_mut(account) else { return Ok(()) };
        let wait = usages.iter_mut().zip(limits).map(|(usage, limit)| usage.wait(*limit, now)).max();
        match wait {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                for usage in usages {
                    usage.take(now);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_in_any_stretch_of_time_and_say_how_long_to_wait() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let cases = [
            // limit, requests as (time in ms, wait in ms)
            (Limit::Window { requests: 2, seconds: 1 }, vec![(0, 0), (600, 0), (900, 100), (1000, 0), (1100, 500)]),
            (Limit::Bucket { capacity: 2, per_second: 1 }, vec![(0, 0), (0, 0), (500, 500), (1000, 0), (1000, 1000)]),
        ];
        for (limit, requests) in cases {
            let limits = Limits::default();
            limits.set(vec![limit]);
            for (time, wait) in requests {
                let got = limits.admit("a", at(time)).err().unwrap_or_default();
                assert_eq!(got, Duration::from_millis(wait), "{limit:?} at {time}");
            }
            assert!(limits.admit("another account", at(1100)).is_ok());
        }
    }
}
