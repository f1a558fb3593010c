//! Progress of one watch through a relist: the objects that the list contains so far, and the operator's own writes
//! during the list.
//!
//! resourceVersions are compared within one list and the watch that follows it, never across lists: a restored etcd
//! counts them from the start. Therefore an object in a list replaces the stored one, whatever the versions are.

use std::collections::{HashMap, HashSet};
use videotoken_api::key::ObjectKey;

/// A list in progress, and the objects that it contains so far.
#[derive(Debug, Default)]
pub(crate) struct Relist {
    listed: Option<HashSet<ObjectKey>>,
    /// Number of the operator's writes before the list.
    since: u64,
}

impl Relist {
    /// Records the start of a list. Returns false if the previous list was interrupted; the new list continues its
    /// relist.
    pub(crate) fn begin(&mut self) -> bool {
        self.listed.replace(HashSet::new()).is_none()
    }

    /// Records that the list contains this object.
    pub(crate) fn name(&mut self, key: &ObjectKey) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
    }

    /// Records the end of the list, and returns the objects that it contained.
    pub(crate) fn end(&mut self) -> Option<HashSet<ObjectKey>> {
        self.listed.take()
    }
}

/// The operator's own writes during a relist, which the list may not contain.
#[derive(Debug, Default)]
pub(crate) struct WritesDuringRelist {
    relists: usize,
    count: u64,
    /// Number of the last write of each object.
    written: HashMap<ObjectKey, u64>,
}

impl WritesDuringRelist {
    /// Records the start of a list, also of one that replaces an interrupted list.
    pub(crate) fn begin(&mut self, relist: &mut Relist) {
        if relist.begin() {
            self.relists += 1;
        }
        relist.since = self.count;
    }

    /// Records the end of a relist.
    pub(crate) fn end(&mut self) {
        self.relists = self.relists.saturating_sub(1);
        if self.relists == 0 {
            self.written = HashMap::new();
        }
    }

    /// Records that the operator wrote or read this object.
    pub(crate) fn wrote(&mut self, key: &ObjectKey) {
        if self.relists > 0 {
            self.count += 1;
            self.written.insert(key.clone(), self.count);
        }
    }

    /// Returns true if the operator wrote or read the object since the list began. The higher version is then the newer
    /// one, because both versions are current. A list that began later contains what the operator wrote before.
    pub(crate) fn has(&self, key: &ObjectKey, relist: &Relist) -> bool {
        self.written.get(key).is_some_and(|number| *number > relist.since)
    }

    /// Returns true if nothing is recorded.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.relists == 0 && self.written.is_empty()
    }
}
