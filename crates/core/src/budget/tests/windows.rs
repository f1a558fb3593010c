//! Windows, slots and withdrawals under any schedule.

use super::*;
use crate::tests::cpu_time;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    GrantRequest { object: u8, expires_in: Option<u16>, urgent_in: Option<u16> },
    Withdraw { object: u8 },
    Jump { by: i32 },
}

fn event() -> impl Strategy<Value = Event> {
    let seconds = || proptest::option::of(0..600_u16);
    prop_oneof![
        12 => (0..40_u8, seconds(), seconds())
            .prop_map(|(object, expires_in, urgent_in)| Event::GrantRequest { object, expires_in, urgent_in }),
        3 => (0..40_u8).prop_map(|object| Event::Withdraw { object }),
        1 => (-100_000..100_000_i32).prop_map(|by| Event::Jump { by }),
    ]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let window =
        (1..8_u32, prop_oneof![Just(millis(300)), Just(secs(1)), Just(secs(7)), Just(secs(60)), Just(secs(90))]);
    (proptest::collection::vec(window, 0..3), 1..6_u32).prop_map(|(windows, concurrency)| limits(&windows, concurrency))
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let outcome = prop_oneof![
        10 => Just(CallOutcome::Issued),
        2 => Just(CallOutcome::Failed),
        2 => Just(CallOutcome::NotCalled),
        1 => Just(CallOutcome::Throttled { retry_after: None }),
        1 => (0..90_u64).prop_map(|s| CallOutcome::Throttled { retry_after: Some(secs(s)) }),
        1 => Just(CallOutcome::CredentialRejected),
    ];
    (0..4_000_u64, 0..=100_u64, outcome).prop_map(|(ends, percent, outcome)| Answer {
        arrives: millis(ends * percent / 100),
        ends: millis(ends),
        outcome,
    })
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {:?}: {:?}", self.arrives, self.ends, self.outcome)
    }
}

