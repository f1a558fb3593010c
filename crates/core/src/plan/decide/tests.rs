use super::*;
use crate::plan::contest::{Contest, Difference, Stored};
use crate::plan::facts::{ConditionFacts, Seconds, StatusFacts, Uid};
use crate::plan::floor::Spells;
use crate::plan::hash::Hash;
use crate::plan::reason::Reason;
use crate::plan::view::{Before, HeldView};
use proptest::prelude::*;
use videotoken_api::request::End;
use videotoken_api::video_access_token::RenewBefore;

const UID: Uid = Uid(7);
const LIFE: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

fn hash(text: &str) -> Hash {
    Hash::of([text.as_bytes()])
}

fn wanted() -> Wanted {
    Wanted {
        request: hash("request"),
        render: hash("render"),
        renew_before: RenewBefore::Default,
        suspend: false,
        longest_life: TimeDelta::seconds(LIFE),
        ends_at: None,
    }
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
        controlled: false,
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
#[allow(clippy::struct_excessive_bools)] // each a column of a table
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
    contest: Option<Contest>,
    damaged: bool,
    status: StatusFacts,
    before: Before,
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
            contest: None,
            damaged: false,
            status: StatusFacts::default(),
            before: Before::default(),
        }
    }
}

impl Case {
    fn decide(&self) -> Decision {
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
            status: &self.status,
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
            contest: self.contest.as_ref(),
            damaged: self.damaged,
            before: self.before,
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
        let (reason, message) = ("SecretWriteFailed", String::new());
        Some(WriteTrouble { reason, message, next: at(next), stalled: false, met: None, soonest: at(next) })
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

/// Three repairs at 90, 91 and 92.
#[allow(clippy::unnecessary_wraps)] // as a case has it
fn fought() -> Option<Contest> {
    let mut contest = Contest::new(1);
    (90..93).for_each(|second| contest.wrote(true, at(second)));
    Some(contest)
}

/// The Secret's label was stored otherwise at 90, or it was made immutable.
#[allow(clippy::unnecessary_wraps)] // as a case has it
fn overridden(fixed: Option<Fixed>) -> Option<Contest> {
    let stored = Stored::Text("theirs".into());
    let difference = Difference { field: "metadata.labels[app]".into(), sent: None, stored, fixed };
    let mut contest = Contest::new(1);
    contest.stored(secret().version(), Some(difference), at(90));
    Some(contest)
}

#[test]
#[allow(clippy::too_many_lines, clippy::type_complexity)] // a table
fn p18_a_repair_in_a_fight_waits_and_nothing_else_does() {
    let held = Some((hash("request"), 90));
    let unlabelled = || with_secret(|s| s.labelled = false);
    let lost = || Case { data: DataView::Lost, ..Case::default() };
    let gone = || Case { damaged: true, ..absent() };
    let reshaped = Some(Ok(Wanted { render: hash("other"), ..wanted() }));
    let changed = Some(Ok(Wanted { request: hash("other"), ..wanted() }));
    let contested = Some("SecretContested");
    let overrides = Some("SecretOverridden");
    let immutable = Some("SecretImmutable");
    // what, case, act, refusal, wake
    let cases: Vec<(&str, Case, &str, Option<&str>, Option<i64>)> = vec![
        ("a label", Case { contest: fought(), ..unlabelled() }, "wait", contested, Some(392)),
        ("a key", Case { contest: fought(), data: DataView::Altered, ..Case::default() }, "wait", contested, Some(392)),
        ("a token", Case { contest: fought(), ..lost() }, "wait", contested, Some(392)),
        ("one that is at hand", Case { contest: fought(), held, ..lost() }, "wait", contested, Some(392)),
        ("on its turn", Case { contest: fought(), turn: Turn::Granted, ..lost() }, "withdraw", contested, Some(392)),
        ("the whole Secret", Case { contest: fought(), ..gone() }, "wait", contested, Some(392)),
        ("until its time", Case { contest: fought(), now: 392, ..unlabelled() }, "render", None, None),
        ("of a lost token", Case { contest: fought(), held, now: 392, ..lost() }, "store", None, None),
        (
            "two repairs are no fight",
            {
                let mut contest = Contest::new(1);
                (90..92).for_each(|second| contest.wrote(true, at(second)));
                Case { contest: Some(contest), ..unlabelled() }
            },
            "render",
            None,
            None,
        ),
        (
            "a renewal that is due doesn't wait",
            Case { contest: fought(), now: 2400, ..unlabelled() },
            "enqueue",
            None,
            None,
        ),
        (
            "nor its write",
            {
                let mut contest = Contest::new(1);
                (2398..2401).for_each(|second| contest.wrote(true, at(second)));
                Case { contest: Some(contest), now: 2400, held: Some((hash("request"), 2399)), ..unlabelled() }
            },
            "store",
            None,
            None,
        ),
        ("nor another shape", Case { contest: fought(), wanted: reshaped, ..unlabelled() }, "render", None, None),
        ("nor another request", Case { contest: fought(), wanted: changed, ..unlabelled() }, "enqueue", None, None),
        ("what stands is no fight", Case { contest: fought(), now: 93, ..Case::default() }, "wait", None, Some(392)),
        (
            "but what was told is told until it is calm",
            Case { contest: fought(), now: 93, status: told(), ..Case::default() },
            "wait",
            contested,
            Some(102),
        ),
        (
            "and no longer",
            Case { contest: fought(), now: 102, status: told(), ..Case::default() },
            "wait",
            None,
            Some(392),
        ),
        (
            "what is stored otherwise waits",
            Case { contest: overridden(None), ..Case::default() },
            "wait",
            overrides,
            Some(390),
        ),
        ("also without our label", Case { contest: overridden(None), ..unlabelled() }, "wait", overrides, Some(390)),
        ("also a token at hand", Case { contest: overridden(None), held, ..lost() }, "wait", overrides, Some(390)),
        ("and is tried again", Case { contest: overridden(None), now: 390, ..Case::default() }, "render", None, None),
        (
            "at once when the Secret changes",
            Case { contest: overridden(None), data: DataView::Altered, ..with_secret(|s| s.resource_version += 1) },
            "render",
            None,
            None,
        ),
        ("or goes", Case { contest: overridden(None), ..gone() }, "enqueue", None, None),
        (
            "what can't be written to stands as long as it serves",
            Case { contest: overridden(Some(Fixed::Immutable)), ..Case::default() },
            "wait",
            None,
            None,
        ),
        (
            "then it is told",
            Case { contest: overridden(Some(Fixed::Immutable)), now: 2400, ..Case::default() },
            "wait",
            immutable,
            Some(LIFE),
        ),
        (
            "the former goes also while a label is fought over",
            Case { contest: fought(), former: Some(secret()), ..unlabelled() },
            "remove former",
            None,
            None,
        ),
    ];
    for (what, case, act, refusal, wake) in cases {
        let decision = case.decide();
        let told = decision.refusal.as_ref().map(|refusal| &*refusal.reason);
        assert_eq!((kind(&decision.act), told), (act, refusal), "{what}: {decision:?}");
        if wake.is_some() {
            assert_eq!(decision.wake, wake.map(at), "{what}: {decision:?}");
        }
    }
}

fn told() -> StatusFacts {
    let since = Seconds::from(at(50));
    let mut status = StatusFacts::default();
    status.conditions[2] = ConditionFacts { status: Some(true), reason: Reason::of("SecretContested"), since };
    status
}

#[test]
fn p18_looks_have_a_pace_but_for_what_is_to_be_written_anyway() {
    let looked = || {
        let mut contest = Contest::new(1);
        (95..100).for_each(|second| contest.looked(None, at(second)));
        Some(contest)
    };
    let changing = || Case { data: DataView::Unverified, contest: looked(), ..Case::default() };
    let changed = Some(Ok(Wanted { request: hash("other"), ..wanted() }));
    let cases = [
        ("the sixth within a minute waits", changing(), "wait"),
        ("for its time", Case { now: 155, ..changing() }, "inspect"),
        ("not when another token is asked for", Case { wanted: changed, ..changing() }, "inspect"),
        ("nor when the renewal is due", Case { now: 2400, ..changing() }, "inspect"),
        ("a deleted object's is looked at, too", Case { deleting: true, contest: None, ..changing() }, "inspect"),
        ("at the same pace", Case { deleting: true, ..changing() }, "wait"),
    ];
    for (what, case, act) in cases {
        let decision = case.decide();
        assert_eq!(kind(&decision.act), act, "{what}: {decision:?}");
        assert!(act != "wait" || decision.wake.is_some(), "{what}");
    }
    assert_eq!(changing().decide().wake, Some(at(155)));
}

#[test]
fn p15_an_object_that_lingers_writes_nothing_and_drops_what_it_holds() {
    let deleting = || Case { deleting: true, ..Case::default() };
    for (what, case, act) in [
        ("a live token", deleting(), "wait"),
        ("a due one", Case { now: 3000, ..deleting() }, "wait"),
        ("a lost one", Case { data: DataView::Lost, ..deleting() }, "wait"),
        ("none", Case { secret: None, ..deleting() }, "wait"),
        ("in the queue", Case { turn: Turn::Granted, ..deleting() }, "withdraw"),
        ("one at hand", Case { held: Some((hash("request"), 90)), ..deleting() }, "discard"),
    ] {
        assert_eq!(kind(&case.decide().act), act, "{what}");
    }
    assert_eq!(deleting().decide().wake, Some(at(LIFE)), "its status stays true");
}

#[test]
fn p03_a_token_at_hand_is_stored_after_a_rename_though_the_former_serves() {
    let held = Some((hash("request"), 90));
    let renamed = || Case { former: Some(secret()), held, ..absent() };
    assert_eq!(kind(&renamed().decide().act), "store");
    // the former is gone before it moved: the same token, not another
    assert_eq!(kind(&Case { former: None, ..renamed() }.decide().act), "store");
    assert_eq!(kind(&Case { held: Some((hash("other"), 90)), ..renamed() }.decide().act), "discard");
    assert_eq!(
        kind(&Case { secret: Some(secret()), ..renamed() }.decide().act),
        "discard",
        "never over one that serves"
    );
}

#[test]
fn a_trouble_that_lies_in_a_secret_ends_with_it() {
    let met = Some((Uid(1), 10));
    let trouble = |met| WriteTrouble {
        reason: "SecretRefused",
        message: String::new(),
        next: at(60),
        stalled: true,
        met,
        soonest: at(1),
    };
    for (what, trouble, now, next) in [
        ("the same Secret", trouble(Some(met)), met, 60),
        ("a changed one", trouble(Some(met)), Some((Uid(1), 11)), 1),
        ("another", trouble(Some(met)), Some((Uid(2), 10)), 1),
        ("none", trouble(Some(met)), None, 1),
        ("none as before", trouble(Some(None)), None, 60),
        ("one where there was none", trouble(Some(None)), met, 1),
        ("what lies elsewhere", trouble(None), None, 60),
    ] {
        assert_eq!(trouble.at(now).next, at(next), "{what}");
    }
}

fn spells(kind: Unplanned, calls: u32) -> Before {
    let mut spells = Spells::default();
    (0..calls).for_each(|_| spells.note(kind, 0, at(90)));
    Before { spells, ..Before::default() }
}

/// What the status told of a token that was issued at 0 and is renewed at 2350.
fn issued_at_0() -> StatusFacts {
    StatusFacts { expires_at: at(LIFE).into(), renew_at: at(2350).into(), ..StatusFacts::default() }
}

/// Changes what another writer would like us to call for, or a person.
#[test]
fn p18_p20_what_no_schedule_asks_for_is_served_at_once_the_first_times() {
    use Unplanned::{Demand, Edit, Loss};
    let later = Some("2026-09-21T14:15:00Z"); // 100 s after at(0)
    let changed = Some(Ok(Wanted { request: hash("other"), ..wanted() }));
    let lost = Case { data: DataView::Lost, status: issued_at_0(), ..Case::default() };
    let deleted = Case { status: issued_at_0(), ..absent() };
    let put_back = Case { status: issued_at_0(), ..with_secret(|s| s.expires_at = at(50).into()) };
    let aged = Case { status: issued_at_0(), ..with_secret(|s| s.issued_at = at(-900_000).into()) };
    let ahead = with_secret(|s| (s.issued_at, s.expires_at) = (at(90_000).into(), at(93_600).into()));
    let edited = Case { wanted: changed.clone(), ..Case::default() };
    let forced = Case { renew: later, ..Case::default() };
    let cases = [
        ("lost", lost, Cause::Lost, Loss, 3),
        ("deleted", deleted, Cause::First, Loss, 3),
        ("an older token was put back", put_back, Cause::Due, Loss, 3),
        ("its issue was put back", aged, Cause::Due, Loss, 3),
        ("issued by a clock that was ahead", ahead, Cause::Due, Loss, 3),
        ("edited", edited, Cause::RequestChanged, Edit, 5),
        ("forced", forced, Cause::Forced, Demand, 5),
    ];
    for (what, case, cause, kind, at_once) in cases {
        let early = Case { before: spells(kind, at_once - 1), ..case.clone() }.decide();
        assert_eq!((early.cause, early.unplanned), (Some(cause), Some(kind)), "{what}");
        let Act::Enqueue { first, urgent_at, unplanned, .. } = early.act else { panic!("{what}: {early:?}") };
        assert!(unplanned && (kind != Loss || (first && urgent_at.is_none())), "{what}: {:?}", early.act);
        let often = Case { before: spells(kind, at_once), now: 91, ..case.clone() }.decide();
        assert_eq!(often.act, Act::Wait, "{what}");
        assert_eq!(often.delay.unwrap().reason, TOO_OFTEN, "{what}");
        assert!(often.wake.is_some_and(|wake| wake > at(91)), "{what}");
        let granted = Case { before: spells(kind, at_once), now: 91, turn: Turn::Granted, ..case.clone() }.decide();
        assert_eq!(granted.act, Act::Withdraw, "{what}");
        // the next attempt after a failure waits by its own back-off, and a token at hand is stored
        let failed = Some(failure(Class::Transient, 80));
        let retry = Case { failure: failed, before: spells(kind, 9), ..case.clone() }.decide();
        assert!(matches!(retry.act, Act::Enqueue { .. }) && retry.unplanned.is_none(), "{what}: {retry:?}");
    }
    // a renewal that is due waits for none of it
    for case in [Case { renew: later, ..Case::default() }, Case { wanted: changed, ..Case::default() }] {
        let due = Case { now: 2500, before: spells(Unplanned::Demand, 40), ..case }.decide();
        let Act::Enqueue { urgent_at, unplanned, .. } = due.act else { panic!("{due:?}") };
        assert!(!unplanned && urgent_at.is_some_and(|urgent| urgent < at(LIFE)));
    }
}

#[test]
fn a_moment_that_a_restart_costs_is_not_told_as_issued_too_often() {
    let before = Before { spells: Spells::recalled(at(88), 0), ..Before::default() };
    let forced = Case { renew: Some("2027-01-01T00:00:00Z"), before, now: 91, ..Case::default() }.decide();
    assert_eq!((forced.act, forced.cause, forced.delay), (Act::Wait, Some(Cause::Forced), None));
    assert!(forced.wake.is_some_and(|wake| wake > at(91) && wake <= at(110)), "{:?}", forced.wake);
}

#[test]
fn b11_times_ahead_are_not_believed() {
    let trouble = |next| {
        let next = at(next);
        Some(WriteTrouble {
            reason: "SecretWriteFailed",
            message: String::new(),
            next,
            stalled: false,
            met: None,
            soonest: next,
        })
    };
    let far = |class| Failure { time: at(86_000), ..failure(class, 86_400) };
    let recalled = Before { recalled: true, ..Before::default() };
    let held = Case { failure: Some(failure(Class::Transient, 3000)), before: recalled, ..absent() };
    let cases = [
        ("a failure of tomorrow", Case { failure: Some(far(Class::Transient)), ..absent() }, "enqueue"),
        (
            "the same, as a status tells it",
            Case { failure: Some(far(Class::Denied)), before: recalled, ..absent() },
            "enqueue",
        ),
        ("a wait of a day", Case { failure: Some(failure(Class::Transient, 86_400)), ..absent() }, "enqueue"),
        ("a trouble of tomorrow", Case { trouble: trouble(86_400), ..absent() }, "enqueue"),
        (
            "a token at hand and such a trouble",
            Case { held: Some((hash("request"), 90)), trouble: trouble(86_400), ..absent() },
            "store",
        ),
        (
            "a token that lives till 2099",
            Case { now: 2500, ..with_secret(|s| s.expires_at = at(999_999_999).into()) },
            "enqueue",
        ),
        ("the same, when it isn't due", with_secret(|s| s.expires_at = at(999_999_999).into()), "wait"),
        ("issued in a minute: two clocks", with_secret(|s| s.issued_at = at(159).into()), "wait"),
        ("issued tomorrow", with_secret(|s| s.issued_at = at(86_400).into()), "enqueue"),
        (
            "a former Secret of tomorrow",
            Case {
                former: Some(SecretFacts { issued_at: at(86_400).into(), expires_at: at(90_000).into(), ..secret() }),
                ..absent()
            },
            "enqueue",
        ),
        ("a status's wait is its class's at most", held.clone(), "wait"),
        ("and then over", Case { now: 301, ..held }, "enqueue"),
    ];
    for (what, case, act) in cases {
        let decision = case.decide();
        assert_eq!(kind(&decision.act), act, "{what}: {decision:?}");
    }
    // who waits since tomorrow says so
    let waiting = Case { turn: Turn::Waiting(at(86_400)), ..absent() }.decide();
    assert_eq!(waiting.delay.unwrap().reason, "WaitingForBudget");
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

#[test]
fn what_has_a_fixed_end_is_not_renewed_before_it_and_not_asked_for_after() {
    let until = |end: i64, case: Case| {
        let end = End { field: "spec.scope.x.expiredAt", at: at(end) };
        let wanted = Wanted { ends_at: Some(end), ..wanted() };
        Case { wanted: Some(Ok(wanted)), ..case }.decide()
    };
    // a token that lives until the end is the last
    let kept = until(LIFE, Case { now: LIFE - 1, ..Case::default() });
    assert_eq!((kept.act, kept.cause, kept.wake), (Act::Wait, None, Some(at(LIFE))));
    // one that ends sooner is renewed as any other
    let due = until(10 * LIFE, Case { now: LIFE - 1, ..Case::default() });
    assert_eq!(due.cause, Some(Cause::Due));
    // the end has passed: with a token, without one, and with one that was lost
    for case in [Case::default(), absent(), Case { data: DataView::Lost, ..Case::default() }] {
        let ended = until(LIFE, Case { now: LIFE, ..case });
        assert_eq!((ended.act, ended.cause, ended.wake), (Act::Wait, None, None));
        let refusal = ended.refusal.unwrap();
        assert_eq!(refusal.reason, ENDED);
        assert!(refusal.message.starts_with("spec.scope.x.expiredAt: has passed"), "{}", refusal.message);
    }
    // a token on its way at the end is dropped with its turn
    assert_eq!(until(LIFE, Case { now: LIFE, turn: Turn::Granted, ..absent() }).act, Act::Withdraw);
}
