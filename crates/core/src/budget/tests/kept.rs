//! Calls that count after changes of their VideoAccessToken, account or process (P20), and the shares of namespaces in
//! long windows.

use super::*;
use crate::tests::cpu_time;
use std::sync::Arc;

fn hourly(requests: u32) -> Limits {
    limits(&[(requests, secs(3600))], 4)
}

fn state(world: &World) -> super::super::AccountState {
    world.budgets.state(&account("a"), world.now())
}

/// Grants one and begins its call.
fn begin(world: &mut World) -> (ObjectKey, super::super::StartedCall) {
    let granted = world.budgets.grant(world.now(), 1);
    assert_eq!(granted.len(), 1, "nothing was granted at {:?}", world.at);
    let key = granted[0].key.clone();
    let started = world.budgets.begin(&key, &granted[0].account, world.now()).unwrap();
    (key, started)
}

/// Change of the VideoAccessToken or its account during the call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stays,
    Deleted,
    Recreated,
    MovedToAnotherAccount,
    AccountRetired,
    AccountRetiredAndBack,
    Panics,
}

const FATES: [Fate; 7] = [
    Fate::Stays,
    Fate::Deleted,
    Fate::Recreated,
    Fate::MovedToAnotherAccount,
    Fate::AccountRetired,
    Fate::AccountRetiredAndBack,
    Fate::Panics,
];

fn befall(world: &mut World, key: &ObjectKey, fate: Fate) {
    let now = world.now();
    match fate {
        Fate::Stays => {}
        Fate::Deleted => world.budgets.withdraw(key),
        Fate::Recreated => {
            world.budgets.withdraw(key);
            world.request("a", &key.to_string(), None, None);
        }
        Fate::MovedToAnotherAccount => {
            world.budgets.configure(&account("b"), hourly(1));
            world.request("b", &key.to_string(), None, None);
        }
        Fate::AccountRetired | Fate::AccountRetiredAndBack => {
            world.budgets.retire(&account("a"));
            world.budgets.grant(now, 9);
            if let Fate::AccountRetiredAndBack = fate {
                world.budgets.configure(&account("a"), hourly(1));
            }
        }
        Fate::Panics => world.budgets.finish(key, CallOutcome::NotCalled, now),
    }
}

#[test]
fn p20_a_call_counts_with_its_answer_whatever_becomes_of_its_object_or_account() {
    let throttled = CallOutcome::Throttled { retry_after: Some(secs(7200)) };
    for fate in FATES {
        for outcome in [
            CallOutcome::Issued,
            CallOutcome::Failed,
            throttled,
            CallOutcome::CredentialRejected,
            CallOutcome::NotCalled,
        ] {
            let mut world = World::with_accounts(&["a"], &hourly(1));
            world.ask_first("ns/lobby");
            let (key, started) = begin(&mut world);
            befall(&mut world, &key, fate);
            assert_eq!(state(&world).in_flight, 1, "{fate:?}: the slot is taken");
            world.at += secs(3);
            world.budgets.end(&started, outcome, world.now());
            let after = state(&world);
            assert_eq!(after.in_flight, 0, "{fate:?} {outcome:?}");
            assert_eq!(after.accepted, outcome == CallOutcome::Issued, "{fate:?} {outcome:?}");
            assert_eq!(after.retry_after_left, (outcome == throttled).then(|| secs(7200)), "{fate:?}");
            let rejected = outcome == CallOutcome::CredentialRejected;
            assert_eq!(after.credential_block, rejected.then_some(CredentialBlock::Rejected), "{fate:?} {outcome:?}");
            // it may come back at once, and ask again
            world.budgets.configure(&account("a"), hourly(1));
            world.request("a", "ns/next", None, None);
            world.at += secs(3590);
            assert!(
                world.budgets.grant(world.now(), 9).iter().all(|grant| grant.account != account("a")),
                "{fate:?} {outcome:?}"
            );
            world.at += if outcome == throttled { secs(3700) } else { secs(11) };
            let granted = world.budgets.grant(world.now(), 9);
            assert!(granted.iter().any(|grant| grant.account == account("a")), "{fate:?} {outcome:?}");
        }
    }
}

#[test]
fn p20_a_turn_that_nobody_takes_up_goes_back_and_a_call_that_nobody_ends_counts() {
    let mut world = World::accepted(&hourly(1));
    world.ask_first("ns/slow");
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 1);
    world.ask_first("ns/next");
    world.at += secs(121);
    // the slow one stood in a lane: it may not call any more, and asks again
    let (next, started) = begin(&mut world);
    assert_eq!(next, key("ns/next"));
    assert!(world.budgets.begin(&key("ns/slow"), &account("a"), world.now()).is_none());
    world.ask_first("ns/slow");
    world.at += secs(121);
    assert!(world.budgets.grant(world.now(), 9).is_empty(), "the window holds the call that never ended");
    assert_eq!(state(&world).in_flight, 0);
    // its answer comes after all, and isn't lost
    world.budgets.end(&started, CallOutcome::Throttled { retry_after: Some(secs(7200)) }, world.now());
    assert_eq!(state(&world).retry_after_left, Some(secs(7200)));
    world.at += secs(7201);
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 1, "and it counts once");
}

