//! Status of a `ClusterTokenProvider` that several operators write, each with what it knows of its own namespaces.
//!
//! An operator composes its own status as if it were alone, and merges it into the stored one. A stored value that
//! differs from the operator's own last value is another operator's, and stays while it is in effect. Both operators
//! prefer the same one of two values, so that neither reverts the write of the other:
//!
//! | Field | Preferred |
//! |---|---|
//! | `throttledUntil`, `sharedUse` | the later time |
//! | `credentials` | a block that hasn't ended, with its Ready condition |
//! | `queue` | the longer one of the last 90 seconds |
//! | `lastIssuedAt` | the later time, if it is 10 minutes later |
//! | `Oversubscribed`, `ClockSkewed` | True |
//!
//! Any other difference is written only after a change of the operator's own status. The number of `VideoAccessTokens`
//! isn't reported, because each operator counts those of its own namespaces.

use super::provider_status::LAST_ISSUED_INTERVAL;
use crate::clock::Timestamp;
use chrono::TimeDelta;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::provider_status::{CredentialsStatus, ProviderStatus, QueueStatus, SharedUseStatus};

/// Time for which the queue of another operator counts. An operator with a queue reports it every 30 seconds.
const QUEUE_LASTS: TimeDelta = TimeDelta::seconds(90);

/// Time for which another operator's throttle by others counts: longer than any pace lasts.
const SHARED_USE_LASTS: TimeDelta = TimeDelta::days(3);

/// Time after the end of a throttle or block in which only the operator that reported it removes it.
const ENDED_LASTS: TimeDelta = TimeDelta::minutes(1);

/// Conditions that hold if one operator observes them.
const WARNINGS: [&str; 2] = ["Oversubscribed", "ClockSkewed"];

/// Returns the status to write, or `None` if the stored one may stay. `own` is this operator's status, `own_before` the
/// last one that was merged, and `None` for a new process.
pub fn merge(
    own: &ProviderStatus,
    own_before: Option<&ProviderStatus>,
    stored: &ProviderStatus,
    now: Timestamp,
) -> Option<ProviderStatus> {
    let stored = ProviderStatus { login_attempts: Vec::new(), ..stored.clone() };
    let mut merged = ProviderStatus { tokens: None, ..own.clone() };
    let theirs = Theirs { own_before, stored: &stored, now };
    merged.throttled_until = own.throttled_until.max(theirs.throttled_until());
    merged.shared_use = theirs.shared_use(own).or(merged.shared_use);
    merged.queue = theirs.queue(own).or(merged.queue);
    merged.last_issued_at = last_issued_at(own, &stored, now);
    merged.proven_login = own.proven_login.clone().or_else(|| stored.proven_login.clone());
    let block = theirs.block(own).cloned();
    let ready = block.is_some().then(|| condition(&stored, "Ready")).flatten().filter(|ready| !holds(ready));
    merged.credentials = block.or(merged.credentials).or_else(|| theirs.credentials().cloned());
    merged
        .conditions
        .retain(|condition| !theirs.warns(own, &condition.type_) && (condition.type_ != "Ready" || ready.is_none()));
    let warnings =
        WARNINGS.iter().filter(|type_| theirs.warns(own, type_)).filter_map(|type_| condition(&stored, type_));
    let kept: Vec<_> = ready.into_iter().chain(warnings).cloned().collect();
    merged.conditions.extend(kept);
    for condition in &mut merged.conditions {
        let same = stored.conditions.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_transition_time = same.map_or(now, |same| same.last_transition_time);
    }
    // in the order of the stored ones, which may be the other operator's
    let place = |of: &Condition| stored.conditions.iter().position(|old| old.type_ == of.type_).unwrap_or(usize::MAX);
    merged.conditions.sort_by_key(place);
    let has_changed = own_before != Some(own);
    (merged != stored && (has_changed || is_missing(&merged, &stored, now))).then_some(merged)
}

