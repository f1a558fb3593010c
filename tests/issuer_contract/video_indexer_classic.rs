//! The classic Authorization API: each kind of token, and each way that it fails.

use super::keyed::Keyed;
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use std::time::Duration;
use testkit::emulator::{Access, Emulator as _, Fault, Life, Telling, VideoIndexerClassic, classic_example as example};
use uuid::Uuid;
use videotoken_providers::Class;

const ACCOUNT: &str = "videoIndexerClassic: {account: {}}";

/// The example account by way of its owner's key.
async fn start() -> Keyed<VideoIndexerClassic> {
    start_with(example::LOCATION, example::ACCOUNT_ID, example::OWNERS_KEY).await
}

async fn start_with(location: &str, account: &str, key: &str) -> Keyed<VideoIndexerClassic> {
    let provider = format!(
        "videoIndexerClassic: {{endpoint: ENDPOINT, location: '{location}', accountId: {account},
          subscriptionKeyRef: {{name: s, key: k}}}}"
    );
    Keyed::start(VideoIndexerClassic::furnished().unwrap(), &provider, &[key]).await
}

fn status(code: u16, body: &str, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fault::Status { code, body: body.to_owned(), headers }
}

#[tokio::test]
async fn each_kind_of_token_is_asked_as_the_reference_says() {
    let stand = start().await;
    let account = format!("/Auth/eastus/Accounts/{}", example::ACCOUNT_ID);
    let (video, project) = (example::VIDEO_ID, example::PROJECT_ID);
    let kinds = [
        (ACCOUNT.to_owned(), format!("{account}/AccessToken"), "allowEdit=false"),
        (
            "videoIndexerClassic: {account: {allowEdit: true}}".into(),
            format!("{account}/AccessToken"),
            "allowEdit=true",
        ),
        (
            "videoIndexerClassic: {accountWithPermission: {permission: Contributor}}".into(),
            format!("{account}/AccessTokenWithPermission"),
            "permission=Contributor",
        ),
        (
            format!("videoIndexerClassic: {{project: {{projectId: {project}, allowEdit: true}}}}"),
            format!("{account}/Projects/{project}/AccessToken"),
            "allowEdit=true",
        ),
        (
            format!("videoIndexerClassic: {{video: {{videoId: {video}}}}}"),
            format!("{account}/Videos/{video}/AccessToken"),
            "allowEdit=false",
        ),
        ("videoIndexerClassic: {user: {}}".into(), "/Auth/eastus/Users/me/AccessToken".into(), "allowEdit=false"),
    ];
    let mut asked = 0;
    for (scope, path, query) in kinds {
        for bare in [false, true] {
            stand.serving.set_bare(bare);
            let before = Utc::now();
            let issued = stand.issue(&scope, "").await.unwrap();
            asked += 1;
            let seen = stand.last();
            assert_eq!((seen.method.as_str(), seen.path(), seen.uri.query()), ("GET", path.as_str(), Some(query)));
            assert_eq!(seen.header("ocp-apim-subscription-key"), Some(example::OWNERS_KEY));
            assert!(Uuid::parse_str(seen.header("x-ms-client-request-id").unwrap()).is_ok());
            assert_eq!((seen.bearer(), seen.body.len()), (None, 0));

            let truth =
                stand.serving.control().knows(issued.token.expose_secret()).expect("the token as it was issued");
            assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
            assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::hours(1));
            assert!((before..=seen.time).contains(&issued.issued_at));
            assert_eq!(issued.request_id, Some(seen.request_id.to_string()));
        }
    }
    assert_eq!(stand.serving.control().reused_client_request_ids(), [""; 0]);
    assert_eq!(stand.serving.control().counters().requests, asked, "one call for each token");
}

#[tokio::test]
async fn names_are_sent_as_the_spec_writes_them() {
    let (location, account) = ("East US (2)", "0D6C8F3A-1111-4222-8333-444455556666");
    let stand = start_with(location, account, example::OWNERS_KEY).await;
    stand.serving.add_account(location, account);
    let video = "été 1%2e?#&+\\";
    assert!(stand.serving.add_video(account, video) && stand.serving.add_member(account, "owner", Access::Read));
    let scope = serde_json::json!({"video": {"videoId": video}});
    stand.issue(&format!("videoIndexerClassic: {scope}"), "").await.unwrap();
    let path = format!("/Auth/East%20US%20(2)/Accounts/{account}/Videos/%C3%A9t%C3%A9%201%252e%3F%23&+%5C/AccessToken");
    assert_eq!(stand.last().path(), path);
}

