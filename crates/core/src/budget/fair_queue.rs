//! A fair queue: rounds over namespaces, ordered by expiry within a namespace.

use crate::clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;

/// Expiry of a token. A missing expiry sorts last.
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

/// Position within a namespace: by expiry, then by the order of the requests. `seq` is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) expiry: Expiry,
    pub(super) seq: u64,
}

/// A queue that serves each namespace once in a round; within a round, the earliest expiry comes first. A new
/// namespace joins the next round, so that new namespaces can't delay others forever.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    /// Entries: namespace, position, name.
    entries: BTreeMap<(Arc<str>, Position), Arc<str>>,
    /// Round of each waiting namespace, and its first position.
    heads: BTreeMap<Arc<str>, (u64, Position)>,
    /// Entries in the order of service.
    order: BTreeMap<(u64, Position), Arc<str>>,
    /// Current round.
    round: u64,
}

impl FairQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, key: &ObjectKey, position: Position) {
        self.entries.insert((key.namespace.clone(), position), key.name.clone());
        let round = self.heads.get(&key.namespace).map_or(self.round + 1, |(round, _)| *round);
        self.set_round(&key.namespace, round);
    }

    pub(super) fn remove(&mut self, key: &ObjectKey, position: Position) {
        let known = self.entries.remove(&(key.namespace.clone(), position)).is_some();
        if let (true, Some((round, _))) = (known, self.heads.get(&key.namespace).copied()) {
            self.set_round(&key.namespace, round);
        }
    }

    /// Removes and returns the next entry.
    pub(super) fn pop(&mut self) -> Option<ObjectKey> {
        let (&(round, position), namespace) = self.order.first_key_value()?;
        let namespace = namespace.clone();
        let name = self.entries.remove(&(namespace.clone(), position))?;
        self.round = round;
        self.set_round(&namespace, round + 1);
        Some(ObjectKey { namespace, name })
    }

    /// Adds the namespace to `round` with its first position, or removes it if no entry waits.
    fn set_round(&mut self, namespace: &Arc<str>, round: u64) {
        if let Some(old) = self.heads.remove(namespace) {
            self.order.remove(&old);
        }
        if let Some(first) = self.first_of(namespace) {
            self.heads.insert(namespace.clone(), (round, first));
            self.order.insert((round, first), namespace.clone());
        }
    }

    fn first_of(&self, namespace: &Arc<str>) -> Option<Position> {
        let least = Position { expiry: Expiry::At(Timestamp::MIN_UTC), seq: 0 };
        let ((found, position), _) = self.entries.range((namespace.clone(), least)..).next()?;
        (found == namespace).then_some(*position)
    }
}
