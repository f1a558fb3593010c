//! Composes the status from the decision and the facts, and reads a status back into facts.

use super::decide::{Decision, ENDED, IssueDelay};
use super::facts::{ConditionFacts, Failure, Seconds, StatusFacts, resource_version};
use super::hash::Hash;
use super::renewal::Renewal;
use super::secret::NotWritable;
use super::view::{DataView, DecisionInput, SecretView};
use crate::clock::Timestamp;
use crate::issue::{Class, Excess};
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::video_access_token::{LastFailure, VideoAccessTokenStatus};
use videotoken_api::wire_time;

/// Condition types in the order of [`StatusFacts::conditions`].
pub const CONDITIONS: [&str; 3] = ["Ready", "Issuing", "Stalled"];

/// Condition for a token with excess permissions. It only exists while it is true.
pub const OVERPRIVILEGED: &str = "Overprivileged";

/// Message of a condition that requires no change.
pub(super) const NO_CHANGE_REQUIRED: &str = "No change is required.";

const SUSPENDED: &str = "spec.suspend is true. The operator issues no token.";

/// Reason of `Ready` if the token API returned no expiry, or a later one than promised.
const EXPIRY_ASSUMED: &str = "ExpiryAssumed";

/// Inputs of the status besides the decision.
#[derive(Debug)]
pub struct StatusInputs<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    /// Provider as `Kind/name`.
    pub provider: Option<String>,
    /// Name of the Secret.
    pub secret_name: &'a str,
    /// Number of tokens stored since the last status.
    pub issued: u32,
    /// Number of failures in a row.
    pub failed_attempts: u32,
    /// Last failure.
    pub failure: Option<&'a Failure>,
    /// True if the expiry is assumed.
    pub expiry_assumed: bool,
    /// Permissions beyond the requested scope.
    pub excess: Option<&'a Excess>,
    /// Issue time of the token for which the workloads were last restarted.
    pub restarted_for: Option<Timestamp>,
}

/// Status, reason and message of a condition.
struct ConditionText {
    holds: bool,
    reason: String,
    message: String,
}

impl ConditionText {
    fn new(holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { holds, reason: reason.into(), message: message.into() }
    }
}

