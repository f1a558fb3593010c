//! Throttles, credentials and demand of one account.

use super::*;

fn state(world: &World) -> super::super::AccountState {
    world.budgets.state(&account("a"), world.now())
}

/// Grants one and ends it at once.
fn call(world: &mut World, outcome: CallOutcome) {
    let granted = world.budgets.grant(world.now(), 1);
    assert_eq!(granted.len(), 1, "nothing was granted at {:?}", world.at);
    world.budgets.finish(&granted[0].key, outcome, world.now());
}

fn bulk(world: &mut World, count: u32) {
    (0..count).for_each(|number| world.ask_first(&format!("ns/o{number}")));
}

#[test]
fn p07_back_off_doubles_from_a_second_to_five_minutes_and_ends_with_a_token() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        call(&mut world, CallOutcome::Throttled { retry_after: None });
        assert_eq!(state(&world).throttled_for, Some(secs(wait)));
        assert!(world.budgets.grant(world.now(), 9).is_empty());
        assert_eq!(world.budgets.next_grant_in(world.now()), Some(secs(wait)));
        world.at += secs(wait);
    }
    call(&mut world, CallOutcome::Issued);
    call(&mut world, CallOutcome::Throttled { retry_after: Some(Duration::ZERO) });
    assert_eq!(state(&world).throttled_for, Some(secs(1)), "a Retry-After of 0 s is none");
}

#[test]
fn p07_while_a_token_lives_a_back_off_takes_no_more_than_a_quarter_of_its_time() {
    // seconds that the tokens have left; the wait that the sixth throttle in a row chooses (32 s), in ms
    let cases: [(&[u64], u64); 6] =
        [(&[1000], 32_000), (&[40], 10_000), (&[1000, 20, 60], 5_000), (&[2], 1_000), (&[], 32_000), (&[0], 32_000)];
    for (left, wait) in cases {
        let mut world = World::accepted(&limits(&[], 4));
        bulk(&mut world, 50);
        for wait in [1, 2, 4, 8, 16] {
            call(&mut world, CallOutcome::Throttled { retry_after: None });
            world.at += secs(wait);
        }
        call(&mut world, CallOutcome::Throttled { retry_after: None });
        for (number, left) in left.iter().enumerate() {
            world.request("a", &format!("ns/alive{number}"), Some(secs(*left)), Some(Duration::ZERO));
        }
        assert_eq!(state(&world).throttled_for, Some(millis(wait)), "{left:?}");
        assert!(world.budgets.grant(world.now(), 9).is_empty(), "{left:?}");
        assert_eq!(world.budgets.next_grant_in(world.now()), Some(millis(wait)), "{left:?}");
        world.at += millis(wait);
        assert_eq!(world.budgets.grant(world.now(), 10).len(), 1, "{left:?}: one asks first");
    }
    // a Retry-After applies whatever the expiries are
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    world.request("a", "ns/alive", Some(secs(20)), None);
    call(&mut world, CallOutcome::Throttled { retry_after: Some(secs(60)) });
    assert_eq!(state(&world).throttled_for, Some(secs(60)));
}

#[test]
fn each_second_under_a_throttle_is_told_once() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    let reported = |world: &mut World, expected: u64| {
        let account = (expected > 0).then(|| (account("a"), secs(expected)));
        assert_eq!(world.budgets.take_throttled(world.now()), account.into_iter().collect::<Vec<_>>());
    };
    let granted = world.budgets.grant(world.now(), 4);
    let stop = |wait| CallOutcome::Throttled { retry_after: Some(secs(wait)) };
    reported(&mut world, 0);
    world.budgets.finish(&granted[0].key, stop(10), world.now());
    reported(&mut world, 0);
    world.at += secs(4);
    reported(&mut world, 4);
    // a second one that overlaps makes it longer, not double
    world.budgets.finish(&granted[1].key, stop(10), world.now());
    world.at += secs(3);
    reported(&mut world, 3);
    world.at += secs(100);
    reported(&mut world, 7);
    world.at += secs(100);
    reported(&mut world, 0);
    // two that were not measured, and a pause between them
    world.budgets.finish(&granted[2].key, stop(5), world.now());
    world.at += secs(50);
    world.budgets.finish(&granted[3].key, stop(6), world.now());
    world.at += secs(2);
    reported(&mut world, 7);
}

