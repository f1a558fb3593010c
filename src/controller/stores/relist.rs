//! Progress of one watch through a relist: the objects that the list contains so far, and the operator's own writes
//! during the list.
//!
//! resourceVersions are compared within one list and the watch that follows it, never across lists: a restored etcd
//! counts them from the start. So an object in a list replaces the stored one, whatever the versions are.

use std::collections::HashSet;
use videotoken_api::key::ObjectKey;

/// Objects that a running list contains so far.
#[derive(Debug, Default)]
pub(crate) struct Relist(Option<HashSet<ObjectKey>>);

impl Relist {
    /// A relist begins. `false`: one that was cut off goes over into it.
    pub(crate) fn begin(&mut self) -> bool {
        self.0.replace(HashSet::new()).is_none()
    }

    /// The list named this object.
    pub(crate) fn name(&mut self, key: &ObjectKey) {
        if let Some(named) = &mut self.0 {
            named.insert(key.clone());
        }
    }

    /// The list is complete: what it named.
    pub(crate) fn end(&mut self) -> Option<HashSet<ObjectKey>> {
        self.0.take()
    }
}

/// Own writes while a relist runs, which may miss them.
#[derive(Debug, Default)]
pub(crate) struct WritesDuringRelist {
    relists: usize,
    written: HashSet<ObjectKey>,
}

impl WritesDuringRelist {
    /// A relist begins.
    pub(crate) fn begin(&mut self) {
        self.relists += 1;
    }

    /// A relist has ended.
    pub(crate) fn end(&mut self) {
        self.relists = self.relists.saturating_sub(1);
        if self.relists == 0 {
            self.written = HashSet::new();
        }
    }

    /// We wrote or read this object.
    pub(crate) fn wrote(&mut self, key: &ObjectKey) {
        if self.relists > 0 {
            self.written.insert(key.clone());
        }
    }

    /// The object was written while a relist ran: the higher version is the newer, since both are of now.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.written.contains(key)
    }
}
