//! The API server's own word on what is rendered: server-side dry run with strict fields, and Pod Security `restricted`.

use crate::OPERATOR;
use kube::Client;
use kube::core::DynamicObject;
use serde_json::json;
use std::path::Path;
use testkit::chart::{IMAGE, cases, manifests, run, template};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;
use testkit::stand::{shared, yaml};

const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// Without the Prometheus Operator's kinds, which this API server doesn't serve.
pub(crate) fn served(rendered: &str) -> Vec<DynamicObject> {
    let mut objects = yaml::parse(rendered).unwrap();
    objects.retain(|object| object.types.as_ref().unwrap().api_version != "monitoring.coreos.com/v1");
    objects
}

/// A Pod as the Deployment would make it: an API server enforces Pod Security on Pods alone.
pub(crate) fn pods(objects: &[DynamicObject]) -> Vec<DynamicObject> {
    let deployments = objects.iter().filter(|object| object.types.as_ref().unwrap().kind == "Deployment");
    let pod = |deployment: &DynamicObject| {
        let template = deployment.data.pointer("/spec/template").unwrap();
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = "as-the-deployment-makes-it".into();
        pod["metadata"]["namespace"] = deployment.metadata.namespace.clone().into();
        serde_json::from_value(pod).unwrap()
    };
    deployments.map(pod).collect()
}

/// Namespaces and the ServiceAccount that a Pod must find.
pub(crate) async fn prepare(client: &Client, namespace: &str, objects: &[DynamicObject]) {
    for other in ["chart-a", "chart-b"] {
        let made = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n");
        yaml::apply(client, "default", &made).await.unwrap();
    }
    for account in objects.iter().filter(|object| object.types.as_ref().unwrap().kind == "ServiceAccount") {
        yaml::apply(client, namespace, &serde_json::to_string(account).unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_case_and_admits_its_pods_as_restricted() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    for (case, values) in cases().unwrap() {
        let namespace = plane.namespace_with_labels("chart", &[RESTRICTED]).await.unwrap();
        let objects = served(&template("vto", &namespace, &values, &[]).unwrap());
        prepare(&client, &namespace, &objects).await;
        let pods = pods(&objects);
        let taken = yaml::dry_run(&client, &namespace, pods).await.map(drop);
        if case == "host-network" {
            let refusal = format!("{:#}", taken.unwrap_err());
            assert!(refusal.contains("violates PodSecurity") && refusal.contains("host namespaces"), "{refusal}");
            continue;
        }
        taken.unwrap_or_else(|error| panic!("{case}: {error:#}"));
        yaml::dry_run(&client, &namespace, objects).await.unwrap_or_else(|error| panic!("{case}: {error:#}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_the_plain_manifests_with_kustomize() {
    let plane = shared().await.unwrap();
    let kubeconfig = plane.kubeconfig_path();
    let kubectl = plane.binaries().join("kubectl");
    let args = [
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "apply",
        "-k",
        "deploy",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
    ];
    let said = run(&kubectl, &args, "").unwrap();
    assert!(said.contains("deployment.apps/video-token-operator serverside-applied (server dry run)"), "{said}");

    let images = |folder: &Path| -> Vec<String> {
        let built = run(&kubectl, &["kustomize", folder.to_str().unwrap()], "").unwrap();
        let images = built.lines().filter_map(|line| line.trim().strip_prefix("image: "));
        images.map(str::to_owned).collect()
    };
    let version = env!("CARGO_PKG_VERSION");
    let deploy = repository().join("deploy");
    assert_eq!(images(&deploy), [format!("{}:{version}", manifests::PLACEHOLDER)], "nothing that could be pulled");
    let scratch = Scratch::new("vto-deploy-").unwrap();
    for file in ["namespace.yaml", "crds.yaml", "rbac.yaml", "operator.yaml", "kustomization.yaml"] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let placeholder = format!("newName: {}", manifests::PLACEHOLDER);
        scratch.write(file, &text.replace(&placeholder, &format!("newName: {IMAGE}"))).unwrap();
    }
    assert_eq!(images(scratch.path()), [format!("{IMAGE}:{version}")], "as a user edits it");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_is_served_and_what_is_not() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("verify").await.unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}});
    yaml::apply(&plane.client().unwrap(), &namespace, &account.to_string()).await.unwrap();
    let login = plane.service_account_kubeconfig(&namespace, "nobody").await.unwrap();
    let scratch = Scratch::new("vto-verify-").unwrap();
    let kubeconfig = scratch.write("kubeconfig", &login.yaml()).unwrap();
    let verify = |more: &[&str]| {
        let args = [
            &[
                "KUBECONFIG=".to_owned() + kubeconfig.to_str().unwrap(),
                OPERATOR.to_owned(),
                "verify".to_owned(),
                "--within=2s".to_owned(),
            ][..],
            &more.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>(),
        ]
        .concat();
        run("env".as_ref(), &args.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    // who may do nothing at all may ask what is served
    assert!(verify(&[]).unwrap().contains("serves the kinds"));
    let refusal = verify(&["--readyz=http://127.0.0.1:1/readyz"]).unwrap_err().to_string();
    assert!(refusal.contains("http://127.0.0.1:1/readyz: no connection"), "{refusal}");
}
