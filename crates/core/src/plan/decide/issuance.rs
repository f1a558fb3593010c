//! Steps of an issuance, from the queue to the call and to the Secret, and their delays.

use super::causes::{IssueCause, is_ahead};
use super::maintenance::{held_back, not_writable, report_write_failure};
use super::secret_check::{OwnedSecret, secret_not_writable};
use super::{Decision, IssueDelay, TOO_OFTEN, TokenStep, leave_queue, refuse, set_earliest};
use crate::clock::Timestamp;
use crate::issue::Class;
use crate::plan::account_block::THROTTLED;
use crate::plan::backoff;
use crate::plan::contest;
use crate::plan::facts::Failure;
use crate::plan::renewal::Renewal;
use crate::plan::unplanned::Unplanned;
use crate::plan::view::{DecisionInput, DesiredToken, QueueState, Refusal, UnsavedTokenView, Wait};
use chrono::TimeDelta;
use videotoken_api::wire_time;

/// Time in the queue after which the status reports the wait.
const WAIT_REPORT_DELAY: TimeDelta = TimeDelta::seconds(30);

/// Decides the next step of an issuance: store an issued token, wait, request a grant, or call.
pub(super) fn next_issuance_step(
    input: &DecisionInput<'_>,
    desired: &DesiredToken,
    own: Option<&OwnedSecret<'_>>,
    mut decision: Decision,
    cause: IssueCause,
    now: Timestamp,
) -> Decision {
    if input.unsaved.as_ref().is_some_and(|unsaved| !serves(input, desired, unsaved, Some(cause), now)) {
        return Decision { step: TokenStep::Discard, ..decision };
    }
    if let Some(not_writable) = not_writable(input) {
        return refuse(input, decision, secret_not_writable(not_writable), now);
    }
    let is_lost = cause == IssueCause::Lost
        || (cause == IssueCause::First && (input.damaged || input.contest.is_some_and(contest::Contest::is_slowed)));
    if is_lost && let Some(block) = contest::repair_block(input, now) {
        return held_back(input, decision, block);
    }
    if input.unsaved.is_some() {
        return store(input, decision, now);
    }
    if let Some(failure) = input.failure
        && !failure.is_of_account()
        && let Some(next) = backoff::held_until(failure, input.before.restored, now)
    {
        set_earliest(&mut decision.requeue_at, next);
        return leave_queue(input, report_issue_failure(decision, failure));
    }
    decision.unplanned = unplanned(input, own, cause, decision.renewal, now);
    if let Some(kind) = decision.unplanned
        && let Some(next) = input.before.unplanned_calls.next(kind, input.before.generation, now)
    {
        return too_often(input, decision, kind, next);
    }
    if let Some(write_failure) = input.write_failure.filter(|write_failure| write_failure.holds(now)) {
        // no token is issued while the Secret can't be written
        set_earliest(&mut decision.requeue_at, write_failure.next);
        return report_write_failure(input, decision, write_failure);
    }
    match input.queue {
        QueueState::Granted => Decision { step: TokenStep::Issue, ..decision },
        QueueState::None | QueueState::OtherAccount => {
            // a lost token doesn't expire: the request comes first among the normal ones and leaves the reserve to
            // urgent ones
            let expires_at = own
                .filter(|_| decision.unplanned != Some(Unplanned::Loss) && cause != IssueCause::Lost)
                .and_then(|own| own.facts.expires_at.time());
            let urgent_at = match decision.renewal {
                Some(renewal) if expires_at.is_some() && (cause == IssueCause::Due || now >= renewal.due) => {
                    Some(renewal.urgent)
                }
                _ => expires_at,
            };
            let unplanned = decision.unplanned.is_some();
            Decision { step: TokenStep::Enqueue { expires_at, urgent_at, unplanned }, ..decision }
        }
        QueueState::Waiting(Wait { since, in_crowd }) => {
            if let Some(failure) = input.failure {
                decision = report_issue_failure(decision, failure);
            }
            if decision.refusal.is_some() {
                // keeps the refusal until the next response
            } else if let Some(block) = &input.block {
                let told_by_provider = in_crowd && block.reason == THROTTLED;
                let delay = IssueDelay::new(block.reason, block.message.clone());
                decision.delay = Some(IssueDelay { told_by_provider, ..delay });
            } else if (now - since).abs() >= WAIT_REPORT_DELAY {
                let message = "Waiting for the request budget of the account, which other tokens are using.";
                let delay = IssueDelay::new("WaitingForBudget", message);
                decision.delay = Some(IssueDelay { told_by_provider: in_crowd, ..delay });
            } else if !in_crowd {
                set_earliest(&mut decision.requeue_at, since + WAIT_REPORT_DELAY);
            }
            decision
        }
    }
}

