//! What the targets share: from bytes to an answer, and what must hold of whatever becomes of it (P11, P13).

pub mod requests;
pub mod templates;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::Value;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::TokenRequest;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::http::ProviderResponse;
use videotoken_providers::keyed::{Exchange, KeyedAccount};
use videotoken_providers::redact::Redactor;
use videotoken_providers::{IssueError, Issued};

/// What every call knows as a secret: no error may show it.
pub const SECRET: &str = "sesame-open-sesame-0123456789";

/// The headers that anything is read of.
const HEADERS: [&str; 6] =
    ["content-type", "retry-after", "date", "x-ms-request-id", "x-ms-correlation-request-id", "location"];

/// The answer that is written in `data`: a status, a line for each header, and the body after an empty line.
///
/// The status is the first two bytes; most are made into one that providers use, so that the body matters.
pub fn answer(data: &[u8]) -> ProviderResponse {
    const USUAL: [u16; 10] = [200, 200, 200, 200, 400, 401, 403, 404, 429, 500];
    let (first, rest) = data.split_at(data.len().min(2));
    let number = first.iter().fold(0u16, |sum, byte| (sum << 8) | u16::from(*byte));
    let status = if number < 0xF000 { USUAL[usize::from(number) % USUAL.len()] } else { 100 + number % 500 };
    let mut headers = HeaderMap::new();
    let mut body = rest;
    for name in HEADERS {
        let Some(end) = body.iter().position(|byte| *byte == b'\n') else { break };
        if let Ok(value) = HeaderValue::from_bytes(&body[..end]) {
            headers.insert(HeaderName::from_static(name), value);
        }
        body = &body[end + 1..];
    }
    let now = clock::now().wall;
    ProviderResponse::new(status, &headers, body.to_vec(), now, now, Redactor::new(vec![SECRET.into()]))
}

/// A token that can be stored, or an error that shows no secret and can be told.
pub fn check(result: Result<Issued, IssueError>, now: Timestamp) {
    match result {
        Ok(issued) => {
            let token = issued.token.expose_secret();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(issued.expires_at > now);
            assert!(!format!("{issued:?}").contains(token) || token.len() < 12);
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(SECRET), "it shows the secret");
            assert!(error.message.len() < 2048, "{} bytes", error.message.len());
            assert!(!error.reason.is_empty());
        }
    }
}

/// An API with keys, and a request to it, as users write them.
pub struct Keyed {
    exchange: Box<dyn Exchange>,
    request: TokenRequest,
}

impl Keyed {
    /// `provider` is the account's spec; `keyed` picks it; `scope` is the token's.
    pub fn new(provider: Value, scope: Value, keyed: impl Fn(&ProviderSpec) -> &dyn KeyedAccount) -> Self {
        let provider: ProviderSpec = serde_json::from_value(provider).expect("a provider");
        let spec = serde_json::json!({"providerRef": {"name": "p"}, "scope": scope});
        let spec: VideoAccessTokenSpec = serde_json::from_value(spec).expect("a token");
        let request = spec.request(&provider).expect("a request");
        let account = keyed(&provider);
        let endpoint = account.endpoint().1.parse().expect("a URL");
        let secrets = account.credentials().iter().map(|_| SECRET.into()).collect();
        let exchange = account.exchange(endpoint, secrets).expect("an exchange");
        Self { exchange, request }
    }

    /// Reads the answer in `data`.
    pub fn read(&self, data: &[u8]) {
        let now = clock::now().wall;
        check(self.exchange.read(&answer(data), &self.request, now), now);
    }
}
