//! Declared APIs: each platform of the emulator with its declaration, and what becomes of its answers.

use super::keyed::declared;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Call, Emulator as _, Fault, Platforms, Serving, platform_example as example};
use testkit::tls::CertificateAuthority;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::TokenRequest;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_providers::{Class, IssueError, Issued, Issuer};

/// The emulator, and an issuer for one platform.
struct Stand {
    serving: Serving<Platforms>,
    issuer: Arc<dyn Issuer>,
    provider: ProviderSpec,
}

fn key(key: &str) -> Value {
    json!({"name": "keys", "key": key})
}

fn keys() -> Value {
    json!({"api-token": example::API_TOKEN, "api-key": example::API_KEY, "id": example::CLIENT_ID,
        "secret": example::CLIENT_SECRET, "admin": example::ADMIN_SECRET, "username": example::USERNAME,
        "password": example::PASSWORD, "refresh": example::REFRESH_TOKEN})
}

impl Stand {
    /// `account` is the declaration, with ENDPOINT in place of the emulator's URL; `wrong` goes over the keys.
    async fn start(account: &Value, wrong: &Value) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Arc::new(CertificateAuthority::generate().unwrap());
        let serving = Serving::start(Platforms::furnished().unwrap(), &ca).await.unwrap();
        let account = account.to_string().replace("ENDPOINT", &serving.url());
        let account: Value = serde_json::from_str(&account).unwrap();
        let provider: ProviderSpec = serde_json::from_value(json!({"http": account})).unwrap();
        let mut keys = keys();
        keys.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let issuer = declared(&provider, &keys, &serving.ca_pem());
        Self { serving, issuer, provider }
    }

    fn request(&self, parameters: &Value, lifetime: Option<&str>) -> TokenRequest {
        let spec = json!({"providerRef": {"name": "p"}, "scope": {"http": {"parameters": parameters}},
            "lifetime": lifetime});
        let spec: VideoAccessTokenSpec = serde_json::from_value(spec).unwrap();
        spec.request(&self.provider).unwrap()
    }

    async fn issue(&self, parameters: &Value, lifetime: Option<&str>) -> Result<Issued, IssueError> {
        self.issuer.issue(&self.request(parameters, lifetime)).await
    }

    fn last(&self) -> Arc<Call> {
        self.serving.control().requests().last().unwrap().call.clone()
    }

    fn calls(&self) -> u64 {
        self.serving.control().counters().requests
    }
}

/// Declaration, wrong keys, parameters, lifetime, and the lifetime in seconds that the token has.
type Platform = (&'static str, Value, Value, Value, Option<&'static str>, i64);

