//! How many tokens had to be issued, from what happened: each issue has a cause, or was needless.

use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::fmt;

use super::promise::Life;
use super::spans::Span;

/// Why a token was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The object had none yet.
    First,
    /// The one before was due.
    Due,
    /// Another hand had deleted or altered the Secret.
    Repair,
    /// The answer with the one before broke off, or came too late.
    AnswerLost,
    /// The one before was in flight when the operator was killed or cut off, or the API server went away.
    Crash,
    /// The one before was signed with a key that has been replaced.
    OtherKey,
    /// None of these.
    Needless,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Due => "due",
            Self::Repair => "repair",
            Self::AnswerLost => "after a lost answer",
            Self::Crash => "after a crash in flight",
            Self::OtherKey => "with another key",
            Self::Needless => "needless",
        })
    }
}

/// A token that was issued for an object.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    /// From when to when it is good.
    pub life: Life,
    /// The provider broke its own answer off, or gave it too late.
    pub answer_lost: bool,
    /// It was seen in the Secret.
    pub stored: bool,
    /// How often the key that signed it had been replaced; 0 of what is not signed here.
    pub key: u32,
}

/// What befell one object.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Its tokens, oldest first.
    pub issues: Vec<Issue>,
    /// When another hand took its token away.
    pub touched: Vec<DateTime<Utc>>,
}

/// So long may a token be on its way from the provider to the Secret.
const IN_FLIGHT: TimeDelta = TimeDelta::seconds(12);

/// Providers' times are whole seconds, and clocks are read on both sides of a call.
const ROUNDED: TimeDelta = TimeDelta::seconds(1);

/// The cause of each issue. `upsets` is when an operator was killed or cut off, or the API server was away.
///
/// The token before is the measure, whether it was stored or not: who loses a token for no reason has issued it
/// needlessly.
pub fn causes<'a>(story: &'a Story, upsets: &'a [Span]) -> impl Iterator<Item = Cause> + 'a {
    let before = std::iter::once(None).chain(story.issues.iter().map(Some));
    before.zip(&story.issues).map(|(before, issue)| match before {
        None => Cause::First,
        Some(before) if before.key < issue.key => Cause::OtherKey,
        Some(before) => cause(before, issue.life.issued_at, &story.touched, upsets),
    })
}

fn cause(before: &Issue, now: DateTime<Utc>, touched: &[DateTime<Utc>], upsets: &[Span]) -> Cause {
    let Life { issued_at, expires_at } = before.life;
    // P02: a third of the life before its end, and a tenth of that third earlier
    if now + ROUNDED >= expires_at - before.life.length() * 11 / 30 {
        return Cause::Due;
    }
    if touched.iter().any(|at| (issued_at - ROUNDED..=now + ROUNDED).contains(at)) {
        return Cause::Repair;
    }
    if before.stored {
        return Cause::Needless;
    }
    let flight = Span { from: issued_at - ROUNDED, to: now.min(issued_at + IN_FLIGHT) };
    if before.answer_lost {
        Cause::AnswerLost
    } else if upsets.iter().any(|upset| upset.meets(flight)) {
        Cause::Crash
    } else {
        Cause::Needless
    }
}

/// How many of each cause.
pub fn tally(causes: impl IntoIterator<Item = Cause>) -> BTreeMap<Cause, u64> {
    let mut tally = BTreeMap::new();
    for cause in causes {
        *tally.entry(cause).or_default() += 1;
    }
    tally
}

/// All but the needless ones.
pub fn ideal(tally: &BTreeMap<Cause, u64>) -> u64 {
    tally.iter().filter(|(cause, _)| **cause != Cause::Needless).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::super::spans::tests::{at, span};
    use super::*;

    /// A token of a minute's life.
    fn issue(second: i64, stored: bool, answer_lost: bool) -> Issue {
        let life = Life { issued_at: at(second), expires_at: at(second + 60) };
        Issue { life, answer_lost, stored, key: 0 }
    }

    #[test]
    fn each_issue_has_its_cause() {
        type Case<'a> = (&'a str, (bool, bool), i64, &'a [i64], &'a [(i64, i64)], Cause);
        let (stored, lost, vanished) = ((true, false), (false, true), (false, false));
        let cases: [Case<'_>; 13] = [
            ("at two thirds of the life", stored, 40, &[], &[], Cause::Due),
            ("with all of the jitter", stored, 37, &[], &[], Cause::Due),
            ("earlier", stored, 36, &[], &[], Cause::Needless),
            ("much later", stored, 400, &[], &[], Cause::Due),
            ("the Secret was deleted", stored, 20, &[18], &[], Cause::Repair),
            ("before this token was there", stored, 20, &[-5], &[], Cause::Needless),
            ("its answer was cut", lost, 2, &[], &[], Cause::AnswerLost),
            ("the operator was killed with it in hand", vanished, 15, &[], &[(1, 1)], Cause::Crash),
            ("killed before it was issued", vanished, 15, &[], &[(-8, -8)], Cause::Needless),
            ("killed when it was long stored", vanished, 30, &[], &[(25, 25)], Cause::Needless),
            ("killed, but it was stored", stored, 15, &[], &[(1, 1)], Cause::Needless),
            ("issued while cut off", vanished, 15, &[], &[(-9, 12)], Cause::Crash),
            ("lost for no reason", vanished, 3, &[], &[], Cause::Needless),
        ];
        for (what, (stored, answer_lost), second, touched, upsets, expected) in cases {
            let story = Story {
                issues: vec![issue(0, stored, answer_lost), issue(second, true, false)],
                touched: touched.iter().copied().map(at).collect(),
            };
            let upsets: Vec<_> = upsets.iter().copied().map(span).collect();
            let found: Vec<_> = causes(&story, &upsets).collect();
            assert_eq!(found, [Cause::First, expected], "{what}");
        }
    }

    #[test]
    fn another_key_is_a_cause_once() {
        let keyed = |second, key| Issue { key, ..issue(second, true, false) };
        let issues = vec![keyed(0, 0), keyed(10, 1), keyed(12, 1), keyed(14, 2), keyed(16, 1)];
        let found: Vec<_> = causes(&Story { issues, touched: Vec::new() }, &[]).collect();
        assert_eq!(found, [Cause::First, Cause::OtherKey, Cause::Needless, Cause::OtherKey, Cause::Needless]);
    }

    #[test]
    fn the_ideal_is_all_but_the_needless() {
        let tally = tally([Cause::First, Cause::Due, Cause::Due, Cause::Needless, Cause::Crash]);
        assert_eq!((tally[&Cause::Due], ideal(&tally)), (2, 4));
    }
}
