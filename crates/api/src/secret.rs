//! The Secret that stores the token of a VideoAccessToken.

use super::cel::cel;
use super::reserved_names::{secret_type, unreserved};
use super::schema::{data_key, data_keys, object_name, strings};
use schemars::{JsonSchema, Schema, SchemaGenerator, transform::Transform};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The Secret that stores the token.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = free_keys, transform = typed_keys)]
pub struct SecretSpec {
    /// Name of the Secret. Default: the name of the VideoAccessToken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = object_name)]
    pub name: Option<String>,
    /// Type of the Secret: Opaque, kubernetes.io/basic-auth, kubernetes.io/dockerconfigjson, kubernetes.io/tls or a
    /// custom type. Can be changed only together with the name.
    #[serde(rename = "type", default = "opaque")]
    #[schemars(length(min = 1, max = 253), transform = secret_type)]
    pub type_: String,
    /// Names of the keys for the token and its expiry.
    #[serde(default)]
    pub keys: SecretKeys,
    /// Labels, annotations and templated keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// Fate of the Secret when its VideoAccessToken is deleted: Delete (default) or Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Written by hand: the API's default for `spec.secret` is this value, and a derived one would contain `type: ""`.
impl Default for SecretSpec {
    fn default() -> Self {
        Self {
            name: None,
            type_: opaque(),
            keys: SecretKeys::default(),
            template: None,
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

impl SecretSpec {
    /// Returns true if the spec has templates for keys.
    pub fn has_templates(&self) -> bool {
        self.template.as_ref().is_some_and(|template| !template.data.is_empty())
    }

    /// Returns the names of the keys without a template.
    pub fn plain_keys(&self) -> impl Iterator<Item = &str> {
        let keys = &self.keys;
        [Some(&keys.token), Some(&keys.expires_at), keys.previous_token.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

fn opaque() -> String {
    "Opaque".into()
}

/// Fate of a Secret when its VideoAccessToken is deleted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum DeletionPolicy {
    /// Kubernetes deletes the Secret, because of an owner reference.
    #[default]
    Delete,
    /// The Secret remains.
    Retain,
    /// A value of another version of this API. The Secret remains.
    #[serde(untagged)]
    Other(String),
}

/// Names of the keys for the token and its expiry.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel(
    "self.token != self.expiresAt && (!has(self.previousToken) || !(self.previousToken in [self.token, self.expiresAt]))",
    "two keys have the same name: token, expiresAt and previousToken must differ"
))]
pub struct SecretKeys {
    /// Key of the token.
    #[serde(default = "token")]
    #[schemars(transform = data_key)]
    pub token: String,
    /// Key of the expiry, RFC 3339.
    #[serde(default = "expires_at")]
    #[schemars(transform = data_key)]
    pub expires_at: String,
    /// Key of the previous token, while that token is valid. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = data_key)]
    pub previous_token: Option<String>,
}

impl Default for SecretKeys {
    fn default() -> Self {
        Self { token: token(), expires_at: expires_at(), previous_token: None }
    }
}

fn token() -> String {
    "token".into()
}

fn expires_at() -> String {
    "expires-at".into()
}

/// Labels, annotations and templated keys of the Secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretTemplate {
    /// Labels, without templating.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels", transform = unreserved)]
    pub labels: BTreeMap<String, String>,
    /// Annotations, without templating.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations", transform = unreserved)]
    pub annotations: BTreeMap<String, String>,
    /// Keys and their minijinja templates, such as `{"accessToken": {{ token | tojson }}}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "data", transform = data_keys)]
    pub data: BTreeMap<String, String>,
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(32, 63);
    cel(
        "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
        "a label's value has letters, digits, dashes, dots and underscores only, and begins and ends with a letter or digit",
    )
    .transform(&mut schema);
    schema
}

fn annotations(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(32, 4096);
    cel(
        "self.map(key, bytes(key).size() + bytes(self[key]).size()).sum() <= 258048",
        "all annotations together are longer than 252 KiB, more than an object can have: shorten them",
    )
    .transform(&mut schema);
    schema
}

fn data(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(32, 16384);
    // The size is in bytes, as the operator counts: a character has up to four bytes.
    cel("self.all(key, bytes(self[key]).size() <= 16384)", "a template is longer than 16 KiB: shorten it")
        .transform(&mut schema);
    cel(
        "self.map(key, bytes(self[key]).size()).sum() <= 65536",
        "all templates together are longer than 64 KiB: shorten them",
    )
    .transform(&mut schema);
    schema
}

/// Schema transform: no key has both a template and a plain value.
fn free_keys(schema: &mut Schema) {
    cel(
        "!has(self.template) || !has(self.template.data) || !(self.keys.token in self.template.data || \
         self.keys.expiresAt in self.template.data || \
         (has(self.keys.previousToken) && self.keys.previousToken in self.template.data))",
        "a key of template.data has the name of one of keys: rename one of them",
    )
    .at(".template.data")
    .transform(schema);
}

/// Schema transform: requires the keys that the API server requires for some types, so that no token is issued in vain.
fn typed_keys(schema: &mut Schema) {
    let written = |key: &str| {
        format!(
            "(self.keys.token == '{key}' || self.keys.expiresAt == '{key}' || \
             (has(self.template) && has(self.template.data) && '{key}' in self.template.data))"
        )
    };
    let both = |first: &str, by: &str, second: &str| format!("({}{by}{})", written(first), written(second));
    for (type_, has_keys, message) in [
        (
            "tls",
            both("tls.crt", " && ", "tls.key"),
            "type kubernetes.io/tls needs the keys tls.crt and tls.key: add them to template.data",
        ),
        (
            "basic-auth",
            both("username", " || ", "password"),
            "type kubernetes.io/basic-auth needs a key username or password: set keys.token to password, or add them to template.data",
        ),
        (
            "dockerconfigjson",
            written(".dockerconfigjson"),
            "type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson: add it to template.data",
        ),
    ] {
        cel(format!("self.type != 'kubernetes.io/{type_}' || {has_keys}"), message).at(".type").transform(schema);
    }
}
