//! Order of grants: urgency, namespaces, expiries, accounts.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One call per second, answered at once.
fn one_a_second() -> Limits {
    limits(&[(1, secs(1))], 1)
}

#[test]
fn p06_urgent_goes_before_first_issues_before_the_rest() {
    let mut world = World::accepted(&limits(&[(10, secs(10))], 1));
    world.request("a", "ns/rest", Some(secs(9_000)), Some(secs(8_000)));
    world.request("a", "ns/first", None, None);
    world.request("a", "ns/lost-token", None, None);
    world.request("a", "ns/urgent", Some(secs(7_000)), Some(Duration::ZERO));
    world.request("a", "ns/expiring", Some(secs(1)), Some(secs(6_000)));
    world.run_until(world.at + secs(60), |_| issued_in(Duration::ZERO));
    assert_eq!(world.names(), ["ns/expiring", "ns/urgent", "ns/first", "ns/lost-token", "ns/rest"]);
}

#[test]
fn p06_within_a_namespace_the_earliest_expiry_goes_first_then_the_order_of_asking() {
    let mut world = World::accepted(&one_a_second());
    for (name, expires_in) in [("x", 9_500), ("y", 9_500), ("late", 9_000), ("early", 8_000)] {
        world.request("a", &format!("ns/{name}"), Some(secs(expires_in)), None);
    }
    world.run_until(world.at + secs(60), |_| issued_in(Duration::ZERO));
    assert_eq!(world.names(), ["ns/early", "ns/late", "ns/x", "ns/y"]);
}

#[test]
fn p06_waiting_objects_become_urgent_by_time_without_another_ask() {
    // A reserve is kept of the window, and only the urgent may have it.
    let mut world = World::accepted(&limits(&[(10, secs(3600))], 1));
    (0..20).for_each(|number| world.ask_first(&format!("ns/first{number}")));
    world.request("a", "ns/by-time", Some(secs(100_000)), Some(secs(300)));
    let start = world.at;
    world.run_until(start + secs(299), |_| issued_in(Duration::ZERO));
    assert_eq!(world.grants.len(), 9);
    world.run_until(start + secs(301), |_| issued_in(Duration::ZERO));
    assert_eq!(world.granted_at("ns/by-time"), Some(start + secs(300)));
}

#[test]
fn p06_waiting_objects_become_urgent_when_the_queue_needs_longer_than_they_have() {
    let mut world = World::accepted(&one_a_second());
    world.request("a", "ns/renewal", Some(secs(50)), Some(secs(49)));
    (0..30).for_each(|number| world.ask_first(&format!("ns/few{number}")));
    let start = world.at;
    world.run_until(start + secs(4), |_| issued_in(Duration::ZERO));
    assert_eq!(world.granted_at("ns/renewal"), None, "the queue is done before it expires");
    (0..30).for_each(|number| world.ask_first(&format!("ns/more{number}")));
    world.run_until(start + secs(6), |_| issued_in(Duration::ZERO));
    assert!(world.granted_at("ns/renewal").is_some());
}

#[test]
fn p06_the_second_class_keeps_a_tenth_and_the_urgent_have_the_rest() {
    let mut world = World::accepted(&one_a_second());
    (0..300).for_each(|number| world.request("a", &format!("u/o{number}"), Some(secs(9)), Some(secs(0))));
    (0..300).for_each(|number| world.ask_first(&format!("f/o{number}")));
    world.run_until(world.at + secs(200), |_| issued_in(Duration::ZERO));
    let firsts = world.names().iter().filter(|name| name.starts_with("f/")).count();
    assert_eq!((world.grants.len(), firsts), (200, 20));
}

#[test]
fn p06_the_second_class_gets_its_tenth_of_a_window_of_which_the_urgent_use_all() {
    let mut world = World::accepted(&limits(&[(10, secs(60))], 1));
    (0..500).for_each(|number| world.request("a", &format!("u/o{number}"), Some(secs(9)), Some(secs(0))));
    world.ask_first("f/first");
    let start = world.at;
    world.run_until(start + secs(600), |_| issued_in(Duration::ZERO));
    let granted_at = world.granted_at("f/first").expect("not starved");
    assert!(granted_at <= start + secs(61), "{granted_at:?}");
}

