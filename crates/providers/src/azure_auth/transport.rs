//! Transport of `azure_core` that uses the operator's HTTP client. It works around the response handling of
//! `azure_identity` 1.0: it rebuilds a successful response, and turns every other response into an [`IssueError`]. The
//! library neither retries nor quotes that error, and [`classed`] extracts it again.

use super::super::http::{Call, Http, ProviderResponse};
use super::super::{Class, Heals, IssueError};
use super::refusal;
use crate::clock::{self, Timestamp};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode};
use reqwest::Method;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::error::Error as StdError;
use url::{Url, form_urlencoded};

/// Longest accepted lifetime in seconds. Entra's longest lifetime is 24 hours.
const LONGEST_LIFETIME: i64 = 86_400;

/// Link-local address of the instance metadata service.
const METADATA_HOST: &str = "169.254.169.254";

/// Error codes of OAuth 2.0 (RFC 6749 §5.2), `OpenID` Connect and Entra. Messages contain only these codes, because any
/// other value is text of the endpoint.
const OAUTH_ERRORS: [&str; 14] = [
    "access_denied",
    "consent_required",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unknown_source",
    "unsupported_grant_type",
];

/// Service that the transport calls.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Entra,
    /// Metadata service of the machine, or its replacement.
    Metadata {
        instead: Option<Url>,
    },
}

/// Adapter from the HTTP client to the trait of `azure_core`.
#[derive(Debug)]
pub(super) struct EntraTransport {
    pub(super) http: Http,
    pub(super) caller: Caller,
    /// Path of the account in the provider's spec.
    pub(super) field: Cow<'static, str>,
}

#[async_trait]
impl HttpClient for EntraTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        // The library never retries `Other`.
        let granted = self.exchange(request).await.map_err(|error| azure_core::Error::new(ErrorKind::Other, error))?;
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), granted.to_string()))
    }
}

impl EntraTransport {
    async fn exchange(&self, request: &Request) -> Result<Value, IssueError> {
        let named = |error: IssueError| {
            let message = format!("{}: {}", self.caller.name(), error.message);
            IssueError { message, ..error }
        };
        let answer = self.http.send(self.call(request)?).await.map_err(named)?;
        if answer.status == 200 {
            return granted(&answer, clock::now().wall).map_err(named);
        }
        Err(refused(&answer, &self.caller, &self.field, || presented(request)))
    }

    fn call(&self, request: &Request) -> Result<Call, IssueError> {
        let unexpected = || IssueError::new(Class::Transient, "EntraFailed", "the library made no usable request");
        let method = Method::from_bytes(request.method().as_str().as_bytes()).map_err(|_| unexpected())?;
        let mut call = Call::new(method, self.caller.reroute(request.url()));
        for (name, value) in request.headers().iter() {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| unexpected())?;
            // Secret header that proves to App Service that the caller runs on the machine.
            let is_secret = name == "x-identity-header";
            call = if is_secret {
                call.secret_header(name, &value.as_str().into())
            } else {
                call.header(name, value.as_str())
            };
        }
        let Body::Bytes(body) = request.body() else { return Err(unexpected()) };
        for (field, value) in form_urlencoded::parse(body) {
            if matches!(&*field, "client_secret" | "client_assertion") {
                call = call.knows(&SecretString::from(value.into_owned()));
            }
        }
        Ok(if body.is_empty() { call } else { call.body(body.to_vec(), "application/x-www-form-urlencoded") })
    }
}

impl Caller {
    fn name(&self) -> &'static str {
        match self {
            Self::Entra => "Entra",
            Self::Metadata { .. } => "managed identity",
        }
    }

    fn reroute(&self, url: &Url) -> Url {
        match self {
            Self::Metadata { instead: Some(instead) } if url.host_str() == Some(METADATA_HOST) => {
                let mut to = instead.clone();
                to.set_path(url.path());
                to.set_query(url.query());
                to
            }
            _ => url.clone(),
        }
    }
}

/// Fields that are read from a success. The metadata service sends numbers as strings.
#[derive(Deserialize)]
struct Granted {
    token_type: String,
    access_token: String,
    expires_in: Option<Value>,
    expires_on: Option<Value>,
}

