//! Tables of answers, and what a declared reading makes of them.

mod declaration;
mod expiry;

use super::Declared;
use super::reader::Reader;
use crate::clock::{self, Timestamp};
use crate::http::ProviderResponse;
use crate::provider_setup::Owner;
use crate::redact::Redactor;
use crate::{Class, IssueError, Issued};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::time::Duration;
use videotoken_api::http::HttpResponse;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::TokenRequest;

const HOUR: u64 = 3600;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn reader(response: Value) -> Reader {
    let response: HttpResponse = serde_json::from_value(response).unwrap();
    Reader::new(&response, "spec.http.response").unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> ProviderResponse {
    let headers =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    let headers: HeaderMap = headers.collect();
    ProviderResponse::new(status, &headers, body.to_vec(), now(), now(), Redactor::default())
}

fn read(reader: &Reader, answer: &ProviderResponse, asked: Option<u64>) -> Result<Issued, IssueError> {
    reader.read(answer, asked.map(Duration::from_secs), now() + TimeDelta::seconds(1), &mut |_| {})
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(&json!({"alg": "RS256"})), part(claims))
}

#[test]
fn a_token_is_read_from_each_place() {
    let cases = [
        (json!({"json": "$.result.token"}), answer(200, &[], br#"{"result": {"token": " t-1 "}}"#), "t-1"),
        (json!({"json": "$"}), answer(200, &[], br#""djJ8MTIz""#), "djJ8MTIz"),
        (json!({"json": "$.id"}), answer(200, &[], br#"{"id": 17}"#), "17"),
        (json!({"text": {}}), answer(200, &[], b"\xef\xbb\xbfraw-token\r\n"), "raw-token"),
        (json!({"header": "X-Token"}), answer(204, &[("x-token", "from-header")], b""), "from-header"),
        (
            json!({"cookie": "TOKEN"}),
            answer(200, &[("set-cookie", "TOKEN=from-cookie; Path=/; HttpOnly")], b"{}"),
            "from-cookie",
        ),
    ];
    for (token, answer, expected) in cases {
        let reader = reader(json!({"token": token, "expires": {"after": "1h"}}));
        let issued = read(&reader, &answer, None).unwrap();
        assert_eq!(issued.token.expose_secret(), expected);
        assert_eq!(issued.expires_at, now() + TimeDelta::hours(1));
    }
}

#[test]
fn what_is_no_token_is_a_bad_answer_that_says_what_is_there() {
    let long = format!(r#"{{"t": "{}"}}"#, "x".repeat(16_385));
    let deep = "[".repeat(33) + &"]".repeat(33);
    let cases: [(&[u8], &str); 12] = [
        (b"{}", "token: nothing at $.t"),
        (br#"{"t": null}"#, "token: no text at $.t"),
        (br#"{"t": {"x": 1}}"#, "token: no text at $.t"),
        (br#"{"t": ""}"#, "token: an empty text at $.t"),
        (br#"{"t": "two words"}"#, "token: blanks or characters beyond ASCII at $.t"),
        (br#"{"t": "t\u00f6ken"}"#, "token: blanks or characters beyond ASCII at $.t"),
        (long.as_bytes(), "token: more than 16,384 characters at $.t"),
        (
            br#"{"t": 12345678901234567890123}"#,
            "token: a number at $.t that has more digits than can be kept: a text is needed",
        ),
        (b"not json", "token: the body is no JSON"),
        (b"{\"t\": \"\xfc\"}", "token: the body is not UTF-8"),
        (deep.as_bytes(), "token: the body has more than 32 levels"),
        (b"", "token: no JSON: the body is empty"),
    ];
    let reader = reader(json!({"token": {"json": "$.t"}, "expires": {"after": "1h"}}));
    for (body, expected) in cases {
        let error = read(&reader, &answer(200, &[], body), None).unwrap_err();
        assert_eq!((error.class, error.reason.as_ref()), (Class::Transient, "BadAnswer"));
        assert_eq!(error.message, format!("HTTP 200: {expected}"));
    }
    let longest = format!(r#"{{"t": "{}"}}"#, "x".repeat(16_384));
    assert!(read(&reader, &answer(200, &[], longest.as_bytes()), None).is_ok());
}

#[test]
fn a_failure_has_the_declared_class_whatever_its_status() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let reader = reader(json!({
        "token": {"json": "$.t"}, "expires": {"after": "1h"},
        "success": {"json": "$.success", "equals": true},
        "failures": [
            {"status": [403], "json": "$.errors[0].code", "equals": 10000, "class": "Credential"},
            {"status": [400], "json": "$.type", "matches": ".*/authentication-.*", "class": "Credential"},
            {"json": "$.objectType", "equals": "KalturaAPIException", "class": "Configuration"},
            {"json": "$.busy", "class": "Throttled"},
            {"status": [418, 420], "class": "Throttled"},
        ],
        "retryAfter": "X-RateLimit-Retry-After", "cooldown": "5s",
    }));
    let wait = [("x-ratelimit-retry-after", "17")];
    for (status, body, expected) in [
        (403, json!({"errors": [{"code": 10000}]}), Some((Credential, "Unauthorized"))),
        (403, json!({"errors": [{"code": 10001}]}), Some((Denied, "Forbidden"))),
        (403, json!({"errors": [{"code": "10000"}]}), Some((Denied, "Forbidden"))),
        (400, json!({"type": "https://x.example/authentication-invalid"}), Some((Credential, "Unauthorized"))),
        (400, json!({"type": "https://x.example/other"}), Some((Configuration, "BadRequest"))),
        (200, json!({"objectType": "KalturaAPIException", "t": "t"}), Some((Configuration, "BadRequest"))),
        (200, json!({"busy": 1}), Some((Throttled, "Throttled"))),
        (420, json!({}), Some((Throttled, "Throttled"))),
        (429, json!({}), Some((Throttled, "Throttled"))),
        (500, json!({"success": true, "t": "t"}), Some((Transient, "ServerError"))),
        (200, json!({"success": false, "t": "t"}), Some((Transient, "ServerError"))),
        (200, json!({"t": "t", "success": null}), Some((Transient, "BadAnswer"))),
        (200, json!({"success": "true", "t": "t"}), Some((Transient, "ServerError"))),
        (200, json!({"success": true, "t": "t", "busy": null}), None),
    ] {
        let text = body.to_string();
        let found = read(&reader, &answer(status, &wait, text.as_bytes()), None).err();
        assert_eq!(found.as_ref().map(|e| (e.class, e.reason.as_ref())), expected, "{status} {body}: {found:?}");
        let waits =
            |error: &IssueError| error.reason == "BadAnswer" || error.retry_after == Some(Duration::from_secs(17));
        assert!(found.as_ref().is_none_or(waits), "{status} {body}");
        let unstated = read(&reader, &answer(status, &[], text.as_bytes()), None).err();
        let cooldown = (expected.is_some_and(|(class, _)| class == Throttled)).then_some(Duration::from_secs(5));
        assert!(unstated.is_none_or(|error| error.retry_after == cooldown), "{status} {body}");
    }
}

/// An answer with a token may be a failure by its declaration, and a token may look like words or numbers.
#[test]
fn p11_a_failure_does_not_quote_the_token_of_its_answer() {
    const TOKEN: &str = "correcthorse-battery";
    let failures = json!([{"json": "$.limited", "equals": true, "class": "Throttled"},
        {"json": "$.state", "matches": "[a-z-]+", "class": "Denied"}]);
    for (token, success, body, expected) in [
        ("$.t", "$.ok", json!({"t": TOKEN, "ok": "true"}), "HTTP 200: success: $.ok is \"true\", and must be true"),
        ("$.t", "$.t", json!({"t": TOKEN}), "HTTP 200: success: $.t is \"[redacted]\", and must be true"),
        (
            "$.t",
            "$.ok",
            json!({"t": TOKEN, "limited": true, "message": format!("see {TOKEN}")}),
            "HTTP 200: failures[0]: $.limited is true: see [redacted]",
        ),
        ("$.t", "$.ok", json!({"t": TOKEN, "state": TOKEN}), "HTTP 200: failures[1]: $.state is \"[redacted]\""),
        ("$.message", "$.message", json!({"message": TOKEN}), "HTTP 200: success: $.message is \"[redacted]\""),
        (
            "$.t",
            "$.none",
            json!({"t": 4711, "error": "4711 is yours"}),
            "HTTP 200: success: nothing at $.none, but an error: [redacted] is yours",
        ),
    ] {
        let reader = reader(json!({"token": {"json": token}, "expires": {"after": "1h"},
            "success": {"json": success, "equals": true}, "failures": failures}));
        let error = read(&reader, &answer(200, &[], body.to_string().as_bytes()), None).unwrap_err();
        assert!(error.message.starts_with(expected) && !error.message.contains(TOKEN), "{body}: {}", error.message);
    }
    // an answer without a declared response_rules, whose body has an unknown format
    let reader = reader(json!({"token": {"text": {}}, "expires": {"after": "1h"}, "success": {"json": "$.ok"}}));
    let error = read(&reader, &answer(200, &[], TOKEN.as_bytes()), None).unwrap_err();
    assert_eq!(error.message, "HTTP 200: success: nothing at $.ok");
}

#[test]
fn a_body_that_is_more_than_the_token_is_no_token() {
    let reader = reader(json!({"token": {"text": {}}, "expires": {"after": "1h"}}));
    let html = [("content-type", "text/html")];
    for (headers, body, expected) in [
        (
            &[][..],
            r#"{"error":"bad"}"#,
            "token: the body is JSON, not the token alone: declare token.json, but an error: bad",
        ),
        (&[], r#"["abc"]"#, "token: the body is JSON, not the token alone: declare token.json"),
        (&[], r#""abc""#, "token: the body is a JSON text in quotation marks: declare token.json: $"),
        (&html, "<html><title>Login</title></html>", "a page in HTML, \"Login\", and no token"),
    ] {
        let error = read(&reader, &answer(200, headers, body.as_bytes()), None).unwrap_err();
        assert!(error.message.starts_with(&format!("HTTP 200: {expected}")), "{body}: {}", error.message);
    }
    assert_eq!(read(&reader, &answer(200, &[], b"4711"), None).unwrap().token.expose_secret(), "4711");
}

#[test]
fn the_steps_of_a_reading_are_told_without_a_secret() {
    let reader = reader(json!({
        "token": {"json": "$.access_token"}, "expires": {"seconds": "$.expires_in"},
        "values": {"refreshToken": {"json": "$.refresh_token"}},
        "failures": [{"status": [400], "class": "Credential"}],
    }));
    let body = br#"{"access_token": "sesame-1", "refresh_token": "sesame-2", "expires_in": 3600}"#;
    let mut steps = Vec::new();
    let issued = reader.read(&answer(200, &[], body), None, now(), &mut |step| steps.push(step)).unwrap();
    assert_eq!(issued.values["refreshToken"].expose_secret(), "sesame-2");
    assert_eq!(
        steps,
        [
            "none of the 1 failures matches",
            "token: 8 characters from $.access_token",
            "expires in 1h (2026-11-22T13:00:00Z), by expires.seconds at $.expires_in",
            "values.refreshToken: 8 characters from $.refresh_token",
        ]
    );
}

#[test]
fn an_oauth_answer_gives_an_access_token_or_a_classed_error() {
    use Class::{Configuration, Credential, Throttled, Transient};
    let read = |status: u16, body: &Value| super::oauth2::read(&answer(status, &[], body.to_string().as_bytes()));
    let far = clock::now().wall.timestamp() + 1_000_000_000;
    for body in [
        json!({"access_token": "a-token", "expires_in": 300_000_000}),
        json!({"access_token": "a-token", "expires_in": "300000000"}),
        json!({"access_token": "a-token", "expires_on": far}),
        json!({"access_token": jwt(&json!({"exp": far}))}),
    ] {
        assert!(read(200, &body).is_ok(), "{body}");
    }
    for (status, body, class) in [
        (400, json!({"error": "invalid_client"}), Credential),
        (400, json!({"error": "invalid_grant"}), Credential),
        (401, json!({"error": "other"}), Credential),
        (400, json!({"error": "invalid_scope"}), Configuration),
        (400, json!({"error": "temporarily_unavailable"}), Transient),
        (429, json!({}), Throttled),
        (503, json!({}), Transient),
        (200, json!({"token": "x"}), Transient),
        (200, json!({"access_token": "two words", "expires_in": 3600}), Transient),
    ] {
        assert_eq!(read(status, &body).unwrap_err().class, class, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn p13_any_answer_gives_a_token_or_a_classed_error(
        status in prop_oneof![100u16..600, Just(200), Just(403), Just(429)],
        header in "\\PC{0,20}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "\\PC{0,60}".prop_map(|t| json!({"t": t, "e": 3600}).to_string().into_bytes()),
            any::<f64>().prop_map(|e| json!({"t": "token", "e": e}).to_string().into_bytes()),
            any::<i64>().prop_map(|e| json!({"t": "token", "e": e.to_string()}).to_string().into_bytes()),
            "\\PC{0,30}".prop_map(|e| json!({"t": "token", "e": e}).to_string().into_bytes()),
        ],
        form in prop_oneof![Just("seconds"), Just("milliseconds"), Just("epoch"), Just("epochMillis"), Just("timestamp")],
        asked in proptest::option::of(11u64..40_000_000),
    ) {
        let reader = reader(json!({
            "token": {"json": "$.t"}, "expires": {form: "$.e"}, "retryAfter": "x-wait",
            "failures": [{"json": "$.t", "matches": "a.*", "class": "Denied"}],
        }));
        let headers: HeaderMap = HeaderValue::from_str(&header).ok().into_iter()
            .map(|value| (HeaderName::from_static("x-wait"), value)).collect();
        let answer = ProviderResponse::new(status, &headers, body, now(), now(), Redactor::default());
        match read(&reader, &answer, asked) {
            Ok(issued) => {
                prop_assert!((200..300).contains(&status));
                let lifetime = issued.expires_at - now();
                prop_assert!(lifetime > TimeDelta::seconds(10) && lifetime <= TimeDelta::days(366));
                prop_assert!(asked.is_none_or(|asked| lifetime.to_std().unwrap() <= Duration::from_secs(asked + 60)));
            }
            Err(error) => {
                prop_assert!(!error.reason.is_empty() && error.message.len() < 500, "{}", error);
                prop_assert!(error.retry_after.is_none_or(|wait| wait <= Duration::from_hours(1)));
            }
        }
    }
}