#[test]
fn p06_first_issues_leave_a_tenth_of_a_slow_window_to_renewals() {
    let mut world = World::accepted(&limits(&[(100, secs(3600))], 4));
    (0..1000).for_each(|number| world.ask_first(&format!("bulk/o{number}")));
    let start = world.at;
    world.run_until(start + secs(300), |_| issued_in(millis(200)));
    assert_eq!(world.grants.len(), 90);
    world.request("a", "ns/renewal", Some(secs(600)), Some(Duration::ZERO));
    world.run_until(start + secs(301), |_| issued_in(millis(200)));
    assert_eq!(world.granted_at("ns/renewal"), Some(start + secs(300)));
}

#[test]
fn p06_one_object_beside_five_thousand_of_another_namespace_goes_next() {
    for first in [true, false] {
        let mut world = World::accepted(&limits(&[(5, secs(1))], 4));
        let expiry = (!first).then_some(secs(36_000));
        (0..5000).for_each(|number| world.request("a", &format!("big/o{number}"), expiry, None));
        world.run_until(world.at + secs(10), |_| issued_in(millis(100)));
        let before = world.at;
        world.request("a", "small/o", expiry.map(|expiry| expiry * 2), None);
        world.run_until(before + secs(3), |_| issued_in(millis(100)));
        let waited = world.granted_at("small/o").expect("it was granted") - before;
        assert!(waited <= secs(2), "first={first}: {waited:?}");
    }
}

#[test]
fn p06_a_namespace_that_comes_back_at_once_does_not_push_in() {
    let mut world = World::accepted(&one_a_second());
    for number in 0..10 {
        world.request("a", &format!("patient{number}/o"), Some(secs(50_000)), None);
    }
    for _ in 0..15 {
        world.request("a", "pushy/o", Some(secs(10_000)), None);
        world.run_until(world.at + secs(1), |_| issued_in(Duration::ZERO));
    }
    let patient = world.names().iter().filter(|name| name.starts_with("patient")).count();
    assert_eq!(patient, 10, "{:?}", world.names());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn p06_namespaces_that_wait_are_served_in_turns(sizes in proptest::collection::vec(1..30_u32, 1..8)) {
        let mut world = World::accepted(&one_a_second());
        for (namespace, size) in sizes.iter().enumerate() {
            (0..*size).for_each(|number| world.ask_first(&format!("ns{namespace}/o{number}")));
        }
        world.run_until(world.at + secs(1000), |_| issued_in(Duration::ZERO));
        let mut left: BTreeMap<String, u32> =
            sizes.iter().enumerate().map(|(namespace, size)| (format!("ns{namespace}"), *size)).collect();
        let mut served: BTreeMap<String, u32> = BTreeMap::new();
        for (_, grant) in &world.grants {
            let namespace = grant.key.namespace.to_string();
            let mine = served.entry(namespace.clone()).or_default();
            *mine += 1;
            let mine = *mine;
            for other in left.iter().filter(|(_, left)| **left > 0).map(|(name, _)| name) {
                let theirs = served.get(other).copied().unwrap_or_default();
                prop_assert!(mine <= theirs + 1, "{namespace} has {mine}, {other} waits with {theirs}");
            }
            *left.get_mut(&namespace).unwrap() -= 1;
        }
        prop_assert!(left.values().all(|left| *left == 0));
    }

    #[test]
    fn p06_no_stream_of_urgent_asks_starves_the_second_class(
        namespaces in 1..20_usize,
        urgent_each_second in 1..12_u32,
        latency in 0..400_u64,
    ) {
        let limits = limits(&[(5, secs(1)), (200, secs(60))], 4);
        let mut world = World::accepted(&limits);
        (0..40).for_each(|number| world.ask_first(&format!("f{}/o{number}", number % 4)));
        let start = world.at;
        for second in 0..300_u32 {
            for number in 0..urgent_each_second {
                let namespace = (second + number) as usize % namespaces;
                world.request("a", &format!("u{namespace}/{second}-{number}"), Some(secs(30)), Some(secs(0)));
            }
            world.run_until(start + secs(u64::from(second) + 1), |_| issued_in(millis(latency)));
        }
        let firsts = world.names().iter().filter(|name| name.starts_with('f')).count();
        let all = world.grants.len();
        prop_assert!(firsts == 40 || firsts * 10 >= all - 10, "{firsts} of {all}");
        world.assert_windows_held(&limits);
    }
}

