//! Logins, where failed ones lock a user at the provider (P07): the time of the next one.
//!
//! Only logins with a credential that hasn't worked yet are counted, over all provider objects that log the same user
//! in at the same host. The providers lock after five failures in 15 minutes. Three logins leave room for a user who
//! mistypes once or twice too. A fourth is reserved for an object whose login has worked before: a user who guesses
//! passwords must not keep the owner from rotating the password.

use crate::clock::Timestamp;
use chrono::{SecondsFormat, SubsecRound, TimeDelta};
use videotoken_api::wire_time;

/// Number of logins within [`WITHIN`] with credentials of objects whose login never worked.
const MOST: usize = 3;

/// Number of failures that lock a user.
const LOCKS: usize = 5;

/// 15 min, and one for the time that a login takes and the clocks of two operators.
pub const WITHIN: TimeDelta = TimeDelta::minutes(16);

/// Number of logins within [`WITHIN`] by all objects together.
const ALL: usize = LOCKS - 1;

/// A login that was made, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<W> {
    /// When.
    pub at: Timestamp,
    /// Which provider object's.
    pub by: W,
}

/// State of the credential of the object that wants to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The credential works, as far as is known.
    Works,
    /// The credential hasn't worked yet; an earlier one of the same object logged this user in.
    Worked,
    /// The credential hasn't worked, and no earlier one did.
    New,
}

/// Returns true if an attempt of that time still counts. One that lies further ahead was written by a wrong clock.
pub fn counts(at: Timestamp, now: Timestamp) -> bool {
    (at - now).abs() < WITHIN
}

/// Those that still count, oldest first, each once.
pub fn counting<W>(attempts: impl IntoIterator<Item = Attempt<W>>, now: Timestamp) -> Vec<Attempt<W>> {
    let mut counting: Vec<_> = attempts.into_iter().filter(|attempt| counts(attempt.at, now)).collect();
    counting.sort_by_key(|attempt| attempt.at);
    counting.dedup_by_key(|attempt| attempt.at);
    counting
}

/// Returns the timestamp to record for a login made now: whole milliseconds, different from every attempt in
/// `counting`.
pub fn attempt<W>(counting: &[Attempt<W>], now: Timestamp) -> Timestamp {
    let mut at = now.trunc_subsecs(3) + TimeDelta::milliseconds(1);
    while counting.iter().any(|attempt| attempt.at == at) {
        at += TimeDelta::milliseconds(1);
    }
    at
}

/// Returns true if a login is recorded before it is made. One with a credential that works isn't, unless one more failure
/// would lock the user.
pub fn is_recorded<W>(counting: &[Attempt<W>], works: bool) -> bool {
    !works || would_lock(counting)
}

/// Decision on a login that is recorded before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The login may be made once it is recorded with this time.
    Record(Timestamp),
    /// As many logins were made as are safe. The next may be made at this time.
    UsedUp(Timestamp),
}

/// Decides on a login of `who` that is recorded before it is made. `works`: its credential works; `worked`: the objects
/// whose logins of this user have worked.
pub fn permit<W: PartialEq>(counting: &[Attempt<W>], who: &W, works: bool, worked: &[W], now: Timestamp) -> Permit {
    let standing = match worked.contains(who) {
        _ if works => Standing::Works,
        true => Standing::Worked,
        false => Standing::New,
    };
    match next(counting, who, standing, worked) {
        Some(next) => Permit::UsedUp(next),
        None => Permit::Record(attempt(counting, now)),
    }
}

/// An attempt as a status records it: its time in RFC 3339 with milliseconds, a space, and who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the login was made.
    pub at: Timestamp,
    /// Hash of the user who logged in.
    pub login: String,
}

impl Record {
    /// Reads a record. `None`: the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (at, login) = text.split_once(' ')?;
        Some(Self { at: wire_time::parse(at)?, login: login.to_owned() })
    }

    /// Returns the record as a text of at most 64 bytes, the CRD's bound.
    pub fn text(&self) -> String {
        format!("{} {}", self.at.to_rfc3339_opts(SecondsFormat::Millis, true), self.login)
    }
}

/// When `who` may make the next. `None`: now. `worked`: the objects whose logins of this user have worked.
pub fn next<W: PartialEq>(counting: &[Attempt<W>], who: &W, standing: Standing, worked: &[W]) -> Option<Timestamp> {
    let over =
        (0..counting.len()).find(|over| may(&counting[*over..], who, standing, worked)).unwrap_or(counting.len());
    over.checked_sub(1).map(|last| counting[last].at + WITHIN)
}

/// Returns true if one more failure would lock the user: then even a login that works is held back.
fn would_lock<W>(counting: &[Attempt<W>]) -> bool {
    counting.len() >= ALL
}

fn may<W: PartialEq>(counting: &[Attempt<W>], who: &W, standing: Standing, worked: &[W]) -> bool {
    let has_tried = |who: &W| counting.iter().any(|attempt| attempt.by == *who);
    // one is reserved for each object that has worked; however many there are, a new object has one too
    let kept = worked.iter().filter(|other| *other != who && !has_tried(other)).count().min(ALL - 1);
    let made = counting.len();
    match standing {
        Standing::Works => made < ALL,
        Standing::Worked if !has_tried(who) => made < ALL,
        Standing::Worked | Standing::New => made < MOST && made + kept < ALL,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn p07_three_logins_may_be_made_in_a_quarter_of_an_hour() {
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
            let counting = counting(attempts, at(now));
            assert_eq!(next(&counting, &(), Standing::New, &[]), expected.map(at), "{counting:?} at {now}");
        }
    }

    #[test]
    fn p07_one_login_is_kept_for_each_object_whose_login_has_worked() {
        use Standing::{New, Worked, Works};
        // who made the attempts, one a second; who has worked; who asks; when it may
        let cases: [(&str, &str, char, Standing, Option<i64>); 20] = [
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
            // an object that none is reserved for
            ("", "stuvw", 'n', New, None),
            ("x", "stuvw", 'n', New, Some(960)),
            ("x", "stuvw", 'v', Worked, None),
            ("xstu", "stuvw", 'v', Worked, Some(960)),
            ("xstu", "stuvw", 'v', Works, Some(960)),
        ];
        for (made, worked, who, standing, expected) in cases {
            let counting: Vec<_> = (0..).zip(made.chars()).map(|(n, by)| Attempt { at: at(n), by }).collect();
            let worked: Vec<char> = worked.chars().collect();
            let next = next(&counting, &who, standing, &worked);
            assert_eq!(next, expected.map(at), "{made} of {worked:?}: {who} {standing:?}");
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
                written = counting(written, now);
                if next(&written, &(), Standing::New, &[]).is_none() {
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
                written = counting(written, now);
                let standing = match worked.contains(&who) {
                    false => Standing::New,
                    true if works => Standing::Works,
                    true => Standing::Worked,
                };
                match next(&written, &who, standing, &worked) {
                    None => {
                        written.push(Attempt { at: attempt(&written, now), by: who });
                        made.push(now);
                    }
                    Some(later) => prop_assert!(later > now),
                }
            }
            for locking in made.windows(LOCKS) {
                prop_assert!(locking[LOCKS - 1] - locking[0] > TimeDelta::minutes(15));
            }
        }
    }
}
