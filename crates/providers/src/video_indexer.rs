//! Tokens of Azure Video Indexer through Azure Resource Manager: `generateAccessToken` and its three sibling
//! operations.
//!
//! `POST {arm}/subscriptions/{id}/resourceGroups/{group}/providers/Microsoft.VideoIndexer/accounts/{name}/{operation}`
//! with JSON in the request and in the response. A [`TokenRequest`] contains the parsed operation and its body. Source:
//! Azure's REST reference for Video Indexer, api-version 2025-04-01.

mod provider;

use super::azure_auth::{EntraToken, EntraTokenSource};
use super::http::{Call, ClockSkew, Http, ProviderResponse, length};
use super::{Class, IssueError, Issued, Issuer, keyed};
use crate::clock::{self, Timestamp};
use async_trait::async_trait;
use reqwest::header::HeaderName;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use videotoken_api::request::{FieldError, TokenRequest};

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const PROVIDER: &str = "Microsoft.VideoIndexer";

/// Resource names of a Video Indexer account, in the case of the spec. Only the identity of a request is in lower case.
#[derive(Clone, Debug)]
pub struct VideoIndexerResource {
    /// URL of Azure Resource Manager.
    pub resource_manager: Url,
    /// API version, such as `2025-04-01`.
    pub api_version: String,
    /// ID of the subscription.
    pub subscription_id: String,
    /// Name of the resource group.
    pub resource_group: String,
    /// Name of the account.
    pub account_name: String,
}

impl VideoIndexerResource {
    /// Returns the scope of the Entra token.
    pub fn entra_scope(&self) -> String {
        format!("{}/.default", self.resource_manager.as_str().trim_end_matches('/'))
    }

    /// Returns the resource ID of the account.
    fn resource_id(&self) -> String {
        let Self { subscription_id, resource_group, account_name, .. } = self;
        format!(
            "/subscriptions/{subscription_id}/resourceGroups/{resource_group}/providers/{PROVIDER}/accounts/{account_name}"
        )
    }

    fn url(&self, operation: &str) -> Option<Url> {
        let mut url = self.resource_manager.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend([
            "subscriptions",
            &self.subscription_id,
            "resourceGroups",
            &self.resource_group,
            "providers",
            PROVIDER,
            "accounts",
            &self.account_name,
            operation,
        ]);
        url.query_pairs_mut().append_pair("api-version", &self.api_version);
        Some(url)
    }

    /// Rejects names that are empty or consist of dots, because such a segment changes the path of the URL.
    fn check(&self) -> Result<(), FieldError> {
        let segments = [
            ("subscriptionId", &self.subscription_id),
            ("resourceGroup", &self.resource_group),
            ("accountName", &self.account_name),
        ];
        for (field, value) in segments {
            if value.bytes().all(|b| b == b'.') {
                return Err(FieldError::new(format!("spec.videoIndexer.{field}"), "is no name"));
            }
        }
        if self.resource_manager.cannot_be_a_base() {
            return Err(FieldError::new("spec.videoIndexer.endpoints.resourceManager", "is no https URL"));
        }
        Ok(())
    }
}

/// Issuer for one Video Indexer account.
pub struct VideoIndexer {
    account: VideoIndexerResource,
    auth: Arc<EntraTokenSource>,
    http: Http,
    skew: ClockSkew,
}

impl VideoIndexer {
    /// Hosts of Azure's clouds. A namespaced provider may call only these hosts, unless the operator's administrator
    /// permits more.
    pub const PUBLIC_HOSTS: [&str; 6] = [
        "management.azure.com",
        "login.microsoftonline.com",
        "management.usgovcloudapi.net",
        "login.microsoftonline.us",
        "management.chinacloudapi.cn",
        "login.chinacloudapi.cn",
    ];

    /// Creates the issuer for an account and the identity of `auth`. The timeout of `http` limits an issuance,
    /// including the fetch of its Entra token.
    pub fn new(account: VideoIndexerResource, auth: Arc<EntraTokenSource>, http: Http) -> Result<Self, FieldError> {
        account.check()?;
        Ok(Self { account, auth, http, skew: ClockSkew::default() })
    }

    async fn call(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        let limit = self.http.timeout();
        let (begun, end) = (Instant::now(), Instant::now() + limit);
        let late = |what: String| IssueError::new(Class::Transient, "Timeout", what);
        let entra = tokio::time::timeout_at(end, self.auth.token())
            .await
            .map_err(|_| late(format!("no Entra token from {} within {}", self.auth.host(), length(limit))))??;
        let took = begun.elapsed();
        tokio::time::timeout_at(end, self.request_token(request, entra)).await.unwrap_or_else(|_| {
            let host = self.account.resource_manager.authority();
            let entras = format!("{} of them for the Entra token from {}", length(whole(took)), self.auth.host());
            let entras = if took < Duration::from_secs(1) { String::new() } else { format!(", {entras}") };
            Err(late(format!("no answer from {host} within {}{entras}", length(limit))))
        })
    }