/// Returns true if the stored status lacks what every operator prefers.
fn is_missing(merged: &ProviderStatus, stored: &ProviderStatus, now: Timestamp) -> bool {
    let warns = |status: &ProviderStatus, type_| condition(status, type_).is_some_and(holds);
    let is_blocked = |of: &ProviderStatus| of.credentials.as_ref().is_some_and(|of| blocks_until(of) > Some(now));
    let has_ended = |of: &CredentialsStatus| !of.accepted && blocks_until(of).is_none_or(|at| at + ENDED_LASTS < now);
    let works = |of: &CredentialsStatus| {
        let same = merged.credentials.as_ref().filter(|merged| merged.version == of.version);
        same.is_some_and(|merged| merged.accepted)
    };
    merged.throttled_until != stored.throttled_until
        || merged.queue != stored.queue
        || merged.shared_use != stored.shared_use
        || (is_blocked(merged) && !is_blocked(stored))
        || stored.credentials.as_ref().is_some_and(|stored| has_ended(stored) && works(stored))
        || WARNINGS.iter().any(|type_| warns(merged, type_) && !warns(stored, type_))
}

/// Returns the last issuance of either, or the stored one if it is less than 10 minutes older.
fn last_issued_at(own: &ProviderStatus, stored: &ProviderStatus, now: Timestamp) -> Option<Timestamp> {
    // a time in the future was written by a clock that was wrong
    let stored = stored.last_issued_at.filter(|at| *at - now < TimeDelta::minutes(1));
    let last = own.last_issued_at.max(stored);
    stored.filter(|stored| last.is_none_or(|last| last - *stored < LAST_ISSUED_INTERVAL)).or(last)
}

/// Reports of other operators: the values of the stored status that this operator didn't report last.
struct Theirs<'a> {
    own_before: Option<&'a ProviderStatus>,
    stored: &'a ProviderStatus,
    now: Timestamp,
}

impl<'a> Theirs<'a> {
    /// Returns the stored value of a field, if it isn't the operator's own.
    fn unless_own<T: PartialEq>(&self, field: fn(&ProviderStatus) -> Option<&T>) -> Option<&'a T> {
        let stored = field(self.stored);
        stored.filter(|_| self.own_before.is_none_or(|own| field(own) != stored))
    }

    fn throttled_until(&self) -> Option<Timestamp> {
        let until = self.unless_own(|status| status.throttled_until.as_ref()).copied();
        until.filter(|until| *until + ENDED_LASTS > self.now)
    }

    /// Returns a throttle by others that is later than the operator's own.
    fn shared_use(&self, own: &ProviderStatus) -> Option<SharedUseStatus> {
        let order = |of: &SharedUseStatus| (of.throttled_at, of.calls_per_hour, of.level);
        let theirs = self.unless_own(|status| status.shared_use.as_ref())?;
        let counts = theirs.throttled_at.is_some_and(|at| (self.now - at).abs() < SHARED_USE_LASTS);
        (counts && Some(order(theirs)) > own.shared_use.as_ref().map(order)).then(|| theirs.clone())
    }

    /// Returns a queue that isn't shorter than the operator's own.
    fn queue(&self, own: &ProviderStatus) -> Option<QueueStatus> {
        let own = own.queue.as_ref().map_or(0, |queue| queue.waiting);
        let theirs = self.unless_own(|status| status.queue.as_ref())?;
        let is_fresh = theirs.observed_at.is_some_and(|at| (self.now - at).abs() < QUEUE_LASTS);
        (is_fresh && theirs.waiting >= own).then(|| theirs.clone())
    }

    fn credentials(&self) -> Option<&'a CredentialsStatus> {
        self.unless_own(|status| status.credentials.as_ref())
    }

    /// Returns a block of the same credential that hasn't ended.
    fn block(&self, own: &ProviderStatus) -> Option<&'a CredentialsStatus> {
        let is_same =
            |theirs: &CredentialsStatus| own.credentials.as_ref().is_none_or(|own| own.version == theirs.version);
        self.credentials().filter(|theirs| is_same(theirs) && blocks_until(theirs) > Some(self.now))
    }

    /// Returns true if the stored condition warns, and the operator's own one has not warned.
    fn warns(&self, own: &ProviderStatus, type_: &str) -> bool {
        let warns = |status: &ProviderStatus| condition(status, type_).is_some_and(holds);
        WARNINGS.contains(&type_) && warns(self.stored) && !warns(own) && self.own_before.is_some_and(|own| !warns(own))
    }
}

fn condition<'a>(status: &'a ProviderStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

fn holds(condition: &Condition) -> bool {
    condition.status == ConditionStatus::True
}

/// Returns the end of a block, if the credential is blocked.
fn blocks_until(credentials: &CredentialsStatus) -> Option<Timestamp> {
    credentials.next_attempt_at.filter(|_| !credentials.accepted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
