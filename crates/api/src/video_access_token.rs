//! The kind VideoAccessToken.

use super::cel::{cel, cel_saying};
use super::condition::Condition;
use super::duration::{GoDuration, is_duration};
use super::provider::ProviderSpec;
use super::request::{FieldError, TokenRequest};
use super::reserved_names::untrusted;
use super::schema::{conditions, date_time, object_name};
use super::scope::Scope;
use super::secret::SecretSpec;
use super::workload::{Workload, WorkloadRef};
use super::{provider_types, token_api, wire_time};
use crate::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The token to issue and renew, and the Secret that stores it.
#[allow(clippy::duplicated_attributes)] // of the columns: the derive reads each by itself
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    crates(kube = "::kube_derive", kube_core = "::kube_core"),
    group = "videotoken.dev",
    version = "v1alpha1",
    kind = "VideoAccessToken",
    namespaced,
    shortname = "vat",
    category = "videotoken",
    status = "VideoAccessTokenStatus",
    derive = "PartialEq",
    doc = "Keeps a short-lived video access token fresh in a Secret.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Provider", type_ = "string", json_path = ".status.provider"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = provider_types::rules, transform = renewal, transform = untrusted)]
pub struct VideoAccessTokenSpec {
    /// The provider that issues the token.
    pub provider_ref: ProviderRef,
    /// Scope of the token.
    pub scope: Scope,
    /// The lifetime to request, such as 12h. Only for token APIs that accept a lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<GoDuration>,
    /// Time before the expiry at which the token is renewed. Default: a third of its lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<GoDuration>,
    /// Share of the lifetime, in percent, that is left when the token is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,
    /// The Secret that stores the token.
    #[serde(default)]
    pub secret: SecretSpec,
    /// Workloads of this namespace that are restarted when the token has changed, for workloads that read it only when
    /// they start. Each must have the label `videotoken.dev/restart-on-renewal: "true"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub rollout_restart: Vec<WorkloadRef>,
    /// Stops all calls for this VideoAccessToken. Its token expires without renewal. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// Reference to a provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRef {
    /// TokenProvider (default) or ClusterTokenProvider.
    #[serde(default)]
    pub kind: ProviderKind,
    /// Name of the provider.
    #[schemars(transform = object_name)]
    pub name: String,
}

/// Kinds of provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum ProviderKind {
    /// A provider in the namespace of the VideoAccessToken.
    #[default]
    TokenProvider,
    /// A provider of the cluster.
    ClusterTokenProvider,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

impl ProviderKind {
    /// Returns the name of the kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TokenProvider => "TokenProvider",
            Self::ClusterTokenProvider => "ClusterTokenProvider",
            Self::Other(word) => word,
        }
    }
}

/// Time of the renewal, according to a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewBefore {
    /// The spec states no time: a third of the actual lifetime before the expiry.
    Default,
    /// Time before the expiry; at least 1 s.
    Before(Duration),
    /// Percentage of the actual lifetime that is left; 1 to 99.
    Percentage(u8),
}

impl VideoAccessTokenSpec {
    /// Returns the request of this spec at `provider`. Repeats the checks of the CRD's rules, because an older CRD may
    /// have accepted the object.
    pub fn request(&self, provider: &ProviderSpec) -> Result<TokenRequest, FieldError> {
        let scope = self.scope.typed()?;
        let account = provider.account().map_err(|error| token_api::blame_provider(&error))?;
        account.request(scope, self.lifetime.as_ref())
    }

    /// Returns when to renew. Only the actual lifetime of the token shows if the time is too long.
    pub fn renew_before(&self) -> Result<RenewBefore, FieldError> {
        match (&self.renew_before, self.renew_before_percentage) {
            (None, None) => Ok(RenewBefore::Default),
            (Some(_), Some(_)) => Err(FieldError::new("spec.renewBeforePercentage", NOT_BOTH)),
            (Some(text), None) => {
                text.parse().filter(|before| *before >= Duration::from_secs(1)).map(RenewBefore::Before).ok_or_else(
                    || FieldError::new("spec.renewBefore", "must be a duration of at least 1s, such as 20m"),
                )
            }
            (None, Some(share)) => u8::try_from(share)
                .ok()
                .filter(|share| (1..=99).contains(share))
                .map(RenewBefore::Percentage)
                .ok_or_else(|| FieldError::new("spec.renewBeforePercentage", "must be 1 to 99")),
        }
    }

