//! One file per token API, and the one HTTP client that they share.
//!
//! May not enter: Kubernetes. What a call needs from there (a `ServiceAccount`'s assertion) comes in as a trait object.

pub mod api_management;
pub mod arcgis_video_server;
pub mod azure_auth;
pub mod blend_vision;
pub mod cognitive_services;
pub mod hosts;
pub mod http;
pub mod jwt;
pub mod keyed;
pub mod life;
pub mod redact;
pub mod video_indexer;
pub mod video_indexer_classic;

use crate::api::request::TokenRequest;
use crate::clock::Timestamp;
use async_trait::async_trait;
use secrecy::SecretString;
use std::time::Duration;

/// A token that a provider issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token itself.
    pub token: SecretString,
    /// The moment before the request was sent.
    pub issued_at: Timestamp,
    /// When the provider stops honouring it.
    pub expires_at: Timestamp,
    /// The answer didn't tell the expiry: `expires_at` is `issued_at` and the promised life.
    pub expiry_assumed: bool,
    /// What the token may do beyond what was asked.
    pub excess: Option<Excess>,
    /// The provider's id of this request, for its support.
    pub request_id: Option<String>,
}

/// Rights of a token beyond what was asked, as its provider tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// One CamelCase word for conditions.
    pub reason: &'static str,
    /// What the token may do, and the way out.
    pub message: &'static str,
}

impl Excess {
    const ALL: [Self; 1] = [arcgis_video_server::SITE_ADMINISTRATOR];

    /// The one with this reason, which a status tells of.
    pub fn of(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|excess| excess.reason == reason)
    }
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Try again with back-off. Everything unknown is this.
    Transient,
    /// The provider said when to come back, or that it is too much.
    Throttled,
    /// The request itself is wrong (400, 404, 422).
    Configuration,
    /// The identity may not do this (403).
    Denied,
    /// The account's credential is refused (401, an Entra rejection).
    Credential,
}

/// A failed issue. Carries no secret: bodies are quoted only after redaction, cut at 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct IssueError {
    /// What it means for the next attempt.
    pub class: Class,
    /// One CamelCase word for conditions and metrics, such as `Throttled`, `BadAnswer`, `Timeout`.
    pub reason: &'static str,
    /// What happened, fit for a status.
    pub message: String,
    /// The provider's id of this request.
    pub request_id: Option<String>,
    /// The provider's own wish, from Retry-After.
    pub retry_after: Option<Duration>,
    /// Of a refused credential: whether the refusal may pass without anyone's doing.
    pub heals: Heals,
    /// The provider itself certainly never saw the request, so that nothing was counted there. Anything that may have
    /// been sent, whatever became of its answer, isn't this.
    pub unsent: bool,
}

/// Whether time heals the refusal of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Heals {
    /// It doesn't, as far as is known.
    #[default]
    No,
    /// It does for a credential that has never worked: it may be so new that the provider doesn't know it everywhere yet.
    New,
    /// It does.
    Soon,
}

impl Heals {
    /// Whether it does for a credential that has worked, or hasn't.
    pub fn holds(self, has_worked: bool) -> bool {
        match self {
            Self::No => false,
            Self::New => !has_worked,
            Self::Soon => true,
        }
    }
}

/// How much longer than its timeout an issue may take before its caller gives it up: what ends in time says itself who
/// didn't answer.
pub const GRACE: Duration = Duration::from_millis(500);

impl IssueError {
    /// A failure without an answer: no request id, no wish of the provider's.
    pub fn new(class: Class, reason: &'static str, message: impl Into<String>) -> Self {
        let (request_id, retry_after) = (None, None);
        Self { class, reason, message: message.into(), request_id, retry_after, heals: Heals::No, unsent: false }
    }

    /// No answer came within `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        let message = format!("the provider didn't answer within {} s", limit.as_secs());
        Self::new(Class::Transient, "Timeout", message)
    }

    /// Entra itself refused the identity, before the token API was asked: whatever the request is.
    pub fn refuses_identity(&self) -> bool {
        self.reason == "EntraRefused"
    }

    /// The same, of a request that was certainly never sent.
    #[must_use]
    pub fn unsent(self) -> Self {
        Self { unsent: true, ..self }
    }
}

/// One account at one token API.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Asks for one token: exactly one call of the token API (beside it, rarely, a fresh Entra token).
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError>;

    /// How far the provider's clock is ahead of ours, from its last Date header; seconds.
    fn clock_skew(&self) -> Option<i64>;

    /// When the credential itself ends, where it tells: a certificate, or an API token that is a JWT.
    fn credential_expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// A refused credential may be tried again whenever somebody asks: the refusal is that of an identity's directory, which
    /// counts none, and whose admins mend it there.
    fn is_retried_on_demand(&self) -> bool {
        false
    }

    /// Who logs in, where failed logins lock a user at the provider: no secret, and the same for the same user.
    fn login(&self) -> Option<String> {
        None
    }
}
