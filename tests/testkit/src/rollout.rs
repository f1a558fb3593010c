//! The kind Rollout of Argo Rollouts, as far as an API server knows it: a custom resource without a controller.

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};

use crate::stand::controlplane::OPERATOR;
use crate::stand::wait::poll;
use crate::stand::yaml;
use std::time::Duration;

/// The kind as `spec.rolloutRestart` names it.
pub const KIND: &str = "Rollout.argoproj.io";

/// The operator's flag for the kind.
pub const FLAG: &str = "--restart-kind=argoproj.io/v1alpha1/rollouts=Rollout";

/// Installs the CRD, with the parts of its schema that a restart touches.
///
/// # Errors
/// Returns an error if the API server rejects it or doesn't serve it soon.
pub async fn install(client: &Client) -> Result<()> {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let spec = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": any, "template": any, "workloadRef": any, "strategy": any}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": any}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {"group": "argoproj.io", "scope": "Namespaced",
            "names": {"kind": "Rollout", "listKind": "RolloutList", "plural": "rollouts", "singular": "rollout",
                "shortNames": ["ro"]},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]}});
    yaml::apply(client, "default", &crd.to_string()).await?;
    let served = async || client.list_api_group_resources("argoproj.io/v1alpha1").await.map(drop);
    poll(Duration::from_secs(30), "Rollouts are served", served).await
}

/// Permits the stand's operator to read and patch Rollouts, as the chart's `rbac.restartKinds` does.
///
/// # Errors
/// Returns an error if the API server rejects the role.
pub async fn permit(client: &Client) -> Result<()> {
    let (meta, group) = (json!({"name": "rollouts"}), "rbac.authorization.k8s.io");
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": meta,
        "rules": [{"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get", "patch"]}]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "rollouts"},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": OPERATOR}]});
    for object in [role, binding] {
        yaml::apply(client, "default", &object.to_string()).await?;
    }
    Ok(())
}

/// A Rollout that permits restarts.
pub fn rollout(namespace: &str, name: &str) -> Value {
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "player", "image": "player.example/player:1"}]}});
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": namespace, "labels": {"videotoken.dev/restart-on-renewal": "true"}},
        "spec": {"replicas": 1, "strategy": {"canary": {}}, "selector": {"matchLabels": labels}, "template": template}})
}
