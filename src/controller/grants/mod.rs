//! Decides on the next call of a token API: budgets, the write breaker, logins, and the calls of earlier leaders.
//!
//! This module sends no requests, except for the logins that it records in the status of a provider object.

pub(crate) mod budgets;
pub(crate) mod login_attempts;
pub(crate) mod logins;
pub(crate) mod recall;
pub(crate) mod recalled;

use super::output::slots::{Slot, Slots};
use budgets::SharedBudgets;
use login_attempts::Logins;
use parking_lot::Mutex;
use recalled::RestoredCalls;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::write_breaker::{BreakerState, Wait, WriteBreaker};
use videotoken_core::plan::write_failure::Extent;

/// Budgets and everything else that decides on the next call.
pub(crate) struct Grants {
    pub(crate) budgets: SharedBudgets,
    pub(crate) logins: Logins,
    pub(crate) recalled: RestoredCalls,
    /// Slots of the tokens in flight.
    pub(crate) in_flight: Arc<Slots>,
    /// Slots of grants whose reconcile has not started.
    granted: Mutex<HashMap<ObjectKey, Slot>>,
    write_breaker: Mutex<WriteBreaker>,
    max_in_flight: usize,
}

impl Grants {
    /// Creates a state without grants. `max_in_flight` limits the number of tokens in flight.
    pub(crate) fn new(max_in_flight: usize) -> Self {
        Self {
            budgets: SharedBudgets::default(),
            logins: Logins::default(),
            recalled: RestoredCalls::default(),
            in_flight: Slots::new(max_in_flight, max_in_flight),
            granted: Mutex::default(),
            write_breaker: Mutex::default(),
            max_in_flight,
        }
    }

    /// Returns how many more calls a leader may grant now.
    pub(crate) fn capacity(&self) -> usize {
        self.write_breaker.lock().grant_capacity(self.in_flight.room(), self.max_in_flight, Instant::now())
    }

    /// Takes a slot for a grant, even above the limit.
    pub(crate) fn occupy(&self, key: &ObjectKey) {
        let slot = self.in_flight.occupy(&key.namespace);
        self.granted.lock().insert(key.clone(), slot);
    }

    /// Returns the slot of a grant. A second call returns `None`.
    pub(crate) fn take_slot(&self, key: &ObjectKey) -> Option<Slot> {
        self.granted.lock().remove(key)
    }

    /// Records a failed write of this namespace.
    pub(crate) fn write_failed(&self, namespace: &Arc<str>, extent: Extent) {
        self.write_breaker.lock().failed(namespace, extent, Instant::now());
    }

    /// Records a successful write of another object than a Secret in this namespace.
    pub(crate) fn api_server_reached(&self, namespace: &Arc<str>) {
        if self.write_breaker.lock().reached(namespace, Instant::now()) {
            self.budgets.notify_capacity();
        }
    }

    /// Records a successful write of a Secret in this namespace.
    pub(crate) fn write_succeeded(&self, namespace: &Arc<str>) {
        if self.write_breaker.lock().succeeded(namespace, Instant::now()) {
            self.budgets.notify_capacity();
        }
    }

    /// Returns an error if a token of this namespace could not be stored, so that the object must not enter the queue.
    pub(crate) fn admit(&self, namespace: &str) -> Result<(), Wait> {
        self.write_breaker.lock().admit(namespace, Instant::now())
    }

    /// Returns the state of the write breaker for this namespace: whether a token could probably be stored now.
    pub(crate) fn breaker_state(&self, namespace: &str) -> BreakerState {
        self.write_breaker.lock().for_namespace(namespace, Instant::now())
    }
}