/// The tokens that wait are tried again and again; none of that may hold up others, or a later leader.
#[test]
fn p07_a_back_off_cut_short_doubles_no_further_and_ends_with_another_answer() {
    let mut world = World::accepted(&limits(&[], 4));
    world.request("a", "ns/alive", Some(secs(40)), Some(Duration::ZERO));
    let mut waits = Vec::new();
    while world.at < secs(3600 + 38) {
        let left = secs(3600 + 40) - world.at;
        call(&mut world, CallOutcome::Throttled { retry_after: None });
        world.request("a", "ns/alive", Some(left), Some(Duration::ZERO));
        let wait = state(&world).throttled_for.unwrap();
        assert!(wait >= secs(1) && wait <= (left / 4).max(secs(1)), "{wait:?} with {left:?} left");
        waits.push(wait);
        assert!(world.budgets.grant(world.now(), 9).is_empty(), "after {waits:?}");
        world.at += wait;
    }
    assert!((8..=16).contains(&waits.len()), "{waits:?}");
    // no token is valid any more: the back-off is not shortened
    bulk(&mut world, 9);
    world.at += secs(2);
    call(&mut world, CallOutcome::Throttled { retry_after: None });
    let own = state(&world).throttled_for.unwrap();
    assert!(own <= secs(8), "{own:?} after {waits:?}");

    world.request("a", "ns/alive", Some(secs(5)), Some(Duration::ZERO));
    world.at += millis(1250);
    call(&mut world, CallOutcome::Issued);
    assert_eq!(state(&world).throttled_for, None, "the provider has given way");
    assert_eq!(world.budgets.grant(world.now(), 9).len(), 4, "for all");
}

#[test]
fn p07_a_probe_for_a_short_life_begins_a_wait_of_its_own() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    for wait in [1, 2, 4, 8, 16] {
        call(&mut world, CallOutcome::Throttled { retry_after: None });
        world.at += secs(wait);
    }
    call(&mut world, CallOutcome::Throttled { retry_after: None });
    world.request("a", "ns/alive", Some(secs(16)), Some(Duration::ZERO));
    assert_eq!(state(&world).throttled_for, Some(secs(4)));
    world.at += secs(4);
    call(&mut world, CallOutcome::Throttled { retry_after: None });
    world.request("a", "ns/alive", Some(secs(12)), Some(Duration::ZERO));
    assert_eq!(state(&world).throttled_for, Some(secs(3)), "not at once again");
}

#[test]
fn p07_answers_to_calls_already_under_way_neither_double_the_back_off_nor_end_it() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    let granted = world.budgets.grant(world.now(), 4);
    for grant in &granted[..3] {
        world.budgets.finish(&grant.key, CallOutcome::Throttled { retry_after: None }, world.now());
    }
    assert_eq!(state(&world).throttled_for, Some(secs(1)));
    world.budgets.finish(&granted[3].key, CallOutcome::Issued, world.now());
    assert_eq!(state(&world).throttled_for, Some(secs(1)), "it began before the throttle");

    world.at += secs(1);
    let probe = world.budgets.grant(world.now(), 10);
    assert_eq!(probe.len(), 1, "after a throttle, one at a time");
    world.budgets.finish(&probe[0].key, CallOutcome::Failed, world.now());
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 4, "until another answer came");
}

#[test]
fn p07_the_longest_retry_after_counts_and_is_cut_at_a_day() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    let granted = world.budgets.grant(world.now(), 4);
    for (grant, wait) in granted.iter().zip([50, 20]) {
        world.budgets.finish(&grant.key, CallOutcome::Throttled { retry_after: Some(secs(wait)) }, world.now());
    }
    assert_eq!(state(&world).throttled_for, Some(secs(50)));
    let for_ever = CallOutcome::Throttled { retry_after: Some(Duration::MAX) };
    world.budgets.finish(&granted[2].key, for_ever, world.now());
    assert_eq!(state(&world).throttled_for, Some(secs(86_400)));
}

