//! When each object is looked at again: a set of times, compared with the wall clock at each tick.
//!
//! Entries are never taken back: one that is out of date costs one reconcile that finds nothing to do.

use super::secrets::lock;
use crate::api::key::ObjectKey;
use crate::clock::Timestamp;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// The times at which objects are due.
#[derive(Debug, Default)]
pub(super) struct Timetable(Mutex<BTreeSet<(i64, ObjectKey)>>);

impl Timetable {
    /// Looks at the object at this time, rounded up to a second.
    pub(super) fn set(&self, key: &ObjectKey, at: Timestamp) {
        let second = at.timestamp() + i64::from(at.timestamp_subsec_nanos() > 0);
        lock(&self.0).insert((second, key.clone()));
    }

    /// Takes what is due.
    pub(super) fn due(&self, now: Timestamp) -> Vec<ObjectKey> {
        let mut set = lock(&self.0);
        let later = set.split_off(&(now.timestamp() + 1, ObjectKey::new("", "")));
        std::mem::replace(&mut *set, later).into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn p14_what_is_due_comes_once_whatever_the_clock_does() {
        let at = |s: i64| Timestamp::from_timestamp(s, 0).unwrap();
        let table = Timetable::default();
        for (name, due) in [("a", 10), ("b", 20), ("a", 30), ("a", 10)] {
            table.set(&ObjectKey::new("ns", name), at(due));
        }
        let names = |now| table.due(at(now)).into_iter().map(|k| k.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(9), [""; 0]);
        assert_eq!(names(10), ["a"]);
        assert_eq!(names(5), [""; 0]);
        assert_eq!(names(1000), ["b", "a"]);
    }
}
