//! Budget of one account: its past calls, throttle, credential, open calls and queue.

use super::queue::{Entry, Queue};
use super::share::Shares;
use super::shared_rate::{SharedRate, SharedUse, Throttled, Waiting};
use super::throttle::Throttle;
use super::window::{Availability, CallHistory, Limits, after};
use super::{AccountState, CallOutcome, CredentialBlock};
use crate::clock::{Now, Timestamp};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;

/// Time until a rejected credential is used again.
const CREDENTIAL_RETRY_INTERVAL: Duration = Duration::from_mins(15);
/// First such time for a rejection that can end without a change. It doubles with each rejection in a row.
const FIRST_HEALING_DELAY: Duration = Duration::from_secs(5);
/// Maximum of that time.
const MAX_HEALING_DELAY: Duration = Duration::from_mins(5);
/// Minimum time between the last rejection of an identity and a requested retry.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time over which demand is measured, unless the longest window is longer.
const DEMAND_WINDOW: Duration = Duration::from_mins(10);
/// Maximum time until a promotion is checked again, because the wall clock may jump.
const PROMOTION_RECHECK: Duration = Duration::from_mins(1);
/// Time after which a grant without a started call is lost, and a call without a result ends. It is longer than any
/// call.
const CALL_DEADLINE: Duration = Duration::from_mins(2);
/// Maximum length of a block: 15 minutes, and one for the clocks of two operators.
const MAX_CREDENTIAL_BLOCK: Duration = Duration::from_mins(16);
/// Maximum length of a restored throttle. After that, one call tests it.
const MAX_RESTORED_THROTTLE: Duration = Duration::from_hours(1);

/// An open call: granted and not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenCall {
    key: ObjectKey,
    /// Time of the grant, or of the start of the call.
    since: Instant,
    /// True after the call started: the token API may have received it.
    started: bool,
    /// True for an unplanned call.
    unplanned: bool,
}

/// State of the account's credential. A changed credential is another account.
#[derive(Debug, Default)]
struct Credential {
    accepted: bool,
    /// True if a token was issued with it.
    has_worked: bool,
    /// The VideoAccessToken for which an accepted credential was rejected. Other VideoAccessTokens show whether the
    /// credential still works.
    rejected_for: Option<ObjectKey>,
    blocked: Option<BlockedCredential>,
    /// Rejections in a row that can end without a change.
    refusals: u32,
}

/// Cause and time of a block.
#[derive(Clone, Copy, Debug)]
struct BlockedCredential {
    since: Instant,
    until: Instant,
    /// End of the block by the wall clock, for messages.
    until_wall: Timestamp,
    block: CredentialBlock,
}

impl BlockedCredential {
    fn new(block: CredentialBlock, wait: Duration, now: Now) -> Self {
        let until_wall = TimeDelta::from_std(wait).ok().and_then(|wait| now.wall.checked_add_signed(wait));
        let (since, until) = (now.mono, after(now.mono, wait));
        Self { since, until, until_wall: until_wall.unwrap_or(now.wall), block }
    }
}

#[derive(Debug, Default)]
pub(super) struct AccountBudget {
    /// True if a provider uses the account. Otherwise nothing is granted.
    in_use: bool,
    limits: Limits,
    history: CallHistory,
    shares: Shares,
    /// Open calls by number, in the order of their grants.
    calls: BTreeMap<u64, OpenCall>,
    /// The same, by the time since when they are open.
    by_age: BTreeSet<(Instant, u64)>,
    last_call: u64,
    /// Average duration of calls: each new call has a weight of one eighth.
    call_time: Duration,
    throttle: Throttle,
    shared_rate: SharedRate,
    credential: Credential,
    pub(super) queue: Queue,
}

impl AccountBudget {
    /// Sets the limits. Returns true if they changed. Past calls, throttle and open calls stay.
    pub(super) fn configure(&mut self, limits: Limits) -> bool {
        let changed = !self.in_use || self.limits != limits;
        self.in_use = true;
        self.limits = limits;
        changed
    }

