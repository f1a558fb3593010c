//! Limits of logins for token APIs that lock a user after failed logins (P07).
//!
//! Only logins with an unverified credential count, over all providers that log in the same user at the same host. The
//! token APIs lock a user after 5 failures in 15 minutes. Three logins leave room for a person's own mistakes. A
//! fourth one is reserved for a credential of a provider whose login has worked before: another provider that guesses
//! passwords can't prevent the rotation of the user's password.

use crate::clock::Timestamp;
use chrono::{SecondsFormat, SubsecRound, TimeDelta};
use videotoken_api::wire_time;

/// Maximum number of logins within [`ATTEMPT_WINDOW`] for providers whose login never worked.
const MAX_UNVERIFIED: usize = 3;

/// Number of failures that lock a user.
const FAILURES_THAT_LOCK: usize = 5;

/// Window of counted logins: 15 minutes, and one for the duration of a login and the clocks of two operators.
pub const ATTEMPT_WINDOW: TimeDelta = TimeDelta::minutes(16);

/// Maximum number of logins within [`ATTEMPT_WINDOW`] for all providers together.
const MAX_ATTEMPTS: usize = FAILURES_THAT_LOCK - 1;

/// A login attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<W> {
    /// Time of the attempt.
    pub at: Timestamp,
    /// Provider that made the attempt.
    pub by: W,
}

/// State of the credential of the provider that logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialHistory {
    /// The credential works, as far as is known.
    Works,
    /// The credential has not worked yet; an earlier credential of the same provider has.
    Worked,
    /// No credential of the provider has worked.
    New,
}

/// Returns true if an attempt of this time counts. Times that are too far in the future come from a wrong clock and
/// don't count.
pub fn counts(at: Timestamp, now: Timestamp) -> bool {
    (at - now).abs() < ATTEMPT_WINDOW
}

/// Returns the attempts that count, oldest first, without duplicates.
pub fn attempts_in_window<W>(attempts: impl IntoIterator<Item = Attempt<W>>, now: Timestamp) -> Vec<Attempt<W>> {
    let mut attempts: Vec<_> = attempts.into_iter().filter(|attempt| counts(attempt.at, now)).collect();
    attempts.sort_by_key(|attempt| attempt.at);
    attempts.dedup_by_key(|attempt| attempt.at);
    attempts
}

/// Returns the timestamp to record for a login made now: whole milliseconds, different from every counted attempt.
pub fn attempt<W>(attempts: &[Attempt<W>], now: Timestamp) -> Timestamp {
    let mut at = now.trunc_subsecs(3) + TimeDelta::milliseconds(1);
    while attempts.iter().any(|attempt| attempt.at == at) {
        at += TimeDelta::milliseconds(1);
    }
    at
}

/// Returns true if a login must be recorded before it is made. A login with a working credential is only recorded if
/// one more failure would lock the user.
pub fn is_recorded<W>(attempts: &[Attempt<W>], works: bool) -> bool {
    !works || would_lock(attempts)
}

/// Result for a login that must be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The login may be made after it is recorded with this time.
    Record(Timestamp),
    /// The safe logins are used up: the next one may be made at this time.
    UsedUp(Timestamp),
}

/// Decides about a login of `who` that must be recorded. `works`: its credential works. `worked`: the providers whose
/// logins of this user have worked.
pub fn permit<W: PartialEq>(attempts: &[Attempt<W>], who: &W, works: bool, worked: &[W], now: Timestamp) -> Permit {
    let history = match worked.contains(who) {
        _ if works => CredentialHistory::Works,
        true => CredentialHistory::Worked,
        false => CredentialHistory::New,
    };
    match next(attempts, who, history, worked) {
        Some(next) => Permit::UsedUp(next),
        None => Permit::Record(attempt(attempts, now)),
    }
}

/// An attempt in the form that a status records: its time in RFC 3339 with milliseconds, a space, and the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Time of the login.
    pub at: Timestamp,
    /// Hash of the user.
    pub login: String,
}

