//! The namespaces, scopes and Secret metadata that a ClusterTokenProvider allows.

use super::cel::cel;
pub use super::provider_types::AllowedScopes;
use super::request::FieldError;
use super::schema::label_selector;
use super::scope::Scope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube_core::{Selector, SelectorExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Namespaces by name, by label, or both.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[schemars(transform = cel(
    "has(self.selector) || (has(self.names) && self.names.size() > 0)",
    "name the namespaces, or select them by labels; `selector: {}` admits all"
))]
pub struct AllowedNamespaces {
    /// Namespaces by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub names: Vec<String>,
    /// Namespaces by label. `{}` admits all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
}

impl AllowedNamespaces {
    /// Returns true if a namespace with this name and these labels is listed or selected. A selector that can't be
    /// parsed selects no namespace.
    pub fn admits(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let selected = |selector: &LabelSelector| {
            Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
        };
        self.names.iter().any(|admitted| admitted == name) || self.selector.as_ref().is_some_and(selected)
    }
}

/// Labels, annotations and types of token Secrets that other controllers trust. Default: none is allowed. Names that
/// Kubernetes or this operator uses can't be allowed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedSecrets {
    /// Prefixes of labels, such as argocd.argoproj.io.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[schemars(transform = super::reserved_names::not_own)]
    pub label_prefixes: Option<Vec<String>>,
    /// Prefixes of annotations, such as replicator.v1.mittwald.de.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[schemars(transform = super::reserved_names::not_own)]
    pub annotation_prefixes: Option<Vec<String>>,
    /// Types, such as cluster.x-k8s.io/secret. Allowing a type also allows the Secret names that its controller uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub types: Option<Vec<String>>,
}

impl AllowedScopes {
    /// Checks that `scope` is allowed. The error names the field of the VideoAccessToken. A scope without exactly one
    /// type is rejected.
    pub fn admits(&self, scope: &Scope) -> Result<(), FieldError> {
        scope.typed()?.admitted(self)
    }
}
