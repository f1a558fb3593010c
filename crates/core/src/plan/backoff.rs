//! Back-off after failures (P07).

use super::facts::Failure;
use super::unplanned::MAX_CLOCK_ERROR;
use crate::clock::Timestamp;
use crate::issue::Class;
use chrono::TimeDelta;
use std::time::Duration;

/// Maximum accepted Retry-After.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Past attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Number of failures in a row, including the current one.
    pub failed: u32,
    /// Time between the previous failure and the current one, if it is known. A back-off that an expiring token
    /// shortened counts with its actual length, so that the attempts of a token's last minutes don't delay those after
    /// its expiry.
    pub waited: Option<TimeDelta>,
}

impl Tries {
    /// Creates attempts whose back-offs were not shortened.
    pub fn in_a_row(failed: u32) -> Self {
        Self { failed, waited: None }
    }

    /// Returns how often the back-off is doubled.
    fn doublings(self, first: TimeDelta) -> u32 {
        let of_count = self.failed.saturating_sub(1).min(12);
        let Some(waited) = self.waited else { return of_count };
        // jitter reduces a back-off by a fifth at most
        (0..of_count).find(|doublings| first * 4 / 5 * 2i32.pow(*doublings) > waited).unwrap_or(of_count)
    }
}

/// Returns the time of the next attempt after a failure.
///
/// `retry_after` is the Retry-After of the response. While the token is valid (until `expires_at`), the next attempt
/// is at most a quarter of the remaining time away, unless Retry-After is longer. `uid` determines the jitter.
pub fn next_attempt(
    class: Class,
    tries: Tries,
    retry_after: Option<Duration>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    uid: u128,
) -> Timestamp {
    let (first, last) = bounds(class);
    let doubled = first * 2i32.pow(tries.doublings(first));
    let mut wait = jitter(doubled.min(last), tries.failed, uid);
    if let Some(longest) = max_back_off(expires_at, now) {
        wait = wait.min(longest);
    }
    let retry_after = TimeDelta::from_std(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)).unwrap_or_default();
    now + wait.max(retry_after)
}

/// Returns the first and the longest back-off.
fn bounds(class: Class) -> (TimeDelta, TimeDelta) {
    match class {
        Class::Transient | Class::Throttled => (TimeDelta::seconds(1), TimeDelta::minutes(5)),
        Class::Configuration | Class::Denied => (TimeDelta::minutes(1), TimeDelta::minutes(30)),
        Class::Credential => (TimeDelta::minutes(15), TimeDelta::minutes(15)),
    }
}

/// Returns the time until which a failure blocks the next attempt, if that is in the future.
///
/// Times from a wrong clock are ignored: a failure in the future, or a wait above the maximum. A failure that is
/// `restored` from a status blocks no longer than the longest back-off of its class, or the maximum Retry-After after
/// a throttle.
pub fn held_until(failure: &Failure, restored: bool, now: Timestamp) -> Option<Timestamp> {
    let next = failure.next_attempt_at?;
    let retry_after_limit = TimeDelta::from_std(MAX_RETRY_AFTER).unwrap_or_default();
    if failure.time - now > MAX_CLOCK_ERROR || next - failure.time > retry_after_limit + MAX_CLOCK_ERROR {
        return None;
    }
    let most = match failure.class {
        Class::Throttled => retry_after_limit,
        class => bounds(class).1,
    };
    let next = if restored { next.min(failure.time + most) } else { next };
    (now < next).then_some(next)
}

/// Returns the maximum back-off while a token is valid: a quarter of the time until its expiry, at least one second.
pub fn max_back_off(expires_at: Option<Timestamp>, now: Timestamp) -> Option<TimeDelta> {
    let left = expires_at.map(|at| at - now).filter(|left| *left > TimeDelta::zero());
    left.map(|left| (left / 4).max(TimeDelta::seconds(1)))
}

/// Returns the time of the next write to Kubernetes after failures: 500 ms, doubled up to 15 s. `uid` determines the
/// jitter, so that VideoAccessTokens that failed together don't retry together.
pub fn next_write(failures: u32, now: Timestamp, uid: u128) -> Timestamp {
    let doubled = TimeDelta::milliseconds(500) * 2i32.pow(failures.saturating_sub(1).min(8));
    now + jitter(doubled.min(TimeDelta::seconds(15)), failures, uid)
}

