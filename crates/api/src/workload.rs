//! Workloads that are restarted after a renewal.

use super::cel::one_of_or_matching;
use super::request::FieldError;
use super::schema::{is_object_name, object_name};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Kinds of the group `apps` that a spec names without their group.
pub const BUILT_IN: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// A workload that reads the token only when its Pods start.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Deployment, StatefulSet or DaemonSet; or the kind and the group of another workload with a Pod template that the
    /// chart's value `rbac.restartKinds` names, such as `Rollout.argoproj.io`.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(transform = object_name)]
    pub name: String,
}

/// Kinds of workload.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = kind)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// A kind with its group, `KIND.GROUP`, or a value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Schema transform of a kind.
fn kind(schema: &mut Schema) {
    one_of_or_matching(
        schema,
        "^[A-Z][A-Za-z0-9]*([.][a-z0-9]([-a-z0-9]*[a-z0-9])?){2,}$",
        "KIND.GROUP, such as Rollout.argoproj.io",
    );
}

/// Returns true for `KIND.GROUP` where the group has a dot, as the groups of all custom resources have.
#[must_use]
pub fn is_kind_with_group(text: &str) -> bool {
    let Some((kind, group)) = text.split_once('.') else { return false };
    let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.chars().all(|c| c.is_ascii_alphanumeric());
    is_kind && group.contains('.') && is_object_name(group)
}

/// A workload of a namespace, parsed from a [`WorkloadRef`]. Its name can be part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Kind of `apps/v1`, or `KIND.GROUP`.
    pub kind: Cow<'static, str>,
    /// Name of the workload.
    pub name: Box<str>,
}

impl WorkloadRef {
    /// Parses the reference. `place` is its path, such as `spec.rolloutRestart[0]`.
    pub(super) fn workload(&self, place: &str) -> Result<Workload, FieldError> {
        let kind = match &self.kind {
            WorkloadKind::Deployment => Cow::Borrowed("Deployment"),
            WorkloadKind::StatefulSet => Cow::Borrowed("StatefulSet"),
            WorkloadKind::DaemonSet => Cow::Borrowed("DaemonSet"),
            WorkloadKind::Other(kind) if is_kind_with_group(kind) => Cow::Owned(kind.clone()),
            WorkloadKind::Other(_) => {
                return Err(FieldError::new(
                    format!("{place}.kind"),
                    format!("must be one of {}, or KIND.GROUP, such as Rollout.argoproj.io", BUILT_IN.join(", ")),
                ));
            }
        };
        if !is_object_name(&self.name) {
            return Err(FieldError::new(format!("{place}.name"), "must be the name of an object"));
        }
        Ok(Workload { kind, name: self.name.as_str().into() })
    }
}

impl Workload {
    /// Returns the kind without its group.
    #[must_use]
    pub fn bare_kind(&self) -> &str {
        self.kind.split_once('.').map_or(&*self.kind, |(kind, _)| kind)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_built_in_or_has_a_group() {
        for (text, expected) in [
            ("Deployment", Some("Deployment")),
            ("Rollout.argoproj.io", Some("Rollout.argoproj.io")),
            ("StatefulSet.apps.kruise.io", Some("StatefulSet.apps.kruise.io")),
            ("Rollout", None),
            ("rollout.argoproj.io", None),
            ("Rollout.argoproj", None),
            ("Rollout.Argoproj.io", None),
            ("Rollout.argoproj.io/", None),
            ("Roll-out.argoproj.io", None),
            ("Rollout..io", None),
            (".argoproj.io", None),
        ] {
            let kind = serde_json::from_value(text.into()).unwrap();
            let reference = WorkloadRef { kind, name: "player".to_owned() };
            let parsed = reference.workload("spec.rolloutRestart[0]").map(|workload| workload.kind);
            match (parsed, expected) {
                (Ok(kind), Some(expected)) => assert_eq!(kind, expected),
                (Err(refusal), None) => assert_eq!(refusal.field, "spec.rolloutRestart[0].kind", "{text}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }
}
