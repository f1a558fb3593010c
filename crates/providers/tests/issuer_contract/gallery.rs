//! The gallery of platforms: each file of deploy/examples/platforms that declares a call, from its YAML to a token of the
//! emulator, and what becomes of each refusal that the platform documents.

use super::keyed::declared;
use chrono::Utc;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use testkit::emulator::{Emulator as _, Fault, Limit, Platforms, Serving, platform_example as example};
use testkit::tls::CertificateAuthority;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::provider_types::Account;
use videotoken_api::request::TokenRequest;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_providers::declared_http::{Declared, saved_answer};
use videotoken_providers::{Class, IssueError, Issued};

/// Files whose platform the emulator serves, and the number of further values of their answers.
const EMULATED: [(&str, usize); 13] = [
    ("ant-media", 0),
    ("api-video", 1),
    ("brightcove", 0),
    ("cloudflare-stream-api", 0),
    ("daily-api", 0),
    ("eagle-eye", 1),
    ("frigate-login", 0),
    ("kaltura", 0),
    ("milestone-xprotect", 0),
    ("nest", 2),
    ("verkada", 0),
    ("verkada-streaming", 0),
    ("zoom", 0),
];

/// Files that are not held against the emulator, and why.
const ELSEWHERE: [(&str, &str); 1] =
    [("azure-communication-services", "Entra issues its bearer token: tests/capability/declared_http.rs has both")];

/// Paths of the emulator that differ from the platform's: what replaces the start of the path of a file.
const MOVED: [(&str, &str, &str); 3] = [("ant-media", "/live", ""), ("eagle-eye", "", "/een"), ("nest", "", "/google")];

fn folder() -> String {
    format!("{}/../../deploy/examples/platforms", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the objects of a file.
fn objects(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{}/{file}.yaml", folder())).unwrap();
    text.split("\n---\n").map(|text| serde_yaml_ng::from_str(text).unwrap()).collect()
}

/// Returns the spec of the object of this kind, which a file has at most once.
fn spec(objects: &[Value], kind: &str) -> Value {
    objects.iter().find(|object| object["kind"] == kind).map(|object| object["spec"].clone()).unwrap_or_default()
}

/// Returns the names of the files that declare a call.
fn declared_files() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|file| objects(file).iter().any(|object| !object["spec"]["http"].is_null())).collect()
}

fn keys() -> Value {
    json!({"api-token": example::API_TOKEN, "api-key": example::API_KEY, "client-id": example::CLIENT_ID,
        "client-secret": example::CLIENT_SECRET, "admin-secret": example::ADMIN_SECRET, "username": example::USERNAME,
        "password": example::PASSWORD, "refresh-token": example::REFRESH_TOKEN})
}

/// One file, with a running emulator in place of its hosts.
struct Shown {
    serving: Serving<Platforms>,
    /// `spec.http` of the provider.
    account: Value,
    token: Value,
}

impl Shown {
    async fn start(file: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = Arc::new(CertificateAuthority::generate().unwrap());
        let serving = Serving::start(Platforms::furnished().unwrap(), &ca).await.unwrap();
        let objects = objects(file);
        let mut account = spec(&objects, "ClusterTokenProvider")["http"].take();
        let (_, from, to) = MOVED.into_iter().find(|(moved, ..)| *moved == file).unwrap_or_default();
        let moved = |url: &Value| {
            let url: url::Url = url.as_str().unwrap().parse().unwrap();
            let path = url.path().trim_end_matches('/').strip_prefix(from).unwrap();
            Value::from(format!("{}{to}{path}", serving.url()))
        };
        account["url"] = moved(&account["url"]);
        if let Some(url) = account.pointer_mut("/auth/oauth2/tokenUrl") {
            *url = moved(url);
        }
        Self { account, token: spec(&objects, "VideoAccessToken"), serving }
    }

    /// Requests the token of the file with these keys.
    async fn issue(&self, keys: &Value) -> Result<Issued, IssueError> {
        let provider: ProviderSpec = serde_json::from_value(json!({"http": self.account})).unwrap();
        let token: VideoAccessTokenSpec = serde_json::from_value(self.token.clone()).unwrap();
        let request = token.request(&provider).unwrap();
        declared(&provider, keys, &self.serving.ca_pem()).issue(&request).await
    }

