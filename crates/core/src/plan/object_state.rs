//! In-memory state of a VideoAccessToken that is neither in its status nor in its Secret.
//!
//! A settled object has no such state, except for workloads that couldn't be restarted. All facts that must survive a
//! restart of the process are in the Secret and the status. [`outcome`](super::outcome) changes the state by the result
//! of each request, and [`observe`](super::observe) reads it for the next decision.

use super::contest::{Contest, Version};
use super::facts::{Failure, Seconds, SecretFacts, Uid};
use super::secret::TokenRecord;
use super::view::{DataView, UnsavedTokenView, WriteFailure};
use crate::clock::Timestamp;
use crate::issue::Excess;
use std::sync::Arc;
use videotoken_api::workload::Workload;

/// State of one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectState {
    /// UID of the object, once known. The state must not pass to another object of the same name.
    pub of: Uid,
    /// An issued token that is not stored yet. The write is retried, and no further token is issued.
    pub unsaved: Option<Arc<UnsavedToken>>,
    /// Data of the Secret as last read, with its resourceVersion.
    pub data: Option<(u64, DataView)>,
    /// Result of the last metadata GET of the Secret.
    pub lookup: Option<SecretLookup>,
    /// Result of the last attempt, until a status reports it.
    pub last_attempt: Option<LastAttempt>,
    /// A failed write, and a hash of its inputs. After a change of the inputs the failure no longer counts.
    pub write_failure: Option<(WriteFailure, u64)>,
    /// Consecutive failed writes.
    pub write_failures: u32,
    /// True if the last write of the Secret got no response. It may have succeeded.
    pub unanswered: bool,
    /// Consecutive failed status writes.
    pub status_failures: u32,
    /// Number of tokens stored since the last status.
    pub issued: u32,
    /// Notes on the last response of the token API.
    pub notes: Option<Notes>,
    /// Workloads that wait for a restart, or couldn't be restarted.
    pub restarts: Option<Box<Restarts>>,
    /// True if another client changed or deleted the Secret since the last status. An event reports the repair.
    pub repaired: bool,
    /// Changes that other clients make to the Secret.
    pub contest: Option<Box<Contest>>,
    /// During a conflict with another client, the last token that was stored after a change or deletion by that client.
    /// The operator can store it again.
    pub spare: Option<Arc<UnsavedToken>>,
}

/// Result of one metadata GET of the Secret, with its time.
#[derive(Clone, Debug)]
pub struct SecretLookup {
    /// Time of the GET.
    pub at: Timestamp,
    /// Trigger hash of the object at the time of the GET. An object that has changed since may name another Secret and
    /// needs a new lookup.
    pub of: u64,
    /// Result of the GET.
    pub found: LookupResult,
}

/// Result of a Secret lookup.
#[derive(Clone, Debug)]
pub enum LookupResult {
    /// The Secret doesn't exist.
    Nothing,
    /// A Secret that the watch doesn't report, because it lacks the operator's label.
    Secret(Arc<SecretFacts>),
}

impl From<Option<&SecretFacts>> for LookupResult {
    fn from(found: Option<&SecretFacts>) -> Self {
        found.map_or(Self::Nothing, |facts| Self::Secret(Arc::new(facts.clone())))
    }
}

/// An issued token that is not stored in the Secret yet.
#[derive(Debug)]
pub struct UnsavedToken {
    /// The token and its record.
    pub record: TokenRecord,
    /// Notes on the response that contained the token.
    pub notes: Notes,
}

impl UnsavedToken {
    /// Returns true if the Secret records that the token was issued for the object of this UID.
    pub fn is_in(&self, facts: &SecretFacts, uid: Uid) -> bool {
        facts.owner == Some(uid)
            && facts.issued_at == self.record.issued_at.into()
            && facts.expires_at == self.record.expires_at.into()
            && facts.request == Some(self.record.request)
    }

    /// Returns the facts that a decision needs.
    pub fn view(&self) -> UnsavedTokenView<'_> {
        UnsavedTokenView {
            request: self.record.request,
            renew_request: self.record.renew_request.as_deref(),
            issued_at: self.record.issued_at,
            expires_at: self.record.expires_at,
            returned_again: self.record.returned_again,
        }
    }
}

/// Notes on a response of the token API, without the token. The status keeps them.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// True if the response contained no expiry.
    pub expiry_assumed: bool,
    /// Rights of the token beyond the requested scope.
    pub excess: Option<Excess>,
}

