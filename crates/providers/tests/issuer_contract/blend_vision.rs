//! BlendVision One: what each kind of token asks, the forms that tokens come in, and each way that they fail.

use super::keyed::Keyed;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::emulator::{ApiToken, BlendVision, Fault, TokenForm, blend_vision_example as example, claims};
use videotoken_providers::Class;

/// The example's organization by way of an API token that may do all.
async fn start() -> Keyed<BlendVision> {
    let (blend_vision, api_token) = BlendVision::furnished().unwrap();
    let provider = format!(
        "blendVision: {{endpoint: ENDPOINT, organization: {}, apiTokenRef: {{name: s, key: t}}}}",
        example::ORGANIZATION
    );
    Keyed::start(blend_vision, &provider, &[&api_token]).await
}

fn scope(kind: &str, resource: &str, type_: &str, rest: &str) -> String {
    format!("blendVision: {{{kind}: {{resourceId: {resource}, resourceType: RESOURCE_TYPE_{type_}{rest}}}}}")
}

fn vod() -> String {
    scope("resource", example::VOD_ID, "VOD", "")
}

#[tokio::test]
async fn each_kind_of_token_is_asked_as_the_reference_says() {
    let stand = start().await;
    let (vod_id, live_id) = (example::VOD_ID, example::LIVE_ID);
    let (is_vod, is_live) = ("RESOURCE_TYPE_VOD", "RESOURCE_TYPE_LIVE");
    let viewer = ", customerId: viewer-1";
    let kinds = [
        (vod(), "", "resources/tokens", json!({"resource_id": vod_id, "resource_type": is_vod, "expires_in": "3600s"})),
        (
            scope("resource", live_id, "LIVE", ", customerId: viewer-1, customerName: Ada"),
            "lifetime: 90m",
            "resources/tokens",
            json!({"resource_id": live_id, "resource_type": is_live, "expires_in": "5400s", "customer_id": "viewer-1",
                "customer_name": "Ada"}),
        ),
        (
            scope("playback", vod_id, "VOD", viewer),
            "lifetime: 30s",
            "tokens",
            json!({"resource_id": vod_id, "resource_type": is_vod, "expires_in": "30s", "customer_id": "viewer-1"}),
        ),
        (
            scope("resourceAdmin", vod_id, "VOD", ""),
            "lifetime: 2h",
            "resources/tokens:admin",
            json!({"resource_id": vod_id, "resource_type": is_vod, "expires_in": "7200s"}),
        ),
    ];
    for (scope, rest, operation, body) in kinds {
        for form in [TokenForm::Opaque, TokenForm::Jwt, TokenForm::JwtWithoutExp] {
            stand.serving.set_form(form);
            let issued = stand.issue(&scope, rest).await.unwrap();
            let seen = stand.last();
            assert_eq!((seen.method.as_str(), seen.path()), ("POST", format!("/bv/cms/v1/{operation}").as_str()));
            assert_eq!(seen.uri.query(), None);
            assert_eq!(seen.header("content-type"), Some("application/json"));
            assert_eq!(seen.header("x-bv-org-id"), Some(example::ORGANIZATION));
            assert_eq!(claims(seen.bearer().unwrap()).unwrap()["sub"], example::ORGANIZATION);
            assert_eq!(seen.json(), Some(body.clone()));

            let truth = stand.control.knows(issued.token.expose_secret()).unwrap();
            let asked: i64 = body["expires_in"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
            assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::seconds(asked));
            // the playback answer has the token alone
            let told = operation != "tokens" || form == TokenForm::Jwt;
            assert_eq!(issued.expiry_assumed, !told, "{operation} {form:?}");
            if told {
                assert_eq!(issued.expires_at, truth.expires_at);
            } else {
                assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::seconds(asked));
            }
        }
    }
}

#[tokio::test]
async fn only_never_expires_asks_for_an_endless_token() {
    let stand = start().await;
    for kind in ["resource", "resourceAdmin"] {
        for form in [TokenForm::Opaque, TokenForm::Jwt] {
            stand.serving.set_form(form);
            let issued = stand.issue(&scope(kind, example::VOD_ID, "VOD", ", neverExpires: true"), "").await.unwrap();
            let body = stand.last().json().unwrap();
            assert_eq!(body, json!({"resource_id": example::VOD_ID, "resource_type": "RESOURCE_TYPE_VOD"}));
            assert!(!issued.expiry_assumed);
            assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::days(36_500));
        }
    }
    for scope in [vod(), scope("playback", example::VOD_ID, "VOD", ", customerId: v")] {
        stand.issue(&scope, "").await.unwrap();
        assert_eq!(stand.last().json().unwrap()["expires_in"], "3600s", "the operator's own default");
    }
}

