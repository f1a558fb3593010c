//! Steps without an issuance: the Secret is repaired, and inspected if its data may have changed.

use super::causes::{Facts, IssueCause, issue_cause};
use super::issuance::{serves, store};
use super::secret_check::{OwnedSecret, secret_not_writable};
use super::{Decision, IssueDelay, TokenStep, expiry, leave_queue, refuse, set_earliest};
use crate::clock::Timestamp;
use crate::plan::contest;
use crate::plan::secret::{NotWritable, PREVIOUS_MARGIN};
use crate::plan::view::{DataView, DecisionInput, DesiredToken, QueueState, Refusal, SecretView, WriteFailure};

/// Decides the next step if no token must be issued.
pub(super) fn next_maintenance_step(
    input: &DecisionInput<'_>,
    desired: &DesiredToken,
    own: Option<&OwnedSecret<'_>>,
    mut decision: Decision,
    now: Timestamp,
) -> Decision {
    if let Some(unsaved) = &input.unsaved {
        // after a rename, an issued token is stored like the token of the old Secret, which may no longer exist
        if own.is_none() && serves(input, desired, unsaved, None, now) {
            return store(input, decision, now);
        }
        return Decision { step: TokenStep::Discard, ..decision };
    }
    if input.queue != QueueState::None {
        return Decision { step: TokenStep::Withdraw, ..decision };
    }
    let Some(own) = own else { return attempt(input, decision, TokenStep::CopyToken, now) };
    let previous_ends = own.facts.previous_expires_at.time().map(|ends| ends - PREVIOUS_MARGIN);
    let reshaped =
        own.facts.render != Some(desired.render) || own.adopted || previous_ends.is_some_and(|ends| now >= ends);
    let overridden = input.contest.and_then(|contest| contest.overridden(input.secret.version()));
    let damaged = own.data == DataView::Altered
        || !own.facts.labelled
        || overridden.is_some_and(|overridden| overridden.not_writable.is_none());
    let mut block = None;
    if reshaped || damaged {
        if let Some(not_writable) = not_writable(input) {
            return refuse(input, decision, secret_not_writable(not_writable), now);
        }
        block = contest::repair_block(input, now).filter(|_| !reshaped);
        if block.is_none() {
            return attempt(input, decision, TokenStep::Render, now);
        }
    }
    if input.old_secret.is_some() {
        return attempt(input, decision, TokenStep::DeleteOldSecret, now);
    }
    if let Some(block) = block {
        decision = held_back(input, decision, block);
    }
    for next in [decision.renewal.map(|renewal| renewal.due), previous_ends].into_iter().flatten() {
        set_earliest(&mut decision.requeue_at, next);
    }
    decision
}

/// Returns `step` (a read of the Secret, or a write without a new token) unless the last request failed and its
/// back-off has not ended.
pub(super) fn attempt(input: &DecisionInput<'_>, mut decision: Decision, step: TokenStep, now: Timestamp) -> Decision {
    match input.write_failure.filter(|write_failure| write_failure.holds(now)) {
        None => Decision { step, ..decision },
        Some(write_failure) => {
            set_earliest(&mut decision.requeue_at, write_failure.next);
            if let Some(renewal) = decision.renewal {
                set_earliest(&mut decision.requeue_at, renewal.due);
            }
            report_write_failure(input, decision, write_failure)
        }
    }
}

pub(super) fn report_write_failure(
    input: &DecisionInput<'_>,
    mut decision: Decision,
    write_failure: &WriteFailure,
) -> Decision {
    if write_failure.stalled {
        decision.refusal = Some(Refusal::new(write_failure.reason, write_failure.message.clone()));
    } else {
        decision.delay = Some(IssueDelay::new(write_failure.reason, write_failure.message.clone()));
    }
    leave_queue(input, decision)
}

/// Decides about a read of the Secret. If the Secret changes repeatedly, reads are limited (P18), unless the Secret
/// must be written anyway.
pub(super) fn inspect(
    input: &DecisionInput<'_>,
    desired: &DesiredToken,
    mut decision: Decision,
    step: TokenStep,
    now: Timestamp,
) -> Decision {
    let Some(next) =
        input.contest.and_then(|contest| contest.next_inspection(now)).filter(|_| step == TokenStep::Inspect)
    else {
        return attempt(input, decision, step, now);
    };
    let SecretView::Known { facts, .. } = input.secret else { return attempt(input, decision, step, now) };
    let lifetime = facts.lifetime();
    decision.renewal = lifetime.map(|lifetime| desired.renewal(lifetime, facts.returned_again, input.uid));
    let own = OwnedSecret { facts, data: DataView::Verified, adopted: false };
    if !matches!(
        issue_cause(&Facts { input, desired, own: Some(&own), renewal: decision.renewal, now }),
        None | Some(IssueCause::Lost)
    ) {
        return attempt(input, decision, step, now);
    }
    set_earliest(&mut decision.requeue_at, next);
    for at in [decision.renewal.map(|renewal| renewal.due), expiry(input, now)].into_iter().flatten() {
        set_earliest(&mut decision.requeue_at, at);
    }
    decision.refusal = input.contest.filter(|contest| contest.is_slowed()).map(contest::Contest::refusal);
    leave_queue(input, decision)
}

/// Delays a repair (P18).
pub(super) fn held_back(
    input: &DecisionInput<'_>,
    mut decision: Decision,
    (refusal, next): (Refusal, Timestamp),
) -> Decision {
    set_earliest(&mut decision.requeue_at, next);
    decision.refusal = Some(refusal);
    leave_queue(input, decision)
}

/// Returns why the stored result of the last write can't be changed.
pub(super) fn not_writable(input: &DecisionInput<'_>) -> Option<NotWritable> {
    input.contest?.overridden(input.secret.version())?.not_writable
}