    /// Stops granting until the next configuration. The credential must then be verified again.
    pub(super) fn retire(&mut self) {
        self.in_use = false;
        self.credential.accepted = false;
    }

    /// Returns true if no provider uses the account and no state of it counts.
    pub(super) fn can_remove(&mut self, now: Now) -> bool {
        self.history.forget(now.mono, self.history_window());
        self.shares.forget(now.mono, self.history_window());
        !self.in_use
            && self.queue.is_empty()
            && self.calls.is_empty()
            && self.history.is_empty()
            && self.throttle.until(now.mono, None).is_none()
            && self.shared_rate.saved(&self.limits, now.mono).is_none()
            && self.blocked(now.mono).is_none()
    }

    /// Returns true if a rejection for this VideoAccessToken shows a failure of the credential.
    pub(super) fn is_credential_failure(&self, key: &ObjectKey) -> bool {
        !self.credential.accepted && self.credential.rejected_for.as_ref() != Some(key)
    }

    /// Marks the credential as accepted by an earlier process. A rejection that this process knows takes precedence.
    pub(super) fn accept_credential(&mut self) {
        self.credential.has_worked = true;
        self.credential.accepted |= self.credential.blocked.is_none();
    }

    /// Blocks all grants for `wait`. A longer block stays.
    pub(super) fn block_credential(&mut self, block: CredentialBlock, wait: Duration, now: Now) {
        let blocked = BlockedCredential::new(block, wait.min(MAX_CREDENTIAL_BLOCK), now);
        if self.credential.blocked.is_none_or(|known| known.until < blocked.until) {
            self.credential.accepted = false;
            self.credential.blocked = Some(blocked);
        }
    }

    /// Shortens the block of a rejected identity, so that it is used again now.
    pub(super) fn try_again(&mut self, now: Now) {
        let Some(blocked) =
            self.credential.blocked.as_mut().filter(|blocked| blocked.block == CredentialBlock::IdentityRefused)
        else {
            return;
        };
        let soonest = after(blocked.since, MIN_RETRY_INTERVAL).max(now.mono);
        if soonest < blocked.until {
            let wait = soonest - now.mono;
            *blocked = BlockedCredential { since: blocked.since, ..BlockedCredential::new(blocked.block, wait, now) };
        }
        self.credential.refusals = 0;
    }

    /// Restores a throttle of an earlier process.
    pub(super) fn throttle(&mut self, wait: Duration, now: Instant) {
        let wait = wait.min(MAX_RESTORED_THROTTLE);
        self.throttle.record_throttle(self.last_call, self.last_call, Some(wait), now);
    }

