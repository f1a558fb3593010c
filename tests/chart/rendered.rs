//! Each case of the chart's `ci/`, rendered and held against the schemas of every supported Kubernetes.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use testkit::chart::{cases, folder, run, schemas, template, template_alone, tool};
use testkit::stand::process::Scratch;
use testkit::stand::yaml;

/// Kinds that no API server of ours serves; `monitoring` checks them against their own types.
const ELSEWHERE: [&str; 3] = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];

#[test]
fn helm_lint_finds_nothing_in_any_case() {
    let chart = folder();
    for (case, values) in cases().unwrap() {
        let said =
            run(&tool("helm").unwrap(), &["lint", "--strict", "--values", "-", chart.to_str().unwrap()], &values);
        assert!(said.is_ok(), "{case}: {said:?}");
    }
}

#[test]
fn every_case_fits_the_schemas_of_every_supported_kubernetes() {
    let scratch = Scratch::new("vto-chart-").unwrap();
    let (mut files, mut kinds, mut documents) = (Vec::new(), BTreeSet::new(), 0);
    for (case, values) in cases().unwrap() {
        let rendered = template_alone("vto", "video", &values, &[]).unwrap();
        for object in yaml::parse(&rendered).unwrap() {
            kinds.insert(object.types.unwrap().kind);
            documents += 1;
        }
        files.push(scratch.write(&format!("{case}.yaml"), &rendered).unwrap());
    }
    let versions = schemas::kubernetes().unwrap();
    assert_eq!(
        versions.iter().map(|(minor, _)| minor.as_str()).collect::<Vec<_>>(),
        ["1.33", "1.34", "1.35", "1.36", "1.37"]
    );
    for (minor, openapi) in &versions {
        let folder = scratch.file(minor);
        schemas::write(&folder, openapi, &kinds).unwrap();
        let said = schemas::conform(&folder, &files, &ELSEWHERE).unwrap();
        let whole = format!("Summary: {documents} resources found in {} files", files.len());
        assert!(said.contains(&whole) && said.contains("Invalid: 0, Errors: 0"), "Kubernetes {minor}: {said}");
    }
}

#[test]
fn the_schemas_are_strict_about_what_they_check() {
    let scratch = Scratch::new("vto-chart-").unwrap();
    let (_, openapi) = schemas::kubernetes().unwrap().pop().unwrap();
    let kinds = ["Deployment", "PodDisruptionBudget"].map(str::to_owned).into();
    schemas::write(&scratch.file("schemas"), &openapi, &kinds).unwrap();
    for (right, wrong, named) in [
        ("replicas: 2", "replicas: two", "replicas"),
        ("priorityClassName: high", "priorityClassNames: high", "priorityClassNames"),
        ("memory: 128Mi", "memory: [128Mi]", "memory"),
        ("maxUnavailable: 1", "maxUnavailable: true", "maxUnavailable"),
        ("renewBefore: 20m", "renewsBefore: 20m", "renewsBefore"),
    ] {
        let everything = fs::read_to_string(folder().join("ci/everything.yaml")).unwrap();
        let values =
            everything.replace("system-cluster-critical", "high").replace("maxUnavailable: 50%", "maxUnavailable: 1");
        let values = values.replace("replicas: 3", "replicas: 2");
        let rendered = template("vto", "video", &values, &["--no-hooks"]).unwrap();
        assert!(rendered.contains(right), "{right} isn't rendered");
        let broken = scratch.write("broken.yaml", &rendered.replace(right, wrong)).unwrap();
        let others = [
            "ClusterRole",
            "ClusterRoleBinding",
            "CustomResourceDefinition",
            "NetworkPolicy",
            "Role",
            "RoleBinding",
            "Service",
            "ServiceAccount",
        ];
        let said = schemas::conform(&scratch.file("schemas"), &[broken], &others).unwrap_err().to_string();
        assert!(said.contains(named), "{wrong}: {said}");
    }
}

