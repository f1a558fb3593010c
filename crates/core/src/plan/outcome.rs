//! Changes of the in-memory state by the outcome of each request: of a read or a write of the Secret, of a call of the
//! token API, of a write of the status.
//!
//! Each function takes the object and the observation that the decision of the request was based on, since the state
//! may have changed in the meantime.

use super::contest::{Contender, Difference, Version};
use super::decide::{Decision, IssueCause};
use super::facts::{Failure, SecretFacts};
use super::object_state::{LastAttempt, ObjectState, SecretLookup, UnsavedToken};
use super::observe::{ObjectFacts, Observation};
use super::secret::{NotWritable, SecretIntegrity};
use super::view::{DataView, WriteFailure};
use super::write_failure::{ApiError, write_failure};
use crate::clock::Timestamp;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;

/// Number of consecutive conflicts without back-off. Further conflicts have a back-off.
const CONFLICTS: u32 = 3;

/// Returns true if a write restores a change by another client and has no other cause.
pub fn is_repair(observed: &Observation, cause: Option<IssueCause>) -> bool {
    observed.state.repaired && !matches!(cause, Some(IssueCause::Due | IssueCause::Forced | IssueCause::RequestChanged))
}

/// Returns true if a Secret that was read is unchanged since the decision, so that the decision is still valid.
/// Otherwise the next decision uses the new facts.
pub fn is_unchanged(observed: Option<&SecretFacts>, read: &SecretFacts) -> bool {
    observed.is_some_and(|observed| observed.version() == read.version())
}

impl SecretIntegrity {
    /// Returns the state of the data, and whether another client changed it.
    pub fn data_view(&self, not_writable: Option<NotWritable>) -> (DataView, bool) {
        match (not_writable, self) {
            (Some(not_writable), _) => (DataView::NotWritable(not_writable), false),
            (None, Self::Intact(_)) => (DataView::Verified, false),
            (None, Self::Outdated(_)) => (DataView::Altered, false),
            (None, Self::Altered(_)) => (DataView::Altered, true),
            (None, Self::Lost) => (DataView::Lost, true),
        }
    }
}

impl ObjectState {
    /// Records the answer to a metadata GET of the named Secret that a decision asked for.
    pub fn record_probe(&mut self, object: ObjectFacts<'_>, found: Option<&SecretFacts>, now: Timestamp) {
        // This lookup doesn't change the facts about the current data of the Secret.
        self.write_failure.take_if(|(failure, _)| failure.met.is_none());
        self.record_lookup(object, found, now);
    }

    /// Records a Secret that a GET or the response to a write returned. The watch reports only Secrets with the
    /// operator's label, so facts of a Secret without the label expire after a time.
    pub fn record_secret(
        &mut self,
        object: ObjectFacts<'_>,
        key: &ObjectKey,
        found: Option<&SecretFacts>,
        now: Timestamp,
    ) {
        if key != object.secret_key {
            return;
        }
        match found {
            Some(facts) if facts.labelled => self.lookup = None,
            found => self.record_lookup(object, found, now),
        }
    }

    /// Records the result of a lookup of the named Secret. If the Secret is missing although the status reports a valid
    /// token, another client deleted it, and the object is marked as repaired.
    fn record_lookup(&mut self, object: ObjectFacts<'_>, found: Option<&SecretFacts>, now: Timestamp) {
        let status = object.status;
        let expected = status.expires_at.time().is_some_and(|expires| expires > now) && status.other_secret.is_none();
        self.repaired |= found.is_none() && expected;
        self.lookup = Some(SecretLookup { at: now, of: object.trigger_hash, found: found.into() });
    }

    /// Records that the Secret to read doesn't exist. The next decision asks again.
    pub fn record_nothing_to_read(&mut self) {
        self.lookup = None;
    }

