//! The desired token: the specs of a VideoAccessToken and its provider, resolved and validated.

use super::hash::{Hash, request_hash};
use super::secret::{self, ValueUse, render_hash};
use super::unplanned;
use super::view::DesiredToken;
use chrono::TimeDelta;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::secret::SecretSpec;
use videotoken_api::video_access_token::{RenewBefore, VideoAccessTokenSpec};

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

/// Default time of the renewal where it ends the token that workloads still use: with a tenth of the lifetime left, not
/// with a third. The rest suffices for retries.
const LATE: RenewBefore = RenewBefore::Percentage(10);

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
    let ends_previous = provider.account().is_ok_and(|account| account.invalidates_previous());
    if ends_previous && spec.secret.keys.previous_token.is_some() {
        let message = "The token API invalidates the previous token at each issuance. Remove previousToken.";
        return Err(FieldError::new("spec.secret.keys.previousToken", message));
    }
    let renew_before = match spec.renew_before()? {
        RenewBefore::Default if ends_previous => LATE,
        declared => declared,
    };
    let desired = DesiredToken {
        request: request_hash(&request),
        render: fit.render,
        renew_before,
        suspend: spec.suspend,
        ends_at: request.ends_at.clone(),
        max_lifetime: TimeDelta::from_std(request.promised_lifetime).unwrap_or(TimeDelta::MAX / 4)
            + unplanned::MAX_CLOCK_ERROR,
    };
    Ok((request, desired))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::plan::facts::Uid;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn resolved(invalidates: bool, spec: &Value) -> Result<DesiredToken, FieldError> {
        let provider = json!({"http": {"url": "https://api.example", "auth": {"none": {}}, "request": {"path": "/token"},
            "response": {"token": {"json": "$.t"}, "expires": {"after": "1h"}, "invalidatesPrevious": invalidates}}});
        let provider: ProviderSpec = serde_json::from_value(provider).unwrap();
        let mut whole = json!({"providerRef": {"name": "p"}, "scope": {"http": {}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: VideoAccessTokenSpec = serde_json::from_value(whole).unwrap();
        resolve_spec(&spec, &provider, Fit::check(&spec.secret), None).map(|(_, desired)| desired)
    }

    #[test]
    fn a_token_that_ends_the_one_before_is_renewed_late_and_has_no_previous_one() {
        for (invalidates, spec, expected) in [
            (false, json!({}), RenewBefore::Default),
            (true, json!({}), RenewBefore::Percentage(10)),
            (true, json!({"renewBefore": "5m"}), RenewBefore::Before(Duration::from_mins(5))),
            (true, json!({"renewBeforePercentage": 40}), RenewBefore::Percentage(40)),
        ] {
            assert_eq!(resolved(invalidates, &spec).unwrap().renew_before, expected, "{invalidates} {spec}");
        }
        let keeps = json!({"secret": {"keys": {"previousToken": "previous"}}});
        assert!(resolved(false, &keeps).is_ok());
        assert_eq!(resolved(true, &keeps).unwrap_err().field, "spec.secret.keys.previousToken");
    }

    #[test]
    fn a_token_that_came_back_is_renewed_at_its_end() {
        let desired = resolved(false, &json!({"renewBefore": "20m"})).unwrap();
        let issued: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let validity = (issued, issued + TimeDelta::hours(1));
        assert!(desired.renewal(validity, false, Uid(7)).due < validity.1 - TimeDelta::minutes(19));
        assert_eq!(desired.renewal(validity, true, Uid(7)).due, validity.1);
    }
}
