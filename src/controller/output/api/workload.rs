//! Reads of workloads, and the change that restarts one.

use super::{Applier, read, written};
use crate::controller::workloads::kinds::RestartKind;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{DynamicObject, ObjectMeta};
use serde_json::json;
use videotoken_api::names;
use videotoken_core::plan::write_failure::ApiError;

impl Applier {
    /// Returns the metadata of a workload, or `None` if it doesn't exist. Reads the whole object of a kind whose objects
    /// may have no Pod template.
    pub(crate) async fn workload(
        &self,
        namespace: &str,
        kind: &RestartKind,
        name: &str,
    ) -> Result<Option<WorkloadMeta>, ApiError> {
        let api = self.workloads(namespace, kind);
        if kind.has_template {
            let found = read(async { api.get_metadata_opt(name).await }).await?;
            return Ok(found.map(|found| WorkloadMeta { meta: found.metadata, has_template: true }));
        }
        let found = read(async { api.get_opt(name).await }).await?;
        Ok(found.map(|found| {
            let has_template = found.data.pointer("/spec/template").is_some_and(serde_json::Value::is_object);
            WorkloadMeta { meta: found.metadata, has_template }
        }))
    }

    /// Changes the Pod template of the workload, so that its controller replaces the Pods. An equal annotation changes
    /// nothing. Never creates a workload, and a late write undoes no later change.
    pub(crate) async fn restart(
        &self,
        namespace: &str,
        kind: &RestartKind,
        seen: &WorkloadMeta,
        mark: &str,
    ) -> Result<(), ApiError> {
        let WorkloadMeta { meta, .. } = seen;
        let template = json!({"metadata": {"annotations": {names::RESTARTED_AT: mark}}});
        let patch = Patch::Merge(json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "spec": {"template": template},
        }));
        let params = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let api = self.workloads(namespace, kind);
        let name = meta.name.as_deref().unwrap_or_default();
        self.check_lease()?;
        written(async { api.patch_metadata(name, &params, &patch).await }).await.map(drop)
    }

    fn workloads(&self, namespace: &str, kind: &RestartKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
    }
}

/// Metadata of a workload for a restart.
#[derive(Debug)]
pub(crate) struct WorkloadMeta {
    pub(super) meta: ObjectMeta,
    /// True if the workload has a Pod template at `spec.template`.
    pub(crate) has_template: bool,
}

impl WorkloadMeta {
    /// Returns true if the workload has the label that permits restarts.
    pub(crate) fn opted_in(&self) -> bool {
        let label = self.meta.labels.as_ref().and_then(|labels| labels.get(names::RESTART_ON_RENEWAL));
        label.is_some_and(|value| value == "true")
    }
}