#[test]
fn p20_a_turn_of_one_account_begins_no_call_of_another() {
    let mut world = World::with_accounts(&["a", "b"], &hourly(1));
    world.ask_first("ns/lobby");
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 1);
    assert!(world.budgets.begin(&key("ns/lobby"), &account("b"), world.now()).is_none());
    assert!(world.budgets.begin(&key("ns/lobby"), &account("a"), world.now()).is_some());
    assert!(world.budgets.begin(&key("ns/lobby"), &account("a"), world.now()).is_none(), "once");
}

/// Seconds ago that the calls ended.
fn restore(world: &mut World, ago: &[u64], namespaces: &[&str]) {
    let namespaces: Vec<Arc<str>> = namespaces.iter().map(|name| (*name).into()).collect();
    let ended: Vec<_> = ago.iter().map(|ago| secs(*ago)).collect();
    world.budgets.restore(&account("a"), ended, &namespaces, world.now());
}

/// How many first issues are granted at once.
fn capacity(world: &mut World) -> usize {
    (0..20).for_each(|number| world.ask_first(&format!("ns/o{number}")));
    let mut granted = 0;
    while let [grant] = &world.budgets.grant(world.now(), 1)[..] {
        world.budgets.finish(&grant.key, CallOutcome::Issued, world.now());
        granted += 1;
    }
    granted
}

