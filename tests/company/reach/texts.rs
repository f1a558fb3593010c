//! Nobody's text: what an API server, a webhook or a policy says of an object that holds a token, and what a provider says
//! to one namespace, is not told to others.

use crate::OPERATOR;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use testkit::emulator::{Fault, Rule};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::{eventually, yaml};

/// A policy that refuses the Secrets of one namespace that match, and says this.
async fn deny(scene: &Scene, name: &str, refused: &str, says: &str) -> String {
    let name = format!("{}-{name}", scene.namespace);
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}});
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["secrets"]});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
            "validations": [{"expression": format!("!({refused})"), "messageExpression": says}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    for object in [policy, binding] {
        scene.apply(&object).await.unwrap();
    }
    name
}

async fn allow(scene: &Scene, name: &str) {
    for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        yaml::delete(&scene.client, "", &object.to_string()).await.unwrap();
    }
}

/// All that is told of a token: its object, its events, the log.
async fn told(scene: &Scene, name: &str, log: &str) -> String {
    let object = serde_json::to_value(scene.tokens().get(name).await.unwrap()).unwrap();
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&ListParams::default()).await.unwrap();
    let notes: Vec<_> = events.items.into_iter().filter_map(|event| event.note).collect();
    format!("{}\n{notes:?}\n{log}", object["status"])
}

/// No piece of the token, nor of its base64, is told.
fn hides(told: &str, token: &str) {
    for secret in [token.to_owned(), BASE64.encode(token), token.to_lowercase()] {
        for piece in secret.as_bytes().windows(20) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!told.contains(piece), "{piece} of {secret} is told: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_a_policy_that_quotes_the_token_shows_it_to_nobody() {
    let scene = Scene::new("quoted", OPERATOR).await.unwrap();
    // tokens that look like nothing in particular
    scene.azure.video_indexer.control().play(Rule::new(Fault::OpaqueToken));
    let operator = scene.operator().await.unwrap();
    let template = json!({"secret": {"keys": {"previousToken": "before"},
        "template": {"data": {"header": "Authorization: Bearer {{ token }}", "half": "{{ token[:24] }}"}}}});
    scene.ready_token("lobby", &template).await.unwrap();
    scene.settled("lobby").await.unwrap();
    let held = scene.held("lobby").await.unwrap();

    let says = "'no, ' + object.metadata.name + ': ' + object.data['token'] + ' ' + object.data['half'] + ' ' + \
                object.data['header'].lowerAscii() + ' was ' + (oldObject == null ? '' : oldObject.data['token'])";
    let policy = deny(&scene, "says", "object != null && object.metadata.name in ['lobby', 'hall']", says).await;
    eventually(SOON, "the policy holds", async || {
        scene.force_renewal("lobby").await.map_err(|error| error.to_string())?;
        let object = serde_json::to_value(scene.tokens().get("lobby").await.unwrap()).unwrap();
        let conditions = object["status"]["conditions"].to_string();
        if conditions.contains("SecretRefused") { Ok(()) } else { Err(conditions) }
    })
    .await;
    scene.apply(&scene.token("hall", &template)).await.unwrap();
    let refused = scene.until("hall", "Stalled", "True", "SecretRefused").await.unwrap();
    let message = condition(&refused, "Stalled")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("denied request: no, hall: [redacted]"), "what is no secret is told: {message}");
    for name in ["lobby", "hall"] {
        let told = told(&scene, name, &operator.logs()).await;
        hides(&told, &held);
    }
    allow(&scene, &policy).await;

    // who refuses a deletion sees what was there
    eventually(SOON, "nothing is refused", async || {
        scene.touch("hall").await.map_err(|error| error.to_string())?;
        scene.held("hall").await.map(drop).map_err(|error| format!("{error:#}"))
    })
    .await;
    let held = scene.held("hall").await.unwrap();
    let policy = deny(
        &scene,
        "deletion",
        "object == null && oldObject.metadata.name == 'hall'",
        "'kept: ' + oldObject.data['token']",
    )
    .await;
    eventually(SOON, "the policy holds", async || {
        let params = kube::api::DeleteParams { dry_run: true, ..kube::api::DeleteParams::default() };
        match scene.secrets().delete("hall", &params).await {
            Ok(_) => Err("not yet"),
            Err(_) => Ok(()),
        }
    })
    .await;
    scene.patch("hall", &json!({"spec": {"secret": {"name": "moved"}}})).await.unwrap();
    eventually(SOON, "the deletion is refused", async || {
        let log = operator.logs();
        if log.contains("kept: [redacted]") { Ok(()) } else { Err("not told") }
    })
    .await;
    hides(&told(&scene, "hall", &operator.logs()).await, &held);
    allow(&scene, &policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p22_what_a_provider_says_to_one_namespace_is_not_told_in_another() {
    let mut scene = Scene::new("neighbours", OPERATOR).await.unwrap();
    let other = scene.plane.namespace("neighbours-b").await.unwrap();
    scene.options.watch_namespaces.push(other.clone());
    let name = format!("{}-vi", scene.namespace);
    let admits = json!({"names": [scene.namespace, other]});
    scene.apply(&scene.cluster_provider(&name, &client_secret("azure-login"), &admits, &Value::Null)).await.unwrap();
    let body = json!({"error": {"code": "TooMany", "message": "slow down with camera-of-a"}}).to_string();
    let throttle = Fault::Status { code: 429, body, headers: vec![("retry-after".to_owned(), "600".to_owned())] };
    scene.azure.video_indexer.control().play(Rule::new(throttle));
    let _operator = scene.operator().await.unwrap();
    let token = |namespace: &str, token: &str| {
        let mut object = scene.token(token, &json!({"providerRef": {"kind": "ClusterTokenProvider", "name": name}}));
        object["metadata"]["namespace"] = namespace.into();
        object
    };
    scene.apply(&token(&scene.namespace, "a")).await.unwrap();
    let failed = |object: &Value| object["status"]["lastFailure"]["message"].to_string().contains("camera-of-a");
    scene.until_that("a", "is told what was said", failed).await.unwrap();
    for (namespace, token_name, whole) in [(other.as_str(), "b", false), (scene.namespace.as_str(), "a2", true)] {
        yaml::apply(&scene.client, namespace, &token(namespace, token_name).to_string()).await.unwrap();
        let api = testkit::stand::wait::video_access_tokens(&scene.client, namespace);
        let status = eventually(SOON, "it says that the account is throttled", async || {
            let object = api.get(token_name).await.map_err(|error| error.to_string())?;
            let status = object.data["status"].clone();
            if status["conditions"].to_string().contains("Throttled") { Ok(status) } else { Err(status.to_string()) }
        })
        .await
        .to_string();
        assert_eq!(status.contains("camera-of-a"), whole, "{token_name}: {status}");
    }
}
