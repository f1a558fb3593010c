//! Accounts that others use too.

use super::super::SharedUse;
use super::*;
use proptest::prelude::*;

const MINUTE: [(u32, Duration); 2] = [(120, Duration::from_mins(1)), (10, Duration::from_secs(1))];

/// An account with so many calls in the last minute, and with a throttle half an hour ago.
fn used(calls: u32) -> World {
    let mut world = World::accepted(&limits(&MINUTE, 10));
    throttle(&mut world, 1);
    world.at += secs(1800);
    world.ask_first("ns/first");
    world.run_until(world.at, |_| issued_in(Duration::ZERO));
    world.at += secs(120);
    let start = world.at;
    for number in 0..calls {
        world.at = start + secs(60) * number / calls.max(1);
        world.ask_first(&format!("ns/used{number}"));
        world.run_until(world.at, |_| issued_in(Duration::ZERO));
    }
    world.at = start + secs(60) - millis(1);
    world
}

fn enqueue(world: &mut World, count: u32) {
    (0..count).for_each(|number| world.ask_first(&format!("ns{}/o{number}", number % 3)));
}

/// Waits for a grant and ends it with a throttle. Returns the wait.
fn throttle(world: &mut World, retry_after: u64) -> Duration {
    world.request("a", "ns/throttled", None, Some(Duration::ZERO));
    let since = world.at;
    let granted = loop {
        if let Some(grant) = world.budgets.grant(world.now(), 1).pop() {
            break grant;
        }
        world.at += world.budgets.next_grant_in(world.now()).unwrap();
    };
    let outcome = CallOutcome::Throttled { retry_after: Some(secs(retry_after)) };
    world.budgets.finish(&granted.key, outcome, world.now());
    world.at - since
}

fn shared_use(world: &World) -> Option<SharedUse> {
    world.budgets.state(&account("a"), world.now()).shared_use
}

/// Returns the calls that the account makes in each of the next minutes, with a queue that never ends.
fn calls_in_minutes(world: &mut World, minutes: u64) -> Vec<usize> {
    enqueue(world, 120 * u32::try_from(minutes).unwrap());
    let start = world.at;
    world.grants.clear();
    world.run_until(start + secs(60 * minutes), |_| issued_in(millis(50)));
    let minute = |at: Duration| usize::try_from((at - start).as_secs() / 60).unwrap();
    let mut calls = vec![0; usize::try_from(minutes).unwrap()];
    world.grants.iter().for_each(|(at, _)| calls[minute(*at)] += 1);
    calls
}

#[test]
fn p06_a_throttle_is_by_others_only_if_the_sustained_window_is_not_spent() {
    for (windows, calls, expected) in [
        (&MINUTE[..], 30, Some(30 * 60)),
        // one in ten minutes
        (&MINUTE[..], 0, Some(60)),
        // this call is the last of the own window
        (&[(30, Duration::from_mins(1))][..], 29, None),
        // too few calls to pace
        (&[(9, Duration::from_mins(1))][..], 5, None),
        // nothing to compare with
        (&[][..], 30, None),
    ] {
        let mut world = used(calls);
        world.budgets.configure(&account("a"), limits(windows, 10));
        throttle(&mut world, 1);
        assert_eq!(shared_use(&world).map(|used| used.calls_per_hour), expected, "{calls} of {windows:?}");
    }
}

#[test]
fn p06_one_throttle_in_an_hour_costs_the_time_that_it_asks_for() {
    let mut world = World::accepted(&limits(&MINUTE, 10));
    for _ in 0..2 {
        enqueue(&mut world, 2);
        let granted = world.budgets.grant(world.now(), 2);
        for grant in &granted {
            let outcome = CallOutcome::Throttled { retry_after: Some(secs(3)) };
            world.budgets.finish(&grant.key, outcome, world.now());
        }
        assert_eq!((granted.len(), shared_use(&world)), (2, None), "calls that were made together are one throttle");
        let minutes = calls_in_minutes(&mut world, 2);
        assert!(minutes[0] >= 100, "{minutes:?}");
        world.at += secs(3601);
    }
}

#[test]
fn p06_after_a_second_throttle_an_account_alone_is_at_its_limits_within_eight_minutes() {
    for (calls, seed) in [(0, 1), (30, 2), (110, 3), (0, 4), (30, 5)] {
        let mut world = used(calls);
        world.budgets.set_seed(&account("a"), seed);
        throttle(&mut world, 1);
        let minutes = calls_in_minutes(&mut world, 10);
        assert!(minutes[0] <= 90, "{calls} were in use: {minutes:?}");
        assert!(minutes[8..].iter().all(|calls| *calls >= 105), "{calls} were in use: {minutes:?}");
        assert!(shared_use(&world).is_none());
    }
}

