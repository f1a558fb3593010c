mod contest;
mod issuance;
mod properties;
mod unplanned;

use super::*;
use crate::clock::Timestamp;
use crate::issue::Class;
use crate::plan::contest::{Contest, Difference, Stored};
use crate::plan::facts::{ConditionFacts, Failure, Seconds, SecretFacts, StatusFacts, Uid};
use crate::plan::hash::Hash;
use crate::plan::secret::NotWritable;
use crate::plan::unplanned::UnplannedCalls;
use crate::plan::view::{AccountBlock, Before, DesiredToken, UnsavedTokenView, Wait, WriteFailure};
use crate::tests::at;
use chrono::TimeDelta;
use proptest::prelude::*;
use videotoken_api::request::End;
use videotoken_api::video_access_token::RenewBefore;

const UID: Uid = Uid(7);
const LIFETIME: i64 = 3600;

fn hash(text: &str) -> Hash {
    Hash::of([text.as_bytes()])
}

fn desired() -> DesiredToken {
    DesiredToken {
        request: hash("request"),
        render: hash("render"),
        renew_before: RenewBefore::Default,
        suspend: false,
        max_lifetime: TimeDelta::seconds(LIFETIME),
        ends_at: None,
    }
}

/// A managed Secret whose token was issued at 0 and is valid for one hour.
fn secret() -> SecretFacts {
    SecretFacts {
        uid: Uid(1),
        uid_text: "1".into(),
        resource_version: 10,
        owner: Some(UID),
        issued_at: Seconds::from(at(0)),
        expires_at: Seconds::from(at(LIFETIME)),
        request: Some(hash("request")),
        render: Some(hash("render")),
        content: Some(hash("content")),
        renew_request: None,
        previous_expires_at: Seconds::default(),
        returned_again: false,
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

/// Changes of a case from a VideoAccessToken that needs nothing.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each a column of a table
struct Case {
    now: i64,
    desired: Option<Result<DesiredToken, Refusal>>,
    secret: Option<SecretFacts>,
    data: DataView,
    owner_gone: bool,
    probed: bool,
    old_secret: Option<SecretFacts>,
    unsaved: Option<(Hash, i64)>,
    failure: Option<Failure>,
    queue: QueueState,
    block: Option<AccountBlock>,
    write_failure: Option<WriteFailure>,
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
            desired: Some(Ok(desired())),
            secret: Some(secret()),
            data: DataView::Verified,
            owner_gone: false,
            probed: false,
            old_secret: None,
            unsaved: None,
            failure: None,
            queue: QueueState::None,
            block: None,
            write_failure: None,
            renew: None,
            deleting: false,
            contest: None,
            damaged: false,
            status: StatusFacts::default(),
            before: Before::default(),
        }
    }
}

fn waiting(since: Timestamp) -> QueueState {
    QueueState::Waiting(Wait { since, in_crowd: false })
}

