//! Azure Video Indexer's classic Authorization API: a GET for each kind of token, the subscription key in a header.
//!
//! Source: the API's reference, `Get Account Access Token` and its siblings. A success is the token alone, as a JSON
//! string or as bare text; it lives an hour.

use super::http::{Answer, Call, Http};
use super::keyed::{Exchange, Keyed, KeyedAccount, below, issued};
use super::{Class, IssueError, Issued, Issuer};
use crate::api::provider::SecretKeyRef;
use crate::api::request::{FieldError, TokenRequest};
use crate::api::video_indexer_classic::VideoIndexerClassicAccount;
use crate::clock::Timestamp;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde_json::Value;
use std::sync::Arc;
use url::Url;

const SUBSCRIPTION_KEY: HeaderName = HeaderName::from_static("ocp-apim-subscription-key");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// One account.
pub struct VideoIndexerClassic {
    endpoint: Url,
    location: String,
    account_id: String,
    key: SecretString,
}

impl KeyedAccount for VideoIndexerClassicAccount {
    fn public_hosts(&self) -> &'static [&'static str] {
        &["api.videoindexer.ai", "api.videoindexer.ai.azure.us"]
    }

    fn endpoint(&self) -> (&'static str, &str) {
        ("spec.videoIndexerClassic.endpoint", &self.endpoint)
    }

    fn credentials(&self) -> Vec<(&'static str, &SecretKeyRef)> {
        vec![("spec.videoIndexerClassic.subscriptionKeyRef", &self.subscription_key_ref)]
    }

    fn issuer(&self, endpoint: Url, secrets: Vec<SecretString>, http: Http) -> Result<Arc<dyn Issuer>, FieldError> {
        let (location, account_id) = (self.location.clone(), self.account_id.clone());
        let key = secrets.into_iter().next().unwrap_or_default();
        Ok(Keyed::issuer(VideoIndexerClassic { endpoint, location, account_id, key }, http))
    }
}

impl VideoIndexerClassic {
    fn url(&self, request: &TokenRequest) -> Url {
        let field = |name: &str| request.fields.get(name).and_then(Value::as_str);
        let account = ["Auth", self.location.as_str(), "Accounts", self.account_id.as_str()];
        let narrowed = match (field("projectId"), field("videoId")) {
            (Some(project), _) => Some(["Projects", project]),
            (None, Some(video)) => Some(["Videos", video]),
            (None, None) => None,
        };
        let mut path: Vec<&str> = match request.operation {
            "Get-User-Access-Token" => vec!["Auth", self.location.as_str(), "Users", "me"],
            _ => account.into_iter().chain(narrowed.into_iter().flatten()).collect(),
        };
        let permission = field("permission");
        path.push(if permission.is_some() { "AccessTokenWithPermission" } else { "AccessToken" });
        let mut url = below(&self.endpoint, path);
        let edit = request.fields.get("allowEdit").and_then(Value::as_bool).unwrap_or_default();
        let (name, value) = match permission {
            Some(permission) => ("permission", permission),
            None => ("allowEdit", if edit { "true" } else { "false" }),
        };
        url.query_pairs_mut().append_pair(name, value);
        url
    }
}

impl Exchange for VideoIndexerClassic {
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError> {
        let call = Call::get(self.url(request)).secret_header(SUBSCRIPTION_KEY, &self.key);
        Ok(call.client_request_id(CLIENT_REQUEST_ID))
    }

    fn read(&self, answer: &Answer, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        if !answer.is_success() {
            return Err(answer.refusal());
        }
        let text = std::str::from_utf8(&answer.body).map_err(|_| answer.not_understood("no text"))?;
        let token = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
        // an error or a page that comes with a 200 is no token
        if token.trim_start().starts_with(['{', '[', '<', '"']) {
            let message = format!("HTTP {}: no token but {}", answer.status, answer.said());
            return Err(answer.failure(Class::Transient, "BadAnswer", message));
        }
        issued(answer, &token, None, request, now)
    }
}
