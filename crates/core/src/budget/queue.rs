//! The waiting objects of one account: two classes, and promotion by time.

use super::lane::{Lane, Place};
use crate::clock::Timestamp;
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;

/// While both classes wait, this many urgent grants go before one of the second class: it keeps a tenth.
const URGENT_IN_A_ROW: u32 = 9;

/// One waiting object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) expires_at: Option<Timestamp>,
    pub(super) urgent_at: Option<Timestamp>,
    /// No schedule asks for the call: it counts against its namespace's share.
    pub(super) unplanned: bool,
    /// Its place in time: since when it waits, and its number.
    pub(super) since: Instant,
    pub(super) seq: u64,
}

impl Entry {
    fn place(&self) -> Place {
        Place { expiry: self.expires_at.into(), seq: self.seq }
    }

    /// Leads the second class: there is no token to live on, be it the first or one that got lost.
    fn leads(&self) -> bool {
        self.expires_at.is_none()
    }
}

/// Urgent objects, first issues, and the rest. An object that has become urgent stays so until it is served, withdrawn
/// or asks otherwise.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<ObjectKey, (Entry, bool)>,
    urgent: Lane,
    first: Lane,
    rest: Lane,
    /// Of the second class: those whose namespace has used up its share, until a part of it comes back.
    aside: BTreeMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// The second class by `urgent_at`.
    by_urgent_at: BTreeMap<(Timestamp, u64), ObjectKey>,
    /// The second class by `expires_at`.
    by_expiry: BTreeMap<(Timestamp, u64), ObjectKey>,
    /// When the tokens of both classes end, with the numbers of their entries.
    ends: BTreeSet<(Timestamp, u64)>,
    urgent_in_a_row: u32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key).map(|(entry, _)| entry)
    }

    /// How long the token that ends next, of those that live, still has.
    pub(super) fn shortest_life(&self, wall: Timestamp) -> Option<Duration> {
        let (end, _) = self.ends.range((wall, u64::MAX)..).next()?;
        (*end - wall).to_std().ok()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    /// Puts `key` into the second class; [`Queue::promote`] moves it on. Replaces what it asked before, and its
    /// namespace keeps its round.
    pub(super) fn insert(&mut self, key: ObjectKey, entry: Entry) {
        let old = self.entries.insert(key.clone(), (entry, false));
        let was_aside = self.take_from_aside(&key);
        let in_lane =
            old.is_some_and(|(old, urgent)| !urgent && (old.leads(), old.place()) == (entry.leads(), entry.place()));
        if !in_lane || was_aside {
            self.second_lane(&entry).insert(&key, entry.place());
        }
        if let Some((old, urgent)) = old {
            self.unlist(&old);
            self.end_is_gone(&old);
            if urgent {
                self.urgent.remove(&key, old.place());
            } else if !in_lane && !was_aside {
                self.second_lane(&old).remove(&key, old.place());
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
        self.end_is_gone(&entry);
        self.take_from_aside(key);
        if urgent {
            self.urgent.remove(key, entry.place());
        } else {
            self.second_lane(&entry).remove(key, entry.place());
            self.unlist(&entry);
        }
        Some(entry)
    }

    /// Makes urgent whatever has reached its `urgent_at`, or expires within `need`.
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

    /// How long until [`Queue::promote`] finds something by time alone.
    pub(super) fn next_promotion(&self, wall: Timestamp, need: Duration) -> Option<Duration> {
        let by_urgent_at = self.by_urgent_at.keys().next().map(|(at, _)| *at - wall);
        // A millisecond beyond: the horizon must pass the expiry.
        let by_expiry = self.by_expiry.keys().next().map(|(at, _)| *at - plus(wall, need) + TimeDelta::milliseconds(1));
        let soonest = [by_urgent_at, by_expiry].into_iter().flatten().min()?;
        Some(soonest.to_std().unwrap_or_default())
    }

    /// Nobody waits but those that were set aside.
    pub(super) fn all_are_aside(&self) -> bool {
        self.urgent.is_empty() && self.first.is_empty() && self.rest.is_empty()
    }

    /// The namespaces of those that were set aside.
    pub(super) fn aside(&self) -> impl Iterator<Item = &Arc<str>> {
        self.aside.keys()
    }

    /// Those of this namespace that were set aside wait with the others again.
    pub(super) fn readmit(&mut self, namespace: &str) {
        for key in self.aside.remove(namespace).unwrap_or_default() {
            if let Some((entry, false)) = self.entries.get(&key).copied() {
                self.second_lane(&entry).insert(&key, entry.place());
            }
        }
    }

    /// Only the second class waits, if any does.
    pub(super) fn nothing_is_urgent(&self) -> bool {
        self.urgent.is_empty()
    }

    /// Takes the next in order. Who isn't urgent, asks for a call that no schedule asks for, and is of a namespace that
    /// has used up its share is set aside.
    pub(super) fn pop(&mut self, has_share: impl Fn(&str) -> bool) -> Option<(ObjectKey, Entry)> {
        loop {
            let second_waits = !(self.first.is_empty() && self.rest.is_empty());
            let seconds_turn = self.urgent.is_empty() || self.urgent_in_a_row >= URGENT_IN_A_ROW;
            let key = if second_waits && seconds_turn {
                let lane = if self.first.is_empty() { &mut self.rest } else { &mut self.first };
                let key = lane.pop()?;
                let unplanned = self.entries.get(&key).is_some_and(|(entry, _)| entry.unplanned);
                if unplanned && !has_share(&key.namespace) {
                    self.aside.entry(key.namespace.clone()).or_default().insert(key);
                    continue;
                }
                self.urgent_in_a_row = 0;
                key
            } else {
                self.urgent_in_a_row += u32::from(second_waits);
                self.urgent.pop()?
            };
            let (entry, urgent) = self.entries.remove(&key)?;
            self.end_is_gone(&entry);
            if !urgent {
                self.unlist(&entry);
            }
            return Some((key, entry));
        }
    }

    fn take_from_aside(&mut self, key: &ObjectKey) -> bool {
        let Some(keys) = self.aside.get_mut(&key.namespace) else { return false };
        let was_aside = keys.remove(key);
        if keys.is_empty() {
            self.aside.remove(&key.namespace);
        }
        was_aside
    }

    fn make_urgent(&mut self, key: &ObjectKey) {
        let Some((entry, urgent)) = self.entries.get_mut(key) else { return };
        *urgent = true;
        let entry = *entry;
        self.unlist(&entry);
        self.take_from_aside(key);
        self.second_lane(&entry).remove(key, entry.place());
        self.urgent.insert(key, entry.place());
    }

    fn second_lane(&mut self, entry: &Entry) -> &mut Lane {
        if entry.leads() { &mut self.first } else { &mut self.rest }
    }

    fn end_is_gone(&mut self, entry: &Entry) {
        if let Some(at) = entry.expires_at {
            self.ends.remove(&(at, entry.seq));
        }
    }

    /// Drops an entry from the indexes of what may yet become urgent.
    fn unlist(&mut self, entry: &Entry) {
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
