//! What a token needs next: one pure function from what is known to one step.
//!
//! The reconcile takes the step, learns what came of it, and asks again; so each step is decided from fresh facts.

use super::backoff;
use super::contest;
use super::facts::{Failure, SecretFacts};
use super::floor::{AHEAD, Unplanned};
use super::renewal::Renewal;
use super::secret::Fixed;
use super::view::{DataView, HeldView, Refusal, SecretView, Turn, View, Wanted, WriteTrouble};
use crate::clock::Timestamp;
use crate::issue::Class;
use chrono::TimeDelta;
use videotoken_api::wire_time;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing until `wake`, or until something changes.
    Wait,
    /// One metadata GET: what stands at the Secret's name.
    Probe,
    /// One GET: is the data as we wrote it?
    Inspect,
    /// Write the Secret anew from the token that it holds.
    Render,
    /// Write the Secret from the token in the one of the former name.
    Move,
    /// Delete the Secret of the former name.
    RemoveFormer,
    /// Write the token that was issued.
    Store,
    /// Drop a token that is no longer asked for.
    Discard,
    /// Ask the budget for a turn.
    Enqueue {
        /// No token yet.
        first: bool,
        /// When the token at hand expires.
        expires_at: Option<Timestamp>,
        /// From when on it goes before what isn't urgent.
        urgent_at: Option<Timestamp>,
        /// No schedule asks for the call.
        unplanned: bool,
    },
    /// Give the turn back, or leave the queue.
    Withdraw,
    /// Call the provider: it is our turn.
    Issue,
}

/// Why a token must be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none yet.
    First,
    /// The one in the Secret was lost or altered.
    Lost,
    /// Something else is asked for now.
    RequestChanged,
    /// The annotation asks for it.
    Forced,
    /// The renewal is due.
    Due,
}

/// What keeps an issue that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// One CamelCase word.
    pub reason: String,
    /// What it waits for.
    pub message: String,
}

/// A step, and what the status says meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The step.
    pub act: Act,
    /// Decide again at this time at the latest.
    pub wake: Option<Timestamp>,
    /// Why it can't be served.
    pub refusal: Option<Refusal>,
    /// Why a token must be issued.
    pub cause: Option<Cause>,
    /// What keeps the issue.
    pub delay: Option<Delay>,
    /// The issue is one that no schedule asks for.
    pub unplanned: Option<Unplanned>,
    /// The times of the token at hand.
    pub renewal: Option<Renewal>,
}

/// A wait in the queue is told in the status after this.
const QUIET_WAIT: TimeDelta = TimeDelta::seconds(30);

/// The reason of a token that is issued again and again.
pub const TOO_OFTEN: &str = "IssuedTooOften";

/// The reason of an object whose fixed end has passed.
pub const ENDED: &str = "Ended";

/// `previousToken` leaves the Secret this long before it expires.
const PREVIOUS_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// The next step (P01–P05, P07, P09, P18).
pub fn decide(view: &View<'_>, now: Timestamp) -> Decision {
    contest::tell(view, step(view, now), now)
}

fn step(view: &View<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        act: Act::Wait,
        wake: None,
        refusal: None,
        cause: None,
        delay: None,
        unplanned: None,
        renewal: None,
    };
    if view.turn == Turn::Elsewhere {
        return Decision { act: Act::Withdraw, ..decision };
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
        Err(Obstacle::Refused(refusal)) => return refuse(view, decision, refusal, now),
        Err(Obstacle::Look(act)) if !wanted.suspend => return look(view, wanted, decision, act, now),
        Err(Obstacle::Look(_)) => {
            decision.wake = expiry(view, now);
            return leave_queue(view, decision);
        }
    };
    let life = own.as_ref().and_then(|own| life(own.facts, wanted));
    decision.renewal = life.map(|(issued, expires)| wanted.renewal(issued, expires, view.uid));
    decision.wake = life.map(|(_, expires)| expires).filter(|expires| *expires > now);
    if let Some(end) = &wanted.ends_at {
        soonest(&mut decision.wake, end.at);
    }
    if wanted.suspend {
        return leave_queue(view, decision);
    }
    decision.cause = cause(view, wanted, own.as_ref(), &decision, now);
    match decision.cause {
        Some(cause) => issue(view, wanted, own.as_ref(), decision, cause, now),
        None => keep(view, wanted, own.as_ref(), decision, now),
    }
}

