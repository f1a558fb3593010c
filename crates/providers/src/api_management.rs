//! Parts that token APIs behind Azure API Management share: the header of the subscription key, a response that
//! contains only the token, and the gateway's Retry-After, which is a header or a sentence.
//!
//! Source: API Management's policies `rate-limit` (429) and `quota` (403), and the texts of Azure's services in them.

use super::http::{MAX_RETRY_AFTER, ProviderResponse};
use super::{Class, IssueError, Issued, jwt, keyed};
use crate::clock::Timestamp;
use reqwest::header::HeaderName;
use serde_json::Value;
use std::time::Duration;
use videotoken_api::request::TokenRequest;

/// Header with the key of a subscription or resource.
pub const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");

/// Returns the token that is the whole body of a success. Only a JWT is accepted, as a JSON string or as bare text,
/// because the end of other bare text is unknown.
pub fn issued(answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
    let token = whole(answer).ok_or_else(|| answer.not_understood("no token in it"))?;
    keyed::issued(answer, &token, None, request, now)
}

fn whole(answer: &ProviderResponse) -> Option<String> {
    let text = std::str::from_utf8(&answer.body).ok()?.trim();
    let token = match serde_json::from_str(text) {
        Ok(Value::String(token)) => token,
        _ => text.to_owned(),
    };
    jwt::is_jwt(&token).then_some(token)
}

/// Returns the failure for an error response. A used-up quota returns 403, but counts as throttled because only time
/// helps. Without Retry-After, the wait comes from the message.
pub fn refusal(answer: &ProviderResponse) -> IssueError {
    let mut error = answer.refusal();
    let sentence = sentence(&answer.body);
    if answer.status == 403 && sentence.contains("out of call volume quota") {
        (error.class, error.reason) = (Class::Throttled, "QuotaExceeded".into());
    }
    if error.class == Class::Throttled && error.retry_after.is_none() {
        error.retry_after = wait(&sentence).map(|wait| wait.min(MAX_RETRY_AFTER));
    }
    error
}

/// Returns the message of an error in lower case: from `{"error": {message}}`, from `{message}`, or the whole body.
fn sentence(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = json.get("error").unwrap_or(&json);
    let message = ["message", "Message"].iter().find_map(|name| error.get(*name)?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body), Into::into).to_lowercase()
}

/// Returns the wait in a sentence such as `Try again in 26 seconds.`, `Please retry after 12 days.` or `Quota will be
/// replenished in 22.14:18:12.`
fn wait(sentence: &str) -> Option<Duration> {
    const LEADS: [&str; 3] = ["try again in ", "retry after ", "replenished in "];
    let (_, rest) = LEADS.iter().find_map(|lead| sentence.split_once(lead))?;
    let mut words = rest.split_whitespace().map(|word| word.trim_end_matches(['.', ',']));
    let number = words.next()?;
    if number.contains(':') {
        return span(number);
    }
    let unit: u64 = match words.next()?.trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86400,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.saturating_mul(unit)))
}

