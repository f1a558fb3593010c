//! An object that can't be read, as an older or looser CRD may have stored it, holds up no other.

use crate::OPERATOR;
use anyhow::{Result, bail};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::eventually;

const CRD: &str = "videoaccesstokens.videotoken.dev";

fn crds(client: &Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk))
}

async fn set_schema(client: &Client, schema: &Value) {
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    crds(client).patch(CRD, &PatchParams::default(), &patch).await.unwrap();
}

/// Tries to create an object; with `dry_run`, whether it would be taken.
async fn create(scene: &Scene, object: &Value, dry_run: bool) -> Result<()> {
    let params = PostParams { dry_run, ..PostParams::default() };
    scene.tokens().create(&params, &serde_json::from_value(object.clone())?).await?;
    Ok(())
}

/// Waits until an event about the object speaks of the field.
async fn told_by_event(scene: &Scene, name: &str, field: &str) {
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    eventually(SOON, "an event", async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let about = |event: &&Event| event.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(name);
        let notes: Vec<_> = all.iter().filter(about).map(|event| (event.reason.clone(), event.note.clone())).collect();
        let tells = notes.iter().any(|(reason, note)| {
            reason.as_deref() == Some("InvalidSpec") && note.as_ref().is_some_and(|note| note.contains(field))
        });
        if tells { Ok(()) } else { Err(format!("{notes:?}")) }
    })
    .await;
}

async fn stalled(scene: &Scene, name: &str, field: &str) {
    let object = scene.until(name, "Stalled", "True", "InvalidSpec").await.unwrap();
    let message = condition(&object, "Stalled")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(field), "{name}: {message}");
    assert_eq!(condition(&object, "Ready")["status"], "False", "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_stalled_and_holds_up_no_other() {
    let scene = Scene::private("garbled", OPERATOR).await.unwrap();
    // each with the field that its message must name
    let bad = [
        ("scope-is-a-number", "spec.scope", json!({"scope": 5})),
        ("secret-is-a-text", "spec.secret", json!({"secret": "x"})),
        ("keys-are-a-text", "spec.secret.keys", json!({"secret": {"keys": "x"}})),
        ("suspend-is-a-text", "spec.suspend", json!({"suspend": "yes"})),
        ("no-provider", "providerRef", json!({"providerRef": null})),
        ("life-is-garbled", "spec.lifetime", json!({"lifetime": "99999999999999999999h"})),
        ("two-scopes", "spec.scope", json!({"scope": {"blendVision": {}}})),
    ];
    let version = &crds(&scene.client).get(CRD).await.unwrap().data["spec"]["versions"][0];
    let strict = version["schema"]["openAPIV3Schema"].clone();
    let loose = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    set_schema(&scene.client, &loose).await;
    for (name, _, spec) in &bad {
        let object = scene.token(name, spec);
        eventually(SOON, "the loose schema is in force", async || create(&scene, &object, false).await).await;
    }
    let garbage = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken", "spec": "nothing",
        "metadata": {"name": "spec-is-a-text", "namespace": scene.namespace}});
    create(&scene, &garbage, false).await.unwrap();

    let operator = scene.operator().await.unwrap();
    scene.ready_token("good", &json!({})).await.unwrap();
    for (name, field, _) in &bad {
        stalled(&scene, name, field).await;
    }
    stalled(&scene, "spec-is-a-text", "spec").await;
    drop(operator);

    // stored while no operator ran, and then the CRD is what it should be
    create(&scene, &scene.token("unseen-suspend", &json!({"suspend": "yes"})), false).await.unwrap();
    create(&scene, &scene.token("unseen-scope", &json!({"scope": 5})), false).await.unwrap();
    set_schema(&scene.client, &strict).await;
    let probe = scene.token("probe", &json!({"scope": 5}));
    eventually(SOON, "the strict schema is in force", async || match create(&scene, &probe, true).await {
        Ok(()) => bail!("it isn't"),
        Err(_) => Ok(()),
    })
    .await;
    let _operator = scene.operator().await.unwrap();
    scene.fence().await.unwrap();
    stalled(&scene, "unseen-suspend", "spec.suspend").await;
    // its rules can't be evaluated, so the API server takes no status of it
    told_by_event(&scene, "unseen-scope", "spec.scope").await;
    for name in ["scope-is-a-number", "unseen-scope"] {
        // as kubectl edit would; the API server refuses to apply anything over it
        scene.patch(name, &json!({"spec": scene.token(name, &json!({}))["spec"]})).await.unwrap();
        scene.settled(name).await.unwrap();
    }
    scene.settled("good").await.unwrap();
    assert_eq!(scene.issued(), 4, "the good one, the two that were mended, and the fence's");
}
