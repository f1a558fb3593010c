//! One account: what it has spent, what stops it, which calls are open and who waits.

use super::queue::{Entry, Queue};
use super::throttle::Throttle;
use super::window::{Limits, Opening, Spent, after};
use super::{AccountState, Lock, Outcome};
use crate::api::key::ObjectKey;
use crate::clock::Now;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A refused credential is tried again after this.
const LOCKED_FOR: Duration = Duration::from_mins(15);
/// Demand is measured over this, or over the longest window.
const DEMAND_OVER: Duration = Duration::from_mins(10);
/// Promotions follow the wall clock, which may jump: who waits for one is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// A grant that nobody ended for so long, longer than any call, counts as a call that ended now.
const CALL_ENDS_WITHIN: Duration = Duration::from_mins(2);

/// An open call: granted and not yet ended.
#[derive(Debug)]
struct Call {
    key: ObjectKey,
    since: Instant,
    /// The credential's generation when the call was granted.
    credential: u64,
}

/// What is known of the account's credential.
#[derive(Debug, Default)]
struct Credential {
    /// Grows with each change: an answer to an older one tells nothing of this one.
    generation: u64,
    proven: bool,
    /// It had worked, and then was refused to this object. Others tell whether it is the credential or the object.
    doubted_by: Option<ObjectKey>,
    locked_until: Option<(Instant, Lock)>,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    /// A provider uses it. Nothing is granted otherwise.
    in_use: bool,
    limits: Limits,
    spent: Spent,
    /// By number, which is the order of their grants.
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    /// How long calls take: a moving average, an eighth for each new one.
    call_time: Duration,
    throttle: Throttle,
    credential: Credential,
    pub(super) queue: Queue,
}

impl Account {
    /// True when anything changed. What is spent, stopped or open stays.
    pub(super) fn configure(&mut self, limits: Limits) -> bool {
        let changed = !self.in_use || self.limits != limits;
        self.in_use = true;
        self.limits = limits;
        changed
    }

    /// Grants nothing more until it is configured again, with a credential to be proven again.
    pub(super) fn retire(&mut self) {
        self.in_use = false;
        self.credential.proven = false;
    }

    /// Nobody uses it, and nothing has to be remembered of it.
    pub(super) fn is_forgettable(&mut self, now: Now) -> bool {
        self.spent.forget(now.mono, self.memory());
        !self.in_use
            && self.queue.is_empty()
            && self.calls.is_empty()
            && self.spent.is_empty()
            && self.throttle.until(now.mono, None).is_none()
            && self.locked_until(now.mono).is_none()
    }

    pub(super) fn credential_changed(&mut self) {
        self.credential = Credential { generation: self.credential.generation + 1, ..Credential::default() };
    }

    /// Would a refusal of the credential to this object be the credential's fault?
    pub(super) fn blames_credential(&self, key: &ObjectKey) -> bool {
        !self.credential.proven && self.credential.doubted_by.as_ref() != Some(key)
    }

    /// An earlier life of this process, or another operator, has used it well. What is known better stays.
    pub(super) fn accept_credential(&mut self) {
        self.credential.proven |= self.credential.locked_until.is_none();
    }

    /// Nothing is granted until then.
    pub(super) fn lock(&mut self, lock: Lock, until: Instant) {
        if self.credential.locked_until.is_none_or(|(known, _)| known < until) {
            self.credential.proven = false;
            self.credential.locked_until = Some((until, lock));
        }
    }

    /// The provider asked an earlier life of this process, or another operator, to wait until then.
    pub(super) fn throttle(&mut self, wait: Duration, now: Instant) {
        self.throttle.said_stop(self.last_call, self.last_call, Some(wait), now);
    }

    /// Ends a call that nobody ended; its object is no longer granted.
    pub(super) fn end_forgotten_call(&mut self, now: Instant) -> Option<ObjectKey> {
        let oldest = self.calls.first_entry()?;
        if after(oldest.get().since, CALL_ENDS_WITHIN) > now {
            return None;
        }
        let call = oldest.remove();
        self.spent.record(now, self.memory());
        Some(call.key)
    }

    /// When the next grant is possible. Promotes what has become urgent.
    pub(super) fn opening(&mut self, now: Now) -> Opening {
        if !self.in_use || self.queue.is_empty() {
            return Opening::Event;
        }
        let need = self.time_for_all();
        self.queue.promote(now.wall, need);

        let stopped_until = self.throttled_until(now).max(self.locked_until(now.mono).map(|(until, _)| until));
        let slot = if self.calls.len() < self.slots() { Opening::Now } else { Opening::Event };
        let window = |reserved| self.spent.opening(&self.limits, self.calls.len(), reserved);
        let window = if self.queue.nothing_is_urgent() {
            let promotion = self.queue.next_promotion(now.wall, need);
            let promotion = promotion.map_or(Opening::Event, |wait| Opening::At(after(now.mono, wait.min(LOOK_AGAIN))));
            window(true).min(window(false).max(promotion))
        } else {
            window(false)
        };
        match stopped_until.map_or(Opening::Now, Opening::At).max(slot).max(window) {
            Opening::At(at) if at <= now.mono => Opening::Now,
            Opening::Event => self.oldest_call_ends(),
            opening => opening,
        }
    }

