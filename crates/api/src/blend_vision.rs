//! Account and scope of BlendVision One.
//!
//! Wire facts: the reference's `Create an access token`.

use super::cel::{Cel, cel, union};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::references::SecretKeyRef;
use super::request::{End, FieldError, TokenRequest};
use super::schema::{root, url};
use super::token_api::{TokenApi, TypedTokenApi, among, one};
use super::wire_time;
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// An organization in BlendVision One.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlendVisionAccount {
    /// The URL of the API. Default: <https://api.one.blendvision.com>.
    #[serde(default = "endpoint")]
    #[schemars(transform = url)]
    pub endpoint: String,
    /// The ID of the organization.
    #[schemars(length(min = 1, max = 128))]
    #[schemars(transform = cel("self.matches('^[!-~]+$')", "must be the organization's id: printable, without spaces"))]
    pub organization: String,
    /// The API token.
    pub api_token_ref: SecretKeyRef,
}

impl BlendVisionAccount {
    /// Returns the endpoint, without the path of an operation.
    pub fn root(&self) -> &str {
        root(&self.endpoint, &["bv", "cms", "v1"])
    }
}

fn endpoint() -> String {
    "https://api.one.blendvision.com".into()
}

/// Scope of a BlendVision token: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct BlendVisionScope {
    /// Reads one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceToken>,
    /// Plays one resource, with the player SDK and its DRM licences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playback: Option<PlaybackToken>,
    /// Administers one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_admin: Option<ResourceToken>,
}

/// A resource.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = cel(
    "!has(self.expiredAt) || !has(self.neverExpires) || !self.neverExpires", BOTH_ENDS
).at(".expiredAt").forbidden())]
pub struct ResourceToken {
    /// The ID of the resource.
    #[schemars(length(min = 1, max = 128))]
    pub resource_id: String,
    /// The type of the resource, such as `RESOURCE_TYPE_VOD`.
    #[schemars(transform = resource_type)]
    pub resource_type: String,
    /// The ID of the viewer. Required if the privacy of the resource is `SECURITY_PRIVACY_TYPE_TOKEN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub customer_id: Option<String>,
    /// The name of the viewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub customer_name: Option<String>,
    /// Requests a token that never expires. Excludes lifetime. Default: false.
    #[serde(default)]
    pub never_expires: bool,
    /// Time at which the access ends. Excludes lifetime. The operator requests no token after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = end)]
    pub expired_at: Option<String>,
}

const BOTH_ENDS: &str = "a token that never expires has no end: remove expiredAt or neverExpires";

/// A resource for one viewer.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaybackToken {
    /// The ID of the resource.
    #[schemars(length(min = 1, max = 128))]
    pub resource_id: String,
    /// The type of the resource, such as `RESOURCE_TYPE_VOD`.
    #[schemars(transform = resource_type)]
    pub resource_type: String,
    /// The ID of the viewer.
    #[schemars(length(min = 1, max = 256))]
    pub customer_id: String,
    /// Time at which the access ends. Excludes lifetime. The operator requests no token after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = end)]
    pub expired_at: Option<String>,
}

const NO_END: &str = "must be a time in UTC such as 2027-01-31T00:00:00Z";

/// Schema transform of a field: RFC 3339 in UTC with whole seconds, as the reference writes `expired_at`.
fn end(schema: &mut Schema) {
    schema.insert("maxLength".into(), 20.into());
    cel(
        "self.matches('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}Z$')",
        NO_END,
    )
    .transform(schema);
}

/// Schema transform of a field: a resource type. The list is open. Known are `LIVE`, `VOD`, `LIVE_EVENT`,
/// `LIVE_EVENT_RECORDING`, `VOD_EVENT`, `AUDIO_EVENT` and `VOD_ENCODING`.
fn resource_type(schema: &mut Schema) {
    schema.insert("maxLength".into(), 64.into());
    cel(
        "self.matches('^RESOURCE_TYPE_[A-Z][A-Z_]*$')",
        "must be a BlendVision resource type such as RESOURCE_TYPE_VOD or RESOURCE_TYPE_LIVE",
    )
    .transform(schema);
}

/// Tokens that a ClusterTokenProvider allows.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlendVisionAllowed {
    /// Members of the scope. Default: resource, playback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Option<Vec<String>>,
    /// Allows tokens that never expire. Default: false.
    #[serde(default)]
    pub never_expires: bool,
}

/// Default of `kinds`: read access.
const READ_ONLY: &[&str] = &["resource", "playback"];

/// The reference states no bounds. A token requested without a lifetime never expires, so the operator requests 1 hour
/// by default.
const ASKED: LifetimeRule = LifetimeRule::Asked {
    least: Duration::from_secs(1),
    most: None,
    default: Duration::from_hours(1),
    issuer: Cow::Borrowed("BlendVision"),
};

const ENDLESS: LifetimeRule = LifetimeRule::Endless {
    rejection_message: Cow::Borrowed("a token that never expires has no lifetime: remove lifetime or neverExpires"),
};

const UNTIL: LifetimeRule = LifetimeRule::Endless {
    rejection_message: Cow::Borrowed("expiredAt says when the access ends: remove lifetime or expiredAt"),
};

const SCOPE: &str = "spec.scope.blendVision";

