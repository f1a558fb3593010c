//! Behaviour of every token API whose credentials are keys, from YAML to Secret. The cases are the rows of
//! `testkit::offers`. Files with a product's name contain the behaviour of that product alone.

use crate::OPERATOR;
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{Life, Rule};
use testkit::offers::{Offer, THROTTLED_FOR, offers};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::Matcher;

/// Returns a namespace with a provider of each type. The operator may call their emulators.
async fn scene(prefix: &str) -> (Scene, Vec<Offer>) {
    let mut scene = Scene::bare(prefix, OPERATOR).await.unwrap();
    let offers = offers(scene.azure.ca()).await.unwrap();
    for offer in &offers {
        scene.options.allowed_endpoints.push(offer.host.clone());
        for object in offer.provider(&scene) {
            scene.apply(&object).await.unwrap();
        }
    }
    (scene, offers)
}

/// Applies a token of this type and waits until it is ready.
async fn ready(scene: &Scene, offer: &Offer, name: &str) {
    scene.ready(&offer.token(scene, name, &json!({}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_a_token_of_each_type_is_kept_fresh_by_one_call_and_one_write_each() {
    let (scene, offers) = scene("fresh").await;
    for offer in &offers {
        offer.control.set_life(Life::Seconds(40));
    }
    let _operator = scene.operator().await.unwrap();
    let is_renewed = async |offer: &Offer| {
        let name = offer.provider_name();
        ready(&scene, offer, &name).await;
        let first = scene.settled_at(&offer.control, &name).await.unwrap();
        assert_eq!((offer.control.counters().requests, scene.secret_writes(&name)), (1, 1), "{name}");
        let reads = || scene.proxy.count(&Matcher::get("secrets").name(&name));
        let reads_before = reads();

        let renewed = |object: &Value| object["status"]["issuances"] == 2;
        scene.until_within(SOON * 2, &name, "renewed", renewed).await.unwrap();
        assert_ne!(scene.settled_at(&offer.control, &name).await.unwrap(), first, "{name}");
        assert_eq!((offer.control.counters().requests, scene.secret_writes(&name)), (2, 2), "{name}");
        assert_eq!(reads(), reads_before, "{name}: a renewal reads nothing");
    };
    join_all(offers.iter().map(is_renewed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_refused_keys_of_each_type_are_tried_once_and_heal_when_they_change() {
    let (scene, offers) = scene("refused").await;
    for offer in &offers {
        // before the operator starts, which could use the good keys of its cache otherwise
        scene.patch_secret(&offer.secret_name(), &json!({"stringData": offer.wrong_keys})).await.unwrap();
    }
    let _operator = scene.operator().await.unwrap();
    let heals = async |offer: &Offer| {
        let (first, second) = (format!("{}-first", offer.provider_name()), format!("{}-second", offer.provider_name()));
        scene.apply(&offer.token(&scene, &first, &json!({}))).await.unwrap();
        let refused = |object: &Value| object["status"]["lastFailure"]["reason"] == "Unauthorized";
        let object = scene.until_that(&first, "is refused", refused).await.unwrap();
        let failure = &object["status"]["lastFailure"];
        assert_eq!(failure["class"], "Credential", "{failure}");
        assert!(failure["message"].as_str().unwrap().contains(offer.refusal), "{failure}");
        let request_id = offer.control.requests()[0].call.request_id.to_string();
        assert_eq!(failure["requestId"], json!(offer.has_request_ids.then_some(request_id)), "{failure}");
        // a second token and an edit of the spec leave the keys as they are
        scene.apply(&offer.token(&scene, &second, &json!({}))).await.unwrap();
        scene.touch(&first).await.unwrap();
        // the status reports a wait after half a minute
        let waits = |object: &Value| condition(object, "Issuing")["reason"] == "CredentialRejected";
        scene.until_within(SOON * 3, &second, "waits for the credential", waits).await.unwrap();
        assert_eq!(offer.control.counters().requests, 1, "{}: one tried for both", offer.type_);

        scene.patch_secret(&offer.secret_name(), &json!({"stringData": offer.keys})).await.unwrap();
        for name in [&first, &second] {
            scene.settled_at(&offer.control, name).await.unwrap();
        }
        assert_eq!(offer.control.counters().requests, 3, "{}", offer.type_);
    };
    join_all(offers.iter().map(heals)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_an_account_of_each_type_is_left_alone_for_as_long_as_it_asks() {
    const OBJECTS: usize = 4;
    let (scene, offers) = scene("throttled").await;
    let _operator = scene.operator().await.unwrap();
    let is_left_alone = async |offer: &Offer| {
        for (n, throttle) in offer.throttles.iter().enumerate() {
            let name = |object: usize| format!("{}-{n}-{object}", offer.provider_name());
            ready(&scene, offer, &name(0)).await;
            let before = offer.control.requests().len();
            offer.control.play(Rule::new(throttle.clone()).times(1));
            scene.force_renewal(&name(0)).await.unwrap();
            let throttled = |object: &Value| object["status"]["lastFailure"]["class"] == "Throttled";
            scene.until_that(&name(0), "throttled", throttled).await.unwrap();
            for object in 1..OBJECTS {
                scene.apply(&offer.token(&scene, &name(object), &json!({}))).await.unwrap();
            }
            for object in 0..OBJECTS {
                scene.settled_at(&offer.control, &name(object)).await.unwrap();
            }
            let requests = &offer.control.requests()[before..];
            assert_eq!(requests.len(), OBJECTS + 1, "{throttle:?}");
            let pause = requests[1].call.time - requests[0].call.time;
            assert!(pause.to_std().unwrap() >= Duration::from_secs(THROTTLED_FOR), "{throttle:?}: {pause}");
        }
    };
    join_all(offers.iter().map(is_left_alone)).await;
}
