//! Facts of the managed Secrets, from a metadata watch and from the operator's own writes and reads.
//!
//! The operator's own write is stored immediately as the newest version. It takes precedence over the watch until the
//! watch has caught up, so the event of the write changes nothing. A GET is stored in the same way.

use crate::controller::stores::index::Index;
use crate::controller::stores::meta::WireMeta;
use crate::controller::stores::relist::{Relist, WritesDuringRelist};
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::facts::{SecretFacts, Uid, secret_facts};
use videotoken_runtime::slim_resource;

use parking_lot::Mutex;

/// Metadata of a Secret, without the fields that the operator never reads. Requests of this type ask for metadata only.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct SecretMeta(ObjectMeta);

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
    /// Returns namespace and name of the Secret.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.0.namespace.as_deref().unwrap_or_default(), self.0.name.as_deref().unwrap_or_default())
    }

    /// Returns the facts in the metadata.
    pub(crate) fn facts(&self) -> SecretFacts {
        secret_facts(&self.0)
    }
}

slim_resource!(SecretMeta, Secret, 0, metadata_only: true);

/// Facts of all Secrets with the operator's label, and of those that the operator has just written.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<ObjectKey, Arc<SecretFacts>>,
    /// Secrets by the UID of the object that each was written for.
    owned: Index<Uid>,
    own_writes: WritesDuringRelist,
    flights: HashMap<ObjectKey, Flight>,
}

/// Requests about one Secret that are in progress, and the events of the watch since they began.
#[derive(Debug, Default)]
struct Flight {
    requests: usize,
    events: u64,
    /// Version of the last deletion.
    deleted: Option<u64>,
}

/// One request about a Secret, begun before it is sent. Its result is newer than all facts known before, and is
/// compared by version with the events of the watch since then.
#[derive(Debug)]
#[must_use = "apply the result of the request"]
pub(crate) struct SecretRequest<'a> {
    secrets: &'a Secrets,
    key: ObjectKey,
    events: u64,
}

impl SecretRequest<'_> {
    /// Returns the key of the Secret.
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Stores the facts that a write or a GET returned.
    pub(crate) fn found(self, facts: SecretFacts) {
        let mut inner = self.secrets.0.lock();
        inner.own_writes.wrote(&self.key);
        let (touched, deleted) = self.events_since(&inner);
        let version = facts.resource_version;
        let outdone = match inner.known.get(&self.key) {
            Some(old) => touched && old.resource_version >= version,
            None => deleted.is_some_and(|deleted| deleted > version),
        };
        if !outdone {
            inner.insert(self.key.clone(), facts);
        }
    }

    /// Records that the Secret doesn't exist, according to the API server.
    pub(crate) fn record_absence(self) {
        let mut inner = self.secrets.0.lock();
        let (touched, _) = self.events_since(&inner);
        // Events of the watch since the start of the request may be newer than the response.
        if !touched {
            inner.remove(&self.key);
        }
    }

    fn events_since(&self, inner: &Inner) -> (bool, Option<u64>) {
        let flight = inner.flights.get(&self.key);
        flight.map_or((false, None), |flight| (flight.events != self.events, flight.deleted))
    }
}

impl Drop for SecretRequest<'_> {
    fn drop(&mut self) {
        let mut inner = self.secrets.0.lock();
        if let Some(flight) = inner.flights.get_mut(&self.key) {
            flight.requests -= 1;
            if flight.requests == 0 {
                inner.flights.remove(&self.key);
            }
        }
    }
}

impl Secrets {
    /// Returns the facts of a Secret, if it is managed.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<SecretFacts>> {
        self.0.lock().known.get(key).cloned()
    }

    /// Returns the Secrets of this namespace that were written for the object of this UID, except for `named`.
    pub(crate) fn others_of(&self, owner: Uid, named: &ObjectKey) -> Vec<ObjectKey> {
        let mut all = self.0.lock().owned.referring_to(&owner);
        all.retain(|key| key.namespace == named.namespace && key != named);
        all
    }

    /// Returns the number of known Secrets.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().known.len()
    }

    /// Begins a request. Call it before sending the request.
    pub(crate) fn begin_request(&self, key: &ObjectKey) -> SecretRequest<'_> {
        let mut inner = self.0.lock();
        let flight = inner.flights.entry(key.clone()).or_default();
        flight.requests += 1;
        SecretRequest { secrets: self, key: key.clone(), events: flight.events }
    }

    /// Removes a Secret that can't be used.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }

    /// Applies an event of the watch over `namespace` (`None`: all). Returns the Secrets that changed, each with the
    /// UID of the object that it was written for.
    pub(crate) fn apply(
        &self,
        relist: &mut Relist,
        namespace: Option<&str>,
        event: &Event<SecretMeta>,
    ) -> Vec<(ObjectKey, Option<Uid>)> {
        let mut inner = self.0.lock();
        match event {
            Event::Init => {
                inner.own_writes.begin(relist);
                Vec::new()
            }
            Event::InitApply(secret) => {
                relist.name(&secret.key());
                inner.put(secret, Some(relist)).into_iter().collect()
            }
            Event::Apply(secret) => inner.put(secret, None).into_iter().collect(),
            Event::Delete(secret) => inner.delete(secret).into_iter().collect(),
            Event::InitDone => {
                let Some(listed) = relist.end() else { return Vec::new() };
                let gone = inner.finish_relist(relist, &listed, namespace);
                inner.own_writes.end();
                gone
            }
        }
    }
}

