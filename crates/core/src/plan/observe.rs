//! The facts of one decision, from the state in memory, the status, and the Secrets that are known.

use super::contest::{CONTESTED, Contest, OVERRIDDEN, Version};
use super::facts::{Failure, SecretFacts, StatusFacts, Uid};
use super::hash::Hash;
use super::object_state::{LastAttempt, LookupResult, ObjectState};
use super::unplanned::{Unplanned, UnplannedCalls};
use super::view::{AccountBlock, Before, DataView, DecisionInput, DesiredToken, QueueState, Refusal, SecretView};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;

/// Time for which a lookup counts that found a Secret without the operator's label.
const LOOKUP_TTL: TimeDelta = TimeDelta::minutes(3);

/// Time for which a lookup counts that found no Secret, so that a token that waits for its budget costs one lookup
/// (P04). If a Secret of that name appears in this time, the write that would create one is refused (P09).
const ABSENCE_TTL: TimeDelta = TimeDelta::hours(1);

/// A VideoAccessToken, as far as decisions depend on it.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    /// UID of the object.
    pub uid: Uid,
    /// `metadata.generation`.
    pub generation: i64,
    /// Hash of everything whose change triggers a reconcile.
    pub trigger_hash: u64,
    /// True if the object is being deleted.
    pub deleting: bool,
    /// Value of the annotation that forces a renewal.
    pub renew_requested_at: Option<&'a str>,
    /// Facts from its status.
    pub status: &'a StatusFacts,
    /// The Secret that the spec names.
    pub secret_key: &'a ObjectKey,
}

/// In-memory state of an object and its Secrets at one time.
#[derive(Clone, Debug)]
pub struct Observation {
    /// In-memory state of the object.
    pub state: ObjectState,
    /// Facts of the Secret that the spec names, if it exists.
    pub secret: Option<Arc<SecretFacts>>,
    /// True if the API server reported that the Secret doesn't exist.
    pub absent: bool,
    /// State of the Secret's data.
    pub data: DataView,
    /// True if the VideoAccessToken that owned the Secret no longer exists.
    pub owner_gone: bool,
    /// Managed Secret under the old name.
    pub old_secret: Option<(ObjectKey, Arc<SecretFacts>)>,
    /// Last failure, if it still counts.
    pub failure: Option<Arc<Failure>>,
    /// Consecutive failures that still count.
    pub attempts: u32,
    /// Hash of the inputs of an attempt made now; see [`LastAttempt::Failed`].
    pub attempt_hash: u64,
    /// Limits of the unplanned calls.
    pub before: Before,
}

impl Observation {
    /// Observes the object's Secrets. `state` is a copy of its state, `known` returns the facts of a managed Secret,
    /// `others` are the managed Secrets of other names that were written for the object, and `exists` returns true if an
    /// object has this UID.
    pub fn new(
        object: ObjectFacts<'_>,
        mut state: ObjectState,
        known: impl Fn(&ObjectKey) -> Option<Arc<SecretFacts>>,
        others: Vec<ObjectKey>,
        exists: impl FnOnce(Uid) -> bool,
        now: Timestamp,
    ) -> Self {
        let (secret, absent) = match (known(object.secret_key), recent_lookup(object, &state, now)) {
            (Some(facts), _) | (None, Some(LookupResult::Secret(facts))) => (Some(facts), false),
            (None, found) => (None, matches!(found, Some(LookupResult::Nothing))),
        };
        restore_contest(object, &mut state, secret.as_ref().map(|facts| facts.version()), now);
        let data = data_view(object, &state, secret.as_deref(), now);
        if data == DataView::Lost || (absent && state.repaired) {
            state.unsaved = state.unsaved.take().or(state.spare.clone());
        }
        let owner = secret.as_ref().and_then(|facts| facts.owner);
        let owner_gone = owner.is_some_and(|owner| owner != object.uid && !exists(owner));
        let old_secret = old_secret(object, others, known);
        let before = Before { generation: object.generation, ..Before::default() };
        Self {
            state,
            secret,
            absent,
            data,
            owner_gone,
            old_secret,
            failure: None,
            attempts: 0,
            attempt_hash: 0,
            before,
        }
    }