    /// Records a read of the whole Secret that a decision asked for: its data, whether another client damaged it, and
    /// that client.
    pub fn record_inspection(
        &mut self,
        (object, observed): (ObjectFacts<'_>, &Observation),
        resource_version: u64,
        (data, damaged): (DataView, bool),
        contender: Option<Contender>,
        now: Timestamp,
    ) {
        self.contest(observed.state.contest.as_deref(), object.generation)
            .record_inspection(contender.filter(|_| damaged), now);
        self.data = Some((resource_version, data));
        self.repaired |= damaged;
    }

    /// Records that the Secret to write again contains no token.
    pub fn record_lost(&mut self, resource_version: u64) {
        self.data = Some((resource_version, DataView::Lost));
    }

    /// Records a write of the Secret with an answer of the API server.
    pub fn record_write(
        &mut self,
        (object, observed): (ObjectFacts<'_>, &Observation),
        error: Option<&ApiError>,
        cause: Option<IssueCause>,
        now: Timestamp,
    ) {
        if error.and_then(ApiError::extent).is_some() {
            return;
        }
        let repair = is_repair(observed, cause);
        let before = observed.state.contest.as_deref();
        if repair || self.contest.is_some() || before.is_some() {
            self.contest(before, object.generation).record_write(repair, now);
        }
    }

    /// Records the Secret that the API server stored, and how it differs from the one that was sent. Call
    /// [`record_secret`](Self::record_secret) before.
    pub fn record_stored_secret(
        &mut self,
        (object, observed): (ObjectFacts<'_>, &Observation),
        version: Version,
        (data, difference): (DataView, Option<Difference>),
        now: Timestamp,
    ) {
        self.data = Some((version.1, data));
        self.lookup = None;
        self.write_failure = None;
        self.write_failures = 0;
        if difference.is_some() || self.contest.is_some() {
            let before = observed.state.contest.as_deref();
            self.contest(before, object.generation).record_stored(version, difference, now);
        }
    }

    /// Records that the Secret contains the unsaved token.
    pub fn record_stored_token(
        &mut self,
        observed: &Observation,
        unsaved: &Arc<UnsavedToken>,
        cause: Option<IssueCause>,
    ) {
        // A spare token was counted when it was issued. A token that the provider returned again is no other token.
        let is_new = self.unsaved.take().is_some_and(|unsaved| !unsaved.record.returned_again);
        self.issued += u32::from(is_new);
        let is_slowed = self.contest.as_ref().is_some_and(|contest| contest.is_slowed());
        self.spare = (is_slowed && is_repair(observed, cause)).then(|| unsaved.clone());
        self.notes = Some(unsaved.notes.clone());
    }

    /// Forgets an issued token that no longer serves.
    pub fn discard(&mut self) {
        (self.unsaved, self.spare) = (None, None);
    }

    /// Forgets an issued token whose namespace or object is going.
    pub fn discard_of_gone(&mut self) {
        self.unsaved = None;
    }

    /// Counts a write that found another version of the Secret than the decision was based on. Returns true from the
    /// fourth consecutive conflict on.
    pub fn record_conflict(&mut self) -> bool {
        self.write_failures += 1;
        self.write_failures > CONFLICTS
    }

    /// Records a failed request to the API server. Nothing is written for this object until the next attempt.
    pub fn record_write_failure(
        &mut self,
        (object, observed): (ObjectFacts<'_>, &Observation),
        error: &ApiError,
        now: Timestamp,
    ) -> &WriteFailure {
        self.write_failures += 1;
        self.unanswered |= error.may_be_served();
        let before = observed.state.write_failure.as_ref().map(|(before, _)| before);
        let failure = write_failure(error, self.write_failures, before, observed.version(), now, object.uid);
        if let (ApiError::Immutable, Some((_, version))) = (error, observed.version()) {
            self.data = Some((version, DataView::NotWritable(NotWritable::Immutable)));
        }
        &self.write_failure.insert((failure, observed.attempt_hash)).0
    }

    /// Records an issued token. It is kept until it is stored.
    pub fn record_issued(&mut self, unsaved: UnsavedToken) {
        self.unsaved = Some(Arc::new(unsaved));
        self.last_attempt = Some(LastAttempt::Success);
    }

    /// Records a failed call of the token API.
    pub fn record_issue_failure(&mut self, observed: &Observation, failure: Failure) {
        let attempts = observed.attempts + 1;
        let (failure, attempt_hash) = (Arc::new(failure), observed.attempt_hash);
        self.last_attempt = Some(LastAttempt::Failed { failure, attempts, attempt_hash });
    }

    /// Clears the state that a status reports. `is_ready` is its condition Ready, and `restarted_for` the issue time of
    /// the token for which workloads were restarted.
    pub fn record_status(
        &mut self,
        observed: &Observation,
        decision: &Decision,
        is_ready: bool,
        restarted_for: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.issued -= observed.state.issued.min(self.issued);
        self.status_failures = 0;
        self.last_attempt.take_if(|attempt| matches!(attempt, LastAttempt::Success));
        self.notes = None;
        // Reported when the Secret contains the token again.
        self.repaired &= !(is_ready && decision.refusal.is_none());
        self.forget_contest(observed.version(), now);
        self.forget_restarts(restarted_for);
        if self.write_failure.is_none() {
            self.write_failures = 0;
        }
        let version = observed.version().map(|(_, version)| version);
        self.data.take_if(|(at, data)| Some(*at) == version && *data == DataView::Verified);
        if version.is_some() {
            self.lookup = None;
        }
    }

    /// Counts a status that wasn't written. Returns the number of consecutive failures.
    pub fn record_status_failure(&mut self) -> u32 {
        self.status_failures += 1;
        self.status_failures
    }
}
