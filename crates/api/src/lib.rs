//! The three kinds of `videotoken.dev/v1alpha1`: one file per kind, one per provider's spec and scope.
//!
//! May not enter: anything but serde, schemars, url, chrono and kube's derive, which the crate's dependencies hold. Wire types can't fail: unions are
//! structs of Options, durations and open enums are strings, parsed once into a [`request::TokenRequest`].
//!
//! A further provider type is a file like [`blend_vision`] and a row in the table `provider_types!` below. Module,
//! members of [`provider::ProviderSpec`], [`scope::Scope`] and [`allowed::AllowedScopes`], and the dispatch of
//! [`token_api::Account`] follow from the row.

#[macro_use]
mod provider_types;

pub mod allowed;
pub mod azure;
mod cel;
pub mod cluster_token_provider;
pub mod condition;
pub mod crds;
pub mod duration;
pub mod key;
mod life;
pub mod limits;
pub mod provider;
pub mod provider_status;
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

// The provider types: module, name of the type in Rust and in YAML; its account, its scope, and the scopes that a
// ClusterTokenProvider admits, each with the text that the CRDs describe it with.
provider_types! {
    video_indexer, VideoIndexer, "videoIndexer" {
        /// Azure Video Indexer through Azure Resource Manager.
        account: video_indexer::VideoIndexerAccount;
        /// A token of Azure Video Indexer.
        scope: video_indexer::VideoIndexerScope;
        /// The permissions of Video Indexer tokens.
        #[serde(flatten)]
        allowed: video_indexer::VideoIndexerAllowed;
    }
    video_indexer_classic, VideoIndexerClassic, "videoIndexerClassic" {
        /// Azure Video Indexer's classic Authorization API.
        account: video_indexer_classic::VideoIndexerClassicAccount;
        /// A token of Azure Video Indexer's classic Authorization API.
        scope: video_indexer_classic::VideoIndexerClassicScope;
        /// Further limits in Video Indexer's classic API.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<video_indexer_classic::VideoIndexerClassicAllowed>;
    }
    blend_vision, BlendVision, "blendVision" {
        /// BlendVision One.
        account: blend_vision::BlendVisionAccount;
        /// A token of BlendVision One.
        scope: blend_vision::BlendVisionScope;
        /// BlendVision's tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<blend_vision::BlendVisionAllowed>;
    }
    cognitive_services, CognitiveServices, "cognitiveServices" {
        /// The token API of Azure Cognitive Services.
        account: cognitive_services::CognitiveServicesAccount;
        /// A token of Azure Cognitive Services.
        scope: cognitive_services::CognitiveServicesScope;
        /// Cognitive Services' tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<cognitive_services::CognitiveServicesAllowed>;
    }
    arcgis_video_server, ArcgisVideoServer, "arcgisVideoServer" {
        /// ArcGIS Video Server.
        account: arcgis_video_server::ArcgisVideoServerAccount;
        /// A token of ArcGIS Video Server.
        scope: arcgis_video_server::ArcgisVideoServerScope;
        /// ArcGIS Video Server's tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<arcgis_video_server::ArcgisVideoServerAllowed>;
    }
}

/// Wall-clock time, UTC: all that is stored, or compared with what a provider said.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The API group.
pub const GROUP: &str = "videotoken.dev";
/// Its only version.
pub const VERSION: &str = "v1alpha1";

/// Names of the labels and annotations that the operator reads or writes.
pub mod names {
    /// Label of every Secret that the operator writes; its watch selects by it.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The value of [`MANAGED_BY`].
    pub const OPERATOR: &str = "video-token-operator";

    /// Annotation of a token's Secret: the UID of the VideoAccessToken that it is written for.
    pub const OWNER_UID: &str = "videotoken.dev/owner-uid";
    /// Annotation of a token's Secret: when the token in it was asked for; RFC 3339.
    pub const ISSUED_AT: &str = "videotoken.dev/issued-at";
    /// Annotation of a token's Secret: when the token in it expires; RFC 3339.
    pub const EXPIRES_AT: &str = "videotoken.dev/expires-at";
    /// Annotation of a token's Secret: the key that holds the token.
    pub const TOKEN_KEY: &str = "videotoken.dev/token-key";
    /// Annotation of a token's Secret: hash of what was asked of the provider.
    pub const REQUEST_HASH: &str = "videotoken.dev/request-hash";
    /// Annotation of a token's Secret: hash of template, keys and labels.
    pub const RENDER_HASH: &str = "videotoken.dev/render-hash";
    /// Annotation of a token's Secret: hash of its data and of these annotations.
    pub const CONTENT_HASH: &str = "videotoken.dev/content-hash";
    /// Annotation of a token's Secret: the last value of [`RENEW_REQUESTED_AT`] that was served.
    pub const RENEW_REQUEST: &str = "videotoken.dev/renew-request";
    /// Annotation of a token's Secret: when the previous token in it expires; RFC 3339.
    pub const PREVIOUS_EXPIRES_AT: &str = "videotoken.dev/previous-expires-at";

    /// Annotation of a VideoAccessToken: each new value, RFC 3339, renews once.
    pub const RENEW_REQUESTED_AT: &str = "videotoken.dev/renew-requested-at";

    /// Label of a workload that tokens may restart, with the value "true": who may set it may restart it.
    pub const RESTART_ON_RENEWAL: &str = "videotoken.dev/restart-on-renewal";
    /// Annotation of a restarted workload's pod template: when the newest of its tokens was issued; RFC 3339.
    pub const RESTARTED_AT: &str = "videotoken.dev/restarted-at";

    /// Label of a Secret that holds credentials: without the value "true" the operator refuses to read it.
    pub const CREDENTIALS: &str = "videotoken.dev/credentials";
    /// Annotation of a Secret that holds credentials: the hosts that they may be sent to.
    pub const ALLOWED_HOSTS: &str = "videotoken.dev/allowed-hosts";
    /// Annotation of a Secret that holds credentials, with the value "true": blanks at their end belong to them.
    pub const KEEP_WHITESPACE: &str = "videotoken.dev/keep-whitespace";
}
