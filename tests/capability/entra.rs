//! P07: what Entra's refusals cost. What time heals costs seconds; whoever asks for another try gets one.

use crate::OPERATOR;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use testkit::emulator::{Fault, Rule, example};
use testkit::scene::{Scene, client_secret, condition};
use testkit::stand::wait::own_kind;

/// Entra's refusal with this number, once.
fn refuses(scene: &Scene, number: u32) {
    let body = json!({"error": "unauthorized_client", "error_codes": [number],
        "error_description": format!("AADSTS{number}: what Entra says")});
    let fault = Fault::Status { code: 401, body: body.to_string(), headers: Vec::new() };
    scene.azure.entra.control().play(Rule::new(fault).times(1));
}

async fn refused(scene: &Scene, provider: &str) -> String {
    let told = |object: &Value| condition(object, "Ready")["reason"] == "CredentialRejected";
    let object = scene.until_provider(provider, "says that its identity is refused", told).await.unwrap();
    condition(&object, "Ready")["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_federated_credential_that_entra_doesnt_know_yet_costs_seconds() {
    let scene = Scene::new("fresh-federation", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    refuses(&scene, 70_021);
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    let said = refused(&scene, "indexer").await;
    assert!(said.contains("AADSTS70021") && said.contains("no federated credential of the application fits"), "{said}");
    // by itself, though nobody asks
    scene.settled("lobby").await.unwrap();
    assert_eq!(scene.azure.entra.control().requests().len(), 2);
}

/// A provider of its own account, and a token of it.
async fn ask(scene: &Scene, name: &str) -> Value {
    let id = format!("{}/providers/Microsoft.VideoIndexer/accounts/{name}", example::resource_group_id());
    scene.azure.video_indexer.add_account(&id);
    assert!(scene.azure.video_indexer.add_extension(&id, example::EXTENSION_ID));
    let login = format!("{name}-login");
    scene.apply(&scene.credentials(&login, example::CLIENT_SECRET)).await.unwrap();
    let mut provider = scene.provider(name, &client_secret(&login));
    provider["spec"]["videoIndexer"]["accountName"] = name.into();
    scene.apply(&provider).await.unwrap();
    scene.apply(&scene.token(name, &json!({"providerRef": {"name": name}}))).await.unwrap();
    provider
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_refused_identity_is_tried_at_once_when_somebody_asks() {
    let scene = Scene::new("refused-identity", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let providers: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("TokenProvider"));
    // a Conditional Access policy: time doesn't heal it, an admin does
    for name in ["renewed", "edited", "labelled", "made-anew"] {
        refuses(&scene, 53_003);
        let provider = ask(&scene, name).await;
        assert!(refused(&scene, name).await.contains("Conditional Access"), "{name}");
        let before = scene.azure.entra.control().requests().len();
        scene.fence().await.unwrap();
        let own = scene.azure.entra.control().requests().len() - before;
        assert!(own <= 1, "{name}: nobody asked for another try, and there were {own} beside the fence's");
        match name {
            "renewed" => drop(scene.force_renewal(name).await.unwrap()),
            "edited" => {
                let patch = json!({"spec": {"limits": {"concurrency": 7}}});
                providers.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
            "labelled" => {
                let patch = json!({"metadata": {"labels": {"looked-at": "again"}}});
                scene.patch_secret(&format!("{name}-login"), &patch).await.unwrap();
            }
            _ => {
                providers.delete(name, &DeleteParams::default()).await.unwrap();
                scene.apply(&provider).await.unwrap();
            }
        }
        scene.settled(name).await.unwrap();
    }
}
