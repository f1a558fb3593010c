//! Queue of work on provider objects, in which the namespaces take turns.

use crate::controller::keyed_work::KeyedWork;
use crate::controller::output::slots::{Slot, Slots};
use crate::controller::stores::provider_key::ProviderKey;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Number of tasks at the same time.
const AT_ONCE: usize = 16;

/// Number of tasks of one namespace at the same time.
const OF_A_NAMESPACE: usize = 4;

/// One kind of work on provider objects.
#[derive(Debug)]
pub(crate) struct Work {
    slots: Arc<Slots>,
    keys: KeyedWork<ProviderKey>,
}

impl Work {
    /// Creates a queue without work. The caller begins each key that the receiver yields with [`Self::turn`].
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<ProviderKey>) {
        let (keys, to_do) = KeyedWork::new();
        (Self { slots: Slots::new(AT_ONCE, OF_A_NAMESPACE), keys }, to_do)
    }

    /// Requests the work on this key.
    pub(crate) fn request(&self, key: &ProviderKey) {
        self.keys.request(key);
    }

    /// Waits until the work on this key may begin.
    pub(crate) async fn turn(&self, key: &ProviderKey) -> Slot {
        let namespace: Arc<str> = key.namespace.as_deref().unwrap_or_default().into();
        let slot = self.slots.acquire(&namespace).await;
        self.keys.begin(key);
        slot
    }

    /// Ends the work on this key. Returns true if it was requested again during the work.
    pub(crate) fn done(&self, key: &ProviderKey) -> bool {
        self.keys.done(key)
    }

    /// Grants the slots that became free because a task hangs. Called once a second.
    pub(crate) fn tick(&self) {
        self.slots.tick();
    }
}
