//! What the status says: from the decision and the facts to the object on the wire, and back to facts.

use super::decide::{Decision, Delay, ENDED};
use super::facts::{ConditionFacts, Failure, Seconds, StatusFacts, resource_version};
use super::hash::Hash;
use super::reason::Reason;
use super::renewal::Renewal;
use super::secret::Fixed;
use super::view::{DataView, SecretView, View};
use crate::clock::Timestamp;
use crate::issue::{Class, Excess};
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::video_access_token::{LastFailure, VideoAccessTokenStatus};
use videotoken_api::wire_time;

/// The conditions, in the order of [`StatusFacts::conditions`].
pub const CONDITIONS: [&str; 3] = ["Ready", "Issuing", "Stalled"];

/// The condition of a token that may do more than was asked. It stands only while it holds.
pub const OVERPRIVILEGED: &str = "Overprivileged";

/// `Ready`'s reason for a token whose expiry its provider didn't tell, or told later than was promised.
const EXPIRY_ASSUMED: &str = "ExpiryAssumed";

/// What the status tells beside the decision.
#[derive(Debug)]
pub struct Told<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// "Kind/name" of the provider.
    pub provider: Option<String>,
    /// The Secret's name.
    pub secret_name: &'a str,
    /// Tokens stored for this object since the last status.
    pub issued: u32,
    /// Failures in a row.
    pub failed_attempts: u32,
    /// The last of them.
    pub failure: Option<&'a Failure>,
    /// The provider didn't tell when the token expires.
    pub expiry_assumed: bool,
    /// What the token may do beyond what was asked.
    pub excess: Option<&'a Excess>,
    /// The token's issue that its workloads were restarted for.
    pub restarted_for: Option<Timestamp>,
}

/// One condition's words.
struct Says {
    holds: bool,
    reason: String,
    message: String,
}

impl Says {
    fn new(holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { holds, reason: reason.into(), message: message.into() }
    }
}

