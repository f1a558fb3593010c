//! What helm refuses before anything reaches a cluster: as a table.

use testkit::chart::{template, template_alone};

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
