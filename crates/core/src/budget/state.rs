//! Results of calls, and the state of an account.

use super::SharedUse;
use crate::clock::Timestamp;
use std::time::Duration;

/// Result of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// A token was issued: the credential is accepted.
    Issued,
    /// The token API throttled the call: the whole account stops.
    Throttled {
        /// Time from Retry-After, at most one day. `None` or zero: a back-off from 1 second, doubled up to 5 minutes.
        retry_after: Option<Duration>,
    },
    /// The credential was rejected, and no token was issued with it: the account is blocked for 15 minutes or until
    /// the credential changes.
    CredentialRejected,
    /// The identity of the credential was rejected, and further rejections do no harm. The account is blocked until a
    /// retry is requested ([`super::Budgets::try_again`]), at most 15 minutes.
    IdentityRefused {
        /// The rejection can end without a change: the block lasts 5 seconds, doubled with each rejection in a row up
        /// to 5 minutes.
        heals: bool,
    },
    /// The credential was rejected although it has worked: another VideoAccessToken must verify it.
    CredentialUnverified,
    /// A result that contains no information about the account.
    Failed,
    /// The grant is returned unused, because the call was not made.
    NotCalled,
}

/// Cause for which a credential is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialBlock {
    /// The token API rejected the credential.
    Rejected,
    /// The identity was rejected; a retry can be requested.
    IdentityRefused,
    /// The safe logins are used up: failed logins lock the user.
    LoginsUsedUp,
}

/// State of an account. An unknown account has the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Time until the throttle or back-off ends.
    pub throttled_for: Option<Duration>,
    /// Time until the Retry-After of the token API ends. The rest is a back-off of the operator, which ends with the
    /// first other response.
    pub retry_after_left: Option<Duration>,
    /// Time until a blocked credential is used again.
    pub blocked_for: Option<Duration>,
    /// End of the block, which stays the same while the block lasts.
    pub blocked_until: Option<Timestamp>,
    /// Cause of the block.
    pub credential_block: Option<CredentialBlock>,
    /// Number of VideoAccessTokens that wait for a grant.
    pub waiting: usize,
    /// Number of calls that ended in the last minute.
    pub served_last_minute: usize,
    /// Expected time until the last of the waiting requests has its result.
    pub queue_drains_in: Duration,
    /// Number of grants that are not finished.
    pub in_flight: usize,
    /// True if a token was issued with the current credential and it was not rejected since.
    pub accepted: bool,
    /// True if a token was issued with the current credential.
    pub has_worked: bool,
    /// True if the account is oversubscribed; see the module documentation.
    pub oversubscribed: bool,
    /// The last throttle that others caused, until the account is back at its limits.
    pub shared_use: Option<SharedUse>,
}
