//! In-memory states of all objects ([`ObjectState`]), by object. An entry exists only while an attempt, a write or a
//! restart is in progress or has just ended.

use parking_lot::Mutex;
use std::collections::HashMap;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::facts::Uid;
use videotoken_core::plan::object_state::ObjectState;
use videotoken_core::plan::unplanned::{Unplanned, UnplannedCalls};
use videotoken_providers::clock::Timestamp;

/// States of all objects.
#[derive(Debug, Default)]
pub(crate) struct ObjectStates {
    states: Mutex<HashMap<ObjectKey, ObjectState>>,
    /// Unplanned calls (calls outside the renewal schedule) by object. They outlive the other state.
    unplanned_calls: Mutex<Lately>,
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
    pub(crate) fn unplanned_calls(&self, key: &ObjectKey, uid: Uid) -> Option<UnplannedCalls> {
        self.unplanned_calls.lock().of.get(key).filter(|(of, _)| *of == uid).map(|(_, calls)| *calls)
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
        let mut lately = self.unplanned_calls.lock();
        lately.of.insert(key.clone(), (uid, before));
        if lately.of.len() > lately.sweep_at {
            lately.of.retain(|_, (_, calls)| !calls.are_over(now));
            lately.of.shrink_to_fit();
            lately.sweep_at = lately.of.len() * 2 + 64;
        }
    }

    /// Adapts all states to a clock that was set back.
    pub(crate) fn clock_went_back(&self) {
        self.states.lock().retain(|_, state| {
            state.clock_went_back();
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
        self.unplanned_calls.lock().of.remove(key);
        self.states.lock().remove(key)
    }

    /// Returns the objects whose token isn't stored yet.
    pub(crate) fn keys_with_unsaved_token(&self) -> Vec<ObjectKey> {
        self.states.lock().iter().filter(|(_, state)| state.unsaved.is_some()).map(|(key, _)| key.clone()).collect()
    }
}
