//! Objects by kind and name, one counter of versions, and the changes of each kind for its watches.

use super::patch::{applied_fields, apply, disown, merge, updated_fields, without};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// Time for which changes are kept. A real API server compacts etcd every five minutes.
const KEPT: TimeDelta = TimeDelta::minutes(5);

/// Owner of the fields that clients write without server-side apply.
const UPDATES: &str = "updates";

/// Namespace, empty for cluster-scoped objects, and name.
pub type Key = (String, String);

/// One version of an object.
#[derive(Debug)]
pub struct Object {
    /// The whole object.
    pub value: Value,
    /// Its resourceVersion.
    pub version: u64,
    /// Fields that each manager applied last, and those that clients without server-side apply wrote.
    owners: BTreeMap<String, Value>,
}

/// One change: a creation without `old`, a deletion without `new`.
#[derive(Debug)]
pub struct Change {
    /// resourceVersion of the change.
    pub version: u64,
    /// Virtual time of the change.
    pub at: DateTime<Utc>,
    /// Object before the change. For a deletion it has the version of the deletion.
    pub old: Option<Arc<Object>>,
    /// Object after the change.
    pub new: Option<Arc<Object>>,
}

/// A failed request: HTTP status, reason, and message.
#[derive(Debug)]
pub struct Refusal(pub u16, pub &'static str, pub String);

/// All objects at one time, as a backup of etcd has them.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    objects: BTreeMap<String, BTreeMap<Key, Arc<Object>>>,
}

#[derive(Default)]
struct Kind {
    objects: BTreeMap<Key, Arc<Object>>,
    changes: VecDeque<Change>,
    /// Version up to which changes are forgotten.
    compacted: u64,
}

/// Receives the kind and the change.
pub type Observer = Box<dyn FnMut(&str, &Change) + Send>;

/// All objects.
pub struct Store {
    kinds: BTreeMap<String, Kind>,
    /// Version of the last change.
    pub version: u64,
    /// Time of the API server.
    pub now: DateTime<Utc>,
    random: fastrand::Rng,
    /// Receives each change, before any client.
    pub observer: Observer,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Store {
    /// Returns an empty store. The seed decides the UIDs.
    pub fn new(seed: u64, now: DateTime<Utc>) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        // No object has version 1, which an apply uses to create only.
        Self { kinds: BTreeMap::new(), version: 1000, now, random, observer: Box::new(|_, _| ()) }
    }

    /// Returns the object.
    pub fn get(&self, kind: &str, key: &Key) -> Option<Arc<Object>> {
        self.kinds.get(kind)?.objects.get(key).cloned()
    }

    /// Returns the object, or 404.
    pub fn find(&self, kind: &str, key: &Key) -> Result<Arc<Object>, Refusal> {
        self.get(kind, key).ok_or_else(|| Refusal(404, "NotFound", format!("{kind} \"{}\" not found", key.1)))
    }

    /// Iterates over the objects after `after`, ordered by key.
    pub fn list<'a>(
        &'a self,
        kind: &str,
        namespace: Option<&'a str>,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> + use<'a> {
        let from = after.map_or(Unbounded, Excluded);
        let all =
            self.kinds.get(kind).into_iter().flat_map(move |kind| kind.objects.range::<Key, _>((from, Unbounded)));
        all.filter(move |(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
    }

    /// Iterates over the changes after `version`. Returns `None` if some of them are forgotten.
    pub fn since(&self, kind: &str, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let kind = self.kinds.get(kind);
        if kind.is_some_and(|kind| version < kind.compacted) {
            return None;
        }
        let changes = kind.map(|kind| {
            let first = kind.changes.partition_point(|change| change.version <= version);
            kind.changes.range(first..)
        });
        Some(changes.into_iter().flatten())
    }

    /// Forgets all changes, so that each watch that starts at an older version gets 410.
    pub fn compact(&mut self) {
        self.version += 1;
        for kind in self.kinds.values_mut() {
            kind.changes.clear();
            kind.compacted = self.version;
        }
    }

    /// Returns a backup.
    pub fn snapshot(&self) -> Snapshot {
        let objects = self.kinds.iter().map(|(kind, of)| (kind.clone(), of.objects.clone())).collect();
        Snapshot { version: self.version, objects }
    }

    /// Restores a backup: versions continue from that of the backup.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.version = snapshot.version;
        for (name, kind) in &mut self.kinds {
            let objects = snapshot.objects.get(name).cloned().unwrap_or_default();
            let before = std::mem::replace(&mut kind.objects, objects);
            (kind.compacted, kind.changes) = (0, VecDeque::new());
            let (version, at) = (snapshot.version, self.now);
            for (key, old) in &before {
                let new = kind.objects.get(key).filter(|new| !Arc::ptr_eq(new, old));
                if new.is_some() || !kind.objects.contains_key(key) {
                    (self.observer)(name, &Change { version, at, old: Some(old.clone()), new: new.cloned() });
                }
            }
            for (_, new) in kind.objects.iter().filter(|(key, _)| !before.contains_key(*key)) {
                (self.observer)(name, &Change { version, at, old: None, new: Some(new.clone()) });
            }
        }
    }