/// The status that the object should have now.
pub fn compose(view: &View<'_>, decision: &Decision, told: &Told<'_>, now: Timestamp) -> VideoAccessTokenStatus {
    let facts = match view.secret {
        SecretView::Known { facts, .. } if facts.owner == Some(view.uid) => Some(facts),
        _ => None,
    };
    let says = [ready(view, decision, told, now), issuing(view, decision), stalled(decision)];
    let condition = |type_: &str, says: Says, since: Option<Timestamp>| Condition {
        type_: type_.to_owned(),
        status: if says.holds { ConditionStatus::True } else { ConditionStatus::False },
        observed_generation: Some(told.generation),
        last_transition_time: since.unwrap_or(now),
        reason: says.reason,
        message: says.message,
    };
    let lasting = CONDITIONS.iter().zip(says).zip(&view.status.conditions).map(|((type_, says), before)| {
        let since = before.since.time().filter(|_| before.status == Some(says.holds));
        condition(type_, says, since)
    });
    let mut conditions: Vec<_> = lasting.collect();
    let facts = facts.filter(|_| !has_ended(decision));
    if let Some(excess) = told.excess.filter(|_| facts.is_some()) {
        let since = facts.and_then(|facts| facts.issued_at.time());
        conditions.push(condition(
            OVERPRIVILEGED,
            Says::new(true, excess.reason.as_ref(), excess.message.as_ref()),
            since,
        ));
    }
    VideoAccessTokenStatus {
        observed_generation: Some(told.generation),
        conditions,
        provider: told.provider.clone(),
        secret_name: Some(told.secret_name.to_owned()),
        secret_resource_version: seen_whole(view).map(|version| version.to_string()),
        issued_at: facts.and_then(|facts| facts.issued_at.time()),
        expires_at: facts.and_then(|facts| facts.expires_at.time()),
        renew_at: decision.renewal.filter(|_| !has_ended(decision)).map(|renewal| renewal.due),
        issuances: i64::from(view.status.issuances.saturating_add(told.issued)),
        failed_attempts: i64::from(told.failed_attempts),
        restarted_for: told.restarted_for,
        held_until: held_until(view, decision),
        last_failure: told.failure.map(|failure| LastFailure {
            time: Some(failure.time),
            class: class_name(failure.class).to_owned(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            request_id: failure.request_id.clone(),
            next_attempt_at: failure.next_attempt_at,
        }),
    }
}

/// The fixed end of what the spec asks for has passed. The times of its last token are told no more: nothing waits for
/// another.
fn has_ended(decision: &Decision) -> bool {
    decision.refusal.as_ref().is_some_and(|refusal| refusal.reason == ENDED)
}

/// Until when the account holds it back, where that is what the status says.
fn held_until(view: &View<'_>, decision: &Decision) -> Option<Timestamp> {
    let block = view.block.as_ref()?;
    let is_told = decision.delay.as_ref().is_some_and(|delay| delay.reason == block.reason);
    block.until.filter(|_| is_told)
}

/// True while the Secret holds a token that was asked for like this and lives.
fn ready(view: &View<'_>, decision: &Decision, told: &Told<'_>, now: Timestamp) -> Says {
    if let Some(refusal) = decision.refusal.as_ref().filter(|_| has_ended(decision)) {
        return Says::new(false, ENDED, refusal.message.clone());
    }
    let (live, lost) = match view.secret {
        SecretView::Known { facts, data, .. } if facts.owner == Some(view.uid) => {
            (facts.life(), data == DataView::Lost)
        }
        _ => (None, false),
    };
    let Some((_, expires)) = live.filter(|_| !lost) else {
        let (reason, message) = match blocked(decision) {
            Some(said) => said,
            None if view.deleting => {
                ("Deleting".into(), "the object is being deleted, and its Secret holds no token any more".into())
            }
            None if is_suspended(view) => ("Suspended".into(), "spec.suspend is true: no token is asked for".into()),
            None if lost => ("TokenLost".into(), "another hand changed the token: the next is being issued".into()),
            None => ("Pending".into(), "the first token is being issued".into()),
        };
        return Says::new(false, reason, message);
    };
    if now >= expires {
        let why = blocked(decision).map(|(reason, message)| format!(": {reason}: {message}")).unwrap_or_default();
        return Says::new(false, "Expired", format!("the token in the Secret has expired{why}"));
    }
    let mut message = "the Secret holds a live token".to_owned();
    if decision.renewal.is_some_and(|Renewal { fell_back, .. }| fell_back) {
        message.push_str("; spec.renewBefore is as long as its real life or longer: renewed when a third is left");
    }
    if view.renew_requested_at.is_some_and(|asked| wire_time::parse(asked).is_none()) {
        message.push_str("; annotation videotoken.dev/renew-requested-at is no RFC 3339 time and is ignored");
    }
    if view.deleting {
        message.push_str("; the object is being deleted: the token isn't renewed");
    }
    if let Some(fixed) = view.contest.and_then(|c| c.overridden(view.secret.version())).and_then(|o| o.fixed) {
        message.push_str(match fixed {
            Fixed::Immutable => "; the Secret was made immutable as it was stored: it can't be renewed there",
            Fixed::OtherType => "; the Secret was stored with another type: it can't be renewed there",
        });
    }
    if told.expiry_assumed {
        message.push_str("; its provider didn't tell when it expires, or told more than the operation promises: the promised life is \
             assumed");
        return Says::new(true, EXPIRY_ASSUMED, message);
    }
    Says::new(true, "TokenIssued", message)
}

/// The resourceVersion up to which the Secret's data is known to be ours. While another hand may have been there, that of
/// before: whoever starts with this status looks for themselves.
fn seen_whole(view: &View<'_>) -> Option<u64> {
    match view.secret {
        SecretView::Known { facts, data, .. } if facts.owner == Some(view.uid) => match data {
            DataView::Verified => Some(facts.resource_version),
            _ => Some(view.status.secret_version).filter(|before| *before != 0 && view.status.other_secret.is_none()),
        },
        _ => None,
    }
}

fn is_suspended(view: &View<'_>) -> bool {
    matches!(&view.wanted, Some(Ok(wanted)) if wanted.suspend)
}

fn blocked(decision: &Decision) -> Option<(String, String)> {
    let refusal = decision.refusal.as_ref().map(|refusal| (refusal.reason.to_string(), refusal.message.clone()));
    refusal.or_else(|| decision.delay.clone().map(|Delay { reason, message }| (reason, message)))
}

/// True while a token is needed and isn't stored.
fn issuing(view: &View<'_>, decision: &Decision) -> Says {
    if view.deleting {
        return Says::new(false, "Deleting", "the object is being deleted: no token is asked for");
    }
    if is_suspended(view) {
        return Says::new(false, "Suspended", "spec.suspend is true: no calls");
    }
    match (&decision.refusal, &decision.delay) {
        (Some(_), _) => Says::new(false, "Stalled", "see the condition Stalled"),
        (None, Some(delay)) => Says::new(true, delay.reason.clone(), delay.message.clone()),
        (None, None) if decision.cause.is_some() => Says::new(true, "Issuing", "a token is being issued"),
        (None, None) => Says::new(false, "UpToDate", "no token is due"),
    }
}

fn stalled(decision: &Decision) -> Says {
    match &decision.refusal {
        Some(refusal) => Says::new(true, refusal.reason.clone(), refusal.message.clone()),
        None => Says::new(false, "AsExpected", "nothing stands in the way"),
    }
}

/// Reads a status back. `secret_name` is the name that the spec gives the Secret now.
pub fn status_facts(status: &VideoAccessTokenStatus, secret_name: &str) -> StatusFacts {
    let condition = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    let number = |n: i64| u32::try_from(n).unwrap_or_default();
    StatusFacts {
        observed_generation: status.observed_generation.unwrap_or(-1),
        hash: Hash::of([serde_json::to_vec(status).unwrap_or_default().as_slice()]).short(),
        conditions: CONDITIONS.map(|type_| {
            condition(type_).map_or(ConditionFacts::default(), |condition| ConditionFacts {
                status: match condition.status {
                    ConditionStatus::True => Some(true),
                    ConditionStatus::False => Some(false),
                    ConditionStatus::Unknown => None,
                },
                reason: Reason::of(&condition.reason),
                since: condition.last_transition_time.into(),
            })
        }),
        expiry_assumed: condition("Ready").is_some_and(|ready| ready.reason == EXPIRY_ASSUMED),
        excess: condition(OVERPRIVILEGED)
            .filter(|it| it.status == ConditionStatus::True)
            .map(|it| Box::new(Excess { reason: it.reason.clone().into(), message: it.message.clone().into() })),
        expires_at: Seconds::from(status.expires_at),
        renew_at: Seconds::from(status.renew_at),
        restarted_for: Seconds::from(status.restarted_for.or(status.issued_at)),
        secret_version: resource_version(status.secret_resource_version.as_deref()),
        other_secret: status.secret_name.as_deref().filter(|name| *name != secret_name).map(Into::into),
        issuances: number(status.issuances),
        failed_attempts: number(status.failed_attempts),
        last_failure: status.last_failure.as_ref().map(|failure| {
            Box::new(Failure {
                time: failure.time.unwrap_or_default(),
                class: class_of(&failure.class),
                reason: failure.reason.clone(),
                message: failure.message.clone(),
                request_id: failure.request_id.clone(),
                next_attempt_at: failure.next_attempt_at,
            })
        }),
    }
}

/// The class as the status spells it.
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Transient => "Transient",
        Class::Throttled => "Throttled",
        Class::Configuration => "Configuration",
        Class::Denied => "Denied",
        Class::Credential => "Credential",
    }
}

fn class_of(name: &str) -> Class {
    [Class::Throttled, Class::Configuration, Class::Denied, Class::Credential]
        .into_iter()
        .find(|class| class_name(*class) == name)
        .unwrap_or(Class::Transient)
}
