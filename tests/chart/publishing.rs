//! What catalogues read of the chart, judged by their own validators where they are Go modules, and by the documented
//! rules where they are not.

use serde_json::Value;
use std::fs;
use testkit::chart::{folder, publisher, run};
use testkit::stand::process::Scratch;
use testkit::stand::{shared, yaml};

const BUNDLE: &str = "deploy/olm/manifests";

/// Copies the bundle with a replacement in the `ClusterServiceVersion`.
fn bundle(scratch: &Scratch, right: &str, wrong: &str) -> String {
    let mut replaced = false;
    for file in fs::read_dir(testkit::stand::controlplane::repository().join(BUNDLE)).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        replaced |= text.contains(right);
        scratch.write(&file.file_name().to_string_lossy(), &text.replace(right, wrong)).unwrap();
    }
    assert!(replaced, "{right} is nowhere");
    scratch.path().to_str().unwrap().to_owned()
}

#[test]
fn operator_frameworks_validators_take_the_bundle() {
    let olm = publisher("olm").unwrap();
    let said = run(&olm, &[BUNDLE], "").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains("video-token-operator.v0.1.0: valid"), "{said}");
    for (right, wrong) in [
        ("capabilities: Seamless Upgrades", "capabilities: Perfect"),
        ("categories: Security", "categories: Video"),
        ("minKubeVersion: 1.33.0", "minKubeVersion: new"),
        ("kind: TokenProvider\n      name: tokenproviders", "kind: Other\n      name: tokenproviders"),
    ] {
        let scratch = Scratch::new("vto-olm-").unwrap();
        assert!(run(&olm, &[&bundle(&scratch, right, wrong)], "").is_err(), "{wrong} is taken");
    }
}

#[test]
fn the_image_of_the_bundle_has_the_labels_of_its_annotations() {
    let folder = testkit::stand::controlplane::repository().join("deploy/olm");
    let text = fs::read_to_string(folder.join("metadata/annotations.yaml")).unwrap();
    let annotations: Value = serde_yaml_ng::from_str(&text).unwrap();
    let annotations = annotations["annotations"].as_object().unwrap();
    let mut expected: Vec<_> =
        annotations.iter().map(|(name, value)| format!("LABEL {name}={}", value.as_str().unwrap())).collect();
    let dockerfile = fs::read_to_string(folder.join("bundle.Dockerfile")).unwrap();
    let mut labels: Vec<_> = dockerfile.lines().filter(|line| line.starts_with("LABEL ")).map(str::to_owned).collect();
    expected.sort();
    labels.sort();
    assert_eq!(labels, expected);
}

fn chart() -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(folder().join("Chart.yaml")).unwrap()).unwrap()
}

/// What Artifact Hub's linter finds wrong with an annotation; its page "Artifact Hub annotations in Helm Chart.yaml file"
/// has the rules.
fn wrong_with(name: &str, text: &str) -> Option<String> {
    let yaml: Value = serde_yaml_ng::from_str(text).unwrap_or_default();
    let items = yaml.as_array().map(Vec::as_slice).unwrap_or_default();
    let each = |required: &[&str]| -> bool {
        !items.is_empty() && items.iter().all(|item| required.iter().all(|&field| item[field].is_string()))
    };
    let categories = [
        "ai-machine-learning",
        "database",
        "integration-delivery",
        "monitoring-logging",
        "networking",
        "security",
        "storage",
        "streaming-messaging",
        "skip-prediction",
    ];
    let capabilities = ["basic install", "seamless upgrades", "full lifecycle", "deep insights", "auto pilot"];
    let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
    let urls = || items.iter().all(|item| item["url"].as_str().is_some_and(|url| url.starts_with("https://")));
    let right = match name {
        "category" => categories.contains(&text),
        "license" => text == "Apache-2.0",
        "operator" | "prerelease" | "containsSecurityUpdates" => ["true", "false"].contains(&text),
        "operatorCapabilities" => capabilities.contains(&text.to_lowercase().as_str()),
        "links" => each(&["name", "url"]) && urls(),
        "screenshots" => each(&["title", "url"]) && urls(),
        "changes" => {
            each(&["kind", "description"])
                && items.iter().all(|item| item["kind"].as_str().is_some_and(|kind| kinds.contains(&kind)))
        }
        "crds" => each(&["kind", "version", "name", "displayName", "description"]),
        "crdsExamples" => each(&["apiVersion", "kind"]),
        "images" => each(&["name", "image"]),
        "signKey" => yaml["fingerprint"].is_string() && yaml["url"].is_string(),
        _ => false,
    };
    (!right).then(|| format!("artifacthub.io/{name}: {text}"))
}

#[test]
fn artifact_hub_takes_each_annotation() {
    let chart = chart();
    let annotations = chart["annotations"].as_object().unwrap();
    let named =
        annotations.iter().map(|(name, text)| (name.strip_prefix("artifacthub.io/").unwrap(), text.as_str().unwrap()));
    let wrong: Vec<_> = named.filter_map(|(name, text)| wrong_with(name, text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for name in ["category", "changes", "crds", "crdsExamples", "license", "links", "screenshots", "operator"] {
        assert!(annotations.contains_key(&format!("artifacthub.io/{name}")), "no {name}");
    }
    for (name, text) in [
        ("category", "video"),
        ("operatorCapabilities", "All"),
        ("changes", "- kind: new\n  description: it"),
        ("links", "- name: it\n  url: http://example.com"),
        ("signKey", "fingerprint: AB"),
        ("crd", "[]"),
    ] {
        assert!(wrong_with(name, text).is_some(), "{name}: {text} is taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_each_example_of_the_catalogues() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    let chart = chart();
    let examples = chart["annotations"]["artifacthub.io/crdsExamples"].as_str().unwrap();
    let examples: Vec<Value> = serde_yaml_ng::from_str(examples).unwrap();
    let kinds: Vec<_> = examples.iter().map(|example| example["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ClusterTokenProvider", "VideoAccessToken", "TokenProvider"]);
    for mut example in examples {
        let namespace = plane.namespace("catalogue").await.unwrap();
        example["metadata"].as_object_mut().unwrap().remove("namespace");
        let objects = yaml::parse(&example.to_string()).unwrap();
        yaml::dry_run(&client, &namespace, objects).await.unwrap_or_else(|error| panic!("{example}: {error:#}"));
    }
}
