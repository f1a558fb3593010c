//! What a token's spec and its provider's ask for together, or why that can't be served.

use super::floor;
use super::hash::{Hash, request_hash};
use super::secret::{self, render_hash};
use super::view::Wanted;
use chrono::TimeDelta;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::secret::SecretSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;

/// Whether the API server would take the Secret of a spec: it depends on the spec's shape alone, and to know it each
/// template is rendered. So whoever asks often remembers the verdict by the hash.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Of the spec's shape.
    pub render: Hash,
    /// What [`secret::check`] says of it.
    pub verdict: Result<(), FieldError>,
}

impl Fit {
    /// Renders the templates with sample values.
    pub fn of(spec: &SecretSpec) -> Self {
        Self { render: render_hash(spec), verdict: secret::check(spec) }
    }
}

/// Reads both specs; the error names the field and the way out.
pub fn want(
    spec: &VideoAccessTokenSpec,
    provider: &ProviderSpec,
    fit: Fit,
) -> Result<(TokenRequest, Wanted), FieldError> {
    spec.workloads()?;
    let request = spec.request(provider)?;
    fit.verdict?;
    let wanted = Wanted {
        request: request_hash(&request),
        render: fit.render,
        renew_before: spec.renew_before()?,
        suspend: spec.suspend,
        ends_at: request.ends_at.clone(),
        longest_life: TimeDelta::from_std(request.promised_life).unwrap_or(TimeDelta::MAX / 4) + floor::AHEAD,
    };
    Ok((request, wanted))
}
