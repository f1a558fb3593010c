//! The CEL rules.

use super::Complaint;
use crate::manifest::Path;
use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator};
use serde_json::Value;

/// Asks each rule that applies to a creation. `value` has its defaults.
pub(super) fn ask(validator: &Validator, rules: &CompiledSchema, value: &Value) -> Vec<Complaint> {
    let errors = validator.validate_compiled(rules, value, None).err();
    errors.into_iter().flatten().map(|error| complaint(&error)).collect()
}

/// In the API server's words, without the value that it quotes.
fn complaint(error: &ValidationError) -> Complaint {
    let what = match (&error.kind, error.reason.as_deref()) {
        (ErrorKind::ValidationFailure, Some("FieldValueForbidden")) => "Forbidden",
        (ErrorKind::ValidationFailure, Some("FieldValueRequired")) => "Required value",
        (ErrorKind::ValidationFailure, Some("FieldValueDuplicate")) => "Duplicate value",
        _ => "Invalid value",
    };
    Complaint::new(&Path::parse(&error.field_path), format!("{what}: {}", error.message))
}
