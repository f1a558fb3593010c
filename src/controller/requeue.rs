//! The next reconcile time of each object, compared with the wall clock at each tick.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use videotoken_providers::clock::Timestamp;

/// The earliest time at which each key is due.
#[derive(Debug)]
pub(crate) struct RequeueSchedule<K>(Mutex<Times<K>>);

#[derive(Debug)]
struct Times<K> {
    of: BTreeMap<K, i64>,
    order: BTreeSet<(i64, K)>,
}

impl<K> Default for RequeueSchedule<K> {
    fn default() -> Self {
        Self(Mutex::new(Times { of: BTreeMap::new(), order: BTreeSet::new() }))
    }
}

impl<K: Ord + Clone> RequeueSchedule<K> {
    /// Sets the time at which the key is due, rounded up to a second. Keeps an earlier time.
    pub(crate) fn set(&self, key: &K, at: Timestamp) {
        let second = at.timestamp() + i64::from(at.timestamp_subsec_nanos() > 0);
        let mut times = self.0.lock();
        match times.of.get(key).copied() {
            Some(before) if before <= second => return,
            Some(before) => {
                times.order.remove(&(before, key.clone()));
            }
            None => {}
        }
        times.of.insert(key.clone(), second);
        times.order.insert((second, key.clone()));
    }

    /// Removes the time of the key.
    pub(crate) fn clear(&self, key: &K) {
        let mut times = self.0.lock();
        if let Some(before) = times.of.remove(key) {
            times.order.remove(&(before, key.clone()));
        }
    }

    /// Removes and returns the keys that are due.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<K> {
        let mut times = self.0.lock();
        let mut due = Vec::new();
        while times.order.first().is_some_and(|(at, _)| *at <= now.timestamp()) {
            let Some((_, key)) = times.order.pop_first() else { break };
            times.of.remove(&key);
            due.push(key);
        }
        due
    }

    /// Returns the number of keys with a time.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().order.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn time(s: i64) -> Timestamp {
        Timestamp::from_timestamp(s, 0).unwrap()
    }

    #[test]
    fn p14_what_is_due_comes_once_whatever_the_clock_does() {
        let table = RequeueSchedule::default();
        for (name, due) in [("a", 10), ("b", 20), ("a", 30), ("a", 10)] {
            table.set(&name, time(due));
        }
        assert_eq!(table.due(time(9)), [""; 0]);
        assert_eq!(table.due(time(10)), ["a"]);
        assert_eq!(table.due(time(5)), [""; 0]);
        assert_eq!(table.due(time(1000)), ["b"]);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn p18_entries_do_not_pile_up() {
        let table = RequeueSchedule::default();
        for second in (0..100_000).rev() {
            table.set(&"a", time(second));
        }
        assert_eq!(table.len(), 1);
        assert_eq!(table.due(time(0)), ["a"], "the earliest counts");
        table.set(&"a", time(5));
        table.clear(&"a");
        assert_eq!(table.due(time(9)), [""; 0]);
    }
}
