//! Tokens of BlendVision One: a JSON body below `/bv/cms/v1/`, the organization in a header, the API token as bearer
//! token.
//!
//! Source: the reference's `Create an access token` and `Create playback token`. Errors have the format of
//! gRPC-gateway, `{code, message, details}`, with gRPC's codes.

use super::expiry::parse_expiry;
use super::http::{Call, ProviderResponse, class_of};
use super::keyed::{Exchange, KeyedAccount, below, issued};
use super::provider::{Credential, Field, hosts};
use super::{Class, IssueError, Issued, jwt};
use crate::clock::Timestamp;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::borrow::Cow;
use url::Url;
use videotoken_api::blend_vision::BlendVisionAccount;
use videotoken_api::request::{FieldError, TokenRequest};

const ORGANIZATION: HeaderName = HeaderName::from_static("x-bv-org-id");

/// Issuer for one organization.
pub struct BlendVision {
    endpoint: Url,
    organization: String,
    api_token: SecretString,
    /// Expiry of the API token, if the token contains it.
    api_token_expires_at: Option<Timestamp>,
}

impl KeyedAccount for BlendVisionAccount {
    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        hosts(&["api.one.blendvision.com"])
    }

    fn endpoint(&self) -> (Field, &str) {
        ("spec.blendVision.endpoint".into(), self.root())
    }

    fn credentials(&self) -> Vec<Credential<'_>> {
        vec![("spec.blendVision.apiTokenRef".into(), &self.api_token_ref)]
    }

    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError> {
        let api_token = secrets.into_iter().next().unwrap_or_default();
        Ok(Box::new(BlendVision::new(endpoint, self.organization.clone(), api_token)))
    }
}

impl BlendVision {
    fn new(endpoint: Url, organization: String, api_token: SecretString) -> Self {
        let api_token_expires_at = jwt::exp(api_token.expose_secret());
        Self { endpoint, organization, api_token, api_token_expires_at }
    }

    fn refusal(&self, answer: &ProviderResponse, body: Option<&Value>, now: Timestamp) -> IssueError {
        let code = body.and_then(|body| body.get("code")?.as_i64()).and_then(class_of_code);
        let error = match code {
            Some((class, reason)) if is_vague(answer.status) => {
                answer.failure(class, reason, format!("HTTP {}: {}", answer.status, answer.said()))
            }
            _ if !answer.is_success() => answer.refusal(),
            _ if body.is_some() => answer.not_understood("no token in it"),
            _ => answer.not_understood("no JSON"),
        };
        match self.api_token_expires_at.filter(|at| error.class == Class::Credential && *at <= now) {
            Some(at) => {
                let ended = format!("the API token expired at {}: create another", at.format("%FT%TZ"));
                IssueError { message: format!("{}; {ended}", error.message), ..error }
            }
            None => error,
        }
    }
}

impl Exchange for BlendVision {
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError> {
        let url = below(&self.endpoint, ["bv", "cms", "v1"].into_iter().chain(request.operation.split('/')));
        let call = Call::post(url).bearer(&self.api_token).header(ORGANIZATION, &self.organization);
        Ok(call.json(&request.fields))
    }

    fn read(&self, answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        let body = serde_json::from_slice::<Value>(&answer.body).ok();
        let token = body.as_ref().and_then(|body| body.get("token")?.as_str()).filter(|token| !token.is_empty());
        let (true, Some(body), Some(token)) = (answer.is_success(), &body, token) else {
            return Err(self.refusal(answer, body.as_ref(), now));
        };
        // A token with a fixed expiry is valid until then.
        let until = request.ends_at.as_ref().map(|end| (end.at - answer.sent_at).to_std().unwrap_or_default());
        let promised_lifetime = until.unwrap_or(request.promised_lifetime);
        let request = &TokenRequest { promised_lifetime, ..request.clone() };
        let issued = issued(
            answer,
            token,
            ["expired_at", "expiredAt"].iter().find_map(|name| parse_expiry(body.get(*name)?)),
            request,
            now,
        )?;
        // If no lifetime was requested, a missing expiry is not an assumption.
        let expiry_assumed = issued.expiry_assumed && request.fields.contains_key("expires_in");
        Ok(Issued { expiry_assumed, ..issued })
    }

    fn credential_expires_at(&self) -> Option<Timestamp> {
        self.api_token_expires_at
    }
}

