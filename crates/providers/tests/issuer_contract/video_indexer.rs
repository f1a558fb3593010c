//! The four operations, and each way that they fail.

use super::{Stand, assert_no_secret, issuer, pass, request, secret, simplest};
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::time::Duration;
use testkit::emulator::{Fault, OPERATIONS, Operations, Rule, example};
use uuid::Uuid;
use videotoken_providers::{Class, Issuer as _};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn each_operation_is_asked_as_the_reference_says() {
    let stand = Stand::start().await;
    let extension = example::EXTENSION_ID;
    let requests = [
        (OPERATIONS[0], json!({"permissionType": "Contributor", "scope": "Account"}), HOUR),
        (OPERATIONS[0], json!({"permissionType": "Reader", "scope": "Project", "projectId": "5fd0"}), HOUR),
        (OPERATIONS[1], json!({"scope": "Video", "videoId": "07ec9e38d4"}), HOUR),
        (OPERATIONS[2], json!({"permissionType": "Reader", "scope": "Account", "extensionId": extension}), HOUR),
        // The two examples of the reference for the operation that this project began with.
        (OPERATIONS[3], json!({"scope": "Account", "extensionId": extension}), HOUR),
        (OPERATIONS[3], json!({"scope": "Video", "videoId": "07ec9e38d4", "extensionId": extension}), HOUR),
        (
            OPERATIONS[3],
            json!({"scope": "Video", "videoId": "07ec9e38d4", "extensionId": extension, "tokenLifetimeInSeconds": 43200}),
            12 * HOUR,
        ),
    ];
    for (operation, body, life) in requests {
        let before = Utc::now();
        let issued = stand.issuer.issue(&request(operation, body.clone(), life)).await.unwrap();
        let seen = stand.last();
        let path = format!("{}/{operation}", example::account_id());
        assert_eq!((seen.method.as_str(), seen.path()), ("POST", path.as_str()));
        assert_eq!(seen.uri.query(), Some("api-version=2025-04-01"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.json(), Some(body));
        assert_eq!(stand.azure.entra.verify(seen.bearer().unwrap()).unwrap().client_id, example::CLIENT_ID);
        assert!(Uuid::parse_str(seen.header("x-ms-client-request-id").unwrap()).is_ok());

        let truth = stand.azure.video_indexer.control().knows(issued.token.expose_secret()).unwrap();
        assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
        assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::from_std(life).unwrap());
        assert!((before..=seen.time).contains(&issued.issued_at));
        assert_eq!(issued.request_id, Some(seen.request_id.to_string()));
    }
    assert_eq!(stand.azure.video_indexer.control().reused_client_request_ids(), [""; 0]);
    assert_eq!(stand.seen(), (1, 7), "one Entra token serves all");
}

#[tokio::test]
async fn each_refusal_of_its_own_has_its_class_reason_and_message() {
    use Class::{Configuration, Denied, Transient};
    const ROLE: &str = r#"{"error":{"code":"AuthorizationFailed","message":"no"}}"#;
    const POLICY: &str = r#"{"error":{"code":"Disallowed","message":"no"}}"#;
    let stand = Stand::start().await;
    let nested =
        r#"{"error":{"code":"Outer","message":"went wrong","details":[{"code":"Inner","message":"the reason"}]}}"#;
    let plain = |code: u16, body: &str| Fault::status(code, body, &[]);
    let cases = [
        (plain(400, nested), Configuration, "BadRequest", "HTTP 400: Outer: went wrong; Inner: the reason"),
        (plain(404, ""), Configuration, "NotFound", "HTTP 404"),
        (plain(422, "{}"), Configuration, "Unprocessable", "HTTP 422: {}"),
        (plain(403, nested), Denied, "Forbidden", "HTTP 403: Outer: went wrong; Inner: the reason"),
        (plain(403, ROLE), Denied, "Forbidden", "HTTP 403: AuthorizationFailed: no; the identity needs a role"),
        (
            plain(403, "<html><title>Blocked</title>"),
            Denied,
            "Forbidden",
            "HTTP 403: a page in HTML, \"Blocked\", from 127.0.0.1:",
        ),
        (plain(409, nested), Transient, "Conflict", "HTTP 409: Outer"),
        (plain(500, "<html><b>oh</b>"), Transient, "ServerError", "HTTP 500: a page in HTML from 127.0.0.1:"),
        (plain(418, ""), Transient, "UnexpectedStatus", "HTTP 418"),
        (plain(200, POLICY), Transient, "BadAnswer", "HTTP 200: no token in it, but an error: Disallowed: no"),
        (Fault::HalfJson, Transient, "BadAnswer", "HTTP 200: no JSON"),
        (Fault::NoToken, Transient, "BadAnswer", "HTTP 200: no token in it"),
        (Fault::EchoRequest, Configuration, "BadRequest", "HTTP 400: InvalidRequest: "),
    ];
    for (fault, class, reason, message) in cases {
        stand.azure.video_indexer.control().play_once(fault.clone());
        let error = stand.fail().await;
        assert_eq!((error.class, &*error.reason, error.retry_after), (class, reason, None), "{fault:?}: {error}");
        assert!(error.message.starts_with(message), "{fault:?}: {error}");
        assert!(!error.message.contains("needs a role") || message.contains("needs a role"), "{error}");
        stand.issue().await.expect("the next one succeeds");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let stand = Stand::start().await;
    let extension = "/subscriptions/s/other";
    let fields = json!({"scope": "Account", "extensionId": extension});
    let error = stand.issuer.issue(&request(OPERATIONS[3], fields, HOUR)).await.unwrap_err();
    assert_eq!(error.class, Class::Configuration);
    assert!(error.message.starts_with("HTTP 400: ExtensionNotFound: ") && error.message.contains(extension), "{error}");

    stand.azure.video_indexer.remove_account(&example::account_id());
    assert!(stand.fail().await.message.starts_with("HTTP 400: AccountNotFound: "));

    stand.azure.video_indexer.remove_roles(example::CLIENT_ID);
    let role = Operations::Only(vec![OPERATIONS[1].to_owned()]);
    stand.azure.video_indexer.assign_role(example::CLIENT_ID, &example::resource_group_id(), role);
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"));
    let way_out = format!(
        "the identity needs a role with Microsoft.VideoIndexer/accounts/generateAccessToken/action on {}",
        example::account_id()
    );
    assert!(error.message.ends_with(&way_out), "{error}");
}

#[tokio::test]
async fn p13_any_text_can_be_a_token_and_has_the_promised_life() {
    let stand = Stand::start().await;
    for fault in [Fault::OpaqueToken, Fault::NotJwt] {
        stand.azure.video_indexer.control().play_once(fault.clone());
        let issued = stand.issue().await.unwrap();
        assert!(issued.expiry_assumed, "{fault:?}");
        assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::hours(1));
    }
}

