//! In-memory state of an object that is not in the stores. An entry exists only while an attempt, a write or a restart
//! is in progress or has just ended.
//!
//! In a settled cluster there are none, except for workloads that couldn't be restarted. Secret and status hold
//! everything that must survive a restart of the process.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::workload::Workload;
use videotoken_core::issue::Excess;
use videotoken_core::plan::contest::{Contest, Version};
use videotoken_core::plan::facts::{Failure, Seconds, SecretFacts, Uid};
use videotoken_core::plan::secret::TokenRecord;
use videotoken_core::plan::unplanned::{Unplanned, UnplannedCalls};
use videotoken_core::plan::view::{DataView, WriteFailure};
use videotoken_providers::clock::Timestamp;

use crate::controller::workloads::pending::Restarts;

/// State of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectState {
    /// The object, once it was looked at: nothing of this passes to another of its name.
    of: Uid,
    /// An issued token whose write isn't done: the write is retried, never the issue.
    pub(crate) unsaved: Option<Arc<UnsavedToken>>,
    /// Data of the Secret as last seen, with its resourceVersion.
    pub(crate) data: Option<(u64, DataView)>,
    /// Result of the last metadata GET of the Secret.
    pub(crate) lookup: Option<SecretLookup>,
    /// Result of the last attempt, until a status reports it.
    pub(crate) last_attempt: Option<LastAttempt>,
    /// A write that failed, and what was tried: a change of it excuses the failure.
    pub(crate) write_failure: Option<(WriteFailure, u64)>,
    /// Writes that failed in a row.
    pub(crate) write_failures: u32,
    /// The answer to the last write of the Secret didn't come: it may have been served.
    pub(crate) unanswered: bool,
    /// Writes of the status that failed in a row.
    pub(crate) status_failures: u32,
    /// Tokens stored since the last status.
    pub(crate) issued: u32,
    /// Notes of the last answer of the token API.
    pub(crate) notes: Option<Notes>,
    /// Workloads that wait for a restart, or couldn't be restarted.
    pub(crate) restarts: Option<Box<Restarts>>,
    /// Another client changed or deleted the Secret since the last status; an event reports the repair.
    pub(crate) repaired: bool,
    /// Changes that other clients make to the Secret.
    pub(crate) contest: Option<Box<Contest>>,
    /// In a fight over the Secret, the last token that was stored after another client had changed or deleted it. It
    /// can be stored again.
    pub(crate) spare: Option<Arc<UnsavedToken>>,
    /// Secret that was written for this object, if neither spec nor status names it.
    pub(crate) elsewhere: Option<ObjectKey>,
}

/// Result of one metadata GET of the Secret, with its time.
#[derive(Clone, Debug)]
pub(crate) struct SecretLookup {
    /// When it was taken.
    pub(crate) at: Timestamp,
    /// [`Token::trigger_hash`](super::token::Token::trigger_hash) of the object that it was taken for: one that has changed since may
    /// name another Secret, and looks again.
    pub(crate) of: u64,
    /// Result of the GET.
    pub(crate) found: LookupResult,
}

/// Result of a Secret lookup.
#[derive(Clone, Debug)]
pub(crate) enum LookupResult {
    /// Nothing.
    Nothing,
    /// A Secret that the watch doesn't show, because it lacks the operator's label.
    Secret(Arc<SecretFacts>),
}

impl From<Option<SecretFacts>> for LookupResult {
    fn from(found: Option<SecretFacts>) -> Self {
        found.map_or(Self::Nothing, |facts| Self::Secret(Arc::new(facts)))
    }
}

/// An issued token on its way into the Secret.
#[derive(Debug)]
pub(crate) struct UnsavedToken {
    /// The token and its record.
    pub(crate) material: TokenRecord,
    /// Notes of the answer that the token came with.
    pub(crate) notes: Notes,
}

/// Notes of a token API's answer, apart from the token. The status keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The answer contained no expiry.
    pub(crate) expiry_assumed: bool,
    /// Rights of the token beyond the requested scope.
    pub(crate) excess: Option<Excess>,
}

/// Result of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum LastAttempt {
    /// The attempt succeeded: failures count from none again.
    Success,
    /// The attempt failed.
    Failed {
        /// Failure as the status reports it.
        failure: Arc<Failure>,
        /// Failures in a row.
        attempts: u32,
        /// Hash of the inputs of the attempt. A change forgives the failure.
        attempt_hash: u64,
    },
}

impl ObjectState {
    /// Returns true if the state holds nothing.
    fn is_empty(&self) -> bool {
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
            && self.elsewhere.is_none()
    }

    /// Returns the record of other clients' changes. `seen` is the state that the decision saw, which may come from the
    /// status.
    pub(crate) fn contest(&mut self, seen: &ObjectState, generation: i64) -> &mut Contest {
        if self.contest.is_none() {
            self.contest.clone_from(&seen.contest);
        }
        self.contest.take_if(|contest| !contest.is_of(generation));
        self.contest.get_or_insert_with(|| Box::new(Contest::new(generation)))
    }

