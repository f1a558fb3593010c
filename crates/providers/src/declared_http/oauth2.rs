//! Access tokens of an OAuth 2.0 token endpoint (RFC 6749), which a declared API asks for first.
//!
//! Each issuer keeps its own token, so two providers never share one by mistake: the token endpoint, the client, the
//! parameters and the credentials are those of the issuer, which is built again when one of them changes.

use crate::bearer::{BearerCache, BearerToken};
use crate::clock::{self, Timestamp};
use crate::expiry::add_lifetime;
use crate::http::{Call, Http, ProviderResponse};
use crate::{Class, IssueError, jwt};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;
use url::Url;
use url::form_urlencoded::byte_serialize;

/// Lifetime of an access token whose answer states none.
const UNSTATED: Duration = Duration::from_mins(5);

/// Client of one token endpoint.
pub(super) struct Oauth2Client {
    cache: BearerCache,
    http: Http,
    request: TokenCall,
}

/// Everything that a request of an access token contains.
pub(super) struct TokenCall {
    /// Token endpoint.
    pub(super) url: Url,
    /// ID and secret of the client for the Authorization header.
    pub(super) basic: Option<(SecretString, SecretString)>,
    /// Fields of the form that are not secret.
    pub(super) params: Vec<(String, String)>,
    /// Fields of the form that are secret.
    pub(super) secrets: Vec<(&'static str, SecretString)>,
}

impl Oauth2Client {
    /// Creates a client. A fetch may take half of the timeout of `http`. The other half remains for the call that uses
    /// the token.
    pub(super) fn new(request: TokenCall, http: Http) -> Self {
        let host = request.url.authority().to_owned();
        Self { cache: BearerCache::new("OAuth", host, http.timeout() / 2), http, request }
    }

    /// Returns an access token that is valid for at least 30 more seconds.
    pub(super) async fn token(&self) -> Result<BearerToken, IssueError> {
        self.cache.token(|| self.fetch()).await
    }

    /// See [`BearerCache::accepted`].
    pub(super) fn accepted(&self, token: &BearerToken) {
        self.cache.accepted(token);
    }

    /// See [`BearerCache::refused`].
    pub(super) fn refused(&self, token: &BearerToken) -> bool {
        self.cache.refused(token)
    }

    /// Returns the user name of the grant `password`.
    pub(super) fn username(&self) -> Option<&str> {
        let user = self.request.secrets.iter().find(|(name, _)| *name == "username");
        user.map(|(_, user)| user.expose_secret())
    }

    async fn fetch(&self) -> Result<(SecretString, Timestamp), IssueError> {
        let answer = self.http.send(self.request.call()).await.map_err(of_oauth)?;
        read(&answer).map_err(of_oauth)
    }
}

impl TokenCall {
    /// Builds the request. ID and secret are form-encoded in the Authorization header (RFC 6749 §2.3.1).
    pub(super) fn call(&self) -> Call {
        let plain = self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let secret = self.secrets.iter().map(|(name, value)| (*name, value.expose_secret()));
        let call = Call::post(self.url.clone()).form(plain.chain(secret));
        let call = self.secrets.iter().fold(call, |call, (_, secret)| call.knows(secret));
        let encoded =
            |secret: &SecretString| byte_serialize(secret.expose_secret().as_bytes()).collect::<String>().into();
        match &self.basic {
            Some((id, secret)) => call.basic(&encoded(id), &encoded(secret)).knows(secret),
            None => call,
        }
    }
}

/// Names the pre-step in the message of a failure.
fn of_oauth(error: IssueError) -> IssueError {
    IssueError { message: format!("OAuth: {}", error.message), ..error }
}

/// Returns the access token and its expiry (RFC 6749 §5.1), or the failure that the answer describes (§5.2). Some
/// servers state `expires_in` as a text, or `expires_on` in seconds since 1970 instead.
pub(super) fn read(answer: &ProviderResponse) -> Result<(SecretString, Timestamp), IssueError> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let member = |name: &str| body.as_ref().and_then(|body| body.get(name));
    if !answer.is_success() {
        let class = match member("error").and_then(Value::as_str) {
            Some("invalid_client" | "invalid_grant" | "unauthorized_client") => {
                Some((Class::Credential, "Unauthorized"))
            }
            Some("invalid_request" | "invalid_scope" | "unsupported_grant_type") => {
                Some((Class::Configuration, "BadRequest"))
            }
            Some("temporarily_unavailable" | "server_error") => Some((Class::Transient, "ServerError")),
            _ => None,
        };
        let error = answer.refusal();
        return Err(match class {
            Some((class, reason)) => answer.failure(class, reason, error.message),
            None => error,
        });
    }
    let token = member("access_token").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(answer.not_understood("no access_token in it"));
    }
    let seconds = |name: &str| match member(name)? {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64().filter(|number| *number >= 0.0),
    };
    let relative = seconds("expires_in").and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
    let absolute = seconds("expires_on").and_then(|seconds: f64| {
        #[allow(clippy::cast_possible_truncation)] // the range is checked
        Timestamp::from_timestamp(Some(seconds).filter(|seconds| *seconds < 1e12)? as i64, 0)
    });
    let skew = answer.clock_skew.unwrap_or_default();
    let local = |at: Timestamp| at.checked_sub_signed(chrono::TimeDelta::try_seconds(skew)?);
    let expires_at = relative
        .map(|lifetime| add_lifetime(answer.sent_at, lifetime))
        .or_else(|| absolute.or_else(|| jwt::exp(token)).and_then(local))
        .unwrap_or_else(|| add_lifetime(answer.sent_at, UNSTATED));
    if expires_at <= clock::now().wall {
        let message = format!("HTTP {}: the access token has expired already", answer.status);
        return Err(answer.failure(Class::Transient, "ExpiredToken", message));
    }
    Ok((token.into(), expires_at))
}
