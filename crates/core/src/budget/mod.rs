//! Budgets of the token APIs: one budget for each account, shared by all VideoAccessTokens that use the account.
//!
//! Not allowed here: Kubernetes, providers, tasks, timers. All functions are pure over [`Now`], so that tests run in
//! virtual time.
//!
//! ```text
//! enqueue → queue (urgent, normal) → grant ── the call ── finish
//!                                   │                    │
//!                 windows, slots, throttle, credential ←─┘
//! ```
//!
//! | File | Content |
//! |---|---|
//! | `window` | limits, sliding windows |
//! | `throttle` | Retry-After and back-off |
//! | `fair_queue` | rounds over namespaces, ordered by expiry |
//! | `queue` | urgent and normal requests of one account, promotion by time |
//! | `share` | shares of the namespaces for unplanned calls |
//! | `shared_rate` | pace of an account that others use too |
//! | `state` | results of calls, state of an account |
//! | `account` | one account: all of the above, its credential, its open calls |
//! | `schedule` | round-robin over accounts |
//!
//! # Order
//! *Urgent* requests (`urgent_at` has passed, or the token expires before the queue can be drained) are granted before
//! *normal* requests. Among normal requests, those without a token come first. While both kinds wait, every tenth
//! grant is for a normal request. In windows longer than 30 seconds, normal requests leave a tenth of the window to
//! urgent requests. Otherwise the first tokens could use the window of an hour at once, and a renewal that becomes
//! urgent one minute later would wait for the next window.
//!
//! An *unplanned* request replaces a lost or altered token, or follows a forced renewal or an edit. Unplanned requests
//! of one namespace get an equal share of each window longer than one minute (see `share`). They become urgent only if
//! the token is about to expire.
//!
//! # What counts
//! A grant can be returned until its call starts. After [`Budgets::begin`] the call counts, and its result changes the
//! state of the account. This also holds if the VideoAccessToken is deleted, created again or moved to another
//! account, or if the account is retired. Calls of an earlier process or of another operator count as far as objects
//! record them: [`Budgets::restore`].
//!
//! # Other clients
//! A throttle although the sustained window isn't spent shows that others use the account. Its calls are then paced, and
//! the pace grows until it reaches the limits again (see `shared_rate`).
//!
//! # Demand
//! An account is oversubscribed if the requests of the last 10 minutes (or of the longest window, if that is longer)
//! exceed 80% of the requests that this time can serve at the sustained rate, or at the average pace if others use the
//! account. The requests are those that were called and those that wait. It is also oversubscribed if others throttled
//! it repeatedly in the last hour.

mod account;
mod fair_queue;
mod queue;
mod schedule;
mod share;
mod shared_rate;
mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::unchecked_time_subtraction)]
mod tests;
mod throttle;
mod window;

pub use shared_rate::SharedUse;
pub use state::{AccountState, CallOutcome, CredentialBlock};
pub use window::{Limits, Window};

use crate::clock::{Now, Timestamp};
use account::{AccountBudget, OpenCall};
use queue::Entry;
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;
use window::Availability;

/// Identifies a budget by host, account ID and credential identity. A provider without the credential can't use the
/// budget.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AccountKey(pub Arc<str>);

/// Request of a VideoAccessToken for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// The VideoAccessToken.
    pub key: ObjectKey,
    /// Expiry of the current token. `None`: there is no valid token.
    pub expires_at: Option<Timestamp>,
    /// Time at which half of the renewal margin has passed.
    pub urgent_at: Option<Timestamp>,
    /// True for an unplanned request; see the module documentation.
    pub unplanned: bool,
}

/// Permission to make one call, until [`Budgets::begin`] or [`Budgets::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The VideoAccessToken that may call.
    pub key: ObjectKey,
    /// The account of the budget.
    pub account: AccountKey,
    /// Time since its first request.
    pub waited: Duration,
}

/// A call in progress, until [`Budgets::end`].
#[derive(Debug)]
#[must_use]
pub struct StartedCall {
    account: AccountKey,
    number: u64,
    call: OpenCall,
}

#[derive(Debug)]
enum GrantState {
    Waiting(AccountKey),
    /// The number of the call.
    Granted(AccountKey, u64),
}

