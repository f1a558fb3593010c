//! Status of a provider: readiness, demand compared with the limits, clock skew, the state of the credential, and the
//! state that a later process restores.

use super::account_block::account_block;
use super::status::NO_CHANGE_REQUIRED;
use super::view::Refusal;
use crate::budget::{AccountState, CredentialBlock};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::time::Duration;
use videotoken_api::condition::{Condition, ConditionStatus};
use videotoken_api::provider_status::{CredentialsStatus, ProviderStatus, QueueStatus};
use videotoken_api::wire_time;

/// Seconds of difference from which a clock is reported.
pub const MAX_CLOCK_SKEW: i64 = 300;

/// Age of `lastIssuedAt` after which it is written again.
const LAST_ISSUED_INTERVAL: TimeDelta = TimeDelta::minutes(10);

/// Minimum length of a throttle that is reported and restored after a restart.
const MIN_REPORTED_THROTTLE: Duration = Duration::from_secs(30);

/// Minimum wait of a new request for which the queue is reported.
const MIN_REPORTED_WAIT: Duration = Duration::from_secs(30);

/// Age of a reported queue after which it is reported again.
const QUEUE_INTERVAL: TimeDelta = TimeDelta::seconds(30);

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
    status.queue = queue_status(state, before.queue.as_ref(), now);
    status.credentials_expire_at = account.credential_expires_at;
    status.account.clone_from(&account.display_name);
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
        accepted: reported.is_some_and(|reported| reported.accepted),
        credential_block: refused.and_then(|reported| Some((credential_block, ahead(reported.next_attempt_at)?))),
    }
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
        let message = "The tokens of this provider need more than 80% of spec.limits. Raise the limits if the token API allows it, or use several accounts.";
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
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    #[allow(clippy::unnecessary_wraps)] // as the fields have them
    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn facts(account: AccountFacts) -> ProviderFacts<'static> {
        ProviderFacts { generation: Some(2), type_: None, tokens: None, account: Ok(account) }
    }

    fn account(budget: AccountState) -> AccountFacts {
        AccountFacts { version: "v".to_owned(), budget, ..AccountFacts::default() }
    }

    #[allow(clippy::unnecessary_wraps)]
    fn reported(accepted: bool, next: Option<i64>) -> Option<CredentialsStatus> {
        Some(CredentialsStatus { version: "v".to_owned(), accepted, next_attempt_at: next.map(at) })
    }

    /// Type, status and reason of each condition.
    fn words(status: &ProviderStatus) -> Vec<String> {
        let word = |it: &Condition| {
            format!("{}{}{}", it.type_, if it.status == ConditionStatus::True { "=" } else { "!" }, it.reason)
        };
        status.conditions.iter().map(word).collect()
    }

    #[test]
    fn each_state_of_an_account_has_its_conditions() {
        let day = 86_400;
        let locked =
            |credential_block| AccountState { credential_block: Some(credential_block), ..AccountState::default() };
        let well = ["Ready=Configured", "Stalled!AsExpected", "Oversubscribed!WithinBudget"];
        let not_ready = |reason: &'static str| [reason, well[1], well[2]].to_vec();
        let and = |more: &'static str| [well.as_slice(), &[more]].concat();
        let expiring =
            |ends| AccountFacts { credential_expires_at: Some(at(ends)), ..account(AccountState::default()) };
        let skewed = |provider, api_server| AccountFacts {
            clock_skew: [("provider", provider), ("API server", api_server)],
            ..account(AccountState::default())
        };
        let cases = [
            (account(AccountState::default()), well.to_vec()),
            (account(locked(CredentialBlock::Rejected)), not_ready("Ready!CredentialRejected")),
            (account(locked(CredentialBlock::IdentityRefused)), not_ready("Ready!CredentialRejected")),
            (account(locked(CredentialBlock::LoginsUsedUp)), not_ready("Ready!LoginsUsedUp")),
            // a throttle says nothing of the provider object
            (account(AccountState { throttled_for: seconds(600), ..AccountState::default() }), well.to_vec()),
            (
                account(AccountState { oversubscribed: true, ..AccountState::default() }),
                vec![well[0], well[1], "Oversubscribed=DemandOverBudget"],
            ),
            (expiring(15 * day), and("CredentialsExpiring!AsExpected")),
            (expiring(14 * day), and("CredentialsExpiring=CredentialsExpireSoon")),
            (expiring(0), and("CredentialsExpiring=CredentialsExpired")),
            (skewed(Some(300), Some(-300)), well.to_vec()),
            (skewed(Some(301), None), and("ClockSkewed=ClockSkewed")),
            (skewed(None, Some(-301)), and("ClockSkewed=ClockSkewed")),
        ];
        for (account, expected) in cases {
            let status = compose(facts(account.clone()), &ProviderStatus::default(), at(0));
            assert_eq!(words(&status), expected, "{account:?}");
        }
        for (skew, words) in [(301, "5 minutes ahead of"), (-930, "16 minutes behind")] {
            let status = compose(facts(skewed(Some(skew), Some(9999))), &ProviderStatus::default(), at(0));
            assert!(status.conditions[3].message.contains(&format!("The clock of the provider is {words}")), "{skew}");
        }
    }

    #[test]
    fn a_provider_that_cant_be_used_keeps_what_was_known_of_it() {
        let before = ProviderStatus {
            tokens: Some(3),
            credentials: reported(true, None),
            last_issued_at: Some(at(-5)),
            proven_login: Some("login".to_owned()),
            throttled_until: Some(at(500)),
            ..ProviderStatus::default()
        };
        let refusal = Refusal::new("CredentialsMissing", "no Secret");
        let facts = ProviderFacts { generation: Some(2), type_: None, tokens: None, account: Err(&refusal) };
        let status = compose(facts, &before, at(0));
        assert_eq!(words(&status), ["Ready!CredentialsMissing", "Stalled=CredentialsMissing"]);
        let kept = ProviderStatus {
            observed_generation: Some(2),
            conditions: status.conditions.clone(),
            throttled_until: None,
            ..before
        };
        assert_eq!(status, kept);
    }

    #[test]
    fn p04_a_long_queue_is_reported_every_half_minute_until_it_is_almost_empty() {
        let state = |waiting, drains| AccountState {
            waiting,
            served_last_minute: 60,
            queue_drains_in: Duration::from_secs(drains),
            ..AccountState::default()
        };
        let mut status = ProviderStatus::default();
        // time, waiting, seconds until the last is served, reported: waiting and seconds
        let cases = [
            (0, 20, 29, None),
            (1, 400, 400, Some((400, 401))),
            (20, 390, 390, Some((400, 401))),
            (31, 370, 370, Some((370, 401))),
            (62, 20, 8, Some((20, 70))),
            (65, 5, 7, None),
            (70, 20, 20, None),
            (80, 0, 0, None),
        ];
        for (now, waiting, drains, expected) in cases {
            status = compose(facts(account(state(waiting, drains))), &status, at(now));
            let queue = status.queue.as_ref();
            let reported = queue.map(|queue| (queue.waiting, (queue.served_at.unwrap() - at(0)).num_seconds()));
            assert_eq!(reported, expected, "at {now}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let first = compose(facts(account(AccountState::default())), &ProviderStatus::default(), at(0));
        let locked = AccountState { credential_block: Some(CredentialBlock::Rejected), ..AccountState::default() };
        let second = compose(facts(account(locked)), &first, at(100));
        let times: Vec<_> = second.conditions.iter().map(|condition| condition.last_transition_time).collect();
        assert_eq!(times, [at(100), at(0), at(0)]);
    }

    #[test]
    fn p20_what_is_saved_is_restored() {
        let locked = |credential_block, wait| AccountState {
            credential_block: Some(credential_block),
            blocked_for: seconds(wait),
            ..AccountState::default()
        };
        let asked = |wait| AccountState { retry_after_left: seconds(wait), ..AccountState::default() };
        let none = SavedAccountState::default();
        let cases = [
            (AccountState::default(), false, none),
            (
                AccountState { accepted: true, ..AccountState::default() },
                false,
                SavedAccountState { accepted: true, ..none },
            ),
            (
                locked(CredentialBlock::Rejected, 900),
                false,
                SavedAccountState {
                    credential_block: Some((CredentialBlock::Rejected, Duration::from_secs(890))),
                    ..none
                },
            ),
            (
                locked(CredentialBlock::IdentityRefused, 300),
                true,
                SavedAccountState {
                    credential_block: Some((CredentialBlock::IdentityRefused, Duration::from_secs(290))),
                    ..none
                },
            ),
            // the attempts themselves are in status.loginAttempts
            (locked(CredentialBlock::LoginsUsedUp, 900), false, none),
            (asked(31), false, SavedAccountState { throttled_for: seconds(21), ..none }),
            (asked(30), false, none),
            // a back-off of the operator's own choice
            (AccountState { throttled_for: seconds(300), ..AccountState::default() }, false, none),
        ];
        for (state, on_demand, expected) in cases {
            let status = compose(facts(account(state)), &ProviderStatus::default(), at(0));
            assert_eq!(saved_account_state(&status, "v", on_demand, at(10)), expected, "{state:?}");
            let other = saved_account_state(&status, "w", on_demand, at(10));
            assert_eq!(other, SavedAccountState { throttled_for: expected.throttled_for, ..none }, "{state:?}");
        }
    }

    #[test]
    fn p18_a_time_that_is_computed_anew_changes_no_status() {
        let state = |left| AccountState {
            retry_after_left: seconds(left),
            credential_block: Some(CredentialBlock::Rejected),
            blocked_for: seconds(left),
            ..AccountState::default()
        };
        let first = compose(facts(account(state(100))), &ProviderStatus::default(), at(0));
        for (now, left, moved) in [(10, 90, false), (10, 92, false), (10, 93, true), (80, 20, false)] {
            let next = compose(facts(account(state(left))), &first, at(now));
            assert_eq!(next != first, moved, "{left} s left at {now}");
        }
    }

    #[test]
    fn p18_the_last_issue_is_told_anew_after_ten_minutes() {
        // reported before, known, reported then
        for (reported, known, expected) in [
            (None, None, None),
            (None, Some(0), Some(0)),
            (Some(-599), Some(0), Some(-599)),
            (Some(-600), Some(0), Some(0)),
            (Some(-9000), None, Some(-9000)),
            // by a clock that was wrong
            (Some(60), Some(0), Some(0)),
            (Some(59), Some(0), Some(59)),
        ] {
            let before = ProviderStatus { last_issued_at: reported.map(at), ..ProviderStatus::default() };
            let account = AccountFacts { last_issued_at: known.map(at), ..account(AccountState::default()) };
            let status = compose(facts(account), &before, at(0));
            assert_eq!(status.last_issued_at, expected.map(at), "{reported:?} {known:?}");
        }
    }

    #[test]
    fn p18_a_status_that_cant_be_written_is_tried_ever_more_seldom() {
        let waits = [0, 1, 2, 5, 6, 99].map(|failures| retry_after(failures).num_seconds());
        assert_eq!(waits, [5, 10, 20, 160, 300, 300]);
    }
}
