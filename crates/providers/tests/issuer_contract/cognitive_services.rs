//! The token API of Azure's AI services: both operations, and each way that they fail.

use super::keyed::Keyed;
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::emulator::{CognitiveServices, Fault, claims, cognitive_example as example};
use videotoken_providers::Class;

pub(crate) const SERVICE: &str = "cognitiveServices: {service: {}}";

/// The example's resource by way of its key.
pub(crate) async fn start() -> Keyed<CognitiveServices> {
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
        let truth = stand.control.knows(issued.token.expose_secret()).expect("the token as it was issued");
        assert_eq!((issued.expires_at, issued.expiry_assumed), (truth.expires_at, false));
        assert_eq!(truth.expires_at - truth.issued_at, TimeDelta::seconds(life));
    }
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
async fn each_refusal_of_its_own_has_its_class_reason_and_message() {
    use Class::{Configuration, Credential, Denied, Throttled, Transient};
    let stand = start().await;
    let nested = |code: &str, words: &str| json!({"error": {"code": code, "message": words}}).to_string();
    let flat = |code: &str, words: &str| json!({"code": code, "message": words}).to_string();
    let quota = "Out of call volume quota for Face F0 pricing tier. Please retry after 12 minutes. To increase";
    let cases = [
        (
            Fault::status(400, nested("BadArgument", "no such flag"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: BadArgument: no such flag",
        ),
        (
            Fault::status(400, flat("BadArgument", "no such flag"), &[]),
            (Configuration, "BadRequest", None),
            "HTTP 400: BadArgument: no such flag",
        ),
        (
            Fault::status(401, nested("PermissionDenied", "Principal"), &[]),
            (Credential, "Unauthorized", None),
            "HTTP 401: PermissionDenied: Principal",
        ),
        (
            Fault::status(403, nested("AuthenticationTypeDisabled", "Key based"), &[]),
            (Denied, "Forbidden", None),
            "HTTP 403: AuthenticationTypeDisabled: Key",
        ),
        (
            Fault::status(403, nested("403", quota), &[]),
            (Throttled, "QuotaExceeded", Some(720)),
            "HTTP 403: Out of call",
        ),
        (Fault::status(403, flat("403", quota), &[]), (Throttled, "QuotaExceeded", Some(720)), "HTTP 403: Out of call"),
        (
            Fault::status(403, flat("403", quota), &[("retry-after", "9")]),
            (Throttled, "QuotaExceeded", Some(9)),
            "HTTP 403: Out of call",
        ),
        (
            Fault::status(429, flat("RateLimitExceeded", "Rate limit is exceeded. Try again later."), &[]),
            (Throttled, "Throttled", None),
            "HTTP 429: RateLimitExceeded: Rate limit is exceeded. Try again later.",
        ),
        (Fault::status(411, "<html>", &[]), (Transient, "UnexpectedStatus", None), "HTTP 411: a page in HTML"),
        (
            Fault::status(500, nested("InternalServerError", "oh"), &[]),
            (Transient, "ServerError", None),
            "HTTP 500: Internal",
        ),
        (Fault::HalfJson, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::NoToken, (Transient, "BadAnswer", None), "HTTP 200: no token in it"),
        (Fault::EchoRequest, (Configuration, "BadRequest", None), "HTTP 400: "),
    ];
    stand.refuses(SERVICE, true, cases).await;
}

#[tokio::test]
async fn a_key_of_another_resource_and_a_feature_that_was_not_granted_are_told_apart() {
    for flat in [false, true] {
        let stand = start().await;
        stand.serving.set_flat_errors(flat);
        let error = stand.fail(&limited("Face.Verification, LimitedAccess.HighRisk")).await;
        assert_eq!((error.class, &*error.reason), (Class::Denied, "Forbidden"), "{error}");
        assert!(error.message.contains("following features: LimitedAccess.HighRisk."), "{error}");
        stand.serving.grant_feature(example::ISSUER, "LimitedAccess.HighRisk");
        stand.issue(&limited("Face.Verification, LimitedAccess.HighRisk"), "").await.unwrap();

        stand.serving.gateway().remove_key(example::KEY);
        let error = stand.fail(SERVICE).await;
        assert_eq!((error.class, &*error.reason), (Class::Credential, "Unauthorized"), "{error}");
    }
}

#[tokio::test]
async fn p13_only_a_jwt_is_a_token_and_each_operation_has_its_own_promised_life() {
    let stand = start().await;
    for fault in [Fault::NotJwt, Fault::NoExpiry] {
        for (scope, rest, life) in [(SERVICE, "", 600), (&limited("Face.Verification"), "lifetime: 2h", 7200)] {
            stand.control.play_once(fault.clone());
            let issued = stand.issue(scope, rest).await.unwrap();
            assert!(issued.expiry_assumed, "{fault:?}");
            assert_eq!(issued.expires_at - issued.issued_at, TimeDelta::seconds(life));
        }
    }
    stand.control.play_once(Fault::OpaqueToken);
    assert_eq!(stand.fail(SERVICE).await.reason, "BadAnswer");
}