/// Returns true if the gRPC code is more specific than the status: a success that contains an error, an unexpected
/// status, and 500, which is a gateway's default.
fn is_vague(status: u16) -> bool {
    (200..300).contains(&status) || status == 500 || class_of(status).1 == "UnexpectedStatus"
}

/// Returns the class of gRPC's codes that are more specific than a failure.
fn class_of_code(code: i64) -> Option<(Class, &'static str)> {
    match code {
        3 => Some(class_of(400)),
        5 => Some(class_of(404)),
        7 => Some(class_of(403)),
        8 => Some(class_of(429)),
        14 => Some(class_of(503)),
        16 => Some(class_of(401)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;
    use crate::clock;
    use base64::Engine as _;
    use chrono::DateTime;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::json;
    use std::time::Duration;
    use videotoken_api::request::ENDLESS;

    const OPAQUE: &str = "opaque-token-0123";

    fn organization(api_token: &str) -> BlendVision {
        BlendVision::new("https://api.one.blendvision.com".parse().unwrap(), "org-1".to_owned(), api_token.into())
    }

    /// Creates a request for `expires_in`, or without an expiry.
    fn request(expires_in: Option<&str>) -> TokenRequest {
        let mut fields = json!({"resource_id": "r", "resource_type": "RESOURCE_TYPE_VOD"});
        if let Some(expires_in) = expires_in {
            fields["expires_in"] = expires_in.into();
        }
        TokenRequest {
            account: "blendVision/org-1".to_owned(),
            operation: "resources/tokens".into(),
            fields: fields.as_object().cloned().unwrap(),
            promised_lifetime: if expires_in.is_some() { Duration::from_hours(1) } else { ENDLESS },
            ends_at: None,
        }
    }

    fn answer(status: u16, body: &[u8]) -> ProviderResponse {
        let now = clock::now().wall;
        ProviderResponse::new(status, &HeaderMap::new(), body.to_vec(), now, now, Redactor::default())
    }

    fn read(status: u16, body: &str, asked: Option<&str>) -> Result<Issued, IssueError> {
        organization("opaque").read(&answer(status, body.as_bytes()), &request(asked), clock::now().wall)
    }

    fn jwt(exp: i64) -> String {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")
    }

    #[test]
    fn the_earlier_of_both_tellings_is_the_expiry() {
        let now = clock::now().wall.timestamp();
        let at = |seconds: i64| DateTime::from_timestamp(now + seconds, 0).unwrap();
        let said = |seconds: i64| json!(at(seconds).to_rfc3339());
        let cases = [
            (OPAQUE.to_owned(), said(600), Some(600)),
            (jwt(now + 600), said(900), Some(600)),
            (jwt(now + 900), said(600), Some(600)),
            (jwt(now + 900), Value::Null, Some(900)),
            (OPAQUE.to_owned(), json!(at(600).format("%FT%T.987Z").to_string()), Some(600)),
            (OPAQUE.to_owned(), json!("2026-13-40"), None),
            (OPAQUE.to_owned(), json!("0001-01-01T00:00:00Z"), None),
            (OPAQUE.to_owned(), json!("1970-01-01T00:00:00Z"), None),
            (OPAQUE.to_owned(), json!(""), None),
            (OPAQUE.to_owned(), json!(7), None),
            // Later than requested.
            (OPAQUE.to_owned(), json!("9999-12-31T23:59:59Z"), None),
            (OPAQUE.to_owned(), json!("+57000-01-01T00:00:00Z"), None),
        ];
        for (token, expired_at, expected) in cases {
            let body = json!({"token": token, "expired_at": expired_at});
            let issued = read(200, &body.to_string(), Some("3600s")).unwrap();
            let expires = issued.expires_at.timestamp() - now;
            assert_eq!((!issued.expiry_assumed).then_some(expires), expected, "{body}");
            assert!(expected.is_some() || (expires - 3600).abs() <= 2, "{body}");
        }
        let passed = json!({"token": OPAQUE, "expired_at": said(-5)});
        assert_eq!(read(200, &passed.to_string(), Some("3600s")).unwrap_err().reason, "ExpiredToken");
    }

    #[test]
    fn a_token_that_never_expires_is_no_assumption() {
        let issued = read(200, &json!({"token": OPAQUE}).to_string(), None).unwrap();
        assert!(!issued.expiry_assumed);
        assert_eq!((issued.expires_at - issued.issued_at).num_days(), 36_500);
        let max = json!({"token": OPAQUE, "expired_at": "9999-12-31T23:59:59Z"}).to_string();
        let issued = read(200, &max, None).unwrap();
        assert!(!issued.expiry_assumed);
        assert_eq!((issued.expires_at - issued.issued_at).num_days(), 36_500, "as the documentation states");
    }

    #[test]
    fn the_status_gives_the_class_and_grpcs_code_where_it_is_vague() {
        use Class::{Configuration, Credential, Denied, Throttled, Transient};
        let cases = [
            (400, 3, Configuration, "BadRequest"),
            (400, 16, Configuration, "BadRequest"),
            (401, 16, Credential, "Unauthorized"),
            (403, 7, Denied, "Forbidden"),
            (404, 5, Configuration, "NotFound"),
            (429, 8, Throttled, "Throttled"),
            (503, 14, Transient, "ServerError"),
            (500, 13, Transient, "ServerError"),
            (500, 16, Credential, "Unauthorized"),
            (500, 5, Configuration, "NotFound"),
            (418, 8, Throttled, "Throttled"),
            (418, 2, Transient, "UnexpectedStatus"),
            (200, 3, Configuration, "BadRequest"),
            (200, 7, Denied, "Forbidden"),
            (200, 14, Transient, "ServerError"),
            (200, 2, Transient, "BadAnswer"),
        ];
        for (status, code, class, reason) in cases {
            let body = json!({"code": code, "message": "because", "details": [{"@type": "type.example/x"}]});
            let error = read(status, &body.to_string(), Some("3600s")).unwrap_err();
            assert_eq!((error.class, &*error.reason), (class, reason), "{status} {code}");
            assert!(reason == "BadAnswer" || error.message == format!("HTTP {status}: {code}: because"), "{error}");
        }
        for body in ["", "<html>", "{}", r#"{"token":""}"#, r#"{"token":"a b"}"#, r#"{"token":"half-of-i"#] {
            let error = read(200, body, Some("3600s")).unwrap_err();
            assert_eq!((error.class, &*error.reason), (Transient, "BadAnswer"), "{body}");
            assert!(!error.message.contains("half-of-i"), "{error}");
        }
    }

    #[test]
    fn an_api_token_tells_its_end_and_a_refusal_that_it_has_come() {
        let now = clock::now().wall;
        let end = |api_token: &str| organization(api_token).credential_expires_at().map(|at| at.timestamp());
        assert_eq!((end(&jwt(1_763_392_544)), end("opaque")), (Some(1_763_392_544), None));
        let refusal = |status: u16, exp: i64| {
            organization(&jwt(exp)).read(&answer(status, b""), &request(None), now).unwrap_err().message
        };
        assert_eq!(
            refusal(401, 1_763_392_544),
            "HTTP 401; the API token expired at 2025-11-17T15:15:44Z: create another"
        );
        assert_eq!(refusal(401, now.timestamp() + 60), "HTTP 401");
        assert_eq!(refusal(403, 1_763_392_544), "HTTP 403");
    }

    proptest! {
        #[test]
        fn p13_any_answer_gives_a_token_or_a_classed_error(
            status in 100u16..600,
            headers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 3),
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                ("\\PC{0,60}", "\\PC{0,30}", any::<i64>(), any::<bool>()).prop_map(|(token, at, exp, is_jwt)| {
                    let token = if is_jwt { jwt(exp) } else { token };
                    json!({"token": token, "expired_at": at}).to_string().into_bytes()
                }),
                (any::<i64>(), "\\PC{0,60}", "\\PC{0,400}").prop_map(|(code, message, detail)| {
                    json!({"code": code, "message": message, "details": [{"@type": detail}]}).to_string().into_bytes()
                }),
            ],
            endless in any::<bool>(),
        ) {
            let names = ["retry-after", "content-type", "date"];
            let headers = names.into_iter().zip(headers);
            let headers = headers.filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
            });
            let now = clock::now().wall;
            let answer = ProviderResponse::new(status, &headers.collect(), body, now, now, Redactor::default());
            match organization("opaque").read(&answer, &request((!endless).then_some("3600s")), now) {
                Ok(issued) => prop_assert!(issued.expires_at > now && answer.is_success()),
                Err(error) => prop_assert!(error.message.len() < 400, "{error}"),
            }
        }
    }
}
