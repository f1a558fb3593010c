//! The token API: sliding windows over the calls of all clusters.

use std::collections::VecDeque;
use std::time::Duration;

/// Windows of the account: calls, and the time within which they may be made.
pub(crate) const WINDOWS: [(usize, Duration); 2] = [(120, Duration::from_mins(1)), (10, Duration::from_secs(1))];

/// Variants of a token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Throttled calls count in the windows.
    pub counts_throttled: bool,
    /// A 429 contains Retry-After.
    pub retry_after: bool,
}

/// State of the windows.
#[derive(Debug)]
pub(crate) struct TokenApi {
    manners: Manners,
    /// Times of the calls that count, since the start of the run.
    calls: VecDeque<Duration>,
}

/// Answer to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// A token.
    Issued,
    /// 429, with Retry-After in whole seconds.
    Throttled(Option<Duration>),
}

impl TokenApi {
    pub(crate) fn new(manners: Manners) -> Self {
        Self { manners, calls: VecDeque::new() }
    }

    /// Answers a call that arrives at `now`.
    pub(crate) fn call(&mut self, now: Duration) -> Answer {
        while self.calls.front().is_some_and(|at| *at + WINDOWS[0].1 <= now) {
            self.calls.pop_front();
        }
        // the time at which each spent window lets another call in
        let free_at = |(most, period): (usize, Duration)| {
            let first = *self.calls.get(self.calls.len().checked_sub(most)?)?;
            Some(first + period).filter(|at| *at > now)
        };
        let free = WINDOWS.into_iter().filter_map(free_at).max();
        if free.is_none() || self.manners.counts_throttled {
            self.calls.push_back(now);
        }
        match free {
            None => Answer::Issued,
            Some(at) => {
                let wait = Duration::from_secs(at.saturating_sub(now).as_secs() + 1);
                Answer::Throttled(self.manners.retry_after.then_some(wait))
            }
        }
    }
}
