//! Validation by a structural schema, in the order of the API server: unknown fields are dropped, then nulls, then defaults
//! are set, then types and limits are validated.
//!
//! It supports the keywords that the CRDs use. A test fails if they use another one.

use super::Violation;
use crate::manifest::{Path, Step};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::LazyLock;

/// Fields of every object, which [`super::metadata`] checks.
const COMMON_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Schema below an object that keeps unknown fields (`x-kubernetes-preserve-unknown-fields`).
static ANY: LazyLock<Value> = LazyLock::new(|| json!({PRESERVES: true}));

const PRESERVES: &str = "x-kubernetes-preserve-unknown-fields";

/// Drops unknown fields and returns each as a violation, as strict field validation does.
pub(super) fn prune(value: &mut Value, schema: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    prune_below(value, schema, &Path::default(), &mut violations);
    violations
}

fn prune_below(value: &mut Value, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    match value {
        Value::Object(members) => {
            let at_root = path.steps().is_empty();
            members.retain(|name, member| {
                if at_root && COMMON_FIELDS.contains(&name.as_str()) {
                    return true;
                }
                let Some((schema, step)) = field_schema(schema, name) else {
                    let unknown = path.field(name);
                    violations.push(Violation::of_key(&unknown, "unknown field"));
                    return false;
                };
                prune_below(member, schema, &path.with(step), violations);
                true
            });
        }
        Value::Array(items) => {
            for (number, item) in items.iter_mut().enumerate() {
                prune_below(item, item_schema(schema), &path.with(Step::Item(number)), violations);
            }
        }
        _ => {}
    }
}

/// Returns the schema of a field, and the step to it.
fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<(&'a Value, Step)> {
    if let Some(named) = schema["properties"].get(name) {
        return Some((named, Step::Field(name.to_owned())));
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        return Some((values, Step::Key(name.to_owned())));
    }
    keeps_unknown(schema).then(|| (&*ANY, Step::Field(name.to_owned())))
}

fn keeps_unknown(schema: &Value) -> bool {
    schema[PRESERVES] == true
}

/// Returns the schema of the items of a list.
fn item_schema(schema: &Value) -> &Value {
    if keeps_unknown(schema) && schema["items"].is_null() { &ANY } else { &schema["items"] }
}

/// Sets absent fields to their defaults. A null counts as absent, because no field is nullable. Where unknown fields are
/// kept, nulls are kept too.
pub(super) fn apply_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            let is_known = |name: &String| field_schema(schema, name).is_some_and(|(field, _)| *field != *ANY);
            members.retain(|name, member| !member.is_null() || (keeps_unknown(schema) && !is_known(name)));
            if let Some(properties) = schema["properties"].as_object() {
                set_absent(members, properties);
            }
            for (name, member) in members {
                if let Some((schema, _)) = field_schema(schema, name) {
                    apply_defaults(member, schema);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| apply_defaults(item, item_schema(schema))),
        _ => {}
    }
}

fn set_absent(members: &mut Map<String, Value>, properties: &Map<String, Value>) {
    for (name, property) in properties {
        if let Some(default) = property.get("default")
            && !members.contains_key(name)
        {
            members.insert(name.clone(), default.clone());
        }
    }
}

/// Validates types, limits, enums and duplicates.
pub(super) fn validate(value: &Value, schema: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    validate_below(value, schema, &Path::default(), &mut violations);
    violations
}

fn validate_below(value: &Value, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    if let Some(type_) = schema["type"].as_str()
        && !has_type(value, type_)
    {
        let message = format!("Invalid value: must be of type {type_}, not {}", type_of(value));
        violations.push(Violation::blocking(path, message));
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true && !has_type(value, "integer") && !has_type(value, "string") {
        let message = format!("Invalid value: must be of type integer or string, not {}", type_of(value));
        violations.push(Violation::blocking(path, message));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        violations
            .push(Violation::blocking(path, format!("Unsupported value: supported values: {}", words.join(", "))));
    }
    match value {
        Value::Object(members) => members_fit(members, schema, path, violations),
        Value::Array(items) => items_fit(items, schema, path, violations),
        Value::String(text) => text_fits(text, schema, path, violations),
        Value::Number(number) => number_fits(number.as_f64().unwrap_or_default(), schema, path, violations),
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(value: &Value, type_: &str) -> bool {
    match type_ {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn members_fit(members: &Map<String, Value>, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            violations.push(Violation::blocking(&path.field(name), "Required value"));
        }
    }
    at_most(members.len(), "maxProperties", schema, path, violations);
    for (name, member) in members {
        if let Some((schema, step)) = field_schema(schema, name) {
            validate_below(member, schema, &path.with(step), violations);
        }
    }
}

fn items_fit(items: &[Value], schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    at_most(items.len(), "maxItems", schema, path, violations);
    if let Some(least) = limit(schema, "minItems").filter(|least| items.len() < *least) {
        violations.push(Violation::new(path, format!("Invalid value: should have at least {least} items")));
    }
    for (number, item) in items.iter().enumerate() {
        validate_below(item, item_schema(schema), &path.with(Step::Item(number)), violations);
    }
    let identity: Box<dyn Fn(&Value) -> String> = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Box::new(ToString::to_string),
        Some("map") => {
            let keys: Vec<_> = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().cloned().collect();
            Box::new(move |item| {
                let of = |key: &Value| key.as_str().map(|key| format!("{key}: {}", item[key]));
                keys.iter().filter_map(of).collect::<Vec<_>>().join(", ")
            })
        }
        _ => return,
    };
    let item_type = schema["items"]["type"].as_str().unwrap_or_default();
    let mut seen = HashSet::new();
    for (number, item) in items.iter().enumerate().filter(|(_, item)| has_type(item, item_type)) {
        let identity = identity(item);
        if !seen.insert(identity.clone()) {
            violations.push(Violation::new(&path.with(Step::Item(number)), format!("Duplicate value: {identity}")));
        }
    }
}

/// Validates the length, which is counted in code points.
fn text_fits(text: &str, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    let length = text.chars().count();
    if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
        violations.push(Violation::blocking(path, format!("Too long: may not be more than {most} characters")));
    }
    if let Some(least) = limit(schema, "minLength").filter(|least| length < *least) {
        violations.push(Violation::new(path, format!("Invalid value: should be at least {least} characters long")));
    }
}

fn number_fits(number: f64, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        violations.push(Violation::new(path, format!("Invalid value: should be greater than or equal to {least}")));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        violations.push(Violation::new(path, format!("Invalid value: should be less than or equal to {most}")));
    }
}

fn at_most(count: usize, keyword: &str, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    if let Some(most) = limit(schema, keyword).filter(|most| count > *most) {
        violations.push(Violation::blocking(path, format!("Too many: {count}: must have at most {most} items")));
    }
}

fn limit(schema: &Value, keyword: &str) -> Option<usize> {
    schema[keyword].as_u64().and_then(|limit| usize::try_from(limit).ok())
}
