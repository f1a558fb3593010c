//! What is known of the Secrets of ours: facts from a metadata watch, and from our own writes by the same door.
//!
//! An own write enters at once and outranks the watch until the watch has caught up, since it has the higher
//! resourceVersion: its echo then changes nothing.

use super::relist::Relist;
use super::token::WireMeta;
use crate::api::key::ObjectKey;
use crate::plan::facts::{SecretFacts, Uid, secret_facts};
use kube::core::{NamespaceResourceScope, ObjectMeta, Resource};
use kube::runtime::watcher::Event;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A Secret's metadata, without what we never read; asks the API server for metadata only.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(super) struct SecretMeta(ObjectMeta);

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMeta,
}

impl From<Wire> for SecretMeta {
    fn from(wire: Wire) -> Self {
        let meta = wire.metadata;
        SecretMeta(ObjectMeta {
            name: Some(meta.name.unwrap_or_default()),
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            deletion_timestamp: meta.deletion_timestamp,
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: meta.owner_references,
            ..ObjectMeta::default()
        })
    }
}

impl SecretMeta {
    /// Its namespace and name.
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.0.namespace.as_deref().unwrap_or_default(), self.0.name.as_deref().unwrap_or_default())
    }

    /// What its metadata says.
    pub(super) fn facts(&self) -> SecretFacts {
        secret_facts(&self.0)
    }
}

impl Resource for SecretMeta {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Secret".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "secrets".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.0
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0
    }
    fn metadata_api() -> bool {
        true
    }
}

/// The facts of all Secrets that carry our label, and of those that we just wrote.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: Mutex<HashMap<ObjectKey, Arc<SecretFacts>>>,
    meanwhile: Mutex<Meanwhile>,
}

/// Our own writes while a relist runs, which may miss them.
#[derive(Debug, Default)]
struct Meanwhile {
    relists: usize,
    written: HashSet<ObjectKey>,
}

impl Secrets {
    /// The facts of a Secret, if it is one of ours.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<SecretFacts>> {
        self.lock().get(key).cloned()
    }

    /// A Secret of that namespace that was written for the object of this UID. A scan: asked only about an object whose
    /// Secret is gone.
    pub(super) fn written_for(&self, namespace: &str, owner: Uid) -> Option<ObjectKey> {
        let known = self.lock();
        let mut all = known.iter().filter(|(key, facts)| *key.namespace == *namespace && facts.owner == Some(owner));
        all.next().map(|(key, _)| key.clone())
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What our own write or GET brought. Outranks the watch until that has caught up.
    pub(super) fn learn(&self, key: &ObjectKey, facts: SecretFacts) {
        let mut meanwhile = lock(&self.meanwhile);
        if meanwhile.relists > 0 {
            meanwhile.written.insert(key.clone());
        }
        drop(meanwhile);
        self.put(key, facts);
    }

    /// The API server said that it is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    /// Takes an event of the watch over `namespace` (`None`: all) and returns whose Secrets changed.
    pub(super) fn apply(
        &self,
        relist: &mut Relist,
        namespace: Option<&str>,
        event: &Event<SecretMeta>,
    ) -> Vec<ObjectKey> {
        match event {
            Event::Init => {
                if relist.begin() {
                    lock(&self.meanwhile).relists += 1;
                }
                Vec::new()
            }
            Event::InitApply(secret) => {
                let key = secret.key();
                relist.name(&key);
                self.put(&key, secret.facts()).then_some(key).into_iter().collect()
            }
            Event::Apply(secret) => {
                let key = secret.key();
                self.put(&key, secret.facts()).then_some(key).into_iter().collect()
            }
            Event::Delete(secret) => {
                let key = secret.key();
                self.delete(&key, secret.facts().resource_version).then_some(key).into_iter().collect()
            }
            Event::InitDone => self.sweep(relist, namespace),
        }
    }

    /// Newer facts replace older ones, also those of a Secret before this one. Tells whether anything changed.
    fn put(&self, key: &ObjectKey, facts: SecretFacts) -> bool {
        let mut known = self.lock();
        match known.get(key) {
            Some(old) if old.resource_version >= facts.resource_version => false,
            _ => {
                known.insert(key.clone(), Arc::new(facts));
                true
            }
        }
    }

    /// A deletion older than what we know is an echo of a Secret before this one.
    fn delete(&self, key: &ObjectKey, resource_version: u64) -> bool {
        let mut known = self.lock();
        if known.get(key).is_none_or(|old| old.resource_version > resource_version) {
            return false;
        }
        known.remove(key);
        true
    }

    /// What a relist didn't name is gone, save what we wrote while it ran.
    fn sweep(&self, relist: &mut Relist, namespace: Option<&str>) -> Vec<ObjectKey> {
        let Some(listed) = relist.end() else { return Vec::new() };
        let mut meanwhile = lock(&self.meanwhile);
        let mut known = self.lock();
        let gone: Vec<_> = known
            .keys()
            .filter(|key| namespace.is_none_or(|namespace| *key.namespace == *namespace))
            .filter(|key| !listed.contains(*key) && !meanwhile.written.contains(*key))
            .cloned()
            .collect();
        for key in &gone {
            known.remove(key);
        }
        meanwhile.relists -= 1;
        if meanwhile.relists == 0 {
            meanwhile.written = HashSet::new();
        }
        gone
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<SecretFacts>>> {
        lock(&self.known)
    }
}

/// A lock that outlives a panic of its holder: the maps are whole after each statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
