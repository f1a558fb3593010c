//! The Pods of the chart under `OpenShift`'s SCC `restricted-v2`, by an interpreter of its fields.

use crate::api_server::{pods, prepare, served};
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use testkit::chart::{cases, template};
use testkit::stand::controlplane::repository;
use testkit::stand::{shared, yaml};

/// The fields of the SCC that decide, as `OpenShift` 4.20 installs it. Source:
/// openshift/cluster-kube-apiserver-operator, `0000_20_kube-apiserver-operator_00_scc-restricted-v2.yaml`.
const RESTRICTED_V2: &str = "
allowHostDirVolumePlugin: false
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
allowPrivilegeEscalation: false
allowPrivilegedContainer: false
allowedCapabilities: [NET_BIND_SERVICE]
fsGroup: {type: MustRunAs}
readOnlyRootFilesystem: false
requiredDropCapabilities: [ALL]
runAsUser: {type: MustRunAsRange}
seLinuxContext: {type: MustRunAs}
seccompProfiles: [runtime/default]
supplementalGroups: {type: RunAsAny}
volumes: [configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected, secret]
";

/// What `OpenShift` allocates to a namespace: the annotations `openshift.io/sa.scc.uid-range`,
/// `openshift.io/sa.scc.supplemental-groups` and `openshift.io/sa.scc.mcs`.
const UIDS: RangeInclusive<i64> = 1_000_650_000..=1_000_659_999;
const FIRST_GROUP: i64 = 1_000_650_000;
const LEVEL: &str = "s0:c26,c0";

const OPENSHIFT: &[&str] = &["--api-versions", "security.openshift.io/v1"];

/// Admits the Pod as the SCC defines: fills what is unset, and refuses what is set to something else.
fn admit(scc: &Value, pod: &Value) -> Result<Value, Vec<String>> {
    let mut pod = pod.clone();
    let mut refusals = Vec::new();
    let spec = &mut pod["spec"];
    for (member, allowed) in
        [("hostNetwork", "allowHostNetwork"), ("hostPID", "allowHostPID"), ("hostIPC", "allowHostIPC")]
    {
        if spec[member] == true && scc[allowed] != true {
            refusals.push(format!("spec.{member}"));
        }
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let types = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        let refused = types.filter(|kind| !list(scc, "volumes").contains(&kind.as_str()));
        refusals.extend(refused.map(|kind| format!("spec.volumes: {kind}")));
    }
    default(&mut spec["securityContext"], "fsGroup", FIRST_GROUP.into());
    default(&mut spec["securityContext"], "seLinuxOptions", json!({"level": LEVEL}));
    default(&mut spec["securityContext"], "seccompProfile", json!({"type": "RuntimeDefault"}));
    let of_pod = spec["securityContext"].clone();
    if of_pod["fsGroup"] != FIRST_GROUP {
        refusals.push(format!("spec.securityContext.fsGroup: {}", of_pod["fsGroup"]));
    }
    refused_context(scc, &of_pod, "spec.securityContext", &mut refusals);
    for group in ["initContainers", "containers"] {
        for container in spec[group].as_array_mut().into_iter().flatten() {
            admit_container(scc, &of_pod, container, &mut refusals);
        }
    }
    if refusals.is_empty() { Ok(pod) } else { Err(refusals) }
}

