//! Computes the expiry of a token by the clock of this machine (P19).
//!
//! A response states times by the provider's clock. The actual lifetime is the time from the provider's current time
//! to the stated expiry. It counts from the time before the request was sent, so that no clock must be correct.
//!
//! The provider's current time is `Date` plus `Age` of the response (RFC 9110 §6.6.1, RFC 9111 §5.1). The `iat` of the
//! token (RFC 7519 §4.1.6) replaces a missing `Date`, and also a `Date` that is earlier: such a `Date` comes from
//! another machine, for example a proxy. An `iat` before `Date` is ignored, because token APIs backdate tokens and
//! return the same token twice.

use crate::clock::Timestamp;
use crate::issue::{Class, IssueError};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use std::time::Duration;

/// The last second of the year 9999, the limit of RFC 3339. No computed expiry is later.
pub const END_OF_TIME: i64 = 253_402_300_799;

/// Precision of the comparison. `Date` has whole seconds, so clocks that differ by less are treated as equal.
const PRECISION: TimeDelta = TimeDelta::seconds(2);

/// Maximum age of an `iat` that counts as backdated if `Date` is missing. Azure backdates by 5 minutes.
const MAX_BACKDATING: TimeDelta = TimeDelta::minutes(10);

/// Maximum time by which a stated lifetime may exceed the promised lifetime. Some APIs round up to whole minutes.
const ROUNDING: Duration = Duration::from_mins(1);

/// Times that a response and its token contain.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTimes {
    /// Expiry by the provider's clock: the earliest of the times in the response and in the token.
    pub ends: Option<Timestamp>,
    /// Issue time that the token states (`iat`).
    pub issued: Option<Timestamp>,
    /// The provider's current time, from `Date` and `Age` of the response.
    pub date: Option<Timestamp>,
    /// Time before the request was sent.
    pub sent_at: Timestamp,
    /// Time when the response arrived.
    pub arrived_at: Timestamp,
}

impl ResponseTimes {
    /// Returns the time by which the provider's clock is ahead of the local clock. Zero if the difference is below the
    /// precision.
    pub fn ahead(&self) -> TimeDelta {
        let issued = self.issued.filter(|issued| self.ends.is_none_or(|ends| *issued < ends));
        let (now, earliest) = match (self.date, issued) {
            (Some(date), issued) => (issued.map_or(date, |issued| date.max(issued)), PRECISION),
            (None, Some(issued)) => (issued, MAX_BACKDATING),
            (None, None) => return TimeDelta::zero(),
        };
        let same = now >= self.sent_at - earliest && now <= self.arrived_at + PRECISION;
        if same { TimeDelta::zero() } else { now - self.sent_at }
    }

    /// Returns the expiry by the local clock, and true if the expiry is assumed: `sent_at` plus `promised`. The expiry
    /// is assumed if the response contains none, or one that exceeds the promised lifetime by more than one minute,
    /// such as `9999-12-31` or milliseconds in place of seconds.
    ///
    /// # Errors
    /// `ExpiredToken`, transient: the token had expired by the provider's clock and by the local clock. A token that
    /// is valid by the local clock is accepted, because `Date` may come from another machine. It is rejected if its
    /// `iat` is in the future, which shows that the token's clock is ahead.
    pub fn expiry(&self, promised: Duration) -> Result<(Timestamp, bool), IssueError> {
        let assumed = (add_lifetime(self.sent_at, promised), true);
        let Some(ends) = self.ends else { return Ok(assumed) };
        let here = ends.checked_sub_signed(self.ahead()).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let is_ahead = self.issued.is_some_and(|issued| issued > self.arrived_at + PRECISION);
        let ours = (!is_ahead).then_some(ends);
        let is_valid = |at: &Timestamp| *at > self.arrived_at;
        let expires_at = Some(here).filter(is_valid).or(ours.filter(is_valid)).ok_or_else(|| self.expired(ends))?;
        let longest = add_lifetime(self.sent_at, promised.saturating_add(ROUNDING));
        Ok(if expires_at > longest { assumed } else { (expires_at, false) })
    }

