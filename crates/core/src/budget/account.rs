//! One account: what it has spent, what stops it, which calls are open and who waits.

use super::queue::{Entry, Queue};
use super::share::Shares;
use super::throttle::Throttle;
use super::window::{Limits, Opening, Spent, after};
use super::{AccountState, Lock, Outcome};
use crate::clock::{Now, Timestamp};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;

/// A refused credential is tried again after this.
const LOCKED_FOR: Duration = Duration::from_mins(15);
/// One that time heals is tried again after this, doubled with each refusal in a row.
const FIRST_HEALING: Duration = Duration::from_secs(5);
/// The longest of these waits.
const LAST_HEALING: Duration = Duration::from_mins(5);
/// However often somebody asks for it, a refused identity isn't tried again sooner after its last refusal.
const LEAST_BETWEEN: Duration = Duration::from_secs(5);
/// Demand is measured over this, or over the longest window.
const DEMAND_OVER: Duration = Duration::from_mins(10);
/// Promotions follow the wall clock, which may jump: who waits for one is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// A grant whose call hasn't begun for so long is lost; a call that hasn't ended for so long, longer than any takes, ends.
const CALL_ENDS_WITHIN: Duration = Duration::from_mins(2);
/// A lock is never longer than this, whoever wrote it down and by whichever clock: 15 min, and one for the clocks of two
/// operators.
const LONGEST_LOCK: Duration = Duration::from_mins(16);
/// A throttle that an earlier life wrote down holds for no longer than this: one call asks whether it still holds.
const LONGEST_RECALLED_THROTTLE: Duration = Duration::from_hours(1);

/// An open call: granted and not yet ended.
#[derive(Clone, Debug)]
pub(super) struct Call {
    key: ObjectKey,
    /// Since it was granted, or has begun.
    since: Instant,
    /// The provider may have been called.
    begun: bool,
    /// No schedule asked for it.
    unplanned: bool,
    /// The credential's generation when the call was granted.
    credential: u64,
}

/// What is known of the account's credential.
#[derive(Debug, Default)]
struct Credential {
    /// Grows with each change: an answer to an older one tells nothing of this one.
    generation: u64,
    proven: bool,
    /// It has worked, whatever was said of it since.
    has_worked: bool,
    /// It had worked, and then was refused to this object. Others tell whether it is the credential or the object.
    doubted_by: Option<ObjectKey>,
    locked: Option<Locked>,
    /// Refusals in a row that time heals.
    refusals: u32,
}

/// Why the credential isn't tried, and how long.
#[derive(Clone, Copy, Debug)]
struct Locked {
    since: Instant,
    until: Instant,
    /// The same by the wall clock, for people.
    until_wall: Timestamp,
    lock: Lock,
}

impl Locked {
    fn new(lock: Lock, wait: Duration, now: Now) -> Self {
        let until_wall = TimeDelta::from_std(wait).ok().and_then(|wait| now.wall.checked_add_signed(wait));
        let (since, until) = (now.mono, after(now.mono, wait));
        Self { since, until, until_wall: until_wall.unwrap_or(now.wall), lock }
    }
}