/// Result of an attempt.
#[derive(Clone, Debug)]
pub enum LastAttempt {
    /// The attempt succeeded, and the count of failures starts again.
    Success,
    /// The attempt failed.
    Failed {
        /// Failure as the status reports it.
        failure: Arc<Failure>,
        /// Consecutive failures.
        attempts: u32,
        /// Hash of the inputs of the attempt. After a change the failure no longer counts.
        attempt_hash: u64,
    },
}

/// Restart state of one VideoAccessToken: the restarts that are due, and the events that were published.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    /// Issuance of the token that the restarts are for.
    pub of: Seconds,
    /// Workloads that were restarted or can't be restarted.
    pub done: Vec<Workload>,
    /// Consecutive failures.
    pub failures: u32,
    /// Earliest time of the next attempt.
    pub next: Option<Timestamp>,
    /// Last reported reason, by workload.
    pub reported: Vec<(Workload, &'static str)>,
}

impl Restarts {
    /// Clears the state of an earlier token, except for the reported reasons.
    pub fn reset(&mut self, of: Seconds) {
        let reported = std::mem::take(&mut self.reported);
        *self = Self { of, reported, ..Self::default() };
    }
}

impl ObjectState {
    /// Returns true if the state has no content.
    pub fn is_empty(&self) -> bool {
        self.unsaved.is_none()
            && self.data.is_none()
            && self.lookup.is_none()
            && self.last_attempt.is_none()
            && self.write_failure.is_none()
            && !self.unanswered
            && self.status_failures == 0
            && self.issued == 0
            && self.notes.is_none()
            && self.restarts.is_none()
            && !self.repaired
            && self.contest.is_none()
            && self.spare.is_none()
    }

    /// Adapts to a clock that was set back: retries that wait for a later time run now, and a lookup with a time in the
    /// future is repeated.
    pub fn clock_went_back(&mut self) {
        self.lookup = None;
        self.write_failure = None;
        if let Some(restarts) = &mut self.restarts {
            restarts.next = None;
        }
    }

    /// Returns the record of other clients' changes. `observed` is the record that the decision was based on, which may
    /// come from the status.
    pub(super) fn contest(&mut self, observed: Option<&Contest>, generation: i64) -> &mut Contest {
        if self.contest.is_none() {
            self.contest = observed.cloned().map(Box::new);
        }
        self.contest.take_if(|contest| !contest.is_of(generation));
        self.contest.get_or_insert_with(|| Box::new(Contest::new(generation)))
    }

    /// Forgets conflicts that have ended. `secret` is the current version of the Secret.
    pub(super) fn forget_contest(&mut self, secret: Option<Version>, now: Timestamp) {
        let repaired = self.repaired;
        self.contest.take_if(|contest| !repaired && contest.forget(secret, now));
        if self.contest.is_none() {
            self.spare = None;
        }
    }

    /// Returns the state of the restarts for the token of this issuance.
    pub fn restarts_of(&mut self, token: Seconds) -> &mut Restarts {
        let restarts = self.restarts.get_or_insert_default();
        if restarts.of != token {
            restarts.reset(token);
        }
        restarts
    }

    /// Returns true if the workload was restarted for the token of this issuance, or can't be restarted.
    pub fn restarted(&self, token: Seconds, workload: &Workload) -> bool {
        self.restarts.as_ref().is_some_and(|restarts| restarts.of == token && restarts.done.contains(workload))
    }

    /// Forgets the restarts that a status reports in `restartedFor`.
    pub(super) fn forget_restarts(&mut self, restarted_for: Option<Timestamp>) {
        if let Some(restarts) = &mut self.restarts {
            if restarted_for.is_none() {
                restarts.reported.clear();
            }
            if restarted_for.is_none_or(|time| restarts.of == time.into()) {
                restarts.reset(Seconds::default());
            }
            if restarts.of == Seconds::default() && restarts.reported.is_empty() {
                self.restarts = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::write_failure::{ApiError, write_failure};
    use chrono::TimeDelta;

    #[test]
    fn p14_nothing_waits_for_the_time_of_a_clock_that_was_ahead() {
        let ahead = Timestamp::UNIX_EPOCH + TimeDelta::days(1);
        let failure = write_failure(&ApiError::Immutable, 1, None, None, ahead, Uid(7));
        let restarts = Restarts { failures: 2, next: Some(ahead), ..Restarts::default() };
        let mut state = ObjectState {
            lookup: Some(SecretLookup { at: ahead, of: 1, found: LookupResult::Nothing }),
            write_failure: Some((failure, 1)),
            restarts: Some(Box::new(restarts)),
            ..ObjectState::default()
        };
        state.clock_went_back();
        assert!(state.lookup.is_none() && state.write_failure.is_none());
        let restarts = state.restarts.unwrap_or_default();
        assert_eq!((restarts.next, restarts.failures), (None, 2));
    }
}
