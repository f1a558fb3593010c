//! P17: a panic over one object costs that object alone.

use crate::OPERATOR;
use crate::victim::Victim;
use serde_json::{Value, json};
use testkit::scene::{SOON, Scene, client_secret, condition};
use testkit::stand::eventually;

/// Fails at this place of the operator over an object `poison`, beside a neighbour of the same account and a victim.
async fn fails_alone(place: &str, object: impl Fn(&Scene) -> String) {
    let mut scene = Scene::new(place, OPERATOR).await.unwrap();
    let victim = Victim::beside(&mut scene).await;
    scene.options.env.push(("VIDEO_TOKEN_OPERATOR_PANIC".to_owned(), format!("{place} {}", object(&scene))));
    scene.patch_provider("indexer", &json!({"spec": {"limits": {"concurrency": 1}}})).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    victim.ready().await;
    scene.apply(&scene.provider("poison", &client_secret("azure-login"))).await.unwrap();
    let provider = if place == "resolve" { "poison" } else { "indexer" };
    scene.apply(&scene.token("poison", &json!({"providerRef": {"name": provider}}))).await.unwrap();
    let told = if place == "resolve" { "resolving the provider panicked" } else { "the reconcile panicked" };
    let panicked = |logs: &str| logs.contains("fail_point.rs") && logs.contains(told);
    eventually(SOON, "it has panicked", async || if panicked(&operator.logs()) { Ok(()) } else { Err("not yet") })
        .await;
    // one call at a time: a call that panicked has given its turn back
    scene.ready_token("neighbour", &json!({})).await.unwrap();
    if place == "resolve" {
        let told = |object: &Value| condition(object, "Stalled")["reason"] == "InternalError";
        scene.until_that("poison", "told", told).await.unwrap();
    }
    victim.is_renewed_in_time(2).await;
    assert!(operator.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_panic_in_a_reconcile_costs_its_object_alone() {
    fails_alone("reconcile", |scene| format!("{}/poison", scene.namespace)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_panic_during_a_call_costs_its_object_alone_and_gives_its_turn_back() {
    fails_alone("call", |scene| format!("{}/poison", scene.namespace)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_panic_in_a_resolve_costs_the_tokens_of_its_provider_alone() {
    fails_alone("resolve", |_| "TokenProvider/poison".to_owned()).await;
}
