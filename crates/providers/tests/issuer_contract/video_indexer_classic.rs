//! The classic Authorization API: each kind of token, and each way that it fails.

use super::keyed::Keyed;
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use testkit::emulator::{Access, Fault, VideoIndexerClassic, classic_example as example};
use uuid::Uuid;
use videotoken_providers::Class;

pub(crate) const ACCOUNT: &str = "videoIndexerClassic: {account: {}}";

/// The example account by way of its owner's key.
pub(crate) async fn start() -> Keyed<VideoIndexerClassic> {
    start_with(example::LOCATION, example::ACCOUNT_ID, example::OWNERS_KEY).await
}

async fn start_with(location: &str, account: &str, key: &str) -> Keyed<VideoIndexerClassic> {
    let provider = format!(
        "videoIndexerClassic: {{endpoint: ENDPOINT, location: '{location}', accountId: {account},
          subscriptionKeyRef: {{name: s, key: k}}}}"
    );
    Keyed::start(VideoIndexerClassic::furnished().unwrap(), &provider, &[key]).await
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
    for (scope, path, query) in kinds {
        for bare in [false, true] {
            stand.serving.set_bare(bare);
            let issued = stand.issue(&scope, "").await.unwrap();
            let seen = stand.last();
            assert_eq!((seen.method.as_str(), seen.path(), seen.uri.query()), ("GET", path.as_str(), Some(query)));
            assert_eq!(seen.header("ocp-apim-subscription-key"), Some(example::OWNERS_KEY));
            assert!(Uuid::parse_str(seen.header("x-ms-client-request-id").unwrap()).is_ok());
            assert_eq!((seen.bearer(), seen.body.len()), (None, 0));

            let truth = stand.control.knows(issued.token.expose_secret()).expect("the token as it was issued");
            assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
            assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::hours(1));
        }
    }
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
async fn each_refusal_of_its_own_has_its_class_reason_and_message() {
    use Class::{Configuration, Denied, Throttled, Transient};
    let stand = start().await;
    let own = |kind: &str| format!(r#"{{"ErrorType":"{kind}","Message":"the words"}}"#);
    let gateway = |code: u16, words: &str| format!(r#"{{"statusCode":{code},"message":"{words}"}}"#);
    let quota = "Out of call volume quota. Quota will be replenished in 00:07:02.";
    let cases = [
        (
            Fault::status(400, own("INVALID_INPUT"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: INVALID_INPUT: the words",
        ),
        (
            Fault::status(401, own("USER_NOT_ALLOWED"), &[]),
            (Denied, "Forbidden", None),
            "HTTP 401: USER_NOT_ALLOWED: the words; the user whose subscription key this is needs access to account \
             4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35 in eastus",
        ),
        (Fault::status(403, gateway(403, "blocked"), &[]), (Denied, "Forbidden", None), "HTTP 403: blocked"),
        (
            Fault::status(403, gateway(403, quota), &[("retry-after", "9")]),
            (Throttled, "QuotaExceeded", Some(9)),
            "HTTP 403: Out of call volume quota",
        ),
        (Fault::status(404, gateway(404, "gone"), &[]), (Configuration, "NotFound", None), "HTTP 404: gone"),
        (Fault::status(500, own("GENERAL"), &[]), (Transient, "ServerError", None), "HTTP 500: GENERAL: the words"),
        (
            Fault::status(500, r#"{"message":"There was an error."}"#, &[]),
            (Transient, "ServerError", None),
            "HTTP 500: There",
        ),
        (
            Fault::status(504, own("SERVER_TIMEOUT"), &[]),
            (Transient, "ServerError", None),
            "HTTP 504: SERVER_TIMEOUT: the",
        ),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (
            Fault::status(200, own("GENERAL"), &[]),
            (Transient, "BadAnswer", None),
            "HTTP 200: no token in it, but an error: GENERAL",
        ),
        (Fault::EchoRequest, (Configuration, "BadRequest", None), "HTTP 400: INVALID_INPUT: "),
    ];
    stand.refuses(ACCOUNT, true, cases).await;
}

#[tokio::test]
async fn a_bare_token_that_is_cut_off_is_no_token() {
    let stand = start().await;
    stand.serving.set_bare(true);
    stand.control.play_once(Fault::HalfJson);
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
        assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"), "{error}");
        assert!(error.message.contains("User not allowed to"), "{error}");
    }
    let error = stand.fail("videoIndexerClassic: {video: {videoId: unknown}}").await;
    assert_eq!(error.message, "HTTP 400: INVALID_INPUT: Video 'unknown' was not found.");

    assert!(stand.serving.remove_member(example::ACCOUNT_ID, "reader"));
    let error = stand.fail(ACCOUNT).await;
    assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"));
    assert!(error.message.contains("User not allowed access account"), "{error}");

    assert!(stand.serving.add_member(example::ACCOUNT_ID, "reader", Access::Edit));
    stand.serving.gateway().remove_key(example::READERS_KEY);
    let error = stand.fail(ACCOUNT).await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"));
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
async fn p13_only_a_jwt_is_a_token_also_where_its_expiry_is_not_readable() {
    let stand = start().await;
    for bare in [false, true] {
        stand.serving.set_bare(bare);
        for fault in [Fault::NotJwt, Fault::NoExpiry, Fault::TellsExpiry(253_402_300_799)] {
            stand.control.play_once(fault.clone());
            assert!(stand.issue(ACCOUNT, "").await.unwrap().expiry_assumed, "{fault:?}");
        }
    }
    stand.control.play_once(Fault::OpaqueToken);
    assert_eq!(stand.fail(ACCOUNT).await.reason, "BadAnswer");
}
