//! Queue of work on provider objects. Each key runs once at a time, however often it is requested, and the namespaces
//! take turns.

use crate::controller::output::slots::{Slot, Slots};
use crate::controller::stores::provider_key::ProviderKey;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Number of tasks at the same time.
const AT_ONCE: usize = 16;

/// Number of tasks of one namespace at the same time.
const OF_A_NAMESPACE: usize = 4;

/// One kind of work, which runs at most once at a time for each key.
#[derive(Debug)]
pub(crate) struct Work {
    slots: Arc<Slots>,
    known: Mutex<BTreeMap<ProviderKey, State>>,
    asked: mpsc::UnboundedSender<ProviderKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The key waits for its slot.
    Waiting,
    /// The work is in progress.
    Running,
    /// The work is in progress, and was requested again.
    RunningStale,
}

impl Work {
    /// Creates a queue without work. The caller begins each key that the receiver yields with [`Self::turn`].
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<ProviderKey>) {
        let (asked, to_do) = mpsc::unbounded_channel();
        (Self { slots: Slots::new(AT_ONCE, OF_A_NAMESPACE), known: Mutex::default(), asked }, to_do)
    }

    /// Requests the work on this key.
    pub(crate) fn request(&self, key: ProviderKey) {
        let mut known = self.known.lock();
        match known.get_mut(&key) {
            Some(State::Waiting | State::RunningStale) => {}
            Some(state) => *state = State::RunningStale,
            None => {
                known.insert(key.clone(), State::Waiting);
                // The receiver exists as long as the process.
                let _ = self.asked.send(key);
            }
        }
    }

    /// Waits until the work on this key may begin.
    pub(crate) async fn turn(&self, key: &ProviderKey) -> Slot {
        let namespace: Arc<str> = key.namespace.as_deref().unwrap_or_default().into();
        let slot = self.slots.acquire(&namespace).await;
        self.known.lock().insert(key.clone(), State::Running);
        slot
    }

    /// Ends the work on this key. Returns true if it was requested again during the work.
    pub(crate) fn done(&self, key: &ProviderKey) -> bool {
        let mut known = self.known.lock();
        let again = known.get(key) == Some(&State::RunningStale);
        if again {
            known.insert(key.clone(), State::Waiting);
        } else {
            known.remove(key);
        }
        again
    }

    /// Grants the slots that became free because a task hangs. Called once a second.
    pub(crate) fn tick(&self) {
        self.slots.tick();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p18_work_that_is_asked_for_often_is_done_once_and_once_more() {
        let (work, mut to_do) = Work::new();
        let key = ProviderKey { namespace: Some("a".to_owned()), name: "p".to_owned() };
        for _ in 0..1000 {
            work.request(key.clone());
        }
        assert_eq!(to_do.try_recv().ok().as_ref(), Some(&key));
        assert!(to_do.try_recv().is_err(), "the queue doesn't grow");
        let slot = work.turn(&key).await;
        work.request(key.clone());
        work.request(key.clone());
        drop(slot);
        assert!(work.done(&key), "a request during the work repeats it");
        let slot = work.turn(&key).await;
        drop(slot);
        assert!(!work.done(&key));
        work.request(key.clone());
        assert!(to_do.try_recv().is_ok());
    }
}
