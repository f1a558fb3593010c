//! Whose Secret it is: what is adopted and what is left alone, what goes with the object and what stays, and what stands
//! in the way of a write.

use crate::OPERATOR;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::emulator::Fault;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::is_gone;

/// The owners in a Secret's metadata: kind, UID, controller, blockOwnerDeletion.
async fn owners(scene: &Scene, secret: &str) -> Vec<(String, String, Option<bool>, Option<bool>)> {
    let meta = scene.secrets().get_metadata(secret).await.unwrap().metadata;
    let owners = meta.owner_references.into_iter().flatten();
    owners.map(|owner| (owner.kind, owner.uid, owner.controller, owner.block_owner_deletion)).collect()
}

async fn uid_of(scene: &Scene, token: &str) -> String {
    scene.tokens().get(token).await.unwrap().metadata.uid.unwrap()
}

/// What the operator writes when the Secret shall go with its object.
async fn owned_by(scene: &Scene, token: &str) -> Vec<(String, String, Option<bool>, Option<bool>)> {
    vec![("VideoAccessToken".to_owned(), uid_of(scene, token).await, Some(true), Some(false))]
}

/// The Secret as it stands in a backup: what a user reads of it, and no more.
async fn backup(scene: &Scene, secret: &str) -> Secret {
    let Secret { metadata, data, type_, .. } = scene.secrets().get(secret).await.unwrap();
    let ObjectMeta { name, labels, annotations, .. } = metadata;
    Secret {
        metadata: ObjectMeta { name, labels, annotations, ..ObjectMeta::default() },
        data,
        type_,
        ..Secret::default()
    }
}

