//! The token API of Azure Cognitive Services: its account and its scope.
//!
//! Wire facts: `issueLimitedAccessToken` of the Token API v1.0, and `issueToken`.

use super::allowed::{AllowedScopes, among};
use super::cel::{Cel, cel, union};
use super::duration::GoDuration;
use super::life::Life;
use super::limits::AccountLimits;
use super::provider::SecretKeyRef;
use super::request::{FieldError, TokenRequest};
use super::schema::{root, site, url};
use super::token_api::{TokenApi, TypedTokenApi, blame_provider, one};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// An issuing resource of Cognitive Services.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CognitiveServicesAccount {
    /// The resource's own endpoint or a regional one, such as <https://virginia.api.cognitive.microsoft.us>.
    #[schemars(transform = url)]
    pub endpoint: String,
    /// The issuing resource's key.
    pub key_ref: SecretKeyRef,
    /// The name on the wire of the field that names the target resource. Default: `targetAzureResourceId`; some
    /// services want `resourceId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[schemars(transform = cel(
        "self.matches('^[A-Za-z][A-Za-z0-9_]*$') && !(self in ['featureFlags', 'expiredTime'])",
        "must be the name of a JSON field, such as resourceId"
    ))]
    pub target_resource_field: Option<String>,
    /// How featureFlags stands on the wire: List (default), or `String` for a service that takes one feature as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flags_format: Option<FeatureFlagsFormat>,
}

/// How `featureFlags` stands on the wire: the reference's table calls it a string, its sample has a list.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum FeatureFlagsFormat {
    /// A JSON list.
    #[default]
    List,
    /// The one feature's name.
    String,
    /// A word of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// What a portal shows below the endpoint: `/sts/v1.0/issuetoken`.
const OPERATIONS: [&str; 2] = ["sts", "v1.0"];

impl CognitiveServicesAccount {
    /// The endpoint, without an operation's path.
    pub fn root(&self) -> &str {
        root(&self.endpoint, &OPERATIONS)
    }
}

/// What a token of Cognitive Services may do: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct CognitiveServicesScope {
    /// To use limited-access features of another resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_access: Option<LimitedAccess>,
    /// To call the service as the resource itself; always lives 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceToken>,
}

/// Features of one resource.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitedAccess {
    /// The Azure resource id of the resource that the token is for.
    #[schemars(length(min = 1, max = 1024))]
    pub target_azure_resource_id: String,
    /// Such as `Face.Identification`, `Face.Verification` or `LimitedAccess.HighRisk`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub feature_flags: Vec<String>,
}

/// Nothing to narrow.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceToken {}

/// Which tokens a ClusterTokenProvider admits.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CognitiveServicesAllowed {
    /// Members of the scope. Default: limitedAccess, since a service token can do all that the key can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Option<Vec<String>>,
}

const LIMITED: &[&str] = &["limitedAccess"];

/// The reference gives a default of 3600 s and a most of 86400 s, and no least. Services that refuse less than 60 s are
/// seen: their answer tells.
const ASKED: Life = Life::Asked {
    least: Duration::from_secs(1),
    most: Some(Duration::from_hours(24)),
    default: Duration::from_hours(1),
    issuer: Cow::Borrowed("Cognitive Services"),
};

const FIXED: Life = Life::Fixed {
    life: Duration::from_mins(10),
    because: Cow::Borrowed("Cognitive Services always issues a service token for 10m: remove lifetime"),
};

const SCOPE: &str = "spec.scope.cognitiveServices";

enum Kind<'a> {
    LimitedAccess(&'a LimitedAccess),
    Service,
}

impl CognitiveServicesScope {
    fn kind(&self) -> Result<Kind<'_>, FieldError> {
        let kinds = [self.limited_access.as_ref().map(Kind::LimitedAccess), self.service.map(|_| Kind::Service)];
        one(kinds, SCOPE, "kind of token")
    }
}

impl TokenApi for CognitiveServicesAccount {
    /// No limits are documented for the token API; the free tier of the services themselves allows 20 a minute.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(5, 20, 2)
    }

    /// The endpoint: a key alone tells which resource issues, and a key is no identity.
    fn identity(&self) -> Result<String, FieldError> {
        let site = site(self.root()).ok_or_else(|| {
            FieldError::new("spec.cognitiveServices.endpoint", "must be an absolute URL such as https://host.example")
        })?;
        Ok(format!("cognitiveServices/{site}"))
    }

    fn shown(&self) -> String {
        site(self.root()).unwrap_or_default()
    }
}

impl TypedTokenApi for CognitiveServicesAccount {
    type Scope = CognitiveServicesScope;

    fn rules() -> Vec<Cel> {
        let scope = "self.scope.cognitiveServices";
        let is = |kind: &str| format!("has({scope}) && has({scope}.{kind})");
        [ASKED.rules(&is("limitedAccess")), FIXED.rules(&is("service"))].concat()
    }

    /// `expiredTime` stands in `fields` beside the body's fields, and goes into the query.
    fn request(
        &self,
        account: String,
        scope: &CognitiveServicesScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        match scope.kind()? {
            Kind::Service => {
                let promised_life = FIXED.choose(lifetime)?;
                Ok(TokenRequest {
                    account,
                    operation: "issueToken".into(),
                    fields: Map::new(),
                    promised_life,
                    ends_at: None,
                })
            }
            Kind::LimitedAccess(access) => {
                let promised_life = ASKED.choose(lifetime)?;
                let flags: BTreeSet<&str> = access.feature_flags.iter().map(String::as_str).collect();
                if flags.is_empty() {
                    let field = format!("{SCOPE}.limitedAccess.featureFlags");
                    return Err(FieldError::new(field, "name at least one feature, such as Face.Identification"));
                }
                let flags: Value = match self.feature_flags_format.as_ref().unwrap_or(&FeatureFlagsFormat::List) {
                    FeatureFlagsFormat::List => flags.into_iter().map(Value::from).collect(),
                    FeatureFlagsFormat::String if flags.len() == 1 => flags.first().copied().into(),
                    FeatureFlagsFormat::String => {
                        let field = format!("{SCOPE}.limitedAccess.featureFlags");
                        let message = "the provider's featureFlagsFormat is String: name exactly one feature";
                        return Err(FieldError::new(field, message));
                    }
                    FeatureFlagsFormat::Other(word) => {
                        let field = "spec.cognitiveServices.featureFlagsFormat";
                        let error = FieldError::new(field, format!("must be List or String, not {word}"));
                        return Err(blame_provider(&error));
                    }
                };
                let target = self.target_resource_field.as_deref().unwrap_or("targetAzureResourceId");
                let fields = Map::from_iter([
                    (target.to_owned(), access.target_azure_resource_id.as_str().into()),
                    ("featureFlags".into(), flags),
                    ("expiredTime".into(), promised_life.as_secs().into()),
                ]);
                Ok(TokenRequest {
                    account,
                    operation: "issueLimitedAccessToken".into(),
                    fields,
                    promised_life,
                    ends_at: None,
                })
            }
        }
    }

    fn admits(allowed: &AllowedScopes, scope: &CognitiveServicesScope) -> Result<(), FieldError> {
        let kind = match scope.kind()? {
            Kind::LimitedAccess(_) => "limitedAccess",
            Kind::Service => "service",
        };
        among(SCOPE, kind, allowed.cognitive_services.as_ref().and_then(|a| a.kinds.as_deref()), LIMITED)
    }
}
