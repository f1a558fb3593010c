//! When a token expires: what its payload says, or else what the operation promises.
//!
//! Only the payload decides. The signature is not ours to check, and the header's `alg` none of our business: a token
//! is good when its provider honours it.

use super::{Class, IssueError};
use crate::clock::Timestamp;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest payload that is read, in base64 characters. Tokens of the five APIs have about 1,000.
const MAX_PAYLOAD: usize = 48 * 1024;

/// The last second of the year 9999: the last that RFC 3339 can write. A later `exp` is no date (milliseconds, most
/// likely), and no expiry is ever computed beyond it.
const END_OF_TIME: i64 = 253_402_300_799;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// When `token` expires by its own account (`exp`, RFC 7519 §4.1.4); nothing where it can't be read: an opaque or
/// encrypted token, no `exp`, or one that is no date.
pub fn exp(token: &str) -> Option<Timestamp> {
    date(part(token, 1)?.get("exp")?)
}

/// What `token` says of itself: its header and its claims. Nothing of an opaque or encrypted one, and never the signature.
pub fn claims(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    match (part(token, 0)?, part(token, 1)?) {
        (Value::Object(header), Value::Object(claims)) => Some((header, claims)),
        _ => None,
    }
}

/// A claim that is a time (`exp`, `nbf`, `iat`), between the epoch and the year 9999.
pub fn date(claim: &Value) -> Option<Timestamp> {
    let seconds = numeric_date(claim)?;
    (0..=END_OF_TIME).contains(&seconds).then(|| DateTime::from_timestamp(seconds, 0))?
}

/// One of the three parts as JSON.
fn part(token: &str, n: usize) -> Option<Value> {
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [header, payload, _] = parts.try_into().ok()?;
    let part = [header, payload].get(n).copied().filter(|part| part.len() <= MAX_PAYLOAD)?;
    serde_json::from_slice(&BASE64URL.decode(part.trim_end_matches('=')).ok()?).ok()
}

/// A number, whole or not, or a string that spells one; rounded down.
fn numeric_date(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| whole(n.as_f64()?)),
        Value::String(s) => {
            let s = s.trim();
            s.parse().ok().or_else(|| whole(s.parse().ok()?))
        }
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation)] // the range is checked
fn whole(n: f64) -> Option<i64> {
    (0.0..=1e12).contains(&n).then_some(n as i64)
}

