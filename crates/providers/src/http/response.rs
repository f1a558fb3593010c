//! HTTP response: its status, its bounded body, its request IDs, its Retry-After, and the default failure class of its
//! status.

use super::super::redact::Redactor;
use super::super::{Class, IssueError};
use super::error_body;
use crate::clock::Timestamp;
use chrono::{DateTime, NaiveDateTime, TimeDelta};
use reqwest::header::{
    AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use secrecy::SecretString;
use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use url::Url;

/// Longest wait that a Retry-After of a provider may request. Longer waits are reduced to this value.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

const MAX_ID: usize = 128;

/// Response of a token API. Its `Debug` output contains no body.
#[derive(Clone)]
pub struct ProviderResponse {
    /// HTTP status.
    pub status: u16,
    /// Body, at most [`super::MAX_BODY`] bytes. It may contain a token: quote it with [`ProviderResponse::quote`] only.
    pub body: Vec<u8>,
    /// Content type in lower case, without parameters.
    pub content_type: Option<String>,
    /// Provider's ID of this request: `x-ms-request-id`, or `apim-request-id` of Azure's AI services.
    pub request_id: Option<String>,
    /// `x-ms-correlation-request-id`, Azure's ID of the operation that this request belongs to.
    pub correlation_id: Option<String>,
    /// Wait from `Retry-After` (seconds or a date) or from the `RetryInfo` of a gRPC gateway, at most
    /// [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// Current time of the provider: `Date`, plus `Age` if the response comes from a cache.
    pub date: Option<Timestamp>,
    /// Seconds that the provider's clock is ahead of the local clock, from `Date`.
    pub clock_skew: Option<i64>,
    /// `true` if `WWW-Authenticate` requests Negotiate or NTLM (RFC 4559), which is the login of a web server in front
    /// of the API.
    pub wants_windows_login: bool,
    /// Time immediately before the request was sent.
    pub sent_at: Timestamp,
    /// Time at which the headers of the response arrived.
    pub arrived_at: Timestamp,
    /// Host that sent the response, as `host` or `host:port`. Empty if unknown.
    host: String,
    location: Option<String>,
    headers: HeaderMap,
    redactor: Redactor,
}

/// Byte order mark that .NET writes before JSON and that JSON parsers reject. RFC 8259 §8.1 permits ignoring it.
const BOM: &[u8] = b"\xef\xbb\xbf";

impl ProviderResponse {
    /// Creates a response from its parts, without I/O, so that tests can parse any bytes. Removes a byte order mark
    /// from the start of the body.
    pub fn new(
        status: u16,
        headers: &HeaderMap,
        body: Vec<u8>,
        sent_at: Timestamp,
        arrived_at: Timestamp,
        redactor: Redactor,
    ) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let id = |name| text(name).filter(|id| is_id(id) && redactor.is_clean(id)).map(str::to_owned);
        let age = text(AGE.as_str()).and_then(|age| TimeDelta::try_seconds(age.parse().ok().filter(|age| *age >= 0)?));
        let date = text(DATE.as_str()).and_then(http_date);
        let date = date.and_then(|date| date.checked_add_signed(age.unwrap_or_default()));
        Self {
            status,
            content_type: text(CONTENT_TYPE.as_str())
                .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()),
            request_id: id("x-ms-request-id").or_else(|| id("apim-request-id")),
            correlation_id: id("x-ms-correlation-request-id"),
            retry_after: text(RETRY_AFTER.as_str()).and_then(|value| wait(value, date.unwrap_or(arrived_at))).or_else(
                || (status >= 400).then(|| error_body::retry_delay(&body))?.map(|wait| wait.min(MAX_RETRY_AFTER)),
            ),
            date,
            clock_skew: date.map(|date| (date - arrived_at).num_seconds()),
            host: String::new(),
            wants_windows_login: headers.get_all(WWW_AUTHENTICATE).iter().any(is_windows_login),
            location: text(LOCATION.as_str()).map(str::to_owned),
            body: match body.strip_prefix(BOM) {
                Some(rest) => rest.to_vec(),
                None => body,
            },
            sent_at,
            arrived_at,
            headers: headers.clone(),
            redactor,
        }
    }

    /// Returns the response with `host` as its sender.
    pub(super) fn with_host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Returns true if the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the value of a header, without surrounding spaces. It may be a token.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// Returns the value of a cookie that the response sets, without its attributes (RFC 6265 §5.2). Of several cookies
    /// with this name, the last one that has a value counts. A cookie that has expired deletes an earlier one, and is no
    /// value.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let cookies = cookies.filter(|cookie| !is_deletion(cookie, self.date.unwrap_or(self.arrived_at)));
        let pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        let values = pairs.filter(|(given, _)| given.trim() == name).map(|(_, value)| value.trim());
        let mut values = values.map(|value| value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value));
        values.rfind(|value| !value.is_empty())
    }

    /// Returns the wait that a header with the format of Retry-After states, at most [`MAX_RETRY_AFTER`].
    pub fn wait_in(&self, header: &str) -> Option<Duration> {
        wait(self.header(header)?, self.date.unwrap_or(self.arrived_at))
    }

    /// Returns the response with further secrets that its quotations don't contain: those that it brings itself.
    #[must_use]
    pub fn hiding(&self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self { redactor: self.redactor.and(secrets), ..self.clone() }
    }

    /// Quotes text of the response, without the secrets of the call and without text that looks like a secret.
    pub fn quote(&self, said: impl AsRef<[u8]>) -> String {
        self.redactor.quote(said)
    }

    /// Creates a failure with the request ID and Retry-After of this response. `message` must contain only quoted text
    /// of the response.
    pub fn failure(
        &self,
        class: Class,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> IssueError {
        self.with_ids(IssueError::new(class, reason, message))
    }

    /// Returns the error in the body, quoted, as `code: message`. Reads the error formats of all providers.
    pub fn said(&self) -> String {
        self.quote(error_body::read(&self.body, self.content_type.as_deref()))
    }

    /// Returns the error that the JSON body of a success names, quoted. Nothing else of a success is quoted: it may be a
    /// token.
    pub fn error(&self) -> Option<String> {
        error_body::error(&self.body).map(|error| self.quote(error))
    }

    /// Returns a quoted description of a page in the body: `a page in HTML, "Sign in", from vi.example`. `None` if the
    /// body is not a page.
    pub fn page(&self) -> Option<String> {
        let page = self.quote(error_body::page(&self.body, self.content_type.as_deref())?);
        let comma = if page.ends_with('"') { "," } else { "" };
        Some(if self.host.is_empty() { page } else { format!("{page}{comma} from {}", self.host) })
    }

    /// Returns the default failure for the status of this response: `HTTP 404: …`. An error code that repeats the
    /// status is omitted.
    pub fn refusal(&self) -> IssueError {
        let (class, reason) = class_of(self.status);
        if let Some(page) = self.page() {
            let whose = if self.status == 403 { ": a firewall or a proxy refuses, not the API" } else { "" };
            return self.failure(class, reason, format!("HTTP {}: {page}{whose}", self.status));
        }
        let said = self.said();
        let said = said.strip_prefix(&format!("{}: ", self.status)).unwrap_or(&said);
        self.failure(class, reason, format!("HTTP {}: {said}", self.status).trim_end_matches(": "))
    }

    /// Returns the transient failure `BadAnswer` for a success whose body can't be understood. The message describes a
    /// page and quotes an error.
    pub fn not_understood(&self, what: &str) -> IssueError {
        let message = match (self.page(), self.error()) {
            (Some(page), _) => format!(
                "{page}, and no token: look at the URL, and for a login page, a captive portal or a proxy before it"
            ),
            (None, Some(error)) => format!("{what}, but an error: {error}"),
            (None, None) if self.body.is_empty() => format!("{what}: the body is empty"),
            (None, None) => what.to_owned(),
        };
        self.failure(Class::Transient, "BadAnswer", format!("HTTP {}: {message}", self.status))
    }

    /// Returns `error` with the request ID and Retry-After of this response.
    pub(super) fn with_ids(&self, error: IssueError) -> IssueError {
        IssueError {
            request_id: self.request_id.clone().or_else(|| self.correlation_id.clone()),
            retry_after: self.retry_after,
            ..error
        }
    }

    /// Rejects a redirect. Token APIs don't redirect, and the credential is for one host only.
    pub(crate) fn reject_redirect(self) -> Result<Self, IssueError> {
        if !(300..400).contains(&self.status) {
            return Ok(self);
        }
        let to =
            self.location.as_deref().and_then(|to| Url::parse(to).ok()).and_then(|to| Some(to.host_str()?.to_owned()));
        let to = to.map(|host| format!(" to {}", self.quote(host))).unwrap_or_default();
        let message = format!("HTTP {}: redirected{to}, which is never followed: name the final endpoint", self.status);
        Err(self.failure(Class::Transient, "Redirected", message))
    }
}

