//! Provider objects, as their watches report them.

use crate::controller::stores::provider_key::{ProviderKey, as_object};
use crate::controller::stores::relist::{Relist, WritesDuringRelist};
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use videotoken_api::parameters::DECLARED;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::request::FieldError;
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
    pub(crate) fn relist_begins(&self, relist: &mut Relist) {
        self.1.lock().begin(relist);
    }

    /// Records the end of a list.
    pub(crate) fn relist_ends(&self) {
        self.1.lock().end();
    }

    /// Stores a new version. Ignores a version older than the operator's last write, unless it comes from a list during
    /// which the operator wrote nothing. Returns true if the spec differs.
    pub(crate) fn put(&self, key: &ProviderKey, mut object: DynamicObject, list: Option<&Relist>) -> bool {
        cut_oversized(&mut object);
        let identity = |object: &DynamicObject| (object.metadata.uid.clone(), object.metadata.generation);
        let mut all = self.0.lock();
        let weighed = list.is_none_or(|list| self.1.lock().has(&as_object(key), list));
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

/// Maximum bytes of a declared account, such as `spec.signed`, as JSON. Its free members have no limit in the CRD.
const LARGEST_DECLARED: usize = 64 * 1024;
/// Member that takes the place of everything in an account beyond the limit.
const OVERSIZED: &str = "oversized";

/// Replaces an account beyond the limit, so that it takes no memory.
fn cut_oversized(object: &mut DynamicObject) {
    let Some(spec) = object.data.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for type_ in DECLARED {
        let Some(account) = spec.get_mut(*type_) else { continue };
        let mut size = Size(0);
        if serde_json::to_writer(&mut size, account).is_ok() && size.0 > LARGEST_DECLARED {
            *account = serde_json::json!({OVERSIZED: size.0 / 1024});
        }
    }
}

/// Returns the error for an account that was replaced because of its size.
pub(crate) fn oversized(object: &DynamicObject) -> Option<FieldError> {
    DECLARED.iter().find_map(|type_| {
        let size = object.data.get("spec")?.get(*type_)?.get(OVERSIZED)?.as_u64()?;
        let most = LARGEST_DECLARED / 1024;
        Some(FieldError::new(
            format!("spec.{type_}"),
            format!("has {size} KiB, and at most {most} KiB are read: shorten it"),
        ))
    })
}

/// Writer that counts bytes.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.0 += more.len();
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn p21_an_account_beyond_the_limit_takes_no_memory_and_is_named() {
        let store = ProviderObjects::default();
        let key = ProviderKey { namespace: Some("a".to_owned()), name: "p".to_owned() };
        let put = |claim: &str| {
            let object = json!({"apiVersion": "videotoken.dev/v1alpha1", "kind": "TokenProvider",
                "metadata": {"name": "p", "namespace": "a"},
                "spec": {"signed": {"jwt": {"algorithm": "HS256", "claims": {"a": claim}}}}});
            store.put(&key, serde_json::from_value(object).unwrap(), None);
            store.get(&key).unwrap()
        };
        let small = put(&"x".repeat(60 * 1024));
        assert!(oversized(&small).is_none() && small.data["spec"]["signed"]["jwt"]["claims"]["a"].is_string());
        let large = put(&"x".repeat(500 * 1024));
        assert!(large.data.to_string().len() < 200, "{}", large.data);
        let error = oversized(&large).unwrap();
        assert_eq!(error.to_string(), "spec.signed: has 500 KiB, and at most 64 KiB are read: shorten it");
    }
}
