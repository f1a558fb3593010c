//! The reading of the answer of a declared HTTP API.

use crate::cel::{cel, union};
use crate::duration::{GoDuration, is_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::request::header_name;

/// How the answer is read.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResponse {
    /// Where the token is.
    pub token: TokenPlace,
    /// When the token expires.
    pub expires: Expires,
    /// Further values to store. A template of the Secret uses them as `values.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "values")]
    pub values: BTreeMap<String, TokenPlace>,
    /// Condition that an answer with a status of 2xx must meet. Default: the status decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Success>,
    /// Failures with a class of their own. The first that matches the answer counts, also for a status of 2xx. Default:
    /// the status decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub failures: Vec<Failure>,
    /// Header that contains the seconds or the time to wait, in addition to Retry-After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = header_name)]
    pub retry_after: Option<String>,
    /// Time to wait after a throttled call whose answer names no time: 1s to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = cooldown)]
    pub cooldown: Option<GoDuration>,
    /// Each new token ends the validity of the one before. Then a token is renewed late, and previousToken is refused.
    /// Default: false.
    #[serde(default)]
    pub invalidates_previous: bool,
    /// Each call is a login, and failed logins lock the user. Then at most three failed logins are made in 16 minutes,
    /// one at a time. Default: false.
    #[serde(default)]
    pub lockout: bool,
}

/// A place in an answer: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct TokenPlace {
    /// A JSON path (RFC 9535) of names and indexes, such as $.result.token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub json: Option<String>,
    /// The name of a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[schemars(transform = cel("self.matches('^[!#-+.-:<>-~-]+$')", "must be the name of a cookie"))]
    pub cookie: Option<String>,
    /// The name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = header_name)]
    pub header: Option<String>,
    /// The whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<WholeBody>,
}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeBody {}

/// When the token expires: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct Expires {
    /// The token is a JWT, and its claim `exp` states the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtExpiry>,
    /// JSON path of the lifetime in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub seconds: Option<String>,
    /// JSON path of the lifetime in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub milliseconds: Option<String>,
    /// JSON path of the time in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub epoch: Option<String>,
    /// JSON path of the time in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub epoch_millis: Option<String>,
    /// JSON path of the time in RFC 3339. Without an offset, it counts as UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub timestamp: Option<String>,
    /// The documented lifetime of each token: more than 10s and at most 8784h (366 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = after)]
    pub after: Option<GoDuration>,
    /// The lifetime that the request asks for: a template of the request reads `lifetime` or `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedExpiry>,
}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtExpiry {}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedExpiry {}

/// A condition that a successful answer meets. Without equals and matches, the value must exist and not be null.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// JSON path of the value to look at.
    #[schemars(transform = json_path)]
    pub json: String,
    /// The value: a text, a number or a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schemars(schema_with = "scalar")]
    pub equals: Option<Value>,
    /// A regular expression for the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub matches: Option<String>,
}

/// A failure, by its status, its body or both.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = cel(
    "has(self.json) || (has(self.status) && self.status.size() > 0 && !has(self.matches))",
    "set status, or json with equals or matches"
))]
pub struct Failure {
    /// The statuses, without 3xx: a redirect is always refused. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = cel(
        "!self.exists(status, status >= 300 && status < 400)",
        "a redirect is always refused and has no class of its own: remove 3xx"
    ))]
    #[schemars(length(max = 16), inner(range(min = 200, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub status: Vec<i32>,
    /// JSON path of the value to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = json_path)]
    pub json: Option<String>,
    /// The value: a text, a number or a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schemars(schema_with = "scalar")]
    pub equals: Option<Value>,
    /// A regular expression for the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub matches: Option<String>,
    /// The class, which decides when the call is repeated: Credential, Denied, Throttled, Configuration or Transient.
    pub class: FailureClass,
}

/// Class of a failure.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = crate::cel::known)]
pub enum FailureClass {
    /// The credential of the account is rejected. All its calls stop until the credential changes.
    Credential,
    /// The identity lacks a permission.
    Denied,
    /// Too many calls. All calls of the account wait.
    Throttled,
    /// The token request is invalid.
    Configuration,
    /// The failure ends without a change.
    #[default]
    Transient,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Schema transform of a field: the lifetime of each token.
fn after(schema: &mut Schema) {
    let is_within = "duration(self) > duration('10s') && duration(self) <= duration('8784h')";
    cel(format!("!{} || ({is_within})", is_duration("self")), "must be more than 10s and at most 8784h (366 days)")
        .transform(schema);
}

/// Schema transform of a field: the wait after a throttled call.
fn cooldown(schema: &mut Schema) {
    let is_within = "duration(self) >= duration('1s') && duration(self) <= duration('1h')";
    cel(format!("!{} || ({is_within})", is_duration("self")), "must be 1s to 1h, such as 5s").transform(schema);
}

/// Schema transform of a field: a singular JSON path.
fn json_path(schema: &mut Schema) {
    schema.insert("maxLength".into(), 512.into());
    cel(
        r#"self.matches('^[$]([.][A-Za-z_][A-Za-z0-9_]*|\\[-?[0-9]{1,6}\\]|\\[\'[^\'\\\\]*\'\\]|\\["[^"\\\\]*"\\])*$')"#,
        "must be a JSON path of names and indexes such as $.result.token, $.items[0].token or $['access-token']: no \
         filters, wildcards, slices and descendants",
    )
    .transform(schema);
}

/// Reads a null as a value, so that it is refused and not taken for an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Returns the schema of a value of any type. The operator admits texts, numbers and booleans.
fn scalar(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

fn values(generator: &mut SchemaGenerator) -> Schema {
    let place = generator.subschema_for::<TokenPlace>();
    let mut schema = json_schema!({"type": "object", "maxProperties": MOST_VALUES, "additionalProperties": place});
    crate::parameters::value_names(&mut schema);
    schema
}

/// Maximum number of further values.
pub(super) const MOST_VALUES: usize = 8;
