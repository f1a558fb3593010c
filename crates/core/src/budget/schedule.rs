//! Which account to look at next: turns among those that may go on, an alarm for those that wait for time.

use super::AccountKey;
use super::window::Opening;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When it was last served; the smallest goes first.
    turn: u64,
    opening: Opening,
}

/// Every account is in at most one of `ready` and `later`, as its slot says.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    slots: BTreeMap<AccountKey, Slot>,
    ready: BTreeSet<(u64, AccountKey)>,
    later: BTreeSet<(Instant, AccountKey)>,
    turn: u64,
}

impl Schedule {
    /// Files an account under the time at which it may next go on.
    pub(super) fn set(&mut self, account: &AccountKey, opening: Opening) {
        let turn = self.remove(account).unwrap_or(self.turn);
        self.insert(account, Slot { turn, opening });
    }

    /// As [`Schedule::set`], and the account goes behind all others.
    pub(super) fn set_served(&mut self, account: &AccountKey, opening: Opening) {
        self.remove(account);
        self.turn += 1;
        self.insert(account, Slot { turn: self.turn, opening });
    }

    /// Drops an account and tells its last turn.
    pub(super) fn remove(&mut self, account: &AccountKey) -> Option<u64> {
        let slot = self.slots.remove(account)?;
        match slot.opening {
            Opening::Now => drop(self.ready.remove(&(slot.turn, account.clone()))),
            Opening::At(at) => drop(self.later.remove(&(at, account.clone()))),
            Opening::Event => {}
        }
        Some(slot.turn)
    }

    /// The account whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<AccountKey> {
        while let Some((at, account)) = self.later.first() {
            if *at > now {
                break;
            }
            self.set(&account.clone(), Opening::Now);
        }
        self.ready.first().map(|(_, account)| account.clone())
    }

    /// How long until [`Schedule::next`] names one by time alone.
    pub(super) fn next_in(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.later.first().map(|(at, _)| at.saturating_duration_since(now))
    }

    fn insert(&mut self, account: &AccountKey, slot: Slot) {
        match slot.opening {
            Opening::Now => drop(self.ready.insert((slot.turn, account.clone()))),
            Opening::At(at) => drop(self.later.insert((at, account.clone()))),
            Opening::Event => {}
        }
        self.slots.insert(account.clone(), slot);
    }
}
