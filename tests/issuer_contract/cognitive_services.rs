//! The token API of Azure's AI services: both operations, and each way that they fail.

use super::keyed::Keyed;
use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{CognitiveServices, Emulator as _, Fault, Life, Telling, claims, cognitive_example as example};
use videotoken_providers::Class;

const SERVICE: &str = "cognitiveServices: {service: {}}";

/// The example's resource by way of its key.
async fn start() -> Keyed<CognitiveServices> {
    start_with("endpoint: ENDPOINT").await
}

async fn start_with(account: &str) -> Keyed<CognitiveServices> {
    let provider = format!("cognitiveServices: {{{account}, keyRef: {{name: s, key: k}}}}");
    Keyed::start(CognitiveServices::furnished().unwrap(), &provider, &[example::KEY]).await
}

/// Limited access to the customer's resource.
fn limited(features: &str) -> String {
    let target = example::TARGET;
    format!("cognitiveServices: {{limitedAccess: {{targetAzureResourceId: {target}, featureFlags: [{features}]}}}}")
}

fn status(code: u16, body: &str, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Fault::Status { code, body: body.to_owned(), headers }
}

#[tokio::test]
async fn each_operation_is_asked_as_the_reference_says() {
    let stand = start().await;
    let both = json!({"targetAzureResourceId": example::TARGET,
        "featureFlags": ["Face.Identification", "Face.Verification"]});
    let one = json!({"targetAzureResourceId": example::TARGET, "featureFlags": ["Face.Verification"]});
    let operations = [
        (limited("Face.Verification, Face.Identification"), "", Some((both, "expiredTime=3600")), 3600),
        (limited("Face.Verification"), "lifetime: 24h", Some((one.clone(), "expiredTime=86400")), 86400),
        (limited("Face.Verification"), "lifetime: 1m30s", Some((one, "expiredTime=90")), 90),
        (SERVICE.to_owned(), "", None, 600),
    ];
    for (scope, rest, asked, life) in operations {
        let before = Utc::now();
        let issued = stand.issue(&scope, rest).await.unwrap();
        let seen = stand.last();
        let operation = if asked.is_some() { "issueLimitedAccessToken" } else { "issueToken" };
        assert_eq!((seen.method.as_str(), seen.path()), ("POST", format!("/sts/v1.0/{operation}").as_str()));
        assert_eq!(seen.header("ocp-apim-subscription-key"), Some(example::KEY));
        assert_eq!(seen.bearer(), None);
        assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
        match asked {
            Some((body, query)) => {
                assert_eq!((seen.json(), seen.uri.query()), (Some(body), Some(query)));
                assert_eq!(seen.header("content-type"), Some("application/json"));
            }
            None => assert_eq!((seen.body.len(), seen.uri.query(), seen.header("content-type")), (0, None, None)),
        }
        let truth = stand.serving.control().knows(issued.token.expose_secret()).expect("the token as it was issued");
        assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
        assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::seconds(life));
        assert!((before..=seen.time).contains(&issued.issued_at));
        assert_eq!(issued.request_id, Some(seen.request_id.to_string()), "apim-request-id");
    }
    assert_eq!(stand.serving.control().counters().requests, 4, "one call for each token");
}

#[tokio::test]
async fn endpoint_and_target_field_are_as_the_provider_has_them() {
    let stand = start_with("endpoint: ENDPOINT/, targetResourceField: resourceId").await;
    let error = stand.fail(&limited("Face.Verification")).await;
    assert_eq!(error.message, "HTTP 400: BadArgument: targetAzureResourceId is not a resource id.");
    stand.serving.set_target_field("resourceId");
    let issued = stand.issue(&limited("Face.Verification"), "").await.unwrap();
    let seen = stand.last();
    assert_eq!(seen.path(), "/sts/v1.0/issueLimitedAccessToken");
    assert_eq!(seen.json(), Some(json!({"resourceId": example::TARGET, "featureFlags": ["Face.Verification"]})));
    let claims = claims(issued.token.expose_secret()).unwrap();
    assert_eq!(claims["target-azure-resource-id"], Value::from(example::TARGET));

    let below = start_with("endpoint: ENDPOINT/gateway/face").await;
    assert_eq!(below.fail(SERVICE).await.message, "HTTP 404: Resource not found");
    assert_eq!(below.last().path(), "/gateway/face/sts/v1.0/issueToken");
}

