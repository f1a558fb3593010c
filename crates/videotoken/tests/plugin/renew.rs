//! `renew`: requests and results.

use crate::stage::Stage;
use serde_json::json;
use testkit::emulator::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_waited_for_by_one_who_may_not_read_secrets() {
    let mut stage = Stage::set("renew").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    stage.ready_token("entrance", &json!({})).await.unwrap();
    let rules = json!([{"apiGroups": ["videotoken.dev"], "resources": ["videoaccesstokens"],
        "verbs": ["get", "list", "watch", "patch"]}]);
    let namespace = stage.namespace.clone();
    let meta = json!({"name": "renewer", "namespace": namespace});
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "renewer"},
            "subjects": [{"kind": "ServiceAccount", "name": "renewer", "namespace": namespace}]}),
    ] {
        stage.apply(&object).await.unwrap();
    }
    let login = stage.plane.service_account_kubeconfig(&stage.namespace, "renewer").await.unwrap();
    stage.log_in(&login);
    let before = stage.settled("lobby").await.unwrap();
    let said = stage.run(&["renew", "lobby", "--wait"]).well();
    assert!(said.contains("/lobby renewed in ") && said.contains("expires 2"), "{said}");
    assert_ne!(stage.held("lobby").await.unwrap(), before, "the Secret holds the new token when it is told");

    let before = [stage.settled("lobby").await.unwrap(), stage.settled("entrance").await.unwrap()];
    let said = stage.run(&["renew", "--all", "--wait"]).well();
    assert_eq!(said.matches(" renewed in ").count(), 2, "{said}");
    assert_ne!([stage.held("lobby").await.unwrap(), stage.held("entrance").await.unwrap()], before);

    let before = stage.settled("lobby").await.unwrap();
    assert!(stage.run(&["renew", "lobby"]).well().contains("renewal requested"));
    testkit::stand::eventually(testkit::scene::SOON, "a renewal without a wait", async || {
        match stage.held("lobby").await {
            Ok(token) if token != before => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_it_is_told_also_when_nothing_did() {
    let stage = Stage::set("unrenewed").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    let video_indexer = stage.azure.video_indexer.control();
    let status = |code, headers: &[(&str, &str)]| Fault::Status {
        code,
        body: String::new(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };

    video_indexer.play(status(500, &[]));
    let said = stage.run(&["renew", "lobby", "--wait", "--timeout=5s"]).ended(1);
    assert!(said.contains("not renewed within 5 s: ServerError"), "{said}");
    assert!(said.contains("(request ID "), "{said}");
    video_indexer.clear_faults();
    stage.until_that("lobby", "recovered", |object| object["status"]["failedAttempts"] == 0).await.unwrap();

    video_indexer.play(status(403, &[]));
    let said = stage.run(&["renew", "lobby", "--wait"]).ended(1);
    assert!(said.contains("not renewed: ") && said.contains("the next attempt is at "), "{said}");
    video_indexer.clear_faults();
    // refused before: asked again at once
    stage.run(&["renew", "lobby", "--wait"]).well();

    video_indexer.play(status(429, &[("retry-after", "600")]));
    let said = stage.run(&["renew", "lobby", "--wait", "--timeout=20s"]).ended(1);
    assert!(said.contains("within 20 s: Throttled"), "{said}");
    video_indexer.clear_faults();

    stage.patch("lobby", &json!({"spec": {"suspend": true}})).await.unwrap();
    let said = stage.run(&["renew", "lobby", "--wait"]).ended(1);
    assert!(said.contains("spec.suspend is true"), "{said}");
    let object = stage.until_that("lobby", "there", |_| true).await.unwrap();
    let astray = json!({"providerRef": {"name": "no-such-provider"}});
    stage.apply(&stage.token("astray", &astray)).await.unwrap();
    stage.until("astray", "Stalled", "True", "ProviderNotFound").await.unwrap();
    let said = stage.run(&["renew", "astray", "--wait"]).ended(1);
    assert!(said.contains("not renewed: ProviderNotFound"), "{said}");
    let asked = &object["metadata"]["annotations"]["videotoken.dev/renew-requested-at"];
    let after = stage.until_that("lobby", "there", |_| true).await.unwrap();
    assert_eq!(&after["metadata"]["annotations"]["videotoken.dev/renew-requested-at"], asked, "suspended: untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_the_wait_ends_and_says_where_to_look() {
    let stage = Stage::set("nobody").await;
    stage.apply(&stage.token("lobby", &json!({}))).await.unwrap();
    let said = stage.run(&["renew", "lobby", "--wait", "--timeout=2s"]).ended(1);
    assert!(said.contains("not renewed within 2 s") && said.contains("kubectl videotoken doctor"), "{said}");
}