    /// Adds the object's unplanned calls and its last failure, from memory or, after a restart, from the status. After a
    /// change of the inputs the failure no longer counts, but only for a limited number of changes. `account` is the
    /// version of the account.
    pub fn restore_failure(
        &mut self,
        object: ObjectFacts<'_>,
        unplanned_calls: UnplannedCalls,
        account: u64,
        now: Timestamp,
    ) {
        self.before.unplanned_calls = unplanned_calls;
        let forced = object.renew_requested_at.unwrap_or_default();
        let inputs = [object.generation.to_be_bytes(), account.to_be_bytes()];
        self.attempt_hash = Hash::of([inputs[0].as_slice(), &inputs[1], forced.as_bytes()]).short();
        let status = object.status;
        let reported = status.last_failure.as_deref().filter(|_| status.failed_attempts > 0);
        let (failure, attempts, excused) = match &self.state.last_attempt {
            Some(LastAttempt::Success) => (None, 0, true),
            Some(LastAttempt::Failed { failure, attempts, attempt_hash }) => {
                (Some(failure.clone()), *attempts, *attempt_hash != self.attempt_hash)
            }
            None => {
                let excused = status.observed_generation != object.generation;
                (reported.map(|failure| Arc::new(failure.clone())), status.failed_attempts, excused)
            }
        };
        let before = &mut self.before;
        before.restored = self.state.last_attempt.is_none();
        before.excused = excused
            && failure.is_some()
            && before.unplanned_calls.next(Unplanned::Demand, before.generation, now).is_none();
        if !before.excused {
            (self.failure, self.attempts) = (failure, attempts);
        }
    }

    /// Returns the input of the decision.
    pub fn input<'a>(
        &'a self,
        object: ObjectFacts<'a>,
        desired: Option<Result<DesiredToken, Refusal>>,
        queue: QueueState,
        block: Option<AccountBlock>,
    ) -> DecisionInput<'a> {
        let write_failure = self.state.write_failure.as_ref();
        DecisionInput {
            uid: object.uid,
            deleting: object.deleting,
            renew_requested_at: object.renew_requested_at,
            status: object.status,
            desired,
            secret: self.secret_view(),
            old_secret: self.old_secret.as_ref().map(|(_, facts)| &**facts),
            unsaved: self.state.unsaved.as_ref().map(|unsaved| unsaved.view()),
            failure: self.failure.as_deref(),
            queue,
            block,
            write_failure: write_failure.filter(|(_, of)| *of == self.attempt_hash).map(|(failure, _)| failure),
            contest: self.state.contest.as_deref(),
            damaged: self.state.repaired,
            before: self.before,
        }
    }

    fn secret_view(&self) -> SecretView<'_> {
        match &self.secret {
            Some(facts) if facts.owner.is_none() => SecretView::NotOwned,
            Some(facts) => SecretView::Known { facts, data: self.data, owner_gone: self.owner_gone },
            None if self.absent => SecretView::Absent,
            None => SecretView::Unseen,
        }
    }

    /// Returns the version of the Secret that the decision is based on, or `None` if it doesn't exist.
    pub fn version(&self) -> Option<Version> {
        self.secret.as_ref().map(|facts| facts.version())
    }

    /// Returns the last failure and the number of consecutive failures as the status reports them, even if they no
    /// longer count.
    pub fn reported_failure<'a>(&'a self, status: &'a StatusFacts) -> (Option<&'a Failure>, u32) {
        match &self.state.last_attempt {
            Some(LastAttempt::Success) => (None, 0),
            Some(LastAttempt::Failed { failure, attempts, .. }) => (Some(failure), *attempts),
            None => (status.last_failure.as_deref(), status.failed_attempts),
        }
    }
}

fn recent_lookup(object: ObjectFacts<'_>, state: &ObjectState, now: Timestamp) -> Option<LookupResult> {
    let lookup = state.lookup.as_ref().filter(|lookup| lookup.of == object.trigger_hash)?;
    let ttl = if matches!(lookup.found, LookupResult::Nothing) { ABSENCE_TTL } else { LOOKUP_TTL };
    ((now - lookup.at).abs() < ttl).then(|| lookup.found.clone())
}

