//! What comes of a call of a token API: a token, or a failure with its class.

use crate::clock::Timestamp;
use secrecy::SecretString;
use std::borrow::Cow;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// One CamelCase word for conditions.
    pub reason: Cow<'static, str>,
    /// What the token may do, and the way out.
    pub message: Cow<'static, str>,
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
    pub reason: Cow<'static, str>,
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

impl IssueError {
    /// A failure without an answer: no request id, no wish of the provider's.
    pub fn new(class: Class, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (request_id, retry_after) = (None, None);
        Self {
            class,
            reason: reason.into(),
            message: message.into(),
            request_id,
            retry_after,
            heals: Heals::No,
            unsent: false,
        }
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
