//! When a token expires, by this machine's clock (P19).
//!
//! What a provider tells is on its own clock. The life is the time from the provider's now to the told end, and counts
//! here from the moment before the request was sent, so that neither clock has to be right.
//!
//! The provider's now is the answer's `Date` and `Age` (RFC 9110 §6.6.1, RFC 9111 §5.1); a token's `iat` (RFC 7519
//! §4.1.6) stands in where there is no `Date`, and counts where it is later: then `Date` is another machine's, such as
//! a proxy's. An earlier `iat` doesn't count beside a `Date`: providers date tokens back, and hand one out twice.

use crate::clock::Timestamp;
use crate::issue::{Class, IssueError};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use std::time::Duration;

/// The last second of the year 9999: the last that RFC 3339 can write. No expiry is ever computed beyond it.
pub const END_OF_TIME: i64 = 253_402_300_799;

/// `Date` has whole seconds: clocks this close can't be told apart, and the told end stands as it is.
const PRECISION: TimeDelta = TimeDelta::seconds(2);

/// Without a `Date`, an `iat` this long before the request may be dated back. Azure's are by five minutes.
const DATED_BACK: TimeDelta = TimeDelta::minutes(10);

/// A told life may be this much longer than the promised one: some APIs round up to whole minutes.
const SLACK: Duration = Duration::from_mins(1);

/// What an answer and the token in it tell of time.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When the token ends, by the provider's clock: the earliest of what the answer and the token tell.
    pub ends: Option<Timestamp>,
    /// When the token was issued, by its own account (`iat`).
    pub issued: Option<Timestamp>,
    /// The provider's now, by its answer's `Date` and `Age`.
    pub date: Option<Timestamp>,
    /// The moment before the request was sent.
    pub sent_at: Timestamp,
    /// When the answer was there.
    pub arrived_at: Timestamp,
}

impl Told {
    /// How far the provider's clock is ahead of ours; zero where they can't be told apart.
    pub fn ahead(&self) -> TimeDelta {
        let issued = self.issued.filter(|issued| self.ends.is_none_or(|ends| *issued < ends));
        let (now, earliest) = match (self.date, issued) {
            (Some(date), issued) => (issued.map_or(date, |issued| date.max(issued)), PRECISION),
            (None, Some(issued)) => (issued, DATED_BACK),
            (None, None) => return TimeDelta::zero(),
        };
        let same = now >= self.sent_at - earliest && now <= self.arrived_at + PRECISION;
        if same { TimeDelta::zero() } else { now - self.sent_at }
    }

    /// When the token expires by this machine's clock, and whether that had to be assumed from `promised`, which counts
    /// from the sending. An end that isn't told is assumed, and one that is later than was promised by more than a
    /// minute: `9999-12-31`, or milliseconds where seconds are meant.
    ///
    /// # Errors
    /// `ExpiredToken`, transient: the token had expired by the provider's clock, and by this machine's. Where it lives by
    /// ours, `Date` is of another clock than the token, unless an `iat` in our future shows that the token's clock is ahead.
    pub fn expiry(&self, promised: Duration) -> Result<(Timestamp, bool), IssueError> {
        let assumed = (later(self.sent_at, promised), true);
        let Some(ends) = self.ends else { return Ok(assumed) };
        let here = ends.checked_sub_signed(self.ahead()).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let is_ahead = self.issued.is_some_and(|issued| issued > self.arrived_at + PRECISION);
        let ours = (!is_ahead).then_some(ends);
        let lives = |at: &Timestamp| *at > self.arrived_at;
        let expires_at = Some(here).filter(lives).or(ours.filter(lives)).ok_or_else(|| self.expired(ends))?;
        let longest = later(self.sent_at, promised.saturating_add(SLACK));
        Ok(if expires_at > longest { assumed } else { (expires_at, false) })
    }

    fn expired(&self, ends: Timestamp) -> IssueError {
        let text = |at: Timestamp| at.format("%FT%TZ");
        let date = match self.date {
            Some(date) => format!("the answer's Date is {}", text(date)),
            None => "the answer has no Date that tells its clock".to_owned(),
        };
        let message = format!(
            "the provider issued a token that expired at {}; {date}, this clock reads {}: compare the clocks of the \
             provider, of a proxy before it and of this machine",
            text(ends),
            text(self.arrived_at)
        );
        IssueError::new(Class::Transient, "ExpiredToken", message)
    }
}

