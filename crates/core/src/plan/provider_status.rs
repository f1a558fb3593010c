//! Status of a provider: readiness, demand compared with the limits, clock skew, the state of the credential, and the
//! state that a later process restores.

use super::account_block::account_block;
use super::status::NO_CHANGE_REQUIRED;
use super::view::Refusal;
use crate::budget::{AccountState, CredentialBlock, SharedUse};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::provider_status::{CredentialsStatus, ProviderStatus, QueueStatus, SharedUseStatus};
use videotoken_api::wire_time;

/// Seconds of difference from which a clock is reported.
pub const MAX_CLOCK_SKEW: i64 = 300;

/// Age of `lastIssuedAt` after which it is written again.
pub(super) const LAST_ISSUED_INTERVAL: TimeDelta = TimeDelta::minutes(10);

/// Minimum length of a throttle that is reported and restored after a restart.
const MIN_REPORTED_THROTTLE: Duration = Duration::from_secs(30);

/// Minimum wait of a new request for which the queue is reported.
const MIN_REPORTED_WAIT: Duration = Duration::from_secs(30);

/// Age of a reported queue after which it is reported again.
const QUEUE_INTERVAL: TimeDelta = TimeDelta::seconds(30);

/// Age of a reported throttle by others after which a further one is reported.
const SHARED_USE_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// Time before the expiry of a credential at which a warning starts.
const WARN_BEFORE: TimeDelta = TimeDelta::days(14);

/// Wait after a failed write of a status. It doubles with each failure in a row.
const FIRST_RETRY: TimeDelta = TimeDelta::seconds(5);

/// Maximum of that wait.
pub const LAST_RETRY: TimeDelta = TimeDelta::minutes(5);

/// Returns the wait before the next write of a status after `failures` failures, without the current one.
pub fn retry_after(failures: u32) -> TimeDelta {
    (FIRST_RETRY * 2i32.pow(failures.min(10))).min(LAST_RETRY)
}

/// Inputs of the status of a provider.
#[derive(Debug)]
pub struct ProviderFacts<'a> {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Provider type.
    pub type_: Option<String>,
    /// Number of `VideoAccessTokens` that reference the provider, once all are listed.
    pub tokens: Option<i64>,
    /// State of its account, or the cause for which it can't be used.
    pub account: Result<AccountFacts, &'a Refusal>,
}