fn object(number: u8) -> String {
    format!("ns{}/o{number}", number % 5)
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::GrantRequest { object: number, expires_in, urgent_in } => {
            let after = |seconds: &Option<u16>| seconds.map(|s| secs(s.into()));
            world.unplanned = number % 4 == 0;
            world.request("a", &object(*number), after(expires_in), after(urgent_in));
        }
        Event::Withdraw { object: number } => world.budgets.withdraw(&key(&object(*number))),
        Event::Jump { by } => world.jumped += TimeDelta::seconds((*by).into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn p06_no_schedule_exceeds_a_window_or_the_concurrency_and_all_are_served(
        limits in any_limits(),
        events in proptest::collection::vec((0..2_000_u64, event()), 1..150),
        answers in proptest::collection::vec(any_answer(), 1..40),
    ) {
        let mut world = World::with_accounts(&["a"], &limits);
        let mut answers = answers.into_iter().cycle();
        let mut answer = |_: &Grant| answers.next().unwrap();
        for (after, event) in &events {
            world.run_until(world.at + millis(*after), &mut answer);
            happen(&mut world, event);
            prop_assert!(world.budgets.state(&account("a"), world.now()).in_flight <= limits.concurrency as usize);
        }
        world.run_until(world.at + secs(86_400 * 3), &mut answer);
        prop_assert_eq!(world.budgets.queue_depth(), 0, "all are served in the end");
        prop_assert!(world.budgets.states.is_empty(), "only waiting requests are kept");
        world.assert_windows_held(&limits);
    }

    #[test]
    fn p07_nothing_is_granted_inside_a_retry_after(
        answers in proptest::collection::vec((1..3_000_u64, proptest::option::of(1..100_u64)), 1..60),
    ) {
        let mut world = World::accepted(&limits(&[(5, secs(1))], 4));
        for number in 0..100 {
            world.ask_first(&format!("ns{}/o{number}", number % 7));
        }
        let mut answers = answers.into_iter().chain([(50, None)]).cycle();
        world.run_until(world.at + secs(86_400), |_| {
            let (ends, retry_after) = answers.next().unwrap();
            let retry_after = retry_after.map(secs);
            let outcome = retry_after.map_or(CallOutcome::Issued, |_| CallOutcome::Throttled { retry_after });
            Answer { arrives: millis(ends), ends: millis(ends), outcome }
        });
        prop_assert_eq!(world.budgets.queue_depth(), 0);
        for (at, grant) in &world.grants {
            let broken = world.stops.iter().find(|(from, to)| from <= at && at < to);
            prop_assert!(broken.is_none(), "{} at {at:?} inside {broken:?}", grant.key);
        }
    }
}

#[test]
fn p06_the_whole_window_is_used() {
    let cases = [
        ("one window", limits(&[(5, secs(1))], 10), 51, secs(10)),
        ("both windows", limits(&[(10, secs(1)), (60, secs(60))], 20), 54 + 54, secs(60)),
        ("no window", limits(&[], 3), 30, secs(9)),
    ];
    for (name, limits, equals, needs) in cases {
        let latency = if limits.windows.is_empty() { secs(1) } else { Duration::ZERO };
        let mut world = World::accepted(&limits);
        for number in 0..equals {
            world.ask_first(&format!("ns/o{number}"));
        }
        let start = world.at;
        world.run_until(start + secs(3600), |_| issued_in(latency));
        assert_eq!(world.grants.len(), equals, "{name}");
        let took = world.grants.iter().map(|(at, _)| *at).max().unwrap() - start;
        assert!(took <= needs + secs(5), "{name}: {took:?}");
        world.assert_windows_held(&limits);
    }
}

#[test]
fn p06_changed_limits_keep_what_is_spent() {
    let mut world = World::accepted(&limits(&[(10, secs(60))], 20));
    (0..20).for_each(|number| world.ask_first(&format!("ns/o{number}")));
    let start = world.at;
    world.run_until(start + secs(1), |_| issued_in(Duration::ZERO));
    assert_eq!(world.grants.len(), 9, "a tenth is left to the urgent");
    world.budgets.configure(&account("a"), limits(&[(14, secs(60))], 20));
    world.run_until(start + secs(2), |_| issued_in(Duration::ZERO));
    assert_eq!(world.grants.len(), 13, "four more, not fourteen");
}

#[test]
fn p06_withdrawals_and_grants_leave_nothing_behind() {
    let mut world = World::accepted(&limits(&[], 2));
    (0..4).for_each(|number| world.ask_first(&format!("ns/o{number}")));
    let granted = world.budgets.grant(world.now(), 10);
    assert_eq!(granted.iter().map(|grant| grant.key.to_string()).collect::<Vec<_>>(), ["ns/o0", "ns/o1"]);

    world.budgets.withdraw(&key("ns/o0"));
    assert!(world.budgets.granted(&key("ns/o0")), "a call may be under way");
    world.budgets.withdraw(&key("ns/o2"));
    assert!(!world.budgets.waiting(&key("ns/o2")));
    assert!(world.budgets.grant(world.now(), 10).is_empty(), "both slots are taken");

    world.budgets.finish(&key("ns/o0"), CallOutcome::NotCalled, world.now());
    world.budgets.finish(&key("ns/o0"), CallOutcome::Issued, world.now());
    world.budgets.finish(&key("ns/o3"), CallOutcome::Issued, world.now());
    let granted = world.budgets.grant(world.now(), 10);
    assert_eq!(granted.len(), 1, "the slot that came back");
    assert_eq!(granted[0].key, key("ns/o3"), "o2 is withdrawn");
    assert_eq!(world.budgets.queue_depth(), 0);
}

#[test]
fn p06_a_grant_that_nobody_ends_is_ended_and_counts_as_spent() {
    let mut world = World::accepted(&limits(&[(2, secs(60))], 1));
    world.ask_first("ns/lost");
    world.ask_first("ns/next");
    assert_eq!(world.budgets.grant(world.now(), 10).len(), 1);
    let _begun = world.budgets.begin(&key("ns/lost"), &account("a"), world.now());
    let wait = world.budgets.next_grant_in(world.now()).unwrap();
    assert!(wait <= secs(120), "{wait:?}");
    world.at += wait;
    let granted = world.budgets.grant(world.now(), 10);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].waited, wait);
    assert!(!world.budgets.granted(&key("ns/lost")));
    world.budgets.finish(&key("ns/next"), CallOutcome::Issued, world.now());
    world.ask_first("ns/third");
    assert!(world.budgets.grant(world.now(), 10).is_empty(), "the lost one holds its place in the window");
}

#[test]
fn p06_ten_thousand_waiting_objects_cost_little() {
    let mut world = World::accepted(&limits(&[], u32::MAX));
    let began = cpu_time();
    for number in 0..10_000_u64 {
        let object = format!("ns{}/o{number}", number % 500);
        world.request("a", &object, Some(secs(600 + number)), Some(secs(number)));
    }
    assert_eq!(world.budgets.queue_depth(), 10_000);
    let granted = world.budgets.grant(world.now(), usize::MAX);
    assert_eq!(granted.len(), 10_000);
    for grant in &granted {
        world.budgets.finish(&grant.key, CallOutcome::Issued, world.now());
    }
    let took = cpu_time() - began;
    // Far above what it takes, far below what anything quadratic would.
    assert!(took < secs(5), "{took:?}");
    assert!(world.budgets.states.is_empty());
}
