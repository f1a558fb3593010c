//! The next step of an object: one pure function from everything that is known to one step.
//!
//! The reconcile takes the step, observes the result, and decides again, so each step is decided from fresh facts.

mod causes;
mod issuance;
mod maintenance;
mod secret_check;

pub use causes::{CAUSES, Cause, Check, Facts};

use super::contest;
use super::floor::Unplanned;
use super::renewal::Renewal;
use super::view::{DataView, QueueState, Refusal, SecretView, View};
use crate::clock::Timestamp;
use causes::{cause, life};
use issuance::issue;
use maintenance::{attempt, look, maintain_secret};
use secret_check::{SecretCheck, own_secret};

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStep {
    /// Wait until `requeue_at`, or until something changes.
    Wait,
    /// Read the metadata of the Secret: one GET.
    Probe,
    /// Read the Secret to see whether its data is as the operator wrote it: one GET.
    Inspect,
    /// Write the Secret again from the token that it holds.
    Render,
    /// Write the Secret from the token in the one of the former name.
    CopyToken,
    /// Delete the Secret of the former name.
    DeleteOldSecret,
    /// Write the token that was issued.
    Store,
    /// Drop a token that is no longer asked for.
    Discard,
    /// Enter the queue of the account.
    Enqueue {
        /// Expiry of the token in the Secret. `None`: there is none to live on.
        expires_at: Option<Timestamp>,
        /// Time from which on the request is urgent.
        urgent_at: Option<Timestamp>,
        /// The call is one that no schedule asks for.
        unplanned: bool,
    },
    /// Return the grant, or leave the queue.
    Withdraw,
    /// Call the token API: the call is granted.
    Issue,
}

/// What delays an issuance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Reason of a condition: one CamelCase word.
    pub reason: String,
    /// What the issuance waits for.
    pub message: String,
}

/// A step, and what the status reports until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The step.
    pub step: TokenStep,
    /// Decide again at this time at the latest.
    pub requeue_at: Option<Timestamp>,
    /// Why it can't be served.
    pub refusal: Option<Refusal>,
    /// Why a token must be issued.
    pub cause: Option<Cause>,
    /// What delays the issuance.
    pub delay: Option<Delay>,
    /// The issue is one that no schedule asks for.
    pub unplanned: Option<Unplanned>,
    /// Times of the token in the Secret.
    pub renewal: Option<Renewal>,
}

/// The reason of a token that is issued again and again.
pub const TOO_OFTEN: &str = "IssuedTooOften";

/// The reason of an object whose fixed end has passed.
pub const ENDED: &str = "Ended";

/// The next step (P01–P05, P07, P09, P18).
pub fn decide(view: &View<'_>, now: Timestamp) -> Decision {
    contest::report(view, step(view, now), now)
}

fn step(view: &View<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        step: TokenStep::Wait,
        requeue_at: None,
        refusal: None,
        cause: None,
        delay: None,
        unplanned: None,
        renewal: None,
    };
    if view.queue == QueueState::OtherAccount {
        return Decision { step: TokenStep::Withdraw, ..decision };
    }
    if view.deleting {
        return going(view, decision, now);
    }
    let wanted = match &view.wanted {
        None => return decision,
        Some(Ok(wanted)) => wanted,
        Some(Err(refusal)) => return refuse(view, decision, refusal.clone(), now),
    };
    if let Some(end) = wanted.ends_at.as_ref().filter(|end| now >= end.at) {
        return refuse(view, decision, Refusal::new(ENDED, end.passed().to_string()), now);
    }
    let own = match own_secret(view, wanted) {
        Ok(own) => own,
        Err(SecretCheck::Refused(refusal)) => return refuse(view, decision, refusal, now),
        Err(SecretCheck::Look(act)) if !wanted.suspend => return look(view, wanted, decision, act, now),
        Err(SecretCheck::Look(_)) => {
            decision.requeue_at = expiry(view, now);
            return leave_queue(view, decision);
        }
    };
    let life = own.as_ref().and_then(|own| life(own.facts, wanted));
    decision.renewal = life.map(|(issued, expires)| wanted.renewal(issued, expires, view.uid));
    decision.requeue_at = life.map(|(_, expires)| expires).filter(|expires| *expires > now);
    if let Some(end) = &wanted.ends_at {
        set_earliest(&mut decision.requeue_at, end.at);
    }
    if wanted.suspend {
        return leave_queue(view, decision);
    }
    decision.cause = cause(&Facts { view, wanted, own: own.as_ref(), renewal: decision.renewal, now });
    match decision.cause {
        Some(cause) => issue(view, wanted, own.as_ref(), decision, cause, now),
        None => maintain_secret(view, wanted, own.as_ref(), decision, now),
    }
}

/// Decides on an object that is being deleted and that a finalizer keeps: nothing is issued and nothing written, but
/// its status stays true.
fn going(view: &View<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    if view.held.is_some() {
        return Decision { step: TokenStep::Discard, ..decision };
    }
    decision.requeue_at = expiry(view, now);
    match (&view.wanted, view.secret) {
        (Some(Ok(_)), SecretView::Known { facts, data: DataView::Unverified, .. })
            if facts.owner == Some(view.uid) && view.contest.and_then(|contest| contest.next_look(now)).is_none() =>
        {
            attempt(view, decision, TokenStep::Inspect, now)
        }
        _ => leave_queue(view, decision),
    }
}

/// Issues nothing and writes nothing. The token in the Secret stays valid until it expires.
fn refuse(view: &View<'_>, mut decision: Decision, refusal: Refusal, now: Timestamp) -> Decision {
    decision.requeue_at = expiry(view, now);
    if let Some(again) = refusal.again {
        set_earliest(&mut decision.requeue_at, now + again);
    }
    decision.refusal = Some(refusal);
    leave_queue(view, decision)
}

/// Returns the expiry of the token in the object's own Secret, if it is still valid.
fn expiry(view: &View<'_>, now: Timestamp) -> Option<Timestamp> {
    let SecretView::Known { facts, .. } = view.secret else { return None };
    facts.expires_at.time().filter(|expires| facts.owner == Some(view.uid) && now < *expires)
}

fn leave_queue(view: &View<'_>, decision: Decision) -> Decision {
    if view.queue == QueueState::None { decision } else { Decision { step: TokenStep::Withdraw, ..decision } }
}

fn set_earliest(wake: &mut Option<Timestamp>, at: Timestamp) {
    *wake = Some(wake.map_or(at, |wake| wake.min(at)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