#[derive(Debug, Default)]
pub(super) struct Account {
    /// A provider uses it. Nothing is granted otherwise.
    in_use: bool,
    limits: Limits,
    spent: Spent,
    shares: Shares,
    /// By number, which is the order of their grants.
    calls: BTreeMap<u64, Call>,
    /// The same by the time since when they are open.
    by_age: BTreeSet<(Instant, u64)>,
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
        self.shares.forget(now.mono, self.memory());
        !self.in_use
            && self.queue.is_empty()
            && self.calls.is_empty()
            && self.spent.is_empty()
            && self.throttle.until(now.mono, None).is_none()
            && self.locked(now.mono).is_none()
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
        self.credential.has_worked = true;
        self.credential.proven |= self.credential.locked.is_none();
    }

    /// Nothing is granted for so long.
    pub(super) fn lock(&mut self, lock: Lock, wait: Duration, now: Now) {
        let locked = Locked::new(lock, wait.min(LONGEST_LOCK), now);
        if self.credential.locked.is_none_or(|known| known.until < locked.until) {
            self.credential.proven = false;
            self.credential.locked = Some(locked);
        }
    }

    /// Somebody asks that a refused identity be tried again now.
    pub(super) fn try_again(&mut self, now: Now) {
        let Some(locked) = self.credential.locked.as_mut().filter(|locked| locked.lock == Lock::IdentityRefused) else {
            return;
        };
        let soonest = after(locked.since, LEAST_BETWEEN).max(now.mono);
        if soonest < locked.until {
            let wait = soonest - now.mono;
            *locked = Locked { since: locked.since, ..Locked::new(locked.lock, wait, now) };
        }
        self.credential.refusals = 0;
    }

    /// The provider asked an earlier life of this process, or another operator, to wait until then.
    pub(super) fn throttle(&mut self, wait: Duration, now: Instant) {
        let wait = wait.min(LONGEST_RECALLED_THROTTLE);
        self.throttle.said_stop(self.last_call, self.last_call, Some(wait), now);
    }

    /// Calls of before this process led, as what they left behind tells of them; see [`Spent::recall`].
    pub(super) fn recall(&mut self, ended: Vec<Instant>, round: u32, now: Instant) {
        let memory = self.memory();
        self.spent.recall(ended, round, now, memory);
        self.shares.forget(now, memory);
    }

    #[cfg(test)]
    pub(super) fn spent_within(&self, now: Instant, span: Duration) -> usize {
        self.spent.within(now, span)
    }

    /// The namespace uses the account.
    pub(super) fn used_by(&mut self, namespace: &Arc<str>, now: Instant) {
        self.shares.used_by(namespace, now);
    }

    /// Ends a grant that nobody took up, which gives it back, or a call that nobody ended, which counts. Tells whose and
    /// which it was.
    pub(super) fn end_forgotten_call(&mut self, round: u32, now: Instant) -> Option<(ObjectKey, u64)> {
        let (_, number) = *self.by_age.first().filter(|(since, _)| after(*since, CALL_ENDS_WITHIN) <= now)?;
        let call = self.close(number)?;
        if call.begun {
            self.record(&call, round, now);
        }
        Some((call.key, number))
    }

    /// The call counts from now on, whatever becomes of its object.
    pub(super) fn begin(&mut self, number: u64, now: Instant) -> Option<Call> {
        let call = self.close(number)?;
        Some(self.open(number, Call { begun: true, since: now, ..call }))
    }

    fn open(&mut self, number: u64, call: Call) -> Call {
        self.by_age.insert((call.since, number));
        self.calls.insert(number, call.clone());
        call
    }

    fn close(&mut self, number: u64) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        self.by_age.remove(&(call.since, number));
        Some(call)
    }

    fn record(&mut self, call: &Call, round: u32, now: Instant) {
        let memory = self.memory();
        self.spent.record(now, round, memory);
        if call.unplanned {
            self.shares.record(&call.key.namespace, now, memory);
        }
    }

    /// When the next grant is possible. Promotes what has become urgent.
    pub(super) fn opening(&mut self, now: Now) -> Opening {
        if !self.in_use || self.queue.is_empty() {
            return Opening::Event;
        }
        let need = self.time_for_all();
        self.queue.promote(now.wall, need);
        let shares = self.readmit(now.mono);
        if self.queue.all_are_aside() {
            return match shares.min(self.next_promotion(now, need)) {
                Opening::Event => self.oldest_call_ends(),
                opening => opening,
            };
        }

        let stopped_until = self.throttled_until(now).max(self.locked(now.mono).map(|locked| locked.until));
        let slot = if self.calls.len() < self.slots() { Opening::Now } else { Opening::Event };
        let window = |reserved| self.spent.opening(&self.limits, self.calls.len(), reserved);
        let window = if self.queue.nothing_is_urgent() {
            window(true).min(window(false).max(self.next_promotion(now, need)))
        } else {
            window(false)
        };
        match stopped_until.map_or(Opening::Now, Opening::At).max(slot).max(window) {
            Opening::At(at) if at <= now.mono => Opening::Now,
            Opening::Event => self.oldest_call_ends(),
            opening => opening,
        }
    }

    fn next_promotion(&self, now: Now, need: Duration) -> Opening {
        let promotion = self.queue.next_promotion(now.wall, need);
        promotion.map_or(Opening::Event, |wait| Opening::At(after(now.mono, wait.min(LOOK_AGAIN))))
    }

    /// Those that were set aside wait with the others again where their namespaces have a share again. Tells when the next
    /// has.
    fn readmit(&mut self, now: Instant) -> Opening {
        let mut next = Opening::Event;
        for namespace in self.queue.aside().cloned().collect::<Vec<_>>() {
            match self.share_opening(&namespace) {
                later if self.lacks_share(&namespace, now) => next = next.min(later),
                _ => self.queue.readmit(&namespace),
            }
        }
        next
    }

    /// When the namespace may make one more call that no schedule asks for.
    fn share_opening(&self, namespace: &str) -> Opening {
        let open = self.calls.values().filter(|call| call.unplanned && *call.key.namespace == *namespace).count();
        self.shares.opening(&self.limits, namespace, open)
    }

    /// What holds an object back that asked for a call that no schedule asks for: its namespace's share is used up.
    pub(super) fn lacks_share(&self, namespace: &str, now: Instant) -> bool {
        match self.share_opening(namespace) {
            Opening::Now => false,
            Opening::At(at) => at > now,
            Opening::Event => true,
        }
    }

    /// Grants the next in order, as call of that number; only when [`Account::opening`] says `Now`. Whoever lacks a share
    /// is passed over.
    pub(super) fn grant(&mut self, now: Now) -> Option<(ObjectKey, Entry, u64)> {
        let mut queue = std::mem::take(&mut self.queue);
        let popped = queue.pop(|namespace| !self.lacks_share(namespace, now.mono));
        self.queue = queue;
        let (key, entry) = popped?;
        self.last_call += 1;
        let credential = self.credential.generation;
        let call = Call { key: key.clone(), since: now.mono, begun: false, unplanned: entry.unplanned, credential };
        self.open(self.last_call, call);
        Some((key, entry, self.last_call))
    }

    /// The end of a grant that was taken up and given back in one.
    pub(super) fn finish(&mut self, number: u64, outcome: Outcome, round: u32, now: Now) {
        let Some(call) = self.calls.get(&number).cloned() else { return };
        if matches!(outcome, Outcome::NotCalled) && !call.begun {
            self.close(number);
            return;
        }
        self.end(number, &call, outcome, round, now);
    }

    /// The end of a call. One that was given up meanwhile has been counted, and what its answer says counts all the same.
    pub(super) fn end(&mut self, number: u64, call: &Call, outcome: Outcome, round: u32, now: Now) {
        if self.close(number).is_some() {
            self.record(call, round, now.mono);
        }
        self.call_time = (self.call_time * 7 + now.mono.saturating_duration_since(call.since)) / 8;
        let of_this_credential = call.credential == self.credential.generation;
        match outcome {
            Outcome::Throttled { retry_after } => {
                self.throttle.said_stop(number, self.last_call, retry_after, now.mono);
                return;
            }
            Outcome::Issued if of_this_credential => {
                let generation = self.credential.generation;
                self.credential = Credential { generation, proven: true, has_worked: true, ..Credential::default() };
            }
            Outcome::CredentialDoubted if of_this_credential => {
                self.credential.proven = false;
                self.credential.doubted_by = Some(call.key.clone());
            }
            Outcome::CredentialRejected if of_this_credential => {
                self.credential.proven = false;
                self.credential.locked = Some(Locked::new(Lock::Rejected, LOCKED_FOR, now));
            }
            Outcome::IdentityRefused { heals } if of_this_credential => self.refuse_identity(heals, call, now),
            _ => {}
        }
        self.throttle.answered(number, matches!(outcome, Outcome::Issued), now.mono);
    }

    fn refuse_identity(&mut self, heals: bool, call: &Call, now: Now) {
        let credential = &mut self.credential;
        credential.proven = false;
        // those that were under way together are refused together
        if credential.locked.is_none_or(|locked| locked.since < call.since) {
            credential.refusals = credential.refusals.saturating_add(1);
        }
        let healing = FIRST_HEALING * 2u32.pow(credential.refusals.saturating_sub(1).min(10));
        let wait = if heals { healing.min(LAST_HEALING) } else { LOCKED_FOR };
        credential.locked = Some(Locked::new(Lock::IdentityRefused, wait, now));
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
            locked_for: left(self.locked(now.mono).map(|locked| locked.until)),
            lock: self.locked(now.mono).map(|locked| locked.lock),
            locked_until: self.locked(now.mono).map(|locked| locked.until_wall),
            waiting: self.queue.len(),
            in_flight: self.calls.len(),
            proven: self.credential.proven,
            has_worked: self.credential.has_worked,
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

    fn locked(&self, now: Instant) -> Option<Locked> {
        self.credential.locked.filter(|locked| locked.until > now)
    }

    fn oldest_call_ends(&self) -> Opening {
        let oldest = self.by_age.first();
        oldest.map_or(Opening::Event, |(since, _)| Opening::At(after(*since, CALL_ENDS_WITHIN)))
    }
}
