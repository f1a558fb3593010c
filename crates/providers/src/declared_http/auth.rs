//! The credential of the calls of a declared API.

use super::oauth2::Oauth2Client;
use crate::azure_auth::EntraTokenSource;
use crate::bearer::BearerToken;
use crate::clock::Timestamp;
use crate::http::Call;
use crate::{IssueError, jwt};
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};

/// Credential of the calls, ready to use.
pub(super) enum Auth {
    None,
    Bearer(SecretString),
    Basic { username: SecretString, password: SecretString },
    Header { name: HeaderName, prefix: String, secret: SecretString },
    Oauth2(Oauth2Client),
    Entra(EntraTokenSource),
}

impl Auth {
    /// Returns the access token that a call needs first, if any.
    pub(super) async fn token(&self) -> Result<Option<BearerToken>, IssueError> {
        match self {
            Self::Oauth2(client) => client.token().await.map(Some),
            Self::Entra(entra) => entra.token().await.map(Some),
            Self::None | Self::Bearer(_) | Self::Basic { .. } | Self::Header { .. } => Ok(None),
        }
    }

    /// Adds the credential to a call.
    pub(super) fn apply(&self, call: Call, token: Option<&BearerToken>) -> Call {
        match self {
            Self::None => call,
            Self::Bearer(secret) => call.bearer(secret),
            Self::Basic { username, password } => call.basic(username, password),
            Self::Header { name, prefix, secret } => {
                let value = SecretString::from(format!("{prefix}{}", secret.expose_secret().trim()));
                call.secret_header(name.clone(), &value).knows(secret)
            }
            Self::Oauth2(_) | Self::Entra(_) => match token {
                Some(token) => call.bearer(&token.token),
                None => call,
            },
        }
    }

    /// Returns the user name, where the credential has one.
    pub(super) fn username(&self) -> Option<&str> {
        match self {
            Self::Basic { username, .. } => Some(username.expose_secret()),
            Self::Oauth2(client) => client.username(),
            Self::None | Self::Bearer(_) | Self::Header { .. } | Self::Entra(_) => None,
        }
    }

    /// Returns the expiry of the credential itself, which is known for a certificate and for a bearer token that is a
    /// JWT.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Bearer(secret) => jwt::exp(secret.expose_secret()),
            Self::Entra(entra) => entra.credential_expires_at(),
            Self::None | Self::Basic { .. } | Self::Header { .. } | Self::Oauth2(_) => None,
        }
    }

    /// Records that the API accepted the access token.
    pub(super) fn accepted(&self, token: Option<&BearerToken>) {
        match (self, token) {
            (Self::Oauth2(client), Some(token)) => client.accepted(token),
            (Self::Entra(entra), Some(token)) => entra.accepted(token),
            _ => {}
        }
    }

    /// Records that the API rejected the access token. Returns true if a new one may be accepted.
    pub(super) fn refused(&self, token: Option<&BearerToken>) -> bool {
        match (self, token) {
            (Self::Oauth2(client), Some(token)) => client.refused(token),
            (Self::Entra(entra), Some(token)) => entra.refused(token),
            _ => false,
        }
    }
}
