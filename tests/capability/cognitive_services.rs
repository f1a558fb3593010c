//! The token API of Azure's AI services from YAML to Secret: renewal, a quota that is used up, and a key that is
//! refused and mended.

use crate::OPERATOR;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{CognitiveServices, Emulator as _, Life, Serving, Telling, cognitive_example as example};
use testkit::scene::Scene;
use testkit::stand::Matcher;

/// A namespace with the example's resource in a provider named `face`.
async fn scene(prefix: &str, key: &str) -> (Scene, Serving<CognitiveServices>) {
    let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    let services = CognitiveServices::furnished().unwrap();
    let serving = Serving::start(services, scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    scene.apply(&scene.keys("face-key", &serving.host(), &json!({"key": key}))).await.unwrap();
    let account = json!({"endpoint": serving.url(), "keyRef": {"name": "face-key", "key": "key"}});
    let provider = scene.provider_of("face", &serving.ca_pem(), &json!({"cognitiveServices": account}));
    scene.apply(&provider).await.unwrap();
    (scene, serving)
}

/// A token for the customer's resource.
fn door(scene: &Scene, lifetime: &str) -> Value {
    let access = json!({"targetAzureResourceId": example::TARGET, "featureFlags": ["Face.Identification"]});
    let scope = json!({"cognitiveServices": {"limitedAccess": access}});
    scene.token_of("door", "face", &scope, &json!({"lifetime": lifetime}))
}

fn service(scene: &Scene, name: &str) -> Value {
    scene.token_of(name, "face", &json!({"cognitiveServices": {"service": {}}}), &json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_token_are_kept_fresh_by_one_call_each() {
    let (scene, serving) = scene("face", example::KEY).await;
    let control = serving.control();
    let operator = scene.operator().await.unwrap();
    // as asked
    scene.ready(&door(&scene, "90m")).await.unwrap();
    let token = scene.settled_at(control, "door").await.unwrap();
    let known = control.knows(&token).unwrap();
    assert_eq!((known.expires_at - known.issued_at).num_minutes(), 90);
    assert!(known.request.starts_with("issueLimitedAccessToken 5400 Face.Identification /subscriptions/"));

    // ten minutes by the reference; here shorter, to be renewed
    control.set_life(Life::Seconds(30));
    scene.ready(&service(&scene, "speech")).await.unwrap();
    let first = scene.settled_at(control, "speech").await.unwrap();
    assert_eq!(control.counters().requests, 2);
    scene.proxy.reset_counts();
    scene.until_that("speech", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_ne!(scene.settled_at(control, "speech").await.unwrap(), first);
    assert_eq!(control.counters().requests, 3);
    let count = |matcher: &Matcher| scene.proxy.count(matcher);
    assert_eq!((count(&Matcher::patch("secrets")), count(&Matcher::get("secrets"))), (1, 0));
    assert_eq!(scene.settled_at(control, "door").await.unwrap(), token, "the other is left as it is");
    let logs = operator.logs();
    assert!(logs.contains("token API answered"));
    for secret in [example::KEY, &first] {
        assert!(!logs.contains(secret), "p11");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_quota_that_is_used_up_stops_the_account_until_it_is_replenished() {
    const WAIT: u64 = 12;
    const OBJECTS: usize = 4;
    let (scene, serving) = scene("face-quota", example::KEY).await;
    let control = serving.control();
    serving.gateway().set_telling(Telling::Words);
    serving.gateway().use_up_quota(Some(Duration::from_secs(WAIT)));
    let _operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("speech-{n}");
    scene.apply(&service(&scene, &name(0))).await.unwrap();
    let throttled = |object: &Value| object["status"]["lastFailure"]["reason"] == "QuotaExceeded";
    let object = scene.until_that(&name(0), "out of quota", throttled).await.unwrap();
    let failure = &object["status"]["lastFailure"];
    assert_eq!(failure["class"], "Throttled");
    let message = "HTTP 403: Out of call volume quota. Quota will be replenished in 00:00:12.";
    assert_eq!(failure["message"], message);
    serving.gateway().use_up_quota(None);
    for n in 1..OBJECTS {
        scene.apply(&service(&scene, &name(n))).await.unwrap();
    }
    for n in 0..OBJECTS {
        scene.settled_at(control, &name(n)).await.unwrap();
    }
    let requests = control.requests();
    assert_eq!(requests.len(), OBJECTS + 1);
    let pause = requests[1].call.time - requests[0].call.time;
    assert!(pause.to_std().unwrap() >= Duration::from_secs(WAIT), "{pause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_resource_is_tried_once_and_heals_when_it_changes() {
    let (scene, serving) = scene("face-401", "0123456789abcdef0123456789abcdef").await;
    let control = serving.control();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&service(&scene, "speech")).await.unwrap();
    let refused = |object: &Value| object["status"]["lastFailure"]["class"] == "Credential";
    let object = scene.until_that("speech", "is refused", refused).await.unwrap();
    let failure = &object["status"]["lastFailure"];
    assert_eq!(failure["reason"], "Unauthorized");
    assert!(failure["message"].as_str().unwrap().contains("wrong API endpoint"), "{failure}");
    assert_eq!(failure["requestId"], control.requests()[0].call.request_id.to_string());
    scene.apply(&door(&scene, "1h")).await.unwrap();
    // a refresh of the spec changes nothing about the key
    scene.touch("speech").await.unwrap();

    scene.patch_secret("face-key", &json!({"stringData": {"key": example::KEY}})).await.unwrap();
    for name in ["speech", "door"] {
        scene.settled_at(control, name).await.unwrap();
    }
    let statuses: Vec<_> = control.requests().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(401), Some(200), Some(200)]);
}
