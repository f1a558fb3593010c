//! Formats times for people.

use crate::clock::Timestamp;
use chrono::TimeDelta;

/// Units of a duration: seconds and letter.
const UNITS: [(i64, char); 5] = [(365 * 86_400, 'y'), (86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

/// Formats a duration in its two largest units, such as `3h12m`, `2d`, `45s`: whole seconds, rounded down, without a
/// sign.
pub fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().unsigned_abs().cast_signed();
    let largest = UNITS.iter().position(|(length, _)| seconds >= *length).unwrap_or(UNITS.len() - 1);
    let (length, letter) = UNITS[largest];
    let rest = UNITS.get(largest + 1).map(|(next, letter)| (seconds % length / next, letter));
    match rest {
        Some((rest, next)) if rest > 0 => format!("{}{letter}{rest}{next}", seconds / length),
        _ => format!("{}{letter}", seconds / length),
    }
}

/// Formats the time from `now` to `at`: `3h12m` in the future, `5m ago` in the past.
pub fn from_now(at: Timestamp, now: Timestamp) -> String {
    if at > now { span(at - now) } else { format!("{} ago", span(now - at)) }
}

/// Formats the same for a sentence: `in 3h12m`, `5m ago`, `now`.
pub fn relative_time(at: Timestamp, now: Timestamp) -> String {
    match at - now {
        far if far >= TimeDelta::seconds(1) => format!("in {}", span(far)),
        far if far <= TimeDelta::seconds(-1) => format!("{} ago", span(far)),
        _ => "now".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (3599, "59m59s"),
            (3600, "1h"),
            (3605, "1h"),
            (11_520, "3h12m"),
            (86_400, "1d"),
            (100_000, "1d3h"),
            (-100_000, "1d3h"),
            (100 * 365 * 86_400, "100y"),
            (400 * 86_400, "1y35d"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), expected);
        }
    }

    #[test]
    fn a_time_is_told_from_now() {
        for (seconds, column, sentence) in
            [(11_520, "3h12m", "in 3h12m"), (-300, "5m ago", "5m ago"), (0, "0s ago", "now")]
        {
            assert_eq!(
                (from_now(at(seconds), at(0)), relative_time(at(seconds), at(0))),
                (column.into(), sentence.into())
            );
        }
    }

    proptest! {
        #[test]
        fn no_span_is_longer_than_nine_characters_within_a_thousand_years(seconds in -31_536_000_000i64..31_536_000_000) {
            let text = span(TimeDelta::seconds(seconds));
            prop_assert!(text.len() <= 9, "{}", text);
        }

        #[test]
        fn no_span_panics(milliseconds in any::<i64>()) {
            span(TimeDelta::try_milliseconds(milliseconds).unwrap_or(TimeDelta::MAX));
        }
    }
}
