//! The CEL rules.

use super::Violation;
use crate::manifest::Path;
use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator};
use serde_json::Value;

/// Evaluates each rule that applies to a creation. `value` has its defaults.
pub(super) fn check(validator: &Validator, rules: &CompiledSchema, value: &Value) -> Vec<Violation> {
    let errors = validator.validate_compiled(rules, value, None).err();
    errors.into_iter().flatten().map(|error| violation(&error)).collect()
}

/// Returns the message of the API server, without the value that it quotes.
fn violation(error: &ValidationError) -> Violation {
    let what = match (&error.kind, error.reason.as_deref()) {
        (ErrorKind::ValidationFailure, Some("FieldValueForbidden")) => "Forbidden",
        (ErrorKind::ValidationFailure, Some("FieldValueRequired")) => "Required value",
        (ErrorKind::ValidationFailure, Some("FieldValueDuplicate")) => "Duplicate value",
        _ => "Invalid value",
    };
    Violation::new(&Path::parse(&error.field_path), format!("{what}: {}", error.message))
}
