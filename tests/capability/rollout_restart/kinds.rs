//! Kinds beside those of `apps/v1`: those that the operator's flag names are restarted, others are reported.

use super::{MARK, begun, followed, time};
use crate::OPERATOR;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use testkit::rollout::{self, rollout};
use testkit::scene::{Scene, condition};
use testkit::stand::Matcher;

fn rollouts(scene: &Scene) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"));
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

/// A scene with the CRD of Rollout, which the operator may patch.
async fn scene(name: &str) -> Scene {
    let scene = Scene::new(name, OPERATOR).await.unwrap();
    rollout::install(&scene.client).await.unwrap();
    rollout::permit(&scene.client).await.unwrap();
    scene
}

fn names(name: &str) -> Value {
    json!({"rolloutRestart": [{"kind": rollout::KIND, "name": name}]})
}

/// The first event about a restart: its reason, its note, and the kind of the workload.
async fn told(scene: &Scene) -> (String, String, Value) {
    scene.until_events("lobby", |events| !events.is_empty()).await;
    let events: Api<DynamicObject> = Api::namespaced_with(
        scene.client.clone(),
        &scene.namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event")),
    );
    let event = events.list(&ListParams::default()).await.unwrap().items.remove(0);
    let word = |member: &str| event.data[member].as_str().unwrap().to_owned();
    (word("reason"), word("note"), event.data["related"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_a_rollout_of_a_kind_that_the_flag_names_is_restarted_by_one_look_and_one_patch() {
    let mut scene = scene("rollouts").await;
    scene.options.args.push(rollout::FLAG.to_owned());
    let _operator = scene.operator().await.unwrap();
    scene.apply(&rollout(&scene.namespace, "player")).await.unwrap();
    begun(&scene, "lobby", &names("player")).await;
    let before = rollouts(&scene).get("player").await.unwrap();
    scene.proxy.reset_counts();
    scene.force_renewal("lobby").await.unwrap();
    let object = followed(&scene, "lobby", 2).await;
    let after = rollouts(&scene).get("player").await.unwrap();
    let mark = &after.data["spec"]["template"]["metadata"]["annotations"][MARK];
    assert_eq!(time(mark).timestamp(), time(&object["status"]["issuedAt"]).timestamp());
    // nothing else has changed
    let mut spec = after.data["spec"].clone();
    spec["template"]["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(spec, before.data["spec"]);
    assert_eq!((after.metadata.labels, after.metadata.annotations), (before.metadata.labels, None));
    let seen = [Matcher::get("rollouts"), Matcher::patch("rollouts")].map(|matcher| scene.proxy.count(&matcher));
    assert_eq!(seen, [1, 1]);
    assert_eq!(scene.events("lobby").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_no_flag_names_is_told_of_and_left_alone() {
    let scene = scene("unnamed").await;
    let _operator = scene.operator().await.unwrap();
    scene.apply(&rollout(&scene.namespace, "player")).await.unwrap();
    begun(&scene, "lobby", &names("player")).await;
    scene.force_renewal("lobby").await.unwrap();
    let object = followed(&scene, "lobby", 2).await;
    assert_eq!(condition(&object, "Ready")["status"], "True");
    let (reason, note, related) = told(&scene).await;
    assert_eq!(reason, "RestartNotAllowed");
    assert!(note.contains("Rollout.argoproj.io player") && note.contains("rbac.restartKinds"), "{note}");
    assert_eq!((&related["kind"], &related["name"]), (&json!("Rollout"), &json!("player")));
    let seen = [Matcher::get("rollouts"), Matcher::patch("rollouts")].map(|matcher| scene.proxy.count(&matcher));
    assert_eq!(seen, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_pod_template_is_elsewhere_is_told_of_and_left_alone() {
    let mut scene = scene("refers").await;
    scene.options.args.push(rollout::FLAG.to_owned());
    let _operator = scene.operator().await.unwrap();
    let mut refers = rollout(&scene.namespace, "player");
    refers["spec"] = json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "player"}});
    scene.apply(&refers).await.unwrap();
    begun(&scene, "lobby", &names("player")).await;
    scene.force_renewal("lobby").await.unwrap();
    followed(&scene, "lobby", 2).await;
    let (reason, note, related) = told(&scene).await;
    assert_eq!(reason, "RestartNotAllowed");
    assert!(note.contains("has no Pod template at spec.template"), "{note}");
    assert_eq!(related["apiVersion"], "argoproj.io/v1alpha1");
    assert_eq!(rollouts(&scene).get("player").await.unwrap().data["spec"], refers["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_without_its_group_is_refused_by_the_api_server() {
    let scene = Scene::new("groupless", OPERATOR).await.unwrap();
    for kind in ["Rollout", "rollout.argoproj.io", "Rollout.argoproj"] {
        let spec = json!({"rolloutRestart": [{"kind": kind, "name": "player"}]});
        let refusal = scene.apply(&scene.token("lobby", &spec)).await.unwrap_err();
        let refusal = format!("{refusal:#}");
        assert!(refusal.contains("or KIND.GROUP, such as Rollout.argoproj.io"), "{kind}: {refusal}");
    }
}
