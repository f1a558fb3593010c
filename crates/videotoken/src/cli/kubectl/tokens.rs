//! VideoAccessTokens with only the fields that a row and a renewal need.

use super::error::CliError;
use super::session::Session;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta};
use kube::{Api, ResourceExt as _};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use videotoken_api::video_access_token::{VideoAccessToken, VideoAccessTokenStatus};
use videotoken_api::{GROUP, VERSION, names};
use videotoken_core::summary::TokenSummary;
use videotoken_core::summary::waits::{self, Waits};
use videotoken_providers::clock::Timestamp;
use videotoken_runtime::slim_resource;

/// Name of the resource in the API.
pub(super) const RESOURCE: &str = "videoaccesstokens.videotoken.dev";

/// Objects on one page of a list, as in kubectl.
const PAGE: u32 = 500;

/// A VideoAccessToken. Its deserialization never fails: a field that can't be read counts as absent, so that one invalid
/// object doesn't hide the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct Token {
    meta: ObjectMeta,
    /// Summary.
    pub(super) row: TokenSummary,
    /// Status.
    pub(super) status: VideoAccessTokenStatus,
    /// Last requested renewal.
    pub(super) renew_requested_at: Option<String>,
}

impl Token {
    /// Returns namespace and name.
    pub(super) fn key(&self) -> (String, String) {
        (self.row.namespace.clone(), self.row.name.clone())
    }
}

slim_resource!(Token, VideoAccessToken, meta, metadata_only: false);

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// Metadata without the fields that no command uses, such as managedFields.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Wire> for Token {
    fn from(wire: Wire) -> Self {
        let Wire { metadata: meta, spec, status } = wire;
        let status: VideoAccessTokenStatus = serde_json::from_value(status).unwrap_or_default();
        let text = |path: &str| spec.pointer(path).and_then(Value::as_str);
        let mut row = TokenSummary::from_status(&status, spec["suspend"] == true);
        row.namespace = meta.namespace.clone().unwrap_or_default();
        row.name = meta.name.clone().unwrap_or_default();
        row.created_at = meta.creation_timestamp.as_ref().and_then(|at| Timestamp::from_timestamp(at.0.as_second(), 0));
        if row.provider.is_empty() {
            let kind = text("/providerRef/kind").unwrap_or("TokenProvider");
            row.provider = format!("{kind}/{}", text("/providerRef/name").unwrap_or_default());
        }
        if row.secret_name.is_empty() {
            row.secret_name = text("/secret/name").map_or_else(|| row.name.clone(), str::to_owned);
        }
        let renew_requested_at = meta.annotations.and_then(|mut all| all.remove(names::RENEW_REQUESTED_AT));
        let meta = ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            generation: meta.generation,
            ..ObjectMeta::default()
        };
        Self { meta, row, status, renew_requested_at }
    }
}

impl Session {
    /// Returns the API of the selected namespaces.
    pub(super) fn tokens(&self) -> Api<Token> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Gets one object.
    pub(super) async fn token(&self, name: &str) -> Result<Token, CliError> {
        self.one_namespace()?;
        self.request("get", RESOURCE, self.tokens().get(name)).await
    }

    /// Adds the time of the next attempt to rows whose account is blocked, from the statuses of the providers that the user
    /// may read.
    pub(super) async fn add_account_waits<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a mut TokenSummary>,
        now: Timestamp,
    ) {
        let mut blocked: Vec<_> = rows.into_iter().filter(|row| waits::has_account_wait(row, now)).collect();
        if blocked.is_empty() {
            return;
        }
        let mut waits = Waits::default();
        for kind in ["TokenProvider", "ClusterTokenProvider"] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
            let list = async |api: Api<DynamicObject>| {
                self.request("list", &resource.plural, api.list(&ListParams::default())).await.ok()
            };
            // the logins of a user count in all namespaces
            let all = list(Api::all_with(self.client.clone(), &resource)).await;
            let found = match (all, &self.namespace) {
                (None, Some(namespace)) if kind == "TokenProvider" => {
                    list(Api::namespaced_with(self.client.clone(), namespace, &resource)).await
                }
                (all, _) => all,
            };
            for object in found.into_iter().flatten() {
                let status = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
                let name = format!("{kind}/{}", object.name_any());
                waits.insert(&object.namespace().unwrap_or_default(), name, status);
            }
        }
        for row in &mut blocked {
            waits.set_next_attempt(row, now);
        }
    }

    /// Calls `each` for all objects that the selector selects.
    pub(super) async fn each_token(&self, selector: Option<&str>, mut each: impl FnMut(Token)) -> Result<(), CliError> {
        let api = self.tokens();
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = selector.map(str::to_owned);
        loop {
            let page = self.request("list", RESOURCE, api.list(&params)).await?;
            page.items.into_iter().for_each(&mut each);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params.continue_token = Some(more),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slim_object_reads_as_the_whole_one_does() {
        let times = json!({"issuedAt": "2026-01-02T03:04:05Z", "expiresAt": "2026-01-02T13:04:05Z", "failedAttempts": 1,
            "secretName": "s", "provider": "ClusterTokenProvider/q", "lastFailure": {"reason": "Timeout"}});
        for status in [json!({}), times] {
            for spec in [
                json!({"providerRef": {"name": "p"}, "scope": {}}),
                json!({"providerRef": {"kind": "ClusterTokenProvider", "name": "p"}, "scope": {}, "suspend": true,
                    "secret": {"name": "t"}}),
            ] {
                let object = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "spec": spec,
                    "metadata": {"namespace": "a", "name": "b", "creationTimestamp": "2026-01-02T03:04:05Z"},
                    "status": status});
                let whole: VideoAccessToken = serde_json::from_value(object.clone()).unwrap();
                let slim: Token = serde_json::from_value(object).unwrap();
                assert_eq!(slim.row, TokenSummary::from(&whole));
            }
        }
    }

    #[test]
    fn an_odd_object_is_shown_all_the_same() {
        for (spec, status) in
            [(json!(null), json!(null)), (json!({"providerRef": 5}), json!({"conditions": 7})), (json!([]), json!("x"))]
        {
            let object = json!({"metadata": {"namespace": "a", "name": "b"}, "spec": spec, "status": status});
            let token: Token = serde_json::from_value(object).unwrap();
            assert_eq!(token.key(), ("a".to_owned(), "b".to_owned()));
        }
    }
}
