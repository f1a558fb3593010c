//! Two operators, each with its own namespaces, and a `ClusterTokenProvider` that both use.

use crate::OPERATOR;
use kube::Api;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::{Fault, Rule, example};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::wait::{own_kind, throughout, video_access_tokens};
use testkit::stand::{Matcher, Operator, OperatorOptions, eventually, yaml};

/// The namespace of the scene's operator, that of the other operator, and the provider of both.
struct Shared {
    scene: Scene,
    other: OperatorOptions,
    namespace: String,
    provider: String,
}

impl Shared {
    async fn new(prefix: &str) -> Self {
        let scene = Scene::bare(prefix, OPERATOR).await.unwrap();
        let namespace = scene.plane.namespace(&format!("{prefix}-too")).await.unwrap();
        let provider = format!("{}-vi", scene.namespace);
        let admits = json!({"names": [scene.namespace, namespace]});
        scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await.unwrap();
        let login = client_secret("azure-login");
        scene.apply(&scene.cluster_provider(&provider, &login, &admits, &Value::Null)).await.unwrap();
        let other = OperatorOptions { watch_namespaces: vec![namespace.clone()], ..scene.options.clone() };
        Self { scene, other, namespace, provider }
    }

    /// Applies a token of the shared provider in one of the two namespaces, and waits for a condition.
    async fn token(&self, namespace: &str, name: &str, type_: &str, reason: &str) {
        let reference = json!({"kind": "ClusterTokenProvider", "name": self.provider});
        let mut token = self.scene.token(name, &json!({"providerRef": reference}));
        token["metadata"]["namespace"] = namespace.into();
        yaml::apply(&self.scene.client, namespace, &token.to_string()).await.unwrap();
        let tokens = video_access_tokens(&self.scene.client, namespace);
        eventually(SOON, &format!("{name}: {type_} {reason}"), async || {
            let object = tokens.get(name).await.map_err(|error| error.to_string())?;
            let found = condition(&object.data, type_);
            let is_there = found["status"] == "True" && (reason.is_empty() || found["reason"] == reason);
            if is_there { Ok(()) } else { Err(object.data["status"].to_string()) }
        })
        .await;
    }

    /// Waits until the provider's status is as wished.
    async fn until(&self, wished: impl Fn(&Value) -> bool) -> Value {
        let api: Api<DynamicObject> = Api::all_with(self.scene.client.clone(), &own_kind("ClusterTokenProvider"));
        eventually(SOON, "the provider tells it", async || {
            let object = api.get(&self.provider).await.map_err(|error| error.to_string())?;
            let status = object.data["status"].clone();
            if wished(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    fn status_writes(&self) -> u64 {
        self.scene.proxy.count(&Matcher::patch("clustertokenproviders/status").name(&self.provider))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_two_operators_with_one_provider_write_no_status_at_rest() {
    let shared = Shared::new("share-rest").await;
    let _one = shared.scene.operator().await.unwrap();
    let _two = Operator::start(&shared.other).await.unwrap();
    shared.token(&shared.scene.namespace, "lobby", "Ready", "").await;
    shared.token(&shared.namespace, "garage", "Ready", "").await;
    let status = shared.until(|status| status["credentials"]["accepted"] == true).await;
    assert_eq!(condition(&json!({"status": status}), "Ready")["status"], "True", "{status}");
    assert!(status["lastIssuedAt"].is_string() && status["tokens"].is_null(), "{status}");
    // each has looked twice
    throughout(Duration::from_secs(10), "few writes", async || match shared.status_writes() {
        1..=4 => Ok(()),
        writes => Err(format!("{writes} writes")),
    })
    .await;
    let before = shared.status_writes();
    throughout(Duration::from_secs(20), "no write at rest", async || match shared.status_writes() {
        writes if writes == before => Ok(()),
        writes => Err(format!("{writes} writes, after {before}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_throttle_of_a_shared_provider_outlasts_a_restart_of_each_operator() {
    let shared = Shared::new("share-throttle").await;
    let (scene, control) = (&shared.scene, shared.scene.azure.video_indexer.control());
    let mut one = scene.operator().await.unwrap();
    let mut two = Operator::start(&shared.other).await.unwrap();
    shared.token(&shared.namespace, "garage", "Ready", "").await;
    control.play(Rule::new(Fault::Throttle { retry_after: Some(300) }));
    shared.token(&scene.namespace, "lobby", "Issuing", "Throttled").await;
    let told = shared.until(|status| status["throttledUntil"].is_string()).await;
    let requests = control.requests().len();

    // the other knows it by the status alone, and reports what it knows itself
    two.terminate().await.unwrap();
    let _two = Operator::start(&shared.other).await.unwrap();
    shared.token(&shared.namespace, "attic", "Issuing", "Throttled").await;
    one.kill9();
    one = scene.operator().await.unwrap();
    shared.token(&scene.namespace, "hall", "Issuing", "Throttled").await;
    let after = shared.until(|status| status["throttledUntil"].is_string()).await;
    assert_eq!(after["throttledUntil"], told["throttledUntil"]);
    assert_eq!(control.requests().len(), requests, "nothing was tried");
    drop(one);
}