#[tokio::test]
async fn p13_a_stalled_call_ends_in_time() {
    let stand = Stand::start().await;
    let hasty = issuer(&stand.azure, secret(example::CLIENT_SECRET), Duration::from_secs(1));
    // Entra may take half of the time, so that a call is left for the token
    let asked = [(stand.azure.authority_url(), "500 ms"), (stand.azure.resource_manager_url(), "1 s")];
    for (stalled, (url, within)) in stand.azure.controls().iter().zip(asked) {
        stalled.play_once(Fault::Stall(Duration::from_secs(20)));
        let error = hasty.issue(&simplest()).await.unwrap_err();
        assert_eq!((error.class, &*error.reason), (Class::Transient, "Timeout"), "{}: {error}", stalled.name());
        let host = url.trim_start_matches("https://").trim_end_matches('/');
        assert!(error.message.contains(&format!("from {host} within {within}")), "{host}: {error}");
        // Entra's back-off
        pass(Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn a_connection_that_hangs_is_used_for_no_second_try() {
    let stand = Stand::start().await;
    stand.issue().await.unwrap();
    stand.azure.video_indexer.control().play_once(Fault::ConnectionHang);
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Transient, "Timeout"), "{error}");
    // the operator's next try comes after a second at least
    pass(Duration::from_secs(1)).await;
    stand.issue().await.expect("another connection");
}

#[tokio::test]
async fn p19_a_life_is_counted_by_the_providers_clock() {
    let stand = Stand::start().await;
    let control = stand.azure.video_indexer.control();
    for ahead in [7200, 900, -900, -7200] {
        control.play_once(Fault::ClockAhead(ahead));
        let issued = stand.issue().await.unwrap();
        let right = control.knows(issued.token.expose_secret()).unwrap().expires_at;
        assert!((issued.expires_at - right).num_seconds().abs() <= 2, "{ahead}: {} for {right}", issued.expires_at);
        assert!(!issued.expiry_assumed);
        // a proxy's clock: the token is right, its `nbf` isn't looked at
        control.play_once(Fault::DateAhead(ahead));
        let issued = stand.issue().await.unwrap();
        assert!((issued.expires_at - issued.issued_at).num_seconds() <= 3660, "{ahead}: {issued:?}");
    }
}

#[tokio::test]
async fn a_cached_entra_token_that_is_refused_is_replaced() {
    let stand = Stand::start().await;
    stand.issue().await.unwrap();
    stand.azure.entra.control().revoke(stand.last().bearer().unwrap());
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Transient, "EntraTokenRefused"));
    stand.issue().await.unwrap();
    assert_eq!(stand.seen(), (2, 3));
}

#[tokio::test]
async fn a_fresh_entra_token_that_is_refused_is_the_credentials_fault() {
    let stand = Stand::start().await;
    stand.issue().await.unwrap();
    stand.azure.video_indexer.control().play(Rule::new(Fault::status(401, "", &[])).times(2));
    assert_eq!(stand.fail().await.class, Class::Transient);
    let error = stand.fail().await;
    assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"));
    assert_no_secret(&stand.azure, &error);
    stand.issue().await.unwrap();
}

#[tokio::test]
async fn the_account_is_called_as_its_spec_writes_it() {
    let stand = Stand::start().await;
    let mut account = super::account(&stand.azure);
    account.resource_group = "Contoso (RG).1".to_owned();
    let id = format!("/subscriptions/{}/resourceGroups/Contoso (RG).1", example::SUBSCRIPTION_ID);
    let id = format!("{id}/providers/Microsoft.VideoIndexer/accounts/{}", example::ACCOUNT_NAME);
    stand.azure.video_indexer.add_account(&id);
    stand.azure.video_indexer.assign_role(example::CLIENT_ID, &id, Operations::All);
    let timeout = Duration::from_secs(10);
    let auth = super::auth(&stand.azure, secret(example::CLIENT_SECRET), timeout);
    let http = super::http(&stand.azure, timeout);
    let issuer = videotoken_providers::video_indexer::VideoIndexer::new(account, auth.into(), http).unwrap();
    issuer.issue(&simplest()).await.unwrap();
    assert!(stand.last().path().contains("/resourceGroups/Contoso%20(RG).1/providers/"));
}
