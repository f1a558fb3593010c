//! When a workload is restarted for the tokens that it reads (`spec.rolloutRestart`), and by which mark.
//!
//! A restart is due while the token in the Secret isn't the one that `status.restartedFor` speaks of. Both last, so it
//! is neither lost nor made twice by a crash: the mark on the workload follows from the tokens alone, and to set the
//! mark that is there already changes nothing.

use super::facts::{Seconds, Uid};
use super::hash::Hash;
use crate::clock::Timestamp;
use chrono::{SecondsFormat, TimeDelta};

/// Tokens of one workload that are renewed within this time are one restart.
const FOLD: TimeDelta = TimeDelta::seconds(60);

/// One of the tokens that name a workload.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Its object.
    pub uid: Uid,
    /// When the token in its Secret was issued; none before the first.
    pub issued_at: Seconds,
    /// `status.restartedFor`, or else the `status.issuedAt` that the last status told of.
    pub restarted_for: Seconds,
    /// From its renewal to its expiry, as far as known.
    pub margin: Option<TimeDelta>,
}

/// What a workload needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Its pods have started with the tokens as they are.
    None,
    /// A restart at this time; until then other tokens of it may be renewed.
    At(Timestamp),
    /// A restart, by this mark.
    Now(String),
}

/// Whether a token has taken the place of another since the last restart.
///
/// The first token of a new object has not, nor has one that was there when `spec.rolloutRestart` was set: `before` is
/// none then, or that token itself. One that was issued since because its Secret was lost has.
pub fn is_due(issued_at: Seconds, before: Seconds) -> bool {
    issued_at != Seconds::default() && before != Seconds::default() && issued_at != before
}

/// What a workload needs that is named by these tokens.
///
/// One that several tokens name waits for the others, from the first renewal on: a minute, or half the time that the
/// renewed one had left if that is less.
pub fn decide(tokens: &[Naming], now: Timestamp) -> Restart {
    let due = tokens.iter().filter(|token| is_due(token.issued_at, token.restarted_for)).filter_map(|token| {
        // what was issued far in the future was issued before the clock was put back
        let issued_at = token.issued_at.time()?;
        let fold = token.margin.map_or(FOLD, |margin| (margin / 2).clamp(TimeDelta::zero(), FOLD));
        let alone = tokens.len() == 1 || issued_at > now + FOLD;
        Some(if alone { now } else { issued_at + fold })
    });
    match due.min() {
        None => Restart::None,
        Some(at) if now < at => Restart::At(at),
        Some(_) => Restart::Now(mark(tokens)),
    }
}