/// State of an account.
#[derive(Clone, Debug, Default)]
pub struct AccountFacts {
    /// Version of the account and its credentials.
    pub version: String,
    /// Short name of the account.
    pub display_name: Option<String>,
    /// State of the budget.
    pub budget: AccountState,
    /// Response of the provider to the last rejected or throttled call.
    pub said: Option<String>,
    /// Time of the last issued token.
    pub last_issued_at: Option<Timestamp>,
    /// Expiry of the credential itself.
    pub credential_expires_at: Option<Timestamp>,
    /// Login that has worked with this account.
    pub proven_login: Option<String>,
    /// Seconds by which other clocks are ahead of the operator's, with the owners of these clocks.
    pub clock_skew: [(&'static str, Option<i64>); 2],
}

/// Returns the new status. `before` is the current one.
pub fn compose(facts: ProviderFacts<'_>, before: &ProviderStatus, now: Timestamp) -> ProviderStatus {
    let ProviderFacts { generation, type_, tokens, account } = facts;
    let mut status = ProviderStatus {
        observed_generation: generation,
        type_,
        tokens: tokens.or(before.tokens),
        ..ProviderStatus::default()
    };
    let updates = match account {
        Err(refusal) => {
            // kept until the provider can be used again
            (status.credentials, status.last_issued_at) = (before.credentials.clone(), before.last_issued_at);
            status.proven_login.clone_from(&before.proven_login);
            ["Ready", "Stalled"]
                .map(|type_| ConditionUpdate::new(type_, type_ == "Stalled", &*refusal.reason, refusal.message.clone()))
                .into()
        }
        Ok(account) => {
            save_account_state(&mut status, &account, before, now);
            let updates = conditions(&account, now);
            status.proven_login = account.proven_login;
            updates
        }
    };
    let conditions = updates.into_iter().map(|ConditionUpdate { type_, holds, reason, message }| {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        let old = before.conditions.iter().find(|old| old.type_ == type_ && old.status == status);
        Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: old.map_or(now, |old| old.last_transition_time),
            reason,
            message,
        }
    });
    status.conditions = conditions.collect();
    status
}

/// Sets what a later process restores of the account.
fn save_account_state(status: &mut ProviderStatus, account: &AccountFacts, before: &ProviderStatus, now: Timestamp) {
    let (version, state) = (account.version.clone(), account.budget);
    let reported = before.credentials.as_ref().filter(|reported| reported.version == version);
    // a time that is computed from a remaining duration may differ by a second each time
    let steady = |at: Timestamp, reported: Option<Timestamp>| {
        reported.filter(|reported| (*reported - at).abs() < TimeDelta::seconds(3)).unwrap_or(at)
    };
    let until = |wait: Option<Duration>| wait.and_then(|wait| TimeDelta::from_std(wait).ok()).map(|wait| now + wait);
    // a back-off isn't reported: a new leader would treat it as a Retry-After
    let throttled = until(state.retry_after_left.filter(|wait| *wait > MIN_REPORTED_THROTTLE));
    // once reported, a throttle stays until it ends
    let lasting = before.throttled_until.filter(|at| *at > now && state.retry_after_left.is_some());
    status.throttled_until = throttled.map(|at| steady(at, before.throttled_until)).or(lasting);
    status.credentials = match (state.accepted, state.credential_block) {
        (true, _) => Some(CredentialsStatus { version, accepted: true, next_attempt_at: None }),
        (false, Some(CredentialBlock::Rejected | CredentialBlock::IdentityRefused)) => {
            let next =
                until(state.blocked_for).map(|at| steady(at, reported.and_then(|reported| reported.next_attempt_at)));
            Some(CredentialsStatus { version, accepted: false, next_attempt_at: next })
        }
        (false, _) => reported.cloned(),
    };
    // a time in the future was written by a clock that was wrong
    let reported_before = before.last_issued_at.filter(|at| *at - now < TimeDelta::minutes(1));
    let issued = account.last_issued_at.max(reported_before);
    let fresh = reported_before.filter(|reported| issued.is_none_or(|at| at - *reported < LAST_ISSUED_INTERVAL));
    status.last_issued_at = fresh.or(issued);
    status.shared_use = shared_use_status(state.shared_use, before.shared_use.as_ref(), now);
    status.queue = queue_status(state, before.queue.as_ref(), now);
    status.credentials_expire_at = account.credential_expires_at;
    status.account.clone_from(&account.display_name);
}

/// Returns the last throttle that others caused. A reported one stays for five minutes if the rate is about the same:
/// each throttle of a busy account would cost a write.
fn shared_use_status(
    state: Option<SharedUse>,
    before: Option<&SharedUseStatus>,
    now: Timestamp,
) -> Option<SharedUseStatus> {
    let state = state?;
    let throttled_at = TimeDelta::from_std(state.ago).ok().and_then(|ago| now.checked_sub_signed(ago))?;
    let (calls_per_hour, level) = (i64::from(state.calls_per_hour), i64::from(state.level));
    let is_about_the_same = |reported: &&SharedUseStatus| {
        let age = reported.throttled_at.map(|at| throttled_at - at);
        // a time in the future was written by another clock
        age.is_some_and(|age| age > TimeDelta::seconds(-3) && age < SHARED_USE_INTERVAL)
            && (reported.calls_per_hour - calls_per_hour).abs() * 4 <= reported.calls_per_hour
    };
    let same = before.filter(is_about_the_same).cloned();
    same.or(Some(SharedUseStatus {
        throttled_at: Some(throttled_at),
        calls_per_hour: two_digits(calls_per_hour),
        level,
    }))
}

/// Rounds to two significant digits, so that a computed value that hardly changes stays the same.
fn two_digits(value: i64) -> i64 {
    let unit = 10i64.pow(value.max(1).ilog10().saturating_sub(1));
    (value + unit / 2) / unit * unit
}

/// Returns the state of the queue if a new request would wait long. A reported queue stays reported until it is almost
/// empty.
fn queue_status(state: AccountState, before: Option<&QueueStatus>, now: Timestamp) -> Option<QueueStatus> {
    let least = if before.is_some() { MIN_REPORTED_WAIT / 4 } else { MIN_REPORTED_WAIT };
    if state.waiting == 0 || state.queue_drains_in < least {
        return None;
    }
    let is_fresh = |queue: &&QueueStatus| queue.observed_at.is_some_and(|at| (now - at).abs() < QUEUE_INTERVAL);
    if let Some(fresh) = before.filter(is_fresh) {
        return Some(fresh.clone());
    }
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Some(QueueStatus {
        waiting: count(state.waiting),
        served_per_minute: count(state.served_last_minute),
        served_at: TimeDelta::from_std(state.queue_drains_in).ok().and_then(|wait| now.checked_add_signed(wait)),
        observed_at: Some(now),
    })
}

/// State of an account that a status contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedAccountState {
    /// Time until the provider's throttle ends.
    pub throttled_for: Option<Duration>,
    /// Last throttle that others caused.
    pub shared_use: Option<SharedUse>,
    /// A token was issued with the credential.
    pub accepted: bool,
    /// Cause and remaining time of a block.
    pub credential_block: Option<(CredentialBlock, Duration)>,
}

