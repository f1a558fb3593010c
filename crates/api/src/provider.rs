//! What TokenProvider and ClusterTokenProvider have in common: one account at one provider.

pub use super::ProviderSpec;
use super::limits::AccountLimits;
use super::request::FieldError;
use super::schema::{data_key, object_name};
use super::token_api::one_at_a_time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of CAs in PEM, of one provider: some ten certificates. Each provider that has others than its neighbours has
/// a client of its own.
pub const LARGEST_CA_BUNDLE: usize = 16 * 1024;

impl ProviderSpec {
    /// What the account may be asked: the spec's limits over the type's defaults.
    pub fn account_limits(&self) -> Result<AccountLimits, FieldError> {
        let account = self.account()?;
        let defaults = account.default_limits();
        let limits = self.limits.as_ref().map_or(Ok(defaults.clone()), |limits| defaults.overridden(limits))?;
        if let Some(lockout) = account.lockout().filter(|_| limits.concurrency > 1) {
            return Err(FieldError::new("spec.limits.concurrency", one_at_a_time(&lockout)));
        }
        Ok(limits)
    }
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