#[test]
fn p07_an_unproven_credential_is_tried_by_one_object_at_a_time() {
    let mut world = World::with_accounts(&["a"], &limits(&[], 4));
    bulk(&mut world, 50);
    for outcome in [CallOutcome::Failed, CallOutcome::NotCalled, CallOutcome::Issued] {
        let granted = world.budgets.grant(world.now(), 10);
        assert_eq!(granted.len(), 1);
        assert!(!state(&world).accepted);
        world.budgets.finish(&granted[0].key, outcome, world.now());
    }
    assert!(state(&world).accepted);
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 4);
}

#[test]
fn p07_a_refused_credential_locks_its_account_for_a_quarter_of_an_hour() {
    let mut world = World::with_accounts(&["a"], &limits(&[], 4));
    bulk(&mut world, 50);
    call(&mut world, CallOutcome::CredentialRejected);
    assert_eq!(state(&world).blocked_for, Some(secs(900)));
    world.at += secs(899);
    assert!(world.budgets.grant(world.now(), 10).is_empty());
    world.at += secs(1);
    call(&mut world, CallOutcome::CredentialRejected);
    assert!(world.budgets.grant(world.now(), 10).is_empty());
}

#[test]
fn p07_a_throttle_and_a_lock_survive_an_account_that_goes_and_comes_back() {
    let limits = limits(&[(2, secs(3600))], 4);
    let cases = [
        (CallOutcome::Throttled { retry_after: Some(secs(60)) }, secs(60)),
        (CallOutcome::CredentialRejected, secs(900)),
    ];
    for (outcome, wait) in cases {
        let mut world = World::with_accounts(&["a"], &limits);
        bulk(&mut world, 5);
        call(&mut world, outcome);
        world.budgets.retire(&account("a"));
        assert_eq!(world.budgets.queue_depth(), 0);
        assert!(!world.budgets.waiting(&key("ns/o3")));
        assert!(world.budgets.grant(world.now(), 10).is_empty());

        world.budgets.configure(&account("a"), limits.clone());
        bulk(&mut world, 5);
        assert!(world.budgets.grant(world.now(), 10).is_empty());
        assert_eq!(world.budgets.next_grant_in(world.now()), Some(wait));
        world.at += wait;
        call(&mut world, CallOutcome::Issued);
        assert!(world.budgets.grant(world.now(), 10).is_empty(), "the window remembers the first call");

        world.budgets.retire(&account("a"));
        world.at += secs(7200);
        world.budgets.grant(world.now(), 10);
        assert!(world.budgets.accounts.is_empty(), "then nothing is left of it");
    }
}

#[test]
fn p06_an_account_without_limits_grants_nothing_until_it_is_configured() {
    let mut world = World::with_accounts(&[], &Limits::default());
    bulk(&mut world, 2);
    assert!(world.budgets.grant(world.now(), 10).is_empty());
    assert_eq!(world.budgets.next_grant_in(world.now()), None);
    world.budgets.configure(&account("a"), limits(&[], 1));
    assert_eq!(world.budgets.next_grant_in(world.now()), Some(Duration::ZERO));
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 1);
}

#[test]
fn p06_an_account_is_oversubscribed_when_more_than_four_fifths_of_its_budget_are_wanted() {
    // 10 minutes at 1 request per second.
    let cases =
        [("below", 470, 0, false), ("waiting", 0, 490, true), ("called", 490, 0, true), ("both", 300, 190, true)];
    for (name, called, waiting, expected) in cases {
        let mut world = World::accepted(&limits(&[(60, secs(60))], 4));
        bulk(&mut world, called);
        let start = world.at;
        world.run_until(start + secs(599), |_| issued_in(Duration::ZERO));
        assert_eq!(world.grants.len(), called as usize, "{name}");
        bulk(&mut world, waiting);
        assert_eq!(state(&world).oversubscribed, expected, "{name}");
        (0..waiting).for_each(|number| world.budgets.withdraw(&key(&format!("ns/o{number}"))));
        world.at += secs(601);
        assert!(!state(&world).oversubscribed, "{name}: it has passed");
    }
}