#[test]
fn p06_the_pace_follows_what_was_in_use_and_returns_to_it_at_once() {
    let mut world = used(60);
    throttle(&mut world, 1);
    let minutes = calls_in_minutes(&mut world, 8);
    assert!((35..=60).contains(&minutes[0]) && (45..=70).contains(&minutes[2]), "{minutes:?}");
    assert!(minutes.is_sorted(), "{minutes:?}");
}

#[test]
fn p06_throttles_in_a_row_lengthen_the_wait_and_a_token_ends_it() {
    let mut world = used(60);
    world.budgets.set_seed(&account("a"), 7);
    let waits: Vec<_> = (0..14).map(|_| throttle(&mut world, 1)).collect();
    assert!(waits[..3].iter().all(|wait| *wait < secs(10)), "{waits:?}");
    assert!(waits[12..].iter().all(|wait| (secs(150)..=secs(301)).contains(wait)), "{waits:?}");
    world.ask_first("ns/issued");
    world.run_until(world.at + secs(400), |_| issued_in(Duration::ZERO));
    // the rate is one call in a window by now, and twice that while an urgent request waits
    assert!(throttle(&mut world, 1) < secs(61), "the token ended the row");
    assert!(throttle(&mut world, 1) < secs(91), "the wait is one of the first");
}

#[test]
fn p06_an_expiring_token_waits_for_half_of_its_time_at_most() {
    for (left, wait) in [(1000, 41), (40, 20), (6, 3), (1, 1)] {
        let mut world = used(0);
        throttle(&mut world, 1);
        world.run_until(world.at + secs(70), |_| issued_in(Duration::ZERO));
        // a call has just been made: the pace is about one call in a minute
        let start = world.at;
        world.grants.clear();
        world.request("a", "ns/alive", Some(secs(left)), None);
        world.run_until(start + secs(70), |_| issued_in(Duration::ZERO));
        let waited = world.granted_at("ns/alive").unwrap() - start;
        assert!(waited <= secs(wait), "{left} s left: {waited:?}");
    }
}

#[test]
fn p20_a_reduced_rate_outlasts_the_process() {
    let mut world = used(60);
    throttle(&mut world, 1);
    world.at += secs(30);
    let saved = shared_use(&world).unwrap();
    let known = calls_in_minutes(&mut world, 3);
    let mut next = World::accepted(&limits(&MINUTE, 10));
    next.budgets.restore_shared_use(&account("a"), saved, next.now());
    let restored = calls_in_minutes(&mut next, 3);
    for (known, restored) in known.iter().zip(&restored) {
        assert!(known.abs_diff(*restored) <= 4, "{known} and {restored}");
    }
    // an older one doesn't replace what is known
    let kept = shared_use(&next);
    next.budgets.restore_shared_use(&account("a"), SharedUse { ago: secs(900), ..saved }, next.now());
    assert_eq!(shared_use(&next), kept);
}

#[test]
fn p06_an_account_is_oversubscribed_when_it_needs_more_than_others_leave() {
    let oversubscribed = |world: &World| world.budgets.state(&account("a"), world.now()).oversubscribed;
    let mut world = used(60);
    throttle(&mut world, 1);
    assert!(!oversubscribed(&world), "one throttle shows little");
    for _ in 0..6 {
        throttle(&mut world, 1);
    }
    assert!(oversubscribed(&world), "throttled again and again");
    world.at += secs(3601);
    assert!(!oversubscribed(&world), "it has passed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn p06_the_rate_is_never_above_the_limits_never_below_one_call_a_window_and_returns(
        seed in any::<u64>(),
        requests in 10..200_u32,
        period in prop_oneof![Just(secs(1)), Just(secs(60)), Just(secs(3600))],
        saved in proptest::collection::vec((0..100_000_u32, 0..7_200_u64, 0..9_u32), 1..4),
        after in 0..100_000_u64,
    ) {
        let window = limits(&[(requests, period)], 1);
        let mut rate = super::super::shared_rate::SharedRate::default();
        rate.set_seed(seed);
        let start = Instant::now();
        for (calls_per_hour, ago, level) in saved {
            rate.restore(SharedUse { calls_per_hour, ago: secs(ago), level }, &window, start);
        }
        let least = period / requests;
        if let Some(each) = rate.time_per_request(&window, start + secs(after)) {
            prop_assert!(each + millis(1) >= least && each <= period + millis(1), "{each:?} for {window:?}");
        }
        // eight times the scale, for each of three doublings
        let back = period.clamp(secs(60), secs(3600)) * 8 * 8;
        prop_assert!(rate.time_per_request(&window, start + back).is_none());
    }
}
