//! The waiting requests of one account: urgent and normal ones, with promotion by time.

use super::fair_queue::{FairQueue, Position};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;

/// Number of urgent grants in a row while normal requests wait. The next grant is for a normal request.
const MAX_CONSECUTIVE_URGENT: u32 = 9;

/// A waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) expires_at: Option<Timestamp>,
    pub(super) urgent_at: Option<Timestamp>,
    /// True for an unplanned request, which counts in the share of its namespace.
    pub(super) unplanned: bool,
    /// Start of the wait, and number of the request.
    pub(super) since: Instant,
    pub(super) seq: u64,
}

impl Entry {
    fn position(&self) -> Position {
        Position { expiry: self.expires_at.into(), seq: self.seq }
    }

    /// Returns true if there is no valid token. Such requests come first among the normal ones.
    fn has_no_token(&self) -> bool {
        self.expires_at.is_none()
    }
}

/// Urgent requests, requests without a token, and the rest. An urgent request stays urgent until it is granted,
/// removed or replaced.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<ObjectKey, (Entry, bool)>,
    urgent: FairQueue,
    first: FairQueue,
    rest: FairQueue,
    /// Normal requests whose namespace has used up its share.
    set_aside: BTreeMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// Normal requests by `urgent_at`.
    by_urgent_at: BTreeMap<(Timestamp, u64), ObjectKey>,
    /// Normal requests by `expires_at`.
    by_expiry: BTreeMap<(Timestamp, u64), ObjectKey>,
    /// Expiries of all requests, with their numbers.
    ends: BTreeSet<(Timestamp, u64)>,
    urgent_in_a_row: u32,
    /// Time since which requests wait without a break.
    busy_since: Option<Instant>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns for how long requests have been waiting without a break.
    pub(super) fn busy_for(&self, now: Instant) -> Option<Duration> {
        self.busy_since.filter(|_| !self.is_empty()).map(|since| now.saturating_duration_since(since))
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key).map(|(entry, _)| entry)
    }

    /// Returns the time until the next expiry of a token that is still valid.
    pub(super) fn shortest_lifetime(&self, wall: Timestamp) -> Option<Duration> {
        let (end, _) = self.ends.range((wall, u64::MAX)..).next()?;
        (*end - wall).to_std().ok()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    /// Adds a normal request; [`Queue::promote`] makes it urgent. Replaces an earlier request of the same
    /// VideoAccessToken, and its namespace keeps its round.
    pub(super) fn insert(&mut self, key: ObjectKey, entry: Entry) {
        if self.is_empty() {
            self.busy_since = Some(entry.since);
        }
        let old = self.entries.insert(key.clone(), (entry, false));
        let was_set_aside = self.remove_from_set_aside(&key);
        let in_queue = old.is_some_and(|(old, urgent)| {
            !urgent && (old.has_no_token(), old.position()) == (entry.has_no_token(), entry.position())
        });
        if !in_queue || was_set_aside {
            self.normal_queue(&entry).insert(&key, entry.position());
        }
        if let Some((old, urgent)) = old {
            self.remove_from_promotion_index(&old);
            self.remove_expiry(&old);
            if urgent {
                self.urgent.remove(&key, old.position());
            } else if !in_queue && !was_set_aside {
                self.normal_queue(&old).remove(&key, old.position());
            }
        }
        if let Some(at) = entry.urgent_at {
            self.by_urgent_at.insert((at, entry.seq), key.clone());
        }
        if let Some(at) = entry.expires_at {
            self.ends.insert((at, entry.seq));
            self.by_expiry.insert((at, entry.seq), key);
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Entry> {
        let (entry, urgent) = self.entries.remove(key)?;
        self.remove_expiry(&entry);
        self.remove_from_set_aside(key);
        if urgent {
            self.urgent.remove(key, entry.position());
        } else {
            self.normal_queue(&entry).remove(key, entry.position());
            self.remove_from_promotion_index(&entry);
        }
        Some(entry)
    }

    /// Makes all requests urgent that have reached `urgent_at`, or whose token expires within `need`.
    pub(super) fn promote(&mut self, wall: Timestamp, need: Duration) {
        while let Some((&(at, _), key)) = self.by_urgent_at.first_key_value() {
            if at > wall {
                break;
            }
            self.make_urgent(&key.clone());
        }
        let horizon = plus(wall, need);
        while let Some((&(at, _), key)) = self.by_expiry.first_key_value() {
            if at >= horizon {
                break;
            }
            self.make_urgent(&key.clone());
        }
    }

    /// Returns the time until [`Queue::promote`] changes a request.
    pub(super) fn next_promotion(&self, wall: Timestamp, need: Duration) -> Option<Duration> {
        let by_urgent_at = self.by_urgent_at.keys().next().map(|(at, _)| *at - wall);
        // one millisecond later, so that the expiry is before the horizon
        let by_expiry = self.by_expiry.keys().next().map(|(at, _)| *at - plus(wall, need) + TimeDelta::milliseconds(1));
        let soonest = [by_urgent_at, by_expiry].into_iter().flatten().min()?;
        Some(soonest.to_std().unwrap_or_default())
    }

    /// Returns true if only requests wait that were set aside.
    pub(super) fn all_are_set_aside(&self) -> bool {
        self.urgent.is_empty() && self.first.is_empty() && self.rest.is_empty()
    }

    /// Returns the namespaces with requests that were set aside.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = &Arc<str>> {
        self.set_aside.keys()
    }

    /// Returns the requests of this namespace that were set aside to the queue.
    pub(super) fn readmit(&mut self, namespace: &str) {
        for key in self.set_aside.remove(namespace).unwrap_or_default() {
            if let Some((entry, false)) = self.entries.get(&key).copied() {
                self.normal_queue(&entry).insert(&key, entry.position());
            }
        }
    }

    /// Returns true if no urgent request waits.
    pub(super) fn has_no_urgent(&self) -> bool {
        self.urgent.is_empty()
    }

    /// Removes and returns the next request. Normal unplanned requests of a namespace without a share are set aside.
    pub(super) fn pop(&mut self, has_share: impl Fn(&str) -> bool) -> Option<(ObjectKey, Entry)> {
        loop {
            let second_waits = !(self.first.is_empty() && self.rest.is_empty());
            let seconds_turn = self.urgent.is_empty() || self.urgent_in_a_row >= MAX_CONSECUTIVE_URGENT;
            let key = if second_waits && seconds_turn {
                let queue = if self.first.is_empty() { &mut self.rest } else { &mut self.first };
                let key = queue.pop()?;
                let unplanned = self.entries.get(&key).is_some_and(|(entry, _)| entry.unplanned);
                if unplanned && !has_share(&key.namespace) {
                    self.set_aside.entry(key.namespace.clone()).or_default().insert(key);
                    continue;
                }
                self.urgent_in_a_row = 0;
                key
            } else {
                self.urgent_in_a_row += u32::from(second_waits);
                self.urgent.pop()?
            };
            let (entry, urgent) = self.entries.remove(&key)?;
            self.remove_expiry(&entry);
            if !urgent {
                self.remove_from_promotion_index(&entry);
            }
            return Some((key, entry));
        }
    }

    fn remove_from_set_aside(&mut self, key: &ObjectKey) -> bool {
        let Some(keys) = self.set_aside.get_mut(&key.namespace) else { return false };
        let was_set_aside = keys.remove(key);
        if keys.is_empty() {
            self.set_aside.remove(&key.namespace);
        }
        was_set_aside
    }

    fn make_urgent(&mut self, key: &ObjectKey) {
        let Some((entry, urgent)) = self.entries.get_mut(key) else { return };
        *urgent = true;
        let entry = *entry;
        self.remove_from_promotion_index(&entry);
        self.remove_from_set_aside(key);
        self.normal_queue(&entry).remove(key, entry.position());
        self.urgent.insert(key, entry.position());
    }

    fn normal_queue(&mut self, entry: &Entry) -> &mut FairQueue {
        if entry.has_no_token() { &mut self.first } else { &mut self.rest }
    }

    fn remove_expiry(&mut self, entry: &Entry) {
        if let Some(at) = entry.expires_at {
            self.ends.remove(&(at, entry.seq));
        }
    }

    /// Removes an entry from the indexes of later promotions.
    fn remove_from_promotion_index(&mut self, entry: &Entry) {
        if let Some(at) = entry.urgent_at {
            self.by_urgent_at.remove(&(at, entry.seq));
        }
        if let Some(at) = entry.expires_at {
            self.by_expiry.remove(&(at, entry.seq));
        }
    }
}

fn plus(wall: Timestamp, by: Duration) -> Timestamp {
    TimeDelta::from_std(by).ok().and_then(|by| wall.checked_add_signed(by)).unwrap_or(Timestamp::MAX_UTC)
}
