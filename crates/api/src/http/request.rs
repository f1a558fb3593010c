//! The call of a declared HTTP API that issues a token.

use crate::cel::cel;
use crate::references::SecretKeyRef;
use crate::request::FieldError;
use crate::schema::{is_object_name, strings};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The call. Strings may contain templates.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel(
    "[has(self.json), has(self.form), has(self.text)].filter(set, set).size() <= 1",
    "a request has one body: set one of json, form and text, or none"
))]
#[schemars(transform = cel(
    "self.method != 'GET' || !(has(self.json) || has(self.form) || has(self.text))",
    "a GET request has no body: set method POST, or write the fields into query"
).at(".method"))]
pub struct HttpRequest {
    /// The method: GET, POST (default), PUT or PATCH.
    #[serde(default)]
    pub method: HttpMethod,
    /// The path, appended to that of the URL. A template fills one segment, in which it is percent-encoded.
    #[schemars(length(min = 1, max = 2048))]
    #[schemars(transform = cel(
        "self.startsWith('/') && !self.matches('[?#[:cntrl:]]')",
        "must begin with a slash, without a query: write the fields of a query into query"
    ))]
    #[schemars(transform = cel(
        "!self.startsWith('//') && !self.matches('(^|/)[.][.]?(/|$)')",
        "leads to another URL than url: remove the segments `.` and `..` and the second slash"
    ))]
    pub path: String,
    /// The fields of the query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "fields")]
    pub query: BTreeMap<String, String>,
    /// Headers. Authorization, Cookie and those of the connection are not allowed: use auth. Content-Type replaces that of
    /// the body, which is application/json, application/x-www-form-urlencoded or text/plain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = cel(
        "self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
        "two headers have the same name, in which case does not count: remove one"
    ))]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<HttpHeader>,
    /// The body as a JSON object. A member `{secretRef: {name: …, key: …}}` is replaced by the value of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub json: Option<Map<String, Value>>,
    /// The body as a form. A field `{secretRef: {name: …, key: …}}` is replaced by the value of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub form: Option<Map<String, Value>>,
    /// The body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub text: Option<String>,
}

/// Maximum depth of a JSON body.
const DEEPEST: usize = 8;

/// Maximum bytes of a body, as a template.
const LARGEST: usize = 16 * 1024;

/// Maximum members of a body.
const MOST_MEMBERS: usize = 64;

impl HttpRequest {
    /// Repeats the checks of the CRD's rules, because an older CRD may have accepted the spec, and checks the bodies,
    /// which the rules can't see. `field` is the path of this value.
    pub(super) fn check(&self, field: &str) -> Result<(), FieldError> {
        let wrong = |member: &str, message: &str| Err(FieldError::new(format!("{field}{member}"), message));
        let bodies = [self.json.is_some(), self.form.is_some(), self.text.is_some()];
        match bodies.iter().filter(|set| **set).count() {
            0 => {}
            1 if self.method != HttpMethod::Get => {}
            1 => return wrong(".method", "a GET request has no body: set method POST, or write the fields into query"),
            _ => return wrong("", "a request has one body: set one of json, form and text, or none"),
        }
        if let HttpMethod::Other(_) = self.method {
            return wrong(".method", "must be GET, POST, PUT or PATCH");
        }
        if !self.path.starts_with('/') {
            return wrong(".path", "must begin with a slash");
        }
        for (n, header) in self.headers.iter().enumerate() {
            if !is_allowed_header(&header.name) {
                let message = "is not allowed: Authorization and Cookie come from auth, and the others belong to the \
                               connection";
                return wrong(&format!(".headers[{n}].name"), message);
            }
            if header.value.is_some() == header.secret_ref.is_some() {
                return wrong(&format!(".headers[{n}]"), "set exactly one of value and secretRef");
            }
            if self.headers[..n].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&header.name)) {
                return wrong(&format!(".headers[{n}].name"), "is the name of an earlier header: remove one");
            }
        }
        for (member, body) in [("json", &self.json), ("form", &self.form)] {
            let Some(body) = body else { continue };
            if secret_ref(&Value::Object(body.clone())).is_some() {
                return wrong(&format!(".{member}"), "is a reference as a whole: write it as the value of a member");
            }
            if body.len() > MOST_MEMBERS {
                return wrong(&format!(".{member}"), "has more than 64 members: remove some");
            }
            if serde_json::to_vec(body).map_or(usize::MAX, |text| text.len()) > LARGEST {
                return wrong(&format!(".{member}"), "is longer than 16 KiB: shorten it");
            }
            body.iter()
                .try_for_each(|(name, value)| member_check(&format!("{field}.{member}.{name}"), value, DEEPEST - 1))?;
        }
        for (name, value) in self.form.iter().flatten() {
            if (value.is_object() && secret_ref(value).is_none()) || value.is_array() || value.is_null() {
                return wrong(
                    &format!(".form.{name}"),
                    "must be a text, a number, a boolean, or {secretRef: {name, key}}",
                );
            }
        }
        Ok(())
    }

    /// Returns the references to Secrets in headers and body, each with its field below `field`.
    pub fn secret_refs(&self, field: &str) -> Vec<(String, SecretKeyRef)> {
        let headers =
            self.headers.iter().enumerate().filter_map(|(n, header)| {
                Some((format!("{field}.headers[{n}].secretRef"), header.secret_ref.clone()?))
            });
        let mut found: Vec<_> = headers.collect();
        for (member, body) in [("json", &self.json), ("form", &self.form)] {
            for (name, value) in body.iter().flatten() {
                collect(&format!("{field}.{member}.{name}"), value, &mut found);
            }
        }
        found
    }
}

