//! Account and scope of ArcGIS Video Server.
//!
//! Wire facts: the reference's `generateToken`, 12.0.

use super::cel::{Cel, cel, union};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::references::SecretKeyRef;
use super::request::{FieldError, TokenRequest};
use super::schema::{root, site, strings, url};
use super::token_api::{TokenApi, TypedTokenApi, among, one};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// A user of an ArcGIS Video Server.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArcgisVideoServerAccount {
    /// The server's admin root, such as <https://video.example:21443/arcgis/admin>.
    #[schemars(transform = url)]
    pub url: String,
    /// The user's name.
    pub username_ref: SecretKeyRef,
    /// The user's password.
    pub password_ref: SecretKeyRef,
    /// A token of the server that is sent with each request, for a server that requires one from programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ref: Option<SecretKeyRef>,
    /// Rejects a token with the rights of the site administrator (`loginAsPSA`). Default: false; the operator warns
    /// about such a token.
    #[serde(default)]
    pub refuse_site_administrator: bool,
    /// Form fields to add or replace, for a server that expects other names. In a value, `$(username)` is replaced by
    /// the user's name. An empty value removes the field. For a server that expects `user`: `{user: $(username),
    /// username: ""}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "parameters")]
    #[schemars(transform = cel(
        format!("self.all(name, name.size() > 0 && !(name.lowerAscii() in {RESERVED:?}))"),
        "password comes from passwordRef, expiration from lifetime, f is always json: remove them"
    ))]
    pub extra_parameters: BTreeMap<String, String>,
}

/// Form fields that `extraParameters` must not contain.
const RESERVED: &[&str] = &["password", "expiration", "f"];

impl ArcgisVideoServerAccount {
    /// Returns the URL of the admin root, without the path of the operation.
    pub fn root(&self) -> &str {
        root(&self.url, &["generateToken"])
    }
}

fn parameters(_: &mut SchemaGenerator) -> Schema {
    strings(16, 1024)
}

/// The client to which the token is bound: exactly one member. Prefer referer.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct ArcgisVideoServerScope {
    /// Clients that use the token must send this Referer header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub referer: Option<String>,
    /// Clients that use the token must send their requests from this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[schemars(transform = cel("isIP(self)", "must be an IPv4 or IPv6 address"))]
    pub ip: Option<String>,
    /// Binds the token to the address from which the operator sends its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ip: Option<RequestIp>,
}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestIp {}

/// Tokens that a ClusterTokenProvider allows.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcgisVideoServerAllowed {
    /// Members of the scope. Default: all, because each token has the rights of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Option<Vec<String>>,
}

const ALL: &[&str] = &["referer", "ip", "requestIp"];

/// The lifetime is in minutes: 60 by default, at most 525600 according to the reference.
const LIFETIME: LifetimeRule = LifetimeRule::Asked {
    least: Duration::from_mins(1),
    most: Some(Duration::from_hours(525_600 / 60)),
    default: Duration::from_hours(1),
    issuer: Cow::Borrowed("ArcGIS Video Server"),
};

const SCOPE: &str = "spec.scope.arcgisVideoServer";

impl ArcgisVideoServerScope {
    /// Returns the name of the member that is set, the value of the form field `client`, and the form field with its
    /// value, if any.
    fn binding(&self) -> Result<(&'static str, &'static str, Option<&str>), FieldError> {
        let bindings = [
            self.referer.as_deref().map(|referer| ("referer", "referer", Some(referer))),
            self.ip.as_deref().map(|ip| ("ip", "ip", Some(ip))),
            self.request_ip.map(|RequestIp {}| ("requestIp", "requestip", None)),
        ];
        one(bindings, SCOPE, "binding")
    }
}

impl TokenApi for ArcgisVideoServerAccount {
    /// The vendor documents no limits. The defaults suit one on-premises machine that also has other work, with one
    /// login at a time.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(2, 30, 1)
    }

    /// Returns the admin root, which identifies the server. Each server manages its own users.
    fn identity(&self) -> Result<String, FieldError> {
        let site = site(self.root()).ok_or_else(|| {
            let message = "must be an absolute URL such as https://host.example:21443/arcgis/admin";
            FieldError::new("spec.arcgisVideoServer.url", message)
        })?;
        if let Some(name) = self.extra_parameters.keys().find(|name| RESERVED.contains(&&*name.to_ascii_lowercase())) {
            let field = format!("spec.arcgisVideoServer.extraParameters.{name}");
            return Err(FieldError::new(field, "is the operator's own: remove it"));
        }
        Ok(format!("arcgisVideoServer/{site}"))
    }

    fn display_name(&self) -> String {
        site(self.root()).unwrap_or_default()
    }

    fn lockout(&self) -> Option<Cow<'static, str>> {
        Some("ArcGIS Video Server locks a user after failed logins".into())
    }
}

impl TypedTokenApi for ArcgisVideoServerAccount {
    type Scope = ArcgisVideoServerScope;
    type Allowed<'a> = Option<&'a ArcgisVideoServerAllowed>;

    fn rules() -> Vec<Cel> {
        LIFETIME.rules("has(self.scope.arcgisVideoServer)")
    }

    /// Builds the form fields, except username, password and `f`. A lifetime is rounded up to whole minutes.
    fn request(
        &self,
        account: String,
        scope: &ArcgisVideoServerScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        let (_, client, bound_to) = scope.binding()?;
        let minutes = LIFETIME.choose(lifetime)?.as_secs().div_ceil(60);
        let mut fields: Map<String, Value> =
            Map::from_iter([("client".into(), client.into()), ("expiration".into(), minutes.into())]);
        if let Some(bound_to) = bound_to {
            fields.insert(client.into(), bound_to.into());
        }
        fields.extend(self.extra_parameters.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        Ok(TokenRequest {
            account,
            operation: "generateToken".into(),
            fields,
            promised_lifetime: Duration::from_secs(minutes * 60),
            ends_at: None,
        })
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &ArcgisVideoServerScope) -> Result<(), FieldError> {
        let (kind, ..) = scope.binding()?;
        among(SCOPE, kind, allowed.and_then(|a| a.kinds.as_deref()), ALL)
    }
}
