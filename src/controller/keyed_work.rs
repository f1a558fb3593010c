//! Work on keys. Each key is worked on by one task at a time, however often the work is requested.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// One kind of work. A request during the work repeats it.
#[derive(Debug)]
pub(crate) struct KeyedWork<K> {
    known: Mutex<BTreeMap<K, State>>,
    requested: mpsc::UnboundedSender<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The key waits for its work.
    Waiting,
    /// The work is in progress.
    Running,
    /// The work is in progress, and was requested again.
    RunningStale,
}

impl<K: Ord + Clone> KeyedWork<K> {
    /// Creates a queue without work. The caller begins the work on each key that the receiver yields.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<K>) {
        let (requested, to_do) = mpsc::unbounded_channel();
        (Self { known: Mutex::default(), requested }, to_do)
    }

    /// Requests the work on this key.
    pub(crate) fn request(&self, key: &K) {
        let mut known = self.known.lock();
        match known.get_mut(key) {
            Some(State::Waiting | State::RunningStale) => {}
            Some(state) => *state = State::RunningStale,
            None => {
                known.insert(key.clone(), State::Waiting);
                // The receiver exists as long as the process.
                let _ = self.requested.send(key.clone());
            }
        }
    }

    /// Begins the work on this key. A request from now on repeats it.
    pub(crate) fn begin(&self, key: &K) {
        if let Some(state) = self.known.lock().get_mut(key) {
            *state = State::Running;
        }
    }

    /// Ends the work on this key. Returns true if it was requested again during the work, and must then be begun again.
    pub(crate) fn done(&self, key: &K) -> bool {
        let mut known = self.known.lock();
        let again = known.get(key) == Some(&State::RunningStale);
        if again {
            known.insert(key.clone(), State::Waiting);
        } else {
            known.remove(key);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p18_work_that_is_requested_often_is_done_once_and_once_more() {
        let (work, mut to_do) = KeyedWork::new();
        for _ in 0..1000 {
            work.request(&"a");
        }
        assert_eq!(to_do.try_recv(), Ok("a"));
        assert!(to_do.try_recv().is_err(), "the queue doesn't grow");
        work.begin(&"a");
        work.request(&"a");
        work.request(&"a");
        assert!(work.done(&"a"), "a request during the work repeats it");
        work.begin(&"a");
        assert!(!work.done(&"a"));
        work.request(&"a");
        assert_eq!(to_do.try_recv(), Ok("a"));
    }
}
