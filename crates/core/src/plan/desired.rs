//! The desired token: the specs of a VideoAccessToken and its provider, resolved and validated.

use super::hash::{Hash, request_hash};
use super::secret::{self, ValueUse, render_hash};
use super::unplanned;
use super::view::DesiredToken;
use chrono::TimeDelta;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::secret::SecretSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;

/// Result of the check whether the API server accepts the Secret of a spec. It depends only on `spec.secret`, and the
/// check renders each template. Callers cache it by the hash.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Hash of the spec that determines the form of the Secret.
    pub render: Hash,
    /// Result of [`secret::check`].
    pub verdict: Result<ValueUse, FieldError>,
}

impl Fit {
    /// Checks a spec by rendering its templates with sample values.
    pub fn check(spec: &SecretSpec) -> Self {
        Self { render: render_hash(spec), verdict: secret::check(spec) }
    }
}

/// Name of the request's field for the fingerprint of a signing key.
const KEY_FINGERPRINT: &str = "keyFingerprint";

/// Adds the fingerprint of the key that signs the token to its request.
pub fn sign_with(request: &mut TokenRequest, fingerprint: &str) {
    request.fields.insert(KEY_FINGERPRINT.to_owned(), fingerprint.into());
}

/// Resolves both specs into a token request and the desired token. `fingerprint` is that of the provider's signing key:
/// a token of another key is another token.
pub fn resolve_spec(
    spec: &VideoAccessTokenSpec,
    provider: &ProviderSpec,
    fit: Fit,
    fingerprint: Option<&str>,
) -> Result<(TokenRequest, DesiredToken), FieldError> {
    spec.workloads()?;
    let mut request = spec.request(provider)?;
    let values = provider.account().map(|account| account.values()).unwrap_or_default();
    fit.verdict?.check(&spec.secret, &values)?;
    if let Some(fingerprint) = fingerprint {
        sign_with(&mut request, fingerprint);
    }
    let desired = DesiredToken {
        request: request_hash(&request),
        render: fit.render,
        renew_before: spec.renew_before()?,
        suspend: spec.suspend,
        ends_at: request.ends_at.clone(),
        max_lifetime: TimeDelta::from_std(request.promised_life).unwrap_or(TimeDelta::MAX / 4)
            + unplanned::MAX_CLOCK_ERROR,
    };
    Ok((request, desired))
}
