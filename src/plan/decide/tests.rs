use super::*;
use crate::api::video_access_token::RenewBefore;
use crate::plan::facts::{Seconds, StatusFacts, Uid};
use crate::plan::hash::Hash;
use crate::plan::view::HeldView;
use proptest::prelude::*;

const UID: Uid = Uid(7);
const LIFE: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn hash(text: &str) -> Hash {
    Hash::of([text.as_bytes()])
}

fn wanted() -> Wanted {
    Wanted { request: hash("request"), render: hash("render"), renew_before: RenewBefore::Default, suspend: false }
}

/// A Secret of ours whose token was issued at 0 and lives an hour.
fn secret() -> SecretFacts {
    SecretFacts {
        uid: Uid(1),
        uid_text: "1".into(),
        resource_version: 10,
        owner: Some(UID),
        issued_at: Seconds::from(at(0)),
        expires_at: Seconds::from(at(LIFE)),
        request: Some(hash("request")),
        render: Some(hash("render")),
        content: Some(hash("content")),
        renew_request: None,
        previous_expires_at: Seconds::default(),
        labelled: true,
        deleting: false,
    }
}

fn failure(class: Class, next: i64) -> Failure {
    Failure {
        time: at(0),
        class,
        reason: "Because".into(),
        message: "it says so".into(),
        request_id: None,
        next_attempt_at: Some(at(next)),
    }
}

/// What a case changes; the rest is a settled token.
#[derive(Clone, Debug)]
struct Case {
    now: i64,
    wanted: Option<Result<Wanted, Refusal>>,
    secret: Option<SecretFacts>,
    data: DataView,
    owner_gone: bool,
    probed: bool,
    former: Option<SecretFacts>,
    held: Option<(Hash, i64)>,
    failure: Option<Failure>,
    turn: Turn,
    trouble: Option<WriteTrouble>,
    renew: Option<&'static str>,
    deleting: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            now: 100,
            wanted: Some(Ok(wanted())),
            secret: Some(secret()),
            data: DataView::Verified,
            owner_gone: false,
            probed: false,
            former: None,
            held: None,
            failure: None,
            turn: Turn::None,
            trouble: None,
            renew: None,
            deleting: false,
        }
    }
}

impl Case {
    fn decide(&self) -> Decision {
        let status = StatusFacts::default();
        let secret = match &self.secret {
            Some(facts) if facts.owner.is_none() => SecretView::Foreign,
            Some(facts) => SecretView::Known { facts, data: self.data, owner_gone: self.owner_gone },
            None if self.probed => SecretView::Absent,
            None => SecretView::Unseen,
        };
        let view = View {
            uid: UID,
            deleting: self.deleting,
            renew_requested_at: self.renew,
            status: &status,
            wanted: self.wanted.clone(),
            secret,
            former: self.former.as_ref(),
            held: self.held.map(|(request, issued)| HeldView {
                request,
                renew_request: None,
                issued_at: at(issued),
                expires_at: at(issued + LIFE),
            }),
            failure: self.failure.as_ref(),
            turn: self.turn,
            hindrance: None,
            trouble: self.trouble.as_ref(),
        };
        decide(&view, at(self.now))
    }
}

fn absent() -> Case {
    Case { secret: None, probed: true, ..Case::default() }
}

fn with_secret(change: impl FnOnce(&mut SecretFacts)) -> Case {
    let mut facts = secret();
    change(&mut facts);
    Case { secret: Some(facts), ..Case::default() }
}

fn kind(act: &Act) -> &'static str {
    match act {
        Act::Wait => "wait",
        Act::Probe => "probe",
        Act::Inspect => "inspect",
        Act::Render => "render",
        Act::Move => "move",
        Act::RemoveFormer => "remove former",
        Act::Store => "store",
        Act::Discard => "discard",
        Act::Enqueue { .. } => "enqueue",
        Act::Withdraw => "withdraw",
        Act::Issue => "issue",
    }
}

