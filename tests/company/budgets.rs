//! P06 and P20: an account's limits hold whatever becomes of its objects and of the process.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{Fault, HoldPoint, Rule, example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::{eventually, wait::own_kind};

/// A provider `indexer` whose account may be called so often in an hour, one call at a time, and another without such a
/// limit, `free`, by which a test tells that the operator has had time.
async fn scene(prefix: &str, hourly: u32) -> Scene {
    let scene = Scene::new(prefix, OPERATOR).await.unwrap();
    scene.apply(&limited(&scene, hourly)).await.unwrap();
    let other = format!("{}-of-another-account", example::CLIENT_SECRET);
    scene.azure.entra.add_secret(example::CLIENT_ID, &other);
    scene.apply(&scene.credentials("free-login", &other)).await.unwrap();
    scene.apply(&scene.provider("free", &client_secret("free-login"))).await.unwrap();
    scene
}

fn limited(scene: &Scene, hourly: u32) -> Value {
    let mut provider = scene.provider("indexer", &client_secret("azure-login"));
    provider["spec"]["limits"] = json!({"windows": [{"requests": hourly, "period": "1h"}], "concurrency": 1});
    provider
}

fn providers(scene: &Scene) -> Api<DynamicObject> {
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("TokenProvider"))
}

/// The calls of the token API so far.
fn calls(scene: &Scene) -> usize {
    scene.azure.video_indexer.control().requests().len()
}

/// The operator has had time for all that was asked of it: an object of the other account is served. Costs a call.
async fn fence(scene: &Scene, n: usize) {
    scene.ready_token(&format!("fence-{n}"), &json!({"providerRef": {"name": "free"}})).await.unwrap();
}

/// What becomes of the object, or of its provider, during the call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Deleted,
    Recreated,
    Renamed,
    ProviderSwitched,
    ProviderEdited,
    ProviderRecreated,
}