/// The Secret as one that we may write to.
struct Own<'a> {
    facts: &'a SecretFacts,
    data: DataView,
    /// It was written for an object that is gone.
    adopted: bool,
}

enum Obstacle {
    Refused(Refusal),
    Look(Act),
}

/// Whose Secret stands there (the design's "The Secret").
fn own_secret<'a>(view: &View<'a>, wanted: &Wanted) -> Result<Option<Own<'a>>, Obstacle> {
    let (facts, data, owner_gone) = match view.secret {
        SecretView::Unseen => return Err(Obstacle::Look(Act::Probe)),
        SecretView::Absent => return Ok(None),
        SecretView::Foreign => return Err(Obstacle::Refused(foreign())),
        SecretView::Known { facts, data, owner_gone } => (facts, data, owner_gone),
    };
    let ours = facts.owner == Some(view.uid);
    let adoptable = facts.owner.is_some() && owner_gone && facts.request == Some(wanted.request);
    if !ours && !adoptable {
        return Err(Obstacle::Refused(foreign()));
    }
    if facts.deleting {
        let waits =
            Refusal::new("SecretTerminating", "the Secret is being deleted: a new one is written when it is gone");
        return Err(Obstacle::Refused(waits.again(TimeDelta::seconds(30))));
    }
    match data {
        DataView::Unverified => return Err(Obstacle::Look(Act::Inspect)),
        DataView::Fixed(fixed) => return Err(Obstacle::Refused(immovable(fixed))),
        DataView::Verified | DataView::Altered | DataView::Lost => {}
    }
    Ok(Some(Own { facts, data, adopted: !ours }))
}

fn foreign() -> Refusal {
    Refusal::new(
        "SecretNotOwned",
        "spec.secret.name: a Secret of that name is there that this object didn't write; nothing is overwritten: \
         choose another name, or delete that Secret",
    )
    .again(TimeDelta::minutes(3))
}

/// A token that couldn't be stored isn't asked for.
fn immovable(fixed: Fixed) -> Refusal {
    match fixed {
        Fixed::Immutable => Refusal::new(
            "SecretImmutable",
            "spec.secret.name: that Secret was made immutable: delete it, or choose another name",
        ),
        Fixed::OtherType => Refusal::new(
            "SecretTypeDiffers",
            "spec.secret.type: the Secret of that name has another type, and a type can't change: delete it, or choose \
             another name",
        ),
    }
}

/// Whether a token must be issued, and why.
fn cause(view: &View<'_>, wanted: &Wanted, own: Option<&Own<'_>>, so_far: &Decision, now: Timestamp) -> Option<Cause> {
    let Some(own) = own else {
        // after a rename the token at hand moves, unless it is due anyway
        return (!former_serves(view, wanted, now)).then_some(Cause::First);
    };
    let Some(renewal) = so_far.renewal.filter(|_| own.data != DataView::Lost) else { return Some(Cause::Lost) };
    if own.facts.request != Some(wanted.request) {
        return Some(Cause::RequestChanged);
    }
    if forced(view, own.facts).is_some() {
        return Some(Cause::Forced);
    }
    (now >= renewal.due || is_ahead(own.facts, now)).then_some(Cause::Due)
}

/// From when to when its token lives: no longer than one of this request can, whatever stands there.
fn life(facts: &SecretFacts, wanted: &Wanted) -> Option<(Timestamp, Timestamp)> {
    let (issued, expires) = facts.life()?;
    let longest = issued.checked_add_signed(wanted.longest_life).unwrap_or(Timestamp::MAX_UTC);
    Some((issued, expires.min(longest)))
}

/// It was issued by a clock that was ahead: its assumed life would last until the wrong time.
fn is_ahead(facts: &SecretFacts, now: Timestamp) -> bool {
    facts.issued_at.time().is_some_and(|issued| issued - now > AHEAD)
}

