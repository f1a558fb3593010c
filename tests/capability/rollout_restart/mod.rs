//! `spec.rolloutRestart`: a workload that opted in is restarted once for each change of its tokens, whatever happens
//! in between, and nothing else is touched.

mod kinds;
mod trouble;

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use testkit::emulator::Life;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::{Matcher, eventually};

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
const OPT_IN: &str = "videotoken.dev/restart-on-renewal";
const MARK: &str = "videotoken.dev/restarted-at";

/// A workload without pods, whose label says this.
fn workload(scene: &Scene, kind: &str, name: &str, label: Option<&str>) -> Value {
    let pods = json!({"app": name});
    let container = json!({"name": "player", "image": "player.example/player:1"});
    let template = json!({"metadata": {"labels": pods}, "spec": {"containers": [container]}});
    let mut spec = json!({"selector": {"matchLabels": pods}, "template": template});
    if kind != "DaemonSet" {
        spec["replicas"] = 0.into();
    }
    let labels = label.map(|label| json!({OPT_IN: label}));
    json!({"apiVersion": "apps/v1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": scene.namespace, "labels": labels}})
}

async fn player(scene: &Scene) {
    scene.apply(&workload(scene, "Deployment", "player", Some("true"))).await.unwrap();
}

fn workloads(scene: &Scene, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

/// How often the spec was changed since it was created, and the mark of its pods.
async fn restarts(scene: &Scene, kind: &str, name: &str) -> (i64, Option<String>) {
    let there = workloads(scene, kind).get(name).await.unwrap();
    let mark = there.data.pointer("/spec/template/metadata/annotations").and_then(|all| all[MARK].as_str());
    (there.metadata.generation.unwrap() - 1, mark.map(str::to_owned))
}

async fn times(scene: &Scene, name: &str) -> i64 {
    restarts(scene, "Deployment", name).await.0
}

/// The spec of a token that restarts these.
fn names(all: &[(&str, &str)]) -> Value {
    let all: Vec<_> = all.iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect();
    json!({"rolloutRestart": all})
}

fn names_player() -> Value {
    names(&[("Deployment", "player")])
}

/// Waits until the status tells of so many issues, and that the workloads are restarted for the last.
async fn followed(scene: &Scene, token: &str, issuances: u64) -> Value {
    let done = |object: &Value| {
        let status = &object["status"];
        status["issuances"] == issuances
            && status["restartedFor"].is_string()
            && status["restartedFor"] == status["issuedAt"]
    };
    scene.until_that(token, "restarted", done).await.unwrap()
}

/// The token at rest after a first issue.
async fn begun(scene: &Scene, token: &str, spec: &Value) {
    scene.ready_token(token, spec).await.unwrap();
    followed(scene, token, 1).await;
    scene.settled(token).await.unwrap();
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_a_renewal_restarts_each_workload_by_one_look_and_one_patch() {
    let scene = Scene::new("restarts", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    for kind in KINDS {
        scene.apply(&workload(&scene, kind, "player", Some("true"))).await.unwrap();
    }
    begun(&scene, "lobby", &names(&KINDS.map(|kind| (kind, "player")))).await;
    for kind in KINDS {
        assert_eq!(restarts(&scene, kind, "player").await, (0, None), "{kind}: nothing ran with an older token");
    }

    scene.proxy.reset_counts();
    scene.force_renewal("lobby").await.unwrap();
    let object = followed(&scene, "lobby", 2).await;
    for kind in KINDS {
        let (times, mark) = restarts(&scene, kind, "player").await;
        assert_eq!(times, 1, "{kind}");
        let late = time(&json!(mark.unwrap())) - time(&object["status"]["issuedAt"]);
        assert!(late >= TimeDelta::zero() && late < TimeDelta::seconds(1), "{kind}: {late}");
        let resource = format!("{}s", kind.to_lowercase());
        let asked = Matcher::any().resource(&resource);
        let looks = Matcher::get(&resource).metadata_only(true);
        let counts = [&asked, &looks, &Matcher::patch(&resource)].map(|matcher| scene.proxy.count(matcher));
        assert_eq!(counts, [2, 1, 1], "{kind}: requests, of metadata, patches");
    }
    let writes = ["secrets", "videoaccesstokens/status"].map(|what| scene.proxy.count(&Matcher::patch(what)));
    assert_eq!((writes, scene.proxy.count(&Matcher::get("secrets"))), ([1, 1], 0));
    let sets: Api<ReplicaSet> = Api::namespaced(scene.client.clone(), &scene.namespace);
    eventually(SOON, "a ReplicaSet for each template", async || {
        let all = sets.list_metadata(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        if all == 2 { Ok(()) } else { Err(format!("{all}")) }
    })
    .await;
    assert_eq!(scene.events("lobby").await.unwrap(), [], "nothing to tell");
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_what_changes_no_token_restarts_nothing() {
    let scene = Scene::new("no-restart", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    for name in ["player", "wall"] {
        scene.apply(&workload(&scene, "Deployment", name, Some("true"))).await.unwrap();
    }
    begun(&scene, "lobby", &names_player()).await;
    // one that names a workload only now
    begun_without(&scene, "entrance").await;
    let both = names(&[("Deployment", "player"), ("Deployment", "wall")]);
    for (name, edit) in [
        ("lobby", json!({"spec": {"secret": {"template": {"data": {"url": "https://x/?t={{ token }}"}}}}})),
        ("lobby", json!({"spec": {"renewBefore": "10m"}})),
        ("lobby", json!({"metadata": {"labels": {"team": "a"}}})),
        ("lobby", json!({"spec": both})),
        ("entrance", json!({"spec": both})),
        ("lobby", json!({"spec": {"secret": {"name": "hall"}}})),
    ] {
        scene.patch(name, &edit).await.unwrap();
        scene.settled(name).await.unwrap();
    }
    scene.until_that("lobby", "names the new Secret", |object| object["status"]["secretName"] == "hall").await.unwrap();
    // another hand, but not at the token
    scene.patch_secret("hall", &json!({"stringData": {"expires-at": "2099-01-01T00:00:00Z"}})).await.unwrap();
    scene.settled("lobby").await.unwrap();
    operator.kill9();
    operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    operator.terminate().await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), 2 + 2, "tokens issued, with the fences'");
    for name in ["player", "wall"] {
        assert_eq!(restarts(&scene, "Deployment", name).await, (0, None), "{name}");
    }
    let asked = KINDS.map(|kind| scene.proxy.count(&Matcher::any().resource(&format!("{}s", kind.to_lowercase()))));
    assert_eq!(asked, [0, 0, 0], "nobody looked at a workload");
}

async fn begun_without(scene: &Scene, token: &str) {
    let object = scene.ready_token(token, &json!({})).await.unwrap();
    assert_eq!(object["status"]["restartedFor"], Value::Null);
    scene.settled(token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_restarts_once_and_the_end_of_the_previous_token_not_again() {
    let scene = Scene::new("due", OPERATOR).await.unwrap();
    let control = scene.azure.video_indexer.control();
    control.set_life(Life::Seconds(20));
    let _operator = scene.operator().await.unwrap();
    player(&scene).await;
    let mut spec = names_player();
    spec["secret"] = json!({"keys": {"previousToken": "previous-token"}});
    begun(&scene, "lobby", &spec).await;
    control.set_life(Life::Promised);
    followed(&scene, "lobby", 2).await;
    assert!(scene.key_of("lobby", "previous-token").await.unwrap().is_some());
    eventually(SOON, "the previous token is gone", async || match scene.key_of("lobby", "previous-token").await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|token| token.is_some()))),
    })
    .await;
    scene.settled("lobby").await.unwrap();
    assert_eq!(times(&scene, "player").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_lost_and_replaced_restarts_too() {
    let scene = Scene::new("lost", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    player(&scene).await;
    begun(&scene, "lobby", &names_player()).await;
    scene.patch_secret("lobby", &json!({"stringData": {"token": "theirs"}})).await.unwrap();
    followed(&scene, "lobby", 2).await;
    assert_eq!(times(&scene, "player").await, 1, "altered");
    scene.secrets().delete("lobby", &kube::api::DeleteParams::default()).await.unwrap();
    followed(&scene, "lobby", 3).await;
    assert_eq!(times(&scene, "player").await, 2, "deleted");
    scene.patch("lobby", &json!({"spec": {"scope": {"videoIndexer": {"permission": "Reader"}}}})).await.unwrap();
    followed(&scene, "lobby", 4).await;
    assert_eq!(times(&scene, "player").await, 3, "another request");
}

#[tokio::test(flavor = "multi_thread")]
async fn p16_a_workload_that_is_missing_or_has_not_opted_in_is_told_of_once_and_left_alone() {
    let scene = Scene::new("skipped", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    for (name, label) in [("unlabelled", None), ("refusing", Some("false")), ("player", Some("true"))] {
        scene.apply(&workload(&scene, "Deployment", name, label)).await.unwrap();
    }
    let all = ["unlabelled", "refusing", "player", "missing"].map(|name| ("Deployment", name));
    begun(&scene, "lobby", &names(&all)).await;
    let told = |counts: [i32; 3]| {
        let reasons = ["RestartNotAllowed", "RestartNotAllowed", "RestartTargetMissing"];
        let told = reasons.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        told.map(|(reason, count)| ("Warning".to_owned(), reason.to_owned(), count)).collect::<Vec<_>>()
    };
    for issuances in 2..=3 {
        scene.force_renewal("lobby").await.unwrap();
        let object = followed(&scene, "lobby", issuances).await;
        assert_eq!(condition(&object, "Ready")["status"], "True");
        assert_eq!(object["status"]["failedAttempts"], 0);
        scene.until_events("lobby", |events| sorted(events.to_vec()) == told([1, 1, 1])).await;
    }
    for (name, expected) in [("unlabelled", 0), ("refusing", 0), ("player", 2)] {
        assert_eq!(times(&scene, name).await, expected, "{name}");
        let touched = scene.proxy.count(&Matcher::patch("deployments").name(name));
        assert_eq!(touched, expected.unsigned_abs(), "{name}: patches");
    }

    // what comes or opts in later is restarted by the next renewal, not before
    let opt_in = Patch::Merge(json!({"metadata": {"labels": {OPT_IN: "true"}}}));
    workloads(&scene, "Deployment").patch("unlabelled", &PatchParams::default(), &opt_in).await.unwrap();
    scene.apply(&workload(&scene, "Deployment", "missing", Some("true"))).await.unwrap();
    operator.kill9();
    let _operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    for name in ["unlabelled", "missing"] {
        assert_eq!(times(&scene, name).await, 0, "{name}");
    }
    assert_eq!(
        sorted(scene.events("lobby").await.unwrap()),
        told([1, 1, 1]),
        "a restart of the operator tells nothing"
    );
    scene.force_renewal("lobby").await.unwrap();
    followed(&scene, "lobby", 4).await;
    for (name, expected) in [("unlabelled", 1), ("refusing", 0), ("player", 3), ("missing", 1)] {
        assert_eq!(times(&scene, name).await, expected, "{name}");
    }
}

fn sorted(mut events: Vec<(String, String, i32)>) -> Vec<(String, String, i32)> {
    events.sort();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_one_workload_that_are_renewed_together_are_one_restart() {
    let scene = Scene::new("together", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    player(&scene).await;
    // they wait for each other half of this
    let mut spec = names_player();
    spec["renewBefore"] = "20s".into();
    let all = ["lobby", "entrance", "hall"];
    for token in all {
        begun(&scene, token, &spec).await;
    }
    scene.proxy.reset_counts();
    let mut last = Utc::now();
    for token in all {
        scene.force_renewal(token).await.unwrap();
        let renewed = |object: &Value| object["status"]["issuances"] == 2;
        let object = scene.until_that(token, "renewed", renewed).await.unwrap();
        assert_ne!(object["status"]["restartedFor"], object["status"]["issuedAt"], "{token}: it waits for the others");
        last = time(&object["status"]["issuedAt"]);
    }
    assert_eq!(times(&scene, "player").await, 0);
    for token in all {
        followed(&scene, token, 2).await;
    }
    let (count, mark) = restarts(&scene, "Deployment", "player").await;
    assert_eq!(count, 1);
    assert_eq!(time(&json!(mark.unwrap())).timestamp(), last.timestamp(), "for the newest");
    assert_eq!(scene.proxy.count(&Matcher::patch("deployments")), 1, "one does it for all");

    // a crash while they wait
    for token in &all[..2] {
        scene.force_renewal(token).await.unwrap();
        scene.until_that(token, "renewed", |object| object["status"]["issuances"] == 3).await.unwrap();
    }
    operator.kill9();
    let _operator = scene.operator().await.unwrap();
    for token in &all[..2] {
        followed(&scene, token, 3).await;
    }
    scene.fence().await.unwrap();
    assert_eq!(times(&scene, "player").await, 2);
}