#[test]
#[allow(clippy::too_many_lines, clippy::large_stack_arrays)] // a table
fn p03_p09_each_situation_has_its_step() {
    let other = || hash("other");
    let suspended = Some(Ok(Wanted { suspend: true, ..wanted() }));
    let changed = Some(Ok(Wanted { request: other(), ..wanted() }));
    let reshaped = Some(Ok(Wanted { render: other(), ..wanted() }));
    let trouble = |next| {
        Some(WriteTrouble { reason: "SecretWriteFailed", message: String::new(), next: at(next), stalled: false })
    };
    let cases = [
        ("a settled token waits", Case::default(), "wait", None),
        (
            "what can't be stored isn't asked for",
            Case { now: 3000, data: DataView::Fixed(Fixed::Immutable), ..Case::default() },
            "wait",
            None,
        ),
        (
            "while suspended nothing is looked at",
            Case { wanted: suspended.clone(), data: DataView::Unverified, ..Case::default() },
            "wait",
            None,
        ),
        ("an unknown name is looked at", Case { secret: None, ..Case::default() }, "probe", None),
        ("without a Secret a turn is asked for", absent(), "enqueue", Some(Cause::First)),
        ("in the queue it waits", Case { turn: Turn::Waiting(at(90)), ..absent() }, "wait", Some(Cause::First)),
        ("on its turn it calls", Case { turn: Turn::Granted, ..absent() }, "issue", Some(Cause::First)),
        (
            "a token at hand is stored",
            Case { held: Some((hash("request"), 90)), ..absent() },
            "store",
            Some(Cause::First),
        ),
        (
            "one that was for something else is dropped",
            Case { held: Some((other(), 90)), ..absent() },
            "discard",
            Some(Cause::First),
        ),
        (
            "one that is due itself by now is dropped",
            Case { now: 3000, held: Some((hash("request"), 0)), ..absent() },
            "discard",
            Some(Cause::First),
        ),
        (
            "one that is no longer needed is dropped",
            Case { held: Some((hash("request"), 90)), ..Case::default() },
            "discard",
            None,
        ),
        (
            "a failed write waits",
            Case { held: Some((hash("request"), 90)), trouble: trouble(200), ..absent() },
            "wait",
            Some(Cause::First),
        ),
        (
            "and is tried again",
            Case { held: Some((hash("request"), 90)), trouble: trouble(50), ..absent() },
            "store",
            Some(Cause::First),
        ),
        (
            "nothing is asked for that couldn't be stored",
            Case { trouble: trouble(200), ..absent() },
            "wait",
            Some(Cause::First),
        ),
        (
            "not even on its turn",
            Case { trouble: trouble(200), turn: Turn::Granted, ..absent() },
            "withdraw",
            Some(Cause::First),
        ),
        ("until the next try", Case { trouble: trouble(50), ..absent() }, "enqueue", Some(Cause::First)),
        ("a failed look waits too", Case { secret: None, trouble: trouble(200), ..Case::default() }, "wait", None),
        ("due at two thirds", Case { now: 2400, ..Case::default() }, "enqueue", Some(Cause::Due)),
        ("not before the jitter's tenth", Case { now: 2279, ..Case::default() }, "wait", None),
        ("another request issues", Case { wanted: changed, ..Case::default() }, "enqueue", Some(Cause::RequestChanged)),
        ("another shape rewrites", Case { wanted: reshaped, ..Case::default() }, "render", None),
        ("a lost label rewrites", with_secret(|s| s.labelled = false), "render", None),
        (
            "what another hand may have changed is looked at",
            Case { data: DataView::Unverified, ..Case::default() },
            "inspect",
            None,
        ),
        ("an altered key is rewritten", Case { data: DataView::Altered, ..Case::default() }, "render", None),
        ("a lost token is issued", Case { data: DataView::Lost, ..Case::default() }, "enqueue", Some(Cause::Lost)),
        (
            "a garbled expiry is a lost token",
            with_secret(|s| s.expires_at = Seconds::default()),
            "enqueue",
            Some(Cause::Lost),
        ),
        (
            "previousToken goes before it expires",
            with_secret(|s| s.previous_expires_at = at(104).into()),
            "render",
            None,
        ),
        ("and stays until then", with_secret(|s| s.previous_expires_at = at(200).into()), "wait", None),
        ("a foreign Secret is left alone", with_secret(|s| s.owner = None), "wait", None),
        ("so is a living object's", with_secret(|s| s.owner = Some(Uid(8))), "wait", None),
        (
            "a gone object's is adopted",
            Case { owner_gone: true, ..with_secret(|s| s.owner = Some(Uid(8))) },
            "render",
            None,
        ),
        (
            "but not for another request",
            Case {
                owner_gone: true,
                ..with_secret(|s| {
                    s.owner = Some(Uid(8));
                    s.request = Some(other());
                })
            },
            "wait",
            None,
        ),
        ("one that is being deleted is left to go", with_secret(|s| s.deleting = true), "wait", None),
        ("a renamed Secret moves", Case { former: Some(secret()), ..absent() }, "move", None),
        (
            "unless its token is due",
            Case { now: 2500, former: Some(secret()), ..absent() },
            "enqueue",
            Some(Cause::First),
        ),
        ("then the old one goes", Case { former: Some(secret()), ..Case::default() }, "remove former", None),
        (
            "suspended, nothing is called",
            Case { wanted: suspended.clone(), now: 3000, ..Case::default() },
            "wait",
            None,
        ),
        ("and the queue is left", Case { wanted: suspended, turn: Turn::Granted, ..Case::default() }, "withdraw", None),
        ("a turn that isn't needed goes back", Case { turn: Turn::Granted, ..Case::default() }, "withdraw", None),
        ("so does one in another account's queue", Case { turn: Turn::Elsewhere, ..absent() }, "withdraw", None),
        ("a deleted object waits", Case { deleting: true, now: 3000, ..Case::default() }, "wait", None),
        ("an unknown provider says nothing", Case { wanted: None, now: 3000, ..Case::default() }, "wait", None),
        (
            "a failure waits",
            Case { failure: Some(failure(Class::Transient, 200)), ..absent() },
            "wait",
            Some(Cause::First),
        ),
        (
            "and is tried again when its time has come",
            Case { failure: Some(failure(Class::Transient, 100)), ..absent() },
            "enqueue",
            Some(Cause::First),
        ),
    ];
    for (what, case, act, cause) in cases {
        let decision = case.decide();
        assert_eq!((kind(&decision.act), decision.cause), (act, cause), "{what}: {decision:?}");
    }
}