impl Inner {
    fn insert(&mut self, key: ObjectKey, facts: SecretFacts) {
        self.remove(&key);
        if let Some(owner) = facts.owner {
            self.owned.add(owner, key.clone());
        }
        self.known.insert(key, Arc::new(facts));
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<SecretFacts>> {
        let old = self.known.remove(key)?;
        if let Some(owner) = old.owner {
            self.owned.remove(&owner, key);
        }
        Some(old)
    }

    /// Stores newer facts. A Secret of a list replaces the stored one, unless the operator wrote it during the list.
    fn put(&mut self, secret: &SecretMeta, list: Option<&Relist>) -> Option<(ObjectKey, Option<Uid>)> {
        let (key, facts) = (secret.key(), secret.facts());
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.events += 1;
        }
        if let Some(old) = self.known.get(&key) {
            let same = old.uid == facts.uid && old.resource_version == facts.resource_version;
            let weighed = list.is_none_or(|list| self.own_writes.has(&key, list));
            if same || weighed && old.resource_version >= facts.resource_version {
                return None;
            }
        }
        let owner = facts.owner;
        self.insert(key.clone(), facts);
        Some((key, owner))
    }

    /// Removes a deleted Secret. A deletion older than the stored version concerns an earlier Secret and is ignored.
    fn delete(&mut self, secret: &SecretMeta) -> Option<(ObjectKey, Option<Uid>)> {
        let (key, version) = (secret.key(), secret.facts().resource_version);
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.events += 1;
            flight.deleted = flight.deleted.max(Some(version));
        }
        if self.known.get(&key).is_none_or(|old| old.resource_version > version) {
            return None;
        }
        let owner = self.remove(&key).and_then(|old| old.owner);
        Some((key, owner))
    }

    /// Removes the Secrets that a complete list doesn't contain, except those that the operator wrote during the list.
    fn finish_relist(
        &mut self,
        list: &Relist,
        listed: &HashSet<ObjectKey>,
        namespace: Option<&str>,
    ) -> Vec<(ObjectKey, Option<Uid>)> {
        let gone: Vec<_> = self
            .known
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| *key.namespace == *namespace))
            .filter(|(key, _)| !listed.contains(*key) && !self.own_writes.has(key, list))
            .map(|(key, facts)| (key.clone(), facts.owner))
            .collect();
        for (key, _) in &gone {
            self.remove(key);
        }
        gone
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(uid: u8, version: u64) -> SecretMeta {
        let uid = format!("00000000-0000-0000-0000-0000000000{uid:02}");
        let metadata = json!({"name": "s", "namespace": "n", "uid": uid, "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn known(secrets: &Secrets) -> Option<u64> {
        secrets.get(&ObjectKey::new("n", "s")).map(|facts| facts.resource_version)
    }

    fn relist(secrets: &Secrets, listed: &[SecretMeta], during: impl FnOnce()) {
        let mut relist = Relist::default();
        secrets.apply(&mut relist, None, &Event::Init);
        during();
        for secret in listed {
            secrets.apply(&mut relist, None, &Event::InitApply(secret.clone()));
        }
        secrets.apply(&mut relist, None, &Event::InitDone);
    }

    #[test]
    fn p18_a_list_and_a_request_replace_what_a_restored_etcd_never_knew() {
        let (secrets, key) = (Secrets::default(), ObjectKey::new("n", "s"));
        relist(&secrets, &[meta(1, 900)], || {});
        secrets.begin_request(&key).found(meta(1, 890).facts());
        assert_eq!(known(&secrets), Some(890), "a GET");
        relist(&secrets, &[meta(1, 700)], || {});
        assert_eq!(known(&secrets), Some(700), "a list");
        relist(&secrets, &[meta(1, 700)], || secrets.begin_request(&key).found(meta(1, 705).facts()));
        assert_eq!(known(&secrets), Some(705), "a list from before our write");
        relist(&secrets, &[], || secrets.begin_request(&key).found(meta(1, 706).facts()));
        assert_eq!(known(&secrets), Some(706), "a list from before our create");
        relist(&secrets, &[meta(1, 900)], || {});
        relist(&secrets, &[meta(1, 910)], || secrets.begin_request(&key).found(meta(1, 905).facts()));
        assert_eq!(known(&secrets), Some(910), "a list from after our write");
        relist(&secrets, &[], || {});
        assert_eq!(known(&secrets), None);
    }

    #[test]
    fn p09_a_list_that_replaces_an_interrupted_one_is_newer_than_what_was_written_before_it() {
        for (listed, expected) in [(&[][..], None), (&[meta(1, 700)], Some(700))] {
            let (secrets, key) = (Secrets::default(), ObjectKey::new("n", "s"));
            relist(&secrets, &[meta(1, 900)], || {});
            let (mut first, mut other) = (Relist::default(), Relist::default());
            secrets.apply(&mut first, None, &Event::Init);
            secrets.begin_request(&key).found(meta(1, 905).facts());
            // another scope's list, which is interrupted too
            secrets.apply(&mut other, Some("m"), &Event::Init);
            relist(&secrets, &[meta(1, 900)], || {});
            assert_eq!(known(&secrets), Some(900), "a list from after the write");
            secrets.begin_request(&key).found(meta(1, 906).facts());
            secrets.apply(&mut first, None, &Event::InitApply(meta(1, 900)));
            assert_eq!(known(&secrets), Some(906), "a list from before the write");
            secrets.apply(&mut first, None, &Event::Init);
            for secret in listed {
                secrets.apply(&mut first, None, &Event::InitApply(secret.clone()));
            }
            secrets.apply(&mut first, None, &Event::InitDone);
            assert_eq!(known(&secrets), expected);
            secrets.apply(&mut other, Some("m"), &Event::InitDone);
            assert!(secrets.0.lock().own_writes.is_empty());
        }
    }

    #[test]
    fn p05_each_secret_of_an_object_is_known_until_it_is_gone() {
        let secrets = Secrets::default();
        let secret = |name: &str, owner: u8, version: u64| {
            let owner = format!("00000000-0000-0000-0000-0000000000{owner:02}");
            let annotations = json!({"videotoken.dev/owner-uid": owner});
            let metadata = json!({"name": name, "namespace": "n", "uid": "00000000-0000-0000-0000-000000000099",
                "resourceVersion": version.to_string(), "annotations": annotations});
            serde_json::from_value::<SecretMeta>(json!({"metadata": metadata})).unwrap()
        };
        let event = |event| drop(secrets.apply(&mut Relist::default(), None, &event));
        let of = |owner: u8| {
            let owner = Uid::parse(&format!("00000000-0000-0000-0000-0000000000{owner:02}"));
            secrets
                .others_of(owner, &ObjectKey::new("n", "c"))
                .iter()
                .map(|key| key.name.to_string())
                .collect::<Vec<_>>()
        };
        for (name, version) in [("a", 1), ("b", 2), ("c", 3)] {
            event(Event::Apply(secret(name, 1, version)));
        }
        assert_eq!((of(1), of(2)), (vec!["a".to_owned(), "b".to_owned()], vec![]));
        assert!(
            secrets.others_of(Uid::parse("00000000-0000-0000-0000-000000000001"), &ObjectKey::new("m", "c")).is_empty()
        );
        event(Event::Apply(secret("a", 2, 4)));
        assert_eq!((of(1), of(2)), (vec!["b".to_owned()], vec!["a".to_owned()]), "taken over");
        event(Event::Delete(secret("b", 1, 5)));
        secrets.begin_request(&ObjectKey::new("n", "a")).record_absence();
        assert_eq!((of(1), of(2)), (vec![], vec![]));
    }

    #[test]
    fn an_answer_that_comes_after_the_watch_told_more_is_old() {
        let (secrets, key) = (Secrets::default(), ObjectKey::new("n", "s"));
        let event = |event| drop(secrets.apply(&mut Relist::default(), None, &event));
        let look = secrets.begin_request(&key);
        event(Event::Apply(meta(1, 5)));
        event(Event::Apply(meta(1, 7)));
        look.found(meta(1, 5).facts());
        assert_eq!(known(&secrets), Some(7), "changed");
        let look = secrets.begin_request(&key);
        event(Event::Delete(meta(1, 8)));
        look.found(meta(1, 7).facts());
        assert_eq!(known(&secrets), None, "deleted");
        let look = secrets.begin_request(&key);
        event(Event::Apply(meta(2, 9)));
        event(Event::Delete(meta(2, 10)));
        look.found(meta(2, 9).facts());
        assert_eq!(known(&secrets), None, "created by us and deleted");
        let look = secrets.begin_request(&key);
        event(Event::Apply(meta(3, 11)));
        look.record_absence();
        assert_eq!(known(&secrets), Some(11), "created after the answer");
        let look = secrets.begin_request(&key);
        event(Event::Delete(meta(2, 10)));
        look.found(meta(3, 12).facts());
        assert_eq!(known(&secrets), Some(12), "the deletion of one before");
        event(Event::Apply(meta(3, 11)));
        event(Event::Delete(meta(2, 10)));
        assert_eq!(known(&secrets), Some(12), "echoes");
        secrets.begin_request(&key).record_absence();
        assert_eq!(known(&secrets), None);
        assert!(secrets.0.lock().flights.is_empty());
    }
}
