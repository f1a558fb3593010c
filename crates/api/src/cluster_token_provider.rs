//! The kind ClusterTokenProvider.

use super::allowed::{AllowedNamespaces, AllowedScopes, AllowedSecrets};
use super::provider::ProviderSpec;
use super::provider_status::ProviderStatus;
use super::request::FieldError;
use super::scope::Scope;
use super::{parameters, signed};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Endpoint, credential and limits of one account, for the namespaces and scopes that its administrator allows.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::duplicated_attributes)] // each column has a type
#[kube(
    crates(kube = "::kube_derive", kube_core = "::kube_core"),
    group = "videotoken.dev",
    version = "v1alpha1",
    kind = "ClusterTokenProvider",
    shortname = "cvtp",
    category = "videotoken",
    status = "ProviderStatus",
    derive = "PartialEq",
    doc = "Endpoint, credentials and limits of one provider account, for the namespaces and scopes that it allows.",
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
#[serde(rename_all = "camelCase")]
#[schemars(transform = parameters::of_cluster, transform = signed::limited)]
pub struct ClusterTokenProviderSpec {
    /// Account, limits and trusted certificates.
    #[serde(flatten)]
    pub provider: ProviderSpec,
    /// The namespaces whose VideoAccessTokens may use this provider.
    pub allowed_namespaces: AllowedNamespaces,
    /// The scopes that they may request. Default: read-only access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_scopes: Option<AllowedScopes>,
    /// Metadata and types that other controllers trust and that the token Secrets may have. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_secrets: Option<AllowedSecrets>,
}

impl ClusterTokenProviderSpec {
    /// Checks the parts of the account and of `allowedScopes` that depend on one another.
    pub fn check(&self) -> Result<(), FieldError> {
        let account = self.provider.account()?;
        account.check_cluster()?;
        let allowed = self.allowed_scopes.clone().unwrap_or_default();
        parameters::check_allowed(account.parameters().unwrap_or(&BTreeMap::new()), &allowed.parameters)
    }

    /// Checks that `scope` may be requested. The error names the field of the VideoAccessToken.
    pub fn admits_scope(&self, scope: &Scope) -> Result<(), FieldError> {
        self.allowed_scopes.clone().unwrap_or_default().admits(scope)
    }
}
