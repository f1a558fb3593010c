//! P03: what issues a token, and what doesn't: restarts above all.

use crate::OPERATOR;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::emulator::HoldPoint;
use testkit::scene::{SOON, Scene, condition};
use testkit::stand::wait::own_kind;
use testkit::stand::{Operator, eventually};
use tokio::time::timeout;

const TOKENS: usize = 200;

/// The resourceVersion of each object and of each Secret, by name; so also all times in their statuses.
async fn versions(scene: &Scene) -> [BTreeMap<String, Option<String>>; 2] {
    let objects = scene.tokens().list(&ListParams::default()).await.unwrap().items;
    let secrets = scene.secrets().list_metadata(&ListParams::default()).await.unwrap().items;
    [
        objects.into_iter().map(|o| (o.metadata.name.unwrap(), o.metadata.resource_version)).collect(),
        secrets.into_iter().map(|s| (s.metadata.name.unwrap(), s.metadata.resource_version)).collect(),
    ]
}

/// Every request from the `since`-th on that an operator at rest doesn't make: reads of Secrets, but for the provider's
/// credential, and all writes, but those of the Lease and for one object, which the provider counts.
fn idle_requests(scene: &Scene, since: usize, but: &str) -> Vec<String> {
    let log = scene.proxy.log();
    let asked = log[since..].iter().map(|exchange| &exchange.request).filter(|request| {
        let reads_secret = request.verb == "get" && request.resource == "secrets" && request.name != "azure-login";
        let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&request.verb.as_str());
        let other = ["leases", "events", "tokenproviders"].contains(&request.resource.as_str());
        (reads_secret || writes) && !other && request.name != but
    });
    asked.map(|request| format!("{} {}", request.summary(), request.name)).collect()
}

