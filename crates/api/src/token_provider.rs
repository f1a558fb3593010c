//! The kind TokenProvider.

use super::azure::own_identity;
use super::provider::ProviderSpec;
use super::provider_status::ProviderStatus;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Endpoint, credential and limits of one account, for the namespace of this object.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::duplicated_attributes)] // each column has a type
#[kube(
    crates(kube = "::kube_derive", kube_core = "::kube_core"),
    group = "videotoken.dev",
    version = "v1alpha1",
    kind = "TokenProvider",
    namespaced,
    shortname = "vtp",
    category = "videotoken",
    status = "ProviderStatus",
    derive = "PartialEq",
    doc = "Endpoint, credentials and limits of one provider account, for the tokens of its namespace.",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.account"),
    printcolumn(name = "Tokens", type_ = "integer", json_path = ".status.tokens"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.queue.waiting"),
    printcolumn(name = "Credentials Expire", type_ = "string", json_path = ".status.credentialsExpireAt"),
    printcolumn(name = "Last Issued", type_ = "date", json_path = ".status.lastIssuedAt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(transform = own_identity)]
pub struct TokenProviderSpec {
    /// Account, limits and trusted certificates.
    #[serde(flatten)]
    pub provider: ProviderSpec,
}
