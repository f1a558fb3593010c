//! The status of both provider kinds.

use super::condition::Condition;
use super::schema::{conditions, date_time};
use super::wire_time;
use crate::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of a provider.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ProviderStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Stalled and what else is worth a warning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Which of the provider types it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub type_: Option<String>,
    /// The account, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub account: Option<String>,
    /// How many VideoAccessTokens name this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens: Option<i64>,
    /// When a token was last issued; told anew every 10 min at most.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub last_issued_at: Option<Timestamp>,
    /// When the credential itself expires, where it tells: a certificate, or an API token that is a JWT.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub credentials_expire_at: Option<Timestamp>,
    /// What the provider said of the credential. A restarted operator goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,
    /// No token is asked for before this: the provider throttles the account.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub throttled_until: Option<Timestamp>,
    /// Where failed logins lock a user at the provider: when logins were tried with a credential that had not worked
    /// yet, and who logged in, as a hash. Each is written before it is made. In 15 min 3 are made at most, and a fourth
    /// for a provider whose login has worked before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    pub login_attempts: Vec<String>,
    /// Where failed logins lock a user at the provider: which user of which host this provider has logged in, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub proven_login: Option<String>,
}

/// What the provider said of a credential.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Tells one version of what the provider object refers to from another.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// A token was issued with it.
    #[serde(default)]
    pub accepted: bool,
    /// It was rejected, and is tried again at this time, or when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire_time::option")]
    #[schemars(schema_with = "date_time")]
    pub next_attempt_at: Option<Timestamp>,
}
