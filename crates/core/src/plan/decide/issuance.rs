//! A token must be issued: the steps from the queue to the call and to the Secret, and what delays them.

use super::causes::{Cause, is_ahead};
use super::maintenance::{held_back, not_writable, report_write_failure};
use super::secret_check::{OwnedSecret, secret_not_writable};
use super::{Decision, Delay, TOO_OFTEN, TokenStep, leave_queue, refuse, set_earliest};
use crate::clock::Timestamp;
use crate::issue::Class;
use crate::plan::backoff;
use crate::plan::contest;
use crate::plan::facts::Failure;
use crate::plan::floor::Unplanned;
use crate::plan::renewal::Renewal;
use crate::plan::view::{HeldView, QueueState, Refusal, View, Wanted};
use chrono::TimeDelta;
use videotoken_api::wire_time;

/// Time in the queue after which the status reports the wait.
const WAIT_REPORT_DELAY: TimeDelta = TimeDelta::seconds(30);

/// Decides on a token that must be issued: store the unsaved one, wait, enter the queue, or call.
pub(super) fn issue(
    view: &View<'_>,
    wanted: &Wanted,
    own: Option<&OwnedSecret<'_>>,
    mut decision: Decision,
    cause: Cause,
    now: Timestamp,
) -> Decision {
    if view.held.as_ref().is_some_and(|held| !serves(view, wanted, held, Some(cause), now)) {
        return Decision { step: TokenStep::Discard, ..decision };
    }
    if let Some(fixed) = not_writable(view) {
        return refuse(view, decision, secret_not_writable(fixed), now);
    }
    let is_lost = cause == Cause::Lost
        || (cause == Cause::First && (view.damaged || view.contest.is_some_and(contest::Contest::is_slowed)));
    if is_lost && let Some(kept) = contest::keeps(view, now) {
        return held_back(view, decision, kept);
    }
    if view.held.is_some() {
        return store(view, decision, now);
    }
    if let Some(failure) = view.failure
        && !failure.is_of_account()
        && let Some(next) = backoff::held_until(failure, view.before.recalled, now)
    {
        set_earliest(&mut decision.requeue_at, next);
        return leave_queue(view, report_issue_failure(decision, failure));
    }
    decision.unplanned = unplanned(view, own, cause, decision.renewal, now);
    if let Some(kind) = decision.unplanned
        && let Some(next) = view.before.spells.next(kind, view.before.generation, now)
    {
        return too_often(view, decision, kind, next);
    }
    if let Some(write_failure) = view.write_failure.filter(|write_failure| write_failure.holds(now)) {
        // what couldn't be stored isn't asked for
        set_earliest(&mut decision.requeue_at, write_failure.next);
        return report_write_failure(view, decision, write_failure);
    }
    match view.queue {
        QueueState::Granted => Decision { step: TokenStep::Issue, ..decision },
        QueueState::None | QueueState::OtherAccount => {
            // a token that is lost doesn't expire: it leads the second class, and leaves the reserve to those that do
            let expires_at = own
                .filter(|_| decision.unplanned != Some(Unplanned::Loss) && cause != Cause::Lost)
                .and_then(|own| own.facts.expires_at.time());
            let urgent_at = match decision.renewal {
                Some(renewal) if expires_at.is_some() && (cause == Cause::Due || now >= renewal.due) => {
                    Some(renewal.urgent)
                }
                _ => expires_at,
            };
            let unplanned = decision.unplanned.is_some();
            Decision { step: TokenStep::Enqueue { expires_at, urgent_at, unplanned }, ..decision }
        }
        QueueState::Waiting(since) => {
            if let Some(failure) = view.failure {
                decision = report_issue_failure(decision, failure);
            }
            if decision.refusal.is_some() {
                // as it was until the next answer
            } else if let Some(block) = &view.block {
                decision.delay = Some(Delay { reason: block.reason.to_owned(), message: block.message.clone() });
            } else if (now - since).abs() >= WAIT_REPORT_DELAY {
                let message = "waits for its queue: the account's budget is used by other tokens".to_owned();
                decision.delay = Some(Delay { reason: "WaitingForBudget".to_owned(), message });
            } else {
                set_earliest(&mut decision.requeue_at, since + WAIT_REPORT_DELAY);
            }
            decision
        }
    }
}

