//! Failed calls of a token API (P07): the scope of each failure, and the time of the next attempt.

use super::backoff::{self, Tries};
use super::facts::Uid;
use crate::budget::{AccountState, CallOutcome};
use crate::clock::Timestamp;
use crate::issue::{Class, IssueError};
use chrono::TimeDelta;

/// State of an account whose credential was rejected.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each a column of the tests' table
pub struct RefusedAccount {
    /// True if the call is a login, so that only the credential can have failed.
    pub logs_in: bool,
    /// True if another VideoAccessToken with a valid token uses the account: its next renewal shows whether the
    /// credential works.
    pub has_peer: bool,
    /// True if the budget treats the credential as failed: it never worked, or another VideoAccessToken was rejected
    /// too.
    pub is_suspected: bool,
    /// True if further rejections do no harm, so that a user can request a retry at any time.
    pub is_retried_on_demand: bool,
    /// True if a token was issued with the credential before.
    pub has_worked: bool,
}

/// Returns the class of a failed call and what it means for the account's budget.
///
/// A rejected credential is a failure of the account if the identity itself is rejected, if the call is a login, or if
/// no other VideoAccessToken can show whether the credential works. Otherwise it is a failure of the VideoAccessToken.
pub fn classify(error: &IssueError, account: RefusedAccount) -> (Class, CallOutcome) {
    match error.class {
        Class::Credential if error.identity_refused || account.logs_in || !account.has_peer || account.is_suspected => {
            let outcome = if account.is_retried_on_demand {
                CallOutcome::IdentityRefused { heals: error.heals.holds(account.has_worked) }
            } else {
                CallOutcome::CredentialRejected
            };
            (Class::Credential, outcome)
        }
        Class::Credential => (Class::Denied, CallOutcome::CredentialUnverified),
        Class::Throttled => (Class::Throttled, CallOutcome::Throttled { retry_after: error.retry_after }),
        class => (class, CallOutcome::Failed),
    }
}

/// Returns the class of a failed call for a process with a single token. It has no budget, which would retry a refusal that
/// heals.
pub fn class_of_single_token(error: &IssueError, has_worked: bool) -> Class {
    if error.heals.holds(has_worked) { Class::Transient } else { error.class }
}

/// Returns true if a failure of this class concerns the whole account.
pub fn is_of_account(class: Class) -> bool {
    matches!(class, Class::Throttled | Class::Credential)
}

/// Inputs for the time of the next attempt.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// The failure.
    pub error: &'a IssueError,
    /// Its class, as [`classify`] returned it.
    pub class: Class,
    /// Past attempts.
    pub tries: Tries,
    /// State of the account after the failure was recorded.
    pub account: AccountState,
    /// Expiry of the token in the Secret.
    pub expires_at: Option<Timestamp>,
}

