//! Sliding windows over the calls of one account.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Limits of an account. All windows apply at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Windows. If the list is empty, only `concurrency` limits the calls.
    pub windows: Vec<Window>,
    /// Maximum number of concurrent calls; 0 counts as 1.
    pub concurrency: u32,
}

/// A limit of `requests` within `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Number of requests; 0 counts as 1.
    pub requests: u32,
    /// Length of the window.
    pub period: Duration,
}

/// Time at which a call is possible. The order allows `max` of several conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Availability {
    /// The call may be made at once.
    Now,
    /// The call may be made at this time.
    At(Instant),
    /// Only after an event: a request, the end of a call, new limits.
    Event,
}

/// Maximum length of a period, which keeps arithmetic on instants within its range.
const MAX_SPAN: Duration = Duration::from_hours(366 * 24);

/// Maximum length of a window without a reserve. Such a window refills within the time that P01 leaves before an
/// expiry.
const RESERVE_MIN_PERIOD: Duration = Duration::from_secs(30);

/// Maximum difference of the end times of a restored call and of the same call in memory: the longest time of a call
/// (`--provider-timeout`), plus one second for rounding.
const SAME_CALL: Duration = Duration::from_secs(21);

/// Returns `at` plus `by`, limited to a year.
pub(super) fn after(at: Instant, by: Duration) -> Instant {
    at + by.min(MAX_SPAN)
}

impl Limits {
    /// Returns the longest period; zero without windows.
    pub(super) fn longest(&self) -> Duration {
        self.windows.iter().map(|w| w.period).max().unwrap_or_default().min(MAX_SPAN)
    }

    /// Returns the window with the lowest sustained rate.
    pub(super) fn sustained(&self) -> Option<&Window> {
        self.windows.iter().max_by_key(|w| w.period.min(MAX_SPAN) / w.requests.max(1))
    }

    /// Returns the maximum number of concurrent calls.
    pub(super) fn slots(&self) -> usize {
        self.concurrency.max(1) as usize
    }

    /// Returns the time per request at the sustained rate, with `slots` concurrent calls that take `call_time` each.
    ///
    /// A request counts until one period after its end (see [`CallHistory`]), so a window allows its requests once in
    /// a period plus a call.
    pub(super) fn time_per_request(&self, slots: usize, call_time: Duration) -> Duration {
        let by_slots = call_time / u32::try_from(slots.max(1)).unwrap_or(u32::MAX);
        let by_window = |w: &Window| (w.period.min(MAX_SPAN) + call_time) / w.requests.max(1);
        self.windows.iter().map(by_window).fold(by_slots, Duration::max)
    }
}

impl Window {
    /// Returns the number of requests that normal requests leave to urgent ones: a tenth of a long window.
    pub(super) fn reserve(&self) -> usize {
        if self.period > RESERVE_MIN_PERIOD { self.requests as usize / 10 } else { 0 }
    }
}

/// Ended calls that still count in windows.
///
/// A token API counts a request when it arrives, between the grant and the end of the call. Therefore an open call
/// counts in every window, and an ended call counts until one period after its end. No period can contain more
/// arrivals than the window allows, whatever the calls' durations.
///
/// Calls of an earlier process are restored from what objects record: see [`CallHistory::restore`].
#[derive(Debug, Default)]
pub(super) struct CallHistory {
    ended: VecDeque<Ended>,
}

/// An ended call.
#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Instant,
    /// Round in which the call was made or last restored. One round contains each call once at most.
    round: u32,
}

impl CallHistory {
    /// Records a call that ended at `at`, and removes those that ended more than `keep` before.
    pub(super) fn record(&mut self, at: Instant, round: u32, keep: Duration) {
        let at = self.ended.back().map_or(at, |last| at.max(last.at));
        self.forget(at, keep);
        self.ended.push_back(Ended { at, round });
    }

    /// Adds calls of an earlier process. A call that ended about at the same time as a known call is that call.
    pub(super) fn restore(&mut self, mut reported: Vec<Instant>, round: u32, now: Instant, keep: Duration) {
        reported.retain(|at| after(*at, keep) > now);
        reported.sort_unstable();
        let mut new = Vec::new();
        let mut known = self.ended.iter_mut().peekable();
        for at in reported {
            while known.next_if(|ended| ended.round == round || after(ended.at, SAME_CALL) < at).is_some() {}
            match known.next_if(|ended| ended.at <= after(at, SAME_CALL)) {
                Some(ended) => ended.round = round,
                None => new.push(Ended { at: at.min(now), round }),
            }
        }
        if !new.is_empty() {
            self.ended.extend(new);
            self.ended.make_contiguous().sort_by_key(|ended| ended.at);
        }
    }

    /// Removes calls that ended more than `keep` before `now`.
    pub(super) fn forget(&mut self, now: Instant, keep: Duration) {
        while self.ended.front().is_some_and(|first| after(first.at, keep) <= now) {
            self.ended.pop_front();
        }
        if self.ended.len() * 4 < self.ended.capacity() {
            self.ended.shrink_to(self.ended.len() * 2);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    /// Returns the end of the last call.
    pub(super) fn last(&self) -> Option<Instant> {
        self.ended.back().map(|ended| ended.at)
    }

    /// Returns the number of calls that ended less than `span` before `now`.
    pub(super) fn within(&self, now: Instant, span: Duration) -> usize {
        self.ended.len() - self.ended.partition_point(|ended| after(ended.at, span) <= now)
    }

    /// Returns when every window allows another call while `open` calls are in progress. `reserved`: the reserve for
    /// urgent requests is kept free.
    pub(super) fn availability(&self, limits: &Limits, open: usize, reserved: bool) -> Availability {
        let one = |w: &Window| self.window_availability(w, open + if reserved { w.reserve() } else { 0 });
        limits.windows.iter().map(one).max().unwrap_or(Availability::Now)
    }

    fn window_availability(&self, window: &Window, taken: usize) -> Availability {
        self.availability_of(window.requests.max(1) as usize, window.period, taken)
    }

    /// Returns when another call may start, if `taken` requests are reserved and any `period` may contain `most`.
    pub(super) fn availability_of(&self, most: usize, period: Duration, taken: usize) -> Availability {
        let left = most.saturating_sub(taken);
        if left == 0 {
            return Availability::Event;
        }
        // The call that must leave the window first: the `left`-th from the end.
        match self.ended.len().checked_sub(left).and_then(|index| self.ended.get(index)) {
            Some(ended) => Availability::At(after(ended.at, period)),
            None => Availability::Now,
        }
    }
}