    async fn request_token(&self, request: &TokenRequest, entra: EntraToken) -> Result<Issued, IssueError> {
        let url = self
            .account
            .url(&request.operation)
            .ok_or_else(|| IssueError::new(Class::Configuration, "BadRequest", "the resource manager is no URL"))?;
        let call = Call::post(url).bearer(&entra.token).client_request_id(CLIENT_REQUEST_ID).json(&request.fields);
        let answer = self.http.send(call).await?;
        self.skew.record(&answer);
        if answer.is_success() {
            self.auth.accepted(&entra);
            return issued(&answer, request, clock::now().wall);
        }
        Err(self.refusal(&answer, request, &entra))
    }

    /// Returns the failure for an error response, and reports to `auth` whether the API accepted the Entra token.
    fn refusal(&self, answer: &ProviderResponse, request: &TokenRequest, entra: &EntraToken) -> IssueError {
        match answer.status {
            401 if self.auth.refused(entra) => {
                let message = format!("HTTP 401: {}; the next try has a fresh Entra token", answer.said());
                return answer.failure(Class::Transient, "EntraTokenRefused", message);
            }
            // These statuses show that the API accepted the Entra token.
            402..500 => self.auth.accepted(entra),
            _ => {}
        }
        let mut error = answer.refusal();
        if answer.status == 403 && lacks_role(&answer.body) {
            error.message = format!(
                "{}; the identity needs a role with {PROVIDER}/accounts/{}/action on {}",
                error.message,
                request.operation,
                self.account.resource_id()
            );
        }
        error
    }
}

/// Returns the duration in whole seconds.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// Returns true if a 403 is due to a missing role, which Azure Resource Manager reports by these codes at any depth.
/// Policies, locks and firewalls also return 403. Source: Azure's "Troubleshoot common Azure deployment errors".
fn lacks_role(body: &[u8]) -> bool {
    const CODES: [&str; 4] = [
        "AuthorizationFailed",
        "LinkedAuthorizationFailed",
        "AuthorizationPermissionMismatch",
        "DoesNotHaveAuthorization",
    ];
    fn says(value: &Value, depth: usize) -> bool {
        match value {
            Value::Object(fields) => fields.iter().any(|(name, value)| match value {
                Value::String(code) => name.eq_ignore_ascii_case("code") && CODES.contains(&code.as_str()),
                inner => depth > 0 && says(inner, depth - 1),
            }),
            Value::Array(values) => depth > 0 && values.iter().any(|value| says(value, depth - 1)),
            _ => false,
        }
    }
    serde_json::from_slice(body).is_ok_and(|body: Value| says(&body, 6))
}

/// Returns the token in a successful response. The reference guarantees only `accessToken`, so the expiry comes from
/// the token itself.
///
/// # Errors
/// `BadAnswer` and `ExpiredToken`, both transient.
pub fn issued(answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(answer.not_understood("no JSON"));
    };
    let token = body.get("accessToken").and_then(Value::as_str).unwrap_or_default();
    keyed::issued(answer, token, None, request, now)
}

#[async_trait]
impl Issuer for VideoIndexer {
    async fn issue(&self, request: &TokenRequest) -> Result<Issued, IssueError> {
        self.call(request).await
    }

    fn clock_skew(&self) -> Option<i64> {
        self.skew.seconds()
    }

    fn credential_expires_at(&self) -> Option<Timestamp> {
        self.auth.credential_expires_at()
    }

    fn is_retried_on_demand(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, HeaderValue};
    use secrecy::ExposeSecret;
    use serde_json::Map;
    use videotoken_api::azure::Cloud;

    fn account() -> VideoIndexerResource {
        VideoIndexerResource {
            resource_manager: "https://management.azure.com".parse().unwrap(),
            api_version: "2025-04-01".to_owned(),
            subscription_id: "24237b72-8546-4da5-b204-8c3cb76dd930".to_owned(),
            resource_group: "contoso (video)/rg".to_owned(),
            account_name: "contoso-vi".to_owned(),
        }
    }

    fn request() -> TokenRequest {
        TokenRequest {
            account: "contoso-vi".to_owned(),
            operation: "generateAccessToken".into(),
            fields: Map::new(),
            promised_lifetime: Duration::from_hours(1),
            ends_at: None,
        }
    }

