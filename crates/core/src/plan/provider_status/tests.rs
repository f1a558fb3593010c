//! Tests of the status of a provider: reported, written and restored facts.

use super::*;
use crate::tests::at;

#[allow(clippy::unnecessary_wraps)] // as the fields have them
fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[allow(clippy::unnecessary_wraps)]
fn used(ago: u64, calls_per_hour: u32, level: u32) -> Option<SharedUse> {
    Some(SharedUse { calls_per_hour, ago: Duration::from_secs(ago), level })
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
    let expiring = |ends| AccountFacts { credential_expires_at: Some(at(ends)), ..account(AccountState::default()) };
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
        (
            account(AccountState { oversubscribed: true, shared_use: used(0, 9, 0), ..AccountState::default() }),
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
            SavedAccountState { credential_block: Some((CredentialBlock::Rejected, Duration::from_secs(890))), ..none },
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
        (
            AccountState { shared_use: used(60, 324, 2), ..AccountState::default() },
            false,
            SavedAccountState { shared_use: used(70, 320, 2), ..none },
        ),
        // a back-off of the operator's own choice
        (AccountState { throttled_for: seconds(300), ..AccountState::default() }, false, none),
    ];
    for (state, on_demand, expected) in cases {
        let status = compose(facts(account(state)), &ProviderStatus::default(), at(0));
        assert_eq!(saved_account_state(&status, "v", on_demand, at(10)), expected, "{state:?}");
        let other = saved_account_state(&status, "w", on_demand, at(10));
        let of_account = SavedAccountState { credential_block: None, accepted: false, ..expected };
        assert_eq!(other, of_account, "{state:?}");
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
fn p18_throttles_by_others_at_about_the_same_rate_are_written_every_five_minutes() {
    let compose_with = |shared_use, before: &ProviderStatus, now| {
        compose(facts(account(AccountState { shared_use, ..AccountState::default() })), before, at(now))
    };
    let first = compose_with(used(0, 400, 1), &ProviderStatus::default(), 0);
    // time, seconds since the throttle, rate, level, written
    let cases = [
        (200, 200, 400, 1, false),
        (200, 0, 500, 2, false),
        (200, 0, 501, 2, true),
        (200, 0, 299, 2, true),
        (299, 0, 400, 2, false),
        (300, 0, 400, 1, true),
        // a clock that was set back
        (-100, 0, 400, 1, true),
    ];
    for (now, ago, rate, level, written) in cases {
        let next = compose_with(used(ago, rate, level), &first, now);
        assert_eq!(next.shared_use != first.shared_use, written, "{rate} an hour, {ago} s before {now}");
    }
    assert_eq!(compose_with(None, &first, 400).shared_use, None, "back at its limits");
}

#[test]
fn p20_a_throttle_by_others_that_another_clock_dated_counts_from_now_on() {
    for (throttled_at, ago) in [(Some(at(-40)), Some(40)), (Some(at(40)), Some(0)), (None, None)] {
        let reported = SharedUseStatus { throttled_at, calls_per_hour: 120, level: 1 };
        let status = ProviderStatus { shared_use: Some(reported), ..ProviderStatus::default() };
        let saved = saved_account_state(&status, "v", false, at(0)).shared_use;
        assert_eq!(saved, ago.and_then(|ago| used(ago, 120, 1)));
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
