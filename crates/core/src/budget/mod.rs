//! Who may call a provider when: one budget per account, shared by all objects that use it.
//!
//! May not enter: Kubernetes, providers, tasks, timers. All is pure over [`Now`], so that it runs in virtual time.
//!
//! ```text
//! enqueue → queue (two classes) → grant ── the call ── finish
//!                                   │                    │
//!                 windows, slots, throttle, credential ←─┘
//! ```
//!
//! | File | What lives there |
//! |---|---|
//! | `window` | limits; exact sliding windows |
//! | `throttle` | Retry-After and back-off |
//! | `lane` | rounds over namespaces, earliest expiry first |
//! | `queue` | the classes of one account, promotion by time |
//! | `share` | what each namespace may spend on calls that no schedule asks for |
//! | `account` | one account: all of the above, its credential and its open calls |
//! | `schedule` | turns among accounts |
//!
//! # Order
//! *Urgent* (its `urgent_at` has come, or it expires before the whole queue can be served) goes before the *second
//! class*, in which objects without a token lead. While both wait, each tenth grant is the second class's. Of a window
//! longer than 30 s, the second class leaves a tenth of the requests to the urgent: else first issues could spend an
//! hour's window at once, and a renewal that becomes urgent a minute later would have to wait for the next one.
//!
//! What was lost or altered, renewed on demand, or asked for anew after an edit is *unplanned*: of each window longer than
//! a minute, the unplanned calls of one namespace take an equal share at most (see `share`), and only a token that is about
//! to expire makes them urgent.
//!
//! # What counts
//! A grant whose call hasn't begun may come back unused. From [`Budgets::begin`] on the call counts, with whatever its
//! answer says of the account: also when its object is deleted, re-created or moved to another account meanwhile, when its
//! account is retired, and when the reconcile that made it panics. Calls of an earlier life of the process, or of another
//! operator, count as far as they left something behind: [`Budgets::recall`].
//!
//! # Demand
//! An account is oversubscribed when the requests wanted within the last 10 min (or the longest window, if that is
//! more), which are those called and those that wait now, exceed 80 % of what that span serves at the sustained rate.

mod account;
mod lane;
mod queue;
mod schedule;
mod share;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::unchecked_time_subtraction)]
mod tests;
mod throttle;
mod window;

pub use window::{Limits, Window};

use crate::clock::{Now, Timestamp};
use account::{Account, Call};
use queue::Entry;
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;
use window::Opening;

/// Host, account id and credential identity, joined by the caller: who lacks the credential can't touch its budget.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AccountKey(pub Arc<str>);

/// An object that wants to make one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub key: ObjectKey,
    /// When the token that it has ends. `None`: it has no token to live on.
    pub expires_at: Option<Timestamp>,
    /// When half of the renewal margin is gone.
    pub urgent_at: Option<Timestamp>,
    /// No schedule asks for this call; see the module's text.
    pub unplanned: bool,
}

/// Leave to make one call, until [`Budgets::begin`] or [`Budgets::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who may call.
    pub key: ObjectKey,
    /// On whose budget.
    pub account: AccountKey,
    /// Since its first ask.
    pub waited: Duration,
}

/// A call that is under way, until [`Budgets::end`].
#[derive(Debug)]
#[must_use]
pub struct Begun {
    account: AccountKey,
    number: u64,
    call: Call,
}

/// What came of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A token: the credential is proven.
    Issued,
    /// Too many requests: the whole account stops.
    Throttled {
        /// The provider's own wish. None (or zero): back-off from 1 s, doubling to 5 min. Cut at a day.
        retry_after: Option<Duration>,
    },
    /// The credential was refused and is not proven: the account is locked for 15 min or until it changes.
    CredentialRejected,
    /// The identity behind the credential was refused, where a further refusal harms nobody: the account is locked until
    /// somebody asks for another try ([`Budgets::try_again`]), for 15 min at most.
    IdentityRefused {
        /// It may pass by itself: the lock is one of 5 s, doubling to 5 min with each refusal in a row.
        heals: bool,
    },
    /// The credential was refused though it has worked: it is to be proven again, by another object.
    CredentialDoubted,
    /// Any answer, or none, that says nothing about the account.
    Failed,
    /// No call was made: the slot comes back unused.
    NotCalled,
}

/// Why a credential isn't tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The provider refused it.
    Rejected,
    /// The identity behind it was refused; whoever asks for another try gets one.
    IdentityRefused,
    /// As many logins have been tried as may be, where failed ones lock the user.
    LoginsUsedUp,
}