#[test]
fn p06_fifty_urgent_renewals_beside_a_thousand_first_issues_come_in_time() {
    for namespaces in [1, 7, 1000] {
        let limits = limits(&[(5, secs(1))], 4);
        let mut world = World::accepted(&limits);
        let start = world.at;
        (0..1000).for_each(|number| world.ask_first(&format!("bulk{}/o{number}", number % namespaces)));
        for number in 0..50 {
            let urgent_in = millis(1200 * number);
            world.request("a", &format!("ns/o{number}"), Some(urgent_in + secs(60)), Some(urgent_in));
        }
        world.run_until(start + secs(30), |_| issued_in(millis(150)));
        let early = world.names().iter().filter(|name| name.starts_with("bulk")).count();
        world.run_until(start + secs(400), |_| issued_in(millis(150)));

        for number in 0..50_u64 {
            let by = start + millis(1200 * number) + secs(60) - secs(30);
            let at = world.granted_at(&format!("ns/o{number}")).expect("renewed");
            assert!(at <= by, "renewal {number} at {at:?}, needed by {by:?}");
        }
        assert!(early >= 10, "first issues went on: {early}");
        assert_eq!(world.grants.len(), 1050, "and all were served");
        world.assert_windows_held(&limits);
    }
}

#[test]
fn p06_a_second_ask_updates_in_place_and_keeps_its_place_in_time() {
    let mut world = World::accepted(&one_a_second());
    for number in 0..4 {
        world.ask_first(&format!("ns{number}/o"));
        world.at += secs(1);
    }
    world.request("a", "ns0/o", None, Some(secs(9_000)));
    assert_eq!(world.budgets.queue_depth(), 4);
    let granted = world.budgets.grant(world.now(), 1);
    assert_eq!((granted[0].key.to_string(), granted[0].waited), ("ns0/o".to_owned(), secs(4)));
}

#[test]
fn p06_an_ask_on_another_account_moves_the_object() {
    let mut world = World::with_accounts(&["a", "b"], &one_a_second());
    world.ask_first("ns/o");
    world.at += secs(5);
    world.request("b", "ns/o", None, None);
    let granted = world.budgets.grant(world.now(), 10);
    assert_eq!(granted.len(), 1);
    assert_eq!((&granted[0].account, granted[0].waited), (&account("b"), secs(5)));

    world.request("b", "ns/o", None, None);
    assert!(world.budgets.granted(&key("ns/o")), "it keeps its grant");
    world.request("a", "ns/o", None, None);
    assert!(world.budgets.waiting(&key("ns/o")));
    assert_eq!(world.budgets.state(&account("b"), world.now()).in_flight, 0, "the grant went back");
}

#[test]
fn p06_accounts_share_the_room_and_a_throttled_one_holds_up_no_other() {
    let names = ["a", "b", "c"];
    let mut world = World::with_accounts(&names, &limits(&[], 100));
    for name in names {
        world.prove(name);
    }
    for name in names {
        let count = if name == "a" { 1000 } else { 20 };
        (0..count).for_each(|number| world.request(name, &format!("ns/{name}{number}"), None, None));
    }
    let count = |grants: &[Grant], name| grants.iter().filter(|grant| grant.account == account(name)).count();
    let granted = world.budgets.grant(world.now(), 9);
    assert_eq!(names.map(|name| count(&granted, name)), [3, 3, 3]);

    let stop = CallOutcome::Throttled { retry_after: Some(secs(600)) };
    let of_a = granted.iter().find(|grant| grant.account == account("a")).unwrap();
    world.budgets.finish(&of_a.key, stop, world.now());
    let granted = world.budgets.grant(world.now(), 8);
    assert_eq!(names.map(|name| count(&granted, name)), [0, 4, 4]);
}

#[test]
fn p06_a_wall_clock_that_jumps_changes_the_order_but_no_window() {
    let limits = limits(&[(2, secs(10))], 2);
    let mut world = World::accepted(&limits);
    for number in 0..20_u64 {
        world.request("a", &format!("ns/o{number}"), Some(secs(5_000 + number)), Some(secs(3_000 + number)));
    }
    let start = world.at;
    for (until, jump) in [(5, 86_400 * 365), (25, -86_400 * 900), (45, 3_000), (120, 0)] {
        world.run_until(start + secs(until), |_| issued_in(millis(10)));
        world.jumped += TimeDelta::seconds(jump);
    }
    assert_eq!(world.grants.len(), 20);
    world.assert_windows_held(&limits);
}