impl std::fmt::Debug for ProviderResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderResponse")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Returns the default failure class and reason of a status.
pub fn class_of(status: u16) -> (Class, &'static str) {
    match status {
        400 => (Class::Configuration, "BadRequest"),
        404 => (Class::Configuration, "NotFound"),
        422 => (Class::Configuration, "Unprocessable"),
        401 => (Class::Credential, "Unauthorized"),
        403 => (Class::Denied, "Forbidden"),
        429 => (Class::Throttled, "Throttled"),
        408 => (Class::Transient, "RequestTimeout"),
        409 => (Class::Transient, "Conflict"),
        500..=599 => (Class::Transient, "ServerError"),
        _ => (Class::Transient, "UnexpectedStatus"),
    }
}

/// Seconds that a provider's clock is ahead of the local clock, from its last response with a date.
#[derive(Debug)]
pub struct ClockSkew(AtomicI64);

impl ClockSkew {
    const UNKNOWN: i64 = i64::MIN;

    /// Records the clock skew of `answer`, if it has a date.
    pub fn record(&self, answer: &ProviderResponse) {
        if let Some(seconds) = answer.clock_skew {
            self.0.store(seconds, Ordering::Relaxed);
        }
    }

    /// Returns the clock skew in seconds, or `None` if no response had a date yet.
    pub fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != Self::UNKNOWN)
    }
}

