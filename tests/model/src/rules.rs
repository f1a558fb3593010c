//! The rules of the operator as values, so that a test can break one and see the checker find it.

use videotoken_api::Timestamp;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::decide::{Decision, TokenStep, decide};
use videotoken_core::plan::facts::SecretFacts;
use videotoken_core::plan::object_state::ObjectState;
use videotoken_core::plan::observe::ObjectFacts;
use videotoken_core::plan::outcome::is_unchanged;
use videotoken_core::plan::view::{DecisionInput, SecretView};

/// A function of the operator that decides the next step.
pub type Decide = fn(&DecisionInput<'_>, Timestamp) -> Decision;

/// A function of the operator that records a Secret that a request returned.
pub type RecordSecret = fn(&mut ObjectState, ObjectFacts<'_>, &ObjectKey, Option<&SecretFacts>, Timestamp);

/// The functions of the operator that the model calls and a test can replace.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Decides the next step.
    pub decide: Decide,
    /// Compares a Secret that was read with the one that the decision was based on.
    pub is_unchanged: fn(Option<&SecretFacts>, &SecretFacts) -> bool,
    /// Records a Secret that a request returned.
    pub record_secret: RecordSecret,
    /// Counts a conflict.
    pub record_conflict: fn(&mut ObjectState) -> bool,
    /// True if a write carries the version of the Secret that the decision was based on.
    pub guarded: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            decide,
            is_unchanged,
            record_secret: ObjectState::record_secret,
            record_conflict: ObjectState::record_conflict,
            guarded: true,
        }
    }
}

/// Returns the same input with another Secret and another unsaved token.
fn input<'a>(from: &DecisionInput<'a>, secret: SecretView<'a>, keeps_unsaved: bool) -> DecisionInput<'a> {
    DecisionInput {
        uid: from.uid,
        deleting: from.deleting,
        renew_requested_at: from.renew_requested_at,
        status: from.status,
        desired: from.desired.clone(),
        secret,
        old_secret: from.old_secret,
        unsaved: from.unsaved.clone().filter(|_| keeps_unsaved),
        failure: from.failure,
        queue: from.queue,
        block: from.block.clone(),
        write_failure: from.write_failure,
        contest: from.contest,
        damaged: from.damaged,
        before: from.before,
    }
}

/// Rules that decide as the operator does, but take `$other` for `$step`.
macro_rules! with_step {
    ($step:pat, $other:expr) => {{
        fn rule(from: &DecisionInput<'_>, now: Timestamp) -> Decision {
            let decision = decide(from, now);
            if matches!(decision.step, $step) { Decision { step: $other, ..decision } } else { decision }
        }
        Rules { decide: rule, ..Rules::default() }
    }};
}

/// Ways to break a rule.
pub mod broken {
    use super::{
        Decision, DecisionInput, ObjectState, Rules, SecretFacts, SecretView, Timestamp, TokenStep, decide, input,
    };

    /// The owner of a Secret isn't checked.
    pub fn owner() -> Rules {
        fn rule(from: &DecisionInput<'_>, now: Timestamp) -> Decision {
            let SecretView::Known { facts, data, owner_gone } = from.secret else { return decide(from, now) };
            let facts = SecretFacts { owner: Some(from.uid), ..facts.clone() };
            decide(&input(from, SecretView::Known { facts: &facts, data, owner_gone }, true), now)
        }
        Rules { decide: rule, ..Rules::default() }
    }

    /// A Secret is adopted although its object still exists.
    pub fn adoption() -> Rules {
        fn rule(from: &DecisionInput<'_>, now: Timestamp) -> Decision {
            let SecretView::Known { facts, data, .. } = from.secret else { return decide(from, now) };
            decide(&input(from, SecretView::Known { facts, data, owner_gone: true }, true), now)
        }
        Rules { decide: rule, ..Rules::default() }
    }

    /// An issued token that isn't stored yet doesn't count.
    pub fn unsaved_token() -> Rules {
        Rules { decide: |from, now| decide(&input(from, from.secret, false), now), ..Rules::default() }
    }

    /// A token that no longer serves is stored.
    pub fn discard() -> Rules {
        with_step!(TokenStep::Discard, TokenStep::Store)
    }

    /// A Secret whose data may have changed isn't read.
    pub fn inspection() -> Rules {
        with_step!(TokenStep::Inspect, TokenStep::Wait)
    }

    /// No request enters the queue.
    pub fn renewal() -> Rules {
        with_step!(TokenStep::Enqueue { .. }, TokenStep::Wait)
    }

    /// After a rename the old Secret is deleted before its token is copied.
    pub fn copy() -> Rules {
        with_step!(TokenStep::CopyToken, TokenStep::DeleteOldSecret)
    }

    /// A Secret that was read is written, whatever the decision was based on.
    pub fn reading() -> Rules {
        Rules { is_unchanged: |_, _| true, ..Rules::default() }
    }

    /// A write carries no version.
    pub fn precondition() -> Rules {
        Rules { guarded: false, ..Rules::default() }
    }

    /// A conflict loses the issued token.
    pub fn conflict() -> Rules {
        fn rule(state: &mut ObjectState) -> bool {
            state.unsaved = None;
            state.record_conflict()
        }
        Rules { record_conflict: rule, ..Rules::default() }
    }

    /// A lookup that found nothing outlives the Secret having been seen.
    pub fn lookup() -> Rules {
        Rules {
            record_secret: |state, object, key, found, now| {
                let before = state.lookup.take();
                state.record_secret(object, key, found, now);
                state.lookup = before.or(state.lookup.take());
            },
            ..Rules::default()
        }
    }
}
