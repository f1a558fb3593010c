//! Index from a referent to the objects that refer to it, in order.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use videotoken_api::key::ObjectKey;

/// Objects that refer to one referent, by referent.
#[derive(Debug)]
pub(crate) struct Index<K, V = ObjectKey>(HashMap<K, Few<V>>);

/// Objects that refer to one referent. Nearly always there is only one, and a tree with one element takes ten times its
/// memory.
#[derive(Debug)]
enum Few<V> {
    One(V),
    Many(BTreeSet<V>),
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord + Clone> Index<K, V> {
    /// Adds an object that refers to `to`.
    pub(crate) fn add(&mut self, to: K, who: V) {
        match self.0.get_mut(&to) {
            None => {
                self.0.insert(to, Few::One(who));
            }
            Some(Few::Many(all)) => {
                all.insert(who);
            }
            Some(few @ Few::One(_)) => {
                let before = std::mem::replace(few, Few::Many(BTreeSet::from([who])));
                if let (Few::Many(all), Few::One(one)) = (few, before) {
                    all.insert(one);
                }
            }
        }
    }

    /// Removes an object that no longer refers to `to`.
    pub(crate) fn remove(&mut self, to: &K, who: &V) {
        let empty = match self.0.get_mut(to) {
            None => false,
            Some(Few::One(one)) => one == who,
            Some(Few::Many(all)) => {
                all.remove(who);
                all.is_empty()
            }
        };
        if empty {
            self.0.remove(to);
        }
    }

    /// Returns the first object that refers to `to`.
    pub(crate) fn first(&self, to: &K) -> Option<&V> {
        match self.0.get(to)? {
            Few::One(one) => Some(one),
            Few::Many(all) => all.first(),
        }
    }

    /// Returns all objects that refer to `to`.
    pub(crate) fn referring_to(&self, to: &K) -> Vec<V> {
        match self.0.get(to) {
            None => Vec::new(),
            Some(Few::One(one)) => vec![one.clone()],
            Some(Few::Many(all)) => all.iter().cloned().collect(),
        }
    }

    /// Returns the number of objects that refer to `to`.
    pub(crate) fn count(&self, to: &K) -> usize {
        match self.0.get(to) {
            None => 0,
            Some(Few::One(_)) => 1,
            Some(Few::Many(all)) => all.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_is_forgotten() {
        let [a, b, c] = ["a", "b", "c"].map(|name| ObjectKey::new("n", name));
        let mut index = Index::default();
        for object in [&c, &a, &b, &a] {
            index.add("s", object.clone());
        }
        assert_eq!((index.count(&"s"), index.first(&"s")), (3, Some(&a)));
        index.remove(&"s", &a);
        index.remove(&"t", &b);
        index.remove(&"s", &a);
        assert_eq!(index.referring_to(&"s"), [b.clone(), c.clone()]);
        index.remove(&"s", &b);
        index.remove(&"s", &c);
        assert!(index.referring_to(&"s").is_empty() && index.0.is_empty());
        index.add("s", a.clone());
        index.remove(&"s", &b);
        assert_eq!(index.referring_to(&"s"), [a]);
    }
}
