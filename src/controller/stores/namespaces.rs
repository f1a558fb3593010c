//! Namespaces and their labels, which decide what a `ClusterTokenProvider` allows.

use crate::controller::stores::relist::Relist;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use videotoken_api::allowed::AllowedNamespaces;
use videotoken_api::key::ObjectKey;

/// Labels by namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespaces(Mutex<HashMap<String, BTreeMap<String, String>>>);

impl Namespaces {
    /// Returns true if objects of this namespace may use the provider.
    pub(crate) fn admitted(&self, namespace: &str, allowed: &AllowedNamespaces) -> bool {
        self.0.lock().get(namespace).is_some_and(|labels| allowed.admits(namespace, labels))
    }

    /// Applies an event of the watch and returns the namespaces whose labels changed.
    pub(crate) fn apply(&self, relist: &mut Relist, event: Event<PartialObjectMeta<Namespace>>) -> Vec<String> {
        let mut known = self.0.lock();
        let mut put = |namespace: PartialObjectMeta<Namespace>| {
            let name = namespace.metadata.name.unwrap_or_default();
            let labels = namespace.metadata.labels.unwrap_or_default();
            let changed = known.get(&name) != Some(&labels);
            known.insert(name.clone(), labels);
            changed.then_some(name)
        };
        match event {
            Event::Init => {
                relist.begin();
                Vec::new()
            }
            Event::InitApply(namespace) => {
                relist.name(&ObjectKey::new("", namespace.metadata.name.as_deref().unwrap_or_default()));
                put(namespace).into_iter().collect()
            }
            Event::Apply(namespace) => put(namespace).into_iter().collect(),
            Event::Delete(namespace) => {
                let name = namespace.metadata.name.unwrap_or_default();
                known.remove(&name).map(|_| name).into_iter().collect()
            }
            Event::InitDone => {
                let listed = relist.end().unwrap_or_default();
                let gone: Vec<_> =
                    known.keys().filter(|name| !listed.contains(&ObjectKey::new("", name))).cloned().collect();
                for name in &gone {
                    known.remove(name);
                }
                gone
            }
        }
    }
}