/// Why no schedule asks for this issue, if none does. A failure's next attempt is none of these: its back-off bounds it.
fn unplanned(
    view: &View<'_>,
    own: Option<&Own<'_>>,
    cause: Cause,
    renewal: Option<Renewal>,
    now: Timestamp,
) -> Option<Unplanned> {
    if view.failure.is_some() {
        return None;
    }
    let (status, before) = (view.status, view.before);
    // the last status told of a token of this Secret that isn't due yet
    let told = status.renew_at.time().is_some_and(|at| now < at)
        && status.other_secret.is_none()
        && status.observed_generation == before.generation;
    let is_due = renewal.is_some_and(|renewal| now >= renewal.due);
    match (cause, own) {
        (Cause::Lost, _) => Some(Unplanned::Loss),
        // the Secret was deleted, put back, or says other times than it did
        (Cause::First, None) if told => Some(Unplanned::Loss),
        (Cause::Due, Some(own)) if is_ahead(own.facts, now) => Some(Unplanned::Loss),
        (Cause::Due, Some(own)) if told && own.facts.expires_at <= status.expires_at => Some(Unplanned::Loss),
        (Cause::RequestChanged, _) if !is_due => Some(Unplanned::Edit),
        (Cause::Forced, _) if !is_due => Some(Unplanned::Demand),
        _ => before.excused.then_some(Unplanned::Demand),
    }
}

/// What waits since it was served too often already.
fn too_often(view: &View<'_>, mut decision: Decision, kind: Unplanned, next: Timestamp) -> Decision {
    soonest(&mut decision.wake, next);
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

/// The forced renewal that isn't served yet: an RFC 3339 time after the token's issue, not the one that it served.
fn forced<'a>(view: &View<'a>, facts: &SecretFacts) -> Option<&'a str> {
    let asked = view.renew_requested_at?;
    let time = wire_time::parse(asked)?;
    let newer = time.timestamp() > facts.issued_at.0;
    (newer && facts.renew_request.as_deref() != Some(asked)).then_some(asked)
}

fn former_serves(view: &View<'_>, wanted: &Wanted, now: Timestamp) -> bool {
    view.former.is_some_and(|former| {
        let due = life(former, wanted).map(|(issued, expires)| wanted.renewal(issued, expires, view.uid).due);
        former.owner == Some(view.uid)
            && former.request == Some(wanted.request)
            && !former.deleting
            && due.is_some_and(|due| now < due)
            && !is_ahead(former, now)
            && forced(view, former).is_none()
    })
}

/// The object is being deleted, and a finalizer of somebody else's holds it: nothing is issued and nothing written, but
/// its status stays true.
fn going(view: &View<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    if view.held.is_some() {
        return Decision { act: Act::Discard, ..decision };
    }
    decision.wake = expiry(view, now);
    match (&view.wanted, view.secret) {
        (Some(Ok(_)), SecretView::Known { facts, data: DataView::Unverified, .. })
            if facts.owner == Some(view.uid) && view.contest.and_then(|contest| contest.next_look(now)).is_none() =>
        {
            attempt(view, decision, Act::Inspect, now)
        }
        _ => leave_queue(view, decision),
    }
}

/// A look at the Secret. One that changes all the time has a pace (P18), but for what is to be written anyway.
fn look(view: &View<'_>, wanted: &Wanted, mut decision: Decision, act: Act, now: Timestamp) -> Decision {
    let Some(next) = view.contest.and_then(|contest| contest.next_look(now)).filter(|_| act == Act::Inspect) else {
        return attempt(view, decision, act, now);
    };
    let SecretView::Known { facts, .. } = view.secret else { return attempt(view, decision, act, now) };
    let life = facts.life();
    decision.renewal = life.map(|(issued, expires)| wanted.renewal(issued, expires, view.uid));
    let own = Own { facts, data: DataView::Verified, adopted: false };
    if !matches!(cause(view, wanted, Some(&own), &decision, now), None | Some(Cause::Lost)) {
        return attempt(view, decision, act, now);
    }
    soonest(&mut decision.wake, next);
    for at in [decision.renewal.map(|renewal| renewal.due), expiry(view, now)].into_iter().flatten() {
        soonest(&mut decision.wake, at);
    }
    decision.refusal = view.contest.filter(|contest| contest.is_slowed()).map(contest::Contest::refusal);
    leave_queue(view, decision)
}

