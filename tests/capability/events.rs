//! P16: what happens to a token is told once, when it happens: not at each try, nor again by an operator that starts.

use crate::OPERATOR;
use chrono::{DateTime, Utc};
use kube::api::DeleteParams;
use serde_json::json;
use std::collections::BTreeMap;
use testkit::emulator::{Fault, Life, Rule};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::until_past;
use testkit::stand::{Operator, eventually};

/// Waits until this was told of an object, each reason so often, and nothing else.
async fn tells(scene: &Scene, name: &str, expected: &[(&str, i32)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(reason, times)| ((*reason).to_owned(), *times)).collect();
    eventually(SOON, &format!("{name} tells {expected:?}"), async || {
        let mut told = BTreeMap::new();
        for (_, reason, times) in scene.events(name).await.map_err(|error| error.to_string())? {
            *told.entry(reason).or_default() += times;
        }
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// Another operator takes over, and has had time for all that it finds.
async fn taken_over(scene: &Scene, mut operator: Operator) -> Operator {
    operator.kill9();
    let operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    operator
}

/// An operation that only the object in question asks for.
const OPERATION: &str = "generateExtensionAccessToken";

fn calls(scene: &Scene) -> usize {
    let requests = scene.azure.video_indexer.control().requests();
    requests.iter().filter(|seen| seen.call.target.operation.eq_ignore_ascii_case(OPERATION)).count()
}

/// Waits until so many more calls have failed than `before`, which is counted before their cause: the first may end at
/// once.
async fn fails(scene: &Scene, before: usize, more: usize) {
    let enough = before + more;
    eventually(SOON, &format!("{more} more calls"), async || match calls(scene) {
        calls if calls >= enough => Ok(()),
        calls => Err(calls),
    })
    .await;
    scene.fence().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p16_failed_expired_and_recovered_are_told_once_each_time() {
    let no_role = json!({"error": {"code": "AuthorizationFailed", "message": "no role"}}).to_string();
    let denied = Fault::Status { code: 403, body: no_role, headers: Vec::new() };
    for (fault, reason) in [(Fault::Html, "IssueFailed"), (denied, "Forbidden")] {
        let scene = Scene::new("told", OPERATOR).await.unwrap();
        let control = scene.azure.video_indexer.control();
        control.set_life(Life::Seconds(24));
        let mut operator = scene.operator().await.unwrap();
        let scope = json!({"scope": {"videoIndexer": {"permission": "Reader"}}});
        let object = scene.ready_token("lobby", &scope).await.unwrap();
        let end: DateTime<Utc> = object["status"]["expiresAt"].as_str().unwrap().parse().unwrap();
        control.set_life(Life::Promised);

        control.play(Rule::new(fault.clone()).operation(OPERATION));
        let before = calls(&scene);
        scene.force_renewal("lobby").await.unwrap();
        // tried often, since little is left
        fails(&scene, before, 3).await;
        tells(&scene, "lobby", &[(reason, 1)]).await;
        operator = taken_over(&scene, operator).await;
        fails(&scene, calls(&scene), 1).await;
        tells(&scene, "lobby", &[(reason, 1)]).await;

        let expired = [(reason, 1), ("Expired", 1)];
        if reason == "Forbidden" {
            // while nobody looks
            operator.kill9();
            until_past(end).await;
            operator = scene.operator().await.unwrap();
        }
        scene.until("lobby", "Ready", "False", "Expired").await.unwrap();
        tells(&scene, "lobby", &expired).await;
        let before = calls(&scene);
        scene.touch("lobby").await.unwrap();
        fails(&scene, before, 1).await;
        operator = taken_over(&scene, operator).await;
        tells(&scene, "lobby", &expired).await;

        control.clear_faults();
        scene.touch("lobby").await.unwrap();
        scene.until("lobby", "Ready", "True", "").await.unwrap();
        tells(&scene, "lobby", &[(reason, 1), ("Expired", 1), ("Recovered", 1)]).await;
        operator = taken_over(&scene, operator).await;
        tells(&scene, "lobby", &[(reason, 1), ("Expired", 1), ("Recovered", 1)]).await;

        // and once more, with a token that lives on
        control.play(Rule::new(fault).operation(OPERATION));
        let before = calls(&scene);
        scene.force_renewal("lobby").await.unwrap();
        fails(&scene, before, 1).await;
        tells(&scene, "lobby", &[(reason, 2), ("Expired", 1), ("Recovered", 1)]).await;
        control.clear_faults();
        scene.touch("lobby").await.unwrap();
        scene.settled("lobby").await.unwrap();
        tells(&scene, "lobby", &[(reason, 2), ("Expired", 1), ("Recovered", 2)]).await;
        drop(taken_over(&scene, operator).await);
        tells(&scene, "lobby", &[(reason, 2), ("Expired", 1), ("Recovered", 2)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p16_repaired_is_told_once_each_time() {
    let scene = Scene::new("repaired", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    operator = taken_over(&scene, operator).await;
    tells(&scene, "lobby", &[]).await;

    scene.patch_secret("lobby", &json!({"stringData": {"token": "theirs"}})).await.unwrap();
    scene.until_that("lobby", "issued again", |object| object["status"]["issuances"] == 2).await.unwrap();
    tells(&scene, "lobby", &[("Repaired", 1)]).await;
    operator = taken_over(&scene, operator).await;
    tells(&scene, "lobby", &[("Repaired", 1)]).await;

    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    scene.until_that("lobby", "issued again", |object| object["status"]["issuances"] == 3).await.unwrap();
    tells(&scene, "lobby", &[("Repaired", 2)]).await;

    // while nobody looks
    operator.kill9();
    scene.patch_secret("lobby", &json!({"stringData": {"expires-at": "2099-01-01T00:00:00Z"}})).await.unwrap();
    operator = taken_over(&scene, operator).await;
    tells(&scene, "lobby", &[("Repaired", 3)]).await;
    drop(taken_over(&scene, operator).await);
    tells(&scene, "lobby", &[("Repaired", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p16_refused_is_told_once_each_time() {
    let scene = Scene::new("refused", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "theirs"},
        "metadata": {"name": "lobby", "namespace": scene.namespace}});
    scene.apply(&foreign).await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    tells(&scene, "lobby", &[("SecretNotOwned", 1)]).await;
    for _ in 0..2 {
        scene.touch("lobby").await.unwrap();
        operator = taken_over(&scene, operator).await;
        tells(&scene, "lobby", &[("SecretNotOwned", 1)]).await;
    }
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    scene.touch("lobby").await.unwrap();
    scene.settled("lobby").await.unwrap();
    tells(&scene, "lobby", &[("SecretNotOwned", 1), ("Recovered", 1)]).await;
    operator = taken_over(&scene, operator).await;

    // something else, while a token lives
    scene.patch("lobby", &json!({"spec": {"providerRef": {"name": "nobody"}}})).await.unwrap();
    let twice = [("SecretNotOwned", 1), ("Recovered", 1), ("ProviderNotFound", 1)];
    tells(&scene, "lobby", &twice).await;
    operator = taken_over(&scene, operator).await;
    tells(&scene, "lobby", &twice).await;
    scene.patch("lobby", &json!({"spec": {"providerRef": {"name": "indexer"}}})).await.unwrap();
    let lifted = [("SecretNotOwned", 1), ("Recovered", 2), ("ProviderNotFound", 1)];
    tells(&scene, "lobby", &lifted).await;
    drop(taken_over(&scene, operator).await);
    tells(&scene, "lobby", &lifted).await;
}

/// The status still says that it is ready when the next operator starts.
#[tokio::test(flavor = "multi_thread")]
async fn p16_a_token_that_expired_while_no_operator_ran_is_told_of_and_so_is_its_successor() {
    let scene = Scene::new("slept", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(12));
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    operator.kill9();
    control.set_life(Life::Promised);
    let ends = control.knows(&token).unwrap().expires_at;
    eventually(SOON, "its token expires", async || if Utc::now() > ends { Ok(()) } else { Err("it lives") }).await;
    let _operator = scene.operator().await.unwrap();
    assert_ne!(scene.settled("lobby").await.unwrap(), token);
    tells(&scene, "lobby", &[("Expired", 1), ("Recovered", 1)]).await;
}

/// From stalled to failing is no recovery.
#[tokio::test(flavor = "multi_thread")]
async fn p16_a_refusal_that_turns_into_a_failure_is_not_recovered_until_it_has_a_token() {
    let scene = Scene::new("worse", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let status = |code| Fault::Status { code, body: String::new(), headers: Vec::new() };
    control.play(status(400));
    scene.force_renewal("lobby").await.unwrap();
    let object = scene.until("lobby", "Stalled", "True", "").await.unwrap();
    let reason = condition(&object, "Stalled")["reason"].as_str().unwrap().to_owned();
    control.clear_faults();
    control.play(status(503));
    scene.touch("lobby").await.unwrap();
    let object = scene.until("lobby", "Stalled", "False", "").await.unwrap();
    assert_eq!(condition(&object, "Issuing")["status"], "True");
    scene
        .until_that("lobby", "fails again", |object| object["status"]["failedAttempts"].as_i64() > Some(1))
        .await
        .unwrap();
    tells(&scene, "lobby", &[(&reason, 1)]).await;
    control.clear_faults();
    scene.touch("lobby").await.unwrap();
    scene.settled("lobby").await.unwrap();
    tells(&scene, "lobby", &[(&reason, 1), ("Recovered", 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_an_object_of_the_longest_name_is_told_too() {
    let scene = Scene::new("long-name", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let name = format!("{}.{}", "a".repeat(235), "b".repeat(17));
    assert_eq!(name.len(), 253);
    let spec = json!({"providerRef": {"name": "no-such-provider"}, "secret": {"name": "short"}});
    scene.apply(&scene.token(&name, &spec)).await.unwrap();
    scene.until(&name, "Stalled", "True", "ProviderNotFound").await.unwrap();
    tells(&scene, &name, &[("ProviderNotFound", 1)]).await;
}