impl FailedAttempt<'_> {
    /// Returns true if a block or throttle of the account delays the VideoAccessToken. It then waits in the queue and
    /// needs no back-off of its own.
    pub fn is_delayed_by_account(&self) -> bool {
        is_of_account(self.class) && self.account_wait().is_some()
    }

    fn account_wait(&self) -> Option<TimeDelta> {
        self.account.blocked_for.max(self.account.throttled_for).and_then(|wait| TimeDelta::from_std(wait).ok())
    }

    /// Returns the time of the next attempt. `uid` fixes the jitter.
    pub fn next(&self, now: Timestamp, uid: Uid) -> Timestamp {
        match self.account_wait().filter(|_| is_of_account(self.class)) {
            // a back-off takes at most a quarter of the time until the expiry
            Some(wait) if self.class == Class::Throttled && self.error.retry_after.is_none() => {
                now + backoff::max_back_off(self.expires_at, now).map_or(wait, |longest| wait.min(longest))
            }
            Some(wait) => now + wait,
            None => backoff::next_attempt(self.class, self.tries, self.error.retry_after, self.expires_at, now, uid.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::issue::Heals;
    use std::time::Duration;

    fn error(class: Class) -> IssueError {
        IssueError::new(class, "Because", "it says so")
    }

    #[test]
    fn p07_a_refused_credential_is_the_accounts_unless_another_object_can_show_otherwise() {
        let peer = RefusedAccount { has_peer: true, ..RefusedAccount::default() };
        let rejected = (Class::Credential, CallOutcome::CredentialRejected);
        let doubted = (Class::Denied, CallOutcome::CredentialUnverified);
        let identity = |heals| (Class::Credential, CallOutcome::IdentityRefused { heals });
        let cases = [
            (RefusedAccount::default(), Heals::No, rejected),
            (peer, Heals::No, doubted),
            (peer, Heals::Soon, doubted),
            (RefusedAccount { logs_in: true, ..peer }, Heals::No, rejected),
            (RefusedAccount { is_suspected: true, ..peer }, Heals::No, rejected),
            (RefusedAccount { is_retried_on_demand: true, ..peer }, Heals::Soon, doubted),
            (RefusedAccount { is_retried_on_demand: true, has_peer: false, ..peer }, Heals::No, identity(false)),
            (RefusedAccount { is_retried_on_demand: true, has_peer: false, ..peer }, Heals::New, identity(true)),
            (RefusedAccount { is_retried_on_demand: true, has_peer: false, ..peer }, Heals::Soon, identity(true)),
            (
                RefusedAccount { is_retried_on_demand: true, has_peer: false, has_worked: true, ..peer },
                Heals::New,
                identity(false),
            ),
        ];
        for (account, heals, expected) in cases {
            let error = IssueError { heals, ..error(Class::Credential) };
            assert_eq!(classify(&error, account), expected, "{account:?} {heals:?}");
        }
    }

    #[test]
    fn p07_an_identity_that_is_refused_is_the_accounts_whoever_else_uses_it() {
        let error = IssueError { identity_refused: true, ..error(Class::Credential) };
        let account = RefusedAccount { has_peer: true, ..RefusedAccount::default() };
        assert_eq!(classify(&error, account), (Class::Credential, CallOutcome::CredentialRejected));
    }

    #[test]
    fn p07_a_refusal_that_heals_is_transient_for_a_single_token() {
        // class, whether it heals, whether the credential has worked, the class of the next attempt
        for (class, heals, has_worked, expected) in [
            (Class::Credential, Heals::No, false, Class::Credential),
            (Class::Credential, Heals::New, false, Class::Transient),
            (Class::Credential, Heals::New, true, Class::Credential),
            (Class::Credential, Heals::Soon, true, Class::Transient),
            (Class::Denied, Heals::No, true, Class::Denied),
        ] {
            let error = IssueError { heals, ..error(class) };
            assert_eq!(class_of_single_token(&error, has_worked), expected, "{class:?} {heals:?} {has_worked}");
        }
    }

    #[test]
    fn other_classes_stay_as_the_provider_gave_them() {
        let wait = Some(Duration::from_secs(9));
        for (class, outcome) in [
            (Class::Transient, CallOutcome::Failed),
            (Class::Configuration, CallOutcome::Failed),
            (Class::Denied, CallOutcome::Failed),
            (Class::Throttled, CallOutcome::Throttled { retry_after: wait }),
        ] {
            let error = IssueError { retry_after: wait, ..error(class) };
            assert_eq!(classify(&error, RefusedAccount::default()), (class, outcome));
        }
    }

    #[test]
    fn p07_the_next_attempt_waits_for_the_account_or_by_itself() {
        let at = |seconds: i64| Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
        let unsaved = |seconds| Some(Duration::from_secs(seconds));
        let throttled = |seconds| AccountState { throttled_for: unsaved(seconds), ..AccountState::default() };
        let locked = |seconds| AccountState { blocked_for: unsaved(seconds), ..AccountState::default() };
        let free = AccountState::default();
        // class, account, Retry-After, seconds that the token has left, least and most seconds, by the account
        let cases = [
            (Class::Credential, locked(900), None, None, 900, 900, true),
            (Class::Credential, locked(900), None, Some(40), 900, 900, true),
            (Class::Throttled, throttled(60), unsaved(60), Some(40), 60, 60, true),
            (Class::Throttled, throttled(60), None, Some(40), 10, 10, true),
            (Class::Throttled, throttled(60), None, None, 60, 60, true),
            (Class::Throttled, free, unsaved(60), None, 60, 60, false),
            // what holds others back says nothing of a failure that is the object's own
            (Class::Transient, throttled(60), None, None, 0, 1, false),
            (Class::Denied, locked(900), None, None, 48, 60, false),
            (Class::Denied, free, None, Some(400), 48, 60, false),
        ];
        for (class, account, retry_after, left, least, most, by_account) in cases {
            let error = IssueError { retry_after, ..error(class) };
            let expires_at = left.map(at);
            let attempt = FailedAttempt { error: &error, class, tries: Tries::in_a_row(1), account, expires_at };
            let wait = (attempt.next(at(0), Uid(7)) - at(0)).num_seconds();
            assert!((least..=most).contains(&wait), "{class:?} {account:?}: {wait} s");
            assert_eq!(attempt.is_delayed_by_account(), by_account, "{class:?} {account:?}");
        }
    }
}