    /// Requests the token and returns the error. Panics if the error contains a part of a key.
    async fn fail(&self, keys: &Value) -> IssueError {
        let error = self.issue(keys).await.map(|issued| issued.expires_at).unwrap_err();
        let shown = format!("{error} {error:?}");
        for piece in keys.as_object().unwrap().values().flat_map(|key| key.as_str().unwrap().as_bytes().windows(12)) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!shown.contains(piece), "{piece} in {shown}");
        }
        error
    }
}

#[test]
fn each_file_that_declares_a_call_has_an_emulator_or_a_reason() {
    let known = EMULATED.iter().map(|(file, _)| *file).chain(ELSEWHERE.iter().map(|(file, _)| *file));
    let known: BTreeSet<_> = known.map(ToOwned::to_owned).collect();
    let files = declared_files();
    let missing: Vec<_> = files.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}: write the platform's emulator and add it to EMULATED, or to ELSEWHERE");
    let gone: Vec<_> = known.difference(&files).collect();
    assert!(gone.is_empty(), "{gone:?}: no such file");
    assert_eq!(known.len(), EMULATED.len() + ELSEWHERE.len(), "a file is named once");
    let unsaid: Vec<_> = EMULATED.iter().filter(|(file, _)| !says_that_it_was_emulated(file)).collect();
    assert!(unsaid.is_empty(), "{unsaid:?}: say under # Verified what the file was verified with");
}

fn says_that_it_was_emulated(file: &str) -> bool {
    let text = fs::read_to_string(format!("{}/{file}.yaml", folder())).unwrap();
    text.lines().any(|line| line.starts_with("# Verified: against an emulator written from "))
}

#[tokio::test]
async fn each_file_issues_the_token_that_its_platform_made() {
    for (file, values) in EMULATED {
        let shown = Shown::start(file).await;
        let issued = shown.issue(&keys()).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        let truth = shown.serving.control().knows(issued.token.expose_secret()).expect(file);
        assert!((truth.expires_at - issued.expires_at).num_seconds().abs() <= 1, "{file}: {issued:?}");
        assert!(!issued.expiry_assumed, "{file}");
        assert_eq!(issued.values.len(), values, "{file}");
    }
}

#[tokio::test]
async fn a_wrong_key_of_each_file_is_the_credentials_fault_and_no_error_shows_a_key() {
    let wrong: Value =
        keys().as_object().unwrap().keys().map(|key| (key.clone(), Value::from("a-secret-of-nobody"))).collect();
    for (file, _) in EMULATED {
        let shown = Shown::start(file).await;
        let error = shown.fail(&wrong).await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{file}: {error}");
        shown.serving.control().play(Fault::EchoRequest);
        shown.fail(&keys()).await;
    }
}

/// What a case changes: the declaration, the keys, and the token.
type Change = fn(&mut Value, &mut Value, &mut Value);

/// A file, what it is changed to, the class and the reason of the error, and a part of its message.
type Refused = (&'static str, Change, (Class, &'static str), &'static str);