async fn befall(scene: &Scene, fate: Fate) {
    let lobby = scene.token("lobby", &json!({}));
    match fate {
        Fate::Deleted => scene.delete_token("lobby").await.unwrap(),
        Fate::Recreated => {
            scene.delete_token("lobby").await.unwrap();
            scene.apply(&lobby).await.unwrap();
        }
        Fate::Renamed => {
            scene.delete_token("lobby").await.unwrap();
            scene.apply(&scene.token("entrance", &json!({}))).await.unwrap();
        }
        Fate::ProviderSwitched => {
            scene.patch("lobby", &json!({"spec": {"providerRef": {"name": "nowhere"}}})).await.unwrap();
        }
        Fate::ProviderEdited => {
            let patch = json!({"spec": {"limits": {"concurrency": 2}}});
            providers(scene).patch("indexer", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
        Fate::ProviderRecreated => {
            providers(scene).delete("indexer", &DeleteParams::default()).await.unwrap();
            let removed = |object: &Value| condition(object, "Stalled")["reason"] == "ProviderNotFound";
            scene.apply(&scene.token("watcher", &json!({}))).await.unwrap();
            scene.until_that("watcher", "misses its provider", removed).await.unwrap();
            scene.apply(&limited(scene, 1)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_an_object_that_goes_during_its_call_gives_no_call_back() {
    for fate in [
        Fate::Deleted,
        Fate::Recreated,
        Fate::Renamed,
        Fate::ProviderSwitched,
        Fate::ProviderEdited,
        Fate::ProviderRecreated,
    ] {
        let scene = scene("gone", 1).await;
        let _operator = scene.operator().await.unwrap();
        let control = scene.azure.video_indexer.control();
        let held = control.hold(HoldPoint::Request, None);
        scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
        held.reached().await;
        befall(&scene, fate).await;
        fence(&scene, 0).await;
        // the slot is taken, and nobody else is called for while it is
        for n in 0..3 {
            scene.apply(&scene.token(&format!("greedy-{n}"), &json!({}))).await.unwrap();
        }
        fence(&scene, 1).await;
        assert_eq!(calls(&scene), 1 + 2, "{fate:?}: during the call, with two fences");
        held.release();
        // nor after it: the window is used up for an hour, whoever comes and goes
        for n in 0..3 {
            scene.delete_token(&format!("greedy-{n}")).await.unwrap();
            scene.apply(&scene.token(&format!("greedy-{n}"), &json!({}))).await.unwrap();
            fence(&scene, 2 + n).await;
        }
        assert_eq!(calls(&scene), 1 + 5, "{fate:?}: after the call, with five fences");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_what_the_answer_says_of_the_account_outlives_the_object() {
    for recreated in [false, true] {
        let scene = scene("answer", 1000).await;
        let _operator = scene.operator().await.unwrap();
        let control = scene.azure.video_indexer.control();
        let held = control.hold(HoldPoint::Request, None);
        scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
        held.reached().await;
        scene.delete_token("lobby").await.unwrap();
        if recreated {
            scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
        }
        fence(&scene, 0).await;
        // the next request that goes on is the one that is held
        control.play(Rule::new(Fault::Throttle { retry_after: Some(3000) }).times(1));
        held.release();
        let throttled = |object: &Value| object["status"]["throttledUntil"].is_string();
        scene.until_provider("indexer", "is throttled", throttled).await.unwrap();
        scene.apply(&scene.token("entrance", &json!({}))).await.unwrap();
        fence(&scene, 1).await;
        assert_eq!(calls(&scene), 1 + 2, "recreated: {recreated}; with two fences");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_a_restart_grants_no_window_anew() {
    let scene = scene("restarts", 2).await;
    for start in 0..4 {
        let mut operator = scene.operator().await.unwrap();
        if start == 0 {
            scene.ready_token("first", &json!({})).await.unwrap();
            scene.ready_token("second", &json!({"secret": {"deletionPolicy": "Retain"}})).await.unwrap();
            // its Secret stays, and another object of its name has it
            scene.delete_token("second").await.unwrap();
            scene.ready_token("second", &json!({"secret": {"deletionPolicy": "Retain"}})).await.unwrap();
        }
        scene.apply(&scene.token(&format!("third-{start}"), &json!({}))).await.unwrap();
        fence(&scene, start).await;
        assert_eq!(calls(&scene), 2 + start + 1, "after {start} restarts, with the fences");
        operator.terminate().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_what_outlives_the_process_leaves_the_rest_of_the_window() {
    let scene = scene("rest", 4).await;
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("first", &json!({})).await.unwrap();
    operator.terminate().await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("second", &json!({})).await.unwrap();
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("third", &json!({})).await.unwrap();
    scene.ready_token("fourth", &json!({})).await.unwrap();
    scene.apply(&scene.token("fifth", &json!({}))).await.unwrap();
    fence(&scene, 0).await;
    assert_eq!(calls(&scene), 4 + 1, "with the fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_fight_over_the_token_costs_three_calls() {
    let scene = Scene::new("fight", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let fights = |object: &Value| condition(object, "Stalled")["reason"] == "SecretContested";
    // another writer puts its own token there whenever it is gone
    let waits = eventually(SOON, "it waits", async || {
        let token = scene.key_of("lobby", "token").await.map_err(|error| error.to_string())?;
        if token.as_deref() != Some("theirs") {
            let theirs = json!({"stringData": {"token": "theirs"}});
            scene.patch_secret("lobby", &theirs).await.map_err(|error| error.to_string())?;
        }
        let object = scene.tokens().get("lobby").await.map_err(|error| error.to_string())?;
        let object = serde_json::to_value(object).unwrap_or_default();
        if fights(&object) { Ok(object) } else { Err(object["status"].to_string()) }
    })
    .await;
    assert_eq!(scene.issued(), 1 + 3);
    let message = condition(&waits, "Stalled")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("field manager") && message.contains("data[token]"), "{message}");
    let expected = ("Warning".to_owned(), "SecretContested".to_owned(), 1);
    scene.until_events("lobby", |told| told.contains(&expected)).await;
    // deletion is the same fight
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), 1 + 3 + 1, "with the fence");
    // an edit of the spec ends the wait
    scene.touch("lobby").await.unwrap();
    scene.settled("lobby").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_an_annotation_that_flaps_is_served_at_once_the_first_times() {
    let scene = Scene::new("flap", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let began = Utc::now();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for n in 0..60 {
        pace.tick().await;
        let asked = format!("2099-01-01T00:00:{n:02}Z");
        let renew = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": asked}}});
        scene.patch("lobby", &renew).await.unwrap();
    }
    let seconds = (Utc::now() - began).num_seconds();
    let issued = i64::try_from(scene.issued()).unwrap();
    assert!(issued <= 1 + 5 + 3 + seconds / 10, "{issued} in {seconds} s");
}

/// Merges into a status by hand.
async fn write_status(api: &Api<DynamicObject>, name: &str, status: &Value) {
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_times_far_ahead_in_a_status_hold_nothing_for_long() {
    let scene = scene("ahead", 1000).await;
    let far = (Utc::now() + TimeDelta::days(1)).to_rfc3339();
    let mut operator = scene.operator().await.unwrap();
    let refusal = Fault::Status { code: 400, body: "{}".to_owned(), headers: Vec::new() };
    scene.azure.video_indexer.control().play(refusal);
    for (name, provider) in [("lobby", "free"), ("entrance", "free"), ("gate", "indexer")] {
        scene.apply(&scene.token(name, &json!({"providerRef": {"name": provider}}))).await.unwrap();
        scene.until(name, "Stalled", "True", "BadRequest").await.unwrap();
    }
    operator.terminate().await.unwrap();
    scene.azure.video_indexer.control().clear_faults();
    for (name, class) in [("lobby", "Transient"), ("entrance", "Configuration")] {
        let failure =
            json!({"time": far, "class": class, "reason": "ServerError", "message": "m", "nextAttemptAt": far});
        let status = json!({"failedAttempts": 1, "lastFailure": failure});
        write_status(&scene.tokens(), name, &status).await;
    }
    let version = providers(&scene).get("indexer").await.unwrap().data["status"]["credentials"].clone();
    let mut status = json!({"throttledUntil": far, "lastIssuedAt": far});
    if version.is_object() {
        status["credentials"] = json!({"accepted": false, "nextAttemptAt": far});
    }
    write_status(&providers(&scene), "indexer", &status).await;
    let _operator = scene.operator().await.unwrap();
    // the objects' own times count for nothing
    for name in ["lobby", "entrance"] {
        scene.until(name, "Ready", "True", "").await.unwrap();
    }
    // the account's are cut, and told so
    let latest = Utc::now() + TimeDelta::minutes(62);
    let cut = |object: &Value| {
        let time = |value: &Value| value.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
        let near = |value: &Value| time(value).is_none_or(|at| at < latest);
        near(&object["status"]["throttledUntil"]) && near(&object["status"]["credentials"]["nextAttemptAt"])
    };
    scene.until_provider("indexer", "says when it asks again", cut).await.unwrap();
}