/// A repair that has to wait (P18), as its reason says.
fn held_back(view: &View<'_>, mut decision: Decision, (refusal, next): (Refusal, Timestamp)) -> Decision {
    soonest(&mut decision.wake, next);
    decision.refusal = Some(refusal);
    leave_queue(view, decision)
}

/// What was stored of our last write takes no other.
fn fixed(view: &View<'_>) -> Option<Fixed> {
    view.contest?.overridden(view.secret.version())?.fixed
}

/// Whether a token at hand is what would be asked for.
fn serves(view: &View<'_>, wanted: &Wanted, held: &HeldView<'_>, cause: Option<Cause>, now: Timestamp) -> bool {
    held.request == wanted.request
        && (cause != Some(Cause::Forced) || held.renew_request == view.renew_requested_at)
        && now < wanted.renewal(held.issued_at, held.expires_at, view.uid).due
}

/// A token must be issued: store the one at hand, wait, ask for a turn, or call.
fn issue(
    view: &View<'_>,
    wanted: &Wanted,
    own: Option<&Own<'_>>,
    mut decision: Decision,
    cause: Cause,
    now: Timestamp,
) -> Decision {
    if view.held.as_ref().is_some_and(|held| !serves(view, wanted, held, Some(cause), now)) {
        return Decision { act: Act::Discard, ..decision };
    }
    if let Some(fixed) = fixed(view) {
        return refuse(view, decision, immovable(fixed), now);
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
        soonest(&mut decision.wake, next);
        return leave_queue(view, tell(decision, failure));
    }
    decision.unplanned = unplanned(view, own, cause, decision.renewal, now);
    if let Some(kind) = decision.unplanned
        && let Some(next) = view.before.spells.next(kind, view.before.generation, now)
    {
        return too_often(view, decision, kind, next);
    }
    if let Some(trouble) = view.trouble.filter(|trouble| trouble.holds(now)) {
        // what couldn't be stored isn't asked for
        soonest(&mut decision.wake, trouble.next);
        return troubled(view, decision, trouble);
    }
    match view.turn {
        Turn::Granted => Decision { act: Act::Issue, ..decision },
        Turn::None | Turn::Elsewhere => {
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
            Decision { act: Act::Enqueue { first: expires_at.is_none(), expires_at, urgent_at, unplanned }, ..decision }
        }
        Turn::Waiting(since) => {
            if let Some(failure) = view.failure {
                decision = tell(decision, failure);
            }
            if decision.refusal.is_some() {
                // as it was until the next answer
            } else if let Some(hindrance) = &view.hindrance {
                decision.delay =
                    Some(Delay { reason: hindrance.reason.to_owned(), message: hindrance.message.clone() });
            } else if (now - since).abs() >= QUIET_WAIT {
                let message = "waits for its turn: the account's budget is used by other tokens".to_owned();
                decision.delay = Some(Delay { reason: "WaitingForBudget".to_owned(), message });
            } else {
                soonest(&mut decision.wake, since + QUIET_WAIT);
            }
            decision
        }
    }
}

/// Says that the last attempt failed: what the provider refuses stays refused also while it waits to be asked again.
fn tell(mut decision: Decision, failure: &Failure) -> Decision {
    if matches!(failure.class, Class::Configuration | Class::Denied) {
        let message = format!("the provider refuses it: {}", failure.message);
        decision.refusal = Some(Refusal::new(failure.reason.clone(), message));
    } else {
        decision.delay = Some(Delay { reason: failure.reason.clone(), message: failure.message.clone() });
    }
    decision
}

