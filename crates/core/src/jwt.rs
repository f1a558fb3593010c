//! Reads the header and the claims of a JWT (RFC 7519, RFC 7515).
//!
//! The signature and the algorithm are not checked: only the provider decides whether a token is valid.

use super::expiry::END_OF_TIME;
use crate::clock::Timestamp;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::DateTime;
use serde_json::{Map, Value};

/// Maximum length of a payload in base64 characters. Tokens of the five APIs have about 1,000.
const MAX_PAYLOAD: usize = 48 * 1024;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64URL_BYTES: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Returns the expiry of the token (`exp`, RFC 7519 §4.1.4). `None`: the token is opaque or encrypted, or `exp` is
/// missing or not a date.
pub fn exp(token: &str) -> Option<Timestamp> {
    date(part(token, 1)?.get("exp")?)
}

/// Returns the issue time of the token (`iat`, RFC 7519 §4.1.6).
pub fn iat(token: &str) -> Option<Timestamp> {
    date(part(token, 1)?.get("iat")?)
}

/// Returns true if `token` has the form of a complete JWT: three parts in base64url (RFC 7515), or five if the header
/// contains `enc` (RFC 7516), the first of which is a header in JSON.
pub fn is_jwt(token: &str) -> bool {
    let parts: Vec<&str> = token.trim().split('.').collect();
    let is_base64url = |part: &&str| part.trim_end_matches('=').bytes().all(|b| BASE64URL_BYTES.contains(&b));
    let header = parts.first().filter(|part| part.len() <= MAX_PAYLOAD).and_then(|part| json(part));
    let parts_are = match header {
        Some(Value::Object(header)) => {
            if header.contains_key("enc") {
                5
            } else {
                3
            }
        }
        _ => return false,
    };
    // an unsigned JWT ends with a dot, and a JWE may have an empty key
    parts.len() == parts_are && parts.iter().all(is_base64url) && !parts[parts_are / 2].is_empty()
}

/// Returns the header and the claims of the token. `None`: the token is opaque or encrypted.
pub fn claims(token: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    match (part(token, 0)?, part(token, 1)?) {
        (Value::Object(header), Value::Object(claims)) => Some((header, claims)),
        _ => None,
    }
}

/// Reads a claim that contains a time (`exp`, `nbf`, `iat`) between 1970 and 9999.
pub fn date(claim: &Value) -> Option<Timestamp> {
    let seconds = numeric_date(claim)?;
    (0..=END_OF_TIME).contains(&seconds).then(|| DateTime::from_timestamp(seconds, 0))?
}

/// Returns part `n` of the three parts as JSON.
fn part(token: &str, n: usize) -> Option<Value> {
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [header, payload, _] = parts.try_into().ok()?;
    json([header, payload].get(n).copied().filter(|part| part.len() <= MAX_PAYLOAD)?)
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64URL.decode(part.trim_end_matches('=')).ok()?).ok()
}

/// Reads an integer, a decimal number or a string with one of them. Rounds down.
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn a_jwt_has_three_parts_or_five() {
        let header = BASE64URL.encode(r#"{"alg":"RS256"}"#);
        let encrypted = BASE64URL.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
        let token = jwt(r#"{"exp":9000}"#);
        for (token, whole) in [
            (token.clone(), true),
            (format!(" {token}\n"), true),
            (format!("{header}.cGF5bG9hZA."), true),
            (format!("{header}.!.c2ln"), false),
            (format!("{header}..c2ln"), false),
            (format!("{encrypted}.a2V5.aXY.dGV4dA.dGFn"), true),
            (format!("{encrypted}..aXY.dGV4dA.dGFn"), true),
            (format!("{encrypted}.cGF5bG9hZA.c2ln"), false),
            (format!("{token}{token}"), false),
            (format!("{token}.{token}"), false),
            (format!("{token},{token}"), false),
            (format!("/*c*/\"{token}\""), false),
            (token[..token.len() - 9].to_owned(), false),
            ("www.example.com".to_owned(), false),
            ("a.b.c".to_owned(), false),
            ("opaque".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_jwt(&token), whole, "{token}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let payload = BASE64URL.encode(payload);
            exp(&format!("h.{payload}.s"));
            claims(&format!("{payload}.{payload}.s"));
            is_jwt(&format!("{payload}.{payload}.s"));
        }

        #[test]
        fn any_exp_gives_a_date_or_none(value in any::<f64>(), text in "\\PC{0,20}") {
            for payload in [format!(r#"{{"exp":{value}}}"#), serde_json::json!({"exp": text}).to_string()] {
                exp(&jwt(&payload));
            }
        }
    }
}
