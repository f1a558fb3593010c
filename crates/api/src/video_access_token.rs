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
use super::{token_api, wire_time};
use crate::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, transform::Transform};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which token to keep fresh, and where.
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
#[schemars(transform = token_api::rules, transform = renewal, transform = untrusted)]
pub struct VideoAccessTokenSpec {
    /// The provider that issues.
    pub provider_ref: ProviderRef,
    /// What the token may do.
    pub scope: Scope,
    /// How long a token to ask for, such as 12h; only where the provider's API takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<GoDuration>,
    /// Renew this long before the token expires. Default: a third of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<GoDuration>,
    /// Renew when this share of the token's life is left, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,
    /// The Secret that holds the token.
    #[serde(default)]
    pub secret: SecretSpec,
    /// Workloads of this namespace that are restarted when the token has changed, for those that read it only when
    /// they start. Each must carry the label `videotoken.dev/restart-on-renewal: "true"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub rollout_restart: Vec<WorkloadRef>,
    /// Stops all calls for this object; its token is left to expire. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

/// Names a provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRef {
    /// TokenProvider (default) or ClusterTokenProvider.
    #[serde(default)]
    pub kind: ProviderKind,
    /// Its name.
    #[schemars(transform = object_name)]
    pub name: String,
}

/// The kinds of provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum ProviderKind {
    /// One of the object's namespace.
    #[default]
    TokenProvider,
    /// One of the cluster.
    ClusterTokenProvider,
    /// A word of another version of this API.
    #[serde(untagged)]
    Other(String),
}

impl ProviderKind {
    /// The kind's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TokenProvider => "TokenProvider",
            Self::ClusterTokenProvider => "ClusterTokenProvider",
            Self::Other(word) => word,
        }
    }
}

/// When to renew, as a spec says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewBefore {
    /// It doesn't: a third of the token's real life before it expires.
    Default,
    /// This long before the token expires; at least 1 s.
    Before(Duration),
    /// When this share of the token's real life is left; 1 to 99.
    Percentage(u8),
}

impl VideoAccessTokenSpec {
    /// What this spec asks of `provider`. Checks again what the CRD's rules check, since an older CRD may have stored
    /// the object.
    pub fn request(&self, provider: &ProviderSpec) -> Result<TokenRequest, FieldError> {
        let scope = self.scope.typed()?;
        let account = provider.account().map_err(|error| token_api::blame_provider(&error))?;
        account.request(scope, self.lifetime.as_ref())
    }

    /// When to renew. Whether it is shorter than the token's life only the token tells.
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

    /// The workloads to restart when the token has changed.
    pub fn workloads(&self) -> Result<Vec<Workload>, FieldError> {
        let named = self.rollout_restart.iter().enumerate();
        named.map(|(n, workload)| workload.workload(&format!("spec.rolloutRestart[{n}]"))).collect()
    }
}

impl VideoAccessToken {
    /// The Secret's name: `spec.secret.name`, else the object's own.
    pub fn secret_name(&self) -> &str {
        self.spec.secret.name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

const NOT_BOTH: &str = "set renewBefore or renewBeforePercentage, not both";

/// A transform: what holds for renewal whatever the scope.
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

/// A Secret's type can't change, so a new type needs a new Secret. A rule of the whole object, since the Secret's name
/// is the object's own by default.
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

/// What became of it. A shadow of the Secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct VideoAccessTokenStatus {
    /// The `metadata.generation` that this status is about; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Issuing and Stalled; Overprivileged while the token may do more than was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The provider, as kind/name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub provider: Option<String>,
    /// The Secret that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// That Secret's resourceVersion after the operator's last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_resource_version: Option<String>,
    /// When the token was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub issued_at: Option<Timestamp>,
    /// When the token expires.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub expires_at: Option<Timestamp>,
    /// When it will be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub renew_at: Option<Timestamp>,
    /// How many tokens were issued for this object.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub issuances: i64,
    /// How many attempts failed since the last that did not.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed_attempts: i64,
    /// When the token was asked for that `spec.rolloutRestart` was last restarted for, or that was there before the
    /// first restart. Equal to `issuedAt`: no restart is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub restarted_for: Option<Timestamp>,
    /// While the whole account is held back, since its credential was refused or as many logins were made as may be: when
    /// the next attempt with it is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub held_until: Option<Timestamp>,
    /// The last failed attempt, while nothing has succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// A failed attempt to issue.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub time: Option<Timestamp>,
    /// What it means for the next attempt: Transient, Throttled, Configuration, Denied or Credential.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub class: String,
    /// Why, in one CamelCase word.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// What happened.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// The provider's id of the request, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub request_id: Option<String>,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub next_attempt_at: Option<Timestamp>,
}