#[allow(clippy::too_many_lines)] // a table
fn platforms() -> Vec<Platform> {
    let oauth = |more: Value| {
        let mut oauth =
            json!({"tokenUrl": "ENDPOINT/oauth2/token", "clientIdRef": key("id"), "clientSecretRef": key("secret")});
        oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({
            "url": "ENDPOINT/v1", "auth": {"oauth2": oauth}, "parameters": {"room": {}},
            "request": {"path": "/rooms/{{ room }}/tokens"},
            "response": {"token": {"json": "$.token"}, "expires": {"timestamp": "$.expiresOn"}},
        })
    };
    let stream = format!("/client/v4/accounts/{}/stream/{{{{ video }}}}/token", example::ACCOUNT);
    vec![
        (
            "cloudflare",
            json!({
                "url": "ENDPOINT", "auth": {"bearer": key("api-token")}, "parameters": {"video": {"pattern": "[0-9a-f]{32}"}},
                "request": {"path": stream, "json": {"exp": "{{ expires_at | unix }}"}},
                "response": {"token": {"json": "$.result.token"}, "expires": {"jwt": {}},
                    "success": {"json": "$.success", "equals": true},
                    "failures": [{"status": [403], "json": "$.errors[0].code", "equals": 10000, "class": "Credential"}]},
                "lifetime": {"max": "24h"},
            }),
            json!({"api-token": "a-token-of-nobody"}),
            json!({"video": example::VIDEO}),
            Some("12h"),
            43_200,
        ),
        (
            "api.video",
            json!({
                "url": "ENDPOINT", "auth": {"none": {}},
                "request": {"path": "/auth/api-key", "json": {"apiKey": {"secretRef": key("api-key")}}},
                "response": {"token": {"json": "$.access_token"}, "expires": {"seconds": "$.expires_in"},
                    "values": {"refreshToken": {"json": "$.refresh_token"}},
                    "failures": [{"status": [400], "json": "$.type", "matches": ".*/authentication-.*", "class": "Credential"}]},
            }),
            json!({"api-key": "a-key-of-nobody"}),
            json!({}),
            None,
            3600,
        ),
        (
            "brightcove",
            json!({
                "url": "ENDPOINT/v4", "auth": {"basic": {"usernameRef": key("id"), "passwordRef": key("secret")}},
                "request": {"path": "/access_token", "form": {"grant_type": "client_credentials"}},
                "response": {"token": {"json": "$.access_token"}, "expires": {"seconds": "$.expires_in"}},
            }),
            json!({"secret": "a-secret-of-nobody"}),
            json!({}),
            None,
            300,
        ),
        (
            "kaltura",
            json!({
                "url": "ENDPOINT/api_v3", "auth": {"none": {}}, "parameters": {"user": {}},
                "request": {"path": "/service/session/action/start", "form": {"secret": {"secretRef": key("admin")},
                    "userId": "{{ user }}", "type": 0, "partnerId": 102, "expiry": "{{ lifetime }}", "format": 1}},
                "response": {"token": {"json": "$"}, "expires": {"asked": {}},
                    "failures": [{"json": "$.code", "equals": "START_SESSION_ERROR", "class": "Credential"},
                        {"json": "$.objectType", "equals": "KalturaAPIException", "class": "Configuration"}]},
                "lifetime": {"max": "24h", "default": "2h"},
            }),
            json!({"admin": "a-secret-of-nobody"}),
            json!({"user": "viewer-1"}),
            None,
            7200,
        ),
        (
            "ant media",
            json!({
                "url": "ENDPOINT", "auth": {"header": {"name": "Authorization", "prefix": "Bearer ", "secretRef": key("api-token")}},
                "parameters": {"stream": {}},
                "request": {"method": "GET", "path": "/rest/v2/broadcasts/{{ stream }}/jwt-token",
                    "query": {"expireDate": "{{ expires_at | unix }}", "type": "play"}},
                "response": {"token": {"json": "$.tokenId"}, "expires": {"epoch": "$.expireDate"},
                    "failures": [{"json": "$.success", "equals": false, "class": "Configuration"},
                        {"status": [403], "class": "Credential"}]},
                "lifetime": {"max": "24h"},
            }),
            json!({"api-token": "a-token-of-nobody"}),
            json!({"stream": "lobby"}),
            None,
            3600,
        ),
        (
            "frigate",
            json!({
                "url": "ENDPOINT/api", "auth": {"none": {}},
                "request": {"path": "/login", "json": {"user": {"secretRef": key("username")}, "password": {"secretRef": key("password")}}},
                "response": {"token": {"cookie": "frigate_token"}, "expires": {"jwt": {}}, "lockout": true},
            }),
            json!({"password": "last year's password"}),
            json!({}),
            None,
            86_400,
        ),
        (
            "rooms",
            oauth(json!({"grant": "client_credentials", "scopes": ["rooms"]})),
            json!({"secret": "a-secret-of-nobody"}),
            json!({"room": "lobby"}),
            None,
            7200,
        ),
        (
            "rooms, client in the form",
            oauth(json!({"grant": "client_credentials", "send": "body"})),
            json!({"secret": "a-secret-of-nobody"}),
            json!({"room": "lobby"}),
            None,
            7200,
        ),
        (
            "rooms, a refresh token that stays",
            oauth(json!({"grant": "refresh_token", "refreshTokenRef": key("refresh")})),
            json!({"refresh": "a-refresh-token-of-nobody"}),
            json!({"room": "lobby"}),
            None,
            7200,
        ),
        (
            "rooms, a user",
            oauth(json!({"grant": "password", "usernameRef": key("username"), "passwordRef": key("password")})),
            json!({"password": "last year's password"}),
            json!({"room": "lobby"}),
            None,
            7200,
        ),
    ]
}

