//! Fights over a Secret, and Secrets that are stored otherwise than they were sent.

use super::*;

/// Three repairs at 90, 91 and 92.
#[allow(clippy::unnecessary_wraps)] // as a case has it
fn fought() -> Option<Contest> {
    let mut contest = Contest::new(1);
    (90..93).for_each(|second| contest.record_write(true, at(second)));
    Some(contest)
}

/// The Secret's label was stored otherwise at 90, or it was made immutable.
#[allow(clippy::unnecessary_wraps)] // as a case has it
fn overridden(not_writable: Option<NotWritable>) -> Option<Contest> {
    let stored = Stored::Text("theirs".into());
    let difference = Difference { field: "metadata.labels[app]".into(), sent: None, stored, not_writable };
    let mut contest = Contest::new(1);
    contest.record_stored(secret().version(), Some(difference), at(90));
    Some(contest)
}

#[test]
#[allow(clippy::too_many_lines, clippy::type_complexity)] // a table
fn p18_a_repair_in_a_fight_waits_and_nothing_else_does() {
    let unsaved = Some((hash("request"), 90));
    let unlabelled = || with_secret(|s| s.labelled = false);
    let lost = || Case { data: DataView::Lost, ..Case::default() };
    let gone = || Case { damaged: true, ..absent() };
    let reshaped = Some(Ok(DesiredToken { render: hash("other"), ..desired() }));
    let changed = Some(Ok(DesiredToken { request: hash("other"), ..desired() }));
    let contested = Some("SecretContested");
    let overrides = Some("SecretOverridden");
    let immutable = Some("SecretImmutable");
    // what, case, act, refusal, wake
    let cases: Vec<(&str, Case, &str, Option<&str>, Option<i64>)> = vec![
        ("a label", Case { contest: fought(), ..unlabelled() }, "wait", contested, Some(392)),
        ("a key", Case { contest: fought(), data: DataView::Altered, ..Case::default() }, "wait", contested, Some(392)),
        ("a token", Case { contest: fought(), ..lost() }, "wait", contested, Some(392)),
        ("an issued one", Case { contest: fought(), unsaved, ..lost() }, "wait", contested, Some(392)),
        (
            "with a grant",
            Case { contest: fought(), queue: QueueState::Granted, ..lost() },
            "withdraw",
            contested,
            Some(392),
        ),
        ("the whole Secret", Case { contest: fought(), ..gone() }, "wait", contested, Some(392)),
        ("until its time", Case { contest: fought(), now: 392, ..unlabelled() }, "render", None, None),
        ("of a lost token", Case { contest: fought(), unsaved, now: 392, ..lost() }, "store", None, None),
        (
            "two repairs are no fight",
            {
                let mut contest = Contest::new(1);
                (90..92).for_each(|second| contest.record_write(true, at(second)));
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
                (2398..2401).for_each(|second| contest.record_write(true, at(second)));
                Case { contest: Some(contest), now: 2400, unsaved: Some((hash("request"), 2399)), ..unlabelled() }
            },
            "store",
            None,
            None,
        ),
        ("nor another shape", Case { contest: fought(), desired: reshaped, ..unlabelled() }, "render", None, None),
        ("nor another request", Case { contest: fought(), desired: changed, ..unlabelled() }, "enqueue", None, None),
        ("what stands is no fight", Case { contest: fought(), now: 93, ..Case::default() }, "wait", None, Some(392)),
        (
            "but the report stays until the repair has lasted",
            Case { contest: fought(), now: 93, status: reported(), ..Case::default() },
            "wait",
            contested,
            Some(102),
        ),
        (
            "and no longer",
            Case { contest: fought(), now: 102, status: reported(), ..Case::default() },
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
        ("also an issued token", Case { contest: overridden(None), unsaved, ..lost() }, "wait", overrides, Some(390)),
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
            Case { contest: overridden(Some(NotWritable::Immutable)), ..Case::default() },
            "wait",
            None,
            None,
        ),
        (
            "then it is reported",
            Case { contest: overridden(Some(NotWritable::Immutable)), now: 2400, ..Case::default() },
            "wait",
            immutable,
            Some(LIFETIME),
        ),
        (
            "the former goes also while a label is fought over",
            Case { contest: fought(), old_secret: Some(secret()), ..unlabelled() },
            "remove former",
            None,
            None,
        ),
    ];
    for (what, case, act, refusal, requeue_at) in cases {
        let decision = case.decide();
        let reported = decision.refusal.as_ref().map(|refusal| &*refusal.reason);
        assert_eq!((kind(&decision.step), reported), (act, refusal), "{what}: {decision:?}");
        if requeue_at.is_some() {
            assert_eq!(decision.requeue_at, requeue_at.map(at), "{what}: {decision:?}");
        }
    }
}

fn reported() -> StatusFacts {
    let since = Seconds::from(at(50));
    let mut status = StatusFacts::default();
    status.conditions[2] = ConditionFacts { status: Some(true), reason: "SecretContested".into(), since };
    status
}

#[test]
fn p18_looks_have_a_pace_but_for_what_is_to_be_written_anyway() {
    let looked = || {
        let mut contest = Contest::new(1);
        (95..100).for_each(|second| contest.record_inspection(None, at(second)));
        Some(contest)
    };
    let changing = || Case { data: DataView::Unverified, contest: looked(), ..Case::default() };
    let changed = Some(Ok(DesiredToken { request: hash("other"), ..desired() }));
    let cases = [
        ("the sixth within a minute waits", changing(), "wait"),
        ("for its time", Case { now: 155, ..changing() }, "inspect"),
        ("not when another token is asked for", Case { desired: changed, ..changing() }, "inspect"),
        ("nor when the renewal is due", Case { now: 2400, ..changing() }, "inspect"),
        ("a deleted object's is looked at, too", Case { deleting: true, contest: None, ..changing() }, "inspect"),
        ("at the same pace", Case { deleting: true, ..changing() }, "wait"),
    ];
    for (what, case, act) in cases {
        let decision = case.decide();
        assert_eq!(kind(&decision.step), act, "{what}: {decision:?}");
        assert!(act != "wait" || decision.requeue_at.is_some(), "{what}");
    }
    assert_eq!(changing().decide().requeue_at, Some(at(155)));
}