impl Case {
    fn decide(&self) -> Decision {
        let secret = match &self.secret {
            Some(facts) if facts.owner.is_none() => SecretView::NotOwned,
            Some(facts) => SecretView::Known { facts, data: self.data, owner_gone: self.owner_gone },
            None if self.probed => SecretView::Absent,
            None => SecretView::Unseen,
        };
        let input = DecisionInput {
            uid: UID,
            deleting: self.deleting,
            renew_requested_at: self.renew,
            status: &self.status,
            desired: self.desired.clone(),
            secret,
            old_secret: self.old_secret.as_ref(),
            unsaved: self.unsaved.map(|(request, issued)| UnsavedTokenView {
                request,
                renew_request: None,
                issued_at: at(issued),
                expires_at: at(issued + LIFETIME),
                returned_again: false,
            }),
            failure: self.failure.as_ref(),
            queue: self.queue,
            block: self.block.clone(),
            write_failure: self.write_failure.as_ref(),
            contest: self.contest.as_ref(),
            damaged: self.damaged,
            before: self.before,
        };
        decide(&input, at(self.now))
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

fn kind(act: &TokenStep) -> &'static str {
    match act {
        TokenStep::Wait => "wait",
        TokenStep::Probe => "probe",
        TokenStep::Inspect => "inspect",
        TokenStep::Render => "render",
        TokenStep::CopyToken => "move",
        TokenStep::DeleteOldSecret => "remove former",
        TokenStep::Store => "store",
        TokenStep::Discard => "discard",
        TokenStep::Enqueue { .. } => "enqueue",
        TokenStep::Withdraw => "withdraw",
        TokenStep::Issue => "issue",
    }
}

#[test]
#[allow(clippy::too_many_lines, clippy::large_stack_arrays)] // a table
fn p03_p09_each_situation_has_its_step() {
    let other = || hash("other");
    let suspended = Some(Ok(DesiredToken { suspend: true, ..desired() }));
    let changed = Some(Ok(DesiredToken { request: other(), ..desired() }));
    let reshaped = Some(Ok(DesiredToken { render: other(), ..desired() }));
    let write_failure = |next| {
        let (reason, message) = ("SecretWriteFailed", String::new());
        Some(WriteFailure { reason, message, next: at(next), stalled: false, met: None, soonest: at(next) })
    };
    let cases = [
        ("a settled token waits", Case::default(), "wait", None),
        (
            "what can't be stored isn't asked for",
            Case { now: 3000, data: DataView::NotWritable(NotWritable::Immutable), ..Case::default() },
            "wait",
            None,
        ),
        (
            "while suspended nothing is looked at",
            Case { desired: suspended.clone(), data: DataView::Unverified, ..Case::default() },
            "wait",
            None,
        ),
        ("an unknown name is looked at", Case { secret: None, ..Case::default() }, "probe", None),
        ("without a Secret a grant is requested", absent(), "enqueue", Some(IssueCause::First)),
        ("in the queue it waits", Case { queue: waiting(at(90)), ..absent() }, "wait", Some(IssueCause::First)),
        ("with a grant it calls", Case { queue: QueueState::Granted, ..absent() }, "issue", Some(IssueCause::First)),
        (
            "an issued token is stored",
            Case { unsaved: Some((hash("request"), 90)), ..absent() },
            "store",
            Some(IssueCause::First),
        ),
        (
            "one that was for something else is dropped",
            Case { unsaved: Some((other(), 90)), ..absent() },
            "discard",
            Some(IssueCause::First),
        ),
        (
            "one that is due itself by now is dropped",
            Case { now: 3000, unsaved: Some((hash("request"), 0)), ..absent() },
            "discard",
            Some(IssueCause::First),
        ),
        (
            "one that is no longer needed is dropped",
            Case { unsaved: Some((hash("request"), 90)), ..Case::default() },
            "discard",
            None,
        ),
        (
            "a failed write waits",
            Case { unsaved: Some((hash("request"), 90)), write_failure: write_failure(200), ..absent() },
            "wait",
            Some(IssueCause::First),
        ),
        (
            "and is tried again",
            Case { unsaved: Some((hash("request"), 90)), write_failure: write_failure(50), ..absent() },
            "store",
            Some(IssueCause::First),
        ),
        (
            "nothing is asked for that couldn't be stored",
            Case { write_failure: write_failure(200), ..absent() },
            "wait",
            Some(IssueCause::First),
        ),
        (
            "not even with a grant",
            Case { write_failure: write_failure(200), queue: QueueState::Granted, ..absent() },
            "withdraw",
            Some(IssueCause::First),
        ),
        (
            "until the next try",
            Case { write_failure: write_failure(50), ..absent() },
            "enqueue",
            Some(IssueCause::First),
        ),
        (
            "a failed look waits too",
            Case { secret: None, write_failure: write_failure(200), ..Case::default() },
            "wait",
            None,
        ),
        ("due at two thirds", Case { now: 2400, ..Case::default() }, "enqueue", Some(IssueCause::Due)),
        ("not before the jitter's tenth", Case { now: 2279, ..Case::default() }, "wait", None),
        (
            "another request issues",
            Case { desired: changed, ..Case::default() },
            "enqueue",
            Some(IssueCause::RequestChanged),
        ),
        ("another shape rewrites", Case { desired: reshaped, ..Case::default() }, "render", None),
        ("a lost label rewrites", with_secret(|s| s.labelled = false), "render", None),
        (
            "a Secret that another client may have changed is inspected",
            Case { data: DataView::Unverified, ..Case::default() },
            "inspect",
            None,
        ),
        ("an altered key is rewritten", Case { data: DataView::Altered, ..Case::default() }, "render", None),
        ("a lost token is issued", Case { data: DataView::Lost, ..Case::default() }, "enqueue", Some(IssueCause::Lost)),
        (
            "a garbled expiry is a lost token",
            with_secret(|s| s.expires_at = Seconds::default()),
            "enqueue",
            Some(IssueCause::Lost),
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
        ("a renamed Secret moves", Case { old_secret: Some(secret()), ..absent() }, "move", None),
        (
            "unless its token is due",
            Case { now: 2500, old_secret: Some(secret()), ..absent() },
            "enqueue",
            Some(IssueCause::First),
        ),
        ("then the old one goes", Case { old_secret: Some(secret()), ..Case::default() }, "remove former", None),
        (
            "suspended, nothing is called",
            Case { desired: suspended.clone(), now: 3000, ..Case::default() },
            "wait",
            None,
        ),
        (
            "and the queue is left",
            Case { desired: suspended, queue: QueueState::Granted, ..Case::default() },
            "withdraw",
            None,
        ),
        (
            "a grant that isn't needed is returned",
            Case { queue: QueueState::Granted, ..Case::default() },
            "withdraw",
            None,
        ),
        (
            "so does one in another account's queue",
            Case { queue: QueueState::OtherAccount, ..absent() },
            "withdraw",
            None,
        ),
        ("a deleted object waits", Case { deleting: true, now: 3000, ..Case::default() }, "wait", None),
        ("an unknown provider says nothing", Case { desired: None, now: 3000, ..Case::default() }, "wait", None),
        (
            "a failure waits",
            Case { failure: Some(failure(Class::Transient, 200)), ..absent() },
            "wait",
            Some(IssueCause::First),
        ),
        (
            "and is tried again when its time has come",
            Case { failure: Some(failure(Class::Transient, 100)), ..absent() },
            "enqueue",
            Some(IssueCause::First),
        ),
    ];
    for (what, case, act, cause) in cases {
        let decision = case.decide();
        assert_eq!((kind(&decision.step), decision.cause), (act, cause), "{what}: {decision:?}");
    }
}

#[test]
fn p15_an_object_that_lingers_writes_nothing_and_drops_what_it_holds() {
    let deleting = || Case { deleting: true, ..Case::default() };
    for (what, case, act) in [
        ("a valid token", deleting(), "wait"),
        ("a due one", Case { now: 3000, ..deleting() }, "wait"),
        ("a lost one", Case { data: DataView::Lost, ..deleting() }, "wait"),
        ("none", Case { secret: None, ..deleting() }, "wait"),
        ("in the queue", Case { queue: QueueState::Granted, ..deleting() }, "withdraw"),
        ("an issued one", Case { unsaved: Some((hash("request"), 90)), ..deleting() }, "discard"),
    ] {
        assert_eq!(kind(&case.decide().step), act, "{what}");
    }
    assert_eq!(deleting().decide().requeue_at, Some(at(LIFETIME)), "its status stays true");
}

#[test]
fn p03_a_token_at_hand_is_stored_after_a_rename_though_the_former_serves() {
    let unsaved = Some((hash("request"), 90));
    let renamed = || Case { old_secret: Some(secret()), unsaved, ..absent() };
    assert_eq!(kind(&renamed().decide().step), "store");
    // the former is gone before it moved: the same token, not another
    assert_eq!(kind(&Case { old_secret: None, ..renamed() }.decide().step), "store");
    assert_eq!(kind(&Case { unsaved: Some((hash("other"), 90)), ..renamed() }.decide().step), "discard");
    assert_eq!(
        kind(&Case { secret: Some(secret()), ..renamed() }.decide().step),
        "discard",
        "never over one that serves"
    );
}

#[test]
fn a_trouble_that_lies_in_a_secret_ends_with_it() {
    let met = Some((Uid(1), 10));
    let write_failure = |met| WriteFailure {
        reason: "SecretRefused",
        message: String::new(),
        next: at(60),
        stalled: true,
        met,
        soonest: at(1),
    };
    for (what, write_failure, now, next) in [
        ("the same Secret", write_failure(Some(met)), met, 60),
        ("a changed one", write_failure(Some(met)), Some((Uid(1), 11)), 1),
        ("another", write_failure(Some(met)), Some((Uid(2), 10)), 1),
        ("none", write_failure(Some(met)), None, 1),
        ("none as before", write_failure(Some(None)), None, 60),
        ("one where there was none", write_failure(Some(None)), met, 1),
        ("what lies elsewhere", write_failure(None), None, 60),
    ] {
        assert_eq!(write_failure.for_version(now).next, at(next), "{what}");
    }
}

#[test]
fn what_has_a_fixed_end_is_not_renewed_before_it_and_not_asked_for_after() {
    let until = |end: i64, case: Case| {
        let end = End { field: "spec.scope.x.expiredAt".into(), at: at(end) };
        let desired = DesiredToken { ends_at: Some(end), ..desired() };
        Case { desired: Some(Ok(desired)), ..case }.decide()
    };
    // a token that is valid until the end is the last
    let block = until(LIFETIME, Case { now: LIFETIME - 1, ..Case::default() });
    assert_eq!((block.step, block.cause, block.requeue_at), (TokenStep::Wait, None, Some(at(LIFETIME))));
    // one that ends sooner is renewed as any other
    let due = until(10 * LIFETIME, Case { now: LIFETIME - 1, ..Case::default() });
    assert_eq!(due.cause, Some(IssueCause::Due));
    // the end has passed: with a token, without one, and with one that was lost
    for case in [Case::default(), absent(), Case { data: DataView::Lost, ..Case::default() }] {
        let ended = until(LIFETIME, Case { now: LIFETIME, ..case });
        assert_eq!((ended.step, ended.cause, ended.requeue_at), (TokenStep::Wait, None, None));
        let refusal = ended.refusal.unwrap();
        assert_eq!(refusal.reason, ENDED);
        assert!(refusal.message.starts_with("spec.scope.x.expiredAt: has passed"), "{}", refusal.message);
    }
    // an issued token is dropped at the end, with its grant
    assert_eq!(
        until(LIFETIME, Case { now: LIFETIME, queue: QueueState::Granted, ..absent() }).step,
        TokenStep::Withdraw
    );
}

#[test]
fn of_several_causes_the_first_of_the_table_counts() {
    let other = || hash("other");
    // each line fixes the problem of the line before
    let secret = SecretFacts { request: Some(other()), ..secret() };
    let all = Case {
        now: 3000,
        secret: Some(secret.clone()),
        data: DataView::Lost,
        renew: Some("2026-09-21T15:00:00Z"),
        ..Case::default()
    };
    let whole = Case { data: DataView::Verified, ..all.clone() };
    let same = Case { secret: Some(SecretFacts { request: Some(hash("request")), ..secret }), ..whole.clone() };
    let unforced = Case { renew: None, ..same.clone() };
    let cases = [Case { secret: None, probed: true, ..all.clone() }, all, whole, same, unforced.clone()];
    for (case, (cause, _)) in cases.iter().zip(CAUSES) {
        assert_eq!(case.decide().cause, Some(cause), "{case:?}");
    }
    assert_eq!(Case { now: 100, ..unforced }.decide().cause, None);
}