/// The mark of a restart for these tokens: when the newest was issued, and as its fraction of a second a checksum of
/// all. So the same tokens give the same mark, and any other token another, also one that is stored after a newer one.
fn mark(tokens: &[Naming]) -> String {
    let mut tokens: Vec<_> = tokens.iter().map(|token| (token.uid.0, token.issued_at)).collect();
    tokens.sort_unstable();
    let parts: Vec<_> = tokens.iter().map(|(uid, at)| (uid.to_be_bytes(), at.0.to_be_bytes())).collect();
    let all = Hash::of(parts.iter().flat_map(|(uid, at)| [uid.as_slice(), at.as_slice()]));
    let fraction = all.short() % 1_000_000_000;
    let newest = tokens.iter().map(|(_, at)| at.0).max().unwrap_or_default();
    let at = Timestamp::from_timestamp(newest, u32::try_from(fraction).unwrap_or_default()).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    /// A token by its issue, the one before the last restart (0: none), and its margin.
    fn token(uid: u128, issued_at: i64, before: i64, margin: i64) -> Naming {
        let seconds = |s: i64| if s == 0 { Seconds::default() } else { Seconds::from(at(s)) };
        Naming {
            uid: Uid(uid),
            issued_at: seconds(issued_at),
            restarted_for: seconds(before),
            margin: Some(TimeDelta::seconds(margin)),
        }
    }

    #[test]
    fn each_situation_has_its_restart() {
        #[derive(Debug, PartialEq)]
        enum Wants {
            None,
            At(i64),
            Now,
        }
        let hour = 1200;
        let cases = [
            ("the first token of an object", vec![token(1, 100, 0, hour)], 100, Wants::None),
            ("no token yet", vec![token(1, 0, 0, hour)], 100, Wants::None),
            ("restarted, or not renewed since it was named", vec![token(1, 100, 100, hour)], 4000, Wants::None),
            ("the Secret was lost and is not there yet", vec![token(1, 0, 100, hour)], 101, Wants::None),
            ("renewed", vec![token(1, 200, 100, hour)], 200, Wants::Now),
            ("renewed long ago: the restart failed until now", vec![token(1, 200, 100, hour)], 9000, Wants::Now),
            ("the clock was put back since", vec![token(1, 200, 100, hour)], 50, Wants::Now),
            ("issued a second after another: a second ahead", vec![token(1, 201, 200, hour)], 200, Wants::Now),
            ("one of two, a second ahead", vec![token(1, 201, 200, hour), token(2, 90, 90, hour)], 200, Wants::At(261)),
            ("one of two", vec![token(1, 200, 100, hour), token(2, 90, 90, hour)], 200, Wants::At(260)),
            ("one of two, a minute ago", vec![token(1, 200, 100, hour), token(2, 90, 90, hour)], 260, Wants::Now),
            ("both", vec![token(1, 200, 100, hour), token(2, 230, 90, hour)], 231, Wants::At(260)),
            (
                "the second may wait for less",
                vec![token(1, 200, 100, hour), token(2, 230, 90, 20)],
                231,
                Wants::At(240),
            ),
            ("with little time left", vec![token(1, 200, 100, 30), token(2, 90, 90, hour)], 200, Wants::At(215)),
            ("with none left", vec![token(1, 200, 100, -5), token(2, 90, 90, hour)], 200, Wants::Now),
            (
                "issued before another, stored after",
                vec![token(1, 200, 100, hour), token(2, 300, 300, 9)],
                400,
                Wants::Now,
            ),
            (
                "one of two, and the clock put back",
                vec![token(1, 200, 100, hour), token(2, 90, 90, hour)],
                50,
                Wants::Now,
            ),
            ("named by nobody", vec![], 100, Wants::None),
        ];
        for (case, tokens, now, wants) in cases {
            let got = match decide(&tokens, at(now)) {
                Restart::None => Wants::None,
                Restart::At(when) => Wants::At((when - at(0)).num_seconds()),
                Restart::Now(_) => Wants::Now,
            };
            assert_eq!(got, wants, "{case}");
        }
    }

    #[test]
    fn an_unknown_margin_is_a_long_one() {
        let renewed = Naming { margin: None, ..token(1, 200, 100, 0) };
        assert_eq!(decide(&[renewed, token(2, 90, 90, 0)], at(200)), Restart::At(at(260)));
    }

    #[test]
    fn a_mark_is_a_time_near_the_newest_token_s_issue() {
        let Restart::Now(mark) = decide(&[token(1, 200, 100, 0), token(2, 150, 100, 0)], at(300)) else { panic!() };
        let time = videotoken_api::wire_time::parse(&mark).unwrap();
        assert!((at(200)..at(201)).contains(&time), "{mark}");
    }

    proptest! {
        /// So neither a repeated restart after a crash, nor one that comes late, nor what a status tells meanwhile
        /// makes a difference.
        #[test]
        fn the_mark_depends_on_all_tokens_and_on_nothing_else(
            tokens in proptest::collection::btree_map(any::<u128>(), 1..9_000i64, 1..5),
            changed in any::<proptest::sample::Index>(),
            other in 1..9_000i64,
        ) {
            let tokens: Vec<_> = tokens.into_iter().map(|(uid, issued)| token(uid, issued, 0, 0)).collect();
            let mut again: Vec<_> = tokens.iter().map(|token| Naming { restarted_for: token.issued_at, ..*token }).collect();
            again.reverse();
            prop_assert_eq!(mark(&tokens), mark(&again));
            let changed = changed.get(&tokens).uid;
            for token in &mut again {
                if token.uid == changed {
                    token.issued_at = Seconds::from(at(other));
                }
            }
            let same = again.iter().all(|a| tokens.iter().any(|t| t.uid == a.uid && t.issued_at == a.issued_at));
            prop_assert_eq!(mark(&tokens) == mark(&again), same);
        }
    }
}