/// Budgets of all accounts. A VideoAccessToken is only known while it waits or holds a grant.
#[derive(Debug, Default)]
pub struct Budgets {
    accounts: BTreeMap<AccountKey, AccountBudget>,
    states: BTreeMap<ObjectKey, GrantState>,
    schedule: Schedule,
    /// Accounts without a provider. They are kept while a request waits, or while a throttle, a block or past calls
    /// count.
    unused: BTreeSet<AccountKey>,
    waiting: usize,
    /// Number of the last request.
    seq: u64,
    /// Number of the current round of [`Budgets::restore`].
    round: u32,
}

impl Budgets {
    /// Sets the limits of an account and keeps its past calls. Nothing is granted before the first call of this
    /// function.
    pub fn configure(&mut self, account: &AccountKey, limits: Limits) {
        self.unused.remove(account);
        if self.accounts.entry(account.clone()).or_default().configure(limits) {
            self.reschedule(account);
        }
    }

    /// Marks the account as unused and removes its waiting requests. Throttle, block and past calls are kept while
    /// they count, in case the account is used again.
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

    /// Adds a request to the queue of the account. A repeated request replaces the first one and keeps its position,
    /// also on another account. A VideoAccessToken that holds a grant of this account keeps the grant.
    ///
    /// A grant of another account is returned unused. A VideoAccessToken calls only from its reconcile, so no call is
    /// in progress at this time.
    pub fn enqueue(&mut self, account: &AccountKey, request: GrantRequest, now: Now) {
        match self.states.get(&request.key) {
            Some(GrantState::Granted(held, _)) if held == account => return,
            Some(GrantState::Granted(..)) => self.finish(&request.key, CallOutcome::NotCalled, now),
            Some(GrantState::Waiting(_)) | None => {}
        }
        let old = self.entry(&request.key);
        if old.is_some_and(|(held, entry)| held == account && entry.equals(&request)) {
            return;
        }
        let position = old.map(|(_, entry)| (entry.since, entry.seq));
        if old.is_some_and(|(held, _)| held != account) {
            self.withdraw(&request.key);
        }
        let (since, seq) = position.unwrap_or((now.mono, self.seq + 1));
        self.seq = self.seq.max(seq);
        let GrantRequest { expires_at, urgent_at, unplanned, .. } = request;
        let entry = Entry { expires_at, urgent_at, unplanned, since, seq };
        if self.states.insert(request.key.clone(), GrantState::Waiting(account.clone())).is_none() {
            self.waiting += 1;
        }
        let known = self.accounts.entry(account.clone()).or_insert_with(|| {
            self.unused.insert(account.clone());
            AccountBudget::default()
        });
        known.record_user(&request.key.namespace, now.mono);
        known.queue.insert(request.key, entry);
        self.reschedule(account);
    }

    /// Removes the request from its queue. A grant stays, because its call may be in progress: its holder returns it
    /// with [`CallOutcome::NotCalled`].
    pub fn withdraw(&mut self, key: &ObjectKey) {
        let Some(GrantState::Waiting(account)) = self.states.get(key) else { return };
        if let Some(account) = self.accounts.get_mut(account) {
            account.queue.remove(key);
        }
        self.states.remove(key);
        self.waiting -= 1;
    }

    /// Returns at most `capacity` grants, one account after the other. Each grant takes a slot of its account and a
    /// request of every window until one period after the call ends. A grant that does not start within 2 minutes is
    /// returned. A call that does not end within 2 minutes is ended, so that a lost call does not block its account.
    pub fn grant(&mut self, now: Now, capacity: usize) -> Vec<Grant> {
        self.remove_unused(now);
        let mut grants = Vec::new();
        while grants.len() < capacity {
            let Some(account) = self.schedule.next(now.mono) else { break };
            let Some(known) = self.accounts.get_mut(&account) else {
                self.schedule.remove(&account);
                continue;
            };
            while let Some((key, call)) = known.expire_call(self.round, now.mono) {
                if matches!(self.states.get(&key), Some(GrantState::Granted(at, held)) if (at, *held) == (&account, call))
                {
                    self.states.remove(&key);
                }
            }
            match known.availability(now) {
                Availability::Now => {}
                later => {
                    self.schedule.set(&account, later);
                    continue;
                }
            }
            let granted = known.grant(now);
            self.schedule.set_served(&account, known.availability(now));
            let Some((key, entry, call)) = granted else { continue };
            self.waiting -= 1;
            self.states.insert(key.clone(), GrantState::Granted(account.clone(), call));
            grants.push(Grant { key, account, waited: now.mono.saturating_duration_since(entry.since) });
        }
        grants
    }

