//! The reconcile of a `VideoAccessToken`: observe, decide, act, record.
//!
//! | File | Contents |
//! |---|---|
//! | `reconcile` | the steps in order, each marked as pure or as IO |
//! | `observe` | the input of a decision, read from memory; `plan::observe` holds its rules |
//! | `secret_io`, `contests` | requests about the Secret; `plan::outcome` says what each outcome changes in memory |
//! | `call` | one call of a token API |
//! | `status_writer` | the status, the next reconcile, the events |
//! | `object_state` | in-memory states of all objects |
//! | `renders` | templates, rendered outside the reconcile |
//! | `trace_source` | input of a trace |
//!
//! This module makes no decisions; `plan` does.

pub(crate) mod call;
pub(crate) mod contests;
pub(crate) mod object_state;
pub(crate) mod observe;
pub(crate) mod reconcile;
pub(crate) mod renders;
pub(crate) mod secret_io;
pub(crate) mod status_writer;
pub(crate) mod trace_source;

use super::keyed_work::KeyedWork;
use super::requeue::RequeueSchedule;
use object_state::ObjectStates;
use renders::Renders;
use videotoken_api::key::ObjectKey;

/// State of each object that is not in the stores, and the times at which it is reconciled.
pub(crate) struct Objects {
    pub(crate) states: ObjectStates,
    /// Times of the next reconciles.
    pub(crate) requeue: RequeueSchedule<ObjectKey>,
    /// Objects to reconcile now.
    pub(crate) reconciles: KeyedWork<ObjectKey>,
    pub(crate) renders: Renders,
}

impl Objects {
    /// Creates an empty state. `reconciles` is the queue of [`reconcile::reconcile_all`].
    pub(crate) fn new(reconciles: KeyedWork<ObjectKey>) -> Self {
        Self {
            states: ObjectStates::default(),
            requeue: RequeueSchedule::default(),
            reconciles,
            renders: Renders::default(),
        }
    }
}
