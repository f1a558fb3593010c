//! One lane of waiting objects: rounds over namespaces, earliest expiry first.

use crate::clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;

/// When a token ends; without an end last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expiry {
    At(Timestamp),
    Never,
}

impl From<Option<Timestamp>> for Expiry {
    fn from(at: Option<Timestamp>) -> Self {
        at.map_or(Expiry::Never, Expiry::At)
    }
}

/// A place within a namespace: by expiry, then by the order of asking. `seq` is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) expiry: Expiry,
    pub(super) seq: u64,
}

/// Each namespace is served once in a round; within a round, the earliest expiry first. A namespace that comes late
/// joins the next round, so that nobody can push in for ever.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// All that wait: namespace, place → name.
    entries: BTreeMap<(Arc<str>, Place), Arc<str>>,
    /// The round of each waiting namespace, and its first place.
    heads: BTreeMap<Arc<str>, (u64, Place)>,
    /// The same, in the order of service.
    order: BTreeMap<(u64, Place), Arc<str>>,
    /// The round being served.
    round: u64,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, key: &ObjectKey, place: Place) {
        self.entries.insert((key.namespace.clone(), place), key.name.clone());
        let round = self.heads.get(&key.namespace).map_or(self.round + 1, |(round, _)| *round);
        self.set_round(&key.namespace, round);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, place: Place) {
        let known = self.entries.remove(&(key.namespace.clone(), place)).is_some();
        if let (true, Some((round, _))) = (known, self.heads.get(&key.namespace).copied()) {
            self.set_round(&key.namespace, round);
        }
    }

    /// Takes the next in order.
    pub(super) fn pop(&mut self) -> Option<ObjectKey> {
        let (&(round, place), namespace) = self.order.first_key_value()?;
        let namespace = namespace.clone();
        let name = self.entries.remove(&(namespace.clone(), place))?;
        self.round = round;
        self.set_round(&namespace, round + 1);
        Some(ObjectKey { namespace, name })
    }

    /// Files `namespace` under `round` and its first place, or nowhere when nothing of it waits.
    fn set_round(&mut self, namespace: &Arc<str>, round: u64) {
        if let Some(old) = self.heads.remove(namespace) {
            self.order.remove(&old);
        }
        if let Some(first) = self.first_of(namespace) {
            self.heads.insert(namespace.clone(), (round, first));
            self.order.insert((round, first), namespace.clone());
        }
    }

    fn first_of(&self, namespace: &Arc<str>) -> Option<Place> {
        let least = Place { expiry: Expiry::At(Timestamp::MIN_UTC), seq: 0 };
        let ((found, place), _) = self.entries.range((namespace.clone(), least)..).next()?;
        (found == namespace).then_some(*place)
    }
}