async fn apply_many(scene: &Scene) {
    let tokens = scene.tokens();
    let created = stream::iter(0..TOKENS).map(|n| {
        let token: DynamicObject = serde_json::from_value(scene.token(&format!("camera-{n:03}"), &json!({}))).unwrap();
        let tokens = tokens.clone();
        async move { tokens.create(&PostParams::default(), &token).await }
    });
    created.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
    eventually(SOON * 4, "all tokens are ready", async || {
        let all = tokens.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let at_rest = |object: &&DynamicObject| {
            let object = serde_json::to_value(object).unwrap_or_default();
            condition(&object, "Ready")["status"] == "True" && condition(&object, "Issuing")["status"] == "False"
        };
        let ready = all.items.iter().filter(at_rest).count();
        if ready == TOKENS { Ok(()) } else { Err(format!("{ready} are")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_a_restart_with_200_tokens_issues_reads_and_writes_nothing() {
    let mut scene = Scene::new("restart", OPERATOR).await.unwrap();
    scene.options.leader_elect = true;
    let lease = ["--lease-duration=12s", "--lease-renew-deadline=10s", "--lease-retry-period=1s"];
    scene.options.args.extend(lease.map(str::to_owned));
    let mut operator = scene.operator().await.unwrap();
    apply_many(&scene).await;
    let mut issued = TOKENS;
    assert_eq!(scene.issued(), issued);
    let counted = |object: &Value| object["status"]["tokens"] == TOKENS;
    scene.until_provider("indexer", "counts them", counted).await.unwrap();

    for how in ["SIGTERM", "kill -9"] {
        if how == "SIGTERM" {
            let stopped = operator.terminate().await.unwrap();
            assert!(stopped.status.success(), "{:?}", stopped.status);
        } else {
            operator.kill9();
        }
        let (before, since) = (versions(&scene).await, scene.proxy.log().len());
        operator = scene.operator().await.unwrap();
        let fence = scene.fence().await.unwrap();
        issued += 1;
        assert_eq!(scene.issued(), issued, "{how}: tokens issued, with the fence's");
        assert_eq!(idle_requests(&scene, since, &fence), [""; 0], "{how}");
        let mut after = versions(&scene).await;
        for kind in &mut after {
            kind.remove(&fence);
        }
        assert_eq!(after, before, "{how}: objects and Secrets, renewal times with them");
    }
}

/// Changes a `TokenProvider`.
async fn change_provider(scene: &Scene, patch: &Value) {
    let providers: Api<DynamicObject> =
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &own_kind("TokenProvider"));
    providers.patch("indexer", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_what_is_not_asked_of_the_provider_issues_nothing() {
    let scene = Scene::new("edits", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    let edits: [(&str, Value); 6] = [
        ("labels", json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})),
        ("renew-before", json!({"spec": {"renewBefore": "10m"}})),
        ("renew-share", json!({"spec": {"renewBeforePercentage": 50}})),
        (
            "template",
            json!({"spec": {"secret": {"template": {"labels": {"app": "x"},
            "data": {"url": "https://example.com/?accessToken={{ token }}"}}}}}),
        ),
        ("keys", json!({"spec": {"secret": {"keys": {"token": "accessToken", "expiresAt": "until"}}}})),
        ("kept", json!({"spec": {"secret": {"deletionPolicy": "Retain"}}})),
    ];
    let mut tokens = Vec::new();
    for (name, _) in &edits {
        scene.apply(&scene.token(name, &json!({}))).await.unwrap();
    }
    for (name, _) in &edits {
        tokens.push(scene.settled(name).await.unwrap());
    }
    let renews_at = async |name| scene.tokens().get(name).await.unwrap().data["status"]["renewAt"].clone();
    let renew_before = renews_at("renew-before").await;

    for (name, edit) in &edits {
        scene.patch(name, edit).await.unwrap();
    }
    change_provider(&scene, &json!({"spec": {"limits": {"concurrency": 7}}})).await;
    for ((name, _), token) in edits.iter().zip(&tokens) {
        assert_eq!(scene.settled(name).await.unwrap(), *token, "{name}");
    }
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), edits.len() + 1, "tokens issued, with the fence's");

    assert_ne!(renews_at("renew-before").await, renew_before);
    let url = scene.key_of("template", "url").await.unwrap().unwrap();
    assert_eq!(url, format!("https://example.com/?accessToken={}", tokens[3]));
    assert_eq!(scene.key_of("keys", "accessToken").await.unwrap().as_ref(), Some(&tokens[4]));
    assert_eq!(scene.key_of("keys", "token").await.unwrap(), None, "the old key is gone");
    let kept = scene.secrets().get_metadata("kept").await.unwrap();
    assert_eq!(kept.metadata.owner_references, None);
    assert!(scene.secrets().get_metadata("labels").await.unwrap().metadata.owner_references.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_a_token_moves_to_the_secret_of_the_new_name() {
    let scene = Scene::new("rename", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let token = scene.settled("lobby").await.unwrap();
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "entrance"}}})).await.unwrap();
    scene
        .until_that("lobby", "names the new Secret", |object| object["status"]["secretName"] == "entrance")
        .await
        .unwrap();
    assert_eq!(scene.settled("lobby").await.unwrap(), token);
    gone(&scene, "lobby").await;
    assert_eq!(scene.issued(), 1);

    // renamed while no operator runs
    operator.terminate().await.unwrap();
    scene.patch("lobby", &json!({"spec": {"secret": {"name": "exit"}}})).await.unwrap();
    let _operator: Operator = scene.operator().await.unwrap();
    scene.until_that("lobby", "names the new Secret", |object| object["status"]["secretName"] == "exit").await.unwrap();
    assert_eq!(scene.settled("lobby").await.unwrap(), token);
    gone(&scene, "entrance").await;
    assert_eq!(scene.issued(), 1);
}

async fn gone(scene: &Scene, secret: &str) {
    eventually(SOON, &format!("the Secret {secret} is gone"), async || match scene.secrets().get_opt(secret).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("it is there".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_another_request_issues_once_and_keeps_the_old_token_until_then() {
    let scene = Scene::new("request", OPERATOR).await.unwrap();
    let _operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    for (n, change) in [
        json!({"scope": {"videoIndexer": {"videoId": "a1b2c3d4e5"}}}),
        json!({"scope": {"videoIndexer": {"permission": "Reader"}}}),
        json!({"lifetime": "2h"}),
    ]
    .into_iter()
    .enumerate()
    {
        let old = scene.settled("lobby").await.unwrap();
        let hold = scene.azure.video_indexer.control().hold(HoldPoint::Answer, None);
        scene.patch("lobby", &json!({"spec": change})).await.unwrap();
        timeout(SOON, hold.reached()).await.unwrap();
        assert_eq!(scene.held("lobby").await.unwrap(), old, "{change}: while the answer is on its way");
        hold.release();
        scene.until_that("lobby", "renewed", |object| object["status"]["issuances"] == n + 2).await.unwrap();
        assert_ne!(scene.settled("lobby").await.unwrap(), old, "{change}");
        assert_eq!(scene.issued(), n + 2, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p03_a_forced_renewal_is_served_once_whatever_restarts() {
    let scene = Scene::new("forced", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    scene.ready_token("lobby", &json!({})).await.unwrap();
    let mut issued = 1;
    for value in 1..=2 {
        let old = scene.settled("lobby").await.unwrap();
        let asked = scene.force_renewal("lobby").await.unwrap();
        issued += 1;
        let served = async || {
            let secret = scene.secrets().get_metadata("lobby").await.map_err(|error| error.to_string())?;
            let served = secret.metadata.annotations.unwrap_or_default().remove("videotoken.dev/renew-request");
            if served.as_ref() == Some(&asked) { Ok(()) } else { Err(format!("{served:?}")) }
        };
        eventually(SOON, "the request is served", served).await;
        let renewed = scene.settled("lobby").await.unwrap();
        assert_ne!(renewed, old);
        operator.kill9();
        operator = scene.operator().await.unwrap();
        scene.fence().await.unwrap();
        issued += 1;
        assert_eq!(scene.issued(), issued, "value {value}: tokens issued, with the fences'");
        assert_eq!(scene.settled("lobby").await.unwrap(), renewed);
    }
    // what lies before the token's issue was served by it
    let before = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": "2020-01-01T00:00:00Z"}}});
    scene.patch("lobby", &before).await.unwrap();
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), issued + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_tokens_are_not_asked_for_and_resumed_ones_only_when_due() {
    let scene = Scene::new("suspend", OPERATOR).await.unwrap();
    let mut operator = scene.operator().await.unwrap();
    for name in ["due", "fresh"] {
        scene.ready_token(name, &json!({})).await.unwrap();
        scene.settled(name).await.unwrap();
        scene.patch(name, &json!({"spec": {"suspend": true}})).await.unwrap();
        scene.until(name, "Issuing", "False", "Suspended").await.unwrap();
    }
    scene.apply(&scene.token("never", &json!({"suspend": true}))).await.unwrap();
    scene.until("never", "Issuing", "False", "Suspended").await.unwrap();
    let [due, fresh] = [scene.held("due").await.unwrap(), scene.held("fresh").await.unwrap()];
    scene.force_renewal("due").await.unwrap();
    for _ in 0..2 {
        scene.fence().await.unwrap();
        operator.kill9();
        operator = scene.operator().await.unwrap();
    }
    scene.fence().await.unwrap();
    assert_eq!(scene.issued(), 2 + 3, "none while suspended, but the fences'");
    assert_eq!(scene.held("due").await.unwrap(), due);
    assert_eq!(scene.key_of("never", "token").await.unwrap(), None);

    for name in ["due", "fresh", "never"] {
        scene.patch(name, &json!({"spec": {"suspend": false}})).await.unwrap();
    }
    for name in ["due", "fresh", "never"] {
        scene.until_that(name, "resumed", |object| condition(object, "Issuing")["reason"] == "UpToDate").await.unwrap();
    }
    assert_ne!(scene.settled("due").await.unwrap(), due);
    assert_eq!(scene.settled("fresh").await.unwrap(), fresh);
    scene.settled("never").await.unwrap();
    assert_eq!(scene.issued(), 5 + 2, "the forced one, and the one that never had a token");
}