    /// Forgets fights that are over. `secret` is the current version of the Secret.
    pub(crate) fn forget_contest(&mut self, secret: Option<Version>, now: Timestamp) {
        let repaired = self.repaired;
        self.contest.take_if(|contest| !repaired && contest.forget(secret, now));
        if self.contest.is_none() {
            self.spare = None;
        }
    }
}

impl ObjectState {
    /// Returns what is remembered of the restarts for the token of this issuance.
    pub(crate) fn restarts_of(&mut self, token: Seconds) -> &mut Restarts {
        let restarts = self.restarts.get_or_insert_default();
        if restarts.of != token {
            restarts.reset(token);
        }
        restarts
    }

    /// Returns true if the workload was restarted for the token of this issuance, or can't be.
    pub(crate) fn restarted(&self, token: Seconds, workload: &Workload) -> bool {
        self.restarts.as_ref().is_some_and(|restarts| restarts.of == token && restarts.done.contains(workload))
    }

    /// Forgets the restarts that a status reports in `restartedFor`.
    pub(crate) fn forget_restarts(&mut self, restarted_for: Option<Timestamp>) {
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

/// States of all objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectStates {
    states: Mutex<HashMap<ObjectKey, ObjectState>>,
    /// Calls that no schedule asked for, by object. They outlive the other state.
    spells: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    of: HashMap<ObjectKey, (Uid, UnplannedCalls)>,
    /// Number of entries at which those that no longer count are dropped.
    sweep_at: usize,
}

impl ObjectStates {
    /// Returns a copy of the object's state. State of another object of the same name is dropped.
    pub(crate) fn get_of(&self, key: &ObjectKey, uid: Uid) -> ObjectState {
        let mut states = self.states.lock();
        if states.get(key).is_some_and(|state| state.of != uid && state.of != Uid::default()) {
            states.remove(key);
        }
        let Some(state) = states.get_mut(key) else { return ObjectState::default() };
        state.of = uid;
        state.clone()
    }

    /// Returns the object's calls that no schedule asked for.
    pub(crate) fn spells(&self, key: &ObjectKey, uid: Uid) -> Option<UnplannedCalls> {
        self.spells.lock().of.get(key).filter(|(of, _)| *of == uid).map(|(_, spells)| *spells)
    }

    /// The object makes a call that no schedule asks for; `before` is what was known of earlier ones.
    pub(crate) fn note_call(
        &self,
        (key, uid): (&ObjectKey, Uid),
        kind: Unplanned,
        generation: i64,
        mut before: UnplannedCalls,
        now: Timestamp,
    ) {
        before.record(kind, generation, now);
        let mut lately = self.spells.lock();
        lately.of.insert(key.clone(), (uid, before));
        if lately.of.len() > lately.sweep_at {
            lately.of.retain(|_, (_, spells)| !spells.are_over(now));
            lately.of.shrink_to_fit();
            lately.sweep_at = lately.of.len() * 2 + 64;
        }
    }

    /// Adapts to a clock that was put back: what would be retried later is retried now, and a lookup of a time in the
    /// future is repeated.
    pub(crate) fn clock_went_back(&self) {
        self.states.lock().retain(|_, state| {
            state.lookup = None;
            state.write_failure = None;
            !state.is_empty()
        });
    }

    /// Returns a copy of the object's state.
    pub(crate) fn get(&self, key: &ObjectKey) -> ObjectState {
        self.states.lock().get(key).cloned().unwrap_or_default()
    }

    /// Changes the state of this object, as [`Self::change`] does. A state of another object of the same name is
    /// dropped first.
    pub(crate) fn change_of<T>(&self, key: &ObjectKey, uid: Uid, change: impl FnOnce(&mut ObjectState) -> T) -> T {
        self.get_of(key, uid);
        self.change(key, |state| {
            state.of = uid;
            change(state)
        })
    }

    /// Changes the object's state, and drops it if it becomes empty.
    pub(crate) fn change<T>(&self, key: &ObjectKey, change: impl FnOnce(&mut ObjectState) -> T) -> T {
        let mut states = self.states.lock();
        let state = states.entry(key.clone()).or_default();
        let result = change(state);
        if state.is_empty() {
            states.remove(key);
        }
        if states.len() * 8 < states.capacity() {
            states.shrink_to_fit();
        }
        result
    }

    /// Drops the state of an object that is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) -> Option<ObjectState> {
        self.spells.lock().of.remove(key);
        self.states.lock().remove(key)
    }

    /// Returns the objects whose token isn't stored yet.
    pub(crate) fn keys_with_unsaved_token(&self) -> Vec<ObjectKey> {
        self.states.lock().iter().filter(|(_, state)| state.unsaved.is_some()).map(|(key, _)| key.clone()).collect()
    }
}