/// Refusals as the vendors document them, beside those of an unknown key.
#[allow(clippy::too_many_lines)] // a table
fn refusals() -> [Refused; 18] {
    use Class::{Configuration, Credential, Denied, Transient};
    let (bad, unauthorized) = ((Configuration, "BadRequest"), (Credential, "Unauthorized"));
    let not_found = (Configuration, "NotFound");
    [
        (
            "daily-api",
            |_, keys, _| keys["api-key"] = "two words".into(),
            unauthorized,
            "HTTP 400: authorization-header-error",
        ),
        (
            "daily-api",
            |account, _, _| account["request"]["json"]["properties"]["is_owner"] = "{{ owner | string }}".into(),
            bad,
            "HTTP 400: invalid-request-error",
        ),
        (
            "daily-api",
            |account, _, _| account["request"]["json"]["properties"]["exp"] = "{{ expires_at }}".into(),
            bad,
            "HTTP 400: invalid-request-error",
        ),
        // a token that never expires is not taken
        (
            "daily-api",
            |account, _, _| {
                account["request"]["json"]["properties"].as_object_mut().unwrap().remove("exp");
            },
            (Transient, "BadAnswer"),
            "HTTP 200: expires",
        ),
        (
            "milestone-xprotect",
            |account, _, _| account["request"]["form"]["grant_type"] = "windows_credentials".into(),
            bad,
            "unsupported_grant_type",
        ),
        (
            "milestone-xprotect",
            |account, _, _| account["request"]["form"]["client_id"] = "Nobody".into(),
            bad,
            "invalid_client",
        ),
        (
            "milestone-xprotect",
            |account, _, _| {
                account["request"]["form"].as_object_mut().unwrap().remove("password");
            },
            bad,
            "invalid_request",
        ),
        // expired or revoked
        (
            "nest",
            |_, keys, _| keys["refresh-token"] = "1//0e-last-week".into(),
            unauthorized,
            "OAuth: HTTP 400: Token has been expired or revoked",
        ),
        (
            "nest",
            |_, keys, _| keys["client-secret"] = "GOCSPX-of-nobody".into(),
            unauthorized,
            "OAuth: HTTP 401: The OAuth client was not found",
        ),
        (
            "nest",
            |account, _, _| {
                account["auth"]["oauth2"]["grant"] = "client_credentials".into();
                account["auth"]["oauth2"].as_object_mut().unwrap().remove("refreshTokenRef");
            },
            bad,
            "OAuth: HTTP 400: Invalid grant_type",
        ),
        (
            "nest",
            |_, _, token| token["scope"]["http"]["parameters"]["device"] = "AVPHwNobody".into(),
            not_found,
            "HTTP 404: Device enterprises/contoso-project/devices/AVPHwNobody not found",
        ),
        (
            "nest",
            |_, _, token| token["scope"]["http"]["parameters"]["device"] = example::NEST_OFFLINE_DEVICE.into(),
            bad,
            "HTTP 400: The camera is not available for streaming",
        ),
        (
            "nest",
            |account, _, _| account["request"]["json"]["command"] = "sdm.devices.commands.Nothing".into(),
            bad,
            "HTTP 400: Command does not exist",
        ),
        (
            "verkada",
            |_, keys, _| keys["api-key"] = example::KEY_WITHOUT_PERMISSION.into(),
            (Denied, "Forbidden"),
            "HTTP 403: API key does not have",
        ),
        (
            "verkada-streaming",
            |_, keys, _| keys["api-key"] = example::KEY_WITHOUT_PERMISSION.into(),
            (Denied, "Forbidden"),
            "HTTP 403: API key does not have",
        ),
        // the client of an app of another type
        (
            "zoom",
            |_, keys, _| keys["client-id"] = example::OTHER_CLIENT_ID.into(),
            unauthorized,
            "unsupported_grant_type",
        ),
        ("zoom", |account, _, _| account["request"]["form"]["account_id"] = "of-nobody".into(), bad, "invalid_request"),
        (
            "zoom",
            |account, _, _| {
                account["request"]["form"].as_object_mut().unwrap().remove("account_id");
            },
            bad,
            "invalid_request",
        ),
    ]
}

#[tokio::test]
async fn each_refusal_that_a_platform_documents_has_its_class() {
    for (file, change, expected, message) in refusals() {
        let mut shown = Shown::start(file).await;
        let mut keys = keys();
        change(&mut shown.account, &mut keys, &mut shown.token);
        let error = shown.fail(&keys).await;
        assert_eq!((error.class, &*error.reason), expected, "{file}, {message}: {error}");
        assert!(error.message.contains(message), "{file}, {message}: {error}");
    }
}

