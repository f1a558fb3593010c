//! The status of both provider kinds.

use super::condition::Condition;
use super::schema::{conditions, date_time};
use super::wire_time;
use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Observed state of a provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ProviderStatus {
    /// The `metadata.generation` that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Stalled and conditions for warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The provider type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub type_: Option<String>,
    /// The account, in short form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub account: Option<String>,
    /// Number of VideoAccessTokens that name this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens: Option<i64>,
    /// Time of the last issuance. Updated at most every 10 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub last_issued_at: Option<Timestamp>,
    /// Expiry of the credential itself, if known: a certificate, or an API token that is a JWT.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub credentials_expire_at: Option<Timestamp>,
    /// Last response of the token API to the credential. The operator uses this value after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,
    /// The operator requests no token before this time, because the token API throttles the account.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub throttled_until: Option<Timestamp>,
    /// Last time that the token API throttled the account although the operator had not used up `spec.limits`, because
    /// other clients use the account too. The operator then makes fewer calls, and more with each minute without a
    /// throttle. Absent when the account is back at `spec.limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_use: Option<SharedUseStatus>,
    /// Requests of VideoAccessTokens that wait for the budget. Absent unless a new request would wait longer than 30
    /// seconds. Updated at most every 30 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// Logins that the operator tried with a credential that had not worked yet, for a token API where failed logins
    /// lock a user. Each entry contains the time and a hash of the user, and is written before the login. At most 3
    /// logins are made in 16 minutes, or 4 if a login of this provider has worked before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub login_attempts: Vec<String>,
    /// Hash of the user and host of the last successful login, for a token API where failed logins lock a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub proven_login: Option<String>,
}

/// A throttle that other clients of the account caused. The operator uses these values after a restart.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedUseStatus {
    /// Time of the throttle.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub throttled_at: Option<Timestamp>,
    /// Rate of the operator's calls before the throttle, rounded.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub calls_per_hour: i64,
    /// Number of such throttles before this one, at most 3. Each doubles the time until the operator uses
    /// `spec.limits` again.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3))]
    pub level: i64,
}

/// Requests that wait for the budget of an account. While more than 100 requests wait, the status of their
/// VideoAccessTokens doesn't report the wait.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Number of waiting requests.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub waiting: i64,
    /// Number of calls in the last minute.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub served_per_minute: i64,
    /// Expected time at which the last of the waiting requests is served.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub served_at: Option<Timestamp>,
    /// Time of these values.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub observed_at: Option<Timestamp>,
}

/// Response of the token API to a credential.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Identifies the version of the objects that the provider refers to.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// The token API issued a token for this credential.
    #[serde(default)]
    pub accepted: bool,
    /// The token API rejected the credential. The operator retries at this time, or when the credential changes.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub next_attempt_at: Option<Timestamp>,
}