/// When `token` expires, and whether that had to be assumed from `promised_life`, counted from `issued_at`.
///
/// `said` is what the answer tells beside the token; of two tellings the earlier counts.
///
/// A token that has expired already is an error, `ExpiredToken`: storing it would break the Secret's promise.
pub fn expiry(
    token: &str,
    said: Option<Timestamp>,
    issued_at: Timestamp,
    promised_life: Duration,
    now: Timestamp,
) -> Result<(Timestamp, bool), IssueError> {
    let Some(expires_at) = [exp(token), said].into_iter().flatten().min() else {
        return Ok((later(issued_at, promised_life), true));
    };
    if expires_at <= now {
        return Err(IssueError::new(
            Class::Transient,
            "ExpiredToken",
            format!(
                "the provider issued a token that expired at {}; this clock reads {}",
                expires_at.format("%FT%TZ"),
                now.format("%FT%TZ")
            ),
        ));
    }
    Ok((expires_at, false))
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

    const HOUR: Duration = Duration::from_hours(1);

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn jwt(payload: &str) -> String {
        format!("eyJhbGciOiJub25zZW5zZSJ9.{}.c2ln", BASE64URL.encode(payload))
    }

    #[test]
    fn exp_is_read_in_every_spelling() {
        let spellings = [
            r#"{"exp":1763392544}"#,
            r#"{"exp":1763392544.0}"#,
            r#"{"exp":1763392544.9}"#,
            r#"{"exp":1.763392544e9}"#,
            r#"{"exp":"1763392544"}"#,
            r#"{"exp":" 1763392544.5 "}"#,
            r#"{"nbf":1,"exp":1763392544,"iat":"x"}"#,
        ];
        for payload in spellings {
            assert_eq!(exp(&jwt(payload)), Some(at(1_763_392_544)), "{payload}");
        }
        let token = jwt(spellings[0]);
        for spelling in [token.replace("c2ln", ""), format!(" {token}\n"), token.replace(".c2ln", "=.c2ln")] {
            assert_eq!(exp(&spelling), Some(at(1_763_392_544)), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_jwt_with_a_date_has_no_exp() {
        let unreadable = [
            String::new(),
            "opaque".into(),
            "a.b".into(),
            "a.b.c".into(),
            "a.b.c.d.e".into(),
            jwt("{}"),
            jwt("[]"),
            jwt("not json"),
            jwt(r#"{"exp":null}"#),
            jwt(r#"{"exp":-1}"#),
            jwt(r#"{"exp":true}"#),
            jwt(r#"{"exp":"tomorrow"}"#),
            jwt(r#"{"exp":"NaN"}"#),
            jwt(r#"{"exp":"inf"}"#),
            jwt(r#"{"exp":1e300}"#),
            jwt(r#"{"exp":18446744073709551615}"#),
            jwt(r#"{"exp":1763392544183}"#),
            format!("h.{}.s", "A".repeat(MAX_PAYLOAD + 4)),
        ];
        for token in unreadable {
            assert_eq!(exp(&token), None, "{token:.80}");
        }
    }

    #[test]
    fn header_and_claims_are_read_and_an_opaque_token_has_none() {
        let token = format!("{}.{}.c2ln", BASE64URL.encode(r#"{"alg":"RS256"}"#), BASE64URL.encode(r#"{"exp":9000}"#));
        let (header, claims) = claims(&token).unwrap();
        assert_eq!((&header["alg"], date(&claims["exp"])), (&Value::from("RS256"), Some(at(9000))));
        for token in ["opaque", "a.b.c", &jwt("[]"), &format!("{token}.d.e")] {
            assert_eq!(super::claims(token), None, "{token}");
        }
    }

    #[test]
    fn p13_an_unreadable_expiry_is_the_promised_one() {
        assert_eq!(expiry("opaque", None, at(1000), HOUR, at(1001)).unwrap(), (at(4600), true));
        assert_eq!(expiry(&jwt(r#"{"exp":9000}"#), None, at(1000), HOUR, at(1001)).unwrap(), (at(9000), false));
    }

    #[test]
    fn p13_an_expired_token_is_an_error() {
        for exp in [0, 999, 1001] {
            let error = expiry(&jwt(&format!(r#"{{"exp":{exp}}}"#)), None, at(1000), HOUR, at(1001)).unwrap_err();
            assert_eq!((error.class, error.reason), (Class::Transient, "ExpiredToken"));
        }
    }

    #[test]
    fn of_two_tellings_the_earlier_counts() {
        let token = jwt(r#"{"exp":9000}"#);
        for (token, said, expected) in [(&*token, 8000, 8000), (&*token, 9500, 9000), ("opaque", 8000, 8000)] {
            assert_eq!(expiry(token, Some(at(said)), at(1000), HOUR, at(1001)).unwrap(), (at(expected), false));
        }
        assert_eq!(expiry("opaque", Some(at(1001)), at(1000), HOUR, at(1001)).unwrap_err().reason, "ExpiredToken");
    }

    #[test]
    fn no_promise_overflows() {
        for life in [Duration::MAX, Duration::from_secs(u64::from(u32::MAX) * 1000)] {
            assert_eq!(expiry("opaque", None, at(1000), life, at(1001)).unwrap(), (at(END_OF_TIME), true));
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_expiry_or_an_error(
            token in prop_oneof!["\\PC{0,200}", "[A-Za-z0-9_=.-]{0,200}"],
            issued in 0..END_OF_TIME,
            life in any::<u64>(),
            now in 0..END_OF_TIME,
        ) {
            if let Ok((expires_at, assumed)) = expiry(&token, None, at(issued), Duration::from_secs(life), at(now)) {
                prop_assert!(expires_at.timestamp() <= END_OF_TIME);
                prop_assert!(assumed || expires_at > at(now));
            }
        }

        #[test]
        fn any_payload_is_read_without_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let payload = BASE64URL.encode(payload);
            exp(&format!("h.{payload}.s"));
            claims(&format!("{payload}.{payload}.s"));
        }

        #[test]
        fn any_exp_gives_a_date_or_none(value in any::<f64>(), text in "\\PC{0,20}") {
            for payload in [format!(r#"{{"exp":{value}}}"#), serde_json::json!({"exp": text}).to_string()] {
                exp(&jwt(&payload));
            }
        }
    }
}
