//! P15: stopping with a call under way, and objects and namespaces that end while their token is on its way.

use crate::OPERATOR;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use std::time::Duration;
use testkit::emulator::HoldPoint;
use testkit::scene::{SOON, Scene};
use testkit::stand::operator::Stopped;
use testkit::stand::wait::is_gone;
use testkit::stand::{Matcher, Operator, eventually};
use tokio::time::timeout;

/// As P15 promises.
const STOP: Duration = Duration::from_secs(20);

/// Asks the operator to stop, and goes on with `meanwhile` when it has begun to.
async fn terminate(operator: &mut Operator, meanwhile: impl Future<Output = ()>) -> Stopped {
    let ready = operator.url("/readyz");
    let begun = async {
        eventually(SOON, "the operator stops serving", async || match reqwest::get(&ready).await {
            Ok(_) => Err("it answers"),
            Err(_) => Ok(()),
        })
        .await;
        meanwhile.await;
    };
    let (stopped, ()) = tokio::join!(operator.terminate(), begun);
    let stopped = stopped.unwrap();
    assert!(stopped.status.success(), "{:?}", stopped.status);
    assert!(stopped.took < STOP, "{:?}", stopped.took);
    stopped
}

/// Who holds the operator's Lease.
async fn holder(scene: &Scene) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(scene.client.clone(), &scene.options.lease_namespace);
    let lease = leases.get(&scene.options.lease_name).await.unwrap();
    lease.spec.unwrap().holder_identity.filter(|holder| !holder.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_token_under_way_is_stored_before_the_operator_stops() {
    let mut scene = Scene::new("stop", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("old", &json!({})).await.unwrap();
    assert!(holder(&scene).await.is_some());
    let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    terminate(&mut operator, async { hold.release() }).await;
    let token = scene.held("lobby").await.unwrap();
    assert!(scene.azure.video_indexer.control().knows(&token).is_some());
    assert_eq!(holder(&scene).await, None, "the lease is released");
    assert_eq!(scene.issued(), 2);
    let _operator = scene.operator().await.unwrap();
    assert_eq!(scene.settled("lobby").await.unwrap(), token);
    assert_eq!(scene.issued(), 2, "and not issued again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_write_that_fails_is_tried_again_before_the_operator_stops() {
    let scene = Scene::new("stop-write", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let held = scene.proxy.hold(Matcher::patch("secrets").name("lobby").first(1));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    held.wait().await;
    terminate(&mut operator, async { held.drop_all() }).await;
    let token = scene.held("lobby").await.unwrap();
    assert!(scene.azure.video_indexer.control().knows(&token).is_some());
    assert_eq!(scene.issued(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_neither_a_silent_provider_nor_a_silent_api_server_keeps_the_operator() {
    let mut scene = Scene::new("stop-silent", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let hold = scene.azure.video_indexer.control().hold(HoldPoint::Request, None);
    scene.force_renewal("lobby").await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    terminate(&mut operator, async {}).await;
    drop(hold);
    assert_eq!(holder(&scene).await, None, "the lease is released");

    let mut operator = scene.operator().await.unwrap();
    let stuck = scene.proxy.hold(Matcher::patch("secrets").name("entrance"));
    scene.apply(&scene.token("entrance", &json!({}))).await.unwrap();
    stuck.wait().await;
    terminate(&mut operator, async {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_an_object_deleted_between_call_and_write_leaves_nothing() {
    let scene = Scene::new("deleted", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    scene.tokens().delete("lobby", &DeleteParams::default()).await.unwrap();
    is_gone(&scene.tokens(), "lobby", SOON).await;
    // so that the operator has heard of the deletion
    scene.fence().await.unwrap();
    hold.release();
    scene.fence().await.unwrap();
    assert_eq!(scene.key_of("lobby", "token").await.unwrap(), None);
    assert_eq!(scene.proxy.count(&Matcher::patch("secrets").name("lobby")), 0);
    assert_eq!(scene.issued(), 3);
    terminate(&mut operator, async {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_an_object_made_anew_between_call_and_write_gets_a_secret_of_its_own() {
    let scene = Scene::new("anew", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    timeout(SOON, hold.reached()).await.unwrap();
    scene.tokens().delete("lobby", &DeleteParams::default()).await.unwrap();
    is_gone(&scene.tokens(), "lobby", SOON).await;
    let other = json!({"scope": {"videoIndexer": {"videoId": "a1b2c3d4e5"}}});
    scene.apply(&scene.token("lobby", &other)).await.unwrap();
    scene.fence().await.unwrap();
    hold.release();
    let token = scene.settled("lobby").await.unwrap();
    let known = scene.azure.video_indexer.control().knows(&token).unwrap();
    assert!(known.request.contains("a1b2c3d4e5"), "{}", known.request);
    let owner = scene.secrets().get("lobby").await.unwrap().metadata.owner_references.unwrap().remove(0);
    assert_eq!(Some(owner.uid), scene.tokens().get("lobby").await.unwrap().metadata.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_namespace_that_ends_between_call_and_write_is_left_alone() {
    let scene = Scene::new("ending", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    let held = scene.proxy.hold(Matcher::patch("secrets").name("lobby"));
    scene.apply(&scene.token("lobby", &json!({}))).await.unwrap();
    held.wait().await;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&scene.namespace, &DeleteParams::default()).await.unwrap();
    eventually(SOON, "the namespace is ending", async || {
        match namespaces.get_opt(&scene.namespace).await.map_err(|error| error.to_string())? {
            Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => Err("it isn't".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    held.release();
    is_gone(&namespaces, &scene.namespace, SOON * 2).await;
    assert_eq!(scene.issued(), 1);
    assert!(operator.exited().is_none(), "the operator works on");
    terminate(&mut operator, async {}).await;
}
