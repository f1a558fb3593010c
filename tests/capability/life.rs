//! From YAML to Secret to renewal, and what a settled token costs.

use crate::OPERATOR;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use testkit::emulator::Life;
use testkit::scene::{SOON, Scene};
use testkit::stand::{Matcher, Observer, ObserverOptions, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p04_a_renewal_costs_one_call_two_writes_and_no_read() {
    let scene = Scene::new("renewal", OPERATOR).await.unwrap();
    scene.azure.video_indexer.control().set_life(Life::Seconds(30));
    let operator = scene.operator().await.unwrap();
    let first = scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.key_of("lobby", "token").await.unwrap().unwrap();
    assert!(scene.azure.video_indexer.control().knows(&token).is_some());
    assert_eq!(scene.issued(), 1);

    scene.proxy.reset_counts();
    let renewed = scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_ne!(first["status"]["expiresAt"], renewed["status"]["expiresAt"]);
    assert_ne!(scene.key_of("lobby", "token").await.unwrap().unwrap(), token);
    assert_eq!(scene.issued(), 2);
    let count = |matcher: &Matcher| scene.proxy.count(matcher);
    assert_eq!(count(&Matcher::patch("secrets")), 1);
    assert_eq!(count(&Matcher::patch("videoaccesstokens/status")), 1);
    assert_eq!(count(&Matcher::get("secrets").name("lobby")), 0, "the credential is read when a provider is resolved");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_no_secret_holds_an_expired_token() {
    let scene = Scene::new("alive", OPERATOR).await.unwrap();
    scene.azure.video_indexer.control().set_life(Life::Seconds(40));
    let control = scene.azure.video_indexer.clone();
    let truth = move |token: &str| control.control().knows(token).map(|known| known.expires_at);
    let options = ObserverOptions::new(&scene.namespace);
    let observer = Observer::start(scene.plane.admin(), options, truth).unwrap();
    let _operator = scene.operator().await.unwrap();
    for n in 0..5 {
        scene.apply(&scene.token(&format!("camera-{n}"), &json!({}))).await.unwrap();
    }
    eventually(SOON * 4, "two renewals of each", async || {
        if scene.issued() >= 15 { Ok(()) } else { Err(format!("{} issued", scene.issued())) }
    })
    .await;
    let report = observer.finish().await.unwrap();
    assert!(report.expired().is_zero(), "{report}");
    assert!(report.faults().is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_secrets_that_are_not_ours_never_reach_the_operator() {
    let scene = Scene::new("foreign", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let looks: Vec<_> = scene
        .proxy
        .log()
        .into_iter()
        .map(|exchange| exchange.request)
        .filter(|request| request.resource == "secrets" && (request.verb == "list" || request.verb == "watch"))
        .collect();
    assert!(!looks.is_empty());
    for look in looks {
        assert!(look.selects && look.metadata_only, "{look:?}");
    }
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_a_shorter_life_than_promised_sets_the_renewal() {
    let scene = Scene::new("shorter", OPERATOR).await.unwrap();
    scene.azure.video_indexer.control().set_life(Life::Seconds(600));
    let _operator = scene.operator().await.unwrap();
    // 12 h are asked for; 10 min are given
    let object = scene.ready_token("lobby", &json!({"lifetime": "12h"})).await.unwrap();
    let second = |member: &str| {
        let text = object["status"][member].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    };
    let (issued, expires, renews) = (second("issuedAt"), second("expiresAt"), second("renewAt"));
    assert!((expires - issued - 600).abs() <= 2, "{object}");
    assert!((380 - 2..=400).contains(&(renews - issued)), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_ten_thousand_secrets_of_others_take_no_memory() {
    const SECRETS: usize = 10_000;
    const MOST: u64 = 2_000_000;
    let scene = Scene::private("others", OPERATOR).await.unwrap();
    let operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let before = operator.rss_bytes().unwrap();
    let data = BTreeMap::from([("blob".to_owned(), ByteString(vec![b'x'; 4096]))]);
    let secrets = scene.secrets();
    let created = stream::iter(0..SECRETS).map(|n| {
        let metadata = ObjectMeta { name: Some(format!("theirs-{n:05}")), ..ObjectMeta::default() };
        let secret = Secret { metadata, data: Some(data.clone()), ..Secret::default() };
        let secrets = secrets.clone();
        async move { secrets.create(&PostParams::default(), &secret).await.map(drop) }
    });
    created.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
    scene.fence().await.unwrap();
    // also when it lists everything anew
    scene.proxy.cut_watches();
    scene.fence().await.unwrap();
    let after = operator.rss_bytes().unwrap();
    assert!(after < before + MOST, "{before} bytes before, {after} after {SECRETS} Secrets of others");
}