#[test]
fn two_releases_share_no_name_that_the_cluster_has_once() {
    let names = |release: &str, namespace: &str| -> BTreeSet<String> {
        let rendered = template(release, namespace, "crds: {install: false}\n", &[]).unwrap();
        let objects = yaml::parse(&rendered).unwrap();
        let wide = objects.into_iter().filter(|object| object.metadata.namespace.is_none());
        wide.map(|object| format!("{} {}", object.types.unwrap().kind, object.metadata.name.unwrap())).collect()
    };
    let (one, other) = (names("vto", "a"), names("vto", "b"));
    assert!(!one.is_empty() && one.is_disjoint(&other), "{one:?} {other:?}");
}

#[test]
fn namespaces_alone_need_nothing_of_the_cluster() {
    let values = fs::read_to_string(folder().join("ci/namespaces-alone.yaml")).unwrap();
    let objects = yaml::parse(&template("vto", "video", &values, &[]).unwrap()).unwrap();
    let wide = objects.iter().filter(|object| object.metadata.namespace.is_none());
    let kinds: BTreeSet<_> = wide.map(|object| object.types.as_ref().unwrap().kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["CustomResourceDefinition"]));
}

#[test]
fn the_arguments_are_flags_of_the_program() {
    let help = run(crate::OPERATOR.as_ref(), &["--help"], "").unwrap();
    for (case, values) in cases().unwrap() {
        for object in yaml::parse(&template("vto", "video", &values, &["--no-hooks"]).unwrap()).unwrap() {
            let args = object.data.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
            for arg in args.into_iter().flatten().map(|arg| arg.as_str().unwrap()) {
                let flag = arg.split('=').next().unwrap();
                assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}[=")), "{case}: {arg}");
            }
        }
    }
}

/// The labels and the rules of the test Pod and the `NetworkPolicy` that these values render.
fn network(values: &str) -> (serde_json::Map<String, Value>, Value) {
    let objects = yaml::parse(&template("vto", "video", values, &[]).unwrap()).unwrap();
    let of = |kind: &str| {
        let found = objects.iter().find(|object| object.types.as_ref().unwrap().kind == kind);
        serde_json::to_value(found.unwrap_or_else(|| panic!("no {kind}"))).unwrap()
    };
    (of("Pod")["metadata"]["labels"].as_object().unwrap().clone(), of("NetworkPolicy")["spec"].clone())
}

#[test]
fn peers_that_may_scrape_leave_the_pod_of_helm_test_its_way() {
    let values = "networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}}]}";
    let (labels, policy) = network(values);
    let from = policy["ingress"][0]["from"].as_array().unwrap();
    assert_eq!(from[0]["namespaceSelector"]["matchLabels"]["a"], "b");
    let selected = from.iter().filter_map(|peer| peer.pointer("/podSelector/matchLabels")?.as_object());
    let admits =
        |selector: &serde_json::Map<_, _>| selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    assert_eq!(selected.filter(|selector| !selector.is_empty() && admits(selector)).count(), 1, "{labels:?}: {policy}");
    let (_, open) = network("networkPolicy: {enabled: true}");
    assert!(open["ingress"][0].get("from").is_none(), "{open}");
}

/// OVN-Kubernetes holds egress against the Pod behind a Service, and `OpenShift`'s DNS Pods listen on 5353.
#[test]
fn dns_is_reached_on_the_ports_of_its_pods() {
    let (_, policy) = network("networkPolicy: {enabled: true}");
    let ports = policy["egress"][0]["ports"].as_array().unwrap();
    for port in [53, 5353] {
        for protocol in ["UDP", "TCP"] {
            assert!(ports.iter().any(|each| each["port"] == port && each["protocol"] == protocol), "{port}/{protocol}");
        }
    }
}

#[test]
fn the_longest_name_leaves_labels_that_kubernetes_takes() {
    let name = "n".repeat(63);
    let objects = yaml::parse(&template("vto", "video", &format!("nameOverride: {name}"), &[]).unwrap()).unwrap();
    for object in objects {
        for (label, value) in object.metadata.labels.unwrap_or_default() {
            assert!(value.len() <= 63, "{}: {label}: {value}", object.types.unwrap().kind);
        }
    }
}
