//! Counters with a visible first event. A series that begins at 1 has no increase for `rate` and `increase` of
//! Prometheus, so an alert would miss a single failure. Therefore a scrape reports each series once as 0 before it
//! counts.

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// Counters by their labels.
#[derive(Debug)]
pub(super) struct ZeroFirstCounter<L> {
    family: Family<L, Counter>,
    /// Counts of the series that no scrape has reported yet.
    unscraped: Mutex<HashMap<L, u64>>,
}

impl<L> Default for ZeroFirstCounter<L>
where
    L: Clone + Hash + Eq,
{
    fn default() -> Self {
        Self { family: Family::default(), unscraped: Mutex::default() }
    }
}

impl<L> ZeroFirstCounter<L>
where
    L: Clone + Debug + Hash + Eq + EncodeLabelSet,
{
    /// Returns the family to register.
    pub(super) fn family(&self) -> Family<L, Counter> {
        self.family.clone()
    }

    /// Increments the counter of `labels`.
    pub(super) fn inc(&self, labels: &L) {
        let mut unscraped = self.unscraped();
        if let Some(count) = unscraped.get_mut(labels) {
            *count += 1;
        } else if self.family.get(labels).is_some() {
            self.family.get_or_create(labels).inc();
        } else {
            drop(self.family.get_or_create(labels));
            unscraped.insert(labels.clone(), 1);
        }
    }

    /// Runs `scrape`, then adds the pending counts of the series that this scrape reported as 0.
    pub(super) fn around_scrape(&self, scrape: impl FnOnce()) {
        let about: Vec<L> = self.unscraped().keys().cloned().collect();
        scrape();
        let mut unscraped = self.unscraped();
        for labels in about {
            if let Some(count) = unscraped.remove(&labels) {
                self.family.get_or_create(&labels).inc_by(count);
            }
        }
    }

    fn unscraped(&self) -> MutexGuard<'_, HashMap<L, u64>> {
        self.unscraped.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_scrape_tells_zero_and_the_next_all_that_has_happened() {
        type Labels = [(&'static str, &'static str); 1];
        let counters: ZeroFirstCounter<Labels> = ZeroFirstCounter::default();
        let value = |labels: &Labels| counters.family.get(labels).map(|counter| counter.get());
        let (a, b) = ([("reason", "a")], [("reason", "b")]);
        counters.inc(&a);
        counters.inc(&a);
        counters.around_scrape(|| {
            assert_eq!((value(&a), value(&b)), (Some(0), None));
            // An increment during the scrape: series b waits for the next scrape.
            counters.inc(&b);
            counters.inc(&a);
        });
        assert_eq!((value(&a), value(&b)), (Some(3), Some(0)));
        counters.inc(&a);
        assert_eq!(value(&a), Some(4));
        counters.around_scrape(|| assert_eq!(value(&b), Some(0)));
        assert_eq!(value(&b), Some(1));
    }
}
