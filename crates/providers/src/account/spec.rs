//! A provider object's spec, read once, and whom it admits.

use serde_json::Value;
use videotoken_api::allowed::{AllowedNamespaces, AllowedScopes, AllowedSecrets};
use videotoken_api::cluster_token_provider::ClusterTokenProviderSpec;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::plan::view::Refusal;

/// Whose a provider object is, which settles what it may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A `TokenProvider`: its namespace's. It reaches public hosts, and brings its own identity.
    Namespace,
    /// A `ClusterTokenProvider`: the cluster's admin's.
    Cluster,
}

/// The spec of a provider object of either kind.
#[derive(Clone, Debug)]
pub struct ProviderObject {
    /// The account.
    pub spec: ProviderSpec,
    /// For whom, and what; `None` for a namespaced one.
    pub admission: Option<Admission>,
}

impl ProviderObject {
    /// Reads `spec`; the refusal names the field.
    pub fn parse(owner: Owner, spec: Value) -> Result<Self, Refusal> {
        let refused = |error: &serde_path_to_error::Error<serde_json::Error>| {
            Refusal::new("InvalidSpec", format!("spec.{}: {}", error.path(), error.inner()))
        };
        if owner == Owner::Namespace {
            let spec = serde_path_to_error::deserialize(spec).map_err(|error| refused(&error))?;
            return Ok(Self { spec, admission: None });
        }
        let spec: ClusterTokenProviderSpec = serde_path_to_error::deserialize(spec).map_err(|error| refused(&error))?;
        let admission = Admission {
            namespaces: spec.allowed_namespaces,
            scopes: spec.allowed_scopes.unwrap_or_default(),
            secrets: spec.allowed_secrets.unwrap_or_default(),
        };
        Ok(Self { spec: spec.provider, admission: Some(admission) })
    }
}

/// For whom a `ClusterTokenProvider` issues, and what.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Whose tokens may use it.
    pub namespaces: AllowedNamespaces,
    /// What they may ask for.
    pub scopes: AllowedScopes,
    /// What their Secrets may carry.
    pub secrets: AllowedSecrets,
}

impl Admission {
    /// Does it let a token of `namespace` ask for its scope? `admitted`: the namespace is one of [`Self::namespaces`].
    /// The error names the field of the token.
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
