//! The classic Video Indexer API from YAML to Secret: renewal, throttle, and a key that is refused and mended.

use crate::OPERATOR;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{
    Emulator as _, Fault, Life, Rule, Serving, Telling, VideoIndexerClassic, classic_example as example,
};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::Matcher;

/// A namespace with the example's account in a provider named `classic`.
async fn scene(prefix: &str, key: &str) -> (Scene, Serving<VideoIndexerClassic>) {
    let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    let classic = VideoIndexerClassic::furnished().unwrap();
    let serving = Serving::start(classic, scene.azure.ca()).await.unwrap();
    scene.allow(&serving);
    let account = json!({"endpoint": serving.url(), "location": example::LOCATION, "accountId": example::ACCOUNT_ID,
        "subscriptionKeyRef": {"name": "classic-key", "key": "subscription-key"}});
    scene.apply(&scene.keys("classic-key", &serving.host(), &json!({"subscription-key": key}))).await.unwrap();
    let provider = scene.provider_of("classic", &serving.ca_pem(), &json!({"videoIndexerClassic": account}));
    scene.apply(&provider).await.unwrap();
    (scene, serving)
}

/// A token for the example's video.
fn token(scene: &Scene, name: &str) -> Value {
    let scope = json!({"videoIndexerClassic": {"video": {"videoId": example::VIDEO_ID}}});
    scene.token_of(name, "classic", &scope, &json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_token_is_kept_fresh_by_one_call_each() {
    let (scene, serving) = scene("classic", example::OWNERS_KEY).await;
    let control = serving.control();
    control.set_life(Life::Seconds(30));
    let operator = scene.operator().await.unwrap();
    scene.ready(&token(&scene, "lobby")).await.unwrap();
    let first = scene.settled_at(control, "lobby").await.unwrap();
    assert_eq!(control.counters().requests, 1);

    scene.proxy.reset_counts();
    serving.set_bare(true);
    let renewed = |object: &Value| object["status"]["issuances"] == 2;
    scene.until_that("lobby", "renewed", renewed).await.unwrap();
    assert_ne!(scene.settled_at(control, "lobby").await.unwrap(), first);
    assert_eq!(control.counters().requests, 2);
    let count = |matcher: &Matcher| scene.proxy.count(matcher);
    assert_eq!((count(&Matcher::patch("secrets")), count(&Matcher::get("secrets"))), (1, 0));
    assert_eq!(control.reused_client_request_ids(), [""; 0]);
    let logs = operator.logs();
    assert!(logs.contains("token API answered"));
    for secret in [example::OWNERS_KEY, &first] {
        assert!(!logs.contains(secret), "p11");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_classic_account_is_left_alone_for_as_long_as_the_words_ask() {
    const WAIT: u64 = 12;
    const OBJECTS: usize = 4;
    let (scene, serving) = scene("classic-429", example::OWNERS_KEY).await;
    let control = serving.control();
    let _operator = scene.operator().await.unwrap();
    let name = |n: usize| format!("camera-{n}");
    scene.ready(&token(&scene, &name(0))).await.unwrap();
    serving.gateway().set_telling(Telling::Words);
    control.play(Rule::new(Fault::Throttle { retry_after: Some(WAIT) }).times(1));
    let before = control.requests().len();
    scene.force_renewal(&name(0)).await.unwrap();
    let throttled = |object: &Value| object["status"]["lastFailure"]["class"] == "Throttled";
    let object = scene.until_that(&name(0), "throttled", throttled).await.unwrap();
    let message = "HTTP 429: Rate limit is exceeded. Try again in 12 seconds.";
    assert_eq!(object["status"]["lastFailure"]["message"], message);
    for n in 1..OBJECTS {
        scene.apply(&token(&scene, &name(n))).await.unwrap();
    }
    for n in 0..OBJECTS {
        scene.settled_at(control, &name(n)).await.unwrap();
    }
    let requests = &control.requests()[before..];
    assert_eq!(requests.len(), OBJECTS + 1);
    let pause = requests[1].call.time - requests[0].call.time;
    assert!(pause.to_std().unwrap() >= Duration::from_secs(WAIT), "{pause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_subscription_key_is_tried_once_and_heals_when_it_changes() {
    let (scene, serving) = scene("classic-401", "0123456789abcdef0123456789abcdef").await;
    let control = serving.control();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&token(&scene, "lobby")).await.unwrap();
    let refused = |object: &Value| object["status"]["lastFailure"]["reason"] == "Unauthorized";
    let object = scene.until_that("lobby", "is refused", refused).await.unwrap();
    let failure = &object["status"]["lastFailure"];
    assert_eq!(failure["class"], "Credential");
    assert!(failure["message"].as_str().unwrap().contains("invalid subscription key"), "{failure}");
    scene.apply(&token(&scene, "yard")).await.unwrap();
    // a wait is told when it has lasted for half a minute
    let waits = |object: &Value| condition(object, "Issuing")["reason"] == "CredentialRejected";
    scene.until_within(SOON * 3, "yard", "waits for the credential", waits).await.unwrap();
    assert_eq!(control.counters().requests, 1, "one tried for both");

    let key = json!({"stringData": {"subscription-key": example::OWNERS_KEY}});
    scene.patch_secret("classic-key", &key).await.unwrap();
    for name in ["lobby", "yard"] {
        scene.settled_at(control, name).await.unwrap();
    }
    assert_eq!(control.counters().requests, 3);
}
