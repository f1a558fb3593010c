//! Two operators, each with its own part, until neither writes.

use super::super::provider_status::{AccountFacts, ProviderFacts, compose};
use super::*;
use crate::budget::{AccountState, CredentialBlock, SharedUse};
use crate::tests::at;
use std::time::Duration;

#[allow(clippy::unnecessary_wraps)] // as the fields have them
fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// An operator, and the account as it sees it.
#[derive(Clone, Default)]
struct Operator {
    account: AccountFacts,
    before: Option<ProviderStatus>,
    writes: usize,
}

impl Operator {
    fn new(budget: AccountState) -> Self {
        let account = AccountFacts { version: "v".to_owned(), budget, ..AccountFacts::default() };
        Self { account, ..Self::default() }
    }

    /// Writes its part if it has to.
    fn report(&mut self, stored: &mut ProviderStatus, now: Timestamp) {
        let facts =
            ProviderFacts { generation: Some(1), type_: None, tokens: Some(3), account: Ok(self.account.clone()) };
        let own = compose(facts, self.before.as_ref().unwrap_or(stored), now);
        let own: ProviderStatus = serde_json::from_value(serde_json::to_value(&own).unwrap()).unwrap();
        if let Some(merged) = merge(&own, self.before.as_ref(), stored, now) {
            *stored = serde_json::from_value(serde_json::to_value(&merged).unwrap()).unwrap();
            self.writes += 1;
        }
        self.before = Some(own);
    }
}

/// Lets all report every 5 seconds, and returns how often they wrote.
fn pass(all: &mut [&mut Operator], stored: &mut ProviderStatus, times: std::ops::Range<i64>) -> Vec<usize> {
    let before: Vec<_> = all.iter().map(|one| one.writes).collect();
    for second in times.step_by(5) {
        for one in all.iter_mut() {
            one.report(stored, at(second));
        }
    }
    all.iter().zip(before).map(|(one, before)| one.writes - before).collect()
}

fn holds_of(status: &ProviderStatus, type_: &str) -> Option<bool> {
    condition(status, type_).map(holds)
}

#[test]
fn p18_two_operators_at_rest_write_once() {
    let (mut one, mut two) = (Operator::new(AccountState::default()), Operator::new(AccountState::default()));
    let mut stored = ProviderStatus::default();
    let writes = pass(&mut [&mut one, &mut two], &mut stored, 0..600);
    assert_eq!(writes, [1, 0], "the second has nothing to add");
    assert_eq!(stored.tokens, None, "each knows its own ones");
}

#[test]
fn p18_whatever_two_operators_differ_in_they_come_to_rest() {
    let blocked = |until: i64| AccountState {
        credential_block: Some(CredentialBlock::Rejected),
        blocked_for: seconds(until.unsigned_abs()),
        ..AccountState::default()
    };
    let used = |ago: u64, calls_per_hour: u32| AccountState {
        shared_use: Some(SharedUse { calls_per_hour, ago: Duration::from_secs(ago), level: 0 }),
        ..AccountState::default()
    };
    let accounts: Vec<AccountFacts> = [
        AccountState::default(),
        AccountState { accepted: true, ..AccountState::default() },
        AccountState { oversubscribed: true, ..AccountState::default() },
        AccountState { accepted: true, oversubscribed: true, ..AccountState::default() },
        AccountState { retry_after_left: seconds(3000), ..AccountState::default() },
        AccountState { retry_after_left: seconds(3001), ..AccountState::default() },
        blocked(900),
        blocked(1000),
        used(10, 100),
        used(10, 200),
        used(100, 100),
    ]
    .into_iter()
    .flat_map(|budget| {
        let of = |version: &str, skew| AccountFacts {
            version: version.to_owned(),
            budget,
            clock_skew: [("provider", skew), ("API server", None)],
            ..AccountFacts::default()
        };
        [of("v", None), of("other", None), of("v", Some(900))]
    })
    .collect();
    // every pair, from every status that one of them left
    for first in &accounts {
        for second in &accounts {
            let (mut one, mut two) = (Operator::default(), Operator::default());
            (one.account, two.account) = (first.clone(), second.clone());
            let mut stored = ProviderStatus::default();
            // time stands still, and with it what remains of each wait
            for _ in 0..4 {
                one.report(&mut stored, at(0));
                two.report(&mut stored, at(0));
            }
            let settled = (one.writes, two.writes);
            assert!(one.writes <= 2 && two.writes <= 2, "{settled:?}: {first:?} {second:?}");
            for _ in 0..4 {
                two.report(&mut stored, at(0));
                one.report(&mut stored, at(0));
            }
            assert_eq!((one.writes, two.writes), settled, "{first:?} {second:?}");
            // one restarts
            one = Operator { account: first.clone(), ..Operator::default() };
            for _ in 0..4 {
                one.report(&mut stored, at(0));
                two.report(&mut stored, at(0));
            }
            assert!(one.writes <= 2 && two.writes <= settled.1 + 1, "{first:?} {second:?}");
        }
    }
}