fn admit_container(scc: &Value, of_pod: &Value, container: &mut Value, refusals: &mut Vec<String>) {
    let place = format!("container {}", container["name"].as_str().unwrap());
    let ports = container["ports"].as_array().into_iter().flatten();
    if scc["allowHostPorts"] != true && ports.into_iter().any(|port| port["hostPort"].as_i64().unwrap_or_default() > 0)
    {
        refusals.push(format!("{place}: hostPort"));
    }
    let context = &mut container["securityContext"];
    let user = of_pod.get("runAsUser").cloned().unwrap_or_else(|| (*UIDS.start()).into());
    default(context, "runAsUser", user);
    default(context, "allowPrivilegeEscalation", false.into());
    if !context["runAsUser"].as_i64().is_some_and(|user| UIDS.contains(&user)) {
        refusals.push(format!("{place}: runAsUser {} is not in {UIDS:?}", context["runAsUser"]));
    }
    for (member, allowed) in
        [("privileged", "allowPrivilegedContainer"), ("allowPrivilegeEscalation", "allowPrivilegeEscalation")]
    {
        if context[member] == true && scc[allowed] != true {
            refusals.push(format!("{place}: {member}"));
        }
    }
    let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
    let allowed = list(scc, "allowedCapabilities");
    let added = added.iter().filter_map(Value::as_str).filter(|added| !allowed.contains(added));
    refusals.extend(added.map(|added| format!("{place}: capability {added}")));
    if scc["readOnlyRootFilesystem"] == true && context["readOnlyRootFilesystem"] != true {
        refusals.push(format!("{place}: readOnlyRootFilesystem"));
    }
    refused_context(scc, context, &place, refusals);
    // the SCC adds the capabilities that it requires to be dropped
    context["capabilities"]["drop"] = scc["requiredDropCapabilities"].clone();
}

/// What a Pod and a container may both set.
fn refused_context(scc: &Value, context: &Value, place: &str, refusals: &mut Vec<String>) {
    let level = context.pointer("/seLinuxOptions/level");
    if level.is_some_and(|level| level != LEVEL) {
        refusals.push(format!("{place}: seLinuxOptions {level:?}"));
    }
    let profile = match context.pointer("/seccompProfile/type").and_then(Value::as_str) {
        Some("RuntimeDefault") => "runtime/default",
        Some("Unconfined") => "unconfined",
        Some(_) => "localhost",
        None => return,
    };
    if !list(scc, "seccompProfiles").contains(&profile) {
        refusals.push(format!("{place}: seccompProfile {profile}"));
    }
}

fn default(context: &mut Value, member: &str, value: Value) {
    if context[member].is_null() {
        context[member] = value;
    }
}

fn list<'a>(scc: &'a Value, member: &str) -> Vec<&'a str> {
    scc[member].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

fn restricted_v2() -> Value {
    serde_yaml_ng::from_str(RESTRICTED_V2).unwrap()
}

