//! Throttle of one account: Retry-After and back-off.

use super::window::after;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_mins(5);
/// Maximum accepted Retry-After, so that a wrong header doesn't stop an account forever.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Throttle of one account. Calls are numbered in the order of their grants.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// End of the Retry-After.
    retry_after_until: Option<Instant>,
    /// Start and end of the back-off, if the token API sent no Retry-After.
    back_off_period: Option<(Instant, Instant)>,
    /// Length of the last back-off.
    back_off: Option<Duration>,
    /// Number of the last call that was granted before the last throttle. Only results of later calls change the
    /// state.
    last_call: u64,
    /// True until a later call gets another result: calls are made one at a time.
    probing: bool,
    /// Start of the throttled time that is not counted in `stopped`.
    since: Option<Instant>,
    /// Throttled time since the last call of [`Self::take_throttled_time`].
    stopped: Duration,
}

impl Throttle {
    /// Records that the token API throttled call number `call`. `last_call` is the number of the last grant.
    pub(super) fn record_throttle(&mut self, call: u64, last_call: u64, retry_after: Option<Duration>, now: Instant) {
        // the back-off counts in full, even if an expiring token shortened it within this second
        self.count(now, None);
        match retry_after {
            Some(wait) if !wait.is_zero() => {
                self.retry_after_until = self.retry_after_until.max(Some(after(now, wait.min(MAX_RETRY_AFTER))));
            }
            _ => {
                let until = after(now, self.next_back_off(call, now));
                if call > self.last_call || self.back_off_period.is_none_or(|(_, known)| known < until) {
                    self.back_off_period = Some((now, until));
                }
            }
        }
        self.last_call = last_call;
        self.probing = true;
    }

    /// Records a result other than a throttle. If the call was granted after the throttled ones, it ends the back-off.
    /// A Retry-After stays in force.
    pub(super) fn record_answer(&mut self, call: u64, issued: bool, now: Instant) {
        if call > self.last_call {
            if self.since.is_some() {
                self.count(now, None);
            }
            self.back_off_period = None;
            self.since = self.since.filter(|_| self.retry_after_until(now).is_some());
            self.probing = false;
            if issued {
                self.back_off = None;
            }
        }
    }

    /// Returns true if calls must be made one at a time.
    pub(super) fn is_probing(&self) -> bool {
        self.probing
    }

    /// Returns the end of the Retry-After, if it is in the future.
    pub(super) fn retry_after_until(&self, now: Instant) -> Option<Instant> {
        self.retry_after_until.filter(|until| *until > now)
    }

    /// Returns the time until which the account is stopped, if it is in the future. A back-off ends after a quarter of
    /// the time that the waiting token with the earliest expiry had left when the back-off began; `lifetime_left` is
    /// the time that this token has left now.
    pub(super) fn until(&self, now: Instant, lifetime_left: Option<Duration>) -> Option<Instant> {
        self.ends(now, lifetime_left).filter(|until| *until > now)
    }

    /// Returns the end of the throttle, also if it has passed.
    fn ends(&self, now: Instant, lifetime_left: Option<Duration>) -> Option<Instant> {
        let back_off_period = self.back_off_period.map(|(since, until)| {
            let had = lifetime_left.map(|lifetime_left| lifetime_left + now.saturating_duration_since(since));
            had.map_or(until, |had| until.min(after(since, (had / 4).max(FIRST_BACK_OFF))))
        });
        self.retry_after_until.max(back_off_period)
    }

    /// Returns the throttled time since the last call; `lifetime_left` as in [`Self::until`].
    pub(super) fn take_throttled_time(&mut self, now: Instant, lifetime_left: Option<Duration>) -> Duration {
        if self.since.is_some() {
            self.count(now, lifetime_left);
            self.since = self.since.filter(|_| self.until(now, lifetime_left).is_some());
        }
        std::mem::take(&mut self.stopped)
    }

    fn count(&mut self, now: Instant, lifetime_left: Option<Duration>) {
        let end = self.ends(now, lifetime_left).map_or(now, |end| end.min(now));
        if let Some(since) = self.since.replace(now) {
            self.stopped += end.saturating_duration_since(since);
        }
    }

    /// Returns the next back-off: twice the time actually waited, which is less than the last back-off if an expiring
    /// token shortened it. Calls granted before the throttle don't double it again.
    fn next_back_off(&mut self, call: u64, now: Instant) -> Duration {
        let waited = self.back_off_period.map_or(MAX_BACK_OFF, |(since, _)| now.saturating_duration_since(since));
        let wait = match self.back_off {
            None => FIRST_BACK_OFF,
            Some(last) if call > self.last_call => (last.min(waited).max(FIRST_BACK_OFF) * 2).min(MAX_BACK_OFF),
            Some(last) => last,
        };
        self.back_off = Some(wait);
        wait
    }
}