/// Returns a rebuilt response with only the fields and types that the library can parse.
fn granted(answer: &ProviderResponse, now: Timestamp) -> Result<Value, IssueError> {
    let Ok(granted) = serde_json::from_slice::<Granted>(&answer.body) else {
        return Err(answer.not_understood("no token response"));
    };
    if granted.access_token.trim().is_empty() || !granted.token_type.eq_ignore_ascii_case("bearer") {
        return Err(answer.not_understood("no bearer token"));
    }
    let now = now.timestamp();
    let until = || Some(integer(granted.expires_on.as_ref())?.saturating_sub(now));
    let lifetime = match integer(granted.expires_in.as_ref()).or_else(until) {
        Some(lifetime) if lifetime > 0 => lifetime.min(LONGEST_LIFETIME),
        _ => return Err(answer.not_understood("a token without a usable lifetime")),
    };
    Ok(json!({
        "token_type": "Bearer",
        "access_token": granted.access_token.trim(),
        "expires_in": lifetime,
        "expires_on": (now + lifetime).to_string(),
        "resource": "",
    }))
}

fn integer(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Fields that are read from an error response. The description may quote the request, so only its leading number is
/// read.
#[derive(Default)]
struct Refused {
    error: Option<&'static str>,
    codes: Vec<i64>,
    /// `true` if the body has the form of an OAuth error (RFC 6749 section 5.2), unlike a page of a proxy.
    is_oauth: bool,
}

impl Refused {
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = body.get("error").and_then(Value::as_str).unwrap_or_default();
        let listed = body.get("error_codes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // Without a list, the description begins with the number.
        let described = body.get("error_description").and_then(Value::as_str).and_then(|text| {
            let digits = text.trim_start().strip_prefix("AADSTS")?;
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        let codes = listed.iter().filter_map(|code| integer(Some(code))).chain(described.filter(|_| listed.is_empty()));
        Self {
            is_oauth: !said.is_empty(),
            error: OAUTH_ERRORS.into_iter().find(|known| *known == said),
            // AADSTS numbers have five to eight digits.
            codes: codes.filter(|n| (1..100_000_000).contains(n)).take(4).collect(),
        }
    }
}

/// Returns the claims of the request's assertion, if another issuer signed it.
fn presented(request: &Request) -> Option<String> {
    let Body::Bytes(body) = request.body() else { return None };
    let field = |name: &str| form_urlencoded::parse(body).find(|(field, _)| field == name).map(|(_, value)| value);
    refusal::presented(&field("client_assertion")?, &field("client_id").unwrap_or_default())
}

/// Returns the failure for an error response. The message contains only safe parts: the numbers, their meanings, and
/// the claims of a federated credential.
fn refused(
    answer: &ProviderResponse,
    caller: &Caller,
    field: &str,
    presented: impl FnOnce() -> Option<String>,
) -> IssueError {
    let Refused { error, codes, is_oauth } = Refused::read(&answer.body);
    let known = codes.iter().find_map(|code| refusal::find(*code));
    let codes = codes.iter().map(|code| format!("AADSTS{code}")).collect::<Vec<_>>().join(", ");
    let said = match (error, codes.is_empty()) {
        (Some(error), true) => error.to_owned(),
        (Some(error), false) => format!("{error} ({codes})"),
        (None, false) => codes.clone(),
        (None, true) => format!("HTTP {}", answer.status),
    };
    let is_verdict = is_oauth || !codes.is_empty();
    let (class, reason, verb) = match (answer.status, error) {
        (429, _) => (Class::Throttled, "EntraThrottled", "throttled"),
        (408 | 500..=599, _) | (_, Some("temporarily_unavailable" | "server_error")) => {
            (Class::Transient, "EntraUnavailable", "unavailable")
        }
        // The metadata service returns these statuses while an identity is assigned or the service is updated.
        (404 | 410, _) if matches!(caller, Caller::Metadata { .. }) => {
            (Class::Transient, "EntraUnavailable", "unavailable")
        }
        _ if known.is_some_and(|known| known.passes) => (Class::Transient, "EntraUnavailable", "unavailable"),
        (400..=499, _) if is_verdict => (Class::Credential, "EntraRefused", "refused"),
        // The body has no OAuth error, so the sender isn't Entra.
        _ => (Class::Transient, "BadAnswer", "answered"),
    };
    let mut message = format!("{} {verb}: {said}", caller.name());
    if !is_verdict && let Some(page) = answer.page() {
        message = format!("{message}: {page}: a login page, a proxy or a firewall answers in its place");
    }
    if known.is_none() && !codes.is_empty() {
        message = format!("{message}: look it up at https://login.microsoftonline.com/error?code=NUMBER");
    }
    if let Some(known) = known {
        message = format!("{message}: {}", known.says(field));
        if let Some(presented) = Some(()).filter(|()| known.of_assertion).and_then(|()| presented()) {
            message = format!("{message}; {presented}");
        }
    }
    let heals = known.map_or(Heals::No, |known| known.heals);
    let identity_refused = class == Class::Credential;
    IssueError { heals, identity_refused, ..answer.failure(class, reason, message) }
}

/// Returns the [`IssueError`] that the library wrapped. Other text of the library isn't shown.
pub(super) fn classed(error: &azure_core::Error) -> IssueError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<IssueError>() {
            return found.clone();
        }
        cause = error.source();
    }
    IssueError::new(Class::Transient, "EntraFailed", "Entra: the call could not be made")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::super::http::HttpOptions;
    use super::super::super::redact::Redactor;
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    fn answer(status: u16, body: &str) -> ProviderResponse {
        let now = clock::now().wall;
        ProviderResponse::new(status, &HeaderMap::new(), body.as_bytes().to_vec(), now, now, Redactor::default())
    }

    #[test]
    fn only_a_bearer_token_with_a_life_is_granted() {
        let now = clock::now().wall;
        let later = now.timestamp() + 600;
        let cases = [
            (r#"{"token_type":"Bearer","access_token":"t","expires_in":3599}"#.to_owned(), Some(3599)),
            (
                r#"{"token_type":"bearer","access_token":" t ","expires_in":"3599","expires_on":"1"}"#.to_owned(),
                Some(3599),
            ),
            (format!(r#"{{"token_type":"Bearer","access_token":"t","expires_on":"{later}"}}"#), Some(600)),
            (format!(r#"{{"token_type":"Bearer","access_token":"t","expires_in":{}}}"#, i64::MAX), Some(86_400)),
            (r#"{"token_type":"Bearer","access_token":"t","expires_in":0}"#.to_owned(), None),
            (r#"{"token_type":"Bearer","access_token":"t","expires_in":-5}"#.to_owned(), None),
            (r#"{"token_type":"Bearer","access_token":"t"}"#.to_owned(), None),
            (r#"{"token_type":"Bearer","access_token":"","expires_in":3599}"#.to_owned(), None),
            (r#"{"token_type":"pop","access_token":"t","expires_in":3599}"#.to_owned(), None),
            ("{}".to_owned(), None),
            (String::new(), None),
            ("<html>".to_owned(), None),
        ];
        for (body, lifetime) in cases {
            let granted = granted(&answer(200, &body), now);
            assert_eq!(granted.ok().and_then(|g| g["expires_in"].as_i64()), lifetime, "{body}");
        }
    }

    #[test]
    fn a_refusal_shows_its_class_and_numbers_only() {
        let secret = r#"{"error":"invalid_client","error_description":"AADSTS7000215: secret \u0027s3cret\u0027","error_codes":[7000215]}"#;
        let cases = [
            (401, secret, Class::Credential, "Entra refused: invalid_client (AADSTS7000215)"),
            (
                400,
                r#"{"error":"s3cret","error_codes":["x",-1,12345678901]}"#,
                Class::Credential,
                "Entra refused: HTTP 400",
            ),
            (400, r#"{"error":"another"}"#, Class::Credential, "Entra refused: HTTP 400"),
            // The sender isn't Entra.
            (401, "", Class::Transient, "Entra answered: HTTP 401"),
            (400, "{}", Class::Transient, "Entra answered: HTTP 400"),
            // Only the number of the description is shown.
            (
                401,
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret"}"#,
                Class::Credential,
                "Entra refused: invalid_client (AADSTS7000215)",
            ),
            (401, r#"{"error_codes":["7000215"]}"#, Class::Credential, "Entra refused: AADSTS7000215"),
            (
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                Class::Transient,
                "Entra unavailable: temporarily_unavailable",
            ),
            (403, r#"{"error_codes":[53003]}"#, Class::Credential, "Entra refused: AADSTS53003"),
            (
                403,
                r#"{"error_codes":[12345]}"#,
                Class::Credential,
                "Entra refused: AADSTS12345: look it up at https://login.microsoftonline.com/error?code=NUMBER",
            ),
            (
                403,
                "<html><title>Blocked</title></html>",
                Class::Transient,
                "Entra answered: HTTP 403: a page in HTML, \"Blocked\": a login page, a proxy or a firewall answers in its place",
            ),
            (404, "", Class::Transient, "Entra answered: HTTP 404"),
            (429, secret, Class::Throttled, "Entra throttled: invalid_client (AADSTS7000215)"),
            (503, "busy", Class::Transient, "Entra unavailable: HTTP 503"),
            (204, "", Class::Transient, "Entra answered: HTTP 204"),
        ];
        for (status, body, class, message) in cases {
            let error = refused(&answer(status, body), &Caller::Entra, "spec.videoIndexer", || None);
            let known = [7_000_215, 53_003].into_iter().find(|number| message.contains(&format!("AADSTS{number}")));
            let says = known
                .and_then(refusal::find)
                .map(|known| format!(": {}", known.says("spec.videoIndexer")))
                .unwrap_or_default();
            assert_eq!((error.class, error.message), (class, format!("{message}{says}")), "{status} {body}");
        }
        let machine = Caller::Metadata { instead: None };
        let error = refused(&answer(404, r#"{"error":"invalid_request"}"#), &machine, "spec.videoIndexer", || None);
        assert_eq!(
            (error.class, error.message.as_str()),
            (Class::Transient, "managed identity unavailable: invalid_request")
        );
    }

    #[test]
    fn p07_each_known_number_has_its_sentence_and_a_federated_credential_what_was_presented() {
        for known in refusal::ALL {
            let body = json!({"error": "unauthorized_client", "error_codes": [known.number]}).to_string();
            let error = refused(&answer(401, &body), &Caller::Entra, "spec.videoIndexer", || {
                Some("presented: issuer i".to_owned())
            });
            let verb = if known.passes { "unavailable" } else { "refused" };
            let head = format!(
                "Entra {verb}: unauthorized_client (AADSTS{}): {}",
                known.number,
                known.says("spec.videoIndexer")
            );
            let presented = if known.of_assertion { "; presented: issuer i" } else { "" };
            assert_eq!((error.message, error.heals), (format!("{head}{presented}"), known.heals));
            let class = if known.passes { Class::Transient } else { Class::Credential };
            assert!(error.class == class && !error.unsent, "{}", known.number);
        }
    }

    #[test]
    fn only_the_metadata_service_is_rerouted() {
        let instead = Some("https://127.0.0.1:8443".parse().unwrap());
        let machine = Caller::Metadata { instead };
        let url = "http://169.254.169.254/metadata/identity/oauth2/token?resource=x".parse().unwrap();
        assert_eq!(machine.reroute(&url).as_str(), "https://127.0.0.1:8443/metadata/identity/oauth2/token?resource=x");
        assert_eq!(Caller::Metadata { instead: None }.reroute(&url), url);
        assert_eq!(Caller::Entra.reroute(&url), url);
        assert!(format!("{:?}", Http::new(&HttpOptions::default())).starts_with("Ok(Http"));
    }

    proptest! {
        #[test]
        fn p13_any_answer_is_a_token_or_a_classed_error(
            status in 100u16..600,
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300).prop_map(|b| String::from_utf8_lossy(&b).into_owned()),
                (any::<i64>(), "\\PC{0,20}").prop_map(|(lifetime, token)| {
                    json!({"token_type": "Bearer", "access_token": token, "expires_in": lifetime}).to_string()
                }),
            ],
        ) {
            let answer = answer(status, &body);
            if let Ok(granted) = granted(&answer, clock::now().wall) {
                prop_assert!((1..=LONGEST_LIFETIME).contains(&granted["expires_in"].as_i64().unwrap()));
            }
            refused(&answer, &Caller::Entra, "spec.videoIndexer", || None);
        }
    }
}
