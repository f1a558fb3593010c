//! Failed calls of a token API (P07): whose failure each is, and when the next attempt may be made.

use super::backoff::{self, Tries};
use super::facts::Uid;
use crate::budget::{AccountState, Outcome};
use crate::clock::Timestamp;
use crate::issue::{Class, IssueError};
use chrono::TimeDelta;

/// State of an account whose credential was refused.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // each a column of the tests' table
pub struct RefusedAccount {
    /// The call logs in, so that nothing but the login can have failed.
    pub logs_in: bool,
    /// Another object with a valid token uses the account: its next renewal shows whether the credential works.
    pub has_peer: bool,
    /// The budget holds the credential at fault: it never worked, or another object was refused too.
    pub is_suspected: bool,
    /// A further refusal does no harm, so that a user may ask for another attempt at any time.
    pub is_retried_on_demand: bool,
    /// A token was once issued with the credential.
    pub has_worked: bool,
}

/// Returns the class of a failed call and what it means for the account's budget.
///
/// A refused credential is the account's failure if the identity itself is refused, if nothing but a login can have
/// failed, or if no other object can show otherwise, as a credential that has worked may have been revoked. Else the
/// failure is the object's, and the other objects show whether the credential still works.
pub fn classify(error: &IssueError, account: RefusedAccount) -> (Class, Outcome) {
    match error.class {
        Class::Credential
            if error.refuses_identity() || account.logs_in || !account.has_peer || account.is_suspected =>
        {
            let outcome = if account.is_retried_on_demand {
                Outcome::IdentityRefused { heals: error.heals.holds(account.has_worked) }
            } else {
                Outcome::CredentialRejected
            };
            (Class::Credential, outcome)
        }
        Class::Credential => (Class::Denied, Outcome::CredentialDoubted),
        Class::Throttled => (Class::Throttled, Outcome::Throttled { retry_after: error.retry_after }),
        class => (class, Outcome::Failed),
    }
}

/// Returns the class of a failed call for a process with a single token. It has no budget, which would retry a refusal that
/// heals.
pub fn class_of_single_token(error: &IssueError, has_worked: bool) -> Class {
    if error.heals.holds(has_worked) { Class::Transient } else { error.class }
}

/// Returns true if a failure of this class concerns all objects of the account.
pub fn is_of_account(class: Class) -> bool {
    matches!(class, Class::Throttled | Class::Credential)
}

/// Bounds on the next attempt after a failed call.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// The failure.
    pub error: &'a IssueError,
    /// Its class, as [`classify`] returned it.
    pub class: Class,
    /// Attempts so far.
    pub tries: Tries,
    /// The account, after it recorded the failure.
    pub account: AccountState,
    /// Expiry of the token in the Secret.
    pub expires_at: Option<Timestamp>,
}

impl FailedAttempt<'_> {
    /// Returns true if the account's own lock or throttle delays the object: it waits in the queue and needs no back-off
    /// of its own.
    pub fn is_delayed_by_account(&self) -> bool {
        is_of_account(self.class) && self.account_wait().is_some()
    }

    fn account_wait(&self) -> Option<TimeDelta> {
        self.account.locked_for.max(self.account.throttled_for).and_then(|wait| TimeDelta::from_std(wait).ok())
    }

    /// Returns the time of the next attempt. `uid` fixes the jitter.
    pub fn next(&self, now: Timestamp, uid: Uid) -> Timestamp {
        match self.account_wait().filter(|_| is_of_account(self.class)) {
            // a back-off of the operator's own choice never takes more than a quarter of the time that a token has left
            Some(wait) if self.class == Class::Throttled && self.error.retry_after.is_none() => {
                now + backoff::longest(self.expires_at, now).map_or(wait, |longest| wait.min(longest))
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
        let rejected = (Class::Credential, Outcome::CredentialRejected);
        let doubted = (Class::Denied, Outcome::CredentialDoubted);
        let identity = |heals| (Class::Credential, Outcome::IdentityRefused { heals });
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
        let error = IssueError::new(Class::Credential, "EntraRefused", "no");
        assert!(error.refuses_identity());
        let account = RefusedAccount { has_peer: true, ..RefusedAccount::default() };
        assert_eq!(classify(&error, account), (Class::Credential, Outcome::CredentialRejected));
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
            (Class::Transient, Outcome::Failed),
            (Class::Configuration, Outcome::Failed),
            (Class::Denied, Outcome::Failed),
            (Class::Throttled, Outcome::Throttled { retry_after: wait }),
        ] {
            let error = IssueError { retry_after: wait, ..error(class) };
            assert_eq!(classify(&error, RefusedAccount::default()), (class, outcome));
        }
    }

    #[test]
    fn p07_the_next_attempt_waits_for_the_account_or_by_itself() {
        let at = |seconds: i64| Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
        let held = |seconds| Some(Duration::from_secs(seconds));
        let throttled = |seconds| AccountState { throttled_for: held(seconds), ..AccountState::default() };
        let locked = |seconds| AccountState { locked_for: held(seconds), ..AccountState::default() };
        let free = AccountState::default();
        // class, account, Retry-After, seconds that the token has left, least and most seconds, by the account
        let cases = [
            (Class::Credential, locked(900), None, None, 900, 900, true),
            (Class::Credential, locked(900), None, Some(40), 900, 900, true),
            (Class::Throttled, throttled(60), held(60), Some(40), 60, 60, true),
            (Class::Throttled, throttled(60), None, Some(40), 10, 10, true),
            (Class::Throttled, throttled(60), None, None, 60, 60, true),
            (Class::Throttled, free, held(60), None, 60, 60, false),
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
