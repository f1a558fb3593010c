//! Shared access to all budgets, and the loop that grants calls and triggers the reconcile of each granted object.

use chrono::TimeDelta;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use videotoken_api::key::ObjectKey;
use videotoken_core::budget::{
    AccountKey, AccountState, Budgets, CallOutcome, CredentialBlock, Grant, GrantRequest, Limits, SharedUse,
    StartedCall,
};
use videotoken_core::plan::account_block::account_block;
use videotoken_core::plan::view::{AccountBlock, CROWD, QueueState, Wait};
use videotoken_providers::clock::{self, Now, Timestamp};

/// Budgets of all accounts.
#[derive(Default)]
pub(crate) struct SharedBudgets {
    budgets: Mutex<Budgets>,
    changed: Notify,
    /// Time since which calls are granted: the start of leadership, after the calls that the objects record were
    /// restored.
    open: Mutex<Option<Timestamp>>,
}

impl SharedBudgets {
    /// Sets the limits of an account, and the seed of its jitter.
    pub(crate) fn configure(&self, account: &AccountKey, limits: Limits, seed: u64) {
        let mut budgets = self.budgets.lock();
        budgets.configure(account, limits);
        budgets.set_seed(account, seed);
        drop(budgets);
        self.changed.notify_one();
    }

    /// Retires an account that no provider uses any more.
    pub(crate) fn retire(&self, account: &AccountKey) {
        self.budgets.lock().retire(account);
    }

    /// Adds the object to the queue of the account.
    pub(crate) fn enqueue(&self, account: &AccountKey, ask: GrantRequest, now: Now) {
        self.budgets.lock().enqueue(account, ask, now);
        self.changed.notify_one();
    }

    /// Begins a round of [`Self::recall`].
    pub(crate) fn begin_recall(&self) {
        self.budgets.lock().begin_restore();
    }

    /// Counts these calls, which ended this long ago, in the windows of the account. Calls that are already counted are
    /// not added again.
    pub(crate) fn recall(&self, account: &AccountKey, ended: Vec<Duration>, namespaces: &[Arc<str>], now: Now) {
        self.budgets.lock().restore(account, ended, namespaces, now);
    }

    /// Starts granting calls.
    pub(crate) fn open(&self, now: Timestamp) {
        *self.open.lock() = Some(now);
        self.changed.notify_one();
    }

    /// Stops granting calls, because another process leads.
    pub(crate) fn close(&self) {
        *self.open.lock() = None;
    }

    /// Returns the time since which calls are granted; `None` while another process leads.
    pub(crate) fn open_since(&self) -> Option<Timestamp> {
        *self.open.lock()
    }

    /// Removes the object from its queue. Keeps a grant, because the reconcile that has it may be making the call.
    pub(crate) fn withdraw(&self, key: &ObjectKey) {
        self.budgets.lock().withdraw(key);
    }

    /// Begins the call of a grant. The call counts from now on. Returns `None` if the grant is lost.
    pub(crate) fn begin(&self, key: &ObjectKey, account: &AccountKey, now: Now) -> Option<StartedCall> {
        self.budgets.lock().begin(key, account, now)
    }

    /// Ends a call with its outcome.
    pub(crate) fn end(&self, begun: &StartedCall, outcome: CallOutcome, now: Now) {
        self.budgets.lock().end(begun, outcome, now);
        self.changed.notify_one();
    }

    /// Removes the object from its queue, or returns its unused grant. Must not be called while a reconcile of the
    /// object may be making the call.
    pub(crate) fn leave_queue(&self, key: &ObjectKey, now: Now) {
        let mut budgets = self.budgets.lock();
        if budgets.granted(key) {
            budgets.finish(key, CallOutcome::NotCalled, now);
        } else {
            budgets.withdraw(key);
        }
        drop(budgets);
        self.changed.notify_one();
    }

    /// Returns true if the object waits because its namespace has used up its share of a window.
    pub(crate) fn lacks_share(&self, key: &ObjectKey, now: Now) -> bool {
        self.budgets.lock().lacks_share(key, now)
    }

    /// Wakes the grant loop, because there may be capacity for another call.
    pub(crate) fn notify_capacity(&self) {
        self.changed.notify_one();
    }

