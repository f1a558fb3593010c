//! Names and types that are reserved for Kubernetes, this operator or another controller, and the rules of the CRDs
//! about them.

use super::cel::cel;
use schemars::{Schema, transform::Transform};

/// Domains of other controllers. A controller trusts the names under each domain and its subdomains.
const TRUSTED: [&str; 18] = [
    "x-k8s.io",
    "helm.sh",
    "argoproj.io",
    "sealedsecrets.bitnami.com",
    "mittwald.de",
    "emberstack.com",
    "cert-manager.io",
    "fluxcd.io",
    "kubed.appscode.com",
    "external-secrets.io",
    "istio.io",
    "istio",
    "linkerd.io",
    "cattle.io",
    "openshift.io",
    "jenkins.io",
    "karmada.io",
    "open-cluster-management.io",
];

/// Types of Kubernetes that can contain a token.
pub(super) const TYPES: [&str; 3] = ["kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson", "kubernetes.io/tls"];

/// Helm reads any Secret with this name prefix, or with the label `owner: helm`, regardless of its type.
pub(super) const HELM: &str = "helm.sh/release.v1";
pub(super) const HELM_NAME: &str = "sh.helm.release.v1.";

/// Cluster API reads the key `value` of any Secret whose name is that of a cluster with this suffix.
pub(super) const CLUSTER_API: &str = "cluster.x-k8s.io/secret";
pub(super) const CLUSTER_API_NAME: &str = "-kubeconfig";

pub(super) const OWN: &str = "names under videotoken.dev/, kubernetes.io/ and k8s.io/ are reserved: use a prefix of your own, or \
                   app.kubernetes.io/ without managed-by";
pub(super) const KUBERNETES_TYPE: &str = "of Kubernetes' own types only kubernetes.io/basic-auth, kubernetes.io/dockerconfigjson and \
                               kubernetes.io/tls can be written: use one of these, Opaque, or a type of your own";

/// Returns the part before the slash, in lower case.
pub(super) fn prefix(name: &str) -> Option<String> {
    Some(name.split_once('/')?.0.to_ascii_lowercase())
}

fn is_below(prefix: &str, domain: &str) -> bool {
    prefix == domain || prefix.strip_suffix(domain).is_some_and(|before| before.ends_with('.'))
}

/// Returns true if a label or annotation of this name belongs to the operator or Kubernetes. An administrator can't
/// allow such a name.
pub(super) fn is_own(name: &str) -> bool {
    let Some(prefix) = prefix(name) else { return false };
    if prefix == "app.kubernetes.io" {
        return name.to_ascii_lowercase() == super::names::MANAGED_BY;
    }
    prefix == "videotoken.dev" || is_below(&prefix, "kubernetes.io") || is_below(&prefix, "k8s.io")
}

/// Returns true if another controller trusts this name.
pub(super) fn is_trusted(name: &str) -> bool {
    prefix(name).is_some_and(|prefix| TRUSTED.iter().any(|domain| is_below(&prefix, domain)))
}

/// Returns true if a label or annotation of this name is rejected unless an administrator allows it.
pub fn is_reserved(name: &str) -> bool {
    is_own(name) || is_trusted(name)
}

pub(super) fn is_kubernetes_type(type_: &str) -> bool {
    prefix(type_).is_some_and(|prefix| is_below(&prefix, "kubernetes.io"))
}

pub(super) fn trusted(is_of_cluster: bool, member: &str) -> String {
    let way_out = if is_of_cluster {
        format!("or ask the ClusterTokenProvider's admin to free this one in spec.allowedSecrets.{member}")
    } else {
        format!("or a ClusterTokenProvider whose admin frees this one in spec.allowedSecrets.{member}")
    };
    format!("another controller takes what is so marked for its own: use one of your own, {way_out}")
}

/// Returns the prefixes of [`TRUSTED`] as a CEL pattern.
fn pattern() -> String {
    format!("^([^/]+[.])?({})/", TRUSTED.map(|domain| domain.replace('.', "[.]")).join("|"))
}

/// Schema transform of a map of labels or annotations: no name belongs to the operator or Kubernetes.
pub(super) fn unreserved(schema: &mut Schema) {
    cel(
        "self.all(key, !format.qualifiedName().validate(key).hasValue())",
        "each name must be a label's or annotation's, such as example.com/team",
    )
    .transform(schema);
    cel(
        "self.all(key, key.startsWith('app.kubernetes.io/') ? key != 'app.kubernetes.io/managed-by' : \
         !key.matches('^(videotoken[.]dev|([^/]+[.])?(kubernetes|k8s)[.]io)/'))",
        OWN,
    )
    .transform(schema);
}

/// Schema transform of a field: types of Kubernetes that can contain a token, and any other type.
pub(super) fn secret_type(schema: &mut Schema) {
    cel(format!("!self.matches('(^|[.])kubernetes[.]io/') || self in {TYPES:?}").replace('"', "'"), KUBERNETES_TYPE)
        .transform(schema);
}

/// Schema transform of the spec of a VideoAccessToken: without a ClusterTokenProvider, whose administrator may allow
/// exceptions, nothing that other controllers trust.
pub(super) fn untrusted(schema: &mut Schema) {
    let unless_freed = "self.providerRef.kind == 'ClusterTokenProvider'";
    let pattern = pattern();
    for (member, more) in
        [("labels", " && !(key == 'owner' && self.secret.template.labels[key] == 'helm')"), ("annotations", "")]
    {
        let names = format!("self.secret.template.{member}");
        let all = format!("{names}.all(key, !key.matches('{pattern}'){more})");
        let rule = format!("{unless_freed} || !has(self.secret.template) || !has({names}) || {all}");
        let message = trusted(false, &format!("{}Prefixes", member.trim_end_matches('s')));
        cel(rule, message).at(&format!(".secret.template.{member}")).transform(schema);
    }
    cel(format!("{unless_freed} || !self.secret.type.matches('{pattern}')"), trusted(false, "types"))
        .at(".secret.type")
        .transform(schema);
    cel(
        format!("{unless_freed} || !has(self.secret.name) || !self.secret.name.startsWith('{HELM_NAME}')"),
        trusted(false, "types"),
    )
    .at(".secret.name")
    .transform(schema);
}

/// Schema transform of a list that an administrator allows: no name of Kubernetes or of the operator.
pub(super) fn not_own(schema: &mut Schema) {
    cel(
        "self.all(prefix, !prefix.matches('^(videotoken[.]dev|([^/]+[.])?(kubernetes|k8s)[.]io)$'))",
        "names under videotoken.dev/, kubernetes.io/ and k8s.io/ can't be freed",
    )
    .transform(schema);
}