    fn answer(body: &[u8]) -> ProviderResponse {
        let now = clock::now().wall;
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("x-ms-request-id"), HeaderValue::from_static("id-1"))]);
        ProviderResponse::new(200, &headers, body.to_vec(), now, now, Redactor::default())
    }

    fn jwt(exp: i64) -> String {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")
    }

    #[test]
    fn the_url_has_every_name_as_one_segment() {
        assert_eq!(
            account().url("generateAccessToken").unwrap().as_str(),
            "https://management.azure.com/subscriptions/24237b72-8546-4da5-b204-8c3cb76dd930/resourceGroups/\
             contoso%20(video)%2Frg/providers/Microsoft.VideoIndexer/accounts/contoso-vi/generateAccessToken\
             ?api-version=2025-04-01"
        );
        assert_eq!(account().entra_scope(), "https://management.azure.com/.default");
        let below = VideoIndexerResource { resource_manager: "https://arm.local/base/".parse().unwrap(), ..account() };
        assert!(below.url("x").unwrap().as_str().starts_with("https://arm.local/base/subscriptions/"));
        assert_eq!(below.entra_scope(), "https://arm.local/base/.default");
    }

    #[test]
    fn the_hosts_of_every_cloud_are_public() {
        for cloud in [Cloud::Public, Cloud::UsGovernment, Cloud::China] {
            let endpoints = cloud.endpoints().unwrap();
            for endpoint in [endpoints.resource_manager, endpoints.authority] {
                assert!(VideoIndexer::PUBLIC_HOSTS.contains(&endpoint.strip_prefix("https://").unwrap()), "{endpoint}");
            }
        }
    }

    #[test]
    fn a_name_that_leaves_the_path_is_refused() {
        for name in ["", ".", ".."] {
            let error = VideoIndexerResource { resource_group: name.to_owned(), ..account() }.check().unwrap_err();
            assert_eq!(error.field, "spec.videoIndexer.resourceGroup");
        }
    }

    #[test]
    fn a_success_gives_the_token_and_its_own_expiry() {
        let exp = clock::now().wall.timestamp() + 600;
        let token = jwt(exp);
        let issued =
            issued(&answer(format!(r#"{{"accessToken":"{token}"}}"#).as_bytes()), &request(), clock::now().wall)
                .unwrap();
        assert_eq!((issued.expires_at.timestamp(), issued.expiry_assumed), (exp, false));
        assert_eq!(issued.token.expose_secret(), token);
        assert_eq!(issued.request_id.as_deref(), Some("id-1"));
    }

    #[test]
    fn p13_an_opaque_token_has_the_promised_life() {
        let issued =
            issued(&answer(br#"{"accessToken":"opaque-token-0123","other":1}"#), &request(), clock::now().wall)
                .unwrap();
        assert!(issued.expiry_assumed);
        assert_eq!((issued.expires_at - issued.issued_at).num_seconds(), 3600);
    }

    #[test]
    fn what_holds_no_token_is_a_bad_answer() {
        let bodies: [&[u8]; 10] = [
            b"",
            br#"{"accessToken":"OK"}"#,
            br#"{"accessToken":"<html>login</html>"}"#,
            b"{}",
            b"{\"accessToken\":",
            b"<html>",
            br#"{"accessToken":""}"#,
            br#"{"accessToken":null}"#,
            br#"{"accessToken":"a b"}"#,
            br#"{"accessToken":"a\u0000b"}"#,
        ];
        for body in bodies {
            let error = issued(&answer(body), &request(), clock::now().wall).unwrap_err();
            assert_eq!((error.class, &*error.reason), (Class::Transient, "BadAnswer"));
            assert_eq!(error.request_id.as_deref(), Some("id-1"));
        }
        let expired = format!(r#"{{"accessToken":"{}"}}"#, jwt(1000));
        assert_eq!(
            issued(&answer(expired.as_bytes()), &request(), clock::now().wall).unwrap_err().reason,
            "ExpiredToken"
        );
    }

    #[test]
    fn a_403_is_a_missing_role_only_where_azure_says_so() {
        for (body, expected) in [
            (r#"{"error":{"code":"AuthorizationFailed","message":"m"}}"#, true),
            (r#"{"error":{"code":"A","details":[{"code":"LinkedAuthorizationFailed"}]}}"#, true),
            (r#"{"error":{"code":"RequestDisallowedByPolicy","message":"m"}}"#, false),
            (r#"{"error":{"code":"ScopeLocked","message":"AuthorizationFailed"}}"#, false),
            ("<html>AuthorizationFailed</html>", false),
            ("", false),
        ] {
            assert_eq!(lacks_role(body.as_bytes()), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn p13_any_bytes_give_a_token_or_a_classed_error(
            status in 100u16..600,
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "\\PC{0,60}".prop_map(|token| serde_json::json!({"accessToken": token}).to_string().into_bytes()),
                (any::<i64>(), any::<bool>()).prop_map(|(exp, cut)| {
                    let body = format!(r#"{{"accessToken":"{}"}}"#, jwt(exp)).into_bytes();
                    let len = if cut { body.len() / 2 } else { body.len() };
                    body[..len].to_vec()
                }),
            ],
        ) {
            let now = clock::now().wall;
            let answer = ProviderResponse::new(status, &HeaderMap::new(), body, now, now, Redactor::default());
            match issued(&answer, &request(), now) {
                Ok(issued) => prop_assert!(issued.expires_at > now),
                Err(error) => prop_assert!(error.message.len() < 400),
            }
            prop_assert!(answer.refusal().message.len() < 400);
        }
    }
}