/// None of these platforms documents a Retry-After, so the wait is the file's own.
#[tokio::test]
async fn a_throttled_call_of_each_file_waits() {
    for (file, calls, wait) in
        [("daily-api", 1, Some(5)), ("nest", 3, Some(60)), ("verkada", 1, Some(5)), ("zoom", 1, None)]
    {
        let shown = Shown::start(file).await;
        shown.serving.control().set_limits([Limit::Window { requests: calls, seconds: 60 }]);
        shown.issue(&keys()).await.unwrap_or_else(|error| panic!("{file}: {error}"));
        let error = shown.fail(&keys()).await;
        let expected = (Class::Throttled, wait.map(Duration::from_secs));
        assert_eq!((error.class, error.retry_after), expected, "{file}: {error}");
    }
}

/// The right password of a locked user is answered as a wrong one, and `lockout` keeps the operator from trying it often.
#[tokio::test]
async fn a_user_of_milestone_who_is_locked_is_the_credentials_fault() {
    let shown = Shown::start("milestone-xprotect").await;
    let mut wrong = keys();
    wrong["password"] = "last year's password".into();
    for _ in 0..5 {
        assert_eq!(shown.fail(&wrong).await.class, Class::Credential);
    }
    let error = shown.fail(&keys()).await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{error}");
    shown.serving.unlock_user();
    shown.issue(&keys()).await.unwrap();
    let provider: ProviderSpec = serde_json::from_value(json!({"http": shown.account})).unwrap();
    assert!(declared(&provider, &keys(), &shown.serving.ca_pem()).login().is_some(), "lockout is set");
}

#[tokio::test]
async fn an_access_token_of_google_that_was_revoked_is_fetched_anew() {
    let shown = Shown::start("nest").await;
    let provider: ProviderSpec = serde_json::from_value(json!({"http": shown.account})).unwrap();
    let token: VideoAccessTokenSpec = serde_json::from_value(shown.token.clone()).unwrap();
    let request = token.request(&provider).unwrap();
    let issuer = declared(&provider, &keys(), &shown.serving.ca_pem());
    issuer.issue(&request).await.unwrap();
    shown.serving.forget_bearers();
    let error = issuer.issue(&request).await.unwrap_err();
    assert_eq!((error.class, &*error.reason), (Class::Transient, "AccessTokenRefused"), "{error}");
    issuer.issue(&request).await.unwrap();
}

#[test]
fn each_file_that_declares_a_call_can_be_built() {
    for file in declared_files() {
        let (declared, request) = built(&file);
        let lines = declared.request(&request, Utc::now()).unwrap();
        assert!(lines[0].contains(" https://"), "{file}: {lines:?}");
    }
}

/// Returns what a file declares, and the request for its token.
fn built(file: &str) -> (Declared, TokenRequest) {
    let objects = objects(file);
    let provider: ProviderSpec = serde_json::from_value(spec(&objects, "ClusterTokenProvider")).unwrap();
    let Ok(Account::Http(account)) = provider.account() else { panic!("{file} declares no call") };
    let declared = Declared::new(account).unwrap_or_else(|error| panic!("{file}: {error}"));
    let token: VideoAccessTokenSpec = serde_json::from_value(spec(&objects, "VideoAccessToken")).unwrap();
    let request = token.request(&provider).unwrap();
    (declared, request)
}

/// Azure Communication Services, by its documented answers.
#[test]
fn answers_of_azure_communication_services_are_read_as_they_are_documented() {
    let now = Utc::now();
    let (declared, request) = built("azure-communication-services");
    let read = |status: &str, body: &Value| {
        let text = format!("HTTP/1.1 {status}\ncontent-type: application/json\n\n{body}");
        declared.read(&saved_answer(text.as_bytes(), now)?, &request, now, &mut |_| {})
    };
    // seven digits and an offset
    let ahead = (now + Duration::from_hours(8)).format("%Y-%m-%dT%H:%M:%S.3244584+00:00").to_string();
    let issued = read("200 OK", &json!({"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "expiresOn": ahead})).unwrap();
    assert!((28_798..=28_800).contains(&(issued.expires_at - now).num_seconds()), "{}", issued.expires_at);
    let error = read("401 Unauthorized", &json!({"error": {"code": "Denied"}})).unwrap_err();
    assert_eq!(error.class, Class::Credential, "{error}");
}
