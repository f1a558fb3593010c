//! One round of restoring calls: those that the objects record, each namespace once.

use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use videotoken_providers::clock::Timestamp;

/// Calls that were made by way of one provider object.
#[derive(Debug, Default)]
pub(crate) struct RecordedCalls {
    pub(crate) calls: Vec<Timestamp>,
    pub(crate) namespaces: BTreeSet<Arc<str>>,
}

/// A round of recalls.
#[derive(Debug, Default)]
pub(crate) struct RestoredCalls(Mutex<Round>);

impl RestoredCalls {
    /// Begins a round.
    pub(crate) fn begin(&self) {
        *self.0.lock() = Round::default();
    }

    /// Returns the round, for one pass over the objects.
    pub(crate) fn round(&self) -> MutexGuard<'_, Round> {
        self.0.lock()
    }

    /// Takes the calls of a provider object, once.
    pub(crate) fn take_calls(&self, key: &ProviderKey) -> Option<RecordedCalls> {
        self.0.lock().recorded.remove(key)
    }
}

/// Calls that the objects of one round record.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Calls of each provider object that isn't resolved yet.
    recorded: HashMap<ProviderKey, RecordedCalls>,
    /// The namespaces that were passed over: one may begin just while a leader takes in all that have begun.
    pub(crate) passed: BTreeSet<Arc<str>>,
}

impl Round {
    /// Returns the entry of a provider object; `None` if the namespace was passed over before.
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