/// Reduces `wait` by up to a fifth, differently at each attempt.
fn jitter(wait: TimeDelta, attempts: u32, uid: u128) -> TimeDelta {
    let mixed = (uid ^ u128::from(attempts)).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 64;
    let share = i32::try_from(mixed % 200).unwrap_or(0);
    wait - wait / 1000 * share
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;

    #[test]
    fn p07_each_class_waits_as_promised() {
        // class, attempts, Retry-After, seconds that the token has left, least and most seconds
        let cases = [
            (Class::Transient, 1, None, None, 0.8, 1.0),
            (Class::Transient, 4, None, None, 6.4, 8.0),
            (Class::Transient, 40, None, None, 240.0, 300.0),
            (Class::Throttled, 1, Some(60), None, 60.0, 60.0),
            (Class::Throttled, 1, Some(60), Some(40), 60.0, 60.0),
            (Class::Throttled, 1, Some(u64::MAX), None, 3600.0, 3600.0),
            (Class::Configuration, 1, None, None, 48.0, 60.0),
            (Class::Denied, 9, None, None, 1440.0, 1800.0),
            (Class::Denied, 9, None, Some(400), 100.0, 100.0),
            (Class::Credential, 3, None, None, 720.0, 900.0),
            (Class::Transient, 40, None, Some(2), 1.0, 1.0),
            (Class::Transient, 40, None, Some(-50), 240.0, 300.0),
        ];
        for (class, attempts, retry_after, left, least, most) in cases {
            let tries = Tries::in_a_row(attempts);
            let next =
                next_attempt(class, tries, retry_after.map(Duration::from_secs), left.map(at), at(0), u128::MAX / 3);
            let wait = (next - at(0)).as_seconds_f64();
            assert!(wait >= least && wait <= most, "{class:?} {attempts} {retry_after:?} {left:?}: {wait}");
        }
    }

    #[test]
    fn p07_the_tries_of_a_tokens_last_minutes_dont_count_after_its_end() {
        let first = |class| bounds(class).0.num_seconds();
        for (class, uid) in [(Class::Denied, 7), (Class::Configuration, u128::MAX / 3), (Class::Transient, 1)] {
            // fails from the renewal on, ten minutes before the end
            let (mut now, end) = (at(0), at(600));
            let (mut failed, mut waited, mut after_end) = (0, None, Vec::new());
            while after_end.len() < 9 {
                failed += 1;
                let next = next_attempt(class, Tries { failed, waited }, None, Some(end), now, uid);
                assert!(now >= end || next <= now + ((end - now) / 4).max(TimeDelta::seconds(1)), "{class:?} {failed}");
                if now >= end {
                    after_end.push((next - now).num_seconds());
                }
                waited = Some(next - now);
                now = next;
            }
            let [least, most] = [first(class) * 4 / 5 - 1, first(class) * 4];
            assert!((least..=most).contains(&after_end[0]), "{class:?}: {after_end:?} after {failed} tries");
            assert!(after_end.windows(2).all(|two| two[1] >= two[0] * 4 / 5), "{class:?}: {after_end:?}");
            let longest = bounds(class).1.num_seconds();
            assert!(after_end[8] >= (first(class) * 64).min(longest) * 4 / 5 - 1, "{class:?}: {after_end:?}");
        }
    }

    #[test]
    fn p07_waits_that_were_not_cut_short_double_as_if_they_were_counted() {
        for (class, uid) in [(Class::Denied, 3), (Class::Transient, 4), (Class::Configuration, 5)] {
            let (mut now, mut waited) = (at(0), None);
            for failed in 1..12 {
                let next = next_attempt(class, Tries { failed, waited }, None, None, now, uid);
                assert_eq!(
                    next,
                    next_attempt(class, Tries::in_a_row(failed), None, None, now, uid),
                    "{class:?} {failed}"
                );
                waited = Some(next - now);
                now = next;
            }
        }
    }

    #[test]
    fn a_failed_write_waits_half_a_second_to_a_quarter_of_a_minute() {
        for uid in [0, 7, u128::MAX / 3] {
            for (failures, least, most) in [(1, 400, 500), (2, 800, 1000), (99, 12_000, 15_000)] {
                let wait = (next_write(failures, at(0), uid) - at(0)).num_milliseconds();
                assert!(wait >= least && wait <= most, "{failures} {uid}: {wait} ms");
            }
        }
    }

    #[test]
    fn b16_a_hundred_writes_that_failed_together_dont_come_back_together() {
        let uids = (1..=100u128).map(|n| n.wrapping_mul(0x1234_5678_9abc_def0_1122_3344_5566_7789));
        let times: std::collections::BTreeSet<_> =
            uids.map(|uid| (next_write(9, at(0), uid) - at(0)).num_milliseconds() / 100).collect();
        assert!(times.len() > 20, "{} different tenths of a second", times.len());
    }

    #[test]
    fn p07_what_is_recalled_holds_no_longer_than_its_class_may() {
        let day = 86_400;
        // class, when it failed, the next attempt, recalled, until when it holds at 0
        let cases = [
            (Class::Transient, -10, 100, false, Some(100)),
            (Class::Transient, -10, 100, true, Some(100)),
            (Class::Transient, -10, -1, true, None),
            // a Retry-After in this process: longer than any back-off
            (Class::Transient, -10, 1000, false, Some(1000)),
            (Class::Transient, -10, 1000, true, Some(290)),
            (Class::Throttled, -10, 1000, true, Some(1000)),
            (Class::Configuration, -10, 3000, true, Some(1790)),
            (Class::Denied, -10, 3000, true, Some(1790)),
            (Class::Credential, -10, 3000, true, Some(890)),
            // by a wrong clock: of another operator, or of this one before it was put back
            (Class::Transient, -10, day, true, None),
            (Class::Transient, -10, day, false, None),
            (Class::Denied, day, day + 60, true, None),
            (Class::Denied, day, day + 60, false, None),
            (Class::Throttled, day, day + 60, true, None),
            (Class::Transient, 0, i64::from(u32::MAX), true, None),
        ];
        for (class, failed, next, restored, until) in cases {
            let failure = Failure {
                time: at(failed),
                class,
                reason: String::new(),
                message: String::new(),
                request_id: None,
                next_attempt_at: Some(at(next)),
            };
            let held = held_until(&failure, restored, at(0));
            assert_eq!(held, until.map(at), "{class:?} failed {failed} next {next} recalled {restored}");
        }
    }
}