/// How an account stands; of an unknown one, all is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Time left of the provider's throttle.
    pub throttled_for: Option<Duration>,
    /// What of it the provider itself asked for: the rest is our own back-off, which ends with the first good answer.
    pub asked_to_wait: Option<Duration>,
    /// Time left until a refused credential is tried again.
    pub locked_for: Option<Duration>,
    /// The same as a time, which stays the same while the lock does.
    pub locked_until: Option<Timestamp>,
    /// Why it isn't tried now.
    pub lock: Option<Lock>,
    /// Objects that wait for a grant.
    pub waiting: usize,
    /// Grants not yet finished.
    pub in_flight: usize,
    /// A token was issued with the credential as it is now.
    pub proven: bool,
    /// The same, whatever was said of it since.
    pub has_worked: bool,
    /// More is wanted than the budget can be trusted to serve; see the module's text.
    pub oversubscribed: bool,
}

#[derive(Debug)]
enum Place {
    Waiting(AccountKey),
    /// With the number of its call.
    Granted(AccountKey, u64),
}

/// All budgets, and who waits for them. Remembers no object that neither waits nor holds a grant.
#[derive(Debug, Default)]
pub struct Budgets {
    accounts: BTreeMap<AccountKey, Account>,
    places: BTreeMap<ObjectKey, Place>,
    schedule: Schedule,
    /// Accounts that no provider uses, kept while anyone waits, or while a throttle, a lock or spent requests count.
    unused: BTreeSet<AccountKey>,
    waiting: usize,
    /// Numbers the asks.
    seq: u64,
    /// Numbers the recalls.
    round: u32,
}

impl Budgets {
    /// New or changed limits of an account; keeps what is spent. Until the first call nothing is granted.
    pub fn configure(&mut self, account: &AccountKey, limits: Limits) {
        self.unused.remove(account);
        if self.accounts.entry(account.clone()).or_default().configure(limits) {
            self.look_again_at(account);
        }
    }

    /// No provider uses the account any more: who waits for it is withdrawn. Throttle, lock and spent requests are
    /// remembered as long as they count, should it come back.
    pub fn retire(&mut self, account: &AccountKey) {
        let Some(known) = self.accounts.get_mut(account) else { return };
        known.retire();
        let waiting: Vec<_> = known.queue.keys().cloned().collect();
        for key in waiting {
            self.withdraw(&key);
        }
        self.schedule.remove(account);
        self.unused.insert(account.clone());
    }

    /// Waits for a grant. A second ask updates the first and keeps its place in time, also on another account; an
    /// object that holds a grant of this account keeps it and doesn't wait.
    ///
    /// A grant of another account goes back unused: an object calls from its reconcile, of which there is one at a
    /// time, so no call is under way while it asks.
    pub fn enqueue(&mut self, account: &AccountKey, ask: Ask, now: Now) {
        match self.places.get(&ask.key) {
            Some(Place::Granted(held, _)) if held == account => return,
            Some(Place::Granted(..)) => self.finish(&ask.key, Outcome::NotCalled, now),
            Some(Place::Waiting(_)) | None => {}
        }
        let old = self.entry(&ask.key);
        if old.is_some_and(|(held, entry)| held == account && entry.asks(&ask)) {
            return;
        }
        let place = old.map(|(_, entry)| (entry.since, entry.seq));
        if old.is_some_and(|(held, _)| held != account) {
            self.withdraw(&ask.key);
        }
        let (since, seq) = place.unwrap_or((now.mono, self.seq + 1));
        self.seq = self.seq.max(seq);
        let Ask { expires_at, urgent_at, unplanned, .. } = ask;
        let entry = Entry { expires_at, urgent_at, unplanned, since, seq };
        if self.places.insert(ask.key.clone(), Place::Waiting(account.clone())).is_none() {
            self.waiting += 1;
        }
        let known = self.accounts.entry(account.clone()).or_insert_with(|| {
            self.unused.insert(account.clone());
            Account::default()
        });
        known.used_by(&ask.key.namespace, now.mono);
        known.queue.insert(ask.key, entry);
        self.look_again_at(account);
    }

    /// No longer waits: deleted, changed, no longer due. A grant is not touched, since its call may be under way:
    /// whoever holds one and won't call says so by [`Outcome::NotCalled`].
    pub fn withdraw(&mut self, key: &ObjectKey) {
        let Some(Place::Waiting(account)) = self.places.get(key) else { return };
        if let Some(account) = self.accounts.get_mut(account) {
            account.queue.remove(key);
        }
        self.places.remove(key);
        self.waiting -= 1;
    }