#[tokio::test]
async fn each_refusal_has_its_class_reason_and_message() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let stand = start().await;
    let nested = |code: &str, words: &str| json!({"error": {"code": code, "message": words}}).to_string();
    let flat = |code: &str, words: &str| json!({"code": code, "message": words}).to_string();
    let quota = "Out of call volume quota for Face F0 pricing tier. Please retry after 12 minutes. To increase";
    let seconds = |n| Some(Duration::from_secs(n));
    let cases = [
        (
            status(400, &nested("BadArgument", "no such flag"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: BadArgument: no such flag",
        ),
        (
            status(400, &flat("BadArgument", "no such flag"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: BadArgument: no such flag",
        ),
        (status(401, &nested("401", "no key"), &[]), (Credential, "Unauthorized", None), "HTTP 401: no key"),
        (
            status(401, &nested("PermissionDenied", "Principal"), &[]),
            (Credential, "Unauthorized", None),
            "HTTP 401: PermissionDenied: Principal",
        ),
        (
            status(403, &nested("AuthenticationTypeDisabled", "Key based"), &[]),
            (Denied, "Forbidden", None),
            "HTTP 403: AuthenticationTypeDisabled: Key",
        ),
        (status(403, &nested("403", quota), &[]), (Throttled, "QuotaExceeded", seconds(720)), "HTTP 403: Out of call"),
        (status(403, &flat("403", quota), &[]), (Throttled, "QuotaExceeded", seconds(720)), "HTTP 403: Out of call"),
        (
            status(403, &flat("403", quota), &[("retry-after", "9")]),
            (Throttled, "QuotaExceeded", seconds(9)),
            "HTTP 403: Out of call",
        ),
        (
            status(429, &nested("429", "Rate limit is exceeded. Try again in 26 seconds."), &[]),
            (Throttled, "Throttled", seconds(26)),
            "HTTP 429: Rate limit is exceeded. Try again in 26 seconds.",
        ),
        (
            status(429, &flat("RateLimitExceeded", "Rate limit is exceeded. Try again later."), &[]),
            (Throttled, "Throttled", None),
            "HTTP 429: RateLimitExceeded: Rate limit is exceeded. Try again later.",
        ),
        (status(429, "", &[]), (Throttled, "Throttled", None), "HTTP 429"),
        (
            Fault::Throttle { retry_after: Some(7) },
            (Throttled, "Throttled", seconds(7)),
            "HTTP 429: Rate limit is exceeded. Try again in 7 seconds.",
        ),
        (status(411, "<html>", &[]), (Transient, "UnexpectedStatus", None), "HTTP 411: a page in HTML"),
        (
            status(500, &nested("InternalServerError", "oh"), &[]),
            (Transient, "ServerError", None),
            "HTTP 500: Internal",
        ),
        (status(503, "", &[("retry-after", "7")]), (Transient, "ServerError", seconds(7)), "HTTP 503"),
        (Fault::Html, (Transient, "BadAnswer", None), "HTTP 200: a page in HTML, \"Sign in\", from 127.0.0.1:"),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::CutBody, (Transient, "BadAnswer", None), "the answer of 127.0.0.1"),
        (Fault::HugeBody, (Transient, "BodyTooLarge", None), "127.0.0.1"),
        (Fault::ExpiredToken, (Transient, "ExpiredToken", None), "the provider issued a token that expired at 20"),
        (Fault::ConnectionReset, (Transient, "ConnectFailed", None), "lost the connection to 127.0.0.1"),
        (Fault::EchoRequest, (Configuration, "BadRequest", None), "HTTP 400: "),
    ];
    for (fault, expected, message) in cases {
        stand.serving.control().play_once(fault.clone());
        let error = stand.fail(SERVICE).await;
        assert_eq!((error.class, error.reason, error.retry_after), expected, "{fault:?}: {error}");
        assert!(error.message.starts_with(message), "{fault:?}: {error}");
        assert!(error.message.len() < 400, "{error}");
        if !matches!(fault, Fault::ConnectionReset) {
            assert_eq!(error.request_id, Some(stand.last().request_id.to_string()), "{fault:?}");
        }
        stand.issue(SERVICE, "").await.expect("the next one succeeds");
    }
}

#[tokio::test]
async fn a_key_of_another_resource_and_a_feature_that_was_not_granted_are_told_apart() {
    for flat in [false, true] {
        let stand = start().await;
        stand.serving.set_flat_errors(flat);
        let error = stand.fail(&limited("Face.Verification, LimitedAccess.HighRisk")).await;
        assert_eq!((error.class, error.reason), (Class::Denied, "Forbidden"), "{error}");
        assert!(error.message.contains("following features: LimitedAccess.HighRisk."), "{error}");
        stand.serving.grant_feature(example::ISSUER, "LimitedAccess.HighRisk");
        stand.issue(&limited("Face.Verification, LimitedAccess.HighRisk"), "").await.unwrap();

        stand.serving.gateway().remove_key(example::KEY);
        let error = stand.fail(SERVICE).await;
        assert_eq!((error.class, error.reason), (Class::Credential, "Unauthorized"), "{error}");
        assert!(error.message.starts_with("HTTP 401: Access denied due to invalid subscription key or wrong API"));
    }
}

#[tokio::test]
async fn a_throttle_and_a_quota_last_as_long_as_the_gateway_says_however_it_says_it() {
    let stand = start().await;
    let gateway = stand.serving.gateway();
    for telling in [Telling::HeaderAndWords, Telling::Words, Telling::Header] {
        for flat in [false, true] {
            stand.serving.set_flat_errors(flat);
            gateway.set_telling(telling);
            stand.serving.control().play_once(Fault::Throttle { retry_after: Some(26) });
            let error = stand.fail(SERVICE).await;
            let expected = (Class::Throttled, Some(Duration::from_secs(26)));
            assert_eq!((error.class, error.retry_after), expected, "{telling:?}");
        }
    }
    gateway.set_telling(Telling::Words);
    gateway.use_up_quota(Some(Duration::from_secs(422)));
    let error = stand.fail(SERVICE).await;
    assert_eq!((error.class, error.reason), (Class::Throttled, "QuotaExceeded"));
    assert_eq!(error.retry_after, Some(Duration::from_secs(422)));
    assert_eq!(error.message, "HTTP 403: Out of call volume quota. Quota will be replenished in 00:07:02.");
}

#[tokio::test]
async fn p13_a_token_without_a_readable_expiry_has_the_promised_life() {
    let stand = start().await;
    for fault in [Fault::NotJwt, Fault::NoExpiry] {
        for (scope, rest, life) in [(SERVICE, "", 600), (&limited("Face.Verification"), "lifetime: 2h", 7200)] {
            stand.serving.control().play_once(fault.clone());
            let issued = stand.issue(scope, rest).await.unwrap();
            assert!(issued.expiry_assumed, "{fault:?}");
            assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::seconds(life));
        }
    }
    // the reference promises a JWT
    stand.serving.control().play_once(Fault::OpaqueToken);
    assert_eq!(stand.fail(SERVICE).await.reason, "BadAnswer");
    stand.serving.control().set_life(Life::Seconds(300));
    let issued = stand.issue(SERVICE, "").await.unwrap();
    assert!(!issued.expiry_assumed && issued.expires_at - issued.issued_at <= TimeDelta::seconds(300));
}