/// Writes what is at hand, unless the last write failed a moment ago.
fn store(view: &View<'_>, mut decision: Decision, now: Timestamp) -> Decision {
    match view.trouble.filter(|trouble| trouble.holds(now)) {
        None => Decision { act: Act::Store, ..decision },
        Some(trouble) => {
            soonest(&mut decision.wake, trouble.next);
            troubled(view, decision, trouble)
        }
    }
}

/// No issue is needed: keep the Secret as it should be.
fn keep(view: &View<'_>, wanted: &Wanted, own: Option<&Own<'_>>, mut decision: Decision, now: Timestamp) -> Decision {
    if let Some(held) = &view.held {
        // after a rename, the token at hand is stored like the one that would move: that may be gone meanwhile
        if own.is_none() && serves(view, wanted, held, None, now) {
            return store(view, decision, now);
        }
        return Decision { act: Act::Discard, ..decision };
    }
    if view.turn != Turn::None {
        return Decision { act: Act::Withdraw, ..decision };
    }
    let Some(own) = own else { return attempt(view, decision, Act::Move, now) };
    let previous_ends = own.facts.previous_expires_at.time().map(|ends| ends - PREVIOUS_MARGIN);
    let reshaped =
        own.facts.render != Some(wanted.render) || own.adopted || previous_ends.is_some_and(|ends| now >= ends);
    let overridden = view.contest.and_then(|contest| contest.overridden(view.secret.version()));
    let damaged = own.data == DataView::Altered
        || !own.facts.labelled
        || overridden.is_some_and(|overridden| overridden.fixed.is_none());
    let mut kept = None;
    if reshaped || damaged {
        if let Some(fixed) = fixed(view) {
            return refuse(view, decision, immovable(fixed), now);
        }
        kept = contest::keeps(view, now).filter(|_| !reshaped);
        if kept.is_none() {
            return attempt(view, decision, Act::Render, now);
        }
    }
    if view.former.is_some() {
        return attempt(view, decision, Act::RemoveFormer, now);
    }
    if let Some(kept) = kept {
        decision = held_back(view, decision, kept);
    }
    for next in [decision.renewal.map(|renewal| renewal.due), previous_ends].into_iter().flatten() {
        soonest(&mut decision.wake, next);
    }
    decision
}

/// A look at the Secret, or a write that isn't of a new token; neither right after one that failed.
fn attempt(view: &View<'_>, mut decision: Decision, act: Act, now: Timestamp) -> Decision {
    match view.trouble.filter(|trouble| trouble.holds(now)) {
        None => Decision { act, ..decision },
        Some(trouble) => {
            soonest(&mut decision.wake, trouble.next);
            if let Some(renewal) = decision.renewal {
                soonest(&mut decision.wake, renewal.due);
            }
            troubled(view, decision, trouble)
        }
    }
}

fn troubled(view: &View<'_>, mut decision: Decision, trouble: &WriteTrouble) -> Decision {
    if trouble.stalled {
        decision.refusal = Some(Refusal::new(trouble.reason, trouble.message.clone()));
    } else {
        decision.delay = Some(Delay { reason: trouble.reason.to_owned(), message: trouble.message.clone() });
    }
    leave_queue(view, decision)
}

/// Nothing is issued and nothing written; the token at hand lives on until it expires.
fn refuse(view: &View<'_>, mut decision: Decision, refusal: Refusal, now: Timestamp) -> Decision {
    decision.wake = expiry(view, now);
    if let Some(again) = refusal.again {
        soonest(&mut decision.wake, now + again);
    }
    decision.refusal = Some(refusal);
    leave_queue(view, decision)
}

/// When the token in a Secret of ours expires, if it lives.
fn expiry(view: &View<'_>, now: Timestamp) -> Option<Timestamp> {
    let SecretView::Known { facts, .. } = view.secret else { return None };
    facts.expires_at.time().filter(|expires| facts.owner == Some(view.uid) && now < *expires)
}

fn leave_queue(view: &View<'_>, decision: Decision) -> Decision {
    if view.turn == Turn::None { decision } else { Decision { act: Act::Withdraw, ..decision } }
}

fn soonest(wake: &mut Option<Timestamp>, at: Timestamp) {
    *wake = Some(wake.map_or(at, |wake| wake.min(at)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
