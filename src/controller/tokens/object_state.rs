//! In-memory state of an object that is not in the stores. An entry exists only while an attempt, a write or a restart
//! is in progress or has just ended.
//!
//! In a settled cluster there are no entries, except for workloads that couldn't be restarted. All facts that must
//! survive a restart of the process are in the Secret and the status.

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
    /// UID of the object, once known. The state must not pass to another object of the same name.
    of: Uid,
    /// An issued token that is not stored yet. The write is retried, and no further token is issued.
    pub(crate) unsaved: Option<Arc<UnsavedToken>>,
    /// Data of the Secret as last read, with its resourceVersion.
    pub(crate) data: Option<(u64, DataView)>,
    /// Result of the last metadata GET of the Secret.
    pub(crate) lookup: Option<SecretLookup>,
    /// Result of the last attempt, until a status reports it.
    pub(crate) last_attempt: Option<LastAttempt>,
    /// A failed write, and a hash of its inputs. After a change of the inputs the failure no longer counts.
    pub(crate) write_failure: Option<(WriteFailure, u64)>,
    /// Consecutive failed writes.
    pub(crate) write_failures: u32,
    /// True if the last write of the Secret got no response. It may have succeeded.
    pub(crate) unanswered: bool,
    /// Consecutive failed status writes.
    pub(crate) status_failures: u32,
    /// Number of tokens stored since the last status.
    pub(crate) issued: u32,
    /// Notes on the last response of the token API.
    pub(crate) notes: Option<Notes>,
    /// Workloads that wait for a restart, or couldn't be restarted.
    pub(crate) restarts: Option<Box<Restarts>>,
    /// True if another client changed or deleted the Secret since the last status. An event reports the repair.
    pub(crate) repaired: bool,
    /// Changes that other clients make to the Secret.
    pub(crate) contest: Option<Box<Contest>>,
    /// During a conflict with another client, the last token that was stored after a change or deletion by that client.
    /// The operator can store it again.
    pub(crate) spare: Option<Arc<UnsavedToken>>,
    /// Secret that was written for this object, if neither spec nor status names it.
    pub(crate) elsewhere: Option<ObjectKey>,
}

/// Result of one metadata GET of the Secret, with its time.
#[derive(Clone, Debug)]
pub(crate) struct SecretLookup {
    /// Time of the GET.
    pub(crate) at: Timestamp,
    /// `trigger_hash` of the object at the time of the GET. An object that has changed since may name another Secret
    /// and needs a new lookup.
    pub(crate) of: u64,
    /// Result of the GET.
    pub(crate) found: LookupResult,
}

/// Result of a Secret lookup.
#[derive(Clone, Debug)]
pub(crate) enum LookupResult {
    /// The Secret doesn't exist.
    Nothing,
    /// A Secret that the watch doesn't report, because it lacks the operator's label.
    Secret(Arc<SecretFacts>),
}

impl From<Option<SecretFacts>> for LookupResult {
    fn from(found: Option<SecretFacts>) -> Self {
        found.map_or(Self::Nothing, |facts| Self::Secret(Arc::new(facts)))
    }
}

/// An issued token that is not stored in the Secret yet.
#[derive(Debug)]
pub(crate) struct UnsavedToken {
    /// The token and its record.
    pub(crate) material: TokenRecord,
    /// Notes on the response that contained the token.
    pub(crate) notes: Notes,
}

/// Notes on a response of the token API, without the token. The status keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// True if the response contained no expiry.
    pub(crate) expiry_assumed: bool,
    /// Rights of the token beyond the requested scope.
    pub(crate) excess: Option<Excess>,
}

/// Result of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum LastAttempt {
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

impl ObjectState {
    /// Returns true if the state has no content.
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

    /// Returns the record of other clients' changes. `seen` is the state that the decision was based on, which may come
    /// from the status.
    pub(crate) fn contest(&mut self, seen: &ObjectState, generation: i64) -> &mut Contest {
        if self.contest.is_none() {
            self.contest.clone_from(&seen.contest);
        }
        self.contest.take_if(|contest| !contest.is_of(generation));
        self.contest.get_or_insert_with(|| Box::new(Contest::new(generation)))
    }

    /// Forgets conflicts that have ended. `secret` is the current version of the Secret.
    pub(crate) fn forget_contest(&mut self, secret: Option<Version>, now: Timestamp) {
        let repaired = self.repaired;
        self.contest.take_if(|contest| !repaired && contest.forget(secret, now));
        if self.contest.is_none() {
            self.spare = None;
        }
    }
}

impl ObjectState {
    /// Returns the state of the restarts for the token of this issuance.
    pub(crate) fn restarts_of(&mut self, token: Seconds) -> &mut Restarts {
        let restarts = self.restarts.get_or_insert_default();
        if restarts.of != token {
            restarts.reset(token);
        }
        restarts
    }

    /// Returns true if the workload was restarted for the token of this issuance, or can't be restarted.
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
    /// Unplanned calls (calls outside the renewal schedule) by object. They outlive the other state.
    spells: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    of: HashMap<ObjectKey, (Uid, UnplannedCalls)>,
    /// Number of entries at which expired entries are removed.
    sweep_at: usize,
}

impl ObjectStates {
    /// Returns a copy of the object's state. Removes the state of another object of the same name.
    pub(crate) fn get_of(&self, key: &ObjectKey, uid: Uid) -> ObjectState {
        let mut states = self.states.lock();
        if states.get(key).is_some_and(|state| state.of != uid && state.of != Uid::default()) {
            states.remove(key);
        }
        let Some(state) = states.get_mut(key) else { return ObjectState::default() };
        state.of = uid;
        state.clone()
    }

    /// Returns the object's unplanned calls.
    pub(crate) fn spells(&self, key: &ObjectKey, uid: Uid) -> Option<UnplannedCalls> {
        self.spells.lock().of.get(key).filter(|(of, _)| *of == uid).map(|(_, spells)| *spells)
    }

    /// Records an unplanned call of the object. `before` contains the earlier ones.
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

    /// Adapts to a clock that was set back: retries scheduled for later run now, and a lookup with a time in the future
    /// is repeated.
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

    /// Removes and returns the state of a deleted object.
    pub(crate) fn forget(&self, key: &ObjectKey) -> Option<ObjectState> {
        self.spells.lock().of.remove(key);
        self.states.lock().remove(key)
    }

    /// Returns the objects whose token isn't stored yet.
    pub(crate) fn keys_with_unsaved_token(&self) -> Vec<ObjectKey> {
        self.states.lock().iter().filter(|(_, state)| state.unsaved.is_some()).map(|(key, _)| key.clone()).collect()
    }
}