impl Record {
    /// Reads a record. `None`: the text has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, login) = text.split_once(' ')?;
        Some(Self { at: wire_time::parse(at)?, login: login.to_owned() })
    }

    /// Returns the record as a string of at most 64 bytes, the limit of the CRD.
    pub fn text(&self) -> String {
        format!("{} {}", self.at.to_rfc3339_opts(SecondsFormat::Millis, true), self.login)
    }
}

/// Returns the time of the next login of `who`. `None`: now. `worked`: the providers whose logins of this user have
/// worked.
pub fn next<W: PartialEq>(
    attempts: &[Attempt<W>],
    who: &W,
    history: CredentialHistory,
    worked: &[W],
) -> Option<Timestamp> {
    let over =
        (0..attempts.len()).find(|over| is_allowed(&attempts[*over..], who, history, worked)).unwrap_or(attempts.len());
    over.checked_sub(1).map(|last| attempts[last].at + ATTEMPT_WINDOW)
}

/// Returns true if one more failure would lock the user: even a working credential must then wait.
fn would_lock<W>(attempts: &[Attempt<W>]) -> bool {
    attempts.len() >= MAX_ATTEMPTS
}

fn is_allowed<W: PartialEq>(attempts: &[Attempt<W>], who: &W, history: CredentialHistory, worked: &[W]) -> bool {
    let has_tried = |who: &W| attempts.iter().any(|attempt| attempt.by == *who);
    // one login is reserved for each provider that has worked, but a new provider always has one too
    let kept = worked.iter().filter(|other| *other != who && !has_tried(other)).count().min(MAX_ATTEMPTS - 1);
    let made = attempts.len();
    match history {
        CredentialHistory::Works => made < MAX_ATTEMPTS,
        CredentialHistory::Worked if !has_tried(who) => made < MAX_ATTEMPTS,
        CredentialHistory::Worked | CredentialHistory::New => made < MAX_UNVERIFIED && made + kept < MAX_ATTEMPTS,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use proptest::prelude::*;

    #[test]
    fn p07_three_logins_may_be_made_in_16_minutes() {
        // attempts, now, when the next may be made
        let cases: [(&[i64], i64, Option<i64>); 8] = [
            (&[], 0, None),
            (&[0, 10], 20, None),
            (&[0, 10, 20], 30, Some(960)),
            (&[20, 0, 10], 30, Some(960)),
            (&[0, 10, 20], 959, Some(960)),
            (&[0, 10, 20], 960, None),
            (&[0, 10, 20, 30, 40], 50, Some(20 + 960)),
            // another operator's clock was wrong: what lies far ahead doesn't count for ever
            (&[9000, 9001, 9002], 0, None),
        ];
        for (attempts, now, expected) in cases {
            let attempts = attempts.iter().map(|seconds| Attempt { at: at(*seconds), by: () });
            let attempts = attempts_in_window(attempts, at(now));
            assert_eq!(next(&attempts, &(), CredentialHistory::New, &[]), expected.map(at), "{attempts:?} at {now}");
        }
    }

    #[test]
    fn p07_one_login_is_kept_for_each_object_whose_login_has_worked() {
        use CredentialHistory::{New, Worked, Works};
        // who made the attempts, one a second; who has worked; who asks; when it may
        let cases: [(&str, &str, char, CredentialHistory, Option<i64>); 20] = [
            ("xyz", "", 'n', New, Some(960)),
            // one has worked: three for all others, and one for it
            ("xy", "v", 'n', New, None),
            ("xyz", "v", 'n', New, Some(960)),
            ("xyz", "v", 'v', Worked, None),
            ("xyz", "v", 'v', Works, None),
            ("xyzv", "v", 'v', Worked, Some(961)),
            ("xyzv", "v", 'v', Works, Some(960)),
            ("xyzv", "v", 'n', New, Some(961)),
            // it has had its own: it is as any other
            ("v", "v", 'v', Worked, None),
            ("vx", "v", 'v', Worked, None),
            ("vxy", "v", 'v', Worked, Some(960)),
            ("vxy", "v", 'n', New, Some(960)),
            // two have
            ("xy", "vw", 'n', New, Some(960)),
            ("xyw", "vw", 'v', Worked, None),
            ("xyw", "vw", 'n', New, Some(960)),
            // a provider without a reserved login
            ("", "stuvw", 'n', New, None),
            ("x", "stuvw", 'n', New, Some(960)),
            ("x", "stuvw", 'v', Worked, None),
            ("xstu", "stuvw", 'v', Worked, Some(960)),
            ("xstu", "stuvw", 'v', Works, Some(960)),
        ];
        for (made, worked, who, history, expected) in cases {
            let attempts: Vec<_> = (0..).zip(made.chars()).map(|(n, by)| Attempt { at: at(n), by }).collect();
            let worked: Vec<char> = worked.chars().collect();
            let next = next(&attempts, &who, history, &worked);
            assert_eq!(next, expected.map(at), "{made} of {worked:?}: {who} {history:?}");
        }
    }

    #[test]
    fn p07_only_what_could_lock_the_user_is_recorded() {
        let made = |count: i64| -> Vec<_> { (0..count).map(|n| Attempt { at: at(n), by: 'x' }).collect() };
        // attempts, whether the credential works, whether it is recorded
        for (count, works, recorded) in [(0, false, true), (0, true, false), (3, true, false), (4, true, true)] {
            assert_eq!(is_recorded(&made(count), works), recorded, "{count} {works}");
        }
        assert_eq!(permit(&made(2), &'n', false, &[], at(9)), Permit::Record(attempt(&made(2), at(9))));
        assert_eq!(permit(&made(3), &'n', false, &[], at(9)), Permit::UsedUp(at(960)));
        assert_eq!(permit(&made(3), &'n', false, &['n'], at(9)), Permit::Record(attempt(&made(3), at(9))));
        assert_eq!(permit(&made(3), &'n', true, &[], at(9)), Permit::Record(attempt(&made(3), at(9))));
        assert_eq!(permit(&made(4), &'n', true, &['n'], at(9)), Permit::UsedUp(at(960)));
    }

    #[test]
    fn p07_an_attempt_tells_who_logged_in() {
        let text = "2026-11-27T01:02:03.004Z 00112233445566778899aabbccddeeff";
        let record = Record::parse(text).unwrap();
        assert_eq!(record.login, "00112233445566778899aabbccddeeff");
        assert_eq!(record.text(), text);
        assert!(text.len() <= 64, "the CRD's bound");
        for none in ["", "2026-11-27T01:02:03.004Z", "yesterday someone"] {
            assert!(Record::parse(none).is_none(), "{none}");
        }
    }

    proptest! {
        #[test]
        fn p07_no_span_of_15_min_sees_four(steps in proptest::collection::vec(0i64..600_000, 1..60)) {
            let (mut now, mut written, mut made) = (at(0), Vec::new(), Vec::new());
            for step in steps {
                now += TimeDelta::milliseconds(step);
                written = attempts_in_window(written, now);
                if next(&written, &(), CredentialHistory::New, &[]).is_none() {
                    written.push(Attempt { at: attempt(&written, now), by: () });
                    made.push(now);
                }
            }
            for four in made.windows(4) {
                prop_assert!(four[3] - four[0] > TimeDelta::minutes(15));
            }
        }

        #[test]
        fn p07_no_span_of_15_min_sees_as_many_as_lock_whoever_has_worked(
            steps in proptest::collection::vec((0i64..300_000, 0usize..8, any::<bool>()), 1..80),
            worked in proptest::collection::vec(0usize..8, 0..8),
        ) {
            let (mut now, mut written, mut made) = (at(0), Vec::new(), Vec::new());
            for (step, who, works) in steps {
                now += TimeDelta::milliseconds(step);
                written = attempts_in_window(written, now);
                let history = match worked.contains(&who) {
                    false => CredentialHistory::New,
                    true if works => CredentialHistory::Works,
                    true => CredentialHistory::Worked,
                };
                match next(&written, &who, history, &worked) {
                    None => {
                        written.push(Attempt { at: attempt(&written, now), by: who });
                        made.push(now);
                    }
                    Some(later) => prop_assert!(later > now),
                }
            }
            for locking in made.windows(FAILURES_THAT_LOCK) {
                prop_assert!(locking[FAILURES_THAT_LOCK - 1] - locking[0] > TimeDelta::minutes(15));
            }
        }
    }
}
