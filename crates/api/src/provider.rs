//! What TokenProvider and ClusterTokenProvider have in common: one account at one provider.

use super::arcgis_video_server::ArcgisVideoServerAccount;
use super::blend_vision::BlendVisionAccount;
use super::cel::cel;
use super::cognitive_services::CognitiveServicesAccount;
use super::limits::{AccountLimits, Limits};
use super::request::FieldError;
use super::schema::{data_key, object_name};
use super::token_api::one_type;
use super::video_indexer::VideoIndexerAccount;
use super::video_indexer_classic::VideoIndexerClassicAccount;
use schemars::transform::Transform;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// Bytes of CAs in PEM, of one provider: some ten certificates. Each provider that has others than its neighbours has
/// a client of its own.
pub const LARGEST_CA_BUNDLE: usize = 16 * 1024;

/// One account at one provider: exactly one of the types.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = one_type)]
#[schemars(transform = one_login)]
#[schemars(transform = cel("!(has(self.caBundle) && has(self.caBundleRef))", "set caBundle or caBundleRef, not both").at(".caBundleRef"))]
pub struct ProviderSpec {
    /// Azure Video Indexer through Azure Resource Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_indexer: Option<VideoIndexerAccount>,
    /// Azure Video Indexer's classic Authorization API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_indexer_classic: Option<VideoIndexerClassicAccount>,
    /// BlendVision One.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blend_vision: Option<BlendVisionAccount>,
    /// The token API of Azure Cognitive Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cognitive_services: Option<CognitiveServicesAccount>,
    /// ArcGIS Video Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arcgis_video_server: Option<ArcgisVideoServerAccount>,
    /// What all tokens of this account may ask for together. Default: what the provider type is known to allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// PEM certificates to trust for this provider, besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LARGEST_CA_BUNDLE))]
    pub ca_bundle: Option<String>,
    /// Where to read such certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

impl ProviderSpec {
    /// What the account may be asked: the spec's limits over the type's defaults.
    pub fn account_limits(&self) -> Result<AccountLimits, FieldError> {
        let account = self.account()?;
        let defaults = account.default_limits();
        let limits = self.limits.as_ref().map_or(Ok(defaults.clone()), |limits| defaults.overridden(limits))?;
        if account.logs_in() && limits.concurrency > 1 {
            return Err(FieldError::new("spec.limits.concurrency", ONE_LOGIN));
        }
        Ok(limits)
    }
}

const ONE_LOGIN: &str =
    "ArcGIS Video Server locks a user after failed logins, so one is made at a time: remove concurrency";

/// A transform: the one type whose calls go one at a time.
fn one_login(schema: &mut Schema) {
    cel("!has(self.arcgisVideoServer) || !has(self.limits) || !has(self.limits.concurrency) || self.limits.concurrency == 1", ONE_LOGIN)
        .at(".limits.concurrency")
        .transform(schema);
}

/// A key of a ConfigMap that holds PEM certificates, or of a Secret labelled `videotoken.dev/credentials: "true"`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaBundleRef {
    /// ConfigMap or `Secret`.
    pub kind: CaBundleKind,
    /// Its name; in this namespace, or the operator's for a ClusterTokenProvider.
    #[schemars(transform = object_name)]
    pub name: String,
    /// The key in it.
    #[schemars(transform = data_key)]
    pub key: String,
}

/// Where certificates can stand.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum CaBundleKind {
    /// In a ConfigMap.
    ConfigMap,
    /// In a Secret.
    Secret,
    /// A word of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// A key of a Secret that is labelled `videotoken.dev/credentials: "true"`; in this namespace, or the operator's for a
/// ClusterTokenProvider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(transform = object_name)]
    pub name: String,
    /// The key in it.
    #[schemars(transform = data_key)]
    pub key: String,
}
