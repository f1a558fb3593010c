use super::*;
use crate::tests::at;

fn fought(repairs: &[i64]) -> Contest {
    let mut contest = Contest::new(1);
    for second in repairs {
        contest.record_write(true, at(*second));
    }
    contest
}

#[test]
fn p18_the_first_three_repairs_of_a_minute_are_free_and_then_there_is_one_in_five_minutes() {
    // repairs, now, when the next is due
    let cases: [(&[i64], i64, Option<i64>); 12] = [
        (&[], 0, None),
        (&[0], 0, None),
        (&[0, 1], 1, None),
        (&[0, 1, 2], 2, Some(302)),
        (&[0, 30, 59], 60, Some(359)),
        (&[0, 30, 60], 60, None),
        (&[0, 30, 61, 89], 89, Some(389)),
        (&[0, 1, 2], 301, Some(302)),
        (&[0, 1, 2], 302, None),
        (&[0, 1, 2, 302], 303, Some(602)),
        // the clock was put back
        (&[1000, 1001, 1002], 0, None),
        (&[1000, 1001, 1002, 0], 1, Some(300)),
    ];
    for (repairs, now, next) in cases {
        assert_eq!(fought(repairs).next_repair(at(now)), next.map(at), "{repairs:?} at {now}");
    }
}

#[test]
fn p18_a_renewal_is_no_repair_and_counts_for_the_pace() {
    let mut contest = Contest::new(1);
    for second in 0..9 {
        contest.record_write(false, at(second));
    }
    assert!(!contest.is_slowed());
    let mut contest = fought(&[0, 1, 2]);
    contest.record_write(false, at(100));
    assert_eq!(contest.next_repair(at(101)), Some(at(400)));
}

#[test]
fn p18_a_fight_is_over_when_a_repair_has_stood_for_five_minutes() {
    let mut contest = fought(&[0, 1, 2]);
    assert!(!contest.forget(None, at(301)));
    assert!(contest.is_slowed());
    assert_eq!(contest.ends(at(301)), Some(at(302)));
    assert!(contest.forget(None, at(302)));
    assert_eq!(contest, Contest::new(1));
    // two are no fight: they are forgotten after a minute
    let mut contest = fought(&[0, 1]);
    assert!(!contest.forget(None, at(59)));
    assert!(contest.forget(None, at(61)));
}

#[test]
fn p18_whoever_starts_in_a_fight_gets_no_new_repairs_at_once() {
    let contest = Contest::restored(4, at(0));
    assert!(contest.is_of(4) && !contest.is_of(5));
    assert_eq!(contest.next_repair(at(200)), Some(at(300)));
    let mut later = contest;
    assert_eq!(later.next_repair(at(1000)), None);
    later.record_write(true, at(1000));
    assert_eq!(later.next_repair(at(1001)), Some(at(1300)));
}

#[test]
fn p18_a_secret_that_changes_all_the_time_is_looked_at_five_times_a_minute() {
    let mut contest = Contest::new(1);
    for second in 0..5 {
        assert_eq!(contest.next_inspection(at(second)), None);
        contest.record_inspection(None, at(second));
    }
    assert_eq!(contest.next_inspection(at(5)), Some(at(60)));
    assert_eq!(contest.next_inspection(at(60)), None);
    contest.record_inspection(None, at(60));
    assert_eq!(contest.next_inspection(at(60)), Some(at(61)));
    assert_eq!(contest.next_inspection(at(0)), None, "the clock was put back");
    assert!(contest.forget(None, at(200)));
}

#[test]
fn p18_the_first_contender_of_a_fight_is_told_throughout() {
    let contender = |manager: &str| Some(Contender { field: "data[token]".into(), manager: Some(manager.to_owned()) });
    let mut contest = Contest::new(1);
    contest.record_inspection(contender("kubectl-edit"), at(0));
    contest.record_inspection(contender("externalsecrets"), at(1));
    for second in 1..4 {
        contest.record_write(true, at(second));
    }
    contest.record_inspection(contender("argocd"), at(4));
    contest.record_inspection(None, at(5));
    let reported = contest.refusal();
    assert_eq!(reported.reason, "SecretContested");
    for word in ["\"externalsecrets\"", "data[token]", "5 minutes", "spec.secret.name"] {
        assert!(reported.message.contains(word), "{word:?} is not in {:?}", reported.message);
    }
}

#[test]
fn p18_what_is_stored_otherwise_is_told_of_that_secret_alone() {
    let label = Difference {
        field: "metadata.labels[app.kubernetes.io/managed-by]".into(),
        sent: Some("video-token-operator".into()),
        stored: Stored::Text("platform-team".into()),
        not_writable: None,
    };
    let mut contest = Contest::new(1);
    contest.record_stored((Uid(1), 10), Some(label), at(0));
    let reported = contest.overridden(Some((Uid(1), 10))).unwrap().clone();
    for word in ["managed-by", "sent \"video-token-operator\"", "stored \"platform-team\"", "5 minutes"] {
        assert!(reported.message.contains(word), "{word:?} is not in {:?}", reported.message);
    }
    for other in [None, Some((Uid(1), 11)), Some((Uid(2), 10))] {
        assert_eq!(contest.overridden(other), None, "{other:?}");
    }
    assert!(!contest.clone().forget(Some((Uid(1), 10)), at(1)));
    assert!(contest.forget(Some((Uid(1), 11)), at(1)), "another version is another matter");
}
