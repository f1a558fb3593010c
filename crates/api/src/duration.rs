//! Durations in the notation of Go.

use super::cel::cel;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Pattern of the CRD: whole hours, minutes and seconds in this order. The number of digits is limited so that no sum
/// exceeds the range of CEL's `duration()` (292 years); CEL reports an error of its own there.
const PATTERN: &str = "^([0-9]{1,6}h([0-9]{1,7}m)?([0-9]{1,9}s)?|[0-9]{1,7}m([0-9]{1,9}s)?|[0-9]{1,9}s)$";

/// A duration in Go's notation, such as `12h` or `1h30m`, kept as text.
///
/// The type is a string on the wire, so that no stored text can prevent the decoding of its object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(String);

impl GoDuration {
    /// Returns the text as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whole seconds, or `None` if the CRD rejects the text.
    pub fn parse(&self) -> Option<Duration> {
        let (mut rest, mut seconds) = (self.0.as_str(), 0u64);
        if rest.is_empty() || rest.len() > 32 {
            return None;
        }
        for (unit, length, most_digits) in [('h', 3600, 6), ('m', 60, 7), ('s', 1, 9)] {
            let Some((digits, after)) = rest.split_once(unit) else { continue };
            if digits.is_empty() || digits.len() > most_digits || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            seconds += digits.parse::<u64>().ok()? * length;
            rest = after;
        }
        rest.is_empty().then_some(Duration::from_secs(seconds))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for GoDuration {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Writes whole seconds as the shortest text: `1h30m`, not `90m`. A fraction of a second is dropped.
impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        let seconds = duration.as_secs();
        let mut text = String::new();
        for (number, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
            if number > 0 {
                text.push_str(&number.to_string());
                text.push_str(unit);
            }
        }
        Self(if text.is_empty() { "0s".into() } else { text })
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "string", "maxLength": 32});
        cel(
            format!("self.matches('{PATTERN}')"),
            "must be a duration of whole hours, minutes and seconds, such as 12h, 90m or 1h30m",
        )
        .transform(&mut schema);
        schema
    }
}

/// Returns a CEL expression that is true if `path` contains a duration that `duration()` accepts. Each use of
/// `duration()` needs this condition first, because CEL evaluates a rule even if another rule has failed.
pub(super) fn is_duration(path: &str) -> String {
    format!("{path}.matches('{PATTERN}')")
}

/// Returns a CEL literal.
pub(super) fn literal(duration: Duration) -> String {
    format!("duration('{}s')", duration.as_secs())
}

/// Parses the duration of a flag: whole numbers, each with `h`, `m`, `s` or `ms`. Rejects zero.
pub fn flag(text: &str) -> Result<Duration, String> {
    let wrong = || "write it like 15s, 500ms or 1m30s".to_owned();
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(milliseconds).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| "longer than time itself".to_owned())?;
        rest = after;
    }
    if total.is_zero() { Err("must be longer than nothing; ".to_owned() + &wrong()) } else { Ok(total) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_hours_minutes_and_seconds_are_read() {
        for (text, seconds) in
            [("12h", 43200), ("90m", 5400), ("1h30m", 5400), ("1h0m5s", 3605), ("0s", 0), ("999999999s", 999_999_999)]
        {
            assert_eq!(GoDuration::from(text).parse(), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn all_else_is_none() {
        for text in [
            "",
            "h",
            "5",
            "1d",
            "-1h",
            "+1h",
            "1.5h",
            "500ms",
            "1h ",
            "1m1h",
            "1h1h",
            "1h1",
            "３h",
            "1hour",
            "99999999999999999h",
            "99999999999999999999h",
            "0000000000000000000000000000001s",
        ] {
            assert_eq!(GoDuration::from(text).parse(), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = GoDuration::from(text.as_str()).parse();
        }

        #[test]
        fn what_the_crd_admits_is_read(text in PATTERN.trim_matches(['^', '$'])) {
            prop_assert!(GoDuration::from(text.as_str()).parse().is_some());
        }

        #[test]
        fn what_is_written_is_read_again(seconds in 0u64..3_599_999_999) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(GoDuration::from(duration).parse(), Some(duration));
        }
    }
}
