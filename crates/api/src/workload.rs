//! The workloads that are restarted after a renewal.

use super::request::FieldError;
use super::schema::{is_object_name, object_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A workload that reads the token only when its pods start.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Deployment, StatefulSet or DaemonSet.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(transform = object_name)]
    pub name: String,
}

/// The kinds of workload.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::cel::known)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// A word of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// One workload of a namespace, as parsed from a [`WorkloadRef`]: of a kind that can be restarted, by a name that can
/// stand in a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Which of `apps/v1`.
    pub kind: &'static str,
    /// Its name.
    pub name: Box<str>,
}

impl WorkloadRef {
    /// Parses it. `place` is its path, such as `spec.rolloutRestart[0]`.
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
