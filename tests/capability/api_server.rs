//! P01 and P05 while the API server is away, or takes no writes: the write is retried, never the issue.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::Duration;
use testkit::emulator::{HoldPoint, Life};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::throughout;
use testkit::stand::{Failure, Matcher, eventually};
use tokio::time::timeout;

/// Past the time when a closed gate would let one try through.
const SEVERAL_TRIES: Duration = Duration::from_secs(14);

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_token_issued_while_the_api_server_is_away_is_stored_later_and_nothing_else_is_issued() {
    let mut scene = Scene::private("away", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control().clone();
    let operator = scene.operator().await.unwrap();
    // due while the API server is away, and alive until it is back
    control.set_life(Life::Seconds(120));
    let due = json!({"renewBefore": "100s"});
    let mut renews_at = Vec::new();
    for name in ["due-0", "due-1", "due-2"] {
        scene.ready_token(name, &due).await.unwrap();
        scene.settled(name).await.unwrap();
        let object = scene.tokens().get(name).await.unwrap();
        let due_at = object.data["status"]["renewAt"].as_str().unwrap().to_owned();
        renews_at.push(DateTime::parse_from_rfc3339(&due_at).unwrap().to_utc());
    }
    control.set_life(Life::Promised);
    let hold = control.hold(HoldPoint::Answer, None);
    scene.apply(&scene.token("late", &json!({}))).await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    scene.plane_mut().unwrap().stop_apiserver();
    assert_eq!(scene.issued(), 4, "nothing is due before the API server is away");
    hold.release();
    eventually(SOON, "the write fails", async || {
        if operator.logs().contains("a request to the API server failed") { Ok(()) } else { Err("no sign of it") }
    })
    .await;

    let last = renews_at.iter().max().unwrap();
    let wait = (*last - Utc::now()).max(TimeDelta::zero()).to_std().unwrap() + SEVERAL_TRIES;
    throughout(wait, "no call while the API server is away", async || {
        if scene.issued() == 4 { Ok(()) } else { Err(format!("{} issued", scene.issued())) }
    })
    .await;

    scene.plane_mut().unwrap().start_apiserver().await.unwrap();
    scene.settled("late").await.unwrap();
    for name in ["due-0", "due-1", "due-2"] {
        scene.until_that(name, "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
        scene.settled(name).await.unwrap();
    }
    assert_eq!(scene.issued(), 4 + 3);
}

/// Waits until the Secret holds another token.
async fn replaced(scene: &Scene, name: &str, old: &str) {
    eventually(SOON, "another token", async || match scene.held(name).await {
        Ok(token) if token == old => Err("the old one".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_failing_write_is_retried_and_its_token_kept() {
    let scene = Scene::new("failing", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for failure in [Failure::Status(500), Failure::Status(429), Failure::Closed, Failure::LostAnswer] {
        let (old, before) = (scene.settled("lobby").await.unwrap(), scene.issued());
        let failing = scene.proxy.fail(Matcher::patch("secrets").name("lobby").first(3), failure);
        scene.force_renewal("lobby").await.unwrap();
        replaced(&scene, "lobby", &old).await;
        scene.settled("lobby").await.unwrap();
        // the answer is lost once: then the Secret is seen to hold the token
        let tries = if failure == Failure::LostAnswer { 1 } else { 3 };
        assert!(failing.hits() >= tries, "{failure:?}: {} failed", failing.hits());
        assert_eq!(scene.issued(), before + 1, "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_a_secret_that_cannot_be_written_holds_up_no_other() {
    let scene = Scene::new("stuck", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let mut old = Vec::new();
    for name in ["camera-0", "camera-1", "camera-2"] {
        scene.ready_token(name, &json!({})).await.unwrap();
        old.push((name, scene.settled(name).await.unwrap()));
    }
    // as a webhook would that is down
    let failing = scene.proxy.fail(Matcher::patch("secrets").name("stuck"), Failure::Status(500));
    scene.apply(&scene.token("stuck", &json!({}))).await.unwrap();
    scene.until("stuck", "Issuing", "True", "SecretWriteFailed").await.unwrap();
    for (name, old) in &old {
        scene.force_renewal(name).await.unwrap();
        replaced(&scene, name, old).await;
    }
    scene.fence().await.unwrap();
    drop(failing);
    scene.settled("stuck").await.unwrap();
    assert_eq!(scene.issued(), 3 + 1 + 3 + 1, "with the fence's");
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_refused_write_is_told_and_its_token_kept_until_it_is_taken() {
    let scene = Scene::new("refused", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for (n, code) in [403, 422].into_iter().enumerate() {
        let (old, before) = (scene.settled("lobby").await.unwrap(), scene.issued());
        let failing = scene.proxy.fail(Matcher::patch("secrets").name("lobby"), Failure::Status(code));
        scene.force_renewal("lobby").await.unwrap();
        let object = scene.until("lobby", "Stalled", "True", "SecretRefused").await.unwrap();
        assert_eq!(condition(&object, "Ready")["status"], "True", "{code}: {}", object["status"]);
        assert_eq!(scene.held("lobby").await.unwrap(), old, "{code}");
        assert_eq!(failing.hits(), 1, "{code}: not at once again");
        drop(failing);
        // a change excuses it
        let change = json!({"spec": {"renewBefore": format!("{}m", 10 + n)}});
        scene.patch("lobby", &change).await.unwrap();
        scene.until("lobby", "Stalled", "False", "").await.unwrap();
        assert_ne!(scene.settled("lobby").await.unwrap(), old, "{code}");
        assert_eq!(scene.issued(), before + 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_another_hand_between_call_and_write_costs_no_second_token() {
    let scene = Scene::new("conflict", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for (n, edit) in [
        json!({"metadata": {"labels": {"seen-by": "backup"}}}),
        json!({"data": {"token": "Zm9yZ2Vk"}}),
        json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "another"}}}),
    ]
    .into_iter()
    .enumerate()
    {
        let old = scene.settled("lobby").await.unwrap();
        let held = scene.proxy.hold(Matcher::patch("secrets").name("lobby").first(1));
        scene.force_renewal("lobby").await.unwrap();
        held.wait().await;
        scene.secrets().patch("lobby", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
        held.release();
        scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == n + 2).await.unwrap();
        assert_ne!(scene.settled("lobby").await.unwrap(), old, "{edit}");
        assert_eq!(scene.issued(), n + 2, "{edit}");
        let labels = scene.secrets().get_metadata("lobby").await.unwrap().metadata.labels.unwrap();
        assert_eq!(labels["seen-by"], "backup", "what isn't ours is left alone");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "video-token-operator");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_foreign_secret_that_comes_between_call_and_first_write_is_left_alone() {
    let scene = Scene::new("foreign", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let held = scene.proxy.hold(Matcher::patch("secrets").name("lobby").first(1));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    held.wait().await;
    let foreign = Secret {
        metadata: ObjectMeta { name: Some("lobby".to_owned()), ..ObjectMeta::default() },
        string_data: Some([("theirs".to_owned(), "kept".to_owned())].into()),
        ..Secret::default()
    };
    let foreign = scene.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    held.release();
    scene.until("lobby", "Stalled", "True", "SecretNotOwned").await.unwrap();
    let found = scene.secrets().get("lobby").await.unwrap();
    assert_eq!((found.metadata.resource_version, found.data), (foreign.metadata.resource_version, foreign.data));
    // the token at hand is for the new name
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "entrance"}}})).await.unwrap();
    scene.until("lobby", "Ready", "True", "").await.unwrap();
    scene.settled("lobby").await.unwrap();
    assert_eq!(scene.issued(), 1);
}