/// Name of the member that refers to a Secret.
const SECRET_REF: &str = "secretRef";

/// Returns the reference, if a value of a body is nothing but `{secretRef: {name: …, key: …}}`.
pub fn secret_ref(value: &Value) -> Option<SecretKeyRef> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let reference = members.get(SECRET_REF)?.as_object().filter(|members| members.len() == 2)?;
    let text = |name: &str| reference.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(SecretKeyRef { name: text("name")?, key: text("key")? })
}

/// Replaces each reference to a Secret by null: a credential under another name makes no other request.
pub(super) fn forget_references(value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| {
            if name == SECRET_REF {
                *member = Value::Null;
            } else {
                forget_references(member);
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(forget_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Checks the depth of a value and its references.
fn member_check(field: &str, value: &Value, levels: usize) -> Result<(), FieldError> {
    match value {
        Value::Object(members) if members.contains_key(SECRET_REF) => match secret_ref(value) {
            Some(reference) if is_object_name(&reference.name) => Ok(()),
            _ => Err(FieldError::new(
                format!("{field}.{SECRET_REF}"),
                "must be {name: …, key: …} of a Secret, without members other than secretRef",
            )),
        },
        Value::Object(_) | Value::Array(_) if levels == 0 => {
            Err(FieldError::new(field, "is more than 8 levels deep: flatten it"))
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| member_check(&format!("{field}.{name}"), member, levels - 1))
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(n, item)| member_check(&format!("{field}[{n}]"), item, levels - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn collect(field: &str, value: &Value, found: &mut Vec<(String, SecretKeyRef)>) {
    if let Some(reference) = secret_ref(value) {
        return found.push((format!("{field}.{SECRET_REF}"), reference));
    }
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(&format!("{field}.{name}"), member, found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| collect(&format!("{field}[{n}]"), item, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fields(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(32, 2048);
    cel("self.all(name, name.size() > 0 && name.size() <= 128)", "a name is empty or longer than 128 characters")
        .transform(&mut schema);
    schema
}

/// Returns the schema of an object with any members. A schema can't bound what unknown fields contain, and rules can't
/// read it: the operator limits the object to 16 KiB and 8 levels.
fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MOST_MEMBERS, "x-kubernetes-preserve-unknown-fields": true})
}

/// A method.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(transform = crate::cel::known)]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

impl HttpMethod {
    /// Returns the method on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Other(word) => word,
        }
    }
}

/// A header of the request: exactly one of value and secretRef.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel("has(self.value) != has(self.secretRef)", "set exactly one of value and secretRef"))]
#[schemars(transform = cel(
    format!("!(self.name.lowerAscii() in {FORBIDDEN:?}) && !self.name.lowerAscii().startsWith('proxy-')"),
    "is not allowed: Authorization and Cookie come from auth, and the others belong to the connection"
).at(".name"))]
pub struct HttpHeader {
    /// Name of the header.
    #[schemars(transform = header_name)]
    pub name: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    #[schemars(transform = cel("!self.matches('[\\\\r\\\\n]')", "a header has no line breaks: remove them"))]
    pub value: Option<String>,
    /// A Secret with the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
}

/// Headers that `auth.header` may contain and `request.headers` may not.
const OF_AUTH: [&str; 2] = ["authorization", "cookie"];

/// Schema transform of a field: the name of a header with the credential.
pub(super) fn auth_header_name(schema: &mut Schema) {
    header_name(schema);
    let forbidden: Vec<_> = FORBIDDEN.iter().filter(|name| !OF_AUTH.contains(name)).collect();
    cel(
        format!("!(self.lowerAscii() in {forbidden:?}) && !self.lowerAscii().startsWith('proxy-')"),
        "is not allowed: it belongs to the connection",
    )
    .transform(schema);
}

/// Headers that a declared request must not contain. Those that begin with `proxy-` are not allowed either.
const FORBIDDEN: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "cookie",
    "authorization",
    "accept-encoding",
];

/// Returns true if a declared request may contain a header of this name. The Rust counterpart of the CRD's rule.
pub fn is_allowed_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_header_name(name) && !FORBIDDEN.contains(&lower.as_str()) && !lower.starts_with("proxy-")
}

/// Returns true if `auth.header` may name this header. Only headers of the connection are not allowed there.
pub fn is_allowed_auth_header(name: &str) -> bool {
    is_allowed_header(name) || OF_AUTH.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

fn is_header_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Schema transform of a field: the name of a header.
pub(super) fn header_name(schema: &mut Schema) {
    schema.insert("maxLength".into(), 64.into());
    cel("self.matches('^[A-Za-z0-9-]+$')", "must be the name of a header: letters, digits and dashes")
        .transform(schema);
}
