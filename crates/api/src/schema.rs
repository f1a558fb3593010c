//! Schema parts that several kinds share.

use super::cel::cel;
use schemars::{Schema, SchemaGenerator, json_schema, transform::Transform};

/// CEL pattern of a key of a Secret or ConfigMap.
const DATA_KEY: &str = "^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$";

/// Returns the schema of an RFC 3339 time.
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Returns the schema of a list map of `metav1.Condition`, with the limits of the Go type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {"type": "string", "maxLength": 32768},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0}
            }
        }
    })
}

/// Returns the schema of a `metav1.LabelSelector`, with limits.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    let value = json_schema!({"type": "string", "maxLength": 63});
    json_schema!({
        "type": "object", "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {"type": "object", "maxProperties": 64, "additionalProperties": value},
            "matchExpressions": {
                "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "maxLength": 316},
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {
                            "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic", "items": value
                        }
                    }
                }
            }
        }
    })
}

/// Returns the schema of a map from strings to strings, with limits.
pub(super) fn strings(max_properties: u32, max_length: u32) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": max_properties,
        "additionalProperties": {"type": "string", "maxLength": max_length}
    })
}

/// CEL rule of each field that contains a URL. `check` applies the same rule without CEL.
pub const URL_RULE: &str = "isURL(self) && url(self).getScheme() in ['https', 'http'] \
    && url(self).getHost() != '' && !self.matches('[@?#]')";

/// Message for a value that breaks [`URL_RULE`].
pub const NO_URL: &str = "must be an absolute URL without user, query and fragment, such as https://host.example";

/// Schema transform of a field: an absolute URL without user, query and fragment.
pub(super) fn url(schema: &mut Schema) {
    schema.insert("maxLength".into(), 2048.into());
    cel(URL_RULE, NO_URL).transform(schema);
}

/// Schema transform of a field: a GUID.
pub(super) fn guid(schema: &mut Schema) {
    schema.insert("maxLength".into(), 36.into());
    cel(
        "self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')",
        "must be a GUID such as 00000000-0000-0000-0000-000000000000",
    )
    .transform(schema);
}

/// Message for a field that can't be one segment of a URL path.
pub(super) const NOT_A_SEGMENT: &str = "must be a name, without a slash or a control character";

/// Schema transform of a field: one segment of a URL path. URL parsers skip tabs and line ends: a `..` with a tab
/// between its dots would pass as a name and then lead to another path.
pub(super) fn segment(schema: &mut Schema) {
    cel("self.matches('^[^/[:cntrl:]]+$') && self != '.' && self != '..'", NOT_A_SEGMENT).transform(schema);
}

/// Returns true if `text` can be one segment of a URL path (once percent-encoded). The Rust counterpart of [`segment`].
pub(super) fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_ascii_control()) && text != "." && text != ".."
}

/// Schema transform of a field: the name of a Kubernetes object.
pub(super) fn object_name(schema: &mut Schema) {
    schema.insert("maxLength".into(), 253.into());
    cel(
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "must be the name of an object: lower-case letters, digits, dashes and dots",
    )
    .transform(schema);
}

/// Returns true if `text` is the name of a Kubernetes object. The Rust counterpart of [`object_name`].
pub fn is_object_name(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|c| plain(c) || c == b'-')
            && label.bytes().next().is_some_and(plain)
            && label.bytes().last().is_some_and(plain)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Schema transform of a field: a key of a Secret or ConfigMap.
pub(super) fn data_key(schema: &mut Schema) {
    schema.insert("maxLength".into(), 253.into());
    cel(format!("self.matches('{DATA_KEY}')"), "must be a Secret's key: letters, digits, dashes, dots and underscores")
        .transform(schema);
}

/// Schema transform of a map: its names are keys of a Secret.
pub(super) fn data_keys(schema: &mut Schema) {
    cel(
        format!("self.all(key, key.size() <= 253 && key.matches('{DATA_KEY}'))"),
        "each name must be a Secret's key: at most 253 letters, digits, dashes, dots and underscores",
    )
    .transform(schema);
}

/// Returns the part of a URL before `operation`, a sequence of path segments compared without case. The result has no
/// trailing slash. Portals show endpoints with the path of an operation, such as `…/sts/v1.0/issuetoken`.
pub(super) fn root<'a>(url: &'a str, operation: &[&str]) -> &'a str {
    let path = url.find("://").and_then(|scheme| Some(scheme + 3 + url[scheme + 3..].find('/')?));
    let Some(path) = path else { return url };
    let starts = url[path..].match_indices('/').map(|(at, _)| path + at);
    let is_operation = |at: &usize| {
        let mut segments = url[at + 1..].split('/');
        operation.iter().all(|wanted| segments.next().is_some_and(|segment| segment.eq_ignore_ascii_case(wanted)))
    };
    let end = starts.into_iter().find(is_operation).unwrap_or(url.len());
    url[..end].trim_end_matches('/')
}

/// Returns the identity of a URL: host in lower case, port unless it is the default of the scheme, and path without a
/// trailing slash. Returns `None` if [`url`] rejects the URL.
pub(super) fn site(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return None;
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}{}", url.host_str()?, url.path().trim_end_matches('/')))
}