#[test]
fn p07_what_an_earlier_life_wrote_down_of_a_credential_counts_unless_more_is_known() {
    let mut world = World::with_accounts(&["a"], &limits(&[], 4));
    bulk(&mut world, 50);
    world.budgets.accept_credential(&account("a"));
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 4, "no proof is asked for again");

    let mut world = World::with_accounts(&["a"], &limits(&[], 4));
    bulk(&mut world, 50);
    call(&mut world, CallOutcome::CredentialRejected);
    world.budgets.accept_credential(&account("a"));
    assert!(!state(&world).accepted, "what it says is older than the refusal");
}

#[test]
fn p07_a_lock_or_a_throttle_that_was_written_down_holds_the_account() {
    for (block, wait) in [(CredentialBlock::Rejected, 400), (CredentialBlock::LoginsUsedUp, 90)] {
        let mut world = World::with_accounts(&["a"], &limits(&[], 4));
        bulk(&mut world, 50);
        world.budgets.block_credential(&account("a"), block, secs(wait), world.now());
        world.budgets.block_credential(&account("a"), block, secs(1), world.now());
        assert_eq!((state(&world).credential_block, state(&world).blocked_for), (Some(block), Some(secs(wait))));
        assert!(world.budgets.grant(world.now(), 10).is_empty());
        world.at += secs(wait);
        assert_eq!(world.budgets.grant(world.now(), 10).len(), 1);
    }
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    world.budgets.throttle(&account("a"), secs(70), world.now());
    assert_eq!(state(&world).throttled_for, Some(secs(70)));
    assert!(world.budgets.grant(world.now(), 10).is_empty());
    world.at += secs(70);
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 1, "then one asks first");
}

#[test]
fn p07_a_refusal_while_the_credential_is_proven_is_the_objects_until_another_object_has_one_too() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    let bad = key("ns/bad");
    world.ask_first("ns/bad");
    let is_failure = |world: &World, key: &ObjectKey| world.budgets.is_credential_failure(&account("a"), key);
    assert!(!is_failure(&world, &bad), "it is proven");
    let granted = world.budgets.grant(world.now(), 2);
    world.budgets.finish(&granted[0].key, CallOutcome::CredentialUnverified, world.now());
    assert!(!state(&world).accepted);
    assert!(!is_failure(&world, &granted[0].key), "the same VideoAccessToken shows nothing new");
    assert!(is_failure(&world, &granted[1].key), "another does");
    world.budgets.finish(&granted[1].key, CallOutcome::Issued, world.now());
    assert!(state(&world).accepted, "it was the object");
    assert!(!is_failure(&world, &bad));
}

#[test]
fn p07_a_back_off_that_was_cut_short_ends_with_the_first_good_answer() {
    let mut world = World::accepted(&limits(&[], 4));
    bulk(&mut world, 50);
    for wait in [1, 2, 4, 8, 16, 32, 64, 128] {
        call(&mut world, CallOutcome::Throttled { retry_after: None });
        world.at += secs(wait);
    }
    call(&mut world, CallOutcome::Throttled { retry_after: None });
    world.request("a", "ns/alive", Some(secs(20)), Some(Duration::ZERO));
    assert_eq!((state(&world).throttled_for, state(&world).retry_after_left), (Some(secs(5)), None));
    world.at += secs(5);
    call(&mut world, CallOutcome::Issued);
    assert_eq!(state(&world).throttled_for, None);
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 4, "the rest needn't wait out the 256 s");

    call_after(&mut world, CallOutcome::Throttled { retry_after: Some(secs(60)) });
    assert_eq!(state(&world).retry_after_left, Some(secs(60)));
}