fn retained(changes: &Value) -> Value {
    let mut changes = changes.clone();
    changes["secret"]["deletionPolicy"] = "Retain".into();
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_with_its_object_or_stays_as_the_policy_says() {
    let scene = Scene::new("policy", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("goes", &json!({})).await.unwrap();
    scene.ready_token("stays", &retained(&json!({}))).await.unwrap();
    let [goes, stays] = [scene.settled("goes").await.unwrap(), scene.settled("stays").await.unwrap()];
    assert_eq!(owners(&scene, "goes").await, owned_by(&scene, "goes").await);
    assert_eq!(owners(&scene, "stays").await, []);

    // on living objects, and back, each by one write and without a call
    let policy = |policy: &str| json!({"spec": {"secret": {"deletionPolicy": policy}}});
    for (n, (first, second)) in [("Retain", "Delete"), ("Delete", "Retain")].into_iter().enumerate() {
        for (name, policy_now, token) in [("goes", first, &goes), ("stays", second, &stays)] {
            scene.patch(name, &policy(policy_now)).await.unwrap();
            assert_eq!(scene.settled(name).await.unwrap(), *token, "{name}");
            let expected = if policy_now == "Delete" { owned_by(&scene, name).await } else { Vec::new() };
            assert_eq!(owners(&scene, name).await, expected, "{name} {policy_now}");
            assert_eq!(scene.secret_writes(name), 2 + n as u64, "{name} {policy_now}");
        }
    }
    assert_eq!(scene.issued(), 2);

    for name in ["goes", "stays"] {
        scene.delete_token(name).await.unwrap();
    }
    is_gone(&scene.secrets(), "goes", SOON).await;
    is_gone(&scene.tokens(), "stays", SOON).await;
    assert_eq!(scene.held("stays").await.unwrap(), stays);
}

/// How an object comes to be made anew beside the Secret of the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Anew {
    /// `deletionPolicy: Retain`.
    Retained,
    /// The same, while no operator ran.
    Unwatched,
    /// Deleted with `--cascade=orphan`.
    Orphaned,
    /// Both were gone, and both came back from a backup.
    Restored,
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_the_secret_of_an_object_made_anew_is_adopted_without_an_issue() {
    let scene = Scene::new("anew", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let cases = [
        ("retained", Anew::Retained),
        ("unwatched", Anew::Unwatched),
        ("orphaned", Anew::Orphaned),
        ("restored", Anew::Restored),
    ];
    for (issued, (name, anew)) in cases.into_iter().enumerate() {
        let spec = json!({"secret": {"template": {"data": {"url": "?t={{ token }}"}}}});
        let keeps = matches!(anew, Anew::Retained | Anew::Unwatched);
        let object = scene.token(name, &if keeps { retained(&spec) } else { spec });
        scene.ready(&object).await.unwrap();
        let token = scene.settled(name).await.unwrap();
        let (uid, saved) = (uid_of(&scene, name).await, backup(&scene, name).await);
        if anew == Anew::Unwatched {
            operator.terminate().await.unwrap();
        }
        let how = if anew == Anew::Orphaned { DeleteParams::orphan() } else { DeleteParams::default() };
        scene.tokens().delete(name, &how).await.unwrap();
        is_gone(&scene.tokens(), name, SOON).await;
        if anew == Anew::Restored {
            is_gone(&scene.secrets(), name, SOON).await;
            scene.secrets().create(&PostParams::default(), &saved).await.unwrap();
        }
        let writes = scene.secret_writes(name);
        scene.apply(&object).await.unwrap();
        if anew == Anew::Unwatched {
            operator = scene.operator().await.unwrap();
        }
        assert_eq!(scene.settled(name).await.unwrap(), token, "{anew:?}");
        assert_ne!(uid_of(&scene, name).await, uid, "{anew:?}");
        let annotations = scene.secrets().get_metadata(name).await.unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations["videotoken.dev/owner-uid"], uid_of(&scene, name).await, "{anew:?}");
        let expected = if keeps { Vec::new() } else { owned_by(&scene, name).await };
        assert_eq!(owners(&scene, name).await, expected, "{anew:?}");
        assert_eq!((scene.issued(), scene.secret_writes(name)), (issued + 1, writes + 1), "{anew:?}");
        let told = scene.events(name).await.unwrap();
        assert!(told.is_empty(), "{anew:?}: nothing was wrong with it: {told:?}");
    }
    assert!(operator.exited().is_none());
}

/// What another object finds at its Secret's name, and why it leaves it alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_for_another_request_or_with_another_type_is_left_alone() {
    let scene = Scene::new("another", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let cases = [
        ("request", json!({"lifetime": "2h"}), "SecretNotOwned", "spec.secret.name"),
        ("type", json!({"secret": {"type": "example.com/token"}}), "SecretTypeDiffers", "spec.secret.type"),
    ];
    for (issued, (name, other, reason, field)) in cases.into_iter().enumerate() {
        scene.ready_token(name, &retained(&json!({}))).await.unwrap();
        let token = scene.settled(name).await.unwrap();
        scene.delete_token(name).await.unwrap();
        is_gone(&scene.tokens(), name, SOON).await;
        let before = scene.secrets().get(name).await.unwrap();
        scene.apply(&scene.token(name, &retained(&other))).await.unwrap();
        let object = scene.until(name, "Stalled", "True", reason).await.unwrap();
        let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
        for word in [field, "delete", "choose another name"] {
            assert!(message.to_lowercase().contains(word), "{word:?} is not in {message:?}");
        }
        assert_eq!(condition(&object, "Ready")["status"], "False", "{name}");
        assert_eq!(scene.secrets().get(name).await.unwrap(), before, "{name}");
        assert_eq!(scene.issued(), issued + 1, "{name}");
        // a way out that costs nothing: ask for what it holds
        scene.delete_token(name).await.unwrap();
        is_gone(&scene.tokens(), name, SOON).await;
        scene.apply(&scene.token(name, &json!({}))).await.unwrap();
        assert_eq!(scene.settled(name).await.unwrap(), token, "{name}");
        assert_eq!(scene.issued(), issued + 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_labels_annotations_and_the_owner_that_another_hand_took_are_put_back() {
    let scene = Scene::new("taken", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let template = json!({"secret": {"template": {"labels": {"app": "player"}, "annotations": {"team": "video"}}}});
    let metadata = |metadata: Value| json!({"metadata": metadata});
    let cases = [
        ("label", metadata(json!({"labels": {"app": null}}))),
        ("other-label", metadata(json!({"labels": {"app": "theirs"}}))),
        ("annotation", metadata(json!({"annotations": {"team": null}}))),
        ("all-labels", metadata(json!({"labels": null}))),
        ("owner", metadata(json!({"ownerReferences": null}))),
    ];
    for (name, _) in &cases {
        scene.apply(&scene.token(name, &template)).await.unwrap();
    }
    for (name, damage) in &cases {
        let token = scene.settled(name).await.unwrap();
        let version = scene.secrets().get_metadata(name).await.unwrap().metadata.resource_version;
        scene.patch_secret(name, damage).await.unwrap();
        let written = |object: &Value| object["status"]["secretResourceVersion"] != json!(version);
        scene.until_that(name, "written again", written).await.unwrap();
        assert_eq!(scene.settled(name).await.unwrap(), token, "{name}");
        let meta = scene.secrets().get_metadata(name).await.unwrap().metadata;
        let (labels, annotations) = (meta.labels.unwrap(), meta.annotations.unwrap());
        assert_eq!(labels["app"], "player", "{name}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "video-token-operator", "{name}");
        assert_eq!(annotations["team"], "video", "{name}");
        assert_eq!(owners(&scene, name).await, owned_by(&scene, name).await, "{name}");
        assert_eq!(scene.secret_writes(name), 2, "{name}");
    }
    assert_eq!(scene.issued(), cases.len());
}

/// While an object is held up it writes nothing; and what it saw then is no proof of anything later.
#[tokio::test(flavor = "multi_thread")]
async fn p09_what_was_changed_while_the_object_was_held_up_is_repaired_after() {
    let scene = Scene::new("held-up", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let bad = json!({"secret": {"template": {"data": {"url": "{{ tokn }}"}}}});
    let cases = [
        ("suspended", json!({"suspend": true}), json!({"suspend": false})),
        ("refused", bad, json!({"secret": {"template": null}})),
        ("failing", json!({}), json!({})),
    ];
    let mut before = BTreeMap::new();
    for (name, ..) in &cases {
        scene.ready_token(name, &json!({})).await.unwrap();
        before.insert(*name, scene.settled(name).await.unwrap());
    }
    let unavailable = Fault::Status { code: 503, body: String::new(), headers: Vec::new() };
    scene.azure.video_indexer.control().play(unavailable);
    for (name, hold_up, _) in &cases {
        scene.patch(name, &json!({"spec": hold_up})).await.unwrap();
    }
    scene.until("suspended", "Issuing", "False", "Suspended").await.unwrap();
    scene.until("refused", "Stalled", "True", "InvalidSpec").await.unwrap();
    for (name, ..) in &cases {
        scene.patch_secret(name, &json!({"stringData": {"token": "theirs"}})).await.unwrap();
    }
    let failing = |attempts: i64| move |object: &Value| object["status"]["failedAttempts"].as_i64() >= Some(attempts);
    let object = scene.until_that("failing", "fails", failing(2)).await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "False", "what another hand wrote is no live token");
    for (name, ..) in &cases {
        scene.touch(name).await.unwrap();
        let generation = scene.tokens().get(name).await.unwrap().metadata.generation;
        let seen = |object: &Value| object["status"]["observedGeneration"] == json!(generation);
        scene.until_that(name, "looked at again", seen).await.unwrap();
    }
    operator.kill9();
    operator = scene.operator().await.unwrap();
    let attempts = scene.tokens().get("failing").await.unwrap().data["status"]["failedAttempts"].as_i64().unwrap();
    let object = scene.until_that("failing", "fails again", failing(attempts + 1)).await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "False");

    scene.azure.video_indexer.control().clear_faults();
    for (name, _, release) in &cases {
        scene.patch(name, &json!({"spec": release})).await.unwrap();
        scene.touch(name).await.unwrap();
    }
    for (name, ..) in &cases {
        assert_ne!(scene.settled(name).await.unwrap(), before[name], "{name}");
        let object = scene.tokens().get(name).await.unwrap();
        assert_eq!(object.data["status"]["issuances"], 2, "{name}");
    }
    assert!(operator.exited().is_none());
}

/// A token that couldn't be stored isn't asked for, not even when a restart has forgotten why.
#[tokio::test(flavor = "multi_thread")]
async fn p09_an_immutable_secret_is_told_at_once_costs_no_token_and_has_two_ways_out() {
    let scene = Scene::new("immutable", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let names = ["deleted", "renamed"];
    let mut tokens = Vec::new();
    for name in names {
        scene.ready_token(name, &json!({})).await.unwrap();
        tokens.push(scene.settled(name).await.unwrap());
        scene.patch_secret(name, &json!({"immutable": true})).await.unwrap();
    }
    for round in 0..2 {
        for name in names {
            let object = scene.until(name, "Stalled", "True", "SecretImmutable").await.unwrap();
            assert_eq!(condition(&object, "Ready")["status"], "True", "its token lives");
            let message = condition(&object, "Stalled")["message"].as_str().unwrap().to_owned();
            for word in ["spec.secret.name", "immutable", "Delete it", "choose another name"] {
                assert!(message.contains(word), "{word:?} is not in {message:?}");
            }
        }
        scene.force_renewal("deleted").await.unwrap();
        operator.kill9();
        operator = scene.operator().await.unwrap();
        scene.fence().await.unwrap();
        assert_eq!(scene.issued(), 2 + 1 + round, "with the fences'");
    }
    let writes = names.map(|name| scene.secret_writes(name));
    assert_eq!(writes, [1, 1]);

    scene.secrets().delete("deleted", &DeleteParams::default()).await.unwrap();
    scene.until("deleted", "Stalled", "False", "").await.unwrap();
    assert_ne!(scene.settled("deleted").await.unwrap(), tokens[0]);
    scene.patch("renamed", &json!({"spec": {"secret": {"name": "elsewhere"}}})).await.unwrap();
    scene.until("renamed", "Stalled", "False", "").await.unwrap();
    assert_eq!(scene.settled("renamed").await.unwrap(), tokens[1], "it moves");
    is_gone(&scene.secrets(), "renamed", SOON).await;
    assert_eq!(scene.issued(), 2 + 2 + 1);
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_secret_whose_deletion_takes_time_is_waited_for() {
    let scene = Scene::new("terminating", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    let uid = scene.secrets().get_metadata("lobby").await.unwrap().metadata.uid;
    let finalizers = |names: Value| json!({"metadata": {"finalizers": names}});
    scene.patch_secret("lobby", &finalizers(json!(["example.com/archive"]))).await.unwrap();
    scene.secrets().delete("lobby", &DeleteParams::default()).await.unwrap();
    let object = scene.until("lobby", "Stalled", "True", "SecretTerminating").await.unwrap();
    assert_eq!(condition(&object, "Ready")["status"], "True", "its token lives");
    scene.force_renewal("lobby").await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (1 + 1, 1), "with the fence's");
    assert_eq!(scene.held("lobby").await.unwrap(), token);

    scene.patch_secret("lobby", &finalizers(Value::Null)).await.unwrap();
    scene.until("lobby", "Stalled", "False", "").await.unwrap();
    assert_ne!(scene.settled("lobby").await.unwrap(), token);
    assert_ne!(scene.secrets().get_metadata("lobby").await.unwrap().metadata.uid, uid);
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (2 + 1, 2));
}

/// Only what is ours by its annotations is removed, whatever the status remembers.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_leaves_a_secret_alone_that_is_ours_no_more() {
    let scene = Scene::new("left", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    operator.terminate().await.unwrap();
    let theirs = json!({"metadata": {"annotations": {"videotoken.dev/owner-uid": null}, "ownerReferences": null}});
    scene.patch_secret("lobby", &theirs).await.unwrap();
    let before = scene.secrets().get("lobby").await.unwrap();
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "entrance"}}})).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.until_that("lobby", "names it", |object| object["status"]["secretName"] == "entrance").await.unwrap();
    assert_ne!(scene.settled("lobby").await.unwrap(), token);
    scene.fence().await.unwrap();
    assert_eq!(scene.secrets().get("lobby").await.unwrap(), before);
    assert_eq!((scene.issued(), scene.secret_writes("lobby")), (2 + 1, 1), "with the fence's");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_secret_gets_it_when_its_holder_takes_another_name() {
    let scene = Scene::new("handed-on", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let shared = json!({"secret": {"name": "shared"}});
    scene.ready_token("holder", &shared).await.unwrap();
    let token = scene.settled("holder").await.unwrap();
    scene.apply(&scene.token("waiting", &shared)).await.unwrap();
    scene.until("waiting", "Stalled", "True", "SecretClaimed").await.unwrap();
    scene.patch("holder", &json!({"spec": {"secret": {"name": "own"}}})).await.unwrap();
    scene.until_that("holder", "names it", |object| object["status"]["secretName"] == "own").await.unwrap();
    assert_eq!(scene.settled("holder").await.unwrap(), token);
    scene.until("waiting", "Ready", "True", "").await.unwrap();
    assert_ne!(scene.settled("waiting").await.unwrap(), token);
    assert_eq!(owners(&scene, "shared").await, owned_by(&scene, "waiting").await);
    assert_eq!(owners(&scene, "own").await, owned_by(&scene, "holder").await);
    assert_eq!(scene.issued(), 2);
}