    /// At most `room` grants, in turns over the accounts. Each takes a slot of its account and a request of every
    /// window, from now until a period after its end. A grant that isn't taken up within 2 min goes back unused, and a
    /// call that hasn't ended within 2 min of its beginning ends, so that a lost one doesn't hold its account.
    pub fn grant(&mut self, now: Now, room: usize) -> Vec<Grant> {
        self.forget_unused(now);
        let mut grants = Vec::new();
        while grants.len() < room {
            let Some(account) = self.schedule.next(now.mono) else { break };
            let Some(known) = self.accounts.get_mut(&account) else {
                self.schedule.remove(&account);
                continue;
            };
            while let Some((key, call)) = known.end_forgotten_call(self.round, now.mono) {
                if matches!(self.places.get(&key), Some(Place::Granted(at, held)) if (at, *held) == (&account, call)) {
                    self.places.remove(&key);
                }
            }
            match known.opening(now) {
                Opening::Now => {}
                later => {
                    self.schedule.set(&account, later);
                    continue;
                }
            }
            let granted = known.grant(now);
            self.schedule.set_served(&account, known.opening(now));
            let Some((key, entry, call)) = granted else { continue };
            self.waiting -= 1;
            self.places.insert(key.clone(), Place::Granted(account.clone(), call));
            grants.push(Grant { key, account, waited: now.mono.saturating_duration_since(entry.since) });
        }
        grants
    }

    /// When [`Budgets::grant`] may next yield something by time alone (given room); zero: at once. None: only an
    /// event (enqueue, finish, configure) can bring it. It may name a time too early, never one
    /// too late; ask again after each call of `grant` and each event.
    pub fn next_grant_in(&self, now: Now) -> Option<Duration> {
        self.schedule.next_in(now.mono)
    }

    /// The holder of a grant calls now: whatever becomes of the object, the call counts from here on, and its answer too.
    /// `None`: it holds none, or not of this account, and may not call.
    pub fn begin(&mut self, key: &ObjectKey, account: &AccountKey, now: Now) -> Option<Begun> {
        let number = match self.places.get(key) {
            Some(Place::Granted(held, number)) if held == account => *number,
            _ => return None,
        };
        self.places.remove(key);
        let call = self.accounts.get_mut(account)?.begin(number, now.mono)?;
        Some(Begun { account: account.clone(), number, call })
    }

    /// The end of a call.
    pub fn end(&mut self, begun: &Begun, outcome: Outcome, now: Now) {
        if let Some(known) = self.accounts.get_mut(&begun.account) {
            let outcome = if outcome == Outcome::NotCalled { Outcome::Failed } else { outcome };
            known.end(begun.number, &begun.call, outcome, self.round, now);
            self.look_again_at(&begun.account);
        }
    }

    /// A process that has just become the leader is about to tell of calls that it didn't make. What each tells within
    /// one round are calls of their own; those of an earlier round are told again.
    pub fn begin_recall(&mut self) {
        self.round += 1;
    }