/// Ends what is under way, and one more.
fn call_after(world: &mut World, outcome: CallOutcome) {
    world.at += secs(120);
    call(world, outcome);
}

#[test]
fn p07_an_identity_whose_refusal_time_heals_is_tried_after_5_s_doubling_to_5_min() {
    let mut world = World::with_accounts(&["a"], &limits(&[], 4));
    bulk(&mut world, 50);
    for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
        call(&mut world, CallOutcome::IdentityRefused { heals: true });
        assert_eq!(
            (state(&world).blocked_for, state(&world).credential_block),
            (Some(secs(wait)), Some(CredentialBlock::IdentityRefused))
        );
        let until = state(&world).blocked_until;
        world.at += secs(wait) - millis(1);
        assert!(world.budgets.grant(world.now(), 9).is_empty());
        assert_eq!(state(&world).blocked_until, until, "the same time while it lasts");
        world.at += millis(1);
    }
    call(&mut world, CallOutcome::Issued);
    assert!(state(&world).has_worked && state(&world).accepted);
    // those that were under way together are one refusal
    let granted = world.budgets.grant(world.now(), 3);
    for grant in &granted {
        world.budgets.finish(&grant.key, CallOutcome::IdentityRefused { heals: true }, world.now());
    }
    assert_eq!((granted.len(), state(&world).blocked_for), (3, Some(secs(5))));
    assert!(state(&world).has_worked && !state(&world).accepted, "it has, whatever is said of it since");
}

#[test]
fn p07_whoever_asks_for_another_try_of_an_identity_gets_it_5_s_after_its_refusal() {
    for heals in [false, true] {
        let mut world = World::with_accounts(&["a"], &limits(&[], 4));
        bulk(&mut world, 50);
        for _ in 0..4 {
            call(&mut world, CallOutcome::IdentityRefused { heals });
            world.at += secs(1);
            // however often it is asked for
            for _ in 0..3 {
                world.budgets.try_again(&account("a"), world.now());
                assert_eq!(state(&world).blocked_for, Some(secs(4)), "{heals}");
                assert!(world.budgets.grant(world.now(), 9).is_empty());
            }
            world.at += secs(4);
        }
        call(&mut world, CallOutcome::IdentityRefused { heals });
        let wait = if heals { 5 } else { 900 };
        assert_eq!(state(&world).blocked_for, Some(secs(wait)), "the back-off starts again");
        world.at += secs(6);
        world.budgets.try_again(&account("a"), world.now());
        assert_eq!(world.budgets.grant(world.now(), 9).len(), 1, "{heals}: at once");
    }
    for outcome in [CallOutcome::CredentialRejected, CallOutcome::Throttled { retry_after: Some(secs(900)) }] {
        let mut world = World::with_accounts(&["a"], &limits(&[], 4));
        bulk(&mut world, 9);
        call(&mut world, outcome);
        world.at += secs(60);
        world.budgets.try_again(&account("a"), world.now());
        assert!(world.budgets.grant(world.now(), 9).is_empty(), "{outcome:?} stays");
    }
}

#[test]
fn p04_a_queue_tells_when_its_last_request_is_served() {
    let mut world = World::accepted(&limits(&[(60, secs(60))], 4));
    assert_eq!((state(&world).waiting, state(&world).queue_drains_in), (0, Duration::ZERO));
    bulk(&mut world, 300);
    assert_eq!(state(&world).queue_drains_in, secs(300), "at the rate of the limits");
    let start = world.at;
    world.run_until(start + secs(120), |_| issued_in(Duration::ZERO));
    let (left, reported) = (state(&world).waiting, state(&world).queue_drains_in);
    assert!((1..240).contains(&left), "{left}");
    let expected = u64::try_from(left).unwrap();
    assert!(reported >= secs(expected) && reported <= secs(expected + 10), "{left} wait, {reported:?}");
    world.budgets.throttle(&account("a"), secs(100), world.now());
    assert!(state(&world).queue_drains_in >= reported + secs(90), "a throttle delays all");
}
