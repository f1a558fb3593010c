//! The token APIs: one module each, the one HTTP client that they share, and the way from a provider's spec to its issuer.
//!
//! May not enter: a Kubernetes client. What a call needs from there (a `ServiceAccount`'s assertion, a Secret) comes in
//! through a trait object.

pub mod account;
pub mod api_management;
pub mod azure_auth;
pub mod clock;
pub mod hosts;
pub mod http;
pub mod keyed;
pub mod provider;
pub mod redact;

pub use videotoken_core::issue::{Class, Excess, Heals, IssueError, Issued};
pub use videotoken_core::{expiry, jwt};

use crate::clock::Timestamp;
use crate::provider::Provider;
use async_trait::async_trait;
use std::time::Duration;
use videotoken_api::request::TokenRequest;
use videotoken_api::token_api::Account;

/// Declares the module of each provider type, and the dispatch over them.
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
    video_indexer, VideoIndexer;
    video_indexer_classic, VideoIndexerClassic;
}

/// How much longer than its timeout an issue may take before its caller gives it up: what ends in time says itself who
/// didn't answer.
pub const GRACE: Duration = Duration::from_millis(500);

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