    fn expired(&self, ends: Timestamp) -> IssueError {
        let text = |at: Timestamp| at.format("%FT%TZ");
        let date = match self.date {
            Some(date) => format!("The Date of the response is {}", text(date)),
            None => "The response has no usable Date".to_owned(),
        };
        let message = format!(
            "the provider issued a token that expired at {}. {date}, and the local time is {}. Compare the clocks of the provider, of a proxy in front of it and of this machine",
            text(ends),
            text(self.arrived_at)
        );
        IssueError::new(Class::Transient, "ExpiredToken", message)
    }
}

/// Reads an expiry from a field of a response: RFC 3339, in UTC if it has no zone; seconds or milliseconds since 1970,
/// as a number or a string; or protobuf's `{"seconds": …}`. `None`: the value is not a time, or it is before September
/// 2001. Go, .NET and protobuf use such times for "no time".
pub fn parse_expiry(value: &Value) -> Option<Timestamp> {
    /// Smaller numbers are seconds: as milliseconds they would be before March 1973.
    const MILLISECONDS: f64 = 1e11;
    const EARLIEST: i64 = 1_000_000_000;
    let at = match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            let seconds = if number < MILLISECONDS { number } else { (number / 1000.0).floor() };
            // a float represents these integers exactly
            #[allow(clippy::cast_possible_truncation)]
            (seconds.abs() < 9e15).then(|| DateTime::from_timestamp(seconds as i64, 0))??
        }
        Value::String(text) => {
            let text = text.trim();
            let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
            // ISO 8601 permits an offset without a colon
            let basic = || DateTime::parse_from_str(text, "%FT%T%.f%z").ok().map(|at| at.to_utc());
            let zoneless = || text.parse::<NaiveDateTime>().ok().map(|at| at.and_utc());
            let number = || parse_expiry(&text.parse::<serde_json::Number>().ok()?.into());
            zoned().or_else(basic).or_else(zoneless).or_else(number)?
        }
        Value::Object(fields) => return parse_expiry(fields.get("seconds")?),
        _ => return None,
    };
    (at.timestamp() >= EARLIEST).then_some(at)
}

