//! Tokens of Azure's AI services: `issueLimitedAccessToken` for features of another resource, and `issueToken` for the
//! resource itself.
//!
//! Source: Token API v1.0, and Microsoft's guide "Use limited access tokens for Face". A success contains only the JWT.

use super::api_management::{self, SUBSCRIPTION_KEY};
use super::http::{Call, ProviderResponse};
use super::keyed::{Exchange, KeyedAccount, below};
use super::provider::{Credential, Field, hosts};
use super::{IssueError, Issued};
use crate::clock::Timestamp;
use secrecy::SecretString;
use std::borrow::Cow;
use url::Url;
use videotoken_api::cognitive_services::CognitiveServicesAccount;
use videotoken_api::request::{FieldError, TokenRequest};

/// Issuer for one issuing resource.
pub struct CognitiveServices {
    endpoint: Url,
    key: SecretString,
}

impl KeyedAccount for CognitiveServicesAccount {
    /// Returns the regional endpoints and the endpoints of resources in the public cloud, the Government's cloud and
    /// China's cloud. Azure terminates the TLS connection and reads the key, for every owner of a resource.
    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        hosts(&[
            "api.cognitive.microsoft.com",
            "*.api.cognitive.microsoft.com",
            "*.cognitiveservices.azure.com",
            "*.api.cognitive.microsoft.us",
            "*.cognitiveservices.azure.us",
            "api.cognitive.azure.cn",
            "*.api.cognitive.azure.cn",
            "*.cognitiveservices.azure.cn",
        ])
    }

    fn endpoint(&self) -> (Field, &str) {
        ("spec.cognitiveServices.endpoint".into(), self.root())
    }

    fn credentials(&self) -> Vec<Credential<'_>> {
        vec![("spec.cognitiveServices.keyRef".into(), &self.key_ref)]
    }

    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError> {
        let key = secrets.into_iter().next().unwrap_or_default();
        Ok(Box::new(CognitiveServices { endpoint, key }))
    }
}

impl Exchange for CognitiveServices {
    /// Builds the call. The request's fields form the body, except `expiredTime`, which becomes the query. Without
    /// other fields there is no body.
    fn call(&self, request: &TokenRequest) -> Result<Call, IssueError> {
        let mut url = below(&self.endpoint, ["sts", "v1.0", &request.operation]);
        let mut body = request.fields.clone();
        if let Some(seconds) = body.remove("expiredTime") {
            url.query_pairs_mut().append_pair("expiredTime", &seconds.to_string());
        }
        let call = Call::post(url).secret_header(SUBSCRIPTION_KEY, &self.key);
        Ok(if body.is_empty() { call } else { call.json(&body) })
    }

    fn read(&self, answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        if answer.is_success() {
            return api_management::issued(answer, request, now);
        }
        Err(api_management::refusal(answer))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::hosts::{HostPolicy, Route};
    use super::super::http::MAX_RETRY_AFTER;
    use super::super::redact::Redactor;
    use super::*;
    use crate::clock;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::{Map, json};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn azures_own_hosts_are_public_and_no_other() {
        let policy =
            HostPolicy::guarded(&KeyedAccount::public_hosts(&CognitiveServicesAccount::default()), Arc::default());
        let hosts = [
            ("virginia.api.cognitive.microsoft.us", true),
            ("westus.api.cognitive.microsoft.com", true),
            ("api.cognitive.microsoft.com", true),
            ("chinaeast2.api.cognitive.azure.cn", true),
            ("contoso-face.cognitiveservices.azure.com", true),
            ("contoso-face.cognitiveservices.azure.us", true),
            ("contoso-face.cognitiveservices.azure.cn", true),
            ("contoso-face.cognitiveservices.azure.com.example", false),
            ("contoso-face.azure.com", false),
            ("cognitive.microsoft.com", false),
            ("gateway.contoso.example", false),
        ];
        for (host, public) in hosts {
            let url = format!("https://{host}/").parse().unwrap();
            assert_eq!(policy.admits(&url, Route::Direct).is_ok(), public, "{host}");
        }
    }

    fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Issued, IssueError> {
        let now = clock::now().wall;
        let answer = ProviderResponse::new(status, headers, body.to_vec(), now, now, Redactor::default());
        let request = TokenRequest {
            account: "cognitiveServices/westus.api.cognitive.microsoft.com".to_owned(),
            operation: "issueToken".into(),
            fields: Map::new(),
            promised_lifetime: Duration::from_mins(10),
            ends_at: None,
        };
        let endpoint = "https://westus.api.cognitive.microsoft.com".parse().unwrap();
        CognitiveServices { endpoint, key: "0123456789abcdef".into() }.read(&answer, &request, now)
    }

    proptest! {
        #[test]
        fn p13_any_answer_gives_a_token_or_a_classed_error(
            status in prop_oneof![100u16..600, Just(200), Just(403), Just(429)],
            retry_after in "\\PC{0,20}",
            media_type in prop_oneof!["application/jwt", "application/json", "text/html", "\\PC{0,20}"],
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "\\PC{0,60}".prop_map(String::into_bytes),
                "eyJ[a-zA-Z0-9_.-]{0,200}".prop_map(String::into_bytes),
                "\\PC{0,60}".prop_map(|m| json!({"error": {"code": "403", "message": m}}).to_string().into_bytes()),
                "(Out of call volume quota. )?(try again in|retry after|replenished in) [0-9:.]{0,30}( seconds| days)?"
                    .prop_map(|m| json!({"code": "429", "message": m}).to_string().into_bytes()),
            ],
        ) {
            let headers = [("retry-after", retry_after), ("content-type", media_type)].into_iter();
            let headers = headers
                .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?)))
                .collect();
            match read(status, &headers, &body) {
                Ok(issued) => {
                    prop_assert!((200..300).contains(&status));
                    prop_assert!(issued.expires_at > clock::now().wall);
                }
                Err(error) => {
                    prop_assert!(!error.reason.is_empty() && error.message.len() < 400, "{}", error);
                    prop_assert!(error.retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
                }
            }
        }
    }
}