/// The Pods of a rendered chart: that of the Deployment, and that of `helm test`.
fn all_pods(namespace: &str, values: &str, args: &[&str]) -> Vec<Value> {
    let objects = yaml::parse(&template("vto", namespace, values, args).unwrap()).unwrap();
    let of_test = objects.iter().filter(|object| object.types.as_ref().unwrap().kind == "Pod").cloned();
    let all: Vec<_> = pods(&objects).into_iter().chain(of_test).map(|pod| serde_json::to_value(pod).unwrap()).collect();
    assert_eq!(all.len(), 2, "{all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_v2_admits_the_pods_of_every_case_and_pod_security_what_it_makes_of_them() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    let restricted = ("pod-security.kubernetes.io/enforce", "restricted");
    for (case, values) in cases().unwrap() {
        let namespace = plane.namespace_with_labels("openshift", &[restricted]).await.unwrap();
        prepare(&client, &namespace, &served(&template("vto", &namespace, &values, &[]).unwrap())).await;
        for pod in all_pods(&namespace, &values, OPENSHIFT) {
            let admitted = admit(&restricted_v2(), &pod);
            if case == "host-network" {
                assert_eq!(admitted.unwrap_err(), ["spec.hostNetwork"]);
                continue;
            }
            let admitted = admitted.unwrap_or_else(|refusals| panic!("{case}: {refusals:?}"));
            let context = &admitted["spec"]["containers"][0]["securityContext"];
            assert_eq!(context["runAsUser"], *UIDS.start(), "{case}");
            let admitted = vec![serde_json::from_value(admitted).unwrap()];
            yaml::dry_run(&client, &namespace, admitted).await.unwrap_or_else(|error| panic!("{case}: {error:#}"));
        }
    }
}

#[test]
fn restricted_v2_refuses_the_ids_of_other_clusters() {
    let refused = |values: &str, args: &[&str]| {
        let pods = all_pods("video", values, args);
        pods.iter().map(|pod| admit(&restricted_v2(), pod).err().unwrap_or_default().join("; ")).collect::<Vec<_>>()
    };
    for (values, args) in [("{}", &[][..]), ("openshift: {adaptSecurityContext: disabled}", OPENSHIFT)] {
        for refusals in refused(values, args) {
            assert!(refusals.contains("fsGroup: 65532") && refusals.contains("runAsUser 65532"), "{refusals}");
        }
    }
    // rendered without a cluster
    assert_eq!(refused("openshift: {adaptSecurityContext: force}", &[]), ["", ""]);
    let own_ids = "securityContext: {runAsUser: 1000}\npodSecurityContext: {runAsGroup: 1000, fsGroup: 1000}";
    assert_eq!(refused(own_ids, OPENSHIFT), ["", ""]);
}

/// The Pods of each Deployment that OLM makes of the bundle's `ClusterServiceVersion`.
fn pods_of_the_bundle() -> Vec<Value> {
    let file = repository().join("deploy/olm/manifests/video-token-operator.clusterserviceversion.yaml");
    let service: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let deployments = service.pointer("/spec/install/spec/deployments").and_then(Value::as_array).unwrap();
    deployments.iter().map(|deployment| deployment["spec"]["template"].clone()).collect()
}

#[test]
fn restricted_v2_admits_the_pod_of_the_bundle_and_elsewhere_the_images_user_is_a_number() {
    let pods = pods_of_the_bundle();
    assert_eq!(pods.len(), 1, "{pods:?}");
    let admitted = admit(&restricted_v2(), &pods[0]).unwrap_or_else(|refusals| panic!("{refusals:?}"));
    assert_eq!(admitted["spec"]["containers"][0]["securityContext"]["runAsUser"], *UIDS.start());
    // the kubelet takes the image's user for runAsNonRoot only if it is a number
    assert_eq!(pods[0]["spec"]["securityContext"]["runAsNonRoot"], true);
    let dockerfile = std::fs::read_to_string(repository().join("Dockerfile")).unwrap();
    let build = std::fs::read_to_string(repository().join("image/build.sh")).unwrap();
    assert!(dockerfile.contains("\nUSER 65532:65532\n") && build.contains("65532:65532"));
}

#[test]
fn each_rule_of_restricted_v2_can_refuse() {
    let pod = all_pods("video", "{}", OPENSHIFT).remove(0);
    assert!(admit(&restricted_v2(), &pod).is_ok());
    for (change, refusal) in [
        (json!({"hostNetwork": true}), "spec.hostNetwork"),
        (json!({"hostPID": true}), "spec.hostPID"),
        (json!({"hostIPC": true}), "spec.hostIPC"),
        (json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}), "spec.volumes: hostPath"),
        (json!({"volumes": [{"name": "a", "nfs": {"server": "a"}}]}), "spec.volumes: nfs"),
        (json!({"securityContext": {"fsGroup": 1_000_650_001}}), "spec.securityContext.fsGroup: 1000650001"),
        (json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), "seccompProfile unconfined"),
        (json!({"securityContext": {"seLinuxOptions": {"level": "s0:c1,c2"}}}), "seLinuxOptions"),
        (json!({"securityContext": {"runAsUser": 0}}), "runAsUser 0 is not in"),
    ] {
        let mut pod = pod.clone();
        pod["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refusals = admit(&restricted_v2(), &pod).unwrap_err().join("; ");
        assert!(refusals.contains(refusal), "{change}: {refusals}");
    }
    for (change, refusal) in [
        (json!({"privileged": true}), "privileged"),
        (json!({"allowPrivilegeEscalation": true}), "allowPrivilegeEscalation"),
        (json!({"capabilities": {"add": ["NET_ADMIN"]}}), "capability NET_ADMIN"),
        (json!({"runAsUser": 1_000_660_000}), "runAsUser 1000660000 is not in"),
        (json!({"seccompProfile": {"type": "Localhost"}}), "seccompProfile localhost"),
    ] {
        let mut pod = pod.clone();
        pod["spec"]["containers"][0]["securityContext"] = change.clone();
        let refusals = admit(&restricted_v2(), &pod).unwrap_err().join("; ");
        assert!(refusals.contains(refusal), "{change}: {refusals}");
    }
}
