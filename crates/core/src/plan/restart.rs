//! Decides when a workload is restarted after a renewal (`spec.rolloutRestart`), and with which annotation value.
//!
//! A restart is due while the token in the Secret differs from the one recorded in `status.restartedFor`. Both are
//! stored, so a crash neither loses nor repeats a restart. The annotation value depends only on the tokens, and
//! setting the same value again changes nothing.

use super::facts::{Seconds, Uid};
use super::hash::Hash;
use crate::clock::Timestamp;
use chrono::{SecondsFormat, TimeDelta};

/// Time within which renewals of one workload share a restart.
const BATCH_WINDOW: TimeDelta = TimeDelta::seconds(60);

/// State of one VideoAccessToken that declares the workload.
#[derive(Clone, Copy, Debug)]
pub struct TokenRestartState {
    /// UID of the VideoAccessToken.
    pub uid: Uid,
    /// Issue time of the token in its Secret; none before the first token.
    pub issued_at: Seconds,
    /// `status.restartedFor`, or else `status.issuedAt` of the last status.
    pub restarted_for: Seconds,
    /// Time from its renewal to its expiry, if known.
    pub margin: Option<TimeDelta>,
}

/// Restart of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The Pods started with the current tokens and need no restart.
    None,
    /// A restart at this time; until then, other tokens of the workload may be renewed.
    At(Timestamp),
    /// A restart now, with this annotation value.
    Now(String),
}

/// Returns true if the token replaced another one since the last restart.
///
/// The first token of a VideoAccessToken, and a token that existed when `spec.rolloutRestart` was set, cause no
/// restart: `before` is none, or that token. A token that was issued because its Secret was lost does.
pub fn is_due(issued_at: Seconds, before: Seconds) -> bool {
    issued_at != Seconds::default() && before != Seconds::default() && issued_at != before
}

/// Returns the restart that a workload with these tokens needs.
///
/// If several tokens belong to the workload, the restart waits for their renewals after the first one: one minute, or
/// half of the time that the renewed token had left, if that is shorter.
pub fn decide(tokens: &[TokenRestartState], now: Timestamp) -> Restart {
    let due = tokens.iter().filter(|token| is_due(token.issued_at, token.restarted_for)).filter_map(|token| {
        // a token from the future was issued before the clock was set back
        let issued_at = token.issued_at.time()?;
        let window = token.margin.map_or(BATCH_WINDOW, |margin| (margin / 2).clamp(TimeDelta::zero(), BATCH_WINDOW));
        let alone = tokens.len() == 1 || issued_at > now + BATCH_WINDOW;
        Some(if alone { now } else { issued_at + window })
    });
    match due.min() {
        None => Restart::None,
        Some(at) if now < at => Restart::At(at),
        Some(_) => Restart::Now(restart_stamp(tokens)),
    }
}

/// Returns the annotation value for these tokens: the issue time of the newest one, with a checksum of all as the
/// fraction of its second. Any other set of tokens has another value.
fn restart_stamp(tokens: &[TokenRestartState]) -> String {
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
    use crate::tests::at;
    use proptest::prelude::*;

    /// A token by its issue, the one before the last restart (0: none), and its margin.
    fn token(uid: u128, issued_at: i64, before: i64, margin: i64) -> TokenRestartState {
        let seconds = |s: i64| if s == 0 { Seconds::default() } else { Seconds::from(at(s)) };
        TokenRestartState {
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
            ("without a VideoAccessToken", vec![], 100, Wants::None),
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
        let renewed = TokenRestartState { margin: None, ..token(1, 200, 100, 0) };
        assert_eq!(decide(&[renewed, token(2, 90, 90, 0)], at(200)), Restart::At(at(260)));
    }

    #[test]
    fn a_mark_is_a_time_near_the_newest_token_s_issue() {
        let Restart::Now(restart_stamp) = decide(&[token(1, 200, 100, 0), token(2, 150, 100, 0)], at(300)) else {
            panic!()
        };
        let time = videotoken_api::wire_time::parse(&restart_stamp).unwrap();
        assert!((at(200)..at(201)).contains(&time), "{restart_stamp}");
    }

    proptest! {
        /// The restarts of a workload are the same after a crash, after a delay, and with an older status.
        #[test]
        fn the_mark_depends_on_all_tokens_and_on_nothing_else(
            tokens in proptest::collection::btree_map(any::<u128>(), 1..9_000i64, 1..5),
            changed in any::<proptest::sample::Index>(),
            other in 1..9_000i64,
        ) {
            let tokens: Vec<_> = tokens.into_iter().map(|(uid, issued)| token(uid, issued, 0, 0)).collect();
            let mut again: Vec<_> = tokens.iter().map(|token| TokenRestartState { restarted_for: token.issued_at, ..*token }).collect();
            again.reverse();
            prop_assert_eq!(restart_stamp(&tokens), restart_stamp(&again));
            let changed = changed.get(&tokens).uid;
            for token in &mut again {
                if token.uid == changed {
                    token.issued_at = Seconds::from(at(other));
                }
            }
            let same = again.iter().all(|a| tokens.iter().any(|t| t.uid == a.uid && t.issued_at == a.issued_at));
            prop_assert_eq!(restart_stamp(&tokens) == restart_stamp(&again), same);
        }
    }
}