impl Default for ClockSkew {
    fn default() -> Self {
        Self(AtomicI64::new(Self::UNKNOWN))
    }
}

/// Returns true if one of the challenges is Negotiate or NTLM.
fn is_windows_login(challenges: &HeaderValue) -> bool {
    let schemes = challenges.to_str().unwrap_or_default().split(',').filter_map(|one| one.split_whitespace().next());
    schemes.into_iter().any(|scheme| ["negotiate", "ntlm"].iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}

/// Parses an HTTP date (RFC 9110 §5.6.7) in the current format or in one of the two obsolete formats that old servers
/// send.
fn http_date(text: &str) -> Option<Timestamp> {
    const OLD: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let today = DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc());
    let old = || OLD.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    today.or_else(|| old().map(|date| date.and_utc()))
}

/// Returns true for a cookie whose `Max-Age` or, without it, `Expires` deletes it (RFC 6265 §5.3).
fn is_deletion(cookie: &str, now: Timestamp) -> bool {
    let attributes = cookie.split(';').skip(1).filter_map(|attribute| attribute.split_once('='));
    let attribute = |wanted: &str| {
        let named = attributes.clone().filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| value.trim()).last()
    };
    match attribute("max-age").and_then(|seconds| seconds.parse::<i64>().ok()) {
        Some(seconds) => seconds <= 0,
        None => attribute("expires").and_then(cookie_date).is_some_and(|expires| expires <= now),
    }
}

/// Parses the date of a cookie, which may have dashes between day, month and year.
fn cookie_date(text: &str) -> Option<Timestamp> {
    let dashed = || NaiveDateTime::parse_from_str(text, "%a, %d-%b-%Y %H:%M:%S GMT").ok();
    http_date(text).or_else(|| dashed().map(|date| date.and_utc()))
}

/// Least number that is a time in seconds since 1970, of 2001, and no wait: some APIs state the time of a reset.
const LEAST_EPOCH: f64 = 1e9;

/// Least number that is a time in milliseconds since 1970.
const LEAST_EPOCH_MILLIS: f64 = 1e12;

/// Parses Retry-After as seconds (fractions are rounded up), as a date, or as a time since 1970. Times are relative to
/// `now`, the provider's clock if the response states it.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let until = |millis: f64| {
        #[allow(clippy::cast_possible_truncation)] // a cast of a float saturates
        let at = DateTime::from_timestamp_millis(millis as i64);
        at.map_or(MAX_RETRY_AFTER, |at| (at - now).to_std().unwrap_or_default())
    };
    let wait = match text.parse::<f64>() {
        Ok(millis) if millis >= LEAST_EPOCH_MILLIS => until(millis),
        Ok(seconds) if seconds >= LEAST_EPOCH => until(seconds * 1000.0),
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(MAX_RETRY_AFTER),
        Ok(_) => return None,
        Err(_) => (http_date(text)? - now).to_std().unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Returns true for a short ID of plain characters. Other values may contain anything, and IDs are written to a status.
fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
