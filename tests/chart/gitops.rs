//! The API server's objects as `GitOps` tools compare them with Git, by the libraries of Argo CD and Flux; and Helm over
//! objects that kubectl applied.

use crate::OPERATOR;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use testkit::chart::{IMAGE, cases, folder, run, template, tool};
use testkit::scene::Scene;
use testkit::stand::controlplane::repository;
use testkit::stand::{ControlPlane, ControlPlaneOptions, yaml};

/// How a tool applies, and which of its diffs then decides.
const TOOLS: [(&str, &[&str], &[&str]); 3] = [
    ("Argo CD", &["apply", "-f", "-"], &["client"]),
    (
        "Argo CD with ServerSideApply",
        &["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"],
        &["structured", "server"],
    ),
    (
        "Flux",
        &["apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-"],
        &["flux"],
    ),
];

struct Cluster<'a> {
    plane: &'a ControlPlane,
    kubeconfig: PathBuf,
}

impl<'a> Cluster<'a> {
    fn of(plane: &'a ControlPlane) -> Self {
        Self { plane, kubeconfig: plane.kubeconfig_path() }
    }

    fn kubectl(&self, args: &[&str], input: &str) -> String {
        let kubeconfig = ["--kubeconfig", self.kubeconfig.to_str().unwrap()];
        run(&self.plane.binaries().join("kubectl"), &[&kubeconfig, args].concat(), input).unwrap()
    }

    fn helm(&self, args: &[&str]) -> Result<String, String> {
        let image = format!("image.repository={IMAGE}");
        let more = ["--namespace", "video", "--kubeconfig", self.kubeconfig.to_str().unwrap(), "--set", &image];
        run(&tool("helm").unwrap(), &[args, &more].concat(), "").map_err(|error| format!("{error:#}"))
    }

    /// What each diff finds in these objects.
    fn drift(&self, objects: &[Value]) -> Vec<Value> {
        let kubeconfig = ["-kubeconfig", self.kubeconfig.to_str().unwrap()];
        let said = run(&tool("drift").unwrap(), &kubeconfig, &Value::from(objects.to_vec()).to_string()).unwrap();
        serde_json::from_str(&said).unwrap()
    }
}

/// The objects as Argo CD and Flux apply them, with their marks.
fn values(objects: Vec<DynamicObject>) -> Vec<Value> {
    let marked = |mut object: DynamicObject| {
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert("argocd.argoproj.io/tracking-id".to_owned(), "video".to_owned());
        let labels = object.metadata.labels.get_or_insert_default();
        labels.insert("kustomize.toolkit.fluxcd.io/name".to_owned(), "video".to_owned());
        serde_json::to_value(object).unwrap()
    };
    objects.into_iter().map(marked).collect()
}

/// What a user may have in Git: the chart with much of what it can render, and all examples.
fn manifests() -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    for (case, of_case) in cases().unwrap() {
        if !["everything", "policies"].contains(&case.as_str()) {
            continue;
        }
        let mut objects = yaml::parse(&template("vto", "video", &of_case, &["--no-hooks"]).unwrap()).unwrap();
        // the CRDs first, so that their objects are known
        objects.sort_by_key(|object| object.types.as_ref().unwrap().kind != "CustomResourceDefinition");
        all.push((format!("the chart's case {case}"), values(objects)));
    }
    assert_eq!(all.len(), 2);
    let mut examples = Vec::new();
    for file in fs::read_dir(repository().join("deploy/examples")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            examples.extend(yaml::parse(&fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
    examples.sort_by_key(|object| object.types.as_ref().unwrap().kind != "Namespace");
    all.push(("the examples".to_owned(), values(examples)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn gitops_tools_find_no_drift_in_what_they_applied() {
    let manifests = manifests();
    let mut homes: Vec<&str> =
        manifests.iter().flat_map(|(_, objects)| objects).filter_map(|o| o["metadata"]["namespace"].as_str()).collect();
    homes.sort_unstable();
    homes.dedup();
    for (tool, apply, diffs) in TOOLS {
        let plane = ControlPlane::start(ControlPlaneOptions::default()).await.unwrap();
        let cluster = Cluster::of(&plane);
        for home in &homes {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}});
            yaml::apply(&plane.client().unwrap(), "default", &namespace.to_string()).await.unwrap();
        }
        for (what, objects) in &manifests {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            cluster.kubectl(apply, &list.to_string());
            for found in cluster.drift(objects) {
                for diff in diffs {
                    assert_eq!(
                        found[diff],
                        Value::Null,
                        "{tool}, {diff} diff: {what}: {} {}",
                        found["kind"],
                        found["name"]
                    );
                }
            }
        }
    }
}

/// The differences that the libraries find can be found: another value, and a default that Git has otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn gitops_tools_find_what_has_drifted() {
    let plane = ControlPlane::start(ControlPlaneOptions::default()).await.unwrap();
    let cluster = Cluster::of(&plane);
    let token = |permission: &str| {
        json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
            "metadata": {"name": "lobby", "namespace": "default"},
            "spec": {"providerRef": {"name": "indexer"},
                "scope": {"videoIndexer": {"permission": permission, "mediaScope": "Account"}}}})
    };
    for (_, apply, diffs) in TOOLS {
        cluster.kubectl(apply, &token("Reader").to_string());
        let found = cluster.drift(&[token("Contributor")]).remove(0);
        for diff in diffs {
            assert!(found[diff].is_object(), "{diff}: {found}");
        }
    }
}

