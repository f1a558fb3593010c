//! Points at which a test makes the operator fail. They exist only in builds with debug assertions.

use std::fmt::Display;

/// Panics if the environment variable `VIDEO_TOKEN_OPERATOR_PANIC` names this point and object, such as `reconcile
/// NAMESPACE/NAME`.
#[cfg(debug_assertions)]
pub(crate) fn reach(place: &str, object: &dyn Display) {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("VIDEO_TOKEN_OPERATOR_PANIC").ok());
    let is_named = named.as_ref().is_some_and(|named| *named == format!("{place} {object}"));
    assert!(!is_named, "the fail point {place} of {object}");
}

#[cfg(not(debug_assertions))]
pub(crate) fn reach(_: &str, _: &dyn Display) {}