#[tokio::test]
async fn each_refusal_has_its_class_reason_and_message() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let stand = start().await;
    let own = |kind: &str| format!(r#"{{"ErrorType":"{kind}","Message":"the words"}}"#);
    let gateway = |code: u16, words: &str| format!(r#"{{"statusCode":{code},"message":"{words}"}}"#);
    let quota = "Out of call volume quota. Quota will be replenished in 00:07:02.";
    let seconds = |n| Some(Duration::from_secs(n));
    let cases = [
        (
            status(400, &own("INVALID_INPUT"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: INVALID_INPUT: the words",
        ),
        (
            status(401, &own("USER_NOT_ALLOWED"), &[]),
            (Denied, "Forbidden", None),
            "HTTP 401: USER_NOT_ALLOWED: the words; the user whose subscription key this is needs access to account \
             4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35 in eastus",
        ),
        (status(401, &gateway(401, "no key"), &[]), (Credential, "Unauthorized", None), "HTTP 401: no key"),
        (status(403, &gateway(403, "blocked"), &[]), (Denied, "Forbidden", None), "HTTP 403: blocked"),
        (status(403, &gateway(403, quota), &[]), (Throttled, "QuotaExceeded", seconds(422)), "HTTP 403: Out of call"),
        (
            status(403, &gateway(403, quota), &[("retry-after", "9")]),
            (Throttled, "QuotaExceeded", seconds(9)),
            "HTTP 403: Out of call volume quota",
        ),
        (status(404, &gateway(404, "gone"), &[]), (Configuration, "NotFound", None), "HTTP 404: gone"),
        (status(500, &own("GENERAL"), &[]), (Transient, "ServerError", None), "HTTP 500: GENERAL: the words"),
        (status(500, r#"{"message":"There was an error."}"#, &[]), (Transient, "ServerError", None), "HTTP 500: There"),
        (status(504, &own("SERVER_TIMEOUT"), &[]), (Transient, "ServerError", None), "HTTP 504: SERVER_TIMEOUT: the"),
        (status(503, "", &[("retry-after", "7")]), (Transient, "ServerError", seconds(7)), "HTTP 503"),
        (
            status(302, "", &[("location", "https://x.example")]),
            (Transient, "Redirected", None),
            "HTTP 302: redirected",
        ),
        (
            Fault::Throttle { retry_after: Some(7) },
            (Throttled, "Throttled", seconds(7)),
            "HTTP 429: Rate limit is exceeded. Try again in 7 seconds.",
        ),
        (Fault::Throttle { retry_after: None }, (Throttled, "Throttled", None), "HTTP 429: Rate limit is exceeded"),
        (status(429, "", &[]), (Throttled, "Throttled", None), "HTTP 429"),
        (Fault::Html, (Transient, "BadAnswer", None), "HTTP 200: a page in HTML, \"Sign in\", from 127.0.0.1:"),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (
            status(200, &own("GENERAL"), &[]),
            (Transient, "BadAnswer", None),
            "HTTP 200: no token in it, but an error: GENERAL",
        ),
        (Fault::CutBody, (Transient, "BadAnswer", None), "the answer of 127.0.0.1"),
        (Fault::HugeBody, (Transient, "BodyTooLarge", None), "127.0.0.1"),
        (Fault::ExpiredToken, (Transient, "ExpiredToken", None), "the provider issued a token that expired at 20"),
        (Fault::ConnectionReset, (Transient, "ConnectFailed", None), "lost the connection to 127.0.0.1"),
        (Fault::EchoRequest, (Configuration, "BadRequest", None), "HTTP 400: INVALID_INPUT: "),
    ];
    for (fault, expected, message) in cases {
        stand.serving.control().play_once(fault.clone());
        let error = stand.fail(ACCOUNT).await;
        assert_eq!((error.class, error.reason, error.retry_after), expected, "{fault:?}: {error}");
        assert!(error.message.starts_with(message), "{fault:?}: {error}");
        assert!(error.message.len() < 600, "{error}");
        if !matches!(fault, Fault::ConnectionReset) {
            assert_eq!(error.request_id, Some(stand.last().request_id.to_string()), "{fault:?}");
        }
        stand.issue(ACCOUNT, "").await.expect("the next one succeeds");
    }
}

#[tokio::test]
async fn a_bare_token_that_is_cut_off_is_no_token() {
    let stand = start().await;
    stand.serving.set_bare(true);
    stand.serving.control().play_once(Fault::HalfJson);
    assert_eq!(stand.fail(ACCOUNT).await.message, "HTTP 200: no token in it");
}

#[tokio::test]
async fn a_wrong_key_is_the_credentials_fault_and_a_users_lack_of_access_is_not() {
    let stand = start_with(example::LOCATION, example::ACCOUNT_ID, example::READERS_KEY).await;
    stand.issue(ACCOUNT, "").await.unwrap();
    for scope in [
        "videoIndexerClassic: {account: {allowEdit: true}}",
        "videoIndexerClassic: {accountWithPermission: {permission: Owner}}",
    ] {
        let error = stand.fail(scope).await;
        assert_eq!((error.class, error.reason), (Class::Denied, "Forbidden"), "{error}");
        assert!(error.message.contains("User not allowed to"), "{error}");
    }
    let error = stand.fail("videoIndexerClassic: {video: {videoId: unknown}}").await;
    assert_eq!(error.message, "HTTP 400: INVALID_INPUT: Video 'unknown' was not found.");

    assert!(stand.serving.remove_member(example::ACCOUNT_ID, "reader"));
    let error = stand.fail(ACCOUNT).await;
    assert_eq!((error.class, error.reason), (Class::Denied, "Forbidden"));
    assert!(error.message.contains("User not allowed access account"), "{error}");

    assert!(stand.serving.add_member(example::ACCOUNT_ID, "reader", Access::Edit));
    stand.serving.gateway().remove_key(example::READERS_KEY);
    let error = stand.fail(ACCOUNT).await;
    assert_eq!((error.class, error.reason), (Class::Credential, "Unauthorized"));
    let told = "HTTP 401: Access denied due to invalid subscription key. Make sure to provide a valid key for an active \
                subscription.";
    assert_eq!(error.message, told);

    // as a Secret holds it that was made from a file
    let key = format!("{}\n", example::OWNERS_KEY);
    stand.with(&[&key]).issue(&stand.request(ACCOUNT, "")).await.unwrap();
    let broken = stand.with(&["a key\u{0}with what no header carries"]).issue(&stand.request(ACCOUNT, "")).await;
    assert_eq!(broken.unwrap_err().reason, "BadCredential");
}

#[tokio::test]
async fn a_throttle_lasts_as_long_as_the_gateway_says_however_it_says_it() {
    let stand = start().await;
    let gateway = stand.serving.gateway();
    for telling in [Telling::HeaderAndWords, Telling::Words, Telling::Header] {
        gateway.set_telling(telling);
        stand.serving.control().play_once(Fault::Throttle { retry_after: Some(26) });
        let error = stand.fail(ACCOUNT).await;
        assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(26))), "{telling:?}");
        assert_eq!(stand.last().fault(), Some(&Fault::Throttle { retry_after: Some(26) }));
    }
    for (telling, wait, expected) in [
        (Telling::HeaderAndWords, 90, 90),
        (Telling::Words, 90, 90),
        // a day and more: looked at again after an hour
        (Telling::Words, 90_061, 3600),
    ] {
        gateway.set_telling(telling);
        gateway.use_up_quota(Some(Duration::from_secs(wait)));
        let error = stand.fail(ACCOUNT).await;
        assert_eq!((error.class, error.reason), (Class::Throttled, "QuotaExceeded"), "{telling:?}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(expected)), "{telling:?}");
    }
    assert!(stand.fail(ACCOUNT).await.message.ends_with("replenished in 1.01:01:01."));
    gateway.use_up_quota(None);
    stand.issue(ACCOUNT, "").await.unwrap();
}

#[tokio::test]
async fn p13_a_token_without_a_readable_expiry_has_the_promised_life() {
    let stand = start().await;
    for fault in [Fault::NotJwt, Fault::NoExpiry, Fault::TellsExpiry(253_402_300_799)] {
        for bare in [false, true] {
            stand.serving.set_bare(bare);
            stand.serving.control().play_once(fault.clone());
            let issued = stand.issue(ACCOUNT, "").await.unwrap();
            assert!(issued.expiry_assumed, "{fault:?}");
            assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::hours(1));
        }
    }
    stand.serving.control().play_once(Fault::OpaqueToken);
    assert_eq!(stand.fail(ACCOUNT).await.reason, "BadAnswer");
    stand.serving.control().play_once(Fault::ByteOrderMark);
    stand.issue(ACCOUNT, "").await.unwrap();
    stand.serving.control().set_life(Life::Seconds(600));
    let issued = stand.issue(ACCOUNT, "").await.unwrap();
    assert!(!issued.expiry_assumed && issued.expires_at - issued.issued_at <= TimeDelta::seconds(600));
}

#[tokio::test]
async fn p14_the_skew_is_that_of_the_last_answer() {
    let stand = start().await;
    assert_eq!(stand.issuer.clock_skew(), None);
    stand.serving.control().play_once(Fault::ClockAhead(600));
    stand.issue(ACCOUNT, "").await.unwrap();
    assert!((598..=601).contains(&stand.issuer.clock_skew().unwrap()));
}
