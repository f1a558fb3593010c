//! Provider objects, as their watches report them.

use crate::controller::stores::provider_key::{ProviderKey, as_object};
use crate::controller::stores::relist::WritesDuringRelist;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_core::plan::facts::resource_version;

/// Provider objects, as their watches report them.
#[derive(Default)]
pub(crate) struct ProviderObjects(Mutex<HashMap<ProviderKey, Arc<DynamicObject>>>, Mutex<WritesDuringRelist>);

impl ProviderObjects {
    /// Returns the latest version of the object.
    pub(crate) fn get(&self, key: &ProviderKey) -> Option<Arc<DynamicObject>> {
        self.0.lock().get(key).cloned()
    }

    /// Records the start of a list.
    pub(crate) fn relist_begins(&self) {
        self.1.lock().begin();
    }

    /// Records the end of a list.
    pub(crate) fn relist_ends(&self) {
        self.1.lock().end();
    }

    /// Stores a new version. Ignores a version older than the operator's last write, unless it comes from a list during
    /// which the operator wrote nothing. Returns true if the spec differs.
    pub(crate) fn put(&self, key: &ProviderKey, object: DynamicObject, listed: bool) -> bool {
        let identity = |object: &DynamicObject| (object.metadata.uid.clone(), object.metadata.generation);
        let mut all = self.0.lock();
        let weighed = !listed || self.1.lock().has(&as_object(key));
        match all.get(key) {
            Some(old) if weighed && version_of(&object) < version_of(old) => false,
            old => {
                // A restored etcd counts generations from the start.
                let other =
                    old.is_none_or(|old| identity(old) != identity(&object) || old.data["spec"] != object.data["spec"]);
                all.insert(key.clone(), Arc::new(object));
                other
            }
        }
    }

    /// Stores the operator's own write of some members of the status, made on `seen`.
    pub(crate) fn apply_own_status_write(
        &self,
        key: &ProviderKey,
        seen: &DynamicObject,
        members: &Value,
        version: &str,
    ) {
        let mut object = seen.clone();
        object.metadata.resource_version = Some(version.to_owned());
        if let (Some(status), Some(members)) = (object.data["status"].as_object_mut(), members.as_object()) {
            status.extend(members.clone());
        } else {
            object.data["status"] = members.clone();
        }
        self.1.lock().wrote(&as_object(key));
        let mut all = self.0.lock();
        // Newer than the version that the write was based on, whatever the versions are.
        let newer = |current: &DynamicObject| {
            current.metadata.uid == object.metadata.uid
                && (current.metadata.resource_version == seen.metadata.resource_version
                    || version_of(current) < version_of(&object))
        };
        if all.get(key).is_some_and(|current| newer(current)) {
            all.insert(key.clone(), Arc::new(object));
        }
    }

    /// Removes a deleted object. Returns true if it was stored.
    pub(crate) fn remove(&self, key: &ProviderKey) -> bool {
        self.0.lock().remove(key).is_some()
    }

    /// Returns every object.
    pub(crate) fn all(&self) -> Vec<(ProviderKey, Arc<DynamicObject>)> {
        self.0.lock().iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Returns the keys of all objects.
    pub(crate) fn keys(&self) -> Vec<ProviderKey> {
        self.0.lock().keys().cloned().collect()
    }
}

fn version_of(object: &DynamicObject) -> u64 {
    resource_version(object.metadata.resource_version.as_deref())
}

/// Returns the status of the object; the default if it can't be read.
pub(crate) fn parse_status(object: &DynamicObject) -> ProviderStatus {
    object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()).unwrap_or_default()
}

/// Returns true if the Ready condition of the object is `True`.
pub(crate) fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(|all| all.as_array());
    conditions.is_some_and(|all| all.iter().any(|says| says["type"] == "Ready" && says["status"] == "True"))
}