/// Reports the last failed attempt. A rejection by the provider stays reported while the next attempt waits.
pub(super) fn report_issue_failure(mut decision: Decision, failure: &Failure) -> Decision {
    if matches!(failure.class, Class::Configuration | Class::Denied) {
        let message = format!("The provider rejected the request: {}", failure.message);
        decision.refusal = Some(Refusal::new(failure.reason.clone(), message));
    } else {
        decision.delay = Some(IssueDelay::new(failure.reason.clone(), failure.message.clone()));
    }
    decision
}

/// Stores the issued token, unless the back-off of the last failed write has not ended.
pub(super) fn store(input: &DecisionInput<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    match input.write_failure.filter(|write_failure| write_failure.holds(now)) {
        None => Decision { step: TokenStep::Store, ..decision },
        Some(write_failure) => {
            set_earliest(&mut decision.requeue_at, write_failure.next);
            report_write_failure(input, decision, write_failure)
        }
    }
}

/// Returns true if an issued token still matches the desired token.
pub(super) fn serves(
    input: &DecisionInput<'_>,
    desired: &DesiredToken,
    unsaved: &UnsavedTokenView<'_>,
    cause: Option<IssueCause>,
    now: Timestamp,
) -> bool {
    unsaved.request == desired.request
        && (cause != Some(IssueCause::Forced) || unsaved.renew_request == input.renew_requested_at)
        && now < desired.renewal((unsaved.issued_at, unsaved.expires_at), unsaved.returned_again, input.uid).due
}

/// Returns the kind of the issuance if it is unplanned. A retry after a failure is not unplanned: its back-off limits
/// it.
pub(super) fn unplanned(
    input: &DecisionInput<'_>,
    own: Option<&OwnedSecret<'_>>,
    cause: IssueCause,
    renewal: Option<Renewal>,
    now: Timestamp,
) -> Option<Unplanned> {
    if input.failure.is_some() {
        return None;
    }
    let (status, before) = (input.status, input.before);
    // the last status reports a token of this Secret that is not due
    let reported = status.renew_at.time().is_some_and(|at| now < at)
        && status.other_secret.is_none()
        && status.observed_generation == before.generation;
    let is_due = renewal.is_some_and(|renewal| now >= renewal.due);
    match (cause, own) {
        (IssueCause::Lost, _) => Some(Unplanned::Loss),
        // the Secret was deleted, or restored with other times
        (IssueCause::First, None) if reported => Some(Unplanned::Loss),
        (IssueCause::Due, Some(own)) if is_ahead(own.facts, now) => Some(Unplanned::Loss),
        (IssueCause::Due, Some(own)) if reported && own.facts.expires_at <= status.expires_at => Some(Unplanned::Loss),
        (IssueCause::RequestChanged, _) if !is_due => Some(Unplanned::Edit),
        (IssueCause::Forced, _) if !is_due => Some(Unplanned::Demand),
        _ => before.excused.then_some(Unplanned::Demand),
    }
}

/// Delays an unplanned issuance above the limit.
pub(super) fn too_often(
    input: &DecisionInput<'_>,
    mut decision: Decision,
    kind: Unplanned,
    next: Timestamp,
) -> Decision {
    set_earliest(&mut decision.requeue_at, next);
    if input.before.unplanned_calls.are_restored() {
        // a few seconds after a restart, without a cause that a user can remove
        return leave_queue(input, decision);
    }
    let (calls, at) = (input.before.unplanned_calls.calls(kind), wire_time::text(next));
    let message = match kind {
        Unplanned::Loss => format!(
            "The token in the Secret was lost or altered again, after {calls} times in a row. Find the other client that writes the Secret in its metadata.managedFields. The operator issues the next token at {at}."
        ),
        Unplanned::Demand => format!(
            "The token was renewed on demand {calls} times in a row. The operator serves the next demand at {at}."
        ),
        Unplanned::Edit => {
            format!(
                "spec: the token request was edited {calls} times in a row. The operator sends the current request at {at}."
            )
        }
    };
    decision.delay = Some(IssueDelay::new(TOO_OFTEN, message));
    leave_queue(input, decision)
}
