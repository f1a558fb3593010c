//! What can go wrong on demand, and on which requests.

use super::{Target, locked};
use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::{io, sync::Mutex, time::Duration};

/// One way to fail. In JSON: `"cutBody"`, `{"throttle": {"retryAfter": 5}}`, `{"stall": {"secs": 2, "nanos": 0}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// Answers this and nothing else, without doing what was asked.
    Status {
        /// HTTP status; one that isn't valid becomes 500.
        code: u16,
        /// The body, sent as JSON unless `headers` says otherwise.
        #[serde(default)]
        body: String,
        /// Names and values.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// 429 in the API's own form.
    Throttle {
        /// Seconds for Retry-After; `None` leaves the header out.
        retry_after: Option<u64>,
    },
    /// Waits that long, then answers as if nothing were wrong.
    Stall(Duration),
    /// Does what was asked, then breaks off in the middle of the body.
    CutBody,
    /// Does what was asked, then sends the first half of the JSON as if it were all.
    HalfJson,
    /// 200 and 10 MB, in chunks.
    HugeBody,
    /// 200 and a page in HTML, as a proxy gives that wants a login.
    Html,
    /// A refusal that repeats the whole request, secrets too, with JSON escapes.
    EchoRequest,
    /// A token that expired an hour ago.
    ExpiredToken,
    /// A good token that isn't a JWT.
    OpaqueToken,
    /// A good JWT whose payload can't be decoded.
    NotJwt,
    /// A good JWT without `exp`.
    NoExpiry,
    /// A good token that is told to expire so many seconds after the epoch, by the provider's clock.
    TellsExpiry(i64),
    /// 200 without a token.
    NoToken,
    /// Does what was asked, with a byte order mark before the body, as .NET sends it.
    ByteOrderMark,
    /// Tears the connection down, with all requests on it.
    ConnectionReset,
    /// Neither reads nor writes on the connection any more, and keeps it open: all requests on it hang, pings too.
    ConnectionHang,
    /// The provider's clock is ahead by so many seconds, of the Date header and of the token; behind if negative.
    ClockAhead(i64),
    /// The Date header alone is ahead by so many seconds, as that of a proxy with a clock of its own.
    DateAhead(i64),
}

impl Fault {
    /// [`Fault::Status`] with these headers.
    pub fn status(code: u16, body: impl Into<String>, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Status { code, body: body.into(), headers }
    }
}

/// A fault, and the requests that it is for. By default: each one until the rules are cleared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    fault: Fault,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    times: Option<u32>,
    #[serde(default = "each")]
    every: u32,
    #[serde(skip)]
    matched: u32,
}

/// The default of [`Rule::every`].
fn each() -> u32 {
    1
}

impl Rule {
    /// Plays `fault` on every request until the rules are cleared.
    pub fn new(fault: Fault) -> Self {
        Self { fault, account: None, operation: None, times: None, every: each(), matched: 0 }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only on every `n`th request that matches.
    #[must_use]
    pub fn every(mut self, n: u32) -> Self {
        self.every = n.max(1);
        self
    }

    /// Only where the account's name contains this, ignoring case.
    #[must_use]
    pub fn account(mut self, part: &str) -> Self {
        self.account = Some(part.to_lowercase());
        self
    }

    /// Only this operation, ignoring case.
    #[must_use]
    pub fn operation(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    fn matches(&self, target: &Target) -> bool {
        self.account.as_ref().is_none_or(|part| target.account.contains(&part.to_lowercase()))
            && self.operation.as_ref().is_none_or(|name| target.operation.eq_ignore_ascii_case(name))
    }

    /// Counts a matching request; whether the fault is played on it.
    fn strike(&mut self) -> bool {
        self.matched += 1;
        if !self.matched.is_multiple_of(self.every.max(1)) {
            return false;
        }
        if let Some(times) = &mut self.times {
            *times = times.saturating_sub(1);
        }
        true
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// The rules in force; the oldest that matches wins.
#[derive(Default)]
pub(super) struct Rules(Mutex<Vec<Rule>>);

impl Rules {
    pub(super) fn add(&self, rule: Rule) {
        locked(&self.0).push(rule);
    }

    pub(super) fn clear(&self) {
        locked(&self.0).clear();
    }

    pub(super) fn take(&self, target: &Target) -> Option<Fault> {
        let mut rules = locked(&self.0);
        let fault = rules.iter_mut().find_map(|rule| {
            let hit = rule.times != Some(0) && rule.matches(target) && rule.strike();
            hit.then(|| rule.fault.clone())
        });
        rules.retain(|rule| rule.times != Some(0));
        fault
    }
}

/// The answer of [`Fault::Status`].
pub(super) fn status(code: u16, body: String, headers: &[(String, String)]) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer of [`Fault::Html`].
pub(super) fn html() -> Response {
    let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to the network.</body></html>";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// The answer of [`Fault::HugeBody`]: the beginning of a JSON string that doesn't end.
pub(super) fn huge_body() -> Response {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 10 * 1024 * 1024 / CHUNK;
    let filler = Bytes::from(vec![b'A'; CHUNK]);
    let head = stream::once(async { Bytes::from_static(b"{\"accessToken\":\"") });
    let chunks = head.chain(stream::iter((0..CHUNKS).map(move |_| filler.clone()))).map(Ok::<_, io::Error>);
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(chunks)).into_response()
}

/// [`Fault::CutBody`]: promises the whole of `response`, delivers half.
pub(super) async fn cut(response: Response) -> Response {
    /// Long enough for the first half to leave before the connection breaks.
    const FLUSH: Duration = Duration::from_millis(30);
    let (mut parts, whole) = buffered(response).await;
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = stream::once(std::future::ready(Ok(whole.slice(..whole.len() / 2))));
    let end = stream::once(async {
        tokio::time::sleep(FLUSH).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Response::from_parts(parts, Body::from_stream(half.chain(end)))
}

/// [`Fault::ByteOrderMark`].
pub(super) async fn marked(response: Response) -> Response {
    let (mut parts, whole) = buffered(response).await;
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from([b"\xef\xbb\xbf", &whole[..]].concat()))
}

/// [`Fault::HalfJson`].
pub(super) async fn halve(response: Response) -> Response {
    let (mut parts, whole) = buffered(response).await;
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(whole.slice(..whole.len() / 2)))
}

async fn buffered(response: Response) -> (http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    // The emulators' own bodies are in memory: reading them can't fail.
    (parts, to_bytes(body, usize::MAX).await.unwrap_or_default())
}
