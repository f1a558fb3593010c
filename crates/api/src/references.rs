//! References of a provider to Secrets and ConfigMaps.

use super::schema::{data_key, object_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum size in bytes of the CA bundle of one provider, in PEM: about ten certificates. Each provider with a
/// different bundle has a client of its own.
pub const LARGEST_CA_BUNDLE: usize = 16 * 1024;

/// A key of a ConfigMap with PEM certificates, or of a Secret that has the label `videotoken.dev/credentials: "true"`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaBundleRef {
    /// ConfigMap or `Secret`.
    pub kind: CaBundleKind,
    /// Name of the object, in this namespace, or in the operator's for a ClusterTokenProvider.
    #[schemars(transform = object_name)]
    pub name: String,
    /// Key of the certificates.
    #[schemars(transform = data_key)]
    pub key: String,
}

/// Kinds of object that can contain certificates.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum CaBundleKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// A key of a Secret that has the label `videotoken.dev/credentials: "true"`, in this namespace, or in the operator's
/// for a ClusterTokenProvider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(transform = object_name)]
    pub name: String,
    /// Key in the Secret.
    #[schemars(transform = data_key)]
    pub key: String,
}
