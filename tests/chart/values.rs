//! What helm refuses before anything reaches a cluster: as a table.

use std::fs;
use testkit::chart::{folder, run, template, template_alone, tool};
use testkit::stand::process::Scratch;
use testkit::stand::yaml;

#[test]
fn wrong_values_are_refused_by_the_name_of_their_field() {
    for (values, named) in [
        // unknown
        ("replicaCount: 2", "replicaCount"),
        ("image: {repo: x}", "repo"),
        ("crds: {enabled: true}", "enabled"),
        ("watchNamespace: a", "watchNamespace"),
        ("config: {allowedEndpoint: []}", "allowedEndpoint"),
        ("metrics: {service: {type: NodePort}}", "type"),
        ("serviceMonitor: {selector: {}}", "selector"),
        ("resources: {request: {}}", "request"),
        ("tokens: [{name: a, specs: {}}]", "specs"),
        // ill-typed
        ("replicas: two", "replicas"),
        ("replicas: -1", "replicas"),
        ("watchNamespaces: a,b", "watchNamespaces"),
        ("watchNamespaces: [A]", "watchNamespaces/0"),
        ("watchNamespaces: [a, a]", "watchNamespaces"),
        ("crds: {install: 'yes'}", "crds/install"),
        ("image: {repository: 'https://registry.example.com/vto'}", "image/repository"),
        ("image: {repository: 'registry.example.com/vto:0.1.0'}", "image/repository"),
        ("image: {digest: 'sha256:12'}", "image/digest"),
        ("image: {pullPolicy: Sometimes}", "image/pullPolicy"),
        ("leaderElection: {leaseDuration: 30}", "leaderElection/leaseDuration"),
        ("config: {providerTimeout: soon}", "config/providerTimeout"),
        ("config: {serviceCIDRs: [10.0.0.1]}", "config/serviceCIDRs/0"),
        ("config: {maxInFlight: 0}", "config/maxInFlight"),
        ("tracing: {otlpEndpoint: 'collector:4318'}", "tracing/otlpEndpoint"),
        ("statusPage: {enabled: 'yes'}", "statusPage/enabled"),
        ("statusPage: {port: 8081}", "port"),
        ("workloadIdentity: {mode: Secret}", "workloadIdentity/mode"),
        ("openshift: {adaptSecurityContext: yes}", "openshift/adaptSecurityContext"),
        ("podLabels: {a: 1}", "podLabels/a"),
        ("serviceAccount: {name: Foo_Bar}", "serviceAccount/name"),
        ("metrics: {port: 0}", "metrics/port"),
        ("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds"),
        ("extraEnv: [{value: a}]", "extraEnv/0"),
        ("imagePullSecrets: [registry]", "imagePullSecrets/0"),
        ("rbac: {restartKinds: [Rollout]}", "rbac/restartKinds/0"),
        ("rbac: {restartKinds: [{apiVersion: v1, kind: Pod, resource: pods}]}", "rbac/restartKinds/0/apiVersion"),
        ("rbac: {restartKinds: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout}]}", "rbac/restartKinds/0"),
        ("tokens: [{name: a}]", "tokens/0"),
        ("providers: [{kind: Provider, name: a, spec: {}}]", "providers/0/kind"),
        ("providers: [{kind: ClusterTokenProvider, name: a, namespace: b, spec: {}}]", "providers/0"),
        // each right alone
        (
            "config: {providerTimeout: 20001ms}",
            "config.providerTimeout: 20001ms is longer than a call may take. Set 20s or less",
        ),
        (
            "config: {providerTimeout: 20s}\nterminationGracePeriodSeconds: 29",
            "terminationGracePeriodSeconds: a stop may take 30 seconds with config.providerTimeout 20s",
        ),
        ("leaderElection: {enabled: false}", "leaderElection.enabled"),
        ("leaderElection: {enabled: false}\nreplicas: 1", "updateStrategy"),
        ("trust: {configMap: a, secret: b}", "trust"),
        ("serviceMonitor: {enabled: true}\nmetrics: {service: {enabled: false}}", "serviceMonitor.enabled"),
        ("serviceMonitor: {enabled: true}\npodMonitor: {enabled: true}", "podMonitor.enabled"),
        (
            "leaderElection: {leaseDuration: 5s}",
            "leaderElection.renewDeadline: 10s must be shorter than leaderElection.leaseDuration (5s)",
        ),
        (
            "leaderElection: {retryPeriod: 10000ms}",
            "leaderElection.retryPeriod: 10000ms must be shorter than leaderElection.renewDeadline (10s)",
        ),
        ("leaderElection: {renewDeadline: 3900ms}", "leaderElection.renewDeadline: 3900ms is too short. Set 4000ms"),
        ("updateStrategy: {rollingUpdate: {maxSurge: 0}}", "updateStrategy.rollingUpdate: maxSurge or maxUnavailable"),
        ("updateStrategy: {rollingUpdate: {maxSurge: 0%, maxUnavailable: 0%}}", "updateStrategy.rollingUpdate"),
        ("image: {repository: ''}", "image.repository"),
        ("serviceAccount: {create: false}", "serviceAccount.name"),
        (
            "rbac: {restartKinds: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, resource: rollouts}]}",
            "rbac.rolloutRestart",
        ),
    ] {
        match template("vto", "video", values, &[]) {
            Ok(_) => panic!("{values} is taken"),
            Err(refusal) => assert!(refusal.to_string().contains(named), "{values}: {refusal}"),
        }
    }
}

