//! Time of a renewal.

use crate::clock::Timestamp;
use chrono::TimeDelta;
use videotoken_api::video_access_token::RenewBefore;

/// Renewal times of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Time at which the renewal is due.
    pub due: Timestamp,
    /// Time at which half of the margin has passed and the renewal is urgent.
    pub urgent: Timestamp,
    /// True if `renewBefore` was not shorter than the actual lifetime and a third of the lifetime is used.
    pub fell_back: bool,
}

/// Minimum time between two scheduled issuances, unless a quarter of the lifetime is longer.
const CLOSEST: TimeDelta = TimeDelta::seconds(10);

/// Part of the margin, in thousandths, by which jitter may move the renewal earlier.
const JITTER: i64 = 100;

/// Returns the renewal times of a token that is valid from `issued_at` to `expires_at` (P02).
///
/// `uid` determines the jitter: it is the same after a restart and differs between VideoAccessTokens.
pub fn plan(issued_at: Timestamp, expires_at: Timestamp, renew_before: RenewBefore, uid: u128) -> Renewal {
    let lifetime = (expires_at - issued_at).max(TimeDelta::zero());
    let third = lifetime / 3;
    let asked = match renew_before {
        RenewBefore::Default => third,
        RenewBefore::Before(before) => TimeDelta::from_std(before).unwrap_or(TimeDelta::MAX),
        RenewBefore::Percentage(share) => lifetime / 100 * i32::from(share),
    };
    let fell_back = asked >= lifetime && lifetime > TimeDelta::zero();
    let margin = if fell_back { third } else { asked };
    let jitter = TimeDelta::milliseconds(scale(margin.num_milliseconds(), uid));
    let closest = issued_at + (lifetime / 4).max(CLOSEST);
    let due = (expires_at - margin - jitter).max(closest);
    let urgent = due + ((expires_at - due) / 2).max(TimeDelta::zero());
    Renewal { due, urgent, fell_back }
}

/// Returns a part of the margin between 0 and [`JITTER`] that depends only on `uid`.
fn scale(margin_ms: i64, uid: u128) -> i64 {
    // UIDs are random, but a version-4 UUID has fixed bits, so they are mixed before the remainder.
    let mixed = (uid ^ (uid >> 64)).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 64;
    let share = i64::try_from(mixed % 1000).unwrap_or(0);
    i64::try_from(i128::from(margin_ms) * i128::from(share) * i128::from(JITTER) / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn p02_due_at_two_thirds_of_the_real_life_less_at_most_a_tenth_of_the_margin() {
        for uid in [0, 1, 77, u128::MAX, 0x1234_5678_9abc_def0_1122_3344_5566_7788] {
            let renewal = plan(at(0), at(3600), RenewBefore::Default, uid);
            assert!(renewal.due <= at(2400) && renewal.due >= at(2280), "{renewal:?}");
            assert_eq!(renewal, plan(at(0), at(3600), RenewBefore::Default, uid));
            assert!(!renewal.fell_back);
        }
    }

    #[test]
    fn p02_renew_before_moves_it_and_falls_back_when_it_is_too_long() {
        let cases = [
            (RenewBefore::Before(Duration::from_mins(10)), 3600, 2940, 3000, false),
            (RenewBefore::Percentage(50), 3600, 1620, 1800, false),
            (RenewBefore::Before(Duration::from_hours(1)), 3600, 2280, 2400, true),
            (RenewBefore::Before(Duration::from_secs(u64::MAX)), 3600, 2280, 2400, true),
            // a quarter of the lifetime must pass between two issuances
            (RenewBefore::Percentage(99), 3600, 900, 900, false),
            // and ten seconds at least
            (RenewBefore::Default, 12, 10, 10, false),
        ];
        for (renew_before, lifetime, earliest, latest, fell_back) in cases {
            let renewal = plan(at(0), at(lifetime), renew_before, 42);
            assert!(renewal.due >= at(earliest) && renewal.due <= at(latest), "{renew_before:?}: {renewal:?}");
            assert_eq!(renewal.fell_back, fell_back, "{renew_before:?}");
        }
    }

    #[test]
    fn p02_objects_are_spread() {
        let dues: std::collections::BTreeSet<_> =
            (0..1000u128).map(|n| plan(at(0), at(3600), RenewBefore::Default, n << 70 | n).due).collect();
        assert!(dues.len() > 500, "{} different times", dues.len());
    }

    proptest! {
        #[test]
        fn p02_never_panics_and_never_hurries(lifetime in -100i64..400_000_000, before in any::<u64>(), uid in any::<u128>()) {
            for renew_before in [RenewBefore::Default, RenewBefore::Before(Duration::from_secs(before)), RenewBefore::Percentage(99)] {
                let renewal = plan(at(0), at(lifetime), renew_before, uid);
                prop_assert!(renewal.due >= at(0) + TimeDelta::seconds((lifetime / 4).max(10)));
                prop_assert!(renewal.urgent >= renewal.due);
            }
        }
    }
}