/// Returns a managed Secret of an earlier name that was written for the object: the one that the status names, else any.
fn old_secret(
    object: ObjectFacts<'_>,
    others: Vec<ObjectKey>,
    known: impl Fn(&ObjectKey) -> Option<Arc<SecretFacts>>,
) -> Option<(ObjectKey, Arc<SecretFacts>)> {
    let reported = object.status.other_secret.as_deref();
    let reported = reported.map(|name| ObjectKey { name: name.into(), ..object.secret_key.clone() });
    reported.into_iter().chain(others).find_map(|key| {
        let facts = known(&key).filter(|facts| facts.owner == Some(object.uid))?;
        Some((key, facts))
    })
}

/// Returns the state of the data: as it was read at this version, or as the status records it.
fn data_view(object: ObjectFacts<'_>, state: &ObjectState, secret: Option<&SecretFacts>, now: Timestamp) -> DataView {
    let Some(facts) = secret else { return DataView::Unverified };
    let contest = state.contest.as_deref();
    match state.data {
        Some((version, data)) if version == facts.resource_version => data,
        _ if object.status.secret_version == facts.resource_version
            && object.status.other_secret.is_none()
            // A status doesn't record the label in a form that can be restored. The next read of the Secret finds it.
            && (!is_stalled_by(object.status, OVERRIDDEN) || contest.is_some()) =>
        {
            DataView::Verified
        }
        // During a conflict the last result counts until the Secret may be read again.
        Some((_, data @ (DataView::Altered | DataView::Lost)))
            if contest.is_some_and(|contest| {
                contest.next_repair(now).is_some() && contest.next_inspection(now).is_some()
            }) =>
        {
            data
        }
        _ => DataView::Unverified,
    }
}

/// Adapts other clients' changes and the last write failure to the current Secret and spec. After a restart, a conflict
/// is restored from the status, so that repairs stay slowed down.
fn restore_contest(object: ObjectFacts<'_>, state: &mut ObjectState, secret: Option<Version>, now: Timestamp) {
    let (generation, status) = (object.generation, object.status);
    state.contest.take_if(|contest| !contest.is_of(generation));
    let since = status.conditions[2].since.time().filter(|since| *since <= now);
    let is_contested = is_stalled_by(status, CONTESTED) && status.observed_generation == generation;
    if state.contest.is_none() && is_contested {
        state.contest = since.map(|since| Box::new(Contest::restored(generation, since)));
    }
    state.write_failure = state.write_failure.take().map(|(failure, of)| (failure.for_version(secret), of));
}

fn is_stalled_by(status: &StatusFacts, reason: &str) -> bool {
    let stalled = &status.conditions[2];
    stalled.status == Some(true) && *stalled.reason == *reason
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::facts::secret_facts;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    /// The explorer found a second rename while the first is being stored, the model a status that names neither Secret,
    /// and the simulation a crash between two renames: each left a Secret with a valid token behind.
    #[test]
    fn p05_each_secret_of_an_earlier_name_is_found_until_it_is_deleted() {
        let names = ["old", "between", "new", "other"].map(|name| ObjectKey::new("n", name));
        let [old, between, new, other] = &names;
        let now = Timestamp::from_timestamp(1_790_000_000, 0).unwrap();
        let none = secret_facts(&ObjectMeta::default());
        for (reported, others, found) in [
            (Some("old"), vec![old, between], Some(old)),
            (None, vec![between], Some(between)),
            (Some("gone"), vec![between], Some(between)),
            (Some("old"), vec![], None),
            (Some("other"), vec![], None),
            (None, vec![], None),
        ] {
            let status = StatusFacts { other_secret: reported.map(Into::into), ..StatusFacts::default() };
            let object = ObjectFacts {
                uid: Uid(7),
                generation: 2,
                trigger_hash: 1,
                deleting: false,
                renew_requested_at: None,
                status: &status,
                secret_key: new,
            };
            let known = |key: &ObjectKey| {
                let owner = if key == other { Uid(8) } else { Uid(7) };
                let is_there = others.contains(&key) || key == other;
                is_there.then(|| Arc::new(SecretFacts { owner: Some(owner), ..none.clone() }))
            };
            let keys = others.iter().copied().cloned().collect();
            let seen = Observation::new(object, ObjectState::default(), known, keys, |_| true, now);
            assert_eq!(seen.old_secret.as_ref().map(|(key, _)| key), found, "{reported:?} {others:?}");
        }
    }
}
