//! Token requests, parsed from a spec.

use crate::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// Promised lifetime of a token that never expires: a hundred years.
pub const ENDLESS: Duration = Duration::from_hours(100 * 365 * 24);

/// An error in a spec: the field and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path from the root of the object, such as `spec.scope.videoIndexer.videoId`.
    pub field: String,
    /// Error and correction.
    pub message: String,
}

impl FieldError {
    /// Creates an error. `field` is a path from the root of the object.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Token request: everything that makes one token differ from another, and nothing else.
///
/// Excludes host, credentials, CA, limits and API version, so that an upgrade or a rotated credential causes no new
/// request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Account as the token API identifies it, in lower case if the token API ignores case.
    pub account: String,
    /// Name of the operation on the wire.
    pub operation: Cow<'static, str>,
    /// Wire fields, in canonical (sorted) order.
    pub fields: Map<String, Value>,
    /// Lifetime that the operation promises for this request, used if the response states none.
    pub promised_lifetime: Duration,
    /// Fixed end that the spec requests. No token is requested after this time.
    pub ends_at: Option<End>,
}

/// A fixed end of the access that a spec requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Field that states the end, as a path from the root of the object.
    pub field: Cow<'static, str>,
    /// Time of the end.
    pub at: Timestamp,
}

impl End {
    /// Returns the error for a spec with an end in the past.
    pub fn passed(&self) -> FieldError {
        let message = "has passed: no further token is asked for; write a later time, or delete the object";
        FieldError::new(self.field.clone(), message)
    }
}
