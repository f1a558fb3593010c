//! Decides the next step of a VideoAccessToken: one pure function from the input to one step.
//!
//! The reconcile runs the step, observes the result and decides again, so each decision has current facts.

mod causes;
mod issuance;
mod maintenance;
mod secret_check;

pub use causes::{CAUSES, Check, Facts, IssueCause};

use super::contest;
use super::renewal::Renewal;
use super::unplanned::Unplanned;
use super::view::{DataView, DecisionInput, QueueState, Refusal, SecretView};
use crate::clock::Timestamp;
use causes::{issue_cause, lifetime};
use issuance::next_issuance_step;
use maintenance::{attempt, inspect, next_maintenance_step};
use secret_check::{SecretCheck, own_secret};

/// A step of a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStep {
    /// Wait until `requeue_at` or the next event.
    Wait,
    /// Get the metadata of the Secret with the declared name.
    Probe,
    /// Get the Secret and check its data.
    Inspect,
    /// Write the Secret again with the token that it contains.
    Render,
    /// Write the Secret with the token of the Secret with the previous name.
    CopyToken,
    /// Delete the Secret with the previous name.
    DeleteOldSecret,
    /// Write the issued token to the Secret.
    Store,
    /// Drop an issued token that no longer matches the spec.
    Discard,
    /// Add a request to the queue of the account.
    Enqueue {
        /// Expiry of the current token.
        expires_at: Option<Timestamp>,
        /// Time from which the request is urgent.
        urgent_at: Option<Timestamp>,
        /// True for an unplanned request.
        unplanned: bool,
    },
    /// Return the grant, or leave the queue.
    Withdraw,
    /// Call the token API with the grant.
    Issue,
}

/// Cause that delays an issuance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueDelay {
    /// Reason in CamelCase.
    pub reason: String,
    /// Message for conditions.
    pub message: String,
    /// True if the status of the provider reports the delay, and no status of a VideoAccessToken is written for it.
    pub told_by_provider: bool,
}

impl IssueDelay {
    /// Creates a delay that the status of the VideoAccessToken reports.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), told_by_provider: false }
    }
}

/// A step, and the facts that the status reports until the next decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Next step.
    pub step: TokenStep,
    /// Latest time of the next decision.
    pub requeue_at: Option<Timestamp>,
    /// Cause for which the VideoAccessToken is stalled.
    pub refusal: Option<Refusal>,
    /// Cause for which a token must be issued.
    pub cause: Option<IssueCause>,
    /// Cause that delays the issuance.
    pub delay: Option<IssueDelay>,
    /// Kind of the issuance, if it is unplanned.
    pub unplanned: Option<Unplanned>,
    /// Renewal times of the current token.
    pub renewal: Option<Renewal>,
}

impl Decision {
    /// Returns true if a token is on its way: the status reports it after it is stored, in a single write (P04). A
    /// longer delay is reported with its reason, by the status of the provider if many tokens wait for the account.
    pub fn is_on_its_way(&self) -> bool {
        let is_delayed = self.delay.as_ref().is_some_and(|delay| !delay.told_by_provider);
        self.cause.is_some() && !is_delayed && self.refusal.is_none()
    }
}

/// Reason for unplanned issuances above the limit.
pub const TOO_OFTEN: &str = "IssuedTooOften";

/// Reason for a fixed end that has passed.
pub const ENDED: &str = "Ended";

/// Returns the next step (P01–P05, P07, P09, P18).
pub fn decide(input: &DecisionInput<'_>, now: Timestamp) -> Decision {
    // Another client may keep changing the Secret (P18): a decision to wait then reports it and may move the next attempt.
    contest::report(input, step(input, now), now)
}