    /// Grants the next in order, as call of that number; only when [`Account::opening`] says `Now`.
    pub(super) fn grant(&mut self, now: Now) -> Option<(ObjectKey, Entry, u64)> {
        let (key, entry) = self.queue.pop()?;
        self.last_call += 1;
        let call = Call { key: key.clone(), since: now.mono, credential: self.credential.generation };
        self.calls.insert(self.last_call, call);
        Some((key, entry, self.last_call))
    }

    pub(super) fn finish(&mut self, number: u64, outcome: Outcome, now: Instant) {
        let Some(call) = self.calls.remove(&number) else { return };
        if matches!(outcome, Outcome::NotCalled) {
            return;
        }
        self.spent.record(now, self.memory());
        self.call_time = (self.call_time * 7 + now.saturating_duration_since(call.since)) / 8;
        let of_this_credential = call.credential == self.credential.generation;
        match outcome {
            Outcome::Throttled { retry_after } => {
                self.throttle.said_stop(number, self.last_call, retry_after, now);
                return;
            }
            Outcome::Issued if of_this_credential => {
                self.credential.proven = true;
                self.credential.doubted_by = None;
                self.credential.locked_until = None;
            }
            Outcome::CredentialDoubted if of_this_credential => {
                self.credential.proven = false;
                self.credential.doubted_by = Some(call.key);
            }
            Outcome::CredentialRejected if of_this_credential => {
                self.credential.proven = false;
                self.credential.locked_until = Some((after(now, LOCKED_FOR), Lock::Rejected));
            }
            _ => {}
        }
        self.throttle.answered(number, matches!(outcome, Outcome::Issued), now);
    }

    /// How long the provider's throttle stopped it since this was last asked.
    pub(super) fn take_throttled(&mut self, now: Now) -> Duration {
        self.throttle.take_stopped(now.mono, self.queue.shortest_life(now.wall))
    }

    pub(super) fn state(&self, now: Now) -> AccountState {
        let left = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(now.mono));
        AccountState {
            throttled_for: left(self.throttled_until(now)),
            asked_to_wait: left(self.throttle.wished(now.mono)),
            locked_for: left(self.locked_until(now.mono).map(|(until, _)| until)),
            lock: self.locked_until(now.mono).map(|(_, lock)| lock),
            waiting: self.queue.len(),
            in_flight: self.calls.len(),
            proven: self.credential.proven,
            oversubscribed: self.is_oversubscribed(now.mono),
        }
    }

    /// Wanted (called within the span, or waiting now) exceeds 80 % of what the span can serve at the sustained rate.
    fn is_oversubscribed(&self, now: Instant) -> bool {
        let span = self.memory();
        let wanted = self.calls.len() + self.spent.within(now, span) + self.queue.len();
        let each = self.limits.time_per_request(self.limits.slots(), self.call_time);
        each.as_nanos() * wanted as u128 * 5 > span.as_nanos() * 4
    }

    /// How long ended calls are remembered.
    fn memory(&self) -> Duration {
        self.limits.longest().max(DEMAND_OVER)
    }

    /// What the whole queue needs from now until the last of it has its answer.
    fn time_for_all(&self) -> Duration {
        let each = self.limits.time_per_request(self.slots(), self.call_time);
        each.saturating_mul(u32::try_from(self.queue.len()).unwrap_or(u32::MAX)).saturating_add(self.call_time)
    }

    /// Calls at once: one while the credential is not proven, or after a throttle until another answer came.
    fn slots(&self) -> usize {
        if self.credential.proven && !self.throttle.is_probing() { self.limits.slots() } else { 1 }
    }

    fn throttled_until(&self, now: Now) -> Option<Instant> {
        self.throttle.until(now.mono, self.queue.shortest_life(now.wall))
    }

    fn locked_until(&self, now: Instant) -> Option<(Instant, Lock)> {
        self.credential.locked_until.filter(|(until, _)| *until > now)
    }

    fn oldest_call_ends(&self) -> Opening {
        let oldest = self.calls.values().next();
        oldest.map_or(Opening::Event, |call| Opening::At(after(call.since, CALL_ENDS_WITHIN)))
    }
}