#[test]
fn p20_windows_are_at_least_as_spent_as_is_told() {
    // calls per hour, seconds since each restored call, number of further grants
    let cases: [(u32, &[u64], usize); 8] = [
        (5, &[], 5),
        (5, &[10, 10], 3),
        (5, &[0, 3599], 3),
        (5, &[3600, 4000, 90_000], 5),
        (5, &[1, 2, 3, 4, 5], 0),
        (5, &[1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        // a time far ahead was taken for now; one before the machine started is no panic
        (5, &[0, 0, 0], 2),
        (5, &[u64::MAX / 4, 86_400 * 366], 5),
    ];
    for (requests, ago, more) in cases {
        let mut world = World::with_accounts(&["a"], &hourly(requests));
        world.budgets.begin_restore();
        restore(&mut world, ago, &["ns"]);
        assert_eq!(capacity(&mut world), more, "{ago:?}");
    }
    // an account without a configuration restores nothing
    let mut world = World::with_accounts(&[], &hourly(1));
    restore(&mut world, &[1], &["ns"]);
    assert_eq!(world.budgets.accounts.len(), 0);
}

#[test]
fn p20_what_is_known_already_does_not_count_twice() {
    let mut world = World::with_accounts(&["a"], &hourly(9));
    world.budgets.begin_restore();
    restore(&mut world, &[1000], &["ns"]);
    world.ask_first("ns/own");
    let (_, started) = begin(&mut world);
    world.at += secs(4);
    world.budgets.end(&started, CallOutcome::Issued, world.now());
    world.at += secs(100);
    // another provider object of the same account is resolved only now: its calls are others
    restore(&mut world, &[1103], &["other"]);
    assert_eq!(world.budgets.accounts[&account("a")].calls_within(world.now().mono, secs(3600)), 3);
    // led again: the same two, the own one by its Secret, and one that the other leader made
    world.budgets.begin_restore();
    restore(&mut world, &[1104, 1103, 103, 30], &["ns", "other"]);
    assert_eq!(world.budgets.accounts[&account("a")].calls_within(world.now().mono, secs(3600)), 4);
    world.budgets.begin_restore();
    restore(&mut world, &[1104, 30], &["ns"]);
    assert_eq!(world.budgets.accounts[&account("a")].calls_within(world.now().mono, secs(3600)), 4);
    assert_eq!(capacity(&mut world), 5);
}

#[test]
fn p20_ten_thousand_calls_are_taken_in_at_once() {
    let mut world = World::with_accounts(&["a"], &limits(&[(20_000, secs(86_400))], 4));
    world.budgets.begin_restore();
    let ago: Vec<_> = (0..10_000).map(|n| n * 7 % 80_000).collect();
    let began = cpu_time();
    restore(&mut world, &ago, &["ns"]);
    world.budgets.begin_restore();
    restore(&mut world, &ago, &["ns"]);
    // Far above what it takes, far below what anything quadratic would.
    assert!(cpu_time() - began < secs(2), "{:?}", cpu_time() - began);
    assert_eq!(world.budgets.accounts[&account("a")].calls_within(world.now().mono, secs(86_400)), 10_000);
}

#[test]
fn b11_no_time_that_was_written_down_stops_an_account_for_long() {
    let day = secs(86_400);
    let mut world = World::accepted(&hourly(9));
    world.budgets.throttle(&account("a"), day, world.now());
    assert_eq!(state(&world).throttled_for, Some(secs(3600)));
    for block in [CredentialBlock::Rejected, CredentialBlock::LoginsUsedUp] {
        let mut world = World::accepted(&hourly(9));
        world.budgets.block_credential(&account("a"), block, day * 366, world.now());
        assert_eq!(state(&world).blocked_for, Some(secs(16 * 60)));
    }
}

/// Requests many calls of one kind for a time, and returns the number of grants of each namespace.
fn greedy(world: &mut World, namespaces: &[&str], seconds: u64) -> Vec<usize> {
    let mut counts = vec![0; namespaces.len()];
    for _ in 0..seconds {
        for namespace in namespaces {
            world.unplanned = true;
            world.request("a", &format!("{namespace}/lost"), None, None);
            world.unplanned = false;
        }
        for grant in world.budgets.grant(world.now(), 99) {
            let index = namespaces.iter().position(|namespace| **namespace == *grant.key.namespace).unwrap();
            counts[index] += 1;
            world.budgets.finish(&grant.key, CallOutcome::Issued, world.now());
        }
        world.at += secs(1);
    }
    counts
}

#[test]
fn p20_a_namespace_spends_no_more_than_its_share_of_a_slow_window_on_what_no_schedule_asks_for() {
    // the window, the namespaces that use the account, what the one that is greedy gets in half an hour
    let cases = [
        ((100, 3600), vec!["greedy"], 90),
        ((100, 3600), vec!["greedy", "b"], 45),
        ((100, 3600), vec!["greedy", "b", "c"], 30),
        ((2, 3600), vec!["greedy", "b", "c"], 1),
        // a window of a minute refills in time
        ((100, 60), vec!["greedy", "b"], 1800),
    ];
    for ((requests, period), namespaces, expected) in cases {
        let mut world = World::accepted(&limits(&[(requests, secs(period))], 4));
        // the one that proved the credential is a namespace too: it hasn't asked for a day
        world.at += secs(86_400 + 7200);
        restore(&mut world, &[], &namespaces);
        assert_eq!(greedy(&mut world, &["greedy"], 1800), [expected], "{requests} in {period} s, {namespaces:?}");
    }
}

#[test]
fn p20_two_greedy_namespaces_leave_the_reserve_and_the_others_share() {
    let mut world = World::accepted(&hourly(100));
    world.at += secs(86_400 + 7200);
    restore(&mut world, &[], &["a", "b", "victim"]);
    assert_eq!(greedy(&mut world, &["a", "b"], 600), [30, 30]);
    // the victim's renewals are planned, and find room without being urgent
    for number in 0..30 {
        world.request("a", &format!("victim/o{number}"), Some(secs(9000)), Some(secs(6000)));
    }
    let start = world.grants.len();
    world.run_until(world.at + secs(10), |_| issued_in(Duration::ZERO));
    assert_eq!(world.grants.len() - start, 30);
    // requests that were set aside are granted when a part of the share is free again
    world.run_until(world.at + secs(7200), |_| issued_in(Duration::ZERO));
    assert_eq!(world.budgets.queue_depth(), 0);
}

#[test]
fn p20_what_is_set_aside_becomes_urgent_by_time_and_can_be_withdrawn_and_asked_for_otherwise() {
    let mut world = World::accepted(&hourly(10));
    world.at += secs(86_400 + 7200);
    restore(&mut world, &[], &["ns", "b", "c"]);
    assert_eq!(greedy(&mut world, &["ns"], 9), [3]);
    world.unplanned = true;
    world.request("a", "ns/forced", Some(secs(5000)), Some(secs(3000)));
    assert!(world.budgets.grant(world.now(), 9).is_empty());
    assert!(world.budgets.lacks_share(&key("ns/forced"), world.now()));
    // the one that is lost was set aside too
    world.budgets.withdraw(&key("ns/lost"));
    assert_eq!(world.budgets.queue_depth(), 1);
    // asked for otherwise in place: it is due by now
    world.unplanned = false;
    world.request("a", "ns/forced", Some(secs(5000)), Some(secs(3000)));
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 1);
    world.budgets.finish(&key("ns/forced"), CallOutcome::Issued, world.now());
    world.unplanned = true;
    world.request("a", "ns/forced", Some(secs(5000)), Some(secs(3000)));
    assert!(world.budgets.grant(world.now(), 9).is_empty());
    world.at += secs(3001);
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 1, "its token is about to expire");
}