    /// Returns the time until [`Budgets::grant`] can return a grant without another event; zero: at once. `None`: only
    /// an event (enqueue, finish, configure) makes a grant possible. The time may be too short, but never too long.
    /// Call this function again after each `grant` and each event.
    pub fn next_grant_in(&self, now: Now) -> Option<Duration> {
        self.schedule.next_in(now.mono)
    }

    /// Starts the call of a grant. The call and its result count from now on. `None`: the VideoAccessToken holds no
    /// grant of this account and may not call.
    pub fn begin(&mut self, key: &ObjectKey, account: &AccountKey, now: Now) -> Option<StartedCall> {
        let number = match self.states.get(key) {
            Some(GrantState::Granted(held, number)) if held == account => *number,
            _ => return None,
        };
        self.states.remove(key);
        let call = self.accounts.get_mut(account)?.begin(number, now.mono)?;
        Some(StartedCall { account: account.clone(), number, call })
    }

    /// Ends a call with its result.
    pub fn end(&mut self, started: &StartedCall, outcome: CallOutcome, now: Now) {
        if let Some(known) = self.accounts.get_mut(&started.account) {
            let outcome = if outcome == CallOutcome::NotCalled { CallOutcome::Failed } else { outcome };
            known.end(started.number, &started.call, outcome, self.round, now);
            self.reschedule(&started.account);
        }
    }

    /// Starts a round of [`Budgets::restore`]. The calls that one round restores are different calls; a later round
    /// may contain the calls of an earlier round again.
    pub fn begin_restore(&mut self) {
        self.round += 1;
    }

