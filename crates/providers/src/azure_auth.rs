//! Microsoft Entra tokens for one provider object, from `azure_identity` and kept in a [`BearerCache`].
//!
//! Managed identities are supported on Azure's virtual machines and App Service. `azure_identity` can't use the managed
//! identity of a cluster connected through Azure Arc. Such a cluster uses workload identity.

mod certificate;
mod credential;
mod refusal;
mod transport;

pub use super::bearer::BearerToken as EntraToken;
pub use credential::{AssertionSource, AzureCredential, ProjectedToken};

use super::IssueError;
use super::bearer::BearerCache;
use super::http::Http;
use crate::clock::Timestamp;
use credential::Entra;
use std::borrow::Cow;
use url::Url;
use videotoken_api::request::FieldError;

/// Settings of an [`EntraTokenSource`] in addition to its credential.
#[derive(Clone, Debug)]
pub struct EntraTokenOptions {
    /// Entra's host, such as `https://login.microsoftonline.com`. Its path is ignored.
    pub authority: Url,
    /// Scope of the token, such as `https://management.azure.com/.default`.
    pub scope: String,
    /// Client for calls of Entra. A fetch may take half of its timeout. The other half remains for the call that uses
    /// the token.
    pub http: Http,
    /// Path of the account in the provider's spec, such as `spec.videoIndexer`, for messages.
    pub field: Cow<'static, str>,
    /// Replacement for the instance metadata service at `http://169.254.169.254`, called with `http`. For tests.
    pub metadata_endpoint: Option<Url>,
}

/// Tokens of one identity for one scope.
pub struct EntraTokenSource {
    entra: Entra,
    credential_expires_at: Option<Timestamp>,
    cache: BearerCache,
}

impl EntraTokenSource {
    /// Creates the token source of `credential`. The error names the invalid field.
    pub fn new(credential: AzureCredential, options: EntraTokenOptions) -> Result<Self, FieldError> {
        let deadline = options.http.timeout() / 2;
        let credential_expires_at = credential.expires_at();
        let host = match credential {
            AzureCredential::ManagedIdentity { .. } => "the machine's metadata service".to_owned(),
            _ => options.authority.authority().to_owned(),
        };
        Ok(Self {
            cache: BearerCache::new("Entra", host, deadline),
            credential_expires_at,
            entra: Entra::new(credential, options)?,
        })
    }

    /// Returns the issuer of the tokens: Entra's host, or the metadata service of the machine.
    pub fn host(&self) -> &str {
        self.cache.host()
    }

    /// Returns the expiry of the credential itself, which is known for certificates only.
    pub fn credential_expires_at(&self) -> Option<Timestamp> {
        self.credential_expires_at
    }

    /// Returns a token that is valid for at least 30 more seconds.
    ///
    /// # Errors
    /// `EntraRefused` (credential) with the OAuth error and AADSTS numbers, `EntraThrottled`, the transient errors
    /// `EntraUnavailable` and `Timeout`, and all errors of [`Http::send`] and of an [`AssertionSource`]. Until its
    /// back-off has passed, the last failure is returned again without a call.
    pub async fn token(&self) -> Result<EntraToken, IssueError> {
        self.cache.token(|| self.entra.fetch()).await
    }

    /// Records that the API accepted `token`. If the API rejects it later, the token is invalid and not the credential.
    pub fn accepted(&self, token: &EntraToken) {
        self.cache.accepted(token);
    }

    /// Records that the API rejected `token` with a 401, and stops using it. Returns true if a new token may be
    /// accepted, and false if this token was just fetched and never accepted.
    pub fn refused(&self, token: &EntraToken) -> bool {
        self.cache.refused(token)
    }
}

impl std::fmt::Debug for EntraTokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntraTokenSource").field("entra", &self.entra).finish_non_exhaustive()
    }
}
