//! P09: whatever another hand does to a Secret, it is put right, and a token is issued only where one was lost.

use crate::OPERATOR;
use chrono::{DateTime, Utc};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::Life;
use testkit::scene::{SOON, Scene};
use testkit::stand::eventually;

/// What another hand does, and whether the token survives it.
struct Damage {
    name: &'static str,
    /// Merged into the Secret; `None`: it is deleted.
    patch: Option<Value>,
    issues: u64,
}

fn damages() -> Vec<Damage> {
    let damage = |name, patch: Value, issues| Damage { name, patch: Some(patch), issues };
    let annotation = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
    vec![
        Damage { name: "deleted", patch: None, issues: 1 },
        damage("no-token", json!({"data": {"token": null}}), 1),
        damage("other-token", json!({"stringData": {"token": "theirs"}}), 1),
        damage("empty", json!({"data": null}), 1),
        damage("other-expiry", json!({"stringData": {"expires-at": "2099-01-01T00:00:00Z"}}), 0),
        damage("other-template", json!({"stringData": {"config.json": "{}"}}), 0),
        damage("no-template", json!({"data": {"config.json": null}}), 0),
        damage("unlabelled", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}), 0),
        damage("relabelled", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "theirs"}}}), 0),
        // without it nobody can tell whether the token is still ours
        damage("other-content-hash", annotation("videotoken.dev/content-hash", "v1:0"), 1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_damaged_secret_is_repaired_and_only_a_lost_token_is_issued_again() {
    let scene = Scene::new("repair", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let template = json!({"secret": {"template": {"data": {"config.json": r#"{"t": {{ token | tojson }}}"#}}}});
    let damages = damages();
    for Damage { name, .. } in &damages {
        scene.apply(&scene.token(name, &template)).await.unwrap();
    }
    for Damage { name, patch, issues } in &damages {
        let token = scene.settled(name).await.unwrap();
        let uid = scene.secrets().get(name).await.unwrap().metadata.uid;
        match patch {
            Some(patch) => scene.patch_secret(name, patch).await.unwrap(),
            None => drop(scene.secrets().delete(name, &DeleteParams::default()).await.unwrap()),
        }
        let repaired =
            scene.until_that(name, "repaired", |object| object["status"]["issuances"] == 1 + issues).await.unwrap();
        assert_eq!(repaired["status"]["failedAttempts"], 0, "{name}");
        let now = scene.settled(name).await.unwrap();
        assert_eq!(now == token, *issues == 0, "{name}");
        let secret = scene.secrets().get(name).await.unwrap();
        assert_eq!(secret.metadata.uid == uid, patch.is_some(), "{name}");
        assert_eq!(secret.metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "video-token-operator", "{name}");
        let config = scene.key_of(name, "config.json").await.unwrap();
        assert_eq!(config, Some(format!(r#"{{"t": "{now}"}}"#)), "{name}");
        let expires: DateTime<Utc> = scene.key_of(name, "expires-at").await.unwrap().unwrap().parse().unwrap();
        let known = scene.azure.video_indexer.control().knows(&now).unwrap();
        assert_eq!(expires, known.expires_at, "{name}");
    }
    let expected: u64 = damages.iter().map(|damage| 1 + damage.issues).sum();
    assert_eq!(scene.issued() as u64, expected);
}

/// Whatever becomes of what the operator has noted there: in the end a good token stands there with its true expiry.
#[tokio::test(flavor = "multi_thread")]
async fn p09_a_changed_annotation_never_leaves_a_wrong_expiry() {
    let scene = Scene::new("annotations", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let cases = [
        ("expires-at", "2099-01-01T00:00:00Z"),
        ("issued-at", "2001-01-01T00:00:00Z"),
        ("request-hash", "v1:00000000000000000000000000000000"),
        ("render-hash", "nonsense"),
        ("token-key", "expires-at"),
        ("owner-uid", "00000000-0000-0000-0000-000000000000"),
    ];
    for (name, value) in cases {
        scene.apply(&scene.token(name, &json!({}))).await.unwrap();
        scene.settled(name).await.unwrap();
        let annotation = format!("videotoken.dev/{name}");
        scene.patch_secret(name, &json!({"metadata": {"annotations": {&annotation: value}}})).await.unwrap();
        eventually(SOON, &format!("{name} is put right"), async || {
            let secret = scene.secrets().get(name).await.map_err(|error| error.to_string())?;
            let annotations = secret.metadata.annotations.unwrap_or_default();
            if annotations[&annotation] == value { Err(value) } else { Ok(()) }.map_err(str::to_owned)
        })
        .await;
        let token = scene.settled(name).await.unwrap();
        let known = scene.azure.video_indexer.control().knows(&token).unwrap();
        let expires: DateTime<Utc> = scene.key_of(name, "expires-at").await.unwrap().unwrap().parse().unwrap();
        assert_eq!(expires, known.expires_at, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_foreign_key_is_left_alone_through_a_renewal() {
    let scene = Scene::new("extra", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let theirs = json!({"stringData": {"extra": "theirs"}, "metadata": {"labels": {"theirs": "too"}}});
    scene.patch_secret("lobby", &theirs).await.unwrap();
    assert_eq!(scene.settled("lobby").await.unwrap(), token);
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1, 1), "nothing of ours was touched");
    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == 2).await.unwrap();
    assert_eq!(scene.key_of("lobby", "extra").await.unwrap().as_deref(), Some("theirs"));
    let labels = scene.secrets().get("lobby").await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["theirs"], "too");
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_repair_is_told_once() {
    let scene = Scene::new("told", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    scene.settled("lobby").await.unwrap();
    scene.patch_secret("lobby", &json!({"stringData": {"token": "theirs"}})).await.unwrap();
    scene.until_that("lobby", "repaired", |object| object["status"]["issuances"] == 2).await.unwrap();
    let expected = vec![("Normal".to_owned(), "Repaired".to_owned(), 1)];
    scene.until_events("lobby", |told| told == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_token_stays_over_a_renewal_and_leaves_before_it_expires() {
    let scene = Scene::new("previous", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(45));
    let _operator = scene.operator().await.unwrap();
    let keys = json!({"secret": {"keys": {"previousToken": "previous-token"}}});
    scene.apply(&scene.token("lobby", &keys)).await.unwrap();
    let first = scene.settled("lobby").await.unwrap();
    assert_eq!(scene.key_of("lobby", "previous-token").await.unwrap(), None);
    control.set_life(Life::Promised);
    let renewed = |object: &Value| object["status"]["issuances"] == 2;
    // two thirds of its life pass first
    eventually(SOON * 2, "renewed", async || {
        let object = scene.tokens().get("lobby").await.map_err(|error| error.to_string())?;
        if renewed(&serde_json::to_value(object).unwrap_or_default()) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let second = scene.settled("lobby").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(scene.key_of("lobby", "previous-token").await.unwrap(), Some(first.clone()));
    let ends = control.knows(&first).unwrap().expires_at;
    eventually(SOON, "it is gone", async || match scene.key_of("lobby", "previous-token").await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|token| token.is_some()))),
    })
    .await;
    assert!(Utc::now() < ends + Duration::from_millis(100), "an expired token stood there");
    assert_eq!(scene.settled("lobby").await.unwrap(), second);

    scene.force_renewal("lobby").await.unwrap();
    scene.until_that("lobby", "renewed by force", |object| object["status"]["issuances"] == 3).await.unwrap();
    assert_eq!(scene.key_of("lobby", "previous-token").await.unwrap(), None, "force may mean that it is compromised");
}