/// Parses a time span in the format of .NET: `[days.]hours:minutes:seconds`.
fn span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse().ok()?, clock),
        _ => (0, text),
    };
    let parts: Option<Vec<u64>> = clock.split(':').map(|part| part.split('.').next()?.parse().ok()).collect();
    let [hours, minutes, seconds] = parts?[..] else { return None };
    let least = |total: u64, part: u64, each: u64| total.saturating_add(part.saturating_mul(each));
    Some(Duration::from_secs(least(least(least(seconds, minutes, 60), hours, 3600), days, 86400)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;
    use crate::clock;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use reqwest::header::{HeaderMap, HeaderValue};
    use secrecy::ExposeSecret;
    use serde_json::{Map, json};

    fn answer(status: u16, media_type: &'static str, body: &str) -> ProviderResponse {
        let now = clock::now().wall;
        let headers = HeaderMap::from_iter([(reqwest::header::CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        ProviderResponse::new(status, &headers, body.as_bytes().to_vec(), now, now, Redactor::default())
    }

    fn read(media_type: &'static str, body: &str) -> Result<Issued, IssueError> {
        let request = TokenRequest {
            account: "a".to_owned(),
            operation: "issueToken".into(),
            fields: Map::new(),
            promised_lifetime: Duration::from_mins(10),
            ends_at: None,
        };
        issued(&answer(200, media_type, body), &request, clock::now().wall)
    }

    #[test]
    fn a_token_comes_quoted_or_bare() {
        let payload = URL_SAFE_NO_PAD.encode(json!({"exp": clock::now().wall.timestamp() + 600}).to_string());
        let token = format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln");
        let token = token.as_str();
        let bodies = [
            ("application/json", format!("\"{token}\"")),
            ("application/json; charset=utf-8", format!(" \"{token}\"\r\n")),
            ("application/jwt", token.to_owned()),
            ("text/plain", format!("{token}\n")),
        ];
        for (media_type, body) in bodies {
            let issued = read(media_type, &body).unwrap();
            assert_eq!((issued.token.expose_secret(), issued.expiry_assumed), (token, false), "{body}");
        }
        // The payload of this token isn't inspected.
        let opaque = read("text/plain", "eyJhbGciOiJIUzI1NiJ9.0123456789abcdef.c2ln").unwrap();
        assert!(opaque.expiry_assumed);
        assert_eq!((opaque.expires_at - opaque.issued_at).num_minutes(), 10);
    }

    #[test]
    fn what_holds_no_token_is_a_bad_answer_that_is_not_quoted() {
        let bodies = [
            ("text/plain", ""),
            ("text/plain", "OK"),
            ("text/plain", "the service is being repaired"),
            ("text/html", "signinsigninsigninsignin"),
            ("text/plain", "<html>0123456789abcdef</html>"),
            ("application/json", "null"),
            ("application/json", "12345678901234567890"),
            ("application/json", "\"\""),
            ("application/json", r#""0123456789abcdef"#),
            ("application/json", r#"{"accessToken":"0123456789abcdef"}"#),
            ("application/json", r#"["0123456789abcdef"]"#),
            ("application/jwt", "eyJhbGciOiJIUzI1NiJ9"),
            ("application/jwt", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4"),
            ("text/plain", "0123456789abcdef-opaque"),
            ("text/plain", "maintenance_until_2026-11-28T08:00"),
            ("application/jwt", r#"/*c*/"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln""#),
            ("application/jwt", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lneyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln"),
        ];
        for (media_type, body) in bodies {
            let error = read(media_type, body).unwrap_err();
            assert_eq!((error.class, &*error.reason), (Class::Transient, "BadAnswer"), "{body}");
            let is_page = media_type == "text/html" || body.starts_with('<');
            let expected = if is_page { "HTTP 200: a page in HTML" } else { "HTTP 200: no token in it" };
            assert!(error.message.starts_with(expected), "{body}: {error}");
            assert!(!error.message.contains("0123456789abcdef") && !error.message.contains("eyJ"), "{error}");
        }
    }

    #[test]
    fn a_wait_is_read_from_words() {
        let messages = [
            ("Rate limit is exceeded. Try again in 26 seconds.", Some(26)),
            ("Rate limit is exceeded. Try again in 1 second.", Some(1)),
            ("... of your current F0 pricing tier. Please retry after 8 seconds. To increase", Some(8)),
            ("Out of call volume quota for F0 pricing tier. Please retry after 2 minutes.", Some(120)),
            ("Out of call volume quota. Quota will be replenished in 00:07:02.", Some(422)),
            ("Out of call volume quota. Quota will be replenished in 22.14:18:12.", Some(3600)),
            ("Out of call volume quota for F0 pricing tier. Please retry after 12 days.", Some(3600)),
            ("Try again in 99999999999999999999 seconds.", None),
            ("Try again in 9999999999999999999 days.", Some(3600)),
            ("Quota will be replenished in 18446744073709551615.23:59:59.", Some(3600)),
            ("Quota will be replenished in 00:07.", None),
            ("Try again in a few seconds.", None),
            ("Rate limit is exceeded. Try again later.", None),
            ("Try again in ", None),
        ];
        for (message, seconds) in messages {
            for body in [json!({"error": {"code": "429", "message": message}}), json!({"Message": message})] {
                let error = refusal(&answer(429, "application/json", &body.to_string()));
                assert_eq!((error.class, &*error.reason), (Class::Throttled, "Throttled"));
                assert_eq!(error.retry_after, seconds.map(Duration::from_secs), "{message}");
            }
            let plain = refusal(&answer(429, "text/plain", message));
            assert_eq!(plain.retry_after, seconds.map(Duration::from_secs), "{message}");
            let elsewhere = refusal(&answer(500, "text/plain", message));
            assert_eq!(elsewhere.retry_after, None, "words count for a throttle only");
        }
    }
}
