//! One watch's progress through a relist: what the list named so far, so that its end tells what is gone.

use crate::api::key::ObjectKey;
use std::collections::HashSet;

/// What a running relist named so far.
#[derive(Debug, Default)]
pub(super) struct Relist(Option<HashSet<ObjectKey>>);

impl Relist {
    /// A relist begins. `false`: one that was cut off goes over into it.
    pub(super) fn begin(&mut self) -> bool {
        self.0.replace(HashSet::new()).is_none()
    }

    /// The list named this object.
    pub(super) fn name(&mut self, key: &ObjectKey) {
        if let Some(named) = &mut self.0 {
            named.insert(key.clone());
        }
    }

    /// The list is complete: what it named.
    pub(super) fn end(&mut self) -> Option<HashSet<ObjectKey>> {
        self.0.take()
    }
}
