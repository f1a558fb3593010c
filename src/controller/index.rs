//! Who refers to what: kept as objects come, change and go.

use crate::api::key::ObjectKey;
use std::collections::HashMap;
use std::hash::Hash;

/// From what is referred to, to the objects that do.
#[derive(Debug)]
pub(super) struct Index<K>(HashMap<K, Vec<ObjectKey>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Index<K> {
    /// The object refers to it.
    pub(super) fn add(&mut self, to: K, object: &ObjectKey) {
        self.0.entry(to).or_default().push(object.clone());
    }

    /// The object no longer does.
    pub(super) fn remove(&mut self, to: &K, object: &ObjectKey) {
        if let Some(objects) = self.0.get_mut(to) {
            objects.retain(|key| key != object);
            if objects.is_empty() {
                self.0.remove(to);
            }
        }
    }

    /// All objects that refer to it.
    pub(super) fn of(&self, to: &K) -> &[ObjectKey] {
        self.0.get(to).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_is_forgotten() {
        let [a, b] = ["a", "b"].map(|name| ObjectKey::new("n", name));
        let mut index = Index::default();
        index.add("s", &a);
        index.add("s", &b);
        assert_eq!(index.of(&"s").len(), 2);
        index.remove(&"s", &a);
        index.remove(&"t", &b);
        assert_eq!(index.of(&"s"), std::slice::from_ref(&b));
        index.remove(&"s", &b);
        assert!(index.of(&"s").is_empty() && index.0.is_empty());
    }
}
