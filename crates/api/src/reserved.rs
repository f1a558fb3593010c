//! Names, types and metadata of Secrets that are reserved: for Kubernetes, for this operator, or for another controller
//! that trusts such Secrets.
//!
//! A user with permission to create a VideoAccessToken can write a Secret through it, even without permission to write
//! Secrets. The operator therefore rejects everything that others trust, unless the administrator of a
//! ClusterTokenProvider allows it. The rules of the CRD check part of this. [`check`] checks all of it, also for objects
//! that an older CRD accepted.

use super::allowed::AllowedSecrets;
use super::request::FieldError;
pub use super::reserved_names::is_reserved;
use super::reserved_names::{
    CLUSTER_API, CLUSTER_API_NAME, HELM, HELM_NAME, KUBERNETES_TYPE, OWN, TYPES, is_kubernetes_type, is_own,
    is_trusted, prefix, trusted,
};
use super::secret::SecretSpec;

/// Checks that no other component trusts a Secret of this name and spec. `freed` is what the administrator of the
/// ClusterTokenProvider allows; it is `None` for a TokenProvider, which allows nothing. The error names the field and
/// the correction.
pub fn check(secret_name: &str, spec: &SecretSpec, freed: Option<&AllowedSecrets>) -> Result<(), FieldError> {
    let nothing = AllowedSecrets::default();
    let allowed = freed.unwrap_or(&nothing);
    let template = spec.template.clone().unwrap_or_default();
    for (member, names, free) in [
        ("labels", &template.labels, &allowed.label_prefixes),
        ("annotations", &template.annotations, &allowed.annotation_prefixes),
    ] {
        for name in names.keys() {
            let field = format!("spec.secret.template.{member}[{name}]");
            if is_own(name) {
                return Err(FieldError::new(field, OWN));
            }
            let is_free = || prefix(name).is_some_and(|prefix| free.iter().flatten().any(|free| *free == prefix));
            if is_trusted(name) && !is_free() {
                return Err(FieldError::new(
                    field,
                    trusted(freed.is_some(), &format!("{}Prefixes", member.trim_end_matches('s'))),
                ));
            }
        }
    }
    let has_type = |type_: &str| allowed.types.iter().flatten().any(|free| free == type_);
    let type_ = spec.type_.as_str();
    if is_kubernetes_type(type_) && !TYPES.contains(&type_) {
        return Err(FieldError::new("spec.secret.type", KUBERNETES_TYPE));
    }
    if is_trusted(type_) && !has_type(type_) {
        return Err(FieldError::new("spec.secret.type", trusted(freed.is_some(), "types")));
    }
    if template.labels.get("owner").is_some_and(|owner| owner == "helm") && !has_type(HELM) {
        return Err(FieldError::new("spec.secret.template.labels[owner]", trusted(freed.is_some(), "types")));
    }
    let has_value = || template.data.contains_key("value") || spec.plain_keys().any(|key| key == "value");
    let is_helms = secret_name.starts_with(HELM_NAME) && !has_type(HELM);
    if is_helms || (secret_name.ends_with(CLUSTER_API_NAME) && has_value() && !has_type(CLUSTER_API)) {
        return Err(FieldError::new("spec.secret.name", trusted(freed.is_some(), "types")));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn p22_what_others_trust_is_refused_unless_it_is_freed() {
        let labels = |name: &str| json!({"template": {"labels": {name: "x"}}});
        let annotations = |name: &str| json!({"template": {"annotations": {name: "x"}}});
        let types = |type_: &str| json!({"type": type_});
        let cases: [(&str, Value, Option<&str>); 33] = [
            ("a", json!({}), None),
            ("a", labels("team"), None),
            ("a", labels("app.kubernetes.io/part-of"), None),
            ("a", labels("app.kubernetes.io/name"), None),
            ("a", labels("app.kubernetes.io/managed-by"), Some("labels[app.kubernetes.io/managed-by]")),
            ("a", labels("my.app.kubernetes.io/x"), Some("labels[my.app.kubernetes.io/x]")),
            ("a", labels("videotoken.dev/credentials"), Some("labels[videotoken.dev/credentials]")),
            ("a", labels("argocd.argoproj.io/secret-type"), Some("labels[argocd.argoproj.io/secret-type]")),
            ("a", labels("cluster.x-k8s.io/cluster-name"), Some("labels[cluster.x-k8s.io/cluster-name]")),
            ("a", labels("x-k8s.io/y"), Some("labels[x-k8s.io/y]")),
            ("a", labels("my-x-k8s.io/y"), None),
            ("a", labels("istio/multiCluster"), Some("labels[istio/multiCluster]")),
            ("a", annotations("helm.sh/hook"), Some("annotations[helm.sh/hook]")),
            ("a", annotations("meta.helm.sh/release-name"), Some("annotations[meta.helm.sh/release-name]")),
            (
                "a",
                annotations("replicator.v1.mittwald.de/replicate-to"),
                Some("annotations[replicator.v1.mittwald.de/replicate-to]"),
            ),
            (
                "a",
                annotations("reflector.v1.k8s.emberstack.com/reflects"),
                Some("annotations[reflector.v1.k8s.emberstack.com/reflects]"),
            ),
            (
                "a",
                annotations("sealedsecrets.bitnami.com/managed"),
                Some("annotations[sealedsecrets.bitnami.com/managed]"),
            ),
            ("a", annotations("cert-manager.io/issuer"), Some("annotations[cert-manager.io/issuer]")),
            ("a", annotations("reloader.stakater.com/match"), None),
            ("a", types("kubernetes.io/tls"), None),
            ("a", types("example.com/token"), None),
            ("a", types("kubernetes.io/service-account-token"), Some("type")),
            ("a", types("bootstrap.kubernetes.io/token"), Some("type")),
            ("a", types("helm.sh/release.v1"), Some("type")),
            ("a", types("cluster.x-k8s.io/secret"), Some("type")),
            ("a", json!({"template": {"labels": {"owner": "helm"}}}), Some("labels[owner]")),
            ("a", json!({"template": {"labels": {"owner": "video"}}}), None),
            ("sh.helm.release.v1.shop.v99", json!({}), Some("name")),
            ("sh.helm.release.v2", json!({}), None),
            ("prod-kubeconfig", json!({}), None),
            ("prod-kubeconfig", json!({"keys": {"token": "value"}}), Some("name")),
            ("prod-kubeconfig", json!({"template": {"data": {"value": "x"}}}), Some("name")),
            ("kubeconfig", json!({"keys": {"token": "value"}}), None),
        ];
        let all = AllowedSecrets {
            label_prefixes: Some(
                ["argocd.argoproj.io", "cluster.x-k8s.io", "istio", "x-k8s.io"].map(str::to_owned).to_vec(),
            ),
            annotation_prefixes: Some(
                [
                    "helm.sh",
                    "meta.helm.sh",
                    "replicator.v1.mittwald.de",
                    "reflector.v1.k8s.emberstack.com",
                    "sealedsecrets.bitnami.com",
                    "cert-manager.io",
                ]
                .map(str::to_owned)
                .to_vec(),
            ),
            types: Some([HELM, CLUSTER_API].map(str::to_owned).to_vec()),
        };
        let own = ["kubernetes.io", "videotoken.dev", "bootstrap"];
        for (name, spec, field) in cases {
            let spec: SecretSpec = serde_json::from_value(spec).unwrap();
            for freed in [None, Some(&AllowedSecrets::default())] {
                let refused = check(name, &spec, freed).err();
                let found = refused
                    .as_ref()
                    .map(|error| error.field.trim_start_matches("spec.secret.").trim_start_matches("template."));
                assert_eq!(found, field, "{name} {spec:?}");
                if let Some(error) =
                    refused.filter(|error| !error.message.contains("Kubernetes' own") && error.message != OWN)
                {
                    assert!(error.message.contains("spec.allowedSecrets."), "{error}");
                }
            }
            let is_own = own.iter().any(|own| serde_json::to_string(&spec).unwrap().contains(own) && field.is_some());
            assert_eq!(check(name, &spec, Some(&all)).is_err(), is_own, "{name} {spec:?} freed");
        }
    }

    #[test]
    fn what_is_freed_for_labels_is_not_for_annotations() {
        let spec: SecretSpec =
            serde_json::from_value(json!({"template": {"annotations": {"argocd.argoproj.io/x": "y"}}})).unwrap();
        let freed =
            AllowedSecrets { label_prefixes: Some(vec!["argocd.argoproj.io".into()]), ..AllowedSecrets::default() };
        assert!(check("a", &spec, Some(&freed)).is_err());
    }
}