#[test]
fn a_forced_renewal_is_served_once() {
    let later = "2026-09-21T14:15:00Z"; // after at(0), which is 2026-09-21T14:13:20Z
    let forced = Case { renew: Some(later), ..Case::default() };
    assert_eq!(forced.decide().cause, Some(Cause::Forced));
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
        assert_eq!(due.wake, Some(at(200)));
        // also while its next attempt waits for its turn
        let waiting = Case { now: 201, turn: Turn::Waiting(at(200)), ..refused(class) }.decide();
        assert_eq!((waiting.refusal, waiting.delay, waiting.act), (due.refusal, due.delay, Act::Wait), "{class:?}");
    }
}

/// Something else is asked for at 150, and the last attempt failed; the next is due at 200.
fn refused(class: Class) -> Case {
    let wanted = Some(Ok(Wanted { request: hash("other"), ..wanted() }));
    Case { failure: Some(failure(class, 200)), now: 150, wanted, ..Case::default() }
}

#[test]
fn p07_what_holds_up_the_account_leaves_the_object_in_the_queue() {
    for class in [Class::Throttled, Class::Credential] {
        assert!(matches!(refused(class).decide().act, Act::Enqueue { .. }), "{class:?}");
        let waiting = Case { turn: Turn::Waiting(at(149)), ..refused(class) }.decide();
        assert_eq!((waiting.act, waiting.delay.map(|delay| delay.reason)), (Act::Wait, Some("Because".to_owned())));
    }
}