#[tokio::test]
async fn each_platform_issues_a_token_that_lives_as_it_says() {
    for (platform, account, _, parameters, lifetime, expected) in platforms() {
        let stand = Stand::start(&account, &json!({})).await;
        let issued = stand.issue(&parameters, lifetime).await.unwrap_or_else(|error| panic!("{platform}: {error}"));
        let truth = stand.serving.control().knows(issued.token.expose_secret()).expect("the token as it was issued");
        let life = (issued.expires_at - issued.issued_at).num_seconds();
        assert!((expected - 1..=expected).contains(&life), "{platform}: {life}");
        assert!((truth.expires_at - issued.expires_at).num_seconds().abs() <= 1, "{platform}");
        assert!(!issued.expiry_assumed, "{platform}");
        let before = stand.calls();
        stand.issue(&parameters, lifetime).await.unwrap();
        assert_eq!(stand.calls(), before + 1, "{platform}: one call, and an access token is kept");
    }
}

#[tokio::test]
async fn wrong_keys_of_each_platform_are_the_credentials_fault_and_no_error_shows_one() {
    for (platform, account, wrong, parameters, lifetime, _) in platforms() {
        let stand = Stand::start(&account, &wrong).await;
        let error = stand.issue(&parameters, lifetime).await.unwrap_err();
        assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{platform}: {error}");
        let stand = Stand::start(&account, &json!({})).await;
        let path = stand.serving.url();
        stand.serving.control().play(Fault::EchoRequest);
        let shown = format!("{:?}", stand.issue(&parameters, lifetime).await.unwrap_err());
        assert!(!path.is_empty());
        let secrets = keys();
        let secrets = secrets.as_object().unwrap().values().filter_map(Value::as_str);
        for secret in secrets.filter(|secret| stand.last().body.windows(8).any(|w| secret.as_bytes().starts_with(w))) {
            for piece in secret.as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                assert!(!shown.contains(piece), "{platform}: {piece} in {shown}");
            }
        }
    }
}

#[tokio::test]
async fn a_value_fills_one_place_of_the_request_and_no_other() {
    let account = json!({
        "url": "ENDPOINT/base/", "auth": {"header": {"name": "X-Api-Key", "secretRef": key("api-key")}},
        "parameters": {"a": {"pattern": ".{1,40}"}},
        "request": {"path": "/x/{{ a }}/y", "query": {"q": "{{ a }}", "fixed": "1"},
            "headers": [{"name": "X-A", "value": "a={{ a }}"}, {"name": "X-S", "secretRef": key("secret")}],
            "json": {"a": "{{ a }}", "deep": [{"b": "<{{ a }}>"}], "n": "{{ lifetime }}", "id": "{{ uuid() }}"}},
        "response": {"token": {"text": {}}, "expires": {"after": "1h"}},
        "lifetime": {"default": "30m"},
    });
    let stand = Stand::start(&account, &json!({})).await;
    for value in ["plain", "a b&c=d?e#f", "%2e%2e", "\"},{\"x\":\"", "ä", "..x", "a;b"] {
        let error = stand.issue(&json!({"a": value}), None).await.unwrap_err();
        assert_eq!(error.class, Class::Configuration, "{value}: not found");
        let call = stand.last();
        let path: Vec<_> = call.path().split('/').collect();
        assert_eq!((path.len(), path[1], path[2], path[4]), (5, "base", "x", "y"), "{value}: {}", call.path());
        assert_eq!((call.query("q").as_deref(), call.query("fixed").as_deref()), (Some(value), Some("1")));
        assert_eq!(call.headers.get("x-a").unwrap().as_bytes(), format!("a={value}").as_bytes());
        assert_eq!(
            (call.header("x-s"), call.header("x-api-key")),
            (Some(example::CLIENT_SECRET), Some(example::API_KEY))
        );
        let body = call.json().unwrap();
        let id = body["id"].as_str().unwrap().to_owned();
        assert_eq!(body, json!({"a": value, "deep": [{"b": format!("<{value}>")}], "n": 1800, "id": id}));
        assert!(uuid::Uuid::parse_str(&id).is_ok());
    }
    let before = stand.calls();
    for value in [".", "..", "a/b", "a\rb", "a\tb"] {
        let error = stand.issue(&json!({"a": value}), None).await.unwrap_err();
        assert_eq!((error.class, error.unsent), (Class::Configuration, true), "{value}: {error}");
        assert!(error.message.contains("spec.http.request.path"), "{value}: {error}");
    }
    assert_eq!(stand.calls(), before, "nothing was sent");
}

