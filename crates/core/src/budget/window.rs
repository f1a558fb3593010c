//! Exact sliding windows over the calls of one account.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What an account's provider allows. All windows hold at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// None at all means: as many as `concurrency` lets through.
    pub windows: Vec<Window>,
    /// Calls open at the same time; 0 counts as 1.
    pub concurrency: u32,
}

/// At most `requests` in any span of `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// 0 counts as 1.
    pub requests: u32,
    /// The length of the span.
    pub period: Duration,
}

/// When something next becomes possible. Ordered: the later of two is what holds when both must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opening {
    /// At once.
    Now,
    /// By time alone.
    At(Instant),
    /// Only an event (an ask, an end of a call, new limits) can bring it.
    Event,
}

/// The longest span that is reckoned with; keeps arithmetic on instants within its range.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Windows up to this length refill within the slack that P01 leaves before an expiry, so they need no reserve.
const RESERVED_ABOVE: Duration = Duration::from_secs(30);

/// A call that was told of by what it left behind ended within this of the one that is remembered: as long as a call may
/// take, and the second that whole seconds hide.
const SAME_CALL: Duration = Duration::from_secs(15);

/// `at` plus `by`, bounded.
pub(super) fn after(at: Instant, by: Duration) -> Instant {
    at + by.min(LONGEST)
}

impl Limits {
    /// The longest window's period; zero without windows.
    pub(super) fn longest(&self) -> Duration {
        self.windows.iter().map(|w| w.period).max().unwrap_or_default().min(LONGEST)
    }

    /// Calls open at the same time.
    pub(super) fn slots(&self) -> usize {
        self.concurrency.max(1) as usize
    }

    /// Time per request at the sustained rate, with `slots` calls at once of `call_time` each.
    ///
    /// A request counts until a period after its *end* (see [`Spent`]), so a window yields its requests once in a
    /// period and a call.
    pub(super) fn time_per_request(&self, slots: usize, call_time: Duration) -> Duration {
        let by_slots = call_time / u32::try_from(slots.max(1)).unwrap_or(u32::MAX);
        let by_window = |w: &Window| (w.period.min(LONGEST) + call_time) / w.requests.max(1);
        self.windows.iter().map(by_window).fold(by_slots, Duration::max)
    }
}

impl Window {
    /// Requests that the second class leaves to the urgent one: a tenth of a window that refills slowly.
    pub(super) fn reserve(&self) -> usize {
        if self.period > RESERVED_ABOVE { self.requests as usize / 10 } else { 0 }
    }
}

/// The ended calls that windows still count.
///
/// A provider counts a request when it arrives, which is some time between our grant and the call's end. So an open
/// call counts against every window, and an ended one until a period after its end: then no span of a period can
/// hold more arrivals than the window allows, however long each was on its way.
///
/// Some are only known by what they left behind, from before this process led: see [`Spent::recall`].
#[derive(Debug, Default)]
pub(super) struct Spent {
    ended: VecDeque<Ended>,
}

/// One ended call.
#[derive(Clone, Copy, Debug)]
struct Ended {
    at: Instant,
    /// The round of recalls in which it was made or last told of: one round tells of it once at most.
    round: u32,
}

impl Spent {
    /// A call ended at `at`; forgets those that ended more than `keep` before.
    pub(super) fn record(&mut self, at: Instant, round: u32, keep: Duration) {
        let at = self.ended.back().map_or(at, |last| at.max(last.at));
        self.forget(at, keep);
        self.ended.push_back(Ended { at, round });
    }

    /// Takes in calls that others tell of. One that ended about when a call did that is known already is that call; the
    /// others are added.
    pub(super) fn recall(&mut self, mut told: Vec<Instant>, round: u32, now: Instant, keep: Duration) {
        told.retain(|at| after(*at, keep) > now);
        told.sort_unstable();
        let mut new = Vec::new();
        let mut known = self.ended.iter_mut().peekable();
        for at in told {
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

    /// Forgets what ended more than `keep` before `now`.
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

    /// Calls that ended less than `span` before `now`.
    pub(super) fn within(&self, now: Instant, span: Duration) -> usize {
        self.ended.len() - self.ended.partition_point(|ended| after(ended.at, span) <= now)
    }

    /// When every window has room for one more beside `open` calls; with `reserved`, beside the urgent class's
    /// reserve too.
    pub(super) fn opening(&self, limits: &Limits, open: usize, reserved: bool) -> Opening {
        let one = |w: &Window| self.window_opening(w, open + if reserved { w.reserve() } else { 0 });
        limits.windows.iter().map(one).max().unwrap_or(Opening::Now)
    }

    fn window_opening(&self, window: &Window, taken: usize) -> Opening {
        self.opening_of(window.requests.max(1) as usize, window.period, taken)
    }

    /// When one more may begin, beside `taken`, where any span of `period` may hold `most`.
    pub(super) fn opening_of(&self, most: usize, period: Duration, taken: usize) -> Opening {
        let left = most.saturating_sub(taken);
        if left == 0 {
            return Opening::Event;
        }
        // The call that must have left the window before one more may begin: the `left`-th from the end.
        match self.ended.len().checked_sub(left).and_then(|index| self.ended.get(index)) {
            Some(ended) => Opening::At(after(ended.at, period)),
            None => Opening::Now,
        }
    }
}
