//! Parts that TokenProvider and ClusterTokenProvider share: one account at one token API.

pub use super::ProviderSpec;
use super::limits::AccountLimits;
use super::request::FieldError;
use super::schema::{data_key, object_name};
use super::token_api::{no_calls, one_at_a_time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum size in bytes of the CA bundle of one provider, in PEM: about ten certificates. Each provider with a
/// different bundle has a client of its own.
pub const LARGEST_CA_BUNDLE: usize = 16 * 1024;

impl ProviderSpec {
    /// Returns the limits of the account: those of the spec, else the defaults of the provider type.
    pub fn account_limits(&self) -> Result<AccountLimits, FieldError> {
        let account = self.account()?;
        if account.is_local() {
            let set = [
                ("limits", self.limits.is_some()),
                ("caBundle", self.ca_bundle.is_some()),
                ("caBundleRef", self.ca_bundle_ref.is_some()),
            ];
            if let Some((member, _)) = set.into_iter().find(|(_, is_set)| *is_set) {
                return Err(FieldError::new(format!("spec.{member}"), no_calls(account.name())));
            }
        }
        let defaults = account.default_limits();
        let limits = self.limits.as_ref().map_or(Ok(defaults.clone()), |limits| defaults.overridden(limits))?;
        if let Some(lockout) = account.lockout().filter(|_| limits.concurrency > 1) {
            return Err(FieldError::new("spec.limits.concurrency", one_at_a_time(&lockout)));
        }
        Ok(limits)
    }
}

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