/// Returns `from` plus `lifetime`, at most the year 9999.
pub fn add_lifetime(from: Timestamp, lifetime: Duration) -> Timestamp {
    let end = DateTime::from_timestamp(END_OF_TIME, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    TimeDelta::from_std(lifetime)
        .ok()
        .and_then(|lifetime| from.checked_add_signed(lifetime))
        .map_or(end, |at| at.min(end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3600;
    /// When the requests of these tests are sent.
    const SENT: i64 = 1_790_000_000;

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// Seconds since the request was sent, like the response; a response takes one.
    fn times(ends: Option<i64>, issued: Option<i64>, date: Option<i64>) -> ResponseTimes {
        let at = |seconds: i64| at(SENT + seconds);
        ResponseTimes {
            ends: ends.map(at),
            issued: issued.map(at),
            date: date.map(at),
            sent_at: at(0),
            arrived_at: at(1),
        }
    }

    fn expiry(times: ResponseTimes, promised: i64) -> Result<(i64, bool), String> {
        let expiry = times.expiry(Duration::from_secs(promised.unsigned_abs()));
        expiry.map(|(at, assumed)| (at.timestamp() - SENT, assumed)).map_err(|error| error.reason.into_owned())
    }

    #[test]
    fn p19_an_end_is_read_in_every_form() {
        use serde_json::json;
        for (value, expected) in [
            (json!("2026-09-21T14:13:20Z"), Some(SENT)),
            (json!(" 2026-09-21T16:13:20+02:00 "), Some(SENT)),
            (json!("2026-09-21T14:13:20"), Some(SENT)),
            (json!("2026-09-21T14:13:20.5"), Some(SENT)),
            (json!("2026-09-21T14:13:20+0000"), Some(SENT)),
            (json!("2026-09-21T16:13:20.25+0200"), Some(SENT)),
            (json!(SENT), Some(SENT)),
            (json!(SENT * 1000 + 183), Some(SENT)),
            (json!(1_790_000_000_183.0), Some(SENT)),
            (json!("1790000000183"), Some(SENT)),
            (json!("1.79e12"), Some(SENT)),
            (json!({"seconds": SENT, "nanos": 5}), Some(SENT)),
            (json!({"seconds": SENT.to_string()}), Some(SENT)),
            (json!(0), None),
            (json!(7), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("0001-01-01T00:00:00Z"), None),
            (json!("1970-01-01T00:00:00Z"), None),
            (json!("tomorrow"), None),
            (json!(""), None),
            (json!(true), None),
            (json!(null), None),
            (json!([SENT]), None),
            (json!({}), None),
        ] {
            assert_eq!(parse_expiry(&value).map(|at| at.timestamp()), expected, "{value}");
        }
    }

    #[test]
    fn p19_a_life_is_counted_by_the_providers_clock() {
        const QUARTER: i64 = 900;
        for (what, ends, issued, date, expected) in [
            ("clocks agree", Some(HOUR), None, Some(0), Ok((HOUR, false))),
            ("a second apart is no skew", Some(HOUR), None, Some(2), Ok((HOUR, false))),
            ("a shorter lifetime", Some(600), None, Some(0), Ok((600, false))),
            ("2h ahead", Some(3 * HOUR), None, Some(2 * HOUR), Ok((HOUR, false))),
            ("2h behind", Some(-HOUR), None, Some(-2 * HOUR), Ok((HOUR, false))),
            ("15m ahead", Some(HOUR + QUARTER), None, Some(QUARTER), Ok((HOUR, false))),
            ("15m behind", Some(HOUR - QUARTER), None, Some(-QUARTER), Ok((HOUR, false))),
            ("15m behind, a lifetime of 10m", Some(600 - QUARTER), Some(-QUARTER), Some(-QUARTER), Ok((600, false))),
            ("dated back", Some(HOUR), Some(-300), Some(0), Ok((HOUR, false))),
            (
                "dead by its own clock, which is ahead",
                Some(2 * HOUR - 60),
                Some(HOUR),
                Some(2 * HOUR),
                Err("ExpiredToken"),
            ),
            ("dated back, ahead", Some(3 * HOUR), Some(2 * HOUR - 300), Some(2 * HOUR), Ok((HOUR, false))),
            ("handed out twice", Some(1800), Some(-1800), Some(0), Ok((1800, false))),
            ("a proxy's Date is behind", Some(HOUR), Some(0), Some(-2 * HOUR), Ok((HOUR, false))),
            (
                "a proxy's Date is behind, no iat: the promise bounds it",
                Some(HOUR),
                None,
                Some(-2 * HOUR),
                Ok((HOUR, true)),
            ),
            ("a proxy's Date is ahead: valid by the local clock", Some(HOUR), None, Some(2 * HOUR), Ok((HOUR, false))),
            ("no Date, iat ahead", Some(3 * HOUR), Some(2 * HOUR), None, Ok((HOUR, false))),
            ("no Date, iat behind", Some(-HOUR), Some(-2 * HOUR), None, Ok((HOUR, false))),
            ("no Date, dated back", Some(HOUR), Some(-300), None, Ok((HOUR, false))),
            ("no Date, no iat", Some(HOUR), None, None, Ok((HOUR, false))),
            ("an iat after the end is none", Some(HOUR), Some(2 * HOUR), None, Ok((HOUR, false))),
            ("expired", Some(-60), Some(-HOUR), Some(0), Err("ExpiredToken")),
            ("expired, the clock ahead", Some(-60), None, Some(2 * HOUR), Err("ExpiredToken")),
            ("expired on the way", Some(1), None, Some(0), Err("ExpiredToken")),
            ("missing", None, Some(2 * HOUR), Some(2 * HOUR), Ok((HOUR, true))),
        ] {
            assert_eq!(expiry(times(ends, issued, date), HOUR), expected.map_err(str::to_owned), "{what}");
        }
    }

    #[test]
    fn p19_no_life_is_longer_than_was_promised() {
        let year_9999 = END_OF_TIME - SENT;
        for (ends, promised, expected) in [
            (HOUR + 60, HOUR, (HOUR + 60, false)),
            (HOUR + 61, HOUR, (HOUR, true)),
            (year_9999, HOUR, (HOUR, true)),
            // an unlimited lifetime was requested: the documentation states a hundred years
            (year_9999, 36_500 * 86_400, (36_500 * 86_400, true)),
        ] {
            assert_eq!(expiry(times(Some(ends), None, Some(0)), promised), Ok(expected), "{ends}");
        }
    }

    #[test]
    fn an_expired_token_names_the_clocks() {
        let error = times(Some(-60), None, Some(5)).expiry(Duration::from_hours(1)).unwrap_err();
        assert_eq!(
            error.message,
            "the provider issued a token that expired at 2026-09-21T14:12:20Z. The Date of the response is \
             2026-09-21T14:13:25Z, and the local time is 2026-09-21T14:13:21Z. Compare the clocks of the provider, of a \
             proxy in front of it and of this machine"
        );
    }

    #[test]
    fn no_promise_overflows() {
        for lifetime in [Duration::MAX, Duration::from_secs(u64::from(u32::MAX) * 1000)] {
            assert_eq!(times(None, None, None).expiry(lifetime).unwrap(), (at(END_OF_TIME), true));
        }
    }

    fn moment() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(prop_oneof![-90_000i64..90_000, -SENT..(END_OF_TIME - SENT)])
    }

    proptest! {
        /// For any skew, network and API: correct within the duration of the call and the second of `Date`.
        #[test]
        fn p19_no_skew_moves_an_expiry(
            skew in -100_000i64..100_000,
            lifetime in 60i64..90_000,
            dated_back in proptest::option::of(0i64..600),
            latency in (0i64..4_000, 0i64..4_000),
            begun in 0i64..1_000,
        ) {
            let sent = DateTime::from_timestamp_millis(SENT * 1000 + begun).unwrap();
            let answered = sent + TimeDelta::milliseconds(latency.0);
            let whole = |at: Timestamp| DateTime::from_timestamp(at.timestamp(), 0).unwrap();
            let theirs = whole(answered + TimeDelta::seconds(skew));
            let times = ResponseTimes {
                ends: Some(theirs + TimeDelta::seconds(lifetime)),
                issued: dated_back.map(|by| theirs - TimeDelta::seconds(by)),
                date: Some(theirs),
                sent_at: sent,
                arrived_at: answered + TimeDelta::milliseconds(latency.1),
            };
            let (expires_at, assumed) = times.expiry(Duration::from_secs(lifetime.unsigned_abs())).unwrap();
            let right = answered + TimeDelta::seconds(lifetime);
            prop_assert!(!assumed);
            // the time of the response within the call is unknown
            let call = TimeDelta::milliseconds(latency.0 + latency.1);
            prop_assert!(expires_at <= right + PRECISION + call, "{} late", expires_at - right);
            prop_assert!(expires_at >= right - PRECISION - TimeDelta::seconds(1) - call, "{} early", right - expires_at);
        }

        #[test]
        fn p19_a_life_is_never_longer_than_promised_and_a_minute(
            ends in moment(), issued in moment(), date in moment(), promised in 1i64..100_000,
        ) {
            if let Ok((expires, assumed)) = expiry(times(ends, issued, date), promised) {
                prop_assert!(expires <= promised + 60 && (!assumed || expires == promised));
                prop_assert!(assumed || expires > 1, "it has expired");
            }
        }
    }
}
