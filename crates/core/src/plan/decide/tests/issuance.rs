//! Delays after failures, and forced renewals.

use super::*;

#[test]
fn a_forced_renewal_is_served_once() {
    let later = "2026-09-21T14:15:00Z"; // after at(0), which is 2026-09-21T14:13:20Z
    let forced = Case { renew: Some(later), ..Case::default() };
    assert_eq!(forced.decide().cause, Some(IssueCause::Forced));
    let served = Case { renew: Some(later), ..with_secret(|s| s.renew_request = Some(later.into())) };
    assert_eq!(served.decide().cause, None);
    for ignored in ["2026-09-21T14:13:20Z", "1999-01-01T00:00:00Z", "soon", ""] {
        assert_eq!(Case { renew: Some(ignored), ..Case::default() }.decide().cause, None, "{ignored}");
    }
}

#[test]
fn p07_a_refusal_of_the_provider_stalls_the_object_and_a_passing_fault_does_not() {
    for (class, stalls) in [(Class::Configuration, true), (Class::Denied, true), (Class::Transient, false)] {
        let due = refused(class).decide();
        assert_eq!(due.refusal.is_some(), stalls, "{class:?}");
        assert_eq!(due.delay.is_some(), !stalls, "{class:?}");
        assert_eq!(due.requeue_at, Some(at(200)));
        // also while the next attempt waits for its grant
        let waiting = Case { now: 201, queue: waiting(at(200)), ..refused(class) }.decide();
        assert_eq!(
            (waiting.refusal, waiting.delay, waiting.step),
            (due.refusal, due.delay, TokenStep::Wait),
            "{class:?}"
        );
    }
}

/// The request changed at 150, and the last attempt failed; the next attempt is due at 200.
fn refused(class: Class) -> Case {
    let desired = Some(Ok(DesiredToken { request: hash("other"), ..desired() }));
    Case { failure: Some(failure(class, 200)), now: 150, desired, ..Case::default() }
}

#[test]
fn p07_what_holds_up_the_account_leaves_the_object_in_the_queue() {
    for class in [Class::Throttled, Class::Credential] {
        assert!(matches!(refused(class).decide().step, TokenStep::Enqueue { .. }), "{class:?}");
        let waiting = Case { queue: waiting(at(149)), ..refused(class) }.decide();
        assert_eq!(
            (waiting.step, waiting.delay.map(|delay| delay.reason)),
            (TokenStep::Wait, Some("Because".to_owned()))
        );
    }
}

#[test]
fn p01_a_waiting_object_is_looked_at_again_before_its_token_expires() {
    for case in [
        Case::default(),
        Case { now: 2500, queue: waiting(at(2450)), ..Case::default() },
        Case { now: 2500, failure: Some(failure(Class::Transient, 9999)), ..Case::default() },
        Case { desired: Some(Err(Refusal::new("No", "no"))), ..Case::default() },
    ] {
        let decision = case.decide();
        assert!(decision.requeue_at.is_some_and(|requeue_at| requeue_at <= at(LIFETIME)), "{decision:?}");
    }
}

/// A crowd costs one status for each token: the provider reports the wait.
#[test]
fn p04_only_in_a_small_queue_does_each_object_report_its_wait() {
    let block = |reason| Some(AccountBlock { reason, message: "because".to_owned(), until: None });
    let cases = [
        ("a short wait", 90, false, None, None),
        ("a long wait", 0, false, None, Some("WaitingForBudget")),
        ("a long wait in a long queue", 0, true, None, None),
        ("a throttle", 90, false, block("Throttled"), Some("Throttled")),
        ("a throttle in a long queue", 90, true, block("Throttled"), None),
        ("a rejected credential", 90, true, block("CredentialRejected"), Some("CredentialRejected")),
    ];
    for (what, since, in_crowd, block, expected) in cases {
        let queue = QueueState::Waiting(Wait { since: at(since), in_crowd });
        let decision = Case { queue, block, ..absent() }.decide();
        let reported = decision.delay.as_ref().filter(|_| !decision.is_on_its_way());
        assert_eq!(reported.map(|delay| &*delay.reason), expected, "{what}");
        assert_eq!(decision.requeue_at, (what == "a short wait").then(|| at(120)), "{what}");
    }
}