fn step(input: &DecisionInput<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        step: TokenStep::Wait,
        requeue_at: None,
        refusal: None,
        cause: None,
        delay: None,
        unplanned: None,
        renewal: None,
    };
    if input.queue == QueueState::OtherAccount {
        return Decision { step: TokenStep::Withdraw, ..decision };
    }
    if input.deleting {
        return while_deleting(input, decision, now);
    }
    let desired = match &input.desired {
        None => return decision,
        Some(Ok(desired)) => desired,
        Some(Err(refusal)) => return refuse(input, decision, refusal.clone(), now),
    };
    if let Some(end) = desired.ends_at.as_ref().filter(|end| now >= end.at) {
        return refuse(input, decision, Refusal::new(ENDED, end.passed().to_string()), now);
    }
    let own = match own_secret(input, desired) {
        Ok(own) => own,
        Err(SecretCheck::Refused(refusal)) => return refuse(input, decision, refusal, now),
        Err(SecretCheck::Inspect(act)) if !desired.suspend => return inspect(input, desired, decision, act, now),
        Err(SecretCheck::Inspect(_)) => {
            decision.requeue_at = expiry(input, now);
            return leave_queue(input, decision);
        }
    };
    let lifetime = own.as_ref().and_then(|own| lifetime(own.facts, desired));
    let returned_again = own.as_ref().is_some_and(|own| own.facts.returned_again);
    decision.renewal = lifetime.map(|lifetime| desired.renewal(lifetime, returned_again, input.uid));
    decision.requeue_at = lifetime.map(|(_, expires)| expires).filter(|expires| *expires > now);
    if let Some(end) = &desired.ends_at {
        set_earliest(&mut decision.requeue_at, end.at);
    }
    if desired.suspend {
        return leave_queue(input, decision);
    }
    decision.cause = issue_cause(&Facts { input, desired, own: own.as_ref(), renewal: decision.renewal, now });
    match decision.cause {
        Some(cause) => next_issuance_step(input, desired, own.as_ref(), decision, cause, now),
        None => next_maintenance_step(input, desired, own.as_ref(), decision, now),
    }
}

/// The VideoAccessToken is being deleted, and a finalizer of another controller delays the deletion. Nothing is issued
/// and nothing written, but the status stays correct.
fn while_deleting(input: &DecisionInput<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    if input.unsaved.is_some() {
        return Decision { step: TokenStep::Discard, ..decision };
    }
    decision.requeue_at = expiry(input, now);
    match (&input.desired, input.secret) {
        (Some(Ok(_)), SecretView::Known { facts, data: DataView::Unverified, .. })
            if facts.owner == Some(input.uid)
                && input.contest.and_then(|contest| contest.next_inspection(now)).is_none() =>
        {
            attempt(input, decision, TokenStep::Inspect, now)
        }
        _ => leave_queue(input, decision),
    }
}

/// Reports a refusal. Nothing is issued and nothing written; the current token stays until it expires.
fn refuse(input: &DecisionInput<'_>, mut decision: Decision, refusal: Refusal, now: Timestamp) -> Decision {
    decision.requeue_at = expiry(input, now);
    if let Some(retry_after) = refusal.retry_after {
        set_earliest(&mut decision.requeue_at, now + retry_after);
    }
    decision.refusal = Some(refusal);
    leave_queue(input, decision)
}

/// Returns the expiry of the token in the managed Secret, if it is in the future.
fn expiry(input: &DecisionInput<'_>, now: Timestamp) -> Option<Timestamp> {
    let SecretView::Known { facts, .. } = input.secret else { return None };
    facts.expires_at.time().filter(|expires| facts.owner == Some(input.uid) && now < *expires)
}

fn leave_queue(input: &DecisionInput<'_>, decision: Decision) -> Decision {
    if input.queue == QueueState::None { decision } else { Decision { step: TokenStep::Withdraw, ..decision } }
}

fn set_earliest(requeue_at: &mut Option<Timestamp>, at: Timestamp) {
    *requeue_at = Some(requeue_at.map_or(at, |requeue_at| requeue_at.min(at)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
