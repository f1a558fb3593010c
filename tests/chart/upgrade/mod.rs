//! From the chart as it was before its last change to this one: stored objects stay as they are, and no field is lost.
//! [`stored`] goes on with what an earlier release's operator wrote.

mod stored;

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use testkit::chart::{CHART, IMAGE, folder, run, tool};
use testkit::stand::process::Scratch;
use testkit::stand::{ControlPlane, ControlPlaneOptions, wait::own_kind, yaml};

/// The chart before its last change, from the history. Panics without one: a clone needs its history.
fn before(scratch: &Scratch) -> std::path::PathBuf {
    let commit = run("git".as_ref(), &["log", "--skip=1", "--max-count=1", "--format=%H", "--", CHART], "").unwrap();
    let commit = commit.trim();
    assert!(!commit.is_empty(), "no earlier commit of {CHART}: clone with its history");
    let archive = scratch.file("chart.tar");
    run("git".as_ref(), &["archive", "--output", archive.to_str().unwrap(), commit, CHART], "").unwrap();
    let into = scratch.path().to_str().unwrap();
    run("tar".as_ref(), &["--extract", "--file", archive.to_str().unwrap(), "--directory", into], "").unwrap();
    scratch.file(CHART)
}

/// Every field that a chart's CRDs define, with its CRD before it.
fn fields(chart: &Path) -> BTreeSet<String> {
    fn walk(path: &str, schema: &Value, into: &mut BTreeSet<String>) {
        into.insert(path.to_owned());
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), field, into);
        }
        if schema["items"].is_object() {
            walk(&format!("{path}[]"), &schema["items"], into);
        }
    }
    let mut all = BTreeSet::new();
    for file in fs::read_dir(chart.join("definitions")).unwrap() {
        let crd: Value = serde_yaml_ng::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let name = format!("{} {}", crd["metadata"]["name"], version["name"]);
            walk(&name, &version["schema"]["openAPIV3Schema"], &mut all);
        }
    }
    all
}

#[test]
fn no_field_of_the_chart_before_is_dropped() {
    let scratch = Scratch::new("vto-upgrade-").unwrap();
    let (before, now) = (fields(&before(&scratch)), fields(&folder()));
    let dropped: Vec<_> = before.difference(&now).collect();
    assert!(before.len() > 100 && dropped.is_empty(), "dropped: {dropped:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_the_chart_before_leaves_every_object_as_it_is() {
    let scratch = Scratch::new("vto-upgrade-").unwrap();
    let before = before(&scratch);
    let options = ControlPlaneOptions { install: false, ..ControlPlaneOptions::default() };
    let plane = ControlPlane::start(options).await.unwrap();
    let client = plane.client().unwrap();
    let kubeconfig = plane.kubeconfig_path();
    let helm = |chart: &Path| {
        let (chart, kubeconfig) = (chart.to_str().unwrap(), kubeconfig.to_str().unwrap());
        let image = format!("image.repository={IMAGE}");
        let release = ["--namespace", "video", "--create-namespace", "--kubeconfig", kubeconfig, "--set", &image];
        run(&tool("helm").unwrap(), &[&["upgrade", "--install", "vto", chart][..], &release].concat(), "").unwrap();
    };
    helm(&before);
    let home = "apiVersion: v1\nkind: Namespace\nmetadata: {name: cinema}\n";
    yaml::apply(&client, "default", home).await.unwrap();
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/own-account.yaml"));
    yaml::apply(&client, "cinema", &example.unwrap()).await.unwrap();
    let stored = async || {
        let mut all = Vec::new();
        for kind in ["VideoAccessToken", "TokenProvider"] {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "cinema", &own_kind(kind));
            all.extend(api.list(&ListParams::default()).await.unwrap().items);
        }
        all
    };
    let then = stored().await;
    assert_eq!(then.len(), 2);
    helm(&folder());
    let now = stored().await;
    for (then, now) in then.iter().zip(&now) {
        assert_eq!(
            (&then.metadata.uid, &then.metadata.resource_version, &then.data["spec"]),
            (&now.metadata.uid, &now.metadata.resource_version, &now.data["spec"])
        );
    }
}