/// Whoever registers a name that the sources name by default would run on users' clusters.
#[test]
fn without_a_repository_the_chart_refuses_and_says_what_to_set() {
    let refusal = template_alone("vto", "video", "", &[]).unwrap_err().to_string();
    for part in ["image.repository: no image is published", "--set image.repository=registry.example.com/"] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
}

/// Helm removes a value that is set to null, so the templates see none.
#[test]
fn null_empties_a_value_of_free_content() {
    for value in [
        "commonLabels",
        "podLabels",
        "podAnnotations",
        "crds.annotations",
        "serviceAccount.annotations",
        "serviceAccount.labels",
        "metrics.service.annotations",
        "test.annotations",
        "podSecurityContext",
        "securityContext",
        "resources",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "nodeSelector",
        "dnsConfig",
        "watchNamespaces",
        "extraEnv",
        "topologySpreadConstraints",
        "updateStrategy.rollingUpdate",
        "networkPolicy.metricsFrom",
    ] {
        let (set, force) = (format!("{value}=null"), "openshift.adaptSecurityContext=force");
        let rendered = template("vto", "video", "networkPolicy: {enabled: true}", &["--set", &set, "--set", force]);
        let rendered = rendered.unwrap_or_else(|error| panic!("{value}: {error:#}"));
        let objects = yaml::parse(&rendered).unwrap_or_else(|error| panic!("{value}: {error:#}"));
        assert!(objects.len() > 10, "{value}: {}", objects.len());
    }
}

/// The digest that a release writes into Chart.yaml.
const PACKAGED: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn the_digest_of_a_packaged_chart_holds_for_its_own_tag() {
    let scratch = Scratch::new("vto-packaged-").unwrap();
    let chart = scratch.file("chart");
    let copy = [folder().display().to_string(), chart.display().to_string()];
    run("cp".as_ref(), &["-R", &copy[0], &copy[1]], "").unwrap();
    let metadata = fs::read_to_string(chart.join("Chart.yaml")).unwrap();
    fs::write(chart.join("Chart.yaml"), format!("{metadata}  videotoken.dev/image-digest: {PACKAGED}\n")).unwrap();
    let other = PACKAGED.replace("aaaa", "bbbb");
    let version = env!("CARGO_PKG_VERSION");
    for (values, image) in [
        ("", format!("r.example.com/vto:{version}@{PACKAGED}")),
        ("image.repository=mirror.example.com/vto", format!("mirror.example.com/vto:{version}@{PACKAGED}")),
        (&*format!("image.tag={version}"), format!("r.example.com/vto:{version}@{PACKAGED}")),
        (&*format!("image.tag={version}-fips"), format!("r.example.com/vto:{version}-fips")),
        (&*format!("image.digest={other}"), format!("r.example.com/vto:{version}@{other}")),
        (
            &*format!("image.tag={version}-fips,image.digest={other}"),
            format!("r.example.com/vto:{version}-fips@{other}"),
        ),
    ] {
        let set = format!("image.repository=r.example.com/vto,{values}");
        let args = ["template", "vto", chart.to_str().unwrap(), "--set", set.trim_end_matches(',')];
        let rendered = run(&tool("helm").unwrap(), &args, "").unwrap();
        let images: Vec<_> = rendered.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(images, [&*image; 2], "{values}");
    }
}