/// When a token ends, from a field of an answer: RFC 3339, in UTC where it names no zone; seconds or milliseconds since the
/// epoch, as a number or a text that spells one; or protobuf's `{"seconds": …}`. `None`: it names no time, or one before
/// September 2001, with which Go, .NET and protobuf say that there is none.
pub fn told_end(value: &Value) -> Option<Timestamp> {
    /// What is less counts seconds: as milliseconds it would lie before March 1973.
    const MILLISECONDS: f64 = 1e11;
    const EARLIEST: i64 = 1_000_000_000;
    let at = match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            let seconds = if number < MILLISECONDS { number } else { (number / 1000.0).floor() };
            // within what a float holds exactly
            #[allow(clippy::cast_possible_truncation)]
            (seconds.abs() < 9e15).then(|| DateTime::from_timestamp(seconds as i64, 0))??
        }
        Value::String(text) => {
            let text = text.trim();
            let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
            let zoneless = || text.parse::<NaiveDateTime>().ok().map(|at| at.and_utc());
            let number = || told_end(&text.parse::<serde_json::Number>().ok()?.into());
            zoned().or_else(zoneless).or_else(number)?
        }
        Value::Object(fields) => return told_end(fields.get("seconds")?),
        _ => return None,
    };
    (at.timestamp() >= EARLIEST).then_some(at)
}

