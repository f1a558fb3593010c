//! Result of a call of a token API: a token, or a failure with its class.

use crate::clock::Timestamp;
use secrecy::SecretString;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A token that a token API issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: SecretString,
    /// Further values that came with the token, by name.
    pub values: BTreeMap<String, SecretString>,
    /// Time before the request was sent.
    pub issued_at: Timestamp,
    /// Expiry by the clock of this machine.
    pub expires_at: Timestamp,
    /// True if the response contained no expiry: `expires_at` is then `issued_at` plus the promised lifetime.
    pub expiry_assumed: bool,
    /// Permissions beyond the requested scope.
    pub excess: Option<Excess>,
    /// ID of the request at the token API, for support cases.
    pub request_id: Option<String>,
}

/// Permissions of a token beyond the requested scope, as the token API reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Reason of the condition, in CamelCase.
    pub reason: Cow<'static, str>,
    /// Description of the permissions, and the action that removes them.
    pub message: Cow<'static, str>,
}

/// Failure class. It decides the retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Retried with back-off. Every unknown failure has this class.
    Transient,
    /// The token API stated when to retry, or rejected the call because of its rate limit.
    Throttled,
    /// The token request is invalid (400, 404, 422).
    Configuration,
    /// The identity does not have the permission (403).
    Denied,
    /// The credential of the account is rejected (401, or a rejection by Entra).
    Credential,
}

/// A failed call. It contains no secret: quotes of a response are redacted and limited to 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct IssueError {
    /// Class of the failure.
    pub class: Class,
    /// Reason for conditions and metrics, in CamelCase, such as `Throttled`, `BadAnswer`, `Timeout`.
    pub reason: Cow<'static, str>,
    /// Description without secrets, for a status.
    pub message: String,
    /// ID of the request at the token API, for support cases.
    pub request_id: Option<String>,
    /// Time from the Retry-After header.
    pub retry_after: Option<Duration>,
    /// For a rejected credential: whether the rejection can end without a change.
    pub heals: Heals,
    /// True if a directory rejected the identity itself, so that the token API received no request.
    pub identity_refused: bool,
    /// True if the token API cannot have received the request, so that its rate limit did not count it. It is false if
    /// any part may have been sent.
    pub unsent: bool,
}

/// Chance that the rejection of a credential ends without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Heals {
    /// None, or unknown.
    #[default]
    No,
    /// Likely for a credential that never worked: a new credential may not have reached all servers of the provider.
    New,
    /// Likely.
    Soon,
}

impl Heals {
    /// Returns true if the rejection can end without a change. `has_worked`: a token was issued with the credential
    /// before.
    pub fn holds(self, has_worked: bool) -> bool {
        match self {
            Self::No => false,
            Self::New => !has_worked,
            Self::Soon => true,
        }
    }
}

impl IssueError {
    /// Creates a failure without a response, a request ID and a Retry-After.
    pub fn new(class: Class, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (request_id, retry_after) = (None, None);
        Self {
            class,
            reason: reason.into(),
            message: message.into(),
            request_id,
            retry_after,
            heals: Heals::No,
            identity_refused: false,
            unsent: false,
        }
    }

    /// Creates the failure of a call without a response within `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        let message = format!("the token API did not respond within {} s", limit.as_secs());
        Self::new(Class::Transient, "Timeout", message)
    }

    /// Marks the request as never sent.
    #[must_use]
    pub fn unsent(self) -> Self {
        Self { unsent: true, ..self }
    }
}
