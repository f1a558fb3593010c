//! Token APIs whose credentials are keys in Secrets, and which take one call: all but Azure's.
//!
//! Such an API is two pure functions, from request to call and from answer to token; sending, timing, the provider's
//! clock and the failures of the transport are the same for all.

use super::http::{Answer, Call, ClockSkew, Http};
use super::{IssueError, Issued, Issuer, jwt};
use crate::api::provider::SecretKeyRef;
use crate::api::request::{FieldError, TokenRequest};
use crate::clock::{self, Timestamp};
use async_trait::async_trait;
use secrecy::SecretString;
use std::sync::Arc;
use url::Url;

/// An account of such an API: what its issuer needs.
pub trait KeyedAccount: Sync {
    /// The provider's own hosts, each a host or `*.suffix`: all that a namespaced provider may call unless the
    /// operator's admin allows more. A credential for another host must name it in its annotation.
    fn public_hosts(&self) -> &'static [&'static str];

    /// The field of the URL that is called, from a provider object's root, and its text.
    fn endpoint(&self) -> (&'static str, &str);

    /// The keys that the issuer needs, each with its field.
    fn credentials(&self) -> Vec<(&'static str, &SecretKeyRef)>;

    /// Its half of the work. `secrets` are in the order of [`KeyedAccount::credentials`].
    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError>;

    /// The issuer, by way of `http`.
    fn issuer(&self, endpoint: Url, secrets: Vec<SecretString>, http: Http) -> Result<Arc<dyn Issuer>, FieldError> {
        let exchange = self.exchange(endpoint, secrets)?;
        Ok(Arc::new(Keyed { exchange, http, skew: ClockSkew::default() }))
    }
}

/// One API's half of the work: no IO.
pub trait Exchange: Send + Sync {
    /// The call that asks for this token.
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError>;

    /// The token in an answer, or the failure that it is.
    fn read(&self, answer: &Answer, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError>;

    /// See [`Issuer::credential_expires_at`].
    fn credential_expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// See [`Issuer::login`].
    fn login(&self) -> Option<String> {
        None
    }
}

/// An API at work.
struct Keyed {
    exchange: Box<dyn Exchange>,
    http: Http,
    skew: ClockSkew,
}

#[async_trait]
impl Issuer for Keyed {
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        let answer = self.http.send(self.exchange.call(request)?).await?;
        self.skew.record(&answer);
        self.exchange.read(&answer, request, clock::now().wall)
    }

    fn clock_skew(&self) -> Option<i64> {
        self.skew.seconds()
    }

    fn credential_expires_at(&self) -> Option<Timestamp> {
        self.exchange.credential_expires_at()
    }

    fn login(&self) -> Option<String> {
        self.exchange.login()
    }
}

/// The token that an answer holds. `said` is the expiry that the answer tells beside it; the token's own `exp` counts
/// too, and the earlier of both.
pub fn issued(
    answer: &Answer,
    token: &str,
    said: Option<Timestamp>,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(answer.not_understood("no token in it"));
    }
    let (expires_at, expiry_assumed) = jwt::expiry(token, said, answer.sent_at, request.promised_life, now)
        .map_err(|error| answer.failure(error.class, error.reason, error.message))?;
    Ok(Issued {
        token: token.into(),
        issued_at: answer.sent_at,
        expires_at,
        expiry_assumed,
        excess: None,
        request_id: answer.request_id.clone(),
    })
}

/// `endpoint` with these segments below its path, each encoded; and no query.
pub fn below<'a>(endpoint: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url.set_query(None);
    url.set_fragment(None);
    url
}
