//! `describe`: why, what next, and what to do.

use crate::stage::Stage;
use serde_json::json;
use testkit::emulator::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_why_what_comes_next_and_what_to_do() {
    let stage = Stage::set("describe").await;
    let _operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({"lifetime": "12h"})).await.unwrap();
    stage.until_provider("indexer", "is ready", |object| !object["status"]["conditions"].is_null()).await.unwrap();
    for columns in [80, 160] {
        let text = stage.at_terminal(&["describe", "lobby"], columns).await.text();
        for expected in [
            &format!("Token         {}/lobby", stage.namespace) as &str,
            "State         Ready, TokenIssued",
            "Why           The Secret contains a valid token.",
            "Next          The operator renews the token in 7h",
            "Ready=True TokenIssued",
            "Provider TokenProvider/indexer",
            "Ready=True Configured",
            "lifetime: 12h",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(text.contains(" of 12h left") || text.contains(" of 11h59m left"), "{text}");
    }

    let fault = Fault::Status { code: 500, body: String::new(), headers: Vec::new() };
    stage.azure.video_indexer.control().play(fault);
    stage.force_renewal("lobby").await.unwrap();
    stage
        .until_that("lobby", "fails again", |object| object["status"]["failedAttempts"].as_i64() > Some(2))
        .await
        .unwrap();
    testkit::stand::eventually(testkit::scene::SOON, "an event", async || {
        let events = stage.events("lobby").await.map_err(|error| error.to_string())?;
        if events.iter().any(|(_, reason, _)| reason == "IssueFailed") { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    for columns in [80, 160] {
        let text = stage.at_terminal(&["describe", "lobby"], columns).await.text();
        for expected in [
            "State         Failing, ServerError",
            "Hint          the operator can't reach the token API, or gets an",
            "  Request ID  ",
            "  Reason      ServerError (Transient), ",
            "Issuing=True ServerError",
            " ago IssueFailed",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_token_has_its_hint_and_what_may_not_be_seen_hides_nothing_else() {
    let mut stage = Stage::set("stalled").await;
    let _operator = stage.operator().await.unwrap();
    stage.apply(&stage.token("astray", &json!({"providerRef": {"name": "no-such-provider"}}))).await.unwrap();
    stage.until("astray", "Stalled", "True", "ProviderNotFound").await.unwrap();
    let page = stage.run(&["describe", "astray"]).well();
    for expected in [
        "State         Stalled, ProviderNotFound",
        "Next          The operator continues at once after the required change.",
        "Hint          spec.providerRef names no provider: create the provider, or set kind: ClusterTokenProvider",
        "not shown: tokenproviders.videotoken.dev \"no-such-provider\" not found",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in\n{page}");
    }
    let namespace = stage.namespace.clone();
    let meta = json!({"name": "reader", "namespace": namespace});
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [
            {"apiGroups": ["videotoken.dev"], "resources": ["videoaccesstokens"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]}),
    ] {
        stage.apply(&object).await.unwrap();
    }
    let login = stage.plane.service_account_kubeconfig(&stage.namespace, "reader").await.unwrap();
    stage.log_in(&login);
    let page = stage.run(&["describe", "astray"]).well();
    assert!(page.contains("Stalled, ProviderNotFound"), "{page}");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the verb get on tokenproviders") && words.contains("the verb list on events"), "{page}");
}
