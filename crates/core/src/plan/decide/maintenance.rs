//! No token must be issued: the Secret is kept as it should be, and read where its data may have changed.

use super::causes::{Cause, Facts, cause};
use super::issuance::{serves, store};
use super::secret_check::{OwnedSecret, secret_not_writable};
use super::{Decision, Delay, TokenStep, expiry, leave_queue, refuse, set_earliest};
use crate::clock::Timestamp;
use crate::plan::contest;
use crate::plan::secret::{Fixed, PREVIOUS_MARGIN};
use crate::plan::view::{DataView, QueueState, Refusal, SecretView, View, Wanted, WriteFailure};

/// Keeps the Secret as it should be.
pub(super) fn maintain_secret(
    view: &View<'_>,
    wanted: &Wanted,
    own: Option<&OwnedSecret<'_>>,
    mut decision: Decision,
    now: Timestamp,
) -> Decision {
    if let Some(held) = &view.held {
        // after a rename, the unsaved token is stored like the one that would be copied: that may be gone by now
        if own.is_none() && serves(view, wanted, held, None, now) {
            return store(view, decision, now);
        }
        return Decision { step: TokenStep::Discard, ..decision };
    }
    if view.queue != QueueState::None {
        return Decision { step: TokenStep::Withdraw, ..decision };
    }
    let Some(own) = own else { return attempt(view, decision, TokenStep::CopyToken, now) };
    let previous_ends = own.facts.previous_expires_at.time().map(|ends| ends - PREVIOUS_MARGIN);
    let reshaped =
        own.facts.render != Some(wanted.render) || own.adopted || previous_ends.is_some_and(|ends| now >= ends);
    let overridden = view.contest.and_then(|contest| contest.overridden(view.secret.version()));
    let damaged = own.data == DataView::Altered
        || !own.facts.labelled
        || overridden.is_some_and(|overridden| overridden.fixed.is_none());
    let mut kept = None;
    if reshaped || damaged {
        if let Some(fixed) = not_writable(view) {
            return refuse(view, decision, secret_not_writable(fixed), now);
        }
        kept = contest::keeps(view, now).filter(|_| !reshaped);
        if kept.is_none() {
            return attempt(view, decision, TokenStep::Render, now);
        }
    }
    if view.former.is_some() {
        return attempt(view, decision, TokenStep::DeleteOldSecret, now);
    }
    if let Some(kept) = kept {
        decision = held_back(view, decision, kept);
    }
    for next in [decision.renewal.map(|renewal| renewal.due), previous_ends].into_iter().flatten() {
        set_earliest(&mut decision.requeue_at, next);
    }
    decision
}

/// A look at the Secret, or a write that isn't of a new token; neither right after one that failed.
pub(super) fn attempt(view: &View<'_>, mut decision: Decision, step: TokenStep, now: Timestamp) -> Decision {
    match view.write_failure.filter(|write_failure| write_failure.holds(now)) {
        None => Decision { step, ..decision },
        Some(write_failure) => {
            set_earliest(&mut decision.requeue_at, write_failure.next);
            if let Some(renewal) = decision.renewal {
                set_earliest(&mut decision.requeue_at, renewal.due);
            }
            report_write_failure(view, decision, write_failure)
        }
    }
}

pub(super) fn report_write_failure(view: &View<'_>, mut decision: Decision, write_failure: &WriteFailure) -> Decision {
    if write_failure.stalled {
        decision.refusal = Some(Refusal::new(write_failure.reason, write_failure.message.clone()));
    } else {
        decision.delay =
            Some(Delay { reason: write_failure.reason.to_owned(), message: write_failure.message.clone() });
    }
    leave_queue(view, decision)
}

/// Reads the Secret. A Secret that changes all the time has a pace (P18), except before a write that is due anyway.
pub(super) fn look(
    view: &View<'_>,
    wanted: &Wanted,
    mut decision: Decision,
    step: TokenStep,
    now: Timestamp,
) -> Decision {
    let Some(next) = view.contest.and_then(|contest| contest.next_look(now)).filter(|_| step == TokenStep::Inspect)
    else {
        return attempt(view, decision, step, now);
    };
    let SecretView::Known { facts, .. } = view.secret else { return attempt(view, decision, step, now) };
    let life = facts.life();
    decision.renewal = life.map(|(issued, expires)| wanted.renewal(issued, expires, view.uid));
    let own = OwnedSecret { facts, data: DataView::Verified, adopted: false };
    if !matches!(
        cause(&Facts { view, wanted, own: Some(&own), renewal: decision.renewal, now }),
        None | Some(Cause::Lost)
    ) {
        return attempt(view, decision, step, now);
    }
    set_earliest(&mut decision.requeue_at, next);
    for at in [decision.renewal.map(|renewal| renewal.due), expiry(view, now)].into_iter().flatten() {
        set_earliest(&mut decision.requeue_at, at);
    }
    decision.refusal = view.contest.filter(|contest| contest.is_slowed()).map(contest::Contest::refusal);
    leave_queue(view, decision)
}

/// A repair that has to wait (P18), as its reason says.
pub(super) fn held_back(view: &View<'_>, mut decision: Decision, (refusal, next): (Refusal, Timestamp)) -> Decision {
    set_earliest(&mut decision.requeue_at, next);
    decision.refusal = Some(refusal);
    leave_queue(view, decision)
}

/// Returns why the Secret, as it was stored by the last write, takes no further write.
pub(super) fn not_writable(view: &View<'_>) -> Option<Fixed> {
    view.contest?.overridden(view.secret.version())?.fixed
}
