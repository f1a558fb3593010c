//! Issuances that no schedule asks for.

use super::*;

fn unplanned_calls(kind: Unplanned, calls: u32) -> Before {
    let mut unplanned_calls = UnplannedCalls::default();
    (0..calls).for_each(|_| unplanned_calls.record(kind, 0, at(90)));
    Before { unplanned_calls, ..Before::default() }
}

/// Status for a token that was issued at 0 and is renewed at 2350.
fn issued_at_0() -> StatusFacts {
    StatusFacts { expires_at: at(LIFETIME).into(), renew_at: at(2350).into(), ..StatusFacts::default() }
}

/// Changes that another client or a person makes to cause a call.
#[test]
fn p18_p20_what_no_schedule_asks_for_is_served_at_once_the_first_times() {
    use Unplanned::{Demand, Edit, Loss};
    let later = Some("2026-09-21T14:15:00Z"); // 100 s after at(0)
    let changed = Some(Ok(DesiredToken { request: hash("other"), ..desired() }));
    let lost = Case { data: DataView::Lost, status: issued_at_0(), ..Case::default() };
    let deleted = Case { status: issued_at_0(), ..absent() };
    let put_back = Case { status: issued_at_0(), ..with_secret(|s| s.expires_at = at(50).into()) };
    let aged = Case { status: issued_at_0(), ..with_secret(|s| s.issued_at = at(-900_000).into()) };
    let ahead = with_secret(|s| (s.issued_at, s.expires_at) = (at(90_000).into(), at(93_600).into()));
    let edited = Case { desired: changed.clone(), ..Case::default() };
    let forced = Case { renew: later, ..Case::default() };
    let cases = [
        ("lost", lost, IssueCause::Lost, Loss, 3),
        ("deleted", deleted, IssueCause::First, Loss, 3),
        ("an older token was put back", put_back, IssueCause::Due, Loss, 3),
        ("its issue was put back", aged, IssueCause::Due, Loss, 3),
        ("issued by a clock that was ahead", ahead, IssueCause::Due, Loss, 3),
        ("edited", edited, IssueCause::RequestChanged, Edit, 5),
        ("forced", forced, IssueCause::Forced, Demand, 5),
    ];
    for (what, case, cause, kind, at_once) in cases {
        let early = Case { before: unplanned_calls(kind, at_once - 1), ..case.clone() }.decide();
        assert_eq!((early.cause, early.unplanned), (Some(cause), Some(kind)), "{what}");
        let TokenStep::Enqueue { expires_at, urgent_at, unplanned } = early.step else { panic!("{what}: {early:?}") };
        assert!(
            unplanned && (kind != Loss || (expires_at.is_none() && urgent_at.is_none())),
            "{what}: {:?}",
            early.step
        );
        let often = Case { before: unplanned_calls(kind, at_once), now: 91, ..case.clone() }.decide();
        assert_eq!(often.step, TokenStep::Wait, "{what}");
        assert_eq!(often.delay.unwrap().reason, TOO_OFTEN, "{what}");
        assert!(often.requeue_at.is_some_and(|requeue_at| requeue_at > at(91)), "{what}");
        let granted =
            Case { before: unplanned_calls(kind, at_once), now: 91, queue: QueueState::Granted, ..case.clone() }
                .decide();
        assert_eq!(granted.step, TokenStep::Withdraw, "{what}");
        // a retry has its own back-off, and an issued token is stored
        let failed = Some(failure(Class::Transient, 80));
        let retry = Case { failure: failed, before: unplanned_calls(kind, 9), ..case.clone() }.decide();
        assert!(matches!(retry.step, TokenStep::Enqueue { .. }) && retry.unplanned.is_none(), "{what}: {retry:?}");
    }
    // a renewal that is due waits for none of it
    for case in [Case { renew: later, ..Case::default() }, Case { desired: changed, ..Case::default() }] {
        let due = Case { now: 2500, before: unplanned_calls(Unplanned::Demand, 40), ..case }.decide();
        let TokenStep::Enqueue { urgent_at, unplanned, .. } = due.step else { panic!("{due:?}") };
        assert!(!unplanned && urgent_at.is_some_and(|urgent| urgent < at(LIFETIME)));
    }
}

#[test]
fn a_moment_that_a_restart_costs_is_not_told_as_issued_too_often() {
    let before = Before { unplanned_calls: UnplannedCalls::restored(at(88), 0), ..Before::default() };
    let forced = Case { renew: Some("2027-01-01T00:00:00Z"), before, now: 91, ..Case::default() }.decide();
    assert_eq!((forced.step, forced.cause, forced.delay), (TokenStep::Wait, Some(IssueCause::Forced), None));
    assert!(
        forced.requeue_at.is_some_and(|requeue_at| requeue_at > at(91) && requeue_at <= at(110)),
        "{:?}",
        forced.requeue_at
    );
}

#[test]
fn b11_times_ahead_are_not_believed() {
    let write_failure = |next| {
        let next = at(next);
        Some(WriteFailure {
            reason: "SecretWriteFailed",
            message: String::new(),
            next,
            stalled: false,
            met: None,
            soonest: next,
        })
    };
    let far = |class| Failure { time: at(86_000), ..failure(class, 86_400) };
    let restored = Before { restored: true, ..Before::default() };
    let unsaved = Case { failure: Some(failure(Class::Transient, 3000)), before: restored, ..absent() };
    let cases = [
        ("a failure of tomorrow", Case { failure: Some(far(Class::Transient)), ..absent() }, "enqueue"),
        (
            "the same, from a status",
            Case { failure: Some(far(Class::Denied)), before: restored, ..absent() },
            "enqueue",
        ),
        ("a wait of a day", Case { failure: Some(failure(Class::Transient, 86_400)), ..absent() }, "enqueue"),
        ("a write failure of tomorrow", Case { write_failure: write_failure(86_400), ..absent() }, "enqueue"),
        (
            "an issued token and such a failure",
            Case { unsaved: Some((hash("request"), 90)), write_failure: write_failure(86_400), ..absent() },
            "store",
        ),
        (
            "a token that is valid until 2099",
            Case { now: 2500, ..with_secret(|s| s.expires_at = at(999_999_999).into()) },
            "enqueue",
        ),
        ("the same, when it isn't due", with_secret(|s| s.expires_at = at(999_999_999).into()), "wait"),
        ("issued in a minute: two clocks", with_secret(|s| s.issued_at = at(159).into()), "wait"),
        ("issued tomorrow", with_secret(|s| s.issued_at = at(86_400).into()), "enqueue"),
        (
            "a former Secret of tomorrow",
            Case {
                old_secret: Some(SecretFacts {
                    issued_at: at(86_400).into(),
                    expires_at: at(90_000).into(),
                    ..secret()
                }),
                ..absent()
            },
            "enqueue",
        ),
        ("a status's wait is its class's at most", unsaved.clone(), "wait"),
        ("and then over", Case { now: 301, ..unsaved }, "enqueue"),
    ];
    for (what, case, act) in cases {
        let decision = case.decide();
        assert_eq!(kind(&decision.step), act, "{what}: {decision:?}");
    }
    // who waits since tomorrow says so
    let waiting = Case { queue: waiting(at(86_400)), ..absent() }.decide();
    assert_eq!(waiting.delay.unwrap().reason, "WaitingForBudget");
}
