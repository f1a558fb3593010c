//! What a token's spec and its provider's ask for together, or why that can't be served.

use super::floor;
use super::hash::request_hash;
use super::secret::{self, render_hash};
use super::view::Wanted;
use crate::api::provider::ProviderSpec;
use crate::api::request::{FieldError, TokenRequest};
use crate::api::video_access_token::VideoAccessTokenSpec;
use chrono::TimeDelta;

/// Reads both specs; the error names the field and the way out.
pub fn want(spec: &VideoAccessTokenSpec, provider: &ProviderSpec) -> Result<(TokenRequest, Wanted), FieldError> {
    spec.workloads()?;
    let request = spec.request(provider)?;
    secret::check(&spec.secret)?;
    let wanted = Wanted {
        request: request_hash(&request),
        render: render_hash(&spec.secret),
        renew_before: spec.renew_before()?,
        suspend: spec.suspend,
        longest_life: TimeDelta::from_std(request.promised_life).unwrap_or(TimeDelta::MAX / 4) + floor::AHEAD,
    };
    Ok((request, wanted))
}
