//! Tokens of Azure Video Indexer's classic Authorization API: a GET for each kind of token, with the subscription key
//! in a header.
//!
//! Source: the API's reference, `Get Account Access Token` and its siblings. A success contains only the token, as a
//! JSON string or as bare text. Its lifetime is 1 hour.

use super::api_management::{self, SUBSCRIPTION_KEY};
use super::http::{Call, ProviderResponse};
use super::keyed::{Exchange, KeyedAccount, below};
use super::provider::{Credential, Field, hosts};
use super::{Class, IssueError, Issued};
use crate::clock::Timestamp;
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde_json::Value;
use std::borrow::Cow;
use url::Url;
use videotoken_api::request::{FieldError, TokenRequest};
use videotoken_api::video_indexer_classic::VideoIndexerClassicAccount;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Issuer for one account.
pub struct VideoIndexerClassic {
    endpoint: Url,
    location: String,
    account_id: String,
    key: SecretString,
}

impl KeyedAccount for VideoIndexerClassicAccount {
    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        hosts(&["api.videoindexer.ai", "api.videoindexer.ai.azure.us"])
    }

    fn endpoint(&self) -> (Field, &str) {
        ("spec.videoIndexerClassic.endpoint".into(), self.root())
    }

    fn credentials(&self) -> Vec<Credential<'_>> {
        vec![("spec.videoIndexerClassic.subscriptionKeyRef".into(), &self.subscription_key_ref)]
    }

    fn exchange(&self, endpoint: Url, secrets: Vec<SecretString>) -> Result<Box<dyn Exchange>, FieldError> {
        let (location, account_id) = (self.location.clone(), self.account_id.clone());
        let key = secrets.into_iter().next().unwrap_or_default();
        Ok(Box::new(VideoIndexerClassic { endpoint, location, account_id, key }))
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
        let mut path: Vec<&str> = match &*request.operation {
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

    fn read(&self, answer: &ProviderResponse, request: &TokenRequest, now: Timestamp) -> Result<Issued, IssueError> {
        if answer.is_success() {
            return api_management::issued(answer, request, now);
        }
        let mut error = api_management::refusal(answer);
        // The gateway accepted the key. Only the user of the key lacks access.
        if answer.status == 401 && error_type(&answer.body).as_deref() == Some("USER_NOT_ALLOWED") {
            (error.class, error.reason) = (Class::Denied, "Forbidden".into());
            error.message = format!(
                "{}; the user whose subscription key this is needs access to account {} in {}",
                error.message, self.account_id, self.location
            );
        }
        Err(error)
    }
}

/// Returns the name of an error of Video Indexer itself. Errors of the gateway have no name.
fn error_type(body: &[u8]) -> Option<String> {
    let error: Value = serde_json::from_slice(body).ok()?;
    let name = ["ErrorType", "errorType"].iter().find_map(|name| error.get(*name)?.as_str());
    name.map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;
    use crate::clock;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::json;
    use videotoken_api::provider::ProviderSpec;
    use videotoken_api::video_access_token::VideoAccessTokenSpec;

    const ACCOUNT: &str = "/Auth/eastus/Accounts/bbbbbbbb-0000-0000-0000-000000000000";

    fn classic() -> VideoIndexerClassic {
        VideoIndexerClassic {
            endpoint: "https://api.videoindexer.ai".parse().unwrap(),
            location: "eastus".to_owned(),
            account_id: "bbbbbbbb-0000-0000-0000-000000000000".to_owned(),
            key: "0123456789abcdef0123456789abcdef".into(),
        }
    }

    fn request(scope: &Value) -> Option<TokenRequest> {
        let account = json!({"location": "eastus", "accountId": "bbbbbbbb-0000-0000-0000-000000000000",
            "subscriptionKeyRef": {"name": "s", "key": "k"}});
        let provider: ProviderSpec = serde_json::from_value(json!({"videoIndexerClassic": account})).unwrap();
        let token = json!({"providerRef": {"name": "p"}, "scope": {"videoIndexerClassic": scope}});
        serde_json::from_value::<VideoAccessTokenSpec>(token).unwrap().request(&provider).ok()
    }

    fn url(scope: &Value) -> String {
        classic().url(&request(scope).unwrap()).to_string()
    }

    #[test]
    fn each_kind_of_token_has_its_path() {
        let urls = [
            (json!({"account": {}}), format!("{ACCOUNT}/AccessToken?allowEdit=false")),
            (json!({"account": {"allowEdit": true}}), format!("{ACCOUNT}/AccessToken?allowEdit=true")),
            (
                json!({"accountWithPermission": {"permission": "MyAccessAdministrator"}}),
                format!("{ACCOUNT}/AccessTokenWithPermission?permission=MyAccessAdministrator"),
            ),
            (json!({"project": {"projectId": "5fd0"}}), format!("{ACCOUNT}/Projects/5fd0/AccessToken?allowEdit=false")),
            (json!({"video": {"videoId": "07ec"}}), format!("{ACCOUNT}/Videos/07ec/AccessToken?allowEdit=false")),
            (json!({"user": {}}), "/Auth/eastus/Users/me/AccessToken?allowEdit=false".to_owned()),
        ];
        for (scope, expected) in urls {
            assert_eq!(url(&scope), format!("https://api.videoindexer.ai{expected}"));
        }
        let below = VideoIndexerClassic { endpoint: "https://gateway.example/vi/?x=1#y".parse().unwrap(), ..classic() };
        let url = below.url(&request(&json!({"user": {}})).unwrap());
        assert_eq!(url.as_str(), "https://gateway.example/vi/Auth/eastus/Users/me/AccessToken?allowEdit=false");
    }

    #[test]
    fn the_documented_endpoints_are_public() {
        let account = VideoIndexerClassicAccount::default();
        for host in ["api.videoindexer.ai", "api.videoindexer.ai.azure.us"] {
            assert!(KeyedAccount::public_hosts(&account).iter().any(|public| public == host));
        }
    }

    #[test]
    fn a_user_who_is_not_allowed_is_no_wrong_key() {
        let gateway = r#"{"statusCode":401,"message":"Access denied due to invalid subscription key."}"#;
        let refused = r#"{"ErrorType":"USER_NOT_ALLOWED","Message":"User not allowed access account 'a'."}"#;
        let newer = r#"{"errorType":"USER_NOT_ALLOWED","message":"User not allowed access account 'a'."}"#;
        for (body, expected) in [
            (gateway, (Class::Credential, "Unauthorized")),
            (refused, (Class::Denied, "Forbidden")),
            (newer, (Class::Denied, "Forbidden")),
            ("", (Class::Credential, "Unauthorized")),
        ] {
            let error = read(401, &HeaderMap::new(), body.as_bytes()).unwrap_err();
            assert_eq!((error.class, &*error.reason), expected, "{error}");
        }
    }

    fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Issued, IssueError> {
        let now = clock::now().wall;
        let answer = ProviderResponse::new(status, headers, body.to_vec(), now, now, Redactor::default());
        classic().read(&answer, &request(&json!({"account": {}})).unwrap(), now)
    }

    proptest! {
        /// Checks that every ID in a spec stays one segment at its position in the path.
        #[test]
        fn no_id_leaves_its_place_in_the_path(id in prop_oneof!["\\PC{1,20}", "[./%2eE\t\n\r\\\\?#a]{1,8}"]) {
            if let Some(request) = request(&json!({"video": {"videoId": id}})) {
                let url = classic().url(&request);
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                let [.., videos, segment, "AccessToken"] = segments[..] else { panic!("{url}") };
                prop_assert_eq!((segments.len(), videos), (7, "Videos"));
                prop_assert_eq!(percent_decoded(segment), id);
                prop_assert_eq!(url.query(), Some("allowEdit=false"));
            }
        }

        #[test]
        fn p13_any_answer_gives_a_token_or_a_classed_error(
            status in 100u16..600,
            retry_after in "\\PC{0,20}",
            media_type in prop_oneof!["application/json", "text/plain", "text/html", "\\PC{0,20}"],
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "\\PC{0,60}".prop_map(String::into_bytes),
                "\\PC{0,60}".prop_map(|token| json!(token).to_string().into_bytes()),
                "\\PC{0,60}".prop_map(|m| json!({"ErrorType": "USER_NOT_ALLOWED", "Message": m}).to_string().into_bytes()),
                "(Try again in|retry after|replenished in) [0-9:.]{0,30} (seconds|days)?".prop_map(String::into_bytes),
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
                    prop_assert!(!error.reason.is_empty() && error.message.len() < 600, "{}", error);
                    prop_assert!(error.retry_after.is_none_or(|wait| wait <= super::super::http::MAX_RETRY_AFTER));
                }
            }
        }
    }

    fn percent_decoded(segment: &str) -> String {
        let mut pieces = segment.split('%');
        let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
        for piece in pieces {
            bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
            bytes.extend_from_slice(&piece.as_bytes()[2..]);
        }
        String::from_utf8(bytes).unwrap()
    }
}
