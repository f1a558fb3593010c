//! The bundle for the Operator Lifecycle Manager, generated from what the chart renders.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::manifests::PLACEHOLDER;
use super::{folder, template_alone};
use crate::stand::controlplane::OPERATOR;

const HEADER: &str = "# Generated from charts/video-token-operator: `make chart` writes it anew.\n";

/// Operators of OLM have the namespace that the user chose, so the operator reads its own from the Pod.
const NAMESPACE: &str = "$(POD_NAMESPACE)";

/// The files of the bundle: path below `deploy/olm/` and content.
///
/// # Errors
///
/// Fails if the chart doesn't render, or renders no Deployment.
pub fn files() -> Result<BTreeMap<String, String>> {
    // without IDs: OpenShift takes them from the namespace's range, elsewhere the image's numeric user is taken
    let values = format!(
        "image: {{repository: {PLACEHOLDER}}}\ncrds: {{keep: false}}\nopenshift: {{adaptSecurityContext: force}}\n"
    );
    let objects = documents(&template_alone(OPERATOR, OPERATOR, &values, &["--no-hooks"])?)?;
    let chart: Value = serde_yaml_ng::from_str(&fs::read_to_string(folder().join("Chart.yaml"))?)?;
    let version = chart["appVersion"].as_str().context("appVersion")?;
    let mut files = BTreeMap::new();
    for object in &objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let file = match kind {
            "CustomResourceDefinition" => format!("{name}.crd.yaml"),
            "PodDisruptionBudget" | "Service" => format!("{name}.{}.yaml", kind.to_lowercase()),
            // for users; the operator's own permissions are in the ClusterServiceVersion
            "ClusterRole" if name != OPERATOR => format!("{name}.clusterrole.yaml"),
            _ => continue,
        };
        let mut object = object.clone();
        for of_helm in ["helm.sh/chart", "app.kubernetes.io/managed-by"] {
            object["metadata"]["labels"].as_object_mut().map(|labels| labels.remove(of_helm));
        }
        // OLM installs into the namespace of the Subscription
        object["metadata"].as_object_mut().map(|metadata| metadata.remove("namespace"));
        files.insert(format!("manifests/{file}"), text(&object)?);
    }
    let service = cluster_service_version(&objects, &chart, version)?;
    files.insert(format!("manifests/{OPERATOR}.clusterserviceversion.yaml"), text(&service)?);
    files.insert("metadata/annotations.yaml".to_owned(), text(&annotations())?);
    Ok(files)
}

fn documents(rendered: &str) -> Result<Vec<Value>> {
    let all = serde_yaml_ng::Deserializer::from_str(rendered);
    let objects = all.map(|document| <Value as serde::Deserialize>::deserialize(document).context("rendered YAML"));
    objects.collect::<Result<Vec<_>>>().map(|all| all.into_iter().filter(Value::is_object).collect())
}

fn text(object: &Value) -> Result<String> {
    Ok(format!("{HEADER}{}", serde_yaml_ng::to_string(object)?))
}

fn annotations() -> Value {
    let prefix = "operators.operatorframework.io.bundle";
    json!({"annotations": {
        format!("{prefix}.mediatype.v1"): "registry+v1",
        format!("{prefix}.manifests.v1"): "manifests/",
        format!("{prefix}.metadata.v1"): "metadata/",
        format!("{prefix}.package.v1"): OPERATOR,
        format!("{prefix}.channels.v1"): "alpha",
        format!("{prefix}.channel.default.v1"): "alpha",
    }})
}

/// Returns the rules of an object of this kind whose name begins with the operator's, as a permission of its account.
fn permission(objects: &[Value], kind: &str, name: &str) -> Result<Value> {
    let named = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let found = objects.iter().find(named).with_context(|| format!("no {kind} {name}"))?;
    Ok(json!([{"serviceAccountName": OPERATOR, "rules": found["rules"]}]))
}

fn deployment(objects: &[Value]) -> Result<Value> {
    let found = objects.iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    let mut spec = found["spec"].clone();
    let args = spec.pointer_mut("/template/spec/containers/0/args").and_then(Value::as_array_mut).context("args")?;
    for arg in args {
        if arg.as_str().is_some_and(|arg| arg.starts_with("--cluster-resource-namespace=")) {
            *arg = format!("--cluster-resource-namespace={NAMESPACE}").into();
        }
    }
    Ok(json!([{"name": OPERATOR, "label": found["metadata"]["labels"], "spec": spec}]))
}

fn owned(objects: &[Value]) -> Value {
    let crds = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition");
    let each = crds.map(|crd| {
        let version = &crd["spec"]["versions"][0];
        json!({
            "name": crd["metadata"]["name"], "version": version["name"], "kind": crd["spec"]["names"]["kind"],
            "displayName": crd["spec"]["names"]["kind"],
            "description": version.pointer("/schema/openAPIV3Schema/description"),
        })
    });
    each.collect()
}

fn cluster_service_version(objects: &[Value], chart: &Value, version: &str) -> Result<Value> {
    let annotation = |name: &str| chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap_or_default();
    let examples: Value = serde_yaml_ng::from_str(annotation("crdsExamples")).context("crdsExamples")?;
    let links: Value = serde_yaml_ng::from_str(annotation("links")).context("links")?;
    let image = format!("{PLACEHOLDER}:{version}");
    let minimum = chart["kubeVersion"].as_str().unwrap_or_default();
    let minimum = minimum.trim_start_matches(">=").trim_end_matches("-0");
    let modes =
        [("OwnNamespace", false), ("SingleNamespace", false), ("MultiNamespace", false), ("AllNamespaces", true)];
    let modes = modes.map(|(mode, supported)| json!({"type": mode, "supported": supported}));
    Ok(json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": format!("{OPERATOR}.v{version}"),
            "namespace": "placeholder",
            "annotations": {
                "alm-examples": serde_json::to_string_pretty(&examples)?,
                "capabilities": annotation("operatorCapabilities"),
                "categories": "Security",
                "containerImage": image,
                "description": chart["description"],
                "repository": chart["home"],
                "support": chart["home"],
            },
        },
        "spec": {
            "displayName": "Video Token Operator",
            "description": format!("{}.\n\nA VideoAccessToken names a provider and a scope; workloads mount the Secret. Five token APIs are supported: Azure Video Indexer (two APIs), Azure AI services, ArcGIS Video Server and BlendVision One.", chart["description"].as_str().unwrap_or_default()),
            "version": version,
            "minKubeVersion": minimum,
            "maturity": "alpha",
            "provider": {"name": "The video-token-operator project", "url": chart["home"]},
            "keywords": chart["keywords"],
            "links": links,
            "installModes": modes,
            "install": {"strategy": "deployment", "spec": {
                "clusterPermissions": permission(objects, "ClusterRole", OPERATOR)?,
                "permissions": permission(objects, "Role", &format!("{OPERATOR}-lease"))?,
                "deployments": deployment(objects)?,
            }},
            "customresourcedefinitions": {"owned": owned(objects)},
            "relatedImages": [{"name": "operator", "image": image}],
        },
    }))
}