    /// Returns the state of the object in the queue of `account`, which is the account that it uses now.
    pub(crate) fn queue_state(&self, key: &ObjectKey, account: Option<&AccountKey>, now: Now) -> QueueState {
        let budgets = self.budgets.lock();
        match budgets.queue_state(key) {
            None => QueueState::None,
            Some((other, _)) if Some(other) != account => QueueState::OtherAccount,
            Some((_, None)) => QueueState::Granted,
            Some((account, Some(since))) => {
                let in_crowd = budgets.queue_length(account) > CROWD;
                let waited = TimeDelta::from_std(now.mono.saturating_duration_since(since)).unwrap_or_default();
                QueueState::Waiting(Wait { since: now.wall - waited, in_crowd })
            }
        }
    }

    /// Returns true if the object waits for a grant or holds one.
    pub(crate) fn is_queued(&self, key: &ObjectKey) -> bool {
        self.budgets.lock().queue_state(key).is_some()
    }

    /// Returns the state of the account.
    pub(crate) fn state(&self, account: &AccountKey, now: Now) -> AccountState {
        self.budgets.lock().state(account, now)
    }

    /// Returns for how long each account was throttled since the last call of this function.
    pub(crate) fn take_throttled(&self, now: Now) -> Vec<(AccountKey, Duration)> {
        self.budgets.lock().take_throttled(now)
    }

    /// Returns the number of objects that wait for a grant of the account.
    pub(crate) fn queue_length(&self, account: &AccountKey) -> i64 {
        i64::try_from(self.budgets.lock().queue_length(account)).unwrap_or(i64::MAX)
    }

    /// Returns the number of waiting objects.
    pub(crate) fn depth(&self) -> usize {
        self.budgets.lock().queue_depth()
    }

    /// Returns true if a rejection of this object's call would be caused by the credential.
    pub(crate) fn is_credential_failure(&self, account: &AccountKey, key: &ObjectKey) -> bool {
        self.budgets.lock().is_credential_failure(account, key)
    }

    /// Records that an earlier process issued a token with the credential.
    pub(crate) fn accept_credential(&self, account: &AccountKey) {
        self.budgets.lock().accept_credential(account);
        self.changed.notify_one();
    }

    /// Blocks the credential for this time.
    pub(crate) fn block_credential(&self, account: &AccountKey, block: CredentialBlock, wait: Duration, now: Now) {
        self.budgets.lock().block_credential(account, block, wait, now);
    }

    /// Unblocks a rejected credential, because a user requested another attempt.
    pub(crate) fn try_again(&self, account: &AccountKey, now: Now) {
        self.budgets.lock().try_again(account, now);
        self.changed.notify_one();
    }

    /// Throttles the account for this time, as the token API requested.
    pub(crate) fn throttle(&self, account: &AccountKey, wait: Duration, now: Now) {
        self.budgets.lock().throttle(account, wait, now);
    }

    /// Restores the reduced rate of an account that others use too.
    pub(crate) fn restore_shared_use(&self, account: &AccountKey, shared_use: SharedUse, now: Now) {
        self.budgets.lock().restore_shared_use(account, shared_use, now);
    }

    /// Returns the reason that blocks the whole account. `said` is the response of the token API to the account.
    pub(crate) fn account_block(&self, account: &AccountKey, said: Option<&str>, now: Now) -> Option<AccountBlock> {
        account_block(self.state(account, now), said)
    }

    /// Grants calls as long as the process runs. `room` returns how many more calls may be granted now.
    pub(crate) async fn run_grants(&self, room: impl Fn() -> usize, granted: impl Fn(Grant)) {
        loop {
            let now = clock::now();
            let room = if self.open_since().is_some() { room() } else { 0 };
            let (grants, next) = {
                let mut budgets = self.budgets.lock();
                let grants = if room == 0 { Vec::new() } else { budgets.grant(now, room) };
                (grants, budgets.next_grant_in(now))
            };
            grants.into_iter().for_each(&granted);
            // Without capacity, only a notification helps. The retry after at most `LOOK_AGAIN` covers changes without
            // a notification, such as a breaker that becomes half-open.
            let wait = if room == 0 { LOOK_AGAIN } else { next.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN) };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            }
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
