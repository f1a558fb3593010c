//! Order of the accounts: round-robin among those that are ready, and a timer for those that wait for a time.

use super::AccountKey;
use super::window::Availability;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
struct ScheduleEntry {
    /// Sequence number of the last grant; the smallest comes first.
    turn: u64,
    availability: Availability,
}

/// Order of all accounts. Each account is in at most one of `ready` and `later`, depending on its entry.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<AccountKey, ScheduleEntry>,
    ready: BTreeSet<(u64, AccountKey)>,
    later: BTreeSet<(Instant, AccountKey)>,
    turn: u64,
}

impl Schedule {
    /// Sets when the account is available.
    pub(super) fn set(&mut self, account: &AccountKey, availability: Availability) {
        let turn = self.remove(account).unwrap_or(self.turn);
        self.insert(account, ScheduleEntry { turn, availability });
    }

    /// Like [`Schedule::set`], and moves the account behind all others.
    pub(super) fn set_served(&mut self, account: &AccountKey, availability: Availability) {
        self.remove(account);
        self.turn += 1;
        self.insert(account, ScheduleEntry { turn: self.turn, availability });
    }

    /// Removes an account and returns its sequence number.
    pub(super) fn remove(&mut self, account: &AccountKey) -> Option<u64> {
        let entry = self.entries.remove(account)?;
        match entry.availability {
            Availability::Now => drop(self.ready.remove(&(entry.turn, account.clone()))),
            Availability::At(at) => drop(self.later.remove(&(at, account.clone()))),
            Availability::Event => {}
        }
        Some(entry.turn)
    }

    /// Returns the next account.
    pub(super) fn next(&mut self, now: Instant) -> Option<AccountKey> {
        while let Some((at, account)) = self.later.first() {
            if *at > now {
                break;
            }
            self.set(&account.clone(), Availability::Now);
        }
        self.ready.first().map(|(_, account)| account.clone())
    }

    /// Returns the time until [`Schedule::next`] returns an account without another event.
    pub(super) fn next_in(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.later.first().map(|(at, _)| at.saturating_duration_since(now))
    }

    fn insert(&mut self, account: &AccountKey, entry: ScheduleEntry) {
        match entry.availability {
            Availability::Now => drop(self.ready.insert((entry.turn, account.clone()))),
            Availability::At(at) => drop(self.later.insert((at, account.clone()))),
            Availability::Event => {}
        }
        self.entries.insert(account.clone(), entry);
    }
}