#[test]
fn p07_a_throttle_of_one_stays_until_it_ends_whatever_the_other_reports() {
    let (mut one, mut two) = (Operator::new(AccountState::default()), Operator::new(AccountState::default()));
    let mut stored = ProviderStatus::default();
    pass(&mut [&mut one, &mut two], &mut stored, 0..10);
    one.account.budget.retry_after_left = seconds(300);
    one.report(&mut stored, at(10));
    assert_eq!(stored.throttled_until, Some(at(310)));
    // the other has something to report
    two.account.budget.accepted = true;
    two.report(&mut stored, at(20));
    assert_eq!(stored.throttled_until, Some(at(310)));
    assert!(stored.credentials.as_ref().unwrap().accepted);
    // The first operator is gone: its report stays until it expires.
    two.report(&mut stored, at(305));
    assert_eq!(stored.throttled_until, Some(at(310)));
    two.report(&mut stored, at(400));
    assert_eq!(stored.throttled_until, None);
    // and the one that reported it takes it back at once
    one.account.budget.retry_after_left = seconds(300);
    one.report(&mut stored, at(500));
    one.account.budget.retry_after_left = None;
    one.report(&mut stored, at(510));
    assert_eq!(stored.throttled_until, None);
}

#[test]
fn p07_a_block_of_one_stays_until_it_ends_or_that_one_takes_it_back() {
    let works = AccountState { accepted: true, ..AccountState::default() };
    let (mut one, mut two) = (Operator::new(works), Operator::new(works));
    let mut stored = ProviderStatus::default();
    pass(&mut [&mut one, &mut two], &mut stored, 0..10);
    let blocked = |left: u64| AccountState {
        credential_block: Some(CredentialBlock::Rejected),
        blocked_for: seconds(left),
        ..AccountState::default()
    };
    one.account.budget = blocked(900);
    one.report(&mut stored, at(10));
    two.account.last_issued_at = Some(at(20));
    two.report(&mut stored, at(20));
    assert!(!stored.credentials.as_ref().unwrap().accepted, "{stored:?}");
    assert_eq!((holds_of(&stored, "Ready"), stored.last_issued_at), (Some(false), Some(at(20))));
    one.account.budget = works;
    one.report(&mut stored, at(30));
    assert!(stored.credentials.as_ref().unwrap().accepted);
    assert_eq!(holds_of(&stored, "Ready"), Some(true));
    // the one that reported it is gone
    one.account.budget = blocked(900);
    one.report(&mut stored, at(40));
    two.report(&mut stored, at(930));
    assert!(!stored.credentials.as_ref().unwrap().accepted);
    two.report(&mut stored, at(1100));
    assert!(stored.credentials.as_ref().unwrap().accepted);
    assert_eq!(holds_of(&stored, "Ready"), Some(true));
}

#[test]
fn p18_the_longer_queue_is_reported_by_one_and_ends_with_it() {
    let waiting =
        |waiting| AccountState { waiting, queue_drains_in: Duration::from_mins(10), ..AccountState::default() };
    let (mut one, mut two) = (Operator::new(waiting(100)), Operator::new(waiting(50)));
    let mut stored = ProviderStatus::default();
    let writes = pass(&mut [&mut one, &mut two], &mut stored, 0..600);
    assert!(writes[0] <= 21 && writes[1] == 0, "{writes:?}");
    assert_eq!(stored.queue.as_ref().unwrap().waiting, 100);
    // the longer one is served
    one.account.budget = AccountState::default();
    let writes = pass(&mut [&mut one, &mut two], &mut stored, 600..900);
    assert!(writes[0] <= 1 && writes[1] <= 12, "{writes:?}");
    assert_eq!(stored.queue.as_ref().unwrap().waiting, 50);
    // the other is gone
    pass(&mut [&mut one], &mut stored, 900..1000);
    assert_eq!(stored.queue, None);
}

#[test]
fn a_warning_of_one_holds_until_it_takes_it_back() {
    let (mut one, mut two) = (Operator::new(AccountState::default()), Operator::new(AccountState::default()));
    let mut stored = ProviderStatus::default();
    pass(&mut [&mut one, &mut two], &mut stored, 0..10);
    one.account.budget.oversubscribed = true;
    one.report(&mut stored, at(10));
    two.account.last_issued_at = Some(at(20));
    two.report(&mut stored, at(20));
    let reported = condition(&stored, "Oversubscribed").unwrap();
    assert!(holds(reported) && reported.last_transition_time == at(10), "{reported:?}");
    two.account.budget.oversubscribed = true;
    two.report(&mut stored, at(30));
    one.account.budget.oversubscribed = false;
    one.report(&mut stored, at(40));
    two.report(&mut stored, at(45));
    assert_eq!(holds_of(&stored, "Oversubscribed"), Some(true), "the other's holds still");
    two.account.budget.oversubscribed = false;
    pass(&mut [&mut one, &mut two], &mut stored, 50..100);
    assert_eq!(holds_of(&stored, "Oversubscribed"), Some(false));
}
