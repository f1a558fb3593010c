//! Names, labels and annotations, which the API server validates in every object.

use super::Violation;
use crate::manifest::{Path, Step};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use videotoken_api::is_object_name;

/// Fields of `metadata`.
const MEMBERS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Maximum size of all annotations in bytes.
const LARGEST_ANNOTATIONS: usize = 256 * 1024;

/// Number of characters of `generateName` that the API server uses.
const LONGEST_PREFIX: usize = 58;

/// Checks `metadata`.
pub(super) fn check(object: &Value) -> Vec<Violation> {
    let path = Path::default().field("metadata");
    let metadata = match &object["metadata"] {
        Value::Null => &serde_json::json!({}),
        metadata => metadata,
    };
    let Some(members) = metadata.as_object() else {
        return vec![Violation::blocking(&path, "must be an object")];
    };
    let unknown = members.keys().filter(|name| !MEMBERS.contains(&name.as_str()));
    let mut violations: Vec<_> = unknown.map(|name| Violation::of_key(&path.field(name), "unknown field")).collect();
    if let Err(error) = serde_path_to_error::deserialize::<_, ObjectMeta>(metadata) {
        let field = Path::parse(&format!("metadata.{}", error.path()));
        violations.push(Violation::blocking(&field, error.inner().to_string()));
        return violations;
    }
    violations.extend(name(metadata, &path));
    violations.extend(labels(metadata, &path));
    violations.extend(annotations(metadata, &path));
    violations
}

fn name(metadata: &Value, path: &Path) -> Vec<Violation> {
    let text = |member: &str| metadata[member].as_str().filter(|text| !text.is_empty());
    let mut violations = Vec::new();
    // the API server appends five letters and digits
    let generated = |prefix: &str| format!("{}00000", prefix.chars().take(LONGEST_PREFIX).collect::<String>());
    match (text("name"), text("generateName")) {
        (None, Some(prefix)) if !is_object_name(&generated(prefix)) => {
            let message = "Invalid value: must be lower-case letters, digits, dashes and dots, and begin with a letter \
                           or digit";
            violations.push(Violation::new(&path.field("generateName"), message));
        }
        (Some(name), _) if !is_object_name(name) => {
            let message = "Invalid value: must be lower-case letters, digits, dashes and dots, 253 at most, and begin \
                           and end with a letter or digit";
            violations.push(Violation::new(&path.field("name"), message));
        }
        (None, None) => violations.push(Violation::new(&path.field("name"), "Required value")),
        _ => {}
    }
    if let Some(namespace) = text("namespace")
        && !(is_object_name(namespace) && namespace.len() <= 63 && !namespace.contains('.'))
    {
        let message = "Invalid value: must be lower-case letters, digits and dashes, 63 at most";
        violations.push(Violation::new(&path.field("namespace"), message));
    }
    violations
}

fn entries<'a>(metadata: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let entries = metadata[member].as_object().into_iter().flatten();
    entries.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn labels(metadata: &Value, path: &Path) -> Vec<Violation> {
    let path = path.field("labels");
    let mut violations = Vec::new();
    for (key, value) in entries(metadata, "labels") {
        if !is_qualified_name(key) {
            violations.push(Violation::of_key(&path.with(Step::Key(key.clone())), NOT_QUALIFIED));
        }
        if !(value.is_empty() || is_name_part(value)) {
            let message = "Invalid value: a label's value has 63 letters, digits, dashes, dots and underscores at most, \
                           and begins and ends with a letter or digit";
            violations.push(Violation::new(&path.with(Step::Key(key.clone())), message));
        }
    }
    violations
}

fn annotations(metadata: &Value, path: &Path) -> Vec<Violation> {
    let path = path.field("annotations");
    let mut violations = Vec::new();
    for (key, _) in entries(metadata, "annotations").filter(|(key, _)| !is_qualified_name(&key.to_lowercase())) {
        violations.push(Violation::of_key(&path.with(Step::Key(key.clone())), NOT_QUALIFIED));
    }
    let size: usize = entries(metadata, "annotations").map(|(key, value)| key.len() + value.len()).sum();
    if size > LARGEST_ANNOTATIONS {
        let message = format!("Too long: may not be more than {LARGEST_ANNOTATIONS} bytes");
        violations.push(Violation::new(&path, message));
    }
    violations
}

const NOT_QUALIFIED: &str =
    "Invalid value: the name must be like example.com/team: a domain may stand before it, 63 characters at most behind";

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name_part(key),
        Some((domain, name)) => is_object_name(domain) && is_name_part(name),
    }
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}
