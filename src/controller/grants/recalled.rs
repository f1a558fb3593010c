//! Calls that the objects record, collected for one round of restoring, with each namespace counted once.

use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use videotoken_providers::clock::Timestamp;

/// Calls made through one provider object.
#[derive(Debug, Default)]
pub(crate) struct RecordedCalls {
    pub(crate) calls: Vec<Timestamp>,
    pub(crate) namespaces: BTreeSet<Arc<str>>,
}

/// Progress of one round of restoring.
#[derive(Debug, Default)]
pub(crate) struct RestoredCalls(Mutex<Round>);

impl RestoredCalls {
    /// Begins a round.
    pub(crate) fn begin(&self) {
        *self.0.lock() = Round::default();
    }

    /// Returns the round, locked for one pass over the objects.
    pub(crate) fn round(&self) -> MutexGuard<'_, Round> {
        self.0.lock()
    }

    /// Removes and returns the calls of a provider object.
    pub(crate) fn take_calls(&self, key: &ProviderKey) -> Option<RecordedCalls> {
        self.0.lock().recorded.remove(key)
    }
}

/// Calls that the objects record, in one round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Calls of each provider object that isn't resolved yet.
    recorded: HashMap<ProviderKey, RecordedCalls>,
    /// Namespaces whose objects were counted. A namespace's lists may be complete just while a new leader counts all
    /// namespaces.
    pub(crate) passed: BTreeSet<Arc<str>>,
}

impl Round {
    /// Returns the entry of a provider object; `None` if the namespace was counted before.
    pub(crate) fn entry(&mut self, provider: ProviderKey, namespace: &str) -> Option<&mut RecordedCalls> {
        (!self.passed.contains(namespace)).then(|| self.recorded.entry(provider).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_a_namespace_that_begins_while_a_leader_takes_in_all_tells_once() {
        let mut round = Round::default();
        let provider = || ProviderKey { namespace: None, name: "p".to_owned() };
        assert!(
            round.entry(provider(), "a").is_some() && round.entry(provider(), "a").is_some(),
            "each of its objects"
        );
        round.passed.insert("a".into());
        assert!(round.entry(provider(), "a").is_none() && round.entry(provider(), "b").is_some());
    }
}