    /// The account's windows are at least as spent as these calls tell, which ended so long ago; those that are known
    /// already don't count twice. `namespaces` use the account.
    pub fn recall<'a>(
        &mut self,
        account: &AccountKey,
        ended: impl IntoIterator<Item = Duration>,
        namespaces: impl IntoIterator<Item = &'a Arc<str>>,
        now: Now,
    ) {
        let Some(known) = self.accounts.get_mut(account) else { return };
        // where the monotonic clock doesn't reach so far back, it counts as if it were now
        let ended = ended.into_iter().map(|ago| now.mono.checked_sub(ago).unwrap_or(now.mono));
        known.recall(ended.collect(), self.round, now.mono);
        for namespace in namespaces {
            known.used_by(namespace, now.mono);
        }
        self.look_again_at(account);
    }

    /// The end of a grant in one; without one, nothing happens.
    pub fn finish(&mut self, key: &ObjectKey, outcome: Outcome, now: Now) {
        let Some(Place::Granted(account, call)) = self.places.get(key) else { return };
        let (account, call) = (account.clone(), *call);
        self.places.remove(key);
        if let Some(known) = self.accounts.get_mut(&account) {
            known.finish(call, outcome, self.round, now);
            self.look_again_at(&account);
        }
    }

    /// The account's credential has another value: a lock is lifted, and it is to be proven again. What calls under
    /// way say of the old one is ignored.
    pub fn credential_changed(&mut self, account: &AccountKey) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.credential_changed();
            self.look_again_at(account);
        }
    }

    /// Would a refusal of the credential to this object be the credential's fault? Not while it is proven, nor if it was
    /// this very object that brought the doubt.
    pub fn blames_credential(&self, account: &AccountKey, key: &ObjectKey) -> bool {
        self.accounts.get(account).is_none_or(|known| known.blames_credential(key))
    }

    /// The credential has issued a token before, as was written down by an earlier life of this process or by another
    /// operator: it needn't be proven again, unless a refusal is known here.
    pub fn accept_credential(&mut self, account: &AccountKey) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.accept_credential();
            self.look_again_at(account);
        }
    }

    /// The account's credential isn't tried for so long, 16 min at most, unless it changes or is locked for longer.
    pub fn lock(&mut self, account: &AccountKey, lock: Lock, wait: Duration, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.lock(lock, wait, now);
            self.look_again_at(account);
        }
    }

    /// Somebody asks that an identity that was refused be tried again: 5 s after its last refusal at the earliest. Any
    /// other lock stays.
    pub fn try_again(&mut self, account: &AccountKey, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.try_again(now);
            self.look_again_at(account);
        }
    }

    /// The provider asked the account to wait for so long, as was written down before. An hour at most: then one call asks.
    pub fn throttle(&mut self, account: &AccountKey, wait: Duration, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.throttle(wait, now.mono);
            self.look_again_at(account);
        }
    }

    /// How long a throttle has stopped each account since this was last asked; those that none has stopped are left out.
    pub fn take_throttled(&mut self, now: Now) -> Vec<(AccountKey, Duration)> {
        let each = self.accounts.iter_mut().map(|(key, account)| (key, account.take_throttled(now)));
        each.filter(|(_, time)| !time.is_zero()).map(|(key, time)| (key.clone(), time)).collect()
    }

    /// How an account stands.
    pub fn state(&self, account: &AccountKey, now: Now) -> AccountState {
        self.accounts.get(account).map(|known| known.state(now)).unwrap_or_default()
    }

    /// It waits since its namespace has used up its share of a window; only for one that asked for an unplanned call.
    pub fn lacks_share(&self, key: &ObjectKey, now: Now) -> bool {
        self.entry(key).is_some_and(|(account, entry)| {
            let known = self.accounts.get(account);
            entry.unplanned && known.is_some_and(|known| known.lacks_share(&key.namespace, now.mono))
        })
    }

    /// Returns the account that the object waits for, with the time since when it waits, or whose grant it holds, with no
    /// time.
    pub fn standing(&self, key: &ObjectKey) -> Option<(&AccountKey, Option<Instant>)> {
        match self.places.get(key)? {
            Place::Granted(account, _) => Some((account, None)),
            Place::Waiting(_) => self.entry(key).map(|(account, entry)| (account, Some(entry.since))),
        }
    }

    /// It has asked and has no grant yet.
    pub fn waiting(&self, key: &ObjectKey) -> bool {
        matches!(self.places.get(key), Some(Place::Waiting(_)))
    }

    /// It holds a grant.
    pub fn granted(&self, key: &ObjectKey) -> bool {
        matches!(self.places.get(key), Some(Place::Granted(..)))
    }

    /// All that wait, over all accounts.
    pub fn queue_depth(&self) -> usize {
        self.waiting
    }

    /// What a waiting object asked, and of whom.
    fn entry(&self, key: &ObjectKey) -> Option<(&AccountKey, Entry)> {
        let Some(Place::Waiting(account)) = self.places.get(key) else { return None };
        Some((account, *self.accounts.get(account)?.queue.get(key)?))
    }

    /// An event may have opened the account: the next `grant` looks at it.
    fn look_again_at(&mut self, account: &AccountKey) {
        let waits = self.accounts.get(account).is_some_and(|known| !known.queue.is_empty());
        self.schedule.set(account, if waits { Opening::Now } else { Opening::Event });
    }

    fn forget_unused(&mut self, now: Now) {
        let accounts = &mut self.accounts;
        let schedule = &mut self.schedule;
        self.unused.retain(|account| {
            let keep = accounts.get_mut(account).is_some_and(|known| !known.is_forgettable(now));
            if !keep {
                accounts.remove(account);
                schedule.remove(account);
            }
            keep
        });
    }
}

impl Entry {
    fn asks(&self, ask: &Ask) -> bool {
        (self.expires_at, self.urgent_at, self.unplanned) == (ask.expires_at, ask.urgent_at, ask.unplanned)
    }
}
