//! The three kinds of `videotoken.dev/v1alpha1`: one file per kind, one per provider's spec and scope.
//!
//! The crate may use only serde, schemars, url, chrono, regex and kube's derive. Decoding a wire type never fails: unions are
//! structs of Options, and durations and open enums are strings. They are parsed once into a [`request::TokenRequest`].
//!
//! A new provider type needs a file like [`blend_vision`] and a row in the table of [`provider_types`]. The module, the
//! members of [`provider::ProviderSpec`], [`scope::Scope`] and [`allowed::AllowedScopes`], and the dispatch of
//! [`provider_types::Account`] follow from the row.

#[macro_use]
pub mod provider_types;

pub mod allowed;
pub mod azure;
mod cel;
pub mod cluster_token_provider;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod key;
mod lifetime;
pub mod limits;
pub mod parameters;
pub mod provider;
pub mod provider_status;
pub mod references;
pub mod request;
pub mod reserved;
mod reserved_names;
pub mod schema;
pub mod scope;
pub mod secret;
#[cfg(test)]
mod tests;
pub mod token_api;
pub mod token_provider;
pub mod video_access_token;
pub mod wire_time;
pub mod workload;

pub use schema::is_object_name;

/// Declares the module of each provider type.
macro_rules! modules {
    ($($module:ident, $variant:ident, $name:literal { $($row:tt)* })+) => { $(pub mod $module;)+ };
}
provider_types!(modules);

/// Wall-clock time in UTC, for times that are stored or compared with times of a token API.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The API group.
pub const GROUP: &str = "videotoken.dev";
/// Only version of the API group.
pub const VERSION: &str = "v1alpha1";

/// Names of the labels and annotations that the operator reads or writes.
pub mod names {
    /// Label of every Secret that the operator writes. The watch of Secrets selects by this label.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Value of [`MANAGED_BY`].
    pub const OPERATOR: &str = "video-token-operator";

    /// Annotation of a managed Secret: UID of the VideoAccessToken that the Secret belongs to.
    pub const OWNER_UID: &str = "videotoken.dev/owner-uid";
    /// Annotation of a managed Secret: time at which its token was requested; RFC 3339.
    pub const ISSUED_AT: &str = "videotoken.dev/issued-at";
    /// Annotation of a managed Secret: expiry of its token; RFC 3339.
    pub const EXPIRES_AT: &str = "videotoken.dev/expires-at";
    /// Annotation of a managed Secret: key that contains the token.
    pub const TOKEN_KEY: &str = "videotoken.dev/token-key";
    /// Annotation of a managed Secret: names of the further values that it contains, separated by commas.
    pub const VALUE_NAMES: &str = "videotoken.dev/value-names";
    /// Annotation of a managed Secret: hash of the token request.
    pub const REQUEST_HASH: &str = "videotoken.dev/request-hash";
    /// Annotation of a managed Secret: hash of template, keys and labels.
    pub const RENDER_HASH: &str = "videotoken.dev/render-hash";
    /// Annotation of a managed Secret: hash of its data and of these annotations.
    pub const CONTENT_HASH: &str = "videotoken.dev/content-hash";
    /// Annotation of a managed Secret: last value of [`RENEW_REQUESTED_AT`] that the operator handled.
    pub const RENEW_REQUEST: &str = "videotoken.dev/renew-request";
    /// Annotation of a managed Secret, with the value "true": the provider returned the token that the Secret already
    /// contained, so the next renewal waits for its expiry.
    pub const RETURNED_AGAIN: &str = "videotoken.dev/returned-again";
    /// Annotation of a managed Secret: expiry of its previous token; RFC 3339.
    pub const PREVIOUS_EXPIRES_AT: &str = "videotoken.dev/previous-expires-at";

    /// Annotation of a VideoAccessToken: each new value (RFC 3339) causes one renewal.
    pub const RENEW_REQUESTED_AT: &str = "videotoken.dev/renew-requested-at";

    /// Label of a workload that VideoAccessTokens may restart, with the value "true". Clients that can set the label
    /// can permit restarts.
    pub const RESTART_ON_RENEWAL: &str = "videotoken.dev/restart-on-renewal";
    /// Annotation of the Pod template of a restarted workload: time at which the newest of its tokens was issued; RFC
    /// 3339.
    pub const RESTARTED_AT: &str = "videotoken.dev/restarted-at";

    /// Label of a Secret that contains credentials. The operator doesn't read a Secret without the value "true".
    pub const CREDENTIALS: &str = "videotoken.dev/credentials";
    /// Annotation of a Secret that contains credentials: hosts that may receive the credentials.
    pub const ALLOWED_HOSTS: &str = "videotoken.dev/allowed-hosts";
    /// Annotation of a Secret that contains credentials, with the value "true": a TokenProvider may sign with its keys.
    pub const SIGNING_KEY: &str = "videotoken.dev/signing-key";
    /// Annotation of a Secret that contains credentials, with the value "true": trailing whitespace is part of the
    /// credentials.
    pub const KEEP_WHITESPACE: &str = "videotoken.dev/keep-whitespace";
}
