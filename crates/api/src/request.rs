//! What a spec asks of its provider, parsed once.

use crate::Timestamp;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// The promised life of a token that never expires: a hundred years.
pub const ENDLESS: Duration = Duration::from_hours(100 * 365 * 24);

/// A spec that can't be served: which field, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path from the object's root, such as `spec.scope.videoIndexer.videoId`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl FieldError {
    /// `field` is a path from the object's root.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// One token request: all that makes one token differ from another, and nothing else.
///
/// Host, credentials, CA, limits and the API's version are not part of it, so that an upgrade or a rotated
/// credential asks for nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The account as its provider identifies it, in lower case where the provider ignores case.
    pub account: String,
    /// The operation's name on the wire.
    pub operation: Cow<'static, str>,
    /// The wire fields, in canonical (sorted) order.
    pub fields: Map<String, Value>,
    /// The life that the operation promises for this request, where the answer doesn't tell.
    pub promised_life: Duration,
    /// A fixed end that the spec asks for: no token is asked for after it.
    pub ends_at: Option<End>,
}

/// A fixed end of what a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The field that says so, as a path from the object's root.
    pub field: Cow<'static, str>,
    /// When.
    pub at: Timestamp,
}

impl End {
    /// What to tell once it has passed.
    pub fn passed(&self) -> FieldError {
        let message = "has passed: no further token is asked for; write a later time, or delete the object";
        FieldError::new(self.field.clone(), message)
    }
}
