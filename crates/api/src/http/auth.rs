//! Authentication of the calls of a declared HTTP API.

use crate::azure::AzureAuth;
use crate::cel::{cel, union};
use crate::references::SecretKeyRef;
use crate::schema::{strings, url};
use schemars::{JsonSchema, Schema, SchemaGenerator, transform::Transform};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::request::auth_header_name;

/// How the calls authenticate: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct HttpAuth {
    /// Sends `Authorization: Bearer` with the value of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretKeyRef>,
    /// Sends a user name and a password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Sends the value of a Secret in a header, such as x-api-key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
    /// Gets an access token from an OAuth 2.0 token endpoint first, and sends it as a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<Oauth2>,
    /// Gets an access token from Microsoft Entra first, and sends it as a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entra: Option<EntraAuth>,
    /// Sends no credential, or one that the request contains as secretRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoAuth>,
}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoAuth {}

/// A user name and a password.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The user name, or the ID of a client.
    pub username_ref: SecretKeyRef,
    /// The password, or the secret of a client.
    pub password_ref: SecretKeyRef,
}

/// A header with a secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuth {
    /// Name of the header. Authorization and Cookie are allowed here.
    #[schemars(transform = auth_header_name)]
    pub name: String,
    /// Text before the secret, such as `Token `. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[schemars(transform = cel("self.matches('^[ -~]*$')", "must be printable ASCII, without line breaks"))]
    pub prefix: Option<String>,
    /// The secret.
    pub secret_ref: SecretKeyRef,
}

/// An OAuth 2.0 token endpoint (RFC 6749).
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel(
    "self.grant != 'client_credentials' || (has(self.clientIdRef) && has(self.clientSecretRef))",
    "grant client_credentials needs clientIdRef and clientSecretRef"
))]
#[schemars(transform = cel(
    "(self.grant == 'refresh_token') == has(self.refreshTokenRef)",
    "refreshTokenRef goes with grant refresh_token, and is required there"
).at(".refreshTokenRef"))]
#[schemars(transform = cel(
    "(self.grant == 'password') == (has(self.usernameRef) && has(self.passwordRef)) \
     && has(self.usernameRef) == has(self.passwordRef)",
    "usernameRef and passwordRef go with grant password, and are required there"
).at(".usernameRef"))]
#[schemars(transform = cel(
    "!has(self.clientSecretRef) || has(self.clientIdRef)",
    "clientSecretRef needs clientIdRef"
).at(".clientIdRef"))]
pub struct Oauth2 {
    /// URL of the token endpoint. It is literal, as the URL of the API.
    #[schemars(transform = super::literal_url)]
    pub token_url: String,
    /// The grant: `client_credentials`, `refresh_token` or `password`. A refresh token that the endpoint replaces at each use
    /// is not supported.
    pub grant: GrantType,
    /// The ID of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id_ref: Option<SecretKeyRef>,
    /// The secret of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretKeyRef>,
    /// The user name. Only with grant password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_ref: Option<SecretKeyRef>,
    /// The password. Only with grant password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_ref: Option<SecretKeyRef>,
    /// The refresh token. Only with grant `refresh_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token_ref: Option<SecretKeyRef>,
    /// Where ID and secret of the client are sent: basic (default) in the Authorization header, or body in the form.
    #[serde(default)]
    pub send: SendClient,
    /// The scopes to request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Vec<String>,
    /// Further fields of the form, such as audience.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "parameters")]
    pub params: BTreeMap<String, String>,
}

/// Fields of the form that have members of their own.
pub const RESERVED: &[&str] = &["grant_type", "client_secret", "username", "password", "refresh_token", "scope"];

fn parameters(_: &mut SchemaGenerator) -> Schema {
    let mut schema = strings(16, 1024);
    cel(
        format!("self.all(name, name.size() <= 128 && !(name in {RESERVED:?}))"),
        format!("{} have members of their own: remove them", RESERVED.join(", ")),
    )
    .transform(&mut schema);
    schema
}

/// An OAuth 2.0 grant.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::cel::known)]
pub enum GrantType {
    /// RFC 6749 §4.4.
    #[default]
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.3.
    Password,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

impl GrantType {
    /// Returns the value of `grant_type`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::Password => "password",
            Self::Other(word) => word,
        }
    }
}

/// Where the ID and the secret of an OAuth 2.0 client are sent.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = crate::cel::known)]
pub enum SendClient {
    /// In the Authorization header.
    #[default]
    Basic,
    /// In the form.
    Body,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Microsoft Entra as the issuer of a bearer token.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntraAuth {
    /// The scope of the token, such as <https://communication.azure.com/.default>.
    #[schemars(length(min = 1, max = 512))]
    pub scope: String,
    /// Microsoft Entra. Default: <https://login.microsoftonline.com>.
    #[serde(default = "authority")]
    #[schemars(transform = url)]
    pub authority: String,
    /// The identity.
    #[serde(flatten)]
    pub auth: AzureAuth,
}

fn authority() -> String {
    "https://login.microsoftonline.com".into()
}

impl EntraAuth {
    /// Returns the audience of a federated assertion in the cloud of the authority.
    pub fn assertion_audience(&self) -> &'static str {
        match self.authority.trim_end_matches('/') {
            "https://login.microsoftonline.us" => "api://AzureADTokenExchangeUSGov",
            "https://login.chinacloudapi.cn" => "api://AzureADTokenExchangeChina",
            _ => "api://AzureADTokenExchange",
        }
    }
}