/// After an operator has issued the token and restarted its workload.
#[tokio::test(flavor = "multi_thread")]
async fn gitops_tools_find_no_drift_in_what_the_operator_wrote() {
    for (tool, apply, diffs) in TOOLS {
        let scene = Scene::new("gitops", OPERATOR).await.unwrap();
        let cluster = Cluster::of(&scene.plane);
        let _operator = scene.operator().await.unwrap();
        let labels = json!({"app": "player"});
        let container = json!({"name": "player", "image": "player.example/player:1"});
        let player = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "player", "namespace": scene.namespace,
                "labels": {"videotoken.dev/restart-on-renewal": "true"}},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}});
        let restarts = json!({"rolloutRestart": [{"kind": "Deployment", "name": "player"}]});
        let objects = [player, scene.token("lobby", &restarts)];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        cluster.kubectl(apply, &list.to_string());
        let restarted = |issuances: u64| {
            move |object: &Value| {
                let status = &object["status"];
                status["issuances"] == issuances && status["restartedFor"] == status["issuedAt"]
            }
        };
        scene.until_that("lobby", "is issued", restarted(1)).await.unwrap();
        scene.force_renewal("lobby").await.unwrap();
        scene.until_that("lobby", "is renewed, and its workload restarted", restarted(2)).await.unwrap();
        let player = cluster.kubectl(&["get", "deployment", "player", "-n", &scene.namespace, "-o", "yaml"], "");
        assert!(player.contains("videotoken.dev/restarted-at"), "{player}");
        for found in cluster.drift(&objects) {
            for diff in diffs {
                assert_eq!(found[diff], Value::Null, "{tool}, {diff} diff: {} {}", found["kind"], found["name"]);
            }
        }
    }
}

/// A CRD as another version has it: with another description.
fn other_crd() -> String {
    let crd = fs::read_to_string(repository().join("crds/videotoken.dev_videoaccesstokens.yaml")).unwrap();
    let other = crd.replace("Name of the workload.", "Name of a workload.");
    assert_ne!(other, crd);
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_takes_over_crds_that_kubectl_applied_and_says_what_is_in_its_way() {
    let chart = folder();
    let install = ["upgrade", "--install", "vto", chart.to_str().unwrap()];
    for (apply, manager) in [(&["apply", "--server-side"][..], "kubectl"), (&["apply"], "kubectl-client-side-apply")] {
        let options = ControlPlaneOptions { install: false, ..ControlPlaneOptions::default() };
        let plane = ControlPlane::start(options).await.unwrap();
        let cluster = Cluster::of(&plane);
        cluster.kubectl(&["create", "namespace", "video"], "");
        cluster.kubectl(&[apply, &["-f", "crds"]].concat(), "");
        let token = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "VideoAccessToken",
            "metadata": {"name": "lobby", "namespace": "video"}, "spec": {"providerRef": {"name": "indexer"},
                "scope": {"videoIndexer": {"permission": "Reader", "mediaScope": "Account"}}}});
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"], "");
        cluster.kubectl(&["create", "-f", "-"], &token.to_string());

        let refusal = cluster.helm(&install).unwrap_err();
        assert!(refusal.contains("invalid ownership metadata"), "{manager}: {refusal}");
        cluster.helm(&[&install[..], &["--take-ownership"]].concat()).unwrap();
        cluster.helm(&install).unwrap();

        // once more, with other CRDs than the chart's
        let force: &[&str] = if apply.len() > 1 { &["--force-conflicts", "-f", "-"] } else { &["-f", "-"] };
        cluster.kubectl(&[apply, force].concat(), &other_crd());
        let refusal = cluster.helm(&install).unwrap_err();
        let conflict = format!("conflict with \"{manager}\"");
        assert!(refusal.contains(&conflict) && refusal.contains(".spec.versions"), "{refusal}");
        cluster.helm(&[&install[..], &["--force-conflicts"]].concat()).unwrap();
        cluster.helm(&install).unwrap();
        let generation = ["get", "vat", "lobby", "-n", "video", "-o", "jsonpath={.metadata.generation}"];
        assert_eq!(cluster.kubectl(&generation, ""), "1", "{manager}: the objects stay");
    }
}