    /// Creates the object, or returns 409.
    pub fn create(&mut self, kind: &str, namespace: &str, value: Value) -> Result<Arc<Object>, Refusal> {
        let owners = BTreeMap::from([(UPDATES.to_owned(), updated_fields(&Value::Null, &value))]);
        self.create_owned(kind, namespace, value, owners)
    }

    /// Creates the object as a backup has it, without owners of its fields.
    pub fn load(&mut self, kind: &str, namespace: &str, value: Value) -> Result<Arc<Object>, Refusal> {
        self.create_owned(kind, namespace, value, BTreeMap::new())
    }

    fn create_owned(
        &mut self,
        kind: &str,
        namespace: &str,
        mut value: Value,
        owners: BTreeMap<String, Value>,
    ) -> Result<Arc<Object>, Refusal> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (namespace.to_owned(), name);
        if self.get(kind, &key).is_some() {
            return Err(Refusal(409, "AlreadyExists", format!("{kind} \"{}\" already exists", key.1)));
        }
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = namespace.into();
        }
        value["metadata"]["uid"] = self.uid().into();
        value["metadata"]["creationTimestamp"] = self.now.to_rfc3339_opts(SecondsFormat::Secs, true).into();
        if is_counted(kind) {
            value["metadata"]["generation"] = 1.into();
        }
        Ok(self.put(kind, key, None, value, owners))
    }

    /// Replaces the object. A Lease that doesn't exist is created, unless the request names a version.
    pub fn replace(&mut self, kind: &str, key: &Key, mut value: Value) -> Result<Arc<Object>, Refusal> {
        if kind == "leases" && self.get(kind, key).is_none() && value["metadata"].get("resourceVersion").is_none() {
            return self.create(kind, &key.0, value);
        }
        let old = self.find(kind, key)?;
        check(&value, &old)?;
        for member in ["uid", "creationTimestamp", "generation", "namespace"] {
            if let Some(kept) = old.value["metadata"].get(member) {
                value["metadata"][member] = kept.clone();
            }
        }
        self.write(kind, key, &old, value, None)
    }

    /// Merges a patch into the object, or into its status alone.
    pub fn merge(&mut self, kind: &str, key: &Key, status: bool, patch: &Value) -> Result<Arc<Object>, Refusal> {
        let old = self.find(kind, key)?;
        same_uid(patch, &old)?;
        check(patch, &old)?;
        let mut value = old.value.clone();
        for (member, change) in patch.as_object().into_iter().flatten() {
            match member.as_str() {
                "metadata" if !status => {
                    for part in ["labels", "annotations"] {
                        if let Some(change) = change.get(part) {
                            merge(&mut value["metadata"][part], change);
                        }
                    }
                }
                "metadata" | "apiVersion" | "kind" => {}
                member if (member == "status") == status => merge(&mut value[member], change),
                _ => {}
            }
        }
        self.write(kind, key, &old, value, None)
    }

    /// Applies a configuration by force. Creates a missing object, unless the configuration has a UID.
    pub fn apply(
        &mut self,
        kind: &str,
        key: &Key,
        status: bool,
        manager: &str,
        wanted: &Value,
    ) -> Result<Arc<Object>, Refusal> {
        let owner = format!("{manager}{}", if status { "/status" } else { "" });
        let fields = applied_fields(wanted, status);
        let Some(old) = self.get(kind, key) else {
            if status {
                return self.find(kind, key);
            }
            if wanted["metadata"]["uid"].is_string() {
                return Err(conflict("Precondition failed: UID"));
            }
            let mut value = wanted.clone();
            if let Some(meta) = value["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
            return self.create_owned(kind, &key.0, value, BTreeMap::from([(owner, fields)]));
        };
        same_uid(wanted, &old)?;
        check(wanted, &old)?;
        let mut value = old.value.clone();
        let others = old.owners.iter().filter(|(name, _)| **name != owner);
        let mut alone = old.owners.get(&owner).cloned().unwrap_or_default();
        others.for_each(|(_, theirs)| without(&mut alone, theirs));
        apply(&mut value, Some(&alone), &fields);
        self.write(kind, key, &old, value, Some((owner, fields)))
    }

    /// Deletes the object, and the objects that it owns.
    pub fn delete(&mut self, kind: &str, key: &Key, preconditions: &Value) -> Result<(), Refusal> {
        let old = self.find(kind, key)?;
        check(&json!({"metadata": preconditions}), &old)?;
        self.version += 1;
        let version = self.version;
        let mut last = old.value.clone();
        last["metadata"]["resourceVersion"] = version.to_string().into();
        let old = Arc::new(Object { value: last, version, owners: BTreeMap::new() });
        let uid = old.value["metadata"]["uid"].clone();
        self.kinds.entry(kind.to_owned()).or_default().objects.remove(key);
        self.record(kind, Change { version, at: self.now, old: Some(old), new: None });
        for (kind, key) in self.owned_by(&uid) {
            self.delete(&kind, &key, &Value::Null)?;
        }
        Ok(())
    }

    /// Deletes the Secrets whose owners, objects of the kind `owner`, don't exist, as the garbage collector does.
    pub fn collect_garbage(&mut self, owner: &str) {
        let all = self.list(owner, None, None);
        let uids: BTreeSet<_> = all.filter_map(|(_, object)| object.value["metadata"]["uid"].as_str()).collect();
        let secrets = self.list("secrets", None, None).filter(|(_, secret)| {
            let owners = secret.value["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners.is_empty()
                    && !owners.iter().any(|owner| owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
            })
        });
        for key in secrets.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let _ = self.delete("secrets", &key, &Value::Null);
        }
    }

    fn owned_by(&self, uid: &Value) -> Vec<(String, Key)> {
        let all = self.kinds.iter().flat_map(|(kind, of)| of.objects.iter().map(move |(key, it)| (kind, key, it)));
        let owned = all.filter(|(_, _, object)| {
            let owners = object.value["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
        });
        owned.map(|(kind, key, _)| (kind.clone(), key.clone())).collect()
    }

    /// Writes a changed object. An unchanged object keeps its version.
    fn write(
        &mut self,
        kind: &str,
        key: &Key,
        old: &Arc<Object>,
        mut value: Value,
        applied: Option<(String, Value)>,
    ) -> Result<Arc<Object>, Refusal> {
        value["metadata"]["resourceVersion"] = old.value["metadata"]["resourceVersion"].clone();
        // The real one doesn't store empty maps of built-in kinds.
        if kind == "secrets" && value.get("data").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            value.as_object_mut().map(|all| all.remove("data"));
        }
        // An apply that takes fields over writes managedFields.
        let same = applied.as_ref().is_none_or(|(owner, fields)| old.owners.get(owner) == Some(fields));
        if same && value == old.value {
            return Ok(old.clone());
        }
        if kind == "secrets" {
            unchanging(&old.value, &value, &key.1)?;
        }
        if is_counted(kind) && value["spec"] != old.value["spec"] {
            let generation = old.value["metadata"]["generation"].as_i64().unwrap_or_default();
            value["metadata"]["generation"] = (generation + 1).into();
        }
        // A field belongs to those who wrote its present value.
        let mut owners = old.owners.clone();
        for fields in owners.values_mut() {
            disown(fields, &old.value, &value);
        }
        match applied {
            Some((owner, fields)) => drop(owners.insert(owner, fields)),
            None => merge(owners.entry(UPDATES.to_owned()).or_default(), &updated_fields(&old.value, &value)),
        }
        Ok(self.put(kind, key.clone(), Some(old.clone()), value, owners))
    }

    fn put(
        &mut self,
        kind: &str,
        key: Key,
        old: Option<Arc<Object>>,
        mut value: Value,
        owners: BTreeMap<String, Value>,
    ) -> Arc<Object> {
        self.version += 1;
        let version = self.version;
        value["metadata"]["resourceVersion"] = version.to_string().into();
        let object = Arc::new(Object { value, version, owners });
        self.kinds.entry(kind.to_owned()).or_default().objects.insert(key, object.clone());
        self.record(kind, Change { version, at: self.now, old, new: Some(object.clone()) });
        object
    }

    fn record(&mut self, kind: &str, change: Change) {
        (self.observer)(kind, &change);
        let of = self.kinds.entry(kind.to_owned()).or_default();
        let oldest = change.at - KEPT;
        of.changes.push_back(change);
        while of.changes.front().is_some_and(|change| change.at < oldest) {
            of.compacted = of.changes.pop_front().map_or(of.compacted, |change| change.version);
        }
    }

    fn uid(&mut self) -> String {
        let (a, b) = (self.random.u64(..), self.random.u64(..));
        let text = format!("{:016x}{:016x}", (a & !0xf000) | 0x4000, (b >> 2) | (1 << 63));
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

/// Returns true for kinds whose generation counts the changes of their spec.
fn is_counted(kind: &str) -> bool {
    !matches!(kind, "secrets" | "leases" | "configmaps" | "namespaces" | "events")
}

fn conflict(what: &str) -> Refusal {
    Refusal(409, "Conflict", format!("the object has been modified: {what}"))
}

/// Returns 422 if a patch changes the UID of the stored object.
fn same_uid(patch: &Value, stored: &Object) -> Result<(), Refusal> {
    let uid = patch["metadata"]["uid"].as_str();
    let invalid = || Refusal(422, "Invalid", "metadata.uid: Invalid value: field is immutable".to_owned());
    if uid.is_some_and(|uid| stored.value["metadata"]["uid"] != uid) { Err(invalid()) } else { Ok(()) }
}

/// Returns 409 if the request names another object or another version than the stored one.
fn check(wanted: &Value, stored: &Object) -> Result<(), Refusal> {
    let meta = &wanted["metadata"];
    if meta["uid"].as_str().is_some_and(|uid| stored.value["metadata"]["uid"] != uid) {
        return Err(conflict("Precondition failed: UID"));
    }
    let version = meta["resourceVersion"].as_str().filter(|version| !version.is_empty());
    if version.is_some_and(|version| version != stored.version.to_string()) {
        return Err(conflict("please apply your changes to the latest version"));
    }
    Ok(())
}

/// Returns 422 if a Secret's type changes, or the data of an immutable Secret.
fn unchanging(old: &Value, new: &Value, name: &str) -> Result<(), Refusal> {
    let invalid = |what: &str| Err(Refusal(422, "Invalid", format!("Secret \"{name}\" is invalid: {what}")));
    if old["type"] != new["type"] {
        return invalid("type: field is immutable");
    }
    if old["immutable"] == true && (new["immutable"] != true || old["data"] != new["data"]) {
        return invalid("data: field is immutable when `immutable` is set");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_two_clients_wrote_alike_stays_when_one_no_longer_applies_it() {
        let (mut store, key) = (Store::new(1, DateTime::UNIX_EPOCH), ("ns".to_owned(), "s".to_owned()));
        let apply = |store: &mut Store, data: Value| {
            let wanted = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": data});
            store.apply("secrets", &key, false, "operator", &wanted).ok().map(|object| object.value["data"].clone())
        };
        assert_eq!(apply(&mut store, json!({"k": "YQ=="})), Some(json!({"k": "YQ=="})));
        assert_eq!(apply(&mut store, json!({"m": "YQ=="})), Some(json!({"m": "YQ=="})));
        assert!(store.merge("secrets", &key, false, &json!({"data": {"k": "Yg=="}})).is_ok());
        assert_eq!(apply(&mut store, json!({"k": "Yg=="})), Some(json!({"k": "Yg=="})));
        assert_eq!(apply(&mut store, json!({"m": "YQ=="})), Some(json!({"k": "Yg==", "m": "YQ=="})));
    }
}
