//! Parts that TokenProvider and ClusterTokenProvider share: one account at one token API.

use super::limits::AccountLimits;
pub use super::provider_types::ProviderSpec;
pub use super::references::{CaBundleKind, CaBundleRef, LARGEST_CA_BUNDLE, SecretKeyRef};
use super::request::FieldError;
use super::token_api::{no_calls, one_at_a_time};

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