#[tokio::test]
async fn each_refusal_of_its_own_has_its_class_reason_and_message() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let stand = start().await;
    let grpc = |status: u16, code: u8| {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"}]);
        let body = json!({"code": code, "message": "because", "details": details});
        Fault::status(status, body.to_string(), &[])
    };
    let cases = [
        (grpc(400, 3), (Configuration, "BadRequest", None), "HTTP 400: 3: because"),
        (grpc(401, 16), (Credential, "Unauthorized", None), "HTTP 401: 16: because"),
        (grpc(403, 7), (Denied, "Forbidden", None), "HTTP 403: 7: because"),
        (grpc(404, 5), (Configuration, "NotFound", None), "HTTP 404: 5: because"),
        (grpc(429, 8), (Throttled, "Throttled", None), "HTTP 429: 8: because"),
        (grpc(503, 14), (Transient, "ServerError", None), "HTTP 503: 14: because"),
        (grpc(500, 13), (Transient, "ServerError", None), "HTTP 500: 13: because"),
        // the status says nothing better
        (grpc(500, 16), (Credential, "Unauthorized", None), "HTTP 500: 16: because"),
        (grpc(418, 8), (Throttled, "Throttled", None), "HTTP 418: 8: because"),
        (grpc(200, 5), (Configuration, "NotFound", None), "HTTP 200: 5: because"),
        (grpc(200, 2), (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (
            Fault::Throttle { retry_after: Some(7) },
            (Throttled, "Throttled", Some(7)),
            "HTTP 429: 8: Too many requests. Try again later.; OTHER",
        ),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no JSON"),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::EchoRequest, (Configuration, "BadRequest", None), "HTTP 400: 3: "),
    ];
    stand.refuses(&vod(), false, cases).await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let stand = start().await;
    let error = stand.fail(&scope("resource", example::LIVE_ID, "LIVE", "")).await;
    assert_eq!((error.class, &*error.reason), (Class::Configuration, "BadRequest"));
    assert_eq!(error.message, "HTTP 400: 3: invalid argument; customer_id: it is required");

    let error = stand.fail(&scope("resource", example::VOD_ID, "LIVE", "")).await;
    assert_eq!((error.class, &*error.reason), (Class::Configuration, "NotFound"));
    assert_eq!(error.message, format!("HTTP 404: 5: resource {} not found; RESOURCE_NOT_FOUND", example::VOD_ID));
}

#[tokio::test]
async fn an_api_token_is_refused_for_what_it_is() {
    let stand = start().await;
    let add = |api_token: ApiToken| stand.serving.add_api_token(&api_token);
    let own = || ApiToken::of(example::ORGANIZATION);
    let expired_at = DateTime::from_timestamp(1_763_392_544, 0);
    let admin = scope("resourceAdmin", example::VOD_ID, "VOD", "");
    let cases = [
        (
            add(ApiToken { expires_at: expired_at, ..own() }),
            vod(),
            Class::Credential,
            "HTTP 401: 16: the token is missing, unknown or expired; UNAUTHENTICATED; the API token expired at 2025-11-17T15:15:44Z: \
             create another",
        ),
        (
            "no-jwt".to_owned(),
            vod(),
            Class::Credential,
            "HTTP 401: 16: the token is missing, unknown or expired; UNAUTHENTICATED",
        ),
        (
            add(ApiToken::of("another")),
            vod(),
            Class::Denied,
            "HTTP 403: 7: the API token is of another organization; PERMISSION_DENIED",
        ),
        (
            add(ApiToken { may_administer: false, ..own() }),
            admin,
            Class::Denied,
            "HTTP 403: 7: the API token may not administer resources; PERMISSION_DENIED",
        ),
    ];
    for (api_token, scope, class, message) in cases {
        let error = stand.with(&[&api_token]).issue(&stand.request(&scope, "")).await.unwrap_err();
        assert_eq!((error.class, error.message.as_str()), (class, message));
    }
}

#[tokio::test]
async fn an_api_token_that_is_a_jwt_tells_when_it_expires() {
    let stand = start().await;
    let soon = DateTime::from_timestamp(Utc::now().timestamp() + 3_600, 0);
    let expiring = stand.serving.add_api_token(&ApiToken { expires_at: soon, ..ApiToken::of(example::ORGANIZATION) });
    assert_eq!(stand.with(&[&expiring]).credential_expires_at(), soon);
    assert_eq!(stand.issuer.credential_expires_at(), None, "the example's doesn't expire");
    assert_eq!(stand.with(&["opaque"]).credential_expires_at(), None);
    assert_eq!(stand.issuer.login(), None);
}

#[tokio::test]
async fn p13_any_text_can_be_a_token_and_has_the_life_that_was_asked_for() {
    let stand = start().await;
    for fault in [Fault::OpaqueToken, Fault::NotJwt, Fault::NoExpiry] {
        stand.control.play_once(fault.clone());
        let issued = stand.issue(&vod(), "lifetime: 2h").await.unwrap();
        assert!(issued.expiry_assumed, "{fault:?}");
        assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::hours(2));
    }
}
