//! What a provider's "too many requests" means for its account.

use super::window::after;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LAST_BACK_OFF: Duration = Duration::from_mins(5);
/// A Retry-After beyond this is cut: no mistaken header stops an account for ever.
const LONGEST: Duration = Duration::from_hours(24);

/// The throttle of one account. Calls are numbered in the order of their grants.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// The provider asked for it.
    wished: Option<Instant>,
    /// We chose it, since the provider said nothing: from when to when.
    chosen: Option<(Instant, Instant)>,
    /// The last back-off that we chose ourselves.
    back_off: Option<Duration>,
    /// The last call granted when the provider last said stop: only a later one tells anything new.
    last_call: u64,
    /// Until a later call gets another answer, calls go one at a time.
    probing: bool,
    /// When the time that isn't in `stopped` yet began.
    since: Option<Instant>,
    /// How long it has held the account, since somebody last asked.
    stopped: Duration,
}

impl Throttle {
    /// The provider throttled call number `call`; `last_call` is the youngest that was granted.
    pub(super) fn said_stop(&mut self, call: u64, last_call: u64, retry_after: Option<Duration>, now: Instant) {
        // a wait cut short for a token's sake within this second is counted whole
        self.count(now, None);
        match retry_after {
            Some(wait) if !wait.is_zero() => self.wished = self.wished.max(Some(after(now, wait.min(LONGEST)))),
            _ => {
                let until = after(now, self.next_back_off(call, now));
                if call > self.last_call || self.chosen.is_none_or(|(_, known)| known < until) {
                    self.chosen = Some((now, until));
                }
            }
        }
        self.last_call = last_call;
        self.probing = true;
    }

    /// Call number `call` was answered otherwise. A later one than those that were throttled ends a wait of our own
    /// choice, which may have been cut short for a token's sake; what the provider asked for stands.
    pub(super) fn answered(&mut self, call: u64, issued: bool, now: Instant) {
        if call > self.last_call {
            if self.since.is_some() {
                self.count(now, None);
            }
            self.chosen = None;
            self.since = self.since.filter(|_| self.wished(now).is_some());
            self.probing = false;
            if issued {
                self.back_off = None;
            }
        }
    }

    /// Calls must go one at a time.
    pub(super) fn is_probing(&self) -> bool {
        self.probing
    }

    /// Until when the provider asked to wait, if that is still ahead.
    pub(super) fn wished(&self, now: Instant) -> Option<Instant> {
        self.wished.filter(|until| *until > now)
    }

    /// The account is stopped until then, if that is still ahead. A wait of our own choice ends when a quarter of the
    /// time is over that the shortest-lived waiting token had when it began; `life` is what that token has left now.
    pub(super) fn until(&self, now: Instant, life: Option<Duration>) -> Option<Instant> {
        self.ends(now, life).filter(|until| *until > now)
    }

    /// The same, also when it is over.
    fn ends(&self, now: Instant, life: Option<Duration>) -> Option<Instant> {
        let chosen = self.chosen.map(|(since, until)| {
            let had = life.map(|life| life + now.saturating_duration_since(since));
            had.map_or(until, |had| until.min(after(since, (had / 4).max(FIRST_BACK_OFF))))
        });
        self.wished.max(chosen)
    }

    /// How long the account was stopped since this was last asked; `life` as in [`Self::until`].
    pub(super) fn take_stopped(&mut self, now: Instant, life: Option<Duration>) -> Duration {
        if self.since.is_some() {
            self.count(now, life);
            self.since = self.since.filter(|_| self.until(now, life).is_some());
        }
        std::mem::take(&mut self.stopped)
    }

    fn count(&mut self, now: Instant, life: Option<Duration>) {
        let end = self.ends(now, life).map_or(now, |end| end.min(now));
        if let Some(since) = self.since.replace(now) {
            self.stopped += end.saturating_duration_since(since);
        }
    }

    /// Doubles once per probe: answers to calls that were already under way don't count again. What is doubled is the
    /// wait as it was: one cut short for a token's sake tells no more than a short one.
    fn next_back_off(&mut self, call: u64, now: Instant) -> Duration {
        let waited = self.chosen.map_or(LAST_BACK_OFF, |(since, _)| now.saturating_duration_since(since));
        let wait = match self.back_off {
            None => FIRST_BACK_OFF,
            Some(last) if call > self.last_call => (last.min(waited).max(FIRST_BACK_OFF) * 2).min(LAST_BACK_OFF),
            Some(last) => last,
        };
        self.back_off = Some(wait);
        wait
    }
}