/// Says that the last attempt failed: what the provider refuses stays refused also while it waits to be asked again.
pub(super) fn report_issue_failure(mut decision: Decision, failure: &Failure) -> Decision {
    if matches!(failure.class, Class::Configuration | Class::Denied) {
        let message = format!("the provider refuses it: {}", failure.message);
        decision.refusal = Some(Refusal::new(failure.reason.clone(), message));
    } else {
        decision.delay = Some(Delay { reason: failure.reason.clone(), message: failure.message.clone() });
    }
    decision
}

/// Writes the unsaved token, unless the last write failed and its back-off has not ended.
pub(super) fn store(view: &View<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    match view.write_failure.filter(|write_failure| write_failure.holds(now)) {
        None => Decision { step: TokenStep::Store, ..decision },
        Some(write_failure) => {
            set_earliest(&mut decision.requeue_at, write_failure.next);
            report_write_failure(view, decision, write_failure)
        }
    }
}

/// Returns true if an unsaved token is the one that would be requested now.
pub(super) fn serves(
    view: &View<'_>,
    wanted: &Wanted,
    held: &HeldView<'_>,
    cause: Option<Cause>,
    now: Timestamp,
) -> bool {
    held.request == wanted.request
        && (cause != Some(Cause::Forced) || held.renew_request == view.renew_requested_at)
        && now < wanted.renewal(held.issued_at, held.expires_at, view.uid).due
}

/// Why no schedule asks for this issue, if none does. A failure's next attempt is none of these: its back-off bounds it.
pub(super) fn unplanned(
    view: &View<'_>,
    own: Option<&OwnedSecret<'_>>,
    cause: Cause,
    renewal: Option<Renewal>,
    now: Timestamp,
) -> Option<Unplanned> {
    if view.failure.is_some() {
        return None;
    }
    let (status, before) = (view.status, view.before);
    // the last status reported a token of this Secret that isn't due yet
    let reported = status.renew_at.time().is_some_and(|at| now < at)
        && status.other_secret.is_none()
        && status.observed_generation == before.generation;
    let is_due = renewal.is_some_and(|renewal| now >= renewal.due);
    match (cause, own) {
        (Cause::Lost, _) => Some(Unplanned::Loss),
        // the Secret was deleted, put back, or says other times than it did
        (Cause::First, None) if reported => Some(Unplanned::Loss),
        (Cause::Due, Some(own)) if is_ahead(own.facts, now) => Some(Unplanned::Loss),
        (Cause::Due, Some(own)) if reported && own.facts.expires_at <= status.expires_at => Some(Unplanned::Loss),
        (Cause::RequestChanged, _) if !is_due => Some(Unplanned::Edit),
        (Cause::Forced, _) if !is_due => Some(Unplanned::Demand),
        _ => before.excused.then_some(Unplanned::Demand),
    }
}

/// Delays an object that was served too often already.
pub(super) fn too_often(view: &View<'_>, mut decision: Decision, kind: Unplanned, next: Timestamp) -> Decision {
    set_earliest(&mut decision.requeue_at, next);
    if view.before.spells.are_recalled() {
        // a few seconds after a restart, and nothing that anyone did too often
        return leave_queue(view, decision);
    }
    let (calls, at) = (view.before.spells.calls(kind), wire_time::text(next));
    let message = match kind {
        Unplanned::Loss => format!(
            "the token in the Secret was lost or altered again, after {calls} times in a row: the provider isn't asked \
             for another before {at}; find who else writes the Secret: its metadata.managedFields name them"
        ),
        Unplanned::Demand => format!("renewed on demand {calls} times in a row: the next is served at {at}"),
        Unplanned::Edit => {
            format!("spec: what is asked of the provider was edited {calls} times in a row: this is asked at {at}")
        }
    };
    decision.delay = Some(Delay { reason: TOO_OFTEN.to_owned(), message });
    leave_queue(view, decision)
}