    /// Sets the seed of the jitter.
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.shared_rate.set_seed(seed);
    }

    /// Restores the reduced rate of an earlier process.
    pub(super) fn restore_shared_use(&mut self, saved: SharedUse, now: Instant) {
        self.shared_rate.restore(saved, &self.limits, now);
    }

    /// Restores calls of an earlier process; see [`CallHistory::restore`].
    pub(super) fn restore(&mut self, ended: Vec<Instant>, round: u32, now: Instant) {
        let history_window = self.history_window();
        self.history.restore(ended, round, now, history_window);
        self.shares.forget(now, history_window);
    }

    #[cfg(test)]
    pub(super) fn calls_within(&self, now: Instant, span: Duration) -> usize {
        self.history.within(now, span)
    }

    /// Records a request of the namespace.
    pub(super) fn record_user(&mut self, namespace: &Arc<str>, now: Instant) {
        self.shares.record_user(namespace, now);
    }

    /// Ends the oldest grant or call if it passed its deadline: a grant is returned, and a call counts. Returns its
    /// VideoAccessToken and number.
    pub(super) fn expire_call(&mut self, round: u32, now: Instant) -> Option<(ObjectKey, u64)> {
        let (_, number) = *self.by_age.first().filter(|(since, _)| after(*since, CALL_DEADLINE) <= now)?;
        let call = self.close(number)?;
        if call.started {
            self.record(&call, round, now);
        }
        Some((call.key, number))
    }

    /// Starts the call of a grant. The call counts from now on, also if its VideoAccessToken is deleted.
    pub(super) fn begin(&mut self, number: u64, now: Instant) -> Option<OpenCall> {
        let call = self.close(number)?;
        Some(self.open(number, OpenCall { started: true, since: now, ..call }))
    }

    fn open(&mut self, number: u64, call: OpenCall) -> OpenCall {
        self.by_age.insert((call.since, number));
        self.calls.insert(number, call.clone());
        call
    }

    fn close(&mut self, number: u64) -> Option<OpenCall> {
        let call = self.calls.remove(&number)?;
        self.by_age.remove(&(call.since, number));
        Some(call)
    }

    fn record(&mut self, call: &OpenCall, round: u32, now: Instant) {
        let history_window = self.history_window();
        self.history.record(now, round, history_window);
        if call.unplanned {
            self.shares.record(&call.key.namespace, now, history_window);
        }
    }

    /// Returns when the next grant is possible. Promotes requests that became urgent.
    pub(super) fn availability(&mut self, now: Now) -> Availability {
        if !self.in_use || self.queue.is_empty() {
            return Availability::Event;
        }
        let need = self.queue_drain_time(now.mono);
        self.queue.promote(now.wall, need);
        let shares = self.readmit(now.mono);
        if self.queue.all_are_set_aside() {
            return match shares.min(self.next_promotion(now, need)) {
                Availability::Event => self.oldest_call_deadline(),
                availability => availability,
            };
        }

        let stopped_until = self.throttled_until(now).max(self.blocked(now.mono).map(|blocked| blocked.until));
        let slot = if self.calls.len() < self.slots() { Availability::Now } else { Availability::Event };
        let window = |reserved| self.history.availability(&self.limits, self.calls.len(), reserved);
        let window = if self.queue.has_no_urgent() {
            window(true).min(window(false).max(self.next_promotion(now, need)))
        } else {
            window(false)
        };
        let lifetime_left = self.queue.shortest_lifetime(now.wall);
        let waiting = Waiting { lifetime_left, urgent: !self.queue.has_no_urgent() };
        let pace = self.shared_rate.availability(&self.limits, &self.history, self.calls.len(), &waiting, now.mono);
        match stopped_until.map_or(Availability::Now, Availability::At).max(slot).max(window).max(pace) {
            Availability::At(at) if at <= now.mono => Availability::Now,
            Availability::Event => self.oldest_call_deadline(),
            availability => availability,
        }
    }

    fn next_promotion(&self, now: Now, need: Duration) -> Availability {
        let promotion = self.queue.next_promotion(now.wall, need);
        promotion.map_or(Availability::Event, |wait| Availability::At(after(now.mono, wait.min(PROMOTION_RECHECK))))
    }

    /// Returns requests that were set aside to the queue if their namespace has a share again. Returns when the next
    /// namespace has one.
    fn readmit(&mut self, now: Instant) -> Availability {
        let mut next = Availability::Event;
        for namespace in self.queue.set_aside().cloned().collect::<Vec<_>>() {
            match self.share_availability(&namespace) {
                later if self.lacks_share(&namespace, now) => next = next.min(later),
                _ => self.queue.readmit(&namespace),
            }
        }
        next
    }

    /// Returns when the namespace may make another unplanned call.
    fn share_availability(&self, namespace: &str) -> Availability {
        let open = self.calls.values().filter(|call| call.unplanned && *call.key.namespace == *namespace).count();
        self.shares.availability(&self.limits, namespace, open)
    }

    /// Returns true if the namespace has used up its share.
    pub(super) fn lacks_share(&self, namespace: &str, now: Instant) -> bool {
        match self.share_availability(namespace) {
            Availability::Now => false,
            Availability::At(at) => at > now,
            Availability::Event => true,
        }
    }

    /// Grants the next request as a call. Call it only if [`AccountBudget::availability`] returns `Now`. Requests
    /// without a share are skipped.
    pub(super) fn grant(&mut self, now: Now) -> Option<(ObjectKey, Entry, u64)> {
        let mut queue = std::mem::take(&mut self.queue);
        let popped = queue.pop(|namespace| !self.lacks_share(namespace, now.mono));
        self.queue = queue;
        let (key, entry) = popped?;
        self.last_call += 1;
        let call = OpenCall { key: key.clone(), since: now.mono, started: false, unplanned: entry.unplanned };
        self.open(self.last_call, call);
        Some((key, entry, self.last_call))
    }

    /// Ends a grant, with or without a call.
    pub(super) fn finish(&mut self, number: u64, outcome: CallOutcome, round: u32, now: Now) {
        let Some(call) = self.calls.get(&number).cloned() else { return };
        if matches!(outcome, CallOutcome::NotCalled) && !call.started {
            self.close(number);
            return;
        }
        self.end(number, &call, outcome, round, now);
    }

    /// Ends a call. A call that was ended at its deadline has been counted; its result is used nevertheless.
    pub(super) fn end(&mut self, number: u64, call: &OpenCall, outcome: CallOutcome, round: u32, now: Now) {
        if self.close(number).is_some() {
            self.record(call, round, now.mono);
        }
        self.call_time = (self.call_time * 7 + now.mono.saturating_duration_since(call.since)) / 8;
        match outcome {
            CallOutcome::Throttled { retry_after } => {
                self.throttle.record_throttle(number, self.last_call, retry_after, now.mono);
                self.record_shared_use(number, retry_after, now);
                return;
            }
            CallOutcome::Issued => {
                self.credential = Credential { accepted: true, has_worked: true, ..Credential::default() };
            }
            CallOutcome::CredentialUnverified => {
                self.credential.accepted = false;
                self.credential.rejected_for = Some(call.key.clone());
            }
            CallOutcome::CredentialRejected => {
                self.credential.accepted = false;
                self.credential.blocked =
                    Some(BlockedCredential::new(CredentialBlock::Rejected, CREDENTIAL_RETRY_INTERVAL, now));
            }
            CallOutcome::IdentityRefused { heals } => self.reject_identity(heals, call, now),
            _ => {}
        }
        if outcome == CallOutcome::Issued {
            self.shared_rate.record_issued();
        }
        self.throttle.record_answer(number, matches!(outcome, CallOutcome::Issued), now.mono);
    }

    /// Reduces the rate of the account if the throttle of this call shows that others use it.
    fn record_shared_use(&mut self, call: u64, retry_after: Option<Duration>, now: Now) {
        let throttled = Throttled {
            limits: &self.limits,
            history: &self.history,
            open: self.calls.len(),
            call,
            last_call: self.last_call,
            retry_after,
            urgent: !self.queue.has_no_urgent(),
            salt: now.wall.timestamp_millis().unsigned_abs(),
        };
        self.shared_rate.record_throttle(&throttled, now.mono);
    }

    fn reject_identity(&mut self, heals: bool, call: &OpenCall, now: Now) {
        let credential = &mut self.credential;
        credential.accepted = false;
        // concurrent calls are rejected together and count once
        if credential.blocked.is_none_or(|blocked| blocked.since < call.since) {
            credential.refusals = credential.refusals.saturating_add(1);
        }
        let healing = FIRST_HEALING_DELAY * 2u32.pow(credential.refusals.saturating_sub(1).min(10));
        let wait = if heals { healing.min(MAX_HEALING_DELAY) } else { CREDENTIAL_RETRY_INTERVAL };
        credential.blocked = Some(BlockedCredential::new(CredentialBlock::IdentityRefused, wait, now));
    }

    /// Returns the time that the throttle stopped the account since the last call of this function.
    pub(super) fn take_throttled(&mut self, now: Now) -> Duration {
        self.throttle.take_throttled_time(now.mono, self.queue.shortest_lifetime(now.wall))
    }

    pub(super) fn state(&self, now: Now) -> AccountState {
        let left = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(now.mono));
        AccountState {
            throttled_for: left(self.throttled_until(now)),
            retry_after_left: left(self.throttle.retry_after_until(now.mono)),
            blocked_for: left(self.blocked(now.mono).map(|blocked| blocked.until)),
            credential_block: self.blocked(now.mono).map(|blocked| blocked.block),
            blocked_until: self.blocked(now.mono).map(|blocked| blocked.until_wall),
            waiting: self.queue.len(),
            served_last_minute: self.history.within(now.mono, Duration::from_mins(1)),
            queue_drains_in: self.expected_drain_time(now),
            in_flight: self.calls.len(),
            accepted: self.credential.accepted,
            has_worked: self.credential.has_worked,
            oversubscribed: self.is_oversubscribed(now.mono),
            shared_use: self.shared_rate.saved(&self.limits, now.mono),
        }
    }

    /// Returns true if the demand (calls in the span, and waiting requests) exceeds 80% of the capacity of the span: by
    /// the limits, or by what others leave.
    fn is_oversubscribed(&self, now: Instant) -> bool {
        let span = self.history_window();
        let wanted = self.calls.len() + self.history.within(now, span) + self.queue.len();
        let each = self.limits.time_per_request(self.limits.slots(), self.call_time);
        let left_by_others = self.shared_rate.calls_in(span, &self.limits, now);
        let wanted_calls = f64::from(u32::try_from(wanted).unwrap_or(u32::MAX));
        each.as_nanos() * wanted as u128 * 5 > span.as_nanos() * 4
            || self.shared_rate.is_crowded(&self.history, now)
            || left_by_others.is_some_and(|calls| wanted_calls * 5.0 > calls * 4.0)
    }

    /// Returns how long ended calls are kept.
    fn history_window(&self) -> Duration {
        self.limits.longest().max(DEMAND_WINDOW)
    }

    /// Returns the time until the last request of the queue has its result.
    fn queue_drain_time(&self, now: Instant) -> Duration {
        let each = self.limits.time_per_request(self.slots(), self.call_time);
        let each = each.max(self.shared_rate.time_per_request(&self.limits, now).unwrap_or_default());
        each.saturating_mul(u32::try_from(self.queue.len()).unwrap_or(u32::MAX)).saturating_add(self.call_time)
    }

    /// Returns the expected time until the last request of the queue has its result: at the sustained rate of the
    /// limits, or at the rate of the last minute if the queue has lasted longer and the rate was lower.
    fn expected_drain_time(&self, now: Now) -> Duration {
        if self.queue.is_empty() {
            return Duration::ZERO;
        }
        let minute = Duration::from_mins(1);
        let stopped = self.throttled_until(now).max(self.blocked(now.mono).map(|blocked| blocked.until));
        let stopped = stopped.map_or(Duration::ZERO, |until| until.saturating_duration_since(now.mono));
        let is_steady = stopped.is_zero() && self.queue.busy_for(now.mono).is_some_and(|busy| busy > minute);
        let served = u32::try_from(self.history.within(now.mono, minute)).unwrap_or(u32::MAX);
        let observed = if is_steady { minute.checked_div(served).unwrap_or_default() } else { Duration::ZERO };
        let waiting = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.queue_drain_time(now.mono).max(observed.saturating_mul(waiting)).saturating_add(stopped)
    }

    /// Returns the maximum number of concurrent calls: one while the credential is not accepted, or after a throttle
    /// until another result.
    fn slots(&self) -> usize {
        if self.credential.accepted && !self.throttle.is_probing() { self.limits.slots() } else { 1 }
    }

    fn throttled_until(&self, now: Now) -> Option<Instant> {
        self.throttle.until(now.mono, self.queue.shortest_lifetime(now.wall))
    }

    fn blocked(&self, now: Instant) -> Option<BlockedCredential> {
        self.credential.blocked.filter(|blocked| blocked.until > now)
    }

    fn oldest_call_deadline(&self) -> Availability {
        let oldest = self.by_age.first();
        oldest.map_or(Availability::Event, |(since, _)| Availability::At(after(*since, CALL_DEADLINE)))
    }
}
