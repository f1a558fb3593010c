//! Progress of one watch through a relist: the objects that the list contains so far, and the operator's own writes
//! during the list.
//!
//! resourceVersions are compared within one list and the watch that follows it, never across lists: a restored etcd
//! counts them from the start. Therefore an object in a list replaces the stored one, whatever the versions are.

use std::collections::HashSet;
use videotoken_api::key::ObjectKey;

/// Objects that a list in progress contains so far.
#[derive(Debug, Default)]
pub(crate) struct Relist(Option<HashSet<ObjectKey>>);

impl Relist {
    /// Records the start of a list. Returns false if the previous list was interrupted; the new list continues its
    /// relist.
    pub(crate) fn begin(&mut self) -> bool {
        self.0.replace(HashSet::new()).is_none()
    }

    /// Records that the list contains this object.
    pub(crate) fn name(&mut self, key: &ObjectKey) {
        if let Some(named) = &mut self.0 {
            named.insert(key.clone());
        }
    }

    /// Records the end of the list, and returns the objects that it contained.
    pub(crate) fn end(&mut self) -> Option<HashSet<ObjectKey>> {
        self.0.take()
    }
}

/// The operator's own writes during a relist, which the list may not contain.
#[derive(Debug, Default)]
pub(crate) struct WritesDuringRelist {
    relists: usize,
    written: HashSet<ObjectKey>,
}

impl WritesDuringRelist {
    /// Records the start of a relist.
    pub(crate) fn begin(&mut self) {
        self.relists += 1;
    }

    /// Records the end of a relist.
    pub(crate) fn end(&mut self) {
        self.relists = self.relists.saturating_sub(1);
        if self.relists == 0 {
            self.written = HashSet::new();
        }
    }

    /// Records that the operator wrote or read this object.
    pub(crate) fn wrote(&mut self, key: &ObjectKey) {
        if self.relists > 0 {
            self.written.insert(key.clone());
        }
    }

    /// Returns true if the operator wrote or read the object during a relist. The higher version is then the newer one,
    /// because both versions are current.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.written.contains(key)
    }
}