/// Returns the new status of the VideoAccessToken.
pub fn compose(
    input: &DecisionInput<'_>,
    decision: &Decision,
    inputs: &StatusInputs<'_>,
    now: Timestamp,
) -> VideoAccessTokenStatus {
    let facts = match input.secret {
        SecretView::Known { facts, .. } if facts.owner == Some(input.uid) => Some(facts),
        _ => None,
    };
    let texts = [ready(input, decision, inputs, now), issuing(input, decision), stalled(decision)];
    let condition = |type_: &str, texts: ConditionText, since: Option<Timestamp>| Condition {
        type_: type_.to_owned(),
        status: if texts.holds { ConditionStatus::True } else { ConditionStatus::False },
        observed_generation: Some(inputs.generation),
        last_transition_time: since.unwrap_or(now),
        reason: texts.reason,
        message: texts.message,
    };
    let lasting = CONDITIONS.iter().zip(texts).zip(&input.status.conditions).map(|((type_, texts), before)| {
        let since = before.since.time().filter(|_| before.status == Some(texts.holds));
        condition(type_, texts, since)
    });
    let mut conditions: Vec<_> = lasting.collect();
    let facts = facts.filter(|_| !has_ended(decision));
    if let Some(excess) = inputs.excess.filter(|_| facts.is_some()) {
        let since = facts.and_then(|facts| facts.issued_at.time());
        conditions.push(condition(
            OVERPRIVILEGED,
            ConditionText::new(true, excess.reason.as_ref(), excess.message.as_ref()),
            since,
        ));
    }
    VideoAccessTokenStatus {
        observed_generation: Some(inputs.generation),
        conditions,
        provider: inputs.provider.clone(),
        secret_name: Some(inputs.secret_name.to_owned()),
        secret_resource_version: verified_resource_version(input).map(|version| version.to_string()),
        issued_at: facts.and_then(|facts| facts.issued_at.time()),
        expires_at: facts.and_then(|facts| facts.expires_at.time()),
        renew_at: decision.renewal.filter(|_| !has_ended(decision)).map(|renewal| renewal.due),
        issuances: i64::from(input.status.issuances.saturating_add(inputs.issued)),
        failed_attempts: i64::from(inputs.failed_attempts),
        restarted_for: inputs.restarted_for,
        held_until: held_until(input, decision),
        last_failure: inputs.failure.map(|failure| LastFailure {
            time: Some(failure.time),
            class: class_name(failure.class).to_owned(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            request_id: failure.request_id.clone(),
            next_attempt_at: failure.next_attempt_at,
        }),
    }
}

/// Returns true if the fixed end of the request has passed. The status then contains no times of the last token.
fn has_ended(decision: &Decision) -> bool {
    decision.refusal.as_ref().is_some_and(|refusal| refusal.reason == ENDED)
}

/// Returns the time until which the account is blocked, if the status reports this block.
fn held_until(input: &DecisionInput<'_>, decision: &Decision) -> Option<Timestamp> {
    let block = input.block.as_ref()?;
    let is_told = decision.delay.as_ref().is_some_and(|delay| delay.reason == block.reason);
    block.until.filter(|_| is_told)
}

/// Ready: true while the Secret contains a valid token for the current request.
fn ready(input: &DecisionInput<'_>, decision: &Decision, inputs: &StatusInputs<'_>, now: Timestamp) -> ConditionText {
    if let Some(refusal) = decision.refusal.as_ref().filter(|_| has_ended(decision)) {
        return ConditionText::new(false, ENDED, refusal.message.clone());
    }
    let (times, lost) = match input.secret {
        SecretView::Known { facts, data, .. } if facts.owner == Some(input.uid) => {
            (facts.lifetime(), data == DataView::Lost)
        }
        _ => (None, false),
    };
    let Some((_, expires)) = times.filter(|_| !lost) else {
        let (reason, message) = match blocking_reason(decision) {
            Some(said) => said,
            None if input.deleting => {
                ("Deleting".into(), "The VideoAccessToken is being deleted, and its Secret contains no token.".into())
            }
            None if is_suspended(input) => ("Suspended".into(), SUSPENDED.into()),
            None if lost => (
                "TokenLost".into(),
                "Another client changed the token in the Secret. The operator is issuing a new token.".into(),
            ),
            None => ("Pending".into(), "The operator is issuing the first token.".into()),
        };
        return ConditionText::new(false, reason, message);
    };
    if now >= expires {
        let why =
            blocking_reason(decision).map(|(reason, message)| format!(" {reason}: {message}")).unwrap_or_default();
        return ConditionText::new(false, "Expired", format!("The token in the Secret has expired.{why}"));
    }
    let mut message = "The Secret contains a valid token.".to_owned();
    if decision.renewal.is_some_and(|Renewal { fell_back, .. }| fell_back) {
        message.push_str(" spec.renewBefore is not shorter than the actual lifetime. The operator renews the token when one third of its lifetime is left.");
    }
    if input.renew_requested_at.is_some_and(|asked| wire_time::parse(asked).is_none()) {
        message.push_str(" The operator ignores the annotation videotoken.dev/renew-requested-at, because its value is not an RFC 3339 time.");
    }
    if input.deleting {
        message.push_str(" The VideoAccessToken is being deleted. The operator does not renew the token.");
    }
    if let Some(not_writable) =
        input.contest.and_then(|c| c.overridden(input.secret.version())).and_then(|o| o.not_writable)
    {
        message.push_str(match not_writable {
            NotWritable::Immutable => " A policy or webhook made the Secret immutable when it was stored. The operator can't renew the token in this Secret.",
            NotWritable::OtherType => " A policy or webhook changed the type of the Secret when it was stored. The operator can't renew the token in this Secret.",
        });
    }
    if inputs.expiry_assumed {
        message.push_str(" The token API returned no expiry, or a later expiry than the operation promises. The operator assumes the promised lifetime.");
        return ConditionText::new(true, EXPIRY_ASSUMED, message);
    }
    ConditionText::new(true, "TokenIssued", message)
}

/// Returns the last resourceVersion at which the Secret's data was verified. If the data may have changed since, the
/// value stays unchanged, so that a new leader reads the Secret again.
fn verified_resource_version(input: &DecisionInput<'_>) -> Option<u64> {
    match input.secret {
        SecretView::Known { facts, data, .. } if facts.owner == Some(input.uid) => match data {
            DataView::Verified => Some(facts.resource_version),
            _ => Some(input.status.secret_version).filter(|before| *before != 0 && input.status.other_secret.is_none()),
        },
        _ => None,
    }
}

fn is_suspended(input: &DecisionInput<'_>) -> bool {
    matches!(&input.desired, Some(Ok(desired)) if desired.suspend)
}

fn blocking_reason(decision: &Decision) -> Option<(String, String)> {
    let refusal = decision.refusal.as_ref().map(|refusal| (refusal.reason.to_string(), refusal.message.clone()));
    refusal.or_else(|| decision.delay.clone().map(|IssueDelay { reason, message, .. }| (reason, message)))
}

/// Issuing: true while a token is needed and not stored.
fn issuing(input: &DecisionInput<'_>, decision: &Decision) -> ConditionText {
    if input.deleting {
        return ConditionText::new(
            false,
            "Deleting",
            "The VideoAccessToken is being deleted. The operator issues no token.",
        );
    }
    if is_suspended(input) {
        return ConditionText::new(false, "Suspended", SUSPENDED);
    }
    match (&decision.refusal, &decision.delay, decision.cause) {
        (Some(_), ..) => ConditionText::new(false, "Stalled", "The condition Stalled contains the cause."),
        (None, Some(delay), _) => ConditionText::new(true, delay.reason.clone(), delay.message.clone()),
        (None, None, Some(cause)) => {
            let message = format!("The operator is issuing a token, because {}.", cause.sentence());
            ConditionText::new(true, "Issuing", message)
        }
        (None, None, None) => ConditionText::new(false, "UpToDate", "No token is due."),
    }
}

fn stalled(decision: &Decision) -> ConditionText {
    match &decision.refusal {
        Some(refusal) => ConditionText::new(true, refusal.reason.clone(), refusal.message.clone()),
        None => ConditionText::new(false, "AsExpected", NO_CHANGE_REQUIRED),
    }
}

/// Reads a status. `secret_name` is the name of the Secret in the current spec.
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
                reason: condition.reason.as_str().into(),
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

/// Returns the name of the class in a status.
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
