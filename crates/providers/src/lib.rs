//! Clients of the token APIs: one module for each API, the HTTP client that they share, and the construction of an
//! issuer from a provider's spec.
//!
//! Not allowed here: a Kubernetes client. Objects from the API server (an assertion of a `ServiceAccount`, a Secret)
//! come through a trait object.

pub mod api_management;
pub mod azure_auth;
mod bearer;
pub mod clock;
pub mod hosts;
pub mod http;
pub mod keyed;
pub mod provider;
pub mod provider_setup;
pub mod redact;

pub use videotoken_core::issue::{Class, Excess, Heals, IssueError, Issued};
pub use videotoken_core::{expiry, jwt};

use crate::clock::Timestamp;
use crate::provider::Provider;
use async_trait::async_trait;
use std::time::Duration;
use videotoken_api::provider_types::Account;
use videotoken_api::request::TokenRequest;

/// Declares the module of each provider type, and the dispatch function.
macro_rules! provider_types {
    ($($module:ident, $variant:ident;)+) => {
        $(pub mod $module;)+

        /// Returns the provider of an account.
        pub fn provider<'a>(account: &Account<'a>) -> &'a dyn Provider {
            match account { $(Account::$variant(account) => *account,)+ }
        }
    };
}

// Module and name of each type, as in the table of `videotoken-api`.
provider_types! {
    arcgis_video_server, ArcgisVideoServer;
    blend_vision, BlendVision;
    cognitive_services, CognitiveServices;
    declared_http, Http;
    signed, Signed;
    video_indexer, VideoIndexer;
    video_indexer_classic, VideoIndexerClassic;
}

/// Additional time for an issuance after its timeout, before the caller cancels it. An issuance that ends within this
/// time reports which host didn't respond.
pub const GRACE: Duration = Duration::from_millis(500);

/// Issuer for one account of one token API.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Issues one token with exactly one call of the token API. A new Entra token may need another call, to Entra.
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError>;

    /// Returns how many seconds the provider's clock is ahead of the local clock, from the last Date header.
    fn clock_skew(&self) -> Option<i64>;

    /// Returns the expiry of the credential itself, which is known for a certificate and for an API token that is a
    /// JWT.
    fn credential_expires_at(&self) -> Option<Timestamp> {
        None
    }

    /// Returns true if a rejected credential may be retried on demand. This applies to identities of a directory, which
    /// doesn't lock them after failures and in which an administrator corrects the cause.
    fn is_retried_on_demand(&self) -> bool {
        false
    }

    /// Returns the fingerprint of the key that signs the tokens here. It is part of each request, so that another key
    /// issues every token again.
    fn key_fingerprint(&self) -> Option<String> {
        None
    }

    /// Returns an identifier of the login if the provider locks users after failed logins. It is not secret, and it is
    /// the same for the same user.
    fn login(&self) -> Option<String> {
        None
    }
}
