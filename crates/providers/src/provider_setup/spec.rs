//! Spec of a provider object, and the VideoAccessTokens that it admits.

use serde_json::Value;
use videotoken_api::allowed::{AllowedNamespaces, AllowedScopes, AllowedSecrets};
use videotoken_api::cluster_token_provider::ClusterTokenProviderSpec;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::plan::view::Refusal;

/// Owner of a provider object, which determines the hosts that it may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Owner of a namespace. A `TokenProvider` calls public hosts with its own identity.
    Namespace,
    /// Administrator of the cluster, who owns each `ClusterTokenProvider`.
    Cluster,
}

impl Owner {
    /// Returns the owner of the provider objects of a kind.
    pub fn from_kind(kind: &str) -> Self {
        if kind == "TokenProvider" { Self::Namespace } else { Self::Cluster }
    }
}

/// Spec of a provider object of either kind.
#[derive(Clone, Debug)]
pub struct ProviderObject {
    /// Account.
    pub spec: ProviderSpec,
    /// Namespaces, scopes and Secrets that the provider permits. `None` for a namespaced provider.
    pub admission: Option<AllowedUse>,
}

impl ProviderObject {
    /// Parses `spec`. The error names the invalid field.
    pub fn parse(owner: Owner, spec: Value) -> Result<Self, Refusal> {
        let refused = |error: &serde_path_to_error::Error<serde_json::Error>| {
            Refusal::new("InvalidSpec", format!("spec.{}: {}", error.path(), error.inner()))
        };
        if owner == Owner::Namespace {
            let spec = serde_path_to_error::deserialize(spec).map_err(|error| refused(&error))?;
            return Ok(Self { spec, admission: None });
        }
        let spec: ClusterTokenProviderSpec = serde_path_to_error::deserialize(spec).map_err(|error| refused(&error))?;
        spec.check().map_err(|error| Refusal::new("InvalidSpec", error.to_string()))?;
        let admission = AllowedUse {
            namespaces: spec.allowed_namespaces,
            scopes: spec.allowed_scopes.unwrap_or_default(),
            secrets: spec.allowed_secrets.unwrap_or_default(),
        };
        Ok(Self { spec: spec.provider, admission: Some(admission) })
    }
}

/// Namespaces, scopes and Secrets that a `ClusterTokenProvider` permits.
#[derive(Clone, Debug, Default)]
pub struct AllowedUse {
    /// Namespaces whose VideoAccessTokens may use the provider.
    pub namespaces: AllowedNamespaces,
    /// Scopes that the VideoAccessTokens may have.
    pub scopes: AllowedScopes,
    /// Permitted contents of the VideoAccessTokens' Secrets.
    pub secrets: AllowedSecrets,
}

impl AllowedUse {
    /// Checks whether a VideoAccessToken of `namespace` may use the provider for its scope. `admitted` is true if the
    /// namespace is one of [`Self::namespaces`]. The error names the field of the VideoAccessToken.
    pub fn admits(&self, namespace: &str, admitted: bool, spec: &VideoAccessTokenSpec) -> Result<(), FieldError> {
        if !admitted {
            return Err(FieldError::new(
                "spec.providerRef",
                format!(
                    "{} doesn't allow the namespace {namespace}: ask its admin to name or select it in \
                     spec.allowedNamespaces",
                    spec.provider_ref.name
                ),
            ));
        }
        self.scopes.admits(&spec.scope)
    }
}
