//! Logins, where failed ones lock a user at the provider (P07): when the next may be made.
//!
//! Only logins with a credential that hasn't worked yet are counted, over all provider objects that log the same user
//! in at the same host. The providers lock after five failures in 15 min; three leave room for a hand that is wrong
//! once or twice too.

use crate::clock::Timestamp;
use chrono::{SubsecRound, TimeDelta};

/// So many may be made within [`WITHIN`].
pub const MOST: usize = 3;

/// 15 min, and one for the time that a login takes and the clocks of two operators.
pub const WITHIN: TimeDelta = TimeDelta::minutes(16);

/// Those that still count, oldest first, each once. One that lies further ahead than it could count was written by a
/// wrong clock.
pub fn counting(attempts: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Vec<Timestamp> {
    let mut counting: Vec<_> = attempts.into_iter().filter(|at| (*at - now).abs() < WITHIN).collect();
    counting.sort_unstable();
    counting.dedup();
    counting
}

/// What is written down of a login that is made now: in whole milliseconds, unlike any other that counts.
pub fn attempt(counting: &[Timestamp], now: Timestamp) -> Timestamp {
    let mut at = now.trunc_subsecs(3) + TimeDelta::milliseconds(1);
    while counting.contains(&at) {
        at += TimeDelta::milliseconds(1);
    }
    at
}

/// When the next may be made. `None`: now.
pub fn next(counting: &[Timestamp]) -> Option<Timestamp> {
    let oldest = counting.len().checked_sub(MOST)?;
    counting.get(oldest).map(|at| *at + WITHIN)
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
            let counting = counting(attempts.iter().map(|seconds| at(*seconds)), at(now));
            assert_eq!(next(&counting), expected.map(at), "{attempts:?} at {now}");
        }
    }

    proptest! {
        #[test]
        fn p07_no_span_of_15_min_sees_four(steps in proptest::collection::vec(0i64..600_000, 1..60)) {
            let (mut now, mut written, mut made) = (at(0), Vec::new(), Vec::new());
            for step in steps {
                now += TimeDelta::milliseconds(step);
                written = counting(written, now);
                if next(&written).is_none() {
                    written.push(attempt(&written, now));
                    made.push(now);
                }
            }
            for four in made.windows(4) {
                prop_assert!(four[3] - four[0] > TimeDelta::minutes(15));
            }
        }
    }
}