    /// Returns the workloads to restart when the token has changed.
    pub fn workloads(&self) -> Result<Vec<Workload>, FieldError> {
        let named = self.rollout_restart.iter().enumerate();
        named.map(|(n, workload)| workload.workload(&format!("spec.rolloutRestart[{n}]"))).collect()
    }
}

impl VideoAccessToken {
    /// Returns the name of the Secret: `spec.secret.name`, else the name of the object.
    pub fn secret_name(&self) -> &str {
        self.spec.secret.name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

const NOT_BOTH: &str = "set renewBefore or renewBeforePercentage, not both";

/// Schema transform: the rules of renewal that apply to all scopes.
fn renewal(schema: &mut Schema) {
    let (before, lifetime) = (is_duration("self.renewBefore"), is_duration("self.lifetime"));
    cel("!(has(self.renewBefore) && has(self.renewBeforePercentage))", NOT_BOTH)
        .at(".renewBeforePercentage")
        .forbidden()
        .transform(schema);
    cel(
        format!("!has(self.renewBefore) || !{before} || duration(self.renewBefore) >= duration('1s')"),
        "must be at least 1s",
    )
    .at(".renewBefore")
    .transform(schema);
    cel_saying(
        format!(
            "!has(self.renewBefore) || !has(self.lifetime) || !{before} || !{lifetime} || \
             duration(self.renewBefore) < duration(self.lifetime)"
        ),
        "'renewBefore ' + self.renewBefore + ' must be shorter than lifetime ' + self.lifetime",
    )
    .at(".renewBefore")
    .transform(schema);
}

/// Returns the rule that a new type of the Secret needs a new name, because the type of a Secret can't change. The rule
/// is one of the whole object, because the default name of the Secret is the name of the object.
pub(super) fn type_with_name() -> ValidationRule {
    let name =
        |object: &str| format!("(has({object}.spec.secret.name) ? {object}.spec.secret.name : {object}.metadata.name)");
    ValidationRule {
        rule: format!("self.spec.secret.type == oldSelf.spec.secret.type || {} != {}", name("self"), name("oldSelf")),
        message: Some("a Secret's type can't change: set secret.name to a new name too".to_owned()),
        field_path: Some(".spec.secret.type".to_owned()),
        ..ValidationRule::default()
    }
}

/// Observed state of the VideoAccessToken.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct VideoAccessTokenStatus {
    /// The `metadata.generation` that this status is based on. -1 until the operator has processed the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Issuing and Stalled; Overprivileged while the token permits more than was requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The provider, as kind/name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub provider: Option<String>,
    /// Name of the Secret that stores the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// The resourceVersion of the Secret after the operator's last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_resource_version: Option<String>,
    /// Time at which the token was requested.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub issued_at: Option<Timestamp>,
    /// Expiry of the token.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub expires_at: Option<Timestamp>,
    /// Time at which the next renewal is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub renew_at: Option<Timestamp>,
    /// Number of tokens issued for this object.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub issuances: i64,
    /// Number of failed attempts since the last success.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed_attempts: i64,
    /// `issuedAt` of the token for which the workloads were last restarted, or of the first token if none was
    /// restarted. Equal to `issuedAt` if no restart is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub restarted_for: Option<Timestamp>,
    /// Time of the next attempt with the account. Set while the operator stops all calls of the account, because
    /// its credential was rejected or the permitted number of logins is used up.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub held_until: Option<Timestamp>,
    /// The last failed attempt, if no attempt has succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// A failed attempt to issue a token.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// Time of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub time: Option<Timestamp>,
    /// The failure class, which decides the retry: Transient, Throttled, Configuration, Denied or Credential.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub class: String,
    /// Cause of the failure, in one CamelCase word.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Description of the failure.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// The request ID of the token API, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub request_id: Option<String>,
    /// Time at which the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub next_attempt_at: Option<Timestamp>,
}