/// The kind that a scope selects: its member and its wire format.
struct Kind {
    member: &'static str,
    /// Path below `/bv/cms/v1/`.
    operation: &'static str,
    /// Wire fields except `expires_in` and `expired_at`.
    fields: Map<String, Value>,
    rule: LifetimeRule,
    never_expires: bool,
    expired_at: Option<String>,
}

impl Kind {
    fn of_resource(member: &'static str, operation: &'static str, token: &ResourceToken) -> Self {
        let optional = [("customer_id", &token.customer_id), ("customer_name", &token.customer_name)];
        let mut fields = resource(&token.resource_id, &token.resource_type);
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))));
        let rule = match (token.never_expires, &token.expired_at) {
            (true, _) => ENDLESS,
            (false, Some(_)) => UNTIL,
            (false, None) => ASKED,
        };
        let (never_expires, expired_at) = (token.never_expires, token.expired_at.clone());
        Self { member, operation, fields, rule, never_expires, expired_at }
    }

    fn of_playback(token: &PlaybackToken) -> Self {
        let mut fields = resource(&token.resource_id, &token.resource_type);
        fields.insert("customer_id".into(), token.customer_id.as_str().into());
        let rule = if token.expired_at.is_some() { UNTIL } else { ASKED };
        let (never_expires, expired_at) = (false, token.expired_at.clone());
        Self { member: "playback", operation: "tokens", fields, rule, never_expires, expired_at }
    }
}

fn resource(id: &str, type_: &str) -> Map<String, Value> {
    Map::from_iter([("resource_id".into(), id.into()), ("resource_type".into(), type_.into())])
}

impl BlendVisionScope {
    fn kind(&self) -> Result<Kind, FieldError> {
        let kinds = [
            self.resource.as_ref().map(|token| Kind::of_resource("resource", "resources/tokens", token)),
            self.playback.as_ref().map(Kind::of_playback),
            self.resource_admin
                .as_ref()
                .map(|token| Kind::of_resource("resourceAdmin", "resources/tokens:admin", token)),
        ];
        one(kinds, SCOPE, "kind of token")
    }
}

impl TokenApi for BlendVisionAccount {
    /// The reference states no limits. The defaults are those of a careful client.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(5, 100, 2)
    }

    fn identity(&self) -> Result<String, FieldError> {
        if self.organization.is_empty() {
            return Err(FieldError::new("spec.blendVision.organization", "must be the organization's id"));
        }
        Ok(format!("blendVision/{}", self.organization))
    }

    fn display_name(&self) -> String {
        self.organization.clone()
    }
}

impl TypedTokenApi for BlendVisionAccount {
    type Scope = BlendVisionScope;
    type Allowed<'a> = Option<&'a BlendVisionAllowed>;

    fn rules() -> Vec<Cel> {
        let endless = |kind: &str| {
            let kind = format!("self.scope.blendVision.{kind}");
            format!("has({kind}) && has({kind}.neverExpires) && {kind}.neverExpires")
        };
        let until = |kind: &str| {
            let kind = format!("self.scope.blendVision.{kind}");
            format!("has({kind}) && has({kind}.expiredAt)")
        };
        let endless = format!("{} || {}", endless("resource"), endless("resourceAdmin"));
        let until = format!("{} || {} || {}", until("resource"), until("playback"), until("resourceAdmin"));
        let is = "has(self.scope.blendVision)";
        [
            ENDLESS.rules(&format!("{is} && ({endless})")),
            UNTIL.rules(&format!("{is} && ({until})")),
            ASKED.rules(&format!("{is} && !({endless}) && !({until})")),
        ]
        .concat()
    }

    /// Builds the request. `expires_in` is a string in seconds, such as `3600s`.
    fn request(
        &self,
        account: String,
        scope: &BlendVisionScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        let Kind { member, operation, mut fields, rule, never_expires, expired_at } = scope.kind()?;
        let promised_lifetime = rule.choose(lifetime)?;
        if matches!(rule, LifetimeRule::Asked { .. }) {
            fields.insert("expires_in".into(), format!("{}s", promised_lifetime.as_secs()).into());
        }
        let mut ends_at = None;
        if let Some(text) = expired_at {
            let field = match member {
                "resource" => "spec.scope.blendVision.resource.expiredAt",
                "playback" => "spec.scope.blendVision.playback.expiredAt",
                _ => "spec.scope.blendVision.resourceAdmin.expiredAt",
            };
            if never_expires {
                return Err(FieldError::new(field, BOTH_ENDS));
            }
            let at = wire_time::parse(&text).ok_or_else(|| FieldError::new(field, NO_END))?;
            fields.insert("expired_at".into(), wire_time::text(at).into());
            ends_at = Some(End { field: field.into(), at });
        }
        Ok(TokenRequest { account, operation: operation.into(), fields, promised_lifetime, ends_at })
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &BlendVisionScope) -> Result<(), FieldError> {
        let kind = scope.kind()?;
        among(SCOPE, kind.member, allowed.and_then(|a| a.kinds.as_deref()), READ_ONLY)?;
        if kind.never_expires && !allowed.is_some_and(|a| a.never_expires) {
            let message = "the ClusterTokenProvider's allowedScopes admit no token that never expires";
            return Err(FieldError::new(format!("{SCOPE}.{}.neverExpires", kind.member), message));
        }
        Ok(())
    }
}
