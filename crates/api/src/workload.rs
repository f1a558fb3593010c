//! Workloads that are restarted after a renewal.

use super::request::FieldError;
use super::schema::{is_object_name, object_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A workload that reads the token only when its Pods start.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(transform = object_name)]
    pub name: String,
}

/// Kinds of workload.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// A workload of a namespace, parsed from a [`WorkloadRef`]. Its kind can be restarted, and its name can be part of a
/// URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Kind in `apps/v1`.
    pub kind: &'static str,
    /// Name of the workload.
    pub name: Box<str>,
}

impl WorkloadRef {
    /// Parses the reference. `place` is its path, such as `spec.rolloutRestart[0]`.
    pub(super) fn workload(&self, place: &str) -> Result<Workload, FieldError> {
        let kind = match &self.kind {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::DaemonSet => "DaemonSet",
            WorkloadKind::Other(_) => {
                return Err(FieldError::new(
                    format!("{place}.kind"),
                    "must be one of Deployment, StatefulSet, DaemonSet",
                ));
            }
        };
        if !is_object_name(&self.name) {
            return Err(FieldError::new(format!("{place}.name"), "must be the name of an object"));
        }
        Ok(Workload { kind, name: self.name.as_str().into() })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
