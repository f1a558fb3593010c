//! Account and scope of the token API of Azure Cognitive Services.
//!
//! Wire facts: `issueLimitedAccessToken` of the Token API v1.0, and `issueToken`.

use super::cel::{Cel, cel, union};
use super::duration::GoDuration;
use super::lifetime::LifetimeRule;
use super::limits::AccountLimits;
use super::references::SecretKeyRef;
use super::request::{FieldError, TokenRequest};
use super::schema::{root, site, url};
use super::token_api::{TokenApi, TypedTokenApi, among, blame_provider, one};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// A resource of Cognitive Services that issues tokens.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CognitiveServicesAccount {
    /// The endpoint of the resource or of its region, such as <https://virginia.api.cognitive.microsoft.us>.
    #[schemars(transform = url)]
    pub endpoint: String,
    /// A key of the resource.
    pub key_ref: SecretKeyRef,
    /// The name of the request field for the target resource. Default: `targetAzureResourceId`. Some services expect
    /// `resourceId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[schemars(transform = cel(
        "self.matches('^[A-Za-z][A-Za-z0-9_]*$') && !(self in ['featureFlags', 'expiredTime'])",
        "must be the name of a JSON field, such as resourceId"
    ))]
    pub target_resource_field: Option<String>,
    /// The format of featureFlags in the request: List (default), or `String` for a service that accepts one feature as
    /// a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flags_format: Option<FeatureFlagsFormat>,
}

/// The format of `featureFlags` in the request. The table of the reference says string, its sample shows a list.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum FeatureFlagsFormat {
    /// A JSON list.
    #[default]
    List,
    /// The name of the single feature.
    String,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Path of the operation below the endpoint, as the portal shows it: `/sts/v1.0/issuetoken`.
const OPERATIONS: [&str; 2] = ["sts", "v1.0"];

impl CognitiveServicesAccount {
    /// Returns the endpoint, without the path of an operation.
    pub fn root(&self) -> &str {
        root(&self.endpoint, &OPERATIONS)
    }
}

/// Scope of a token of Cognitive Services: exactly one member.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = union)]
pub struct CognitiveServicesScope {
    /// Uses limited-access features of another resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_access: Option<LimitedAccess>,
    /// Calls the service as the resource itself. The lifetime is always 10 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceToken>,
}

/// Limited-access features of one resource.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitedAccess {
    /// The Azure resource ID of the target resource.
    #[schemars(length(min = 1, max = 1024))]
    pub target_azure_resource_id: String,
    /// Features such as `Face.Identification`, `Face.Verification` or `LimitedAccess.HighRisk`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub feature_flags: Vec<String>,
}

/// Has no options.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceToken {}

/// Tokens that a ClusterTokenProvider allows.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CognitiveServicesAllowed {
    /// Members of the scope. Default: limitedAccess, because a service token permits everything that the key permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Option<Vec<String>>,
}

const LIMITED: &[&str] = &["limitedAccess"];

/// The reference states a default of 3600 s and a maximum of 86400 s, and no minimum. Some services reject lifetimes
/// under 60 s; their responses say so.
const ASKED: LifetimeRule = LifetimeRule::Asked {
    least: Duration::from_secs(1),
    most: Some(Duration::from_hours(24)),
    default: Duration::from_hours(1),
    issuer: Cow::Borrowed("Cognitive Services"),
};

const FIXED: LifetimeRule = LifetimeRule::Fixed {
    lifetime: Duration::from_mins(10),
    rejection_message: Cow::Borrowed("Cognitive Services always issues a service token for 10m: remove lifetime"),
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
    /// Returns the default limits. The token API has no documented ones; the free tier of the services allows 20 calls
    /// per minute.
    fn limits(&self) -> AccountLimits {
        AccountLimits::new(5, 20, 2)
    }

    /// Returns the endpoint. The key alone selects the issuing resource, and a key is not an identity.
    fn identity(&self) -> Result<String, FieldError> {
        let site = site(self.root()).ok_or_else(|| {
            FieldError::new("spec.cognitiveServices.endpoint", "must be an absolute URL such as https://host.example")
        })?;
        Ok(format!("cognitiveServices/{site}"))
    }

    fn display_name(&self) -> String {
        site(self.root()).unwrap_or_default()
    }
}

impl TypedTokenApi for CognitiveServicesAccount {
    type Scope = CognitiveServicesScope;
    type Allowed<'a> = Option<&'a CognitiveServicesAllowed>;

    fn rules() -> Vec<Cel> {
        let scope = "self.scope.cognitiveServices";
        let is = |kind: &str| format!("has({scope}) && has({scope}.{kind})");
        [ASKED.rules(&is("limitedAccess")), FIXED.rules(&is("service"))].concat()
    }

    /// Builds the request. `fields` contains `expiredTime` and the fields of the body; `expiredTime` is sent in the
    /// query.
    fn request(
        &self,
        account: String,
        scope: &CognitiveServicesScope,
        lifetime: Option<&GoDuration>,
    ) -> Result<TokenRequest, FieldError> {
        match scope.kind()? {
            Kind::Service => {
                let promised_lifetime = FIXED.choose(lifetime)?;
                Ok(TokenRequest {
                    account,
                    operation: "issueToken".into(),
                    fields: Map::new(),
                    promised_lifetime,
                    ends_at: None,
                })
            }
            Kind::LimitedAccess(access) => {
                let promised_lifetime = ASKED.choose(lifetime)?;
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
                    ("expiredTime".into(), promised_lifetime.as_secs().into()),
                ]);
                Ok(TokenRequest {
                    account,
                    operation: "issueLimitedAccessToken".into(),
                    fields,
                    promised_lifetime,
                    ends_at: None,
                })
            }
        }
    }

    fn admits(allowed: Self::Allowed<'_>, scope: &CognitiveServicesScope) -> Result<(), FieldError> {
        let kind = match scope.kind()? {
            Kind::LimitedAccess(_) => "limitedAccess",
            Kind::Service => "service",
        };
        among(SCOPE, kind, allowed.and_then(|a| a.kinds.as_deref()), LIMITED)
    }
}