    /// Adds calls of an earlier process to the windows of the account. `ended` contains the time since each call
    /// ended. Known calls do not count twice. `namespaces` use the account.
    pub fn restore<'a>(
        &mut self,
        account: &AccountKey,
        ended: impl IntoIterator<Item = Duration>,
        namespaces: impl IntoIterator<Item = &'a Arc<str>>,
        now: Now,
    ) {
        let Some(known) = self.accounts.get_mut(account) else { return };
        // a time before the start of the monotonic clock counts as now
        let ended = ended.into_iter().map(|ago| now.mono.checked_sub(ago).unwrap_or(now.mono));
        known.restore(ended.collect(), self.round, now.mono);
        for namespace in namespaces {
            known.record_user(namespace, now.mono);
        }
        self.reschedule(account);
    }

    /// Ends a grant and its call. Does nothing without a grant.
    pub fn finish(&mut self, key: &ObjectKey, outcome: CallOutcome, now: Now) {
        let Some(GrantState::Granted(account, call)) = self.states.get(key) else { return };
        let (account, call) = (account.clone(), *call);
        self.states.remove(key);
        if let Some(known) = self.accounts.get_mut(&account) {
            known.finish(call, outcome, self.round, now);
            self.reschedule(&account);
        }
    }

    /// Returns true if a rejection of the credential for this VideoAccessToken shows a failure of the credential. It
    /// does not if the credential is accepted, or if the same VideoAccessToken was rejected before.
    pub fn is_credential_failure(&self, account: &AccountKey, key: &ObjectKey) -> bool {
        self.accounts.get(account).is_none_or(|known| known.is_credential_failure(key))
    }

    /// Marks the credential as accepted, because a status reports that a token was issued with it. A rejection that
    /// this process knows takes precedence.
    pub fn accept_credential(&mut self, account: &AccountKey) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.accept_credential();
            self.reschedule(account);
        }
    }

    /// Blocks the credential for `wait`, at most 16 minutes. A longer block stays.
    pub fn block_credential(&mut self, account: &AccountKey, block: CredentialBlock, wait: Duration, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.block_credential(block, wait, now);
            self.reschedule(account);
        }
    }

    /// Ends the block of a rejected identity, at the earliest 5 seconds after its last rejection. Other blocks stay.
    pub fn try_again(&mut self, account: &AccountKey, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.try_again(now);
            self.reschedule(account);
        }
    }

    /// Restores a throttle that a status reports, for at most one hour. After that, one call tests it.
    pub fn throttle(&mut self, account: &AccountKey, wait: Duration, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.throttle(wait, now.mono);
            self.reschedule(account);
        }
    }

    /// Sets the seed of the account's jitter, which should differ between clusters.
    pub fn set_seed(&mut self, account: &AccountKey, seed: u64) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.set_seed(seed);
        }
    }

    /// Restores the reduced rate that a status reports. A later throttle that this process knows takes precedence.
    pub fn restore_shared_use(&mut self, account: &AccountKey, saved: SharedUse, now: Now) {
        if let Some(known) = self.accounts.get_mut(account) {
            known.restore_shared_use(saved, now.mono);
            self.reschedule(account);
        }
    }

    /// Returns for each account the time that a throttle stopped it since the last call of this function. Accounts
    /// without such time are left out.
    pub fn take_throttled(&mut self, now: Now) -> Vec<(AccountKey, Duration)> {
        let each = self.accounts.iter_mut().map(|(key, account)| (key, account.take_throttled(now)));
        each.filter(|(_, time)| !time.is_zero()).map(|(key, time)| (key.clone(), time)).collect()
    }

    /// Returns the state of an account.
    pub fn state(&self, account: &AccountKey, now: Now) -> AccountState {
        self.accounts.get(account).map(|known| known.state(now)).unwrap_or_default()
    }

    /// Returns true if the VideoAccessToken waits because its namespace has used up its share of a window. Only
    /// unplanned requests have shares.
    pub fn lacks_share(&self, key: &ObjectKey, now: Now) -> bool {
        self.entry(key).is_some_and(|(account, entry)| {
            let known = self.accounts.get(account);
            entry.unplanned && known.is_some_and(|known| known.lacks_share(&key.namespace, now.mono))
        })
    }

    /// Returns the account for which the VideoAccessToken waits, and the start of the wait, or the account of its
    /// grant without a time.
    pub fn queue_state(&self, key: &ObjectKey) -> Option<(&AccountKey, Option<Instant>)> {
        match self.states.get(key)? {
            GrantState::Granted(account, _) => Some((account, None)),
            GrantState::Waiting(_) => self.entry(key).map(|(account, entry)| (account, Some(entry.since))),
        }
    }

    /// Returns the number of VideoAccessTokens that wait for a grant of the account.
    pub fn queue_length(&self, account: &AccountKey) -> usize {
        self.accounts.get(account).map_or(0, |account| account.queue.len())
    }

    /// Returns true if the VideoAccessToken waits for a grant.
    pub fn waiting(&self, key: &ObjectKey) -> bool {
        matches!(self.states.get(key), Some(GrantState::Waiting(_)))
    }

    /// Returns true if the VideoAccessToken holds a grant.
    pub fn granted(&self, key: &ObjectKey) -> bool {
        matches!(self.states.get(key), Some(GrantState::Granted(..)))
    }

    /// Returns the number of waiting requests of all accounts.
    pub fn queue_depth(&self) -> usize {
        self.waiting
    }

    /// Returns the account and the request of a waiting VideoAccessToken.
    fn entry(&self, key: &ObjectKey) -> Option<(&AccountKey, Entry)> {
        let Some(GrantState::Waiting(account)) = self.states.get(key) else { return None };
        Some((account, *self.accounts.get(account)?.queue.get(key)?))
    }

    /// Makes the next `grant` check the account after an event.
    fn reschedule(&mut self, account: &AccountKey) {
        let waits = self.accounts.get(account).is_some_and(|known| !known.queue.is_empty());
        self.schedule.set(account, if waits { Availability::Now } else { Availability::Event });
    }

    fn remove_unused(&mut self, now: Now) {
        let accounts = &mut self.accounts;
        let schedule = &mut self.schedule;
        self.unused.retain(|account| {
            let keep = accounts.get_mut(account).is_some_and(|known| !known.can_remove(now));
            if !keep {
                accounts.remove(account);
                schedule.remove(account);
            }
            keep
        });
    }
}

impl Entry {
    fn equals(&self, request: &GrantRequest) -> bool {
        (self.expires_at, self.urgent_at, self.unplanned) == (request.expires_at, request.urgent_at, request.unplanned)
    }
}