/// `from` and `life`, the year 9999 at the latest.
pub fn later(from: Timestamp, life: Duration) -> Timestamp {
    let end = DateTime::from_timestamp(END_OF_TIME, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    TimeDelta::from_std(life).ok().and_then(|life| from.checked_add_signed(life)).map_or(end, |at| at.min(end))
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

    /// In seconds from the sending, as is the answer; an answer takes one.
    fn told(ends: Option<i64>, issued: Option<i64>, date: Option<i64>) -> Told {
        let at = |seconds: i64| at(SENT + seconds);
        Told { ends: ends.map(at), issued: issued.map(at), date: date.map(at), sent_at: at(0), arrived_at: at(1) }
    }

    fn expiry(told: Told, promised: i64) -> Result<(i64, bool), String> {
        let expiry = told.expiry(Duration::from_secs(promised.unsigned_abs()));
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
            assert_eq!(told_end(&value).map(|at| at.timestamp()), expected, "{value}");
        }
    }

    #[test]
    fn p19_a_life_is_counted_by_the_providers_clock() {
        const QUARTER: i64 = 900;
        for (what, ends, issued, date, expected) in [
            ("clocks agree", Some(HOUR), None, Some(0), Ok((HOUR, false))),
            ("a second apart is no skew", Some(HOUR), None, Some(2), Ok((HOUR, false))),
            ("a shorter life", Some(600), None, Some(0), Ok((600, false))),
            ("2 h ahead", Some(3 * HOUR), None, Some(2 * HOUR), Ok((HOUR, false))),
            ("2 h behind", Some(-HOUR), None, Some(-2 * HOUR), Ok((HOUR, false))),
            ("15 min ahead", Some(HOUR + QUARTER), None, Some(QUARTER), Ok((HOUR, false))),
            ("15 min behind", Some(HOUR - QUARTER), None, Some(-QUARTER), Ok((HOUR, false))),
            ("15 min behind, a life of 10 min", Some(600 - QUARTER), Some(-QUARTER), Some(-QUARTER), Ok((600, false))),
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
            ("a proxy's Date is ahead: ours tells that it lives", Some(HOUR), None, Some(2 * HOUR), Ok((HOUR, false))),
            ("no Date, iat ahead", Some(3 * HOUR), Some(2 * HOUR), None, Ok((HOUR, false))),
            ("no Date, iat behind", Some(-HOUR), Some(-2 * HOUR), None, Ok((HOUR, false))),
            ("no Date, dated back", Some(HOUR), Some(-300), None, Ok((HOUR, false))),
            ("no Date, no iat", Some(HOUR), None, None, Ok((HOUR, false))),
            ("an iat after the end is none", Some(HOUR), Some(2 * HOUR), None, Ok((HOUR, false))),
            ("expired", Some(-60), Some(-HOUR), Some(0), Err("ExpiredToken")),
            ("expired, the clock ahead", Some(-60), None, Some(2 * HOUR), Err("ExpiredToken")),
            ("expired on the way", Some(1), None, Some(0), Err("ExpiredToken")),
            ("not told", None, Some(2 * HOUR), Some(2 * HOUR), Ok((HOUR, true))),
        ] {
            assert_eq!(expiry(told(ends, issued, date), HOUR), expected.map_err(str::to_owned), "{what}");
        }
    }

    #[test]
    fn p19_no_life_is_longer_than_was_promised() {
        let year_9999 = END_OF_TIME - SENT;
        for (ends, promised, expected) in [
            (HOUR + 60, HOUR, (HOUR + 60, false)),
            (HOUR + 61, HOUR, (HOUR, true)),
            (year_9999, HOUR, (HOUR, true)),
            // for ever was asked for: a hundred years are what the docs tell
            (year_9999, 36_500 * 86_400, (36_500 * 86_400, true)),
        ] {
            assert_eq!(expiry(told(Some(ends), None, Some(0)), promised), Ok(expected), "{ends}");
        }
    }

    #[test]
    fn an_expired_token_names_the_clocks() {
        let error = told(Some(-60), None, Some(5)).expiry(Duration::from_hours(1)).unwrap_err();
        assert_eq!(
            error.message,
            "the provider issued a token that expired at 2026-09-21T14:12:20Z; the answer's Date is \
             2026-09-21T14:13:25Z, this clock reads 2026-09-21T14:13:21Z: compare the clocks of the provider, of a \
             proxy before it and of this machine"
        );
    }

    #[test]
    fn no_promise_overflows() {
        for life in [Duration::MAX, Duration::from_secs(u64::from(u32::MAX) * 1000)] {
            assert_eq!(told(None, None, None).expiry(life).unwrap(), (at(END_OF_TIME), true));
        }
    }

    fn moment() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(prop_oneof![-90_000i64..90_000, -SENT..(END_OF_TIME - SENT)])
    }

    proptest! {
        /// Whatever the skew, the network and the API's habits: right within the call and the seconds of a `Date`.
        #[test]
        fn p19_no_skew_moves_an_expiry(
            skew in -100_000i64..100_000,
            life in 60i64..90_000,
            dated_back in proptest::option::of(0i64..600),
            latency in (0i64..4_000, 0i64..4_000),
            begun in 0i64..1_000,
        ) {
            let sent = DateTime::from_timestamp_millis(SENT * 1000 + begun).unwrap();
            let answered = sent + TimeDelta::milliseconds(latency.0);
            let whole = |at: Timestamp| DateTime::from_timestamp(at.timestamp(), 0).unwrap();
            let theirs = whole(answered + TimeDelta::seconds(skew));
            let told = Told {
                ends: Some(theirs + TimeDelta::seconds(life)),
                issued: dated_back.map(|by| theirs - TimeDelta::seconds(by)),
                date: Some(theirs),
                sent_at: sent,
                arrived_at: answered + TimeDelta::milliseconds(latency.1),
            };
            let (expires_at, assumed) = told.expiry(Duration::from_secs(life.unsigned_abs())).unwrap();
            let right = answered + TimeDelta::seconds(life);
            prop_assert!(!assumed);
            // within the call nobody can tell when the answer was dated
            let call = TimeDelta::milliseconds(latency.0 + latency.1);
            prop_assert!(expires_at <= right + PRECISION + call, "{} late", expires_at - right);
            prop_assert!(expires_at >= right - PRECISION - TimeDelta::seconds(1) - call, "{} early", right - expires_at);
        }

        #[test]
        fn p19_a_life_is_never_longer_than_promised_and_a_minute(
            ends in moment(), issued in moment(), date in moment(), promised in 1i64..100_000,
        ) {
            if let Ok((expires, assumed)) = expiry(told(ends, issued, date), promised) {
                prop_assert!(expires <= promised + 60 && (!assumed || expires == promised));
                prop_assert!(assumed || expires > 1, "it has expired");
            }
        }
    }
}