/// Reads the state that [`compose`] saved for the account with this version of the credentials.
pub fn saved_account_state(
    status: &ProviderStatus,
    version: &str,
    is_retried_on_demand: bool,
    now: Timestamp,
) -> SavedAccountState {
    let ahead = |at: Option<Timestamp>| (at? - now).to_std().ok().filter(|wait| !wait.is_zero());
    let reported = status.credentials.as_ref().filter(|reported| reported.version == version);
    let credential_block =
        if is_retried_on_demand { CredentialBlock::IdentityRefused } else { CredentialBlock::Rejected };
    let refused = reported.filter(|reported| !reported.accepted);
    SavedAccountState {
        throttled_for: ahead(status.throttled_until),
        shared_use: status.shared_use.as_ref().and_then(|reported| saved_shared_use(reported, now)),
        accepted: reported.is_some_and(|reported| reported.accepted),
        credential_block: refused.and_then(|reported| Some((credential_block, ahead(reported.next_attempt_at)?))),
    }
}

/// Reads a reported throttle. One in the future, by another clock, counts from now on.
fn saved_shared_use(reported: &SharedUseStatus, now: Timestamp) -> Option<SharedUse> {
    Some(SharedUse {
        calls_per_hour: u32::try_from(reported.calls_per_hour).ok()?,
        ago: (now - reported.throttled_at?).to_std().unwrap_or_default(),
        level: u32::try_from(reported.level).ok()?,
    })
}

/// A condition of the status.
struct ConditionUpdate {
    type_: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

impl ConditionUpdate {
    fn new(type_: &'static str, holds: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { type_, holds, reason: reason.into(), message: message.into() }
    }
}

fn conditions(account: &AccountFacts, now: Timestamp) -> Vec<ConditionUpdate> {
    let state = account.budget;
    let ready = match account_block(state, account.said.as_deref()).filter(|_| state.credential_block.is_some()) {
        Some(block) => ConditionUpdate::new("Ready", false, block.reason, block.message),
        None => ConditionUpdate::new("Ready", true, "Configured", "The provider is ready to issue tokens."),
    };
    let mut updates = vec![ready, ConditionUpdate::new("Stalled", false, "AsExpected", NO_CHANGE_REQUIRED)];
    updates.push(if state.oversubscribed {
        let message = match state.shared_use {
            None => "The tokens of this provider need more than 80% of spec.limits. Raise the limits if the token API allows it, or use several accounts.",
            Some(_) => "The tokens of this provider need more than 80% of the calls that other clients of the account leave. The token API throttles the account although this operator keeps spec.limits. Use several accounts, or lower the demand of the other clients.",
        };
        ConditionUpdate::new("Oversubscribed", true, "DemandOverBudget", message)
    } else {
        let message = "The tokens of this provider need less than 80% of spec.limits.";
        ConditionUpdate::new("Oversubscribed", false, "WithinBudget", message)
    });
    updates.extend(account.credential_expires_at.map(|ends| expiring(ends, now)));
    let mut clocks = account.clock_skew.into_iter();
    let skewed = clocks.find_map(|(whose, skew)| Some((whose, skew.filter(|skew| skew.abs() > MAX_CLOCK_SKEW)?)));
    if let Some((whose, skew)) = skewed {
        updates.push(ConditionUpdate::new("ClockSkewed", true, "ClockSkewed", skewed_by(whose, skew)));
    }
    updates
}

/// Returns the condition of a credential that expires at this time.
fn expiring(ends: Timestamp, now: Timestamp) -> ConditionUpdate {
    let at = wire_time::text(ends);
    let (holds, reason, message) = if now >= ends {
        (true, "CredentialsExpired", format!("The credential expired at {at}. Replace it."))
    } else if now + WARN_BEFORE >= ends {
        let message = format!("The credential expires at {at}, in less than 14 days. Replace it.");
        (true, "CredentialsExpireSoon", message)
    } else {
        (false, "AsExpected", format!("The credential expires at {at}."))
    };
    ConditionUpdate::new("CredentialsExpiring", holds, reason, message)
}

/// Returns the message for a clock skew, in minutes: the seconds differ from one response to the next.
fn skewed_by(whose: &str, skew: i64) -> String {
    let minutes = (skew.abs() + 30) / 60;
    let side = if skew > 0 { "ahead of" } else { "behind" };
    format!(
        "The clock of the {whose} is {minutes} minutes {side} the operator's. Synchronize the clock that is wrong. The operator counts a lifetime by the provider's clock and reports times by its own."
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
