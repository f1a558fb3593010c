//! `doctor`: findings and their actions.

use crate::stage::{Stage, TOOL};
use serde_json::{Value, json};
use testkit::scene::{SOON, hosts};
use testkit::stand::{Operator, eventually};

/// Returns the findings of an area: verdict, description, action.
fn of<'a>(report: &'a Value, area: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["area"] == area);
    let text = |finding: &'a Value, field: &str| finding[field].as_str().unwrap_or_default();
    findings.map(|finding| (text(finding, "verdict"), text(finding, "found"), text(finding, "wayOut"))).collect()
}

#[track_caller]
fn has(report: &Value, area: &str, verdict: &str, text: &str) {
    let found = of(report, area);
    let there = found.iter().any(|(v, found, action)| *v == verdict && format!("{found} -> {action}").contains(text));
    assert!(there, "{area}: no {verdict} with {text:?} in {found:#?}");
}

impl Stage {
    /// The report of a doctor who knows what this scene's operator allows; its Lease is in the scene's own name.
    fn report(&self) -> (Option<i32>, Value) {
        let mut args = vec!["doctor", "-o", "json", "--lease", &self.namespace];
        let allowed: Vec<String> = hosts(&self.azure).iter().map(|host| format!("--allowed-endpoint={host}")).collect();
        args.extend(allowed.iter().map(String::as_str));
        let ran = self.run(&args);
        (
            ran.code,
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr)),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_well_is_said_to_be_and_what_breaks_is_named() {
    let mut stage = Stage::set("doctor").await;
    stage.scene_mut().options.leader_elect = true;
    let operator: Operator = stage.operator().await.unwrap();
    stage.ready_token("lobby", &json!({})).await.unwrap();
    stage.until_provider("indexer", "is ready", |object| !object["status"]["conditions"].is_null()).await.unwrap();
    let (code, report) = stage.report();
    assert_eq!(code, Some(0), "{report:#}");
    has(&report, "API server", "ok", "answers, v1.");
    has(&report, "Clock", "ok", "agree");
    assert_eq!(of(&report, "CRDs").iter().filter(|(verdict, ..)| *verdict == "ok").count(), 3, "{report:#}");
    has(&report, "Operator", "ok", "is the leader");
    // here it runs as a process
    has(&report, "Operator", "warning", "no Deployment with the label");
    has(&report, "Your rights", "ok", "all commands");
    has(&report, "Its rights", "ok", "permissions that the operator needs");
    has(&report, "Providers", "ok", &format!("TokenProvider {}/indexer: ready", stage.namespace));
    has(&report, "Credentials", "ok", "azure-login exists and has the label");
    assert_eq!(of(&report, "Network").iter().filter(|(verdict, ..)| *verdict == "ok").count(), 2, "{report:#}");

    for columns in [80, 160] {
        let text = stage.at_terminal(&["doctor", "--offline", "--lease", &stage.namespace], columns).await.text();
        assert!(text.contains("ok       API server    https://127.0.0.1:"), "{text}");
        assert!(text.contains("0 failed") && !text.contains("Network"), "{text}");
    }

    // a credential without the label, and a host that isn't allowed
    stage
        .patch_secret("azure-login", &json!({"metadata": {"labels": {"videotoken.dev/credentials": null}}}))
        .await
        .unwrap();
    stage
        .until_provider("indexer", "is refused", |object| object["status"]["conditions"][0]["status"] == "False")
        .await
        .unwrap();
    let ran = stage.run(&["doctor", "-o", "json", "--lease", &stage.namespace]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, Some(1));
    has(&report, "Providers", "failed", "CredentialsUnlabelled");
    has(&report, "Providers", "failed", "add the label videotoken.dev/credentials=true");
    has(&report, "Credentials", "failed", &format!("kubectl label secret -n {} azure-login", stage.namespace));
    has(&report, "Network", "warning", "is not checked from this machine");

    // no leader
    drop(operator);
    eventually(SOON * 2, "the Lease has run out", async || {
        let (_, report) = stage.report();
        if of(&report, "Operator").iter().any(|(verdict, ..)| *verdict == "failed") {
            Ok(())
        } else {
            Err(format!("{report:#}"))
        }
    })
    .await;
    let (code, report) = stage.report();
    assert_eq!(code, Some(1));
    has(&report, "Operator", "failed", "there is no leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_may_little_is_told_what_isnt_seen() {
    let mut stage = Stage::set("little").await;
    let meta = json!({"name": "guest", "namespace": stage.namespace});
    stage.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})).await.unwrap();
    let login = stage.plane.service_account_kubeconfig(&stage.namespace, "guest").await.unwrap();
    stage.log_in(&login);
    let (code, report) = stage.report();
    // nothing is known to be wrong
    assert_eq!(code, Some(0), "{report:#}");
    has(&report, "CRDs", "ok", "The CRDs are not compared, because you may not read them");
    has(&report, "Operator", "warning", "the Deployment can't be read");
    has(&report, "Your rights", "warning", "you may not list videoaccesstokens.videotoken.dev (status)");
    has(&report, "Its rights", "warning", "not checked");
    has(&report, "Providers", "warning", "not readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_isnt_there_is_the_whole_report() {
    let mut stage = Stage::set("gone").await;
    let login = testkit::stand::Kubeconfig::new("https://127.0.0.1:1", None, "x");
    stage.log_in(&login);
    let (code, report) = stage.report();
    assert_eq!((code, report["findings"].as_array().unwrap().len()), (Some(1), 1), "{report:#}");
    has(&report, "API server", "failed", "is not usable");
}

/// Uses its own control plane, because the changes affect all tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_crd_that_differs_and_a_right_that_lacks_are_named() {
    let plane = testkit::stand::ControlPlane::start(testkit::stand::ControlPlaneOptions {
        controllers: Vec::new(),
        ..testkit::stand::ControlPlaneOptions::default()
    })
    .await
    .unwrap();
    let client = plane.client().unwrap();
    let patch = async |path: &str, patch: Value| {
        let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
        let request = request.body(serde_json::to_vec(&patch).unwrap()).unwrap();
        client.request::<Value>(request).await.unwrap()
    };
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/videoaccesstokens.videotoken.dev";
    patch(
        crd,
        json!([{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend"}]),
    )
    .await;
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/video-token-operator";
    patch(role, json!([{"op": "remove", "path": "/rules/0"}])).await;
    // as installed, on a cluster whose nodes run nothing
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/operator.yaml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    testkit::stand::yaml::apply(&client, "video-token-operator", &manifest).await.unwrap();
    let kubeconfig = plane.kubeconfig_path();
    let output = std::process::Command::new(TOOL)
        .args(["kubectl", "doctor", "-o", "json", "--kubeconfig", &kubeconfig.to_string_lossy()])
        .env_clear()
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    has(&report, "CRDs", "warning", "videoaccesstokens.videotoken.dev differs: spec.suspend is missing");
    has(&report, "Its rights", "failed", "may not list, watch tokenproviders.videotoken.dev");
    has(&report, "Operator", "failed", "Deployment video-token-operator/video-token-operator: 0 of 2 Pods ready");
    has(&report, "Operator", "failed", "there is no leader");
}