#[tokio::test]
async fn no_value_smuggles_a_header() {
    let account = json!({
        "url": "ENDPOINT", "auth": {"none": {}}, "parameters": {"a": {"pattern": "(?s).{1,64}"}},
        "request": {"path": "/x", "headers": [{"name": "X-A", "value": "{{ a }}"}, {"name": "X-S", "secretRef": key("secret")}]},
        "response": {"token": {"text": {}}, "expires": {"after": "1h"}},
    });
    let stand = Stand::start(&account, &json!({})).await;
    for value in ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\r\n\r\nGET /admin HTTP/1.1", "a\0b", "a\u{7f}b"] {
        let error = stand.issue(&json!({"a": value}), None).await.unwrap_err();
        assert_eq!((error.class, error.unsent), (Class::Configuration, true), "{value:?}: {error}");
        assert!(error.message.contains("spec.http.request.headers[0].value"), "{value:?}: {error}");
    }
    assert_eq!(stand.calls(), 0, "nothing was sent");
}

#[tokio::test]
async fn an_access_token_that_the_api_rejects_is_fetched_anew() {
    let (_, account, ..) = platforms().swap_remove(6);
    let stand = Stand::start(&account, &json!({})).await;
    let parameters = json!({"room": "lobby"});
    stand.issue(&parameters, None).await.unwrap();
    stand.serving.forget_bearers();
    let error = stand.issue(&parameters, None).await.unwrap_err();
    assert_eq!((error.class, &*error.reason), (Class::Transient, "AccessTokenRefused"), "{error}");
    stand.issue(&parameters, None).await.unwrap();
    let paths: Vec<_> = stand.serving.control().requests().iter().map(|seen| seen.call.path().to_owned()).collect();
    let (oauth, rooms) = ("/oauth2/token", "/v1/rooms/lobby/tokens");
    assert_eq!(paths, [oauth, rooms, rooms, oauth, rooms]);
}

#[tokio::test]
async fn a_wait_is_read_under_the_declared_name() {
    let (_, mut account, ..) = platforms().swap_remove(1);
    account["response"]["retryAfter"] = "X-RateLimit-Retry-After".into();
    account["response"]["cooldown"] = "5s".into();
    let stand = Stand::start(&account, &json!({})).await;
    for (headers, wait) in [(&[("x-ratelimit-retry-after", "17")][..], 17), (&[], 5), (&[("retry-after", "9")], 9)] {
        stand.serving.control().play_once(Fault::status(429, "{}", headers));
        let error = stand.issue(&json!({}), None).await.unwrap_err();
        assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(wait))), "{error}");
    }
}

#[tokio::test]
async fn a_login_has_an_identifier_without_the_user() {
    let (_, account, ..) = platforms().swap_remove(5);
    let stand = Stand::start(&account, &json!({})).await;
    let login = stand.issuer.login().expect("a login");
    assert!(login.len() == 32 && !login.contains(example::USERNAME), "{login}");
    let (_, account, ..) = platforms().swap_remove(0);
    assert_eq!(Stand::start(&account, &json!({})).await.issuer.login(), None);
}