#[test]
fn p01_a_waiting_object_is_looked_at_again_before_its_token_expires() {
    for case in [
        Case::default(),
        Case { now: 2500, turn: Turn::Waiting(at(2450)), ..Case::default() },
        Case { now: 2500, failure: Some(failure(Class::Transient, 9999)), ..Case::default() },
        Case { wanted: Some(Err(Refusal::new("No", "no"))), ..Case::default() },
    ] {
        let decision = case.decide();
        assert!(decision.wake.is_some_and(|wake| wake <= at(LIFE)), "{decision:?}");
    }
}

fn arbitrary() -> impl Strategy<Value = Case> {
    let facts = (any::<bool>(), 0i64..4000, 0i64..8000, 0u8..3, any::<bool>(), any::<bool>());
    let secret =
        proptest::option::of(facts.prop_map(|(ours, issued, expires, request, labelled, deleting)| SecretFacts {
            owner: [Some(UID), Some(Uid(8)), None][usize::from(!ours) + usize::from(!ours && labelled)],
            issued_at: Seconds(if issued < 100 { 0 } else { at(issued).timestamp() }),
            expires_at: Seconds(if expires < 100 { 0 } else { at(expires).timestamp() }),
            request: [Some(hash("request")), Some(hash("other")), None][usize::from(request)],
            labelled,
            deleting,
            ..self::secret()
        }));
    let data = prop_oneof![
        Just(DataView::Verified),
        Just(DataView::Unverified),
        Just(DataView::Altered),
        Just(DataView::Lost)
    ];
    let turn = prop_oneof![
        Just(Turn::None),
        Just(Turn::Granted),
        Just(Turn::Elsewhere),
        (0i64..5000).prop_map(|t| Turn::Waiting(at(t)))
    ];
    let held = proptest::option::of((prop_oneof![Just(hash("request")), Just(hash("other"))], 0i64..5000));
    (secret, data, any::<bool>(), any::<bool>(), held, turn, 0i64..8000, any::<bool>()).prop_map(
        |(secret, data, owner_gone, suspend, held, turn, now, fails)| Case {
            secret,
            data,
            owner_gone,
            held,
            turn,
            now,
            probed: true,
            wanted: Some(Ok(Wanted { suspend, ..wanted() })),
            failure: fails.then(|| failure(Class::Transient, now + 10)),
            ..Case::default()
        },
    )
}

proptest! {
    /// Nothing is called or written while suspended, over a foreign Secret, or without a turn; a step of every decision
    /// is one that the object's state allows; and whoever waits with a live token wakes up before it ends.
    #[test]
    fn p03_no_decision_calls_or_overwrites_what_it_must_not(case in arbitrary()) {
        let decision = case.decide();
        let suspended = matches!(&case.wanted, Some(Ok(wanted)) if wanted.suspend);
        let foreign = case.secret.as_ref().is_some_and(|s| s.owner != Some(UID) && !(case.owner_gone && s.owner.is_some()));
        let writes = matches!(decision.act, Act::Store | Act::Render | Act::Move);
        prop_assert!(decision.act != Act::Issue || case.turn == Turn::Granted);
        prop_assert!(!(suspended && (decision.act == Act::Issue || writes)));
        prop_assert!(!(foreign && (decision.act == Act::Issue || writes)));
        prop_assert!(decision.act != Act::Issue || case.held.is_none());
        prop_assert!(decision.act != Act::Wait || !matches!(case.turn, Turn::Granted | Turn::Elsewhere));
    }
}
